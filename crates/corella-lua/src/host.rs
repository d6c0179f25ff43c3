//! The host: a Lua state whose main program, tasks and callbacks are coroutines, driven from here.
//!
//! Lua runs outside the scheduler's turns only. A turn settles requests; those put tasks and callbacks among what is
//! ready, and when the turn is over the host resumes them.

use std::ffi::OsString;
use std::rc::Rc;
use std::time::Duration;

use corella::{Scheduler, SchedulerBuilder};
use mlua::chunk::ChunkMode;
use mlua::state::{GcIncParams, GcMode};
use mlua::{LightUserData, Lua, MultiValue, Table, Value};

use crate::interruption::Interrupter;
use crate::os_text::bytes_of;
use crate::runtime::{Ready, Reporter, Runtime};
use crate::tasks::{self, TaskHandle};

/// A collection begins when the heap has grown to this much of what the last one left, and runs at this speed.
const GC_PAUSE_PERCENT: i32 = 175;
const GC_SPEED_PERCENT: i32 = 200;
/// Requests at once.
const QUEUE_DEPTH: usize = 1 << 20;

/// A Lua 5.4 state on a Corella scheduler of its own.
///
/// ```
/// let mut host = corella_lua::Host::new()?;
/// let code = host.run("hello.lua", b"local n = 6 * 7; assert(n == 42)", &[]);
/// assert_eq!(code, 0);
/// # Ok::<(), corella_lua::StartError>(())
/// ```
pub struct Host {
    /// Gone once the program has ended.
    pub(crate) lua: Option<Lua>,
    pub(crate) runtime: Rc<Runtime>,
    /// What a task yields first when it waits for the Status that it yields second.
    pub(crate) marker: LightUserData,
    pub(crate) last_collection: Duration,
}

/// Why a host could not be made.
#[derive(Debug)]
pub enum StartError {
    /// The scheduler has no backend: `CORELLA_BACKEND` names none, or the one that it names is not to be had.
    Scheduler(corella::Error),
    /// The Lua state could not be made.
    Lua(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::Scheduler(error) => error.fmt(formatter),
            StartError::Lua(text) => text.fmt(formatter),
        }
    }
}

impl std::error::Error for StartError {}

impl From<mlua::Error> for StartError {
    fn from(error: mlua::Error) -> StartError {
        StartError::Lua(error.to_string())
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Host(tasks: {})", self.runtime.tasks.borrow().len())
    }
}

impl Host {
    /// What ends the program of this host from another thread.
    ///
    /// ```
    /// let mut host = corella_lua::Host::new()?;
    /// let interrupter = host.interrupter();
    /// std::thread::spawn(move || interrupter.interrupt(130));
    /// assert_eq!(host.run("forever.lua", b"Scheduler.sleep(1e9)", &[]), 130);
    /// # Ok::<(), corella_lua::StartError>(())
    /// ```
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.runtime.remote(), &self.runtime.interruption)
    }

    /// The settings of a host's scheduler.
    pub fn settings() -> SchedulerBuilder {
        Scheduler::builder().queue_depth(QUEUE_DEPTH)
    }

    /// A host that writes its reports to the standard error output.
    pub fn new() -> Result<Host, StartError> {
        Host::with_reporter(|report| {
            use std::io::Write;
            // With nowhere to write to there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "corella: {report}");
        })
    }

    /// A host that gives its reports to `reporter`: errors with their tracebacks, failures that nobody looked at.
    pub fn with_reporter(reporter: impl FnMut(&str) + 'static) -> Result<Host, StartError> {
        Host::with_settings(Host::settings(), reporter)
    }

    /// The same, with a scheduler of other [`settings`](Host::settings).
    pub fn with_settings(settings: SchedulerBuilder, reporter: impl FnMut(&str) + 'static) -> Result<Host, StartError> {
        Host::on(settings.build().map_err(StartError::Scheduler)?, reporter, |_, _| Ok(()))
    }

    /// A host on this scheduler. `prepare` changes stock Lua before the host's own Lua side comes.
    pub(crate) fn on(
        scheduler: Scheduler,
        reporter: impl FnMut(&str) + 'static,
        prepare: impl FnOnce(&Lua, &Rc<Runtime>) -> mlua::Result<()>,
    ) -> Result<Host, StartError> {
        let runtime = Runtime::new(scheduler, Box::new(reporter) as Reporter);
        let lua = Lua::new();
        // What a Status has given outlives one collection, as objects with finalizers do with all that they hold. A heap of
        // such garbage alone would grow without end if a collection waited until it had doubled; so it settles at four times
        // what is in use.
        let pace = GcIncParams::default().pause(GC_PAUSE_PERCENT).step_multiplier(GC_SPEED_PERCENT);
        lua.gc_set_mode(GcMode::Incremental(pace));
        // An address that no script can name.
        let marker = LightUserData(Rc::as_ptr(&runtime).cast_mut().cast());
        // Nothing of this is garbage.
        lua.gc_stop();
        prepare(&lua, &runtime)?;
        crate::install::install(&lua, &runtime, marker)?;
        lua.gc_restart();
        let last_collection = runtime.now();
        Ok(Host { lua: Some(lua), runtime, marker, last_collection })
    }

    /// Runs a program to its end and gives its exit code: what it gave to `os.exit`, 1 if it or one of its tasks
    /// failed, else 0.
    ///
    /// `name` is what errors call it, `source` its text; `arguments` become the `arg` table and the main program's
    /// `...`. All requests are settled before this returns; only accepts are not waited for. A host runs one program.
    pub fn run(&mut self, name: &str, source: &[u8], arguments: &[OsString]) -> i32 {
        let Some(lua) = self.lua.clone() else {
            self.runtime.report("a host runs one program".into());
            self.runtime.write_reports();
            return 1;
        };
        let main = match start_main(&lua, &self.runtime, name, source, arguments) {
            Ok(main) => Some(main),
            Err(error) => {
                self.runtime.report_script_error(&load_error(&error));
                None
            }
        };
        let mut is_cut_short = false;
        if let Some(main) = main {
            self.drive(&lua, &main);
            is_cut_short =
                self.runtime.exit_code.get().is_some() || main.ending(&self.runtime).has_failed() != Some(false);
        }
        drop(lua);
        if self.runtime.interruption.tells() {
            self.runtime.tell_outstanding();
        }
        if is_cut_short {
            self.runtime.cut_short();
        }
        self.end();
        match self.runtime.exit_code.get() {
            Some(code) => code,
            None => i32::from(self.runtime.has_failed()),
        }
    }

    /// Ends tasks, the Lua state and the scheduler, in this order; everything in flight settles.
    pub(crate) fn end(&mut self) {
        let keys = self.runtime.tasks.borrow().keys();
        for key in keys {
            tasks::kill(&self.runtime, key);
        }
        self.runtime.idle.take();
        while let Some(ready) = self.runtime.next_ready() {
            if let (Ready::Close(thread), Some(lua)) = (ready, &self.lua)
                && let Err(error) = tasks::close(lua, &self.runtime, thread)
            {
                self.runtime.report_script_error(&error.to_string());
            }
        }
        // Finalizers run, and handles that are still open close in the background.
        self.runtime.body.take();
        self.lua = None;
        if let Some(output) = &*self.runtime.output.borrow() {
            output.flush_behind();
        }
        if self.runtime.is_cut_short() {
            if let Err(error) = self.runtime.finish_writes() {
                self.runtime.report(error.to_string());
            }
            self.runtime.write_reports();
        }
        self.runtime.output.take();
        self.runtime.end();
        while self.runtime.next_ready().is_some() {}
        self.runtime.write_reports();
    }
}

