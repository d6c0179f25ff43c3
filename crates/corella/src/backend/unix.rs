//! What a descriptor is on Unix. `windows/` has the same page for Windows; nothing above the backends asks which it is.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self as calls, OFlags};

use super::{Habits, Nature, StandardStream};
use crate::fs::FileKind;
use crate::op::Class;

/// A descriptor as a number: the OS's, or a simulated machine's. Negative: none.
pub(crate) type RawDescriptor = RawFd;
/// A descriptor of the OS that closes itself.
pub(crate) type OsDescriptor = OwnedFd;
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

/// What a descriptor refers to.
pub(crate) fn nature(descriptor: &OsDescriptor) -> io::Result<Nature> {
    let stat = calls::fstat(descriptor)?;
    let kind = FileKind::from_mode(stat.st_mode);
    Ok(Nature {
        kind,
        size: stat.st_size.try_into().unwrap_or(0),
        is_answered_by_program: kind == FileKind::File && is_answered_by_program(descriptor, stat.st_dev),
    })
}

/// Such a file system is on no device, and has a device number of major 0 (see makedev(3)).
#[cfg(target_os = "linux")]
fn is_answered_by_program(descriptor: &OsDescriptor, device: calls::Dev) -> bool {
    if calls::major(device) != 0 {
        return false;
    }
    // FUSE_SUPER_MAGIC of statfs(2). Only such a program can fail to say what it is.
    calls::fstatfs(descriptor).map_or(true, |system| system.f_type == 0x6573_5546)
}

#[cfg(not(target_os = "linux"))]
fn is_answered_by_program(_descriptor: &OsDescriptor, _device: calls::Dev) -> bool {
    false
}

/// How a descriptor is that somebody else has opened.
pub(crate) fn habits(descriptor: &OsDescriptor) -> io::Result<Habits> {
    let flags = calls::fcntl_getfl(descriptor)?;
    Ok(Habits {
        appends: flags.contains(OFlags::APPEND),
        nonblocking: flags.contains(OFlags::NONBLOCK) || descriptor.is_terminal(),
        cursor: calls::tell(descriptor).unwrap_or(0),
    })
}

/// Sets whether calls on a description block.
pub(crate) fn set_nonblocking(descriptor: impl AsFd, nonblocking: bool) -> io::Result<()> {
    let mut flags = calls::fcntl_getfl(&descriptor)?;
    if flags.contains(OFlags::NONBLOCK) != nonblocking {
        flags.set(OFlags::NONBLOCK, nonblocking);
        calls::fcntl_setfl(&descriptor, flags)?;
    }
    Ok(())
}

pub(crate) fn is_terminal(descriptor: &OsDescriptor) -> bool {
    descriptor.is_terminal()
}

/// A second descriptor of the same file, pipe or terminal.
pub(crate) fn duplicate(descriptor: &OsDescriptor) -> io::Result<OwnedFile> {
    descriptor.try_clone()
}

/// Moves the OS's cursor of a file.
pub(crate) fn set_cursor(descriptor: &OsDescriptor, place: u64) -> io::Result<()> {
    calls::seek(descriptor, calls::SeekFrom::Start(place))?;
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

/// What an entry of a directory is, as the directory says.
pub(crate) fn kind_of_entry(kind: &std::fs::FileType) -> FileKind {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::SymbolicLink,
        kind if kind.is_fifo() => FileKind::Pipe,
        kind if kind.is_socket() => FileKind::Socket,
        kind if kind.is_char_device() => FileKind::CharacterDevice,
        kind if kind.is_block_device() => FileKind::BlockDevice,
        _ => FileKind::Other,
    }
}

/// A descriptor for a foreign loop that is always ready.
pub(crate) fn always_ready() -> io::Result<OsDescriptor> {
    Ok(std::fs::File::open("/dev/null")?.into())
}

/// What others have of a thread, to end the call that it is in: nothing here, where a stream is waited for by its readiness
/// and calls are made that end by themselves.
#[derive(Clone, Debug)]
pub(crate) struct Interrupter;

impl Interrupter {
    pub(crate) fn of_this_thread() -> Interrupter {
        Interrupter
    }

    /// Whether the call has been asked to end, or cannot be.
    pub(crate) fn interrupt(&self) -> bool {
        true
    }

    pub(crate) fn reset(&self) {}
}
