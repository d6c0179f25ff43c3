//! The sequential reference: what a handle's operations may have come to, one at a time in submission order.
//!
//! TESTING.md has the admissible outcomes as a table.

mod datagrams;
mod stream;

use corella::{ErrorKind, Moved};

use crate::diary::{Outcome, Record};
use crate::program::{FileOp, SocketOp, Taking, Verb};

pub use datagrams::{Datagrams, check_datagrams};
pub use stream::{Stream, check_stream};

pub type Verdict = Result<(), String>;

impl<Op: std::fmt::Debug> Record<Op> {
    fn wrong(&self, why: &str) -> Verdict {
        Err(format!("{why}: {self:?}"))
    }
}

/// What is known of a handle beside its operations.
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// What the machine may answer.
    pub errors: Vec<i32>,
    /// When it was closed.
    pub closed_at: Option<u64>,
    /// The machine may not say how much of a write went out that was stopped on its way, or failed there.
    pub hides_moved: bool,
}

/// Whether a failed stream write leaves a gap, after which nothing may follow until it is known.
fn breaks(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { kind: ErrorKind::Cancelled | ErrorKind::TimedOut, moved, .. } => {
            moved.bytes() > 0 || *moved == Moved::Unknown
        }
        Outcome::Failed { kind, .. } => !matches!(kind, ErrorKind::LaneBroken | ErrorKind::Closed),
        _ => false,
    }
}

fn never_began(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { moved, .. } => *moved == Moved::NotStarted,
        Outcome::Unseen | Outcome::Refused(..) => true,
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
            Outcome::Failed { kind: ErrorKind::LaneBroken, .. } | Outcome::Refused(ErrorKind::LaneBroken, _)
        );
        self.may_be_broken |= *outcome == Outcome::Unseen;
        if says_so && !is_broken && !self.may_be_broken {
            return record.wrong("nothing before it broke the lane");
        }
        if is_broken && !says_so && !never_began(outcome) {
            return record.wrong("it went through a broken lane");
        }
        // Who tried a part and was refused the rest leaves the going on to the next.
        self.may_be_broken |= record.goes_on && matches!(outcome, Outcome::Refused(..));
        let stops_short = record.goes_on
            && matches!(outcome, Outcome::Failed { kind, .. } if !matches!(kind, ErrorKind::LaneBroken | ErrorKind::Closed));
        if breaks(outcome) || stops_short {
            self.broken_until.push(if is_for_good { None } else { record.delivered });
        }
        Ok(())
    }
}

/// Whether a failure is one that this operation may have had; what it moved is another matter.
pub fn check_failure<Op: std::fmt::Debug>(
    record: &Record<Op>,
    outcome: &Outcome,
    circumstances: &Circumstances,
) -> Verdict {
    let Circumstances { errors, closed_at, hides_moved } = circumstances;
    let is_late = closed_at.is_some_and(|closed| record.submitted > closed);
    match outcome {
        Outcome::Failed { moved: Moved::Unknown, .. } if !hides_moved => record.wrong("it knows how much it moved"),
        Outcome::Failed { kind: ErrorKind::Closed, moved: Moved::NotStarted, .. }
        | Outcome::Refused(ErrorKind::Closed, _)
            if !is_late =>
        {
            record.wrong("it was open")
        }
        Outcome::Failed { kind: ErrorKind::Closed, .. } | Outcome::Refused(ErrorKind::Closed, _) => Ok(()),
        _ if is_late && *outcome != Outcome::Unseen => record.wrong("it was closed"),
        Outcome::Failed { kind: ErrorKind::Cancelled, .. } if !record.may_cancel => record.wrong("nobody cancelled it"),
        Outcome::Failed { kind: ErrorKind::TimedOut, .. } if !record.has_deadline => record.wrong("it had no deadline"),
        Outcome::Failed { kind: ErrorKind::Os, os_code, .. } | Outcome::Refused(ErrorKind::Os, os_code)
            if !os_code.is_some_and(|code| errors.contains(&code)) =>
        {
            record.wrong("the machine has no such error")
        }
        Outcome::Refused(ErrorKind::Rejected | ErrorKind::LaneBroken | ErrorKind::Os, _) => Ok(()),
        Outcome::Refused(..) => record.wrong("no reason to refuse it"),
        Outcome::Failed { kind: ErrorKind::SchedulerGone, .. } => record.wrong("the scheduler was there"),
        _ => Ok(()),
    }
}

/// How a read says that it is whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Short is allowed, nothing where there is something is not.
    Some,
    Exact,
    ToEnd,
}

