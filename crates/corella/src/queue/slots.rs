//! Slots: one for each request, at a stable address, named by index and generation.

use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::task::Waker;

use super::extents::{NO_PLACES, Places};
use super::handles::HandleKey;
use super::outcome::{Sort, State};
use super::timers::{NO_TIMER, Nanoseconds};
use crate::backend::{Token, Value};
use crate::erased::{Erased, move_over};
use crate::error::{Error, Moved};
use crate::op::{Lanes, Op};
use crate::planted::{self, Defect};
use crate::scheduler::tasks::TaskWaker;
use crate::scheduler::{Core, Io, token::Registration};

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Storage for what a request carries: the caller's buffer, in up to eight words without allocating.
pub(crate) type Payload = Erased<8>;
/// Storage for a callback, in up to eight words without allocating.
pub(crate) type CallbackStorage = Erased<8>;

/// Names one request, for good: a number that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl RequestId {
    pub(crate) fn token(self) -> Token {
        Token(u64::from(self.generation) << 32 | u64::from(self.index))
    }

    pub(crate) fn from_token(token: Token) -> RequestId {
        RequestId { index: token.0 as u32, generation: (token.0 >> 32) as u32 }
    }
}

/// Who asked for a request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Cancel,
    Deadline,
    Abandon,
    Close,
    Shutdown,
}

/// How a request ended, for its ending.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) result: Result<Value, Error>,
    pub(crate) moved: Moved,
}

impl Report {
    /// Of a success that moved so many bytes.
    #[inline(always)]
    pub(crate) fn of_bytes(count: u64) -> Report {
        Report { result: Ok(Value::Count(count)), moved: Moved::Bytes(count) }
    }
}

/// How a request ended, as its slot tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// As a success that moved so many bytes, of which there is no report.
    Bytes(u64),
    Report(Report),
}

/// What a request of several steps does after one of them.
pub(crate) enum ChainStep {
    /// It is over.
    Settle(Report),
    /// It goes on as this operation on this handle, with the same payload, deadline and ending.
    Next(Op, HandleKey),
}

/// Decides on the next step; called by the scheduler, outside the queue.
pub(crate) type Chain = fn(&mut Payload, &Io, Report) -> ChainStep;

/// Knows the types of a callback: takes function, payload and report of a settled request out, makes the outcome, and calls.
pub(crate) type RunCallback = fn(&Core, RequestId);

/// A callback with everything needed to run it but the outcome.
pub(crate) struct Callback {
    pub(crate) function: CallbackStorage,
    pub(crate) run: RunCallback,
    /// Delivered right after the reaping, instead of as a task.
    pub(crate) direct: bool,
}

/// How the caller takes the outcome.
pub(crate) enum Ending {
    /// It asks: a `wait`, a status, or a future not yet polled again.
    Kept,
    /// A task of the scheduler's own that is to be polled when the request has settled.
    Task(Arc<TaskWaker>),
    /// A future that is to be polled when the request has settled, by its waker.
    Wake(Waker),
    Callback(Callback),
    /// A host by its own number for the request: told when the scheduler next delivers.
    Hosted(u32),
    /// Nobody; a failure goes to the scheduler's hook.
    Detached,
}

impl Ending {
    /// Whether there is a value of the program's in it.
    pub(crate) fn is_of_the_program(&self) -> bool {
        match self {
            Ending::Kept | Ending::Hosted(_) | Ending::Detached => false,
            Ending::Task(_) | Ending::Wake(_) => true,
            Ending::Callback(callback) => callback.function.is_some(),
        }
    }
}

/// Neighbours in a list of slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) previous: u32,
    pub(crate) next: u32,
}

impl Link {
    pub(crate) const UNLINKED: Link = Link { previous: NONE, next: NONE };
}

