//! Tasks: the coroutines that the host drives. The main program is one, and so is every call of a callback.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

use corella::ErrorKind;
use mlua::{
    AnyUserData, Function, Lua, MultiValue, Table, Thread, UserData, UserDataFields, UserDataMethods, UserDataRef,
    Value,
};

use crate::arguments::Arguments;
use crate::coroutines;
use crate::failure::Failure;
use crate::failure::OperationError;
use crate::request::{Class, Outcome, Request};
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
    /// Not there while it runs.
    pub(crate) thread: Option<Thread>,
    pub(crate) ending: Rc<Ending>,
    /// What it waits for.
    pub(crate) awaits: Option<Awaited>,
    number: u64,
}

/// Since the scheduler started.
type Nanoseconds = u64;

/// What its function returned or raised, once it has ended; shared by the task and those who may ask for it.
pub(crate) struct Ending {
    /// Made when somebody asks: most tasks end without.
    request: OnceCell<Rc<Request>>,
    kind: TaskKind,
    born: Nanoseconds,
}

impl Ending {
    /// Settles when the task ends.
    fn request(&self, runtime: &Rc<Runtime>) -> &Rc<Request> {
        self.request.get_or_init(|| Request::new(runtime, Class::Internal))
    }

    pub(crate) fn settle(self: Rc<Self>, runtime: &Rc<Runtime>, result: Result<Outcome, Failure>) {
        let is_asked_for = Rc::strong_count(&self) > 1 || self.request.get().is_some();
        // Who drops a failure unseen reports it.
        if is_asked_for || result.is_err() {
            self.request(runtime).settle(result);
        }
    }
}

/// What every task runs: Lua's `xpcall`, called with the task's function, `caught` for its errors, and the arguments.
pub(crate) struct Body {
    protected: Function,
    caught: Function,
}

/// All tasks that have not ended, each in a place of its own.
#[derive(Default)]
pub(crate) struct Tasks {
    places: Vec<Option<Task>>,
    free: Vec<u32>,
    made: u64,
}

impl Tasks {
    fn insert(&mut self, thread: Thread, ending: Rc<Ending>) -> TaskHandle {
        self.made += 1;
        let number = self.made;
        let thread = Some(thread);
        let task = Task { thread, ending: Rc::clone(&ending), awaits: None, number };
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
        TaskHandle { key: TaskKey { number, place }, ending }
    }

    /// What a script may hold of a task that has not ended.
    pub(crate) fn handle(&self, key: TaskKey) -> Option<TaskHandle> {
        let task = self.get(key)?;
        Some(TaskHandle { key, ending: Rc::clone(&task.ending) })
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
    ending: Rc<Ending>,
}

impl UserData for TaskHandle {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Task");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Task"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |lua, this, ()| {
            let status = lua.app_data_ref::<Rc<Runtime>>().map_or("over", |runtime| this.status(&runtime));
            Ok(format!("Task {} ({status})", this.key.number()))
        });
        // Two objects of one task are as good as one.
        methods.add_meta_method("__eq", |_, this, other: UserDataRef<TaskHandle>| Ok(this.key == other.key));
    }
}

impl TaskHandle {
    /// Settles when it ends, with what its function returned or raised.
    pub(crate) fn ending(&self, runtime: &Rc<Runtime>) -> &Rc<Request> {
        self.ending.request(runtime)
    }

    /// How it stands, as scripts see it.
    fn status(&self, runtime: &Runtime) -> &'static str {
        let Some(ending) = self.ending.request.get() else { return runtime.state_of(self.key) };
        match (ending.has_failed(), ending.failure()) {
            (Some(false), _) => "done",
            (Some(true), Some(failure)) if failure.is_unwanted() => "killed",
            (Some(true), _) => "failed",
            (None, _) => runtime.state_of(self.key),
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
            Some(Awaited::Given(request) | Awaited::Request(request)) => !request.is_settled(),
            Some(Awaited::Engine { .. }) => true,
            Some(Awaited::Turn { .. }) | None => false,
        });
        if waits { "waiting" } else { "ready" }
    }
}

