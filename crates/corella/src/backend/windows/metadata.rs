//! What Windows knows of a file, in the words that all systems share.

use std::ffi::CStr;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::time::{Duration, SystemTime};

use windows_sys::Win32::Foundation::{FILETIME, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, CreateFileW, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_READONLY,
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_INFO_BY_HANDLE_CLASS, FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_STANDARD_INFO, FILE_TYPE_CHAR, FILE_TYPE_DISK, FILE_TYPE_PIPE, FileAttributeTagInfo, FileStandardInfo,
    GetFileInformationByHandle, GetFileInformationByHandleEx, GetFileType, OPEN_EXISTING,
};
use windows_sys::Win32::System::SystemServices::{IO_REPARSE_TAG_MOUNT_POINT, IO_REPARSE_TAG_SYMLINK};

use super::wide;
use crate::fs::{FileKind, Metadata};

/// What may be done with a file that is not read-only, and what is left of one that is.
const PERMISSIONS: u32 = 0o666;
const PERMISSIONS_READ_ONLY: u32 = 0o444;
/// Directories may be passed, besides.
const PERMISSIONS_PASS: u32 = 0o111;
/// From the beginning of file times, 1601, to that of Unix, in units of 100 ns.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
const NANOSECONDS_PER_UNIT: u64 = 100;

/// What a path refers to; a symbolic link is followed or not.
pub(in crate::backend) fn metadata_of_path(path: &CStr, follow: bool) -> io::Result<Metadata> {
    let path = wide(path)?;
    let link = if follow { 0 } else { FILE_FLAG_OPEN_REPARSE_POINT };
    // SAFETY: the path ends with a zero and lives through the call; the result is checked before it is owned.
    let handle = unsafe {
        let handle = CreateFileW(
            path.as_ptr(),
            FILE_READ_ATTRIBUTES,
            FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
            null(),
            OPEN_EXISTING,
            FILE_FLAG_BACKUP_SEMANTICS | link,
            null_mut(),
        );
        if handle == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    metadata_of(handle.as_handle())
}

/// What a handle of a file refers to and how long that is; less than all there is to know, of handles that tell no more.
pub(in crate::backend) fn kind_and_size(handle: BorrowedHandle<'_>) -> io::Result<(FileKind, u64)> {
    // SAFETY: the handle is open.
    if unsafe { GetFileType(handle.as_raw_handle()) } == FILE_TYPE_DISK
        && let Some(standard) = ask::<FILE_STANDARD_INFO>(handle, FileStandardInfo)
    {
        let kind = if standard.Directory { FileKind::Directory } else { FileKind::File };
        return Ok((kind, standard.EndOfFile.try_into().unwrap_or(0)));
    }
    metadata_of(handle).map(|metadata| (metadata.kind, metadata.size))
}

/// What a handle refers to.
pub(in crate::backend) fn metadata_of(handle: BorrowedHandle<'_>) -> io::Result<Metadata> {
    // SAFETY: the handle is open.
    let kind = match unsafe { GetFileType(handle.as_raw_handle()) } {
        FILE_TYPE_DISK => return of_disk(handle),
        FILE_TYPE_CHAR => FileKind::CharacterDevice,
        FILE_TYPE_PIPE => FileKind::Pipe,
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() != Some(0) => return Err(error),
            _ => FileKind::Other,
        },
    };
    Ok(Metadata {
        kind,
        size: 0,
        permissions: PERMISSIONS,
        modified: SystemTime::UNIX_EPOCH,
        accessed: SystemTime::UNIX_EPOCH,
        created: None,
        links: 1,
        inode: 0,
        device: 0,
        user: 0,
        group: 0,
        allocated: 0,
    })
}

fn of_disk(handle: BorrowedHandle<'_>) -> io::Result<Metadata> {
    let mut facts = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and the structure lives through the call, which fills it.
    if unsafe { GetFileInformationByHandle(handle.as_raw_handle(), &mut facts) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let standard: Option<FILE_STANDARD_INFO> = ask(handle, FileStandardInfo);
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let kind = kind(handle, facts.dwFileAttributes);
    let is_read_only = facts.dwFileAttributes & FILE_ATTRIBUTE_READONLY != 0;
    let pass = if kind == FileKind::Directory { PERMISSIONS_PASS } else { 0 };
    let size = wide(facts.nFileSizeHigh, facts.nFileSizeLow);
    Ok(Metadata {
        kind,
        size,
        permissions: pass | if is_read_only { PERMISSIONS_READ_ONLY } else { PERMISSIONS },
        modified: time(facts.ftLastWriteTime).unwrap_or(SystemTime::UNIX_EPOCH),
        accessed: time(facts.ftLastAccessTime).unwrap_or(SystemTime::UNIX_EPOCH),
        created: time(facts.ftCreationTime),
        links: u64::from(facts.nNumberOfLinks),
        inode: wide(facts.nFileIndexHigh, facts.nFileIndexLow),
        device: u64::from(facts.dwVolumeSerialNumber),
        user: 0,
        group: 0,
        allocated: standard.map_or(size, |standard| standard.AllocationSize as u64),
    })
}

fn kind(handle: BorrowedHandle<'_>, attributes: u32) -> FileKind {
    if attributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        let tag: Option<FILE_ATTRIBUTE_TAG_INFO> = ask(handle, FileAttributeTagInfo);
        if tag.is_some_and(|tag| matches!(tag.ReparseTag, IO_REPARSE_TAG_SYMLINK | IO_REPARSE_TAG_MOUNT_POINT)) {
            return FileKind::SymbolicLink;
        }
    }
    match attributes & FILE_ATTRIBUTE_DIRECTORY {
        0 => FileKind::File,
        _ => FileKind::Directory,
    }
}

/// One of the answers of `GetFileInformationByHandleEx`, if the file system has it.
fn ask<T: Default>(handle: BorrowedHandle<'_>, class: FILE_INFO_BY_HANDLE_CLASS) -> Option<T> {
    let mut answer = T::default();
    // SAFETY: the handle is open, and the answer, a plain structure of the size that is told, lives through the call.
    let result = unsafe {
        GetFileInformationByHandleEx(handle.as_raw_handle(), class, (&raw mut answer).cast(), size_of::<T>() as u32)
    };
    (result != 0).then_some(answer)
}

/// A file's time; zero is none.
fn time(time: FILETIME) -> Option<SystemTime> {
    let units = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    let since = |units: u64| {
        Duration::from_secs(units / 10_000_000) + Duration::from_nanos(units % 10_000_000 * NANOSECONDS_PER_UNIT)
    };
    match units {
        0 => None,
        _ if units >= UNIX_EPOCH => SystemTime::UNIX_EPOCH.checked_add(since(units - UNIX_EPOCH)),
        _ => SystemTime::UNIX_EPOCH.checked_sub(since(UNIX_EPOCH - units)),
    }
}

/// What an entry of a directory is, as the directory says.
pub(crate) fn kind_of_entry(kind: &std::fs::FileType) -> FileKind {
    match kind {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        kind if kind.is_symlink() => FileKind::SymbolicLink,
        _ => FileKind::Other,
    }
}