/// A request's place, which stays where it is and is used again: nothing of it is copied when a request comes or goes.
pub(crate) struct Slot {
    pub(crate) generation: u32,
    is_used: bool,
    /// The next free one, while this is free.
    next_free: u32,
    pub(crate) state: State,
    pub(crate) op: Op,
    /// The handle it is on, if any.
    pub(crate) handle: Option<HandleKey>,
    /// The lanes it is linked into.
    pub(crate) lanes: Lanes,
    pub(crate) links: [Link; Lanes::COUNT],
    /// Where it stands among the extents of its lane, if those are in use.
    pub(crate) places: Places,
    /// The last request before it on its handle beside which it cannot run, whatever it is.
    pub(crate) wall: Option<RequestId>,
    /// The earlier request that holds it back.
    pub(crate) blocker: u32,
    /// Its neighbours among those that wait for the same blocker.
    pub(crate) waiting: Link,
    /// The first of those that wait for this one.
    pub(crate) waiters: u32,
    /// Its deadline, or its end if it is a sleep, among the timers.
    pub(crate) timer: u32,
    /// Bytes moved so far.
    pub(crate) moved: u64,
    /// Where in the file it began, once that is known.
    pub(crate) origin: u64,
    pub(crate) submitted_at: Nanoseconds,
    /// The first who asked it to stop.
    pub(crate) cause: Option<Cause>,
    /// The OS has been given it at least once.
    pub(crate) begun: bool,
    /// It was stopped on its way, nobody knows where.
    pub(crate) stopped_somewhere: bool,
    /// How many queued writes ride on its call to the OS.
    pub(crate) joined: u32,
    pub(crate) unordered: bool,
    /// To be carried out by a bare system call if it can start at once.
    pub(crate) bare: bool,
    /// Nobody will take the outcome, and what it received goes back to the lane.
    pub(crate) abandoned: bool,
    /// It is counted among its handle's untaken ones.
    pub(crate) untaken: bool,
    /// More steps may follow this one.
    pub(crate) chain: Option<Chain>,
    pub(crate) registration: Option<Registration>,
    pub(crate) ending: Ending,
    pub(crate) payload: Payload,
    /// A plain transfer that succeeded: so many bytes were moved, and that is all there is to report.
    pub(crate) is_plain_success: bool,
    pub(crate) report: Option<Report>,
}

impl Slot {
    /// One that no request has.
    fn free(next_free: u32, generation: u32) -> Slot {
        Slot {
            generation,
            is_used: false,
            next_free,
            state: State::Held,
            op: Op::Sleep,
            handle: None,
            lanes: Lanes::NONE,
            links: [Link::UNLINKED; Lanes::COUNT],
            places: NO_PLACES,
            wall: None,
            blocker: NONE,
            waiting: Link::UNLINKED,
            waiters: NONE,
            timer: NO_TIMER,
            moved: 0,
            origin: 0,
            submitted_at: 0,
            cause: None,
            begun: false,
            stopped_somewhere: false,
            joined: 0,
            unordered: false,
            bare: false,
            abandoned: false,
            untaken: false,
            chain: None,
            registration: None,
            ending: Ending::Kept,
            payload: Payload::empty(),
            is_plain_success: false,
            report: None,
        }
    }

    /// Has it as it was before its request came, with another generation. Nothing of the program's is in it any more.
    #[inline(always)]
    fn clear(&mut self) {
        self.op.clear();
        self.registration = None;
        self.report = None;
        self.reset();
    }

    /// The same where nothing in it needs to be dropped. Named field by field, so that none is forgotten.
    #[inline(always)]
    fn reset(&mut self) {
        debug_assert!(!self.payload.is_some() && !self.ending.is_of_the_program());
        debug_assert!(self.registration.is_none() && self.report.is_none());
        let Slot {
            generation,
            is_used: _,
            next_free: _,
            state,
            op,
            handle,
            lanes,
            links,
            // Written before it is read, whenever extents are in use.
            places: _,
            wall,
            blocker,
            waiting,
            waiters,
            timer,
            moved,
            origin,
            submitted_at,
            cause,
            begun,
            stopped_somewhere,
            joined,
            unordered,
            bare,
            abandoned,
            untaken,
            chain,
            registration: _,
            ending,
            payload: _,
            is_plain_success,
            report: _,
        } = self;
        *generation = generation_after(*generation);
        (*state, *handle, *lanes) = (State::Held, None, Lanes::NONE);
        (*links, *wall) = ([Link::UNLINKED; Lanes::COUNT], None);
        (*blocker, *waiting, *waiters, *timer) = (NONE, Link::UNLINKED, NONE, NO_TIMER);
        (*moved, *origin, *submitted_at) = (0, 0, 0);
        (*cause, *begun, *stopped_somewhere, *joined) = (None, false, false, 0);
        (*unordered, *bare, *abandoned, *untaken) = (false, false, false, false);
        (*chain, *is_plain_success) = (None, false);
        debug_assert!(op.parts().is_none_or(|parts| parts.rest.capacity() == 0));
        // Nothing is left in these two; to find that out costs more than to say so.
        std::mem::forget(std::mem::replace(op, Op::Sleep));
        std::mem::forget(std::mem::replace(ending, Ending::Kept));
    }

    /// Puts in its request's operation, where there was none.
    #[inline(always)]
    pub(crate) fn begin(&mut self, op: Op) {
        // There is nothing to drop there; to find that out costs a call.
        std::mem::forget(std::mem::replace(&mut self.op, op));
    }

