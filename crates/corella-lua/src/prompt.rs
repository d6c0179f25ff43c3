//! What passes between the thread of a prompt and the host that serves it: lines, answers, and what ends a line.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use corella::Remote;

use crate::sync::{AtomicU64, Receiver, Sender, TryRecvError, channel, is_planted};

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has run, and what it gave is printed or its error reported.
    Done,
    /// It is the beginning of something.
    Incomplete,
}

enum Asked {
    Run { number: u64, line: Line },
    Complete { path: String, reply: Sender<Vec<String>> },
    End,
}

/// A line that was entered.
pub(crate) struct Line {
    pub(crate) text: String,
    /// No more of it will come.
    pub(crate) is_whole: bool,
    pub(crate) reply: Sender<Answer>,
}

/// Which line is to be ended. Lines have numbers, so that an interrupt ends the one that was there when it came, whether it
/// had begun or not, and never a later one.
struct Interrupts {
    /// The number of the line that was entered last.
    entered: AtomicU64,
    /// The line that is to be ended, or `NO_LINE`.
    wanted: AtomicU64,
}

const NO_LINE: u64 = 0;
/// What stands for what was there before the first line.
const BEFORE_THE_FIRST: u64 = 1;

impl Interrupts {
    fn new() -> Interrupts {
        Interrupts { entered: AtomicU64::new(BEFORE_THE_FIRST), wanted: AtomicU64::new(NO_LINE) }
    }

    /// A number for a line that is about to be entered.
    fn next_line(&self) -> u64 {
        self.entered.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Wants the line ended that is there. False if that was wanted already and has had no effect yet.
    fn want(&self) -> bool {
        let line = self.entered.load(Ordering::SeqCst);
        self.wanted.swap(line, Ordering::SeqCst) != line
    }

    /// Whether this line is to be ended; once.
    fn take(&self, line: u64) -> bool {
        if is_planted("of any line") {
            return self.wanted.swap(NO_LINE, Ordering::SeqCst) != NO_LINE;
        }
        self.wanted.compare_exchange(line, NO_LINE, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}

/// The prompt's side of a session; for another thread than the host's.
#[derive(Clone)]
pub struct Prompt {
    asked: Sender<Asked>,
    remote: Option<Remote>,
    interrupts: Arc<Interrupts>,
}

/// The host's side of a session.
pub struct Service {
    asked: Receiver<Asked>,
    interrupts: Arc<Interrupts>,
    /// The line that was taken in last.
    line: u64,
}

/// The two sides of a session on the scheduler that `remote` is of.
pub(crate) fn session(remote: Option<Remote>) -> (Prompt, Service) {
    let (sender, asked) = channel();
    let interrupts = Arc::new(Interrupts::new());
    let prompt = Prompt { asked: sender, remote, interrupts: Arc::clone(&interrupts) };
    (prompt, Service { asked, interrupts, line: BEFORE_THE_FIRST })
}

impl Prompt {
    /// Runs a line, and waits for its end; nothing once the session is over. Until it is a whole one, the prompt may add
    /// to it and try again.
    pub fn run(&self, text: &str) -> Option<Answer> {
        self.enter(text, false).recv().ok()
    }

    /// Runs what there is, whole or not.
    pub fn run_as_it_is(&self, text: &str) -> Option<Answer> {
        self.enter(text, true).recv().ok()
    }

    /// Asks for a line to be run; the answer comes when it has ended.
    pub(crate) fn enter(&self, text: &str, is_whole: bool) -> Receiver<Answer> {
        let (reply, answer) = channel();
        let line = Line { text: text.into(), is_whole, reply };
        self.ask(Asked::Run { number: self.interrupts.next_line(), line });
        answer
    }

    /// The names that the last part of `path`, as `Scheduler.sl` or `file:re`, may stand for.
    pub fn complete(&self, path: &str) -> Vec<String> {
        let (reply, names) = channel();
        self.ask(Asked::Complete { path: path.into(), reply });
        names.recv().unwrap_or_default()
    }

    /// Ends the task of the line that is running, or has been entered and is about to. When the last time had no effect
    /// yet, as with a line that never waits, it ends the process.
    pub fn interrupt(&self) {
        if !self.interrupts.want() {
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
        self.remote.iter().for_each(Remote::wake);
    }
}

/// What runs the lines.
pub(crate) trait Lines {
    fn is_running(&self) -> bool;
    /// Begins a line, or answers it at once.
    fn begin(&mut self, line: Line);
    fn complete(&mut self, path: &str) -> Vec<String>;
    /// Ends the one that is running.
    fn kill(&mut self);
}

impl Service {
    /// Sees, between two turns, to what the prompt wants. False at the session's end.
    pub(crate) fn attend(&mut self, lines: &mut impl Lines) -> bool {
        while !lines.is_running() {
            match self.asked.try_recv() {
                Ok(Asked::Run { number, line }) => {
                    self.line = number;
                    lines.begin(line);
                    if is_planted("forgotten when the line begins") {
                        self.interrupts.wanted.store(NO_LINE, Ordering::SeqCst);
                    }
                }
                Ok(Asked::Complete { path, reply }) => {
                    // A prompt that is gone needs no answer.
                    let _ = reply.send(lines.complete(&path));
                }
                Ok(Asked::End) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => break,
            }
        }
        // After what was taken in: an interrupt of that may have come, and its wake with it, before this look. One of a line
        // that is over is forgotten.
        if self.interrupts.take(self.line) && lines.is_running() {
            lines.kill();
        }
        true
    }
}

impl fmt::Debug for Prompt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Prompt(lines entered: {})",
            self.interrupts.entered.load(Ordering::Relaxed) - BEFORE_THE_FIRST
        )
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Service(lines taken in: {})", self.line - BEFORE_THE_FIRST)
    }
}
