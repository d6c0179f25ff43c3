//! Stopping: cancels, deadlines, abandonment, and the end of the scheduler.

use super::RequestQueue;
use super::outcome::{Event, State, Step, decide};
use super::settle::push_back;
use super::slots::{Cause, Ending, Payload, RequestId};
use super::timers::{Due, NO_TIMER, Nanoseconds};
use crate::backend::{NO_DESCRIPTOR, RawDescriptor, Value};
use crate::marks::{self, Mark};
use crate::op::{Lanes, Op};
use crate::planted::{self, Defect};

impl RequestQueue {
    /// Asks a request to stop. Once it has settled this does nothing.
    pub(crate) fn cancel(&mut self, id: RequestId, cause: Cause) {
        if id.is_sleep() {
            self.stop_sleep(id, cause);
        } else if let Some(index) = self.slots.find(id) {
            self.interrupt(index, cause);
            self.pump();
        }
    }

    pub(super) fn interrupt(&mut self, index: u32, cause: Cause) {
        let event = match cause {
            Cause::Cancel => Event::Cancel,
            Cause::Deadline => Event::Deadline,
            Cause::Abandon => Event::Abandon,
            Cause::Close => Event::Close,
            Cause::Shutdown => Event::Shutdown,
        };
        let slot = &mut self.slots[index];
        if cause == Cause::Abandon {
            slot.abandoned = true;
            let ending = std::mem::replace(&mut slot.ending, Ending::Detached);
            self.leftovers.push((Payload::empty(), ending));
        }
        let step = decide(slot.state, slot.sort(), event);
        match step {
            Step::StopUnstarted => {
                marks::hit(Mark::StoppedUnstarted);
                slot.cause = Some(cause);
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            Step::AskOs if slot.joined == 0 && planted::is(Defect::SettledBeforeTheOsLetsGo) => {
                slot.cause = Some(cause);
                let (token, descriptor) = (self.slots.id(index).token(), self.raw_descriptor(index));
                self.backend.cancel(token, &self.slots[index].op, descriptor, &mut self.completions);
                self.at_os -= 1;
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            Step::AskOs => {
                slot.cause = Some(cause);
                slot.state = State::CancelAsked;
                let leader = self.leader_of(index);
                let token = self.slots.id(leader).token();
                let descriptor = self.raw_descriptor(index);
                if !self.all_are_asked {
                    self.backend.cancel(token, &self.slots[leader].op, descriptor, &mut self.completions);
                }
            }
            Step::Orphan => {
                slot.cause = Some(cause);
                if !matches!(slot.op, Op::Sleep) {
                    self.at_os -= 1;
                    let token = self.slots.id(index).token();
                    if !self.all_are_asked {
                        self.backend.cancel(token, &self.slots[index].op, NO_DESCRIPTOR, &mut self.completions);
                    }
                }
                let error = self.stop_error(index);
                self.settle(index, Err(error));
                self.fill_os();
            }
            Step::Hurry => self.hurry_close(index, cause),
            Step::Discard => {
                marks::hit(Mark::Discarded);
                if let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key)) {
                    push_back(&mut self.slots[index], handle);
                }
                if let Some(key) = self.slots[index].handle {
                    self.interrupt_receive(key);
                }
                self.discard(index);
            }
            // Between two steps of a chain nothing is in flight; the next step is not begun then.
            Step::Ignore if slot.chain.is_some() => {
                marks::hit(Mark::ChainStopped);
                slot.cause.get_or_insert(cause);
            }
            Step::Ignore => {}
            step => unreachable!("{step:?} for {event:?}"),
        }
    }

    /// Lets a request go on for nobody; what it has received, or will, goes to the front of its lane.
    pub(crate) fn detach(&mut self, id: RequestId) {
        let Some(index) = self.slots.find(id) else { return };
        let ending = std::mem::replace(&mut self.slots[index].ending, Ending::Detached);
        self.leftovers.push((Payload::empty(), ending));
        if self.slots[index].is_over() {
            if let Some(key) = self.slots[index].handle
                && let Some(handle) = self.handles.get_mut(key)
            {
                push_back(&mut self.slots[index], handle);
                self.interrupt_receive(key);
            }
            self.discard(index);
            self.pump();
        }
    }

    /// Throws a settled request away that nobody takes; a failure that broke a lane is still delivered.
    fn discard(&mut self, index: u32) {
        let id = self.slots.id(index);
        // It may be listed already; then the second finding is of a request that is gone.
        self.settled.push_back(id);
    }

    /// The request whose call to the OS carries this one: itself, or the head of the writes joined with it.
    fn leader_of(&self, index: u32) -> u32 {
        let slot = &self.slots[index];
        match slot.handle {
            Some(key) if slot.lanes == Lanes::SEND => self.handles[key.index].lanes[1].head,
            _ => index,
        }
    }

    fn raw_descriptor(&self, index: u32) -> RawDescriptor {
        self.slots[index].handle.map_or(NO_DESCRIPTOR, |key| self.handles[key.index].raw())
    }

    /// What comes due at `now`: sleeps end, deadlines cancel.
    pub(crate) fn fire_due(&mut self, now: Nanoseconds) {
        self.now = now;
        while let Some(due) = self.timers.pop_due(now) {
            let index = match due {
                Due::Sleep(id) => {
                    self.end_sleep(id);
                    continue;
                }
                Due::Request(index) => index,
            };
            let slot = &mut self.slots[index];
            slot.timer = NO_TIMER;
            match slot.op {
                Op::Sleep if slot.origin <= now => self.settle(index, Ok(Value::Count(0))),
                _ => self.interrupt(index, Cause::Deadline),
            }
        }
        self.pump();
    }

    /// When the next deadline or sleep comes due.
    pub(crate) fn next_due(&self) -> Option<Nanoseconds> {
        self.timers.next()
    }

    /// Cancels everything that has not settled, for the end of the scheduler.
    pub(crate) fn cancel_all(&mut self) {
        // What has not begun first, so that nothing takes the place of what lets go.
        let in_state = |queue: &RequestQueue, is_it: fn(State) -> bool| -> Vec<u32> {
            queue.slots.iter().filter(|(_, slot)| is_it(slot.state)).map(|(index, _)| index).collect()
        };
        for index in in_state(self, |state| matches!(state, State::Queued | State::Held)) {
            self.interrupt(index, Cause::Shutdown);
        }
        self.all_are_asked = self.backend.cancel_all(&mut self.completions);
        for index in in_state(self, |state| state != State::Settled) {
            self.interrupt(index, Cause::Shutdown);
        }
        for id in self.timers.asleep().map(|sleep| sleep.id).collect::<Vec<_>>() {
            self.stop_sleep(id, Cause::Shutdown);
        }
        self.pump();
    }
}
