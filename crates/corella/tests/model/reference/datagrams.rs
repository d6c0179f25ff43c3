//! What datagrams came, against those that were sent.

use std::collections::{BTreeMap, BTreeSet};

use corella::{ErrorKind, Moved};

use super::{Circumstances, Verdict, check_failure};
use crate::diary::{Outcome, Record};
use crate::program::SocketOp;
use crate::run::LAST;

/// One direction between two datagram sockets.
pub struct Datagrams<'a> {
    pub sends: &'a [Record<SocketOp>],
    pub receives: &'a [Record<SocketOp>],
    /// What was left in the end.
    pub rest: &'a [Vec<u8>],
    pub sender: Circumstances,
    pub receiver: Circumstances,
    /// Some that were sent need not have arrived.
    pub may_be_lost: bool,
    /// None overtakes another.
    pub are_in_order: bool,
}

/// A datagram that was sent, as far as is known.
#[derive(Debug)]
struct Sent<'a> {
    bytes: &'a [u8],
    must_arrive: bool,
}

/// Checks that each datagram that came is one that was sent, whole or as much as there was room for, each once, and that
/// none is missing.
pub fn check_datagrams(datagrams: &Datagrams<'_>) -> Verdict {
    let mut sent: Vec<Sent<'_>> = Vec::new();
    for record in datagrams.sends {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &datagrams.sender)?;
        if !matches!(record.op, SocketOp::Send { .. }) {
            continue;
        }
        match outcome {
            Outcome::Number(count) if *count != record.content.len() as u64 => return record.wrong("it is sent whole"),
            Outcome::Number(_) => sent.push(Sent { bytes: &record.content, must_arrive: !datagrams.may_be_lost }),
            Outcome::Failed { kind: ErrorKind::LaneBroken, .. } | Outcome::Refused(ErrorKind::LaneBroken, _) => {
                return record.wrong("a datagram leaves no gap");
            }
            Outcome::Failed { moved, .. } if moved.bytes() > 0 => {
                return record.wrong("it is sent whole or not at all");
            }
            Outcome::Unseen | Outcome::Failed { moved: Moved::Unknown, .. } => {
                sent.push(Sent { bytes: &record.content, must_arrive: false })
            }
            Outcome::Failed { .. } | Outcome::Refused(..) => {}
            Outcome::Bytes(_) => return record.wrong("a send gives a number"),
        }
    }
    // What one that was given up had no room for is gone, and so it is if a receive has to let go of what it got, because
    // something earlier has come back to the front: so earlier ones' rooms count as well.
    let room = |record: &Record<SocketOp>| match record.op {
        SocketOp::Receive { length } => Some(length),
        _ => None,
    };
    let rooms: Vec<usize> = datagrams.receives.iter().filter_map(room).collect();
    let mut got: Vec<Got<'_>> = Vec::new();
    for (number, record) in datagrams.receives.iter().filter(|record| room(record).is_some()).enumerate() {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &datagrams.receiver)?;
        match outcome {
            Outcome::Bytes(bytes) if bytes.len() > rooms[number] => {
                return record.wrong("there was no room for so much");
            }
            Outcome::Bytes(bytes) => got.push(Got { bytes, rooms: &rooms[..=number] }),
            Outcome::Failed { bytes, .. } if !bytes.is_empty() => return record.wrong("one that came is an outcome"),
            _ => {}
        }
    }
    got.extend(datagrams.rest.iter().map(|bytes| Got { bytes, rooms: &rooms }));
    // The drain sends as many as it takes.
    sent.extend((0..got.len()).map(|_| Sent { bytes: &LAST, must_arrive: false }));
    let is_so = match datagrams.are_in_order {
        true => are_these_in_order(&got, &sent),
        false => are_among_these(&got, &sent),
    };
    match is_so {
        true => Ok(()),
        false => Err(format!("received {got:?}, sent {sent:?}")),
    }
}

/// A datagram that came.
#[derive(Debug)]
struct Got<'a> {
    bytes: &'a [u8],
    /// How much each receive had room for that it may have come to.
    rooms: &'a [usize],
}

impl Got<'_> {
    /// Whether it is this one, or as much of it as one of those receives had room for.
    fn is_of(&self, sent: &[u8]) -> bool {
        self.bytes == sent || (sent.starts_with(self.bytes) && self.rooms.contains(&self.bytes.len()))
    }
}

