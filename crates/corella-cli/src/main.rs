//! The `corella` command: runs Lua scripts on Corella's scheduler.
#![forbid(unsafe_code)]

mod arguments;
mod probe;
mod repl;
mod run;
mod shell;
mod signals;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Action, Command};

fn main() -> ExitCode {
    match Command::parse().action {
        Action::Run { code, simulate, words } => run::run(code, simulate, words),
        Action::Repl => repl::repl(),
        Action::Probe { json } => probe::probe(json),
        Action::Completions { shell } => shell::completions(shell),
        Action::Man { directory } => shell::manual(directory.as_deref()),
    }
}
