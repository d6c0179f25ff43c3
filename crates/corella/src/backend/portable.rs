//! The portable backend: readiness for sockets and pipes through `polling`, the pool for everything else.
//!
//! First-class: it is what macOS, the BSDs and locked-down containers get, and what the `uring` backend falls back to
//! for operations that its kernel lacks. Each descriptor has at most one request waiting in each direction, as the
//! queue keeps the lanes; so an attempt never overtakes another.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::perform::{close, finish_connect, shut_down, start_connect};
use super::pool::Pool;
use super::{
    Attempt, Completion, Completions, Fault, Outcome, RawDescriptor, Submission, Token, Wakeup, attempt,
    set_nonblocking,
};
use crate::buffer::Part;
use crate::op::{Class, Op};

const READ: usize = 0;
const WRITE: usize = 1;
/// `has_completions` costs a system call on this backend, so it says yes on every so manyth call instead.
const CHECK_EVERY: u32 = 16;

/// How a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    /// Nothing has had to wait yet.
    None,
    /// Registered once for both directions; an event says that a direction may go on.
    Edge,
    /// Registered for one event at a time: the system knows no edges, or calls on the description block.
    Oneshot,
    /// The system cannot wait for it (a device): the pool does.
    Unpollable,
}

/// A request that waits for its direction.
#[derive(Debug)]
struct Waiting {
    token: Token,
    op: Op,
    class: Class,
    offset: Option<u64>,
}

#[derive(Debug)]
struct Source {
    registration: Registration,
    /// Calls on it never block.
    nonblocking: bool,
    /// It serves another backend, for whose sake sockets are blocking.
    is_fallback: bool,
    /// A direction is worth a try; cleared when one would have blocked.
    ready: [bool; 2],
    waiting: [Option<Waiting>; 2],
    /// The parts of what waits. Kept for their memory.
    parts: [Vec<Part>; 2],
}

#[derive(Debug)]
pub(crate) struct Portable {
    poller: Arc<Poller>,
    events: Events,
    pool: Pool,
    /// By descriptor.
    sources: Vec<Option<Box<Source>>>,
    /// Requests that wait for their direction.
    waiting: usize,
    /// It serves another backend, for whose sake sockets are blocking.
    is_fallback: bool,
    countdown: u32,
}

