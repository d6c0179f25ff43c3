//! How Rust functions become Lua's: operations in their three forms (waiting, a callback, a Status to ask), and calls
//! that finish at once.

use std::rc::Rc;

use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::failure::{Failure, OperationError};
use crate::request::{Callback, Listener, Request};
use crate::runtime::Runtime;
use crate::shortest::Awaited;
use crate::status::Status;

/// Adds an operation to `table` under `name`. `submit` takes the arguments and starts the request.
///
/// The Lua side calls it with whether the caller can be suspended. It gets true and what to return, false and what to
/// raise, nothing and a text that says what is wrong with the call, or nothing at all: then the task is to be suspended,
/// and is resumed with one of the first two.
pub(crate) fn verb<F>(lua: &Lua, table: &Table, name: &'static str, submit: F) -> mlua::Result<()>
where
    F: Fn(&Lua, &mut Arguments) -> Result<Rc<Request>, String> + 'static,
{
    verb_with_own(lua, table, name, 0, submit)
}

/// The same, for an operation whose first `own` arguments are never its options or callback, whatever they are.
pub(crate) fn verb_with_own<F>(lua: &Lua, table: &Table, name: &'static str, own: usize, submit: F) -> mlua::Result<()>
where
    F: Fn(&Lua, &mut Arguments) -> Result<Rc<Request>, String> + 'static,
{
    let function = lua.create_function(move |lua, (can_wait, values): (bool, MultiValue)| {
        match call(lua, name, own, can_wait, values, &submit) {
            Ok((request, false, _)) if request.is_settled() => request.given(lua),
            // The task that waits for it gets what comes of it when it is resumed.
            Ok((request, false, _)) => {
                request.runtime().begun.set(Some(Awaited::Given(Rc::clone(&request))));
                Ok(MultiValue::new())
            }
            Ok((request, true, callback)) => {
                let status = lua.create_userdata(Status(Rc::clone(&request)))?;
                request.share();
                request.locate(lua);
                if let Some(callback) = callback {
                    let callback = Callback::new(request.runtime(), callback, status.clone());
                    request.listen(Listener::Callback(callback));
                }
                (true, status).into_lua_multi(lua)
            }
            Err(problem) => (Value::Nil, problem).into_lua_multi(lua),
        }
    })?;
    table.set(name, function)
}

/// The request, whether its Status is returned at once, and the callback.
type Called = (Rc<Request>, bool, Option<mlua::Function>);
/// Starts a request, or says what is wrong with the call.
type Submit<'a> = &'a dyn Fn(&Lua, &mut Arguments) -> Result<Rc<Request>, String>;

fn call(
    lua: &Lua,
    name: &'static str,
    own: usize,
    can_wait: bool,
    values: MultiValue,
    submit: Submit<'_>,
) -> Result<Called, String> {
    let mut arguments = Arguments::new(name, values, own)?;
    let is_async = arguments.is_async();
    if !is_async && !can_wait {
        return Err(cannot_wait(name));
    }
    if arguments.callback.is_some()
        && let Some(runtime) = lua.app_data_ref::<Rc<Runtime>>()
    {
        runtime.room(name)?;
    }
    let request = submit(lua, &mut arguments)?;
    Ok((request, is_async, arguments.callback.take()))
}

/// Why a call that would have to wait is refused.
pub(crate) fn cannot_wait(name: &str) -> String {
    format!(
        "cannot wait here: '{name}' was called where Lua cannot suspend its caller (a table.sort comparator, a \
         string.gsub replacement, a metamethod called from C, __gc); give it a callback as last argument"
    )
}

/// What is wrong with a call that finishes at once.
pub(crate) enum Problem {
    /// The call itself is wrong; the Lua side adds where it is.
    Text(String),
    Failure(Failure),
}

impl From<String> for Problem {
    fn from(text: String) -> Problem {
        Problem::Text(text)
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Problem {
        Problem::Failure(error.into())
    }
}

impl From<corella::Error> for Problem {
    fn from(error: corella::Error) -> Problem {
        Problem::Failure(error.into())
    }
}

impl From<mlua::Error> for Problem {
    fn from(error: mlua::Error) -> Problem {
        Problem::Text(error.to_string())
    }
}

/// Adds a call that finishes at once to `table` under `name`. The Lua side gets what is wrong, or false and the
/// results.
pub(crate) fn direct<R, F>(lua: &Lua, table: &Table, name: &'static str, call: F) -> mlua::Result<()>
where
    R: IntoLuaMulti,
    F: Fn(&Lua, &mut Arguments) -> Result<R, Problem> + 'static,
{
    let function =
        lua.create_function(move |lua, values: MultiValue| match call(lua, &mut Arguments::plain(name, values)) {
            Ok(results) => {
                let mut results = results.into_lua_multi(lua)?;
                results.push_front(Value::Boolean(false));
                Ok(results)
            }
            Err(Problem::Text(text)) => text.into_lua_multi(lua),
            Err(Problem::Failure(failure)) => failure.into_value(lua)?.into_lua(lua)?.into_lua_multi(lua),
        })?;
    table.set(name, function)
}
