//! The `corella` command: runs Lua scripts on Corella's scheduler.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use corella_lua::{Host, Interrupter};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The command was wrong: its arguments, its script's path, its environment.
const WRONG_COMMAND: u8 = 2;

const AFTER_HELP: &str = "\
Exit codes:
  0  all went well
  1  the script failed: an error that nobody caught, in it or in one of its tasks, or output that was lost
  2  the command was wrong: an argument, a script that cannot be read, CORELLA_BACKEND
  141  whoever read its standard output went away (as in `corella run … | head`)
  130, 143  SIGINT (Ctrl-C) or SIGTERM ended it; what it had written went out
  A script may end with a code of its own: os.exit(code).

Environment:
  CORELLA_BACKEND  \"uring\" or \"portable\" forces a backend; otherwise the best of this machine is taken

Examples:
  corella run examples/tour.lua
  corella run examples/serve.lua . 8080";

const RUN_HELP: &str = "\
The script has Lua 5.4 and Corella's objects: FileHandle, Socket, Status, Scheduler, fs, and the standard streams stdin, \
stdout and stderr. Every operation waits for its result without stopping other tasks, or takes a callback as last \
argument and returns a Status at once:

  local file = FileHandle.open(\"data.bin\")
  print(#file:read_at(4096, 0))
  file:read_at(4096, 4096, function(status) print(#status:result()) end)
  Scheduler.spawn(function() Scheduler.sleep(0.1) print(\"later\") end)

Arguments after SCRIPT are the script's, also those that begin with a dash: arg[1], arg[2] and so on; arg[0] is SCRIPT.";

/// One asynchronous I/O system for language virtual machines: run Lua scripts on it.
#[derive(Parser)]
#[command(name = "corella", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a Lua script
    #[command(after_long_help = RUN_HELP, after_help = RUN_HELP)]
    Run {
        /// The script's path, or - for standard input
        script: PathBuf,
        /// The script's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match Command::parse().action {
        Action::Run { script, args } => run(&script, &args),
    }
}

fn run(script: &Path, arguments: &[OsString]) -> ExitCode {
    let (name, source) = match script.as_os_str() == "-" {
        true => ("stdin".into(), read_input()),
        false => (script.to_string_lossy(), std::fs::read(script)),
    };
    let source = match source {
        Ok(source) => source,
        Err(error) => return wrong(&format!("cannot read the script {}: {error}", script.display())),
    };
    raise_descriptor_limit();
    let mut host = match Host::new() {
        Ok(host) => host,
        Err(error) => return wrong(&error.to_string()),
    };
    if let Err(error) = end_on_signals(host.interrupter()) {
        return wrong(&format!("cannot wait for signals: {error}"));
    }
    let code = host.run(&name, &source, arguments);
    // As the OS takes it: the low eight bits.
    ExitCode::from((code & 0xff) as u8)
}

/// A script that comes from standard input.
fn read_input() -> std::io::Result<Vec<u8>> {
    let mut source = Vec::new();
    std::io::stdin().read_to_end(&mut source)?;
    Ok(source)
}

/// Has SIGINT and SIGTERM end the script with what it wrote written out. A second one ends the process at once.
fn end_on_signals(interrupter: Interrupter) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("corella-signals".into()).spawn(move || {
        let mut received = signals.forever();
        if let Some(signal) = received.next() {
            // As a shell tells of a process that a signal ended.
            interrupter.interrupt(128 + signal);
        }
        if let Some(signal) = received.next() {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

/// Allows as many open descriptors as the system lets this process have: a server needs one for each connection.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the script goes on with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Says what is wrong with the command. A closed standard error is no reason to fail otherwise.
fn wrong(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "corella: {problem}");
    ExitCode::from(WRONG_COMMAND)
}
