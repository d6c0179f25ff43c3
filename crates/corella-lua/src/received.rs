//! What was received for a task that alone can ask for it. If the task is killed before its turn it is given back, and is for
//! the next to ask: nothing that was received is lost.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use mlua::{Lua, MultiValue, Value};

use crate::channel::line_up;
use crate::encoding::Encoding;
use crate::request::{Class, Outcome, Request};
use crate::runtime::Runtime;
use crate::stream::Stream;

pub(crate) trait Received {
    /// What the task is given, as Lua's values.
    fn into_values(self: Box<Self>, lua: &Lua, runtime: &Rc<Runtime>) -> mlua::Result<MultiValue>;

    /// The task is no more.
    fn give_back(self: Box<Self>);
}

/// Bytes that a read has taken from the buffer of a stream, as the script has them.
pub(crate) struct Taken {
    pub(crate) stream: Weak<Stream>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) encoding: Encoding,
    /// Where they stood among all that came.
    pub(crate) place: u64,
    /// Where the stream was after them, and how many times it had been opened or moved.
    pub(crate) end: u64,
    pub(crate) moves: u32,
}

impl Received for Taken {
    fn into_values(self: Box<Self>, lua: &Lua, _: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(self.bytes)?)]))
    }

    fn give_back(self: Box<Self>) {
        let Taken { stream, bytes, encoding, place, end, moves } = *self;
        let Some(stream) = stream.upgrade() else { return };
        // They were characters of this encoding, so it has them all.
        let Ok(bytes) = encoding.encode(bytes) else { return };
        let (is_there, was_read_on) = stream.with_buffers(|buffers| {
            let was_read_on = buffers.can_seek && (buffers.position != end || buffers.is_lent);
            (buffers.is_open() && buffers.moves == moves, was_read_on)
        });
        // Bytes of a file stand there still, and whoever has read on is not taken back.
        if is_there && !was_read_on {
            stream.give_back(place, &bytes);
        }
    }
}

/// What comes whole to a socket: a connection, a datagram.
pub(crate) trait Arrival: Sized + 'static {
    /// What a request wants of it.
    type Wish: Copy + 'static;

    /// As the outcome of a request; `slip` says how it is given back.
    fn into_outcome(self, wish: Self::Wish, slip: Slip<Self>) -> Outcome;
}

/// To which line something is given back, and how many had come there before it.
pub(crate) struct Slip<T: Arrival> {
    line: Rc<Line<T>>,
    number: u64,
}

impl<T: Arrival> Slip<T> {
    pub(crate) fn give_back(self, arrival: T) {
        self.line.give_back(self.number, arrival);
    }
}

/// Takes an arrival, or gives it back.
type Taker<T> = Box<dyn Fn(T) -> Option<T>>;

/// What was given back to a socket, and who waits for the like.
pub(crate) struct Line<T: Arrival> {
    /// In the order in which they had come.
    returned: RefCell<VecDeque<(u64, T)>>,
    arrived: Cell<u64>,
    waiting: RefCell<VecDeque<(Weak<Request>, T::Wish)>>,
    /// Takes what no request waits for.
    taker: RefCell<Option<Taker<T>>>,
}

impl<T: Arrival> Line<T> {
    pub(crate) fn new() -> Rc<Line<T>> {
        let (returned, arrived, waiting, taker) = Default::default();
        Rc::new(Line { returned, arrived, waiting, taker })
    }

    /// Whether there is something that was given back.
    pub(crate) fn has_some(&self) -> bool {
        !self.returned.borrow().is_empty()
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.returned.borrow_mut().pop_front().map(|(_, arrival)| arrival)
    }

    /// What has just come, as the outcome of a request.
    pub(crate) fn outcome(self: &Rc<Self>, arrival: T, wish: T::Wish) -> Outcome {
        let number = self.arrived.get();
        self.arrived.set(number + 1);
        arrival.into_outcome(wish, Slip { line: Rc::clone(self), number })
    }

    pub(crate) fn set_taker(&self, taker: impl Fn(T) -> Option<T> + 'static) {
        self.taker.replace(Some(Box::new(taker)));
    }

    /// A request for what was given back, or for what comes next: the one that `begin` begins.
    pub(crate) fn ask(
        self: &Rc<Self>,
        runtime: &Rc<Runtime>,
        class: Class,
        wish: T::Wish,
        begin: impl FnOnce() -> Rc<Request>,
    ) -> Rc<Request> {
        let returned = self.returned.borrow_mut().pop_front();
        if let Some((number, arrival)) = returned {
            let request = Request::new(runtime, class);
            request.settle(Ok(arrival.into_outcome(wish, Slip { line: Rc::clone(self), number })));
            return request;
        }
        let request = begin();
        let waits = |(request, _): &(Weak<Request>, _)| request.upgrade().is_some_and(|request| !request.is_settled());
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(|first| !waits(first)) {
            waiting.pop_front();
        }
        line_up(&mut waiting, waits, (Rc::downgrade(&request), wish));
        request
    }

    /// It is for who waits first, or else for the next to ask.
    fn give_back(self: &Rc<Self>, number: u64, arrival: T) {
        let next = std::iter::from_fn(|| self.waiting.borrow_mut().pop_front())
            .find_map(|(request, wish)| Some((request.upgrade().filter(|request| !request.is_settled())?, wish)));
        if let Some((request, wish)) = next {
            return request.settle_early(arrival.into_outcome(wish, Slip { line: Rc::clone(self), number }));
        }
        let left = match &*self.taker.borrow() {
            Some(taker) => taker(arrival),
            None => Some(arrival),
        };
        if let Some(arrival) = left {
            let mut returned = self.returned.borrow_mut();
            let index = returned.partition_point(|(other, _)| *other < number);
            returned.insert(index, (number, arrival));
        }
    }
}
