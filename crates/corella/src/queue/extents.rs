//! Where the ranges of a file's lane stand, so that the one that overlaps is found without a look at each.
//!
//! The file is cut into stripes, and each range is an entry in the buckets of the stripes that it touches. This is made when
//! a lane has become long, and goes out of use when the lane is empty; its memory stays with the handle.

use std::ops::RangeInclusive;

use super::slots::NONE;
use crate::op::{Access, conflicts};

/// Bytes of a stripe, as a power of two. A range no longer than that touches two at most.
const STRIPE_BITS: u32 = 16;
const STRIPES_MAX: u64 = 2;
/// Entries looked at for one range at most; then it waits for one that it has come to.
const LOOKS_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Entry {
    request: u32,
    sequence: u32,
    start: u64,
    end: u64,
    writes: bool,
    stripe: u64,
    /// The next in its bucket, or among those that are free.
    next: u32,
}

impl Entry {
    fn access(&self) -> Access {
        Access::Range { start: self.start, end: self.end, write: self.writes }
    }
}

/// A request of a lane, as this knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) request: u32,
    /// Its place in the order of submission, which wraps around.
    pub(super) sequence: u32,
    pub(super) access: Access,
}

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
    /// The greatest end of a range since this came into use. Ranges that end beyond the known end of the file reach further
    /// than they say.
    furthest: u64,
    /// Requests of the lane that have no entry, though they may hold others back: long ranges, and all that are no ranges.
    /// That a lane knows of the last wall before a request is not enough: it may be given up before those in front of it.
    others: usize,
}

impl Extents {
    pub(super) fn new() -> Extents {
        let (buckets, entries) = (vec![NONE; 64], Vec::new());
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

    /// The lane is empty.
    pub(super) fn end(&mut self) {
        debug_assert_eq!((self.count, self.others), (0, 0));
        self.is_used = false;
    }

    fn bucket(&self, stripe: u64) -> usize {
        // Fibonacci hashing: neighbours go far from each other, and the upper bits are the good ones.
        (stripe.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & (self.buckets.len() - 1)
    }

    pub(super) fn add(&mut self, Member { request, sequence, access }: Member) {
        match place_of(access) {
            Place::Nowhere => {}
            Place::Elsewhere => self.others += 1,
            Place::Stripes(stripes) => {
                let Access::Range { start, end, write: writes } = access else { return };
                self.furthest = self.furthest.max(end);
                if self.count > self.buckets.len() {
                    self.grow();
                }
                for stripe in stripes {
                    self.insert(Entry { request, sequence, start, end, writes, stripe, next: NONE });
                }
            }
        }
    }

    pub(super) fn remove(&mut self, request: u32, access: Access) {
        match place_of(access) {
            Place::Nowhere => {}
            Place::Elsewhere => self.others -= 1,
            Place::Stripes(stripes) => stripes.for_each(|stripe| self.take_out(stripe, request)),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let bucket = self.bucket(entry.stripe);
        let entry = Entry { next: self.buckets[bucket], ..entry };
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
        self.buckets[bucket] = place;
        self.count += 1;
    }

    fn take_out(&mut self, stripe: u64, request: u32) {
        let bucket = self.bucket(stripe);
        let (mut before, mut place) = (NONE, self.buckets[bucket]);
        while place != NONE {
            let Entry { request: other, stripe: others, next, .. } = self.entries[place as usize];
            if (other, others) == (request, stripe) {
                match before {
                    NONE => self.buckets[bucket] = next,
                    before => self.entries[before as usize].next = next,
                }
                self.entries[place as usize].next = self.first_free;
                self.first_free = place;
                self.count -= 1;
                return;
            }
            (before, place) = (place, next);
        }
        unreachable!("request {request} is in the bucket of each of its stripes");
    }

    /// Twice as many buckets, with everything in them anew.
    fn grow(&mut self) {
        let doubled = vec![NONE; 2 * self.buckets.len()];
        for mut place in std::mem::replace(&mut self.buckets, doubled) {
            while place != NONE {
                let Entry { stripe, next, .. } = self.entries[place as usize];
                let bucket = self.bucket(stripe);
                self.entries[place as usize].next = self.buckets[bucket];
                self.buckets[bucket] = place;
                place = next;
            }
        }
    }

    /// Whether a request has one before it beside which it must not run.
    pub(super) fn find(&self, Member { sequence, access, .. }: Member, known_end: u64) -> Answer {
        let (Access::Range { end, .. }, Place::Stripes(stripes)) = (access, place_of(access)) else {
            return Answer::Unknown;
        };
        if self.others > 0 || end.max(self.furthest) > known_end {
            return Answer::Unknown;
        }
        let mut looks = 0;
        for stripe in stripes {
            let mut place = self.buckets[self.bucket(stripe)];
            while place != NONE {
                let entry = &self.entries[place as usize];
                looks += 1;
                let is_before = (entry.sequence.wrapping_sub(sequence) as i32) < 0;
                if is_before && (looks >= LOOKS_MAX || conflicts(entry.access(), access, known_end)) {
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
            if stripes.end() - stripes.start() < STRIPES_MAX { Place::Stripes(stripes) } else { Place::Elsewhere }
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
        // The sequence wraps around meanwhile.
        let (mut sequence, mut members, mut extents) = (u32::MAX - 5000, Vec::<Member>::new(), Extents::new());
        let mut seen = [0; 3];
        extents.begin();
        for request in 0..20_000 {
            let known_end = if next(50) == 0 { 5 << STRIPE_BITS } else { u64::MAX };
            let access = match next(300) {
                0 => Access::End,
                1 => Access::CursorRead,
                2..10 => Access::Unordered,
                _ => range(&mut next),
            };
            let member = Member { request, sequence, access };
            sequence = sequence.wrapping_add(1);
            extents.add(member);
            members.push(member);
            while members.len() > 100 || (members.len() > 1 && next(3) == 0) {
                let gone = members.swap_remove(next(members.len() as u64) as usize);
                extents.remove(gone.request, gone.access);
            }
            let asker = members[next(members.len() as u64) as usize];
            let is_before = |other: &&Member| (other.sequence.wrapping_sub(asker.sequence) as i32) < 0;
            let in_the_way = |other: &&Member| conflicts(other.access, asker.access, known_end);
            let blockers: Vec<u32> =
                members.iter().filter(is_before).filter(in_the_way).map(|member| member.request).collect();
            match extents.find(asker, known_end) {
                Answer::Free => {
                    assert_eq!(blockers, [0; 0], "{asker:?}");
                    seen[0] += 1;
                }
                Answer::Blocked(blocker) => {
                    assert!(blockers.contains(&blocker), "{asker:?}: {blocker} and not one of {blockers:?}");
                    seen[1] += 1;
                }
                Answer::Unknown => seen[2] += 1,
            }
        }
        assert!(seen.iter().all(|count| *count > 1000), "{seen:?}");
        for member in members {
            extents.remove(member.request, member.access);
        }
        extents.end();
    }
}
