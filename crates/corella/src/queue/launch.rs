//! Carrying a request out: here and now, by a bare call, or through the backend.

use super::RequestQueue;
use super::handles::{ChildState, Handle, Returned};
use super::outcome::State;
use super::slots::RequestId;
use crate::backend::{
    Backend, Completion, Fault, NO_DESCRIPTOR, Orphan, Outcome, RawDescriptor, Submission, TRANSFER_PARTS_MAX, Value,
    WaitsBy, codes, raw_descriptor,
};
use crate::buffer::{ReadToEnd, fill_from};
use crate::marks::{self, Mark};
use crate::op::{At, Class, Extent, Op, SeekTo};
use crate::planted::{self, Defect};

impl RequestQueue {
    /// Carries a request out: here, by a bare call, or through the backend.
    pub(super) fn launch(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        slot.state = State::AtOs;
        if matches!(slot.op, Op::Sleep) {
            return;
        }
        if self.launch_transfer(index) {
            return;
        }
        self.at_os += 1;
        if let Some(outcome) = self.carry_out_here(index) {
            let token = self.slots.id(index).token();
            self.completions.push_back(Completion { token, outcome });
            return;
        }
        if self.slots[index].op.extent() == Some(Extent::ToEnd)
            && let Err(fault) = self.grow(index)
        {
            let token = self.slots.id(index).token();
            self.completions.push_back(Completion { token, outcome: Err(fault) });
            return;
        }
        self.hand_to_backend(index);
    }

    /// What needs no OS: barriers, seeks, empty transfers, and what came back to the front of the lane.
    fn carry_out_here(&mut self, index: u32) -> Option<Outcome> {
        let slot = &mut self.slots[index];
        let handle = &mut self.handles[slot.handle?.index];
        let to_end = slot.op.extent() == Some(Extent::ToEnd);
        if !to_end && !slot.op.is_datagram() && slot.op.parts().is_some_and(|parts| parts.total() == 0) {
            return Some(Ok(Value::Count(0)));
        }
        match &mut slot.op {
            Op::Barrier => Some(Ok(Value::Count(0))),
            Op::Seek { to } => Some(seek(*to, handle, &self.backend)),
            Op::AwaitReady { writes: false }
                if handle.pushback.as_ref().is_some_and(|pushback| !pushback.is_empty()) =>
            {
                Some(Ok(Value::Count(0)))
            }
            Op::AwaitExit { .. } => handle.child?.status.map(|status| Ok(Value::Exit(status))),
            // Of a child process; what else is closed is the OS's to close.
            Op::Close => {
                let ChildState { pid, status } = handle.child?;
                let descriptor = handle.descriptor.take().and_then(|descriptor| descriptor.into_os().ok())?;
                self.backend.forget_descriptor(raw_descriptor(&descriptor));
                if status.is_none() {
                    drop(Orphan::new(pid, descriptor));
                }
                Some(Ok(Value::Count(0)))
            }
            Op::Accept => {
                let (place, connection) = handle.pushback.as_mut()?.take_connection()?;
                marks::hit(Mark::TookFromFront);
                slot.origin = place;
                slot.begun = false;
                Some(Ok(Value::Descriptor(connection)))
            }
            Op::RecvFrom { parts } => {
                let (place, Returned { bytes, mut arrival }) = handle.pushback.as_mut()?.take_datagram()?;
                slot.origin = place;
                slot.begun = false;
                arrival.count = fill_from(parts, 0, &mut bytes.into()) as u32;
                Some(Ok(Value::Datagram(arrival)))
            }
            Op::Recv { parts, .. } | Op::Read { at: At::Cursor, parts, .. } => {
                let (payload, moved) = (&mut slot.payload, slot.moved);
                let (place, count) = handle.pushback.as_mut()?.take(|bytes| match payload.get_mut::<ReadToEnd>() {
                    Some(target) => target.take_all(bytes),
                    None => fill_from(parts, moved, bytes),
                })?;
                if moved == 0 {
                    slot.origin = place;
                }
                marks::hit(Mark::TookFromFront);
                slot.begun = true;
                // They were counted when the OS handed them over.
                handle.received -= count;
                Some(Ok(Value::Count(count)))
            }
            _ => None,
        }
    }

    /// Makes room in the buffer of a read to the end.
    fn grow(&mut self, index: u32) -> Result<(), Fault> {
        let slot = &mut self.slots[index];
        let expected = match (slot.handle, &slot.op) {
            (Some(key), Op::Read { at, .. }) => {
                let handle = &self.handles[key.index];
                let start = match at {
                    At::Cursor => handle.cursor,
                    At::Offset(offset) => *offset,
                };
                handle.known_end.saturating_sub(start + slot.moved)
            }
            _ => 0,
        };
        let Some(target) = slot.payload.get_mut::<ReadToEnd>() else { return Ok(()) };
        let parts = target.room(expected).ok_or(Fault::Os(codes::ENOMEM))?;
        if let Some(old) = slot.op.parts_mut() {
            *old = parts;
        }
        Ok(())
    }

