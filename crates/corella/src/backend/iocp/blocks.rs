//! The memory of requests that the system has: it stays at its address until the request's packet has been reaped.
//!
//! Blocks are reused and never freed while the backend lives, so a request in the steady state allocates nothing. One that
//! is still in flight when the backend goes, which only a scheduler does that leaks all, is never freed at all.

use std::cell::UnsafeCell;
use std::collections::HashMap;
use std::ptr::NonNull;

use super::port::{ACCEPT_BYTES, Overlapped, Packet, Vector};
use crate::backend::{Descriptor, RawDescriptor, Token};
use crate::buffer::Part;

/// No block.
const NONE: u32 = u32::MAX;
/// Room for any address.
const ADDRESS_BYTES: usize = 128;
/// More than any datagram of the internet has.
const DATAGRAM_BYTES_MAX: usize = 1 << 16;
/// The status of a request that has not ended, in an overlapped structure.
pub(super) const STATUS_PENDING: usize = 0x103;

/// What the system reads and writes of one request, besides its buffer.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Block {
    overlapped: UnsafeCell<Overlapped>,
    flags: UnsafeCell<u32>,
    /// What AcceptEx fills, or the sender of a datagram.
    addresses: UnsafeCell<[u8; ACCEPT_BYTES]>,
    sender_length: UnsafeCell<i32>,
    /// Bytes that find room in the request's buffer.
    room: u32,
    /// Kept for their memory.
    vectors: Vec<Vector>,
}

impl Block {
    pub(super) fn overlapped(&self) -> *mut Overlapped {
        self.overlapped.get()
    }

    pub(super) fn flags(&self) -> *mut u32 {
        self.flags.get()
    }

    pub(super) fn addresses(&self) -> *mut u8 {
        self.addresses.get().cast()
    }

    pub(super) fn sender_length(&self) -> *mut i32 {
        self.sender_length.get()
    }

    /// The address that the system has written, once the request has ended.
    pub(super) fn sender(&self) -> &[u8] {
        // SAFETY: the system is done with both, and said how much it wrote, of which there is no more than there is room.
        unsafe {
            let length = usize::try_from(*self.sender_length.get()).unwrap_or(0);
            std::slice::from_raw_parts(self.addresses(), length.min(ACCEPT_BYTES))
        }
    }

    pub(super) fn room(&self) -> u32 {
        self.room
    }

    pub(super) fn vectors(&self) -> &[Vector] {
        &self.vectors
    }

    /// The status that the system has left; [`STATUS_PENDING`] until the request has ended.
    pub(super) fn status(&self) -> usize {
        // SAFETY: the structure lives as long as the block, and the system's last word is a write of one machine word.
        unsafe { (&raw const (*self.overlapped.get()).internal).read_volatile() }
    }

    /// The bytes that the system says were moved, once the request has ended.
    pub(super) fn count(&self) -> u32 {
        // SAFETY: as for the status, before which it is written.
        unsafe { (&raw const (*self.overlapped.get()).internal_high).read_volatile() as u32 }
    }
}

/// Which call a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Of a file or pipe.
    Read,
    Write,
    /// Of a socket.
    Receive,
    Send,
    ReceiveFrom,
    SendTo,
    Connect,
    Accept,
}

impl Call {
    pub(super) fn is_of_socket(self) -> bool {
        !matches!(self, Call::Read | Call::Write)
    }
}

/// A request that the system has.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) token: Token,
    pub(super) call: Call,
    pub(super) descriptor: RawDescriptor,
    /// What an accept fills.
    pub(super) connection: Option<Descriptor>,
    /// It has no place in a file.
    pub(super) is_of_stream: bool,
    /// Its direction was shut down by this program: letting go of it is the end.
    pub(super) is_shut: bool,
    /// Its call was refused, and no byte of it moved.
    pub(super) is_refused: bool,
}

#[derive(Debug)]
struct Entry {
    block: NonNull<Block>,
    in_flight: Option<InFlight>,
}

/// All blocks, and which of them the system has.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    entries: Vec<Entry>,
    free: Vec<u32>,
    in_flight: usize,
    /// By the low half of a token, which is the place of its request in the queue.
    by_token: Vec<u32>,
    by_address: HashMap<usize, u32>,
    /// Where the system puts what of datagrams finds no room in their buffers: it says how long one was only if all of it
    /// found some. One for all of them, as nobody reads it.
    overflow: Option<NonNull<[u8; DATAGRAM_BYTES_MAX]>>,
}

