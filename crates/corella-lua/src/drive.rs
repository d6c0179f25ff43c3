//! The host's loop: resumes what is ready, turns the scheduler, and knows when the program is over.

use std::rc::Rc;
use std::time::Duration;

use corella::Error;
use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Thread, Value};

use crate::coroutines::{self, Given, Stop};
use crate::failure::Failure;
use crate::host::Host;
use crate::lent::{Arrival, Transfer};
use crate::request::{Callback, Listener, Outcome};
use crate::runtime::Ready;
use crate::shortest::{Answer, Awaited, Budget};
use crate::status::Status;
use crate::tasks::{self, TaskHandle, TaskKey, TaskKind};

/// Tasks and callbacks resumed before I/O has its turn.
const RESUMED_PER_TURN: usize = 256;
/// The longest sleep of one turn: until anything happens. A simulated machine knows when nothing ever will.
const SLEEP_MAX: Duration = Duration::MAX;
/// Full collections for the sake of failures that nobody looked at are this far apart.
const COLLECT_EVERY: Duration = Duration::from_secs(1);

/// Why a task has been suspended.
enum Pause {
    Waits(Awaited),
    /// The others have their turn.
    GivesWay,
    /// For good, through os.exit.
    Leaves,
}

impl Host {
    /// Resumes what is ready and turns, until the program is over.
    pub(crate) fn drive(&mut self, lua: &Lua, main: &TaskHandle) {
        loop {
            self.run_some(lua);
            if self.runtime.is_exiting() {
                return;
            }
            if main.ending(&self.runtime).has_failed() == Some(true) {
                return;
            }
            if !self.runtime.is_ready() && self.is_over(main) {
                return;
            }
            if let Err(error) = self.turn_once(lua) {
                return self.runtime.report_script_error(&error.to_string());
            }
            if main.ending(&self.runtime).has_failed() == Some(true) {
                return;
            }
        }
    }

    /// Resumes what is ready, up to a bound.
    pub(crate) fn run_some(&self, lua: &Lua) {
        for _ in 0..self.runtime.ready_count().min(RESUMED_PER_TURN) {
            if self.runtime.is_exiting() {
                return;
            }
            let Some(ready) = self.runtime.next_ready() else { return };
            if let Err(error) = self.run_ready(lua, ready) {
                self.runtime.report_script_error(&error.to_string());
            }
        }
    }

    /// Has the scheduler turn once, and sleep if there is nothing to do.
    pub(crate) fn turn_once(&mut self, lua: &Lua) -> Result<(), Error> {
        let is_ready = self.runtime.is_ready();
        self.before_turn(lua, !is_ready);
        self.runtime.turn(match is_ready {
            false if self.runtime.has_unseen_failure() => COLLECT_EVERY,
            false => SLEEP_MAX,
            true => Duration::ZERO,
        })?;
        if self.runtime.ready_count() == 0 {
            self.runtime.is_in_turn.set(true);
            self.run_arrivals(lua);
            self.runtime.is_in_turn.set(false);
        }
        self.runtime.settle_transfers();
        Ok(())
    }

    /// Nothing else is ready: resumes tasks whose transfers have ended, without a queue between, up to a bound. Whatever turns the
    /// scheduler meanwhile settles those that are left.
    fn run_arrivals(&self, lua: &Lua) {
        for _ in 0..RESUMED_PER_TURN {
            if self.runtime.has_exited() {
                return;
            }
            let Some(Arrival { lent, buffer, moved, error }) = self.runtime.transfers.next() else { return };
            if let (Transfer::Receive, None) = (lent.what, &error)
                && let Some((thread, is_short)) = self.enters(lent.task, || lent.stream.passes_on(&buffer))
            {
                let task = lent.task;
                drop(lent);
                let stop = coroutines::resume(lua, &thread, &self.runtime, is_short, Given::Bytes(buffer));
                if let Err(error) = self.left(lua, task, thread, stop) {
                    self.runtime.report_script_error(&error.to_string());
                }
                continue;
            }
            let answer = match lent.what {
                Transfer::Receive => {
                    let received = lent.stream.received(lent.task, buffer, error);
                    received.map(|received| received.map(|(_, bytes)| Given::Bytes(bytes)))
                }
                Transfer::Send { whole } => {
                    let gone = whole - buffer.len() + moved;
                    self.runtime.keep_send_buffer(buffer);
                    let sent = lent.stream.sent(lent.task, (whole, gone), error);
                    sent.map(|sent| sent.map(Given::Count))
                }
            };
            let task = lent.task;
            drop(lent);
            let resumed = match answer {
                Some(Ok(given)) => self.go_on(lua, task, given),
                Some(Err(failure)) => {
                    failure.into_value(lua).and_then(|failure| self.resume(lua, task, (false, failure)))
                }
                None => Ok(()),
            };
            if let Err(error) = resumed {
                self.runtime.report_script_error(&error.to_string());
            }
        }
    }

