//! SIGINT and SIGTERM; Ctrl-C on Windows.

use corella_lua::Interrupter;
#[cfg(unix)]
use signal_hook::consts::{SIGINT, SIGTERM};
#[cfg(unix)]
use signal_hook::iterator::Signals;

/// Has SIGINT and SIGTERM end the script with what it wrote written out; SIGINT says first what is outstanding. A second
/// one ends the process at once.
#[cfg(unix)]
pub fn end_the_script(interrupter: Interrupter) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("corella-signals".into()).spawn(move || {
        let mut received = signals.forever();
        if let Some(signal) = received.next() {
            // As a shell tells of a process that a signal ended.
            let code = 128 + signal;
            match signal {
                SIGINT => interrupter.interrupt_and_tell(code),
                _ => interrupter.interrupt(code),
            }
        }
        if let Some(signal) = received.next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Has a write beyond the limit of file sizes fail, as one to a full disk does, and not end the process.
#[cfg(unix)]
pub fn fail_beyond_the_limit_of_file_sizes() -> std::io::Result<()> {
    let signal = rustix::process::Signal::XFSZ.as_raw();
    // A handler that does nothing of interest: a program that a script starts gets the default again.
    signal_hook::flag::register(signal, std::sync::Arc::default()).map(drop)
}

/// Has each SIGINT call `interrupt`.
#[cfg(unix)]
pub fn on_interrupt(interrupt: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    std::thread::Builder::new().name("corella-signals".into()).spawn(move || {
        for _ in signals.forever() {
            interrupt();
        }
    })?;
    Ok(())
}

/// What a shell tells of a process that Ctrl-C ended, as on other systems.
#[cfg(windows)]
const INTERRUPTED: i32 = 130;

/// Has Ctrl-C end the script with what it wrote written out, after it was told what is outstanding. A second one ends the
/// process at once.
#[cfg(windows)]
pub fn end_the_script(interrupter: Interrupter) -> std::io::Result<()> {
    let is_second = std::sync::atomic::AtomicBool::new(false);
    on_interrupt(move || match is_second.swap(true, std::sync::atomic::Ordering::Relaxed) {
        false => interrupter.interrupt_and_tell(INTERRUPTED),
        true => std::process::exit(INTERRUPTED),
    })
}

/// There is no such limit.
#[cfg(windows)]
pub fn fail_beyond_the_limit_of_file_sizes() -> std::io::Result<()> {
    Ok(())
}

/// Has each Ctrl-C call `interrupt`.
#[cfg(windows)]
pub fn on_interrupt(interrupt: impl Fn() + Send + 'static) -> std::io::Result<()> {
    ctrlc::set_handler(interrupt).map_err(std::io::Error::other)
}
