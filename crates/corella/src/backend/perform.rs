//! Bare system calls: one operation carried out by the calling thread.
//!
//! [`perform`] may block, and serves the pool and blocking endings. [`attempt`] never does, and serves readiness.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::net::ToSocketAddrs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{self as calls, AtFlags, CWD, FallocateFlags, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use socket2::SockRef;

use super::{
    Fault, Outcome, RawDescriptor, Submission, TRANSFER_BYTES_MAX, Value, address, children, datagram, os, sigpipe,
};
use crate::address::Address;
use crate::buffer::Part;
use crate::fs::{Entry, Metadata};
use crate::op::{Class, Entries, Op, OpenOptions, Shutdown};

/// Directory entries in one answer at most.
const ENTRIES_MAX: usize = 256;

/// Carries one operation out, blocking as long as the OS does.
pub(crate) fn perform(submission: &Submission<'_>) -> Outcome {
    loop {
        match perform_once(submission) {
            // A signal, not a cancel: nobody can cancel a bare call.
            Err(Fault::Interrupted) => continue,
            outcome => return outcome,
        }
    }
}

fn perform_once(submission: &Submission<'_>) -> Outcome {
    match submission.op {
        Op::Read { .. } | Op::Write { .. } => transfer(submission),
        Op::Recv { .. } | Op::Send { .. } => message(submission, 0),
        Op::RecvFrom { .. } | Op::SendTo { .. } => datagram::exchange(submission, 0),
        _ => match submission.descriptor {
            -1 => on_path(submission.op),
            // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
            raw => on_descriptor(submission.op, unsafe { BorrowedFd::borrow_raw(raw) }, submission.class),
        },
    }
}

/// Permission bits in the OS's own width; the queue keeps no others.
fn mode(permissions: u32) -> calls::Mode {
    calls::Mode::from_raw_mode(permissions as calls::RawMode)
}

fn done() -> Outcome {
    Ok(Value::Count(0))
}

fn on_path(op: &Op) -> Outcome {
    match op {
        Op::Open { path, options } => {
            let permissions = mode(options.permissions);
            Ok(Value::Descriptor(calls::open(&**path, open_flags(options), permissions)?.into()))
        }
        Op::Stat { path, follow } => {
            let flags = if *follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            Ok(Value::Metadata(Box::new(Metadata::from_stat(&calls::statat(CWD, &**path, flags)?))))
        }
        Op::Rename { from, to } => calls::rename(&**from, &**to).map_err(Fault::from).and_then(|()| done()),
        Op::Unlink { path } => calls::unlink(&**path).map_err(Fault::from).and_then(|()| done()),
        Op::MakeDirectory { path, permissions } => {
            calls::mkdir(&**path, mode(*permissions)).map_err(Fault::from).and_then(|()| done())
        }
        Op::RemoveDirectory { path } => calls::rmdir(&**path).map_err(Fault::from).and_then(|()| done()),
        Op::HardLink { from, to } => calls::link(&**from, &**to).map_err(Fault::from).and_then(|()| done()),
        Op::SymbolicLink { content, path } => {
            calls::symlink(&**content, &**path).map_err(Fault::from).and_then(|()| done())
        }
        Op::ReadLink { path } => {
            let content = calls::readlink(&**path, Vec::new())?;
            Ok(Value::Path(os::os_str(content.as_bytes()).into()))
        }
        Op::OpenDirectory { path } | Op::ReadDirectory { path, .. } => read_directory(op, os::path_of(path)),
        Op::SyncDirectory { path } => sync_directory(path),
        Op::Resolve { name, port } => resolve(name, *port),
        Op::Start { starter, .. } => children::start(starter),
        other => unreachable!("{other} has a handle or needs no call"),
    }
}

/// Opens a directory and finds it to be one, or reads some more of its entries; none is the end.
fn read_directory(op: &Op, path: &OsStr) -> Outcome {
    let fault = |error: io::Error| Fault::from_io(&error);
    let Op::ReadDirectory { reader, .. } = op else {
        std::fs::read_dir(path).map_err(fault)?;
        return done();
    };
    let mut reader = reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = match &mut *reader {
        Some(directory) => directory,
        none => {
            let entries = std::fs::read_dir(path).map_err(fault)?;
            none.insert(Entries(Box::new(entries.map(|entry| entry.map(|entry| Entry::from_std(&entry))))))
        }
    };
    let mut entries = Vec::new();
    for entry in directory.0.by_ref().take(ENTRIES_MAX) {
        entries.push(entry.map_err(fault)?);
    }
    Ok(Value::Entries(entries))
}

