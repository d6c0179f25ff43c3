//! What a fake port does in place of Windows' drivers: the same on this system's descriptors, without waiting.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use socket2::{Domain, SockAddr, SockAddrStorage, SockRef, Socket, Type};

use super::super::blocks::Call;
use super::super::port::*;
use crate::address::{Address, UnixAddress};
use crate::backend::address;
use crate::backend::perform::{finish_connect, start_connect, transfer_at_once};
use crate::backend::portable::open_again;
use crate::backend::{
    Attempt, Descriptor, Fault, Outcome, RawDescriptor, Submission, TRANSFER_PARTS_MAX, Token, Value, WaitsBy, attempt,
    perform, set_nonblocking,
};
use crate::buffer::{Part, Parts};
use crate::op::{At, Class, Extent, Op};

/// What this system's codes are in Windows' words; those that have none keep theirs, marked as an application's.
const CODES: [(i32, Code); 22] = [
    (libc::ECANCELED, ERROR_OPERATION_ABORTED),
    (libc::EBADF, ERROR_INVALID_HANDLE),
    (libc::EINVAL, ERROR_INVALID_PARAMETER),
    (libc::EMFILE, ERROR_TOO_MANY_OPEN_FILES),
    (libc::ENOSPC, ERROR_DISK_FULL),
    (libc::ENOBUFS, ERROR_NO_SYSTEM_RESOURCES),
    (libc::EOPNOTSUPP, ERROR_NOT_SUPPORTED),
    (libc::EPIPE, ERROR_NO_DATA),
    (libc::EPIPE, ERROR_BROKEN_PIPE),
    (libc::ENOTSOCK, WSAENOTSOCK),
    (libc::ENOTCONN, WSAENOTCONN),
    (libc::ECONNRESET, WSAECONNRESET),
    (libc::ECONNABORTED, WSAECONNABORTED),
    (libc::ECONNREFUSED, WSAECONNREFUSED),
    (libc::ETIMEDOUT, WSAETIMEDOUT),
    (libc::ENETUNREACH, WSAENETUNREACH),
    (libc::EHOSTUNREACH, WSAEHOSTUNREACH),
    (libc::EADDRINUSE, WSAEADDRINUSE),
    (libc::EMSGSIZE, WSAEMSGSIZE),
    (libc::EAGAIN, WSAEWOULDBLOCK),
    (libc::EBADFD, ERROR_ABANDONED_WAIT_0),
    (libc::ENODATA, ERROR_PIPE_NOT_CONNECTED),
];

/// The bit of codes that are an application's own.
const OWN: Code = 1 << 29;

pub(super) fn code_of_errno(errno: i32) -> Code {
    CODES.iter().find(|(host, _)| *host == errno).map_or(OWN | errno as u32, |(_, code)| *code)
}

pub(super) fn errno_of_code(code: Code) -> i32 {
    match CODES.iter().find(|(_, other)| *other == code) {
        Some((host, _)) => *host,
        None if code & OWN != 0 => (code & !OWN) as i32,
        None => libc::EIO,
    }
}

/// What a driver puts into a packet for a code: other words where Winsock's are not the drivers'.
pub(super) fn code_in_packet(code: Code) -> Code {
    match code {
        WSAECONNRESET => ERROR_NETNAME_DELETED,
        WSAECONNREFUSED => ERROR_CONNECTION_REFUSED,
        WSAECONNABORTED => ERROR_CONNECTION_ABORTED,
        WSAENOTCONN => ERROR_CONNECTION_INVALID,
        WSAETIMEDOUT => ERROR_SEM_TIMEOUT,
        WSAENETUNREACH => ERROR_NETWORK_UNREACHABLE,
        WSAEHOSTUNREACH => ERROR_HOST_UNREACHABLE,
        code => code,
    }
}

/// What is left of pipes' messages of which a part was read.
pub(super) type Rests = BTreeMap<RawDescriptor, Vec<u8>>;
/// A message of a double's pipe at most.
const MESSAGE_BYTES_MAX: usize = 1 << 16;

/// What one read of a stream takes at most.
const STREAM_BYTES_MAX: u64 = 1 << 20;

/// Room for any address.
const ADDRESS_BYTES: usize = size_of::<SockAddrStorage>();

/// Of one call: a request's, and where a datagram's rest goes.
const PARTS_MAX: usize = TRANSFER_PARTS_MAX + 1;

/// The parts of one call, in place: the double allocates nothing for a request, so that what the backend does can be counted.
#[derive(Clone, Copy)]
pub(super) struct Runs {
    list: [Part; PARTS_MAX],
    count: usize,
}

