//! The scheduler: one request queue, the ready tasks and the timers, on one thread.
//!
//! A turn: run ready tasks within the budget; compute how long it may sleep; hand the batch over and wait in the same
//! system call; reap; settle; deliver direct callbacks; fire due timers.

mod builder;
pub(crate) mod remote;
mod shutdown;
pub(crate) mod tasks;
pub(crate) mod token;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use self::remote::{Arrived, Inbox, Remote};
use self::tasks::{JoinHandle, JoinState, ROOT, Ready, ReadyQueue, TaskKey, TaskWaker, Tasks};
use crate::backend::{BackendKind, BackendReason, fork};
use crate::error::{Error, ErrorKind};
use crate::queue::slots::{Cause, Ending, Payload, RequestId};
use crate::queue::{Outstanding, RequestQueue, Unobserved};

pub use builder::SchedulerBuilder;
pub use shutdown::Leaked;

/// Called with each failure that nobody took.
pub(crate) type Hook = Box<dyn FnMut(Unobserved)>;

/// How much one turn, and one poll of a task, may do before others have their turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// Tasks and callbacks in one turn.
    pub(crate) tasks_per_turn: usize,
    /// Operations of one task that may finish at once before it has to yield.
    pub(crate) operations_per_poll: u32,
    /// Their bytes.
    pub(crate) bytes_per_poll: u64,
}

/// The scheduler's inside, which `Io` refers to weakly.
pub(crate) struct Core {
    io: Weak<Core>,
    pub(crate) queue: RefCell<RequestQueue>,
    tasks: RefCell<Tasks>,
    ready: Rc<ReadyQueue>,
    /// Settled requests whose callbacks run before the tasks.
    direct: RefCell<VecDeque<RequestId>>,
    pub(crate) inbox: Arc<Inbox>,
    arrived: RefCell<Arrived>,
    /// A task or a callback is running.
    inside: Cell<bool>,
    /// The program asked `run` to return.
    stopping: Cell<bool>,
    /// The future of `block_on` has been woken.
    root_is_ready: Cell<bool>,
    /// There is one.
    root_is_driven: Cell<bool>,
    /// No more requests.
    pub(crate) ended: Cell<bool>,
    start: Instant,
    hook: RefCell<Option<Hook>>,
    unobserved: Cell<u64>,
    fork_generation: u64,
    budgets: Budgets,
    operations_left: Cell<u32>,
    bytes_left: Cell<u64>,
    tasks_max: usize,
    reason: BackendReason,
    /// Kept for its memory.
    wakers: RefCell<Vec<Waker>>,
    leftovers: RefCell<Vec<(Payload, Ending)>>,
    /// Counts `has_work` calls, for what is too dear to look at each time.
    looks: Cell<u32>,
}

/// Sets a flag while something runs, also when it panics.
struct Inside<'a>(&'a Cell<bool>);

