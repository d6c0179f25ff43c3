//! The request queue: takes requests, keeps each handle's order, talks to one backend, settles each request once.
//!
//! A request goes `submit` → lane → `launch` → backend → `complete` → `settle` → the list of settled ones, which the
//! scheduler empties. Nothing here calls the program's code or drops the program's values: those go out through
//! [`RequestQueue::take`] and [`RequestQueue::leftovers`].

mod close;
mod deadlines;
pub(crate) mod handles;
mod joined;
mod lanes;
pub(crate) mod outcome;
pub(crate) mod slots;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use self::deadlines::{Deadlines, Nanoseconds};
use self::handles::{Broken, Handle, HandleKey, Handles, Life, Pushback};
use self::outcome::{Event, Sort, State, Step, decide};
use self::slots::{Cause, Chain, ChainStep, Ending, NONE, Payload, Report, RequestId, Slot, Slots};
use crate::backend::{
    Backend, Completion, Completions, Fault, Outcome, RawDescriptor, Submission, TRANSFER_BYTES_MAX,
    TRANSFER_PARTS_MAX, Value, attempt, perform,
};
use crate::buffer::{Part, ReadToEnd, copy_out, fill_from};
use crate::error::{Error, ErrorKind, Moved};
use crate::op::{At, Class, Extent, Lanes, Op, SeekTo};
use crate::scheduler::remote::Inbox;
use crate::scheduler::token::CancelToken;

/// Completions and rechecks handled before the queue returns to the scheduler, so that a flood of one kind leaves
/// room for tasks and timers.
const PUMP_BUDGET: usize = 1024;

/// A request as the handles make it.
pub(crate) struct Request {
    pub(crate) op: Op,
    pub(crate) handle: Option<HandleKey>,
    pub(crate) unordered: bool,
    pub(crate) bare: bool,
    /// May exceed the depth: its caller waits for it.
    pub(crate) waits_its_turn: bool,
    pub(crate) deadline: Option<Nanoseconds>,
    /// For a sleep: when it is over.
    pub(crate) due: Option<Nanoseconds>,
    pub(crate) token: Option<CancelToken>,
    pub(crate) chain: Option<Chain>,
    pub(crate) payload: Payload,
    pub(crate) ending: Ending,
}

/// A request that was not taken, with everything that belongs to its caller.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) payload: Payload,
    /// Dropped by the caller, outside the queue.
    pub(crate) ending: Ending,
}

/// A failure that nobody took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unobserved {
    /// What failed, on what, and why.
    pub error: Error,
}

/// A request in flight, as `outstanding()` lists it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outstanding {
    /// The operation with its numbers.
    pub operation: String,
    /// What it is done to.
    pub target: String,
    /// How long ago it was submitted.
    pub age: Duration,
    /// Whether the OS has it; otherwise it waits in the queue.
    pub at_os: bool,
    /// Its name, to cancel it with.
    pub id: RequestId,
}

pub(crate) struct RequestQueue {
    pub(crate) slots: Slots,
    pub(crate) handles: Handles,
    pub(crate) backend: Backend,
    deadlines: Deadlines,
    completions: Completions,
    /// Requests whose blocker has settled.
    rechecks: VecDeque<RequestId>,
    /// Requests free to start, waiting for room at the OS.
    queued: VecDeque<RequestId>,
    /// Requests that the scheduler has yet to deliver.
    settled: VecDeque<RequestId>,
    at_os: usize,
    depth: usize,
    sleeps_max: usize,
    /// Requests that count towards the depth.
    live: usize,
    sleeps: usize,
    unsettled: usize,
    /// Reused from submission to submission.
    parts: Vec<Part>,
    /// Reused from joined write to joined write.
    followers: Vec<u32>,
    /// Lists of parts of vectored requests, kept for the next.
    spare_lists: Vec<Vec<Part>>,
    /// What the scheduler drops outside its borrow of the queue.
    pub(crate) leftovers: Vec<(Payload, Ending)>,
    now: Nanoseconds,
    /// Where cancels from tokens arrive.
    inbox: Arc<Inbox>,
}

