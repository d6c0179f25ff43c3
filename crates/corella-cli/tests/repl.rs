//! `corella repl`, with lines from a pipe and at a terminal.

#![cfg(unix)]

mod corella;

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use corella::{BACKENDS, Ended, corella, empty_directory, end_within};

/// Far more than any of these needs.
const LIMIT: Duration = Duration::from_secs(30);

/// The prompt as a terminal gets it: a line that is cleared, and the sign.
const PROMPT: &str = "\x1b[K> ";

/// Enters lines through a pipe, to the end of the input.
fn entered(backend: &str, lines: &str) -> Ended {
    let mut command = corella();
    command.arg("repl").env("CORELLA_BACKEND", backend);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    end_within(LIMIT, &mut child)
}

#[test]
fn expressions_are_shown_and_a_status_is_waited_for() {
    for backend in BACKENDS {
        let lines = "6 * 7\n'a', nil, 3\nx = 5\nx + _\nScheduler.sleep(0.01, { async = true })\n\
                     fs.stat('/', { async = true }).kind\nfs.stat('/', { async = true })\n_.kind\nnil\n";
        let ended = entered(backend, lines);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let shown: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(shown.len(), 6, "a line for each expression that gives something: {ended:?}");
        assert_eq!((shown[0], shown[1], shown.last()), ("42", "a\tnil\t3", Some(&"nil")), "{ended:?}");
        assert!(shown.contains(&"directory"), "{ended:?}");
    }
}

#[test]
fn a_line_that_is_not_whole_goes_on_on_the_next() {
    let ended = entered("portable", "for number = 1, 2 do\n  print(number)\nend\n'whole'\n");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("1\n2\nwhole\n", ""));
    let ended = entered("portable", "print(1\n");
    assert!(ended.stderr.contains("')' expected"), "{ended:?}");
}

#[test]
fn an_error_is_shown_and_ends_nothing() {
    for backend in BACKENDS {
        let ended = entered(backend, "error('seen')\nfs.stat('/none')\n= 5\n'still here'\n");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "still here\n"), "{ended:?}");
        for part in ["prompt:1: seen\nstack traceback:", "stat of /none: No such file or directory", "near '='"] {
            assert!(ended.stderr.contains(part), "{part}: {ended:?}");
        }
    }
}

#[test]
fn others_go_on_between_the_lines_and_the_end_waits_for_nobody() {
    for backend in BACKENDS {
        let lines = "task = Scheduler.spawn(function() Scheduler.sleep(0.01) return 'from the task' end)\n\
                     listener = Socket.listen('127.0.0.1', 0)\n\
                     listener:accept(function(accepted) accepted:result():send('served\\n') end)\n\
                     Socket.connect(listener:local_address()):readline()\n\
                     task:join()\n_ = Scheduler.sleep(600, print)\n";
        let ended = entered(backend, lines);
        assert!(ended.stdout.contains("served\n") && ended.stdout.contains("from the task\n"), "{ended:?}");
        assert_eq!(ended.code, Some(0));
    }
}

#[test]
fn a_session_ends_with_a_code_of_its_own() {
    assert_eq!(entered("uring", "print('out')\nos.exit(7)\n'never'\n").stdout, "out\n");
    assert_eq!(entered("uring", "os.exit(7)\n").code, Some(7));
}

/// A session at a terminal, which util-linux's `script` gives it.
struct Terminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(home: &str) -> Terminal {
        let home = corella::directory_of(home);
        let mut command = Command::new("script");
        // `exec`, as a shell that stays would be ended by the Ctrl-C that the prompt takes.
        command.args(["--quiet", "--return", "--command"]).arg(format!("exec {} repl", env!("CARGO_BIN_EXE_corella")));
        command.arg("/dev/null").env("TERM", "xterm").env("XDG_STATE_HOME", home).env_remove("CORELLA_BACKEND");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stream = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, output, seen: String::new() }
    }

    fn enter(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    /// Reads on until this has been seen, and forgets it and what came before.
    fn expect(&mut self, text: &str) {
        while !self.seen.contains(text) {
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(error) => panic!("waiting for {text:?}: {error}: {:?}", self.seen),
            }
        }
        self.seen = self.seen.split_once(text).unwrap().1.to_string();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn names_are_completed_earlier_lines_kept_and_ctrl_c_gives_up_what_runs() {
    // Of this run alone: others may go on beside it.
    let home = format!("repl-home-{}", std::process::id());
    empty_directory(&home);
    let mut terminal = Terminal::start(&home);
    terminal.expect(PROMPT);
    terminal.enter("Sched\t.now\t() >= 0\r");
    terminal.expect("true");
    terminal.expect(PROMPT);
    terminal.enter("stdout:get_\t");
    terminal.expect("get_fd");
    terminal.enter("\x03");
    terminal.expect(PROMPT);
    terminal.enter("'be' .. 'fore'\r");
    terminal.expect("before");
    terminal.expect(PROMPT);
    terminal.enter("print('be' .. 'gun') Scheduler.sleep(600)\r");
    // Not before it runs: at the prompt the key gives up a line.
    terminal.expect("begun");
    terminal.enter("\x03");
    terminal.expect("interrupted");
    terminal.expect(PROMPT);
    terminal.enter("'af' .. 'ter'\r");
    terminal.expect("after");
    terminal.expect(PROMPT);
    terminal.enter("\x04");
    let ended = terminal.child.wait().unwrap();
    assert_eq!(ended.code(), Some(0));

    let mut terminal = Terminal::start(&home);
    terminal.expect(PROMPT);
    // The last line of the session before.
    terminal.enter("\x1b[A\r");
    terminal.expect("after");
    terminal.expect(PROMPT);
    terminal.enter("\x04");
    terminal.child.wait().unwrap();
    std::fs::remove_dir_all(corella::directory_of(&home)).unwrap();
}
