//! A bounded pool of threads with real queues, for what an OS can only do by blocking.
//!
//! The threads are of three crews, each with its own queue and its own limit, so that nothing waits behind what it may
//! have to wait for in vain: [`Crew`] says which work is whose. Threads are started as they are needed and end when
//! they have been idle for a while. A job owns everything it touches except the request's buffer, which the queue
//! keeps until the job's completion.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::os::{self, Interrupter, OsDescriptor};
use super::perform::{is_fifo, is_ready};
use super::{
    Completion, Completions, Fault, Outcome, RawDescriptor, Submission, Token, WaitsBy, Wakeup, codes, perform,
};
use crate::buffer::Part;
use crate::op::{Class, Op};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

/// How long a thread waits for work before it ends.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// Threads of a crew that are replaced at most, because they are still at a job that nobody waits for any more.
const LOST_MAX: usize = 64;

/// Who does a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crew {
    /// What ends by itself: files, and names of files.
    Files,
    /// What may wait for somebody else for as long as that likes: FIFOs being opened, name servers, devices, files that
    /// another program answers for.
    Patient,
    /// Closes, which end by themselves and must wait for neither.
    Closes,
}

impl Crew {
    const COUNT: usize = 3;

    fn of(submission: &Submission<'_>) -> Crew {
        match (submission.op, submission.class) {
            (Op::Close, _) => Crew::Closes,
            (Op::Connect { .. } | Op::AwaitReady { .. }, _)
            | (Op::Resolve { .. }, _)
            | (Op::Read { .. } | Op::Write { .. }, Class::Stream) => Crew::Patient,
            _ if submission.waits_by == WaitsBy::Patience => Crew::Patient,
            _ => Crew::Files,
        }
    }
}

/// One operation for a thread.
#[derive(Debug)]
pub(crate) struct Job {
    token: Token,
    op: Op,
    descriptor: RawDescriptor,
    /// The same descriptor, for the close of it: however the job ends, the descriptor does.
    owned: Option<OsDescriptor>,
    class: Class,
    parts: PartList,
    offset: Option<u64>,
}

impl Job {
    pub(super) fn submission(&self) -> Submission<'_> {
        Submission {
            token: self.token,
            op: &self.op,
            descriptor: self.descriptor,
            class: self.class,
            parts: self.parts.as_slice(),
            offset: self.offset,
            waits_by: WaitsBy::Class,
            extends: false,
            lingers: false,
        }
    }
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

/// A job that a thread is at.
#[derive(Debug)]
struct Running {
    token: Token,
    /// Somebody asked for its end.
    is_cancelled: bool,
    /// Nobody waits for it any more; the thread counts as lost.
    is_orphan: bool,
    /// How the call that the thread is in is ended, if it may be.
    interrupter: Option<Interrupter>,
    /// It is to end, and has not been found in its call yet.
    is_to_be_found: bool,
}

impl Running {
    /// Somebody wants its end.
    fn ask_to_end(&mut self) {
        self.is_cancelled = true;
        self.is_to_be_found = self.interrupter.is_some();
        self.look_for_call();
    }

    fn look_for_call(&mut self) {
        if self.is_to_be_found {
            self.is_to_be_found = self.interrupter.as_ref().is_some_and(|interrupter| !interrupter.interrupt());
        }
    }
}

#[derive(Debug, Default)]
struct CrewState {
    jobs: VecDeque<Job>,
    running: Vec<Running>,
    threads: usize,
    /// Threads that wait and have not been called.
    idle: usize,
    /// Threads that wait and have been called.
    called: usize,
    /// Threads that are being started, or are at no job any more and have one thing left to do.
    coming: usize,
}

impl CrewState {
    /// How many threads it may have: of those that are lost a stated number is replaced.
    fn limit(&self, threads_max: usize) -> usize {
        let lost = self.running.iter().filter(|running| running.is_orphan).count();
        threads_max + lost.min(LOST_MAX)
    }
}

#[derive(Debug, Default)]
struct State {
    crews: [CrewState; Crew::COUNT],
    done: Completions,
    /// Transfers on streams that another program has emptied or filled meanwhile: they wait for an event again.
    blocked: Vec<Job>,
    stopping: bool,
}

