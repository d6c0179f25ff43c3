//! A bounded pool of threads with a real queue, for what an OS can only do by blocking.
//!
//! Threads are started as they are needed, up to a limit, and end when they have been idle for a while. A job owns
//! everything it touches except the request's buffer, which the queue keeps until the job's completion.

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
    parts: Vec<Part>,
    offset: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    done: Completions,
    threads: usize,
    idle: usize,
    stopping: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    available: Condvar,
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
}

impl Pool {
    pub(crate) fn new(threads_max: usize, wakeup: Wakeup) -> Pool {
        let shared = Shared { state: Mutex::default(), available: Condvar::new(), wakeup };
        Pool { shared: Arc::new(shared), threads_max: threads_max.max(1) }
    }

    /// Queues an operation.
    pub(crate) fn submit(&self, submission: &Submission<'_>) {
        let job = Job {
            token: submission.token,
            op: submission.op.without_parts(),
            descriptor: submission.descriptor,
            class: submission.class,
            parts: submission.parts.to_vec(),
            offset: submission.offset,
        };
        let mut state = self.shared.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.threads_max {
            drop(state);
            self.shared.available.notify_one();
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new().name("corella-pool".into()).spawn(move || work(&shared));
        if let Err(error) = started {
            self.without_thread(&error);
        }
    }

    /// No thread could be started: the others will do, or else the jobs fail.
    fn without_thread(&self, error: &io::Error) {
        let mut state = self.shared.lock();
        state.threads -= 1;
        if state.threads == 0 {
            while let Some(job) = state.jobs.pop_front() {
                let outcome = Err(Fault::from_io(error));
                state.done.push_back(Completion { token: job.token, outcome });
            }
            drop(state);
            self.shared.wakeup.wake();
        }
    }

    /// Takes a job back that no thread has begun.
    pub(crate) fn cancel(&self, token: Token, completions: &mut Completions) {
        let mut state = self.shared.lock();
        if let Some(place) = state.jobs.iter().position(|job| job.token == token) {
            state.jobs.remove(place);
            completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
        }
    }

    /// Moves what has been finished to `completions`.
    pub(crate) fn drain(&self, completions: &mut Completions) {
        completions.append(&mut self.shared.lock().done);
    }

    /// Whether anything has been finished.
    pub(crate) fn has_done(&self) -> bool {
        !self.shared.lock().done.is_empty()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Jobs that nobody waits for any more (an open of a FIFO) may block for ever; their threads end when they
        // do. Jobs not begun are dropped.
        let mut state = self.shared.lock();
        state.stopping = true;
        state.jobs.clear();
        drop(state);
        self.shared.available.notify_all();
    }
}

/// A thread's life.
fn work(shared: &Shared) {
    let mut state = shared.lock();
    loop {
        if state.stopping {
            break;
        }
        let Some(job) = state.jobs.pop_front() else {
            state.idle += 1;
            let (next, timeout) = match shared.available.wait_timeout(state, IDLE_TIME) {
                Ok(next) => next,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                break;
            }
            continue;
        };
        drop(state);
        let outcome = carry_out(&job);
        state = shared.lock();
        let first = state.done.is_empty();
        state.done.push_back(Completion { token: job.token, outcome });
        if first && !state.stopping {
            drop(state);
            shared.wakeup.wake();
            state = shared.lock();
        }
    }
    state.threads -= 1;
}

fn carry_out(job: &Job) -> Outcome {
    perform(&Submission {
        token: job.token,
        op: &job.op,
        descriptor: job.descriptor,
        class: job.class,
        parts: &job.parts,
        offset: job.offset,
        nonblocking: false,
    })
}
