//! Timers of requests, and sleeps that are nothing but a timer.
//!
//! A sleep that is awaited, without a deadline or a token, is no request: it has neither slot nor lane nor anything at the
//! OS, and takes a timer and the waker of its task. What is said of requests holds for it all the same; it becomes one if
//! it is given another ending.

use std::task::Waker;

use super::RequestQueue;
use super::outcome::State;
use super::slots::{Cause, Ending, Payload, Report, RequestId};
use super::timers::{NO_TIMER, Nanoseconds, Until};
use crate::backend::Value;
use crate::error::{Error, ErrorKind, Moved};
use crate::op::Op;

/// What a stopped sleep and a stopped request say of a shutdown.
pub(super) const THE_END: &str = "the scheduler ends";

impl RequestQueue {
    // Of requests.

    /// Gives a request a timer, of which it has none.
    #[inline]
    pub(super) fn arm(&mut self, due: Nanoseconds, index: u32) {
        debug_assert_eq!(self.slots[index].timer, NO_TIMER);
        self.slots[index].timer = self.timers.insert(due, index);
    }

    /// Takes a request's timer away, if it has one.
    #[inline]
    pub(super) fn disarm(&mut self, index: u32) {
        let timer = std::mem::replace(&mut self.slots[index].timer, NO_TIMER);
        if timer != NO_TIMER {
            self.timers.remove(timer);
        }
    }

    // Sleeps.

    /// Begins a sleep at whose end `waker` is woken.
    #[inline]
    pub(crate) fn sleep(&mut self, until: Until, waker: Waker) -> RequestId {
        self.sleeps += 1;
        self.unsettled += 1;
        self.timers.insert_sleep(until, self.now, waker)
    }

    /// Sleeps that have no time yet count from `now`.
    pub(crate) fn set_sleeps(&mut self, now: Nanoseconds) {
        self.timers.set(now);
    }

    /// Whether a sleep goes on.
    #[inline]
    pub(crate) fn is_asleep(&self, id: RequestId) -> bool {
        self.timers.is_asleep(id).is_ok()
    }

    /// Its waker, unless that is being woken.
    pub(crate) fn sleep_waker(&mut self, id: RequestId) -> Option<&mut Option<Waker>> {
        self.timers.waker(id)
    }

    /// How a sleep that is over has ended.
    fn report(&self, id: RequestId) -> Option<Report> {
        let kind = ErrorKind::Cancelled;
        let result = match self.timers.is_asleep(id) {
            Ok(()) => return None,
            Err(None) => Ok(Value::Count(0)),
            Err(Some(Cause::Shutdown)) => Err(Error::new(kind, Op::Sleep.to_string(), "").with_note(THE_END)),
            Err(Some(_)) => Err(Error::new(kind, Op::Sleep.to_string(), "")),
        };
        Some(Report { result, moved: Moved::NotStarted })
    }

    /// Hands the outcome of a sleep over that is over. A waker that is left is to be dropped outside the queue.
    pub(crate) fn take_sleep(&mut self, id: RequestId) -> Option<(Report, Option<Waker>)> {
        let report = self.report(id)?;
        Some((report, self.drop_sleep(id)))
    }

    /// Lets a sleep go with its future, and gives its waker, to be dropped outside the queue.
    #[inline]
    pub(crate) fn drop_sleep(&mut self, id: RequestId) -> Option<Waker> {
        let (was_asleep, waker) = self.timers.remove_sleep(id);
        self.sleeps -= 1;
        self.unsettled -= usize::from(was_asleep);
        waker
    }

    /// Ends a sleep before its time, unless it is over.
    pub(super) fn stop_sleep(&mut self, id: RequestId, cause: Cause) {
        if self.timers.stop(id, cause) {
            self.end_sleep(id);
        }
    }

    /// Has the scheduler wake who waits for a sleep that is over.
    pub(super) fn end_sleep(&mut self, id: RequestId) {
        self.unsettled -= 1;
        self.settled.push_back(id);
    }

    /// Makes a sleep a request like any other, which carries `payload` and whose outcome is kept for who asks.
    pub(crate) fn request_of_sleep(&mut self, id: RequestId, payload: Payload, now: Nanoseconds) -> RequestId {
        self.set_sleeps(now);
        let index = self.slots.insert(Op::Sleep);
        let report = self.report(id);
        let waker = match report {
            None => {
                let (due, submitted_at, waker) = self.timers.give_to_request(id, index);
                let slot = &mut self.slots[index];
                (slot.state, slot.timer) = (State::AtOs, id.index);
                (slot.origin, slot.submitted_at) = (due, submitted_at);
                waker
            }
            Some(_) => {
                self.slots[index].state = State::Settled;
                self.timers.remove_sleep(id).1
            }
        };
        let slot = &mut self.slots[index];
        (slot.payload, slot.report) = (payload, report);
        self.leftovers.extend(waker.map(|waker| (Payload::empty(), Ending::Wake(waker))));
        self.slots.id(index)
    }
}
