//! Runs one command with its output passed on live. A command that takes far too long is killed, with all the
//! processes that it started, and so is one that Ctrl-C interrupts.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often a silent command is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long a process that a command left behind may hold its output open.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);
/// A leg is killed at this multiple of its budget.
const KILL_FACTOR: u32 = 3;
const CHUNK_SIZE: usize = 8 * 1024;
/// Chunks read and not yet passed on.
const CHUNK_COUNT_MAX: usize = 16;

/// How a command ended.
#[derive(Debug)]
pub enum Ending {
    Exited(ExitStatus),
    NotStarted(io::Error),
    /// Killed at the multiple of its budget.
    OutOfTime,
    Interrupted,
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Exited(status) => write!(formatter, "{status}"),
            Ending::NotStarted(error) => write!(formatter, "not started: {error}"),
            Ending::OutOfTime => write!(formatter, "killed at {KILL_FACTOR} times its budget"),
            Ending::Interrupted => write!(formatter, "interrupted"),
        }
    }
}

/// The time that a leg has used of its budget.
pub struct Clock {
    leg: &'static str,
    started: Instant,
    budget: Duration,
    warned: bool,
}

impl Clock {
    pub fn start(leg: &'static str, budget: Duration) -> Self {
        Self { leg, started: Instant::now(), budget, warned: false }
    }

    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn is_out_of_time(&self) -> bool {
        self.elapsed() >= self.budget * KILL_FACTOR
    }

    /// The warning, the first time that it is due.
    fn warning(&mut self) -> Option<String> {
        if self.warned || self.elapsed() <= self.budget {
            return None;
        }
        self.warned = true;
        let budget = self.budget.as_secs();
        Some(format!("over budget: {} takes longer than its {budget} s", self.leg))
    }
}

/// Starts commands at the root of the repository.
pub struct Runner {
    root: PathBuf,
    interrupted: Arc<AtomicBool>,
    /// Where the commands' standard output goes.
    out: Box<dyn Write>,
}

impl Runner {
    pub fn new(root: &Path, interrupted: Arc<AtomicBool>, out: Box<dyn Write>) -> Self {
        Self { root: root.to_owned(), interrupted, out }
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A command in words. `cargo` is the cargo that runs us, `xtask` is ourselves.
    pub fn command(&self, words: impl AsRef<[&'static str]>) -> Command {
        let (program, arguments) = words.as_ref().split_first().expect("a command has a program");
        let mut command = match (*program, std::env::var_os("CARGO")) {
            ("cargo" | "xtask", Some(cargo)) => Command::new(cargo),
            ("xtask", None) => Command::new("cargo"),
            _ => Command::new(program),
        };
        if *program == "xtask" {
            // By cargo, as a leg before may have built this very program anew, and then the file that we run is gone.
            command.args(["run", "--quiet", "--package", "xtask", "--"]);
        }
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Runs the command to its end, passing its standard output on and giving it to `take` too.
    pub fn run(&mut self, mut command: Command, clock: &mut Clock, take: impl FnMut(&[u8])) -> Ending {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ending::NotStarted(error),
        };
        let pipe = child.stdout.take().expect("the output is piped");
        let mut output = Output::new(pipe, self.out.as_mut(), take);
        let ending = watch(Group::new(child), &mut output, clock, &self.interrupted);
        output.break_line();
        ending
    }
}

fn watch(
    mut group: Group,
    output: &mut Output<impl FnMut(&[u8])>,
    clock: &mut Clock,
    interrupted: &AtomicBool,
) -> Ending {
    let mut exit: Option<(ExitStatus, Instant)> = None;
    loop {
        output.pass_on(POLL_INTERVAL);
        if let Some(warning) = clock.warning() {
            output.insert_line(&warning);
        }
        if interrupted.load(Ordering::Relaxed) {
            return group.kill(output, Ending::Interrupted);
        }
        if clock.is_out_of_time() {
            return group.kill(output, Ending::OutOfTime);
        }
        match exit {
            None => exit = group.try_wait().map(|status| (status, Instant::now())),
            Some((status, _)) if output.ended => return Ending::Exited(status),
            Some((status, at)) if at.elapsed() > LEFTOVER_LIMIT => {
                output.insert_line("a process that the command left behind is killed");
                return group.kill(output, Ending::Exited(status));
            }
            Some(_) => {}
        }
    }
}

/// A command and all that it started. Killed when dropped before its end.
struct Group {
    leader: Child,
    over: bool,
}

impl Group {
    fn new(leader: Child) -> Self {
        Self { leader, over: false }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        let status = self.leader.try_wait().expect("a child can be waited for");
        self.over = status.is_some();
        status
    }

    /// Kills all, and waits until nobody holds the output any more.
    fn kill(&mut self, output: &mut Output<impl FnMut(&[u8])>, ending: Ending) -> Ending {
        self.kill_all();
        let killed = Instant::now();
        while !output.ended && killed.elapsed() < LEFTOVER_LIMIT {
            output.pass_on(POLL_INTERVAL);
        }
        if !output.ended {
            output.insert_line("a process that left the command's process group lives on");
        }
        ending
    }

    fn kill_all(&mut self) {
        self.over = true;
        // Both fail only if there is nobody left to kill.
        #[cfg(unix)]
        let _ = rustix::process::kill_process_group(
            rustix::process::Pid::from_child(&self.leader),
            rustix::process::Signal::KILL,
        );
        #[cfg(not(unix))]
        let _ = self.leader.kill();
        let _ = self.leader.wait();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            self.kill_all();
        }
    }
}

/// The standard output of a command on its way to ours.
struct Output<'out, Take> {
    chunks: Receiver<Vec<u8>>,
    out: &'out mut dyn Write,
    take: Take,
    at_line_start: bool,
    ended: bool,
}

