//! Sessions: a prompt on another thread whose lines run here, one after the other, while everything else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use corella::Remote;
use mlua::chunk::ChunkMode;
use mlua::{AnyUserData, Error, Function, Lua, MultiValue, Table, Value};

use crate::failure::Failure;
use crate::file_handle::FileHandle;
use crate::host::Host;
use crate::socket::Socket;
use crate::status::Status;
use crate::tasks::{self, TaskHandle};

/// What errors call a line that was entered.
const CHUNK_NAME: &str = "=prompt";
/// The words of Lua that a line may begin with or go on with.
const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has run, and what it gave is printed or its error reported.
    Done,
    /// It is the beginning of something.
    Incomplete,
}

enum Asked {
    Run { text: String, is_whole: bool, reply: Sender<Answer> },
    Complete { path: String, reply: Sender<Vec<String>> },
    End,
}

/// The prompt's side of a session; for another thread than the host's.
#[derive(Clone, Debug)]
pub struct Prompt {
    asked: Sender<Asked>,
    remote: Option<Remote>,
    interrupted: Arc<AtomicBool>,
}

/// The host's side of a session.
#[derive(Debug)]
pub struct Service {
    asked: Receiver<Asked>,
    interrupted: Arc<AtomicBool>,
}

impl Prompt {
    /// Runs a line, and waits for its end; nothing once the session is over. Until it is a whole one, the prompt may add
    /// to it and try again.
    pub fn run(&self, text: &str) -> Option<Answer> {
        self.ask_to_run(text, false)
    }

    /// Runs what there is, whole or not.
    pub fn run_as_it_is(&self, text: &str) -> Option<Answer> {
        self.ask_to_run(text, true)
    }

    fn ask_to_run(&self, text: &str, is_whole: bool) -> Option<Answer> {
        let (reply, answer) = channel();
        self.ask(Asked::Run { text: text.into(), is_whole, reply });
        answer.recv().ok()
    }

    /// The names that the last part of `path`, as `Scheduler.sl` or `file:re`, may stand for.
    pub fn complete(&self, path: &str) -> Vec<String> {
        let (reply, names) = channel();
        self.ask(Asked::Complete { path: path.into(), reply });
        names.recv().unwrap_or_default()
    }

    /// Ends the task of the line that is running. When the last time had no effect yet, as with a line that never waits,
    /// it ends the process.
    pub fn interrupt(&self) {
        if self.interrupted.swap(true, Ordering::AcqRel) {
            std::process::exit(128 + 2);
        }
        self.wake();
    }

    /// Ends the session: what is in flight is cancelled, what was written goes out.
    pub fn end(&self) {
        self.ask(Asked::End);
    }

    fn ask(&self, asked: Asked) {
        // A session that is over answers nobody.
        let _ = self.asked.send(asked);
        self.wake();
    }

    fn wake(&self) {
        self.remote.iter().for_each(|remote| {
            remote.wake();
        });
    }
}

/// A line that is running, and who waits for its end.
type Running = Option<(TaskHandle, Sender<Answer>)>;

impl Host {
    /// The two sides of a session: a prompt for another thread, and what [`serve`](Host::serve) takes.
    ///
    /// ```
    /// let mut host = corella_lua::Host::new()?;
    /// let (prompt, service) = host.prompt();
    /// let user = std::thread::spawn(move || {
    ///     assert_eq!(prompt.run("if true then"), Some(corella_lua::Answer::Incomplete));
    ///     assert_eq!(prompt.run("answer = 6 * 7"), Some(corella_lua::Answer::Done));
    ///     assert_eq!(prompt.complete("ans"), ["answer"]);
    ///     assert_eq!(prompt.run("os.exit(answer)"), None);
    /// });
    /// assert_eq!(host.serve(service), 42);
    /// user.join().unwrap();
    /// # Ok::<(), corella_lua::StartError>(())
    /// ```
    pub fn prompt(&mut self) -> (Prompt, Service) {
        let (sender, asked) = channel();
        let interrupted = Arc::new(AtomicBool::new(false));
        let prompt = Prompt { asked: sender, remote: self.runtime.remote(), interrupted: Arc::clone(&interrupted) };
        (prompt, Service { asked, interrupted })
    }

    /// Runs what the prompt asks for, and everything else meanwhile, until the prompt or `os.exit` ends it. Gives the exit
    /// code.
    pub fn serve(&mut self, service: Service) -> i32 {
        let Some(lua) = self.lua.clone() else { return 1 };
        let mut running: Running = None;
        loop {
            self.run_some(&lua);
            if self.runtime.is_exiting() {
                break;
            }
            if service.interrupted.swap(false, Ordering::AcqRel)
                && let Some((task, _)) = &running
            {
                tasks::kill(&self.runtime, task.key);
            }
            self.answer_when_done(&mut running);
            if running.is_none() && !self.take_in(&lua, &service, &mut running) {
                break;
            }
            if let Err(error) = self.turn_once(&lua) {
                self.runtime.report(error.to_string());
                break;
            }
        }
        drop(running);
        drop(service);
        drop(lua);
        self.runtime.cut_short();
        self.end();
        self.runtime.exit_code.get().unwrap_or(0)
    }

