//! Channels: values that tasks hand to each other, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use mlua::{IntoLua, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::arguments::Arguments;
use crate::failure::OperationError;
use crate::received::Received;
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::verb::{direct, verb, verb_with_own};

/// A list of waiting tasks this long is looked through for those that wait no longer, whenever it has doubled.
const LOOKED_THROUGH_FROM: usize = 32;

struct State {
    /// So many values are taken without a receiver.
    capacity: usize,
    values: VecDeque<Value>,
    /// The first of them were given back, and had been handed over after so many others.
    given_back: VecDeque<u64>,
    handed_over: u64,
    /// Those who wait until there is room, or a receiver.
    senders: VecDeque<(Value, Rc<Request>)>,
    /// Those who wait for a value; then there are none.
    receivers: VecDeque<Rc<Request>>,
    is_closed: bool,
}

/// What a script holds of a channel.
#[derive(Clone)]
pub(crate) struct Channel {
    runtime: Rc<Runtime>,
    state: Rc<RefCell<State>>,
}

impl UserData for Channel {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Channel");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Channel"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            let state = this.state.borrow();
            let count = state.values.len() + state.senders.iter().filter(|(_, sender)| !sender.is_settled()).count();
            let closed = if state.is_closed { "closed, " } else { "" };
            Ok(format!("Channel ({closed}{count} values)"))
        });
    }
}

/// Adds one who waits, and now and then lets go of those that wait no longer.
pub(crate) fn line_up<T>(line: &mut VecDeque<T>, waits: impl Fn(&T) -> bool, one: T) {
    if line.len() >= LOOKED_THROUGH_FROM && line.len().is_power_of_two() {
        line.retain(waits);
    }
    line.push_back(one);
}

/// A value as the result of a receive.
fn given(value: Value) -> Outcome {
    Outcome::Values(MultiValue::from_vec(vec![value]))
}

impl State {
    fn next_receiver(&mut self) -> Option<Rc<Request>> {
        std::iter::from_fn(|| self.receivers.pop_front()).find(|request| !request.is_settled())
    }

    fn next_sender(&mut self) -> Option<(Value, Rc<Request>)> {
        std::iter::from_fn(|| self.senders.pop_front()).find(|(_, request)| !request.is_settled())
    }

    /// The next value, and who was waiting for it to go.
    fn next_value(&mut self) -> Option<(Value, Option<Rc<Request>>)> {
        match self.values.pop_front() {
            Some(value) => {
                self.given_back.pop_front();
                // What was given back may be more than there is room for.
                let has_room = self.values.len() < self.capacity;
                let moved_up = if has_room { self.next_sender() } else { None };
                let moved_up = moved_up.map(|(value, sender)| {
                    self.values.push_back(value);
                    sender
                });
                Some((value, moved_up))
            }
            None => self.next_sender().map(|(value, sender)| (value, Some(sender))),
        }
    }
}

/// A value that a task alone waited for.
struct Sent {
    channel: Channel,
    /// So many had been handed over before it.
    number: u64,
    value: Value,
}

impl Received for Sent {
    fn into_values(self: Box<Self>, _: &Lua, _: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        Ok(MultiValue::from_vec(vec![self.value]))
    }

    fn give_back(self: Box<Self>) {
        let Sent { channel, number, value } = *self;
        let mut state = channel.state.borrow_mut();
        if let Some(receiver) = state.next_receiver() {
            drop(state);
            return channel.hand_over(number, value, &receiver);
        }
        let index = state.given_back.partition_point(|other| *other < number);
        state.given_back.insert(index, number);
        state.values.insert(index, value);
    }
}