impl Runs {
    pub(super) fn of(vectors: &[Vector]) -> Runs {
        let mut runs = Runs { list: [NOTHING; PARTS_MAX], count: vectors.len() };
        for (part, vector) in runs.list.iter_mut().zip(vectors) {
            *part = Part { pointer: vector.pointer, length: vector.length as usize };
        }
        runs
    }

    /// What is left behind the first `skip` bytes, and no more than `room`.
    fn cut(&self, mut skip: usize, mut room: usize) -> Runs {
        let mut left = Runs { list: [NOTHING; PARTS_MAX], count: 0 };
        for part in &self[..] {
            let begin = skip.min(part.length);
            skip -= begin;
            let length = (part.length - begin).min(room);
            room -= length;
            if length > 0 {
                left.list[left.count] = Part { pointer: part.pointer.wrapping_add(begin), length };
                left.count += 1;
            }
        }
        left
    }
}

impl Deref for Runs {
    type Target = [Part];

    fn deref(&self) -> &[Part] {
        &self.list[..self.count]
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} parts", self.count)
    }
}

const NOTHING: Part = Part { pointer: std::ptr::null_mut(), length: 0 };

/// What a request is to do.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) call: Call,
    pub(super) descriptor: RawDescriptor,
    pub(super) parts: Runs,
    pub(super) offset: u64,
    /// Where a connect or a datagram goes.
    pub(super) address: Option<Address>,
    /// Where the sender of a datagram goes, and its length.
    pub(super) sender: Option<(*mut u8, *mut i32)>,
    /// What an accept fills.
    pub(super) connection: RawDescriptor,
    pub(super) bytes_max: u64,
    pub(super) is_begun: bool,
    pub(super) moved: u64,
}

impl Task {
    /// Carries it out as far as it goes without waiting: its code and the bytes moved, once it has ended.
    pub(super) fn try_now(&mut self, rests: &mut Rests) -> Option<(Code, u64)> {
        match self.call {
            Call::Connect => self.try_connect(),
            Call::Accept => self.try_accept(),
            Call::Read | Call::Write if self.is_of_file() => Some(self.on_file()),
            Call::Read if is_of_messages(self.descriptor) => self.read_message(rests),
            Call::Read | Call::Receive => self.take(),
            Call::Write | Call::Send => self.give(),
            Call::ReceiveFrom => self.receive_datagram(),
            Call::SendTo => {
                let op = Op::SendTo { address: self.address.clone(), parts: Parts::default() };
                self.attempt(&op, Class::Datagram).map(counted)
            }
        }
    }

    pub(super) fn is_of_file(&self) -> bool {
        matches!(self.call, Call::Read | Call::Write) && is_file(self.descriptor)
    }

    /// What poll(2) is to look for.
    pub(super) fn interest(&self) -> i16 {
        match self.call {
            Call::Read | Call::Receive | Call::ReceiveFrom | Call::Accept => libc::POLLIN,
            Call::Write | Call::Send | Call::SendTo | Call::Connect => libc::POLLOUT,
        }
    }

    fn try_connect(&mut self) -> Option<(Code, u64)> {
        let descriptor = lend(self.descriptor);
        let attempt = match (self.is_begun, &self.address) {
            (false, Some(address)) => {
                self.is_begun = true;
                if let Err(error) = set_nonblocking(descriptor, true) {
                    return Some((code_of_errno(error.raw_os_error().unwrap_or(libc::EIO)), 0));
                }
                start_connect(descriptor, address)
            }
            _ => finish_connect(descriptor),
        };
        match attempt {
            Attempt::WouldBlock => None,
            Attempt::Ended(outcome) => Some(counted(outcome)),
        }
    }

    fn try_accept(&mut self) -> Option<(Code, u64)> {
        if let Err(error) = set_nonblocking(lend(self.descriptor), true) {
            return Some((code_of_errno(error.raw_os_error().unwrap_or(libc::EIO)), 0));
        }
        match self.attempt(&Op::Accept, Class::Listener)? {
            Ok(Value::Descriptor(Descriptor::Os(accepted))) => {
                // The socket that was given becomes the connection.
                // SAFETY: both are open, and neither is anybody else's.
                let result = unsafe { libc::dup3(accepted.as_raw_fd(), self.connection, libc::O_CLOEXEC) };
                Some(if result < 0 { (last_code(), 0) } else { (0, 0) })
            }
            outcome => Some(counted(outcome)),
        }
    }

    fn attempt(&self, op: &Op, class: Class) -> Option<Outcome> {
        attempt(&self.submission(op, class, &self.parts), true)
    }

    fn submission<'a>(&self, op: &'a Op, class: Class, parts: &'a [Part]) -> Submission<'a> {
        Submission {
            token: Token(0),
            op,
            descriptor: self.descriptor,
            class,
            parts,
            offset: matches!(class, Class::File { .. }).then_some(self.offset),
            extends: false,
            waits_by: WaitsBy::Class,
            lingers: false,
        }
    }

