//! Children that nobody waits for any more, in the whole process: one thread fetches their exit statuses as they end, so
//! that none stays a zombie. It is there as long as there are such children.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

use super::children::{is_over, wait_blocking};
use super::fork;
use crate::sync::{Mutex, MutexGuard, thread};

/// How long a child that has ended is left to who traces it.
const TRACED_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How the OS tells of children that end.
pub(crate) trait Watch: Send + Sync + 'static {
    type Child: Send;

    /// From now on [`wait`](Self::wait) tells of it once it has ended, also if it has by now.
    fn add(&self, key: usize, child: &Self::Child) -> io::Result<()>;

    fn remove(&self, child: &Self::Child);

    /// Waits, and adds the keys of children that may have ended.
    fn wait(&self, keys: &mut Vec<usize>) -> io::Result<()>;

    /// Whether it has ended; then it is no zombie any more.
    fn is_over(&self, child: &Self::Child) -> bool;

    /// Has a thread of its own wait for it.
    fn wait_blocking(&self, child: Self::Child);
}

/// The children that nobody waits for, and the thread that does.
pub(crate) struct Reaper<W: Watch> {
    watch: W,
    state: Mutex<State<W::Child>>,
}

struct State<C> {
    orphans: BTreeMap<usize, C>,
    next_key: usize,
    has_thread: bool,
}

/// By descriptors of processes, which a poller tells of.
struct Processes(Poller);

/// A process by its number, and what is readable once it has ended.
type Process = (i32, OwnedFd);

impl Watch for Processes {
    type Child = Process;

    fn add(&self, key: usize, (_, descriptor): &Process) -> io::Result<()> {
        // SAFETY: it is taken out of the poller before it is closed.
        unsafe { self.0.add_with_mode(descriptor, Event::readable(key), PollMode::Level) }
    }

    fn remove(&self, (_, descriptor): &Process) {
        let _ = self.0.delete(descriptor.as_fd());
    }

    fn wait(&self, keys: &mut Vec<usize>) -> io::Result<()> {
        let mut events = Events::new();
        self.0.wait(&mut events, None)?;
        keys.extend(events.iter().map(|event| event.key));
        Ok(())
    }

    fn is_over(&self, (pid, descriptor): &Process) -> bool {
        is_over(*pid, descriptor)
    }

    fn wait_blocking(&self, (pid, descriptor): Process) {
        wait_blocking(pid, descriptor);
    }
}

/// Of the process that made it. A forked child has no such children, and makes its own.
struct OfProcess {
    generation: u64,
    reaper: Reaper<Processes>,
}

static REAPER: AtomicPtr<OfProcess> = AtomicPtr::new(std::ptr::null_mut());

/// This process's, made when it is needed first.
fn this_process() -> io::Result<&'static Reaper<Processes>> {
    loop {
        let current = REAPER.load(Ordering::Acquire);
        // SAFETY: what the pointer has ever been set to is leaked, and so lives for good.
        if let Some(of_process) = unsafe { current.as_ref() }
            && of_process.generation == fork::generation()
        {
            return Ok(&of_process.reaper);
        }
        let reaper = Reaper::new(Processes(Poller::new()?));
        let made = Box::into_raw(Box::new(OfProcess { generation: fork::generation(), reaper }));
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
        Ok(reaper) => Reaper::add(&reaper, (pid, descriptor)),
        Err(_) => wait_blocking(pid, descriptor),
    }
}

impl<W: Watch> Reaper<W> {
    pub(crate) fn new(watch: W) -> Reaper<W> {
        let state = State { orphans: BTreeMap::new(), next_key: 0, has_thread: false };
        Reaper { watch, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State<W::Child>> {
        // Nothing under the lock panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a child, on a thread that may have to be started for it.
    pub(crate) fn add<R>(reaper: &R, child: W::Child)
    where
        R: Deref<Target = Reaper<W>> + Clone + Send + 'static,
    {
        let mut state = reaper.lock();
        let key = state.next_key;
        if reaper.watch.add(key, &child).is_err() {
            drop(state);
            return reaper.watch.wait_blocking(child);
        }
        state.next_key += 1;
        state.orphans.insert(key, child);
        if !state.has_thread {
            let for_thread = reaper.clone();
            // Without a thread the next one that is added tries again.
            state.has_thread =
                thread::Builder::new().name("corella-reaper".into()).spawn(move || for_thread.work()).is_ok();
        }
    }

    /// The thread's life: as long as there is anybody to wait for.
    fn work(&self) {
        let mut keys = Vec::new();
        loop {
            keys.clear();
            let waited = self.watch.wait(&mut keys);
            let mut state = self.lock();
            let is_broken = waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
            let before = state.orphans.len();
            for key in &keys {
                let is_done = state.orphans.get(key).is_some_and(|child| self.watch.is_over(child));
                if is_done && let Some(child) = state.orphans.remove(key) {
                    self.watch.remove(&child);
                }
            }
            if !keys.is_empty() && state.orphans.len() == before {
                // Ended, but another process traces it and has not looked yet; no event tells when that is over.
                drop(state);
                thread::sleep(TRACED_AGAIN_AFTER);
                continue;
            }
            let left = if is_broken { std::mem::take(&mut state.orphans) } else { BTreeMap::new() };
            // Under the lock that `add` takes: whoever comes now finds no thread and starts one.
            if state.orphans.is_empty() {
                state.has_thread = false;
                drop(state);
                for child in left.into_values() {
                    self.watch.remove(&child);
                    self.watch.wait_blocking(child);
                }
                return;
            }
        }
    }
}
