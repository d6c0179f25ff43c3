//! The sequential reference: what a handle's operations may have come to, one at a time in submission order.
//!
//! TESTING.md has the admissible outcomes as a table.

use std::time::Duration;

use corella::{ErrorKind, Moved};

use crate::program::{FileOp, SocketOp};

/// What an operation came to, as its program saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes that a read gave, or the number of a write, a seek or a stat.
    Bytes(Vec<u8>),
    Number(u64),
    Failed {
        kind: ErrorKind,
        os_code: Option<i32>,
        moved: Moved,
        /// What had arrived.
        bytes: Vec<u8>,
    },
    /// Given up: its future or status was dropped.
    Unseen,
    /// Refused at submission: nothing happened.
    Refused(ErrorKind),
}

/// One operation with all that is known of it.
#[derive(Clone, Debug)]
pub struct Record<Op> {
    pub op: Op,
    /// Its place in the order of all submissions and deliveries.
    pub submitted: u64,
    /// When the program was handed the outcome.
    pub delivered: Option<u64>,
    /// It had a deadline or a token, or was cancelled by its status.
    pub may_stop: bool,
    pub deadline: Option<Duration>,
    /// On the machine's clock.
    pub due_at: Option<Duration>,
    pub delivered_at: Option<Duration>,
    pub outcome: Option<Outcome>,
    /// What a write writes.
    pub content: Vec<u8>,
}

type Verdict = Result<(), String>;

impl<Op: std::fmt::Debug> Record<Op> {
    fn wrong(&self, why: &str) -> Verdict {
        Err(format!("{why}: {self:?}"))
    }
}

/// Whether a failed stream write leaves a gap, after which nothing may follow until it is known.
fn breaks(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { kind: ErrorKind::Cancelled | ErrorKind::TimedOut, moved, .. } => moved.bytes() > 0,
        Outcome::Failed { kind, .. } => *kind != ErrorKind::LaneBroken,
        _ => false,
    }
}

/// Follows broken lanes: who must fail for one, and who must not.
#[derive(Default)]
struct Lane {
    /// When the failures were known to the program; `None`: never.
    broken_until: Vec<Option<u64>>,
    /// A write that nobody saw the end of may have broken it.
    may_be_broken: bool,
}

impl Lane {
    /// Whether a write submitted then fails for an earlier one.
    fn is_broken_for(&self, submitted: u64) -> bool {
        self.broken_until.iter().any(|until| until.is_none_or(|until| submitted < until))
    }

    fn check<Op: std::fmt::Debug>(&mut self, record: &Record<Op>, outcome: &Outcome, is_for_good: bool) -> Verdict {
        let is_broken = self.is_broken_for(record.submitted);
        let says_so = matches!(
            outcome,
            Outcome::Failed { kind: ErrorKind::LaneBroken, .. } | Outcome::Refused(ErrorKind::LaneBroken)
        );
        let never_began = match outcome {
            Outcome::Failed { moved, .. } => *moved == Moved::NotStarted,
            Outcome::Unseen | Outcome::Refused(_) => true,
            _ => false,
        };
        self.may_be_broken |= *outcome == Outcome::Unseen;
        if says_so && !is_broken && !self.may_be_broken {
            return record.wrong("nothing before it broke the lane");
        }
        if is_broken && !says_so && !never_began {
            return record.wrong("it went through a broken lane");
        }
        if breaks(outcome) {
            self.broken_until.push(if is_for_good { None } else { record.delivered });
        }
        Ok(())
    }
}

/// Whether a failure is one that this operation may have had; what it moved is another matter.
fn check_failure<Op: std::fmt::Debug>(record: &Record<Op>, outcome: &Outcome, errors: &[i32]) -> Verdict {
    match outcome {
        Outcome::Failed { kind: ErrorKind::Cancelled | ErrorKind::TimedOut, .. } if !record.may_stop => {
            record.wrong("nobody asked it to stop")
        }
        Outcome::Failed { kind: ErrorKind::Os, os_code, .. } if !os_code.is_some_and(|code| errors.contains(&code)) => {
            record.wrong("the machine has no such error")
        }
        Outcome::Failed { kind: ErrorKind::Closed | ErrorKind::SchedulerGone, .. } => record.wrong("it was open"),
        _ => Ok(()),
    }
}

