//! The request queue: takes requests, keeps each handle's order, talks to one backend, settles each request once.
//!
//! A request goes `submit` → lane → `launch` → backend → `complete` → `settle` → the list of settled ones, which the
//! scheduler empties. Nothing here calls the program's code or drops the program's values: those go out through
//! [`RequestQueue::take`] and [`RequestQueue::leftovers`].

mod close;
mod deliver;
mod extents;
pub(crate) mod handles;
mod inline;
mod joined;
mod lanes;
mod launch;
pub(crate) mod outcome;
#[cfg(all(test, unix, feature = "fake-port"))]
mod races;
mod settle;
mod sleeps;
pub(crate) mod slots;
mod stop;
#[cfg(test)]
mod tests;
pub(crate) mod timers;
mod transfers;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::handles::{Broken, HandleKey, Handles, Life};
use self::outcome::{Event, State, Step, decide};
use self::slots::{Cause, Chain, Ending, Payload, RequestId, Slots};
use self::timers::{Nanoseconds, Timers};
use crate::backend::fork::OfThisProcess;
use crate::backend::{Backend, BackendKind, Completions, Ended, Outcome, TRANSFER_PARTS_MAX, Value, codes};
use crate::buffer::Part;
use crate::error::{Error, ErrorKind};
use crate::marks::{self, Mark};
use crate::op::{Access, At, Class, Op};
use crate::planted::{self, Defect};
use crate::scheduler::hosted::HostedOutcomes;
use crate::scheduler::remote::Inbox;
use crate::scheduler::tasks::{Ready, ReadyQueue};
use crate::scheduler::token::CancelToken;

/// Completions and rechecks handled before the queue returns to the scheduler, so that a flood of one kind leaves
/// room for tasks and timers.
const PUMP_BUDGET: usize = 1024;

/// Entries of requests given up that the list of those queued may have before they are looked for.
const QUEUED_SLACK: usize = 64;

/// Why a forked child's request with a token of its parent's is refused.
const FOREIGN_TOKEN: &str = "its cancel token is that of the parent's requests";

/// Why there is no exit status.
const STATUS_IS_LOST: &str = "this process ignores SIGCHLD, or something in it has waited for all its children";

/// A request as the handles make it, without what it carries of the program's.
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
}

/// What a scheduler's settings say of its queue.
pub(crate) struct QueueSettings {
    pub(crate) depth: usize,
    pub(crate) sleeps_max: usize,
    pub(crate) inline_reads: bool,
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
    pub(crate) backend: OfThisProcess<Backend>,
    timers: Timers,
    completions: Completions,
    /// Requests whose blocker has settled.
    rechecks: VecDeque<RequestId>,
    /// Requests free to start, waiting for room at the OS.
    queued: VecDeque<RequestId>,
    /// Requests that the scheduler has yet to deliver.
    settled: VecDeque<RequestId>,
    at_os: usize,
    depth: usize,
    inline_reads: bool,
    sleeps_max: usize,
    /// Requests that count towards the depth.
    live: usize,
    sleeps: usize,
    unsettled: usize,
    /// The scheduler ends, and the backend was asked to let go of everything.
    all_are_asked: bool,
    /// Reused from submission to submission.
    parts: Vec<Part>,
    /// Reused from joined write to joined write.
    followers: Vec<RequestId>,
    /// Reused from settling to settling.
    released: Vec<RequestId>,
    /// Lists of parts of vectored requests, empty, kept for the next.
    pub(crate) spare_lists: Vec<Vec<Part>>,
    /// What a host has yet to fetch.
    pub(crate) hosted: Rc<HostedOutcomes>,
    /// What the scheduler drops outside its borrow of the queue.
    pub(crate) leftovers: Vec<(Payload, Ending)>,
    now: Nanoseconds,
    /// Where cancels from tokens arrive.
    inbox: Arc<Inbox>,
    /// What settles now is delivered before any task runs.
    is_reaping: bool,
    /// Where callbacks go that nothing else is to come before.
    ready: Rc<ReadyQueue>,
}