/// A file: each byte with what it may be, its length, and the handle's cursor.
#[derive(Default)]
pub struct FileReference {
    bytes: Vec<Vec<u8>>,
    cursor: usize,
    lane: Lane,
    appends: bool,
    circumstances: Circumstances,
    /// Of the stretch between two barriers: what unordered writes may have put where.
    unordered: Vec<(usize, u8)>,
    /// Of that stretch: all that each byte may have been at some time; kept if somebody reads out of order.
    history: Option<Vec<Vec<u8>>>,
}

impl FileReference {
    pub fn new(content: &[u8], appends: bool, circumstances: Circumstances) -> FileReference {
        let bytes = content.iter().map(|byte| vec![*byte]).collect();
        FileReference { bytes, appends, circumstances, ..FileReference::default() }
    }

    /// Judges the operations, barrier by barrier.
    pub fn check(&mut self, records: &[Record<FileOp>]) -> Verdict {
        let is_wall = |record: &Record<FileOp>| {
            record.op.is_barrier() && matches!(record.outcome, Some(Outcome::Number(_))) && !record.is_sure
        };
        records.split_inclusive(is_wall).try_for_each(|stretch| self.check_stretch(stretch))
    }

    fn check_stretch(&mut self, stretch: &[Record<FileOp>]) -> Verdict {
        let writes_out_of_order =
            |record: &&Record<FileOp>| matches!(record.op, FileOp::WriteAt { unordered: true, .. });
        let reads_out_of_order = |record: &Record<FileOp>| matches!(record.op, FileOp::ReadAt { unordered: true, .. });
        let before = self.bytes.len();
        self.unordered.clear();
        for record in stretch.iter().filter(writes_out_of_order) {
            let FileOp::WriteAt { place, .. } = record.op else { continue };
            let written = match &record.outcome {
                Some(Outcome::Number(_) | Outcome::Unseen) => record.content.len(),
                Some(Outcome::Failed { moved, .. }) => moved.bytes() as usize,
                _ => 0,
            };
            for (index, byte) in record.content[..written].iter().enumerate() {
                self.unordered.push((place as usize + index, *byte));
            }
        }
        let changed: Vec<(usize, u8)> = self.unordered.clone();
        changed.iter().for_each(|(place, byte)| self.may_be(*place, *byte));
        self.history = stretch.iter().any(reads_out_of_order).then(|| self.bytes.clone());
        stretch.iter().filter(|record| !reads_out_of_order(record)).try_for_each(|record| self.check_one(record))?;
        if let Some(history) = self.history.take() {
            for record in stretch.iter().filter(|record| reads_out_of_order(record)) {
                check_unordered_read(record, &self.circumstances, &history, before)?;
            }
        }
        let is_alone = stretch.iter().filter(writes_out_of_order).count() == 1
            && !stretch.iter().any(|record| record.op.is_write() && !writes_out_of_order(&record))
            && stretch.iter().filter(writes_out_of_order).all(|record| record.outcome != Some(Outcome::Unseen));
        if is_alone && stretch.last().is_some_and(|record| record.op.is_barrier()) {
            changed.iter().for_each(|(place, byte)| self.bytes[*place] = vec![*byte]);
        }
        Ok(())
    }

    /// A byte that may be this as well, if it is there.
    fn may_be(&mut self, place: usize, byte: u8) {
        let history = self.history.as_mut().and_then(|history| history.get_mut(place));
        history.into_iter().for_each(|known| known.push(byte));
        self.bytes.get_mut(place).into_iter().for_each(|known| known.push(byte));
    }

