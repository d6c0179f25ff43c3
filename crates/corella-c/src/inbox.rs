//! What other threads send into a scheduler's thread: cancels, work, a word to stop.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;

use crate::codes::{CORELLA_ERROR_INVALID_ID, CORELLA_ERROR_REJECTED, CORELLA_ERROR_SCHEDULER_GONE};
use crate::faults::Fault;
use crate::ids::Key;
use crate::request::Function;
use crate::sync::{AtomicBool, Mutex, MutexGuard, is_planted};

/// Work sent in by another thread.
pub(crate) struct Post {
    pub(crate) callback: Option<Function>,
    pub(crate) user_data: *mut c_void,
    pub(crate) tag: c_int,
}

// SAFETY: the user data is a number to the library; whoever sends it vouches that its receiver may use it.
unsafe impl Send for Post {}

/// What has come in.
#[derive(Default)]
pub(crate) struct Arrived {
    /// At most one for each request: index and generation.
    pub(crate) cancels: BTreeSet<(u32, u32)>,
    pub(crate) posts: VecDeque<Post>,
    pub(crate) stops: bool,
}

#[derive(Default)]
struct State {
    arrived: Arrived,
    ended: bool,
}

/// A scheduler seen from other threads.
pub(crate) struct Inbox {
    /// The scheduler's number, which its requests have in their ids.
    scheduler: u32,
    remote: corella::Remote,
    state: Mutex<State>,
    /// Something is inside, or somebody called. Set behind what was put in and before the engine is woken, so that whoever
    /// is woken finds it.
    pending: AtomicBool,
    posts_max: usize,
}

impl Inbox {
    pub(crate) fn new(scheduler: u32, remote: corella::Remote, posts_max: usize) -> Inbox {
        Inbox { scheduler, remote, state: Mutex::default(), pending: AtomicBool::new(false), posts_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of a program's runs under the lock, so a poisoned one holds nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Puts something in, and makes the scheduler's current or next wait return. `CORELLA_ERROR_SCHEDULER_GONE` after its
    /// end.
    fn send(&self, put: impl FnOnce(&mut Arrived) -> Result<(), c_int>) -> Result<(), Fault> {
        let mut state = self.lock();
        if state.ended {
            return Err(CORELLA_ERROR_SCHEDULER_GONE.into());
        }
        put(&mut state.arrived)?;
        drop(state);
        if is_planted("woken too early") {
            self.remote.wake();
        }
        self.pending.store(true, Ordering::Release);
        if !is_planted("woken too early") {
            self.remote.wake();
        }
        Ok(())
    }

    /// Sends work; `CORELLA_ERROR_REJECTED` when as much waits as may.
    pub(crate) fn post(&self, post: Post) -> Result<(), Fault> {
        self.send(|arrived| {
            if arrived.posts.len() >= self.posts_max {
                return Err(CORELLA_ERROR_REJECTED);
            }
            arrived.posts.push_back(post);
            Ok(())
        })
    }

    /// `CORELLA_ERROR_INVALID_ID` for a request of another scheduler, whose place and generation one of this may have too.
    pub(crate) fn cancel(&self, request: Key) -> Result<(), Fault> {
        if request.scheduler != self.scheduler {
            return Err(CORELLA_ERROR_INVALID_ID.into());
        }
        self.send(|arrived| {
            arrived.cancels.insert((request.index, request.generation));
            Ok(())
        })
    }

    pub(crate) fn stop(&self) -> Result<(), Fault> {
        self.send(|arrived| {
            arrived.stops = true;
            Ok(())
        })
    }

    pub(crate) fn wake(&self) -> Result<(), Fault> {
        self.send(|_| Ok(()))
    }

    /// Whether anything came in. One load.
    pub(crate) fn has_arrived(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Takes what came in, on the scheduler's thread.
    pub(crate) fn take(&self) -> Option<Arrived> {
        if !self.has_arrived() {
            return None;
        }
        if is_planted("cleared too late") {
            let arrived = std::mem::take(&mut self.lock().arrived);
            self.pending.store(false, Ordering::Release);
            return Some(arrived);
        }
        self.pending.swap(false, Ordering::Acquire).then(|| std::mem::take(&mut self.lock().arrived))
    }

    /// Puts work back that there was no place for, before what has come in since.
    pub(crate) fn put_back(&self, posts: impl Iterator<Item = Post>) {
        let mut state = self.lock();
        let later = std::mem::take(&mut state.arrived.posts);
        state.arrived.posts.extend(posts);
        state.arrived.posts.extend(later);
        drop(state);
        self.pending.store(true, Ordering::Release);
    }

    /// Nothing is taken from now on, and what is inside is dropped.
    pub(crate) fn end(&self) {
        let left = {
            let mut state = self.lock();
            state.ended = true;
            std::mem::take(&mut state.arrived)
        };
        drop(left);
    }
}