impl RequestQueue {
    pub(crate) fn new(
        backend: Backend,
        settings: QueueSettings,
        inbox: Arc<Inbox>,
        ready: Rc<ReadyQueue>,
    ) -> RequestQueue {
        let QueueSettings { depth, sleeps_max, inline_reads } = settings;
        RequestQueue {
            inbox,
            ready,
            is_reaping: false,
            slots: Slots::default(),
            handles: Handles::default(),
            backend: OfThisProcess::new(backend),
            timers: Timers::default(),
            completions: Completions::new(),
            rechecks: VecDeque::new(),
            queued: VecDeque::new(),
            settled: VecDeque::new(),
            at_os: 0,
            depth,
            inline_reads,
            sleeps_max,
            live: 0,
            sleeps: 0,
            unsettled: 0,
            all_are_asked: false,
            parts: Vec::with_capacity(TRANSFER_PARTS_MAX),
            followers: Vec::new(),
            released: Vec::new(),
            spare_lists: Vec::new(),
            hosted: Rc::default(),
            leftovers: Vec::new(),
            now: 0,
        }
    }

    /// Tells the queue the time, for the ages of requests.
    pub(crate) fn set_now(&mut self, now: Nanoseconds) {
        self.now = now;
    }

    // Submission.

    /// Takes a request, or says why not. Payload and ending go into its slot once it is taken; a refusal leaves both with
    /// the caller, who drops them outside the queue.
    pub(crate) fn submit(
        &mut self,
        mut request: Request,
        payload: &mut Payload,
        ending: &mut Ending,
    ) -> Result<RequestId, Error> {
        self.admit(&request)?;
        let token = request.token.take();
        let index = self.take_in(request);
        self.slots[index].carry(payload, ending);
        Ok(self.set_going(index, token))
    }

    #[inline(always)]
    fn take_in(&mut self, request: Request) -> u32 {
        let Request { op, handle, unordered, bare, deadline, due, chain, .. } = request;
        let index = self.insert(op);
        let slot = &mut self.slots[index];
        slot.handle = handle;
        slot.unordered = unordered;
        slot.bare = bare;
        slot.chain = chain;
        slot.submitted_at = self.now;
        slot.origin = due.unwrap_or(0);
        if let Some(due) = [deadline, due].into_iter().flatten().min() {
            self.arm(due, index);
        }
        index
    }

    #[inline(always)]
    fn set_going(&mut self, index: u32, token: Option<CancelToken>) -> RequestId {
        let id = self.slots.id(index);
        if token.is_some() || !self.begin_transfer(index) {
            self.enter_lanes(index);
            match token.is_some_and(|token| self.register(index, &token)) {
                true => self.interrupt(index, Cause::Cancel),
                false => self.start_or_wait(index),
            }
        }
        if !self.completions.is_empty() || !self.rechecks.is_empty() {
            self.pump();
        }
        id
    }

    /// Ties a request to a token. Says whether that is cancelled already.
    pub(super) fn register(&mut self, index: u32, token: &CancelToken) -> bool {
        let (registration, is_cancelled) = token.register(&self.inbox, self.slots.id(index));
        self.slots[index].registration = Some(registration);
        is_cancelled
    }

    /// Whether a request can be taken.
    fn admit(&self, request: &Request) -> Result<(), Error> {
        let refuse = |kind, note: &str| {
            let name = match request.handle.and_then(|key| self.handles.find(key)) {
                Some(handle) => self.handles[handle].name(&self.backend),
                None => request.op.target(),
            };
            let error = Error::new(kind, request.op.to_string(), name);
            Err(if note.is_empty() { error } else { error.with_note(note) })
        };
        if request.token.as_ref().is_some_and(|token| !token.claim()) {
            return refuse(ErrorKind::WrongProcess, FOREIGN_TOKEN);
        }
        if let Some(key) = request.handle {
            let handle = match self.handles.find(key) {
                Some(index) if self.handles[index].life == Life::Open => &self.handles[index],
                _ => return refuse(ErrorKind::Closed, ""),
            };
            if handle.refuses_writes() && request.op.is_stream_write() {
                return refuse(ErrorKind::LaneBroken, "");
            }
            match &request.op {
                Op::Read { at: At::Offset(offset), .. } | Op::Write { at: At::Offset(offset), .. }
                    if *offset > i64::MAX as u64 =>
                {
                    return refuse(ErrorKind::InvalidInput, "the offset is beyond what any file can have");
                }
                Op::Read { at: At::Offset(_), .. } | Op::Write { at: At::Offset(_), .. }
                    if handle.class == Class::Stream =>
                {
                    let name = handle.name(&self.backend);
                    return Err(Error::from_os(codes::ESPIPE, request.op.to_string(), name));
                }
                Op::Write { at: At::Offset(_), .. } if handle.class == (Class::File { append: true }) => {
                    return refuse(
                        ErrorKind::InvalidInput,
                        "the file is open for appending; every write goes to its end",
                    );
                }
                op if op.is_datagram() && op.parts().is_some_and(|parts| parts.len() > TRANSFER_PARTS_MAX) => {
                    return refuse(ErrorKind::InvalidInput, "the parts of a datagram are 64 at most");
                }
                _ => {}
            }
        }
        let full = match request.op {
            Op::Sleep => self.sleeps >= self.sleeps_max,
            _ => self.live >= self.depth,
        };
        match full && !request.waits_its_turn {
            true => {
                marks::hit(Mark::Rejected);
                refuse(ErrorKind::Rejected, &format!("{} requests are in the queue", self.live))
            }
            false => Ok(()),
        }
    }

