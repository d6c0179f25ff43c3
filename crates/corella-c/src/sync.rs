//! What threads share things by: the standard library's, or for the leg `threads` the same under a scheduler of its own,
//! which tries the orders in which threads may come (`--cfg corella_shuttle`; then nothing else runs).

#[cfg(not(corella_shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};

#[cfg(corella_shuttle)]
pub(crate) use corella::rehearsal::{
    is_planted,
    sync::{Mutex, MutexGuard, atomic::AtomicBool},
};

/// Whether a fault is planted that a promise about threads is there for.
#[cfg(not(corella_shuttle))]
pub(crate) const fn is_planted(_fault: &str) -> bool {
    false
}

#[cfg(all(test, corella_shuttle))]
#[path = "sync_tests.rs"]
mod tests;
