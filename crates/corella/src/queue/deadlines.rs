//! The queue's clockwork: one heap for deadlines and sleeps, with cheap cancel.
//!
//! A four-ary heap of (time, request). Each request knows its place in the heap, so that taking one out costs a few
//! swaps and the memory is there for the next.

use super::slots::Slots;

/// Nanoseconds since the scheduler started.
pub(crate) type Nanoseconds = u64;

/// A request's place in the heap when it has none.
pub(crate) const NO_TIMER: u32 = u32::MAX;

const CHILDREN: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Nanoseconds, u32)>,
}

impl Deadlines {
    /// The earliest time set.
    pub(crate) fn next(&self) -> Option<Nanoseconds> {
        self.heap.first().map(|(due, _)| *due)
    }

    #[cfg(any(test, feature = "marks"))]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The request that is due at `now`, if any; it is taken out.
    pub(crate) fn pop_due(&mut self, now: Nanoseconds, slots: &mut Slots) -> Option<u32> {
        let (due, index) = *self.heap.first()?;
        if due > now {
            return None;
        }
        self.remove(index, slots);
        Some(index)
    }

    /// Sets the time of a request that has none.
    pub(crate) fn insert(&mut self, due: Nanoseconds, index: u32, slots: &mut Slots) {
        debug_assert_eq!(slots[index].timer, NO_TIMER);
        self.heap.push((due, index));
        let place = self.heap.len() - 1;
        slots[index].timer = place as u32;
        self.rise(place, slots);
    }

    /// Takes a request out, if it is in.
    pub(crate) fn remove(&mut self, index: u32, slots: &mut Slots) {
        let place = slots[index].timer;
        if place == NO_TIMER {
            return;
        }
        slots[index].timer = NO_TIMER;
        let place = place as usize;
        debug_assert_eq!(self.heap[place].1, index);
        self.heap.swap_remove(place);
        if let Some((_, moved)) = self.heap.get(place) {
            slots[*moved].timer = place as u32;
            self.rise(place, slots);
            self.sink(place, slots);
        }
        // A burst of timers must not keep its memory for good.
        if self.heap.len() * 4 < self.heap.capacity() && self.heap.capacity() > 1024 {
            self.heap.shrink_to(self.heap.len() * 2);
        }
    }

    fn rise(&mut self, mut place: usize, slots: &mut Slots) {
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].0 <= self.heap[place].0 {
                break;
            }
            self.swap(parent, place, slots);
            place = parent;
        }
    }

    fn sink(&mut self, mut place: usize, slots: &mut Slots) {
        loop {
            let first = place * CHILDREN + 1;
            let last = (first + CHILDREN).min(self.heap.len());
            let Some(least) = (first..last).min_by_key(|child| self.heap[*child].0) else { break };
            if self.heap[place].0 <= self.heap[least].0 {
                break;
            }
            self.swap(place, least, slots);
            place = least;
        }
    }

    fn swap(&mut self, one: usize, other: usize, slots: &mut Slots) {
        self.heap.swap(one, other);
        slots[self.heap[one].1].timer = one as u32;
        slots[self.heap[other].1].timer = other as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Op;

    /// Nothing is due before what stands above it, and each request knows its place.
    fn check(deadlines: &Deadlines, slots: &Slots) {
        for (place, (due, index)) in deadlines.heap.iter().enumerate() {
            assert_eq!(slots[*index].timer, place as u32);
            assert!(place == 0 || deadlines.heap[(place - 1) / CHILDREN].0 <= *due, "at {place}");
        }
    }

    #[test]
    fn the_heap_is_one_after_each_change() {
        let mut slots = Slots::default();
        let mut deadlines = Deadlines::default();
        let mut random = 99u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) % below
        };
        let mut inside = Vec::new();
        for round in 0..3000 {
            // Grows at first, and shrinks in the end.
            if inside.is_empty() || draw(3000) > round {
                let index = slots.insert(Op::Sleep);
                deadlines.insert(draw(1000), index, &mut slots);
                inside.push(index);
            } else {
                // From anywhere in it: what takes the place may have to rise or to sink.
                let index = inside.swap_remove(draw(inside.len() as u64) as usize);
                deadlines.remove(index, &mut slots);
                assert_eq!(slots[index].timer, NO_TIMER);
            }
            check(&deadlines, &slots);
            assert_eq!(deadlines.len(), inside.len());
        }
    }

    /// A heap with so many places, all taken, and its requests.
    fn full(places: usize) -> (Slots, Deadlines, Vec<u32>) {
        let (mut slots, mut deadlines) = (Slots::default(), Deadlines { heap: Vec::with_capacity(places) });
        let indices: Vec<u32> = (0..places).map(|_| slots.insert(Op::Sleep)).collect();
        indices.iter().for_each(|index| deadlines.insert(7, *index, &mut slots));
        assert_eq!(deadlines.heap.capacity(), places, "the places are as many as were asked for");
        (slots, deadlines, indices)
    }

    #[test]
    fn a_burst_of_timers_keeps_no_memory_and_gives_it_back_in_few_steps() {
        // Also where a quarter of the places is no whole number.
        for places in [1 << 12, (1 << 12) + 2, 20_001] {
            let (mut slots, mut deadlines, indices) = full(places);
            let mut steps = 0;
            for index in indices {
                let before = deadlines.heap.capacity();
                deadlines.remove(index, &mut slots);
                let (used, kept) = (deadlines.len(), deadlines.heap.capacity());
                if kept < before {
                    steps += 1;
                    assert!(used * 4 < before, "given back with {used} of {before} places in use");
                    assert!(kept >= used * 2, "{kept} places for {used}: what is about to be needed stays");
                }
                assert!(kept <= 1024 || kept <= used * 4, "{kept} places for {used}");
            }
            assert!(deadlines.heap.capacity() <= 1024);
            assert!(steps <= places.ilog2(), "{steps} steps");
        }
    }

    #[test]
    fn timers_as_many_as_is_usual_keep_their_memory() {
        let (mut slots, mut deadlines, indices) = full(1024);
        indices.iter().for_each(|index| deadlines.remove(*index, &mut slots));
        assert_eq!((deadlines.len(), deadlines.heap.capacity()), (0, 1024));
    }

    #[test]
    fn requests_come_due_in_the_order_of_their_times_and_removed_ones_never() {
        let mut slots = Slots::default();
        let mut deadlines = Deadlines::default();
        let mut random = 12345u64;
        let mut expected = Vec::new();
        let indices: Vec<u32> = (0..1000).map(|_| slots.insert(Op::Sleep)).collect();
        for index in &indices {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let due = random >> 40;
            deadlines.insert(due, *index, &mut slots);
            expected.push((due, *index));
        }
        for index in indices.iter().step_by(3) {
            deadlines.remove(*index, &mut slots);
            deadlines.remove(*index, &mut slots);
            expected.retain(|(_, other)| other != index);
        }
        expected.sort();
        let mut popped = Vec::new();
        while let Some(due) = deadlines.next() {
            assert_eq!(deadlines.pop_due(due.saturating_sub(1), &mut slots), None);
            popped.push((due, deadlines.pop_due(due, &mut slots).unwrap()));
        }
        popped.sort();
        assert_eq!(popped, expected);
    }
}
