//! What everything in one host shares: the scheduler, what is ready to run, the tasks, and what is to be reported.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corella::actions::Plain;
use corella::{Action, BackendKind, BackendReason, Error, Io, Operation, Outstanding, Remote, RequestId, Scheduler};
use mlua::{Function, Lua, Thread};

use crate::failure::Failure;
use crate::interruption::Interruption;
use crate::lent::Transfers;
use crate::registry::Registry;
use crate::request::{Callback, Class, Outcome, Place, Request, Stop};
use crate::shortest::{Awaited, Budget};
use crate::socket;
use crate::stream::Stream;
use crate::tasks::{Body, TaskKey, Tasks};

/// How long writes may take to go out at the end of a program that was cut short.
const WRITES_LIMIT: Duration = Duration::from_secs(10);

/// What Lua calls the Lua side of the host.
const OWN_SCRIPT: &str = "[corella]";
/// So many frames are looked at for the script's own.
const PLACE_DEPTH: usize = 5;

/// Room for so many that are ready is kept when none is.
const READY_KEPT: usize = 4096;

/// Values of Lua's that tasks and callbacks may hold. mlua keeps those that Rust holds on a stack of Lua's, which has a million
/// places; what is left is for everything else.
const REFERENCES_MAX: usize = 900_000;
const REFERENCES_OF_A_CALLBACK: usize = 2;

/// Buffers of received bytes are kept for the next receive: so many, of these sizes.
const RECEIVE_BUFFERS_KEPT: usize = 64;
const RECEIVE_BUFFER_KEPT: RangeInclusive<usize> = 1024..=64 * 1024;

/// Of so many requests an interrupted program tells.
const OUTSTANDING_TOLD_MAX: usize = 20;

/// As a shell tells of a process that SIGPIPE ended.
const CODE_OF_SIGPIPE: i32 = 128 + 13;

/// Something for the host to run.
pub(crate) enum Ready {
    /// A task whose request has settled, that gave way, or that has not begun.
    Resume(TaskKey),
    /// A task that was killed; its variables are to be closed.
    Close(Thread),
    Call(Callback),
    /// A callback with a Status that is yet to be made.
    Announce(Function, Rc<Request>),
}

/// Takes one report, a text without a line end.
pub(crate) type Reporter = Box<dyn FnMut(&str)>;

pub(crate) struct Runtime {
    io: Io,
    /// Gone once the host has ended.
    scheduler: RefCell<Option<Scheduler>>,
    ready: RefCell<VecDeque<Ready>>,
    /// What tasks wait for that the engine alone has.
    pub(crate) transfers: Transfers,
    /// What is running goes on from what a turn has just brought.
    pub(crate) is_in_turn: Cell<bool>,
    /// Sockets by the numbers in the script's objects.
    pub(crate) sockets: Registry<socket::Inner>,
    pub(crate) tasks: RefCell<Tasks>,
    /// Gone once the program is over.
    pub(crate) body: RefCell<Option<Body>>,
    /// What the task that is running has just asked for, and is about to wait for.
    pub(crate) begun: Cell<Option<Awaited>>,
    /// The same, of a request of the engine's that only this task knows, see [`Awaited::Engine`].
    pub(crate) waits: Cell<Option<(RequestId, bool)>>,
    /// The coroutine that runs because the host resumed it the short way.
    pub(crate) resumed: Cell<*mut mlua::ffi::lua_State>,
    /// With so many values.
    pub(crate) given: Cell<std::ffi::c_int>,
    /// Why what it has just asked for has failed, until that is raised.
    pub(crate) failure: Cell<Option<Failure>>,
    /// What it may still do at once.
    pub(crate) budget: Cell<Budget>,
    /// The task that is running.
    pub(crate) current: Cell<Option<TaskKey>>,
    /// How many coroutines are being resumed from where Lua cannot yield: inside them nothing can wait, though they can
    /// yield to whoever resumed them.
    pub(crate) barriers: Cell<u32>,
    /// Callbacks whose requests have not settled, or that have not been called.
    pub(crate) callbacks: Rc<Cell<usize>>,
    /// How many tasks and callbacks there may be at once, see [`room`](Runtime::room).
    pub(crate) references_max: Cell<usize>,
    /// Buffers that receives may take; the last one first, which is in the processor's cache.
    last_received: Cell<Vec<u8>>,
    received: RefCell<Vec<Vec<u8>>>,
    /// Buffers that sends may take.
    sent: RefCell<Vec<Vec<u8>>>,
    /// Requests that have not settled, by class.
    counted: Cell<usize>,
    passive: Cell<usize>,
    /// `Scheduler.run` calls that wait until all else is done.
    pub(crate) idle: RefCell<Vec<Rc<Request>>>,
    /// Reports that wait until the standard output before them is out.
    reports: RefCell<Vec<String>>,
    reporter: RefCell<Reporter>,
    /// A task or callback has raised an error that nobody took.
    has_failed: Cell<bool>,
    /// A request has failed that nobody has looked at yet; only the collector knows whether somebody still may.
    has_unseen_failure: Cell<bool>,
    is_ending: Cell<bool>,
    /// The program was ended before its time: what waits for others is cancelled and no more of it begins.
    is_cut_short: Cell<bool>,
    /// What was being written when the program was cut short may take so long to go out.
    pub(crate) writes_limit: Cell<Duration>,
    /// The script that was last asked for its name.
    script: RefCell<Rc<str>>,
    /// `os.exit` was called.
    pub(crate) exit_code: Cell<Option<i32>>,
    /// Standard output is a pipe whose other end is gone.
    has_lost_readers: Cell<bool>,
    /// What an `Interrupter` asks for.
    pub(crate) interruption: Arc<Interruption>,
    /// Standard output, buffered.
    pub(crate) output: RefCell<Option<Rc<Stream>>>,
}

