//! A race: the first of several to settle wins, and the others are stopped.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::failure::OperationError;
use crate::request::{Class, Outcome, Request, Stop};
use crate::runtime::Runtime;
use crate::status::Status;
use crate::tasks::{self, TaskHandle, TaskKey};

/// One of those that run.
#[derive(Clone)]
struct Contender {
    request: Rc<Request>,
    /// It is a task.
    task: Option<TaskKey>,
}

impl Contender {
    fn stop(&self, runtime: &Rc<Runtime>) {
        match self.task {
            Some(key) => tasks::kill(runtime, key),
            None => self.request.cancel(),
        }
    }
}

/// What may run in a race.
enum Given {
    Function(Function),
    Running(Contender),
}

fn given(runtime: &Rc<Runtime>, value: Value) -> Result<Given, String> {
    let running = |request: &Rc<Request>, task| Given::Running(Contender { request: Rc::clone(request), task });
    match value {
        Value::Function(function) => Ok(Given::Function(function)),
        Value::UserData(object) => match (object.borrow::<TaskHandle>(), object.borrow::<Status>()) {
            (Ok(task), _) if runtime.current.get() == Some(task.key) => {
                Err("a task cannot wait for its own end".into())
            }
            (Ok(task), _) => Ok(running(task.ending(runtime), Some(task.key))),
            (_, Ok(status)) => Ok(running(&status.0, None)),
            _ => Err("a function, a Task or a Status is expected".into()),
        },
        _ => Err("a function, a Task or a Status is expected".into()),
    }
}

/// `Scheduler.race({ … })`: gives the place of the winner in the list and what it gave, or raises its error.
pub(crate) fn race(lua: &Lua, runtime: &Rc<Runtime>, arguments: &mut Arguments) -> Result<Rc<Request>, String> {
    let Value::Table(list) = arguments.any() else {
        return Err(arguments.wrong("contenders", "a list of functions, Tasks and Statuses is expected"));
    };
    let contenders = contenders_of(lua, runtime, &list, arguments)?;
    let request = Request::new(runtime, Class::Internal);
    let stop_all = {
        let (shared, contenders) = (Rc::clone(runtime), contenders.clone());
        move || contenders.iter().for_each(|contender| contender.stop(&shared))
    };
    let (stopped, stop) = (Rc::downgrade(&request), stop_all.clone());
    request.set_stop(Stop::Call(Box::new(move || {
        if let Some(request) = stopped.upgrade() {
            let error = OperationError::stopped(corella::ErrorKind::Cancelled, "race", "");
            request.settle(Err(error.into()));
        }
        stop();
    })));
    for (place, contender) in contenders.iter().enumerate() {
        let (race, winner, stop) = (Rc::downgrade(&request), Rc::downgrade(&contender.request), stop_all.clone());
        contender.request.on_end(move |failure| {
            let (Some(race), Some(winner)) = (race.upgrade(), winner.upgrade()) else { return };
            if race.is_settled() {
                return;
            }
            race.settle(match failure {
                Some(failure) => Err(failure),
                None => Ok(Outcome::Winner(place + 1, winner)),
            });
            stop();
        });
    }
    request.limit(arguments.options.deadline, "race", stop_all);
    Ok(request)
}

fn contenders_of(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    list: &Table,
    arguments: &Arguments,
) -> Result<Vec<Contender>, String> {
    let mut all = Vec::new();
    for value in list.sequence_values::<Value>() {
        let one = value.map_err(|error| error.to_string()).and_then(|value| given(runtime, value));
        all.push(one.map_err(|why| arguments.wrong(&format!("contender {}", all.len() + 1), &why))?);
    }
    if all.is_empty() {
        return Err(arguments.wrong("contenders", "there are none"));
    }
    // Nothing begins before all are known to be right.
    let start = |one| match one {
        Given::Running(contender) => Ok(contender),
        Given::Function(function) => {
            let task = tasks::spawn(lua, runtime, function, MultiValue::new()).map_err(|error| error.to_string())?;
            Ok(Contender { request: Rc::clone(task.ending(runtime)), task: Some(task.key) })
        }
    };
    all.into_iter().map(start).collect()
}
