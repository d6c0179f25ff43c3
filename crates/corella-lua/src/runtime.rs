//! What everything in one host shares: the scheduler, what is ready to run, the tasks, and what is to be reported.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use corella::actions::Plain;
use corella::{Action, BackendKind, BackendReason, Error, Io, Operation, Outstanding, Scheduler};
use mlua::{AnyUserData, Function, MultiValue, Thread};

use crate::failure::Failure;
use crate::request::{Class, Outcome, Request, Stop};
use crate::stream::Stream;
use crate::tasks::{TaskKey, Tasks};

/// Something for the host to run.
pub(crate) enum Ready {
    /// A task whose request has settled, or that gave way.
    Resume(TaskKey),
    /// A task that has not begun: its function and arguments.
    Begin(TaskKey, Function, MultiValue),
    /// A task that was killed; its variables are to be closed.
    Close(Thread),
    /// A callback with its Status.
    Call(Function, AnyUserData),
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
    pub(crate) tasks: RefCell<Tasks>,
    /// The task that is running.
    pub(crate) current: Cell<Option<TaskKey>>,
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
    /// `os.exit` was called.
    pub(crate) exit_code: Cell<Option<i32>>,
    /// Standard output, buffered.
    pub(crate) output: RefCell<Option<Rc<Stream>>>,
}

impl Runtime {
    pub(crate) fn new(mut scheduler: Scheduler, reporter: Reporter) -> Rc<Runtime> {
        Rc::new_cyclic(|weak: &std::rc::Weak<Runtime>| {
            let weak = weak.clone();
            scheduler.on_unobserved(move |unobserved| {
                if let Some(runtime) = weak.upgrade() {
                    runtime.report(format!("nobody looked at a failure: {}", unobserved.error));
                }
            });
            Runtime {
                io: scheduler.io(),
                scheduler: RefCell::new(Some(scheduler)),
                ready: RefCell::new(VecDeque::new()),
                tasks: RefCell::new(Tasks::default()),
                current: Cell::new(None),
                counted: Cell::new(0),
                passive: Cell::new(0),
                idle: RefCell::new(Vec::new()),
                reports: RefCell::new(Vec::new()),
                reporter: RefCell::new(reporter),
                has_failed: Cell::new(false),
                has_unseen_failure: Cell::new(false),
                is_ending: Cell::new(false),
                exit_code: Cell::new(None),
                output: RefCell::new(None),
            }
        })
    }

    pub(crate) fn io(&self) -> &Io {
        &self.io
    }

    // What is ready, and what is counted.

    pub(crate) fn make_ready(&self, ready: Ready) {
        self.ready.borrow_mut().push_back(ready);
    }

    pub(crate) fn next_ready(&self) -> Option<Ready> {
        self.ready.borrow_mut().pop_front()
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    pub(crate) fn count(&self, class: Class, change: isize) {
        let counter = match class {
            Class::Counted => &self.counted,
            Class::Passive => &self.passive,
            Class::Internal => return,
        };
        counter.set(counter.get().saturating_add_signed(change));
    }

    /// Requests that the end of the program waits for.
    pub(crate) fn counted(&self) -> usize {
        self.counted.get()
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

    /// Submits an operation that gives nothing.
    pub(crate) fn begin_plain(self: &Rc<Self>, deadline: Option<Duration>, operation: Operation<Plain>) -> Rc<Request> {
        self.begin(Class::Counted, deadline, operation, |outcome| Ok(outcome.map(|()| Outcome::Nothing)?))
    }

    /// One turn of the scheduler that waits at most `limit`.
    pub(crate) fn turn(&self, limit: Duration) -> Result<(), Error> {
        match &mut *self.scheduler.borrow_mut() {
            Some(scheduler) => scheduler.turn(limit).map(drop),
            None => Ok(()),
        }
    }

    /// Whether there is something to run, or a turn would find something.
    pub(crate) fn has_work(&self) -> bool {
        self.ready_count() > 0 || self.scheduler.borrow().as_ref().is_some_and(Scheduler::has_work)
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
            if request.operation == "accept" {
                self.io.cancel(request.id);
            }
        }
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

    /// Reports output that was lost when nobody could be told any more: the exit code says so too.
    pub(crate) fn report_lost_output(&self, failure: &Failure) {
        self.has_failed.set(true);
        self.report(format!("output is lost: {}", failure.report()));
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
