//! What threads share things by: the standard library's, or for the leg `threads` the same under a scheduler of its own,
//! which tries the orders in which threads may come (`--cfg corella_shuttle`; then nothing else runs).

#[cfg(not(corella_shuttle))]
pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    thread, thread_local,
};

#[cfg(corella_shuttle)]
pub(crate) use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
    thread, thread_local,
};

#[cfg(all(test, corella_shuttle))]
#[path = "sync_tests.rs"]
mod tests;
