//! The hot path: a receive, send or positioned read of one run of bytes that nothing special concerns.
//!
//! What is here does nothing that [`launch`](super::launch) and [`settle`](super::settle) do not do, in the same order, for
//! any request; it only knows beforehand how each of their questions is answered. Whatever it is not sure of it leaves to
//! them. Debug builds compare the place and the lane that it has worked out with what those work out.

use std::sync::Arc;

use super::deliver::keep_list;
use super::handles::{Handle, HandleKey, Life};
use super::outcome::State;
use super::settle::is_taken;
use super::slots::{Ending, NONE, Payload, RequestId, RunCallback, Slot};
use super::timers::NO_TIMER;
use super::{Ready, RequestQueue, lanes};
use crate::backend::{RawDescriptor, Submission, TRANSFER_BYTES_MAX, WaitsBy};
use crate::buffer::{Part, Parts};
use crate::error::Moved;
use crate::op::{Class, Extent, Op, Transfer};
use crate::scheduler::hosted::HostedOutcome;
use crate::scheduler::tasks::TaskWaker;

impl Transfer {
    #[inline(always)]
    fn lane(self) -> usize {
        match self {
            Transfer::Receive(_) | Transfer::Read(..) => lanes::RECEIVE,
            Transfer::Send => lanes::SEND,
        }
    }

