//! Datagrams as the OS has them: a header with an address and parts, for one message in either direction.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};

use socket2::{SockAddr, SockAddrStorage};

use super::perform::{SEND_FLAGS, vectors};
use super::{Arrival, Fault, Outcome, Submission, Value, address};
use crate::address::{Address, UnixAddress};
use crate::buffer::Part;
use crate::op::Op;

/// What a receive asks for besides: that the length of a datagram be told as it was, however much of it found room.
#[cfg(target_os = "linux")]
pub(super) const RECEIVE_FLAGS: libc::c_int = libc::MSG_TRUNC;
#[cfg(not(target_os = "linux"))]
pub(super) const RECEIVE_FLAGS: libc::c_int = 0;

/// The header of one message, and the address in it. The header has the addresses of others and of its own name, so it
/// is written where it stays until the OS is done with it.
pub(super) struct Envelope {
    header: libc::msghdr,
    name: libc::sockaddr_storage,
}

impl Envelope {
    pub(super) fn new() -> Envelope {
        // SAFETY: all zeroes is a valid empty header, and a valid address of no family.
        unsafe { zeroed() }
    }

    /// For a receive into so many parts, which the caller keeps.
    pub(super) fn fill(&mut self, list: *const libc::iovec, count: u32) -> *mut libc::msghdr {
        *self = Envelope::new();
        self.header.msg_name = (&raw mut self.name).cast();
        self.header.msg_namelen = size_of::<libc::sockaddr_storage>() as _;
        self.header.msg_iov = list.cast_mut();
        self.header.msg_iovlen = count as _;
        &raw mut self.header
    }

    /// For a send of so many parts, which the caller keeps, to an address, or to the peer.
    pub(super) fn send(
        &mut self,
        list: *const libc::iovec,
        count: u32,
        address: Option<&Address>,
    ) -> io::Result<*const libc::msghdr> {
        *self = Envelope::new();
        if let Some(address) = address {
            let name = address::to_os(address)?;
            // SAFETY: both are addresses in the OS's form, of the size that every one of them fits into.
            unsafe { (&raw mut self.name).cast::<u8>().copy_from(name.as_ptr().cast(), name.len() as usize) };
            self.header.msg_name = (&raw mut self.name).cast();
            self.header.msg_namelen = name.len();
        }
        self.header.msg_iov = list.cast_mut();
        self.header.msg_iovlen = count as _;
        Ok(&raw const self.header)
    }

    /// What a receive that gave `result` has brought; there was room for so many bytes.
    pub(super) fn arrival(&self, result: usize, room: usize) -> Arrival {
        let is_cut = self.header.msg_flags & libc::MSG_TRUNC != 0;
        let size = (!is_cut || RECEIVE_FLAGS & libc::MSG_TRUNC != 0).then_some(result as u32);
        Arrival { count: result.min(room) as u32, size, sender: self.sender() }
    }

    fn sender(&self) -> Address {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: a `SockAddrStorage` is a `sockaddr_storage`, and any bytes are a valid one.
        unsafe { *storage.view_as::<libc::sockaddr_storage>() = self.name };
        // SAFETY: the OS has written as many bytes of the address as it says.
        let name = unsafe { SockAddr::new(storage, self.header.msg_namelen) };
        // The sockets are of known families, so what else there is has no name.
        address::from_os(&name).unwrap_or_else(|_| UnixAddress::unnamed().into())
    }
}

/// Sends or receives one datagram, by a bare call.
pub(super) fn exchange(submission: &Submission<'_>, flags: libc::c_int) -> Outcome {
    let (list, count) = vectors(submission.parts);
    let mut envelope = Envelope::new();
    let result = match submission.op {
        Op::SendTo { address, .. } => {
            // Addresses are looked at before they are submitted.
            let header = envelope.send(list, count as u32, address.as_ref()).map_err(|_| Fault::Os(libc::EINVAL));
            // SAFETY: the header and what it points to live through the call; the parts are the backend's from
            // submission to completion.
            unsafe { libc::sendmsg(submission.descriptor, header?, flags | SEND_FLAGS) }
        }
        // SAFETY: as above; the parts are writable.
        _ => unsafe {
            let header = envelope.fill(list, count as u32);
            libc::recvmsg(submission.descriptor, header, flags | RECEIVE_FLAGS)
        },
    };
    match (result, submission.op) {
        (-1, _) => Err(Fault::from_io(&io::Error::last_os_error())),
        (count, Op::SendTo { .. }) => Ok(Value::Count(count as u64)),
        (count, _) => Ok(Value::Datagram(envelope.arrival(count as usize, room(submission.parts)))),
    }
}

/// How many bytes find room in a buffer.
pub(super) fn room(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.length).sum()
}
