//! Status: what the asynchronous forms return, to be asked, waited for, cancelled, or given more callbacks.

use std::rc::Rc;
use std::time::Duration;

use mlua::{AnyUserData, Lua, MultiValue, Table, UserData, UserDataFields, UserDataMethods};

use crate::arguments::Arguments;
use crate::request::{Callback, Listener, Request};
use crate::runtime::Runtime;
use crate::verb::{Problem, direct};

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

fn request_of(arguments: &mut Arguments) -> Result<(AnyUserData, Rc<Request>), Problem> {
    let status = arguments.object::<Status>("Status")?;
    let request = Rc::clone(&status.borrow::<Status>()?.0);
    Ok((status, request))
}

/// How a request stands, after a look at what has come in meanwhile: a loop that asks a Status gets to its end.
fn asked(runtime: &Runtime, request: &Request) -> Option<bool> {
    if !request.is_settled() {
        if let Err(error) = runtime.turn(Duration::ZERO) {
            runtime.report(error.to_string());
        }
        runtime.settle_transfers();
    }
    let has_failed = request.has_failed();
    if has_failed.is_some() {
        request.look();
    }
    has_failed
}

/// `nil` while it runs, `true` and what it gave, or `false` and why it failed.
fn take(lua: &Lua, status: AnyUserData) -> mlua::Result<MultiValue> {
    let request = Rc::clone(&status.borrow::<Status>()?.0);
    match request.is_settled() {
        true => request.given(lua),
        false => Ok(MultiValue::new()),
    }
}

/// The call behind the Lua side's waiting: it always gets a Status.
pub(crate) fn install_take(lua: &Lua, raw: &Table) -> mlua::Result<()> {
    raw.set("take", lua.create_function(take)?)
}

/// Adds Status's methods that finish at once to `methods`.
pub(crate) fn install(lua: &Lua, runtime: &Rc<Runtime>, methods: &Table) -> mlua::Result<()> {
    let shared = Rc::clone(runtime);
    direct(lua, methods, "get_integer", move |_, arguments| {
        let (_, request) = request_of(arguments)?;
        Ok(match asked(&shared, &request) {
            None => 0,
            Some(false) => 1,
            Some(true) => -1,
        })
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "get_bool", move |_, arguments| {
        let (_, request) = request_of(arguments)?;
        Ok(asked(&shared, &request) != Some(true))
    })?;
    // The Lua side does the waiting.
    direct(lua, methods, "wait", |_, arguments| {
        request_of(arguments)?;
        Ok(())
    })?;
    direct(lua, methods, "result", |lua, arguments| {
        let (_, request) = request_of(arguments)?;
        request.look();
        match request.failure() {
            Some(failure) => Err(Problem::Failure(failure)),
            None if request.is_settled() => Ok(request.values(lua)?),
            None => Err(Problem::Text("result: the request is still running; wait() for it".into())),
        }
    })?;
    direct(lua, methods, "error", |lua, arguments| {
        let (_, request) = request_of(arguments)?;
        request.look();
        Ok(request.failure().map(|failure| failure.into_value(lua)).transpose()?)
    })?;
    direct(lua, methods, "throw", |_, arguments| {
        let (_, request) = request_of(arguments)?;
        request.look();
        request.failure().map_or(Ok(()), |failure| Err(Problem::Failure(failure)))
    })?;
    direct(lua, methods, "cancel", |_, arguments| {
        request_of(arguments)?.1.cancel();
        Ok(())
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "on", move |_, arguments| {
        let (status, request) = request_of(arguments)?;
        let function = arguments.function("callback")?;
        shared.room("on")?;
        request.listen(Listener::Callback(Callback::new(&shared, function, status.clone())));
        Ok(status)
    })?;
    let shared = Rc::clone(runtime);
    direct(lua, methods, "on_error", move |_, arguments| {
        let (status, request) = request_of(arguments)?;
        let function = arguments.function("callback")?;
        shared.room("on_error")?;
        request.listen(Listener::OnError(Callback::new(&shared, function, status.clone())));
        Ok(status)
    })
}
