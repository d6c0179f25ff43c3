//! What a descriptor is on Unix. `windows/` has the same page for Windows; nothing above the backends asks which it is.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use super::StandardStream;
use crate::op::Class;

/// A descriptor as a number: the OS's, or a simulated machine's. Negative: none.
pub(crate) type RawDescriptor = RawFd;
/// A descriptor of the OS that closes itself.
pub(crate) type OsDescriptor = OwnedFd;
/// The same lent.
pub(crate) type BorrowedDescriptor<'a> = BorrowedFd<'a>;
/// What the standard library has for a file that is owned.
pub(crate) type OwnedFile = OwnedFd;
/// What the standard library has for a socket that is owned.
pub(crate) type OwnedSocket = OwnedFd;
/// What a foreign event loop waits on.
pub(crate) type BorrowedWaitable<'a> = BorrowedFd<'a>;

pub(crate) fn raw(descriptor: &OsDescriptor) -> RawDescriptor {
    descriptor.as_raw_fd()
}

/// The number alone, which somebody has to close.
pub(crate) fn into_raw(descriptor: OsDescriptor) -> RawDescriptor {
    descriptor.into_raw_fd()
}

pub(crate) fn borrow(descriptor: &OsDescriptor) -> BorrowedDescriptor<'_> {
    descriptor.as_fd()
}

/// Takes the descriptor of a handle of this class over by its number.
///
/// # Safety
///
/// Nobody else has it.
pub(crate) unsafe fn own(raw: RawDescriptor, _class: Class) -> OsDescriptor {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// A file of the standard library's.
pub(crate) fn from_file(file: OwnedFile) -> OsDescriptor {
    file
}

/// A socket of the standard library's.
pub(crate) fn from_socket(socket: OwnedSocket) -> OsDescriptor {
    socket
}

/// As a file of the standard library's.
pub(crate) fn into_file(descriptor: OsDescriptor) -> OwnedFile {
    descriptor
}

/// As a socket of the standard library's.
pub(crate) fn into_socket(descriptor: OsDescriptor) -> OwnedSocket {
    descriptor
}

/// Moves the OS's cursor of a file.
pub(crate) fn set_cursor(descriptor: &OsDescriptor, place: u64) -> io::Result<()> {
    rustix::fs::seek(descriptor, rustix::fs::SeekFrom::Start(place))?;
    Ok(())
}

/// A second descriptor of a standard stream.
pub(crate) fn standard(stream: StandardStream) -> io::Result<OsDescriptor> {
    match stream {
        StandardStream::Input => io::stdin().as_fd().try_clone_to_owned(),
        StandardStream::Output => io::stdout().as_fd().try_clone_to_owned(),
        StandardStream::Error => io::stderr().as_fd().try_clone_to_owned(),
    }
}

/// A name of the file system's as operations carry it, back in the standard library's form.
pub(crate) fn os_str(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(path)
}

/// A path as operations carry it.
pub(crate) fn path_of(path: &CStr) -> &OsStr {
    OsStr::from_bytes(path.to_bytes())
}

/// A descriptor for a foreign loop that is always ready.
pub(crate) fn always_ready() -> io::Result<OsDescriptor> {
    Ok(std::fs::File::open("/dev/null")?.into())
}
