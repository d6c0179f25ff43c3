//! What a descriptor is on Windows: a handle or a socket. `unix.rs` is the same page for Unix.
#![allow(unsafe_code)]

mod interrupter;
mod metadata;
mod paths;
mod pipes;
#[cfg(test)]
mod tests;

use std::ffi::{CStr, OsStr};
use std::io::{self, IsTerminal};
use std::os::windows::io::{
    AsHandle, AsRawHandle, AsRawSocket, AsSocket, BorrowedHandle, BorrowedSocket, FromRawHandle, FromRawSocket,
    IntoRawHandle, IntoRawSocket, OwnedHandle, RawHandle, RawSocket,
};
use std::ptr::null;

use socket2::SockRef;
use windows_sys::Wdk::Storage::FileSystem::{FILE_ACCESS_INFORMATION, FileAccessInformation, NtQueryInformationFile};
use windows_sys::Win32::Foundation::{HANDLE, STATUS_SUCCESS};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_APPEND_DATA, FILE_CURRENT, FILE_TYPE_PIPE, FILE_WRITE_DATA, GetFileType, SetFilePointerEx,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;
use windows_sys::Win32::System::Threading::CreateEventW;

use super::{Habits, Nature, StandardStream};
use crate::fs::FileKind;
use crate::op::Class;

pub(crate) use interrupter::Interrupter;
pub(super) use interrupter::{this_thread_is_asked, wait_for};
pub(crate) use metadata::kind_of_entry;
pub(super) use metadata::{kind_and_size, metadata_of, metadata_of_path};
pub(super) use paths::wide;
pub(super) use pipes::pipe;

/// A descriptor as a number: a handle or socket of the OS, or a simulated machine's. Negative: none.
pub(crate) type RawDescriptor = isize;
/// What the standard library has for a file that is owned.
pub(crate) type OwnedFile = OwnedHandle;
/// What the standard library has for a socket that is owned.
pub(crate) type OwnedSocket = std::os::windows::io::OwnedSocket;
/// What a foreign event loop waits on.
pub(crate) type BorrowedWaitable<'a> = BorrowedHandle<'a>;

/// A descriptor of the OS that closes itself; sockets have a call of their own for that.
#[derive(Debug)]
pub(crate) enum OsDescriptor {
    File(OwnedFile),
    Socket(OwnedSocket),
}

impl AsSocket for OsDescriptor {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        // SAFETY: the descriptor is open for as long as it is lent. That of a file is refused by the calls on sockets.
        unsafe { BorrowedSocket::borrow_raw(raw(self) as RawSocket) }
    }
}

impl AsHandle for OsDescriptor {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        // SAFETY: the descriptor is open for as long as it is lent, and a socket is a handle.
        unsafe { BorrowedHandle::borrow_raw(raw(self) as RawHandle) }
    }
}

pub(crate) fn raw(descriptor: &OsDescriptor) -> RawDescriptor {
    match descriptor {
        OsDescriptor::File(file) => file.as_raw_handle() as RawDescriptor,
        OsDescriptor::Socket(socket) => socket.as_raw_socket() as RawDescriptor,
    }
}

/// The number alone, which somebody has to close.
pub(crate) fn into_raw(descriptor: OsDescriptor) -> RawDescriptor {
    match descriptor {
        OsDescriptor::File(file) => file.into_raw_handle() as RawDescriptor,
        OsDescriptor::Socket(socket) => socket.into_raw_socket() as RawDescriptor,
    }
}

/// Takes the descriptor of a handle of this class over by its number.
///
/// # Safety
///
/// Nobody else has it.
pub(crate) unsafe fn own(raw: RawDescriptor, class: Class) -> OsDescriptor {
    match class {
        // SAFETY: the caller's promise.
        Class::Socket | Class::Listener | Class::Datagram => unsafe {
            OsDescriptor::Socket(OwnedSocket::from_raw_socket(raw as RawSocket))
        },
        // SAFETY: the caller's promise.
        Class::File { .. } | Class::SharedFile | Class::Stream | Class::Child => unsafe {
            OsDescriptor::File(OwnedHandle::from_raw_handle(raw as RawHandle))
        },
    }
}

/// A file of the standard library's.
pub(crate) fn from_file(file: OwnedFile) -> OsDescriptor {
    OsDescriptor::File(file)
}

/// A socket of the standard library's.
pub(crate) fn from_socket(socket: OwnedSocket) -> OsDescriptor {
    OsDescriptor::Socket(socket)
}

/// As a file of the standard library's.
pub(crate) fn into_file(descriptor: OsDescriptor) -> OwnedFile {
    match descriptor {
        OsDescriptor::File(file) => file,
        // SAFETY: the number is given up by the one and taken by the other.
        OsDescriptor::Socket(socket) => unsafe { OwnedHandle::from_raw_handle(socket.into_raw_socket() as RawHandle) },
    }
}

/// As a socket of the standard library's.
pub(crate) fn into_socket(descriptor: OsDescriptor) -> OwnedSocket {
    match descriptor {
        OsDescriptor::Socket(socket) => socket,
        // SAFETY: the number is given up by the one and taken by the other.
        OsDescriptor::File(file) => unsafe { OwnedSocket::from_raw_socket(file.into_raw_handle() as RawSocket) },
    }
}

