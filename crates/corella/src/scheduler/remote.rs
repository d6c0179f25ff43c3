//! What other threads hold: the inbox of a scheduler, and the handle that sends into it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Io;
use super::tasks::TaskKey;
use crate::backend::{Wakeup, fork};
use crate::error::{Error, ErrorKind};
use crate::queue::slots::RequestId;
use crate::sync::{AtomicBool, Mutex, MutexGuard};

/// Work sent in from another thread.
pub(crate) type Job = Box<dyn FnOnce(&Io) + Send>;

#[derive(Default)]
struct State {
    /// At most one for each task, as a task remembers that it has been woken.
    wakes: Vec<TaskKey>,
    /// At most one for each request, however often it is asked for.
    cancels: BTreeSet<RequestId>,
    jobs: VecDeque<Job>,
    ended: bool,
}

/// What came in, to be dealt with on the scheduler's thread.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) wakes: Vec<TaskKey>,
    pub(crate) cancels: BTreeSet<RequestId>,
    pub(crate) jobs: VecDeque<Job>,
}

/// The door of a scheduler towards other threads.
pub(crate) struct Inbox {
    /// Tells the schedulers of a process apart.
    pub(crate) scheduler: u64,
    state: Mutex<State>,
    /// Something is inside, or somebody called.
    pending: AtomicBool,
    /// The scheduler is about to wait in the OS, or does; whoever clears this owes it a wake.
    sleeping: AtomicBool,
    wakeup: Wakeup,
    jobs_max: usize,
    /// A forked child has a copy of this inbox, and of the way to wake its parent.
    fork_generation: u64,
}

impl Inbox {
    pub(crate) fn new(scheduler: u64, wakeup: Wakeup, jobs_max: usize) -> Inbox {
        Inbox {
            scheduler,
            state: Mutex::default(),
            pending: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
            wakeup,
            jobs_max,
            fork_generation: fork::generation(),
        }
    }

    /// Not for a forked child: a thread that is not there any more may have had it at the fork.
    fn lock(&self) -> MutexGuard<'_, State> {
        debug_assert!(!self.is_foreign(), "a forked child waits for no lock of its parent's threads");
        // Nothing of a program's runs under the lock, so a poisoned one holds nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Lets the scheduler look inside. At most one system call, and none while it is awake.
    pub(crate) fn notify(&self) {
        if self.is_foreign() {
            return;
        }
        // The store comes before the look at `sleeping`, and the scheduler stores `sleeping` before it looks at
        // `pending`: in the one order of these four, one of the two sees the other's.
        self.pending.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            self.wakeup.wake();
        }
    }

    pub(crate) fn push_wake(&self, task: TaskKey) {
        if self.is_foreign() {
            return;
        }
        let mut state = self.lock();
        if !state.ended {
            state.wakes.push(task);
        }
        drop(state);
        self.notify();
    }

    pub(crate) fn push_cancel(&self, request: RequestId) {
        if self.is_foreign() {
            return;
        }
        let mut state = self.lock();
        if !state.ended {
            state.cancels.insert(request);
        }
        drop(state);
        self.notify();
    }

    fn is_foreign(&self) -> bool {
        self.fork_generation != fork::generation()
    }

    fn push_job(&self, job: Job) -> Result<(), (Job, ErrorKind)> {
        if self.is_foreign() {
            return Err((job, ErrorKind::WrongProcess));
        }
        let mut state = self.lock();
        if state.ended {
            return Err((job, ErrorKind::SchedulerGone));
        }
        if state.jobs.len() >= self.jobs_max {
            return Err((job, ErrorKind::Rejected));
        }
        state.jobs.push_back(job);
        drop(state);
        self.notify();
        Ok(())
    }

    /// Whether anything came in. One load.
    pub(crate) fn has_arrived(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Swaps what came in with the empty lists of `arrived`.
    pub(crate) fn take(&self, arrived: &mut Arrived) {
        if !self.pending.swap(false, Ordering::SeqCst) {
            return;
        }
        let mut state = self.lock();
        std::mem::swap(&mut state.wakes, &mut arrived.wakes);
        std::mem::swap(&mut state.cancels, &mut arrived.cancels);
        if arrived.jobs.is_empty() {
            std::mem::swap(&mut state.jobs, &mut arrived.jobs);
        } else if !state.jobs.is_empty() {
            // Fetched once those are done, so that the limit of the inbox holds.
            self.pending.store(true, Ordering::SeqCst);
        }
    }

    /// Announces a wait. False: something came in, so there must be none.
    pub(crate) fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    /// The wait is over.
    pub(crate) fn is_awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    /// Nothing is taken from now on; what is inside is given back, to be dropped.
    pub(crate) fn end(&self) -> Arrived {
        let mut state = self.lock();
        state.ended = true;
        Arrived {
            wakes: std::mem::take(&mut state.wakes),
            cancels: std::mem::take(&mut state.cancels),
            jobs: std::mem::take(&mut state.jobs),
        }
    }

    /// Whether nobody takes anything out any more: also in a forked child, where nobody ever did.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_foreign() || self.lock().ended
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Inbox({})", self.scheduler)
    }
}

