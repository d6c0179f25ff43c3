//! Lanes: the order of a handle's requests.
//!
//! Each lane is a list of the handle's unsettled requests in submission order. A request may start when nothing
//! before it in its lanes conflicts with it ([`crate::op::conflicts`]). One that may not waits for one such request,
//! its blocker, and looks again when that one settles.
//!
//! A look is short, however long the queue. Most requests that must wait have a *wall* before them: a barrier, an
//! append or a write at the cursor, beside which nothing runs; each request knows the last one before it. Otherwise
//! it goes back request by request, [`LOOK_BACK_MAX`] at most; beyond that it waits for the one it has come to, so
//! that so many requests of one file run at once at most.

use super::handles::{Handle, Handles, Lane};
use super::outcome::State;
use super::slots::{Link, NONE, RequestId, Slot, Slots};
use crate::marks::{self, Mark};
use crate::op::{Access, Lanes, conflicts};

/// Requests that one looks back over at most.
const LOOK_BACK_MAX: usize = 512;

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

/// The same for a transfer that is to be alone in its lane: nothing holds it back, so no wall matters to it.
#[inline(always)]
pub(super) fn link_transfer(index: u32, lane: usize, only_reads: bool, slot: &mut Slot, handle: &mut Handle) {
    debug_assert_eq!(only_reads, slot.op.access(handle.class, slot.unordered).only_reads());
    slot.lanes = if lane == SEND { Lanes::SEND } else { Lanes::RECEIVE };
    debug_assert_eq!(slot.lanes, slot.op.lanes(handle.class));
    handle.not_only_reads += u32::from(!only_reads);
    handle.lanes[lane] = Lane { head: index, tail: index };
}

/// Takes a request out of its lanes.
pub(crate) fn unlink(index: u32, slots: &mut Slots, handle: &mut Handle) {
    let slot = &mut slots[index];
    let access = slot.op.access(handle.class, slot.unordered);
    handle.not_only_reads -= u32::from(!access.only_reads());
    handle.barriers -= u32::from(access == Access::Barrier);
    let lanes = std::mem::replace(&mut slot.lanes, Lanes::NONE);
    let links = std::mem::replace(&mut slot.links, [Link::UNLINKED; Lanes::COUNT]);
    for (lane, link) in links.into_iter().enumerate().filter(|(lane, _)| lanes.contains(*lane)) {
        join_neighbours(lane, link, slots, handle);
    }
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
    join_neighbours(lane, link, slots, handle);
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
pub(crate) fn find_blocker(index: u32, slots: &Slots, handle: &Handle) -> Option<u32> {
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
    for lane in (0..Lanes::COUNT).filter(|lane| slot.lanes.contains(*lane)) {
        let mut earlier = slot.links[lane].previous;
        let mut looks = 0;
        while earlier != NONE {
            let other = &slots[earlier];
            looks += 1;
            if looks == LOOK_BACK_MAX
                || conflicts(other.op.access(handle.class, other.unordered), access, handle.known_end)
            {
                return Some(earlier);
            }
            earlier = other.links[lane].previous;
        }
    }
    None
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