/// What a descriptor refers to.
pub(crate) fn nature(descriptor: &OsDescriptor) -> io::Result<Nature> {
    if let OsDescriptor::Socket(_) = descriptor {
        return Ok(Nature { kind: FileKind::Socket, size: 0, is_answered_by_program: false });
    }
    let (kind, size) = kind_and_size(descriptor.as_handle())?;
    Ok(Nature { kind, size, is_answered_by_program: false })
}

/// How a descriptor is that somebody else has opened.
pub(crate) fn habits(descriptor: &OsDescriptor) -> io::Result<Habits> {
    let handle = descriptor.as_handle();
    Ok(Habits {
        appends: only_appends(handle),
        nonblocking: handle.is_terminal(),
        cursor: place_of_cursor(handle).unwrap_or(0),
    })
}

/// Whether the handle may write at the end and nowhere else.
fn only_appends(handle: BorrowedHandle<'_>) -> bool {
    let mut access = FILE_ACCESS_INFORMATION { AccessFlags: 0 };
    let mut status = IO_STATUS_BLOCK::default();
    // SAFETY: the handle is open, and both structures live through the call, which fills them.
    let result = unsafe {
        NtQueryInformationFile(
            handle.as_raw_handle(),
            &mut status,
            (&raw mut access).cast(),
            size_of::<FILE_ACCESS_INFORMATION>() as u32,
            FileAccessInformation,
        )
    };
    result == STATUS_SUCCESS && access.AccessFlags & (FILE_APPEND_DATA | FILE_WRITE_DATA) == FILE_APPEND_DATA
}

fn place_of_cursor(handle: BorrowedHandle<'_>) -> io::Result<u64> {
    let mut place = 0;
    // SAFETY: the handle is open, and `place` lives through the call.
    match unsafe { SetFilePointerEx(handle.as_raw_handle(), 0, &mut place, FILE_CURRENT) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(place as u64),
    }
}

/// Whether it is a pipe.
pub(super) fn is_pipe(handle: HANDLE) -> bool {
    // SAFETY: it looks at the handle, which is open.
    unsafe { GetFileType(handle) == FILE_TYPE_PIPE }
}

/// Whether it is a console.
pub(crate) fn is_terminal(descriptor: &OsDescriptor) -> bool {
    descriptor.as_handle().is_terminal()
}

/// A second descriptor of the same file, pipe or terminal.
pub(crate) fn duplicate(descriptor: &OsDescriptor) -> io::Result<OwnedFile> {
    descriptor.as_handle().try_clone_to_owned()
}

/// Moves the OS's cursor of a file.
pub(crate) fn set_cursor(descriptor: &OsDescriptor, place: u64) -> io::Result<()> {
    use windows_sys::Win32::Storage::FileSystem::FILE_BEGIN;
    // SAFETY: the handle is open; the new place is not asked for.
    let result = unsafe {
        SetFilePointerEx(descriptor.as_handle().as_raw_handle(), place as i64, std::ptr::null_mut(), FILE_BEGIN)
    };
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets whether calls on a socket block. What is no socket has no such mode.
pub(crate) fn set_nonblocking(socket: &impl AsSocket, nonblocking: bool) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.r#type() {
        Ok(_) => socket.set_nonblocking(nonblocking),
        Err(_) => Ok(()),
    }
}

/// A second handle of a standard stream.
pub(crate) fn standard(stream: StandardStream) -> io::Result<OsDescriptor> {
    let handle = match stream {
        StandardStream::Input => io::stdin().as_handle().try_clone_to_owned(),
        StandardStream::Output => io::stdout().as_handle().try_clone_to_owned(),
        StandardStream::Error => io::stderr().as_handle().try_clone_to_owned(),
    };
    handle.map(OsDescriptor::File)
}

/// A name of the file system's as operations carry it, back in the standard library's form.
pub(crate) fn os_str(path: &[u8]) -> &OsStr {
    match std::str::from_utf8(path) {
        Ok(path) => OsStr::new(path),
        // SAFETY: the bytes are those of `OsStr::as_encoded_bytes` (see `fs::os_path`), whole or split at a separator.
        Err(_) => unsafe { OsStr::from_encoded_bytes_unchecked(path) },
    }
}

/// A path as operations carry it.
pub(crate) fn path_of(path: &CStr) -> &OsStr {
    os_str(path.to_bytes())
}

/// A handle for a foreign loop that is always ready.
pub(crate) fn always_ready() -> io::Result<OsDescriptor> {
    event(true).map(OsDescriptor::File)
}

/// An event that stays as it was set.
pub(super) fn event(is_set: bool) -> io::Result<OwnedHandle> {
    // SAFETY: neither a name nor attributes are given; the result is checked before it is owned.
    unsafe {
        let handle = CreateEventW(null(), 1, i32::from(is_set), null());
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(OwnedHandle::from_raw_handle(handle)) }
    }
}
