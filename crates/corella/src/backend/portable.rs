//! The portable backend: readiness for sockets and pipes through `polling`, the pool for everything else.
//!
//! First-class: it is what macOS, the BSDs and locked-down containers get, and what the `uring` backend falls back to
//! for operations that its kernel lacks. Each descriptor has at most one request waiting in each direction, as the
//! queue keeps the lanes; so an attempt never overtakes another.
//!
//! **What runs where.** The scheduler's thread makes only calls that cannot wait, whatever other programs do to a
//! description that they share, and that move no more than the OS has in memory: [`Calls`] says which those are. All
//! else is the pool's, and for a stream only once an event has said that it is ready.
#![allow(unsafe_code)]

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::perform::{close, finish_connect, shut_down, start_connect, transfer_at_once};
use super::pool::{Job, Pool};
use super::{
    Attempt, Completion, Completions, Fault, Outcome, RawDescriptor, Submission, Token, WaitsBy, Wakeup, attempt,
    set_nonblocking,
};
use crate::buffer::Part;
use crate::op::{Class, Op};
use crate::sync::AtomicBool;

const READ: usize = 0;
const WRITE: usize = 1;

/// Which calls on a descriptor never wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Calls {
    /// All: a socket, for which a flag says so, a listener, which is made non-blocking, or a description of our own.
    All,
    /// Those that a flag forbids to wait, whatever the mode: a pipe on Linux.
    Flagged,
    /// All or none, as the mode has it, which may be others' to change and is asked for each time.
    ByMode,
    /// None: a device.
    None,
}

/// How a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registration {
    /// Nothing has had to wait yet.
    None,
    /// Registered once for both directions; an event says that a direction may go on.
    Edge,
    /// Registered for one event at a time: the system knows no edges, or nobody learns when it has been emptied.
    Oneshot,
    /// The system has no events for it (a device without any): the pool makes the call at once.
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
    class: Class,
    registration: Registration,
    calls: Calls,
    /// The same pipe or terminal, opened once more, without waiting: what others do to theirs does not matter.
    own: Option<OwnedFd>,
    /// It serves another backend, for whose sake sockets are blocking.
    is_fallback: bool,
    /// A direction is worth a try; cleared when one would have blocked.
    ready: [bool; 2],
    waiting: [Option<Waiting>; 2],
    /// The parts of what waits. Kept for their memory.
    parts: [Vec<Part>; 2],
}

/// The poller as other threads see it: what they ring makes its handle readable until the next look at it.
#[derive(Debug)]
pub(crate) struct Bell<P = Poller> {
    pub(crate) poller: P,
    rung: AtomicBool,
}

/// A poller, as far as other threads use it: the next look at it finds something.
pub(crate) trait Notify {
    fn notify(&self);
}

impl Notify for Poller {
    fn notify(&self) {
        // A failure is that of a counter that is full, and that says enough.
        let _ = Poller::notify(self);
    }
}

impl<P: Notify> Bell<P> {
    pub(crate) fn new(poller: P) -> Bell<P> {
        Bell { poller, rung: AtomicBool::new(false) }
    }

    pub(crate) fn ring(&self) {
        self.poller.notify();
        // After the notification: whoever sees this finds that, and who came too early for this looks once more.
        self.rung.store(true, Ordering::Release);
    }