impl<'a> Inside<'a> {
    fn enter(flag: &'a Cell<bool>) -> Inside<'a> {
        flag.set(true);
        Inside(flag)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Core {
    /// Nanoseconds since the scheduler started.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The time after `duration`, for a deadline.
    pub(crate) fn after(&self, duration: Duration) -> u64 {
        self.now().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn io(&self) -> Io {
        Io { core: Weak::clone(&self.io) }
    }

    /// Whether code of the program may block here.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.get()
    }

    /// One operation that finished at once; false when the task has had its share and must yield.
    pub(crate) fn spend(&self, bytes: u64) -> bool {
        let operations = self.operations_left.get();
        if operations == 0 || self.bytes_left.get() < bytes {
            return false;
        }
        self.operations_left.set(operations - 1);
        self.bytes_left.set(self.bytes_left.get() - bytes);
        true
    }

    fn refill_budget(&self) {
        self.operations_left.set(self.budgets.operations_per_poll);
        self.bytes_left.set(self.budgets.bytes_per_poll);
    }

    // A turn.

    /// One turn. Waits at most `limit` for something to happen (`None`: as long as it takes), and not at all once
    /// `is_done`, which what it runs may bring about.
    fn turn(&self, limit: Option<Duration>, is_done: impl Fn() -> bool) -> Result<(), Error> {
        let was_called = self.take_arrived();
        self.run_ready();
        let timeout = if was_called || is_done() { Some(Duration::ZERO) } else { self.may_wait(limit) };
        let result = self.queue.borrow_mut().wait(timeout);
        self.inbox.is_awake();
        if let Err(error) = result {
            return Err(Error::from_io(&error, "wait", "the scheduler's backend"));
        }
        self.deliver();
        self.run_direct();
        self.fire_due();
        Ok(())
    }

    fn fire_due(&self) {
        let now = self.now();
        let is_due = {
            let mut queue = self.queue.borrow_mut();
            queue.set_now(now);
            let is_due = queue.next_due().is_some_and(|due| due <= now);
            if is_due {
                queue.fire_due(now);
            }
            is_due
        };
        if is_due {
            self.deliver();
            self.run_direct();
        }
    }

    /// How long this turn may wait.
    fn may_wait(&self, limit: Option<Duration>) -> Option<Duration> {
        let has_work = !self.ready.is_empty()
            || !self.direct.borrow().is_empty()
            || !self.arrived.borrow().jobs.is_empty()
            || self.root_is_ready.get();
        if has_work || limit == Some(Duration::ZERO) || self.queue.borrow().has_backlog() {
            return Some(Duration::ZERO);
        }
        let next_due = self.queue.borrow().next_due();
        let until_due = next_due.map(|due| Duration::from_nanos(due.saturating_sub(self.now())));
        if !self.inbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        [limit, until_due].into_iter().flatten().min()
    }

    /// Deals with what other threads sent: wakes and cancels all, jobs within the budget. Says whether anybody called,
    /// if only to end the next wait.
    fn take_arrived(&self) -> bool {
        let was_called = self.inbox.has_arrived();
        if was_called {
            let mut arrived = self.arrived.take();
            self.inbox.take(&mut arrived);
            for key in arrived.wakes.drain(..) {
                self.ready.push(Ready::Task(key));
            }
            for request in arrived.cancels.drain(..) {
                self.cancel(request);
            }
            self.arrived.replace(arrived);
        }
        for _ in 0..self.budgets.tasks_per_turn {
            let Some(job) = self.arrived.borrow_mut().jobs.pop_front() else { break };
            let _inside = Inside::enter(&self.inside);
            self.refill_budget();
            job(&self.io());
        }
        was_called
    }

    /// Runs what was ready when this turn began, within the budget.
    fn run_ready(&self) {
        for _ in 0..self.ready.len().min(self.budgets.tasks_per_turn) {
            match self.ready.pop() {
                // A waker of a `block_on` that is over wakes nobody.
                Some(Ready::Task(ROOT)) => self.root_is_ready.set(self.root_is_driven.get()),
                Some(Ready::Task(key)) => self.poll_task(key),
                Some(Ready::Callback(request)) => self.run_callback(request),
                None => break,
            }
        }
    }

    fn poll_task(&self, key: TaskKey) {
        // Ended already, or woken while it is being polled further down the stack: there is no such nesting.
        let Some((mut future, waker, state)) = self.tasks.borrow_mut().begin(key) else { return };
        state.begins();
        self.refill_budget();
        let polled = {
            let _inside = Inside::enter(&self.inside);
            let guard = EndsOnPanic { core: self, key };
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            std::mem::forget(guard);
            polled
        };
        let kind = match polled {
            Poll::Ready(()) => ErrorKind::Panicked,
            Poll::Pending => match self.tasks.borrow_mut().suspend(key, future) {
                None => return,
                Some(_future) => ErrorKind::Killed,
            },
        };
        // A task that has finished has told who waits itself, and then this changes nothing.
        let task = self.tasks.borrow_mut().remove(key);
        if let Some(task) = task {
            task.end(kind);
        }
        self.drop_leftovers();
    }

    /// Sorts what has settled to where it is to be delivered.
    fn deliver(&self) {
        let mut wakers = self.wakers.take();
        let mut failures = Vec::new();
        loop {
            let mut queue = self.queue.borrow_mut();
            let Some(id) = queue.next_settled() else { break };
            if let Some((chain, mut payload, report)) = queue.take_chain(id) {
                drop(queue);
                let step = chain(&mut payload, &self.io(), report);
                self.queue.borrow_mut().go_on(id, payload, step);
                continue;
            }
            match queue.ending(id) {
                Some(Ending::Wake(_)) => {
                    if let Ok(Ending::Wake(waker)) = queue.set_ending(id, Ending::Kept) {
                        wakers.push(waker);
                    }
                }
                Some(Ending::Callback(callback)) => match callback.direct {
                    true => self.direct.borrow_mut().push_back(id),
                    false => self.ready.push(Ready::Callback(id)),
                },
                Some(Ending::Detached) => {
                    if let Some((payload, report, ending)) = queue.take(id) {
                        queue.leftovers.push((payload, ending));
                        failures.extend(report.result.err());
                    }
                }
                Some(Ending::Kept) | None => {}
            }
        }
        wakers.drain(..).for_each(Waker::wake);
        self.wakers.replace(wakers);
        for error in failures {
            // What was stopped because nobody wanted it has not failed.
            if error.kind() != ErrorKind::Cancelled {
                self.report(error);
            }
        }
        self.drop_leftovers();
    }

    /// Hands a failure that nobody took to the hook.
    fn report(&self, error: Error) {
        self.unobserved.set(self.unobserved.get() + 1);
        let hook = self.hook.take();
        if let Some(mut hook) = hook {
            let _inside = Inside::enter(&self.inside);
            hook(Unobserved { error });
            // Unless the hook has set another.
            let mut place = self.hook.borrow_mut();
            place.get_or_insert(hook);
        }
    }

    /// Drops the program's values that the queue has put aside: their code may call the queue.
    pub(crate) fn drop_leftovers(&self) {
        if self.queue.borrow().leftovers.is_empty() {
            return;
        }
        let mut leftovers = self.leftovers.take();
        loop {
            std::mem::swap(&mut self.queue.borrow_mut().leftovers, &mut leftovers);
            if leftovers.is_empty() {
                break;
            }
            leftovers.clear();
        }
        self.leftovers.replace(leftovers);
    }

    fn run_direct(&self) {
        let count = self.direct.borrow().len();
        for _ in 0..count {
            let next = self.direct.borrow_mut().pop_front();
            match next {
                Some(request) => self.run_callback(request),
                None => break,
            }
        }
    }

    fn run_callback(&self, request: RequestId) {
        let taken = self.queue.borrow_mut().take(request);
        let Some((payload, report, Ending::Callback(callback))) = taken else { return };
        self.refill_budget();
        let _inside = Inside::enter(&self.inside);
        (callback.run)(callback.function, payload, report, &self.io());
    }

    pub(crate) fn cancel(&self, request: RequestId) {
        self.queue.borrow_mut().cancel(request, Cause::Cancel);
    }

    // Driving.

    /// One turn of a blocking ending, whose buffer the OS has: it cannot be given up.
    ///
    /// # Panics
    /// When the OS refuses to wait at all, as when somebody has closed the scheduler's own descriptor: then nothing
    /// can ever settle.
    pub(crate) fn turn_towards(&self, is_done: impl Fn() -> bool) {
        if let Err(error) = self.turn(None, is_done) {
            panic!("{error}");
        }
    }

    /// Cancels a request whose outcome nobody will take.
    pub(crate) fn abandon(&self, id: RequestId, cause: Cause) {
        if self.is_foreign() {
            return;
        }
        if self.ended.get() {
            let taken = self.queue.borrow_mut().take(id);
            drop(taken);
            return;
        }
        self.queue.borrow_mut().cancel(id, cause);
        self.drop_leftovers();
    }

    /// Lets a request go on by itself; its failure goes to the hook.
    pub(crate) fn detach(&self, id: RequestId) {
        if self.is_foreign() {
            return;
        }
        if self.ended.get() {
            let taken = self.queue.borrow_mut().take(id);
            drop(taken);
            return;
        }
        let old = self.queue.borrow_mut().set_ending_and_deliver(id, Ending::Detached);
        drop(old);
    }

    /// Whether this is a forked child of the scheduler's process.
    pub(crate) fn is_foreign(&self) -> bool {
        fork::generation() != self.fork_generation
    }

    fn check_outside(&self, operation: &str) -> Result<(), Error> {
        if self.is_foreign() {
            return Err(Error::new(ErrorKind::WrongProcess, operation, ""));
        }
        if self.is_inside() {
            return Err(Error::new(ErrorKind::NestedRun, operation, ""));
        }
        Ok(())
    }

    /// Whether nothing is left to do or to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.borrow().len() == 0
            && self.ready.is_empty()
            && self.direct.borrow().is_empty()
            && !self.inbox.has_arrived()
            && self.arrived.borrow().jobs.is_empty()
            && {
                let queue = self.queue.borrow();
                queue.unsettled() == 0 && !queue.has_backlog()
            }
    }

    fn has_work(&self) -> bool {
        if self.is_foreign() {
            return false;
        }
        if !self.ready.is_empty() || self.inbox.has_arrived() || self.root_is_ready.get() {
            return true;
        }
        let mut queue = self.queue.borrow_mut();
        if queue.backend.has_completions()
            || queue.has_backlog()
            || !self.direct.borrow().is_empty()
            || !self.arrived.borrow().jobs.is_empty()
        {
            return true;
        }
        // The clock is dear, so timers are looked at every so many calls.
        const LOOK_AT_CLOCK_EVERY: u32 = 16;
        let looks = self.looks.get().wrapping_add(1);
        self.looks.set(looks);
        looks.is_multiple_of(LOOK_AT_CLOCK_EVERY) && queue.next_due().is_some_and(|due| due <= self.now())
    }
}

/// Ends a task whose poll panics; the panic itself goes on to the caller of `run`.
struct EndsOnPanic<'a> {
    core: &'a Core,
    key: TaskKey,
}

impl Drop for EndsOnPanic<'_> {
    fn drop(&mut self) {
        let task = self.core.tasks.borrow_mut().remove(self.key);
        if let Some(task) = task {
            task.join().end(ErrorKind::Panicked);
        }
    }
}