/// Whether an operation may have to wait for somebody else, and changes nothing.
fn waits_for_others(operation: &str) -> bool {
    let name = operation.split(' ').next().unwrap_or_default();
    // An open for writing goes on: what is to be written may be waiting for it.
    operation == "open for reading"
        || ["accept", "connect", "resolve", "sleep", "writable"].contains(&name)
        || name.starts_with("read")
        || name.starts_with("recv")
}

impl Runtime {
    pub(crate) fn new(mut scheduler: Scheduler, reporter: Reporter) -> Rc<Runtime> {
        Rc::new_cyclic(|weak: &std::rc::Weak<Runtime>| {
            let weak = weak.clone();
            scheduler.on_unobserved(move |unobserved| {
                if let Some(runtime) = weak.upgrade() {
                    runtime.report_unseen(&unobserved.error.to_string(), None);
                }
            });
            Runtime {
                io: scheduler.io(),
                transfers: Transfers::new(scheduler.hosted_outcomes()),
                scheduler: RefCell::new(Some(scheduler)),
                ready: RefCell::new(VecDeque::new()),
                is_in_turn: Cell::new(false),
                sockets: Registry::default(),
                tasks: RefCell::new(Tasks::default()),
                body: RefCell::new(None),
                begun: Cell::new(None),
                waits: Cell::new(None),
                resumed: Cell::new(std::ptr::null_mut()),
                given: Cell::new(0),
                failure: Cell::new(None),
                budget: Cell::new(Budget::FULL),
                current: Cell::new(None),
                barriers: Cell::new(0),
                callbacks: Rc::default(),
                references_max: Cell::new(REFERENCES_MAX),
                last_received: Cell::default(),
                received: RefCell::new(Vec::new()),
                sent: RefCell::default(),
                counted: Cell::new(0),
                passive: Cell::new(0),
                idle: RefCell::new(Vec::new()),
                reports: RefCell::new(Vec::new()),
                reporter: RefCell::new(reporter),
                has_failed: Cell::new(false),
                has_unseen_failure: Cell::new(false),
                is_ending: Cell::new(false),
                is_cut_short: Cell::new(false),
                writes_limit: Cell::new(WRITES_LIMIT),
                script: RefCell::new("".into()),
                exit_code: Cell::new(None),
                has_lost_readers: Cell::new(false),
                interruption: Arc::new(Interruption::new()),
                output: RefCell::new(None),
            }
        })
    }

    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    /// The time by the scheduler's clock, which on a simulated machine is its own.
    pub(crate) fn now(&self) -> Duration {
        self.io.now()
    }

    // What is ready, and what is counted.

    pub(crate) fn make_ready(&self, ready: Ready) {
        self.ready.borrow_mut().push_back(ready);
    }

