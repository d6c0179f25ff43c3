//! The queue's clockwork: one wheel for deadlines and sleeps, which an armed timer enters and leaves in a few steps.
//!
//! Level `n` of the wheel has 64 buckets of 64ⁿ nanoseconds. A timer is in the lowest level in which one turn reaches its
//! time; when the wheel's time enters its bucket it goes some levels down, until it is due. Buckets are lists in the order
//! of arming, and what goes down goes in that order: so timers fire by their times, and of the same time by arming.
//!
//! A sleep that a task arms need not have a time at once: it is in a list of those that count from the next look at the
//! clock, of which there is one for all that a task arms in one go.

use std::task::Waker;

use super::slots::{Cause, Link, NONE, RequestId, generation_after};

/// Nanoseconds since the scheduler started.
pub(crate) type Nanoseconds = u64;

/// What a request has that has no timer.
pub(crate) const NO_TIMER: u32 = u32::MAX;

/// Bits of a time that one level tells apart.
const BITS: u32 = 6;
const BUCKETS: usize = 1 << BITS;
const LEVELS: usize = (u64::BITS as usize).div_ceil(BITS as usize);
/// Behind the levels: where those are that have no time yet.
const UNSET: usize = LEVELS * BUCKETS;

/// In a bucket of more timers than that the first is not looked for: its bucket's beginning is early enough.
const LOOKED_THROUGH: usize = 16;

/// Timers whose memory is kept for good once there have been so many.
const KEPT: usize = 1024;

/// What a timer is for, and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// A request's deadline or end; its slot is `Timer::request`.
    Request,
    /// A sleep that goes on.
    Asleep,
    /// A sleep that is over, until its future has been told.
    Over(Option<Cause>),
}

/// A timer: of a request, or a sleep that is nothing else.
struct Timer {
    /// Of one that is unset: the duration.
    due: Nanoseconds,
    link: Link,
    place: u16,
    state: State,
    generation: u32,
    request: u32,
    submitted_at: Nanoseconds,
    /// Who is to be woken.
    waker: Option<Waker>,
}

/// When a sleep is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Due(Nanoseconds),
    /// So long after the next look at the clock.
    After(Nanoseconds),
}

/// What has come due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The request in this slot, which has no timer any more.
    Request(u32),
    /// A sleep, whose future is to be told.
    Sleep(RequestId),
}

/// A sleep that goes on, as `outstanding()` lists it.
pub(crate) struct Asleep {
    pub(crate) id: RequestId,
    pub(crate) submitted_at: Nanoseconds,
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

pub(crate) struct Timers {
    timers: Vec<Timer>,
    first_free: u32,
    used: usize,
    /// How many have been freed since it was last looked whether the last ones can go.
    freed: usize,
    /// What a new one begins with: beyond that of any that is gone.
    first_generation: u32,
    /// The wheel's time: nothing that is set is due before.
    elapsed: Nanoseconds,
    /// Which levels have timers, and which of their buckets. The last is that of those unset.
    levels: u16,
    occupied: [u64; LEVELS + 1],
    lists: Box<[List; UNSET + 1]>,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            timers: Vec::new(),
            first_free: NONE,
            used: 0,
            freed: 0,
            first_generation: 1,
            elapsed: 0,
            levels: 0,
            occupied: [0; LEVELS + 1],
            lists: Box::new([List { head: NONE, tail: NONE }; UNSET + 1]),
        }
    }
}

impl RequestId {
    /// Generations of slots have 30 bits.
    const OF_A_SLEEP: u32 = 1 << 31;

    /// Whether it names a sleep that has no slot.
    #[inline(always)]
    pub(crate) fn is_sleep(self) -> bool {
        self.generation & RequestId::OF_A_SLEEP != 0
    }
}

impl Timers {
    // Arming and disarming.

    /// A timer for the request in this slot, which has none.
    #[inline]
    pub(crate) fn insert(&mut self, due: Nanoseconds, request: u32) -> u32 {
        let index = self.allocate();
        let timer = &mut self.timers[index as usize];
        (timer.due, timer.state, timer.request) = (due, State::Request, request);
        self.link(index, self.place_of(due));
        index
    }