    /// Nothing is ready. Whether nothing ever will be.
    fn is_over(&self, main: &TaskHandle) -> bool {
        let runtime = &self.runtime;
        if runtime.counted() > 0 {
            return false;
        }
        let has_ended = main.ending(&self.runtime).is_settled();
        if !has_ended && runtime.passive() > 0 {
            return false;
        }
        // Those that wait until all else is done go on.
        runtime.idle.take().iter().for_each(|request| request.settle(Ok(Outcome::Nothing)));
        if runtime.is_ready() {
            return false;
        }
        if !has_ended {
            let why = "deadlock: the main program waits for a task that can never end, and nothing is in flight";
            runtime.report_script_error(why);
        }
        true
    }

    /// Before the program sleeps: what it printed is to be seen, and what went wrong too.
    fn before_turn(&mut self, lua: &Lua, is_idle: bool) {
        let output = self.runtime.output.borrow().clone();
        let has_output = output.as_ref().is_some_and(|output| output.has_output());
        if is_idle && has_output {
            output.into_iter().for_each(|output| output.flush_behind());
        } else if !has_output && self.runtime.has_reports() {
            self.runtime.write_reports();
        }
        if is_idle
            && self.runtime.has_unseen_failure()
            && self.runtime.now().saturating_sub(self.last_collection) >= COLLECT_EVERY
            && self.runtime.take_unseen_failure()
        {
            // Only the collector knows whether anybody can still look.
            self.last_collection = self.runtime.now();
            if let Err(error) = lua.gc_collect() {
                self.runtime.report(error.to_string());
            }
        }
    }

    fn run_ready(&self, lua: &Lua, ready: Ready) -> mlua::Result<()> {
        match ready {
            Ready::Resume(key) => self.resume_ready(lua, key),
            Ready::Close(thread) => tasks::close(lua, &self.runtime, thread),
            Ready::Call(Callback { function, status, .. }) => {
                let kind = status.borrow::<Status>()?.0.kind();
                self.call(lua, kind, function, Value::UserData(status))
            }
            Ready::Announce(callback, request) => {
                let status = lua.create_userdata(Status(request))?;
                self.call(lua, TaskKind::Io, callback, Value::UserData(status))
            }
        }
    }

    /// Resumes a task whose turn it is, with what it waited for.
    fn resume_ready(&self, lua: &Lua, key: TaskKey) -> mlua::Result<()> {
        let awaited = self.runtime.tasks.borrow_mut().get_mut(key).and_then(|task| task.awaits.take());
        let (answer, is_short) = match awaited {
            Some(Awaited::Turn { answer, is_short }) => (answer, is_short),
            Some(Awaited::Given(request)) => return self.resume(lua, key, request.given(lua)?),
            _ => return self.resume(lua, key, ()),
        };
        let given = match answer.map(|answer| *answer) {
            None | Some(Ok(Answer::Nothing)) => Given::Nothing,
            Some(Ok(Answer::Received(_, _, bytes))) => Given::Bytes(bytes),
            Some(Ok(Answer::Count(count))) => Given::Count(count),
            Some(Err(failure)) => return self.resume(lua, key, (false, failure.into_value(lua)?)),
        };
        self.run_task(lua, key, |thread, _| coroutines::resume(lua, thread, &self.runtime, is_short, given))
    }

    /// Runs a callback as a task of its own.
    fn call(&self, lua: &Lua, kind: TaskKind, callback: Function, argument: Value) -> mlua::Result<()> {
        let task = tasks::make(lua, &self.runtime, kind)?;
        self.resume(lua, task.key, (callback, tasks::caught(&self.runtime)?, argument))
    }

    /// Runs a task until it waits, gives way or ends.
    fn resume(&self, lua: &Lua, key: TaskKey, arguments: impl IntoLuaMulti) -> mlua::Result<()> {
        self.run_task(lua, key, |thread, _| thread.resume(arguments).map(Stop::With))
    }

    /// The same with what it waited for, the short way.
    fn go_on(&self, lua: &Lua, key: TaskKey, given: Given) -> mlua::Result<()> {
        self.run_task(lua, key, |thread, is_short| coroutines::resume(lua, thread, &self.runtime, is_short, given))
    }

    fn run_task(
        &self,
        lua: &Lua,
        key: TaskKey,
        resume: impl FnOnce(&Thread, bool) -> mlua::Result<Stop>,
    ) -> mlua::Result<()> {
        let Some((thread, is_short)) = self.enters(key, || true) else { return Ok(()) };
        let stop = resume(&thread, is_short);
        self.left(lua, key, thread, stop)
    }

