//! The scheduler's inside: one turn, and what it runs.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Io;
use super::remote::{Arrived, Inbox};
use super::tasks::{Current, Polled, ROOT, Ready, ReadyQueue, Task, TaskKey, Tasks};
use crate::backend::{BackendReason, BorrowedWaitable, Clock, fork};
use crate::error::{Error, ErrorKind};
use crate::planted::{self, Defect};
use crate::queue::slots::{Cause, Ending, Payload, RequestId};
use crate::queue::timers::Until;
use crate::queue::{RequestQueue, Unobserved};

/// Of so many calls of `has_work` one looks at everything.
const LOOK_CLOSELY_EVERY: u32 = 16;

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
    /// Itself, as handles and tasks hold it.
    pub(crate) io: Io,
    pub(crate) queue: RefCell<RequestQueue>,
    pub(super) tasks: RefCell<Tasks>,
    pub(super) ready: Rc<ReadyQueue>,
    pub(super) current: RefCell<Option<Current>>,
    /// Settled requests whose callbacks run before the tasks.
    pub(super) direct: RefCell<VecDeque<RequestId>>,
    pub(crate) inbox: Arc<Inbox>,
    pub(super) arrived: RefCell<Arrived>,
    /// A task or a callback is running.
    pub(super) inside: Cell<bool>,
    /// The program asked `run` to return.
    pub(super) stopping: Cell<bool>,
    /// The future of `block_on` has been woken.
    pub(super) root_is_ready: Cell<bool>,
    /// There is one.
    pub(super) root_is_driven: Cell<bool>,
    /// No more requests.
    pub(crate) ended: Cell<bool>,
    pub(super) clock: Clock,
    pub(super) hook: RefCell<Option<Hook>>,
    pub(super) unobserved: Cell<u64>,
    pub(super) fork_generation: u64,
    pub(super) budgets: Budgets,
    /// There may be sleeps that count from the next look at the clock.
    pub(super) has_unset_sleeps: Cell<bool>,
    pub(super) operations_left: Cell<u32>,
    pub(super) bytes_left: Cell<u64>,
    pub(super) tasks_max: usize,
    /// The first panic of the program's code that has not gone on to its caller.
    pub(super) panic: RefCell<Option<Box<dyn Any + Send>>>,
    pub(super) reason: BackendReason,
    /// Kept for its memory.
    pub(super) wakers: RefCell<Vec<Waker>>,
    pub(super) leftovers: RefCell<Vec<(Payload, Ending)>>,
    /// Counts `has_work` calls, for what is too dear to look at each time.
    pub(super) looks: Cell<u32>,
}

/// Sets a flag while something runs, also when it panics; then the flag is as it was.
pub(super) struct Inside<'a> {
    flag: &'a Cell<bool>,
    was_set: bool,
}

impl<'a> Inside<'a> {
    pub(super) fn enter(flag: &'a Cell<bool>) -> Inside<'a> {
        Inside { flag, was_set: flag.replace(true) }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.flag.set(self.was_set);
    }
}

/// At the end of a poll, also of one that panics: the sleeps that it began count from now at the latest.
pub(super) struct SetSleeps<'a>(pub(super) &'a Core);

impl Drop for SetSleeps<'_> {
    fn drop(&mut self) {
        self.0.set_sleeps(|| self.0.now());
    }
}

