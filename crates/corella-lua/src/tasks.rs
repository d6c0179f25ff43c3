//! Tasks: the coroutines that the host drives. The main program is one, and so is every call of a callback.

use std::rc::Rc;
use std::time::Duration;

use corella::ErrorKind;
use mlua::{
    AnyUserData, Function, Lua, MultiValue, Table, Thread, UserData, UserDataFields, UserDataMethods, UserDataRef,
    Value,
};

use crate::arguments::Arguments;
use crate::failure::OperationError;
use crate::request::{Class, Request};
use crate::runtime::{Ready, Runtime};
use crate::shortest::Awaited;
use crate::status::Status;
use crate::traceback;
use crate::verb::direct;

/// Room for so many tasks is kept when there are none.
const PLACES_KEPT: usize = 4096;

/// Names one task, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskKey {
    number: u64,
    /// Among the tasks that have not ended.
    place: u32,
}

impl TaskKey {
    /// The number that scripts see.
    pub(crate) fn number(self) -> u64 {
        self.number
    }
}

/// Why a task is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKind {
    /// A callback of time, or of what other tasks did.
    Event,
    /// A callback of I/O.
    Io,
    /// The main program, or what a script has spawned.
    Code,
}

impl TaskKind {
    /// The name that scripts see.
    fn name(self) -> &'static str {
        match self {
            TaskKind::Event => "event",
            TaskKind::Io => "io",
            TaskKind::Code => "code",
        }
    }
}

/// A task that has not ended.
pub(crate) struct Task {
    pub(crate) thread: Thread,
    /// Settles when it ends, with what its function returned or raised.
    pub(crate) ending: Rc<Request>,
    /// What it waits for.
    pub(crate) awaits: Option<Awaited>,
    /// It is to be resumed with what that gives.
    pub(crate) takes: bool,
    kind: TaskKind,
    born: Duration,
    number: u64,
}

/// All tasks that have not ended, each in a place of its own.
#[derive(Default)]
pub(crate) struct Tasks {
    places: Vec<Option<Task>>,
    free: Vec<u32>,
    made: u64,
}

impl Tasks {
    fn insert(&mut self, thread: Thread, ending: Rc<Request>, kind: TaskKind, born: Duration) -> TaskHandle {
        self.made += 1;
        let number = self.made;
        let task = Task { thread, ending: Rc::clone(&ending), awaits: None, takes: false, kind, born, number };
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place as usize] = Some(task);
                place
            }
            None => {
                self.places.push(Some(task));
                self.places.len() as u32 - 1
            }
        };
        TaskHandle { key: TaskKey { number, place }, ending, kind, born }
    }

    /// What a script may hold of a task that has not ended.
    pub(crate) fn handle(&self, key: TaskKey) -> Option<TaskHandle> {
        let task = self.get(key)?;
        Some(TaskHandle { key, ending: Rc::clone(&task.ending), kind: task.kind, born: task.born })
    }

    fn get(&self, key: TaskKey) -> Option<&Task> {
        self.places.get(key.place as usize)?.as_ref().filter(|task| task.number == key.number)
    }

    /// Whether it has not ended.
    pub(crate) fn has(&self, key: TaskKey) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get_mut(&mut self, key: TaskKey) -> Option<&mut Task> {
        self.places.get_mut(key.place as usize)?.as_mut().filter(|task| task.number == key.number)
    }

    pub(crate) fn remove(&mut self, key: TaskKey) -> Option<Task> {
        let task = self.places.get_mut(key.place as usize)?.take_if(|task| task.number == key.number)?;
        self.free.push(key.place);
        // After a crowd its room is given back.
        if self.len() == 0 && self.places.capacity() > PLACES_KEPT {
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
        Some(task)
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// In the order in which they were made.
    pub(crate) fn keys(&self) -> Vec<TaskKey> {
        let keys = self.places.iter().zip(0..);
        let mut keys: Vec<TaskKey> =
            keys.filter_map(|(task, place)| Some(TaskKey { number: task.as_ref()?.number, place })).collect();
        keys.sort_unstable();
        keys
    }
}

/// What a script holds of a task that it spawned.
pub(crate) struct TaskHandle {
    pub(crate) key: TaskKey,
    pub(crate) ending: Rc<Request>,
    kind: TaskKind,
    born: Duration,
}

impl UserData for TaskHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Task");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Task"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods
            .add_meta_method("__tostring", |_, this, ()| Ok(format!("Task {} ({})", this.key.number(), this.status())));
        // Two objects of one task are as good as one.
        methods.add_meta_method("__eq", |_, this, other: UserDataRef<TaskHandle>| Ok(this.key == other.key));
    }
}