    fn put(&mut self, place: usize, content: &[u8]) {
        if content.is_empty() {
            return;
        }
        let end = self.bytes.len().max(place + content.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, vec![0]);
        }
        if let Some(history) = &mut self.history {
            history.resize(end.max(history.len()), vec![0]);
        }
        for (index, byte) in content.iter().enumerate() {
            let here = place + index;
            self.bytes[here] = vec![*byte];
            if !self.unordered.is_empty() {
                let others = self.unordered.iter().filter(|(other, _)| *other == here).map(|(_, byte)| *byte);
                self.bytes[here].extend(others);
            }
            if let Some(history) = &mut self.history {
                history[here].push(*byte);
            }
        }
    }

    fn check_one(&mut self, record: &Record<FileOp>) -> Verdict {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        if let (true, FileOp::WriteAt { .. }) = (self.appends, record.op) {
            return match never_began(outcome) {
                true => Ok(()),
                false => record.wrong("an append handle has no places"),
            };
        }
        check_failure(record, outcome, &self.circumstances)?;
        if let FileOp::Write { .. } = record.op {
            self.lane.check(record, outcome, false)?;
        }
        match record.op {
            FileOp::ReadAt { place, length, .. } => self.read(record, outcome, place as usize, length, Whole::Some),
            FileOp::ReadExactAt { place, length } => self.read(record, outcome, place as usize, length, Whole::Exact),
            FileOp::ReadToEndAt { place } => self.read(record, outcome, place as usize, usize::MAX, Whole::ToEnd),
            FileOp::Read { length } => return self.read_on(record, outcome, length, Whole::Some),
            FileOp::ReadExact { length } => return self.read_on(record, outcome, length, Whole::Exact),
            FileOp::ReadToEnd => return self.read_on(record, outcome, usize::MAX, Whole::ToEnd),
            // What it does is counted for the whole stretch.
            FileOp::WriteAt { unordered: true, .. } => whole_write(record, outcome),
            FileOp::WriteAt { place, .. } => self.write(record, outcome, place as usize),
            FileOp::Write { .. } => {
                let place = if self.appends { self.bytes.len() } else { self.cursor };
                let moved = self.write(record, outcome, place)?;
                if !self.appends {
                    self.cursor = place + moved;
                }
                return Ok(());
            }
            FileOp::Seek { place } => return self.seek(record, outcome, place as i64),
            FileOp::SeekBy { offset } => return self.seek(record, outcome, self.cursor as i64 + offset),
            FileOp::SeekFromEnd { offset } => return self.seek(record, outcome, self.bytes.len() as i64 + offset),
            FileOp::Truncate { length } => {
                if let Outcome::Number(_) = outcome {
                    self.bytes.resize(length as usize, vec![0]);
                }
                return Ok(());
            }
            FileOp::Allocate { place, length } => {
                if let Outcome::Number(_) = outcome {
                    let end = self.bytes.len().max((place + length) as usize);
                    self.bytes.resize(end, vec![0]);
                }
                return Ok(());
            }
            FileOp::Stat => match outcome {
                Outcome::Number(size) if *size != self.bytes.len() as u64 => {
                    return record.wrong(&format!("the file has {} bytes", self.bytes.len()));
                }
                _ => return Ok(()),
            },
            FileOp::Sync | FileOp::Barrier => return Ok(()),
        }
        .map(drop)
    }

    fn seek(&mut self, record: &Record<FileOp>, outcome: &Outcome, place: i64) -> Verdict {
        match outcome {
            Outcome::Number(number) if *number as i64 == place => {
                self.cursor = place as usize;
                Ok(())
            }
            Outcome::Failed { kind: ErrorKind::Os, .. } if place >= 0 => record.wrong("it could go there"),
            Outcome::Failed { .. } | Outcome::Refused(..) => Ok(()),
            _ => record.wrong(&format!("not where it was sent, {place}")),
        }
    }

    fn read_on(&mut self, record: &Record<FileOp>, outcome: &Outcome, length: usize, whole: Whole) -> Verdict {
        self.cursor += self.read(record, outcome, self.cursor, length, whole)?;
        Ok(())
    }

    /// Checks what a read gave; says how far it moved the cursor.
    fn read(
        &self,
        record: &Record<FileOp>,
        outcome: &Outcome,
        place: usize,
        length: usize,
        whole: Whole,
    ) -> Result<usize, String> {
        let available = self.bytes.len().saturating_sub(place).min(length);
        let (bytes, is_enough) = match outcome {
            Outcome::Bytes(bytes) => match whole {
                Whole::Some => (bytes, !bytes.is_empty() || available == 0),
                Whole::Exact => (bytes, bytes.len() == length),
                Whole::ToEnd => (bytes, bytes.len() == available),
            },
            Outcome::Failed { kind: ErrorKind::UnexpectedEnd, bytes, .. } => {
                (bytes, whole == Whole::Exact && bytes.len() == available && available < length)
            }
            Outcome::Failed { bytes, .. } => (bytes, true),
            Outcome::Unseen | Outcome::Refused(..) => return Ok(0),
            Outcome::Number(_) => return record.wrong("a read gives bytes").map(|()| 0),
        };
        if !is_enough || bytes.len() > available {
            record.wrong(&format!("{available} bytes were there"))?;
        }
        let holds = |(index, byte): (usize, &u8)| self.bytes[place + index].contains(byte);
        if !bytes.iter().enumerate().all(holds) {
            record.wrong(&format!("other bytes were there, at {place}"))?;
        }
        Ok(bytes.len())
    }

    /// Applies what a write did; says how much that was.
    fn write(&mut self, record: &Record<FileOp>, outcome: &Outcome, place: usize) -> Result<usize, String> {
        let moved = whole_write(record, outcome)?;
        if *outcome == Outcome::Unseen {
            for (index, byte) in record.content.iter().enumerate() {
                self.may_be(place + index, *byte);
            }
        }
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

/// How much a write is known to have written; one that succeeded, all.
fn whole_write(record: &Record<FileOp>, outcome: &Outcome) -> Result<usize, String> {
    match outcome {
        Outcome::Number(count) if *count != record.content.len() as u64 => record.wrong("a write is whole").map(|()| 0),
        Outcome::Number(count) => Ok(*count as usize),
        Outcome::Failed { moved, .. } => Ok(moved.bytes() as usize),
        Outcome::Refused(..) | Outcome::Unseen => Ok(0),
        Outcome::Bytes(_) => record.wrong("a write gives a number").map(|()| 0),
    }
}

/// A read that took no part in the order: each byte is one that was there at some time between two barriers.
fn check_unordered_read(
    record: &Record<FileOp>,
    circumstances: &Circumstances,
    history: &[Vec<u8>],
    length_before: usize,
) -> Verdict {
    let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
    check_failure(record, outcome, circumstances)?;
    let FileOp::ReadAt { place, length, .. } = record.op else { return Ok(()) };
    let place = place as usize;
    let (bytes, is_enough) = match outcome {
        Outcome::Bytes(bytes) => (bytes, !bytes.is_empty() || length == 0 || place >= length_before),
        Outcome::Failed { bytes, .. } => (bytes, true),
        _ => return Ok(()),
    };
    let known = |(index, byte): (usize, &u8)| history.get(place + index).is_some_and(|known| known.contains(byte));
    match is_enough && bytes.len() <= length && bytes.iter().enumerate().all(known) {
        true => Ok(()),
        false => record.wrong("nothing like this was ever there"),
    }
}

/// Outcomes of one lane of a stream that are delivered by one kind of callback come in the order of submission, but for
/// what never began.
pub fn check_delivery_order(records: &[&Record<SocketOp>]) -> Verdict {
    for kind in [Taking::Callback, Taking::DirectCallback] {
        let mut last = 0;
        for record in records.iter().filter(|record| record.taking == kind) {
            let (Some(delivered), Some(outcome)) = (record.delivered, &record.outcome) else { continue };
            if never_began(outcome) {
                continue;
            }
            if delivered < last {
                return record.wrong("it was delivered before one that was submitted earlier");
            }
            last = delivered;
        }
    }
    Ok(())
}

/// A listener with all that was done to it.
pub struct Door<'a> {
    pub accepts: &'a [&'a Record<Verb>],
    pub connects: &'a [&'a Record<Verb>],
    /// Ports of the connections that were left in the end, in order.
    pub rest: &'a [u64],
    pub circumstances: Circumstances,
    /// It was closed before its end: then those that nobody accepted are gone.
    pub may_throw_away: bool,
    pub connect_errors: Circumstances,
}

