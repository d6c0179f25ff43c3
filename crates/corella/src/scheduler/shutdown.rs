//! The end of a scheduler: cancel all, reap all, then free. Nothing is freed while the OS may still touch it.

use std::rc::Rc;
use std::time::Duration;

use super::tasks::leave_thread;
use super::{Core, Scheduler};
use crate::error::{Error, ErrorKind};
use crate::queue::Outstanding;
use crate::queue::slots::{ChainStep, Ending};

/// What a shutdown gave up on: requests that the OS would not let go of in time. Their buffers, and the scheduler's
/// memory, are leaked, as the OS may still write to them.
#[derive(Debug)]
#[non_exhaustive]
pub struct Leaked {
    /// The requests, oldest first.
    pub requests: Vec<Outstanding>,
}

impl Scheduler {
    /// Ends the scheduler: kills the tasks, cancels every request, waits until the OS has let go, and runs the
    /// callbacks with what came of it. Gives up after `limit` and says what it leaked.
    ///
    /// ```
    /// # fn main() -> Result<(), corella::Error> {
    /// use std::time::Duration;
    /// let scheduler = corella::Scheduler::new()?;
    /// scheduler.io().sleep(Duration::from_secs(3600)).then(|outcome| assert!(outcome.is_err()))?;
    /// scheduler.shutdown(Duration::from_secs(1)).expect("nothing had to be leaked");
    /// # Ok(()) }
    /// ```
    pub fn shutdown(self, limit: Duration) -> Result<(), Leaked> {
        if self.core.is_foreign() {
            // As in a drop: all of it is the parent's.
            return Ok(());
        }
        self.core.end(Some(self.core.after(limit)), true)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if self.core.is_foreign() {
            // The rings and epoll sets are the parent's.
            std::mem::forget(Rc::clone(&self.core));
            return;
        }
        // Without a limit nothing is leaked; a second end, after `shutdown`, finds nothing to do.
        let _ = self.core.end(None, false);
    }
}

impl Core {
    /// Ends everything. With `delivers` the callbacks learn what came of their requests.
    fn end(&self, limit: Option<u64>, delivers: bool) -> Result<(), Leaked> {
        if self.ended.replace(true) {
            return Ok(());
        }
        leave_thread(self.inbox.scheduler);
        let arrived = self.inbox.end();
        self.queue.borrow_mut().cancel_all();
        self.call(|| drop(arrived));
        let fetched = self.arrived.take();
        self.call(|| drop(fetched));
        self.kill_all_tasks();
        let result = self.reap_all(limit, delivers);
        // Callbacks may have been what kept tasks' values alive.
        self.kill_all_tasks();
        let hook = self.hook.take();
        self.call(|| drop(hook));
        match &result {
            Ok(()) => {
                self.drop_undelivered();
                self.drop_ready();
                self.queue.borrow_mut().end_backend();
            }
            // Never freed: the OS may still write to what is lent.
            Err(_) => std::mem::forget(self.io.core.upgrade()),
        }
        self.rethrow_at_last();
        result
    }

    fn kill_all_tasks(&self) {
        // A task's values may, as they are dropped, end others.
        while self.tasks.borrow().len() > 0 {
            let keys = self.tasks.borrow().keys();
            for key in keys {
                let task = self.tasks.borrow_mut().remove(key);
                task.into_iter().for_each(|task| self.end_task(task, ErrorKind::Killed));
            }
        }
    }

    /// Waits until the OS has let go of everything, closes the handles, and waits for that; with `delivers` until every
    /// callback has run, too.
    fn reap_all(&self, limit: Option<u64>, delivers: bool) -> Result<(), Leaked> {
        // After the limit it goes on only as long as looking finds something: a cancel may take a few calls.
        const LOOKS: u32 = 3;
        let mut fruitless = 0;
        let mut are_closed = false;
        loop {
            if delivers {
                self.deliver();
                self.run_direct();
                self.run_ready();
            } else {
                self.drop_undelivered();
            }
            if self.is_foreign() {
                // A callback has forked, and this is the child: all that is left is the parent's to reap.
                return Ok(());
            }
            let left = limit.map(|limit| Duration::from_nanos(limit.saturating_sub(self.now())));
            let is_late = left == Some(Duration::ZERO) && fruitless >= LOOKS;
            if !are_closed && (is_late || !self.queue.borrow().is_lending()) {
                // Not before: a read that the cancel has yet to reach would find the end that this makes.
                self.queue.borrow_mut().close_all_handles();
                (are_closed, fruitless) = (true, 0);
                continue;
            }
            let has_callbacks = delivers && !(self.ready.is_empty() && self.direct.borrow().is_empty());
            let must_reap = self.queue.borrow().must_reap();
            if !must_reap && !has_callbacks {
                return Ok(());
            }
            if is_late {
                // What is reaped is safe to drop, with the callbacks that there was no time for.
                let give_up = || Leaked { requests: self.queue.borrow().outstanding() };
                return if must_reap { Err(give_up()) } else { Ok(()) };
            }
            let timeout = if has_callbacks { Some(Duration::ZERO) } else { left };
            let unsettled = self.queue.borrow().unsettled();
            let result = self.queue.borrow_mut().wait(timeout);
            fruitless = if self.queue.borrow().unsettled() == unsettled { fruitless + 1 } else { 0 };
            if let Err(error) = result {
                // The OS refuses to wait: what is lent stays lent.
                let error = Error::from_io(&error, "reap", "the scheduler's backend");
                self.report(error);
                return Err(Leaked { requests: self.queue.borrow().outstanding() });
            }
        }
    }

    /// Drops callbacks that were about to run.
    fn drop_ready(&self) {
        self.direct.borrow_mut().clear();
        while self.ready.pop().is_some() {}
        let undelivered = self.queue.borrow().undelivered();
        for id in undelivered {
            let taken = self.queue.borrow_mut().take(id);
            self.call(|| drop(taken));
        }
        self.drop_leftovers();
    }

    /// Wakes those who wait for a settled request and keep its outcome alive; drops what nobody will take.
    fn drop_undelivered(&self) {
        loop {
            let mut queue = self.queue.borrow_mut();
            let Some(id) = queue.next_settled() else { break };
            if id.is_sleep() {
                let waker = queue.sleep_waker(id).and_then(Option::take);
                drop(queue);
                waker.into_iter().for_each(|waker| {
                    self.call(|| waker.wake());
                });
                continue;
            }
            if let Some((_, payload, report)) = queue.take_chain(id) {
                queue.go_on(id, payload, ChainStep::Settle(report));
                continue;
            }
            let waker = match queue.ending(id) {
                Some(Ending::Wake(_)) => match queue.set_ending(id, Ending::Kept) {
                    Ok(Ending::Wake(waker)) => Some(waker),
                    _ => None,
                },
                Some(Ending::Task(_)) => {
                    if let Ok(Ending::Task(task)) = queue.set_ending(id, Ending::Kept) {
                        task.wake_here(&self.ready);
                    }
                    None
                }
                Some(Ending::Callback(_) | Ending::Hosted(_) | Ending::Detached) => {
                    queue.take_with(id, |slot| drop(slot.take_report()));
                    None
                }
                Some(Ending::Kept) | None => None,
            };
            drop(queue);
            if let Some(waker) = waker {
                self.call(|| waker.wake());
            }
        }
        self.drop_leftovers();
    }
}
