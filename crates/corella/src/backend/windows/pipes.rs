//! A pipe whose two ends a completion port takes: those of the system without a name are not overlapped.
#![allow(unsafe_code)]

use std::io;
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING, PIPE_ACCESS_INBOUND,
    SECURITY_ANONYMOUS, SECURITY_SQOS_PRESENT,
};
use windows_sys::Win32::System::Pipes::{CreateNamedPipeW, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE};

use super::{OsDescriptor, from_file};

/// Bytes that wait in it at most, as on Linux.
const ROOM: u32 = 64 << 10;
/// Names that are tried, should somebody have taken one on purpose.
const TRIES: u32 = 16;

/// The end to be read and the end to be written.
pub(in crate::backend) fn pipe() -> io::Result<[OsDescriptor; 2]> {
    for _ in 1..TRIES {
        match pipe_of_name(&unused_name()) {
            Err(error) if error.raw_os_error() == Some(ERROR_ACCESS_DENIED as i32) => {}
            result => return result,
        }
    }
    pipe_of_name(&unused_name())
}

fn unused_name() -> Vec<u16> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos());
    format!(r"\\.\pipe\corella-{}-{number}-{now}", std::process::id()).encode_utf16().chain([0]).collect()
}

fn pipe_of_name(name: &[u16]) -> io::Result<[OsDescriptor; 2]> {
    let access = PIPE_ACCESS_INBOUND | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE;
    let mode = PIPE_TYPE_BYTE | PIPE_REJECT_REMOTE_CLIENTS;
    // SAFETY: the name ends with a zero and lives through the calls; results are checked before they are owned.
    unsafe {
        // The only instance that there will be: nobody else serves this name, and one client finds room.
        let reader = owned(CreateNamedPipeW(name.as_ptr(), access, mode, 1, ROOM, ROOM, 0, null()))?;
        let flags = FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_ANONYMOUS;
        let writer = owned(CreateFileW(name.as_ptr(), GENERIC_WRITE, 0, null(), OPEN_EXISTING, flags, null_mut()))?;
        Ok([from_file(reader), from_file(writer)])
    }
}

/// # Safety
/// The handle is what a call has just made, or told to be none.
unsafe fn owned(handle: HANDLE) -> io::Result<OwnedHandle> {
    match handle {
        INVALID_HANDLE_VALUE => Err(io::Error::last_os_error()),
        // SAFETY: the caller's promise.
        handle => Ok(unsafe { OwnedHandle::from_raw_handle(handle) }),
    }
}