/// Makes the names in a directory durable.
fn sync_directory(path: &CStr) -> Outcome {
    let directory = calls::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, calls::Mode::empty())?;
    calls::fsync(directory)?;
    done()
}

fn resolve(name: &str, port: u16) -> Outcome {
    match (name, port).to_socket_addrs() {
        Ok(addresses) => Ok(Value::Addresses(addresses.collect())),
        Err(error) if error.raw_os_error().is_some() => Err(Fault::from_io(&error)),
        Err(error) => Err(Fault::Name(error.to_string().into_boxed_str())),
    }
}

fn on_descriptor(op: &Op, descriptor: BorrowedFd<'_>, class: Class) -> Outcome {
    match op {
        Op::Sync { data_only: true } => sync_data(descriptor).map_err(Fault::from).and_then(|()| done()),
        Op::Sync { data_only: false } => calls::fsync(descriptor).map_err(Fault::from).and_then(|()| done()),
        Op::Truncate { length } => calls::ftruncate(descriptor, *length).map_err(Fault::from).and_then(|()| done()),
        Op::Allocate { offset, length } => calls::fallocate(descriptor, FallocateFlags::empty(), *offset, *length)
            .map_err(Fault::from)
            .and_then(|()| done()),
        Op::StatHandle => Ok(Value::Metadata(Box::new(Metadata::from_stat(&calls::fstat(descriptor)?)))),
        Op::Shutdown { how } => shut_down(descriptor, *how),
        Op::Close => close(descriptor.as_raw_fd()),
        Op::Accept => accept(descriptor, false),
        Op::Connect { address } => connect_for_a_while(descriptor, address),
        Op::AwaitReady { writes } => ready_for_a_while(descriptor, *writes),
        other => unreachable!("{other} on a {class:?} is not a bare call"),
    }
}

#[cfg(not(target_vendor = "apple"))]
use calls::fdatasync as sync_data;

/// Apple's has no call for the content alone.
#[cfg(target_vendor = "apple")]
use calls::fsync as sync_data;

pub(super) fn shut_down(descriptor: BorrowedFd<'_>, how: Shutdown) -> Outcome {
    let how = match how {
        Shutdown::Read => std::net::Shutdown::Read,
        Shutdown::Write => std::net::Shutdown::Write,
        Shutdown::Both => std::net::Shutdown::Both,
    };
    SockRef::from(&descriptor).shutdown(how).map_err(|error| Fault::from_io(&error))?;
    done()
}

/// Closes a descriptor that the queue has given up. After an error it is closed all the same (see close(2)).
pub(super) fn close(raw: RawDescriptor) -> Outcome {
    // SAFETY: the queue took the descriptor out of its handle for this one call; nobody uses the number after.
    match unsafe { libc::close(raw) } {
        0 => done(),
        _ => match io::Error::last_os_error().raw_os_error() {
            Some(libc::EINTR | libc::EINPROGRESS) | None => done(),
            Some(code) => Err(Fault::Os(code)),
        },
    }
}

/// The flags of open(2).
pub(super) fn open_flags(options: &OpenOptions) -> OFlags {
    let mut flags = OFlags::CLOEXEC;
    flags |= match (options.read, options.write || options.append) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    let optional = [
        (options.append, OFlags::APPEND),
        (options.create || options.create_new, OFlags::CREATE),
        (options.create_new, OFlags::EXCL),
        (options.truncate, OFlags::TRUNC),
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        (options.direct, OFlags::DIRECT),
    ];
    for (wanted, flag) in optional {
        if wanted {
            flags |= flag;
        }
    }
    flags
}

/// A list of parts in the OS's own form, cut to what one call takes.
pub(super) fn vectors(parts: &[Part]) -> (*const libc::iovec, libc::c_int) {
    // A `Part` is laid out like an `iovec`: an address and a length.
    const { assert!(size_of::<Part>() == size_of::<libc::iovec>()) };
    (parts.as_ptr().cast(), parts.len() as libc::c_int)
}

/// The length of the only part, cut to what one call takes.
pub(super) fn clamp(length: usize) -> usize {
    length.min(TRANSFER_BYTES_MAX as usize)
}