impl Portable {
    pub(crate) fn new(pool_threads: usize, is_fallback: bool) -> io::Result<Portable> {
        let poller = Arc::new(Poller::new()?);
        let pool = Pool::new(pool_threads, Wakeup::Poller(Arc::clone(&poller)));
        Ok(Portable {
            poller,
            events: Events::new(),
            pool,
            sources: Vec::new(),
            waiting: 0,
            is_fallback,
            countdown: CHECK_EVERY,
        })
    }

    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        let direction = match (submission.class, submission.op) {
            (Class::Socket | Class::Listener, Op::Shutdown { how }) => {
                // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
                let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
                return finish(submission.token, shut_down(descriptor, *how), completions);
            }
            (Class::Socket | Class::Listener | Class::Stream, Op::Close) => {
                return finish(submission.token, close(submission.descriptor), completions);
            }
            (Class::Socket | Class::Listener, Op::Recv { .. } | Op::Accept) => READ,
            (Class::Socket | Class::Listener, Op::Send { .. } | Op::Connect { .. }) => WRITE,
            (Class::Stream, Op::Read { .. }) if submission.descriptor >= 0 => READ,
            (Class::Stream, Op::Write { .. }) if submission.descriptor >= 0 => WRITE,
            _ => return self.pool.submit(submission),
        };
        self.submit_to_source(submission, direction, completions);
    }

    fn submit_to_source(&mut self, submission: &Submission<'_>, direction: usize, completions: &mut Completions) {
        let place = submission.descriptor as usize;
        if self.sources.len() <= place {
            self.sources.resize_with(place + 1, || None);
        }
        let is_fallback = self.is_fallback;
        let source = self.sources[place].get_or_insert_with(|| Source::new(submission, is_fallback));
        if source.registration == Registration::Unpollable {
            return self.pool.submit(submission);
        }
        // A connect is begun by its first try, whatever readiness was before.
        let is_begun_by_trying = matches!(submission.op, Op::Connect { .. });
        if source.nonblocking && (source.ready[direction] || is_begun_by_trying) {
            match try_first(submission, is_fallback) {
                Attempt::Ended(outcome) => return finish(submission.token, outcome, completions),
                Attempt::WouldBlock => source.ready[direction] = false,
            }
        }
        debug_assert!(source.waiting[direction].is_none(), "one request a lane");
        source.parts[direction].clear();
        source.parts[direction].extend_from_slice(submission.parts);
        source.waiting[direction] = Some(Waiting {
            token: submission.token,
            op: submission.op.without_parts(),
            class: submission.class,
            offset: submission.offset,
        });
        self.waiting += 1;
        if let Err(error) = source.arm(&self.poller, submission.descriptor) {
            source.waiting[direction] = None;
            self.waiting -= 1;
            if error.raw_os_error() == Some(libc::EPERM) {
                source.registration = Registration::Unpollable;
                return self.pool.submit(submission);
            }
            finish(submission.token, Err(Fault::from_io(&error)), completions);
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, _op: &Op, descriptor: RawDescriptor, completions: &mut Completions) {
        let source = usize::try_from(descriptor).ok().and_then(|place| self.sources.get_mut(place)?.as_mut());
        if let Some(source) = source {
            for waiting in &mut source.waiting {
                if waiting.as_ref().is_some_and(|waiting| waiting.token == token) {
                    *waiting = None;
                    self.waiting -= 1;
                    return finish(token, Err(Fault::Interrupted), completions);
                }
            }
        }
        self.pool.cancel(token, completions);
    }

    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) -> bool {
        for waiting in self.sources.iter_mut().flatten().flat_map(|source| &mut source.waiting) {
            if let Some(waiting) = waiting.take() {
                self.waiting -= 1;
                finish(waiting.token, Err(Fault::Interrupted), completions);
            }
        }
        self.pool.cancel_all(completions);
        true
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        self.countdown = CHECK_EVERY;
        self.pool.drain(completions);
        let timeout = if completions.is_empty() { timeout } else { Some(Duration::ZERO) };
        // Beside a ring, which watches the poller, a notice is to be taken out though it is of nothing any more.
        let may_skip = timeout == Some(Duration::ZERO) && !self.is_fallback;
        if may_skip && self.pool.is_idle() && self.waiting == 0 {
            return Ok(());
        }
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => drop(result?),
        }
        let Portable { events, sources, poller, pool, waiting, .. } = self;
        for event in events.iter() {
            if let Some(source) = sources.get_mut(event.key).and_then(Option::as_mut) {
                let before = source.waiting_count();
                source.on_event(event, event.key as RawDescriptor, poller, pool, completions);
                *waiting -= before - source.waiting_count();
            }
        }
        pool.drain(completions);
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        self.countdown -= 1;
        if self.countdown == 0 {
            self.countdown = CHECK_EVERY;
            return true;
        }
        false
    }

    /// Whether a `wait` has finished jobs to fetch, whatever the poller says.
    pub(super) fn has_done(&self) -> bool {
        self.pool.has_done()
    }

    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        let Some(source) = usize::try_from(descriptor).ok().and_then(|place| self.sources.get_mut(place)) else {
            return;
        };
        let Some(source) = source.take() else { return };
        debug_assert!(source.waiting.iter().all(Option::is_none), "nothing waits on a quiet handle");
        if matches!(source.registration, Registration::Edge | Registration::Oneshot) {
            // SAFETY: the queue forgets a descriptor before it closes it or gives it away.
            let _ = self.poller.delete(unsafe { BorrowedFd::borrow_raw(descriptor) });
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        // What the queue has given up owns all its memory.
        true
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::Poller(Arc::clone(&self.poller))
    }

    pub(crate) fn os_handle(&self) -> RawDescriptor {
        self.poller.as_raw_fd()
    }
}

impl Drop for Portable {
    fn drop(&mut self) {
        // The poller must not outlive a registration with a descriptor that is still open elsewhere.
        for descriptor in 0..self.sources.len() {
            self.forget_descriptor(descriptor as RawDescriptor);
        }
    }
}

fn finish(token: Token, outcome: Outcome, completions: &mut Completions) {
    completions.push_back(Completion { token, outcome });
}

/// A first try.
fn try_first(submission: &Submission<'_>, is_fallback: bool) -> Attempt {
    match submission.op {
        Op::Connect { address } => {
            // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
            let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
            if let Err(error) = set_nonblocking(descriptor, true) {
                return Attempt::Ended(Err(Fault::from_io(&error)));
            }
            after_connect(descriptor, start_connect(descriptor, *address), is_fallback)
        }
        _ => attempt(submission, !is_fallback).map_or(Attempt::WouldBlock, Attempt::Ended),
    }
}