/// Checks that each connection was accepted once, those known to have come earlier first.
pub fn check_listener(door: &Door<'_>) -> Verdict {
    let mut accepted: Vec<u64> = Vec::new();
    for record in door.accepts {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &door.circumstances)?;
        if let Outcome::Number(port) = outcome {
            accepted.push(*port);
        }
    }
    accepted.extend(door.rest);
    let mut times = Vec::new();
    let mut unknown = 0;
    for record in door.connects {
        let Some(outcome) = &record.outcome else { return record.wrong("it never settled") };
        check_failure(record, outcome, &door.connect_errors)?;
        match outcome {
            Outcome::Number(port) => {
                let place = accepted.iter().position(|other| other == port);
                match place {
                    Some(place) => times.push((place, record)),
                    None if door.may_throw_away => {}
                    None => return record.wrong("nobody accepted it"),
                }
            }
            Outcome::Refused(..) => {}
            _ => unknown += 1,
        }
    }
    let mut ports: Vec<u64> = accepted.iter().copied().filter(|port| *port != 0).collect();
    let count = ports.len();
    ports.sort();
    ports.dedup();
    if ports.len() != count {
        return Err(format!("a connection was accepted twice: {accepted:?}"));
    }
    if accepted.len() > times.len() + unknown {
        return Err(format!("more connections were accepted than came: {accepted:?}"));
    }
    times.sort_by_key(|(place, _)| *place);
    let mut latest_begin = 0;
    for (_, record) in times {
        // One that was there before another began came earlier.
        if record.delivered.is_some_and(|delivered| delivered < latest_begin) {
            return record.wrong("it was accepted after one that came later");
        }
        latest_begin = latest_begin.max(record.submitted);
    }
    Ok(())
}