fn counted(result: isize) -> Outcome {
    match result {
        -1 => Err(Fault::from_io(&io::Error::last_os_error())),
        count => Ok(Value::Count(count as u64)),
    }
}

/// read, write and their kin, by descriptor, offset and parts.
fn transfer(submission: &Submission<'_>) -> Outcome {
    let raw = submission.descriptor;
    let (list, count) = vectors(submission.parts);
    let writes = matches!(submission.op, Op::Write { .. });
    if writes && submission.class == Class::Stream {
        return write_to_stream(submission);
    }
    // SAFETY: the parts are the backend's from submission to completion (see the module page), and this call ends
    // before the completion is reported. `list` points to `count` parts that live through the call.
    let result = unsafe {
        match (submission.parts, submission.offset.map(|offset| offset as libc::off_t), writes) {
            ([part], Some(offset), false) => libc::pread(raw, part.pointer.cast(), clamp(part.length), offset),
            ([part], Some(offset), true) => libc::pwrite(raw, part.pointer.cast(), clamp(part.length), offset),
            ([part], None, false) => libc::read(raw, part.pointer.cast(), clamp(part.length)),
            ([part], None, true) => libc::write(raw, part.pointer.cast(), clamp(part.length)),
            (_, Some(offset), false) => libc::preadv(raw, list, count, offset),
            (_, Some(offset), true) => libc::pwritev(raw, list, count, offset),
            (_, None, false) => libc::readv(raw, list, count),
            (_, None, true) => libc::writev(raw, list, count),
        }
    };
    counted(result)
}

