//! Bare system calls: one operation carried out by the calling thread, which may block.
//!
//! Handles may be overlapped and a completion port's, or neither. A transfer has an event whose low bit is set, which
//! keeps its packet from the port, and waits for that event where the call has not ended it.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::net::ToSocketAddrs;
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, BorrowedSocket, FromRawHandle, OwnedHandle, RawSocket,
};
use std::path::Path;
use std::ptr::{null, null_mut};

use socket2::SockRef;
use windows_sys::Win32::Foundation::{
    ERROR_ALREADY_EXISTS, ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_IO_PENDING, ERROR_MORE_DATA,
    ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED, GENERIC_READ, GENERIC_WRITE, GetLastError, HANDLE,
    INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CREATE_NEW, CreateFileW, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_READONLY, FILE_END_OF_FILE_INFO,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED, FILE_INFO_BY_HANDLE_CLASS,
    FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE, FileEndOfFileInfo, FlushFileBuffers, OPEN_ALWAYS,
    OPEN_EXISTING, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, SetFileInformationByHandle, WriteFile,
};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};

use super::os::{self, RawDescriptor};
use super::{Fault, Outcome, Submission, TRANSFER_BYTES_MAX, Value, children};
use crate::buffer::Part;
use crate::fs::{Entry, FileKind};
use crate::op::{Class, Entries, Op, OpenOptions, Shutdown};

/// Directory entries in one answer at most.
const ENTRIES_MAX: usize = 256;
/// The place that has a write go to the end of the file, wherever that is.
const AT_END: u64 = u64::MAX;
/// The permission bit without which a new file is made read-only.
const OWNER_WRITES: u32 = 0o200;

/// Carries one operation out, blocking as long as the OS does.
pub(crate) fn perform(submission: &Submission<'_>) -> Outcome {
    match submission.op {
        Op::Read { .. } | Op::Write { .. } => transfer(submission),
        op if submission.descriptor < 0 => on_path(op),
        op => on_descriptor(op, submission.descriptor, submission.class),
    }
}

/// What a non-blocking try would come to; a port's calls never block, so nothing is tried.
pub(crate) fn attempt(_submission: &Submission<'_>, _accepts_nonblocking: bool) -> Option<Outcome> {
    None
}

/// Whether a transfer on a stream would end by itself: nobody can say.
pub(super) fn is_ready(_submission: &Submission<'_>) -> bool {
    true
}

/// Whether an open waits for the other side: those of pipes do not here.
pub(super) fn is_fifo(_path: &CStr) -> bool {
    false
}

fn done() -> Outcome {
    Ok(Value::Count(0))
}

fn ended(result: io::Result<()>) -> Outcome {
    result.map_err(|error| Fault::from_io(&error))?;
    done()
}

fn last_fault() -> Fault {
    Fault::from_io(&io::Error::last_os_error())
}

fn path_of(path: &CStr) -> &Path {
    Path::new(os::path_of(path))
}

fn on_path(op: &Op) -> Outcome {
    match op {
        Op::Open { path, options } => open(path, options),
        Op::Stat { path, follow } => match os::metadata_of_path(path, *follow) {
            Ok(metadata) => Ok(Value::Metadata(Box::new(metadata))),
            Err(error) => Err(Fault::from_io(&error)),
        },
        Op::Rename { from, to } => ended(fs::rename(path_of(from), path_of(to))),
        Op::Unlink { path } => ended(fs::remove_file(path_of(path))),
        Op::MakeDirectory { path, .. } => ended(fs::create_dir(path_of(path))),
        Op::RemoveDirectory { path } => ended(fs::remove_dir(path_of(path))),
        Op::HardLink { from, to } => ended(fs::hard_link(path_of(from), path_of(to))),
        Op::SymbolicLink { content, path } => ended(make_link(path_of(content), path_of(path))),
        Op::ReadLink { path } => match fs::read_link(path_of(path)) {
            Ok(content) => Ok(Value::Path(content)),
            Err(error) => Err(Fault::from_io(&error)),
        },
        Op::OpenDirectory { path } | Op::ReadDirectory { path, .. } => read_directory(op, path_of(path)),
        Op::SyncDirectory { path } => sync_directory(path),
        Op::Resolve { name, port } => resolve(name, *port),
        Op::Start { starter, .. } => children::start(starter),
        other => unreachable!("{other} has a handle or needs no call"),
    }
}

