//! A bounded pool of threads with a real queue, for what an OS can only do by blocking.
//!
//! Threads are started as they are needed, up to a limit, and end when they have been idle for a while. A job owns
//! everything it touches except the request's buffer, which the queue keeps until the job's completion.
//!
//! Closes go first, and while every thread is taken one more is started for them alone: what others wait for may never
//! come (an open of a FIFO), and a scheduler that ends has handles to close.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use super::{Completion, Completions, Fault, Outcome, RawDescriptor, Submission, Token, Wakeup, perform};
use crate::buffer::Part;
use crate::op::{Class, Op};

/// How long a thread waits for work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// One operation for a thread.
#[derive(Debug)]
struct Job {
    token: Token,
    op: Op,
    descriptor: RawDescriptor,
    class: Class,
    parts: PartList,
    offset: Option<u64>,
}

/// A job's own copy of the list of parts; of ordinary length without allocating.
#[derive(Debug)]
enum PartList {
    Short([Part; PartList::SHORT], usize),
    Long(Vec<Part>),
}

impl PartList {
    const SHORT: usize = 8;

    fn new(parts: &[Part]) -> PartList {
        if parts.len() > PartList::SHORT {
            return PartList::Long(parts.to_vec());
        }
        let mut list = [Part { pointer: std::ptr::null_mut(), length: 0 }; PartList::SHORT];
        list[..parts.len()].copy_from_slice(parts);
        PartList::Short(list, parts.len())
    }

