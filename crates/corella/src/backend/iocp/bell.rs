//! What ends a wait at a port from any thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::KEY_WAKE;
use super::port::{ERROR_INVALID_HANDLE, Post};
use crate::sync::{AtomicBool, thread};

/// How long after a packet could not be posted it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Ends a wait from any thread; at most one packet of its is ever in the port.
#[derive(Debug)]
pub(crate) struct Bell {
    poster: Arc<dyn Post>,
    /// Its packet is in the port, or somebody sees to it that it will be.
    is_posted: AtomicBool,
}

impl Bell {
    pub(crate) fn new(poster: Arc<dyn Post>) -> Bell {
        Bell { poster, is_posted: AtomicBool::new(false) }
    }

    pub(crate) fn ring(self: &Arc<Self>) {
        if !self.is_posted.swap(true, Ordering::AcqRel) && !self.is_done() {
            self.go_on_trying();
        }
    }

    /// Posts the packet; false if the system has no room for it now. Of a port that has been closed each wait ends by itself.
    fn is_done(&self) -> bool {
        matches!(self.poster.post(KEY_WAKE), Ok(()) | Err(ERROR_INVALID_HANDLE))
    }

    /// Who sleeps at the port is not woken yet, and nobody else will: a thread tries until there is room again. If there is
    /// none for a thread either, this one does.
    fn go_on_trying(self: &Arc<Self>) {
        let bell = Arc::downgrade(self);
        if thread::Builder::new().name("corella-bell".into()).spawn(move || try_again(&bell)).is_err() {
            try_again(&Arc::downgrade(self));
        }
    }

    /// Its packet has come. What was done before a later ring that posts nothing is seen from now on.
    pub(crate) fn was_heard(&self) {
        self.is_posted.swap(false, Ordering::AcqRel);
    }

    pub(super) fn is_rung(&self) -> bool {
        self.is_posted.load(Ordering::Acquire)
    }
}

/// Until the packet is in the port, or the scheduler has ended.
fn try_again(bell: &Weak<Bell>) {
    loop {
        thread::sleep(AGAIN_AFTER);
        if bell.upgrade().is_none_or(|bell| bell.is_done()) {
            return;
        }
    }
}
