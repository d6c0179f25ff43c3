//! Datagram sockets, as scripts hold them: the operations of `Socket` that are about whole messages.

use std::rc::Rc;
use std::time::Duration;

use corella::actions::Writing;
use corella::{Address, Datagram, DatagramSocket, Operation};
use mlua::{Lua, MultiValue, Value};

use crate::address::Endpoint;
use crate::failure::{Failure, OperationError};
use crate::received::Received;
use crate::request::{Class, Outcome, Request};
use crate::runtime::Runtime;

/// One that was received: its bytes, if `tells_sender` its sender, and its length if it was longer than asked for. Lua's
/// values are made of it when it is asked for, outside of the scheduler's turn.
struct Message {
    datagram: Datagram<Vec<u8>>,
    tells_sender: bool,
}

impl Received for Message {
    fn into_values(self: Box<Self>, lua: &Lua, _: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        let is_truncated = self.datagram.is_truncated();
        let Datagram { buffer, count, size, sender, .. } = self.datagram;
        let mut values = vec![Value::String(lua.create_string(&buffer[..count])?)];
        if self.tells_sender {
            values.push(Value::UserData(lua.create_userdata(Endpoint(sender))?));
        }
        if is_truncated {
            values.push(Value::Integer(size.unwrap_or(count + 1) as i64));
        }
        Ok(MultiValue::from_vec(values))
    }

    fn give_back(self: Box<Self>) {}
}

/// Receives one datagram.
pub(crate) fn receive(
    runtime: &Rc<Runtime>,
    socket: &DatagramSocket,
    length: usize,
    tells_sender: bool,
    deadline: Option<Duration>,
) -> Rc<Request> {
    let mut buffer = Vec::new();
    if buffer.try_reserve_exact(length).is_err() {
        let why = format!("there is no memory for {length} bytes");
        let error = OperationError::invalid(format!("recvfrom {length} bytes"), "", why);
        return Request::settled(runtime, Err(error.into()));
    }
    // The memory may be more than was asked for, and is not to be filled beyond that.
    buffer.resize(length, 0);
    let keeps = socket.clone();
    runtime.begin(Class::Counted, deadline, socket.recv_from(buffer), move |outcome| {
        drop(keeps);
        Ok(Outcome::Received(Box::new(Message { datagram: outcome?, tells_sender })))
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
