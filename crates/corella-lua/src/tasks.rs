//! Tasks: the coroutines that the host drives. The main program is one, and so is every call of a callback.

use std::collections::BTreeMap;
use std::rc::Rc;

use corella::ErrorKind;
use mlua::{Function, Lua, MultiValue, Table, Thread, UserData, UserDataFields, UserDataMethods, Value};

use crate::failure::OperationError;
use crate::request::{Class, Request};
use crate::runtime::{Ready, Runtime};
use crate::traceback;

/// Names one task, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey(u64);

impl TaskKey {
    /// The number that scripts see.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// A task that has not ended.
pub(crate) struct Task {
    pub(crate) thread: Thread,
    /// Settles when it ends, with what its function returned or raised.
    pub(crate) ending: Rc<Request>,
    /// What it waits for.
    pub(crate) awaits: Option<Rc<Request>>,
}

/// All tasks that have not ended.
#[derive(Default)]
pub(crate) struct Tasks {
    tasks: BTreeMap<TaskKey, Task>,
    made: u64,
}

impl Tasks {
    pub(crate) fn insert(&mut self, thread: Thread, ending: Rc<Request>) -> TaskKey {
        self.made += 1;
        let key = TaskKey(self.made);
        self.tasks.insert(key, Task { thread, ending, awaits: None });
        key
    }

    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.tasks.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        self.tasks.remove(&key)
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn keys(&self) -> Vec<TaskKey> {
        self.tasks.keys().copied().collect()
    }
}

/// What a script holds of a task that it spawned.
pub(crate) struct TaskHandle {
    pub(crate) key: TaskKey,
    pub(crate) ending: Rc<Request>,
}

impl UserData for TaskHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Task");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Task"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            let state = match this.ending.has_failed() {
                None => "running",
                Some(false) => "done",
                Some(true) => "failed",
            };
            Ok(format!("Task {} ({state})", this.key.number()))
        });
    }
}

/// Makes a task that has nothing to do yet.
pub(crate) fn make(lua: &Lua, runtime: &Rc<Runtime>) -> mlua::Result<TaskHandle> {
    let body: Function = lua.named_registry_value("corella.body")?;
    let thread: Thread = lua.create_thread(body)?;
    let ending = Request::new(runtime, Class::Internal);
    let key = runtime.tasks.borrow_mut().insert(thread, Rc::clone(&ending));
    Ok(TaskHandle { key, ending })
}

/// Makes a task that will call `function`.
pub(crate) fn spawn(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    function: Function,
    arguments: MultiValue,
) -> mlua::Result<TaskHandle> {
    let task = make(lua, runtime)?;
    runtime.make_ready(Ready::Begin(task.key, function, arguments));
    Ok(task)
}

/// Ends a task where it stands: what it waited for is cancelled, and its to-be-closed variables are closed.
pub(crate) fn kill(runtime: &Rc<Runtime>, key: TaskKey) {
    let task = runtime.tasks.borrow_mut().remove(key);
    let Some(task) = task else { return };
    if let Some(request) = &task.awaits
        && !request.is_shared()
    {
        request.cancel();
    }
    runtime.make_ready(Ready::Close(task.thread));
    let operation = format!("task {}", key.number());
    task.ending.settle(Err(OperationError::stopped(ErrorKind::Killed, operation, "").into()));
}

/// Closes the to-be-closed variables of a task that was killed.
pub(crate) fn close(lua: &Lua, runtime: &Runtime, thread: Thread) -> mlua::Result<()> {
    let close: Function = lua.named_registry_value("corella.close_coroutine")?;
    let (is_well, problem): (bool, Value) = close.call(thread)?;
    if !is_well {
        runtime.report_script_error(&problem.to_string()?);
    }
    Ok(())
}

/// Adds what the Lua side needs of tasks to `raw`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, raw: &Table) -> mlua::Result<()> {
    let coroutines: Table = lua.globals().get("coroutine")?;
    lua.set_named_registry_value("corella.close_coroutine", coroutines.get::<Function>("close")?)?;
    let define_body = |lua: &Lua, body: Function| lua.set_named_registry_value("corella.body", body);
    raw.set("define_body", lua.create_function(define_body)?)?;
    let define_close = |lua: &Lua, close: Function| lua.set_named_registry_value("corella.close", close);
    raw.set("define_close", lua.create_function(define_close)?)?;
    let shared = Rc::clone(runtime);
    let exit = move |_: &Lua, code: i32| {
        shared.exit_code.set(Some(code));
        Ok(())
    };
    raw.set("exit", lua.create_function(exit)?)?;
    raw.set("traceback", lua.create_function(traceback::of_error)?)?;
    raw.set("plain_traceback", lua.create_function(traceback::plain)?)
}