    /// Where it begins, and where in the file that is, if it is one.
    #[inline(always)]
    fn place(self, handle: &Handle) -> (u64, Option<u64>) {
        match self {
            Transfer::Read(_, offset) => (offset, Some(offset)),
            Transfer::Receive(_) | Transfer::Send => (handle.received, None),
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
    let is_special = slot.begun || slot.bare || slot.links[lanes::SEND].next != NONE;
    let is_special = is_special || handle.pushback.is_some() || handle.broken.is_some();
    if is_special { None } else { Some((transfer, slot.op.parts()?.only()?)) }
}

/// Who is told of a plain transfer's success as it settles, and not by way of the list of those that have.
enum ToldAtOnce {
    Host(u32),
    Callback(RunCallback),
    Task(Arc<TaskWaker>),
    Nobody,
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

    /// Takes a plain transfer in and hands it to the backend, if nothing is in its way: the short way of
    /// [`submit`](Self::submit), which tells why not. Nothing is done then.
    pub(crate) fn submit_transfer(
        &mut self,
        key: HandleKey,
        transfer: Transfer,
        part: Part,
        payload: &mut Payload,
        ending: &mut Ending,
    ) -> Option<RequestId> {
        let carry = |slot: &mut Slot| slot.carry(payload, ending);
        // What is known of each kind beforehand is known where each is taken in.
        match transfer {
            Transfer::Receive(extent) => self.submit_as(Transfer::Receive(extent), key, part, carry),
            Transfer::Send => self.submit_as(Transfer::Send, key, part, carry),
            Transfer::Read(extent, offset) => self.submit_as(Transfer::Read(extent, offset), key, part, carry),
        }
    }

    /// The same for a host, of whose request there is nothing to carry but its name.
    #[inline(always)]
    pub(crate) fn submit_hosted_transfer(
        &mut self,
        key: HandleKey,
        transfer: Transfer,
        part: Part,
        name: u32,
    ) -> Option<RequestId> {
        self.submit_as(transfer, key, part, |slot| slot.carry_name(name))
    }

    #[inline(always)]
    fn submit_as(
        &mut self,
        transfer: Transfer,
        key: HandleKey,
        part: Part,
        carry: impl FnOnce(&mut Slot),
    ) -> Option<RequestId> {
        let handle = self.handles.get_mut(key)?;
        let lane = transfer.lane();
        let tail = handle.lanes[lane].tail;
        let is_special = handle.life != Life::Open || handle.broken.is_some() || handle.pushback.is_some();
        let is_held = tail != NONE && !lanes::lets_reads_in(transfer.only_reads(), handle);
        let is_full = self.live >= self.depth || self.at_os >= self.depth;
        let is_beyond = matches!(transfer, Transfer::Read(_, offset) if offset > i64::MAX as u64);
        if is_special || is_held || is_full || is_beyond || !transfer.suits(handle.class) {
            return None;
        }
        self.live += 1;
        self.unsettled += 1;
        self.at_os += 1;
        let (id, slot) = self.slots.insert_named();
        slot.begin(transfer.op(Parts::of(part)));
        slot.handle = Some(key);
        slot.submitted_at = self.now;
        carry(slot);
        lanes::link_transfer(id.index, lane, transfer.only_reads(), slot, handle);
        let (origin, offset) = transfer.place(handle);
        slot.state = State::AtOs;
        slot.origin = origin;
        slot.begun = true;
        let (class, waits_by, descriptor) = (handle.class, handle.waits_by, handle.raw());
        if tail != NONE {
            self.slots[tail].links[lane].next = id.index;
        }
        debug_assert!(self.is_at((class, offset, descriptor, waits_by), id.index));
        if !self.backend.submit_transfer(id.token(), transfer, descriptor, class, waits_by, part, offset) {
            self.submit_to_backend(id.index, part);
            if !self.completions.is_empty() || !self.rechecks.is_empty() {
                self.pump();
            }
        }
        Some(id)
    }

    /// Hands a transfer over that has begun, to a backend that has no shorter way.
    #[inline(never)]
    fn submit_to_backend(&mut self, index: u32, part: Part) {
        let slot = &self.slots[index];
        let Some(key) = slot.handle else { return };
        let handle = &self.handles[key.index];
        let submission = Submission {
            token: RequestId { index, generation: slot.generation }.token(),
            op: &slot.op,
            descriptor: handle.raw(),
            class: handle.class,
            parts: std::slice::from_ref(&part),
            offset: matches!(slot.op, Op::Read { .. }).then_some(slot.origin),
            extends: false,
            waits_by: handle.waits_by,
            lingers: false,
        };
        self.backend.submit(&submission, &mut self.completions);
    }

    /// Whether the others would say the same of where a request is that has just begun.
    fn is_at(&mut self, place: (Class, Option<u64>, RawDescriptor, WaitsBy), index: u32) -> bool {
        let origin = std::mem::take(&mut self.slots[index].origin);
        self.slots[index].begun = false;
        let is_it = self.place(index).is(place) && self.slots[index].origin == origin;
        self.slots[index].begun = true;
        is_it
    }

    #[inline(always)]
    fn hand_over(&mut self, index: u32, key: HandleKey, transfer: Transfer, part: Part) {
        let handle = &self.handles[key.index];
        let (origin, offset) = transfer.place(handle);
        let (class, waits_by, descriptor) = (handle.class, handle.waits_by, handle.raw());
        debug_assert!(self.place(index).is((class, offset, descriptor, waits_by)));
        let slot = &mut self.slots[index];
        slot.state = State::AtOs;
        slot.origin = origin;
        slot.begun = true;
        self.at_os += 1;
        self.submit_to_backend(index, part);
    }

    /// Settles a plain transfer of which the OS reports so many bytes, if that ends it as a success; false, and nothing
    /// done, otherwise.
    #[inline(always)]
    pub(super) fn complete_transfer(&mut self, id: RequestId, count: u64) -> bool {
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.state == State::AtOs) else { return false };
        let Some(key) = slot.handle else { return false };
        match Transfer::of(&slot.op, self.handles[key.index].class) {
            Some(Transfer::Receive(extent)) => self.complete_as(Transfer::Receive(extent), id, key, count),
            Some(Transfer::Send) => self.complete_as(Transfer::Send, id, key, count),
            Some(Transfer::Read(extent, offset)) => self.complete_as(Transfer::Read(extent, offset), id, key, count),
            None => false,
        }
    }

    #[inline(always)]
    fn complete_as(&mut self, transfer: Transfer, id: RequestId, key: HandleKey, count: u64) -> bool {
        let Some(slot) = self.slots.get_mut(id) else { return false };
        let handle = &mut self.handles[key.index];
        let is_wanted = slot.cause.is_none() && !slot.abandoned && !matches!(slot.ending, Ending::Detached);
        let is_simple = slot.begun && slot.joined == 0 && slot.chain.is_none() && slot.registration.is_none();
        if !is_wanted || !is_simple || slot.timer != NO_TIMER || handle.pushback.is_some() {
            return false;
        }
        // It may go on with what was sent in part.
        if matches!(transfer, Transfer::Send) && handle.broken.is_some() {
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
        debug_assert_eq!(slot.blocker, NONE);
        #[cfg(corella_valgrind)]
        if let (Some(_), Some(parts)) = (slot.op.extent(), slot.op.parts()) {
            parts.tell_valgrind(slot.moved, count);
        }
        if let Some(parts) = slot.op.parts_mut() {
            keep_list(parts, &mut self.spare_lists);
            if parts.rest.capacity() > 0 {
                // There are enough of them. Nothing is to be dropped with its slot.
                parts.rest = Vec::new();
            }
        }
        slot.moved = moved;
        slot.state = State::Settled;
        slot.is_plain_success = true;
        self.at_os -= 1;
        self.unsettled -= 1;
        // It is told of at once, unless another's outcome is to come first.
        let may_be_first = self.settled.is_empty();
        let may_be_ready = may_be_first && self.is_reaping && !self.all_are_asked;
        let told = match &slot.ending {
            Ending::Hosted(name) if may_be_first => ToldAtOnce::Host(*name),
            Ending::Callback(callback) if may_be_ready && !callback.direct => ToldAtOnce::Callback(callback.run),
            Ending::Task(_) if may_be_ready => match std::mem::replace(&mut slot.ending, Ending::Kept) {
                Ending::Task(task) => ToldAtOnce::Task(task),
                _ => unreachable!("it has just been seen"),
            },
            _ => ToldAtOnce::Nobody,
        };
        if let Transfer::Receive(_) = transfer {
            handle.received += count;
            if !matches!(told, ToldAtOnce::Host(_)) {
                handle.untaken += 1;
                slot.untaken = true;
            }
        }
        let has_waiters = slot.waiters != NONE;
        lanes::unlink_transfer(id.index, transfer.lane(), transfer.only_reads(), &mut self.slots, handle);
        if has_waiters {
            self.release_waiters(id.index);
        }
        match told {
            ToldAtOnce::Host(name) => {
                self.hosted.add(HostedOutcome { name, moved: Moved::Bytes(moved), error: None });
                self.free_transfer(id.index);
            }
            ToldAtOnce::Callback(run) => self.ready.push(Ready::Callback(id, run)),
            ToldAtOnce::Task(task) => task.wake_here(&self.ready),
            ToldAtOnce::Nobody => self.hand_on(id.index),
        }
        true
    }

    /// Frees the slot of a plain transfer that was a success, when there is nothing of the program's in it any more.
    #[inline(always)]
    pub(super) fn free_transfer(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        debug_assert!(!slot.payload.is_some() && !slot.ending.is_of_the_program());
        debug_assert!(!self.handles.go_on_with(RequestId { index, generation: slot.generation }, slot.handle));
        if slot.untaken
            && let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key))
        {
            is_taken(slot, handle);
        }
        self.live -= 1;
        self.slots.remove_plain(index);
    }
}
