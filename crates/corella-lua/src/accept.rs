//! Accepting with a callback: it is called for every connection, until the listener is closed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corella::{Error, Listener, RequestId, Socket};
use mlua::{Function, Lua, MultiValue};

use crate::failure::{Failure, OperationError};
use crate::received::{Arrival, Line, Received, Slip};
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::{Ready, Runtime};
use crate::socket::connection_value;

/// After an accept that failed, as when the process has no descriptors left: the next one waits so long.
const PAUSE: Duration = Duration::from_millis(50);

struct Accepting {
    runtime: Rc<Runtime>,
    listener: Listener,
    callback: Function,
    /// Stands for the whole: settles when the listener is closed.
    whole: Rc<Request>,
    /// The accept or the pause under way.
    under_way: Cell<Option<RequestId>>,
    is_stopped: Cell<bool>,
}

/// A connection that was accepted, as a task is given it.
struct Accepted {
    connection: Socket,
    slip: Slip<Socket>,
}

impl Arrival for Socket {
    type Wish = ();

    fn into_outcome(self, (): (), slip: Slip<Socket>) -> Outcome {
        Outcome::Received(Box::new(Accepted { connection: self, slip }))
    }
}

impl Received for Accepted {
    fn into_values(self: Box<Self>, lua: &Lua, runtime: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        Ok(MultiValue::from_vec(vec![connection_value(lua, runtime, self.connection)?]))
    }

    fn give_back(self: Box<Self>) {
        self.slip.give_back(self.connection);
    }
}

/// Accepts one connection.
pub(crate) fn accept(
    runtime: &Rc<Runtime>,
    listener: Listener,
    line: &Rc<Line<Socket>>,
    deadline: Option<Duration>,
) -> Rc<Request> {
    line.ask(runtime, Class::Passive, (), || {
        let line = Rc::clone(line);
        let operation = listener.accept();
        runtime.begin(Class::Passive, deadline, operation, move |outcome| {
            drop(listener);
            Ok(line.outcome(outcome?, ()))
        })
    })
}

/// Starts it. The request runs until the listener is closed, or it is cancelled.
pub(crate) fn keep_accepting(
    runtime: &Rc<Runtime>,
    listener: Listener,
    line: &Rc<Line<Socket>>,
    callback: Function,
) -> Rc<Request> {
    let whole = Request::new(runtime, Class::Passive);
    let accepting = Rc::new(Accepting {
        runtime: Rc::clone(runtime),
        listener,
        callback,
        whole: Rc::clone(&whole),
        under_way: Cell::new(None),
        is_stopped: Cell::new(false),
    });
    let stopped = Rc::clone(&accepting);
    whole.set_stop(Stop::Call(Box::new(move || stopped.stop())));
    let taker = Rc::downgrade(&accepting);
    line.set_taker(move |connection| match taker.upgrade().filter(|accepting| !accepting.is_stopped.get()) {
        Some(accepting) => {
            accepting.call(Ok(Outcome::Connection(connection)));
            None
        }
        None => Some(connection),
    });
    while let Some(connection) = line.take() {
        accepting.call(Ok(Outcome::Connection(connection)));
    }
    accepting.accept_next();
    whole
}

impl Accepting {
    fn stop(&self) {
        self.is_stopped.set(true);
        if let Some(id) = self.under_way.take() {
            self.runtime.io().cancel(id);
        }
    }

    fn accept_next(self: &Rc<Self>) {
        let this = Rc::clone(self);
        match self.listener.accept().direct().then(move |outcome| this.arrived(outcome)) {
            Ok(id) => self.under_way.set(Some(id)),
            Err(error) => self.end(error),
        }
    }

    fn arrived(self: &Rc<Self>, outcome: Result<Socket, Error>) {
        match outcome {
            Ok(connection) => {
                self.call(Ok(Outcome::Connection(connection)));
                match self.is_stopped.get() || self.runtime.is_ending() {
                    true => {
                        self.whole
                            .settle(Err(OperationError::stopped(corella::ErrorKind::Cancelled, "accept", "").into()))
                    }
                    false => self.accept_next(),
                }
            }
            Err(error) if self.is_stopped.get() || self.runtime.is_ending() || !self.listener.is_open() => {
                self.end(error);
            }
            Err(error) => {
                self.call(Err(error.into()));
                self.pause();
            }
        }
    }

    /// Has the callback called with how one accept went.
    fn call(&self, result: Result<Outcome, Failure>) {
        let one = Request::settled(&self.runtime, result);
        one.share();
        self.runtime.make_ready(Ready::Announce(self.callback.clone(), one));
    }

    fn pause(self: &Rc<Self>) {
        let this = Rc::clone(self);
        let pause = self.runtime.io().sleep(PAUSE).direct().then(move |outcome| match outcome {
            Ok(()) => this.accept_next(),
            Err(error) => this.end(error),
        });
        match pause {
            Ok(id) => self.under_way.set(Some(id)),
            Err(error) => self.end(error),
        }
    }

    /// A listener that was closed has done what it was asked to.
    fn end(&self, error: Error) {
        match self.listener.is_open() {
            true => self.whole.settle(Err(error.into())),
            false => self.whole.settle(Ok(Outcome::Nothing)),
        }
    }
}
