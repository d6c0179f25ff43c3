//! The command line: what can be asked of the command, and its help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::simulate::Simulate;

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
  LUA_PATH         where else modules are, as in stock Lua; those beside the script come first
  NO_COLOR         if it is set, nothing is coloured; otherwise what goes to a terminal is

Examples:
  corella run -e 'print(Scheduler.backend())'
  corella run examples/tour.lua
  corella run examples/serve.lua . 8080
  corella run --seeds 1..1000 --faults disk,net,delays examples/tour.lua
  corella repl";

const RUN_HELP: &str = "\
The script has Lua 5.4 and Corella's objects: FileHandle, Socket, Status, Scheduler, fs, and the standard streams stdin, \
stdout and stderr. Every operation waits for its result without stopping other tasks, or takes a callback as last \
argument and returns a Status at once:

  local file = FileHandle.open(\"data.bin\")
  print(#file:read_at(4096, 0))
  file:read_at(4096, 4096, function(status) print(#status:result()) end)
  Scheduler.spawn(function() Scheduler.sleep(0.1) print(\"later\") end)

A server of three lines, which sends back in capitals what it gets:

  local listener = Socket.listen(\"127.0.0.1\", 4000)
  listener:accept(function(accepted)
    local peer <close> = accepted:result()
    for line in peer:lines() do peer:send(line:upper() .. \"\\n\") end
  end)
  Scheduler.run()

Arguments after SCRIPT are the script's, also those that begin with a dash: arg[1], arg[2] and so on; arg[0] is SCRIPT. \
With --simulate the script runs on a machine that is not there: an empty disk, a network of its own and a clock that \
moves when there is nothing else to do; the seed decides all chance, and the last line on standard error has the history \
as a number, the same for the same seed. --seeds 1..1000 looks for a seed that fails and says how to run it again.

require finds modules beside the script. Ctrl-C says what is outstanding and ends the script with what it wrote written \
out; a second one ends it at once. docs/LUA.md is the guide and the reference.";

const REPL_HELP: &str = "\
Each line is run as it is entered, and what it gives is printed; = is not needed. A line that is not whole goes on on the \
next. An expression that is a Status is waited for. Tasks, callbacks and servers go on while you type, and _ is what the \
last line gave. Tab completes names, the arrows find earlier lines (kept in ~/.local/state/corella/history), Ctrl-C gives \
up the line or what it runs, Ctrl-D ends.";

const PROBE_HELP: &str = "\
Says which backends this machine offers and why not the others, which one a scheduler takes, what of the kernel it uses, \
and the limits that hold. With --json the same as one JSON object.";

/// One asynchronous I/O system for language virtual machines: run Lua scripts on it.
#[derive(Debug, Parser)]
#[command(name = "corella", version, after_help = AFTER_HELP, subcommand_required = true, arg_required_else_help = true)]
pub struct Command {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a Lua script
    #[command(
        after_long_help = RUN_HELP,
        after_help = RUN_HELP,
        override_usage = "corella run [OPTIONS] SCRIPT [ARGS]...\n       corella run [OPTIONS] -e CODE [ARGS]...",
        arg_required_else_help = true
    )]
    Run {
        /// Run this text instead of a script's
        #[arg(short = 'e', long = "execute", value_name = "CODE")]
        code: Option<OsString>,
        #[command(flatten)]
        simulate: Simulate,
        /// The script's path, or - for standard input; then the script's own arguments
        #[arg(
            value_names = ["SCRIPT", "ARGS"],
            num_args = 1..,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required_unless_present = "code",
            value_hint = clap::ValueHint::FilePath
        )]
        words: Vec<OsString>,
    },
    /// Enter Lua line by line, with history and completion
    #[command(after_help = REPL_HELP)]
    Repl,
    /// Say which backends this machine offers, and which is chosen and why
    #[command(after_help = PROBE_HELP)]
    Probe {
        /// As one JSON object, for programs
        #[arg(long)]
        json: bool,
    },
    /// Write a shell's completions to standard output
    #[command(after_help = "For bash: corella completions bash > ~/.local/share/bash-completion/completions/corella")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual page to standard output, or all pages into a directory
    #[command(after_help = "To read it at once: corella man | man -l -")]
    Man {
        /// Write corella.1, corella-run.1 and the others here
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
}
