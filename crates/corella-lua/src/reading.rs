//! What a read finds among the bytes that were read ahead, and how many more it has to ask for.

use std::iter::once;
use std::rc::Rc;

use mlua::{BString, Either, Lua, Table};

use crate::encoding::{Encoding, Measure};
use crate::failure::{Failure, OperationError};
use crate::input::Separator;
use crate::request::Outcome;
use crate::work::{Buffers, Entry, Life, Step, Work};

/// What one read asks for at most.
pub(crate) const FILL_MAX: usize = 1 << 20;
/// Reads ahead that follow each other grow up to so much.
const AHEAD_MAX: usize = 64 * 1024;

/// Records that are lent at once.
const LENT_MAX: usize = 200;

/// Whole records, one after the other.
pub(crate) struct Records {
    text: Vec<u8>,
    separator: Rc<[u8]>,
}

impl Records {
    /// A list of them as the Lua side has it, each with its end or without: from its second place on, as the first has the
    /// place of the next.
    pub(crate) fn into_list(self, lua: &Lua, is_cut: bool) -> mlua::Result<Table> {
        let separator = Separator { bytes: &self.separator, unit: 1 };
        let mut from = 0;
        let records = separator.places(&self.text).map(|place| {
            let end = place + self.separator.len();
            let record = from..if is_cut { place } else { end };
            from = end;
            record
        });
        let first = Either::Left(2);
        match std::str::from_utf8(&self.text) {
            Ok(text) => lua.create_sequence_from(once(first).chain(records.map(|record| Either::Right(&text[record])))),
            Err(_) => {
                let bytes = records.map(|record| Either::Right(BString::from(&self.text[record])));
                lua.create_sequence_from(once(Either::Left(2)).chain(bytes))
            }
        }
    }
}

/// What there is for a read.
enum Found {
    /// So many bytes are its result.
    Whole(usize),
    /// It has to ask for more: so many bytes are known to be missing.
    Missing(usize),
    /// The end came first; so many bytes are what is left for it.
    Rest(usize),
    /// After so many bytes of text come some that are no characters.
    Invalid { length: usize, skip: usize },
}

impl Buffers {
    pub(crate) fn read(&mut self, entry: &Entry) -> Step {
        match self.found(&entry.work, entry.encoding, entry.at_end) {
            Found::Whole(length) => self.give(entry, length, false),
            Found::Rest(length) => self.give(entry, length, true),
            Found::Invalid { length, skip } => Step::Settle(Err(self.pass_over(entry, length, skip))),
            Found::Missing(_) if entry.stopped.is_some() => {
                let failure = entry.stopped.map(|kind| self.stopped(entry, kind));
                failure.map_or(Step::Rest, |failure| Step::Settle(Err(failure)))
            }
            Found::Missing(count) => Step::Fill(self.room(&entry.work, count)),
        }
    }

    /// Characters that are there already, with nothing to wait for; the shortest way.
    pub(crate) fn read_now(&mut self, length: u64) -> Option<Vec<u8>> {
        match self.found(&Work::Read { length }, self.encoding, false) {
            Found::Whole(length) if self.is_quiet() => {
                self.eof &= length == 0;
                Some(self.take(self.encoding, length))
            }
            _ => None,
        }
    }

    /// Whole records that are there already, for as many calls: about so many bytes of them. They stay in the input until
    /// `take_lent` says how many were used: before anything else is asked of the handle.
    pub(crate) fn lend(&mut self, limit: usize) -> Option<Records> {
        let is_plain = matches!(self.encoding, Encoding::Binary | Encoding::Utf8);
        if !(is_plain && self.is_quiet()) {
            return None;
        }
        let (there, end) = (self.input.len(), self.separator.len());
        let separator = Separator { bytes: &self.separator, unit: 1 };
        let Some(first) = self.input.record_length(separator) else {
            // Who asks next may look for another one.
            self.input.forget_search();
            return None;
        };
        let text = &self.input.bytes()[..there.min(limit).max(first)];
        let length = separator.places(text).take(LENT_MAX).last()? + end;
        if !matches!(whole_text(self.encoding, &text[..length]), Found::Whole(_)) {
            return None;
        }
        let records = Records { text: text[..length].to_vec(), separator: Rc::clone(&self.separator) };
        self.eof = false;
        self.is_lent = true;
        self.input.forget_search();
        Some(records)
    }

    /// So many of the records that were lent are taken.
    pub(crate) fn take_lent(&mut self, records: usize) {
        if let Some(last) = records.checked_sub(1) {
            let end = self.separator.len();
            let place = Separator { bytes: &self.separator, unit: 1 }.places(self.input.bytes()).nth(last);
            let length = place.map_or(0, |place| place + end);
            self.position += length as u64;
            self.input.skip(length);
        }
        self.is_lent = false;
        if !self.given_back.is_empty() {
            let given_back = std::mem::take(&mut self.given_back);
            self.take_back(0, &given_back);
        }
    }

