//! One message for the ring: all that the kernel is told of it, at an address that stays.

use std::io;

use super::datagram::{Envelope, room};
use super::perform::vectors;
use super::{Arrival, TRANSFER_PARTS_MAX};
use crate::address::Address;
use crate::buffer::Part;

/// An envelope with the list of its parts: all that the OS is told of one message, for calls that end later.
pub(super) struct Message {
    envelope: Envelope,
    parts: [Part; TRANSFER_PARTS_MAX],
    used: usize,
}

impl Message {
    pub(super) fn new() -> Box<Message> {
        let none = Part { pointer: std::ptr::null_mut(), length: 0 };
        Box::new(Message { envelope: Envelope::new(), parts: [none; TRANSFER_PARTS_MAX], used: 0 })
    }

    /// Copies the parts, and says where they are.
    pub(super) fn keep(&mut self, parts: &[Part]) -> (*const libc::iovec, u32) {
        self.used = parts.len();
        self.parts[..self.used].copy_from_slice(parts);
        self.list()
    }

    fn list(&self) -> (*const libc::iovec, u32) {
        let (list, count) = vectors(&self.parts[..self.used]);
        (list, count as u32)
    }

    /// The header for a receive into the parts that are kept.
    pub(super) fn fill(&mut self) -> *mut libc::msghdr {
        let (list, count) = self.list();
        self.envelope.fill(list, count)
    }

    /// The header for a send of the parts that are kept.
    pub(super) fn send(&mut self, address: Option<&Address>) -> io::Result<*const libc::msghdr> {
        let (list, count) = self.list();
        self.envelope.send(list, count, address)
    }

    /// What a receive that gave `result` has brought.
    pub(super) fn arrival(&self, result: usize) -> Arrival {
        self.envelope.arrival(result, room(&self.parts[..self.used]))
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Message({} parts)", self.used)
    }
}