/// A duration as the clock counts; what does not fit is as good as for ever.
#[inline]
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Core {
    /// Nanoseconds since the scheduler started.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The time after `duration`, for a deadline.
    pub(crate) fn after(&self, duration: Duration) -> u64 {
        let now = self.now();
        // Sleeps that are submitted before what this is for are due before it.
        self.set_sleeps(|| now);
        now.saturating_add(nanoseconds(duration))
    }

    /// Sleeps that have no time yet count from now. A task's do so from the end of its poll at the latest: then one look at
    /// the clock is enough for all of them.
    #[inline]
    pub(crate) fn set_sleeps(&self, now: impl FnOnce() -> u64) {
        if self.has_unset_sleeps.get() {
            self.has_unset_sleeps.set(false);
            self.queue.borrow_mut().set_sleeps(now());
        }
    }

    /// Begins a sleep whose end wakes `waker`.
    #[inline]
    pub(crate) fn sleep(&self, duration: Duration, waker: Waker) -> RequestId {
        if self.is_inside() {
            self.has_unset_sleeps.set(true);
            return self.queue.borrow_mut().sleep(Until::After(nanoseconds(duration)), waker);
        }
        let now = self.now();
        self.set_sleeps(|| now);
        let mut queue = self.queue.borrow_mut();
        // No turn has looked at the clock for it, and its age begins now.
        queue.set_now(now);
        queue.sleep(Until::Due(now.saturating_add(nanoseconds(duration))), waker)
    }

    /// Lets a sleep go whose future is dropped.
    fn drop_sleep(&self, id: RequestId) {
        let waker = self.queue.borrow_mut().drop_sleep(id);
        if let Some(waker) = waker {
            self.call(|| drop(waker));
            self.rethrow();
        }
    }

    /// Whether code of the program may block here.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.get()
    }

    // Calls into the program.

    /// Runs code of the program: a task, callback, job, waker, hook or destructor. It may not block. If it panics,
    /// the panic is kept until all else is safely queued, or at the end until the OS has let go of everything.
    pub(crate) fn call<R>(&self, code: impl FnOnce() -> R) -> Option<R> {
        let _inside = Inside::enter(&self.inside);
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => Some(result),
            Err(panic) => {
                let mut kept = self.panic.borrow_mut();
                match *kept {
                    None => *kept = Some(panic),
                    // The first is told. Dropping another could panic again.
                    Some(_) => std::mem::forget(panic),
                }
                None
            }
        }
    }

    fn has_panicked(&self) -> bool {
        self.panic.borrow().is_some()
    }

    /// Has a panic of the program go on to its caller. Not while the scheduler ends: then that is done last.
    pub(crate) fn rethrow(&self) {
        if !self.ended.get() {
            self.rethrow_at_last();
        }
    }

    pub(super) fn rethrow_at_last(&self) {
        if std::thread::panicking() {
            return;
        }
        if self.has_panicked()
            && let Some(panic) = self.panic.take()
        {
            resume_unwind(panic);
        }
    }

    /// One operation that finished at once; false when the task has had its share and must yield. Outside of tasks and
    /// callbacks nobody's share is counted.
    pub(crate) fn spend(&self, bytes: u64) -> bool {
        if !self.is_inside() {
            return true;
        }
        let operations = self.operations_left.get();
        // The last may take more than is left, as a share that none fits into would stop the task for good.
        if operations == 0 || self.bytes_left.get() == 0 {
            return false;
        }
        self.operations_left.set(operations - 1);
        self.bytes_left.set(self.bytes_left.get().saturating_sub(bytes));
        true
    }

    pub(super) fn refill_budget(&self) {
        self.operations_left.set(self.budgets.operations_per_poll);
        self.bytes_left.set(self.budgets.bytes_per_poll);
    }

    /// Whether an awaited read is to be tried at once, and may finish so.
    #[inline]
    pub(crate) fn tries_reads(&self) -> bool {
        let has_a_share = !self.is_inside() || (self.operations_left.get() > 0 && self.bytes_left.get() > 0);
        has_a_share && self.queue.borrow_mut().tries_reads(!self.ready.is_empty())
    }

    // A turn.

    /// One turn. Waits at most `limit` for something to happen (`None`: as long as it takes), and not at all once
    /// `is_done`, which what it runs may bring about.
    pub(super) fn turn(&self, limit: Option<Duration>, is_done: impl Fn() -> bool) -> Result<(), Error> {
        self.check_process("wait")?;
        let was_called = self.take_arrived();
        self.run_ready();
        self.rethrow();
        // A task may have forked, and this may be the child.
        self.check_process("wait")?;
        let timeout = if was_called || is_done() { Some(Duration::ZERO) } else { self.may_wait(limit) };
        // Among tasks that only wake each other there is nothing to wait for, nor to deliver.
        if timeout != Some(Duration::ZERO) || !self.queue.borrow_mut().is_at_rest() {
            let result = self.queue.borrow_mut().wait(timeout);
            self.inbox.is_awake();
            if let Err(error) = result {
                return Err(Error::from_io(&error, "wait", "the scheduler's backend"));
            }
            self.deliver();
        } else {
            self.inbox.is_awake();
        }
        self.run_direct();
        self.check_process("wait")?;
        self.fire_due();
        // What this turn left over is to be seen at the first look.
        self.looks.set(if self.has_leavings() { LOOK_CLOSELY_EVERY - 1 } else { 0 });
        self.rethrow();
        Ok(())
    }

    pub(super) fn fire_due(&self) {
        let now = self.now();
        self.set_sleeps(|| now);
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
    pub(super) fn may_wait(&self, limit: Option<Duration>) -> Option<Duration> {
        self.set_sleeps(|| self.now());
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
        match (limit, until_due) {
            (Some(limit), Some(due)) => Some(limit.min(due)),
            (limit, due) => limit.or(due),
        }
    }

    /// Deals with what other threads sent: wakes and cancels all, jobs within the budget. Says whether anybody called,
    /// if only to end the next wait.
    pub(super) fn take_arrived(&self) -> bool {
        let was_called = self.inbox.has_arrived();
        if was_called {
            let mut arrived = self.arrived.take();
            self.inbox.take(&mut arrived);
            for key in arrived.wakes.drain(..) {
                self.ready.push(Ready::Task(key));
            }
            for request in std::mem::take(&mut arrived.cancels) {
                self.cancel(request);
            }
            self.arrived.replace(arrived);
        }
        for _ in 0..self.budgets.tasks_per_turn {
            let Some(job) = self.arrived.borrow_mut().jobs.pop_front() else { break };
            self.refill_budget();
            self.call(|| job(&self.io));
            self.set_sleeps(|| self.now());
            if self.must_stop() {
                break;
            }
        }
        was_called
    }

    /// Runs what was ready when this turn began, within the budget.
    pub(super) fn run_ready(&self) {
        for _ in 0..self.ready.len().min(self.budgets.tasks_per_turn) {
            match self.ready.pop() {
                Some(Ready::Task(ROOT)) => self.root_has_been_woken(),
                Some(Ready::Task(key)) => self.poll_task(key),
                Some(Ready::Callback(request, run)) => {
                    self.refill_budget();
                    run(self, request);
                    self.set_sleeps(|| self.now());
                }
                None => break,
            }
            if self.must_stop() {
                break;
            }
        }
        // Woken by one of those it need not wait for another turn: it is polled between two.
        if self.ready.pop_root() {
            self.root_has_been_woken();
        }
    }

    /// A waker of a `block_on` that is over wakes nobody.
    fn root_has_been_woken(&self) {
        self.root_is_ready.set(self.root_is_driven.get());
    }

    /// Whether no more of the program is to run in this turn: it panicked, or forked and this is the child.
    fn must_stop(&self) -> bool {
        (self.has_panicked() && !self.ended.get()) || self.is_foreign()
    }

    pub(super) fn poll_task(&self, key: TaskKey) {
        // Ended already, or woken while it is being polled further down the stack: there is no such nesting.
        let Some(Polled { mut future, waker, state }) = self.tasks.borrow_mut().begin(key) else { return };
        state.begins();
        self.refill_budget();
        let outer = self.current.replace(Some(Current::new(state, &waker)));
        let outcome = self.call(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        let Some(Current { state, .. }) = self.current.replace(outer) else { unreachable!("it is put there above") };
        self.set_sleeps(|| self.now());
        let kind = match outcome {
            // A task that has finished has told who waits itself, and then this changes nothing.
            Some(Poll::Ready(())) | None => ErrorKind::Panicked,
            Some(Poll::Pending) => match self.tasks.borrow_mut().suspend(key, Polled { future, waker, state }) {
                None => return,
                Some(killed) => {
                    future = killed.future;
                    ErrorKind::Killed
                }
            },
        };
        let task = self.tasks.borrow_mut().remove(key);
        self.call(|| drop(future));
        task.into_iter().for_each(|task| self.end_task(task, kind));
        self.drop_leftovers();
    }

    /// Whether a request's settling already wakes whom `waker` wakes.
    pub(crate) fn is_to_wake(&self, id: RequestId, waker: &Waker) -> bool {
        let current = self.current.borrow();
        let task = current.as_ref().filter(|current| current.is_woken_by(waker)).map(|current| &current.state);
        self.queue.borrow().will_wake(id, waker, task)
    }

    /// How a request wakes whom `waker` wakes: a task of the scheduler's own goes straight to the ready queue.
    #[inline]
    pub(crate) fn ending_that_wakes(&self, waker: &Waker) -> Ending {
        match &*self.current.borrow() {
            Some(current) if current.is_woken_by(waker) => Ending::Task(Arc::clone(&current.state)),
            _ => Ending::Wake(waker.clone()),
        }
    }

    /// Drops a task that is in no table any more, and tells whoever waits for it.
    pub(super) fn end_task(&self, task: Task, kind: ErrorKind) {
        let Task { polled, join, .. } = task;
        if polled.is_some() {
            self.call(|| drop(polled));
        }
        self.call(|| join.end(kind));
    }

    /// Sorts what has settled to where it is to be delivered.
    pub(super) fn deliver(&self) {
        if self.queue.borrow().has_delivered() {
            return;
        }
        self.deliver_settled();
    }

    #[inline(never)]
    fn deliver_settled(&self) {
        let mut wakers = self.wakers.take();
        let mut failures = Vec::new();
        loop {
            let mut queue = self.queue.borrow_mut();
            let Some(id) = queue.next_settled() else { break };
            if id.is_sleep() {
                wakers.extend(queue.sleep_waker(id).and_then(Option::take));
                continue;
            }
            if let Some((chain, mut payload, report)) = queue.take_chain(id) {
                drop(queue);
                let step = chain(&mut payload, &self.io, report);
                self.queue.borrow_mut().go_on(id, payload, step);
                continue;
            }
            match queue.ending(id) {
                Some(Ending::Task(_)) => {
                    if let Ok(Ending::Task(task)) = queue.set_ending(id, Ending::Kept) {
                        // Behind the wakers of what settled before it.
                        match wakers.is_empty() {
                            true => task.wake_here(&self.ready),
                            false => wakers.push(Waker::from(task)),
                        }
                    }
                }
                Some(Ending::Wake(_)) => {
                    if let Ok(Ending::Wake(waker)) = queue.set_ending(id, Ending::Kept) {
                        wakers.push(waker);
                    }
                }
                Some(Ending::Callback(callback)) => match callback.direct {
                    true => self.direct.borrow_mut().push_back(id),
                    false => self.ready.push(Ready::Callback(id, callback.run)),
                },
                // Behind the callbacks that came before it: a host has both, in one order.
                Some(Ending::Hosted(_)) if !self.direct.borrow().is_empty() => self.direct.borrow_mut().push_back(id),
                Some(Ending::Hosted(name)) => {
                    let name = *name;
                    queue.tell_host(id, name);
                }
                Some(Ending::Detached) => {
                    let report = queue.take_with(id, |slot| slot.take_report());
                    failures.extend(report.flatten().and_then(|report| report.result.err()));
                }
                Some(Ending::Kept) | None => {}
            }
        }
        for waker in wakers.drain(..) {
            if planted::is(Defect::WakeLost) && planted::times().is_multiple_of(16) {
                continue;
            }
            self.call(|| waker.wake());
        }
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
    pub(super) fn report(&self, error: Error) {
        self.unobserved.set(self.unobserved.get() + 1);
        let hook = self.hook.take();
        if let Some(mut hook) = hook {
            self.call(|| hook(Unobserved { error }));
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
            for leftover in leftovers.drain(..) {
                self.call(|| drop(leftover));
            }
        }
        self.leftovers.replace(leftovers);
    }

    pub(super) fn run_direct(&self) {
        let count = self.direct.borrow().len();
        for _ in 0..count {
            let next = self.direct.borrow_mut().pop_front();
            match next {
                Some(request) => self.run_callback(request),
                None => break,
            }
            if self.must_stop() {
                break;
            }
        }
    }

    pub(super) fn run_callback(&self, request: RequestId) {
        let run = {
            let mut queue = self.queue.borrow_mut();
            match queue.ending(request) {
                Some(Ending::Callback(callback)) => callback.run,
                Some(Ending::Hosted(name)) => {
                    let name = *name;
                    return queue.tell_host(request, name);
                }
                _ => return,
            }
        };
        self.refill_budget();
        run(self, request);
        self.set_sleeps(|| self.now());
    }

    pub(crate) fn cancel(&self, request: RequestId) {
        self.queue.borrow_mut().cancel(request, Cause::Cancel);
    }

    // Driving.

    /// One turn of a blocking ending, whose buffer the OS has: it cannot be given up. False in a forked child, where
    /// nothing will come of it.
    ///
    /// # Panics
    /// When the OS refuses to wait at all, as when somebody has closed the scheduler's own descriptor: then nothing
    /// can ever settle.
    pub(crate) fn turn_towards(&self, is_done: impl Fn() -> bool) -> bool {
        match self.turn(None, is_done) {
            Ok(()) => true,
            Err(_) if self.is_foreign() => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Cancels a request whose outcome nobody will take.
    pub(crate) fn abandon(&self, id: RequestId, cause: Cause) {
        if self.is_foreign() {
            return;
        }
        if id.is_sleep() {
            return self.drop_sleep(id);
        }
        match self.ended.get() {
            true => self.leave(id),
            false => self.queue.borrow_mut().cancel(id, cause),
        }
        self.drop_leftovers();
        self.rethrow();
    }

    /// Lets a request go on by itself; its failure goes to the hook.
    pub(crate) fn detach(&self, id: RequestId) {
        if self.is_foreign() {
            return;
        }
        match self.ended.get() {
            true => self.leave(id),
            false if planted::is(Defect::DetachIsCancel) => self.queue.borrow_mut().cancel(id, Cause::Abandon),
            false => self.queue.borrow_mut().detach(id),
        }
        self.drop_leftovers();
        self.rethrow();
    }

    /// After the end, or while it comes: what has settled is dropped, and what has not will be then.
    fn leave(&self, id: RequestId) {
        let mut queue = self.queue.borrow_mut();
        match queue.take(id) {
            Some((payload, _, ending)) => queue.leftovers.push((payload, ending)),
            None => {
                if let Ok(old) = queue.set_ending(id, Ending::Detached) {
                    queue.leftovers.push((Payload::empty(), old));
                }
            }
        }
    }

    /// Whether this is a forked child of the scheduler's process.
    pub(crate) fn is_foreign(&self) -> bool {
        fork::generation() != self.fork_generation
    }

    fn check_process(&self, operation: &str) -> Result<(), Error> {
        match self.is_foreign() {
            true => Err(Error::new(ErrorKind::WrongProcess, operation, "")),
            false => Ok(()),
        }
    }

    pub(super) fn check_outside(&self, operation: &str) -> Result<(), Error> {
        self.check_process(operation)?;
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

    /// Whether the next turn finds something to do without waiting.
    pub(super) fn has_more(&self) -> bool {
        !self.ready.is_empty()
            || !self.direct.borrow().is_empty()
            || !self.arrived.borrow().jobs.is_empty()
            || self.inbox.has_arrived()
            || self.queue.borrow().has_backlog()
            || self.has_hosted()
    }

    /// Whether there is something that a host has yet to fetch.
    pub(super) fn has_hosted(&self) -> bool {
        self.queue.borrow().has_hosted()
    }

    /// Whether there is something that a turn within its budget has left for the next, besides tasks.
    fn has_leavings(&self) -> bool {
        !self.direct.borrow().is_empty() || !self.arrived.borrow().jobs.is_empty() || self.queue.borrow().has_backlog()
    }

    pub(super) fn has_work(&self) -> bool {
        if self.is_foreign() {
            return false;
        }
        if !self.ready.is_empty() || self.inbox.has_arrived() {
            return true;
        }
        let looks = self.looks.get().wrapping_add(1);
        self.looks.set(looks);
        match looks.is_multiple_of(LOOK_CLOSELY_EVERY) {
            true => self.looks_closely(),
            false => self.queue.borrow_mut().backend.shows_completions(),
        }
    }

    /// What takes more than a couple of loads: lists that are mostly empty between turns, and the clock.
    #[cold]
    fn looks_closely(&self) -> bool {
        if self.has_leavings() || self.root_is_ready.get() {
            // And at the next look again.
            self.looks.set(LOOK_CLOSELY_EVERY - 1);
            return true;
        }
        let mut queue = self.queue.borrow_mut();
        queue.backend.may_have_completions() || queue.next_due().is_some_and(|due| due <= self.now())
    }
}

impl Core {
    pub(super) fn os_handle(&self) -> BorrowedWaitable<'_> {
        let descriptor = self.queue.borrow().backend.os_handle();
        crate::backend::lend(descriptor, self)
    }
}
