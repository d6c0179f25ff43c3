//! A fork beside other threads. Whoever forks has the lock of the table of ids meanwhile, so that the child's table is
//! whole, and its lock that of no thread that the child does not have.

#[cfg(unix)]
mod unix {
    use std::cell::Cell;
    use std::mem::ManuallyDrop;
    use std::sync::MutexGuard;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::threads::{Globals, lock};

    static IS_WATCHED: AtomicBool = AtomicBool::new(false);

    thread_local! {
        /// The lock, while this thread forks. With nothing to drop, so that it is there to the thread's very end.
        static HELD: Cell<Option<ManuallyDrop<MutexGuard<'static, Globals>>>> = const { Cell::new(None) };
    }

    extern "C" fn before() {
        // It may have it already: threads that came at once have registered this once each.
        let held = HELD.take().unwrap_or_else(|| ManuallyDrop::new(lock()));
        HELD.set(Some(held));
    }

    extern "C" fn after() {
        drop(HELD.take().map(ManuallyDrop::into_inner));
    }

    /// Called before the lock is taken. No `Once`: a child forked while another thread is inside one would wait for it
    /// for ever.
    pub(crate) fn watch() {
        if IS_WATCHED.load(Ordering::Acquire) {
            return;
        }
        corella::watch_forks();
        // SAFETY: the handlers run on the thread that forks, and only take one lock and let go of it. Nothing under
        // that lock forks, so this thread has not got it yet; nothing there waits for who forks, so it is let go of.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
        IS_WATCHED.store(true, Ordering::Release);
    }
}

#[cfg(unix)]
pub(crate) use unix::watch;

/// No process has forked children here.
#[cfg(not(unix))]
pub(crate) fn watch() {}