impl TaskHandle {
    /// How it stands, as scripts see it.
    fn status(&self) -> &'static str {
        match (self.ending.has_failed(), self.ending.failure()) {
            (Some(false), _) => "done",
            (Some(true), Some(failure)) if failure.is_unwanted() => "killed",
            (Some(true), _) => "failed",
            (None, _) => self.ending.runtime().state_of(self.key),
        }
    }
}

impl Runtime {
    /// How a task that has not ended stands.
    fn state_of(&self, key: TaskKey) -> &'static str {
        if self.current.get() == Some(key) {
            return "running";
        }
        let waits = self.tasks.borrow().get(key).is_some_and(|task| match &task.awaits {
            Some(Awaited::Request(request)) => !request.is_settled(),
            Some(Awaited::Engine(_)) => true,
            None => false,
        });
        if waits { "waiting" } else { "ready" }
    }
}

/// The task that a method was called on.
pub(crate) fn task_of(arguments: &mut Arguments) -> Result<AnyUserData, String> {
    arguments.object::<TaskHandle>("Task")
}

/// Adds Task's calls that finish at once to `methods`. `start` is when the clock of scripts began.
pub(crate) fn install_methods(lua: &Lua, methods: &Table, start: Duration) -> mlua::Result<()> {
    direct(lua, methods, "id", |_, arguments| Ok(task_of(arguments)?.borrow::<TaskHandle>()?.key.number()))?;
    direct(lua, methods, "type", |_, arguments| Ok(task_of(arguments)?.borrow::<TaskHandle>()?.kind.name()))?;
    direct(lua, methods, "status", |_, arguments| Ok(task_of(arguments)?.borrow::<TaskHandle>()?.status()))?;
    direct(lua, methods, "birth_time", move |_, arguments| {
        let born = task_of(arguments)?.borrow::<TaskHandle>()?.born;
        Ok(born.saturating_sub(start).as_secs_f64())
    })
}

/// Makes a task that has nothing to do yet.
pub(crate) fn make(lua: &Lua, runtime: &Rc<Runtime>, kind: TaskKind) -> mlua::Result<TaskHandle> {
    let body: Function = lua.named_registry_value("corella.body")?;
    let thread: Thread = lua.create_thread(body)?;
    let ending = Request::new(runtime, Class::Internal);
    let born = runtime.now();
    Ok(runtime.tasks.borrow_mut().insert(thread, ending, kind, born))
}

/// Makes a task that will call `function`.
pub(crate) fn spawn(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    function: Function,
    arguments: MultiValue,
) -> mlua::Result<TaskHandle> {
    let task = make(lua, runtime, TaskKind::Code)?;
    runtime.make_ready(Ready::Begin(task.key, function, arguments));
    Ok(task)
}

/// Ends a task where it stands: what it waited for is cancelled, and its to-be-closed variables are closed.
pub(crate) fn kill(runtime: &Rc<Runtime>, key: TaskKey) {
    let task = runtime.tasks.borrow_mut().remove(key);
    let Some(task) = task else { return };
    match &task.awaits {
        Some(Awaited::Request(request)) if !request.is_shared() => request.cancel(),
        Some(Awaited::Engine(id)) => runtime.io().cancel(*id),
        _ => {}
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
    let define_evaluate = |lua: &Lua, call: Function| lua.set_named_registry_value("corella.evaluate", call);
    raw.set("define_evaluate", lua.create_function(define_evaluate)?)?;
    let ends = |_: &Lua, value: Value| match value {
        Value::UserData(object) => Ok(object.borrow::<Status>().is_ok_and(|status| status.0.ends())),
        _ => Ok(false),
    };
    raw.set("is_status_that_ends", lua.create_function(ends)?)?;
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