    /// Takes bytes back that a read had taken at `place`. Says whether there is something to take now.
    pub(crate) fn take_back(&mut self, place: u64, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return false;
        }
        if self.is_lent {
            self.given_back.splice(..0, bytes.iter().copied());
            return false;
        }
        self.position = self.position.saturating_sub(bytes.len() as u64);
        self.eof = false;
        self.input.put_back(place, bytes);
        true
    }

    /// Whether nobody has asked for anything, and bytes are what they are.
    pub(crate) fn is_plain_and_quiet(&self) -> bool {
        self.is_quiet() && self.life == Life::Open && self.encoding == Encoding::Binary
    }

    /// What has come already, at most so much of it.
    pub(crate) fn take_received(&mut self, most: usize) -> Vec<u8> {
        self.eof = false;
        self.take(Encoding::Binary, most.min(self.input.len()))
    }

    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.output.is_empty() && self.can_read && self.is_open()
    }

    fn found(&mut self, work: &Work, encoding: Encoding, at_end: bool) -> Found {
        let (length, is_text) = match work {
            Work::Read { length } | Work::Peek { length } => return self.characters(*length, encoding, at_end),
            Work::Receive { most } => {
                let most = usize::try_from(*most).unwrap_or(usize::MAX);
                match self.input.len() {
                    0 if at_end => return Found::Rest(0),
                    0 if most > 0 => return Found::Missing(most),
                    there => (there.min(most), false),
                }
            }
            Work::ReadLine { separator, limit } => {
                let separator = Separator { bytes: separator, unit: encoding.unit() };
                let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
                match self.input.record_length(separator) {
                    Some(length) if length <= limit => (length, true),
                    _ if self.input.len() >= limit => return self.cut_off(encoding, limit, at_end),
                    _ => return self.rest(encoding, at_end),
                }
            }
            _ => return self.rest(encoding, at_end),
        };
        match self.input.bytes().get(..length) {
            Some(bytes) if is_text => whole_text(encoding, bytes),
            _ => Found::Whole(length),
        }
    }

    fn characters(&self, count: u64, encoding: Encoding, at_end: bool) -> Found {
        match encoding.measure(self.input.bytes(), count) {
            Measure::Whole(length) => Found::Whole(length),
            Measure::Invalid { length, skip } => Found::Invalid { length, skip },
            Measure::Short { length, .. } if at_end => self.up_to(length),
            Measure::Short { characters, .. } => {
                let missing = (count - characters).saturating_mul(encoding.unit() as u64);
                Found::Missing(usize::try_from(missing).unwrap_or(usize::MAX))
            }
        }
    }

    /// The beginning of a record that is too long: whole characters, and one at least.
    fn cut_off(&self, encoding: Encoding, limit: usize, at_end: bool) -> Found {
        let bytes = self.input.bytes();
        match encoding.measure(&bytes[..limit], u64::MAX) {
            Measure::Short { length: 0, .. } => self.characters(1, encoding, at_end),
            Measure::Short { length, .. } | Measure::Whole(length) => Found::Whole(length),
            Measure::Invalid { length, skip } => Found::Invalid { length, skip },
        }
    }

    /// All that is left, once the end has come.
    fn rest(&self, encoding: Encoding, at_end: bool) -> Found {
        if !at_end {
            return Found::Missing(1);
        }
        match whole_text(encoding, self.input.bytes()) {
            Found::Whole(length) => self.up_to(length),
            invalid => invalid,
        }
    }

    /// What is left at the end. A character that has only begun is none.
    fn up_to(&self, length: usize) -> Found {
        match self.input.len() - length {
            0 => Found::Rest(length),
            skip => Found::Invalid { length, skip },
        }
    }

    fn give(&mut self, entry: &Entry, length: usize, at_end: bool) -> Step {
        let bytes = match entry.work {
            Work::Peek { .. } => entry.encoding.decode(self.input.bytes()[..length].to_vec()),
            _ => {
                // Who takes nothing finds out nothing.
                self.eof = at_end || self.eof && length == 0;
                self.take(entry.encoding, length)
            }
        };
        Step::Settle(Ok(Outcome::Bytes(bytes)))
    }

    fn take(&mut self, encoding: Encoding, length: usize) -> Vec<u8> {
        self.position += length as u64;
        encoding.decode(self.input.take(length))
    }

    /// Bytes that are no text: the read fails and says where, and what comes after them is for the next one.
    fn pass_over(&mut self, entry: &Entry, length: usize, skip: usize) -> Failure {
        let offset = self.position + length as u64;
        let bytes = self.input.bytes().get(length..length + skip).unwrap_or_default();
        let shown: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let why = format!("at byte {offset} stands what is no {}: {}", entry.encoding.name(), shown.join(" "));
        let partial = entry.encoding.decode(self.input.bytes()[..length].to_vec());
        if !matches!(entry.work, Work::Peek { .. }) {
            self.eof = false;
            self.position = offset + skip as u64;
            self.input.skip(length + skip);
        }
        OperationError::not_text(entry.work.name(), &*self.name, why, offset, partial).into()
    }

    /// How much to ask for when so much is missing.
    fn room(&mut self, work: &Work, missing: usize) -> usize {
        let ahead = self.ahead;
        self.ahead = (ahead * 2).min(AHEAD_MAX.max(self.buffer_size));
        match work {
            Work::Receive { .. } => missing.min(FILL_MAX),
            Work::ReadAll => self.input.len().clamp(ahead, FILL_MAX.max(ahead)),
            _ => missing.clamp(ahead, FILL_MAX.max(ahead)),
        }
    }
}

/// A record, if it is text to its end.
fn whole_text(encoding: Encoding, bytes: &[u8]) -> Found {
    match encoding.measure(bytes, u64::MAX) {
        _ if encoding == Encoding::Binary => Found::Whole(bytes.len()),
        Measure::Invalid { length, skip } => Found::Invalid { length, skip },
        Measure::Short { length, .. } | Measure::Whole(length) => Found::Whole(length),
    }
}