/// Another try, after an event.
fn try_again(submission: &Submission<'_>, is_fallback: bool) -> Attempt {
    match submission.op {
        Op::Connect { .. } => {
            // SAFETY: as above.
            let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
            after_connect(descriptor, finish_connect(descriptor), is_fallback)
        }
        _ => attempt(submission, !is_fallback).map_or(Attempt::WouldBlock, Attempt::Ended),
    }
}

/// A socket that was made non-blocking to connect is given back as the other backend wants it.
fn after_connect(descriptor: BorrowedFd<'_>, attempt: Attempt, is_fallback: bool) -> Attempt {
    if is_fallback && matches!(attempt, Attempt::Ended(_)) {
        // The mode was set before, so it can be set; a failure would show as EAGAIN at the next request.
        let _ = set_nonblocking(descriptor, false);
    }
    attempt
}

impl Source {
    fn new(submission: &Submission<'_>, is_fallback: bool) -> Box<Source> {
        // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
        let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
        let nonblocking = match (submission.class, submission.op) {
            // Sends and receives have a flag for it, a connect sees to it itself; accept has none, so its socket is
            // made so.
            (Class::Socket, _) => true,
            (Class::Listener, _) => set_nonblocking(descriptor, true).is_ok(),
            // The description may be shared with other programs: its mode is theirs.
            _ => rustix::fs::fcntl_getfl(descriptor).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK)),
        };
        debug_assert!(nonblocking || !is_fallback || submission.class == Class::Stream);
        Box::new(Source {
            registration: Registration::None,
            nonblocking,
            is_fallback,
            // Where a try might block, only an event makes it worth one.
            ready: [nonblocking; 2],
            waiting: [None, None],
            parts: [Vec::new(), Vec::new()],
        })
    }

    fn waiting_count(&self) -> usize {
        self.waiting.iter().flatten().count()
    }

    /// Sees to it that an event comes when what waits may go on.
    fn arm(&mut self, poller: &Poller, descriptor: RawDescriptor) -> io::Result<()> {
        let key = descriptor as usize;
        let interest = Event::new(key, self.waiting[READ].is_some(), self.waiting[WRITE].is_some());
        // SAFETY: the queue keeps the descriptor open while something waits on it.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        match self.registration {
            Registration::None if self.nonblocking && poller.supports_edge() => {
                // SAFETY: `forget_descriptor` deletes it before the descriptor is closed.
                unsafe { poller.add_with_mode(descriptor, Event::all(key), PollMode::Edge)? };
                self.registration = Registration::Edge;
            }
            Registration::None => {
                // SAFETY: as above.
                unsafe { poller.add_with_mode(descriptor, interest, PollMode::Oneshot)? };
                self.registration = Registration::Oneshot;
            }
            Registration::Oneshot => poller.modify_with_mode(borrowed, interest, PollMode::Oneshot)?,
            Registration::Edge | Registration::Unpollable => {}
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        event: Event,
        descriptor: RawDescriptor,
        poller: &Poller,
        pool: &mut Pool,
        completions: &mut Completions,
    ) {
        for (direction, happened) in [(READ, event.readable), (WRITE, event.writable)] {
            if !happened {
                continue;
            }
            self.ready[direction] = self.nonblocking;
            let Some(waiting) = self.waiting[direction].take() else { continue };
            let submission = Submission {
                token: waiting.token,
                op: &waiting.op,
                descriptor,
                class: waiting.class,
                parts: &self.parts[direction],
                offset: waiting.offset,
                nonblocking: self.nonblocking,
            };
            if !self.nonblocking {
                // Ready, but another program may take what is there first, and then the call blocks: a thread of
                // the pool may, the scheduler's may not.
                pool.submit(&submission);
                continue;
            }
            let result = try_again(&submission, self.is_fallback);
            match result {
                Attempt::Ended(outcome) => finish(waiting.token, outcome, completions),
                Attempt::WouldBlock => {
                    self.ready[direction] = false;
                    self.waiting[direction] = Some(waiting);
                }
            }
        }
        if self.registration == Registration::Oneshot && self.waiting.iter().any(Option::is_some) {
            // Registered before, so only a lack of memory could refuse; then what waits is told.
            if let Err(error) = self.arm(poller, descriptor) {
                for waiting in self.waiting.iter_mut().filter_map(Option::take) {
                    finish(waiting.token, Err(Fault::from_io(&error)), completions);
                }
            }
        }
    }
}
