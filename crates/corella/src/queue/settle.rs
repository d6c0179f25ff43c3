//! From a backend's completion to a settled request, and what that changes of its handle.

use super::handles::{Broken, Handle, HandleKey, Returned};
use super::outcome::{Event, State, Step, decide};
use super::slots::{Cause, Ending, Link, NONE, Report, RequestId, Slot};
use super::timers::NO_TIMER;
use super::{PUMP_BUDGET, Ready, RequestQueue, lanes};
use crate::backend::{Completion, Fault, Outcome, TRANSFER_BYTES_MAX, TRANSFER_PARTS_MAX, Value, WaitsBy, codes};
use crate::buffer::{ReadToEnd, copy_out};
use crate::error::{Error, ErrorKind, Moved};
use crate::marks::{self, Mark};
use crate::op::{At, Class, Extent, Op};
use crate::planted::{self, Defect};

impl RequestQueue {
    /// Handles what the backend reported and what that set free, within a budget.
    pub(crate) fn pump(&mut self) {
        for _ in 0..PUMP_BUDGET {
            if let Some(id) = self.rechecks.pop_front() {
                if let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].state == State::Held) {
                    lanes::stop_waiting(index, &mut self.slots);
                    self.start_or_wait(index);
                }
            } else if let Some(completion) = self.completions.front() {
                let id = RequestId::from_token(completion.token);
                let count = match completion.outcome {
                    Ok(Value::Count(count)) => Some(count),
                    _ => None,
                };
                if count.is_some_and(|count| self.complete_transfer(id, count)) {
                    // A number has nothing to drop; to find that out costs a call.
                    std::mem::forget(self.completions.pop_front());
                    if !self.queued.is_empty() {
                        self.fill_os();
                    }
                } else {
                    self.complete_next();
                }
            } else {
                return;
            }
        }
    }

    #[inline(never)]
    fn complete_next(&mut self) {
        if let Some(completion) = self.completions.pop_front() {
            self.complete(completion);
        }
    }

    fn complete(&mut self, completion: Completion) {
        let id = RequestId::from_token(completion.token);
        let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].is_at_os()) else {
            // It was settled as an orphan; a descriptor that comes late is closed here.
            marks::hit(Mark::LateOutcome);
            return;
        };
        self.at_os -= 1;
        let outcome = self.see_mode(index, completion.outcome);
        let outcome = if self.has_a_place(index) { self.keep_in_order(index, outcome) } else { outcome };
        match std::mem::take(&mut self.slots[index].joined) {
            0 => self.apply(index, outcome),
            joined => self.complete_joined(index, joined, outcome),
        }
        self.fill_os();
    }

    /// Whether it matters in what order requests like this one come back: they take from the front of something.
    fn has_a_place(&self, index: u32) -> bool {
        let slot = &self.slots[index];
        let keeps_its_place = matches!(slot.op, Op::Accept | Op::RecvFrom { .. } | Op::Read { at: At::Cursor, .. });
        keeps_its_place || slot.handle.is_some_and(|key| self.handles[key.index].pushback.is_some())
    }

    /// What was received while something earlier came back to the front of the lane goes behind that, and the request
    /// takes the front.
    fn keep_in_order(&mut self, index: u32, outcome: Outcome) -> Outcome {
        let slot = &mut self.slots[index];
        let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key)) else { return outcome };
        if matches!(slot.op, Op::Accept | Op::RecvFrom { .. }) && slot.begun && outcome.is_ok() {
            slot.origin = handle.received;
            handle.received += 1;
        }
        let is_cursor_read = matches!(slot.op, Op::Read { at: At::Cursor, .. });
        let is_behind = slot.begun && slot.origin != handle.cursor && !planted::is(Defect::ReadIsNotBroughtBack);
        if is_cursor_read && matches!(handle.class, Class::File { .. }) && is_behind {
            // The cursor went back behind it, as nobody wanted what the one before had read: it reads that.
            marks::hit(Mark::WentBehind);
            if let Some(target) = slot.payload.get_mut::<ReadToEnd>() {
                drop(target.give_back());
            }
            slot.moved = 0;
            slot.begun = false;
            return Err(Fault::Interrupted);
        }
        let Some(pushback) = &mut handle.pushback else { return outcome };
        match (&slot.op, outcome) {
            // One that the OS has just given, and not one that came back.
            (Op::Accept, Ok(Value::Descriptor(connection))) if slot.begun && pushback.has_connections() => {
                pushback.insert_connection(slot.origin, connection);
                slot.begun = false;
            }
            (Op::RecvFrom { parts }, Ok(Value::Datagram(arrival))) if slot.begun && pushback.has_datagrams() => {
                let bytes = copy_out(parts, arrival.count.into());
                pushback.insert_datagram(slot.origin, Returned { bytes, arrival });
                slot.begun = false;
            }
            (op, outcome @ (Ok(Value::Count(_)) | Err(Fault::Interrupted)))
                if op.is_stream_read(handle.class) && pushback.begins_before(slot.origin) =>
            {
                let count = match outcome {
                    Ok(Value::Count(count)) => count,
                    _ => 0,
                };
                if let Some(target) = slot.payload.get_mut::<ReadToEnd>() {
                    target.arrived(count as usize);
                }
                let total = slot.moved + count;
                slot.moved = 0;
                slot.begun = false;
                handle.received += count;
                let bytes = received_bytes(slot, total);
                pushback.insert(slot.origin, bytes);
            }
            (_, outcome) => return outcome,
        }
        marks::hit(Mark::WentBehind);
        Err(Fault::Interrupted)
    }

    /// A call that was to wait and did not: somebody who shares the description has made it non-blocking, and from now
    /// on only readiness waits for it.
    fn see_mode(&mut self, index: u32, outcome: Outcome) -> Outcome {
        if let Err(Fault::Os(codes::EAGAIN)) = &outcome
            && let Some(key) = self.slots[index].handle
        {
            let handle = &mut self.handles[key.index];
            let is_stream = !matches!(handle.class, Class::File { .. } | Class::SharedFile);
            if is_stream && std::mem::replace(&mut handle.waits_by, WaitsBy::Readiness) != WaitsBy::Readiness {
                return Err(Fault::Interrupted);
            }
        }
        outcome
    }

    /// Starts what waits for room at the OS, as far as there is room.
    pub(super) fn fill_os(&mut self) {
        while self.at_os < self.depth {
            let Some(id) = self.queued.pop_front() else { break };
            if let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].state == State::Queued) {
                self.start(index);
            }
        }
    }

    /// One request's share of what the OS reported.
    pub(super) fn apply(&mut self, index: u32, outcome: Outcome) {
        let slot = &mut self.slots[index];
        let handle = slot.handle.map(|key| &mut self.handles[key.index]);
        let event = classify(slot, handle, &outcome);
        let step = decide(slot.state, slot.sort(), event);
        let moved = slot.moved;
        mark_step(slot, step, event);
        match (step, outcome) {
            (Step::Succeed, _) if matches!(slot.op, Op::Close) && slot.cause.is_some() => {
                // It is closed, but not all that was before it has been done.
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            (Step::Succeed, Ok(Value::Count(_)))
                if slot.cause.is_some() && planted::is(Defect::RacedCancelDeniesSuccess) =>
            {
                slot.moved = 0;
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            (Step::Succeed, outcome @ Ok(Value::Count(_))) => {
                // A number has nothing to drop; to find that out costs a call.
                std::mem::forget(outcome);
                let count = if matches!(slot.op, Op::Seek { .. }) { slot.origin } else { moved };
                self.settle(index, Ok(Value::Count(count)));
            }
            (Step::Succeed, Ok(value)) => self.settle(index, Ok(value)),
            (Step::Continue, _) => self.launch(index),
            (Step::Stop, _) => {
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            (Step::Fail, outcome) => {
                slot.stopped_somewhere = matches!(outcome, Err(Fault::StoppedSomewhere(_)));
                let error = match outcome {
                    Err(Fault::StoppedSomewhere(None)) if slot.cause.is_some() => self.stop_error(index),
                    // Somebody else who has the handle has stopped it.
                    Err(Fault::StoppedSomewhere(None)) => self.os_error(index, codes::ECANCELED),
                    Err(Fault::Os(code) | Fault::StoppedSomewhere(Some(code))) => self.os_error(index, code),
                    Err(Fault::Name(why)) => self.error(index, ErrorKind::NameNotResolved).with_note(why),
                    Err(Fault::InvalidFor(code, why)) => self.os_error(index, code).into_invalid_input(why),
                    Err(Fault::Invalid(why)) => self.error(index, ErrorKind::InvalidInput).with_note(why),
                    _ => self.error(index, ErrorKind::UnexpectedEnd).with_note(format!("after {moved} bytes")),
                };
                self.settle(index, Err(error));
            }
            (step, _) => unreachable!("{step:?} for {event:?}"),
        }
    }

    /// Settles a request: its outcome is final, its lane goes on.
    pub(super) fn settle(&mut self, index: u32, result: Result<Value, Error>) {
        let slot = &mut self.slots[index];
        debug_assert_ne!(slot.state, State::Settled, "a request settles once");
        if slot.chain.is_none() {
            slot.registration = None;
            if slot.timer != NO_TIMER {
                self.disarm(index);
            }
        }
        if self.slots[index].blocker != NONE {
            lanes::stop_waiting(index, &mut self.slots);
        }
        let slot = &mut self.slots[index];
        let moved = match slot.begun {
            false => Moved::NotStarted,
            true if slot.stopped_somewhere => Moved::Unknown,
            true => Moved::Bytes(slot.moved),
        };
        slot.state = State::Settled;
        self.unsettled -= 1;
        slot.report = Some(Report { result, moved });
        if let Some(key) = slot.handle {
            let handle = &mut self.handles[key.index];
            let id = RequestId { index, generation: slot.generation };
            let breaks = tell_handle(id, slot, handle);
            let (has_waiters, is_close) = (slot.waiters != NONE, matches!(slot.op, Op::Close));
            lanes::unlink(index, &mut self.slots, handle);
            if has_waiters {
                self.release_waiters(index);
            }
            if breaks {
                self.break_lane(key.index);
            }
            if is_close {
                // What is left of the handle is the queue's own: pushed back bytes and connections.
                drop(self.handles.remove(key.index));
            }
        }
        self.hand_on(index);
    }

    /// Has the scheduler deliver a settled request, unless its owner is to ask for it. One that never began and was
    /// given up is nobody's: it is gone after this.
    pub(super) fn hand_on(&mut self, index: u32) {
        let slot = &self.slots[index];
        let id = RequestId { index, generation: slot.generation };
        let is_over = slot.chain.is_none();
        if is_over && slot.cause == Some(Cause::Abandon) && !slot.begun {
            self.take_with(id, |_| ());
        } else {
            match &slot.ending {
                Ending::Kept if is_over => {}
                // It need not be sorted behind others. At the end of all, callbacks may be dropped instead of run.
                Ending::Callback(callback)
                    if is_over
                        && !callback.direct
                        && self.is_reaping
                        && !self.all_are_asked
                        && self.settled.is_empty() =>
                {
                    self.ready.push(Ready::Callback(id, callback.run));
                }
                _ => self.settled.push_back(id),
            }
        }
    }

    /// Every write that was submitted before the failure is known fails with it, however many there are.
    fn break_lane(&mut self, handle: u32) {
        for index in lanes::members(handle, &self.handles, &self.slots) {
            let slot = &self.slots[index];
            let is_held = matches!(slot.state, State::Held | State::Queued);
            if is_held && slot.op.is_stream_write() {
                debug_assert_eq!(decide(slot.state, slot.sort(), Event::LaneBroken), Step::Break);
                marks::hit(Mark::FailedForAnother);
                let error = self.error(index, ErrorKind::LaneBroken);
                self.settle(index, Err(error));
            }
        }
    }

    /// Something came back to the front of a receive lane: a request that the OS has would wait beside it.
    pub(super) fn interrupt_receive(&mut self, key: HandleKey) {
        let Some(handle) = self.handles.find(key).map(|index| &self.handles[index]) else { return };
        let head = handle.lanes[0].head;
        if handle.pushback.as_ref().is_none_or(|pushback| pushback.is_empty()) || head == NONE {
            return;
        }
        let slot = &self.slots[head];
        if slot.state == State::AtOs && takes_the_front(&slot.op) {
            marks::hit(Mark::ReceiveInterrupted);
            // It goes on when the OS has let go, and then it begins with what came back.
            let token = self.slots.id(head).token();
            self.backend.cancel(token, &slot.op, handle.raw(), &mut self.completions);
        }
    }

    /// Those who waited for this one look again, in submission order.
    pub(super) fn release_waiters(&mut self, index: u32) {
        let mut waiter = std::mem::replace(&mut self.slots[index].waiters, NONE);
        while waiter != NONE {
            self.released.push(self.slots.id(waiter));
            let slot = &mut self.slots[waiter];
            slot.blocker = NONE;
            waiter = std::mem::replace(&mut slot.waiting, Link::UNLINKED).next;
        }
        if self.slots[index].abandoned && planted::is(Defect::GivenUpReleasesNobody) {
            self.released.clear();
        }
        // They were found last come first.
        self.rechecks.extend(self.released.drain(..).rev());
    }
}

/// Says which rare moment a step is, if it is one.
fn mark_step(slot: &Slot, step: Step, event: Event) {
    match step {
        Step::Succeed if slot.cause.is_some() => marks::hit(Mark::RacedCancel),
        Step::Stop if slot.moved > 0 => marks::hit(Mark::StoppedHalfway),
        Step::Continue if event == Event::Interrupted => marks::hit(Mark::Resumed),
        Step::Continue if slot.op.extent().is_some() => marks::hit(Mark::ShortRead),
        Step::Continue => marks::hit(Mark::ShortWrite),
        _ => {}
    }
}

/// What an outcome means for its request; counts the bytes.
fn classify(slot: &mut Slot, mut handle: Option<&mut Handle>, outcome: &Outcome) -> Event {
    let count = match outcome {
        Err(Fault::Interrupted) => return Event::Interrupted,
        Err(_) => return Event::Error,
        Ok(Value::Count(count)) => *count,
        Ok(Value::Datagram(arrival)) => {
            slot.moved = arrival.count.into();
            #[cfg(corella_valgrind)]
            if let Some(parts) = slot.op.parts() {
                parts.tell_valgrind(0, slot.moved);
            }
            return Event::Done;
        }
        Ok(Value::Exit(status)) => {
            if let Some(child) = handle.and_then(|handle| handle.child.as_mut()) {
                child.status = Some(*status);
            }
            return Event::Done;
        }
        Ok(_) => return Event::Done,
    };
    let extent = slot.op.extent();
    let Some(parts) = slot.op.parts() else {
        if matches!(slot.op, Op::Seek { .. }) {
            slot.origin = count;
        }
        return Event::Done;
    };
    if let Some(handle) = &mut handle
        && slot.op.is_stream_read(handle.class)
    {
        handle.received += count;
    }
    #[cfg(corella_valgrind)]
    if let Some(extent) = extent {
        let skip = if extent == Extent::ToEnd { 0 } else { slot.moved };
        parts.tell_valgrind(skip, count);
    }
    slot.moved += count;
    let whole = slot.moved >= parts.total();
    match extent {
        Some(Extent::ToEnd) => {
            if let Some(target) = slot.payload.get_mut::<ReadToEnd>() {
                target.arrived(count as usize);
            }
            if count == 0 { Event::Done } else { Event::Short }
        }
        Some(Extent::Some) => {
            // One call takes so many bytes and parts and no more; on a file, which has an end, the program is not to
            // notice. A stream's next bytes may be long in coming.
            let is_file = handle.is_some_and(|handle| matches!(handle.class, Class::File { .. } | Class::SharedFile));
            let was_cut = count >= TRANSFER_BYTES_MAX || parts.len() > TRANSFER_PARTS_MAX;
            if is_file && was_cut && count > 0 && !whole { Event::Short } else { Event::Done }
        }
        _ if whole || slot.op.is_datagram() => Event::Done,
        None if planted::is(Defect::ShortWriteIsWhole) => Event::Done,
        _ if count == 0 => Event::Error,
        _ => Event::Short,
    }
}

/// What a settled request changes of its handle: cursor, known end, broken lane, what comes back to the front.
/// Says whether the lane breaks.
fn tell_handle(id: RequestId, slot: &mut Slot, handle: &mut Handle) -> bool {
    let Some(report) = &slot.report else { return false };
    let end = slot.origin.saturating_add(slot.moved);
    let is_file = matches!(handle.class, Class::File { .. });
    // What it read goes to the next.
    let is_nobodys_read = slot.abandoned || matches!(slot.ending, Ending::Detached);
    match (&slot.op, &report.result) {
        (Op::Read { at: At::Cursor, .. }, _) if is_nobodys_read => {}
        (Op::Read { at: At::Cursor, .. }, _) if is_file && slot.begun => handle.cursor = end,
        (Op::Write { at: At::Cursor, .. }, _) if handle.class == (Class::File { append: true }) => {}
        (Op::Write { .. }, Err(_)) if planted::is(Defect::CursorStaysAtFailure) => {}
        (Op::Write { at, .. }, _) if is_file && slot.moved > 0 => {
            handle.known_end = handle.known_end.max(end);
            if *at == At::Cursor {
                handle.cursor = end;
            }
        }
        (Op::Seek { .. }, Ok(Value::Count(to))) => handle.cursor = *to,
        (Op::Truncate { .. }, Ok(_)) if planted::is(Defect::TruncateNotLearned) => {}
        (Op::Truncate { length }, Ok(_)) => handle.known_end = *length,
        (Op::Allocate { offset, length }, Ok(_)) => {
            handle.known_end = handle.known_end.max(offset.saturating_add(*length));
        }
        (Op::StatHandle, Ok(Value::Metadata(metadata))) if is_file => handle.known_end = metadata.size,
        _ => {}
    }
    let goes_on = handle.broken == Some(Broken::PartlyUntil(id));
    if goes_on {
        handle.broken = None;
    }
    let breaks = match &report.result {
        Err(error) => slot.op.is_stream_write() && (goes_on || breaks_lane(error.kind(), slot)),
        Ok(_) => false,
    };
    if breaks {
        marks::hit(Mark::BrokenLane);
        handle.broken = Some(match handle.class {
            Class::File { .. } | Class::SharedFile => Broken::UntilHanded(id),
            _ => Broken::ForGood,
        });
    }
    // What was received for nobody is not lost.
    if is_nobodys_read {
        if !is_file {
            push_back(slot, handle);
        }
    } else if matches!(slot.op, Op::Accept | Op::RecvFrom { .. }) || slot.op.is_stream_read(handle.class) {
        slot.untaken = true;
        handle.untaken += 1;
    }
    breaks
}

/// Whether a request at the OS would rather have what came back to the front.
fn takes_the_front(op: &Op) -> bool {
    matches!(
        op,
        Op::Recv { .. } | Op::RecvFrom { .. } | Op::Read { .. } | Op::Accept | Op::AwaitReady { writes: false }
    )
}

/// Whether a failed stream write leaves a gap: the OS refused it, or it stopped after its first byte.
fn breaks_lane(kind: ErrorKind, slot: &Slot) -> bool {
    match kind {
        _ if planted::is(Defect::BrokenLaneForgotten) => false,
        ErrorKind::LaneBroken => false,
        ErrorKind::Cancelled | ErrorKind::TimedOut => slot.moved > 0 || slot.stopped_somewhere,
        _ => true,
    }
}

/// Bytes and connections that came for an abandoned request go to the front of its lane; a file's cursor goes back.
pub(super) fn push_back(slot: &mut Slot, handle: &mut Handle) {
    is_taken(slot, handle);
    match slot.op {
        Op::Accept => {
            if let Some(Report { result, .. }) = &mut slot.report
                && let Ok(Value::Descriptor(_)) = result
                && let Ok(Value::Descriptor(connection)) = std::mem::replace(result, Ok(Value::Count(0)))
            {
                marks::hit(Mark::ConnectionPushedBack);
                handle.pushback.get_or_insert_default().insert_connection(slot.origin, connection);
            }
        }
        Op::RecvFrom { .. } => {
            if let Some(Report { result, .. }) = &mut slot.report
                && let Ok(Value::Datagram(_)) = result
                && let Ok(Value::Datagram(arrival)) = std::mem::replace(result, Ok(Value::Count(0)))
            {
                let bytes = received_bytes(slot, arrival.count.into());
                slot.moved = 0;
                handle.pushback.get_or_insert_default().insert_datagram(slot.origin, Returned { bytes, arrival });
            }
        }
        // Unless another has moved it since.
        Op::Read { at: At::Cursor, .. }
            if matches!(handle.class, Class::File { .. })
                && handle.cursor == slot.origin.saturating_add(slot.moved) =>
        {
            marks::hit(Mark::CursorWentBack);
            handle.cursor = slot.origin;
        }
        _ if slot.op.is_stream_read(handle.class) && slot.moved > 0 => {
            marks::hit(Mark::BytesPushedBack);
            let count = std::mem::take(&mut slot.moved);
            let mut bytes = received_bytes(slot, count);
            if planted::is(Defect::ByteDroppedAtRacedCancel) {
                bytes.pop();
            }
            handle.pushback.get_or_insert_default().insert(slot.origin, bytes);
        }
        _ => {}
    }
}

/// A settled request's outcome is somebody's, or nobody's for good.
pub(super) fn is_taken(slot: &mut Slot, handle: &mut Handle) {
    handle.untaken -= u32::from(std::mem::take(&mut slot.untaken));
}

/// Takes out of a request's buffer what was received into it.
fn received_bytes(slot: &mut Slot, count: u64) -> Vec<u8> {
    match slot.payload.get_mut::<ReadToEnd>() {
        Some(target) => target.give_back(),
        None => slot.op.parts().map_or_else(Vec::new, |parts| copy_out(parts, count)),
    }
}
