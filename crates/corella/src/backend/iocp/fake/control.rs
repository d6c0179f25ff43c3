//! What a test does to the double of a port while a scheduler runs on it, and what it asks it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::KEY_REQUEST;
use super::super::blocks::Call;
use super::super::port::{Code, ERROR_OPERATION_ABORTED, Manner, Overlapped, Packet};
use super::{Fate, Mailbox, Pending, State, Timing};
use crate::backend::RawDescriptor;

/// What a test does to a port while a scheduler runs on it.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    pub(super) state: Rc<RefCell<State>>,
    pub(super) mailbox: Arc<Mailbox>,
}

impl Control {
    pub(crate) fn set_script(&self, script: impl FnMut(&'static str, u64) -> Option<Fate> + 'static) {
        self.state.borrow_mut().plan.set_script(script);
    }

    /// Lets all packets go that were withheld, and withholds none any more of what is in flight.
    pub(crate) fn release(&self) {
        let mut state = self.state.borrow_mut();
        let withheld = std::mem::take(&mut state.withheld);
        state.ready.extend(withheld);
        for pending in &mut state.pending {
            pending.fate.timing = Timing::Inside;
        }
    }

    /// Requests that the double has or whose packets it has not given.
    pub(crate) fn in_flight(&self) -> usize {
        let state = self.state.borrow();
        state.pending.len() + state.withheld.len() + state.late.len() + state.ready.len()
    }

    /// Packets that other threads have posted and nobody has dequeued.
    pub(crate) fn posted(&self) -> usize {
        self.mailbox.keys.lock().unwrap().len()
    }

    /// The system has no room for the next packets that are posted.
    pub(crate) fn refuse_posts(&self, count: u32) {
        self.mailbox.refusals.store(count, Ordering::Release);
    }

    /// Posts that have yet to be refused so.
    pub(crate) fn refusals_left(&self) -> u32 {
        self.mailbox.refusals.load(Ordering::Acquire)
    }

    pub(crate) fn withheld(&self) -> usize {
        self.state.borrow().withheld.len()
    }

    /// How often a call was made.
    pub(crate) fn calls(&self, name: &'static str) -> u64 {
        self.state.borrow().calls.get(name).copied().unwrap_or(0)
    }

    /// As if somebody had closed the port's handle.
    pub(crate) fn close(&self) {
        self.state.borrow_mut().is_closed = true;
        self.mailbox.is_closed.store(true, Ordering::Release);
        let _ = rustix::io::write(&self.mailbox.event, &1u64.to_ne_bytes());
    }

    /// As if somebody had closed a socket: what is in flight on it is let go of, receives with this code, and nothing more is
    /// taken.
    pub(crate) fn close_socket(&self, descriptor: RawDescriptor, code: Code) {
        let mut state = self.state.borrow_mut();
        state.closed.insert(descriptor);
        let is_its = |pending: &mut Pending| pending.task.descriptor == descriptor;
        let ended: Vec<Pending> = state.pending.extract_if(.., is_its).collect();
        for pending in ended {
            let is_receive = pending.task.call == Call::Receive;
            state.end(&pending, if is_receive { code } else { ERROR_OPERATION_ABORTED }, 0);
        }
    }

    /// As if another program had ended a request on a handle that it has from this one; at this address it has it.
    pub(crate) fn end_of_another_program(&self, overlapped: *mut Overlapped) {
        self.state.borrow_mut().ready.push_back(Packet::new(KEY_REQUEST, overlapped, 7));
    }

    /// Where the requests in flight have their structures.
    pub(crate) fn overlapped(&self) -> Vec<*mut Overlapped> {
        self.state.borrow().pending.iter().map(|pending| pending.overlapped).collect()
    }

    /// What comes of making handles the port's from now on.
    pub(crate) fn refuse_association(&self, code: Option<Code>) {
        self.state.borrow_mut().refuses_association = code;
    }

    /// A provider of sockets that is layered, and skips no packets.
    pub(crate) fn set_provider_skips(&self, yes: bool) {
        self.state.borrow_mut().provider_skips = yes;
    }

    /// Writes that a cancel stops tell of nothing from now on.
    pub(crate) fn forget_what_went_out(&self) {
        self.state.borrow_mut().forgets_what_went_out = true;
    }

    /// Files are compressed from now on.
    pub(crate) fn compress_files(&self) {
        self.state.borrow_mut().manner = Manner::Synchronous;
    }
}
