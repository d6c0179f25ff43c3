//! The Win32 calls that the backend makes, as one small trait, and what they take and give in plain types.
//!
//! Windows is behind it on Windows (`windows.rs`), and a double that withholds, reorders, delays, races and fails packets
//! elsewhere (`fake/`). Codes are those of Win32 and Winsock, as `GetLastError` has them; a double may have others of its
//! own, which [`CompletionPort::host_code`] gives back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::Address;
use crate::backend::{Descriptor, RawDescriptor};

/// A code of Win32 or Winsock.
pub(crate) type Code = u32;

pub(super) const ERROR_INVALID_HANDLE: Code = 6;
pub(super) const ERROR_HANDLE_EOF: Code = 38;
pub(super) const ERROR_NETNAME_DELETED: Code = 64;
pub(super) const ERROR_INVALID_PARAMETER: Code = 87;
pub(super) const ERROR_BROKEN_PIPE: Code = 109;
pub(super) const ERROR_SEM_TIMEOUT: Code = 121;
pub(super) const ERROR_NO_DATA: Code = 232;
pub(super) const ERROR_PIPE_NOT_CONNECTED: Code = 233;
pub(super) const ERROR_MORE_DATA: Code = 234;
/// What a datagram that no packet holds is refused with.
pub(super) const ERROR_INVALID_USER_BUFFER: Code = 1784;
pub(super) const ERROR_ABANDONED_WAIT_0: Code = 735;
pub(super) const ERROR_OPERATION_ABORTED: Code = 995;
pub(super) const ERROR_NOT_FOUND: Code = 1168;
pub(super) const ERROR_CONNECTION_REFUSED: Code = 1225;
pub(super) const ERROR_ADDRESS_ALREADY_ASSOCIATED: Code = 1227;
pub(super) const ERROR_CONNECTION_INVALID: Code = 1229;
pub(super) const ERROR_NETWORK_UNREACHABLE: Code = 1231;
pub(super) const ERROR_HOST_UNREACHABLE: Code = 1232;
pub(super) const ERROR_PORT_UNREACHABLE: Code = 1234;
pub(super) const ERROR_CONNECTION_ABORTED: Code = 1236;
pub(super) const ERROR_TOO_MANY_OPEN_FILES: Code = 4;
pub(super) const ERROR_DISK_FULL: Code = 112;
pub(super) const ERROR_NOT_SUPPORTED: Code = 50;
pub(crate) const ERROR_NO_SYSTEM_RESOURCES: Code = 1450;
pub(super) const WSAEWOULDBLOCK: Code = 10035;
pub(super) const WSAENOTSOCK: Code = 10038;
pub(super) const WSAEMSGSIZE: Code = 10040;
pub(super) const WSAEADDRINUSE: Code = 10048;
pub(super) const WSAENETUNREACH: Code = 10051;
pub(super) const WSAECONNABORTED: Code = 10053;
pub(super) const WSAECONNRESET: Code = 10054;
pub(super) const WSAENOTCONN: Code = 10057;
pub(super) const WSAETIMEDOUT: Code = 10060;
pub(super) const WSAECONNREFUSED: Code = 10061;
pub(super) const WSAEHOSTUNREACH: Code = 10065;

/// An `OVERLAPPED`: what the system fills when the request has ended.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Overlapped {
    /// The status, in the system's own numbers.
    pub(super) internal: usize,
    pub(super) internal_high: usize,
    pub(super) offset: u32,
    pub(super) offset_high: u32,
    /// No event: a packet tells.
    pub(super) event: usize,
}

impl Overlapped {
    pub(super) fn at(offset: u64) -> Overlapped {
        Overlapped { offset: offset as u32, offset_high: (offset >> 32) as u32, ..Overlapped::default() }
    }

    pub(super) fn place(&self) -> u64 {
        u64::from(self.offset_high) << 32 | u64::from(self.offset)
    }
}

/// A packet, laid out like an `OVERLAPPED_ENTRY`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Packet {
    pub(super) key: usize,
    pub(super) overlapped: *mut Overlapped,
    internal: usize,
    /// Bytes moved.
    pub(super) count: u32,
}

impl Packet {
    pub(super) const EMPTY: Packet = Packet::new(0, std::ptr::null_mut(), 0);

    pub(super) const fn new(key: usize, overlapped: *mut Overlapped, count: u32) -> Packet {
        Packet { key, overlapped, internal: 0, count }
    }
}

/// A run of bytes, laid out like a `WSABUF`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Vector {
    pub(super) length: u32,
    pub(super) pointer: *mut u8,
}

/// What a call that starts a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Started {
    /// A packet comes, or has come already.
    Pending,
    /// It has ended with so many bytes. A packet comes all the same, unless the handle skips those.
    Ended(u32),
    /// It was refused; no packet comes.
    Refused(Code),
}

/// Space for two addresses as AcceptEx wants it, each 16 bytes larger than the largest.
pub(super) const ACCEPT_BYTES: usize = 2 * (128 + 16);

/// What a handle is, as to how requests on it are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Overlapped: a request may end at once or later.
    Overlapped,
    /// The system would carry requests out inside the call: it is compressed or encrypted.
    Synchronous,
}

/// Posts packets from any thread.
pub(crate) trait Post: fmt::Debug + Send + Sync {
    /// PostQueuedCompletionStatus.
    fn post(&self, key: usize) -> Result<(), Code>;
}

