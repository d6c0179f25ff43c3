//! What is carried out at once. An awaited read of a file, with nothing to batch it with, is first tried by a call that gives what
//! is in the page cache and does not block. A send that the program tries takes what there is room for.
//!
//! Either needs no slot: it begins and ends within one call of the program's, so that nobody can ask for it, cancel it or wait
//! for it meanwhile. Its lane has its say as for any other.

use super::RequestQueue;
use super::handles::{Broken, HandleKey, Inline, Life};
use super::lanes::{self, RECEIVE, SEND};
use super::slots::NONE;
use crate::backend::WaitsBy;
use crate::buffer::Part;
use crate::error::Error;
use crate::marks::{self, Mark};
use crate::op::Class;
use crate::planted::{self, Defect};

/// Bytes of a read that is tried at once at most: beyond that the call is a small part of what it costs.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Reads of a file that are not tried at once after one that was tried in vain.
const READS_AFTER_A_VAIN_ONE: u8 = 31;

impl RequestQueue {
    /// Sends at once what there is room for on a connection: so many bytes, none if there is no room or something of the lane
    /// is in its way. A failure breaks the lane, as that of a request would. If a part goes out the next send goes on
    /// with it, and if that sends nothing there is a gap, so that it breaks the lane too.
    pub(crate) fn send_at_once(&mut self, key: HandleKey, bytes: &[u8]) -> Result<u64, Error> {
        let Some(handle) = self.handles.get_mut(key) else { return Ok(0) };
        let takes_sends = handle.class == Class::Socket && handle.life == Life::Open && !handle.refuses_writes();
        if !takes_sends || bytes.is_empty() {
            return Ok(0);
        }
        if handle.lanes[SEND].tail != NONE && !planted::is(Defect::TriedSendPassesOthers) {
            marks::hit(Mark::InlineSendHeldBack);
            return Ok(0);
        }
        match self.backend.send_at_once(handle.raw(), bytes) {
            None => Ok(0),
            Some(Ok(count)) => {
                marks::hit(Mark::InlineSend);
                let is_whole = count == bytes.len() as u64;
                if !is_whole {
                    marks::hit(Mark::InlineSendInPart);
                }
                handle.broken = if is_whole { None } else { Some(Broken::Partly) };
                Ok(count)
            }
            Some(Err(code)) => {
                handle.broken = Some(Broken::ForGood);
                Err(Error::from_os(code, format!("send {} bytes", bytes.len()), handle.name(&self.backend)))
            }
        }
    }

    /// Nobody goes on with what was sent in part: the lane is broken.
    pub(crate) fn give_up_rest(&mut self, key: HandleKey) {
        if let Some(handle) = self.handles.get_mut(key)
            && handle.broken == Some(Broken::Partly)
        {
            handle.broken = Some(Broken::ForGood);
        }
    }

    /// Whether an awaited read is better tried at once. With others that are about to run it would be one of a batch.
    #[inline]
    pub(crate) fn tries_reads(&mut self, others_are_ready: bool) -> bool {
        self.inline_reads && self.backend.gains_by_trying(others_are_ready)
    }

    /// Reads the whole of `part` from a file, if it can be had without blocking, and nothing of the lane is in its way.
    /// Otherwise nothing has been done but, maybe, to its bytes.
    pub(crate) fn read_at_once(&mut self, key: HandleKey, part: Part, offset: u64) -> Option<u64> {
        let handle = self.handles.get_mut(key)?;
        let lets_it_in = handle.lanes[RECEIVE].tail == NONE || lanes::lets_reads_in(true, handle);
        let is_a_file = matches!(handle.class, Class::File { .. }) && handle.life == Life::Open;
        if !is_a_file || !lets_it_in || handle.waits_by != WaitsBy::Class || part.length > INLINE_BYTES_MAX {
            return None;
        }
        match handle.inline {
            Inline::Yes => {}
            Inline::Unasked(reads) if reads < self.backend.reads_before_a_try() => {
                handle.inline = Inline::Unasked(reads + 1);
            }
            Inline::Unasked(_) => {
                let can = self.backend.reads_at_once(handle.raw());
                handle.inline = if can { Inline::Yes } else { Inline::Never };
            }
            Inline::After(0) => handle.inline = Inline::Yes,
            Inline::After(reads) => handle.inline = Inline::After(reads - 1),
            Inline::Never => {}
        }
        if handle.inline != Inline::Yes || offset > i64::MAX as u64 {
            return None;
        }
        match self.backend.read_at_once(handle.raw(), part, offset) {
            Some(count) if count == part.length as u64 => {
                marks::hit(Mark::InlineRead);
                Some(count)
            }
            outcome => {
                // Near the end of a file there is less; the backend's answer tells that from what is not in the cache.
                marks::hit(Mark::InlineInVain);
                handle.inline = outcome.map_or(Inline::Never, |_| Inline::After(READS_AFTER_A_VAIN_ONE));
                None
            }
        }
    }
}
