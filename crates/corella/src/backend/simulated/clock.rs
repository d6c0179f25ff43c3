//! Chance and time of a simulated machine: one generator of random numbers, one queue of what is to happen.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Random numbers from a seed (SplitMix64). Ours, so that a seed means the same for ever.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is at least 1.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // No number is drawn for what cannot happen, so that switching a fault off leaves the rest as it was.
        probability > 0.0 && ((self.next() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

#[derive(Debug)]
struct Due<T> {
    time: u64,
    /// Breaks ties in the order of scheduling.
    number: u64,
    event: T,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first, and the earliest is wanted.
        (other.time, other.number).cmp(&(self.time, self.number))
    }
}

/// What is to happen, by its time.
#[derive(Debug)]
pub(super) struct Events<T> {
    heap: BinaryHeap<Due<T>>,
    scheduled: u64,
}

impl<T> Events<T> {
    pub(super) fn new() -> Events<T> {
        Events { heap: BinaryHeap::new(), scheduled: 0 }
    }

    pub(super) fn schedule(&mut self, time: u64, event: T) {
        self.scheduled += 1;
        self.heap.push(Due { time, number: self.scheduled, event });
    }

    /// When the next happens.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.heap.peek().map(|due| due.time)
    }

    /// The next, if it happens no later than `now`.
    pub(super) fn pop(&mut self, now: u64) -> Option<T> {
        self.next_time().filter(|time| *time <= now)?;
        self.heap.pop().map(|due| due.event)
    }

    pub(super) fn clear(&mut self) {
        self.heap.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_scheduling() {
        let mut events = Events::new();
        for (time, event) in [(5, "c"), (3, "a"), (5, "d"), (3, "b"), (9, "later")] {
            events.schedule(time, event);
        }
        let first: Vec<_> = std::iter::from_fn(|| events.pop(5)).collect();
        assert_eq!(first, ["a", "b", "c", "d"]);
        assert_eq!(events.next_time(), Some(9));
    }

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(42);
        let numbers: Vec<_> = (0..3).map(|_| random.next()).collect();
        assert_eq!(numbers, [13_679_457_532_755_275_413, 2_949_826_092_126_892_291, 5_139_283_748_462_763_858]);
    }

    #[test]
    fn chances_come_out_as_often_as_they_say() {
        let mut random = Random::new(1);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| !random.chance(0.0) && random.chance(1.0)));
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
