//! Tracebacks, without the frames that are the host's own.

use mlua::{Lua, LuaString, Value};

/// How frames of the Lua side of the host begin.
const OWN_FRAME: &str = "\t[corella]:";
/// How every task begins.
const FIRST_FRAME: &str = "\t[C]: in function 'xpcall'";

/// An error as a reader sees it.
fn message_of(value: &Value) -> mlua::Result<String> {
    match value {
        Value::String(text) => Ok(text.to_string_lossy()),
        Value::Integer(_) | Value::Number(_) | Value::UserData(_) | Value::Error(_) => value.to_string(),
        Value::Table(table)
            if table.metatable().is_some_and(|meta| meta.contains_key("__tostring").unwrap_or(false)) =>
        {
            value.to_string()
        }
        other => Ok(format!("(error object is a {} value)", other.type_name())),
    }
}

fn without_own_frames(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(OWN_FRAME)).collect();
    if lines.last() == Some(&FIRST_FRAME) {
        lines.pop();
    }
    lines.join("\n")
}

/// For the handler of an error that nobody caught: its message and where it was raised.
pub(crate) fn of_error(lua: &Lua, value: Value) -> mlua::Result<String> {
    let message = message_of(&value)?;
    // This function and the handler are not worth a line.
    let frames = lua.traceback(None, 2)?;
    let frames = without_own_frames(&frames.to_string_lossy());
    Ok(format!("{message}\n{frames}"))
}

/// `debug.traceback`.
pub(crate) fn plain(lua: &Lua, (value, level): (Value, Option<usize>)) -> mlua::Result<Value> {
    let message = match &value {
        Value::Nil => None,
        Value::String(text) => Some(text.to_string_lossy()),
        _ => return Ok(value),
    };
    let text: LuaString = lua.traceback(message.as_deref(), level.unwrap_or(1))?;
    let text = without_own_frames(&text.to_string_lossy());
    Ok(Value::String(lua.create_string(text)?))
}
