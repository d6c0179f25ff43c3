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
use crate::buffer::Parts;
use crate::error::{Error, ErrorKind, Moved};
use crate::op::{Extent, Op, Transfer};
use crate::plain::{Named, Plain};
use crate::queue::Request;
use crate::queue::handles::{CLOSED_SOCKET, HandleKey};
use crate::queue::slots::{Callback, CallbackStorage, Cause, Chain, Ending, Payload, Report, RequestId, Told};
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
    Transfer(Transfer),
    Sleep(Duration),
    Close {
        now: bool,
    },
    /// On a socket that is made when it is submitted.
    Connect(Address),
    /// It cannot be right: every ending answers with this.
    Invalid(Error),
}

/// What an operation is to be carried out on.
enum Target {
    Handle(Rc<Named>),
    /// None, or one that it makes itself.
    Nothing(Io),
}

impl Target {
    fn io(&self) -> &Io {
        match self {
            Target::Handle(handle) => &handle.io,
            Target::Nothing(io) => io,
        }
    }

    fn key(&self) -> Option<HandleKey> {
        match self {
            Target::Handle(handle) => Some(handle.key),
            Target::Nothing(_) => None,
        }
    }

    /// What errors call the handle once it is closed.
    fn name(&self) -> Option<&str> {
        match self {
            Target::Handle(handle) => handle.name.as_deref(),
            Target::Nothing(_) => None,
        }
    }
}

struct Lazy<A> {
    target: Target,
    plan: Plan,
    /// Away once it is submitted.
    action: Option<A>,
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
    pub(crate) fn new(io: Io, plan: Plan, action: A) -> Operation<A> {
        Operation::of(Target::Nothing(io), plan, action)
    }

    #[inline]
    pub(crate) fn on(handle: Rc<Named>, plan: Plan, action: A) -> Operation<A> {
        Operation::of(Target::Handle(handle), plan, action)
    }

    #[inline]
    fn of(target: Target, plan: Plan, action: A) -> Operation<A> {
        let (deadline, token) = (None, None);
        let action = Some(action);
        let lazy = Lazy { target, plan, action, deadline, token, direct: false, unordered: false };
        Operation { state: State::Lazy(lazy) }
    }

    fn take_lazy(&mut self) -> Lazy<A> {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::Lazy(lazy) => lazy,
            _ => unreachable!("only an operation that has not begun is taken"),
        }
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
                let core = match lazy.target.io().try_core() {
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
                let id = lazy.submit(&core, Ending::Kept, bare, true)?;
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
        let core = match lazy.target.io().try_core() {
            Ok(core) => core,
            Err(kind) => return Err(lazy.refuse_error(kind)),
        };
        if !lazy.action().prepare(None) {
            return Err(lazy.refuse_error(ErrorKind::Rejected));
        }
        let bare = lazy.deadline.is_none() && lazy.token.is_none();
        let direct = lazy.direct;
        let id = lazy.submit(&core, Ending::Kept, bare, true)?;
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
                let core = match lazy.target.io().try_core() {
                    Ok(core) => core,
                    Err(kind) => return Err(lazy.refuse_error(kind)),
                };
                if !lazy.action().prepare(None) {
                    return Err(lazy.refuse_error(ErrorKind::Rejected));
                }
                let direct = lazy.direct;
                let mut ending = ending(direct);
                let id = match lazy.submit_transfer(&core, &mut ending) {
                    Some(id) => {
                        // There is nothing left in it; to find that out costs a call.
                        std::mem::forget(ending);
                        lazy.end();
                        id
                    }
                    None => lazy.submit(&core, ending, false, false)?,
                };
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
    let mut queue = core.queue.borrow_mut();
    let Some(slot) = queue.settled(id) else { return };
    let Ending::Callback(Callback { function, .. }) = &mut slot.ending else { return };
    let (Some(function), Some(action)) = (function.take::<F>(), slot.payload.take::<A>()) else {
        unreachable!("a request keeps what it was submitted with until it is taken")
    };
    let told = slot.told();
    queue.free_settled(id);
    drop(queue);
    core.call(|| function(finish(action, &core.io, told)));
}

/// Takes a settled request's outcome.
pub(crate) fn take<A: Action>(core: &Core, id: RequestId) -> Result<A::Output, A::Error> {
    let mut queue = core.queue.borrow_mut();
    let taken = queue.settled(id).and_then(|slot| Some((slot.payload.take::<A>()?, slot.told())));
    let Some((action, told)) = taken else { unreachable!("only its owner takes a request's outcome") };
    queue.free_settled(id);
    drop(queue);
    finish(action, &core.io, told)
}

/// An action's outcome. Of a plain success it is made without a report, which would have to be looked into.
#[inline]
fn finish<A: Action>(action: A, io: &Io, told: Told) -> Result<A::Output, A::Error> {
    match told {
        Told::Bytes(count) => action.finish(io, ActionReport(Report::of_bytes(count))),
        Told::Report(report) => action.finish(io, ActionReport(report)),
    }
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
        let Plan::Transfer(Transfer::Read(Extent::Some | Extent::Exact, offset)) = self.plan else { return None };
        if self.deadline.is_some() || self.token.is_some() || !core.tries_reads() {
            return None;
        }
        let mut parts = Parts::default();
        parts.rest = core.queue.borrow_mut().spare_lists.pop().unwrap_or_default();
        self.action().parts(&mut parts);
        let mut queue = core.queue.borrow_mut();
        let count = parts.only().and_then(|part| queue.read_at_once(self.target.key()?, part, offset));
        queue.keep_list(&mut parts);
        drop(queue);
        core.spend(count?);
        count
    }