/// A completion port and the calls whose results it takes.
///
/// # Safety
/// Of each `start_` call: the overlapped structure, whatever it points to, and the bytes stay valid at their addresses
/// and are nobody else's until the request's packet has been dequeued, or the call has refused it, or ended it on a handle
/// that skips packets.
pub(crate) trait CompletionPort: fmt::Debug {
    /// What posts to it.
    fn poster(&self) -> Arc<dyn Post>;

    /// CreateIoCompletionPort on a handle: its packets come to this port, with this key.
    fn associate(&self, descriptor: RawDescriptor, key: usize) -> Result<(), Code>;

    /// SetFileCompletionNotificationModes: no packets for what ends inside the call. False where the provider of a socket
    /// does not allow it.
    fn skip_on_success(&self, descriptor: RawDescriptor, is_socket: bool) -> bool;

    /// Whether this is a socket still.
    fn is_socket(&self, descriptor: RawDescriptor) -> bool;

    /// Whether this is a pipe, of which a read may end with nothing before the end.
    fn is_pipe(&self, descriptor: RawDescriptor) -> bool;

    /// How the system carries requests on a file out.
    fn manner(&self, descriptor: RawDescriptor) -> Manner;

    /// Takes back what `associate` did, where the system can, so that another port may have the handle.
    fn dissociate(&self, descriptor: RawDescriptor);

    /// GetQueuedCompletionStatusEx: waits at most `timeout` (`None`: without limit), and gives the number of packets.
    fn dequeue(&self, packets: &mut [Packet], timeout: Option<Duration>) -> Result<usize, Code>;

    /// ReadFile.
    unsafe fn start_read(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started;

    /// WriteFile.
    unsafe fn start_write(&self, descriptor: RawDescriptor, vector: Vector, overlapped: *mut Overlapped) -> Started;

    /// WSARecv. `flags` lives as long as the overlapped structure.
    unsafe fn start_receive(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        flags: *mut u32,
        overlapped: *mut Overlapped,
    ) -> Started;

    /// WSASend.
    unsafe fn start_send(&self, descriptor: RawDescriptor, vectors: &[Vector], overlapped: *mut Overlapped) -> Started;

    /// WSARecvFrom. `sender` has room for any address, and `sender_length` says how much; both live as long as the
    /// overlapped structure, as `flags` does.
    unsafe fn start_receive_from(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        flags: *mut u32,
        sender: *mut u8,
        sender_length: *mut i32,
        overlapped: *mut Overlapped,
    ) -> Started;

    /// WSASendTo; without an address, to the peer.
    unsafe fn start_send_to(
        &self,
        descriptor: RawDescriptor,
        vectors: &[Vector],
        address: Option<&Address>,
        overlapped: *mut Overlapped,
    ) -> Started;

    /// The address that so many bytes are.
    fn address(&self, bytes: &[u8]) -> Address;

    /// A socket for datagrams is about to be used: a datagram that did not reach its port is to fail no receive, unless the
    /// socket has a peer.
    fn prepare_datagrams(&self, descriptor: RawDescriptor) {
        let _ = descriptor;
    }

    /// connect on a socket for datagrams, which sends nothing and so ends at once.
    fn connect_datagrams(&self, descriptor: RawDescriptor, address: &Address) -> Result<(), Code>;

    /// A bind to any address of the same family where the socket has none, and ConnectEx.
    unsafe fn start_connect(
        &self,
        descriptor: RawDescriptor,
        address: &Address,
        overlapped: *mut Overlapped,
    ) -> Started;

    /// SO_UPDATE_CONNECT_CONTEXT: the socket is as any connected one.
    fn finish_connect(&self, descriptor: RawDescriptor) -> Result<(), Code>;

    /// A socket of the listener's family, for [`start_accept`](Self::start_accept).
    fn new_connection(&self, listener: RawDescriptor) -> Result<Descriptor, Code>;

    /// AcceptEx into `connection`, without waiting for bytes. `addresses` has room for [`ACCEPT_BYTES`].
    unsafe fn start_accept(
        &self,
        listener: RawDescriptor,
        connection: &Descriptor,
        addresses: *mut u8,
        overlapped: *mut Overlapped,
    ) -> Started;

    /// SO_UPDATE_ACCEPT_CONTEXT, and the connection as it is to be used.
    fn finish_accept(&self, listener: RawDescriptor, connection: Descriptor) -> Result<Descriptor, Code>;

    /// CancelIoEx. `ERROR_NOT_FOUND`: there is no such request (any more).
    fn cancel(&self, descriptor: RawDescriptor, overlapped: *mut Overlapped) -> Result<(), Code>;

    /// Whether the packet of a write that a cancel has stopped tells how much went out.
    fn tells_what_went_out(&self) -> bool;

    /// RtlNtStatusToDosError: what a status in an overlapped structure says; 0 is success.
    fn code_of(&self, status: usize) -> Code;

    /// The code as programs on this system know it.
    fn host_code(&self, code: Code) -> i32;

    /// Makes [`os_handle`](Self::os_handle) tell of packets until the next dequeue: a foreign loop waits on it.
    fn watch(&self) -> Result<(), Code>;

    /// What a foreign loop waits on.
    fn os_handle(&self) -> RawDescriptor;
}