impl RequestQueue {
    pub(crate) fn new(backend: Backend, depth: usize, sleeps_max: usize, inbox: Arc<Inbox>) -> RequestQueue {
        RequestQueue {
            inbox,
            slots: Slots::default(),
            handles: Handles::default(),
            backend,
            deadlines: Deadlines::default(),
            completions: Completions::new(),
            rechecks: VecDeque::new(),
            queued: VecDeque::new(),
            settled: VecDeque::new(),
            at_os: 0,
            depth,
            sleeps_max,
            live: 0,
            sleeps: 0,
            unsettled: 0,
            parts: Vec::with_capacity(TRANSFER_PARTS_MAX),
            followers: Vec::new(),
            spare_lists: Vec::new(),
            leftovers: Vec::new(),
            now: 0,
        }
    }

    /// Tells the queue the time, for the ages of requests.
    pub(crate) fn set_now(&mut self, now: Nanoseconds) {
        self.now = now;
    }

    // Submission.

    /// Takes a request, or says why not and gives everything back.
    pub(crate) fn submit(&mut self, request: Request) -> Result<RequestId, Box<Refusal>> {
        if let Err(error) = self.admit(&request) {
            return Err(Box::new(Refusal { error, payload: request.payload, ending: request.ending }));
        }
        let mut slot = Slot::new(request.op);
        slot.handle = request.handle;
        slot.unordered = request.unordered;
        slot.bare = request.bare;
        slot.chain = request.chain;
        slot.submitted_at = self.now;
        slot.payload = request.payload;
        slot.ending = request.ending;
        slot.origin = request.due.unwrap_or(0);
        let index = self.insert(slot);
        let id = self.slots.id(index);
        if let Some(due) = [request.deadline, request.due].into_iter().flatten().min() {
            self.deadlines.insert(due, index, &mut self.slots);
        }
        self.enter_lanes(index);
        let cancelled = request.token.is_some_and(|token| {
            let (registration, cancelled) = token.register(&self.inbox, id);
            self.slots[index].registration = Some(registration);
            cancelled
        });
        match cancelled {
            true => self.interrupt(index, Cause::Cancel),
            false => self.start_or_wait(index),
        }
        self.pump();
        Ok(id)
    }

    /// Whether a request can be taken.
    fn admit(&self, request: &Request) -> Result<(), Error> {
        let refuse = |kind, note: &str| {
            let name = match request.handle.and_then(|key| self.handles.find(key)) {
                Some(handle) => self.handles[handle].name(),
                None => request.op.target(),
            };
            let error = Error::new(kind, request.op.to_string(), name);
            Err(if note.is_empty() { error } else { error.with_note(note) })
        };
        if let Some(key) = request.handle {
            let handle = match self.handles.find(key) {
                Some(index) if self.handles[index].life == Life::Open => &self.handles[index],
                _ => return refuse(ErrorKind::Closed, ""),
            };
            if handle.broken.is_some() && request.op.is_stream_write(handle.class) {
                return refuse(ErrorKind::LaneBroken, "");
            }
            match &request.op {
                Op::Read { at: At::Offset(offset), .. } | Op::Write { at: At::Offset(offset), .. }
                    if *offset > i64::MAX as u64 =>
                {
                    return refuse(ErrorKind::InvalidInput, "the offset is beyond what any file can have");
                }
                Op::Write { at: At::Offset(_), .. } if handle.class == (Class::File { append: true }) => {
                    return refuse(
                        ErrorKind::InvalidInput,
                        "the file is open for appending; every write goes to its end",
                    );
                }
                _ => {}
            }
        }
        let full = match request.op {
            Op::Sleep => self.sleeps >= self.sleeps_max,
            _ => self.live >= self.depth && !request.waits_its_turn,
        };
        match full {
            true => refuse(ErrorKind::Rejected, &format!("{} requests are in the queue", self.live)),
            false => Ok(()),
        }
    }

    fn insert(&mut self, slot: Slot) -> u32 {
        match slot.op {
            Op::Sleep => self.sleeps += 1,
            Op::Close => {}
            _ => self.live += 1,
        }
        self.unsettled += 1;
        self.slots.insert(slot)
    }

    fn enter_lanes(&mut self, index: u32) {
        if let Some(key) = self.slots[index].handle {
            let handle = &mut self.handles[key.index];
            self.slots[index].lanes = self.slots[index].op.lanes(handle.class);
            lanes::link(index, &mut self.slots, handle);
        }
    }