    fn as_slice(&self) -> &[Part] {
        match self {
            PartList::Short(list, length) => &list[..*length],
            PartList::Long(list) => list,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    closes: VecDeque<Job>,
    done: Completions,
    threads: usize,
    idle: usize,
    /// The one more thread is there.
    is_closing: bool,
    stopping: bool,
}

impl State {
    /// Hands an outcome over. Says whether the scheduler has to be told.
    fn report(&mut self, token: Token, outcome: Outcome) -> bool {
        let first = self.done.is_empty();
        self.done.push_back(Completion { token, outcome });
        first && !self.stopping
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    available: Condvar,
    /// For the one more thread alone.
    closing: Condvar,
    wakeup: Wakeup,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a program runs under the lock, so a poisoned one holds nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads_max: usize,
    /// Jobs handed in and not yet fetched.
    pending: usize,
}

impl Pool {
    pub(crate) fn new(threads_max: usize, wakeup: Wakeup) -> Pool {
        let shared = Shared { state: Mutex::default(), available: Condvar::new(), closing: Condvar::new(), wakeup };
        Pool { shared: Arc::new(shared), threads_max: threads_max.max(1), pending: 0 }
    }

    /// Queues an operation.
    pub(crate) fn submit(&mut self, submission: &Submission<'_>) {
        self.pending += 1;
        let job = Job {
            token: submission.token,
            op: submission.op.without_parts(),
            descriptor: submission.descriptor,
            class: submission.class,
            parts: PartList::new(submission.parts),
            offset: submission.offset,
        };
        let is_close = matches!(job.op, Op::Close);
        let mut state = self.shared.lock();
        match is_close {
            true => state.closes.push_back(job),
            false => state.jobs.push_back(job),
        }
        let is_full = state.threads >= self.threads_max;
        let only_closes = is_full && is_close && state.idle == 0;
        if only_closes && state.is_closing {
            drop(state);
            return self.shared.closing.notify_one();
        }
        if state.idle >= state.jobs.len() + state.closes.len() || is_full && !only_closes {
            drop(state);
            return self.shared.available.notify_one();
        }
        match only_closes {
            true => state.is_closing = true,
            false => state.threads += 1,
        }
        drop(state);
        let shared = Arc::clone(&self.shared);
        let life = move || if only_closes { work_on_closes(&shared) } else { work(&shared) };
        let started = thread::Builder::new().name("corella-pool".into()).spawn(life);
        if let Err(error) = started {
            self.without_thread(&error, only_closes);
        }
    }

    /// No thread could be started: the others will do, or else the jobs fail.
    fn without_thread(&self, error: &io::Error, only_closes: bool) {
        let mut state = self.shared.lock();
        match only_closes {
            true => state.is_closing = false,
            false => state.threads -= 1,
        }
        if state.threads == 0 {
            while let Some(job) = state.closes.pop_front().or_else(|| state.jobs.pop_front()) {
                let outcome = Err(Fault::from_io(error));
                state.done.push_back(Completion { token: job.token, outcome });
            }
            drop(state);
            self.shared.wakeup.wake();
        }
    }

    /// Takes a job back that no thread has begun.
    pub(crate) fn cancel(&mut self, token: Token, completions: &mut Completions) {
        let mut state = self.shared.lock();
        if let Some(place) = state.jobs.iter().position(|job| job.token == token) {
            state.jobs.remove(place);
            self.pending -= 1;
            completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
        }
    }

    /// Takes every job back that no thread has begun, but closes.
    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) {
        let jobs = std::mem::take(&mut self.shared.lock().jobs);
        self.pending -= jobs.len();
        let stopped = |job: Job| Completion { token: job.token, outcome: Err(Fault::Interrupted) };
        completions.extend(jobs.into_iter().map(stopped));
    }

    /// Moves what has been finished to `completions`.
    pub(crate) fn drain(&mut self, completions: &mut Completions) {
        if self.pending > 0 {
            let mut state = self.shared.lock();
            self.pending -= state.done.len();
            completions.append(&mut state.done);
        }
    }

    /// Whether every job has been fetched.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending == 0
    }

    /// Whether anything has been finished.
    pub(crate) fn has_done(&self) -> bool {
        self.pending > 0 && !self.shared.lock().done.is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Jobs that nobody waits for any more (an open of a FIFO) may block for ever; their threads end when they
        // do. Jobs not begun are dropped.
        let mut state = self.shared.lock();
        state.stopping = true;
        state.jobs.clear();
        state.closes.clear();
        drop(state);
        self.shared.available.notify_all();
        self.shared.closing.notify_all();
    }
}

/// A thread's life.
fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            break;
        }
        let Some(job) = state.closes.pop_front().or_else(|| state.jobs.pop_front()) else {
            state.idle += 1;
            let (next, timeout) = match shared.available.wait_timeout(state, IDLE_TIME) {
                Ok(next) => next,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() && state.closes.is_empty() {
                break;
            }
            continue;
        };
        drop(state);
        let outcome = carry_out(&job);
        state = shared.lock();
        if state.report(job.token, outcome) {
            // It is as good as free already: a job that comes meanwhile needs no other thread.
            state.idle += 1;
            drop(state);
            shared.wakeup.wake();
            state = shared.lock();
            state.idle -= 1;
        }
    }
    state.threads -= 1;
}

/// The life of the one more thread.
fn work_on_closes(shared: &Shared) {
    let mut state = shared.lock();
    while !state.stopping {
        let Some(job) = state.closes.pop_front() else {
            let (next, timeout) = match shared.closing.wait_timeout(state, IDLE_TIME) {
                Ok(next) => next,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = next;
            if timeout.timed_out() && state.closes.is_empty() {
                break;
            }
            continue;
        };
        drop(state);
        let outcome = carry_out(&job);
        state = shared.lock();
        if state.report(job.token, outcome) {
            drop(state);
            shared.wakeup.wake();
            state = shared.lock();
        }
    }
    state.is_closing = false;
}

fn carry_out(job: &Job) -> Outcome {
    perform(&Submission {
        token: job.token,
        op: &job.op,
        descriptor: job.descriptor,
        class: job.class,
        parts: job.parts.as_slice(),
        offset: job.offset,
        nonblocking: false,
    })
}