/// One asynchronous I/O system for one thread: owns a request queue, tasks and timers.
///
/// Neither `Clone` nor `Send`. Handles hold an [`Io`]; other threads a [`Remote`]. Dropping it cancels every request,
/// waits until the OS has let go of every buffer, and then frees them, without running callbacks;
/// [`shutdown`](Scheduler::shutdown) does that with a limit and runs them.
///
/// ```
/// use corella::{Mode, Scheduler};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut scheduler = Scheduler::new()?;
/// let io = scheduler.io();
/// let path = std::env::temp_dir().join("corella-scheduler-example");
/// let file = io.open(&path, Mode::Write).wait()?;
/// file.write("hello").then(|outcome| println!("wrote {} bytes", outcome.unwrap().0))?;
/// scheduler.run()?;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
pub struct Scheduler {
    core: Rc<Core>,
}

impl Scheduler {
    /// A scheduler on the best backend of this machine; see [`backend_reason`](Self::backend_reason).
    ///
    /// The environment variable `CORELLA_BACKEND` (`uring` or `portable`) forces one.
    pub fn new() -> Result<Scheduler, Error> {
        SchedulerBuilder::default().build()
    }

    /// Settings other than the usual.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    /// What handles and tasks hold.
    pub fn io(&self) -> Io {
        self.core.io()
    }

