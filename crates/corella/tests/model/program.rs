//! Random programs as plain data, how they are shown, and how a failing one is made short. `draw` draws them.

use std::fmt;

/// An operation on a file. Lengths and places are small, so that ranges meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOp {
    ReadAt { place: u64, length: usize, unordered: bool },
    ReadExactAt { place: u64, length: usize },
    ReadToEndAt { place: u64 },
    Read { length: usize },
    ReadExact { length: usize },
    ReadToEnd,
    WriteAt { place: u64, length: usize, unordered: bool },
    Write { length: usize },
    Seek { place: u64 },
    SeekBy { offset: i64 },
    SeekFromEnd { offset: i64 },
    Truncate { length: u64 },
    Allocate { place: u64, length: u64 },
    Stat,
    Sync,
    Barrier,
}

impl FileOp {
    pub fn is_write(self) -> bool {
        matches!(self, FileOp::Write { .. } | FileOp::WriteAt { .. })
    }

    /// Uses the handle's cursor, or moves it.
    pub fn uses_cursor(self) -> bool {
        matches!(
            self,
            FileOp::Read { .. }
                | FileOp::ReadExact { .. }
                | FileOp::ReadToEnd
                | FileOp::Write { .. }
                | FileOp::Seek { .. }
                | FileOp::SeekBy { .. }
                | FileOp::SeekFromEnd { .. }
        )
    }

    /// Reads at the cursor.
    pub fn reads_on(self) -> bool {
        matches!(self, FileOp::Read { .. } | FileOp::ReadExact { .. } | FileOp::ReadToEnd)
    }

    /// May change how long the file is otherwise than by writing.
    pub fn sets_length(self) -> bool {
        matches!(self, FileOp::Truncate { .. } | FileOp::Allocate { .. })
    }

    pub fn is_barrier(self) -> bool {
        self.sets_length() || matches!(self, FileOp::Sync | FileOp::Barrier)
    }
}

/// An operation on one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOp {
    Send { length: usize },
    Receive { length: usize },
    ReceiveExact { length: usize },
    ReceiveToEnd,
    ShutDownWrites,
    Barrier,
}

impl SocketOp {
    pub fn receives(self) -> bool {
        matches!(self, SocketOp::Receive { .. } | SocketOp::ReceiveExact { .. } | SocketOp::ReceiveToEnd)
    }
}

/// What joins two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Tcp,
    /// A pair of connected sockets, of the Unix domain; where that has none, on Windows, a connection.
    Pair,
    /// From its first end to its second.
    Pipe,
    /// A pair of datagram sockets: of the Unix domain on a real machine, where nothing is lost, and UDP on a simulated one
    /// and on Windows, by its loopback device.
    Datagrams,
}

/// One of the program's handles, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    File(usize),
    /// One end of a link; its neighbour (`^ 1`) is the other.
    End(usize),
    Listener(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    File {
        file: usize,
        op: FileOp,
    },
    Socket {
        end: usize,
        op: SocketOp,
    },
    Accept {
        listener: usize,
    },
    /// To a listener, by its address or by its machine's name.
    Connect {
        listener: usize,
        by_name: bool,
    },
    Close {
        place: Place,
        now: bool,
    },
}

impl Verb {
    /// The handle that it is on; a connect makes its own.
    pub fn place(self) -> Option<Place> {
        match self {
            Verb::File { file, .. } => Some(Place::File(file)),
            Verb::Socket { end, .. } => Some(Place::End(end)),
            Verb::Accept { listener } => Some(Place::Listener(listener)),
            Verb::Close { place, .. } => Some(place),
            Verb::Connect { .. } => None,
        }
    }

    /// Whether a close of its handle cancels it.
    pub fn ends_at_close(self) -> bool {
        match self {
            Verb::File { op, .. } => {
                op.reads_on()
                    || matches!(op, FileOp::ReadAt { .. } | FileOp::ReadExactAt { .. } | FileOp::ReadToEndAt { .. })
            }
            Verb::Socket { op, .. } => op.receives(),
            Verb::Accept { .. } => true,
            Verb::Connect { .. } | Verb::Close { .. } => false,
        }
    }

    /// Whether it ends by itself, whatever others do.
    pub fn ends_by_itself(self) -> bool {
        matches!(self, Verb::File { .. } | Verb::Close { place: Place::File(_), .. })
    }
}

/// How an outcome is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    Status,
    Callback,
    DirectCallback,
    /// By a task that awaits it.
    Task,
    /// As a future that the program holds, polled once.
    Future,
    /// As a host does that turns the scheduler itself: here and now if that needs no waiting, or by callback.
    FinishOrCallback,
    /// Sends on connections only: what there is room for goes out at once, and the rest by callback.
    TryOrCallback,
    /// Blocking, on files only: nobody may ever send.
    Wait,
}

