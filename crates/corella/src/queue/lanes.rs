//! Lanes: the order of a handle's requests.
//!
//! Each lane is a list of the handle's unsettled requests in submission order. A request may start when nothing
//! before it in its lanes conflicts with it ([`crate::op::conflicts`]). One that may not waits for one such request,
//! its blocker, and looks again when that one settles.
//!
//! A look is short, however long the queue. Most requests that must wait have a *wall* before them: a barrier, an
//! append or a write at the cursor, beside which nothing runs; each request knows the last one before it. Otherwise
//! it goes back request by request, and in a long lane it asks the [`Extents`] who overlaps. Where those do not know
//! (something moves the end of the file, or stands at the cursor) it goes back [`LOOK_BACK_MAX`] requests at most;
//! beyond that it waits for the one it has come to, so that so many requests of one file run at once at most.

use super::extents::{Answer, Extents, Places};
use super::handles::{Handle, Handles, Lane};
use super::outcome::State;
use super::slots::{Link, NONE, RequestId, Slot, Slots};
use crate::marks::{self, Mark};
use crate::op::{Access, Lanes, conflicts};

/// Requests that one looks back over at most.
const LOOK_BACK_MAX: usize = 512;

/// Requests that one looks back over before the extents of its lane are wanted.
const LOOK_BACK_SHORT: usize = 4;

/// A file's only lane, and the receive lane of a stream.
pub(super) const RECEIVE: usize = 0;
/// The send lane of a stream.
pub(super) const SEND: usize = 1;

/// Puts a request at the end of its lanes.
pub(crate) fn link(index: u32, slots: &mut Slots, handle: &mut Handle) {
    let slot = &mut slots[index];
    slot.lanes = slot.op.lanes(handle.class);
    let access = slot.op.access(handle.class, slot.unordered);
    slot.wall = if access == Access::Unordered { None } else { handle.last_wall };
    if matches!(access, Access::Barrier | Access::Append | Access::CursorWrite) {
        handle.last_wall = Some(RequestId { index, generation: slot.generation });
    }
    handle.not_only_reads += u32::from(!access.only_reads());
    handle.barriers += u32::from(access == Access::Barrier);
    if let Some(extents) = handle.extents.as_mut().filter(|extents| extents.is_used()) {
        slot.places = extents.add(index, access, handle.known_end);
    }
    let mut tails = [NONE; Lanes::COUNT];
    for lane in (0..Lanes::COUNT).filter(|lane| slot.lanes.contains(*lane)) {
        let tail = std::mem::replace(&mut handle.lanes[lane].tail, index);
        slot.links[lane] = Link { previous: tail, next: NONE };
        match tail {
            NONE => handle.lanes[lane].head = index,
            _ => tails[lane] = tail,
        }
    }
    for (lane, tail) in tails.into_iter().enumerate().filter(|(_, tail)| *tail != NONE) {
        slots[tail].links[lane].next = index;
    }
}

/// Whether a lane in which others are is one of reads alone, and this is another.
#[inline(always)]
pub(super) fn lets_reads_in(only_reads: bool, handle: &Handle) -> bool {
    only_reads && handle.not_only_reads == 0 && handle.extents.as_ref().is_none_or(|extents| !extents.is_used())
}

/// The same for a transfer that nothing holds back, so that no wall matters to it. Whoever is before it in its lane is yet to
/// be told.
#[inline(always)]
pub(super) fn link_transfer(index: u32, lane: usize, only_reads: bool, slot: &mut Slot, handle: &mut Handle) {
    debug_assert_eq!(only_reads, slot.op.access(handle.class, slot.unordered).only_reads());
    slot.lanes = if lane == SEND { Lanes::SEND } else { Lanes::RECEIVE };
    debug_assert_eq!(slot.lanes, slot.op.lanes(handle.class));
    handle.not_only_reads += u32::from(!only_reads);
    let Lane { head, tail } = handle.lanes[lane];
    slot.links[lane].previous = tail;
    handle.lanes[lane] = Lane { head: if head == NONE { index } else { head }, tail: index };
}

