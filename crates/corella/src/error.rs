//! Errors: what failed, on which target, and the OS's own code.

use std::fmt;
use std::io;

/// Why an operation did not do what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused; [`Error::os_code`] has its code.
    Os,
    /// It was cancelled: by its token, by `cancel`, or by the close of its handle.
    Cancelled,
    /// Its deadline passed.
    TimedOut,
    /// The handle is closed, or being closed.
    Closed,
    /// An earlier write on the same lane failed; this one was not started, so that the stream has no gap.
    LaneBroken,
    /// A limit set at start is reached; nothing was started.
    Rejected,
    /// The scheduler has ended.
    SchedulerGone,
    /// This is a forked child of the process that made the scheduler.
    WrongProcess,
    /// `wait` was called inside a task or a callback, where it would stop everybody else.
    WaitInsideTask,
    /// `run`, `poll` or `block_on` was called inside a task or a callback.
    NestedRun,
    /// The arguments cannot be right; nothing was started.
    InvalidInput,
    /// The end came before all the bytes that were asked for.
    UnexpectedEnd,
    /// A name could not be resolved.
    NameNotResolved,
    /// The task was killed.
    Killed,
    /// The task panicked.
    Panicked,
    /// The handle has other users or requests in flight, so it cannot be handed over.
    Busy,
}

impl ErrorKind {
    fn reason(self) -> &'static str {
        match self {
            ErrorKind::Os => "the operating system refused",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::TimedOut => "deadline passed",
            ErrorKind::Closed => "the handle is closed",
            ErrorKind::LaneBroken => "an earlier write on this handle failed",
            ErrorKind::Rejected => "rejected, a limit is reached",
            ErrorKind::SchedulerGone => "the scheduler has ended",
            ErrorKind::WrongProcess => "called in a forked child of the scheduler's process",
            ErrorKind::WaitInsideTask => "`wait` inside a task or callback; use `await` or `then`",
            ErrorKind::NestedRun => "the scheduler is already running",
            ErrorKind::InvalidInput => "invalid input",
            ErrorKind::UnexpectedEnd => "the end came too early",
            ErrorKind::NameNotResolved => "the name does not resolve",
            ErrorKind::Killed => "the task was killed",
            ErrorKind::Panicked => "the task panicked",
            ErrorKind::Busy => "the handle has other clones or requests in flight",
        }
    }
}

/// An error with the operation and the target that it belongs to.
///
/// Displayed as `read_at 4096 bytes at 8192 of data.bin: Input/output error (os error 5)`.
pub struct Error {
    detail: Box<Detail>,
}

#[derive(Clone)]
struct Detail {
    kind: ErrorKind,
    os_code: Option<i32>,
    operation: String,
    target: String,
    /// More than the kind says, where there is more to say.
    note: Option<String>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: impl Into<String>, target: impl Into<String>) -> Error {
        Error {
            detail: Box::new(Detail {
                kind,
                os_code: None,
                operation: operation.into(),
                target: target.into(),
                note: None,
            }),
        }
    }

    pub(crate) fn from_os(code: i32, operation: impl Into<String>, target: impl Into<String>) -> Error {
        let mut error = Error::new(ErrorKind::Os, operation, target);
        error.detail.os_code = Some(code);
        error
    }

    /// Takes the code out of a `std::io::Error`, or its text where it has no code.
    pub(crate) fn from_io(error: &io::Error, operation: impl Into<String>, target: impl Into<String>) -> Error {
        match error.raw_os_error() {
            Some(code) => Error::from_os(code, operation, target),
            None => Error::new(ErrorKind::InvalidInput, operation, target).with_note(error.to_string()),
        }
    }

    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Error {
        self.detail.note = Some(note.into());
        self
    }

    /// An argument's error, which the OS has told of.
    pub(crate) fn into_invalid_input(mut self, note: &str) -> Error {
        self.detail.kind = ErrorKind::InvalidInput;
        self.with_note(note)
    }

    pub(crate) fn with_target(mut self, target: impl Into<String>) -> Error {
        self.detail.target = target.into();
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.detail.kind
    }

    /// The OS's error code (`errno` on Unix), where the OS gave one.
    pub fn os_code(&self) -> Option<i32> {
        self.detail.os_code
    }

    /// The operation with its numbers, such as `read_at 4096 bytes at 8192`.
    pub fn operation(&self) -> &str {
        &self.detail.operation
    }

    /// What it was done to: a path, an address, a name. Empty where there is none.
    pub fn target(&self) -> &str {
        &self.detail.target
    }

    /// The reason alone, without operation and target.
    pub fn reason(&self) -> String {
        let mut text = match self.detail.os_code {
            Some(code) => io::Error::from_raw_os_error(code).to_string(),
            None => self.detail.kind.reason().to_string(),
        };
        if let Some(note) = &self.detail.note {
            text.push_str(": ");
            text.push_str(note);
        }
        text
    }
}

impl Clone for Error {
    fn clone(&self) -> Error {
        Error { detail: self.detail.clone() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &*self.detail;
        formatter.write_str(&detail.operation)?;
        if !detail.target.is_empty() {
            write!(formatter, " of {}", detail.target)?;
        }
        write!(formatter, ": {}", self.reason())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}({self})", self.detail.kind)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.detail.kind {
            ErrorKind::Os => {
                error.os_code().map_or(io::ErrorKind::Other, |code| io::Error::from_raw_os_error(code).kind())
            }
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Cancelled | ErrorKind::Killed => io::ErrorKind::Interrupted,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            ErrorKind::LaneBroken => io::ErrorKind::BrokenPipe,
            ErrorKind::Rejected => io::ErrorKind::QuotaExceeded,
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::UnexpectedEnd => io::ErrorKind::UnexpectedEof,
            ErrorKind::NameNotResolved => io::ErrorKind::NotFound,
            ErrorKind::Busy => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// How much of a transfer happened before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It never started.
    NotStarted,
    /// It started, and exactly this many bytes moved.
    Bytes(u64),
    /// It started, and the OS cannot say how much it did.
    Unknown,
}

impl Moved {
    /// The bytes known to have moved.
    pub fn bytes(self) -> u64 {
        match self {
            Moved::Bytes(count) => count,
            Moved::NotStarted | Moved::Unknown => 0,
        }
    }
}

/// A transfer that failed: why, how far it got, and the buffer back.
pub struct Failed<B> {
    /// Why it failed.
    pub error: Error,
    /// The caller's buffer. After a failed read its first [`Moved::bytes`] bytes are filled.
    pub buffer: B,
    /// How far it got.
    pub moved: Moved,
}

impl<B> fmt::Debug for Failed<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Failed({:?}, {:?})", self.error, self.moved)
    }
}

impl<B> fmt::Display for Failed<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}

impl<B> std::error::Error for Failed<B> {}

impl<B> From<Failed<B>> for io::Error {
    fn from(failed: Failed<B>) -> io::Error {
        failed.error.into()
    }
}

impl<B> From<Failed<B>> for Error {
    fn from(failed: Failed<B>) -> Error {
        failed.error
    }
}
