//! A submitted request that can be asked how it stands.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::operation::{Action, poll_submitted, run_callback, take, take_in_child};
use crate::queue::slots::{Callback, CallbackStorage, Ending, RequestId};
use crate::scheduler::Core;

/// How a submitted request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has not settled.
    Running,
    /// It has settled as a success.
    Done,
    /// It has settled as a failure.
    Failed,
}

/// A submitted request that can be asked how it stands: polled, waited for, awaited, or given a callback late.
///
/// Dropping it lets the request go on; a failure then goes to the scheduler's hook.
///
/// ```
/// use corella::{Progress, Scheduler};
///
/// # fn main() -> Result<(), corella::Error> {
/// let mut scheduler = Scheduler::new()?;
/// let timer = scheduler.io().sleep(std::time::Duration::from_millis(1)).submit()?;
/// assert_eq!(timer.progress(), Progress::Running);
/// while timer.progress() == Progress::Running {
///     scheduler.poll()?;
/// }
/// timer.wait()?;
/// # Ok(()) }
/// ```
pub struct Status<A: Action> {
    pub(crate) core: Rc<Core>,
    pub(crate) id: RequestId,
    pub(crate) action: std::marker::PhantomData<fn() -> A>,
}

/// A name that no request has.
pub(crate) const TAKEN: RequestId = RequestId { index: u32::MAX, generation: 0 };

impl<A: Action> Status<A> {
    /// How the request stands.
    pub fn progress(&self) -> Progress {
        match self.core.queue.borrow().settled_well(self.id) {
            None => Progress::Running,
            Some(true) => Progress::Done,
            Some(false) => Progress::Failed,
        }
    }

    /// Whether the request has settled.
    pub fn is_settled(&self) -> bool {
        self.progress() != Progress::Running
    }

    /// The request's name.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// Asks the request to stop.
    pub fn cancel(&self) {
        self.core.io.cancel(self.id);
    }

    /// The outcome, if the request has settled; otherwise the status back.
    pub fn take(self) -> Result<Result<A::Output, A::Error>, Status<A>> {
        match self.is_settled() {
            true => Ok(self.take_settled()),
            false => Err(self),
        }
    }

    /// Turns the scheduler until the request has settled, and gives the outcome.
    ///
    /// # Panics
    /// Inside a task or callback, if the request has not settled: await it there, or ask
    /// [`is_settled`](Self::is_settled) first.
    pub fn wait(mut self) -> Result<A::Output, A::Error> {
        if self.core.is_foreign() {
            let id = std::mem::replace(&mut self.id, TAKEN);
            return Err(take_in_child::<A>(&self.core, id));
        }
        while !self.is_settled() {
            assert!(!self.core.is_inside(), "Status::wait inside a task or callback; await it instead");
            if !self.core.turn_towards(|| self.is_settled()) {
                let id = std::mem::replace(&mut self.id, TAKEN);
                return Err(take_in_child::<A>(&self.core, id));
            }
        }
        self.take_settled()
    }

    /// Has `callback` run with the outcome, as [`Operation::then`](crate::Operation::then) does.
    ///
    /// `Err` is the status back, where no callback will ever run: after the scheduler's end, and in a forked child.
    pub fn then<F>(mut self, callback: F) -> Result<RequestId, Status<A>>
    where
        F: FnOnce(Result<A::Output, A::Error>) + 'static,
    {
        if self.core.io.is_gone() {
            return Err(self);
        }
        let id = std::mem::replace(&mut self.id, TAKEN);
        let function = CallbackStorage::new(callback);
        let ending = Ending::Callback(Callback { function, run: run_callback::<A, F>, direct: false });
        let old = self.core.queue.borrow_mut().set_ending_and_deliver(id, ending);
        drop(old);
        Ok(id)
    }

    fn take_settled(mut self) -> Result<A::Output, A::Error> {
        take::<A>(&self.core, std::mem::replace(&mut self.id, TAKEN))
    }
}

impl<A: Action> Future for Status<A> {
    type Output = Result<A::Output, A::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert_ne!(self.id, TAKEN, "a status was polled after its end");
        let polled = poll_submitted::<A>(&self.core, self.id, context);
        if polled.is_ready() {
            self.id = TAKEN;
        }
        polled
    }
}

impl<A: Action> Drop for Status<A> {
    fn drop(&mut self) {
        if self.id != TAKEN {
            self.core.detach(self.id);
        }
    }
}

impl<A: Action> fmt::Debug for Status<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Status({:?}, {:?})", self.id, self.progress())
    }
}