/// A scheduler seen from other threads: sends work in, cancels, wakes.
///
/// ```
/// # fn main() -> Result<(), corella::Error> {
/// let mut scheduler = corella::Scheduler::new()?;
/// let remote = scheduler.remote();
/// let thread = std::thread::spawn(move || {
///     remote.send(|io| io.stop()).unwrap();
/// });
/// // Something to wait for; the other thread ends the run long before it.
/// let timer = scheduler.io().sleep(std::time::Duration::from_secs(60)).submit()?;
/// scheduler.run()?;
/// thread.join().unwrap();
/// assert!(!timer.is_settled());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Remote {
    inbox: Arc<Inbox>,
}

impl Remote {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Remote {
        Remote { inbox }
    }

    /// Runs `work` on the scheduler's thread, as a task. `Rejected` when the inbox is full, `SchedulerGone` after the
    /// scheduler's end, `WrongProcess` in a forked child; then `work` is dropped here.
    pub fn send(&self, work: impl FnOnce(&Io) + Send + 'static) -> Result<(), Error> {
        self.inbox.push_job(Box::new(work)).map_err(|(_, kind)| Error::new(kind, "send to scheduler", ""))
    }

    /// Spawns the future that `make` returns on the scheduler's thread. Errors as for [`send`](Self::send).
    pub fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        make: impl FnOnce(&Io) -> F + Send + 'static,
    ) -> Result<(), Error> {
        self.send(move |io| {
            // The scheduler is running this very job, so it is there; a refusal drops the future, as its end would.
            let _ = io.spawn(make(io));
        })
    }

    /// Cancels a request. Never needs room; after the request's end it does nothing.
    pub fn cancel(&self, request: RequestId) {
        self.inbox.push_cancel(request);
    }

    /// Makes the scheduler's current or next wait return.
    pub fn wake(&self) {
        self.inbox.notify();
    }

    /// Whether the scheduler has ended. Yes in a forked child, whose copy of it never runs.
    pub fn is_gone(&self) -> bool {
        self.inbox.has_ended()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remote({})", self.inbox.scheduler)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::tasks::ROOT;
    use super::*;
    use crate::backend::fork::tests::holds_in_child;

    #[test]
    fn a_forked_child_waits_for_no_lock_that_a_thread_of_its_parent_holds() {
        fork::watch();
        let inbox = Inbox::new(1, Wakeup::Flag(Arc::default()), 1);
        let held = inbox.lock();
        let is_answered = holds_in_child(|| {
            inbox.push_wake(ROOT);
            inbox.push_cancel(RequestId { index: 0, generation: 1 });
            inbox.notify();
            inbox.push_job(Box::new(|_| {})).is_err_and(|(_, kind)| kind == ErrorKind::WrongProcess)
                && inbox.has_ended()
        });
        assert!(is_answered);
        drop(held);
        assert!(!inbox.has_ended());
    }
}