    #[inline(always)]
    pub(super) fn insert(&mut self, op: Op) -> u32 {
        match op {
            Op::Sleep => self.sleeps += 1,
            Op::Close => {}
            _ => self.live += 1,
        }
        self.unsettled += 1;
        self.slots.insert(op)
    }

    pub(super) fn enter_lanes(&mut self, index: u32) {
        if let Some(key) = self.slots[index].handle {
            let handle = &mut self.handles[key.index];
            let op = &self.slots[index].op;
            let sends = op.is_stream_write() && op.parts().is_some_and(|parts| parts.total() > 0);
            if handle.broken == Some(Broken::Partly) && sends {
                handle.broken = Some(Broken::PartlyUntil(self.slots.id(index)));
            }
            lanes::link(index, &mut self.slots, handle);
        }
    }

    /// Starts a request, or makes it wait for the one that holds it back.
    pub(super) fn start_or_wait(&mut self, index: u32) {
        debug_assert_eq!(self.slots[index].state, State::Held);
        let blocker = self.slots[index].handle.and_then(|key| {
            let handle = &mut self.handles[key.index];
            lanes::find_blocker(index, &mut self.slots, handle)
        });
        match blocker {
            Some(blocker) => {
                // A bare call is for an idle handle; later it would stop those who run then.
                self.slots[index].bare = false;
                if marks::ENABLED {
                    self.mark_held_back(index, blocker);
                }
                lanes::wait_for(index, blocker, &mut self.slots);
            }
            None => self.start(index),
        }
    }

    /// Counts why one waits for the other.
    fn mark_held_back(&self, index: u32, blocker: u32) {
        let Some(key) = self.slots[index].handle else { return };
        let access = |index: u32| {
            let slot = &self.slots[index];
            slot.op.access(self.handles[key.index].class, slot.unordered)
        };
        match (access(blocker), access(index)) {
            (Access::Barrier, _) | (_, Access::Barrier) => marks::hit(Mark::BarrierHeldBack),
            (Access::Range { start, end, .. }, Access::Range { start: other, end: other_end, .. }) => {
                let overlaps = start < other_end && other < end;
                marks::hit(if overlaps { Mark::OverlapHeldBack } else { Mark::ExtensionHeldBack });
            }
            _ => {}
        }
    }

    /// Starts a request that nothing holds back, as soon as there is room at the OS.
    pub(super) fn start(&mut self, index: u32) {
        let slot = &self.slots[index];
        if let Some(key) = slot.handle {
            let handle = &self.handles[key.index];
            if handle.refuses_writes() && slot.op.is_stream_write() {
                let step = decide(slot.state, slot.sort(), Event::LaneBroken);
                debug_assert_eq!(step, Step::Break);
                marks::hit(Mark::FailedForAnother);
                let error = self.error(index, ErrorKind::LaneBroken);
                return self.settle(index, Err(error));
            }
        }
        if self.at_os >= self.depth && !matches!(slot.op, Op::Sleep | Op::Close) {
            marks::hit(Mark::FullQueue);
            if planted::is(Defect::DeadlineLostWhenFull) {
                self.disarm(index);
            }
            let id = self.slots.id(index);
            self.slots[index].state = State::Queued;
            self.slots[index].bare = false;
            if self.queued.len() > 2 * self.live + QUEUED_SLACK {
                // Those that were given up while they waited.
                let slots = &self.slots;
                self.queued.retain(|id| slots.find(*id).is_some_and(|index| slots[index].state == State::Queued));
            }
            self.queued.push_back(id);
            return;
        }
        self.launch(index);
    }

    // Waiting.