    /// A task is about to run, unless it has ended or runs, or this is not for it. Gives its coroutine, and whether it waits so
    /// that the host resumes it the short way.
    #[inline]
    fn enters(&self, key: TaskKey, is_for_it: impl FnOnce() -> bool) -> Option<(Thread, bool)> {
        let mut tasks = self.runtime.tasks.borrow_mut();
        let task = tasks.get_mut(key)?;
        if task.thread.is_none() || !is_for_it() {
            return None;
        }
        let is_short = match &task.awaits {
            Some(Awaited::Engine { is_short, .. }) => *is_short,
            _ => false,
        };
        task.awaits = None;
        self.runtime.current.set(Some(key));
        self.runtime.budget.set(Budget::FULL);
        task.thread.take().map(|thread| (thread, is_short))
    }

    /// A task has stopped running.
    #[inline(always)]
    fn left(&self, lua: &Lua, key: TaskKey, thread: Thread, stop: mlua::Result<Stop>) -> mlua::Result<()> {
        self.runtime.current.set(None);
        if let Some((id, is_short)) = self.runtime.waits.take()
            && stop.is_ok()
        {
            if let Some(task) = self.runtime.tasks.borrow_mut().get_mut(key) {
                task.thread = Some(thread);
                // What it waits for may have come already, if it waits in a coroutine of the script's: finalizers may turn.
                if task.awaits.is_none() {
                    task.awaits = Some(Awaited::Engine { id, is_short });
                }
                return Ok(());
            }
            // It was killed while it ran.
            self.runtime.io().cancel(id);
            self.runtime.make_ready(Ready::Close(thread));
            return Ok(());
        }
        self.stopped(lua, key, thread, stop)
    }

    /// A task has waited for what it has not told of yet, given way or ended.
    fn stopped(&self, lua: &Lua, key: TaskKey, thread: Thread, stop: mlua::Result<Stop>) -> mlua::Result<()> {
        let begun = self.runtime.begun.take();
        let pause = match stop {
            Ok(_) if let Some(awaited) = begun => Pause::Waits(awaited),
            Ok(Stop::WithNothing) => Pause::GivesWay,
            Ok(Stop::With(yielded)) if thread.is_resumable() => self.pause_of(&yielded)?,
            Ok(Stop::With(results)) => {
                return self.ended(key, results);
            }
            Err(error) => {
                let value = Value::String(lua.create_string(error.to_string())?);
                let traceback = error.to_string();
                self.finish(key, Err(Failure::Raised { value, traceback }));
                return Ok(());
            }
        };
        self.suspended(key, thread, pause);
        Ok(())
    }

    /// Why a task that has not asked the engine for anything has yielded.
    fn pause_of(&self, yielded: &MultiValue) -> mlua::Result<Pause> {
        Ok(match (yielded.front(), yielded.get(1)) {
            (Some(Value::LightUserData(first)), status) if *first == self.marker => match status {
                Some(Value::UserData(status)) => {
                    let request = Rc::clone(&status.borrow::<Status>()?.0);
                    Pause::Waits(Awaited::Request(request))
                }
                Some(_) => Pause::GivesWay,
                None => Pause::Leaves,
            },
            _ => Pause::GivesWay,
        })
    }

    fn suspended(&self, key: TaskKey, thread: Thread, pause: Pause) {
        let mut tasks = self.runtime.tasks.borrow_mut();
        let Some(task) = tasks.get_mut(key) else {
            // It was killed while it ran.
            drop(tasks);
            if let Pause::Waits(awaited) = pause {
                awaited.cancel(&self.runtime);
            }
            return self.runtime.make_ready(Ready::Close(thread));
        };
        task.thread = Some(thread);
        match pause {
            Pause::Waits(awaited) => {
                let request = match &awaited {
                    Awaited::Given(request) | Awaited::Request(request) => Some(Rc::clone(request)),
                    Awaited::Engine { .. } | Awaited::Turn { .. } => None,
                };
                task.awaits = Some(awaited);
                drop(tasks);
                request.into_iter().for_each(|request| request.listen(Listener::Task(key)));
            }
            Pause::GivesWay => self.runtime.make_ready(Ready::Resume(key)),
            Pause::Leaves => {}
        }
    }

    fn ended(&self, key: TaskKey, mut results: MultiValue) -> mlua::Result<()> {
        let result = match (results.pop_front(), results.front()) {
            (Some(Value::Boolean(true)), _) => Ok(Outcome::Values(results)),
            (_, Some(Value::Table(caught))) => {
                Err(Failure::Raised { value: caught.get("value")?, traceback: caught.get("traceback")? })
            }
            (_, value) => {
                // An error in the handling of an error.
                let value = value.cloned().unwrap_or(Value::Nil);
                let traceback = value.to_string()?;
                Err(Failure::Raised { value, traceback })
            }
        };
        self.finish(key, result);
        Ok(())
    }

    fn finish(&self, key: TaskKey, result: Result<Outcome, Failure>) {
        let task = self.runtime.tasks.borrow_mut().remove(key);
        if let Some(task) = task {
            task.ending.settle(&self.runtime, result);
        }
    }
}