    /// Starts a request, or makes it wait for the one that holds it back.
    fn start_or_wait(&mut self, index: u32) {
        debug_assert_eq!(self.slots[index].state, State::Held);
        let blocker = self.slots[index].handle.and_then(|key| {
            let handle = &self.handles[key.index];
            lanes::find_blocker(index, &self.slots, handle)
        });
        match blocker {
            Some(blocker) => {
                // A bare call is for an idle handle; later it would stop those who run then.
                self.slots[index].bare = false;
                lanes::wait_for(index, blocker, &mut self.slots);
            }
            None => self.start(index),
        }
    }

    /// Starts a request that nothing holds back, as soon as there is room at the OS.
    fn start(&mut self, index: u32) {
        let slot = &self.slots[index];
        if let Some(key) = slot.handle {
            let handle = &self.handles[key.index];
            if handle.broken.is_some() && slot.op.is_stream_write(handle.class) {
                let step = decide(slot.state, self.sort(index), Event::LaneBroken);
                debug_assert_eq!(step, Step::Break);
                let error = self.error(index, ErrorKind::LaneBroken);
                return self.settle(index, Err(error));
            }
        }
        if self.at_os >= self.depth && !matches!(slot.op, Op::Sleep | Op::Close) {
            let id = self.slots.id(index);
            self.slots[index].state = State::Queued;
            self.slots[index].bare = false;
            self.queued.push_back(id);
            return;
        }
        self.launch(index);
    }

    /// Carries a request out: here, by a bare call, or through the backend.
    fn launch(&mut self, index: u32) {
        self.slots[index].state = State::AtOs;
        if matches!(self.slots[index].op, Op::Sleep) {
            return;
        }
        self.at_os += 1;
        if let Some(outcome) = self.carry_out_here(index) {
            let token = self.slots.id(index).token();
            self.completions.push_back(Completion { token, outcome });
            return;
        }
        if self.slots[index].op.extent() == Some(Extent::ToEnd)
            && let Err(fault) = self.grow(index)
        {
            let token = self.slots.id(index).token();
            self.completions.push_back(Completion { token, outcome: Err(fault) });
            return;
        }
        self.hand_to_backend(index);
    }

    /// What needs no OS: barriers, seeks, empty transfers, and what came back to the front of the lane.
    fn carry_out_here(&mut self, index: u32) -> Option<Outcome> {
        let slot = &mut self.slots[index];
        let handle = &mut self.handles[slot.handle?.index];
        let to_end = slot.op.extent() == Some(Extent::ToEnd);
        if !to_end && slot.op.parts().is_some_and(|parts| parts.total() == 0) {
            return Some(Ok(Value::Count(0)));
        }
        match &mut slot.op {
            // io_uring would read on, whatever the place; pread(2) refuses, and so do all backends.
            Op::Read { at: At::Offset(_), .. } | Op::Write { at: At::Offset(_), .. }
                if handle.class == Class::Stream =>
            {
                Some(Err(Fault::Os(libc::ESPIPE)))
            }
            Op::Barrier => Some(Ok(Value::Count(0))),
            Op::Seek { to } => Some(seek(*to, handle)),
            Op::Accept => {
                let connection = handle.pushback.as_mut()?.connections.pop_front()?;
                Some(Ok(Value::Descriptor(connection)))
            }
            Op::Recv { parts, .. } | Op::Read { parts, .. } => {
                let (payload, moved) = (&mut slot.payload, slot.moved);
                let (place, count) = handle.pushback.as_mut()?.take(|bytes| match payload.get_mut::<ReadToEnd>() {
                    Some(target) if to_end => target.take_all(bytes),
                    _ => fill_from(parts, moved, bytes),
                })?;
                if moved == 0 {
                    slot.origin = place;
                }
                slot.begun = true;
                // They were counted when the OS handed them over.
                handle.received -= count;
                Some(Ok(Value::Count(count)))
            }
            _ => None,
        }
    }

    /// Makes room in the buffer of a read to the end.
    fn grow(&mut self, index: u32) -> Result<(), Fault> {
        let slot = &mut self.slots[index];
        let expected = match (slot.handle, &slot.op) {
            (Some(key), Op::Read { at, .. }) => {
                let handle = &self.handles[key.index];
                let start = match at {
                    At::Cursor => handle.cursor,
                    At::Offset(offset) => *offset,
                };
                handle.known_end.saturating_sub(start + slot.moved)
            }
            _ => 0,
        };
        let Some(target) = slot.payload.get_mut::<ReadToEnd>() else { return Ok(()) };
        let parts = target.room(expected).ok_or(Fault::Os(libc::ENOMEM))?;
        if let Some(old) = slot.op.parts_mut() {
            *old = parts;
        }
        Ok(())
    }