/// A host that was never run, or whose program is over.
impl Drop for Host {
    fn drop(&mut self) {
        if self.lua.is_some() {
            self.end();
        }
    }
}

fn load_error(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The text of a script without a byte order mark, and without the first line if that is for the shell.
pub(crate) fn without_shebang(source: &[u8]) -> Vec<u8> {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    match source.first() {
        Some(b'#') => {
            let end = source.iter().position(|byte| *byte == b'\n').unwrap_or(source.len());
            source[end..].to_vec()
        }
        _ => source.to_vec(),
    }
}

/// Has `require` look beside the script first, and then where `LUA_PATH` says or the process is.
pub(crate) fn look_for_modules_beside(lua: &Lua, name: &str) -> mlua::Result<()> {
    let package: Table = lua.globals().get("package")?;
    let default = package.get::<String>("path")?;
    let named = ["LUA_PATH_5_4", "LUA_PATH"].iter().find_map(|variable| std::env::var(variable).ok());
    let elsewhere = match named {
        // As in stock Lua two semicolons stand for the default.
        Some(path) => path.replace(";;", &format!(";{default};")).trim_matches(';').to_string(),
        None => default,
    };
    let folder = std::path::Path::new(name).parent().and_then(std::path::Path::to_str).unwrap_or_default();
    // A text or standard input is in no folder.
    let is_in_a_folder = !folder.is_empty() || std::path::Path::new(name).is_file();
    let folder = if folder.is_empty() { "." } else { folder };
    let beside = format!("{folder}/?.lua;{folder}/?/init.lua");
    let path = match is_in_a_folder && !elsewhere.starts_with(&beside) {
        true => format!("{beside};{elsewhere}"),
        false => elsewhere,
    };
    package.set("path", path)
}

fn start_main(
    lua: &Lua,
    runtime: &Rc<Runtime>,
    name: &str,
    source: &[u8],
    arguments: &[OsString],
) -> mlua::Result<TaskHandle> {
    let table = lua.create_table()?;
    table.set(0, name)?;
    let mut values = MultiValue::new();
    for (index, argument) in arguments.iter().enumerate() {
        let text = lua.create_string(bytes_of(argument))?;
        table.set(index + 1, &text)?;
        values.push_back(Value::String(text));
    }
    lua.globals().set("arg", table)?;
    look_for_modules_beside(lua, name)?;
    let chunk = lua.load(without_shebang(source)).set_name(format!("@{name}")).set_mode(ChunkMode::Text);
    tasks::spawn(lua, runtime, chunk.into_function()?, values)
}
