//! What Windows wants to know of a socket beside its requests: its provider's functions, whether packets can be skipped, a
//! place for it, what it is to be told of.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{BorrowedSocket, RawSocket};
use std::ptr::null_mut;
use std::sync::OnceLock;

use socket2::{SockAddr, SockRef, Type};
use windows_sys::Win32::Networking::WinSock as sockets;
use windows_sys::Win32::Networking::WinSock::SOCKET;
use windows_sys::core::GUID;

use super::super::port::Code;
use super::last_code;
use crate::address::Address;
use crate::backend::RawDescriptor;

/// # Safety
/// The socket is open for as long as it is lent.
pub(super) unsafe fn lend<'a>(socket: RawDescriptor) -> BorrowedSocket<'a> {
    // SAFETY: the caller's promise.
    unsafe { BorrowedSocket::borrow_raw(socket as RawSocket) }
}

/// A function of a socket's provider. All of TCP are of one.
fn extension(socket: RawDescriptor, id: &GUID) -> Result<usize, Code> {
    let (mut function, mut bytes) = (0usize, 0);
    // SAFETY: identifier and result live through the call, which fills the latter; the socket is open.
    let result = unsafe {
        sockets::WSAIoctl(
            socket as SOCKET,
            sockets::SIO_GET_EXTENSION_FUNCTION_POINTER,
            std::ptr::from_ref(id).cast(),
            size_of::<GUID>() as u32,
            (&raw mut function).cast(),
            size_of::<usize>() as u32,
            &mut bytes,
            null_mut(),
            None,
        )
    };
    if result == 0 { Ok(function) } else { Err(last_code()) }
}

/// Such a function, asked for once.
fn known(place: &OnceLock<usize>, socket: RawDescriptor, id: &GUID) -> Result<usize, Code> {
    match place.get() {
        Some(function) => Ok(*function),
        None => extension(socket, id).map(|function| *place.get_or_init(|| function)),
    }
}

pub(super) fn accept_ex(socket: RawDescriptor) -> sockets::LPFN_ACCEPTEX {
    static PLACE: OnceLock<usize> = OnceLock::new();
    let function = known(&PLACE, socket, &sockets::WSAID_ACCEPTEX).ok()?;
    // SAFETY: the identifier is that of a function of this type.
    unsafe { std::mem::transmute::<usize, sockets::LPFN_ACCEPTEX>(function) }
}

pub(super) fn connect_ex(socket: RawDescriptor) -> sockets::LPFN_CONNECTEX {
    static PLACE: OnceLock<usize> = OnceLock::new();
    let function = known(&PLACE, socket, &sockets::WSAID_CONNECTEX).ok()?;
    // SAFETY: the identifier is that of a function of this type.
    unsafe { std::mem::transmute::<usize, sockets::LPFN_CONNECTEX>(function) }
}

/// Whether packets of what ends inside a call on this socket can be left out: of streams whose handles are the file
/// system's. (Of datagrams the system posts some all the same.)
pub(super) fn may_skip(socket: RawDescriptor) -> bool {
    // SAFETY: the caller of the trait's method keeps the socket open.
    let lent = unsafe { lend(socket) };
    if SockRef::from(&lent).r#type().ok() != Some(Type::STREAM) {
        return false;
    }
    // SAFETY: zeroes are a valid structure of plain numbers.
    let mut info: sockets::WSAPROTOCOL_INFOW = unsafe { std::mem::zeroed() };
    let mut length = size_of::<sockets::WSAPROTOCOL_INFOW>() as i32;
    // SAFETY: the structure and its length live through the call.
    let result = unsafe {
        sockets::getsockopt(
            socket as SOCKET,
            sockets::SOL_SOCKET,
            sockets::SO_PROTOCOL_INFOW,
            (&raw mut info).cast(),
            &mut length,
        )
    };
    result == 0 && info.dwServiceFlags1 & sockets::XP1_IFS_HANDLES != 0
}

/// Binds a socket that has no address yet to any of its family, as ConnectEx wants it.
pub(super) fn bind_if_unbound(socket: RawDescriptor, peer: &Address) -> io::Result<()> {
    // SAFETY: the caller of the trait's method keeps the socket open.
    let lent = unsafe { lend(socket) };
    let socket = SockRef::from(&lent);
    if socket.local_addr().is_ok_and(|address| address.as_socket().is_some_and(|address| address.port() != 0)) {
        return Ok(());
    }
    let any: std::net::SocketAddr = match peer.as_internet() {
        Some(address) if address.is_ipv6() => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        _ => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&SockAddr::from(any))
}

/// Whether a receive of datagrams fails because of one that was sent and did not reach its port: of a socket without a
/// peer that says nothing of what is to be received.
pub(super) fn tell_of_resets(socket: RawDescriptor, yes: bool) {
    let (value, mut bytes) = (u32::from(yes), 0);
    // SAFETY: the value lives through the call, and the socket is open. A system that knows no such choice refuses it.
    unsafe {
        sockets::WSAIoctl(
            socket as SOCKET,
            sockets::SIO_UDP_CONNRESET,
            (&raw const value).cast(),
            size_of::<u32>() as u32,
            null_mut(),
            0,
            &mut bytes,
            null_mut(),
            None,
        )
    };
}
