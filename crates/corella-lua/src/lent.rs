//! Receives and sends of one task each, whose buffers are lent to the engine. The engine names their outcomes by numbers: such a
//! transfer needs neither a closure nor a request of the host's.
//!
//! A buffer stays where it is until the engine has said what became of its transfer; until then the kernel may use it, and
//! nobody looks at it. It stays at the end too: a transfer keeps its stream, and that the runtime, so that what the engine has
//! not told of is never freed.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use corella::{Error, HostedOutcome, HostedOutcomes, HostedTransfer, RequestId, Socket, submit_hosted_plain};

use crate::stream::Stream;
use crate::tasks::TaskKey;

/// Room for so many is kept when there are none.
const PLACES_KEPT: usize = 4096;

/// No place.
const NONE: u32 = u32::MAX;

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
    outcomes: Rc<HostedOutcomes>,
    state: RefCell<State>,
}

struct State {
    /// By their numbers. A place is written and read where it is: a transfer is moved as a whole only when it has ended.
    places: Vec<Place>,
    first_free: u32,
    waiting: usize,
    /// In the order of their ends, and how many of them have been taken.
    ended: Vec<HostedOutcome>,
    taken: usize,
}

/// Room for a transfer.
struct Place {
    /// There while there is a transfer.
    lent: Option<Lent>,
    /// What is lent.
    buffer: Vec<u8>,
    next_free: u32,
}

impl Default for State {
    fn default() -> State {
        State { places: Vec::new(), first_free: NONE, waiting: 0, ended: Vec::new(), taken: 0 }
    }
}

impl Transfers {
    pub(crate) fn new(outcomes: Rc<HostedOutcomes>) -> Transfers {
        Transfers { outcomes, state: RefCell::default() }
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
        let mut state = self.state.borrow_mut();
        let State { places, first_free, waiting, .. } = &mut *state;
        if *first_free == NONE {
            let Ok(number) = u32::try_from(places.len()) else { return Err(buffer) };
            places.push(Place { lent: None, buffer: Vec::new(), next_free: NONE });
            *first_free = number;
        }
        let (transfer, length) = match lent.what {
            Transfer::Receive => (HostedTransfer::Receive { socket, exact: false }, buffer.capacity()),
            Transfer::Send { .. } => (HostedTransfer::Send { socket }, buffer.len()),
        };
        let number = *first_free;
        match submit_hosted_plain(transfer, (buffer.as_mut_ptr(), length), number, is_in_turn) {
            Some(id) => {
                let place = &mut places[number as usize];
                (place.lent, place.buffer) = (Some(lent), buffer);
                *first_free = place.next_free;
                *waiting += 1;
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
        let State { ended, taken, .. } = &mut *self.state.borrow_mut();
        let taken = std::mem::take(taken);
        if taken == ended.len() {
            ended.clear();
            ended.shrink_to(PLACES_KEPT);
            self.outcomes.fetch(ended);
        } else {
            let mut more = Vec::new();
            self.outcomes.fetch(&mut more);
            ended.drain(..taken);
            ended.append(&mut more);
        }
    }

    /// How many there are, those that have ended and were not taken with them.
    pub(crate) fn waiting(&self) -> usize {
        self.state.borrow().waiting
    }

    /// Whether some have ended that were not even looked for.
    pub(crate) fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// How many have ended that were not taken.
    pub(crate) fn ended(&self) -> usize {
        let state = self.state.borrow();
        state.ended.len() - state.taken
    }

    /// The next that has ended.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Arrival> {
        let mut state = self.state.borrow_mut();
        let State { places, first_free, waiting, ended, taken } = &mut *state;
        let HostedOutcome { name, moved, error } = ended.get_mut(*taken)?;
        *taken += 1;
        let place = places.get_mut(*name as usize)?;
        let (lent, mut buffer) = (place.lent.take()?, std::mem::take(&mut place.buffer));
        place.next_free = *first_free;
        *first_free = *name;
        let (moved, error) = (moved.bytes() as usize, error.take());
        *waiting -= 1;
        if *waiting == 0 && places.len() > PLACES_KEPT {
            // After a crowd its room is given back.
            (*places, *first_free) = (Vec::new(), NONE);
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
