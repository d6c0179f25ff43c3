//! One verb, four endings: the lazy operation that every handle method returns.
//!
//! Nothing happens until an ending is chosen: [`wait`](Operation::wait) blocks, [`submit`](Operation::submit) gives a
//! [`Status`] to poll, [`then`](Operation::then) takes a callback, and `.await` suspends the task.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::address::Address;
use crate::backend::Value;
use crate::buffer::Parts;
use crate::error::{Error, ErrorKind, Moved};
use crate::op::{At, Extent, Op};
use crate::plain::Plain;
use crate::queue::Request;
use crate::queue::handles::{CLOSED_SOCKET, HandleKey};
use crate::queue::slots::{Callback, CallbackStorage, Cause, Chain, Ending, Payload, Report, RequestId};
use crate::scheduler::token::CancelToken;
use crate::scheduler::{Core, Io};
use crate::status::{Status, TAKEN};

mod sealed {
    pub trait Sealed {}
}
pub(crate) use sealed::Sealed;

/// What an operation carries and what it gives back. Implemented by this crate only.
pub trait Action: Sealed + Unpin + 'static {
    /// What it gives when it succeeds.
    type Output: 'static;
    /// What it gives when it fails or is refused; a transfer's has the buffer in it.
    type Error: 'static;

    #[doc(hidden)]
    const CHAIN: Option<ChainHook> = None;

    /// Whether operations with it may be sleeps, which are not requests while they are awaited.
    #[doc(hidden)]
    const SLEEPS: bool = false;

    #[doc(hidden)]
    fn parts(&mut self, parts: &mut Parts) {
        let _ = parts;
    }

    /// Gets ready to be submitted; false: not possible now, and the waker will be called.
    #[doc(hidden)]
    fn prepare(&mut self, waker: Option<&std::task::Waker>) -> bool {
        let _ = waker;
        true
    }

    /// Makes the handle that it is to be submitted on.
    #[doc(hidden)]
    fn open(&mut self, io: &Io, address: &Address) -> Result<OpenedHandle, Error> {
        let _ = (io, address);
        unreachable!("only a connect makes its handle")
    }

    #[doc(hidden)]
    fn finish(self, io: &Io, report: ActionReport) -> Result<Self::Output, Self::Error>;
}

/// What an operation of several steps does after each.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct ChainHook(pub(crate) Chain);

impl fmt::Debug for ChainHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChainHook")
    }
}

/// A handle that an action has made for itself.
#[doc(hidden)]
#[derive(Debug)]
pub struct OpenedHandle(pub(crate) HandleKey);

/// How a request ended, as its action sees it.
#[doc(hidden)]
#[derive(Debug)]
pub struct ActionReport(pub(crate) Report);

impl ActionReport {
    fn refused(error: Error) -> ActionReport {
        ActionReport(Report { result: Err(error), moved: Moved::NotStarted })
    }
}

/// What an operation asks of the queue.
pub(crate) enum Plan {
    Op(Op),
    Sleep(Duration),
    Close {
        now: bool,
    },
    /// On a socket that is made when it is submitted.
    Connect(Address),
    /// It cannot be right: every ending answers with this.
    Invalid(Error),
}

struct Lazy<A> {
    io: Io,
    handle: Option<HandleKey>,
    /// What errors call the handle once it is closed.
    name: Option<Rc<str>>,
    plan: Plan,
    action: A,
    deadline: Option<Duration>,
    token: Option<CancelToken>,
    direct: bool,
    unordered: bool,
}

enum State<A> {
    Lazy(Lazy<A>),
    Submitted(Awaited),
    Finished,
}

/// A request that an operation awaits, or a sleep that is none. Dropped before its end it is cancelled, and what it received
/// goes back.
struct Awaited {
    core: Rc<Core>,
    id: RequestId,
}

impl Awaited {
    /// Its name, to be taken or given another ending; nothing is cancelled then.
    fn give_up(&mut self) -> RequestId {
        std::mem::replace(&mut self.id, TAKEN)
    }

    /// Makes a sleep a request like any other, as other endings than an await need one.
    #[cold]
    fn become_request(&mut self) {
        let core = &self.core;
        if self.id.is_sleep() {
            let id = std::mem::replace(&mut self.id, TAKEN);
            self.id = core.queue.borrow_mut().request_of_sleep(id, Payload::new(Plain), core.now());
            core.drop_leftovers();
        }
    }

