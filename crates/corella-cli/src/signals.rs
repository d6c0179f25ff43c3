//! SIGINT and SIGTERM.

use std::sync::Arc;

use corella_lua::Interrupter;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Has SIGINT and SIGTERM end the script with what it wrote written out; SIGINT says first what is outstanding. A second
/// one ends the process at once.
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
pub fn fail_beyond_the_limit_of_file_sizes() -> std::io::Result<()> {
    let signal = rustix::process::Signal::XFSZ.as_raw();
    // A handler that does nothing of interest: a program that a script starts gets the default again.
    signal_hook::flag::register(signal, Arc::default()).map(drop)
}

/// Has each SIGINT call `interrupt`.
pub fn on_interrupt(interrupt: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    std::thread::Builder::new().name("corella-signals".into()).spawn(move || {
        for _ in signals.forever() {
            interrupt();
        }
    })?;
    Ok(())
}
