//! What was received for a task that alone can ask for it. If the task is killed before its turn it is given back, and is for
//! the next to ask: nothing that was received is lost.

use std::rc::{Rc, Weak};

use mlua::{Lua, MultiValue, Value};

use crate::encoding::Encoding;
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
    /// Where the stream was after them, and how many times it had been opened or moved.
    pub(crate) end: u64,
    pub(crate) moves: u32,
}

impl Received for Taken {
    fn into_values(self: Box<Self>, lua: &Lua, _: &Rc<Runtime>) -> mlua::Result<MultiValue> {
        Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(self.bytes)?)]))
    }

    fn give_back(self: Box<Self>) {
        let Taken { stream, bytes, encoding, end, moves } = *self;
        let Some(stream) = stream.upgrade() else { return };
        // They were characters of this encoding, so it has them all.
        let Ok(bytes) = encoding.encode(bytes) else { return };
        let (is_there, was_read_on) = stream.with_buffers(|buffers| {
            let was_read_on = buffers.can_seek && (buffers.position != end || buffers.is_lent);
            (buffers.is_open() && buffers.moves == moves, was_read_on)
        });
        // Bytes of a file stand there still, and whoever has read on is not taken back.
        if is_there && !was_read_on {
            stream.give_back(&bytes);
        }
    }
}