    /// Waits for the end of a sleep, or takes its outcome.
    fn poll_sleep(&mut self, context: &mut Context<'_>) -> Poll<Report> {
        let core = &self.core;
        if core.is_foreign() {
            self.id = TAKEN;
            let result = Err(Error::new(ErrorKind::WrongProcess, "await", ""));
            return Poll::Ready(Report { result, moved: Moved::NotStarted });
        }
        let mut queue = core.queue.borrow_mut();
        let is_asleep = queue.is_asleep(self.id);
        if !is_asleep {
            drop(queue);
            if !core.spend(0) {
                // The task has had its share; it comes back for this.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = core.queue.borrow_mut().take_sleep(std::mem::replace(&mut self.id, TAKEN));
            let Some((report, waker)) = taken else { unreachable!("it is over") };
            drop(waker);
            return Poll::Ready(report);
        }
        let will_wake = matches!(queue.sleep_waker(self.id), Some(Some(waker)) if waker.will_wake(context.waker()));
        drop(queue);
        if !will_wake {
            // The waker's own code, its clone and the drop of the old one, runs outside the borrow.
            let waker = context.waker().clone();
            let old = core.queue.borrow_mut().sleep_waker(self.id).and_then(|place| place.replace(waker));
            drop(old);
        }
        Poll::Pending
    }

    /// Has it end as this says.
    fn end_otherwise<A: Action>(mut self, ending: Ending) -> Result<(Rc<Core>, RequestId), A::Error> {
        if A::SLEEPS {
            self.become_request();
        }
        let (core, id) = (Rc::clone(&self.core), self.give_up());
        if core.is_foreign() {
            return Err(take_in_child::<A>(&core, id));
        }
        if core.ended.get() {
            // Outside the borrow, as the old ending is the program's.
            let taken = core.queue.borrow_mut().take(id);
            if let Some(action) = taken.and_then(|(mut payload, ..)| payload.take::<A>()) {
                let error = Error::new(ErrorKind::SchedulerGone, "submit", "");
                return Err(refused(action, &core.io, error));
            }
        }
        let old = core.queue.borrow_mut().set_ending_and_deliver(id, ending);
        drop(old);
        Ok((core, id))
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if self.id != TAKEN {
            self.core.abandon(self.id, Cause::Abandon);
        }
    }
}

/// An operation that has not begun: choose its ending.
///
/// What it gives, and what it fails with, is said at each method that makes one; `wait`, `await` and a callback get it
/// as a `Result`. `A::Output` and `A::Error` are the types: for a transfer `(usize, B)` and
/// [`Failed<B>`](crate::Failed), which both have the buffer.
///
/// As a future it is `Unpin`. Dropping it before an ending does nothing at all; dropping it while it is awaited
/// cancels the request, and what it had received goes back to the front of its lane.
#[must_use = "an operation does nothing until `wait`, `submit`, `then` or `await`"]
pub struct Operation<A: Action> {
    state: State<A>,
}

impl<A: Action> Operation<A> {
    pub(crate) fn new(io: Io, handle: Option<HandleKey>, plan: Plan, action: A) -> Operation<A> {
        let (deadline, token) = (None, None);
        let lazy = Lazy { io, handle, name: None, plan, action, deadline, token, direct: false, unordered: false };
        Operation { state: State::Lazy(lazy) }
    }

    pub(crate) fn named(mut self, name: Option<Rc<str>>) -> Self {
        if let Some(lazy) = self.lazy() {
            lazy.name = name;
        }
        self
    }

    fn lazy(&mut self) -> Option<&mut Lazy<A>> {
        match &mut self.state {
            State::Lazy(lazy) => Some(lazy),
            _ => None,
        }
    }

    /// Cancels the request when it has not settled within `duration` of its submission, time in the queue included.
    pub fn deadline(mut self, duration: Duration) -> Self {
        if let Some(lazy) = self.lazy() {
            lazy.deadline = Some(duration);
        }
        self
    }

    /// Cancels the request when `token` is cancelled.
    pub fn cancel_with(mut self, token: &CancelToken) -> Self {
        if let Some(lazy) = self.lazy() {
            lazy.token = Some(token.clone());
        }
        self
    }

    /// Has the callback run right after the reaping, before ready tasks, instead of as a task.
    pub fn direct(mut self) -> Self {
        if let Some(lazy) = self.lazy() {
            lazy.direct = true;
        }
        self
    }