impl State {
    fn has_done(&self) -> bool {
        !self.done.is_empty() || !self.blocked.is_empty()
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// One for each crew.
    available: [Condvar; Crew::COUNT],
    threads_max: usize,
    wakeup: Wakeup,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a program runs under the lock, so a poisoned one holds nothing half done.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn add(self: &Arc<Self>, crew: Crew, job: Job) {
        let mut state = self.lock();
        state.crews[crew as usize].jobs.push_back(job);
        self.staff(crew, state);
    }

    /// Sees to it that somebody comes for the jobs of a crew. One at a time is called, and calls the next before it begins a
    /// job: of jobs that are short it does many before another has woken, and where they wait all come, one after the other.
    fn staff(self: &Arc<Self>, crew: Crew, mut state: MutexGuard<'_, State>) {
        let place = crew as usize;
        let this = &mut state.crews[place];
        if this.jobs.is_empty() || this.called + this.coming > 0 {
            return;
        }
        if this.idle > 0 {
            this.idle -= 1;
            this.called += 1;
            drop(state);
            self.available[place].notify_one();
            return;
        }
        if this.threads >= this.limit(self.threads_max) {
            return;
        }
        this.threads += 1;
        this.coming += 1;
        drop(state);
        let shared = Arc::clone(self);
        let started = thread::Builder::new().name("corella-pool".into()).spawn(move || work(&shared, crew));
        if let Err(error) = started {
            self.without_thread(crew, &Fault::from_io(&error));
        }
    }

    /// Waits until this thread of the crew is called, or has been idle for long, which is then told.
    fn wait_for_call<'a>(&self, crew: Crew, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let place = crew as usize;
        state.crews[place].idle += 1;
        let (mut state, timeout) = match self.available[place].wait_timeout(state, IDLE_TIME) {
            Ok(next) => next,
            Err(poisoned) => poisoned.into_inner(),
        };
        // Whoever wakes answers the call; whom it was for then counts as one that was not called.
        let this = &mut state.crews[place];
        let count = if this.called > 0 { &mut this.called } else { &mut this.idle };
        *count -= 1;
        (state, timeout.timed_out())
    }

    /// No thread could be started: the others of the crew will do. If there are none, the jobs fail with the reason;
    /// only a close has to be carried out all the same, here.
    fn without_thread(&self, crew: Crew, why: &Fault) {
        let mut state = self.lock();
        let this = &mut state.crews[crew as usize];
        this.threads -= 1;
        this.coming -= 1;
        if this.threads > 0 {
            return;
        }
        let jobs = std::mem::take(&mut this.jobs);
        drop(state);
        for mut job in jobs {
            let carried_out = if crew == Crew::Closes { carry_out(&mut job) } else { None };
            let code = if let Fault::Os(code) = why { *code } else { codes::EAGAIN };
            let outcome = carried_out.unwrap_or(Err(Fault::Os(code)));
            self.lock().done.push_back(Completion { token: job.token, outcome });
        }
        self.wakeup.wake();
    }
}

#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// Jobs handed in and not yet fetched.
    pending: usize,
    /// A thread may be just about to begin the call that is to end.
    has_to_look: bool,
}

impl Pool {
    /// A pool with so many threads in each crew at most.
    pub(crate) fn new(threads_max: usize, wakeup: Wakeup) -> Pool {
        let state = Mutex::default();
        let shared = Shared { state, available: Default::default(), threads_max: threads_max.max(1), wakeup };
        Pool { shared: Arc::new(shared), pending: 0, has_to_look: false }
    }

    /// Queues an operation. With a close it becomes the descriptor's owner.
    pub(crate) fn submit(&mut self, submission: &Submission<'_>) {
        self.pending += 1;
        let owned = match submission.op {
            Op::Close if submission.descriptor >= 0 => {
                // SAFETY: the queue took the descriptor out of its handle for this close; nobody else has it.
                Some(unsafe { os::own(submission.descriptor, submission.class) })
            }
            _ => None,
        };
        let job = Job {
            token: submission.token,
            op: submission.op.without_parts(),
            descriptor: submission.descriptor,
            owned,
            class: submission.class,
            parts: PartList::new(submission.parts),
            offset: submission.offset,
        };
        self.shared.add(Crew::of(submission), job);
    }

    /// Takes a job back that no thread has begun. One that a thread is at, and that nobody waits for from now on, costs
    /// its crew no thread.
    pub(crate) fn cancel(&mut self, token: Token, op: &Op, completions: &mut Completions) {
        if self.pending == 0 {
            return;
        }
        let mut state = self.shared.lock();
        if let Some(place) = state.blocked.iter().position(|job| job.token == token) {
            state.blocked.remove(place);
            self.pending -= 1;
            return completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
        }
        for crew in [Crew::Files, Crew::Patient, Crew::Closes] {
            let this = &mut state.crews[crew as usize];
            if let Some(place) = this.jobs.iter().position(|job| job.token == token) {
                this.jobs.remove(place);
                self.pending -= 1;
                completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
                return;
            }
            if let Some(running) = this.running.iter_mut().find(|running| running.token == token) {
                running.ask_to_end();
                self.has_to_look |= running.is_to_be_found;
                running.is_orphan = op.settles_when_cancelled();
                if !this.jobs.is_empty() {
                    self.shared.staff(crew, state);
                }
                return;
            }
        }
    }