impl Channel {
    fn send(&self, value: Value, arguments: &Arguments) -> Rc<Request> {
        let mut state = self.state.borrow_mut();
        if state.is_closed {
            let error = OperationError::new(corella::ErrorKind::Closed, "send", "a channel", "the channel is closed");
            return Request::settled(&self.runtime, Err(error.into()));
        }
        if let Some(receiver) = state.next_receiver() {
            let number = state.handed_over;
            state.handed_over += 1;
            drop(state);
            self.hand_over(number, value, &receiver);
            return Request::settled(&self.runtime, Ok(Outcome::Nothing));
        }
        if state.values.len() < state.capacity {
            state.values.push_back(value);
            return Request::settled(&self.runtime, Ok(Outcome::Nothing));
        }
        let request = Request::new(&self.runtime, Class::Internal);
        request.set_stop(Stop::Settle("send"));
        line_up(&mut state.senders, |(_, sender)| !sender.is_settled(), (value, Rc::clone(&request)));
        drop(state);
        request.limit(arguments.options.deadline, "send", || {});
        request
    }

    /// Gives a value to who waits for one.
    fn hand_over(&self, number: u64, value: Value, receiver: &Request) {
        receiver.settle(Ok(match receiver.is_of_one_task() {
            true => Outcome::Received(Box::new(Sent { channel: self.clone(), number, value })),
            false => given(value),
        }));
    }

    fn receive(&self, arguments: &Arguments) -> Rc<Request> {
        let mut state = self.state.borrow_mut();
        let next = state.next_value();
        if let Some((value, sender)) = next {
            drop(state);
            sender.into_iter().for_each(|sender| sender.settle(Ok(Outcome::Nothing)));
            return Request::settled(&self.runtime, Ok(given(value)));
        }
        if state.is_closed {
            return Request::settled(&self.runtime, Ok(Outcome::Nothing));
        }
        let request = Request::new(&self.runtime, Class::Internal);
        request.set_stop(Stop::Settle("receive"));
        line_up(&mut state.receivers, |receiver| !receiver.is_settled(), Rc::clone(&request));
        drop(state);
        request.limit(arguments.options.deadline, "receive", || {});
        request
    }

    fn close(&self) {
        let receivers = {
            let mut state = self.state.borrow_mut();
            state.is_closed = true;
            std::mem::take(&mut state.receivers)
        };
        receivers.into_iter().for_each(|receiver| receiver.settle(Ok(Outcome::Nothing)));
    }
}

fn channel_of(arguments: &mut Arguments) -> Result<Channel, String> {
    let object = arguments.object::<Channel>("Channel")?;
    let channel = object.borrow::<Channel>().map_err(|error| error.to_string())?;
    Ok(channel.clone())
}

/// `Scheduler.channel(capacity)`.
pub(crate) fn new_channel(lua: &Lua, runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Value, String> {
    let capacity = arguments.optional_count("capacity")?.unwrap_or(0);
    let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
    let state = State {
        capacity,
        values: VecDeque::new(),
        given_back: VecDeque::new(),
        handed_over: 0,
        senders: VecDeque::new(),
        receivers: VecDeque::new(),
        is_closed: false,
    };
    let channel = Channel { runtime: Rc::clone(runtime), state: Rc::new(RefCell::new(state)) };
    channel.into_lua(lua).map_err(|error| error.to_string())
}

/// Adds Channel's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, verbs: &Table) -> mlua::Result<()> {
    // The value may be a table or a function.
    verb_with_own(lua, verbs, "send", 2, |_, arguments| {
        let channel = channel_of(arguments)?;
        match arguments.any() {
            Value::Nil => Err(arguments.wrong("value", "nil cannot be sent: it is what a closed channel gives")),
            value => Ok(channel.send(value, arguments)),
        }
    })?;
    verb(lua, verbs, "receive", |_, arguments| Ok(channel_of(arguments)?.receive(arguments)))
}

/// Adds Channel's calls that finish at once to `methods`.
pub(crate) fn install(lua: &Lua, methods: &Table) -> mlua::Result<()> {
    direct(lua, methods, "close", |_, arguments| {
        channel_of(arguments)?.close();
        Ok(())
    })?;
    direct(lua, methods, "is_closed", |_, arguments| {
        let channel = channel_of(arguments)?;
        let is_closed = channel.state.borrow().is_closed;
        Ok(is_closed)
    })
}