    /// The parts that are left, and no more than are allowed.
    fn left(&self) -> Runs {
        // A device has as much as is asked for.
        let limit = if self.call == Call::Read && !self.is_of_file() { STREAM_BYTES_MAX } else { u64::MAX };
        let room = self.bytes_max.min(limit).saturating_sub(self.moved) as usize;
        self.parts.cut(self.moved as usize, room)
    }

    fn on_file(&mut self) -> (Code, u64) {
        let op = match self.call {
            Call::Read => Op::Read { at: At::Offset(self.offset), extent: Extent::Some, parts: Parts::default() },
            _ => Op::Write { at: At::Offset(self.offset), parts: Parts::default() },
        };
        let parts = self.left();
        let result = counted(perform(&self.submission(&op, Class::File { append: false }, &parts)));
        match (self.call, result) {
            (Call::Read, (0, 0)) => (ERROR_HANDLE_EOF, 0),
            (_, result) => result,
        }
    }

    /// Takes what there is of a stream.
    fn take(&mut self) -> Option<(Code, u64)> {
        let parts = self.left();
        if self.call == Call::Receive {
            let op = Op::Recv { extent: Extent::Some, parts: Parts::default() };
            return attempt(&self.submission(&op, Class::Socket, &parts), true).map(counted);
        }
        let op = Op::Read { at: At::Cursor, extent: Extent::Some, parts: Parts::default() };
        let outcome = transfer_once(&self.submission(&op, Class::Stream, &parts))?;
        Some(match counted(outcome) {
            (0, 0) => (ERROR_BROKEN_PIPE, 0),
            other => other,
        })
    }

    /// Gives all to a stream, as much at a time as it takes.
    fn give(&mut self) -> Option<(Code, u64)> {
        loop {
            let parts = self.left();
            if parts.is_empty() {
                return Some((0, self.moved));
            }
            let outcome = match self.call {
                Call::Send => {
                    let op = Op::Send { parts: Parts::default() };
                    attempt(&self.submission(&op, Class::Socket, &parts), true)
                }
                _ => {
                    let op = Op::Write { at: At::Cursor, parts: Parts::default() };
                    transfer_once(&self.submission(&op, Class::Stream, &parts))
                }
            };
            match counted(outcome?) {
                (0, count) => self.moved += count,
                (code, _) => return Some((code, self.moved)),
            }
        }
    }

    fn receive_datagram(&mut self) -> Option<(Code, u64)> {
        let arrival = match self.attempt(&Op::RecvFrom { parts: Parts::default() }, Class::Datagram)? {
            Ok(Value::Datagram(arrival)) => arrival,
            outcome => return Some(counted(outcome)),
        };
        if let (Some((bytes, length)), Ok(name)) = (self.sender, address::to_os(&arrival.sender)) {
            let room = name.len().min(ADDRESS_BYTES as u32);
            // SAFETY: the caller has so much room for the address, and for its length.
            unsafe {
                bytes.copy_from_nonoverlapping(name.as_ptr().cast(), room as usize);
                *length = room as i32;
            }
        }
        let is_cut = arrival.size.is_none_or(|size| size > arrival.count);
        Some((if is_cut { ERROR_MORE_DATA } else { 0 }, u64::from(arrival.count)))
    }

    /// A message of a pipe, or the part of it that fits; the rest stays for the next read.
    fn read_message(&mut self, rests: &mut Rests) -> Option<(Code, u64)> {
        let part = self.left()[0];
        let raw = self.descriptor;
        let message = match rests.remove(&raw) {
            Some(rest) => rest,
            None => {
                let mut message = vec![0; MESSAGE_BYTES_MAX];
                // SAFETY: the memory is this function's, and as long as is said.
                match unsafe { libc::recv(raw, message.as_mut_ptr().cast(), message.len(), libc::MSG_DONTWAIT) } {
                    -1 if last_errno() == libc::EAGAIN => return None,
                    -1 => return Some((last_code(), 0)),
                    0 => return Some((ERROR_BROKEN_PIPE, 0)),
                    count => message.truncate(count as usize),
                }
                message
            }
        };
        let count = message.len().min(part.length);
        // SAFETY: the part is the request's, which is in flight, and `message` is this function's own.
        unsafe { part.pointer.copy_from_nonoverlapping(message.as_ptr(), count) };
        if count < message.len() {
            rests.insert(raw, message[count..].to_vec());
            return Some((ERROR_MORE_DATA, count as u64));
        }
        Some((0, count as u64))
    }
}