/// Windows has two sorts of symbolic links, and wants to know what is at the other end.
fn make_link(content: &Path, path: &Path) -> io::Result<()> {
    let target = path.parent().map_or_else(|| content.to_owned(), |parent| parent.join(content));
    match target.is_dir() {
        true => std::os::windows::fs::symlink_dir(content, path),
        false => std::os::windows::fs::symlink_file(content, path),
    }
}

/// Opens a directory and finds it to be one, or reads some more of its entries; none is the end.
fn read_directory(op: &Op, path: &Path) -> Outcome {
    let fault = |error: io::Error| Fault::from_io(&error);
    let Op::ReadDirectory { reader, .. } = op else {
        // Asked for first, as systems differ in what they say of the names in what is no directory.
        if !fs::metadata(path).map_err(fault)?.is_dir() {
            return Err(Fault::from(super::Errno::NOTDIR));
        }
        fs::read_dir(path).map_err(fault)?;
        return done();
    };
    let mut reader = reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = match &mut *reader {
        Some(directory) => directory,
        none => {
            let entries = fs::read_dir(path).map_err(fault)?;
            none.insert(Entries(Box::new(entries.map(|entry| entry.map(|entry| Entry::from_std(&entry))))))
        }
    };
    let mut entries = Vec::new();
    for entry in directory.0.by_ref().take(ENTRIES_MAX) {
        entries.push(entry.map_err(fault)?);
    }
    Ok(Value::Entries(entries))
}

fn resolve(name: &str, port: u16) -> Outcome {
    match (name, port).to_socket_addrs() {
        Ok(addresses) => Ok(Value::Addresses(addresses.collect())),
        // The system has codes for this, which belong to no operation on a handle.
        Err(error) => Err(Fault::Name(error.to_string().into_boxed_str())),
    }
}

/// Opens what has this path so that others may read, write, rename and delete it meanwhile, as on other systems.
fn open(path: &CStr, options: &OpenOptions) -> Outcome {
    let wide = os::wide(path).map_err(|error| Fault::from_io(&error))?;
    let writes = options.write || options.append;
    let access = if writes { GENERIC_WRITE } else { 0 } | if options.read || !writes { GENERIC_READ } else { 0 };
    let disposition = match (options.create_new, options.create) {
        (true, _) => CREATE_NEW,
        (false, true) => OPEN_ALWAYS,
        (false, false) => OPEN_EXISTING,
    };
    // A directory is opened too, as elsewhere, for whoever opens it to be told what it is.
    let mut flags = FILE_FLAG_OVERLAPPED | FILE_FLAG_BACKUP_SEMANTICS;
    if options.direct {
        flags |= FILE_FLAG_NO_BUFFERING;
    }
    flags |= match options.permissions & OWNER_WRITES {
        0 => FILE_ATTRIBUTE_READONLY,
        _ => FILE_ATTRIBUTE_NORMAL,
    };
    if is_pipe(path) {
        // Whoever serves the pipe may learn who we are, and not act for us.
        flags |= SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    }
    // SAFETY: the path ends with a zero and lives through the call; the result is checked before it is owned.
    let (handle, was_there) = unsafe {
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        let handle = CreateFileW(wide.as_ptr(), access, share, null(), disposition, flags, null_mut());
        if handle == INVALID_HANDLE_VALUE {
            return Err(last_fault());
        }
        let was_there = disposition == OPEN_EXISTING || GetLastError() == ERROR_ALREADY_EXISTS;
        (OwnedHandle::from_raw_handle(handle), was_there)
    };
    // A directory has no length; whoever asked is told what it is.
    if options.truncate
        && was_there
        && os::kind_and_size(handle.as_handle()).is_ok_and(|(kind, _)| kind == FileKind::File)
    {
        set_length(handle.as_handle(), 0)?;
    }
    Ok(Value::Descriptor(os::from_file(handle).into()))
}