    /// Whether there may be something to find.
    pub(crate) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// The poller is about to be looked at.
    pub(crate) fn is_looked_at(&self) {
        self.rung.store(false, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Portable {
    bell: Arc<Bell>,
    events: Events,
    pool: Pool,
    /// By descriptor.
    sources: Vec<Option<Box<Source>>>,
    /// Requests that wait for their direction.
    waiting: usize,
    /// Descriptors whose events make the poller's handle readable, waited for or not.
    registered: usize,
    /// It serves another backend, for whose sake sockets are blocking.
    is_fallback: bool,
}

impl Portable {
    pub(crate) fn new(pool_threads: usize, is_fallback: bool) -> io::Result<Portable> {
        let bell = Arc::new(Bell::new(Poller::new()?));
        let pool = Pool::new(pool_threads, Wakeup::Poller(Arc::downgrade(&bell)));
        Ok(Portable { bell, events: Events::new(), pool, sources: Vec::new(), waiting: 0, registered: 0, is_fallback })
    }

    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        let direction = match (submission.class, submission.op) {
            (Class::Socket | Class::Listener | Class::Datagram, Op::Shutdown { how }) => {
                // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
                let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
                return finish(submission.token, shut_down(descriptor, *how), completions);
            }
            (Class::Socket | Class::Listener | Class::Datagram | Class::Stream, Op::Close) if !submission.lingers => {
                return finish(submission.token, close(submission.descriptor), completions);
            }
            (Class::Socket | Class::Listener, Op::Recv { .. } | Op::Accept) => READ,
            (Class::Socket | Class::Listener, Op::Send { .. } | Op::Connect { .. }) => WRITE,
            (Class::Socket | Class::Listener | Class::Datagram, Op::AwaitReady { writes }) => usize::from(*writes),
            (Class::Datagram, Op::RecvFrom { .. }) | (Class::Child, Op::AwaitExit { .. }) => READ,
            (Class::Datagram, Op::SendTo { .. } | Op::Connect { .. }) => WRITE,
            (Class::Stream, Op::Read { .. }) if submission.descriptor >= 0 => READ,
            (Class::Stream, Op::Write { .. }) if submission.descriptor >= 0 => WRITE,
            _ => return self.pool.submit(submission),
        };
        self.submit_to_source(submission, direction, completions);
    }

    fn submit_to_source(&mut self, submission: &Submission<'_>, direction: usize, completions: &mut Completions) {
        let source = self.source(submission);
        if source.registration == Registration::Unpollable {
            return self.pool.submit(submission);
        }
        // A connect is begun by its first try, whatever readiness was before.
        let is_begun_by_trying = matches!(submission.op, Op::Connect { .. });
        let mut is_for_a_thread = false;
        if source.ready[direction] || is_begun_by_trying {
            match source.try_here(submission, true) {
                // A listener of the Unix domain has no room, and no event tells when it has.
                Some(Attempt::Ended(Err(Fault::Os(libc::EAGAIN)))) if is_begun_by_trying => {
                    return self.pool.submit(submission);
                }
                Some(Attempt::Ended(outcome)) => return finish(submission.token, outcome, completions),
                Some(Attempt::WouldBlock) => source.ready[direction] = false,
                None => is_for_a_thread = true,
            }
        }
        self.wait_for_event(submission, direction, is_for_a_thread, completions);
    }

    /// What is known of a submission's descriptor.
    fn source(&mut self, submission: &Submission<'_>) -> &mut Source {
        let place = submission.descriptor as usize;
        if self.sources.len() <= place {
            self.sources.resize_with(place + 1, || None);
        }
        if self.sources[place].as_ref().is_some_and(|source| source.class != submission.class) {
            // A socket has become a listener, on which other calls wait.
            self.forget_descriptor(submission.descriptor);
        }
        let is_fallback = self.is_fallback;
        self.sources[place].get_or_insert_with(|| Source::new(submission, is_fallback))
    }

    /// Has a request wait until its direction is worth a try: here, or, as this one could not say, on a thread.
    fn wait_for_event(
        &mut self,
        submission: &Submission<'_>,
        direction: usize,
        is_for_a_thread: bool,
        completions: &mut Completions,
    ) {
        let Some(source) = &mut self.sources[submission.descriptor as usize] else {
            unreachable!("a descriptor with requests in flight is not forgotten")
        };
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
        let was_registered = source.is_registered();
        let armed = source.arm(&self.bell.poller, submission.descriptor, is_for_a_thread);
        self.registered += usize::from(source.is_registered() && !was_registered);
        if let Err(error) = armed {
            source.waiting[direction] = None;
            self.waiting -= 1;
            if error.raw_os_error() == Some(libc::EPERM) {
                source.registration = Registration::Unpollable;
                return self.pool.submit(submission);
            }
            finish(submission.token, Err(Fault::from_io(&error)), completions);
        }
    }

    /// Moves what the pool has finished to `completions`; what it could not do without waiting waits here again.
    fn drain_pool(&mut self, completions: &mut Completions) {
        for job in self.pool.drain(completions) {
            self.wait_again(&job, completions);
        }
    }

    fn wait_again(&mut self, job: &Job, completions: &mut Completions) {
        let submission = job.submission();
        if matches!(submission.op, Op::Connect { .. }) {
            return self.pool.submit(&submission);
        }
        let direction = if matches!(submission.op, Op::Write { .. }) { WRITE } else { READ };
        match self.source(&submission).registration {
            // It has no events, and yet it would not do it now: what it said is all there is to say.
            Registration::Unpollable => finish(submission.token, Err(Fault::Os(libc::EAGAIN)), completions),
            _ => self.wait_for_event(&submission, direction, true, completions),
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, op: &Op, descriptor: RawDescriptor, completions: &mut Completions) {
        let source = usize::try_from(descriptor).ok().and_then(|place| self.sources.get_mut(place)?.as_mut());
        if let Some(source) = source {
            for waiting in &mut source.waiting {
                if waiting.as_ref().is_some_and(|waiting| waiting.token == token) {
                    *waiting = None;
                    self.waiting -= 1;
                    if matches!(op, Op::Connect { .. }) {
                        // SAFETY: the queue keeps the descriptor open until the request has settled.
                        after_connect(unsafe { BorrowedFd::borrow_raw(descriptor) }, self.is_fallback);
                    }
                    return finish(token, Err(Fault::Interrupted), completions);
                }
            }
        }
        self.pool.cancel(token, op, completions);
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

    /// Leaves the poller's handle unreadable, unless there are more events than one look takes: whoever waits on the
    /// handle, a ring or a foreign loop, would otherwise spin. So only a poller that nothing can have made readable is
    /// not looked at.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        let may_be_readable = self.registered > 0 || !self.pool.is_idle() || self.bell.is_rung();
        self.drain_pool(completions);
        let timeout = if completions.is_empty() { timeout } else { Some(Duration::ZERO) };
        if timeout == Some(Duration::ZERO) && !may_be_readable {
            return Ok(());
        }
        self.events.clear();
        self.bell.is_looked_at();
        match self.bell.poller.wait(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => drop(result?),
        }
        let Portable { events, sources, bell, pool, waiting, .. } = self;
        for event in events.iter() {
            if let Some(source) = sources.get_mut(event.key).and_then(Option::as_mut) {
                let before = source.waiting_count();
                source.on_event(event, event.key as RawDescriptor, &bell.poller, pool, completions);
                *waiting -= before - source.waiting_count();
            }
        }
        self.drain_pool(completions);
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether anything is left for a `wait` to fetch some time.
    #[cfg(target_os = "linux")]
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting > 0 || !self.pool.is_idle()
    }

    /// Whether a `wait` has finished jobs to fetch, whatever the poller says.
    #[cfg(target_os = "linux")]
    pub(super) fn has_done(&self) -> bool {
        self.pool.has_done()
    }

    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        let Some(source) = usize::try_from(descriptor).ok().and_then(|place| self.sources.get_mut(place)) else {
            return;
        };
        let Some(source) = source.take() else { return };
        debug_assert!(source.waiting.iter().all(Option::is_none), "nothing waits on a quiet handle");
        if source.is_registered() {
            self.registered -= 1;
            // SAFETY: the queue forgets a descriptor before it closes it or gives it away.
            let _ = self.bell.poller.delete(source.watched(unsafe { BorrowedFd::borrow_raw(descriptor) }));
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        // What the queue has given up owns all its memory.
        true
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::Poller(Arc::downgrade(&self.bell))
    }

    pub(crate) fn os_handle(&self) -> RawDescriptor {
        self.bell.poller.as_raw_fd()
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

/// A socket that was made non-blocking to connect is given back as the other backend wants it.
fn after_connect(descriptor: BorrowedFd<'_>, is_fallback: bool) {
    if is_fallback {
        // The mode was set before, so it can be set; a failure would show as EAGAIN at the next request.
        let _ = set_nonblocking(descriptor, false);
    }
}

impl Source {
    fn new(submission: &Submission<'_>, is_fallback: bool) -> Box<Source> {
        // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
        let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
        let mut own = None;
        let calls = match submission.class {
            // Sends and receives have a flag for it, a connect sees to it itself; accept has none, so its socket is
            // made so. Whoever shares it with this process is to leave it so.
            Class::Listener if set_nonblocking(descriptor, true).is_err() => Calls::None,
            Class::Socket | Class::Listener | Class::Datagram | Class::Child => Calls::All,
            _ => match stream_kind(descriptor) {
                StreamKind::Pipe => Calls::Flagged,
                StreamKind::Terminal => calls_on(&mut own, descriptor),
                // Some ignore their mode (/dev/urandom), and all have as much as is asked for.
                StreamKind::Device => Calls::None,
            },
        };
        Box::new(Source {
            class: submission.class,
            registration: Registration::None,
            calls,
            own,
            is_fallback,
            ready: [true; 2],
            waiting: [None, None],
            parts: [Vec::new(), Vec::new()],
        })
    }

    /// Tries an operation on this thread, which cannot wait. Nothing where it might: that is for a thread of the pool.
    fn try_here(&mut self, submission: &Submission<'_>, is_first: bool) -> Option<Attempt> {
        // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
        let descriptor = unsafe { BorrowedFd::borrow_raw(submission.descriptor) };
        let tried = match (submission.op, self.calls) {
            (Op::Connect { address }, _) => {
                let attempt = match is_first {
                    true => match set_nonblocking(descriptor, true) {
                        Ok(()) => start_connect(descriptor, address),
                        Err(error) => Attempt::Ended(Err(Fault::from_io(&error))),
                    },
                    false => finish_connect(descriptor),
                };
                if matches!(attempt, Attempt::Ended(_)) {
                    after_connect(descriptor, self.is_fallback);
                }
                return Some(attempt);
            }
            (_, Calls::Flagged) => match transfer_at_once(submission) {
                Some(Err(Fault::Os(libc::EAGAIN))) => None,
                Some(outcome) => Some(outcome),
                None => {
                    self.calls = calls_on(&mut self.own, descriptor);
                    return self.try_here(submission, is_first);
                }
            },
            (_, Calls::None) => return None,
            (_, Calls::ByMode) if !is_nonblocking(descriptor) => return None,
            (_, Calls::ByMode | Calls::All) => {
                let descriptor = self.watched(descriptor).as_raw_fd();
                attempt(&Submission { descriptor, ..*submission }, !self.is_fallback)
            }
        };
        Some(tried.map_or(Attempt::WouldBlock, Attempt::Ended))
    }

    /// What calls and events are about: the handle's descriptor, or our own description of the same.
    fn watched<'a>(&'a self, descriptor: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.own.as_ref().map_or(descriptor, AsFd::as_fd)
    }

    fn is_registered(&self) -> bool {
        matches!(self.registration, Registration::Edge | Registration::Oneshot)
    }

    fn waiting_count(&self) -> usize {
        self.waiting.iter().flatten().count()
    }

    /// Sees to it that an event comes when what waits may go on; with `is_for_a_thread` also if it may already, as
    /// nobody has found the contrary.
    fn arm(&mut self, poller: &Poller, descriptor: RawDescriptor, is_for_a_thread: bool) -> io::Result<()> {
        let key = descriptor as usize;
        let interest = Event::new(key, self.waiting[READ].is_some(), self.waiting[WRITE].is_some());
        // SAFETY: the queue keeps the descriptor open while something waits on it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let watched = match &self.own {
            Some(own) => own.as_fd(),
            None => descriptor,
        };
        match self.registration {
            // The end of a child that somebody traces is not ours at once, and no second event would tell.
            Registration::None if !is_for_a_thread && poller.supports_edge() && self.class != Class::Child => {
                // SAFETY: `forget_descriptor` deletes it before the descriptor is closed.
                unsafe { poller.add_with_mode(&watched, Event::all(key), PollMode::Edge)? };
                self.registration = Registration::Edge;
            }
            Registration::None => {
                // SAFETY: as above.
                unsafe { poller.add_with_mode(&watched, interest, PollMode::Oneshot)? };
                self.registration = Registration::Oneshot;
            }
            Registration::Oneshot => poller.modify_with_mode(watched, interest, PollMode::Oneshot)?,
            Registration::Edge if is_for_a_thread => {
                poller.modify_with_mode(watched, Event::all(key), PollMode::Edge)?;
            }
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
            self.ready[direction] = true;
            let Some(waiting) = self.waiting[direction].take() else { continue };
            let parts = std::mem::take(&mut self.parts[direction]);
            let submission = Submission {
                token: waiting.token,
                op: &waiting.op,
                descriptor,
                class: waiting.class,
                parts: &parts,
                offset: waiting.offset,
                waits_by: WaitsBy::Class,
                extends: false,
                lingers: false,
            };
            match self.try_here(&submission, false) {
                Some(Attempt::Ended(outcome)) => finish(waiting.token, outcome, completions),
                Some(Attempt::WouldBlock) => {
                    self.ready[direction] = false;
                    self.waiting[direction] = Some(waiting);
                }
                None if direction == WRITE => {
                    // There is room for so much, and more would wait.
                    let first = Part { length: parts[0].length.min(libc::PIPE_BUF), ..parts[0] };
                    pool.submit(&Submission { parts: &[first], ..submission });
                }
                None => pool.submit(&submission),
            }
            self.parts[direction] = parts;
        }
        if self.registration == Registration::Oneshot && self.waiting.iter().any(Option::is_some) {
            // Registered before, so only a lack of memory could refuse; then what waits is told.
            if let Err(error) = self.arm(poller, descriptor, true) {
                for waiting in self.waiting.iter_mut().filter_map(Option::take) {
                    finish(waiting.token, Err(Fault::from_io(&error)), completions);
                }
            }
        }
    }
}

/// What a stream is, as to which calls on it may wait.
enum StreamKind {
    Pipe,
    Terminal,
    Device,
}

fn stream_kind(descriptor: BorrowedFd<'_>) -> StreamKind {
    use rustix::fs::FileType;
    match rustix::fs::fstat(descriptor).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Fifo | FileType::Socket) => StreamKind::Pipe,
        Ok(FileType::CharacterDevice) if descriptor.is_terminal() => StreamKind::Terminal,
        _ => StreamKind::Device,
    }
}

/// Opens a pipe or terminal once more, in a mode of our own, and says which calls never wait then.
fn calls_on(own: &mut Option<OwnedFd>, descriptor: BorrowedFd<'_>) -> Calls {
    *own = open_again(descriptor);
    if own.is_some() { Calls::All } else { Calls::ByMode }
}

/// A description of our own of the same pipe or terminal, where the system can and the program may.
pub(super) fn open_again(descriptor: BorrowedFd<'_>) -> Option<OwnedFd> {
    use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
    if !cfg!(target_os = "linux") {
        return None;
    }
    let access = fcntl_getfl(descriptor).ok()? & OFlags::RWMODE;
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    open(path, access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).ok()
}

fn is_nonblocking(descriptor: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(descriptor).is_ok_and(|flags| flags.contains(rustix::fs::OFlags::NONBLOCK))
}