    /// Answers the prompt once the line has ended and what it printed is out.
    fn answer_when_done(&self, running: &mut Running) {
        let Some((task, _)) = running else { return };
        let Some(has_failed) = task.ending.has_failed() else { return };
        if has_failed && let Some(failure) = task.ending.failure() {
            task.ending.look();
            let text = match &failure {
                Failure::Operation(error) if failure.is_unwanted() && error.is_of_task() => "interrupted".into(),
                failure => failure.report(),
            };
            self.runtime.report(text);
        }
        // It is told once.
        let Some((_, reply)) = running.take() else { return };
        self.runtime.flush_output_and_then(move || {
            // A prompt that is gone needs no answer.
            let _ = reply.send(Answer::Done);
        });
    }

    /// Takes what the prompt has asked for; false at its end.
    fn take_in(&self, lua: &Lua, service: &Service, running: &mut Running) -> bool {
        loop {
            match service.asked.try_recv() {
                Ok(Asked::Run { text, is_whole, reply }) => match self.start_line(lua, &text, is_whole) {
                    Ok(Some(task)) => {
                        service.interrupted.store(false, Ordering::Release);
                        *running = Some((task, reply));
                        return true;
                    }
                    Ok(None) => {
                        let _ = reply.send(Answer::Incomplete);
                    }
                    Err(problem) => {
                        self.runtime.report(problem);
                        self.runtime.write_reports();
                        let _ = reply.send(Answer::Done);
                    }
                },
                Ok(Asked::Complete { path, reply }) => {
                    let _ = reply.send(completions(lua, &path).unwrap_or_default());
                }
                Ok(Asked::End) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Starts a line as a task; nothing if it is not whole.
    fn start_line(&self, lua: &Lua, text: &str, is_whole: bool) -> Result<Option<TaskHandle>, String> {
        let load = |text: String| lua.load(text).set_name(CHUNK_NAME).set_mode(ChunkMode::Text).into_function();
        let function = match load(format!("return {text}")).or_else(|_| load(text.into())) {
            Ok(function) => function,
            Err(Error::SyntaxError { incomplete_input: true, .. }) if !is_whole => return Ok(None),
            Err(Error::SyntaxError { message, .. }) => return Err(message),
            Err(error) => return Err(error.to_string()),
        };
        let start = |evaluate: Function| {
            let arguments = MultiValue::from_vec(vec![Value::Function(function)]);
            tasks::spawn(lua, &self.runtime, evaluate, arguments)
        };
        let task = lua.named_registry_value("corella.evaluate").and_then(start);
        task.map(Some).map_err(|error| error.to_string())
    }
}

/// Names that may stand at the end of a path.
fn completions(lua: &Lua, path: &str) -> mlua::Result<Vec<String>> {
    let mut parts: Vec<&str> = path.split(['.', ':']).collect();
    let Some(beginning) = parts.pop() else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    if parts.is_empty() {
        names.extend(KEYWORDS.iter().filter(|word| word.starts_with(beginning)).map(ToString::to_string));
    }
    let mut value = Value::Table(lua.globals());
    for part in parts {
        value = field(lua, &value, part)?;
    }
    for table in tables_of(lua, &value)? {
        for pair in table.pairs::<Value, Value>() {
            if let (Value::String(key), _) = pair?
                && let Ok(key) = key.to_str()
                && key.starts_with(beginning)
            {
                names.push(key.to_string());
            }
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn field(lua: &Lua, value: &Value, name: &str) -> mlua::Result<Value> {
    for table in tables_of(lua, value)? {
        let found = table.raw_get::<Value>(name)?;
        if !found.is_nil() {
            return Ok(found);
        }
    }
    Ok(Value::Nil)
}

/// Where the fields and methods of a value are, without a call of anything of the script's.
fn tables_of(lua: &Lua, value: &Value) -> mlua::Result<Vec<Table>> {
    let index_of = |table: &Table| match table.metatable().map(|meta| meta.raw_get::<Value>("__index")) {
        Some(Ok(Value::Table(index))) => Some(index),
        _ => None,
    };
    Ok(match value {
        Value::Table(table) => std::iter::once(table.clone()).chain(index_of(table)).collect(),
        Value::String(_) => lua.globals().raw_get::<Option<Table>>("string")?.into_iter().collect(),
        Value::UserData(object) => match class_of(object) {
            Some(class) => vec![lua.named_registry_value(&format!("corella.{class}"))?],
            None => Vec::new(),
        },
        _ => Vec::new(),
    })
}

fn class_of(object: &AnyUserData) -> Option<&'static str> {
    match () {
        () if object.is::<FileHandle>() => Some("FileHandle"),
        () if object.is::<Socket>() => Some("Socket"),
        () if object.is::<Status>() => Some("Status"),
        () if object.is::<TaskHandle>() => Some("Task"),
        () if object.is::<crate::channel::Channel>() => Some("Channel"),
        () if object.is::<crate::directory::Directory>() => Some("Directory"),
        () => None,
    }
}