    pub(crate) fn next_ready(&self) -> Option<Ready> {
        let mut ready = self.ready.borrow_mut();
        let next = ready.pop_front();
        // After a crowd its room is given back.
        if ready.is_empty() && ready.capacity() > READY_KEPT {
            ready.shrink_to(READY_KEPT);
        }
        next
    }

    /// The task that is running, if it can wait.
    pub(crate) fn task_that_can_wait(&self) -> Option<TaskKey> {
        self.current.get().filter(|_| self.barriers.get() == 0)
    }

    /// Whether there is room for one more task or callback; if not, what `operation` is to be told.
    pub(crate) fn room(&self, operation: &str) -> Result<(), String> {
        let (tasks, callbacks) = (self.tasks.borrow().len(), self.callbacks.get());
        match tasks + REFERENCES_OF_A_CALLBACK * callbacks < self.references_max.get() {
            true => Ok(()),
            false => Err(format!(
                "{operation}: there are {tasks} tasks and {callbacks} callbacks in flight, as many as there is room for"
            )),
        }
    }

    /// An empty buffer of just this size; nothing if there is no memory for it.
    #[inline]
    pub(crate) fn receive_buffer(&self, size: usize) -> Option<Vec<u8>> {
        let last = self.last_received.take();
        if last.capacity() == size {
            return Some(last);
        }
        self.last_received.set(last);
        self.other_receive_buffer(size)
    }