/// Moves what can be moved on a stream that is no socket; nothing if none can be.
fn transfer_once(submission: &Submission<'_>) -> Option<Outcome> {
    match transfer_at_once(submission) {
        Some(Err(Fault::Os(libc::EAGAIN))) => None,
        Some(outcome) => Some(outcome),
        // Not on this kernel, or not of this kind: through a description of our own, which does not wait.
        None => {
            let own = open_again(lend(submission.descriptor));
            let descriptor = own.as_ref().map_or(submission.descriptor, AsRawFd::as_raw_fd);
            attempt(&Submission { descriptor, ..*submission }, true)
        }
    }
}

/// The address that a receive has left.
pub(super) fn address(bytes: &[u8]) -> Address {
    let mut storage = SockAddrStorage::zeroed();
    let length = bytes.len().min(ADDRESS_BYTES);
    // SAFETY: a `SockAddrStorage` is so large, and any bytes are a valid one.
    unsafe { (&raw mut storage).cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), length) };
    // SAFETY: so many bytes of it are an address that this system has made.
    let name = unsafe { SockAddr::new(storage, length as libc::socklen_t) };
    address::from_os(&name).unwrap_or_else(|_| UnixAddress::unnamed().into())
}

pub(super) fn connect_datagrams(descriptor: RawDescriptor, address: &Address) -> Result<(), Code> {
    match start_connect(lend(descriptor), address) {
        Attempt::Ended(outcome) => match counted(outcome) {
            (0, _) => Ok(()),
            (code, _) => Err(code),
        },
        Attempt::WouldBlock => Err(WSAEWOULDBLOCK),
    }
}

fn counted(outcome: Outcome) -> (Code, u64) {
    match outcome {
        Ok(Value::Count(count)) => (0, count),
        Ok(_) => (0, 0),
        Err(Fault::Os(errno)) => (code_of_errno(errno), 0),
        Err(_) => (code_of_errno(libc::EIO), 0),
    }
}

pub(super) fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

pub(super) fn last_code() -> Code {
    code_of_errno(last_errno())
}

pub(super) fn lend<'a>(raw: RawDescriptor) -> BorrowedFd<'a> {
    // SAFETY: of descriptors that the caller of the port keeps open during its call.
    unsafe { BorrowedFd::borrow_raw(raw) }
}

/// Whether a descriptor is of a file, and which of all things it is of.
pub(super) fn identity(raw: RawDescriptor) -> (bool, u64) {
    (is_file(raw), rustix::fs::fstat(lend(raw)).map_or(0, |stat| stat.st_ino))
}

fn is_file(raw: RawDescriptor) -> bool {
    use rustix::fs::{FileType, fstat};
    let kind = fstat(lend(raw)).map(|stat| FileType::from_raw_mode(stat.st_mode));
    matches!(kind, Ok(FileType::RegularFile | FileType::BlockDevice | FileType::Directory))
}

/// Whether a descriptor is the double's pipe of messages: a pair of sockets that keep them.
fn is_of_messages(raw: RawDescriptor) -> bool {
    SockRef::from(&lend(raw)).r#type().is_ok_and(|kind| kind == Type::SEQPACKET)
}

/// A socket of a listener's family, to become a connection.
pub(super) fn new_connection(listener: RawDescriptor) -> io::Result<Descriptor> {
    let address = SockRef::from(&lend(listener)).local_addr()?;
    let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
    Ok(Descriptor::Os(OwnedFd::from(socket)))
}

/// A double of a named pipe: both ends, overlapped.
#[cfg(test)]
pub(crate) fn named_pipe(of_messages: bool) -> (OwnedFd, OwnedFd) {
    let kind = if of_messages { Type::SEQPACKET } else { Type::STREAM };
    let (server, client) = Socket::pair(Domain::UNIX, kind, None).unwrap();
    (server.into(), client.into())
}

/// Takes a descriptor that `socket` or the like has just made.
pub(super) fn own(raw: RawDescriptor) -> io::Result<OwnedFd> {
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fresh from the kernel, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Waits until one of `interests` may go on, or `event` is readable, for at most so many nanoseconds.
pub(super) fn poll(
    event: &OwnedFd,
    interests: impl Iterator<Item = (RawDescriptor, i16)>,
    nanoseconds: Option<u64>,
    list: &mut Vec<libc::pollfd>,
) {
    list.clear();
    list.push(libc::pollfd { fd: event.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 });
    list.extend(interests.map(|(fd, events)| libc::pollfd { fd, events, revents: 0 }));
    let time = nanoseconds.map(|time| libc::timespec {
        tv_sec: (time / 1_000_000_000) as libc::time_t,
        tv_nsec: (time % 1_000_000_000) as libc::c_long,
    });
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the list and the time live through the call.
    unsafe { libc::ppoll(list.as_mut_ptr(), list.len() as libc::nfds_t, time, std::ptr::null()) };
}