fn is_pipe(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.len() > 9
        && path[..9]
            .iter()
            .zip(br"\\.\pipe\")
            .all(|(one, other)| one.eq_ignore_ascii_case(other) || (*one == b'/' && *other == b'\\'))
}

/// Makes the names in a directory durable.
fn sync_directory(path: &CStr) -> Outcome {
    let wide = os::wide(path).map_err(|error| Fault::from_io(&error))?;
    // SAFETY: the path ends with a zero and lives through the call; the result is checked before it is owned.
    let directory = unsafe {
        let share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
        let access = GENERIC_READ | GENERIC_WRITE;
        let flags = FILE_FLAG_BACKUP_SEMANTICS;
        let handle = CreateFileW(wide.as_ptr(), access, share, null(), OPEN_EXISTING, flags, null_mut());
        if handle == INVALID_HANDLE_VALUE {
            return Err(last_fault());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    flush(directory.as_handle())
}

fn on_descriptor(op: &Op, raw: RawDescriptor, class: Class) -> Outcome {
    if let Op::Close = op {
        return close(raw, class);
    }
    if let Op::Shutdown { how } = op {
        return shut_down(raw, *how);
    }
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
    let handle = unsafe { BorrowedHandle::borrow_raw(raw as HANDLE) };
    match op {
        Op::Sync { .. } => flush(handle),
        Op::Truncate { length } => set_length(handle, *length),
        Op::Allocate { offset, length } => allocate(handle, offset.saturating_add(*length)),
        Op::StatHandle => match os::metadata_of(handle) {
            Ok(metadata) => Ok(Value::Metadata(Box::new(metadata))),
            Err(error) => Err(Fault::from_io(&error)),
        },
        Op::AwaitReady { writes } => ready_for_a_while(raw, *writes),
        other => unreachable!("{other} on a {class:?} is not a bare call"),
    }
}

/// Waits until a socket is ready: EAGAIN if it is not for a while, as whoever asked may want no more.
fn ready_for_a_while(raw: RawDescriptor, writes: bool) -> Outcome {
    use windows_sys::Win32::Networking::WinSock::{POLLRDNORM, POLLWRNORM, SOCKET, WSAPOLLFD, WSAPoll};
    const WHILE_MS: i32 = 50;
    let events = if writes { POLLWRNORM } else { POLLRDNORM };
    let mut wanted = WSAPOLLFD { fd: raw as SOCKET, events: events as i16, revents: 0 };
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled, and `wanted` lives
    // through the call.
    match unsafe { WSAPoll(&mut wanted, 1, WHILE_MS) } {
        0 => Err(Fault::Os(super::codes::EAGAIN)),
        count if count > 0 => done(),
        _ => Err(Fault::from_io(&io::Error::last_os_error())),
    }
}

pub(super) fn shut_down(raw: RawDescriptor, how: Shutdown) -> Outcome {
    let how = match how {
        Shutdown::Read => std::net::Shutdown::Read,
        Shutdown::Write => std::net::Shutdown::Write,
        Shutdown::Both => std::net::Shutdown::Both,
    };
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
    let socket = unsafe { BorrowedSocket::borrow_raw(raw as RawSocket) };
    ended(SockRef::from(&socket).shutdown(how))
}

/// Closes a descriptor that the queue has given up.
pub(super) fn close(raw: RawDescriptor, class: Class) -> Outcome {
    use windows_sys::Win32::Foundation::CloseHandle;
    use windows_sys::Win32::Networking::WinSock::{SOCKET, closesocket};
    // SAFETY: the queue took the descriptor out of its handle for this one call; nobody uses the number after.
    let is_closed = unsafe {
        match class {
            Class::Socket | Class::Listener | Class::Datagram => closesocket(raw as SOCKET) == 0,
            Class::File { .. } | Class::SharedFile | Class::Stream | Class::Child => CloseHandle(raw as HANDLE) != 0,
        }
    };
    if is_closed { done() } else { Err(last_fault()) }
}

fn flush(handle: BorrowedHandle<'_>) -> Outcome {
    // SAFETY: the handle is open.
    match unsafe { FlushFileBuffers(handle.as_raw_handle()) } {
        0 => Err(last_fault()),
        _ => done(),
    }
}

fn set_length(handle: BorrowedHandle<'_>, length: u64) -> Outcome {
    let length = i64::try_from(length).map_err(|_| Fault::Os(super::codes::EINVAL))?;
    set(handle, FileEndOfFileInfo, &FILE_END_OF_FILE_INFO { EndOfFile: length })
}

/// Makes a file so long if it is shorter; the file system takes the room for it with that.
fn allocate(handle: BorrowedHandle<'_>, end: u64) -> Outcome {
    let size = os::metadata_of(handle).map_err(|error| Fault::from_io(&error))?.size;
    if end <= size {
        return done();
    }
    set_length(handle, end)
}

fn set<T>(handle: BorrowedHandle<'_>, class: FILE_INFO_BY_HANDLE_CLASS, value: &T) -> Outcome {
    // SAFETY: the handle is open, and the value, a plain structure of the size that is told, lives through the call.
    let result = unsafe {
        SetFileInformationByHandle(
            handle.as_raw_handle(),
            class,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    if result == 0 { Err(last_fault()) } else { done() }
}

/// read and write, part by part, up to the first that is short.
fn transfer(submission: &Submission<'_>) -> Outcome {
    let writes = matches!(submission.op, Op::Write { .. });
    let is_stream = submission.class == Class::Stream;
    let mut moved = 0;
    for part in submission.parts {
        if moved > 0 && is_stream && os::this_thread_is_asked() {
            // The call that the asking has found did what it was to do after all. The next one might not end.
            break;
        }
        let place = match (submission.class, submission.offset) {
            (_, Some(offset)) => Place::At(offset + moved),
            (Class::File { append: true }, None) if writes => Place::At(AT_END),
            (Class::SharedFile, None) => Place::Cursor,
            (_, None) => Place::At(0),
        };
        let count = match transfer_part(submission.descriptor as HANDLE, part, place, writes) {
            Ok(count) => count,
            // How much of it the reader has taken, the system does not say.
            Err(Fault::Interrupted) if is_stream && writes => return Err(Fault::StoppedSomewhere(None)),
            Err(Fault::Os(code)) if is_stream && writes && is_of_lost_reader(code) => {
                return Err(Fault::StoppedSomewhere(Some(code)));
            }
            Err(fault) if moved == 0 => return Err(fault),
            // The next call tells of it.
            Err(_) => break,
        };
        moved += u64::from(count);
        // What comes next on a stream may be long in coming.
        if (count as usize) < part.length || (is_stream && !writes && count > 0) {
            break;
        }
    }
    Ok(Value::Count(moved))
}

/// Whether a write to a pipe ended with this because its reader went meanwhile. (ERROR_NO_DATA: it had gone before.)
fn is_of_lost_reader(code: i32) -> bool {
    matches!(code as u32, ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED)
}

/// The event that a transfer of this thread waits for; one at a time needs it.
fn this_threads_event() -> Result<HANDLE, Fault> {
    thread_local! {
        static EVENT: OnceCell<OwnedHandle> = const { OnceCell::new() };
    }
    EVENT.with(|event| {
        if let Some(event) = event.get() {
            return Ok(event.as_raw_handle());
        }
        let made = os::event(false).map_err(|error| Fault::from_io(&error))?;
        Ok(event.get_or_init(|| made).as_raw_handle())
    })
}

#[derive(Clone, Copy)]
enum Place {
    At(u64),
    /// Where the OS's cursor is, which others share.
    Cursor,
}

fn transfer_part(handle: HANDLE, part: &Part, place: Place, writes: bool) -> Result<u32, Fault> {
    let offset = match place {
        Place::At(offset) => offset,
        Place::Cursor => 0,
    };
    let halves = OVERLAPPED_0_0 { Offset: offset as u32, OffsetHigh: (offset >> 32) as u32 };
    let event = this_threads_event()?;
    let mut overlapped = OVERLAPPED {
        Anonymous: OVERLAPPED_0 { Anonymous: halves },
        // With its low bit set no packet of this goes to the handle's port.
        hEvent: (event as usize | 1) as HANDLE,
        ..OVERLAPPED::default()
    };
    let pointer = if let Place::Cursor = place { null_mut() } else { &raw mut overlapped };
    let length = part.length.min(TRANSFER_BYTES_MAX as usize) as u32;
    let mut count = 0;
    // SAFETY: the part is the backend's from submission to completion, and this call ends before the completion is
    // reported: structure and event live until the OS has let go of them.
    unsafe {
        let result = match writes {
            false => ReadFile(handle, part.pointer.cast(), length, &mut count, pointer),
            true => WriteFile(handle, part.pointer.cast(), length, &mut count, pointer),
        };
        let mut has_ended = result != 0;
        if !has_ended && GetLastError() == ERROR_IO_PENDING {
            os::wait_for(handle, pointer, event);
            has_ended = GetOverlappedResult(handle, pointer, &mut count, 1) != 0;
        }
        if has_ended && count == 0 && length > 0 && !writes && os::is_pipe(handle) {
            // The other side has written no bytes, which is no end: that has a code of its own.
            return Err(Fault::Interrupted);
        }
        if !has_ended {
            return match GetLastError() {
                ERROR_HANDLE_EOF | ERROR_BROKEN_PIPE if !writes => Ok(0),
                // A message longer than the buffer: the rest comes with the next read.
                ERROR_MORE_DATA if !writes => Ok(match (count, pointer.is_null()) {
                    (0, false) => overlapped.InternalHigh as u32,
                    (count, _) => count,
                }),
                ERROR_OPERATION_ABORTED => Err(Fault::Interrupted),
                code => Err(Fault::Os(code as i32)),
            };
        }
    }
    Ok(count)
}