    /// What other threads hold.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.core.inbox))
    }

    /// The backend in use.
    pub fn backend(&self) -> BackendKind {
        self.core.queue.borrow().backend.kind()
    }

    /// Why it is this one.
    pub fn backend_reason(&self) -> &BackendReason {
        &self.core.reason
    }

    /// Turns until no task is left and every request has settled, or until [`Io::stop`].
    ///
    /// `NestedRun` inside a task or callback. A panic of a task or callback leaves this call with everything else
    /// safely queued; the next call goes on.
    pub fn run(&mut self) -> Result<(), Error> {
        self.core.check_outside("run")?;
        self.core.stopping.set(false);
        while !self.core.is_idle() && !self.core.stopping.get() {
            self.core.turn(None, || self.core.is_idle() || self.core.stopping.get())?;
        }
        Ok(())
    }

    /// One turn without waiting. Says whether there is more to do at once.
    pub fn poll(&mut self) -> Result<bool, Error> {
        self.turn(Duration::ZERO)
    }

    /// One turn that waits at most `limit`. Says whether there is more to do at once.
    pub fn turn(&mut self, limit: Duration) -> Result<bool, Error> {
        self.core.check_outside("poll")?;
        self.core.turn(Some(limit), || false)?;
        Ok(!self.core.ready.is_empty() || self.core.queue.borrow().has_backlog())
    }

    /// Turns until `future` is ready.
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output, Error> {
        let core = &*self.core;
        core.check_outside("block_on")?;
        let state = TaskWaker::new(ROOT, Arc::clone(&core.inbox));
        let waker = Waker::from(Arc::clone(&state));
        let mut future = pin!(future);
        let _driven = Inside::enter(&core.root_is_driven);
        core.root_is_ready.set(true);
        loop {
            if core.root_is_ready.replace(false) {
                state.begins();
                core.refill_budget();
                let _inside = Inside::enter(&core.inside);
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(output);
                }
            }
            core.turn(None, || false)?;
        }
    }

    /// Spawns a task; see [`Io::spawn`].
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Result<JoinHandle<F::Output>, Error> {
        self.io().spawn(future)
    }

    /// Whether a [`poll`](Self::poll) would find something to do: for a VM's safe points.
    ///
    /// A couple of loads on io_uring, a countdown elsewhere. It may say true for nothing, and says true at the latest
    /// on the sixteenth call after there is work.
    pub fn has_work(&self) -> bool {
        self.core.has_work()
    }

    /// Every request in flight, oldest first.
    pub fn outstanding(&self) -> Vec<Outstanding> {
        let mut queue = self.core.queue.borrow_mut();
        queue.set_now(self.core.now());
        queue.outstanding()
    }

    /// Tasks that have not ended.
    pub fn active_tasks(&self) -> usize {
        self.core.tasks.borrow().len()
    }

    /// Sets what is called with each failure that nobody took: of a detached request, of a handle's close by drop.
    pub fn on_unobserved(&mut self, hook: impl FnMut(Unobserved) + 'static) {
        let old = self.core.hook.replace(Some(Box::new(hook)));
        drop(old);
    }

    /// How many failures nobody took so far.
    pub fn unobserved_failures(&self) -> u64 {
        self.core.unobserved.get()
    }

    /// The scheduler's own OS handle, for a foreign event loop: readable when [`poll`](Self::poll) has work.
    ///
    /// Call [`prepare_wait`](Self::prepare_wait) before each wait on it.
    pub fn os_handle(&self) -> ForeignHandle<'_> {
        ForeignHandle { core: &self.core }
    }

    /// Hands over what is batched and says how long a foreign event loop may wait on the OS handle: `None` is as long
    /// as it likes, zero is not at all.
    pub fn prepare_wait(&mut self) -> Result<Option<Duration>, Error> {
        self.core.check_outside("prepare_wait")?;
        let was_called = self.core.take_arrived();
        let timeout = if was_called { Some(Duration::ZERO) } else { self.core.may_wait(None) };
        if timeout != Some(Duration::ZERO) {
            let result = self.core.queue.borrow_mut().backend.flush();
            result.map_err(|error| Error::from_io(&error, "flush", "the scheduler's backend"))?;
        }
        Ok(timeout)
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scheduler")
            .field("backend", &self.backend().name())
            .field("tasks", &self.active_tasks())
            .field("outstanding", &self.core.queue.borrow().unsettled())
            .finish()
    }
}

