//! Receives of one task each, whose buffers are lent to the engine. The engine names their outcomes by numbers: a receive needs
//! neither a closure nor a request of the host's.
//!
//! A buffer stays where it is until the engine has said what became of its receive; until then the kernel may write to it, and
//! nobody looks at it. It stays at the end too: a receive keeps its stream, and that the runtime, so that what the engine has not
//! told of is never freed.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corella::{Error, HostedOutcome, HostedOutcomes, HostedTransfer, RequestId, Socket, submit_hosted_plain};
use slab::Slab;

use crate::stream::Stream;
use crate::tasks::TaskKey;

/// What a task waits for on a connection.
pub(crate) struct Receive {
    pub(crate) stream: Rc<Stream>,
    pub(crate) task: TaskKey,
    /// At least one byte, and no more than this.
    pub(crate) most: usize,
}

/// One that has ended, with what came and why it failed.
pub(crate) struct Arrival {
    pub(crate) receive: Receive,
    pub(crate) bytes: Vec<u8>,
    pub(crate) error: Option<Error>,
}

pub(crate) struct Receives {
    /// By their numbers, with the buffers that are lent.
    waiting: RefCell<Slab<(Receive, Vec<u8>)>>,
    outcomes: Rc<HostedOutcomes>,
    /// In the order of their ends, and how many of them have been taken.
    ended: RefCell<Vec<HostedOutcome>>,
    taken: Cell<usize>,
}

impl Receives {
    pub(crate) fn new(outcomes: Rc<HostedOutcomes>) -> Receives {
        Receives { waiting: RefCell::default(), outcomes, ended: RefCell::default(), taken: Cell::new(0) }
    }

    /// Begins a receive into the whole room of `buffer`. Nothing has begun if the engine has something in its way; then the
    /// buffer comes back.
    #[inline]
    pub(crate) fn begin(
        &self,
        socket: &Socket,
        receive: Receive,
        mut buffer: Vec<u8>,
        is_in_turn: bool,
    ) -> Result<RequestId, Vec<u8>> {
        let mut waiting = self.waiting.borrow_mut();
        let vacant = waiting.vacant_entry();
        let Ok(number) = u32::try_from(vacant.key()) else { return Err(buffer) };
        let room = (buffer.as_mut_ptr(), buffer.capacity());
        let transfer = HostedTransfer::Receive { socket, exact: false };
        match submit_hosted_plain(transfer, room, number, is_in_turn) {
            Some(id) => {
                vacant.insert((receive, buffer));
                Ok(id)
            }
            None => Err(buffer),
        }
    }

    /// Looks for what has ended. Whether there is more than before.
    pub(crate) fn fetch(&self) -> bool {
        if self.outcomes.is_empty() {
            return false;
        }
        let mut ended = self.ended.borrow_mut();
        let taken = self.taken.replace(0);
        if taken == ended.len() {
            ended.clear();
            self.outcomes.fetch(&mut ended);
        } else {
            let mut more = Vec::new();
            self.outcomes.fetch(&mut more);
            ended.drain(..taken);
            ended.append(&mut more);
        }
        true
    }

    /// How many have ended that were not taken.
    pub(crate) fn ended(&self) -> usize {
        self.ended.borrow().len() - self.taken.get()
    }

    /// The next that has ended.
    #[inline]
    pub(crate) fn next(&self) -> Option<Arrival> {
        let taken = self.taken.get();
        let mut ended = self.ended.borrow_mut();
        let HostedOutcome { name, moved, error } = ended.get_mut(taken)?;
        let (name, moved, error) = (*name, *moved, error.take());
        self.taken.set(taken + 1);
        let (receive, mut bytes) = self.waiting.borrow_mut().try_remove(name as usize)?;
        debug_assert!(moved.bytes() <= bytes.capacity() as u64);
        // SAFETY: `begin` lent the whole room of this buffer, which nobody has had since. Its receive has ended with this, so that
        // the OS is done with it, and has written so many bytes from its start.
        unsafe { bytes.set_len(moved.bytes() as usize) };
        Some(Arrival { receive, bytes, error })
    }
}