/// A file: each byte with what it may be, its length, and the handle's cursor.
#[derive(Default)]
pub struct FileReference {
    bytes: Vec<Vec<u8>>,
    cursor: usize,
    lane: Lane,
    appends: bool,
    /// What the machine may answer.
    errors: Vec<i32>,
}

impl FileReference {
    pub fn new(content: &[u8], appends: bool, errors: &[i32]) -> FileReference {
        let bytes = content.iter().map(|byte| vec![*byte]).collect();
        FileReference { bytes, appends, errors: errors.to_vec(), ..FileReference::default() }
    }

    fn put(&mut self, place: usize, content: &[u8]) {
        if content.is_empty() {
            return;
        }
        if self.bytes.len() < place {
            self.bytes.resize(place, vec![0]);
        }
        for (index, byte) in content.iter().enumerate() {
            match self.bytes.get_mut(place + index) {
                Some(known) => *known = vec![*byte],
                None => self.bytes.push(vec![*byte]),
            }
        }
    }

    fn holds(&self, place: usize, bytes: &[u8]) -> bool {
        bytes
            .iter()
            .enumerate()
            .all(|(index, byte)| self.bytes.get(place + index).is_some_and(|known| known.contains(byte)))
    }

    pub fn check(&mut self, record: &Record<FileOp>) -> Verdict {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &self.errors)?;
        if let FileOp::Write { .. } = record.op {
            self.lane.check(record, outcome, false)?;
        }
        match record.op {
            FileOp::ReadAt { place, length } => self.read(record, outcome, place as usize, length, false).map(drop),
            FileOp::ReadExactAt { place, length } => self.read(record, outcome, place as usize, length, true).map(drop),
            FileOp::Read { length } => {
                self.cursor += self.read(record, outcome, self.cursor, length, false)?;
                Ok(())
            }
            FileOp::WriteAt { place, .. } => self.write(record, outcome, place as usize).map(drop),
            FileOp::Write { .. } => {
                let place = if self.appends { self.bytes.len() } else { self.cursor };
                let moved = self.write(record, outcome, place)?;
                if !self.appends {
                    self.cursor = place + moved;
                }
                Ok(())
            }
            FileOp::Seek { place } => match outcome {
                Outcome::Number(number) if *number == place => {
                    self.cursor = place as usize;
                    Ok(())
                }
                Outcome::Failed { .. } | Outcome::Refused(_) => Ok(()),
                _ => record.wrong("not where it was sent"),
            },
            FileOp::Truncate { length } => {
                if let Outcome::Number(_) = outcome {
                    self.bytes.resize(length as usize, vec![0]);
                }
                Ok(())
            }
            FileOp::Stat => match outcome {
                Outcome::Number(size) if *size != self.bytes.len() as u64 => {
                    record.wrong(&format!("the file has {} bytes", self.bytes.len()))
                }
                _ => Ok(()),
            },
            FileOp::Sync | FileOp::Barrier => Ok(()),
        }
    }

    /// Checks what a read gave; says how far it moved the cursor.
    fn read(
        &self,
        record: &Record<FileOp>,
        outcome: &Outcome,
        place: usize,
        length: usize,
        is_exact: bool,
    ) -> Result<usize, String> {
        let available = self.bytes.len().saturating_sub(place).min(length);
        let (bytes, is_enough) = match outcome {
            Outcome::Bytes(bytes) if is_exact => (bytes, bytes.len() == length),
            // Short is allowed, nothing where there is something is not.
            Outcome::Bytes(bytes) => (bytes, !bytes.is_empty() || available == 0),
            Outcome::Failed { kind: ErrorKind::UnexpectedEnd, bytes, .. } => {
                (bytes, is_exact && bytes.len() == available && available < length)
            }
            Outcome::Failed { bytes, .. } => (bytes, true),
            Outcome::Unseen | Outcome::Refused(_) => return Ok(0),
            Outcome::Number(_) => return record.wrong("a read gives bytes").map(|()| 0),
        };
        if !is_enough || bytes.len() > available {
            record.wrong(&format!("{available} bytes were there"))?;
        }
        if !self.holds(place, bytes) {
            record.wrong(&format!("other bytes were there, at {place}"))?;
        }
        Ok(bytes.len())
    }

    /// Applies what a write did; says how much that was.
    fn write(&mut self, record: &Record<FileOp>, outcome: &Outcome, place: usize) -> Result<usize, String> {
        let moved = match outcome {
            Outcome::Number(count) if *count != record.content.len() as u64 => {
                return record.wrong("a write is whole").map(|()| 0);
            }
            Outcome::Number(count) => *count as usize,
            Outcome::Failed { moved, .. } => moved.bytes() as usize,
            Outcome::Refused(_) => 0,
            Outcome::Unseen => {
                for (index, byte) in record.content.iter().enumerate() {
                    if let Some(known) = self.bytes.get_mut(place + index) {
                        known.push(*byte);
                    }
                }
                return Ok(0);
            }
            Outcome::Bytes(_) => return record.wrong("a write gives a number").map(|()| 0),
        };
        self.put(place, &record.content[..moved]);
        Ok(moved)
    }

    /// Compares with what the machine has in the end.
    pub fn check_content(&self, content: &[u8]) -> Verdict {
        if content.len() != self.bytes.len() {
            return Err(format!("in the end the file has {} bytes, and not {}", content.len(), self.bytes.len()));
        }
        let mut both = content.iter().zip(&self.bytes).enumerate();
        match both.find(|(_, (byte, known))| !known.contains(byte)) {
            None => Ok(()),
            Some((place, (byte, known))) => {
                Err(format!("in the end the file has {byte} at {place}, and not one of {known:?}"))
            }
        }
    }
}

