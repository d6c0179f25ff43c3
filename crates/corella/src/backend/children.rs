//! Child processes: how one is started, what becomes readable when it ends, and how its exit status is fetched.
//!
//! Each child has a descriptor that is readable once it has ended: a pidfd on Linux, elsewhere a kqueue that watches the
//! process. So a backend waits for it as for any stream, and a hundred children take no thread. A child that ended unseen
//! stays a zombie of its parent's; [`Orphan`] sees to it that those which nobody waits for any more do not.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Pid;

use super::{Fault, OsDescriptor, Outcome, OwnedFile, Value};
use super::{reaper, sigpipe};

/// What ends a process at once.
pub(crate) const KILL_SIGNAL: i32 = libc::SIGKILL;

/// A program to be started, with what its start needs; taken once it has been.
pub(crate) type Starter = Arc<Mutex<Option<Command>>>;

/// A child that was started and that somebody is to wait for.
///
/// Whoever drops it leaves the process as it is, and when that ends it leaves no zombie.
#[derive(Debug)]
pub(crate) struct Orphan {
    pid: i32,
    descriptor: Option<OsDescriptor>,
}

impl Orphan {
    pub(crate) fn new(pid: i32, descriptor: OsDescriptor) -> Orphan {
        Orphan { pid, descriptor: Some(descriptor) }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its descriptor, for somebody who will wait for it.
    pub(crate) fn into_descriptor(mut self) -> Option<OsDescriptor> {
        self.descriptor.take()
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            reaper::adopt(self.pid, descriptor);
        }
    }
}

/// A child that has just been started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Orphan,
    /// Our ends of its standard streams, where they are pipes.
    pub(crate) streams: [Option<OwnedFile>; 3],
}

/// Starts a program; returns once it is running, or could not be.
pub(super) fn start(starter: &Starter) -> Outcome {
    let mut starter = starter.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(command) = starter.as_mut() else { return Err(Fault::Os(libc::ECANCELED)) };
    let result = sigpipe::let_through(|| command.spawn());
    if !matches!(&result, Err(error) if error.raw_os_error() == Some(libc::EINTR)) {
        // With it go our copies of what the child was given as its standard streams.
        *starter = None;
    }
    drop(starter);
    let mut child = result.map_err(|error| match error.raw_os_error() {
        Some(_) => Fault::from_io(&error),
        None => Fault::Invalid(error.to_string().into()),
    })?;
    let pid = child.id() as i32;
    let streams = [
        child.stdin.take().map(OwnedFd::from),
        child.stdout.take().map(OwnedFd::from),
        child.stderr.take().map(OwnedFd::from),
    ];
    let descriptor = ending_of(pid).map_err(|error| {
        // Nobody could ever be told of its end.
        let _ = child.kill();
        let _ = child.wait();
        Fault::from_io(&error)
    })?;
    Ok(Value::Child(Box::new(Started { child: Orphan::new(pid, descriptor), streams })))
}

/// A descriptor that is readable once the process has ended.
#[cfg(target_os = "linux")]
fn ending_of(pid: i32) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, pidfd_open};
    let Some(pid) = Pid::from_raw(pid) else { return Err(io::Error::from_raw_os_error(libc::ESRCH)) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // Its end has passed unseen already, as the process ignores SIGCHLD.
        Err(rustix::io::Errno::SRCH) => ended(),
        result => Ok(result?),
    }
}

/// A descriptor that is readable once the process has ended.
#[cfg(not(target_os = "linux"))]
fn ending_of(pid: i32) -> io::Result<OwnedFd> {
    use rustix::event::kqueue::{Event, EventFilter, EventFlags, ProcessEvents, kevent, kqueue};
    let Some(pid) = Pid::from_raw(pid) else { return Err(io::Error::from_raw_os_error(libc::ESRCH)) };
    let queue = kqueue()?;
    rustix::io::fcntl_setfd(&queue, rustix::io::FdFlags::CLOEXEC)?;
    let filter = EventFilter::Proc { pid, flags: ProcessEvents::EXIT };
    let event = Event::new(filter, EventFlags::ADD, std::ptr::null_mut());
    // SAFETY: the filter names a process, and no descriptor that could be closed.
    match unsafe { kevent::<_, &mut [Event; 0]>(&queue, &[event], &mut [], None) } {
        // It has ended already.
        Err(rustix::io::Errno::SRCH) => ended(),
        result => result.map(|_| queue).map_err(Into::into),
    }
}

/// A descriptor that is readable for good.
fn ended() -> io::Result<OwnedFd> {
    let (reader, _) = io::pipe()?;
    Ok(reader.into())
}

/// The exit status of a child that has ended, as wait(2) has it, which then is no zombie any more; nothing while it runs.
#[cfg(target_os = "linux")]
pub(super) fn reap(_pid: i32, descriptor: BorrowedFd<'_>) -> Option<Outcome> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // By its descriptor, so that it is this process and no later one of the same number.
    match waitid(WaitId::PidFd(descriptor), options) {
        Ok(None) => None,
        Ok(Some(status)) => {
            let signal = status.terminating_signal().unwrap_or(0);
            let core_dumped = if status.dumped() { 0x80 } else { 0 };
            Some(Ok(Value::Exit(status.exit_status().unwrap_or(0) << 8 | signal | core_dumped)))
        }
        // It had ended before there was a descriptor of it.
        Err(rustix::io::Errno::BADF | rustix::io::Errno::INVAL) => Some(Err(Fault::Os(libc::ECHILD))),
        Err(error) => Some(Err(error.into())),
    }
}

/// The exit status of a child that has ended, as wait(2) has it, which then is no zombie any more; nothing while it runs.
#[cfg(not(target_os = "linux"))]
pub(super) fn reap(pid: i32, _descriptor: BorrowedFd<'_>) -> Option<Outcome> {
    use rustix::process::{WaitOptions, waitpid};
    match waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
        Ok(None) => None,
        Ok(Some((_, status))) => Some(Ok(Value::Exit(status.as_raw()))),
        Err(error) => Some(Err(error.into())),
    }
}

/// Sends a signal to a child; one that has ended takes it, too.
pub(super) fn signal(pid: i32, descriptor: &OsDescriptor, number: i32) -> io::Result<()> {
    match send(pid, descriptor.as_fd(), number) {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

#[cfg(target_os = "linux")]
fn send(_pid: i32, descriptor: BorrowedFd<'_>, number: i32) -> i64 {
    use std::os::fd::AsRawFd;
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: one system call on a descriptor that lives through it.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), number, none, 0) }
}

#[cfg(not(target_os = "linux"))]
fn send(pid: i32, _descriptor: BorrowedFd<'_>, number: i32) -> i64 {
    // SAFETY: one system call. The process has not been waited for, so the number is still its own.
    i64::from(unsafe { libc::kill(pid, number) })
}

/// A child whose end nobody waits for any more is waited for here, by a call that blocks, on a thread of its own: for
/// when there is no descriptor to be had for the thread that waits for all.
pub(super) fn wait_blocking(pid: i32, descriptor: OwnedFd) {
    let waits = move || {
        drop(descriptor);
        let _ = rustix::process::waitpid(Pid::from_raw(pid), rustix::process::WaitOptions::empty());
    };
    // Without a thread either, the zombie stays until this process ends.
    let _ = std::thread::Builder::new().name("corella-reaper".into()).spawn(waits);
}

/// Whether a child has ended and been waited for.
pub(super) fn is_over(pid: i32, descriptor: &OwnedFd) -> bool {
    reap(pid, descriptor.as_fd()).is_some()
}