    #[inline(never)]
    fn other_receive_buffer(&self, size: usize) -> Option<Vec<u8>> {
        let mut kept = self.received.borrow_mut();
        if let Some(place) = kept.iter().rposition(|kept| kept.capacity() == size) {
            return Some(kept.swap_remove(place));
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(size).ok().map(|()| buffer)
    }

    /// A buffer with these bytes, which are to be sent.
    pub(crate) fn send_buffer(&self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.sent.borrow_mut().pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Takes back a buffer whose bytes have been sent.
    pub(crate) fn keep_send_buffer(&self, mut buffer: Vec<u8>) {
        let mut kept = self.sent.borrow_mut();
        if buffer.capacity() <= *RECEIVE_BUFFER_KEPT.end() && kept.len() < RECEIVE_BUFFERS_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }

    /// Takes back a buffer whose bytes are a script's by now. Large ones cost more to get and to free than a receive.
    #[inline]
    pub(crate) fn keep_receive_buffer(&self, mut buffer: Vec<u8>) {
        if !RECEIVE_BUFFER_KEPT.contains(&buffer.capacity()) {
            return;
        }
        buffer.clear();
        let last = self.last_received.replace(buffer);
        if last.capacity() > 0 {
            self.keep_among_others(last);
        }
    }

    #[inline(never)]
    fn keep_among_others(&self, last: Vec<u8>) {
        let mut kept = self.received.borrow_mut();
        if kept.len() < RECEIVE_BUFFERS_KEPT {
            kept.push(last);
        }
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Whether there is something to run.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_count() > 0 || self.transfers.ended() > 0
    }

    pub(crate) fn count(&self, class: Class, change: isize) {
        let counter = match class {
            Class::Counted | Class::Timer => &self.counted,
            Class::Passive => &self.passive,
            Class::Internal => return,
        };
        counter.set(counter.get().saturating_add_signed(change));
    }

    /// Requests that the end of the program waits for.
    pub(crate) fn counted(&self) -> usize {
        self.counted.get() + self.transfers.waiting()
    }

    /// Accepts in flight.
    pub(crate) fn passive(&self) -> usize {
        self.passive.get()
    }

    // The engine.

    /// Submits an operation whose outcome is the request's, as `convert` says.
    pub(crate) fn begin<A: Action>(
        self: &Rc<Self>,
        class: Class,
        deadline: Option<Duration>,
        operation: Operation<A>,
        convert: impl FnOnce(Result<A::Output, A::Error>) -> Result<Outcome, Failure> + 'static,
    ) -> Rc<Request>
    where
        Failure: From<A::Error>,
    {
        let request = Request::new(self, class);
        let operation = match deadline {
            Some(deadline) => operation.deadline(deadline),
            None => operation,
        };
        let settles = Rc::clone(&request);
        match operation.direct().then(move |outcome| settles.settle(convert(outcome))) {
            Ok(id) => request.set_stop(Stop::Engine(id)),
            Err(error) => request.settle(Err(error.into())),
        }
        request
    }

    /// A sleep.
    pub(crate) fn begin_sleep(self: &Rc<Self>, length: Duration, deadline: Option<Duration>) -> Rc<Request> {
        let operation = self.io.sleep(length);
        self.begin(Class::Timer, deadline, operation, |outcome| Ok(outcome.map(|()| Outcome::Nothing)?))
    }

    /// Submits an operation that gives nothing.
    pub(crate) fn begin_plain(self: &Rc<Self>, deadline: Option<Duration>, operation: Operation<Plain>) -> Rc<Request> {
        self.begin(Class::Counted, deadline, operation, |outcome| Ok(outcome.map(|()| Outcome::Nothing)?))
    }

    /// One turn of the scheduler that waits at most `limit`.
    pub(crate) fn turn(&self, limit: Duration) -> Result<(), Error> {
        let turned = match &mut *self.scheduler.borrow_mut() {
            Some(scheduler) => scheduler.turn(limit).map(drop),
            None => Ok(()),
        };
        self.transfers.fetch();
        turned
    }

    /// Reaches the scheduler from other threads.
    pub(crate) fn remote(&self) -> Option<Remote> {
        self.scheduler.borrow().as_ref().map(Scheduler::remote)
    }

    /// Whether there is something to run, or a turn would find something.
    pub(crate) fn has_work(&self) -> bool {
        self.is_ready()
            || self.transfers.has_outcomes()
            || self.scheduler.borrow().as_ref().is_some_and(Scheduler::has_work)
    }

    pub(crate) fn outstanding(&self) -> Vec<Outstanding> {
        self.scheduler.borrow().as_ref().map(Scheduler::outstanding).unwrap_or_default()
    }

    /// The backend and why it is this one.
    pub(crate) fn backend(&self) -> Option<(BackendKind, BackendReason)> {
        self.scheduler.borrow().as_ref().map(|scheduler| (scheduler.backend(), scheduler.backend_reason().clone()))
    }

    /// Whether the program is over and what is left is being settled.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.get()
    }

    /// Stops accepting: from now on listeners keep nothing alive.
    pub(crate) fn stop_accepting(&self) {
        self.is_ending.set(true);
        for request in self.outstanding() {
            // Connections that are waited for, also by a poll.
            if request.operation == "accept" || request.operation == "readable" {
                self.io.cancel(request.id);
            }
        }
    }

    /// Nobody reads standard output any more. As with programs that SIGPIPE ends, this is the end, and no error.
    pub(crate) fn end_for_want_of_readers(&self) {
        self.has_lost_readers.set(true);
        if self.exit_code.get().is_none() {
            self.exit_code.set(Some(CODE_OF_SIGPIPE));
        }
    }

    /// Whether `os.exit` was called, or an end from outside was seen.
    #[inline]
    pub(crate) fn has_exited(&self) -> bool {
        self.exit_code.get().is_some()
    }

    /// Whether the program is to end now: by `os.exit`, or from outside.
    pub(crate) fn is_exiting(&self) -> bool {
        if let (Some(code), None) = (self.interruption.code(), self.exit_code.get()) {
            self.exit_code.set(Some(code));
        }
        self.exit_code.get().is_some()
    }

    /// Tells at once what is in flight: of a program that is ended from outside.
    pub(crate) fn tell_outstanding(&self) {
        let mut outstanding = self.outstanding();
        outstanding.sort_by_key(|request| std::cmp::Reverse(request.age));
        let mut text = match outstanding.len() {
            0 => "interrupted; nothing is outstanding".to_string(),
            count => format!("interrupted; outstanding ({count}):"),
        };
        for request in outstanding.iter().take(OUTSTANDING_TOLD_MAX) {
            let target = if request.target.is_empty() { String::new() } else { format!(" of {}", request.target) };
            let age = request.age.as_secs_f64();
            text.push_str(&format!("\n  {}{target}, for {age:.1} s", request.operation));
        }
        if let Some(more) = outstanding.len().checked_sub(OUTSTANDING_TOLD_MAX + 1) {
            text.push_str(&format!("\n  and {} more", more + 1));
        }
        (self.reporter.borrow_mut())(&text);
    }

    /// Whether the program was ended before its time.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.is_cut_short.get()
    }

    /// Cancels what waits for others. What changes something, a write or a rename, goes on.
    pub(crate) fn cut_short(&self) {
        self.is_ending.set(true);
        self.is_cut_short.set(true);
        for request in self.outstanding() {
            if waits_for_others(&request.operation) {
                self.io.cancel(request.id);
            }
        }
    }

