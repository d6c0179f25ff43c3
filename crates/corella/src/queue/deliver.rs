//! What the scheduler asks of settled requests, and what it takes.

use std::sync::Arc;
use std::task::Waker;

use super::RequestQueue;
use super::handles::Broken;
use super::outcome::State;
use super::settle::is_taken;
use super::slots::{Chain, ChainStep, Ending, Payload, Report, RequestId, Slot};
use crate::buffer::{Part, Parts};
use crate::error::Moved;
use crate::marks::{self, Mark};
use crate::op::Op;
use crate::scheduler::hosted::HostedOutcome;
use crate::scheduler::tasks::TaskWaker;

/// Lists of parts that are kept.
const SPARE_LISTS: usize = 64;

impl RequestQueue {
    /// The next settled request that the scheduler has not seen.
    pub(crate) fn next_settled(&mut self) -> Option<RequestId> {
        self.settled.pop_front()
    }

    /// Takes what a chain needs for its next step, if the settled request is one.
    pub(crate) fn take_chain(&mut self, id: RequestId) -> Option<(Chain, Payload, Report)> {
        let index = self.slots.find(id)?;
        let slot = &mut self.slots[index];
        let chain = slot.chain?;
        Some((chain, slot.payload.replace_with_empty(), slot.report.take()?))
    }

    /// Goes on with a chain, or settles it for good.
    pub(crate) fn go_on(&mut self, id: RequestId, payload: Payload, step: ChainStep) {
        let Some(index) = self.slots.find(id) else {
            return self.leftovers.push((payload, Ending::Detached));
        };
        let slot = &mut self.slots[index];
        slot.payload = payload;
        let (op, key) = match step {
            ChainStep::Settle(report) => return self.end_chain(index, report),
            ChainStep::Next(op, key) => (op, key),
        };
        slot.op = op;
        slot.handle = Some(key);
        slot.moved = 0;
        slot.begun = false;
        if slot.cause.is_some() || slot.abandoned {
            let result = Err(self.stop_error(index));
            return self.end_chain(index, Report { result, moved: Moved::NotStarted });
        }
        marks::hit(Mark::ChainWentOn);
        slot.state = State::Held;
        self.unsettled += 1;
        self.enter_lanes(index);
        self.start_or_wait(index);
        self.pump();
    }

    fn end_chain(&mut self, index: u32, report: Report) {
        self.disarm(index);
        let slot = &mut self.slots[index];
        slot.chain = None;
        slot.registration = None;
        slot.report = Some(report);
        self.hand_on(index);
    }

    /// Whether a settled request was a success.
    pub(crate) fn settled_well(&self, id: RequestId) -> Option<bool> {
        let slot = self.slots.find(id).map(|index| &self.slots[index]).filter(|slot| slot.is_over())?;
        Some(slot.is_plain_success || slot.report.as_ref()?.result.is_ok())
    }