    /// Puts in what a request carries of the program's.
    #[inline(always)]
    pub(crate) fn carry(&mut self, payload: &mut Payload, ending: &mut Ending) {
        debug_assert!(!self.payload.is_some() && !self.ending.is_of_the_program());
        self.payload.take_over(payload);
        move_over(&mut self.ending, ending, Ending::Kept);
    }

    /// Puts in a host's name for its request, which carries nothing.
    #[inline(always)]
    pub(crate) fn carry_name(&mut self, name: u32) {
        debug_assert!(!self.payload.is_some() && !self.ending.is_of_the_program());
        // There is nothing to drop there; to find that out costs a call.
        std::mem::forget(std::mem::replace(&mut self.ending, Ending::Hosted(name)));
    }

    /// Takes out how its request ended.
    #[inline(always)]
    pub(crate) fn told(&mut self) -> Told {
        match self.is_plain_success {
            true => Told::Bytes(self.moved),
            false => Told::Report(self.report.take().unwrap_or_else(|| unreachable!("it has settled"))),
        }
    }

    /// The same as a report; nothing if it has been taken.
    pub(crate) fn take_report(&mut self) -> Option<Report> {
        match self.is_plain_success {
            true => Some(Report::of_bytes(self.moved)),
            false => self.report.take(),
        }
    }

    /// Whether its outcome is there to be taken.
    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Settled && self.chain.is_none()
    }

    pub(crate) fn sort(&self) -> Sort {
        match self.op {
            Op::Close => Sort::Close,
            _ if self.handle.is_none() => Sort::Free,
            _ => Sort::Laned,
        }
    }

    pub(crate) fn is_at_os(&self) -> bool {
        matches!(self.state, State::AtOs | State::CancelAsked)
    }
}

/// Never zero, so that a token is never zero; 30 bits, so that a backend has two for itself.
pub(super) fn generation_after(generation: u32) -> u32 {
    ((generation + 1) & 0x3fff_ffff).max(1)
}

const CHUNK: usize = 64;

/// Slots that are kept for good once there have been so many.
const KEPT: usize = 1024;

/// All slots. They grow in chunks and never move, and a freed one is used again first. After a burst the last chunks go.
pub(crate) struct Slots {
    chunks: Vec<Box<[Slot; CHUNK]>>,
    first_free: Option<u32>,
    used: usize,
    /// How many have been freed since it was last looked whether the last chunks can go.
    freed: usize,
    /// What a new one begins with: beyond that of any that is gone, so that none of its names is met again.
    first_generation: u32,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots { chunks: Vec::new(), first_free: None, used: 0, freed: 0, first_generation: 1 }
    }
}

impl Slots {
    fn get(&self, index: u32) -> Option<&Slot> {
        let chunk = self.chunks.get(index as usize / CHUNK)?;
        Some(&chunk[index as usize % CHUNK]).filter(|slot| slot.is_used)
    }

    fn grow(&mut self) -> u32 {
        let start = (self.chunks.len() * CHUNK) as u32;
        let next = |place: u32| if (place as usize + 1) < CHUNK { start + place + 1 } else { NONE };
        let generation = self.first_generation;
        let chunk: Box<[Slot]> = (0..CHUNK as u32).map(|place| Slot::free(next(place), generation)).collect();
        let Ok(chunk) = chunk.try_into() else { unreachable!("a chunk has so many slots") };
        self.chunks.push(chunk);
        start
    }

    /// A slot for a request of this operation, and nothing else in it.
    #[inline(always)]
    pub(crate) fn insert(&mut self, op: Op) -> u32 {
        let (id, slot) = self.insert_named();
        slot.begin(op);
        id.index
    }

    /// A slot for a request whose operation is yet to be put in, with its name.
    #[inline(always)]
    pub(crate) fn insert_named(&mut self) -> (RequestId, &mut Slot) {
        let index = match self.first_free {
            Some(index) => index,
            None => self.grow(),
        };
        let slot = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
        assert!(!slot.is_used, "the free list holds free slots");
        slot.is_used = true;
        self.used += 1;
        self.first_free = (slot.next_free != NONE).then_some(slot.next_free);
        (RequestId { index, generation: slot.generation }, slot)
    }

    /// Frees a slot in which nothing of the program's is left.
    #[inline(always)]
    pub(crate) fn remove(&mut self, index: u32) {
        self.remove_with(index, Slot::clear);
    }

    /// The same where nothing in it needs to be dropped.
    #[inline(always)]
    pub(crate) fn remove_plain(&mut self, index: u32) {
        self.remove_with(index, Slot::reset);
    }

    #[inline(always)]
    fn remove_with(&mut self, index: u32, clear: fn(&mut Slot)) {
        let next = self.first_free.replace(index).unwrap_or(NONE);
        let slot = &mut self[index];
        slot.is_used = false;
        slot.next_free = next;
        clear(slot);
        self.used -= 1;
        self.freed += 1;
        if self.chunks.len() > KEPT / CHUNK {
            self.consider_shrinking();
        }
    }