/// Checks one direction of a connection: what its sends say that they sent, in order, is what the other end got.
pub fn check_stream(sends: &[Record<SocketOp>], receives: &[Record<SocketOp>], rest: &[u8]) -> Verdict {
    let mut lane = Lane::default();
    // Each message, and whether it is known how much of it went out.
    let mut sent: Vec<(&[u8], bool)> = Vec::new();
    for record in sends {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &[])?;
        lane.check(record, outcome, true)?;
        match outcome {
            Outcome::Number(count) if *count != record.content.len() as u64 => return record.wrong("a send is whole"),
            Outcome::Number(_) => sent.push((&record.content, true)),
            Outcome::Failed { moved, .. } => sent.push((&record.content[..moved.bytes() as usize], true)),
            Outcome::Unseen => sent.push((&record.content, false)),
            Outcome::Refused(_) => {}
            Outcome::Bytes(_) => return record.wrong("a send gives a number"),
        }
    }
    let mut got = Vec::new();
    let mut is_at_end = false;
    for record in receives {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &[])?;
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
                is_at_end |= bytes.is_empty() && matches!(outcome, Outcome::Bytes(_));
                got.extend_from_slice(bytes);
            }
            _ => {}
        }
    }
    got.extend_from_slice(rest);
    match is_made_of(&got, &sent) {
        true => Ok(()),
        false => Err(format!("received {got:?}, sent {sent:?}")),
    }
}

/// Whether these bytes are the messages one after the other, those not known in any length.
fn is_made_of(bytes: &[u8], messages: &[(&[u8], bool)]) -> bool {
    let Some(((message, is_known), others)) = messages.split_first() else { return bytes.is_empty() };
    if *is_known {
        return bytes.strip_prefix(*message).is_some_and(|rest| is_made_of(rest, others));
    }
    let common = bytes.iter().zip(*message).take_while(|(one, other)| one == other).count();
    (0..=common).rev().any(|length| is_made_of(&bytes[length..], others))
}
