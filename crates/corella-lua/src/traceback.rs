//! Tracebacks, without the frames that are the host's own.

use mlua::{Lua, LuaString, Value};

/// How frames of the Lua side of the host begin.
const OWN_FRAME: &str = "\t[corella]:";
/// What an error is raised with.
const ERROR_FRAME: &str = "\t[C]: in function 'error'";
/// Follows a frame of the host's that it left for good.
const TAIL_CALLS: &str = "\t(...tail calls...)";
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

/// Leaves out the frames of the host, and of what raises an error.
fn without_own_frames(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    let mut is_after_own = false;
    for line in text.lines() {
        let is_own = line.starts_with(OWN_FRAME) || line == ERROR_FRAME;
        if !(is_own || is_after_own && line == TAIL_CALLS) {
            lines.push(line);
        }
        is_after_own = is_own;
    }
    if lines.last() == Some(&FIRST_FRAME) {
        lines.pop();
    }
    lines.join("\n")
}

/// The place of the first frame of a traceback that is a script's, as `script.lua:3`.
fn first_place(frames: &str) -> Option<&str> {
    let frame = frames.lines().skip(1).map(str::trim_start).find(|frame| !frame.starts_with('['))?;
    frame.split_once(": in ").map(|(place, _)| place)
}

/// For the handler of an error that nobody caught: its message and where it was raised.
pub(crate) fn of_error(lua: &Lua, value: Value) -> mlua::Result<String> {
    let message = message_of(&value)?;
    // This function and the handler are not worth a line.
    let frames = lua.traceback(None, 2)?;
    let frames = without_own_frames(&frames.to_string_lossy());
    // A text has its place already.
    match (&value, first_place(&frames)) {
        (Value::UserData(_), Some(place)) => Ok(format!("{place}: {message}\n{frames}")),
        _ => Ok(format!("{message}\n{frames}")),
    }
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
