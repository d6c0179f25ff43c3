//! The hot path: a receive, send or positioned read of one run of bytes that nothing special concerns.
//!
//! What is here does nothing that [`launch`](super::launch) and [`settle`](super::settle) do not do, in the same order, for
//! any request; it only knows beforehand how each of their questions is answered. Whatever it is not sure of it leaves to
//! them. In debug builds what both would do is compared.

use super::deadlines::NO_TIMER;
use super::handles::Handle;
use super::outcome::State;
use super::slots::{Ending, NONE, Report, RequestId};
use super::{RequestQueue, lanes};
use crate::backend::{Submission, TRANSFER_BYTES_MAX, Value};
use crate::error::Moved;
use crate::op::{At, Class, Extent, Op};

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
}

impl RequestQueue {
    /// Hands a plain transfer to the backend; false, and nothing done, if it is none.
    #[inline(always)]
    pub(super) fn launch_transfer(&mut self, index: u32) -> bool {
        let slot = &mut self.slots[index];
        let Some(key) = slot.handle else { return false };
        let handle = &self.handles[key.index];
        let Some(transfer) = Transfer::of(&slot.op, handle.class) else { return false };
        if slot.begun || slot.bare || handle.pushback.is_some() || slot.links[lanes::SEND].next != NONE {
            return false;
        }
        let Some(part) = slot.op.parts().and_then(|parts| parts.only()) else { return false };
        let (origin, offset) = match transfer {
            Transfer::Read(_, offset) => (offset, Some(offset)),
            Transfer::Receive(_) | Transfer::Send => (handle.received, None),
        };
        let Handle { class, waits_by, .. } = *handle;
        let descriptor = handle.raw();
        debug_assert!(self.place(index).is((class, offset, descriptor, waits_by)));
        let slot = &mut self.slots[index];
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
        true
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
        let moved = slot.moved + count;
        let is_whole = slot.op.parts().is_some_and(|parts| moved >= parts.total());
        let is_enough = match transfer {
            Transfer::Receive(Extent::Some) => true,
            // More than one call takes is asked for again.
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
        if let Transfer::Receive(_) = transfer {
            handle.received += count;
            handle.untaken += 1;
            slot.untaken = true;
        }
        slot.moved = moved;
        slot.state = State::Settled;
        slot.report = Some(Report { result: Ok(Value::Count(moved)), moved: Moved::Bytes(moved) });
        self.unsettled -= 1;
        let has_waiters = slot.waiters != NONE;
        let (lane, only_reads) = match transfer {
            Transfer::Receive(_) => (lanes::RECEIVE, false),
            Transfer::Send => (lanes::SEND, false),
            Transfer::Read(..) => (lanes::RECEIVE, true),
        };
        lanes::unlink_transfer(index, lane, only_reads, &mut self.slots, handle);
        if has_waiters {
            self.release_waiters(index);
        }
        self.hand_on(index);
        true
    }
}