    /// Ending 1: carries it out and blocks until it has settled, turning the scheduler meanwhile.
    ///
    /// `WaitInsideTask` inside a task or callback, at once. On a regular file with nothing in its way this is the
    /// bare system call.
    ///
    /// # Panics
    /// If it was polled to its end before.
    pub fn wait(self) -> Result<A::Output, A::Error> {
        let (core, id) = match self.state {
            State::Submitted(mut awaited) => {
                if A::SLEEPS {
                    awaited.become_request();
                }
                (Rc::clone(&awaited.core), awaited.give_up())
            }
            State::Lazy(mut lazy) => {
                let core = match lazy.io.try_core() {
                    Ok(core) => core,
                    Err(kind) => return lazy.refuse(kind),
                };
                if core.is_inside() {
                    return lazy.refuse(ErrorKind::WaitInsideTask);
                }
                if let Err(kind) = lazy.wait_until_prepared(&core) {
                    return lazy.refuse(kind);
                }
                let bare = lazy.deadline.is_none() && lazy.token.is_none();
                let id = lazy.submit(&core, || Ending::Kept, bare, true)?;
                (core, id)
            }
            State::Finished => panic!("an operation was waited for after its end"),
        };
        Status::<A> { core, id, action: std::marker::PhantomData }.wait()
    }

    /// Ending 2: hands it to the queue and gives a status to ask.
    ///
    /// `Err` is a refusal: nothing was started, and a transfer's buffer is in it.
    ///
    /// # Panics
    /// If it was polled to its end before.
    pub fn submit(self) -> Result<Status<A>, A::Error> {
        let (core, id) = self.begin(|_| Ending::Kept)?;
        Ok(Status { core, id, action: std::marker::PhantomData })
    }

    /// Ending 3: hands it to the queue, and has `callback` run with the outcome on the scheduler's thread; never
    /// inside this call. Gives the request's name, to cancel it with.
    ///
    /// `Err` is a refusal: nothing was started, the callback is dropped, and a transfer's buffer is in the error.
    ///
    /// # Panics
    /// If it was polled to its end before.
    pub fn then<F>(self, callback: F) -> Result<RequestId, A::Error>
    where
        F: FnOnce(Result<A::Output, A::Error>) + 'static,
    {
        let ending = |direct| {
            let function = CallbackStorage::new(callback);
            Ending::Callback(Callback { function, run: run_callback::<A, F>, direct })
        };
        Ok(self.begin(ending)?.1)
    }

    /// For a host that turns the scheduler itself while it waits: carries the operation out at once where
    /// [`wait`](Self::wait) would with a bare system call, and otherwise hands it in with `callback`, as
    /// [`then`](Self::then) does. Like `wait` it takes its turn when the queue is full.
    ///
    /// # Panics
    /// If it was polled to its end before.
    #[doc(hidden)]
    pub fn finish_or_then<F>(self, callback: F) -> Result<Begun<A>, A::Error>
    where
        F: FnOnce(Result<A::Output, A::Error>) + 'static,
    {
        let State::Lazy(mut lazy) = self.state else { panic!("an operation was begun twice") };
        let core = match lazy.io.try_core() {
            Ok(core) => core,
            Err(kind) => return Err(lazy.refuse_error(kind)),
        };
        if !lazy.action.prepare(None) {
            return Err(lazy.refuse_error(ErrorKind::Rejected));
        }
        let bare = lazy.deadline.is_none() && lazy.token.is_none();
        let direct = lazy.direct;
        let id = lazy.submit(&core, || Ending::Kept, bare, true)?;
        let is_settled = core.queue.borrow().settled_bytes(id).is_some();
        if is_settled {
            return Ok(Begun::Finished(take::<A>(&core, id)));
        }
        let function = CallbackStorage::new(callback);
        let ending = Ending::Callback(Callback { function, run: run_callback::<A, F>, direct });
        let old = core.queue.borrow_mut().set_ending_and_deliver(id, ending);
        drop(old);
        Ok(Begun::Submitted(id))
    }

