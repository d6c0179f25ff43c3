//! Child processes: how one is started, and what its handle is good for. The handle is signalled once the process has
//! ended, and keeps its exit status; nothing is left of a process that nobody waits for.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use windows_sys::Win32::Foundation::{STILL_ACTIVE, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{GetExitCodeProcess, TerminateProcess, WaitForSingleObject};

use super::{Fault, OsDescriptor, Outcome, OwnedFile, Value, codes};

/// What ends a process at once; Windows knows nothing else to tell it.
pub(crate) const KILL_SIGNAL: i32 = 9;
/// The exit code of a process that was ended so, as the standard library has it.
const KILLED: u32 = 1;

/// A program to be started, with what its start needs; taken once it has been.
pub(crate) type Starter = Arc<Mutex<Option<Command>>>;

/// A child that was started and that somebody is to wait for. Whoever drops it leaves the process as it is.
#[derive(Debug)]
pub(crate) struct Orphan {
    pid: i32,
    descriptor: OsDescriptor,
}

impl Orphan {
    pub(crate) fn new(pid: i32, descriptor: OsDescriptor) -> Orphan {
        Orphan { pid, descriptor }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Its handle, for somebody who will wait for it.
    pub(crate) fn into_descriptor(self) -> Option<OsDescriptor> {
        Some(self.descriptor)
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
    // With the command go our copies of what the child was given as its standard streams.
    let command = starter.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut command) = command else { return Err(Fault::Os(codes::ECANCELED)) };
    let mut child = command.spawn().map_err(|error| match error.raw_os_error() {
        Some(_) => Fault::from_io(&error),
        // The standard library looks for programs itself, and has no code for one that there is not.
        None if error.kind() == io::ErrorKind::NotFound => Fault::from(super::Errno::NOENT),
        None => Fault::Invalid(error.to_string().into()),
    })?;
    let streams = [
        child.stdin.take().map(OwnedHandle::from),
        child.stdout.take().map(OwnedHandle::from),
        child.stderr.take().map(OwnedHandle::from),
    ];
    let pid = child.id() as i32;
    let descriptor = super::os::from_file(OwnedHandle::from(child));
    Ok(Value::Child(Box::new(Started { child: Orphan::new(pid, descriptor), streams })))
}

/// The exit status of a process that has ended; nothing while it runs.
pub(super) fn reap(process: BorrowedHandle<'_>) -> Option<Outcome> {
    let mut status = STILL_ACTIVE as u32;
    // SAFETY: the handle is open, and `status` lives through the call.
    unsafe {
        if WaitForSingleObject(process.as_raw_handle(), 0) != WAIT_OBJECT_0 {
            return None;
        }
        Some(match GetExitCodeProcess(process.as_raw_handle(), &mut status) {
            0 => Err(Fault::from_io(&io::Error::last_os_error())),
            _ => Ok(Value::Exit(status as i32)),
        })
    }
}

/// Ends a process; one that has ended already stays as it is.
pub(super) fn signal(_pid: i32, descriptor: &OsDescriptor, _number: i32) -> io::Result<()> {
    let process = descriptor.as_handle();
    // SAFETY: the handle is open.
    if unsafe { TerminateProcess(process.as_raw_handle(), KILLED) } != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if reap(process).is_some() { Ok(()) } else { Err(error) }
}