/// Takes a request out of its lanes.
pub(crate) fn unlink(index: u32, slots: &mut Slots, handle: &mut Handle) {
    let slot = &mut slots[index];
    let access = slot.op.access(handle.class, slot.unordered);
    handle.not_only_reads -= u32::from(!access.only_reads());
    handle.barriers -= u32::from(access == Access::Barrier);
    let lanes = std::mem::replace(&mut slot.lanes, Lanes::NONE);
    let (links, places) = (std::mem::replace(&mut slot.links, [Link::UNLINKED; Lanes::COUNT]), slot.places);
    for (lane, link) in links.into_iter().enumerate().filter(|(lane, _)| lanes.contains(*lane)) {
        join_neighbours(lane, link, slots, handle);
    }
    leave_extents(places, access, handle);
}

/// The same for a transfer, which is in one lane and is no barrier.
#[inline(always)]
pub(super) fn unlink_transfer(index: u32, lane: usize, only_reads: bool, slots: &mut Slots, handle: &mut Handle) {
    let slot = &mut slots[index];
    debug_assert_eq!(only_reads, slot.op.access(handle.class, slot.unordered).only_reads());
    debug_assert!(slot.lanes.contains(lane) && !slot.lanes.contains(1 - lane));
    handle.not_only_reads -= u32::from(!only_reads);
    slot.lanes = Lanes::NONE;
    let link = std::mem::replace(&mut slot.links[lane], Link::UNLINKED);
    if handle.extents.is_none() {
        return join_neighbours(lane, link, slots, handle);
    }
    let (access, places) = (slot.op.access(handle.class, slot.unordered), slot.places);
    join_neighbours(lane, link, slots, handle);
    leave_extents(places, access, handle);
}

/// A request that is out of its lanes has no extent there.
fn leave_extents(places: Places, access: Access, handle: &mut Handle) {
    let is_last = handle.is_quiet() || handle.not_only_reads == 0;
    if let Some(extents) = handle.extents.as_mut().filter(|extents| extents.is_used()) {
        extents.remove(places, access);
        if is_last {
            extents.end();
        }
    }
}

/// Has a lane go on past the place between two neighbours.
#[inline(always)]
fn join_neighbours(lane: usize, Link { previous, next }: Link, slots: &mut Slots, handle: &mut Handle) {
    match previous {
        NONE => handle.lanes[lane].head = next,
        _ => slots[previous].links[lane].next = next,
    }
    match next {
        NONE => handle.lanes[lane].tail = previous,
        _ => slots[next].links[lane].previous = previous,
    }
}

/// A request before this one that it must not run beside, if any.
pub(crate) fn find_blocker(index: u32, slots: &mut Slots, handle: &mut Handle) -> Option<u32> {
    let slot = &slots[index];
    if slot.links.iter().all(|link| link.previous == NONE) {
        // It is the first in its lanes: all that could hold it back, walls too, stay there until they have settled.
        return None;
    }
    let access = slot.op.access(handle.class, slot.unordered);
    if access.only_reads() && handle.not_only_reads == 0 {
        return None;
    }
    let wall = slot.wall.and_then(|wall| slots.find(wall)).filter(|wall| slots[*wall].state != State::Settled);
    if let Some(wall) = wall {
        return Some(wall);
    }
    if access == Access::Unordered && handle.barriers == 0 {
        // Only they matter to it.
        if marks::ENABLED && handle.lanes[0].head != index {
            marks::hit(Mark::UnorderedPassed);
        }
        return None;
    }
    if matches!(access, Access::Range { .. }) && is_long(index, slots, handle) {
        begin_extents(slots, handle);
        let answer = handle.extents.as_ref().map(|extents| extents.find(slots[index].places, access, handle.known_end));
        match answer.unwrap_or(Answer::Unknown) {
            Answer::Free => {
                // As far as a look goes.
                debug_assert!(look_back(index, access, slots, handle).is_none_or(|found| found.is_the_last));
                marks::hit(Mark::FreeByExtents);
                return None;
            }
            Answer::Blocked(blocker) => {
                marks::hit(Mark::HeldByExtents);
                return Some(blocker);
            }
            Answer::Unknown => {}
        }
    }
    look_back(index, access, slots, handle).map(|found| found.index)
}