    /// Hands the batch over and waits for the OS.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.has_backlog() { Some(Duration::ZERO) } else { timeout };
        self.backend.wait(timeout, &mut self.completions)?;
        self.is_reaping = true;
        self.pump();
        self.is_reaping = false;
        Ok(())
    }

    /// Whether there is work left over from the last pump.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.completions.is_empty() || !self.rechecks.is_empty() || !self.settled.is_empty()
    }

    /// Whether nothing has settled that nobody was told of, and nothing is left over to be dropped.
    #[inline]
    pub(crate) fn has_delivered(&self) -> bool {
        self.settled.is_empty() && self.leftovers.is_empty()
    }

    /// Whether there is something that a host has yet to fetch.
    pub(crate) fn has_hosted(&self) -> bool {
        !self.hosted.is_empty()
    }

    /// Whether a `wait` would find nothing, now.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        self.at_os == 0 && !self.has_backlog() && self.backend.is_at_rest()
    }

    /// Whether a request is at the OS.
    pub(crate) fn is_lending(&self) -> bool {
        self.at_os > 0
    }

    /// Requests at the OS that must come back before their memory is freed.
    pub(crate) fn must_reap(&self) -> bool {
        self.at_os > 0 || !self.backend.is_idle() || self.has_backlog()
    }

    /// The OS has let go of everything: the backend goes, whoever still keeps an outcome.
    pub(crate) fn end_backend(&mut self) {
        self.backend = OfThisProcess::new(Backend::Ended(Ended(self.backend.kind())));
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
        list.extend(self.timers.asleep().map(|sleep| Outstanding {
            operation: Op::Sleep.to_string(),
            target: String::new(),
            age: Duration::from_nanos(self.now.saturating_sub(sleep.submitted_at)),
            at_os: false,
            id: sleep.id,
        }));
        list.sort_by_key(|request| std::cmp::Reverse(request.age));
        list
    }

    /// What it has not given back; tasks are the scheduler's to count.
    #[cfg(feature = "marks")]
    pub(crate) fn census(&self) -> marks::Census {
        marks::Census {
            slots: self.slots.iter().count(),
            handles: self.handles.indices().len(),
            timers: self.timers.len(),
            at_os: self.at_os,
            counted: self.live + self.sleeps,
            unsettled: self.unsettled,
            tasks: 0,
            leftovers: self.leftovers.len(),
        }
    }

    // Naming.

    pub(super) fn name(&self, index: u32) -> String {
        let slot = &self.slots[index];
        if matches!(slot.op, Op::Connect { .. }) {
            // The address that it names is the target; the socket has no peer yet.
            return String::new();
        }
        match slot.handle.and_then(|key| self.handles.find(key)) {
            Some(handle) => self.handles[handle].name(&self.backend),
            None => slot.op.target(),
        }
    }

    /// The name of a handle while it exists.
    pub(crate) fn name_of(&self, key: HandleKey) -> Option<String> {
        self.handles.find(key).map(|handle| self.handles[handle].name(&self.backend))
    }

    /// An error with the OS's code, and what it means where the code alone does not say.
    pub(super) fn os_error(&self, index: u32, code: i32) -> Error {
        let op = &self.slots[index].op;
        let error = Error::from_os(code, op.to_string(), self.name(index));
        match op {
            Op::Write { .. } if code == codes::EBADF => error.with_note("not open for writing"),
            Op::Read { .. } if code == codes::EBADF => error.with_note("not open for reading"),
            Op::Start { .. } if code == codes::ENOSYS && self.backend.kind() == BackendKind::Simulated => {
                error.with_note("a simulated machine runs no programs")
            }
            Op::AwaitExit { .. } if code == codes::ECHILD => error.with_note(STATUS_IS_LOST),
            _ => error,
        }
    }

    pub(super) fn error(&self, index: u32, kind: ErrorKind) -> Error {
        Error::new(kind, self.slots[index].op.to_string(), self.name(index))
    }

    pub(super) fn stop_error(&self, index: u32) -> Error {
        let slot = &self.slots[index];
        let kind = match slot.cause {
            Some(Cause::Deadline) if !planted::is(Defect::LateToldAsCancelled) => ErrorKind::TimedOut,
            // Nobody will read it: it is dropped with the outcome.
            Some(Cause::Abandon) => return Error::new(ErrorKind::Cancelled, "", ""),
            _ => ErrorKind::Cancelled,
        };
        let error = self.error(index, kind);
        match (slot.cause, slot.moved) {
            (Some(Cause::Close), _) => error.with_note("the handle was closed"),
            (Some(Cause::Shutdown), _) => error.with_note(sleeps::THE_END),
            (_, 0) => error,
            (_, moved) => error.with_note(format!("after {moved} bytes")),
        }
    }
}