    fn hand_to_backend(&mut self, index: u32) {
        self.parts.clear();
        let Place { class, offset, known_end, descriptor, waits_by, lingers } = self.place(index);
        let slot = &mut self.slots[index];
        slot.begun = true;
        let slot = &*slot;
        if let Some(parts) = slot.op.parts() {
            let begins_again = slot.op.extent() == Some(Extent::ToEnd)
                || (slot.op.extent().is_some() && planted::is(Defect::ReadGoesOnAtItsBeginning));
            let skip = if begins_again { 0 } else { slot.moved };
            parts.append_remaining(skip, TRANSFER_PARTS_MAX, &mut self.parts);
            if let (Op::Write { parts, .. }, Some(key), Some(offset)) = (&slot.op, slot.handle, offset)
                && planted::is(Defect::EndKnownTooEarly)
            {
                let handle = &mut self.handles[key.index];
                handle.known_end = handle.known_end.max(offset + parts.total());
            }
            let is_stream = !matches!(class, Class::File { .. } | Class::SharedFile);
            if slot.op.is_stream_write() && is_stream && self.backend.tells_what_went_out() {
                self.join_followers(index);
            }
        }
        let slot = &self.slots[index];
        let token = RequestId { index, generation: slot.generation }.token();
        let end = |offset| self.parts.iter().fold(offset, |end: u64, part| end.saturating_add(part.length as u64));
        let extends = matches!(slot.op, Op::Write { .. }) && offset.is_some_and(|offset| end(offset) > known_end);
        let submission = Submission {
            token,
            op: &slot.op,
            descriptor,
            class,
            parts: &self.parts,
            offset,
            extends,
            waits_by,
            lingers,
        };
        let outcome = if slot.bare { self.backend.perform(&submission) } else { None };
        match outcome {
            Some(outcome) => self.completions.push_back(Completion { token, outcome }),
            None => self.backend.submit(&submission, &mut self.completions),
        }
    }

    /// The class and descriptor of a request's handle, and where in the file its next byte goes.
    pub(super) fn place(&mut self, index: u32) -> Place {
        let slot = &mut self.slots[index];
        let Some(key) = slot.handle else {
            let waits_by = WaitsBy::Class;
            return Place {
                class: Class::Stream,
                offset: None,
                known_end: 0,
                descriptor: NO_DESCRIPTOR,
                waits_by,
                lingers: false,
            };
        };
        let handle = &mut self.handles[key.index];
        if !slot.begun {
            slot.origin = match slot.op {
                Op::Read { at: At::Offset(offset), .. } | Op::Write { at: At::Offset(offset), .. } => offset,
                _ if matches!(handle.class, Class::File { .. }) => handle.cursor,
                _ => handle.received,
            };
        }
        let appends =
            matches!(slot.op, Op::Write { at: At::Cursor, .. }) && handle.class == Class::File { append: true };
        let positioned = matches!(slot.op, Op::Read { at: At::Offset(_), .. } | Op::Write { at: At::Offset(_), .. });
        let offset = match handle.class {
            Class::File { .. } if !appends => Some(slot.origin + slot.moved),
            _ if positioned => Some(slot.origin + slot.moved),
            _ => None,
        };
        let is_close = matches!(slot.op, Op::Close);
        let lingers = handle.lingers && is_close;
        let Handle { class, known_end, waits_by, .. } = *handle;
        let descriptor = if is_close { self.surrender_descriptor(key.index) } else { handle.raw() };
        Place { class, offset, known_end, descriptor, waits_by, lingers }
    }
}

/// Where a request is carried out.
pub(super) struct Place {
    class: Class,
    /// In the file; `None` for streams and where the OS keeps the cursor.
    offset: Option<u64>,
    known_end: u64,
    descriptor: RawDescriptor,
    waits_by: WaitsBy,
    lingers: bool,
}

impl Place {
    /// Whether it is as the hot path has it.
    pub(super) fn is(&self, of_transfer: (Class, Option<u64>, RawDescriptor, WaitsBy)) -> bool {
        of_transfer == (self.class, self.offset, self.descriptor, self.waits_by) && !self.lingers
    }
}

/// Moves a file's cursor, or says where it is not.
fn seek(to: SeekTo, handle: &Handle, backend: &Backend) -> Outcome {
    let illegal = Fault::Os(codes::ESPIPE);
    if !matches!(handle.class, Class::File { .. }) {
        return Err(illegal);
    }
    let place = match to {
        SeekTo::Start(offset) => i64::try_from(offset).ok(),
        SeekTo::Current(offset) => (handle.cursor as i64).checked_add(offset),
        SeekTo::End(offset) => {
            let descriptor = handle.descriptor.as_ref().ok_or(Fault::Os(codes::EBADF))?;
            let size = backend.nature(descriptor).map_err(|error| Fault::from_io(&error))?.size;
            i64::try_from(size).ok().and_then(|size| size.checked_add(offset))
        }
    };
    match place {
        Some(place) if place >= 0 => Ok(Value::Count(place as u64)),
        _ => Err(Fault::Os(codes::EINVAL)),
    }
}