    /// Submits with the ending that `ending` makes, knowing whether it is to be direct.
    #[inline]
    fn begin(self, ending: impl FnOnce(bool) -> Ending) -> Result<(Rc<Core>, RequestId), A::Error> {
        match self.state {
            State::Lazy(mut lazy) => {
                let core = match lazy.io.try_core() {
                    Ok(core) => core,
                    Err(kind) => return Err(lazy.refuse_error(kind)),
                };
                if !lazy.action.prepare(None) {
                    return Err(lazy.refuse_error(ErrorKind::Rejected));
                }
                let direct = lazy.direct;
                let id = lazy.submit(&core, || ending(direct), false, false)?;
                Ok((core, id))
            }
            // Polled before, and now given another ending.
            State::Submitted(awaited) => awaited.end_otherwise::<A>(ending(false)),
            State::Finished => panic!("an operation was submitted after its end"),
        }
    }
}

/// What [`Operation::finish_or_then`] did.
#[doc(hidden)]
pub enum Begun<A: Action> {
    /// It has settled; the callback is dropped.
    Finished(Result<A::Output, A::Error>),
    /// The callback will run.
    Submitted(RequestId),
}

/// Operations whose order can be waived.
pub trait Positioned: Action {}

impl<A: Positioned> Operation<A> {
    /// Takes a positioned file request out of the order of its handle: it runs beside anything but barriers and the
    /// close, and the program answers for overlaps.
    pub fn unordered(mut self) -> Self {
        if let Some(lazy) = self.lazy() {
            lazy.unordered = true;
        }
        self
    }
}

/// Takes callback and outcome out of a settled request's slot, each as what it is, and calls.
pub(crate) fn run_callback<A, F>(core: &Core, id: RequestId)
where
    A: Action,
    F: FnOnce(Result<A::Output, A::Error>) + 'static,
{
    let taken = core.queue.borrow_mut().take_with(id, |slot| match &mut slot.ending {
        Ending::Callback(Callback { function, .. }) => {
            let function = function.take::<F>()?;
            Some((function, slot.payload.take::<A>()?, slot.report.take()?))
        }
        _ => None,
    });
    if let Some(Some((function, action, report))) = taken {
        core.call(|| function(action.finish(&core.io, ActionReport(report))));
    }
}

/// Takes a settled request's outcome.
pub(crate) fn take<A: Action>(core: &Core, id: RequestId) -> Result<A::Output, A::Error> {
    let taken = core.queue.borrow_mut().take_with(id, |slot| Some((slot.payload.take::<A>()?, slot.report.take()?)));
    let Some(Some((action, report))) = taken else { unreachable!("only its owner takes a request's outcome") };
    action.finish(&core.io, ActionReport(report))
}

/// In a forked child: the child's copy of the buffer, and why that is all.
pub(crate) fn take_in_child<A: Action>(core: &Core, id: RequestId) -> A::Error {
    let payload = core.queue.borrow_mut().take_copy(id);
    let action = payload.and_then(|mut payload| payload.take::<A>());
    let Some(action) = action else { unreachable!("only its owner takes a request's outcome") };
    refused(action, &core.io, Error::new(ErrorKind::WrongProcess, "await", ""))
}

impl<A: Action> Lazy<A> {
    /// Reads at once what can be had without blocking, if this is such a read: its bytes.
    #[inline]
    fn read_at_once(&mut self, core: &Core) -> Option<u64> {
        let Plan::Op(Op::Read { at: At::Offset(offset), extent: Extent::Some | Extent::Exact, .. }) = self.plan else {
            return None;
        };
        if self.deadline.is_some() || self.token.is_some() || !core.tries_reads() {
            return None;
        }
        let mut parts = Parts::default();
        parts.rest = core.queue.borrow_mut().spare_lists.pop().unwrap_or_default();
        self.action.parts(&mut parts);
        let mut queue = core.queue.borrow_mut();
        let count = parts.only().and_then(|part| queue.read_at_once(self.handle?, part, offset));
        queue.keep_list(&mut parts);
        drop(queue);
        core.spend(count?);
        count
    }

    fn refuse(self, kind: ErrorKind) -> Result<A::Output, A::Error> {
        Err(self.refuse_error(kind))
    }

    fn refuse_error(mut self, kind: ErrorKind) -> A::Error {
        if let Plan::Op(op) = &mut self.plan
            && let Some(parts) = op.parts_mut()
        {
            self.action.parts(parts);
        }
        let (operation, target) = self.describe();
        refused(self.action, &self.io, Error::new(kind, operation, target))
    }

    /// Turns until the action can be submitted, or says why that will never be.
    fn wait_until_prepared(&mut self, core: &Core) -> Result<(), ErrorKind> {
        let prepared = Cell::new(false);
        let action = RefCell::new(&mut self.action);
        let is_prepared = || {
            if !prepared.get() {
                prepared.set(action.borrow_mut().prepare(None));
            }
            prepared.get()
        };
        while !is_prepared() {
            // Only a turn can bring back what is missing, and only if something is going on.
            if core.is_idle() {
                return Err(ErrorKind::Rejected);
            }
            if !core.turn_towards(|| core.is_idle() || is_prepared()) {
                return Err(ErrorKind::WrongProcess);
            }
        }
        Ok(())
    }

