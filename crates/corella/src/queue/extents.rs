//! Where the ranges of a file's lane stand, so that the one that overlaps is found without a look at each.
//!
//! The file is cut into stripes, and each range is an entry in the buckets of the stripes that it touches. This is made when
//! a lane has become long, and goes out of use when nothing in the lane writes any more; its memory stays with the handle.

use std::ops::RangeInclusive;

use super::slots::NONE;
use crate::op::{Access, conflicts};

/// Bytes of a stripe, as a power of two. A range no longer than that touches two at most.
const STRIPE_BITS: u32 = 16;
const STRIPES_MAX: usize = 2;
const BUCKETS_MIN: usize = 64;
/// Entries whose memory stays with a handle.
const ENTRIES_KEPT: usize = 4096;
/// Entries looked at for one range at most; then it waits for one that it has come to.
const LOOKS_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Entry {
    request: u32,
    start: u64,
    end: u64,
    writes: bool,
    stripe: u64,
    /// Those in its bucket that came after it and before it; the next among those that are free.
    previous: u32,
    next: u32,
}

impl Entry {
    fn access(&self) -> Access {
        Access::Range { start: self.start, end: self.end, write: self.writes }
    }
}

/// Where the entries of a request are: that of its first stripe and that of its second.
pub(crate) type Places = [u32; STRIPES_MAX];
pub(crate) const NO_PLACES: Places = [NONE; STRIPES_MAX];

/// What is known of the requests before one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Free,
    /// This one is before it, and must not run beside it.
    Blocked(u32),
    /// It takes a look at each.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Extents {
    is_used: bool,
    buckets: Vec<u32>,
    entries: Vec<Entry>,
    first_free: u32,
    /// Entries that are in a bucket.
    count: usize,
    /// The greatest end of a range with entries since this came into use: a truncation may have moved the file's below it.
    furthest: u64,
    /// Requests of the lane that have no entry, though they may hold others back: long ranges, those that end beyond the known
    /// end of the file and so reach further than they say, and all that are no ranges.
    /// That a lane knows of the last wall before a request is not enough: it may be given up before those in front of it.
    others: usize,
}

