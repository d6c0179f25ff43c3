//! `corella repl`: a prompt whose lines run on a host that goes on while its user types.
//!
//! The line editor has a thread of its own; the host stays on the main thread and serves it.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use corella_lua::{Answer, Host, Prompt};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};

use crate::run::{exit_code, raise_descriptor_limit, wrong};
use crate::signals;

/// Before the first line of what is entered, and before what it goes on with.
const PROMPTS: (&str, &str) = ("> ", ">> ");
const HISTORY_LINES: usize = 10_000;

/// Serves a prompt until its user has had enough.
pub fn repl() -> ExitCode {
    raise_descriptor_limit();
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let host = Host::with_reporter(move |report| {
        let (start, end) = if is_coloured { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
        let _ = writeln!(std::io::stderr(), "{start}{report}{end}");
    });
    let mut host = match host {
        Ok(host) => host,
        Err(error) => return wrong(&error.to_string()),
    };
    let (prompt, service) = host.prompt();
    let editor = std::thread::Builder::new().name("corella-editor".into()).spawn(move || edit(&prompt));
    if let Err(error) = editor {
        return wrong(&format!("cannot start the line editor: {error}"));
    }
    exit_code(host.serve(service))
}

/// Reads lines and has them run, to the end of the input.
fn edit(prompt: &Prompt) {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_terminal {
        println!("Corella {} with Lua 5.4. Tab completes, Ctrl-D ends.", env!("CARGO_PKG_VERSION"));
    }
    let config = Config::builder().max_history_size(HISTORY_LINES).map(|config| config.auto_add_history(false).build());
    let editor = config.and_then(Editor::<Names, FileHistory>::with_config);
    let Ok(mut editor) = editor else { return prompt.end() };
    // The editor has a handler of its own, which takes the place of what was there before it.
    let interrupter = prompt.clone();
    if let Err(error) = signals::on_interrupt(move || interrupter.interrupt()) {
        let _ = writeln!(std::io::stderr(), "Ctrl-C ends the session: {error}");
    }
    editor.set_helper(Some(Names { prompt: Rc::new(prompt.clone()) }));
    let history = history_path().filter(|_| is_terminal);
    if let Some(path) = &history {
        // There is none before the first session.
        let _ = editor.load_history(path);
    }
    let mut entered = String::new();
    loop {
        let sign = if entered.is_empty() { PROMPTS.0 } else { PROMPTS.1 };
        match editor.readline(if is_terminal { sign } else { "" }) {
            Ok(line) => {
                entered.push_str(&line);
                match prompt.run(&entered) {
                    Some(Answer::Incomplete) => entered.push('\n'),
                    Some(Answer::Done) => {
                        remember(&mut editor, &entered);
                        entered.clear();
                    }
                    None => break,
                }
            }
            Err(ReadlineError::Interrupted) => entered.clear(),
            // Of a line that ran, heard of only now; or the window has another size.
            Err(ReadlineError::Signal(_)) => {}
            Err(_) => break,
        }
    }
    if !entered.is_empty() {
        // What was never whole is an error to tell of.
        prompt.run_as_it_is(&entered);
    }
    if let Some(path) = &history {
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = editor.save_history(path);
    }
    prompt.end();
}

fn remember(editor: &mut Editor<Names, FileHistory>, entered: &str) {
    if !entered.trim().is_empty() {
        let _ = editor.add_history_entry(entered);
    }
}

/// Where the lines of earlier sessions are kept.
fn history_path() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    state.map(|state| state.join("corella/history"))
}

/// Completes names: those that the host has at the moment.
struct Names {
    prompt: Rc<Prompt>,
}

impl Helper for Names {}
impl Validator for Names {}
impl Highlighter for Names {}
impl Hinter for Names {
    type Hint = String;
}

impl Completer for Names {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let before = &line[..position];
        let is_of_name = |letter: char| letter.is_alphanumeric() || "_.:".contains(letter);
        let start = before
            .rfind(|letter| !is_of_name(letter))
            .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
        let path = &before[start..];
        let last = start + path.rfind(['.', ':']).map_or(0, |place| place + 1);
        Ok((last, self.prompt.complete(path)))
    }
}