/// The task that a method was called on.
pub(crate) fn task_of(arguments: &mut Arguments) -> Result<AnyUserData, String> {
    arguments.object::<TaskHandle>("Task")
}

/// Adds Task's calls that finish at once to `methods`. `start` is when the clock of scripts began.
pub(crate) fn install_methods(lua: &Lua, runtime: &Rc<Runtime>, methods: &Table, start: Duration) -> mlua::Result<()> {
    direct(lua, methods, "id", |_, arguments| Ok(task_of(arguments)?.borrow::<TaskHandle>()?.key.number()))?;
    direct(lua, methods, "type", |_, arguments| Ok(task_of(arguments)?.borrow::<TaskHandle>()?.ending.kind.name()))?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "status", move |_, arguments| {
        Ok(task_of(arguments)?.borrow::<TaskHandle>()?.status(&shared))
    })?;
    direct(lua, methods, "birth_time", move |_, arguments| {
        let born = Duration::from_nanos(task_of(arguments)?.borrow::<TaskHandle>()?.ending.born);
        Ok(born.saturating_sub(start).as_secs_f64())
    })
}

/// Makes a task that has nothing to do yet.
pub(crate) fn make(lua: &Lua, runtime: &Rc<Runtime>, kind: TaskKind) -> mlua::Result<TaskHandle> {
    Ok(insert(runtime, coroutine(lua, runtime)?, kind))
}

fn coroutine(lua: &Lua, runtime: &Runtime) -> mlua::Result<Thread> {
    let body = match &*runtime.body.borrow() {
        Some(body) => body.protected.clone(),
        None => return Err(mlua::Error::runtime("the program is over")),
    };
    lua.create_thread(body)
}

fn insert(runtime: &Runtime, thread: Thread, kind: TaskKind) -> TaskHandle {
    let born = runtime.now().as_nanos() as Nanoseconds;
    let ending = Rc::new(Ending { request: OnceCell::new(), kind, born });
    runtime.tasks.borrow_mut().insert(thread, ending)
}

/// Makes a task that will call `function`. What it is called with is the coroutine's from now on: a crowd of tasks that have
/// yet to begin holds one value of Lua's each.
pub(crate) fn spawn(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    function: Function,
    arguments: MultiValue,
) -> mlua::Result<TaskHandle> {
    let thread = coroutine(lua, runtime)?;
    coroutines::give(lua, &thread, (function, caught(runtime)?, arguments))?;
    let task = insert(runtime, thread, TaskKind::Code);
    runtime.make_ready(Ready::Resume(task.key));
    Ok(task)
}

/// What is called with the error of a task that nothing in it has caught.
pub(crate) fn caught(runtime: &Runtime) -> mlua::Result<Value> {
    match &*runtime.body.borrow() {
        Some(body) => Ok(Value::Function(body.caught.clone())),
        None => Err(mlua::Error::runtime("the program is over")),
    }
}

/// Ends a task where it stands: what it waited for is cancelled, and its to-be-closed variables are closed.
pub(crate) fn kill(runtime: &Rc<Runtime>, key: TaskKey) {
    let task = runtime.tasks.borrow_mut().remove(key);
    let Some(task) = task else { return };
    if let Some(awaited) = &task.awaits {
        awaited.cancel(runtime);
    }
    // One that runs is closed when it has stopped.
    task.thread.into_iter().for_each(|thread| runtime.make_ready(Ready::Close(thread)));
    let operation = format!("task {}", key.number());
    task.ending.settle(runtime, Err(OperationError::stopped(ErrorKind::Killed, operation, "").into()));
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
    let define_close_coroutine =
        |lua: &Lua, close: Function| lua.set_named_registry_value("corella.close_coroutine", close);
    raw.set("define_close_coroutine", lua.create_function(define_close_coroutine)?)?;
    let shared = Rc::clone(runtime);
    let define_body = move |_: &Lua, (protected, caught): (Function, Function)| {
        shared.body.replace(Some(Body { protected, caught }));
        Ok(())
    };
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
