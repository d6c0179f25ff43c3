//! Requests: what a call in a script asked for, from its submission until somebody has taken what came of it.
//!
//! A request settles once. Tasks that wait for it and callbacks that were given to it are then put among what is
//! ready to run; nothing of Lua runs inside the settling.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use corella::{Entry, ErrorKind, Metadata, RequestId, Socket};
use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, Value};

use crate::failure::{Failure, OperationError};
use crate::received::Received;
use crate::runtime::{Ready, Runtime};
use crate::tasks::{TaskKey, TaskKind};
use crate::{file_system, socket};

/// Whether the end of the program waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// I/O: the program ends after it.
    Counted,
    /// Sleeps: the same.
    Timer,
    /// Accepts: a listener alone keeps no program alive.
    Passive,
    /// Joins and the like: what they wait for counts itself.
    Internal,
}

/// What a request gives.
pub(crate) enum Outcome {
    Nothing,
    Bytes(Vec<u8>),
    Count(u64),
    Metadata(Box<Metadata>),
    Entries(Vec<Entry>),
    Entry(Entry),
    Connection(Socket),
    /// It can be given back.
    Received(Box<dyn Received>),
    /// The place of what won a race.
    Winner(usize, Rc<Request>),
    /// Made of Lua's values already.
    Values(MultiValue),
}

impl Outcome {
    /// Nobody will ask for it.
    fn give_back(self) {
        if let Outcome::Received(received) = self {
            received.give_back();
        }
    }
}

/// A function that is called with the Status.
pub(crate) struct Callback {
    pub(crate) function: Function,
    pub(crate) status: AnyUserData,
    _counted: Counted,
}

/// One that is counted as long as it is there.
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Callback {
    pub(crate) fn new(runtime: &Runtime, function: Function, status: AnyUserData) -> Callback {
        runtime.callbacks.set(runtime.callbacks.get() + 1);
        Callback { function, status, _counted: Counted(Rc::clone(&runtime.callbacks)) }
    }
}

/// Who is told when it settles.
pub(crate) enum Listener {
    Task(TaskKey),
    Callback(Callback),
    /// The same, only for a failure.
    OnError(Callback),
    /// Another request that settles the same.
    Relay(Rc<Request>),
    /// The host's own: called with a failure.
    Failure(Box<dyn FnOnce(Failure)>),
    /// The same, also without one.
    End(Box<dyn FnOnce(Option<Failure>)>),
}

/// How a request is stopped.
pub(crate) enum Stop {
    /// It is on its way, or cannot be.
    Not,
    Engine(RequestId),
    /// It settles as cancelled at once.
    Settle(&'static str),
    Call(Box<dyn Fn()>),
}

enum State {
    Running(Vec<Listener>),
    Done(Outcome),
    Failed(Failure),
}

pub(crate) struct Request {
    runtime: Rc<Runtime>,
    class: Class,
    state: RefCell<State>,
    stop: RefCell<Stop>,
    /// Somebody has asked how it went.
    is_looked_at: Cell<bool>,
    /// The script holds its Status, so a task that waits for it does not own it.
    is_shared: Cell<bool>,
    /// The task that alone could ask for it is no more.
    is_abandoned: Cell<bool>,
    /// The sleep that will stop it.
    timer: Cell<Option<RequestId>>,
    /// Where the script asked for it; for what nobody waits for on the spot.
    place: Cell<Option<Place>>,
}

/// A line of a script.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) script: Rc<str>,
    pub(crate) line: usize,
}

impl Request {
    pub(crate) fn new(runtime: &Rc<Runtime>, class: Class) -> Rc<Request> {
        runtime.count(class, 1);
        Rc::new(Request {
            runtime: Rc::clone(runtime),
            class,
            state: RefCell::new(State::Running(Vec::new())),
            stop: RefCell::new(Stop::Not),
            is_looked_at: Cell::new(false),
            is_shared: Cell::new(false),
            is_abandoned: Cell::new(false),
            timer: Cell::new(None),
            place: Cell::new(None),
        })
    }

