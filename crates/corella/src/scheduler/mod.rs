//! The scheduler: one request queue, the ready tasks and the timers, on one thread.
//!
//! A turn: run ready tasks within the budget; compute how long it may sleep; hand the batch over and wait in the same
//! system call; reap; settle; deliver direct callbacks; fire due timers.

mod builder;
pub(crate) mod hosted;
pub(crate) mod remote;
mod shutdown;
pub(crate) mod tasks;
#[cfg(all(test, unix))]
mod tests;
pub(crate) mod token;
mod turn;

use std::fmt;
use std::future::Future;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use self::remote::Remote;
use self::tasks::{Current, Driven, JoinHandle, JoinState, ROOT, Ready, TaskKey, TaskWaker};
#[cfg(target_os = "linux")]
use crate::backend::Backend;
use crate::backend::KernelFeatures;
use crate::backend::{BackendKind, BackendReason, Simulation};
use crate::error::{Error, ErrorKind};
use crate::queue::slots::RequestId;
use crate::queue::{Outstanding, Unobserved};

pub use builder::{Limits, SchedulerBuilder};
pub use shutdown::Leaked;
pub(crate) use turn::Core;
use turn::Inside;

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

    /// A scheduler on a simulated machine; the OS's error EBUSY while another runs on it.
    pub fn simulated(machine: &Simulation) -> Result<Scheduler, Error> {
        SchedulerBuilder::default().build_simulated(machine)
    }

    /// Settings other than the usual.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    /// What handles and tasks hold.
    pub fn io(&self) -> Io {
        self.core.io.clone()
    }

    /// Where a host finds what became of its requests.
    #[doc(hidden)]
    pub fn hosted_outcomes(&self) -> Rc<hosted::HostedOutcomes> {
        Rc::clone(&self.core.queue.borrow().hosted)
    }

    /// What other threads hold.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.core.inbox))
    }

    /// What it has not given back.
    #[cfg(feature = "marks")]
    #[doc(hidden)]
    pub fn census(&self) -> crate::marks::Census {
        let core = &self.core;
        let census = core.queue.borrow().census();
        let to_run = core.ready.len() + core.direct.borrow().len() + core.arrived.borrow().jobs.len();
        let leftovers = census.leftovers + core.leftovers.borrow().len();
        crate::marks::Census { tasks: core.tasks.borrow().len() + to_run, leftovers, ..census }
    }

    /// The backend in use.
    pub fn backend(&self) -> BackendKind {
        self.core.queue.borrow().backend.kind()
    }

    /// Why it is this one.
    pub fn backend_reason(&self) -> &BackendReason {
        &self.core.reason
    }

    /// What the kernel has of io_uring; nothing on another backend.
    pub fn kernel_features(&self) -> Option<KernelFeatures> {
        #[cfg(target_os = "linux")]
        if let Backend::Uring(uring) = &*self.core.queue.borrow().backend {
            return Some(uring.features());
        }
        None
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

    /// Turns for this long, by the scheduler's clock; on a simulated machine that takes no time at all.
    ///
    /// Errors as for [`run`](Self::run).
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Error> {
        self.core.check_outside("run_for")?;
        let end = self.core.after(duration);
        self.core.stopping.set(false);
        while self.core.now() < end && !self.core.stopping.get() {
            let left = Duration::from_nanos(end.saturating_sub(self.core.now()));
            self.core.turn(Some(left), || self.core.stopping.get())?;
        }
        Ok(())
    }

    /// One turn without waiting. Says whether there is more to do at once.
    pub fn poll(&mut self) -> Result<bool, Error> {
        self.turn(Duration::ZERO)
    }

    /// One turn that waits at most `limit` (`Duration::MAX`: as long as it takes). Says whether there is more to do at
    /// once. It may be over early with nothing done: after a [`wake`](Remote::wake), or when a signal of the OS's cuts the
    /// wait short.
    pub fn turn(&mut self, limit: Duration) -> Result<bool, Error> {
        self.core.check_outside("poll")?;
        // What a host has yet to fetch is not to be slept on, here, where it comes back to fetch it.
        self.core.turn((limit != Duration::MAX).then_some(limit), || self.core.has_hosted())?;
        Ok(self.core.has_more())
    }

    /// Turns until `future` is ready.
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output, Error> {
        let core = &*self.core;
        core.check_outside("block_on")?;
        let state = TaskWaker::new(ROOT, Arc::clone(&core.inbox));
        let waker = Waker::from(Arc::clone(&state));
        let mut future = pin!(future);
        let _driven = Inside::enter(&core.root_is_driven);
        let _current = Driven::begin(&core.current, Current::new(Arc::clone(&state), &waker));
        let _ready = Inside::enter(&core.root_is_ready);
        loop {
            if core.root_is_ready.replace(false) {
                state.begins();
                core.refill_budget();
                let _inside = Inside::enter(&core.inside);
                let _sleeps = turn::SetSleeps(core);
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Ok(output);
                }
            }
            core.turn(None, || false)?;
        }
    }

    /// Spawns a task; see [`Io::spawn`].
    pub fn spawn<F: Future + 'static>(&self, future: F) -> Result<JoinHandle<F::Output>, Error> {
        self.core.io.spawn(future)
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
        let timeout =
            if was_called || self.core.has_hosted() { Some(Duration::ZERO) } else { self.core.may_wait(None) };
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

#[cfg(unix)]
impl AsFd for ForeignHandle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.os_handle()
    }
}

#[cfg(windows)]
impl AsHandle for ForeignHandle<'_> {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.core.os_handle()
    }
}

impl fmt::Debug for ForeignHandle<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ForeignHandle({:?})", self.core.os_handle())
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

    #[inline]
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
        core.ready.push(Ready::Task(key));
        Ok(JoinHandle { state, key, io: self.clone() })
    }

    pub(crate) fn kill(&self, key: TaskKey) {
        let Ok(core) = self.try_core() else { return };
        let task = core.tasks.borrow_mut().kill(key);
        if let Some(task) = task {
            core.end_task(task, ErrorKind::Killed);
            core.rethrow();
        }
    }

    /// Asks a request to stop. After its end this does nothing.
    pub fn cancel(&self, request: RequestId) {
        if let Ok(core) = self.try_core() {
            core.cancel(request);
            core.drop_leftovers();
            core.rethrow();
        }
    }

    /// Makes [`Scheduler::run`] return after this turn.
    pub fn stop(&self) {
        if let Ok(core) = self.try_core() {
            core.stopping.set(true);
            core.inbox.notify();
        }
    }

    /// Whether the scheduler has ended. Yes in a forked child, whose copy of it never runs.
    pub fn is_gone(&self) -> bool {
        self.try_core().is_err()
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Io({})", if self.is_gone() { "scheduler gone" } else { "scheduler running" })
    }
}