/// Lends the descriptor that a foreign event loop waits on.
#[derive(Clone, Copy)]
pub struct ForeignHandle<'a> {
    core: &'a Core,
}

impl AsFd for ForeignHandle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.os_handle()
    }
}

impl fmt::Debug for ForeignHandle<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ForeignHandle({:?})", self.as_fd())
    }
}

/// What handles and tasks hold: a weak reference to the scheduler. After its end everything answers `SchedulerGone`.
#[derive(Clone)]
pub struct Io {
    core: Weak<Core>,
}

impl Io {
    /// The scheduler's inside, or why there is none for this caller.
    pub(crate) fn core(&self, operation: &str) -> Result<Rc<Core>, Error> {
        match self.try_core() {
            Ok(core) => Ok(core),
            Err(kind) => Err(Error::new(kind, operation, "")),
        }
    }

    pub(crate) fn try_core(&self) -> Result<Rc<Core>, ErrorKind> {
        match self.core.upgrade() {
            Some(core) if core.is_foreign() => {
                // Dropping the last reference here would run the parent's clean-up in the child.
                std::mem::forget(core);
                Err(ErrorKind::WrongProcess)
            }
            Some(core) if !core.ended.get() => Ok(core),
            _ => Err(ErrorKind::SchedulerGone),
        }
    }