/// write on a stream, without a signal if nobody will read it.
fn write_to_stream(submission: &Submission<'_>) -> Outcome {
    let raw = submission.descriptor;
    let (list, count) = vectors(submission.parts);
    #[cfg(target_os = "linux")]
    match sigpipe::write_flag() {
        0 => {}
        // SAFETY: as in `transfer`.
        flag => match counted(unsafe { libc::pwritev2(raw, list, count, HERE, flag) }) {
            // A device whose driver takes no flags.
            Err(Fault::Os(libc::EOPNOTSUPP)) => {}
            outcome => return outcome,
        },
    }
    // SAFETY: as in `transfer`.
    sigpipe::without_signal(|| counted(unsafe { libc::writev(raw, list, count) }))
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(super) const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(super) const SEND_FLAGS: libc::c_int = 0;

/// recv and send, by parts.
fn message(submission: &Submission<'_>, flags: libc::c_int) -> Outcome {
    let raw = submission.descriptor;
    let sends = matches!(submission.op, Op::Send { .. });
    let (list, count) = vectors(submission.parts);
    // SAFETY: as in `transfer`. The header is zeroed, which is a valid empty one, and lives through the call.
    let result = unsafe {
        match (submission.parts, sends) {
            ([part], false) => libc::recv(raw, part.pointer.cast(), clamp(part.length), flags),
            ([part], true) => libc::send(raw, part.pointer.cast(), clamp(part.length), flags | SEND_FLAGS),
            _ => {
                let mut header: libc::msghdr = MaybeUninit::zeroed().assume_init();
                header.msg_iov = list.cast_mut();
                header.msg_iovlen = count as _;
                match sends {
                    false => libc::recvmsg(raw, &mut header, flags),
                    true => libc::sendmsg(raw, &header, flags | SEND_FLAGS),
                }
            }
        }
    };
    counted(result)
}

/// Sends on a socket what there is room for, without waiting; nothing if there is none.
#[inline]
pub(super) fn send_at_once(raw: RawDescriptor, bytes: &[u8]) -> Option<Result<u64, i32>> {
    // SAFETY: the queue asks for this on a handle that is open, whose descriptor stays so as long as this call runs.
    let socket = unsafe { BorrowedFd::borrow_raw(raw) };
    let flags = SendFlags::DONTWAIT | SendFlags::from_bits_retain(SEND_FLAGS as _);
    loop {
        // Not the C library's call: in a program of several threads that is five times as long, as threads may be cancelled there.
        return match rustix::net::send(socket, &bytes[..clamp(bytes.len())], flags) {
            Ok(count) => Some(Ok(count as u64)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => None,
            Err(code) => Some(Err(code.raw_os_error())),
        };
    }
}

/// No place: all there is on a stream.
#[cfg(target_os = "linux")]
const HERE: libc::off_t = -1;

/// read or write on a stream without waiting, whatever mode its description is in: what others do with the mode cannot
/// make this thread wait. Nothing where the system has no such call for it.
#[cfg(target_os = "linux")]
pub(super) fn transfer_at_once(submission: &Submission<'_>) -> Option<Outcome> {
    let raw = submission.descriptor;
    let (list, count) = vectors(submission.parts);
    // SAFETY: as in `transfer`.
    let write = |flags| counted(unsafe { libc::pwritev2(raw, list, count, HERE, libc::RWF_NOWAIT | flags) });
    loop {
        let outcome = match (submission.op, sigpipe::write_flag()) {
            (Op::Write { .. }, 0) => sigpipe::without_signal(|| write(0)),
            (Op::Write { .. }, flag) => write(flag),
            // SAFETY: as in `transfer`.
            _ => counted(unsafe { libc::preadv2(raw, list, count, HERE, libc::RWF_NOWAIT) }),
        };
        match outcome {
            Err(Fault::Interrupted) => continue,
            // Not on this kernel, or not on this kind of stream; the call without the flag has the last word.
            Err(Fault::Os(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) => return None,
            outcome => return Some(outcome),
        }
    }
}

/// Whether a file goes past the page cache.
#[cfg(target_os = "linux")]
pub(super) fn is_direct(raw: RawDescriptor) -> bool {
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
    let descriptor = unsafe { BorrowedFd::borrow_raw(raw) };
    calls::fcntl_getfl(descriptor).map_or(true, |flags| flags.contains(OFlags::DIRECT))
}

/// Reads what is in the page cache: so many bytes, none if there are none. Nothing where the OS has no such call for this
/// file.
#[cfg(target_os = "linux")]
pub(super) fn read_at_once(raw: RawDescriptor, part: Part, offset: u64) -> Option<u64> {
    let list = [part];
    let (list, count) = vectors(&list);
    // SAFETY: the part is of the buffer of a request that has not been handed to anybody else, and `list` lives through
    // the call, after which the OS has neither.
    match counted(unsafe { libc::preadv2(raw, list, count, offset as libc::off_t, libc::RWF_NOWAIT) }) {
        Ok(Value::Count(count)) => Some(count),
        Err(Fault::Os(libc::EAGAIN) | Fault::Interrupted) => Some(0),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn transfer_at_once(_submission: &Submission<'_>) -> Option<Outcome> {
    None
}

/// Whether a read or write on a stream would find something, now.
pub(super) fn is_ready(submission: &Submission<'_>) -> bool {
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
    let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
    let wanted = match submission.op {
        Op::Write { .. } | Op::AwaitReady { writes: true } => PollFlags::OUT,
        _ => PollFlags::IN,
    };
    // Errors and a peer's end are found by the call itself.
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(rustix::event::poll(&mut [PollFd::new(&descriptor, wanted)], Some(&now)), Ok(0))
}

/// Waits until a socket is ready: EAGAIN if it is not for a while, as whoever asked may want no more.
fn ready_for_a_while(descriptor: BorrowedFd<'_>, writes: bool) -> Outcome {
    const WHILE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let wanted = if writes { PollFlags::OUT } else { PollFlags::IN };
    match rustix::event::poll(&mut [PollFd::new(&descriptor, wanted)], Some(&WHILE))? {
        0 => Err(Fault::Os(libc::EAGAIN)),
        _ => done(),
    }
}

/// Whether a path is a FIFO's, whose open waits for the other side.
pub(super) fn is_fifo(path: &CStr) -> bool {
    calls::stat(path).is_ok_and(|stat| calls::FileType::from_raw_mode(stat.st_mode).is_fifo())
}

/// What a non-blocking try came to.
#[derive(Debug)]
pub(crate) enum Attempt {
    Ended(Outcome),
    WouldBlock,
}

/// Tries one operation on a socket or pipe without blocking; nothing if it would.
///
/// Pipes and listeners must be non-blocking; sockets need not be. `accepts_nonblocking` is the mode of a connection
/// that is accepted.
pub(crate) fn attempt(submission: &Submission<'_>, accepts_nonblocking: bool) -> Option<Outcome> {
    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
    let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
    loop {
        let outcome = match submission.op {
            Op::Recv { .. } | Op::Send { .. } => message(submission, libc::MSG_DONTWAIT),
            Op::RecvFrom { .. } | Op::SendTo { .. } => datagram::exchange(submission, libc::MSG_DONTWAIT),
            Op::Read { .. } | Op::Write { .. } => transfer(submission),
            Op::Accept => accept(descriptor, accepts_nonblocking),
            Op::AwaitExit { pid } => return children::reap(*pid, descriptor),
            Op::AwaitReady { .. } => return is_ready(submission).then(done),
            other => unreachable!("{other} is not tried without blocking"),
        };
        match outcome {
            Err(Fault::Interrupted) => continue,
            // EAGAIN and EWOULDBLOCK are one on all systems that the backend is for.
            Err(Fault::Os(libc::EAGAIN)) => return None,
            outcome => return Some(outcome),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn accept(listener: BorrowedFd<'_>, nonblocking: bool) -> Outcome {
    use rustix::net::{SocketFlags, accept_with};
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, nonblocking);
    Ok(Value::Descriptor(accept_with(listener, flags)?.into()))
}

/// Apple's accept(2) has no flags, and its send(2) none against SIGPIPE.
#[cfg(target_vendor = "apple")]
fn accept(listener: BorrowedFd<'_>, nonblocking: bool) -> Outcome {
    let connection = rustix::net::accept(listener)?;
    rustix::io::fcntl_setfd(&connection, rustix::io::FdFlags::CLOEXEC)?;
    let prepared =
        super::set_nonblocking(&connection, nonblocking).and_then(|()| SockRef::from(&connection).set_nosigpipe(true));
    prepared.map_err(|error| Fault::from_io(&error))?;
    Ok(Value::Descriptor(connection.into()))
}

/// Connects to a listener of the Unix domain, which may have no room yet: EAGAIN if it has none for a while. No event tells
/// when it has, and whoever asked may want no more.
fn connect_for_a_while(descriptor: BorrowedFd<'_>, address: &Address) -> Outcome {
    const WHILE: Duration = Duration::from_millis(50);
    let connect = || {
        let socket = SockRef::from(&descriptor);
        let address = address::to_os(address)?;
        let (mode, limit) = (calls::fcntl_getfl(descriptor)?, socket.write_timeout()?);
        socket.set_write_timeout(Some(WHILE))?;
        let connected = match calls::fcntl_setfl(descriptor, mode.difference(OFlags::NONBLOCK)) {
            Ok(()) => socket.connect(&address),
            Err(error) => Err(error.into()),
        };
        // What was changed for the call is as before, however it went.
        let restored = calls::fcntl_setfl(descriptor, mode).map_err(io::Error::from);
        socket.set_write_timeout(limit)?;
        restored?;
        connected
    };
    connect().map_err(|error| Fault::from_io(&error))?;
    done()
}

/// Starts a connect on a non-blocking socket.
pub(super) fn start_connect(descriptor: BorrowedFd<'_>, address: &Address) -> Attempt {
    match address::to_os(address).and_then(|address| SockRef::from(&descriptor).connect(&address)) {
        Ok(()) => Attempt::Ended(done()),
        Err(error) => match error.raw_os_error() {
            // Interrupted, it goes on in the background like one in progress (see connect(2)).
            Some(libc::EINPROGRESS | libc::EINTR | libc::EALREADY) => Attempt::WouldBlock,
            _ => Attempt::Ended(Err(Fault::from_io(&error))),
        },
    }
}

/// How a connect that was in progress ended, if it has.
pub(super) fn finish_connect(descriptor: BorrowedFd<'_>) -> Attempt {
    let socket = SockRef::from(&descriptor);
    match socket.take_error() {
        Ok(Some(error)) | Err(error) => Attempt::Ended(Err(Fault::from_io(&error))),
        Ok(None) => match socket.peer_addr() {
            Ok(_) => Attempt::Ended(done()),
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => Attempt::WouldBlock,
            Err(error) => Attempt::Ended(Err(Fault::from_io(&error))),
        },
    }
}

/// Takes ownership of a descriptor that the OS has just returned as a number.
#[cfg(target_os = "linux")]
pub(crate) fn adopt_descriptor(raw: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::{FromRawFd, OwnedFd};
    // SAFETY: called with numbers fresh from the kernel, which nobody else knows yet.
    unsafe { OwnedFd::from_raw_fd(raw) }
}