/// Whether these came of those in the same order, none left out that must arrive.
fn are_these_in_order(got: &[Got<'_>], sent: &[Sent<'_>]) -> bool {
    // How many of what came the datagrams so far may account for: each number once, however many ways lead there.
    let mut counts = BTreeSet::from([0]);
    for sent in sent {
        let is_next = |count: &usize| got.get(*count).is_some_and(|got| got.is_of(sent.bytes));
        let mut next: BTreeSet<usize> = counts.iter().filter(|count| is_next(count)).map(|count| count + 1).collect();
        if !sent.must_arrive {
            next.extend(counts);
        }
        counts = next;
    }
    counts.contains(&got.len())
}

/// Whether these came of those in any order, each once, none left out that must arrive. If all that came have one each
/// that was sent, and all that must arrive have one each that came, then there is a way for both at once.
fn are_among_these(got: &[Got<'_>], sent: &[Sent<'_>]) -> bool {
    let senders = |number: usize| (0..sent.len()).filter(move |other| got[number].is_of(sent[*other].bytes));
    let receivers = |number: usize| {
        let sent = &sent[number];
        (0..got.len()).filter(|other| sent.must_arrive && got[*other].is_of(sent.bytes))
    };
    let musts: Vec<usize> = (0..sent.len()).filter(|number| sent[*number].must_arrive).collect();
    each_has_its_own(0..got.len(), senders) && each_has_its_own(musts, receivers)
}

/// Whether each of these can have one of what fits it, no two the same: makes room by moving others on.
fn each_has_its_own<Fits: Iterator<Item = usize>>(
    numbers: impl IntoIterator<Item = usize>,
    fits: impl Fn(usize) -> Fits,
) -> bool {
    fn finds_one<Fits: Iterator<Item = usize>>(
        number: usize,
        fits: &impl Fn(usize) -> Fits,
        holders: &mut BTreeMap<usize, usize>,
        tried: &mut BTreeSet<usize>,
    ) -> bool {
        for place in fits(number) {
            if !tried.insert(place) {
                continue;
            }
            let holder = holders.get(&place).copied();
            if holder.is_none_or(|holder| finds_one(holder, fits, holders, tried)) {
                holders.insert(place, number);
                return true;
            }
        }
        false
    }
    let mut holders = BTreeMap::new();
    numbers.into_iter().all(|number| finds_one(number, &fits, &mut holders, &mut BTreeSet::new()))
}

#[cfg(test)]
#[allow(unused, reason = "of those who share this, only `planted` has a harness for such tests")]
mod tests {
    use super::{Got, Sent, are_among_these, are_these_in_order};

    fn sent(bytes: &[u8], must_arrive: bool) -> Sent<'_> {
        Sent { bytes, must_arrive }
    }

    #[test]
    fn many_that_are_alike_and_need_not_arrive_are_judged_in_no_time() {
        let rooms = [9];
        let mut got: Vec<Got<'_>> = (0..200).map(|_| Got { bytes: b"same", rooms: &rooms }).collect();
        let many: Vec<Sent<'_>> = (0..400).map(|_| sent(b"same", false)).collect();
        assert!(are_these_in_order(&got, &many) && are_among_these(&got, &many));
        got.push(Got { bytes: b"other", rooms: &rooms });
        assert!(!are_these_in_order(&got, &many) && !are_among_these(&got, &many));
    }

    #[test]
    fn one_that_was_cut_leaves_the_whole_one_to_whoever_got_it_whole() {
        let rooms = [1];
        // The cut one is the beginning of both, and only one of the two is free for it.
        let got = [Got { bytes: b"a", rooms: &rooms }, Got { bytes: b"ab", rooms: &rooms }];
        let both = [sent(b"ab", true), sent(b"ac", false)];
        assert!(are_among_these(&got, &both));
        assert!(!are_among_these(&got, &both[..1]), "one was sent and two came");
        assert!(!are_among_these(&got[..1], &[sent(b"ab", true), sent(b"ac", true)]), "two must arrive");
        assert!(!are_these_in_order(&got, &both), "the cut one came first");
        let rooms = [2];
        assert!(!are_among_these(&[Got { bytes: b"a", rooms: &rooms }], &both[..1]), "there was room for all of it");
    }
}
