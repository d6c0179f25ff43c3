//! Handles' beginnings and ends: adoption, clones, close in its three forms, and giving a descriptor away.

use super::handles::{Handle, HandleKey, Life, Target};
use super::outcome::State;
use super::slots::{Cause, Ending, Payload, RequestId};
use super::{FOREIGN_TOKEN, RequestQueue, lanes};
use crate::backend::{Descriptor, NO_DESCRIPTOR, OsDescriptor, RawDescriptor, raw_descriptor};
use crate::error::{Error, ErrorKind};
use crate::marks::{self, Mark};
use crate::op::Op;
use crate::planted::{self, Defect};
use crate::queue::timers::Nanoseconds;
use crate::scheduler::token::CancelToken;

impl RequestQueue {
    /// Adds a handle.
    pub(crate) fn adopt(&mut self, handle: Handle) -> HandleKey {
        self.handles.insert(handle)
    }

    /// Closes a handle whose last clone has gone, in the background; its failure is nobody's, so it goes to the hook. Says
    /// whether it was open.
    pub(crate) fn close_unowned(&mut self, key: HandleKey) -> bool {
        let is_open = self.handles.get_mut(key).is_some_and(|handle| handle.life == Life::Open);
        if is_open {
            let _ = self.close(key, false, None, None, (&mut Payload::empty(), &mut Ending::Detached));
        }
        is_open
    }

    /// Closes a handle: queued writes go out first (with `now`: nothing does), reads are cancelled, and what comes
    /// later is refused. A close needs no free slot. A refusal leaves payload and ending with the caller, who drops them
    /// outside the queue.
    pub(crate) fn close(
        &mut self,
        key: HandleKey,
        now: bool,
        deadline: Option<Nanoseconds>,
        token: Option<CancelToken>,
        (payload, ending): (&mut Payload, &mut Ending),
    ) -> Result<RequestId, Error> {
        let handle = match self.handles.get_mut(key) {
            Some(handle) if handle.life == Life::Open => handle,
            _ => return Err(Error::new(ErrorKind::Closed, "close", "")),
        };
        if token.as_ref().is_some_and(|token| !token.claim()) {
            let error = Error::new(ErrorKind::WrongProcess, "close", handle.name(&self.backend));
            return Err(error.with_note(FOREIGN_TOKEN));
        }
        handle.life = Life::Closing;
        for index in lanes::members(key.index, &self.handles, &self.slots) {
            if self.slots[index].state != State::Settled
                && (now || self.slots[index].op.ends_at_close() || planted::is(Defect::CloseDropsWrites))
            {
                marks::hit(Mark::CloseCancelled);
                self.interrupt(index, Cause::Close);
            }
        }
        let index = self.insert(Op::Close);
        let slot = &mut self.slots[index];
        slot.handle = Some(key);
        slot.submitted_at = self.now;
        slot.payload = payload.replace_with_empty();
        slot.ending = std::mem::replace(ending, Ending::Kept);
        let id = self.slots.id(index);
        if let Some(deadline) = deadline {
            self.arm(deadline, index);
        }
        self.enter_lanes(index);
        let is_cancelled = token.is_some_and(|token| self.register(index, &token));
        self.start_or_wait(index);
        if is_cancelled {
            self.interrupt(index, Cause::Cancel);
        }
        self.pump();
        Ok(id)
    }

    /// A close that may wait no longer: what it waited for is cancelled.
    pub(super) fn hurry_close(&mut self, close: u32, cause: Cause) {
        let Some(key) = self.slots[close].handle else { return };
        self.keep_name(key);
        for index in lanes::members(key.index, &self.handles, &self.slots) {
            if index != close && self.slots[index].state != State::Settled {
                marks::hit(Mark::CloseHurried);
                self.slots[close].cause.get_or_insert(cause);
                self.interrupt(index, Cause::Close);
            }
        }
    }

    /// Asks for a socket's name while it has one: after the close it is told of what came of it.
    fn keep_name(&mut self, key: HandleKey) {
        let Some(handle) = self.handles.get_mut(key) else { return };
        if let (Target::Socket, Some(_)) = (&handle.target, &handle.descriptor) {
            handle.target = Target::Path(handle.name(&self.backend).into());
        }
    }

    /// The descriptor of a handle that is being closed, for the call that closes it.
    pub(super) fn surrender_descriptor(&mut self, handle: u32) -> RawDescriptor {
        match self.handles[handle].descriptor.take() {
            Some(descriptor) => {
                let raw = descriptor.into_raw();
                self.backend.forget_descriptor(raw);
                raw
            }
            None => NO_DESCRIPTOR,
        }
    }

    /// Takes a quiet handle without other clones out of the queue, with whatever had come back to the front of its lanes.
    pub(crate) fn give_away(&mut self, key: HandleKey, is_the_only: bool) -> Result<(OsDescriptor, Handle), ErrorKind> {
        match self.handles.get_mut(key) {
            Some(handle) if handle.life == Life::Open => {
                if !is_the_only || !handle.is_quiet() || handle.untaken > 0 {
                    return Err(ErrorKind::Busy);
                }
            }
            _ => return Err(ErrorKind::Closed),
        }
        if self.handles[key.index].descriptor.as_ref().is_some_and(|descriptor| descriptor.os_number().is_none()) {
            return Err(ErrorKind::InvalidInput);
        }
        let mut handle = self.handles.remove(key.index);
        match handle.descriptor.take().map(Descriptor::into_os) {
            Some(Ok(descriptor)) => {
                self.backend.part_with(raw_descriptor(&descriptor));
                Ok((descriptor, handle))
            }
            _ => Err(ErrorKind::Closed),
        }
    }

    /// Closes every handle that is still open, in the background.
    pub(crate) fn close_all_handles(&mut self) {
        for index in self.handles.indices() {
            let key = self.handles.key(index);
            let _ = self.close(key, true, None, None, (&mut Payload::empty(), &mut Ending::Detached));
        }
    }
}