impl Extents {
    pub(super) fn new() -> Extents {
        let (buckets, entries) = (vec![NONE; BUCKETS_MIN], Vec::new());
        Extents { is_used: false, buckets, entries, first_free: NONE, count: 0, furthest: 0, others: 0 }
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    pub(super) fn begin(&mut self) {
        debug_assert!(!self.is_used && self.count == 0 && self.others == 0);
        self.is_used = true;
        self.furthest = 0;
    }

    /// The lane is empty, or nothing in it holds others back.
    pub(super) fn end(&mut self) {
        self.is_used = false;
        (self.count, self.others, self.first_free) = (0, 0, NONE);
        self.entries.clear();
        // What a burst took is not kept for good.
        self.entries.shrink_to(ENTRIES_KEPT);
        match self.buckets.len() > ENTRIES_KEPT {
            true => self.buckets = vec![NONE; BUCKETS_MIN],
            false => self.buckets.fill(NONE),
        }
    }

    fn bucket(&self, stripe: u64) -> usize {
        // Fibonacci hashing: neighbours go far from each other, and the upper bits are the good ones.
        (stripe.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.buckets.len() - 1)
    }

    /// Adds a request that is behind all others of its lane. Gives where its entries are.
    pub(super) fn add(&mut self, request: u32, access: Access, known_end: u64) -> Places {
        let mut places = NO_PLACES;
        match (place_of(access), access) {
            (Place::Nowhere, _) => {}
            (Place::Stripes(stripes), Access::Range { start, end, write: writes }) if end <= known_end => {
                self.furthest = self.furthest.max(end);
                if self.count > self.buckets.len() {
                    self.grow();
                }
                for (place, stripe) in places.iter_mut().zip(stripes) {
                    let (previous, next) = (NONE, NONE);
                    *place = self.insert(Entry { request, start, end, writes, stripe, previous, next });
                }
            }
            _ => self.others += 1,
        }
        places
    }

    /// Takes a request out that was added with these places.
    pub(super) fn remove(&mut self, places: Places, access: Access) {
        if places == NO_PLACES {
            self.others -= usize::from(!matches!(place_of(access), Place::Nowhere));
        }
        for place in places.into_iter().filter(|place| *place != NONE) {
            self.take_out(place);
        }
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        let place = match self.first_free {
            NONE => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
            free => {
                self.first_free = self.entries[free as usize].next;
                self.entries[free as usize] = entry;
                free
            }
        };
        self.put_first(place);
        self.count += 1;
        place
    }

    /// Puts an entry at the front of its bucket.
    fn put_first(&mut self, place: u32) {
        let bucket = self.bucket(self.entries[place as usize].stripe);
        let next = std::mem::replace(&mut self.buckets[bucket], place);
        let entry = &mut self.entries[place as usize];
        (entry.previous, entry.next) = (NONE, next);
        if next != NONE {
            self.entries[next as usize].previous = place;
        }
    }

    fn take_out(&mut self, place: u32) {
        let Entry { stripe, previous, next, .. } = self.entries[place as usize];
        match previous {
            NONE => {
                let bucket = self.bucket(stripe);
                self.buckets[bucket] = next;
            }
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        self.entries[place as usize].next = self.first_free;
        self.first_free = place;
        self.count -= 1;
    }

    /// Twice as many buckets, with everything in them anew and in its order.
    fn grow(&mut self) {
        let doubled = vec![NONE; 2 * self.buckets.len()];
        for first in std::mem::replace(&mut self.buckets, doubled) {
            let (mut place, mut oldest) = (first, NONE);
            while place != NONE {
                (oldest, place) = (place, self.entries[place as usize].next);
            }
            while oldest != NONE {
                let previous = self.entries[oldest as usize].previous;
                self.put_first(oldest);
                oldest = previous;
            }
        }
    }

    /// Whether a request that was added with these places has one before it beside which it must not run.
    pub(super) fn find(&self, places: Places, access: Access, known_end: u64) -> Answer {
        if self.others > 0 || self.furthest > known_end {
            return Answer::Unknown;
        }
        let mut looks = 0;
        for own in places.into_iter().filter(|place| *place != NONE) {
            let Entry { request, next: mut place, .. } = self.entries[own as usize];
            while place != NONE {
                let entry = &self.entries[place as usize];
                looks += 1;
                if entry.request != request && (looks >= LOOKS_MAX || conflicts(entry.access(), access, known_end)) {
                    return Answer::Blocked(entry.request);
                }
                place = entry.next;
            }
        }
        Answer::Free
    }
}

/// Where a request's entries are.
enum Place {
    /// It needs none, as it holds no range back.
    Nowhere,
    Stripes(RangeInclusive<u64>),
    /// It is one of the others.
    Elsewhere,
}

fn place_of(access: Access) -> Place {
    match access {
        Access::Range { start, end, .. } => {
            let stripes = start >> STRIPE_BITS..=end.saturating_sub(1).max(start) >> STRIPE_BITS;
            if stripes.end() - stripes.start() < STRIPES_MAX as u64 {
                Place::Stripes(stripes)
            } else {
                Place::Elsewhere
            }
        }
        Access::CursorRead | Access::CursorWrite | Access::Append | Access::End | Access::Barrier => Place::Elsewhere,
        Access::Unordered | Access::Stream => Place::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range by chance: mostly short and among others, sometimes long, at a border of stripes, or empty.
    fn range(mut next: impl FnMut(u64) -> u64) -> Access {
        let start = if next(4) == 0 { next(8) << STRIPE_BITS } else { next(8 << STRIPE_BITS) };
        let length = match next(40) {
            0 => 0,
            1 => 1 << STRIPE_BITS,
            2 => 1 + next(4 << STRIPE_BITS),
            _ => 1 + next(9000),
        };
        Access::Range { start, end: start + length, write: next(2) == 0 }
    }

    #[test]
    fn who_is_in_the_way_is_found_as_by_looking_at_each() {
        let mut state = 1u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        // In the order of submission, and the numbers of those that are gone, which others get.
        let (mut members, mut free, mut extents) = (Vec::<(u32, Access, Places)>::new(), Vec::new(), Extents::new());
        let mut seen = [0; 3];
        extents.begin();
        for round in 0..20_000 {
            // Mostly it grows; a truncation may have been.
            let known_end = if next(1000) == 0 { next(12) << STRIPE_BITS } else { 12 << STRIPE_BITS };
            let access = match next(300) {
                0 => Access::End,
                1 => Access::CursorRead,
                2..10 => Access::Unordered,
                _ => range(&mut next),
            };
            let request = free.pop().unwrap_or(round);
            members.push((request, access, extents.add(request, access, known_end)));
            // Now and then there are so many that the buckets grow.
            let members_max = if round % 5000 < 500 { 400 } else { 100 };
            while members.len() > members_max || (members.len() > 1 && next(3) == 0) {
                let (request, access, places) = members.remove(next(members.len() as u64) as usize);
                extents.remove(places, access);
                free.push(request);
            }
            let asker = next(members.len() as u64) as usize;
            let (_, access, places) = members[asker];
            let in_the_way = |other: &&(u32, Access, Places)| conflicts(other.1, access, known_end);
            let blockers: Vec<u32> = members[..asker].iter().filter(in_the_way).map(|member| member.0).collect();
            match extents.find(places, access, known_end) {
                Answer::Free => {
                    assert_eq!(blockers, [0; 0], "{access:?}");
                    seen[0] += 1;
                }
                Answer::Blocked(blocker) => {
                    assert!(blockers.contains(&blocker), "{access:?}: {blocker} and not one of {blockers:?}");
                    seen[1] += 1;
                }
                Answer::Unknown => seen[2] += 1,
            }
        }
        assert!(seen.iter().all(|count| *count > 1000), "{seen:?}");
        for (_, access, places) in members {
            extents.remove(places, access);
        }
        assert_eq!((extents.count, extents.others), (0, 0));
        extents.end();
    }
}