    /// Takes every job back that no thread has begun, but closes.
    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) {
        let mut state = self.shared.lock();
        let stopped = |job: Job| Completion { token: job.token, outcome: Err(Fault::Interrupted) };
        let blocked = std::mem::take(&mut state.blocked);
        self.pending -= blocked.len();
        completions.extend(blocked.into_iter().map(stopped));
        for crew in [Crew::Files, Crew::Patient] {
            let jobs = std::mem::take(&mut state.crews[crew as usize].jobs);
            self.pending -= jobs.len();
            completions.extend(jobs.into_iter().map(stopped));
            // What a thread is at ends with it, and waits for no event again.
            for running in &mut state.crews[crew as usize].running {
                running.ask_to_end();
                self.has_to_look |= running.is_to_be_found;
            }
        }
    }

    /// Looks again for the calls that are to end and had not begun when they were looked for; whether one is still to be
    /// found. A thread that is on its way into a call can be told in no other way.
    #[cfg_attr(all(unix, not(feature = "fake-port")), expect(dead_code, reason = "a completion port's pool"))]
    pub(crate) fn look_for_calls(&mut self) -> bool {
        if self.has_to_look {
            let mut state = self.shared.lock();
            let running = state.crews.iter_mut().flat_map(|crew| &mut crew.running);
            self.has_to_look = running.fold(false, |has, running| {
                running.look_for_call();
                has | running.is_to_be_found
            });
        }
        self.has_to_look
    }

    /// Moves what has been finished to `completions`; gives the transfers back that have to wait for an event again.
    pub(crate) fn drain(&mut self, completions: &mut Completions) -> Vec<Job> {
        if self.pending == 0 {
            return Vec::new();
        }
        let mut state = self.shared.lock();
        self.pending -= state.done.len() + state.blocked.len();
        completions.append(&mut state.done);
        std::mem::take(&mut state.blocked)
    }

    /// Whether a job is anywhere: a cancel finds it there.
    #[cfg(all(test, corella_shuttle))]
    pub(crate) fn has(&self, token: Token) -> bool {
        let state = self.shared.lock();
        let is_in = |crew: &CrewState| {
            crew.jobs.iter().any(|job| job.token == token) || crew.running.iter().any(|running| running.token == token)
        };
        state.crews.iter().any(is_in)
            || state.blocked.iter().any(|job| job.token == token)
            || state.done.iter().any(|completion| completion.token == token)
    }

    /// Whether every job has been fetched.
    pub(crate) fn is_idle(&self) -> bool {
        self.pending == 0
    }

    /// Whether anything has been finished.
    #[cfg(any(target_os = "linux", all(unix, test)))]
    pub(crate) fn has_done(&self) -> bool {
        self.pending > 0 && self.shared.lock().has_done()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Jobs that nobody waits for any more (an open of a FIFO) may block for ever; their threads end when they
        // do. Jobs not begun are dropped, and a close of them closes.
        let mut state = self.shared.lock();
        state.stopping = true;
        let jobs = state.crews.each_mut().map(|crew| std::mem::take(&mut crew.jobs));
        drop(state);
        self.shared.available.iter().for_each(Condvar::notify_all);
        drop(jobs);
    }
}

/// A thread's life.
fn work(shared: &Arc<Shared>, crew: Crew) {
    #[cfg(unix)]
    super::sigpipe::hold_back_for_good();
    let place = crew as usize;
    let this_thread = Interrupter::of_this_thread();
    let mut state = shared.lock();
    state.crews[place].coming -= 1;
    // A thread that stood in for a lost one goes when that has come back.
    while !state.stopping && state.crews[place].threads <= state.crews[place].limit(shared.threads_max) {
        let this = &mut state.crews[place];
        let Some(mut job) = this.jobs.pop_front() else {
            let timed_out;
            (state, timed_out) = shared.wait_for_call(crew, state);
            if timed_out && state.crews[place].jobs.is_empty() {
                break;
            }
            continue;
        };
        this.running.push(Running {
            token: job.token,
            is_cancelled: false,
            is_orphan: false,
            interrupter: may_be_interrupted(&job).then(|| this_thread.clone()),
            is_to_be_found: false,
        });
        shared.staff(crew, state);
        let is_for_the_patient = crew == Crew::Files && waits_for_others(&job);
        let outcome = if is_for_the_patient { None } else { carry_out(&mut job) };
        state = shared.lock();
        let running = &mut state.crews[place].running;
        let mine = running.iter().position(|running| running.token == job.token);
        let was_cancelled = mine.is_some_and(|mine| running.swap_remove(mine).is_cancelled);
        if was_cancelled {
            // Nobody has it any more to ask with.
            this_thread.reset();
        }
        let first = !state.has_done();
        match outcome {
            Some(outcome) => state.done.push_back(Completion { token: job.token, outcome }),
            None if was_cancelled => {
                state.done.push_back(Completion { token: job.token, outcome: Err(Fault::Interrupted) });
            }
            None if is_for_the_patient => {
                // Under the lock under which it left this crew: a cancel finds it in one of the two.
                state.crews[Crew::Patient as usize].jobs.push_back(job);
                shared.staff(Crew::Patient, state);
                state = shared.lock();
                continue;
            }
            None => state.blocked.push(job),
        }
        if first && !state.stopping {
            // It is as good as free already: a job that comes meanwhile needs no other thread.
            state.crews[place].coming += 1;
            drop(state);
            shared.wakeup.wake();
            state = shared.lock();
            state.crews[place].coming -= 1;
        }
    }
    state.crews[place].threads -= 1;
    // What it was called for is another's now.
    shared.staff(crew, state);
}

