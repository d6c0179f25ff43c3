//! `corella run`: a script from a file, from standard input, or given as text.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use corella_lua::Host;

use crate::signals;
use crate::simulate::Simulate;

/// The command was wrong: its arguments, its script's path, its environment.
const WRONG_COMMAND: u8 = 2;
/// What errors call a script that was given as text.
const TEXT: &str = "(command line)";

/// Runs the text `code`, or the script that the first of `words` names; the rest are its arguments.
pub fn run(code: Option<OsString>, simulate: Simulate, mut words: Vec<OsString>) -> ExitCode {
    if simulate.is_wanted() && code.is_none() && words[0] == "-" {
        return wrong("a script from standard input cannot be run again: give --simulate and --seeds a file or -e");
    }
    let (name, source) = match code {
        Some(code) => (TEXT.to_string(), Ok(text_of(&code))),
        None => {
            let script = words.remove(0);
            source_of(&script)
        }
    };
    let source = match source {
        Ok(source) => source,
        Err(error) => return wrong(&format!("cannot read the script {name}: {error}")),
    };
    if simulate.is_idle_talk() {
        return wrong("--faults and --disk are of a simulated machine: they need --simulate or --seeds");
    }
    if simulate.is_wanted() {
        return simulate.run(&name, &source, &words);
    }
    raise_descriptor_limit();
    let mut host = match Host::new() {
        Ok(host) => host,
        Err(error) => return wrong(&error.to_string()),
    };
    let handled =
        signals::end_the_script(host.interrupter()).and_then(|()| signals::fail_beyond_the_limit_of_file_sizes());
    if let Err(error) = handled {
        return wrong(&format!("cannot wait for signals: {error}"));
    }
    exit_code(host.run(&name, &source, &words))
}

/// The code as the OS takes it: the low eight bits.
pub fn exit_code(code: i32) -> ExitCode {
    ExitCode::from((code & 0xff) as u8)
}

fn source_of(script: &OsStr) -> (String, std::io::Result<Vec<u8>>) {
    match script == "-" {
        true => ("stdin".into(), read_input()),
        false => (script.to_string_lossy().into(), std::fs::read(Path::new(script))),
    }
}

/// A script that comes from standard input.
fn read_input() -> std::io::Result<Vec<u8>> {
    let mut source = Vec::new();
    std::io::stdin().read_to_end(&mut source)?;
    Ok(source)
}

/// A script that was given as text.
#[cfg(unix)]
fn text_of(code: &OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(code).to_vec()
}

/// A script that was given as text, in UTF-8.
#[cfg(windows)]
fn text_of(code: &OsStr) -> Vec<u8> {
    code.to_string_lossy().into_owned().into_bytes()
}

/// Windows has no such limit.
#[cfg(windows)]
pub fn raise_descriptor_limit() {}

/// Allows as many open descriptors as the system lets this process have: a server needs one for each connection.
#[cfg(unix)]
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the script goes on with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Says what is wrong with the command. A closed standard error is no reason to fail otherwise.
pub fn wrong(problem: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "corella: {problem}");
    ExitCode::from(WRONG_COMMAND)
}
