//! Scheduler: tasks and time, as scripts see them.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, Table, Value};

use crate::arguments::Arguments;
use crate::channel::new_channel;
use crate::failure::OperationError;
use crate::race::race;
use crate::request::{Class, Listener, Request, Stop};
use crate::runtime::Runtime;
use crate::tasks::{self, TaskHandle, task_of};
use crate::verb::{Problem, direct, verb, verb_with_own};

/// A request that ends as the task does.
fn follow(runtime: &Rc<Runtime>, ending: &Request, operation: &'static str) -> Rc<Request> {
    let request = Request::new(runtime, Class::Internal);
    request.set_stop(Stop::Settle(operation));
    ending.listen(Listener::Relay(Rc::clone(&request)));
    request
}

fn join(runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let object = task_of(arguments)?;
    let task = object.borrow::<TaskHandle>().map_err(|error| error.to_string())?;
    if runtime.current.get() == Some(task.key) && !arguments.is_async() {
        return Err("join: a task cannot wait for its own end".into());
    }
    let request = follow(runtime, task.ending(runtime), "join");
    request.limit(arguments.options.deadline, "join", || {});
    Ok(request)
}

/// Runs a function as a task with a limit, after which it is killed.
fn timeout(lua: &Lua, runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let limit = arguments.seconds()?;
    let function = arguments.function("function")?;
    runtime.room("timeout")?;
    let task = tasks::spawn(lua, runtime, function, arguments.rest()).map_err(|error| error.to_string())?;
    let request = follow(runtime, task.ending(runtime), "timeout");
    let (shared, key) = (Rc::clone(runtime), task.key);
    request.limit(Some(limit), "timeout", move || tasks::kill(&shared, key));
    let (shared, key) = (Rc::clone(runtime), task.key);
    // Who cancels it does not want the task to go on either.
    let cancelled = Rc::downgrade(&request);
    request.set_stop(Stop::Call(Box::new(move || {
        if let Some(request) = cancelled.upgrade() {
            let error = OperationError::stopped(corella::ErrorKind::Cancelled, "timeout", "");
            request.settle(Err(error.into()));
        }
        tasks::kill(&shared, key);
    })));
    Ok(request)
}

/// Settles when all other tasks and requests have ended, listeners included.
fn run(runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Rc<Request> {
    let request = Request::new(runtime, Class::Internal);
    request.set_stop(Stop::Settle("run"));
    request.limit(arguments.options.deadline, "run", || {});
    let mut idle = runtime.idle.borrow_mut();
    idle.retain(|other| !other.is_settled());
    idle.push(Rc::clone(&request));
    drop(idle);
    request
}

/// Adds Scheduler's operations to `verbs`.
pub(crate) fn install_verbs(lua: &Lua, runtime: &Rc<Runtime>, verbs: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "sleep", move |_, arguments| {
        Ok(shared.begin_sleep(arguments.seconds()?, arguments.options.deadline))
    })?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "join", move |_, arguments| join(&shared, arguments))?;
    let shared = Rc::clone(runtime);
    verb_with_own(lua, verbs, "timeout", 2, move |lua, arguments| timeout(lua, &shared, arguments))?;
    let shared = Rc::clone(runtime);
    verb_with_own(lua, verbs, "race", 1, move |lua, arguments| race(lua, &shared, arguments))?;
    let shared = Rc::clone(runtime);
    verb(lua, verbs, "run", move |_, arguments| Ok(run(&shared, arguments)))
}

fn outstanding_table(lua: &Lua, runtime: &Runtime) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for request in runtime.outstanding() {
        let one = lua.create_table()?;
        one.set("operation", request.operation)?;
        one.set("target", request.target)?;
        one.set("age", request.age.as_secs_f64())?;
        table.push(one)?;
    }
    Ok(table)
}

/// Adds Scheduler's calls that finish at once to `functions`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, functions: &Table, start: Duration) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    direct(lua, functions, "spawn", move |lua, arguments| {
        let function = arguments.function("function")?;
        shared.room("spawn")?;
        Ok(tasks::spawn(lua, &shared, function, arguments.rest())?)
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "kill", move |_, arguments| {
        let object = task_of(arguments)?;
        let task = object.borrow::<TaskHandle>()?;
        if shared.current.get() == Some(task.key) {
            return Err(Problem::Text("kill: a task cannot kill itself; it can return".into()));
        }
        task.ending(&shared).look();
        tasks::kill(&shared, task.key);
        Ok(())
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "active_tasks", move |_, _| Ok(shared.tasks.borrow().len()))?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "current", move |_, _| {
        let current = shared.current.get();
        Ok(current.and_then(|key| shared.tasks.borrow().handle(key)))
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "channel", move |lua, arguments| Ok(new_channel(lua, &shared, arguments)?))?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "now", move |_, _| Ok(shared.now().saturating_sub(start).as_secs_f64()))?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "has_work", move |_, _| Ok(shared.has_work()))?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "outstanding", move |lua, _| Ok(outstanding_table(lua, &shared)?))?;
    let shared = Rc::clone(runtime);
    direct(lua, functions, "backend", move |lua, _| {
        let Some((backend, reason)) = shared.backend() else { return Ok((Value::Nil, Value::Nil)) };
        Ok((Value::String(lua.create_string(backend.name())?), Value::String(lua.create_string(reason.to_string())?)))
    })
}
