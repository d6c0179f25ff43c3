//! Receives and sends of one task each, whose buffers are lent to the engine. The engine names their outcomes by numbers: such a
//! transfer needs neither a closure nor a request of the host's.
//!
//! A buffer stays where it is until the engine has said what became of its transfer; until then the kernel may use it, and
//! nobody looks at it. It stays at the end too: a transfer keeps its stream, and that the runtime, so that what the engine has
//! not told of is never freed.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corella::{Error, HostedOutcome, HostedOutcomes, HostedTransfer, RequestId, Socket, submit_hosted_plain};
use slab::Slab;

use crate::stream::Stream;
use crate::tasks::TaskKey;

/// Room for so many is kept when there are none.
const PLACES_KEPT: usize = 4096;

/// What a task waits for on a connection.
pub(crate) struct Lent {
    pub(crate) stream: Rc<Stream>,
    pub(crate) task: TaskKey,
    pub(crate) what: Transfer,
}

#[derive(Clone, Copy)]
pub(crate) enum Transfer {
    /// At least one byte, and no more than there is room for in the buffer.
    Receive,
    /// The rest of so many bytes that a script sends; the others are gone already.
    Send { whole: usize },
}

/// One that has ended: what came, how many bytes moved, and why it failed.
pub(crate) struct Arrival {
    pub(crate) lent: Lent,
    pub(crate) buffer: Vec<u8>,
    pub(crate) moved: usize,
    pub(crate) error: Option<Error>,
}

pub(crate) struct Transfers {
    /// By their numbers, with the buffers that are lent.
    waiting: RefCell<Slab<(Lent, Vec<u8>)>>,
    outcomes: Rc<HostedOutcomes>,
    /// In the order of their ends, and how many of them have been taken.
    ended: RefCell<Vec<HostedOutcome>>,
    taken: Cell<usize>,
}

impl Transfers {
    pub(crate) fn new(outcomes: Rc<HostedOutcomes>) -> Transfers {
        Transfers { waiting: RefCell::default(), outcomes, ended: RefCell::default(), taken: Cell::new(0) }
    }

    /// Begins a receive into the whole room of `buffer`, or a send of what it has. Nothing has begun if the engine has something
    /// in its way; then the buffer comes back.
    #[inline(always)]
    pub(crate) fn begin(
        &self,
        socket: &Socket,
        lent: Lent,
        mut buffer: Vec<u8>,
        is_in_turn: bool,
    ) -> Result<RequestId, Vec<u8>> {
        let mut waiting = self.waiting.borrow_mut();
        let vacant = waiting.vacant_entry();
        let Ok(number) = u32::try_from(vacant.key()) else { return Err(buffer) };
        let (transfer, length) = match lent.what {
            Transfer::Receive => (HostedTransfer::Receive { socket, exact: false }, buffer.capacity()),
            Transfer::Send { .. } => (HostedTransfer::Send { socket }, buffer.len()),
        };
        match submit_hosted_plain(transfer, (buffer.as_mut_ptr(), length), number, is_in_turn) {
            Some(id) => {
                vacant.insert((lent, buffer));
                Ok(id)
            }
            None => Err(buffer),
        }
    }

    /// Looks for what has ended.
    pub(crate) fn fetch(&self) {
        if self.outcomes.is_empty() {
            return;
        }
        let mut ended = self.ended.borrow_mut();
        let taken = self.taken.replace(0);
        if taken == ended.len() {
            ended.clear();
            ended.shrink_to(PLACES_KEPT);
            self.outcomes.fetch(&mut ended);
        } else {
            let mut more = Vec::new();
            self.outcomes.fetch(&mut more);
            ended.drain(..taken);
            ended.append(&mut more);
        }
    }

    /// How many have ended that were not taken.
    pub(crate) fn ended(&self) -> usize {
        self.ended.borrow().len() - self.taken.get()
    }

    /// The next that has ended.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Arrival> {
        let taken = self.taken.get();
        let mut ended = self.ended.borrow_mut();
        let HostedOutcome { name, moved, error } = ended.get_mut(taken)?;
        let (name, moved, error) = (*name, moved.bytes() as usize, error.take());
        self.taken.set(taken + 1);
        let mut waiting = self.waiting.borrow_mut();
        let (lent, mut buffer) = waiting.try_remove(name as usize)?;
        if waiting.is_empty() {
            give_room_back(&mut waiting);
        }
        if let Transfer::Receive = lent.what {
            debug_assert!(moved <= buffer.capacity());
            // SAFETY: `begin` lent the whole room of this buffer, which nobody has had since. Its receive has ended with this, so
            // that the OS is done with it, and has written so many bytes from its start.
            unsafe { buffer.set_len(moved) };
        }
        Some(Arrival { lent, buffer, moved, error })
    }
}

/// After a crowd its room is given back.
#[cold]
fn give_room_back(waiting: &mut Slab<(Lent, Vec<u8>)>) {
    if waiting.capacity() > PLACES_KEPT {
        *waiting = Slab::new();
    }
}