/// Whether a job's call may wait for the other side for good, and tells what it has moved if it is ended.
fn may_be_interrupted(job: &Job) -> bool {
    job.class == Class::Stream && matches!(job.op, Op::Read { .. } | Op::Write { .. })
}

/// Whether an open is of a FIFO, which waits for the other side.
///
/// What has the name now may be something else a moment later; then the wait holds a thread that files need, until the
/// open is given up.
fn waits_for_others(job: &Job) -> bool {
    matches!(&job.op, Op::Open { path, .. } if is_fifo(path))
}

/// Does the job; nothing if it would have to wait for a stream to be ready again. A panic is an answer too: nobody else
/// would tell the queue.
fn carry_out(job: &mut Job) -> Option<Outcome> {
    if let Some(owned) = job.owned.take() {
        job.descriptor = os::into_raw(owned);
    }
    let submission = job.submission();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        if Crew::of(&submission) != Crew::Patient || submission.descriptor < 0 {
            return Some(perform(&submission));
        }
        // Another program may have been faster, and then a call on a description that blocks would wait where no cancel
        // reaches it. Between this look and the call that is still so.
        let waits_within_the_call = matches!(submission.op, Op::Connect { .. } | Op::AwaitReady { .. });
        match (waits_within_the_call || is_ready(&submission)).then(|| perform(&submission)) {
            Some(Err(Fault::Os(codes::EAGAIN))) => None,
            outcome => outcome,
        }
    }));
    outcome.unwrap_or(Some(Err(Fault::Os(codes::ENOTRECOVERABLE))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicBool;

    #[test]
    fn a_job_that_panics_has_a_completion_and_leaves_its_thread() {
        let mut pool = Pool::new(1, Wakeup::Flag(Arc::new(AtomicBool::new(false))));
        for number in 1..=3 {
            let token = Token(number);
            // What has no handle and is no call on a path is nothing that a thread can do.
            let op = Op::Barrier;
            pool.submit(&Submission {
                token,
                op: &op,
                descriptor: -1,
                class: Class::Stream,
                parts: &[],
                offset: None,
                waits_by: WaitsBy::Class,
                extends: false,
                lingers: false,
            });
            let mut completions = Completions::new();
            let start = std::time::Instant::now();
            while completions.is_empty() {
                assert!(start.elapsed() < Duration::from_secs(20), "no completion of job {number}");
                assert!(pool.drain(&mut completions).is_empty());
                thread::yield_now();
            }
            assert!(matches!(completions[0].outcome, Err(Fault::Os(codes::ENOTRECOVERABLE))), "{completions:?}");
            assert_eq!(completions[0].token, token);
        }
        assert_eq!(pool.shared.lock().crews[Crew::Files as usize].threads, 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_transfer_that_is_to_wait_again_can_be_cancelled() {
        use std::os::fd::AsRawFd;

        use crate::buffer::Parts;
        use crate::op::{At, Extent};
        let (silent, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        for all in [false, true] {
            let mut pool = Pool::new(1, Wakeup::Flag(Arc::new(AtomicBool::new(false))));
            let mut byte = [0; 1];
            let op = Op::Read { at: At::Cursor, extent: Extent::Some, parts: Parts::default() };
            pool.submit(&Submission {
                token: Token(1),
                op: &op,
                descriptor: silent.as_raw_fd(),
                class: Class::Stream,
                parts: &[Part { pointer: byte.as_mut_ptr(), length: 1 }],
                offset: None,
                waits_by: WaitsBy::Class,
                extends: false,
                lingers: false,
            });
            while !pool.has_done() {
                thread::yield_now();
            }
            let mut completions = Completions::new();
            match all {
                true => pool.cancel_all(&mut completions),
                false => pool.cancel(Token(1), &op, &mut completions),
            }
            assert!(matches!(completions[0].outcome, Err(Fault::Interrupted)), "{completions:?}");
            assert!(pool.drain(&mut completions).is_empty() && pool.is_idle());
        }
    }
}