    fn hand_to_backend(&mut self, index: u32) {
        self.parts.clear();
        let Place { class, offset, descriptor, nonblocking } = self.place(index);
        let slot = &self.slots[index];
        if let Some(parts) = slot.op.parts() {
            let skip = if slot.op.extent() == Some(Extent::ToEnd) { 0 } else { slot.moved };
            parts.append_remaining(skip, TRANSFER_PARTS_MAX, &mut self.parts);
            if slot.op.is_stream_write(class) && !matches!(class, Class::File { .. } | Class::SharedFile) {
                self.join_followers(index);
            }
        }
        let slot = &mut self.slots[index];
        slot.begun = true;
        let bare = slot.bare;
        let token = RequestId { index, generation: slot.generation }.token();
        let submission =
            Submission { token, op: &self.slots[index].op, descriptor, class, parts: &self.parts, offset, nonblocking };
        let outcome = match (class, submission.op) {
            (Class::File { .. }, _) if bare => Some(perform(&submission)),
            (Class::Socket, Op::Recv { .. } | Op::Send { .. }) if bare => attempt(&submission, false),
            _ => None,
        };
        match outcome {
            Some(outcome) => self.completions.push_back(Completion { token, outcome }),
            None => self.backend.submit(&submission, &mut self.completions),
        }
    }

    /// The class and descriptor of a request's handle, and where in the file its next byte goes.
    fn place(&mut self, index: u32) -> Place {
        let slot = &mut self.slots[index];
        let Some(key) = slot.handle else {
            return Place { class: Class::Stream, offset: None, descriptor: -1, nonblocking: false };
        };
        let handle = &mut self.handles[key.index];
        if !slot.begun {
            slot.origin = match slot.op {
                Op::Read { at: At::Offset(offset), .. } | Op::Write { at: At::Offset(offset), .. } => offset,
                _ if matches!(handle.class, Class::File { .. }) => handle.cursor,
                _ => handle.received,
            };
        }
        let appends =
            matches!(slot.op, Op::Write { at: At::Cursor, .. }) && handle.class == Class::File { append: true };
        let positioned = matches!(slot.op, Op::Read { at: At::Offset(_), .. } | Op::Write { at: At::Offset(_), .. });
        let offset = match handle.class {
            Class::File { .. } if !appends => Some(slot.origin + slot.moved),
            _ if positioned => Some(slot.origin + slot.moved),
            _ => None,
        };
        let descriptor = match slot.op {
            Op::Close => self.surrender_descriptor(key.index),
            _ => self.handles[key.index].raw(),
        };
        let handle = &self.handles[key.index];
        Place { class: handle.class, offset, descriptor, nonblocking: handle.nonblocking }
    }

    // Completion.