/// What may stop it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Nothing,
    /// In microseconds.
    Deadline(u64),
    /// A token of the program's, by number.
    Token(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Do {
        verb: Verb,
        taking: Taking,
        stop: Stop,
        /// Of how many buffers it moves the bytes; one is none of a list's.
        parts: usize,
    },
    /// One turn that does not wait.
    Poll,
    /// Turns for so many microseconds.
    Turn(u64),
    CancelToken(usize),
    /// Of the statuses held, this one (modulo how many there are).
    CancelStatus(usize),
    DropStatus(usize),
    /// All of them, the newest first.
    DropAllStatuses,
    TakeStatus(usize),
    /// Has a callback take it after all.
    CallBackStatus(usize),
    /// Has a task take it after all.
    AwaitStatus(usize),
    /// Of the futures held.
    PollFuture(usize),
    DropFuture(usize),
    /// Ends a task where it stands, with what it awaits.
    KillTask(usize),
    /// One more clone of a handle.
    Clone(Place),
    /// One clone less; the last closes it in the background.
    Drop(Place),
    /// Nothing arrives any more, on a simulated machine.
    Partition,
    Heal,
}

/// A program with the machine that it runs on.
#[derive(Clone)]
pub struct Program {
    pub seed: u64,
    /// The last is the program's standard input and the one before it its standard output, if `shares` and on a
    /// simulated machine.
    pub files: usize,
    pub shares: bool,
    pub appends: bool,
    /// Files may change their lengths otherwise than by writes; then no positioned write is unordered or unseen.
    pub sets_lengths: bool,
    pub links: Vec<Link>,
    pub listeners: usize,
    pub depth: usize,
    /// Small ones make senders wait.
    pub window: usize,
    /// In per cent.
    pub short_transfers: usize,
    pub delays: usize,
    pub slow_readers: usize,
    pub disk_errors: usize,
    pub resets: usize,
    pub disk_is_small: bool,
    /// How many descriptors beyond those open at the beginning.
    pub descriptors: usize,
    pub queue_entries: usize,
    pub steps: Vec<Step>,
}

pub const TOKENS: usize = 4;

impl Program {
    /// Whether the queue takes in less than the program may have in flight: what may never end needs a deadline then.
    pub fn is_shallow(&self) -> bool {
        self.depth < 100
    }

    /// The number of the file that is standard input; the one before is standard output.
    pub fn shared_input(&self) -> Option<usize> {
        self.shares.then_some(self.files - 1)
    }

    /// What the end is one of.
    pub fn link(&self, end: usize) -> Link {
        self.links[end / 2]
    }

    /// Whether what there is room for can go out at once: a send on a connection.
    pub fn can_try(&self, verb: Verb) -> bool {
        match verb {
            Verb::Socket { end, op: SocketOp::Send { .. } } => matches!(self.link(end), Link::Tcp | Link::Pair),
            _ => false,
        }
    }

    pub fn is_shared(&self, file: usize) -> bool {
        self.shares && file + 2 >= self.files
    }

    /// Whether a step like this is in it.
    pub fn has(&self, is_it: impl Fn(Verb) -> bool) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Do { verb, .. } if is_it(*verb)))
    }

    /// A shorter program that fails as well: pieces are left out as long as it does.
    pub fn shrink(&self, fails: impl Fn(&Program) -> bool) -> Program {
        let mut program = self.clone();
        let mut piece = program.steps.len() / 2;
        while piece > 0 {
            let mut start = 0;
            while start < program.steps.len() {
                let mut shorter = program.clone();
                shorter.steps.drain(start..(start + piece).min(program.steps.len()));
                match fails(&shorter) {
                    true => program = shorter,
                    false => start += piece,
                }
            }
            piece /= 2;
        }
        program
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "seed {}: {} files (shared: {}, append mode: {}), links {:?}, {} listeners, depth {}, window {},",
            self.seed, self.files, self.shares, self.appends, self.links, self.listeners, self.depth, self.window
        )?;
        writeln!(
            out,
            "faults in per cent: short {}, late {}, slow readers {}, EIO {}, resets {}; small disk: {}, {} descriptors \
             more, {} queue entries",
            self.short_transfers,
            self.delays,
            self.slow_readers,
            self.disk_errors,
            self.resets,
            self.disk_is_small,
            self.descriptors,
            self.queue_entries
        )?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(out, "  {number}: {step:?}"))
    }
}