    /// Starts a task: a future that the scheduler polls on its own thread. It goes on when the handle is dropped.
    ///
    /// `Rejected` when the limit of tasks is reached; then the future is dropped.
    ///
    /// ```
    /// # fn main() -> Result<(), corella::Error> {
    /// let mut scheduler = corella::Scheduler::new()?;
    /// let task = scheduler.io().spawn(async { 6 * 7 })?;
    /// assert_eq!(scheduler.block_on(task)??, 42);
    /// # Ok(()) }
    /// ```
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Result<JoinHandle<F::Output>, Error> {
        let core = self.core("spawn")?;
        if core.tasks.borrow().len() >= core.tasks_max {
            let note = format!("{} tasks are running", core.tasks_max);
            return Err(Error::new(ErrorKind::Rejected, "spawn", "").with_note(note));
        }
        let state = JoinState::new();
        let result = Rc::clone(&state);
        let future = Box::pin(async move { result.set(Ok(future.await)) });
        let key = core.tasks.borrow_mut().insert(future, Rc::clone(&state) as _, &core.inbox);
        // Its waker is told that it is in the queue, so that a wake before its first poll does not list it twice.
        let waker = core.tasks.borrow_mut().waker(key);
        waker.into_iter().for_each(|waker| waker.wake_by_ref());
        Ok(JoinHandle { state, key, io: self.clone() })
    }

    pub(crate) fn kill(&self, key: TaskKey) {
        let Ok(core) = self.try_core() else { return };
        let task = core.tasks.borrow_mut().kill(key);
        if let Some(task) = task {
            task.end(ErrorKind::Killed);
        }
    }

    /// Asks a request to stop. After its end this does nothing.
    pub fn cancel(&self, request: RequestId) {
        if let Ok(core) = self.try_core() {
            core.cancel(request);
            core.drop_leftovers();
        }
    }

    /// Makes [`Scheduler::run`] return after this turn.
    pub fn stop(&self) {
        if let Ok(core) = self.try_core() {
            core.stopping.set(true);
            core.inbox.notify();
        }
    }

    /// Whether the scheduler has ended.
    pub fn is_gone(&self) -> bool {
        self.try_core().is_err()
    }
}

impl Core {
    fn os_handle(&self) -> BorrowedFd<'_> {
        let descriptor = self.queue.borrow().backend.os_handle();
        crate::backend::lend(descriptor, self)
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Io({})", if self.is_gone() { "scheduler gone" } else { "scheduler running" })
    }
}
