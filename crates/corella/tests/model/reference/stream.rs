//! What came out of a stream, against what went into it.

use std::collections::BTreeSet;

use corella::Moved;

use super::{Circumstances, Lane, Verdict, check_failure};
use crate::diary::{Outcome, Record};
use crate::program::SocketOp;

/// One direction of a connection.
pub struct Stream<'a> {
    pub sends: &'a [Record<SocketOp>],
    pub receives: &'a [Record<SocketOp>],
    /// What was left in the end.
    pub rest: &'a [u8],
    pub sender: Circumstances,
    pub receiver: Circumstances,
    /// Not all that was sent need have arrived.
    pub may_lose_the_end: bool,
}

/// Checks one direction of a connection: what its sends say that they sent, in order, is what the other end got.
pub fn check_stream(stream: &Stream<'_>) -> Verdict {
    let mut lane = Lane::default();
    // Each message, and whether it is known how much of it went out.
    let mut sent: Vec<(&[u8], bool)> = Vec::new();
    for record in stream.sends {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &stream.sender)?;
        if !matches!(record.op, SocketOp::Send { .. }) {
            continue;
        }
        lane.check(record, outcome, true)?;
        match outcome {
            Outcome::Number(count) if *count != record.content.len() as u64 => return record.wrong("a send is whole"),
            Outcome::Number(_) => sent.push((&record.content, true)),
            Outcome::Failed { moved: Moved::Unknown, .. } => sent.push((&record.content, false)),
            Outcome::Failed { moved, .. } => sent.push((&record.content[..moved.bytes() as usize], true)),
            Outcome::Unseen => sent.push((&record.content, false)),
            Outcome::Refused(..) => {}
            Outcome::Bytes(_) => return record.wrong("a send gives a number"),
        }
    }
    let mut got = Vec::new();
    let mut is_at_end = false;
    for record in stream.receives {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &stream.receiver)?;
        match (record.op, outcome) {
            (SocketOp::ReceiveExact { length }, Outcome::Bytes(bytes)) if bytes.len() != length => {
                return record.wrong("an exact receive is whole");
            }
            (SocketOp::Receive { length }, Outcome::Bytes(bytes)) if bytes.len() > length => {
                return record.wrong("there was no room for so much");
            }
            (_, Outcome::Bytes(bytes) | Outcome::Failed { bytes, .. }) => {
                if is_at_end && !bytes.is_empty() {
                    return record.wrong("it came after the end");
                }
                let says_end = bytes.is_empty() || record.op == SocketOp::ReceiveToEnd;
                is_at_end |= says_end && matches!(outcome, Outcome::Bytes(_));
                got.extend_from_slice(bytes);
            }
            _ => {}
        }
    }
    if is_at_end && !stream.rest.is_empty() {
        return Err(format!("after the end there were {:?}", stream.rest));
    }
    got.extend_from_slice(stream.rest);
    match is_made_of(&got, &sent, stream.may_lose_the_end) {
        true => Ok(()),
        false => Err(format!("received {got:?}, sent {sent:?}")),
    }
}

/// Whether these bytes are the messages one after the other, those not known in any length.
fn is_made_of(bytes: &[u8], messages: &[(&[u8], bool)], may_lose_the_end: bool) -> bool {
    // Where what is made of the messages so far may end: each place once, however many ways lead there.
    let mut ends = BTreeSet::from([0]);
    for (message, is_known) in messages {
        if may_lose_the_end && ends.contains(&bytes.len()) {
            return true;
        }
        let mut next = BTreeSet::new();
        for end in ends {
            let common = bytes[end..].iter().zip(*message).take_while(|(one, other)| one == other).count();
            match is_known {
                true if common == message.len() => drop(next.insert(end + common)),
                true if may_lose_the_end && end + common == bytes.len() => return true,
                true => {}
                false => next.extend(end..=end + common),
            }
        }
        ends = next;
    }
    ends.contains(&bytes.len())
}

#[cfg(test)]
#[allow(unused, reason = "of those who share this, only `planted` has a harness for such tests")]
mod tests {
    use super::is_made_of;

    #[test]
    fn many_messages_of_unknown_length_are_judged_in_no_time() {
        let alike: Vec<(&[u8], bool)> = vec![(&[7; 50], false); 50];
        assert!(is_made_of(&[7; 1_000], &alike, false));
        let one_more = [&[7; 1_000][..], &[8]].concat();
        assert!(!is_made_of(&one_more, &alike, false));
    }

    #[test]
    fn what_is_known_is_whole_and_may_only_lose_its_end_where_that_is_allowed() {
        let sent: [(&[u8], bool); 3] = [(b"ab", true), (b"cd", false), (b"ef", true)];
        for whole in [&b"abef"[..], b"abcef", b"abcdef"] {
            assert!(is_made_of(whole, &sent, false), "{whole:?}");
        }
        for cut in [&b""[..], b"a", b"ab", b"abc", b"abce"] {
            assert!(is_made_of(cut, &sent, true) && !is_made_of(cut, &sent, false), "{cut:?}");
        }
        for wrong in [&b"abdef"[..], b"cdef", b"abcdefg"] {
            assert!(!is_made_of(wrong, &sent, true), "{wrong:?}");
        }
    }
}
