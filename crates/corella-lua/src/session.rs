//! Sessions: a prompt on another thread whose lines run here, one after the other, while everything else goes on.

use mlua::chunk::ChunkMode;
use mlua::{AnyUserData, Error, Function, Lua, MultiValue, Table, Value};

use crate::failure::Failure;
use crate::file_handle::FileHandle;
use crate::host::{self, Host};
use crate::prompt::{self, Answer, Line, Lines, Prompt, Service};
use crate::socket::Socket;
use crate::status::Status;
use crate::sync::Sender;
use crate::tasks::{self, TaskHandle};

/// What errors call a line that was entered.
const CHUNK_NAME: &str = "=prompt";
/// The words of Lua that a line may begin with or go on with.
const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// A line that is running, and who waits for its end.
type Running = Option<(TaskHandle, Sender<Answer>)>;

/// The lines of a host's session: at most one runs at a time.
struct Session<'a> {
    host: &'a mut Host,
    lua: &'a Lua,
    running: Running,
}

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
        prompt::session(self.runtime.remote())
    }

    /// Runs what the prompt asks for, and everything else meanwhile, until the prompt or `os.exit` ends it. Gives the exit
    /// code.
    pub fn serve(&mut self, mut service: Service) -> i32 {
        let Some(lua) = self.lua.clone() else { return 1 };
        if let Err(error) = host::look_for_modules_beside(&lua, "") {
            self.runtime.report_script_error(&error.to_string());
        }
        let mut session = Session { host: self, lua: &lua, running: None };
        loop {
            session.host.run_some(&lua);
            if session.host.runtime.is_exiting() {
                break;
            }
            session.answer_when_done();
            if !service.attend(&mut session) {
                break;
            }
            if let Err(error) = session.host.turn_once(&lua) {
                session.host.runtime.report(error.to_string());
                break;
            }
        }
        drop(session);
        drop(service);
        drop(lua);
        self.runtime.cut_short();
        self.end();
        self.runtime.exit_code.get().unwrap_or(0)
    }
}

impl Session<'_> {
    /// Answers the prompt once the line has ended and what it printed is out.
    fn answer_when_done(&mut self) {
        let Some((task, _)) = &self.running else { return };
        let Some(has_failed) = task.ending(&self.host.runtime).has_failed() else { return };
        if has_failed && let Some(failure) = task.ending(&self.host.runtime).failure() {
            task.ending(&self.host.runtime).look();
            let text = match &failure {
                Failure::Operation(error) if failure.is_unwanted() && error.is_of_task() => "interrupted".into(),
                failure => failure.report(),
            };
            self.host.runtime.report(text);
        }
        // It is told once.
        let Some((_, reply)) = self.running.take() else { return };
        self.host.runtime.flush_output_and_then(move || {
            // A prompt that is gone needs no answer.
            let _ = reply.send(Answer::Done);
        });
    }

    /// Starts a line as a task; nothing if it is not whole.
    fn start(&self, text: &str, is_whole: bool) -> Result<Option<TaskHandle>, String> {
        let lua = self.lua;
        let load = |text: String| lua.load(text).set_name(CHUNK_NAME).set_mode(ChunkMode::Text).into_function();
        let function = match load(format!("return {text}")).or_else(|_| load(text.into())) {
            Ok(function) => function,
            Err(Error::SyntaxError { incomplete_input: true, .. }) if !is_whole => return Ok(None),
            Err(Error::SyntaxError { message, .. }) => return Err(message),
            Err(error) => return Err(error.to_string()),
        };
        let start = |evaluate: Function| {
            let arguments = MultiValue::from_vec(vec![Value::Function(function)]);
            tasks::spawn(lua, &self.host.runtime, evaluate, arguments)
        };
        let task = lua.named_registry_value("corella.evaluate").and_then(start);
        task.map(Some).map_err(|error| error.to_string())
    }
}

impl Lines for Session<'_> {
    fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn begin(&mut self, line: Line) {
        let Line { text, is_whole, reply } = line;
        match self.start(&text, is_whole) {
            Ok(Some(task)) => self.running = Some((task, reply)),
            Ok(None) => drop(reply.send(Answer::Incomplete)),
            Err(problem) => {
                self.host.runtime.report(problem);
                self.host.runtime.write_reports();
                // A prompt that is gone needs no answer.
                let _ = reply.send(Answer::Done);
            }
        }
    }

    fn complete(&mut self, path: &str) -> Vec<String> {
        completions(self.lua, path).unwrap_or_default()
    }

    fn kill(&mut self) {
        if let Some((task, _)) = &self.running {
            tasks::kill(&self.host.runtime, task.key);
        }
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