    /// Hands a settled request's outcome over and frees its slot.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<(Payload, Report, Ending)> {
        self.take_with(id, |slot| {
            let ending = std::mem::replace(&mut slot.ending, Ending::Kept);
            Some((slot.payload.replace_with_empty(), slot.take_report()?, ending))
        })?
    }

    /// Has `take_out` move what is wanted out of a settled request's slot, and frees that. What it leaves there is dropped
    /// outside the queue.
    #[inline]
    pub(crate) fn take_with<T>(&mut self, id: RequestId, take_out: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        let index = self.slots.find(id)?;
        let slot = &mut self.slots[index];
        if !slot.is_over() {
            return None;
        }
        let taken = take_out(slot);
        self.free(index);
        Some(taken)
    }

    /// The slot of a settled request, whose outcome is to be taken out.
    #[inline(always)]
    pub(crate) fn settled(&mut self, id: RequestId) -> Option<&mut Slot> {
        self.slots.get_mut(id).filter(|slot| slot.is_over())
    }

    /// Frees a slot whose outcome is taken. What is left there is dropped outside the queue.
    #[inline]
    pub(crate) fn free_settled(&mut self, id: RequestId) {
        let is_plain = self
            .settled(id)
            .is_some_and(|slot| slot.is_plain_success && !slot.payload.is_some() && !slot.ending.is_of_the_program());
        match is_plain {
            true => self.free_transfer(id.index),
            false => self.free(id.index),
        }
    }

    /// Puts a host's outcome where the host fetches it.
    pub(crate) fn tell_host(&mut self, id: RequestId, name: u32) {
        if let Some(outcome) = self.take_with(id, |slot| HostedOutcome::of(name, slot)) {
            self.hosted.add(outcome);
        }
    }

    /// Frees a slot whose outcome is taken.
    pub(super) fn free(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let id = RequestId { index, generation: slot.generation };
        debug_assert!(!self.handles.go_on_with(id, slot.handle));
        match slot.op {
            Op::Sleep => self.sleeps -= 1,
            Op::Close => {}
            _ => self.live -= 1,
        }
        if let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key)) {
            is_taken(slot, handle);
            if handle.broken == Some(Broken::UntilHanded(id)) {
                handle.broken = None;
            }
        }
        if let Some(parts) = slot.op.parts_mut() {
            keep_list(parts, &mut self.spare_lists);
        }
        if slot.payload.is_some() || slot.ending.is_of_the_program() {
            let ending = std::mem::replace(&mut slot.ending, Ending::Kept);
            self.leftovers.push((slot.payload.replace_with_empty(), ending));
        }
        self.slots.remove(index);
    }

    /// Keeps a list of parts for the next.
    pub(crate) fn keep_list(&mut self, parts: &mut Parts) {
        keep_list(parts, &mut self.spare_lists);
    }

    /// Settled requests with a callback that has not run, or that nobody owns.
    pub(crate) fn undelivered(&self) -> Vec<RequestId> {
        let is_it = |slot: &Slot| {
            slot.is_over() && matches!(slot.ending, Ending::Callback(_) | Ending::Hosted(_) | Ending::Detached)
        };
        self.slots.iter().filter(|(_, slot)| is_it(slot)).map(|(index, _)| self.slots.id(index)).collect()
    }

    /// Changes how an outcome is to be taken; gives the old ending back, to be dropped outside.
    pub(crate) fn set_ending(&mut self, id: RequestId, ending: Ending) -> Result<Ending, Ending> {
        match self.slots.find(id) {
            Some(index) => Ok(std::mem::replace(&mut self.slots[index].ending, ending)),
            None => Err(ending),
        }
    }

    /// Changes how an outcome is to be taken, and has it delivered anew if it has settled already.
    pub(crate) fn set_ending_and_deliver(&mut self, id: RequestId, ending: Ending) -> Result<Ending, Ending> {
        let old = self.set_ending(id, ending);
        if let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].is_over()) {
            self.hand_on(index);
        }
        old
    }

    /// Whether a request's settling already wakes this waker, or the task of the scheduler's own that it is of.
    pub(crate) fn will_wake(&self, id: RequestId, waker: &Waker, task: Option<&Arc<TaskWaker>>) -> bool {
        match self.slots.find(id).map(|index| &self.slots[index].ending) {
            Some(Ending::Task(old)) => task.is_some_and(|task| Arc::ptr_eq(old, task)),
            Some(Ending::Wake(old)) => old.will_wake(waker),
            _ => false,
        }
    }

    /// In a forked child: the child's copy of what a request carries. The OS has the parent's.
    pub(crate) fn take_copy(&mut self, id: RequestId) -> Option<Payload> {
        let index = self.slots.find(id)?;
        Some(self.slots[index].payload.replace_with_empty())
    }

    /// The bytes that a settled request moved.
    pub(crate) fn settled_bytes(&self, id: RequestId) -> Option<u64> {
        let slot = &self.slots[self.slots.find(id)?];
        slot.is_over().then_some(slot.moved)
    }

    /// How a request's outcome is to be taken.
    pub(crate) fn ending(&mut self, id: RequestId) -> Option<&mut Ending> {
        self.slots.find(id).map(|index| &mut self.slots[index].ending)
    }
}

/// Puts an empty list of parts to the others, of which there are to be so many.
#[inline]
pub(super) fn keep_list(parts: &mut Parts, lists: &mut Vec<Vec<Part>>) {
    if parts.rest.capacity() > 0 && lists.len() < SPARE_LISTS {
        parts.rest.clear();
        lists.push(std::mem::take(&mut parts.rest));
    }
}