    /// The handle's name, if it has one and is not told of by the operation itself.
    fn handle_name(&self) -> Option<String> {
        let key = self.handle?;
        if let Plan::Op(Op::Connect { .. }) = self.plan {
            return None;
        }
        let open = self.io.try_core().ok().and_then(|core| core.queue.borrow().name_of(key));
        open.or_else(|| self.name.as_deref().map(str::to_string))
    }

    fn describe(&self) -> (String, String) {
        match &self.plan {
            Plan::Op(op) => (op.to_string(), self.handle_name().unwrap_or_else(|| op.target())),
            Plan::Sleep(_) => ("sleep".into(), String::new()),
            Plan::Close { .. } => ("close".into(), self.handle_name().unwrap_or_default()),
            Plan::Connect(address) => (Op::Connect { address: address.clone() }.to_string(), String::new()),
            Plan::Invalid(error) => (error.operation().into(), error.target().into()),
        }
    }

    /// Hands the request to the queue. Its ending is made in its slot, once it is taken.
    #[inline]
    fn submit(
        mut self,
        core: &Core,
        ending: impl FnOnce() -> Ending,
        bare: bool,
        waits_its_turn: bool,
    ) -> Result<RequestId, A::Error> {
        let name = self.name.take();
        let now_and = |duration| core.after(duration);
        if !core.is_inside() {
            // No turn has looked at the clock for it, and its age begins now.
            core.queue.borrow_mut().set_now(core.now());
        }
        let deadline = self.deadline.map(now_and);
        let mut due = None;
        let mut op = match self.plan {
            Plan::Op(op) => op,
            Plan::Sleep(duration) => {
                due = Some(core.after(duration));
                Op::Sleep
            }
            Plan::Close { now } => {
                let Some(key) = self.handle else { unreachable!("a close has a handle") };
                let (mut payload, mut ending) = (Payload::new(self.action), ending());
                let carried = (&mut payload, &mut ending);
                let result = core.queue.borrow_mut().close(key, now, deadline, self.token, carried);
                drop(ending);
                return give_back(core, result, || payload.take::<A>(), name);
            }
            Plan::Connect(address) => match self.action.open(&self.io, &address) {
                Ok(OpenedHandle(key)) => {
                    self.handle = Some(key);
                    Op::Connect { address }
                }
                Err(error) => return Err(refused(self.action, &self.io, error)),
            },
            Plan::Invalid(error) => return Err(refused(self.action, &self.io, error)),
        };
        // From here on the action moves as raw storage only, until its request has settled: a `Box` that moved as such
        // would claim its bytes for itself, and the addresses taken here would be void.
        let mut payload = Payload::new(self.action);
        if let Some(parts) = op.parts_mut() {
            if parts.rest.capacity() == 0
                && let Some(list) = core.queue.borrow_mut().spare_lists.pop()
            {
                parts.rest = list;
            }
            let Some(action) = payload.get_mut::<A>() else { unreachable!("it has just been put there") };
            action.parts(parts);
        }
        let request = Request {
            op,
            handle: self.handle,
            unordered: self.unordered,
            bare,
            waits_its_turn,
            deadline,
            due,
            token: self.token,
            chain: A::CHAIN.map(|hook| hook.0),
        };
        let mut ending = Some(ending);
        let result = core.queue.borrow_mut().submit(request, &mut |slot| {
            slot.payload.take_over(&mut payload);
            slot.ending = ending.take().map_or(Ending::Kept, |ending| ending());
        });
        drop(ending);
        give_back(core, result, || payload.take::<A>(), name)
    }
}

fn refused<A: Action>(action: A, io: &Io, error: Error) -> A::Error {
    match action.finish(io, ActionReport::refused(error)) {
        Err(error) => error,
        Ok(_) => unreachable!("an action that is told of an error has nothing to give"),
    }
}

/// A refusal gives the caller's buffer back.
#[inline]
fn give_back<A: Action>(
    core: &Core,
    result: Result<RequestId, Error>,
    left: impl FnOnce() -> Option<A>,
    name: Option<Rc<str>>,
) -> Result<RequestId, A::Error> {
    let result = result.map_err(|error| {
        let is_nameless = error.kind() == ErrorKind::Closed && error.target().is_empty();
        let error = match is_nameless {
            true => error.with_target(name.as_deref().unwrap_or(CLOSED_SOCKET)),
            false => error,
        };
        match left() {
            Some(action) => refused(action, &core.io, error),
            None => unreachable!("a refusal leaves what was handed in"),
        }
    });
    core.drop_leftovers();
    core.rethrow();
    result
}

/// Ending 4: the operation is itself a future.
///
/// # Panics
/// `poll` after the end, like most futures.
impl<A: Action> Future for Operation<A> {
    type Output = Result<A::Output, A::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if A::SLEEPS {
            match &mut self.state {
                State::Lazy(Lazy { plan: Plan::Sleep(duration), deadline: None, token: None, io, .. }) => {
                    if let Ok(core) = io.try_core() {
                        let id = core.sleep(*duration, context.waker().clone());
                        self.state = State::Submitted(Awaited { core, id });
                        return Poll::Pending;
                    }
                }
                State::Submitted(awaited) if awaited.id.is_sleep() => {
                    let Poll::Ready(report) = awaited.poll_sleep(context) else { return Poll::Pending };
                    let core = Rc::clone(&awaited.core);
                    let Some(action) = Payload::new(Plain).take::<A>() else { unreachable!("only a plain one sleeps") };
                    let output = action.finish(&core.io, ActionReport(report));
                    self.state = State::Finished;
                    return Poll::Ready(output);
                }
                _ => {}
            }
        }
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Lazy(mut lazy) => {
                let core = match lazy.io.try_core() {
                    Ok(core) => core,
                    Err(kind) => return Poll::Ready(lazy.refuse(kind)),
                };
                if !lazy.action.prepare(Some(context.waker())) {
                    self.state = State::Lazy(lazy);
                    return Poll::Pending;
                }
                if let Some(count) = lazy.read_at_once(&core) {
                    let report = Report { result: Ok(Value::Count(count)), moved: Moved::Bytes(count) };
                    return Poll::Ready(lazy.action.finish(&core.io, ActionReport(report)));
                }
                let waker = context.waker().clone();
                let id = match lazy.submit(&core, || Ending::Wake(waker), false, true) {
                    Ok(id) => id,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                // It may have finished at once; then it is taken at once, within the task's budget. Beyond that it
                // is delivered like any other, and the task has yielded.
                let finished = core.queue.borrow().settled_bytes(id);
                if finished.is_some_and(|bytes| core.spend(bytes)) {
                    return Poll::Ready(take::<A>(&core, id));
                }
                self.state = State::Submitted(Awaited { core, id });
                Poll::Pending
            }
            State::Submitted(mut awaited) => match poll_submitted::<A>(&awaited.core, awaited.id, context) {
                Poll::Ready(outcome) => {
                    awaited.give_up();
                    Poll::Ready(outcome)
                }
                Poll::Pending => {
                    self.state = State::Submitted(awaited);
                    Poll::Pending
                }
            },
            State::Finished => panic!("an operation was polled after its end"),
        }
    }
}