    /// A sleep, and who is to be woken at its end.
    #[inline]
    pub(crate) fn insert_sleep(&mut self, until: Until, submitted_at: Nanoseconds, waker: Waker) -> RequestId {
        let index = self.allocate();
        let (due, place) = match until {
            Until::Due(due) => (due, self.place_of(due)),
            Until::After(duration) => (duration, UNSET),
        };
        let timer = &mut self.timers[index as usize];
        (timer.due, timer.state, timer.submitted_at) = (due, State::Asleep, submitted_at);
        timer.waker = Some(waker);
        let id = RequestId { index, generation: timer.generation | RequestId::OF_A_SLEEP };
        self.link(index, place);
        id
    }

    /// Takes a request's timer out.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) {
        debug_assert_eq!(self.timers[index as usize].state, State::Request);
        self.unlink(index);
        self.free(index);
    }

    // Sleeps.

    /// The place of a sleep whose future is still there.
    #[inline]
    fn find(&self, id: RequestId) -> Option<usize> {
        let timer = self.timers.get(id.index as usize)?;
        let is_it = timer.generation | RequestId::OF_A_SLEEP == id.generation
            && matches!(timer.state, State::Asleep | State::Over(_));
        is_it.then_some(id.index as usize)
    }

    /// Whether a sleep goes on; `Err` says how it ended: by itself, or stopped.
    #[inline]
    pub(crate) fn is_asleep(&self, id: RequestId) -> Result<(), Option<Cause>> {
        match self.find(id).map(|place| self.timers[place].state) {
            Some(State::Asleep) => Ok(()),
            Some(State::Over(cause)) => Err(cause),
            _ => unreachable!("a sleep is there as long as its future is"),
        }
    }

    /// The waker of a sleep.
    pub(crate) fn waker(&mut self, id: RequestId) -> Option<&mut Option<Waker>> {
        self.find(id).map(|place| &mut self.timers[place].waker)
    }

    /// Ends a sleep before its time. Says whether it went on until now.
    pub(crate) fn stop(&mut self, id: RequestId, cause: Cause) -> bool {
        let Some(place) = self.find(id).filter(|place| self.timers[*place].state == State::Asleep) else {
            return false;
        };
        self.unlink(id.index);
        self.timers[place].state = State::Over(Some(cause));
        true
    }

    /// Lets a sleep go with its future. Says whether it went on until now, and gives its waker.
    #[inline]
    pub(crate) fn remove_sleep(&mut self, id: RequestId) -> (bool, Option<Waker>) {
        let Some(place) = self.find(id) else { unreachable!("a sleep is there as long as its future is") };
        let was_asleep = self.timers[place].state == State::Asleep;
        if was_asleep {
            self.unlink(id.index);
        }
        let waker = self.timers[place].waker.take();
        self.free(id.index);
        (was_asleep, waker)
    }

    /// Makes a sleep that goes on, and has a time, the timer of the request in this slot. Gives its time, when it was
    /// submitted, and its waker.
    pub(crate) fn give_to_request(&mut self, id: RequestId, request: u32) -> (Nanoseconds, Nanoseconds, Option<Waker>) {
        let timer = &mut self.timers[id.index as usize];
        debug_assert!(timer.state == State::Asleep && usize::from(timer.place) != UNSET);
        (timer.state, timer.request) = (State::Request, request);
        (timer.due, timer.submitted_at, timer.waker.take())
    }

    /// All sleeps that go on.
    pub(crate) fn asleep(&self) -> impl Iterator<Item = Asleep> {
        let asleep = (0..).zip(&self.timers).filter(|(_, timer)| timer.state == State::Asleep);
        asleep.map(|(index, timer)| Asleep {
            id: RequestId { index, generation: timer.generation | RequestId::OF_A_SLEEP },
            submitted_at: timer.submitted_at,
        })
    }

    // Time.

    /// Those that have no time yet count from `now`.
    pub(crate) fn set(&mut self, now: Nanoseconds) {
        let mut index = self.take_list(UNSET);
        while index != NONE {
            let timer = &mut self.timers[index as usize];
            let next = timer.link.next;
            timer.due = timer.due.saturating_add(now);
            let due = timer.due;
            self.link(index, self.place_of(due));
            index = next;
        }
    }

    /// When the first timer is due, or some time before that: never one that has passed with nothing due, once
    /// [`pop_due`](Self::pop_due) has been asked.
    pub(crate) fn next(&self) -> Option<Nanoseconds> {
        let place = self.first_place()?;
        let mut least = Nanoseconds::MAX;
        let mut index = self.lists[place].head;
        for _ in 0..LOOKED_THROUGH {
            let timer = &self.timers[index as usize];
            least = least.min(timer.due);
            index = timer.link.next;
            if index == NONE {
                return Some(least);
            }
        }
        Some(self.beginning(place))
    }

    /// Takes out what is due at `now`, one after the other: the earliest first.
    pub(crate) fn pop_due(&mut self, now: Nanoseconds) -> Option<Due> {
        loop {
            let place = self.first_place().filter(|place| self.beginning(*place) <= now);
            let Some(place) = place else {
                // It enters no bucket that has a timer: all of those begin later.
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            self.elapsed = self.beginning(place).max(self.elapsed);
            let List { head, tail } = self.lists[place];
            let is_due = place < BUCKETS || (head == tail && self.timers[head as usize].due <= now);
            if is_due {
                self.unlink(head);
                return Some(self.fire(head));
            }
            self.move_down(place);
        }
    }

    /// The wheel's time has come to this bucket: its timers go to the levels below.
    fn move_down(&mut self, place: usize) {
        let mut index = self.take_list(place);
        while index != NONE {
            let timer = &self.timers[index as usize];
            let (next, due) = (timer.link.next, timer.due);
            let below = self.place_of(due);
            debug_assert!(below < place);
            self.link(index, below);
            index = next;
        }
    }

    fn fire(&mut self, index: u32) -> Due {
        let timer = &mut self.timers[index as usize];
        match timer.state {
            State::Asleep => {
                timer.state = State::Over(None);
                Due::Sleep(RequestId { index, generation: timer.generation | RequestId::OF_A_SLEEP })
            }
            _ => {
                let request = timer.request;
                self.free(index);
                Due::Request(request)
            }
        }
    }

    // Buckets.

    /// Where a timer of this time belongs.
    #[inline]
    fn place_of(&self, due: Nanoseconds) -> usize {
        let due = due.max(self.elapsed);
        let differing = (due ^ self.elapsed) | (BUCKETS as u64 - 1);
        let level = (u64::BITS - 1 - differing.leading_zeros()) / BITS;
        level as usize * BUCKETS + (due >> (level * BITS)) as usize % BUCKETS
    }

    /// The bucket that begins first of those with timers: on the lowest level, as what is on a higher one is beyond its turn.
    #[inline]
    fn first_place(&self) -> Option<usize> {
        let levels = self.levels & !(1 << LEVELS);
        let level = levels.trailing_zeros() as usize;
        (levels != 0).then(|| level * BUCKETS + self.occupied[level].trailing_zeros() as usize)
    }

    fn beginning(&self, place: usize) -> Nanoseconds {
        let shift = (place / BUCKETS) as u32 * BITS;
        let above = u64::MAX.checked_shl(shift + BITS).unwrap_or(0);
        self.elapsed & above | ((place % BUCKETS) as u64) << shift
    }

    /// Puts a timer at the end of a bucket.
    #[inline]
    fn link(&mut self, index: u32, place: usize) {
        let list = &mut self.lists[place];
        let tail = std::mem::replace(&mut list.tail, index);
        if tail == NONE {
            list.head = index;
            self.occupied[place / BUCKETS] |= 1 << (place % BUCKETS);
            self.levels |= 1 << (place / BUCKETS);
        } else {
            self.timers[tail as usize].link.next = index;
        }
        let timer = &mut self.timers[index as usize];
        timer.link = Link { previous: tail, next: NONE };
        timer.place = place as u16;
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let Timer { link: Link { previous, next }, place, .. } = self.timers[index as usize];
        let place = usize::from(place);
        match previous {
            NONE => self.lists[place].head = next,
            previous => self.timers[previous as usize].link.next = next,
        }
        match next {
            NONE => self.lists[place].tail = previous,
            next => self.timers[next as usize].link.previous = previous,
        }
        if previous == NONE && next == NONE {
            self.vacate(place);
        }
    }

    fn vacate(&mut self, place: usize) {
        let level = place / BUCKETS;
        self.occupied[level] &= !(1 << (place % BUCKETS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Takes all out of a bucket; gives the first, from which the links lead to the others.
    fn take_list(&mut self, place: usize) -> u32 {
        let list = std::mem::replace(&mut self.lists[place], List { head: NONE, tail: NONE });
        self.vacate(place);
        list.head
    }

    // Memory.

    #[inline]
    fn allocate(&mut self) -> u32 {
        self.used += 1;
        if self.first_free == NONE {
            return self.grow();
        }
        let index = self.first_free;
        self.first_free = self.timers[index as usize].link.next;
        index
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        self.timers.push(Timer {
            due: 0,
            link: Link::UNLINKED,
            place: 0,
            state: State::Free,
            generation: self.first_generation,
            request: NONE,
            submitted_at: 0,
            waker: None,
        });
        (self.timers.len() - 1) as u32
    }

    #[inline]
    fn free(&mut self, index: u32) {
        let timer = &mut self.timers[index as usize];
        debug_assert!(timer.waker.is_none());
        timer.state = State::Free;
        timer.generation = generation_after(timer.generation);
        timer.link.next = self.first_free;
        self.first_free = index;
        self.used -= 1;
        self.freed += 1;
        if self.timers.len() > KEPT {
            self.consider_shrinking();
        }
    }

    /// As with slots: a look is worth it once most are free, and not at each one that is freed.
    fn consider_shrinking(&mut self) {
        let there_are = self.timers.len();
        let wait = if self.used < KEPT { KEPT / 16 } else { there_are / 8 };
        if 4 * self.used < there_are && (self.freed > wait || self.used == 0) {
            self.shrink();
        }
    }

    /// Gives the memory of free timers at the end back: not of all, as they may be wanted again.
    #[cold]
    fn shrink(&mut self) {
        self.freed = 0;
        let kept = (4 * self.used).max(KEPT);
        let spare = self.timers.iter().rev().take_while(|timer| timer.state == State::Free).count();
        let left = (self.timers.len() - spare).max(kept);
        if left >= self.timers.len() {
            return;
        }
        for timer in self.timers.drain(left..) {
            self.first_generation = self.first_generation.max(timer.generation);
        }
        self.timers.shrink_to(2 * left);
        // The list anew, without those that are gone.
        self.first_free = NONE;
        for (index, timer) in self.timers.iter_mut().enumerate().rev() {
            if timer.state == State::Free {
                timer.link.next = std::mem::replace(&mut self.first_free, index as u32);
            }
        }
    }

    /// How many there are, those of sleeps that are over included.
    #[cfg(any(test, feature = "marks"))]
    pub(crate) fn len(&self) -> usize {
        self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random numbers of every size.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 20) % limit
        }

        fn of_any_size(&mut self) -> u64 {
            let bits = self.below(44);
            self.below(1 << bits)
        }
    }

    /// Each timer is in the bucket where it belongs, and the marks of buckets and levels say what there is.
    fn check(timers: &Timers) {
        let mut found = 0;
        for (place, list) in timers.lists.iter().enumerate() {
            let (mut previous, mut index) = (NONE, list.head);
            while index != NONE {
                let timer = &timers.timers[index as usize];
                assert_eq!((timer.link.previous, usize::from(timer.place)), (previous, place));
                assert!(place == UNSET || timers.place_of(timer.due) == place);
                (previous, index) = (index, timer.link.next);
                found += 1;
            }
            assert_eq!(list.tail, previous);
            let (level, bucket) = (place / BUCKETS, place % BUCKETS);
            assert_eq!(timers.occupied[level] >> bucket & 1 == 1, list.head != NONE);
        }
        assert!((0..=LEVELS).all(|level| (timers.levels >> level & 1 == 1) == (timers.occupied[level] != 0)));
        let listed = timers.timers.iter().filter(|timer| matches!(timer.state, State::Request | State::Asleep));
        assert_eq!(found, listed.count());
    }

    #[test]
    fn timers_fire_by_their_times_and_of_the_same_time_by_arming_and_removed_ones_never() {
        for seed in 0..200 {
            let (mut random, mut timers) = (Random(seed), Timers::default());
            let (mut now, mut expected, mut request) = (random.of_any_size(), Vec::new(), 0);
            for _ in 0..200 {
                match random.below(3) {
                    0 if !expected.is_empty() => {
                        let place = random.below(expected.len() as u64) as usize;
                        let (_, _, timer) = expected.swap_remove(place);
                        timers.remove(timer);
                    }
                    1 => {
                        now += random.of_any_size();
                        expected.sort();
                        let due = expected.iter().take_while(|(due, ..)| *due <= now).count();
                        for (_, request, _) in expected.drain(..due) {
                            assert_eq!(timers.pop_due(now), Some(Due::Request(request)));
                        }
                        assert_eq!(timers.pop_due(now), None);
                        let first = expected.first().map(|(due, ..)| *due);
                        assert_eq!(timers.next().is_some(), first.is_some());
                        assert!(timers.next().is_none_or(|next| next > now && next <= first.unwrap()));
                    }
                    _ => {
                        // Some of the same time, and of a time that has come.
                        let due = if random.below(4) == 0 { now + random.below(3) } else { now + random.of_any_size() };
                        let timer = timers.insert(due, request);
                        expected.push((due, request, timer));
                        request += 1;
                    }
                }
                check(&timers);
                assert_eq!(timers.len(), expected.len());
            }
        }
    }

    #[test]
    fn of_few_timers_the_first_is_known_to_the_nanosecond() {
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        for due in [u64::MAX, 1 << 40, 123_456_789, 1000, 7] {
            timers.insert(due, 0);
            assert_eq!(timers.next(), Some(due));
        }
    }

    fn sleep(timers: &mut Timers, until: Until) -> RequestId {
        timers.insert_sleep(until, 0, Waker::noop().clone())
    }

    fn fired(timers: &mut Timers, now: Nanoseconds) -> Vec<Due> {
        std::iter::from_fn(|| timers.pop_due(now)).collect()
    }

    #[test]
    fn sleeps_without_a_time_count_from_the_next_look_at_the_clock() {
        let mut timers = Timers::default();
        let long = sleep(&mut timers, Until::After(20));
        let short = sleep(&mut timers, Until::After(10));
        let dropped = sleep(&mut timers, Until::After(5));
        assert_eq!(timers.next(), None);
        assert_eq!(fired(&mut timers, 1000), []);
        timers.remove_sleep(dropped);
        timers.set(2000);
        assert_eq!(timers.occupied[LEVELS], 0);
        check(&timers);
        let late = sleep(&mut timers, Until::Due(2010));
        assert_eq!(fired(&mut timers, 2009), []);
        assert_eq!(fired(&mut timers, 2010), [Due::Sleep(short), Due::Sleep(late)]);
        assert_eq!(timers.is_asleep(short), Err(None));
        assert_eq!(timers.is_asleep(long), Ok(()));
        assert_eq!(fired(&mut timers, 5000), [Due::Sleep(long)]);
        for id in [short, late, long] {
            timers.remove_sleep(id);
        }
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_stopped_sleep_never_fires_and_says_why_it_ended() {
        let mut timers = Timers::default();
        let id = sleep(&mut timers, Until::Due(5));
        assert!(timers.stop(id, Cause::Cancel));
        assert!(!timers.stop(id, Cause::Shutdown));
        assert_eq!(timers.is_asleep(id), Err(Some(Cause::Cancel)));
        assert_eq!(fired(&mut timers, 10), []);
        assert!(!timers.remove_sleep(id).0);
        // The next in its place has another name.
        let next = sleep(&mut timers, Until::Due(20));
        assert_eq!((next.index, next == id), (id.index, false));
        assert!(!timers.stop(id, Cause::Cancel) && timers.waker(id).is_none());
    }

    #[test]
    fn a_sleep_that_becomes_a_request_keeps_its_time_and_its_turn() {
        let mut timers = Timers::default();
        let (first, second) = (sleep(&mut timers, Until::Due(5)), sleep(&mut timers, Until::Due(5)));
        let (due, _, waker) = timers.give_to_request(first, 77);
        assert!(due == 5 && waker.is_some());
        assert_eq!(fired(&mut timers, 5), [Due::Request(77), Due::Sleep(second)]);
    }

    #[test]
    fn a_burst_of_timers_keeps_no_memory_and_no_name_of_theirs_is_met_again() {
        let mut timers = Timers::default();
        let early = sleep(&mut timers, Until::Due(7));
        let names: Vec<_> = (0..100_000).map(|due| sleep(&mut timers, Until::Due(due))).collect();
        let mut steps = 0;
        for id in &names {
            let before = timers.timers.capacity();
            timers.remove_sleep(*id);
            steps += usize::from(timers.timers.capacity() < before);
        }
        // Whoever came last kept the last place; the next look is that of what comes after.
        for _ in 0..=KEPT / 16 {
            let id = sleep(&mut timers, Until::Due(7));
            timers.remove_sleep(id);
        }
        assert!(timers.timers.capacity() <= 2 * KEPT && steps <= 17, "{} in {steps}", timers.timers.capacity());
        assert_eq!(timers.is_asleep(early), Ok(()));
        let anew: Vec<_> = (0..100_000).map(|due| sleep(&mut timers, Until::Due(due))).collect();
        assert!(names.iter().all(|name| timers.find(*name).is_none()), "an old name is met again");
        assert_eq!(anew.iter().collect::<std::collections::BTreeSet<_>>().len(), anew.len());
        check(&timers);
    }
}
