//! Pipes to child processes: what a script says of a program to be started, and what it may ask of it afterwards.

use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;

use corella::{Child, Error};
use mlua::{AnyUserData, IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::arguments::Arguments;
use crate::failure::OperationError;
use crate::file_handle::FileHandle;
use crate::os_text::os_string;
use crate::request::{Class, Outcome, Request};
use crate::stream::{Rights, Stream};
use crate::verb::Problem;
use crate::work::{Life, Work};

/// The signal that asks a program to end (SIGTERM).
const ASK_TO_END: i64 = 15;

/// Which of a child's streams is the handle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Its standard output is read.
    Output,
    /// Its standard input is written to.
    Input,
}

impl Side {
    /// The side that a mode means, if it means any.
    pub(crate) fn of_mode(mode: &str) -> Option<Side> {
        match mode {
            "p" | "rp" => Some(Side::Output),
            "wp" => Some(Side::Input),
            _ => None,
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Side::Output => "p",
            Side::Input => "wp",
        }
    }

    fn rights(self) -> Rights {
        Rights { read: self == Side::Output, write: self == Side::Input, append: false }
    }
}

/// Opens `handle`, whose stream this is, as a pipe to the program that the script has said.
pub(crate) fn open(
    stream: &Rc<Stream>,
    handle: AnyUserData,
    command: Value,
    side: Side,
    arguments: &Arguments,
) -> Result<Rc<Request>, String> {
    let (mut command, name) = match command {
        Value::String(line) => {
            let line = line.as_bytes();
            (shell(&line), String::from_utf8_lossy(&line).into_owned())
        }
        Value::Table(table) => program(&table, side).map_err(|why| arguments.wrong("command", &why))?,
        _ => return Err(arguments.wrong("command", "a string for the shell, or a table of words, is expected")),
    };
    match side {
        Side::Output => command.stdout(Stdio::piped()),
        Side::Input => command.stdin(Stdio::piped()),
    };
    let work = Work::Start { command: Some(Box::new(command)), side, handle };
    Ok(stream.open_as(&name, side.rights(), side.mode(), work, arguments.options.deadline))
}

/// What runs a line of the system's shell.
#[cfg(unix)]
fn shell(line: &[u8]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(os_string(line));
    command
}

/// What runs a line of the system's shell, which takes it as it is.
#[cfg(windows)]
fn shell(line: &[u8]) -> Command {
    use std::os::windows::process::CommandExt;
    let mut command = Command::new("cmd.exe");
    command.args(["/d", "/s", "/c"]).raw_arg("\"").raw_arg(os_string(line)).raw_arg("\"");
    command
}

/// A program with its arguments, and what the named fields say of it.
fn program(table: &Table, side: Side) -> Result<(Command, String), String> {
    let mut words = Vec::new();
    for word in table.sequence_values::<Value>() {
        match word.map_err(|error| error.to_string())? {
            Value::String(word) => words.push(os_string(&word.as_bytes())),
            Value::Integer(number) => words.push(number.to_string().into()),
            other => return Err(format!("word {} is a {}", words.len() + 1, other.type_name())),
        }
    }
    let Some((first, rest)) = words.split_first() else { return Err("there is no program in it".into()) };
    let mut command = Command::new(first);
    command.args(rest);
    for field in table.pairs::<Value, Value>() {
        let (key, value) = field.map_err(|error| error.to_string())?;
        let Some(key) = key.as_string().map(|key| key.to_string_lossy()) else { continue };
        match (key.as_str(), value) {
            ("stdin", _) if side == Side::Input => return Err("stdin is what this handle writes to".into()),
            ("stdout", _) if side == Side::Output => return Err("stdout is what this handle reads".into()),
            ("stdin", value) => drop(command.stdin(standard(&key, &value)?)),
            ("stdout", value) => drop(command.stdout(standard(&key, &value)?)),
            ("stderr", value) => drop(command.stderr(standard(&key, &value)?)),
            ("cwd", Value::String(folder)) => drop(command.current_dir(os_string(&folder.as_bytes()))),
            ("env", Value::Table(variables)) => environment(&mut command, &variables)?,
            ("cwd" | "env", _) => return Err(format!("field {key} is of another type")),
            _ => return Err(format!("there is no field '{key}'; there are stdin, stdout, stderr, cwd and env")),
        }
    }
    Ok((command, first.to_string_lossy().into_owned()))
}