impl Blocks {
    /// Publishes a request: from now on its packet may come. `place` is where in a file.
    pub(super) fn publish(&mut self, in_flight: InFlight, place: u64, parts: &[Part], bytes_max: usize) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| self.add());
        let token_place = in_flight.token.0 as u32 as usize;
        if self.by_token.len() <= token_place {
            self.by_token.resize(token_place + 1, NONE);
        }
        self.by_token[token_place] = index;
        let overflow = (in_flight.call == Call::ReceiveFrom).then(|| self.overflow());
        let entry = &mut self.entries[index as usize];
        entry.in_flight = Some(in_flight);
        self.in_flight += 1;
        // SAFETY: the block lives until the drop of this list, and nothing of the system's is in it: it was free.
        let block = unsafe { entry.block.as_mut() };
        *block.overlapped.get_mut() = Overlapped { internal: STATUS_PENDING, ..Overlapped::at(place) };
        *block.flags.get_mut() = 0;
        *block.sender_length.get_mut() = ADDRESS_BYTES as i32;
        block.vectors.clear();
        let mut left = bytes_max;
        for part in parts {
            let length = part.length.min(left);
            left -= length;
            if length > 0 {
                block.vectors.push(Vector { length: length as u32, pointer: part.pointer });
            }
        }
        block.room = (bytes_max - left) as u32;
        if let Some(pointer) = overflow {
            let length = DATAGRAM_BYTES_MAX.saturating_sub(block.room as usize);
            block.vectors.push(Vector { length: length as u32, pointer });
        }
        if block.vectors.is_empty() {
            // A datagram without content.
            block.vectors.push(Vector { length: 0, pointer: NonNull::dangling().as_ptr() });
        }
        index
    }

    fn add(&mut self) -> u32 {
        let index = self.entries.len() as u32;
        let block = Box::new(Block {
            overlapped: UnsafeCell::default(),
            flags: UnsafeCell::default(),
            addresses: UnsafeCell::new([0; ACCEPT_BYTES]),
            sender_length: UnsafeCell::default(),
            room: 0,
            vectors: Vec::new(),
        });
        self.by_address.insert(block.overlapped().addr(), index);
        self.entries.push(Entry { block: NonNull::from(Box::leak(block)), in_flight: None });
        index
    }

    fn overflow(&mut self) -> *mut u8 {
        let made = || NonNull::from(Box::leak(Box::new([0; DATAGRAM_BYTES_MAX])));
        self.overflow.get_or_insert_with(made).as_ptr().cast()
    }

    pub(super) fn block(&self, index: u32) -> &Block {
        // SAFETY: a block lives until the drop of this list. What the system writes to is in cells.
        unsafe { self.entries[index as usize].block.as_ref() }
    }

    /// What an accept fills.
    pub(super) fn connection(&self, index: u32) -> Option<&Descriptor> {
        self.entries[index as usize].in_flight.as_ref()?.connection.as_ref()
    }

    pub(super) fn in_flight_mut(&mut self, index: u32) -> Option<&mut InFlight> {
        self.entries[index as usize].in_flight.as_mut()
    }

    /// The block of a request that the system has.
    pub(super) fn find(&self, token: Token) -> Option<u32> {
        let index = *self.by_token.get(token.0 as u32 as usize)?;
        let entry = self.entries.get(index as usize)?;
        entry.in_flight.as_ref().is_some_and(|in_flight| in_flight.token == token).then_some(index)
    }

    /// The block that a packet is about, if it is about one of these. Another program that has the same handle, inherited
    /// or duplicated, has its packets put into this port, and in those is an address of its own.
    pub(super) fn of_packet(&self, packet: &Packet) -> Option<u32> {
        let index = *self.by_address.get(&packet.overlapped.addr())?;
        let has_ended = self.block(index).status() != STATUS_PENDING;
        (has_ended && self.entries[index as usize].in_flight.is_some()).then_some(index)
    }

    /// Takes a request back that has ended: its memory may be used again.
    pub(super) fn reap(&mut self, index: u32) -> Option<InFlight> {
        let in_flight = self.entries[index as usize].in_flight.take()?;
        self.by_token[in_flight.token.0 as u32 as usize] = NONE;
        self.in_flight -= 1;
        self.free.push(index);
        Some(in_flight)
    }

    pub(super) fn count_in_flight(&self) -> usize {
        self.in_flight
    }

    /// The blocks that the system has.
    pub(super) fn all_in_flight(&self) -> Vec<u32> {
        let is_in_flight = |(index, entry): (usize, &Entry)| entry.in_flight.is_some().then_some(index as u32);
        self.entries.iter().enumerate().filter_map(is_in_flight).collect()
    }

    /// The requests of this sort on this descriptor.
    pub(super) fn on(&self, descriptor: RawDescriptor, call: Call) -> impl Iterator<Item = u32> + '_ {
        let is_it = move |entry: &Entry| {
            entry.in_flight.as_ref().is_some_and(|found| found.descriptor == descriptor && found.call == call)
        };
        self.entries.iter().enumerate().filter(move |(_, entry)| is_it(entry)).map(|(index, _)| index as u32)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        for entry in &self.entries {
            if entry.in_flight.is_none() {
                // SAFETY: it came from a box, and the system has given it back.
                drop(unsafe { Box::from_raw(entry.block.as_ptr()) });
            }
        }
        if let (Some(overflow), 0) = (self.overflow, self.in_flight) {
            // SAFETY: it came from a box, and no request is left of which the system could write there.
            drop(unsafe { Box::from_raw(overflow.as_ptr()) });
        }
    }
}
