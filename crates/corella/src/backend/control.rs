//! What is asked of a handle and answered at once, without a place in its lanes: addresses, options, its nature.

use std::io;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive, Type};

use super::address::{domain, from_os, to_os};
#[cfg(unix)]
use super::os::from_file;
use super::os::{OsDescriptor, OwnedSocket, from_socket};
use crate::address::Address;
use crate::fs::FileKind;
use crate::op::Class;

/// A call about a socket that finishes at once.
#[derive(Clone, Debug)]
pub(crate) enum SocketCall {
    Bind(Address),
    /// With so many connections waiting at most.
    Listen(i32),
    LocalAddress,
    PeerAddress,
    NoDelay,
    /// The pending error, cleared by asking.
    TakeError,
    SetNoDelay(bool),
    /// With the idle time before the first probe.
    SetKeepAlive(bool, Option<Duration>),
    SetLinger(Option<Duration>),
    SetSendBuffer(usize),
    SetReceiveBuffer(usize),
    SetTimeToLive(u32),
    SetReuseAddress(bool),
    SetBroadcast(bool),
}

/// What a [`SocketCall`] answers.
#[derive(Debug)]
pub(crate) enum SocketAnswer {
    Done,
    Address(Address),
    Flag(bool),
    Pending(Option<io::Error>),
}

/// What a descriptor refers to, as the OS has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) kind: FileKind,
    pub(crate) size: u64,
    /// Another program answers for it (FUSE), and may never do so.
    pub(crate) is_answered_by_program: bool,
}

/// How a descriptor is that somebody else has opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// Every write goes to the end.
    pub(crate) appends: bool,
    /// Only readiness waits for it: its description is in non-blocking mode, or it is a terminal, for whose paused output
    /// a ring would wait on the scheduler's thread.
    pub(crate) nonblocking: bool,
    /// Where its cursor is, if it has one.
    pub(crate) cursor: u64,
}

pub(super) fn socket_call(descriptor: &OsDescriptor, call: SocketCall) -> io::Result<SocketAnswer> {
    let socket = SockRef::from(descriptor);
    match call {
        SocketCall::Bind(address) => socket.bind(&to_os(&address)?)?,
        SocketCall::Listen(backlog) => socket.listen(backlog)?,
        SocketCall::LocalAddress => return from_os(&socket.local_addr()?).map(SocketAnswer::Address),
        SocketCall::PeerAddress => return from_os(&socket.peer_addr()?).map(SocketAnswer::Address),
        SocketCall::NoDelay => return Ok(SocketAnswer::Flag(socket.tcp_nodelay()?)),
        SocketCall::TakeError => return Ok(SocketAnswer::Pending(socket.take_error()?)),
        SocketCall::SetNoDelay(yes) => socket.set_tcp_nodelay(yes)?,
        SocketCall::SetKeepAlive(yes, idle) => {
            socket.set_keepalive(yes)?;
            if let (true, Some(idle)) = (yes, idle) {
                socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
            }
        }
        SocketCall::SetLinger(duration) => socket.set_linger(duration)?,
        SocketCall::SetSendBuffer(bytes) => socket.set_send_buffer_size(bytes)?,
        SocketCall::SetReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes)?,
        SocketCall::SetTimeToLive(hops) => socket.set_ttl_v4(hops)?,
        SocketCall::SetReuseAddress(yes) => socket.set_reuse_address(yes)?,
        SocketCall::SetBroadcast(yes) => socket.set_broadcast(yes)?,
    }
    Ok(SocketAnswer::Done)
}

/// A socket of this address's family, blocking or not as the backend wants it.
pub(super) fn new_socket(address: &Address, class: Class, nonblocking: bool) -> io::Result<OsDescriptor> {
    let kind = if class == Class::Datagram { Type::DGRAM } else { Type::STREAM };
    // Refused for what it is, and not for its family.
    #[cfg(windows)]
    to_os(address)?;
    let socket = Socket::new(domain(address), kind, None)?;
    socket.set_nonblocking(nonblocking)?;
    Ok(from_socket(socket.into()))
}

/// Two sockets of the Unix domain that are connected to each other.
#[cfg(unix)]
pub(super) fn socket_pair(class: Class, nonblocking: bool) -> io::Result<[OsDescriptor; 2]> {
    let kind = if class == Class::Datagram { Type::DGRAM } else { Type::STREAM };
    let (one, other) = Socket::pair(socket2::Domain::UNIX, kind, None)?;
    one.set_nonblocking(nonblocking)?;
    other.set_nonblocking(nonblocking)?;
    Ok([from_socket(one.into()), from_socket(other.into())])
}

/// The ends of a new pipe: for reading, for writing.
#[cfg(unix)]
pub(super) fn pipe() -> io::Result<[OsDescriptor; 2]> {
    let (reader, writer) = io::pipe()?;
    Ok([from_file(reader.into()), from_file(writer.into())])
}

/// Whether a socket's close waits until what was sent has arrived (SO_LINGER).
pub(crate) fn lingers(socket: &OwnedSocket) -> bool {
    SockRef::from(socket).linger().is_ok_and(|time| time.is_some_and(|time| !time.is_zero()))
}

/// Errors if it is not a socket; only a socket has a type.
pub(crate) fn expect_socket(socket: &OwnedSocket) -> io::Result<()> {
    SockRef::from(socket).r#type().map(drop)
}