/// A standard stream of the child's: nothing, or what an open handle is.
fn standard(key: &str, value: &Value) -> Result<Stdio, String> {
    match value {
        Value::String(word) if word.as_bytes() == b"null".as_slice() => Ok(Stdio::null()),
        Value::UserData(object) if object.is::<FileHandle>() => {
            let handle = object.borrow::<FileHandle>().map_err(|error| error.to_string())?;
            let file = handle.0.file().ok_or_else(|| format!("{key}: the handle is not open"))?;
            // Where the script is, whatever has been read ahead.
            let place = handle.0.with_buffers(|buffers| buffers.can_seek.then_some(buffers.position));
            let stdio = place.map_or_else(|| file.to_stdio(), |place| file.to_stdio_at(place));
            stdio.map_err(|error| format!("{key}: {error}"))
        }
        _ => Err(format!("{key}: an open FileHandle or \"null\" is expected")),
    }
}

fn environment(command: &mut Command, variables: &Table) -> Result<(), String> {
    for variable in variables.pairs::<mlua::LuaString, Value>() {
        let (name, value) = variable.map_err(|_| "env: names are strings".to_string())?;
        let name = os_string(&name.as_bytes());
        match value {
            Value::String(value) => command.env(name, os_string(&value.as_bytes())),
            Value::Integer(number) => command.env(name, number.to_string()),
            Value::Boolean(false) => command.env_remove(name),
            _ => return Err("env: values are strings, or false to take one away".into()),
        };
    }
    Ok(())
}

#[cfg(unix)]
fn signal_of(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Every process ends with a code here.
#[cfg(windows)]
fn signal_of(_status: ExitStatus) -> Option<i32> {
    None
}

/// The code that a program ended with, or nothing and the number of the signal that ended it.
fn told(lua: &Lua, status: ExitStatus) -> mlua::Result<MultiValue> {
    match status.code() {
        Some(code) => code.into_lua_multi(lua),
        None => (Value::Nil, signal_of(status)).into_lua_multi(lua),
    }
}

impl Stream {
    /// The program has been started, or could not be.
    pub(crate) fn started(self: &Rc<Self>, outcome: Result<Child, Error>) {
        let side = self.with_buffers(|buffers| match buffers.queue.front() {
            Some(entry) => match entry.work {
                Work::Start { side, .. } => Some(side),
                _ => None,
            },
            None => None,
        });
        let opened = outcome.map(|mut child| {
            let file = if side == Some(Side::Input) { child.stdin.take() } else { child.stdout.take() };
            self.state.borrow_mut().child = Some(Rc::new(child));
            file
        });
        match opened.transpose() {
            Some(opened) => self.opened(opened),
            None => unreachable!("the pipe was asked for"),
        }
    }

    fn child(&self, operation: &str) -> Result<Rc<Child>, OperationError> {
        let state = self.state.borrow();
        let why = match (&state.child, state.buffers.life) {
            (Some(child), _) => return Ok(Rc::clone(child)),
            (None, Life::New) => "the handle is not open",
            (None, _) => "it is not a pipe to a program",
        };
        Err(OperationError::invalid(operation, &*state.buffers.name, why))
    }

    /// Waits until the program has ended.
    pub(crate) fn exit_status(self: &Rc<Self>, lua: &Lua, arguments: &Arguments) -> Rc<Request> {
        match self.child("exit_status") {
            Ok(child) => {
                let (lua, operation) = (lua.clone(), child.exit_status());
                self.runtime.begin(Class::Counted, arguments.options.deadline, operation, move |outcome| {
                    // It was kept until now, as its end would have been nobody's otherwise.
                    drop(child);
                    let values = told(&lua, outcome?);
                    Ok(Outcome::Values(values.unwrap_or_default()))
                })
            }
            Err(error) => Request::settled(&self.runtime, Err(error.into())),
        }
    }

    /// Sends the program a signal.
    pub(crate) fn kill(&self, arguments: &mut Arguments) -> Result<(), Problem> {
        let number = arguments.optional_integer("signal")?.unwrap_or(ASK_TO_END);
        let Ok(number) = i32::try_from(number) else {
            return Err(arguments.wrong("signal", "the number of a signal is expected").into());
        };
        let child = self.child("kill")?;
        #[cfg(unix)]
        return Ok(child.signal(number)?);
        // There is one way to end a program here, whatever the number.
        #[cfg(windows)]
        let _ = number;
        #[cfg(windows)]
        return Ok(child.kill()?);
    }

    /// The number of the program's process.
    pub(crate) fn process_id(&self) -> Result<u32, Problem> {
        Ok(self.child("pid")?.id())
    }
}
