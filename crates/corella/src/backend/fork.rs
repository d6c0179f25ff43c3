//! Knows whether this process is a forked child of the one that made a scheduler.
//!
//! A child shares its parent's rings, epoll sets and descriptors, and must touch none of them.
#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
#[cfg(unix)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};

static FORKS: AtomicU64 = AtomicU64::new(0);
#[cfg(unix)]
static IS_WATCHED: AtomicBool = AtomicBool::new(false);

#[cfg(unix)]
extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A number that differs between a process and its forked children.
#[inline(always)]
pub fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// Starts to count forks; called before the first scheduler is made, and before what a host makes without one.
#[cfg(unix)]
pub fn watch() {
    if IS_WATCHED.load(Ordering::Acquire) {
        return;
    }
    // No `Once`: a child forked while another thread is inside one would wait for it for ever. Twice does no harm: a
    // fork counts for two then.
    //
    // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    IS_WATCHED.store(true, Ordering::Release);
}

/// No process has forked children here.
#[cfg(windows)]
pub fn watch() {}

/// A value that only the process that made it drops.
///
/// A ring's memory is not mapped in a forked child: to unmap its addresses there would take away whatever the child has
/// put at them. And what a child takes out of an epoll set is gone from its parent's.
#[derive(Debug)]
pub(crate) struct OfThisProcess<T> {
    value: ManuallyDrop<T>,
    generation: u64,
}

impl<T> OfThisProcess<T> {
    pub(crate) fn new(value: T) -> OfThisProcess<T> {
        OfThisProcess { value: ManuallyDrop::new(value), generation: generation() }
    }
}

impl<T> Deref for OfThisProcess<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for OfThisProcess<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for OfThisProcess<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            // SAFETY: this is the only place that drops it, and it runs once.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

#[cfg(all(test, unix))]
pub(crate) mod tests {
    use super::*;

    static DROPS: AtomicU64 = AtomicU64::new(0);

    /// Whether `check` says yes in a forked child, and in time.
    pub(crate) fn holds_in_child(check: impl FnOnce() -> bool) -> bool {
        const SECONDS: libc::c_uint = 10;
        watch();
        // SAFETY: the child looks at its copy of the memory, and leaves by a signal or by _exit, without running the
        // parent's clean-up.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above; the alarm is the child's own.
            unsafe {
                libc::alarm(SECONDS);
                let holds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
                libc::_exit(i32::from(!holds.unwrap_or(false)));
            }
        }
        let mut status = 0;
        // SAFETY: waits for the child just made.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    struct Counted;

    impl Drop for Counted {
        fn drop(&mut self) {
            DROPS.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_forked_child_does_not_drop_what_is_its_parents() {
        watch();
        let mut value = Some(OfThisProcess::new(Counted));
        let is_kept = holds_in_child(|| {
            drop(value.take());
            DROPS.load(Ordering::Relaxed) == 0
        });
        assert!(is_kept);
        drop(value);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
    }
}