    /// After `cut_short`: turns until what goes on has settled. Reports are written as soon as standard output is out.
    pub(crate) fn finish_writes(&self) -> Result<(), Error> {
        let output = self.output.borrow().clone();
        let end = self.now() + self.writes_limit.get();
        self.settle_transfers();
        while self.counted() > 0 || !self.outstanding().is_empty() {
            if let Some(output) = &output {
                output.flush_behind();
            }
            if output.as_ref().is_none_or(|output| !output.has_output()) {
                self.write_reports();
            }
            let left = end.saturating_sub(self.now());
            if left.is_zero() {
                for request in self.outstanding() {
                    let (operation, target) = (&request.operation, &request.target);
                    self.has_failed.set(true);
                    self.report(format!("given up at the end of the program: {operation} of {target}"));
                    self.io.cancel(request.id);
                }
                return Ok(());
            }
            self.turn(left)?;
            self.settle_transfers();
        }
        Ok(())
    }

    /// Turns until the engine has nothing left to do, and ends it.
    pub(crate) fn end(&self) {
        self.stop_accepting();
        let result = match &mut *self.scheduler.borrow_mut() {
            Some(scheduler) => scheduler.run(),
            None => Ok(()),
        };
        if let Err(error) = result {
            self.report(error.to_string());
        }
        let scheduler = self.scheduler.take();
        drop(scheduler);
        self.transfers.fetch();
        self.settle_transfers();
    }

    // Reports.

    pub(crate) fn report(&self, text: String) {
        self.reports.borrow_mut().push(text);
    }

    /// Reports an error of the script's that nobody took: the exit code will say so too.
    pub(crate) fn report_script_error(&self, text: &str) {
        if self.exit_code.get().is_some() {
            // What os.exit cut short.
            return;
        }
        self.has_failed.set(true);
        self.report(text.to_string());
    }

    /// Reports a failure that nobody looked at: the exit code says so too.
    pub(crate) fn report_unseen(&self, failure: &str, place: Option<Place>) {
        self.has_failed.set(true);
        let place = place.map_or_else(String::new, |place| format!("{}:{}: ", place.script, place.line));
        self.report(format!("{place}nobody looked at a failure: {failure}"));
    }

    /// Where the script that is running is. Scripts are few, so the name of the last one is kept.
    pub(crate) fn place(&self, lua: &Lua) -> Option<Place> {
        let look = |frame: &mlua::debug::Debug<'_>| {
            let line = frame.current_line()?;
            let name = frame.source().short_src?;
            let mut script = self.script.borrow_mut();
            if **script != *name {
                *script = (&*name).into();
            }
            (&*name != OWN_SCRIPT).then(|| Place { script: Rc::clone(&script), line })
        };
        (1..=PLACE_DEPTH).find_map(|level| lua.inspect_stack(level, look).flatten())
    }

    /// Reports output that was lost when nobody could be told any more: the exit code says so too.
    pub(crate) fn report_lost_output(&self, failure: &Failure) {
        if self.has_lost_readers.get() && failure.is_broken_pipe() {
            return;
        }
        self.has_failed.set(true);
        self.report(format!("output is lost: {}", failure.report()));
    }

    /// Calls `then` once what was printed is out, and the reports after it.
    pub(crate) fn flush_output_and_then(self: &Rc<Self>, then: impl FnOnce() + 'static) {
        let output = self.output.borrow().clone();
        let runtime = Rc::clone(self);
        let finish = move |_| {
            runtime.write_reports();
            then();
        };
        match output {
            Some(output) => output.flush().on_end(finish),
            None => finish(None),
        }
    }

    pub(crate) fn has_reports(&self) -> bool {
        !self.reports.borrow().is_empty()
    }

    /// Writes the reports out.
    pub(crate) fn write_reports(&self) {
        let reports = self.reports.take();
        for report in reports {
            (self.reporter.borrow_mut())(&report);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    pub(crate) fn note_failure(&self) {
        self.has_unseen_failure.set(true);
    }

    pub(crate) fn has_unseen_failure(&self) -> bool {
        self.has_unseen_failure.get()
    }

    /// Whether a request has failed, since the last call, that nobody had looked at.
    pub(crate) fn take_unseen_failure(&self) -> bool {
        self.has_unseen_failure.replace(false)
    }
}