    /// A request that has settled before anybody asked.
    pub(crate) fn settled(runtime: &Rc<Runtime>, result: Result<Outcome, Failure>) -> Rc<Request> {
        let request = Request::new(runtime, Class::Internal);
        request.settle(result);
        request
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn set_stop(&self, stop: Stop) {
        *self.stop.borrow_mut() = stop;
    }

    /// Settles it; only the first time counts. What nobody can ask for is given back.
    pub(crate) fn settle(&self, result: Result<Outcome, Failure>) {
        let mut state = self.state.borrow_mut();
        let State::Running(listeners) = &mut *state else {
            drop(state);
            return result.into_iter().for_each(Outcome::give_back);
        };
        let (result, unwanted) = match result {
            Ok(outcome) if self.is_abandoned.get() => (Ok(Outcome::Nothing), Some(outcome)),
            result => (result, None),
        };
        let listeners = std::mem::take(listeners);
        let has_failed = result.is_err();
        let relayed = match &result {
            Ok(Outcome::Values(values)) => Ok(values.clone()),
            Ok(_) => Ok(MultiValue::new()),
            Err(failure) => Err(failure.clone()),
        };
        *state = result.map_or_else(State::Failed, State::Done);
        drop(state);
        self.runtime.count(self.class, -1);
        if let Some(timer) = self.take_timer() {
            self.runtime.io().cancel(timer);
        }
        let stop = self.stop.replace(Stop::Not);
        drop(stop);
        for listener in listeners {
            self.tell(listener, has_failed, &relayed);
        }
        // What was stopped because nobody wanted it is not told of.
        let may_be_told = relayed.as_ref().err().is_some_and(|failure| !failure.is_unwanted());
        if may_be_told && !self.is_looked_at.get() {
            self.runtime.note_failure();
        }
        unwanted.into_iter().for_each(Outcome::give_back);
    }

    fn tell(&self, listener: Listener, has_failed: bool, relayed: &Result<MultiValue, Failure>) {
        match listener {
            Listener::Task(task) => {
                if self.runtime.tasks.borrow().has(task) {
                    self.is_looked_at.set(true);
                }
                self.runtime.make_ready(Ready::Resume(task));
            }
            Listener::Callback(callback) => self.runtime.make_ready(Ready::Call(callback)),
            Listener::OnError(callback) => {
                self.is_looked_at.set(true);
                if has_failed {
                    self.runtime.make_ready(Ready::Call(callback));
                }
            }
            Listener::Relay(other) => {
                // Unless nobody waits for that any more.
                if !other.is_settled() {
                    self.is_looked_at.set(true);
                }
                other.settle(relayed.clone().map(Outcome::Values));
            }
            Listener::Failure(call) => {
                if let Err(failure) = relayed {
                    self.is_looked_at.set(true);
                    call(failure.clone());
                }
            }
            Listener::End(call) => {
                self.is_looked_at.set(true);
                call(relayed.as_ref().err().cloned());
            }
        }
    }

    /// Has somebody told; at once if it has settled.
    pub(crate) fn listen(&self, listener: Listener) {
        let relayed = match &mut *self.state.borrow_mut() {
            State::Running(listeners) => {
                // Most have one.
                listeners.reserve_exact(usize::from(listeners.is_empty()));
                listeners.push(listener);
                return;
            }
            State::Done(Outcome::Values(values)) => Ok(values.clone()),
            State::Done(_) => Ok(MultiValue::new()),
            State::Failed(failure) => Err(failure.clone()),
        };
        let has_failed = relayed.is_err();
        self.tell(listener, has_failed, &relayed);
    }

    /// Has `call` called if it fails.
    pub(crate) fn on_failure(&self, call: impl FnOnce(Failure) + 'static) {
        self.listen(Listener::Failure(Box::new(call)));
    }

    /// Has `call` called when it has settled, with the failure if it has failed.
    pub(crate) fn on_end(&self, call: impl FnOnce(Option<Failure>) + 'static) {
        self.listen(Listener::End(Box::new(call)));
    }

    /// What a callback of it is called for.
    pub(crate) fn kind(&self) -> TaskKind {
        match self.class {
            Class::Counted | Class::Passive => TaskKind::Io,
            Class::Timer | Class::Internal => TaskKind::Event,
        }
    }

    /// Whether it comes to an end by itself; an accept may not.
    pub(crate) fn ends(&self) -> bool {
        self.class != Class::Passive
    }

    /// Has it fail when `limit` passes, and then calls `then`.
    pub(crate) fn limit(self: &Rc<Self>, limit: Option<Duration>, operation: &'static str, then: impl Fn() + 'static) {
        let (Some(limit), false) = (limit, self.is_settled()) else { return };
        let request = Rc::clone(self);
        let timer = self.runtime.io().sleep(limit).direct().then(move |outcome| {
            if outcome.is_ok() && !request.is_settled() {
                request.take_timer();
                request.settle(Err(OperationError::stopped(ErrorKind::TimedOut, operation, "").into()));
                then();
            }
        });
        match timer {
            Ok(timer) => {
                // The end of the program waits for it: it may be all that will ever wake somebody.
                self.runtime.count(Class::Timer, 1);
                self.timer.set(Some(timer));
            }
            Err(error) => self.settle(Err(error.into())),
        }
    }

    fn take_timer(&self) -> Option<RequestId> {
        let timer = self.timer.take();
        if timer.is_some() {
            self.runtime.count(Class::Timer, -1);
        }
        timer
    }

    pub(crate) fn is_settled(&self) -> bool {
        !matches!(*self.state.borrow(), State::Running(_))
    }

    /// Whether it has failed; nothing while it runs.
    pub(crate) fn has_failed(&self) -> Option<bool> {
        match *self.state.borrow() {
            State::Running(_) => None,
            State::Done(_) => Some(false),
            State::Failed(_) => Some(true),
        }
    }

    pub(crate) fn look(&self) {
        self.is_looked_at.set(true);
    }

    /// Keeps where the script asked for it.
    pub(crate) fn locate(&self, lua: &Lua) {
        self.place.set(self.runtime.place(lua));
    }

    pub(crate) fn share(&self) {
        self.is_shared.set(true);
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.get()
    }

    /// Whether one task waits for it, and nobody else can ask for it.
    pub(crate) fn is_of_one_task(&self) -> bool {
        let is_waited_for =
            matches!(&*self.state.borrow(), State::Running(listeners) if matches!(listeners[..], [Listener::Task(_)]));
        is_waited_for && !self.is_shared.get()
    }

    /// The task that alone could ask for it is no more: it is stopped, and what came, or comes still, is given back.
    pub(crate) fn abandon(&self) {
        self.is_abandoned.set(true);
        let came = match &mut *self.state.borrow_mut() {
            State::Done(outcome) => Some(std::mem::replace(outcome, Outcome::Nothing)),
            _ => None,
        };
        match came {
            Some(outcome) => outcome.give_back(),
            None => self.cancel(),
        }
    }

    /// Settles it with what somebody else had; what the engine still brings for it is given back.
    pub(crate) fn settle_early(&self, outcome: Outcome) {
        let stop = self.stop.replace(Stop::Not);
        self.settle(Ok(outcome));
        if let Stop::Engine(id) = stop {
            self.runtime.io().cancel(id);
        }
    }

    /// Asks it to stop.
    pub(crate) fn cancel(&self) {
        if self.is_settled() {
            return;
        }
        let stop = self.stop.replace(Stop::Not);
        match &stop {
            Stop::Not => {}
            Stop::Engine(id) => self.runtime.io().cancel(*id),
            Stop::Settle(operation) => {
                self.settle(Err(OperationError::stopped(ErrorKind::Cancelled, *operation, "").into()));
            }
            Stop::Call(call) => call(),
        }
        if !self.is_settled() {
            self.stop.replace(stop);
        }
    }

    /// What it gives, as Lua's values; made once. Nothing unless it is done.
    pub(crate) fn values(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        let taken = match &mut *self.state.borrow_mut() {
            State::Done(outcome) => std::mem::replace(outcome, Outcome::Nothing),
            _ => return Ok(MultiValue::new()),
        };
        // Making values may run finalizers of the script's, which may ask this request how it stands.
        let values = self.convert(lua, taken)?;
        *self.state.borrow_mut() = State::Done(Outcome::Values(values.clone()));
        Ok(values)
    }

    /// Of a request that has settled: true and what it gave, or false and why it failed. Whoever asks looks at it.
    pub(crate) fn given(&self, lua: &Lua) -> mlua::Result<MultiValue> {
        self.look();
        match self.failure() {
            Some(failure) => (false, failure.into_value(lua)?).into_lua_multi(lua),
            None => {
                let mut values = self.values(lua)?;
                values.push_front(Value::Boolean(true));
                Ok(values)
            }
        }
    }

    fn convert(&self, lua: &Lua, outcome: Outcome) -> mlua::Result<MultiValue> {
        let value = match outcome {
            Outcome::Nothing => return Ok(MultiValue::new()),
            Outcome::Values(values) => return Ok(values),
            Outcome::Received(received) => return received.into_values(lua, &self.runtime),
            Outcome::Bytes(bytes) => Value::String(lua.create_string(bytes)?),
            Outcome::Count(count) => Value::Integer(count as i64),
            Outcome::Metadata(metadata) => Value::Table(file_system::metadata_table(lua, &metadata)?),
            Outcome::Winner(place, winner) => {
                let mut values = winner.values(lua)?;
                values.push_front(Value::Integer(place as i64));
                return Ok(values);
            }
            Outcome::Entry(entry) => Value::Table(file_system::entry_table(lua, &entry)?),
            Outcome::Entries(entries) => Value::Table(file_system::entries_table(lua, &entries)?),
            Outcome::Connection(connection) => socket::connection_value(lua, &self.runtime, connection)?,
        };
        Ok(MultiValue::from_vec(vec![value]))
    }

    /// Its failure; nothing unless it has failed.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match &*self.state.borrow() {
            State::Failed(failure) => Some(failure.clone()),
            _ => None,
        }
    }
}

/// A failure that nobody looked at is reported when nobody can any more.
impl Drop for Request {
    fn drop(&mut self) {
        match self.state.get_mut() {
            State::Running(_) => self.runtime.count(self.class, -1),
            State::Failed(failure) if !self.is_looked_at.get() && !failure.is_unwanted() => match failure {
                Failure::Operation(error) => self.runtime.report_unseen(&error.to_string(), self.place.take()),
                Failure::Raised { .. } => self.runtime.report_script_error(&failure.report()),
            },
            _ => {}
        }
    }
}
