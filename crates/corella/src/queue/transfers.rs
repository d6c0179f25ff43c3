//! The hot path: a receive, send or positioned read of one run of bytes that nothing special concerns.
//!
//! What is here does nothing that [`launch`](super::launch) and [`settle`](super::settle) do not do, in the same order, for
//! any request; it only knows beforehand how each of their questions is answered. Whatever it is not sure of it leaves to
//! them. Debug builds compare the place and the lane that it has worked out with what those work out.

use super::deliver::keep_list;
use super::handles::{Handle, HandleKey};
use super::outcome::State;
use super::slots::{Ending, NONE, Report, RequestId, Slot};
use super::timers::NO_TIMER;
use super::{RequestQueue, lanes};
use crate::backend::{Submission, TRANSFER_BYTES_MAX, Value};
use crate::buffer::Part;
use crate::error::Moved;
use crate::op::{At, Class, Extent, Op};
use crate::scheduler::hosted::HostedOutcome;

/// What a plain transfer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    Receive(Extent),
    Send,
    /// Of a file, at this offset.
    Read(Extent, u64),
}

impl Transfer {
    #[inline(always)]
    fn of(op: &Op, class: Class) -> Option<Transfer> {
        match (op, class) {
            (Op::Recv { extent, .. }, Class::Socket) if *extent != Extent::ToEnd => Some(Transfer::Receive(*extent)),
            (Op::Send { .. }, Class::Socket) => Some(Transfer::Send),
            (Op::Read { at: At::Offset(offset), extent, .. }, Class::File { .. }) if *extent != Extent::ToEnd => {
                Some(Transfer::Read(*extent, *offset))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn lane(self) -> usize {
        match self {
            Transfer::Receive(_) | Transfer::Read(..) => lanes::RECEIVE,
            Transfer::Send => lanes::SEND,
        }
    }

    /// As [`Access::only_reads`](crate::op::Access::only_reads) says of it.
    #[inline(always)]
    fn only_reads(self) -> bool {
        matches!(self, Transfer::Read(..))
    }
}

/// The transfer that a request is, with its only run of bytes, if the backend is to have it just so.
#[inline(always)]
fn plain(slot: &Slot, handle: &Handle) -> Option<(Transfer, Part)> {
    let transfer = Transfer::of(&slot.op, handle.class)?;
    let is_special = slot.begun || slot.bare || handle.pushback.is_some() || slot.links[lanes::SEND].next != NONE;
    if is_special { None } else { Some((transfer, slot.op.parts()?.only()?)) }
}

impl RequestQueue {
    /// Puts a plain transfer into its lane, if nothing there is in its way, and hands it to the backend; false, and nothing
    /// done, if it is none or has to wait.
    #[inline(always)]
    pub(super) fn begin_transfer(&mut self, index: u32) -> bool {
        let slot = &mut self.slots[index];
        let Some(key) = slot.handle else { return false };
        let handle = &mut self.handles[key.index];
        let Some((transfer, part)) = plain(slot, handle) else { return false };
        let lane = transfer.lane();
        let tail = handle.lanes[lane].tail;
        if (tail != NONE && !lanes::lets_reads_in(transfer.only_reads(), handle)) || self.at_os >= self.depth {
            return false;
        }
        lanes::link_transfer(index, lane, transfer.only_reads(), slot, handle);
        if tail != NONE {
            self.slots[tail].links[lane].next = index;
        }
        self.hand_over(index, key, transfer, part);
        true
    }

    /// Hands a plain transfer to the backend; false, and nothing done, if it is none.
    #[inline(always)]
    pub(super) fn launch_transfer(&mut self, index: u32) -> bool {
        let slot = &self.slots[index];
        let Some(key) = slot.handle else { return false };
        let Some((transfer, part)) = plain(slot, &self.handles[key.index]) else { return false };
        self.hand_over(index, key, transfer, part);
        true
    }

    #[inline(always)]
    fn hand_over(&mut self, index: u32, key: HandleKey, transfer: Transfer, part: Part) {
        let handle = &self.handles[key.index];
        let (origin, offset) = match transfer {
            Transfer::Read(_, offset) => (offset, Some(offset)),
            Transfer::Receive(_) | Transfer::Send => (handle.received, None),
        };
        let (class, waits_by, descriptor) = (handle.class, handle.waits_by, handle.raw());
        debug_assert!(self.place(index).is((class, offset, descriptor, waits_by)));
        let slot = &mut self.slots[index];
        slot.state = State::AtOs;
        slot.origin = origin;
        slot.begun = true;
        self.at_os += 1;
        let submission = Submission {
            token: RequestId { index, generation: slot.generation }.token(),
            op: &slot.op,
            descriptor,
            class,
            parts: std::slice::from_ref(&part),
            offset,
            extends: false,
            waits_by,
            lingers: false,
        };
        self.backend.submit(&submission, &mut self.completions);
    }

    /// Settles a plain transfer of which the OS reports so many bytes, if that ends it as a success; false, and nothing
    /// done, otherwise.
    #[inline(always)]
    pub(super) fn complete_transfer(&mut self, index: u32, count: u64) -> bool {
        let slot = &mut self.slots[index];
        let Some(key) = slot.handle else { return false };
        let handle = &mut self.handles[key.index];
        let Some(transfer) = Transfer::of(&slot.op, handle.class) else { return false };
        let is_wanted = slot.cause.is_none() && !slot.abandoned && !matches!(slot.ending, Ending::Detached);
        let is_simple = slot.begun && slot.joined == 0 && slot.chain.is_none() && slot.registration.is_none();
        if !is_wanted || !is_simple || slot.timer != NO_TIMER || handle.pushback.is_some() {
            return false;
        }
        // What one call cannot take, of several runs, is asked for again.
        let Some(run) = slot.op.parts().and_then(|parts| parts.only()) else { return false };
        let moved = slot.moved + count;
        let is_whole = moved >= run.length as u64;
        let is_enough = match transfer {
            Transfer::Receive(Extent::Some) => true,
            Transfer::Read(Extent::Some, _) => is_whole || count < TRANSFER_BYTES_MAX,
            _ => is_whole,
        };
        if !is_enough {
            return false;
        }
        debug_assert_eq!((slot.state, slot.blocker), (State::AtOs, NONE));
        #[cfg(corella_valgrind)]
        if let (Some(_), Some(parts)) = (slot.op.extent(), slot.op.parts()) {
            parts.tell_valgrind(slot.moved, count);
        }
        // A host is told at once, unless another's outcome is to come first.
        let host = match slot.ending {
            Ending::Hosted(name) if self.settled.is_empty() => Some(name),
            _ => None,
        };
        if let Transfer::Receive(_) = transfer {
            handle.received += count;
            if host.is_none() {
                handle.untaken += 1;
                slot.untaken = true;
            }
        }
        slot.moved = moved;
        slot.state = State::Settled;
        self.unsettled -= 1;
        let has_waiters = slot.waiters != NONE;
        lanes::unlink_transfer(index, transfer.lane(), transfer.only_reads(), &mut self.slots, handle);
        if has_waiters {
            self.release_waiters(index);
        }
        match host {
            Some(name) => {
                self.hosted.add(HostedOutcome { name, moved: Moved::Bytes(moved), error: None });
                self.free_of_host(index);
            }
            None => {
                let result = Ok(Value::Count(moved));
                self.slots[index].report = Some(Report { result, moved: Moved::Bytes(moved) });
                self.hand_on(index);
            }
        }
        true
    }

    /// Frees the slot of a host's plain transfer that was a success: there is nothing of the program's in it, and its handle
    /// knows nothing of it any more.
    #[inline(always)]
    fn free_of_host(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        debug_assert!(!slot.payload.is_some() && !slot.untaken && !slot.ending.is_of_the_program());
        if let Some(parts) = slot.op.parts_mut() {
            keep_list(parts, &mut self.spare_lists);
        }
        self.live -= 1;
        self.slots.remove(index);
    }
}