    fn refuse(self, kind: ErrorKind) -> Result<A::Output, A::Error> {
        Err(self.refuse_error(kind))
    }

    fn refuse_error(mut self, kind: ErrorKind) -> A::Error {
        let mut action = self.take_action();
        if let Plan::Transfer(transfer) = self.plan {
            self.plan = Plan::Op(transfer.op(Parts::default()));
        }
        if let Plan::Op(op) = &mut self.plan
            && let Some(parts) = op.parts_mut()
        {
            action.parts(parts);
        }
        let (operation, target) = self.describe();
        refused(action, self.target.io(), Error::new(kind, operation, target))
    }

    /// Turns until the action can be submitted, or says why that will never be.
    fn wait_until_prepared(&mut self, core: &Core) -> Result<(), ErrorKind> {
        let prepared = Cell::new(false);
        let action = RefCell::new(self.action());
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
        let key = self.target.key()?;
        if let Plan::Op(Op::Connect { .. }) = self.plan {
            return None;
        }
        let open = self.target.io().try_core().ok().and_then(|core| core.queue.borrow().name_of(key));
        open.or_else(|| self.target.name().map(str::to_string))
    }

    fn describe(&self) -> (String, String) {
        match &self.plan {
            Plan::Op(op) => (op.to_string(), self.handle_name().unwrap_or_else(|| op.target())),
            Plan::Transfer(transfer) => {
                (transfer.op(Parts::default()).to_string(), self.handle_name().unwrap_or_default())
            }
            Plan::Sleep(_) => ("sleep".into(), String::new()),
            Plan::Close { .. } => ("close".into(), self.handle_name().unwrap_or_default()),
            Plan::Connect(address) => (Op::Connect { address: address.clone() }.to_string(), String::new()),
            Plan::Invalid(error) => (error.operation().into(), error.target().into()),
        }
    }

    fn action(&mut self) -> &mut A {
        self.action.as_mut().unwrap_or_else(|| unreachable!("it is away once it is submitted"))
    }

    fn take_action(&mut self) -> A {
        self.action.take().unwrap_or_else(|| unreachable!("it is away once it is submitted"))
    }

    /// Hands a plain transfer to the queue where nothing is in its way, by the short way. Otherwise nothing is done, and
    /// [`submit`](Self::submit) tells why.
    #[inline(always)]
    fn submit_transfer(&mut self, core: &Core, ending: &mut Ending) -> Option<RequestId> {
        let (Plan::Transfer(transfer), Target::Handle(handle)) = (&self.plan, &self.target) else { return None };
        if self.deadline.is_some() || self.token.is_some() || self.unordered {
            return None;
        }
        tell_time(core);
        let mut payload = Payload::new(self.action.take()?);
        let parts = parts_of::<A>(core, &mut payload);
        let mut queue = core.queue.borrow_mut();
        let id = match parts.only() {
            Some(part) => queue.submit_transfer(handle.key, *transfer, part, &mut payload, ending),
            None => None,
        };
        let is_tidy = parts.rest.capacity() == 0 && queue.leftovers.is_empty();
        drop(queue);
        if !is_tidy {
            tidy_up(core, parts);
        }
        match id {
            // There is nothing left in it; to find that out costs a call.
            Some(_) => std::mem::forget(payload),
            None => self.action = payload.take::<A>(),
        }
        id
    }

    /// Drops what is left of a transfer that was submitted by the short way: what is on.
    #[inline(always)]
    fn end(self) {
        let Lazy { target, plan, action, token, .. } = self;
        debug_assert!(action.is_none() && token.is_none());
        // To find out that there is nothing in these costs calls.
        std::mem::forget((plan, action, token));
        drop(target);
    }