    /// Handles what the backend reported and what that set free, within a budget.
    pub(crate) fn pump(&mut self) {
        for _ in 0..PUMP_BUDGET {
            if let Some(id) = self.rechecks.pop_front() {
                if let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].state == State::Held) {
                    lanes::stop_waiting(index, &mut self.slots);
                    self.start_or_wait(index);
                }
            } else if let Some(completion) = self.completions.pop_front() {
                self.complete(completion);
            } else {
                return;
            }
        }
    }

    fn complete(&mut self, completion: Completion) {
        let id = RequestId::from_token(completion.token);
        let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].is_at_os()) else {
            // It was settled as an orphan; a descriptor that comes late is closed here.
            return;
        };
        self.at_os -= 1;
        match std::mem::take(&mut self.slots[index].joined) {
            0 => self.apply(index, completion.outcome),
            joined => self.complete_joined(index, joined, completion.outcome),
        }
        self.fill_os();
    }

    /// Starts what waits for room at the OS, as far as there is room.
    fn fill_os(&mut self) {
        while self.at_os < self.depth {
            let Some(id) = self.queued.pop_front() else { break };
            if let Some(index) = self.slots.find(id).filter(|index| self.slots[*index].state == State::Queued) {
                self.start(index);
            }
        }
    }

    /// One request's share of what the OS reported.
    fn apply(&mut self, index: u32, outcome: Outcome) {
        let event = self.classify(index, &outcome);
        let step = decide(self.slots[index].state, self.sort(index), event);
        let moved = self.slots[index].moved;
        match (step, outcome) {
            (Step::Succeed, _) if matches!(self.slots[index].op, Op::Close) && self.slots[index].cause.is_some() => {
                // It is closed, but not all that was before it has been done.
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            (Step::Succeed, Ok(Value::Count(_))) => {
                let count = match &self.slots[index].op {
                    Op::Seek { .. } => self.slots[index].origin,
                    _ => moved,
                };
                self.settle(index, Ok(Value::Count(count)));
            }
            (Step::Succeed, Ok(value)) => self.settle(index, Ok(value)),
            (Step::Continue, _) => self.launch(index),
            (Step::Stop, _) => {
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            (Step::Fail, outcome) => {
                let error = match outcome {
                    Err(Fault::Os(code)) => Error::from_os(code, self.slots[index].op.to_string(), self.name(index)),
                    Err(Fault::Name(why)) => self.error(index, ErrorKind::NameNotResolved).with_note(why),
                    _ => self.error(index, ErrorKind::UnexpectedEnd).with_note(format!("after {moved} bytes")),
                };
                self.settle(index, Err(error));
            }
            (step, _) => unreachable!("{step:?} for {event:?}"),
        }
    }

    /// What an outcome means for its request; counts the bytes.
    fn classify(&mut self, index: u32, outcome: &Outcome) -> Event {
        let is_file = self.slots[index]
            .handle
            .is_some_and(|key| matches!(self.handles[key.index].class, Class::File { .. } | Class::SharedFile));
        let slot = &mut self.slots[index];
        let count = match outcome {
            Err(Fault::Interrupted) => return Event::Interrupted,
            Err(_) => return Event::Error,
            Ok(Value::Count(count)) => *count,
            Ok(_) => return Event::Done,
        };
        let extent = slot.op.extent();
        let Some(parts) = slot.op.parts() else {
            if matches!(slot.op, Op::Seek { .. }) {
                slot.origin = count;
            }
            return Event::Done;
        };
        if let (Some(_), Some(key)) = (extent, slot.handle) {
            self.handles[key.index].received += count;
        }
        slot.moved += count;
        let whole = slot.moved >= parts.total();
        let was_cut = count >= TRANSFER_BYTES_MAX || parts.len() > TRANSFER_PARTS_MAX;
        match extent {
            Some(Extent::ToEnd) => {
                if let Some(target) = slot.payload.get_mut::<ReadToEnd>() {
                    target.arrived(count as usize);
                }
                if count == 0 { Event::Done } else { Event::Short }
            }
            // One call takes so many bytes and parts and no more; on a file, which has an end, the program is not to
            // notice. A stream's next bytes may be long in coming.
            Some(Extent::Some) if is_file && was_cut && count > 0 && !whole => Event::Short,
            Some(Extent::Some) => Event::Done,
            _ if whole => Event::Done,
            _ if count == 0 => Event::Error,
            _ => Event::Short,
        }
    }

    /// Settles a request: its outcome is final, its lane goes on.
    fn settle(&mut self, index: u32, result: Result<Value, Error>) {
        debug_assert_ne!(self.slots[index].state, State::Settled, "a request settles once");
        if self.slots[index].chain.is_none() {
            self.deadlines.remove(index, &mut self.slots);
            self.slots[index].registration = None;
        }
        lanes::stop_waiting(index, &mut self.slots);
        let slot = &mut self.slots[index];
        let moved = match slot.begun {
            false => Moved::NotStarted,
            true => Moved::Bytes(slot.moved),
        };
        slot.state = State::Settled;
        self.unsettled -= 1;
        slot.report = Some(Report { result, moved });
        let id = self.slots.id(index);
        if let Some(key) = self.slots[index].handle {
            self.tell_handle(index, key.index);
            lanes::unlink(index, &mut self.slots, &mut self.handles[key.index]);
            self.release_waiters(index);
            if matches!(self.slots[index].op, Op::Close) {
                // What is left of the handle is the queue's own: pushed back bytes and connections.
                drop(self.handles.remove(key.index));
            }
        }
        self.settled.push_back(id);
    }

    /// What a settled request changes of its handle: cursor, known end, broken lane, what comes back to the front.
    fn tell_handle(&mut self, index: u32, handle: u32) {
        let id = self.slots.id(index);
        let slot = &mut self.slots[index];
        let handle = &mut self.handles[handle];
        let Some(report) = &slot.report else { return };
        let end = slot.origin.saturating_add(slot.moved);
        let is_file = matches!(handle.class, Class::File { .. });
        match (&slot.op, &report.result) {
            (Op::Read { at: At::Cursor, .. }, _) if is_file && slot.begun && !slot.abandoned => handle.cursor = end,
            (Op::Write { at: At::Cursor, .. }, _) if handle.class == (Class::File { append: true }) => {}
            (Op::Write { at, .. }, _) if is_file && slot.moved > 0 => {
                handle.known_end = handle.known_end.max(end);
                if *at == At::Cursor {
                    handle.cursor = end;
                }
            }
            (Op::Seek { .. }, Ok(Value::Count(to))) => handle.cursor = *to,
            (Op::Truncate { length }, Ok(_)) => handle.known_end = *length,
            (Op::Allocate { offset, length }, Ok(_)) => {
                handle.known_end = handle.known_end.max(offset.saturating_add(*length));
            }
            (Op::StatHandle, Ok(Value::Metadata(metadata))) if is_file => handle.known_end = metadata.size,
            _ => {}
        }
        if let Err(error) = &report.result
            && slot.op.is_stream_write(handle.class)
            && breaks_lane(error.kind(), slot.moved)
        {
            handle.broken = Some(match handle.class {
                Class::File { .. } | Class::SharedFile => Broken::UntilHanded(id),
                _ => Broken::ForGood,
            });
        }
        if slot.abandoned {
            push_back(slot, handle);
        }
    }

    /// Those who waited for this one look again, in submission order.
    fn release_waiters(&mut self, index: u32) {
        let mut waiter = std::mem::replace(&mut self.slots[index].waiters, NONE);
        let start = self.rechecks.len();
        while waiter != NONE {
            let id = self.slots.id(waiter);
            let slot = &mut self.slots[waiter];
            slot.blocker = NONE;
            waiter = std::mem::replace(&mut slot.waiting, slots::Link::UNLINKED).next;
            self.rechecks.push_back(id);
        }
        // They were found last come first.
        self.rechecks.make_contiguous()[start..].reverse();
    }

    // Stopping.

    /// Asks a request to stop. Once it has settled this does nothing.
    pub(crate) fn cancel(&mut self, id: RequestId, cause: Cause) {
        if let Some(index) = self.slots.find(id) {
            self.interrupt(index, cause);
            self.pump();
        }
    }

    fn interrupt(&mut self, index: u32, cause: Cause) {
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
        let step = decide(self.slots[index].state, self.sort(index), event);
        let slot = &mut self.slots[index];
        match step {
            Step::StopUnstarted => {
                slot.cause = Some(cause);
                let error = self.stop_error(index);
                self.settle(index, Err(error));
            }
            Step::AskOs => {
                slot.cause = Some(cause);
                slot.state = State::CancelAsked;
                let leader = self.leader_of(index);
                let token = self.slots.id(leader).token();
                let descriptor = self.raw_descriptor(index);
                self.backend.cancel(token, &self.slots[leader].op, descriptor, &mut self.completions);
            }
            Step::Orphan => {
                slot.cause = Some(cause);
                if !matches!(slot.op, Op::Sleep) {
                    self.at_os -= 1;
                    let token = self.slots.id(index).token();
                    self.backend.cancel(token, &self.slots[index].op, -1, &mut self.completions);
                }
                let error = self.stop_error(index);
                self.settle(index, Err(error));
                self.fill_os();
            }
            Step::Hurry => self.hurry_close(index, cause),
            Step::Discard => {
                if let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key)) {
                    push_back(&mut self.slots[index], handle);
                }
                self.discard(index);
            }
            // Between two steps of a chain nothing is in flight; the next step is not begun then.
            Step::Ignore if slot.chain.is_some() => {
                slot.cause.get_or_insert(cause);
            }
            Step::Ignore => {}
            step => unreachable!("{step:?} for {event:?}"),
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
        self.slots[index].handle.map_or(-1, |key| self.handles[key.index].raw())
    }

    /// What comes due at `now`: sleeps end, deadlines cancel.
    pub(crate) fn fire_due(&mut self, now: Nanoseconds) {
        self.now = now;
        while let Some(index) = self.deadlines.pop_due(now, &mut self.slots) {
            let slot = &self.slots[index];
            match slot.op {
                Op::Sleep if slot.origin <= now => self.settle(index, Ok(Value::Count(0))),
                _ => self.interrupt(index, Cause::Deadline),
            }
        }
        self.pump();
    }

    /// When the next deadline or sleep comes due.
    pub(crate) fn next_due(&self) -> Option<Nanoseconds> {
        self.deadlines.next()
    }

    /// Cancels everything that has not settled.
    pub(crate) fn cancel_all(&mut self) {
        let unsettled: Vec<u32> =
            self.slots.iter().filter(|(_, slot)| slot.state != State::Settled).map(|(index, _)| index).collect();
        for index in unsettled {
            if self.slots[index].state != State::Settled {
                self.interrupt(index, Cause::Shutdown);
            }
        }
        self.pump();
    }

    // Delivery.

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
        slot.state = State::Held;
        self.unsettled += 1;
        self.enter_lanes(index);
        self.start_or_wait(index);
        self.pump();
    }

    fn end_chain(&mut self, index: u32, report: Report) {
        self.deadlines.remove(index, &mut self.slots);
        let slot = &mut self.slots[index];
        slot.chain = None;
        slot.registration = None;
        slot.report = Some(report);
        let id = self.slots.id(index);
        self.settled.push_back(id);
    }

    /// Whether a request has settled.
    pub(crate) fn is_settled(&self, id: RequestId) -> bool {
        self.slots.find(id).is_some_and(|index| self.slots[index].is_over())
    }

    /// Whether a settled request was a success.
    pub(crate) fn settled_well(&self, id: RequestId) -> Option<bool> {
        let slot = self.slots.find(id).map(|index| &self.slots[index]).filter(|slot| slot.is_over())?;
        slot.report.as_ref().map(|report| report.result.is_ok())
    }

    /// Hands a settled request's outcome over and frees its slot.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<(Payload, Report, Ending)> {
        let index = self.slots.find(id).filter(|index| self.slots[*index].is_over())?;
        let mut slot = self.slots.remove(index);
        match slot.op {
            Op::Sleep => self.sleeps -= 1,
            Op::Close => {}
            _ => self.live -= 1,
        }
        if let Some(handle) = slot.handle.and_then(|key| self.handles.get_mut(key))
            && handle.broken == Some(Broken::UntilHanded(id))
        {
            handle.broken = None;
        }
        if let Some(parts) = slot.op.parts_mut()
            && parts.rest.capacity() > 0
            && self.spare_lists.len() < 64
        {
            self.spare_lists.push(std::mem::take(&mut parts.rest));
        }
        let report = slot.report.take()?;
        Some((slot.payload.replace_with_empty(), report, slot.ending))
    }

    /// Settled requests with a callback that has not run, or that nobody owns.
    pub(crate) fn undelivered(&self) -> Vec<RequestId> {
        let is_it = |slot: &Slot| slot.is_over() && matches!(slot.ending, Ending::Callback(_) | Ending::Detached);
        self.slots.iter().filter(|(_, slot)| is_it(slot)).map(|(index, _)| self.slots.id(index)).collect()
    }

    /// A list for the parts of a vectored request, empty, with its memory from an earlier one.
    pub(crate) fn spare_list(&mut self) -> Vec<Part> {
        let mut list = self.spare_lists.pop().unwrap_or_default();
        list.clear();
        list
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
        if self.is_settled(id) {
            self.settled.push_back(id);
        }
        self.set_ending(id, ending)
    }

    /// Whether a request's settling already wakes this waker.
    pub(crate) fn will_wake(&self, id: RequestId, waker: &Waker) -> bool {
        let ending = self.slots.find(id).map(|index| &self.slots[index].ending);
        matches!(ending, Some(Ending::Wake(old)) if old.will_wake(waker))
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

    // Waiting.

    /// Hands the batch over and waits for the OS.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.has_backlog() { Some(Duration::ZERO) } else { timeout };
        self.backend.wait(timeout, &mut self.completions)?;
        self.pump();
        Ok(())
    }

    /// Whether there is work left over from the last pump.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.completions.is_empty() || !self.rechecks.is_empty() || !self.settled.is_empty()
    }

    /// Requests at the OS that must come back before their memory is freed.
    pub(crate) fn must_reap(&self) -> bool {
        self.at_os > 0 || !self.backend.is_idle() || self.has_backlog()
    }

    /// Requests that have not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// What is in flight.
    pub(crate) fn outstanding(&self) -> Vec<Outstanding> {
        let unsettled = self.slots.iter().filter(|(_, slot)| slot.state != State::Settled);
        let mut list: Vec<_> = unsettled
            .map(|(index, slot)| Outstanding {
                operation: slot.op.to_string(),
                target: self.name(index),
                age: Duration::from_nanos(self.now.saturating_sub(slot.submitted_at)),
                at_os: slot.is_at_os() && !matches!(slot.op, Op::Sleep),
                id: self.slots.id(index),
            })
            .collect();
        list.sort_by_key(|request| std::cmp::Reverse(request.age));
        list
    }

    // Naming.

    fn sort(&self, index: u32) -> Sort {
        let slot = &self.slots[index];
        match slot.op {
            Op::Close => Sort::Close,
            _ if slot.handle.is_none() => Sort::Free,
            _ => Sort::Laned,
        }
    }

    fn name(&self, index: u32) -> String {
        let slot = &self.slots[index];
        if matches!(slot.op, Op::Connect { .. }) {
            // The address that it names is the target; the socket has no peer yet.
            return String::new();
        }
        match slot.handle.and_then(|key| self.handles.find(key)) {
            Some(handle) => self.handles[handle].name(),
            None => slot.op.target(),
        }
    }

    fn error(&self, index: u32, kind: ErrorKind) -> Error {
        Error::new(kind, self.slots[index].op.to_string(), self.name(index))
    }

    fn stop_error(&self, index: u32) -> Error {
        let slot = &self.slots[index];
        let kind = match slot.cause {
            Some(Cause::Deadline) => ErrorKind::TimedOut,
            _ => ErrorKind::Cancelled,
        };
        let error = self.error(index, kind);
        match (slot.cause, slot.moved) {
            (Some(Cause::Close), _) => error.with_note("the handle was closed"),
            (Some(Cause::Shutdown), _) => error.with_note("the scheduler ends"),
            (_, 0) => error,
            (_, moved) => error.with_note(format!("after {moved} bytes")),
        }
    }
}

