//! What ends a wait at a port from any thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::KEY_WAKE;
use super::port::{Code, ERROR_INVALID_HANDLE, Post};
use crate::sync::{AtomicBool, thread};

/// How long after a packet could not be posted it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(1);

/// Ends a wait from any thread; at most one packet of its is ever in the port.
#[derive(Debug)]
pub(crate) struct Bell {
    poster: Arc<dyn Post>,
    /// Its packet is in the port, or somebody sees to it that it will be.
    is_posted: AtomicBool,
    /// The thread that takes packets out of the port. It waits for no room in it.
    owner: thread::ThreadId,
    /// The owner could post none: before it waits it looks at everything, or tries again.
    is_owed: AtomicBool,
}

impl Bell {
    pub(crate) fn new(poster: Arc<dyn Post>) -> Bell {
        let (is_posted, is_owed) = (AtomicBool::new(false), AtomicBool::new(false));
        Bell { poster, is_posted, owner: thread::current().id(), is_owed }
    }

    pub(crate) fn ring(self: &Arc<Self>) {
        if thread::current().id() == self.owner {
            // What is owed is seen to before the next wait.
            let _ = self.ring_at_once();
        } else if !self.is_posted.swap(true, Ordering::AcqRel) && !self.is_done() {
            self.go_on_trying();
        }
    }

    /// Rings for the owner. If there is no room it owes the ring, and with it whatever another thread has left to this one.
    pub(super) fn ring_at_once(&self) -> Result<(), Code> {
        if self.is_posted.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let result = self.poster.post(KEY_WAKE);
        self.is_posted.store(result.is_ok(), Ordering::Release);
        self.is_owed.store(result.is_err(), Ordering::Relaxed);
        result
    }

    pub(super) fn is_owed(&self) -> bool {
        self.is_owed.load(Ordering::Relaxed)
    }

    /// The owner looks at everything now.
    pub(super) fn take_owed(&self) -> bool {
        self.is_owed() && self.is_owed.swap(false, Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::super::port::ERROR_NO_SYSTEM_RESOURCES;
    use super::*;

    /// How many packets have been posted; the first is refused.
    #[derive(Debug, Default)]
    struct Full(AtomicU32);

    impl Post for Full {
        fn post(&self, _key: usize) -> Result<(), Code> {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Err(ERROR_NO_SYSTEM_RESOURCES),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn the_thread_that_makes_room_does_not_wait_for_it() {
        let full = Arc::new(Full::default());
        let bell = Arc::new(Bell::new(Arc::clone(&full) as Arc<dyn Post>));
        bell.ring();
        assert!(bell.is_owed() && !bell.is_rung(), "the next ring is to try again");
        assert_eq!(bell.ring_at_once(), Ok(()));
        bell.ring();
        assert!(!bell.take_owed());
        assert_eq!(full.0.load(Ordering::SeqCst), 2, "a packet that is in the port is enough");
    }
}
