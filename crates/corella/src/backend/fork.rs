//! Knows whether this process is a forked child of the one that made a scheduler.
//!
//! A child shares its parent's rings, epoll sets and descriptors, and must touch none of them.
#![allow(unsafe_code)]

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);
static REGISTERED: Once = Once::new();

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A number that differs between a process and its forked children.
pub fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Starts to count forks; called before the first scheduler is made.
pub(crate) fn watch() {
    REGISTERED.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}
