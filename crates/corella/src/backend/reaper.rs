//! Children that nobody waits for any more, in the whole process: one thread fetches their exit statuses as they end, so
//! that none stays a zombie. It is there as long as there are such children.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use polling::{Event, Events, PollMode, Poller};

use super::children::{is_over, wait_blocking};
use super::fork;

struct Reaper {
    /// Of the process that made it. A forked child has no such children, and makes its own.
    generation: u64,
    poller: Poller,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the key of their events.
    orphans: BTreeMap<usize, (i32, OwnedFd)>,
    next_key: usize,
    has_thread: bool,
}

static REAPER: AtomicPtr<Reaper> = AtomicPtr::new(std::ptr::null_mut());

/// This process's, made when it is needed first.
fn this_process() -> io::Result<&'static Reaper> {
    loop {
        let current = REAPER.load(Ordering::Acquire);
        // SAFETY: what the pointer has ever been set to is leaked, and so lives for good.
        if let Some(reaper) = unsafe { current.as_ref() }
            && reaper.generation == fork::generation()
        {
            return Ok(reaper);
        }
        let made = Reaper { generation: fork::generation(), poller: Poller::new()?, state: Mutex::default() };
        let made = Box::into_raw(Box::new(made));
        if REAPER.compare_exchange(current, made, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(made) });
        }
    }
}

/// Sees to it that a child leaves no zombie when it ends.
pub(super) fn adopt(pid: i32, descriptor: OwnedFd) {
    if is_over(pid, &descriptor) {
        return;
    }
    match this_process() {
        Ok(reaper) => reaper.add(pid, descriptor),
        Err(_) => wait_blocking(pid, descriptor),
    }
}

impl Reaper {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&'static self, pid: i32, descriptor: OwnedFd) {
        let mut state = self.lock();
        let key = state.next_key;
        // SAFETY: it is taken out of the poller before it is closed.
        let added = unsafe { self.poller.add_with_mode(&descriptor, Event::readable(key), PollMode::Level) };
        if added.is_err() {
            drop(state);
            return wait_blocking(pid, descriptor);
        }
        state.next_key += 1;
        state.orphans.insert(key, (pid, descriptor));
        if !state.has_thread {
            // Without a thread the next one that is added tries again.
            state.has_thread = thread::Builder::new().name("corella-reaper".into()).spawn(move || self.work()).is_ok();
        }
    }

    /// The thread's life: as long as there is anybody to wait for.
    fn work(&self) {
        let mut events = Events::new();
        loop {
            events.clear();
            let waited = self.poller.wait(&mut events, None);
            let mut state = self.lock();
            let is_broken = waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
            for event in events.iter() {
                let is_done = state.orphans.get(&event.key).is_some_and(|(pid, descriptor)| is_over(*pid, descriptor));
                if is_done && let Some((_, descriptor)) = state.orphans.remove(&event.key) {
                    let _ = self.poller.delete(descriptor.as_fd());
                }
            }
            if state.orphans.is_empty() || is_broken {
                state.has_thread = false;
                return;
            }
        }
    }
}
