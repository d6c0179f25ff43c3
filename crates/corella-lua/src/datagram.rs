//! Datagram sockets, as scripts hold them: the operations of `Socket` that are about whole messages.

use std::rc::Rc;
use std::time::Duration;

use corella::actions::Writing;
use corella::{Address, Datagram, DatagramSocket, Operation};
use mlua::{Lua, MultiValue, Value};

use crate::address::Endpoint;
use crate::failure::Failure;
use crate::received::{Arrival, Line, Received, Slip};
use crate::request::{Class, Outcome, Request};
use crate::runtime::Runtime;

/// So much of a datagram is received at most. Those of the Unix domain may be as large as what a socket may have in flight.
const DATAGRAM_MAX: usize = 16 << 20;

/// One that was received: its bytes, if `tells_sender` its sender, and its length if it was longer than asked for. Lua's
/// values are made of it when it is asked for, outside of the scheduler's turn.
struct Message {
    datagram: Datagram<Vec<u8>>,
    wish: Wish,
    slip: Slip<Datagram<Vec<u8>>>,
}

/// What was given back to a datagram socket, and who waits.
pub(crate) type DatagramLine = Line<Datagram<Vec<u8>>>;

/// How much of a datagram is wanted, and whether its sender.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) length: usize,
    pub(crate) tells_sender: bool,
}

impl Arrival for Datagram<Vec<u8>> {
    type Wish = Wish;

    fn into_outcome(self, wish: Wish, slip: Slip<Self>) -> Outcome {
        Outcome::Received(Box::new(Message { datagram: self, wish, slip }))
    }
}

impl Received for Message {
    fn into_values(self: Box<Self>, lua: &Lua, _: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        let Message { mut datagram, wish, .. } = *self;
        // One that was given back may be longer than there is room for now.
        datagram.count = datagram.count.min(wish.length);
        let is_truncated = datagram.is_truncated();
        let Datagram { buffer, count, size, sender, .. } = datagram;
        let mut values = vec![Value::String(lua.create_string(&buffer[..count])?)];
        if wish.tells_sender {
            values.push(Value::UserData(lua.create_userdata(Endpoint(sender))?));
        }
        if is_truncated {
            values.push(Value::Integer(size.unwrap_or(count + 1) as i64));
        }
        Ok(MultiValue::from_vec(values))
    }

    fn give_back(self: Box<Self>) {
        self.slip.give_back(self.datagram);
    }
}

/// Receives one datagram.
pub(crate) fn receive(
    runtime: &Rc<Runtime>,
    (socket, line): (DatagramSocket, Rc<DatagramLine>),
    wish: Wish,
    deadline: Option<Duration>,
) -> Rc<Request> {
    let length = wish.length;
    // What no datagram fills the system need not have: these pages are zero without having been written.
    let buffer = vec![0; length.min(DATAGRAM_MAX)];
    line.ask(runtime, Class::Counted, wish, || {
        let line = Rc::clone(&line);
        runtime.begin(Class::Counted, deadline, socket.recv_from(buffer), move |outcome| {
            drop(socket);
            Ok(line.outcome(outcome?, wish))
        })
    })
}

/// Sends one datagram, to an address or to the peer.
pub(crate) fn send(
    runtime: &Rc<Runtime>,
    socket: &DatagramSocket,
    bytes: Vec<u8>,
    address: Option<Address>,
    deadline: Option<Duration>,
) -> Rc<Request> {
    let operation: Operation<Writing<Vec<u8>>> = match address {
        Some(address) => socket.send_to(bytes, address),
        None => socket.send(bytes),
    };
    let keeps = socket.clone();
    runtime.begin(Class::Counted, deadline, operation, move |outcome| {
        drop(keeps);
        let (count, _) = outcome.map_err(Failure::from)?;
        Ok(Outcome::Values(MultiValue::from_vec(vec![Value::Integer(count as i64)])))
    })
}