/// Where a request is carried out.
struct Place {
    class: Class,
    /// In the file; `None` for streams and where the OS keeps the cursor.
    offset: Option<u64>,
    descriptor: RawDescriptor,
    nonblocking: bool,
}

/// Whether a failed stream write leaves a gap: the OS refused it, or it stopped after its first byte.
fn breaks_lane(kind: ErrorKind, moved: u64) -> bool {
    match kind {
        ErrorKind::LaneBroken => false,
        ErrorKind::Cancelled | ErrorKind::TimedOut => moved > 0,
        _ => true,
    }
}

/// Bytes and connections that came for an abandoned request go to the front of its lane.
fn push_back(slot: &mut Slot, handle: &mut Handle) {
    match slot.op {
        Op::Accept => {
            if let Some(Report { result, .. }) = &mut slot.report
                && let Ok(Value::Descriptor(_)) = result
                && let Ok(Value::Descriptor(connection)) = std::mem::replace(result, Ok(Value::Count(0)))
            {
                handle.pushback.get_or_insert_default().connections.push_back(connection);
            }
        }
        Op::Recv { .. } | Op::Read { .. } if !matches!(handle.class, Class::File { .. }) && slot.moved > 0 => {
            let count = std::mem::take(&mut slot.moved);
            let bytes = match slot.payload.get_mut::<ReadToEnd>() {
                Some(target) => target.give_back(),
                None => slot.op.parts().map_or_else(Vec::new, |parts| copy_out(parts, count)),
            };
            let pushback: &mut Pushback = handle.pushback.get_or_insert_default();
            pushback.insert(slot.origin, bytes);
        }
        _ => {}
    }
}

/// Moves a file's cursor, or says where it is not.
fn seek(to: SeekTo, handle: &Handle) -> Outcome {
    let illegal = Fault::Os(libc::ESPIPE);
    if !matches!(handle.class, Class::File { .. }) {
        return Err(illegal);
    }
    let place = match to {
        SeekTo::Start(offset) => i64::try_from(offset).ok(),
        SeekTo::Current(offset) => (handle.cursor as i64).checked_add(offset),
        SeekTo::End(offset) => {
            let descriptor = handle.descriptor.as_ref().ok_or(Fault::Os(libc::EBADF))?;
            rustix::fs::fstat(descriptor)?.st_size.checked_add(offset)
        }
    };
    match place {
        Some(place) if place >= 0 => Ok(Value::Count(place as u64)),
        _ => Err(Fault::Os(libc::EINVAL)),
    }
}