    /// Hands the request to the queue.
    #[inline(never)]
    fn submit(
        mut self,
        core: &Core,
        mut ending: Ending,
        bare: bool,
        waits_its_turn: bool,
    ) -> Result<RequestId, A::Error> {
        tell_time(core);
        let mut action = self.take_action();
        let Lazy { target, plan, deadline, token, unordered, .. } = self;
        let deadline = deadline.map(|duration| core.after(duration));
        let (mut op, handle, due) = match plan {
            Plan::Op(op) => (op, target.key(), None),
            Plan::Transfer(transfer) => (transfer.op(Parts::default()), target.key(), None),
            Plan::Sleep(duration) => (Op::Sleep, None, Some(core.after(duration))),
            Plan::Close { now } => {
                let Some(key) = target.key() else { unreachable!("a close has a handle") };
                let mut payload = Payload::new(action);
                let carried = (&mut payload, &mut ending);
                let result = core.queue.borrow_mut().close(key, now, deadline, token, carried);
                drop(ending);
                return give_back(core, result, || payload.take::<A>(), &target);
            }
            Plan::Connect(address) => match action.open(target.io(), &address) {
                Ok(OpenedHandle(key)) => (Op::Connect { address }, Some(key), None),
                Err(error) => return Err(refused(action, target.io(), error)),
            },
            Plan::Invalid(error) => return Err(refused(action, target.io(), error)),
        };
        // From here on the action moves as raw storage only, until its request has settled: a `Box` that moved as such
        // would claim its bytes for itself, and the addresses taken here would be void.
        let mut payload = Payload::new(action);
        if let Some(parts) = op.parts_mut() {
            *parts = parts_of::<A>(core, &mut payload);
        }
        let chain = A::CHAIN.map(|hook| hook.0);
        let request = Request { op, handle, unordered, bare, waits_its_turn, deadline, due, token, chain };
        let result = core.queue.borrow_mut().submit(request, &mut payload, &mut ending);
        drop(ending);
        give_back(core, result, || payload.take::<A>(), &target)
    }
}

/// Outside of tasks no turn has looked at the clock for a request, and its age begins now.
#[inline(always)]
fn tell_time(core: &Core) {
    if !core.is_inside() {
        core.queue.borrow_mut().set_now(core.now());
    }
}

/// The addresses of an action's bytes, where it stays until its request has settled.
#[inline(always)]
fn parts_of<A: Action>(core: &Core, payload: &mut Payload) -> Parts {
    let mut parts = Parts::default();
    if let Some(list) = core.queue.borrow_mut().spare_lists.pop() {
        parts.rest = list;
    }
    let Some(action) = payload.get_mut::<A>() else { unreachable!("it has just been put there") };
    action.parts(&mut parts);
    parts
}

/// What is left to do when a list of parts was not used, or the queue has put something aside.
#[cold]
fn tidy_up(core: &Core, mut parts: Parts) {
    core.queue.borrow_mut().keep_list(&mut parts);
    core.drop_leftovers();
    core.rethrow();
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
    target: &Target,
) -> Result<RequestId, A::Error> {
    let result = result.map_err(|error| {
        let is_nameless = error.kind() == ErrorKind::Closed && error.target().is_empty();
        let error = match is_nameless {
            true => error.with_target(target.name().unwrap_or(CLOSED_SOCKET)),
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
                State::Lazy(Lazy { plan: Plan::Sleep(duration), deadline: None, token: None, target, .. }) => {
                    if let Ok(core) = target.io().try_core() {
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
        if let State::Submitted(awaited) = &mut self.state {
            let polled = poll_submitted::<A>(&awaited.core, awaited.id, context);
            if polled.is_ready() {
                awaited.give_up();
                self.state = State::Finished;
            }
            return polled;
        }
        let State::Lazy(lazy) = &mut self.state else { panic!("an operation was polled after its end") };
        let core = match lazy.target.io().try_core() {
            Ok(core) => core,
            Err(kind) => return Poll::Ready(self.take_lazy().refuse(kind)),
        };
        if !lazy.action().prepare(Some(context.waker())) {
            return Poll::Pending;
        }
        if let Some(count) = lazy.read_at_once(&core) {
            return Poll::Ready(finish(self.take_lazy().take_action(), &core.io, Told::Bytes(count)));
        }
        let mut ending = core.ending_that_wakes(context.waker());
        let id = match lazy.submit_transfer(&core, &mut ending) {
            Some(id) => {
                // There is nothing left in it; to find that out costs a call.
                std::mem::forget(ending);
                id
            }
            None => match self.take_lazy().submit(&core, ending, false, true) {
                Ok(id) => id,
                Err(error) => return Poll::Ready(Err(error)),
            },
        };
        // It may have finished at once; then it is taken at once, within the task's budget. Beyond that it
        // is delivered like any other, and the task has yielded.
        let finished = core.queue.borrow().settled_bytes(id);
        if finished.is_some_and(|bytes| core.spend(bytes)) {
            self.state = State::Finished;
            return Poll::Ready(take::<A>(&core, id));
        }
        self.state = State::Submitted(Awaited { core, id });
        Poll::Pending
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
    if !core.is_to_wake(id, context.waker()) {
        let ending = core.ending_that_wakes(context.waker());
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