/// A request that was come to.
struct Found {
    index: u32,
    /// It need not be in the way, but nobody looks further.
    is_the_last: bool,
}

/// Goes back request by request to one that this one must not run beside, or to the last that it looks at.
fn look_back(index: u32, access: Access, slots: &Slots, handle: &Handle) -> Option<Found> {
    let slot = &slots[index];
    for lane in (0..Lanes::COUNT).filter(|lane| slot.lanes.contains(*lane)) {
        let mut earlier = slot.links[lane].previous;
        let mut looks = 0;
        while earlier != NONE {
            let other = &slots[earlier];
            looks += 1;
            let is_in_the_way = conflicts(other.op.access(handle.class, other.unordered), access, handle.known_end);
            if is_in_the_way || looks == LOOK_BACK_MAX {
                return Some(Found { index: earlier, is_the_last: !is_in_the_way });
            }
            earlier = other.links[lane].previous;
        }
    }
    None
}

/// Whether many requests are before this one in a file's lane.
fn is_long(index: u32, slots: &Slots, handle: &Handle) -> bool {
    if handle.extents.as_ref().is_some_and(|extents| extents.is_used()) {
        return true;
    }
    let mut earlier = slots[index].links[RECEIVE].previous;
    for _ in 0..LOOK_BACK_SHORT {
        if earlier == NONE {
            return false;
        }
        earlier = slots[earlier].links[RECEIVE].previous;
    }
    true
}

/// Has a file's lane have extents, with all its requests in them.
fn begin_extents(slots: &mut Slots, handle: &mut Handle) {
    let (class, mut index) = (handle.class, handle.lanes[RECEIVE].head);
    let extents = handle.extents.get_or_insert_with(|| Box::new(Extents::new()));
    if !extents.is_used() {
        extents.begin();
        while index != NONE {
            let slot = &mut slots[index];
            let access = slot.op.access(class, slot.unordered);
            slot.places = extents.add(index, access, handle.known_end);
            index = slot.links[RECEIVE].next;
        }
    }
}

/// Makes a request wait for `blocker` to settle.
pub(crate) fn wait_for(index: u32, blocker: u32, slots: &mut Slots) {
    debug_assert_eq!(slots[index].blocker, NONE);
    let first = std::mem::replace(&mut slots[blocker].waiters, index);
    slots[index].blocker = blocker;
    slots[index].waiting = Link { previous: NONE, next: first };
    if first != NONE {
        slots[first].waiting.previous = index;
    }
}

/// Ends a request's wait for its blocker, if it waits.
pub(crate) fn stop_waiting(index: u32, slots: &mut Slots) {
    let blocker = std::mem::replace(&mut slots[index].blocker, NONE);
    if blocker == NONE {
        return;
    }
    let Link { previous, next } = std::mem::replace(&mut slots[index].waiting, Link::UNLINKED);
    match previous {
        NONE => slots[blocker].waiters = next,
        _ => slots[previous].waiting.next = next,
    }
    if next != NONE {
        slots[next].waiting.previous = previous;
    }
}

/// The requests in a handle's lanes, each once, in submission order within a lane.
pub(crate) fn members(handle: u32, handles: &Handles, slots: &Slots) -> Vec<u32> {
    let mut list = Vec::new();
    for lane in 0..Lanes::COUNT {
        let mut index = handles[handle].lanes[lane].head;
        while index != NONE {
            // What is in both lanes was met in the first.
            if lane == 0 || !slots[index].lanes.contains(0) {
                list.push(index);
            }
            index = slots[index].links[lane].next;
        }
    }
    list
}