pub(crate) fn poll_submitted<A: Action>(
    core: &Rc<Core>,
    id: RequestId,
    context: &mut Context<'_>,
) -> Poll<Result<A::Output, A::Error>> {
    if core.is_foreign() {
        return Poll::Ready(Err(take_in_child::<A>(core, id)));
    }
    let settled = core.queue.borrow().settled_bytes(id);
    if let Some(bytes) = settled {
        if core.spend(bytes) {
            return Poll::Ready(take::<A>(core, id));
        }
        // The task has had its share; it comes back for this.
        context.waker().wake_by_ref();
        return Poll::Pending;
    }
    // The waker's own code, its clone and the drop of the old one, runs outside the borrow.
    let will_wake = core.queue.borrow().will_wake(id, context.waker());
    if !will_wake {
        let ending = Ending::Wake(context.waker().clone());
        let old = core.queue.borrow_mut().set_ending(id, ending);
        drop(old);
    }
    Poll::Pending
}

impl<A: Action> fmt::Debug for Operation<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Lazy(lazy) => {
                // Its buffer has not been looked at yet.
                let operation = lazy.describe().0.replacen(" 0 bytes", "", 1);
                write!(formatter, "Operation({operation}, not begun)")
            }
            State::Submitted(Awaited { id, .. }) => {
                write!(formatter, "Operation({id:?})")
            }
            State::Finished => write!(formatter, "Operation(finished)"),
        }
    }
}