    /// A look at the last chunks is worth it once most slots are free; not at each one that is freed, as what is used may be
    /// in the last of them.
    fn consider_shrinking(&mut self) {
        let there_are = self.chunks.len() * CHUNK;
        let wait = if self.used < KEPT { CHUNK } else { there_are / 8 };
        if 4 * self.used < there_are && (self.freed > wait || self.used == 0) {
            self.shrink();
        }
    }

    /// Frees chunks at the end in which nothing is used, if most slots are free: not all of those, as they may be wanted
    /// again.
    #[cold]
    fn shrink(&mut self) {
        self.freed = 0;
        let kept = (4 * self.used).max(KEPT).div_ceil(CHUNK);
        let is_free = |chunk: &[Slot; CHUNK]| chunk.iter().all(|slot| !slot.is_used);
        let spare = self.chunks.iter().rev().take_while(|chunk| is_free(chunk)).count();
        let left = (self.chunks.len() - spare).max(kept);
        if left >= self.chunks.len() {
            return;
        }
        for slot in self.chunks.drain(left..).flat_map(|chunk| *chunk) {
            self.first_generation = self.first_generation.max(slot.generation);
        }
        self.chunks.shrink_to(2 * left);
        // The list anew, without those that are gone.
        self.first_free = None;
        for index in (0..(left * CHUNK) as u32).rev() {
            let slot = &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK];
            if !slot.is_used {
                slot.next_free = self.first_free.replace(index).unwrap_or(NONE);
            }
        }
    }

    /// The index of a request that still exists.
    pub(crate) fn find(&self, id: RequestId) -> Option<u32> {
        let slot = self.get(id.index)?;
        (slot.generation == id.generation || planted::is(Defect::StaleNameMeetsTheNext)).then_some(id.index)
    }

    /// The slot of a request that still exists.
    #[inline(always)]
    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(id.index as usize / CHUNK)?;
        let slot = &mut chunk[id.index as usize % CHUNK];
        let is_it = slot.generation == id.generation || planted::is(Defect::StaleNameMeetsTheNext);
        (slot.is_used && is_it).then_some(slot)
    }

    pub(crate) fn id(&self, index: u32) -> RequestId {
        RequestId { index, generation: self[index].generation }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let slots = (0..).zip(self.chunks.iter().flat_map(|chunk| chunk.iter()));
        slots.filter(|(_, slot)| slot.is_used)
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    #[inline(always)]
    fn index(&self, index: u32) -> &Slot {
        match self.get(index) {
            Some(slot) => slot,
            None => unreachable!("slot {index} is not in use"),
        }
    }
}

impl IndexMut<u32> for Slots {
    #[inline(always)]
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        match self.chunks.get_mut(index as usize / CHUNK) {
            Some(chunk) if chunk[index as usize % CHUNK].is_used => &mut chunk[index as usize % CHUNK],
            _ => unreachable!("slot {index} is not in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_most_slots_go_and_no_name_of_theirs_is_met_again() {
        let mut slots = Slots::default();
        let early = slots.insert(Op::Sleep);
        let burst: Vec<_> = (0..100_000).map(|_| slots.insert(Op::Sleep)).collect();
        let names: Vec<_> = burst.iter().map(|index| slots.id(*index)).collect();
        for index in burst {
            slots.remove(index);
        }
        // Whoever came last kept the last chunk; the next look is that of what comes after.
        for _ in 0..=CHUNK {
            let index = slots.insert(Op::Sleep);
            slots.remove(index);
        }
        assert!(slots.chunks.len() <= 2 * KEPT / CHUNK, "{} chunks are left", slots.chunks.len());
        assert!(slots.find(slots.id(early)).is_some());
        let anew: Vec<_> = (0..100_000).map(|_| slots.insert(Op::Sleep)).collect();
        assert_eq!(anew.iter().collect::<std::collections::BTreeSet<_>>().len(), anew.len());
        assert!(!anew.contains(&early));
        assert!(names.iter().all(|name| slots.find(*name).is_none()), "an old name is met again");
        assert_eq!(slots.iter().count(), 100_001);
    }

    #[test]
    fn a_slot_at_the_end_that_is_used_keeps_its_place() {
        let mut slots = Slots::default();
        let burst: Vec<_> = (0..10_000).map(|_| slots.insert(Op::Sleep)).collect();
        let last = burst[9_999];
        let name = slots.id(last);
        burst[..9_999].iter().for_each(|index| slots.remove(*index));
        assert_eq!(slots.find(name), Some(last));
        slots.remove(last);
        assert_eq!(slots.iter().count(), 0);
    }
}
