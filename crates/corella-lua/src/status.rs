//! Status: what the asynchronous forms return, to be asked, waited for, cancelled, or given more callbacks.

use std::rc::Rc;
use std::time::Duration;

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::request::{Listener, Request};
use crate::runtime::Runtime;

/// What a script holds of a request.
pub(crate) struct Status(pub(crate) Rc<Request>);

impl UserData for Status {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field("__name", "Status");
        fields.add_meta_field_with("__index", |lua| lua.named_registry_value::<Table>("corella.Status"));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            Ok(match this.0.failure() {
                Some(failure) => format!("Status (failed: {})", failure.report()),
                None if this.0.is_settled() => "Status (done)".into(),
                None => "Status (running)".into(),
            })
        });
    }
}

fn request_of(value: &Value) -> mlua::Result<Rc<Request>> {
    match value {
        Value::UserData(object) if object.is::<Status>() => Ok(Rc::clone(&object.borrow::<Status>()?.0)),
        _ => Err(mlua::Error::runtime("a Status is expected: call it as a method, with a colon")),
    }
}

/// How a request stands, after a look at what has come in meanwhile: a loop that asks a Status gets to its end.
fn progress(runtime: &Runtime, request: &Request) -> Option<bool> {
    if !request.is_settled()
        && let Err(error) = runtime.turn(Duration::ZERO)
    {
        runtime.report(error.to_string());
    }
    request.has_failed()
}

/// `nil` while it runs, `true` and what it gave, or `false` and why it failed.
fn take(lua: &Lua, request: &Request) -> mlua::Result<MultiValue> {
    request.look();
    match request.failure() {
        Some(failure) => (false, failure.into_value(lua)?).into_lua_multi(lua),
        None if request.is_settled() => {
            let mut values = request.values(lua)?;
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        None => Ok(MultiValue::new()),
    }
}

/// Adds the functions behind Status's methods to `direct`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, direct: &Table) -> mlua::Result<()> {
    direct.set("take", lua.create_function(|lua, status: Value| take(lua, &*request_of(&status)?))?)?;
    let shared = Rc::clone(runtime);
    let get_integer = move |_: &Lua, status: Value| {
        let request = request_of(&status)?;
        let integer = match progress(&shared, &request) {
            None => 0,
            Some(false) => 1,
            Some(true) => -1,
        };
        if integer != 0 {
            request.look();
        }
        Ok(integer)
    };
    direct.set("get_integer", lua.create_function(get_integer)?)?;
    let shared = Rc::clone(runtime);
    let get_bool = move |_: &Lua, status: Value| {
        let request = request_of(&status)?;
        let has_failed = progress(&shared, &request);
        if has_failed.is_some() {
            request.look();
        }
        Ok(has_failed != Some(true))
    };
    direct.set("get_bool", lua.create_function(get_bool)?)?;
    let cancel = |_: &Lua, status: Value| {
        request_of(&status)?.cancel();
        Ok(())
    };
    direct.set("cancel", lua.create_function(cancel)?)?;
    let on = |_: &Lua, (status, callback, only_errors): (AnyUserData, Function, bool)| {
        let request = request_of(&Value::UserData(status.clone()))?;
        request.listen(match only_errors {
            true => Listener::OnError(callback, status),
            false => Listener::Callback(callback, status),
        });
        Ok(())
    };
    direct.set("on", lua.create_function(on)?)?;
    let share = |_: &Lua, status: Value| {
        request_of(&status)?.share();
        Ok(())
    };
    direct.set("share", lua.create_function(share)?)
}