impl<'out, Take: FnMut(&[u8])> Output<'out, Take> {
    fn new(mut pipe: ChildStdout, out: &'out mut dyn Write, take: Take) -> Self {
        let (sender, chunks) = sync_channel(CHUNK_COUNT_MAX);
        thread::spawn(move || {
            let mut buffer = [0; CHUNK_SIZE];
            while let Ok(count) = pipe.read(&mut buffer) {
                if count == 0 || sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { chunks, out, take, at_line_start: true, ended: false }
    }

    /// Passes on what comes within the interval. After the end it only sleeps.
    fn pass_on(&mut self, interval: Duration) {
        if self.ended {
            return thread::sleep(interval);
        }
        match self.chunks.recv_timeout(interval) {
            Ok(chunk) => {
                self.write(&chunk);
                (self.take)(&chunk);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.ended = true,
        }
    }

    /// Says something of our own between the command's lines.
    fn insert_line(&mut self, line: &str) {
        self.break_line();
        self.write(format!("{line}\n").as_bytes());
    }

    fn break_line(&mut self) {
        if !self.at_line_start {
            self.write(b"\n");
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.out.write_all(bytes).expect("our output can be written");
        self.out.flush().expect("our output can be written");
        self.at_line_start = bytes.ends_with(b"\n");
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const AMPLE: Duration = Duration::from_secs(60);

    fn run_shell(script: &'static str, budget: Duration, interrupted: bool) -> (Ending, String) {
        let interrupted = Arc::new(AtomicBool::new(interrupted));
        let mut runner = Runner::new(Path::new("/"), interrupted, Box::new(io::sink()));
        let command = runner.command(["sh", "-c", script]);
        let mut taken = Vec::new();
        let mut clock = Clock::start("test", budget);
        let ending = runner.run(command, &mut clock, |chunk| {
            taken.extend_from_slice(chunk);
        });
        (ending, String::from_utf8(taken).expect("scripts print text"))
    }

    #[test]
    fn a_command_hands_over_its_output_and_its_exit_status() {
        let (ending, output) = run_shell("echo one; echo two; exit 7", AMPLE, false);
        assert!(matches!(ending, Ending::Exited(status) if status.code() == Some(7)));
        assert_eq!(output, "one\ntwo\n");
    }

    #[test]
    fn a_program_that_does_not_exist_is_not_started() {
        let mut runner = Runner::new(Path::new("/"), Arc::default(), Box::new(io::sink()));
        let command = runner.command(["corella-no-such-program"]);
        let ending = runner.run(command, &mut Clock::start("test", AMPLE), |_| ());
        assert!(matches!(ending, Ending::NotStarted(_)));
    }

    #[test]
    fn a_command_out_of_time_is_killed_with_the_processes_it_started() {
        let started = Instant::now();
        // The inner sleep would hold the output open for a minute if it survived.
        let script = "sleep 60 & echo begun; wait";
        let (ending, output) = run_shell(script, Duration::from_millis(500), false);
        assert!(matches!(ending, Ending::OutOfTime));
        assert_eq!(output, "begun\n");
        assert!(started.elapsed() < LEFTOVER_LIMIT);
    }

    #[test]
    fn an_interrupt_kills_the_command() {
        let started = Instant::now();
        let (ending, _) = run_shell("sleep 60", AMPLE, true);
        assert!(matches!(ending, Ending::Interrupted));
        assert!(started.elapsed() < LEFTOVER_LIMIT);
    }

    #[test]
    fn a_clock_warns_once_and_only_over_budget() {
        let mut clock = Clock::start("unit", AMPLE);
        assert_eq!(clock.warning(), None);
        clock.budget = Duration::ZERO;
        thread::sleep(Duration::from_millis(1));
        let warning = clock.warning().expect("over budget");
        assert!(warning.starts_with("over budget: unit "), "{warning}");
        assert_eq!(clock.warning(), None);
    }
}
