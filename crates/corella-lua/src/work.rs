//! What a stream can be asked to do, and which step comes next. Data and decisions only; `stream.rs` carries them out.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use corella::{ErrorKind, OpenOptions, RequestId};

use mlua::AnyUserData;

use crate::child::Side;
use crate::encoding::{Encoding, Unwritable};
use crate::failure::{Failure, OperationError};
use crate::input::Input;
use crate::request::{Outcome, Request};

/// So much is read ahead, and comes together before it is written out, unless the script says otherwise.
pub(crate) const BUFFER_SIZE: usize = 16 * 1024;
/// The largest that a script may ask for.
pub(crate) const BUFFER_SIZE_MAX: usize = 1 << 28;
/// What ends a record unless the script says otherwise.
pub(crate) const LINE_END: &[u8] = b"\n";

/// When output is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Buffering {
    /// With each print.
    None,
    /// With a print that has a line end, and when the buffer is full.
    Line,
    /// When the buffer is full.
    Full,
}

/// One thing to do, in its turn.
pub(crate) enum Work {
    /// It gives the script's handle.
    Open {
        path: PathBuf,
        options: OpenOptions,
        handle: AnyUserData,
    },
    /// It gives the script's handle, too.
    Start {
        /// Until it has been started.
        command: Option<Box<Command>>,
        side: Side,
        handle: AnyUserData,
    },
    /// Bytes as they are to be written.
    Print {
        bytes: Vec<u8>,
        count: u64,
        has_line_end: bool,
    },
    /// So many characters.
    Read {
        length: u64,
    },
    /// To the end of a record, which is text of the script's, or so many bytes of it.
    ReadLine {
        separator: Rc<[u8]>,
        limit: u64,
    },
    ReadAll,
    /// So many characters, which the next read will get again.
    Peek {
        length: u64,
    },
    /// What there is, at most so much.
    Receive {
        most: u64,
    },
    Seek {
        to: SeekFrom,
    },
    Flush,
    Close,
    Positioned(Positioned),
}

/// What goes to the engine in its turn and does not hold up what comes after it.
pub(crate) enum Positioned {
    ReadAt { length: usize, offset: u64 },
    WriteAt { bytes: Vec<u8>, offset: u64 },
    Sync,
    Truncate { length: u64 },
}

impl Work {
    /// Bytes to print.
    pub(crate) fn print(bytes: Vec<u8>) -> Work {
        Work::Print { count: bytes.len() as u64, has_line_end: memchr::memchr(b'\n', &bytes).is_some(), bytes }
    }

    /// Its name in errors.
    pub(crate) fn name(&self) -> String {
        match self {
            Work::Open { .. } | Work::Start { .. } => "open".into(),
            Work::Print { count, .. } => format!("print {count} bytes"),
            Work::Read { length } => format!("read {length} bytes"),
            Work::ReadLine { .. } => "readline".into(),
            Work::Peek { length } => format!("peek {length} bytes"),
            Work::ReadAll => "readall".into(),
            Work::Receive { most } => format!("recv {most} bytes"),
            Work::Seek { to: SeekFrom::Start(offset) } => format!("seek to {offset}"),
            Work::Seek { to: SeekFrom::Current(offset) } => format!("seek by {offset}"),
            Work::Seek { to: SeekFrom::End(offset) } => format!("seek to {offset} from the end"),
            Work::Flush => "flush".into(),
            Work::Close => "close".into(),
            Work::Positioned(Positioned::ReadAt { length, offset }) => format!("read_at {length} bytes at {offset}"),
            Work::Positioned(Positioned::WriteAt { bytes, offset }) => {
                format!("write_at {} bytes at {offset}", bytes.len())
            }
            Work::Positioned(Positioned::Sync) => "sync".into(),
            Work::Positioned(Positioned::Truncate { length }) => format!("truncate to {length} bytes"),
        }
    }

    /// Whether what it gives is taken from the input.
    pub(crate) fn takes(&self) -> bool {
        matches!(self, Work::Read { .. } | Work::ReadLine { .. } | Work::ReadAll | Work::Receive { .. })
    }

    pub(crate) fn reads(&self) -> bool {
        matches!(
            self,
            Work::Read { .. }
                | Work::ReadLine { .. }
                | Work::ReadAll
                | Work::Peek { .. }
                | Work::Receive { .. }
                | Work::Positioned(Positioned::ReadAt { .. })
        )
    }

    pub(crate) fn writes(&self) -> bool {
        let positioned = matches!(self, Work::Positioned(Positioned::WriteAt { .. } | Positioned::Truncate { .. }));
        positioned || matches!(self, Work::Print { .. })
    }
}

/// A request in a stream's queue.
pub(crate) struct Entry {
    pub(crate) request: Rc<Request>,
    pub(crate) work: Work,
    /// How the handle's bytes were text when it was asked for.
    pub(crate) encoding: Encoding,
    /// When it is out of time.
    pub(crate) due: Option<Duration>,
    /// The sleep that will say so.
    pub(crate) timer: Option<RequestId>,
    /// It was asked to stop while the OS had it.
    pub(crate) stopped: Option<ErrorKind>,
    /// A read of its own found the end.
    pub(crate) at_end: bool,
    /// What went wrong on the way to a close.
    pub(crate) failure: Option<Failure>,
}

/// What to do next.
pub(crate) enum Step {
    /// Nothing is asked for.
    Rest,
    /// The front entry has come to its end.
    Settle(Result<Outcome, Failure>),
    /// The front entry needs one of these first.
    Open(PathBuf, OpenOptions),
    Start(Command),
    Fill(usize),
    WriteOut(Vec<u8>),
    FindEnd,
    SeekEngine(SeekFrom),
    Close,
    /// The front entry goes to the engine.
    PassOn,
}

/// How far a stream is from being usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    New,
    Opening,
    Open,
    /// A close is in the queue; nothing new is taken.
    Closing,
    Closed,
}

/// The buffers of a stream, and who waits for them.
pub(crate) struct Buffers {
    pub(crate) life: Life,
    /// What errors call it.
    pub(crate) name: Rc<str>,
    pub(crate) can_read: bool,
    pub(crate) can_write: bool,
    /// Writes go to the end, wherever that is.
    pub(crate) appends: bool,
    /// It has places: the position is kept here and the engine told it with each transfer.
    pub(crate) can_seek: bool,
    pub(crate) queue: VecDeque<Entry>,
    pub(crate) input: Input,
    pub(crate) output: Vec<u8>,
    pub(crate) buffering: Buffering,
    /// How many bytes are read ahead, and how many come together before they are written out.
    pub(crate) buffer_size: usize,
    /// How much the next read ahead may ask for.
    pub(crate) ahead: usize,
    pub(crate) encoding: Encoding,
    /// What ends a record: text of the script's.
    pub(crate) separator: Rc<[u8]>,
    /// How it was opened, as a script says it.
    pub(crate) mode: &'static str,
    /// It is standard output: once nobody reads it the program ends.
    pub(crate) is_standard_output: bool,
    /// Where the script is: buffered input comes after it, buffered output before it.
    pub(crate) position: u64,
    /// How many times it has been opened or moved.
    pub(crate) moves: u32,
    /// Records of the input are on loan to the Lua side.
    pub(crate) is_lent: bool,
    /// What was given back meanwhile: it comes before the input once they are back.
    pub(crate) given_back: Vec<u8>,
    /// What is being received was told to stop, as something was given back.
    pub(crate) is_recalled: bool,
    /// The last read met the end.
    pub(crate) eof: bool,
    /// Output written in the background failed; the next to write is told.
    pub(crate) deferred: Option<Failure>,
}

impl Buffers {
    /// Why nothing can be asked of it.
    pub(crate) fn not_open(&self, operation: impl Into<String>) -> OperationError {
        match self.life {
            Life::New => OperationError::new(ErrorKind::Closed, operation, &*self.name, "the handle is not open"),
            _ => OperationError::closed(operation, &*self.name),
        }
    }

    /// Whether it takes requests.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open | Life::Opening)
    }

    /// Has text stand as it does in the file: what is printed, and the end of a record.
    pub(crate) fn encode(&self, work: &mut Work) -> Result<(), OperationError> {
        if self.encoding == Encoding::Binary {
            return Ok(());
        }
        let name = work.name();
        let refused = |unwritable: Unwritable| {
            let offset = unwritable.offset as u64;
            OperationError::not_text(name, &*self.name, unwritable.why, offset, Vec::new())
        };
        match work {
            Work::Print { bytes, count, .. } => {
                *bytes = self.encoding.encode(std::mem::take(bytes)).map_err(refused)?;
                *count = bytes.len() as u64;
            }
            Work::ReadLine { separator, .. } => {
                *separator = self.encoding.encode(separator.to_vec()).map_err(refused)?.into();
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn stopped(&self, entry: &Entry, kind: ErrorKind) -> Failure {
        OperationError::stopped(kind, entry.work.name(), &*self.name).into()
    }

    /// What the front entry is called in errors.
    pub(crate) fn front_name(&self) -> String {
        self.queue.front().map(|entry| entry.work.name()).unwrap_or_default()
    }

    /// Decides the next step of the front entry.
    pub(crate) fn next_step(&mut self) -> Step {
        let Some(mut entry) = self.queue.pop_front() else { return Step::Rest };
        let step = self.step_of(&mut entry);
        self.queue.push_front(entry);
        step
    }

    fn step_of(&mut self, entry: &mut Entry) -> Step {
        match (&mut entry.work, self.life) {
            (Work::Open { path, options, .. }, _) => return Step::Open(path.clone(), *options),
            (Work::Start { command, .. }, _) => {
                return command.take().map_or(Step::Rest, |command| Step::Start(*command));
            }
            (_, Life::Open | Life::Closing) => {}
            _ => return Step::Settle(Err(self.not_open(entry.work.name()).into())),
        }
        if let Work::Print { .. } = entry.work {
            return self.print(entry);
        }
        if !self.output.is_empty() && entry.failure.is_none() {
            return Step::WriteOut(std::mem::take(&mut self.output));
        }
        match &entry.work {
            Work::Read { .. } | Work::ReadLine { .. } | Work::ReadAll | Work::Receive { .. } | Work::Peek { .. } => {
                self.read(entry)
            }
            Work::Seek { to } => self.seek(*to),
            Work::Close => Step::Close,
            Work::Flush => match self.deferred.take() {
                Some(failure) => Step::Settle(Err(failure)),
                None => Step::Settle(Ok(Outcome::Nothing)),
            },
            Work::Positioned(positioned) => {
                if matches!(positioned, Positioned::WriteAt { .. } | Positioned::Truncate { .. }) && self.can_seek {
                    // What was read ahead may be out of date.
                    self.input.clear();
                }
                Step::PassOn
            }
            Work::Open { .. } | Work::Start { .. } | Work::Print { .. } => Step::Rest,
        }
    }

    fn print(&mut self, entry: &mut Entry) -> Step {
        if let Some(failure) = self.deferred.take() {
            return Step::Settle(Err(failure));
        }
        let Work::Print { bytes, count, has_line_end } = &mut entry.work else { return Step::Rest };
        let (bytes, has_line_end) = (std::mem::take(bytes), *has_line_end);
        if bytes.is_empty() {
            return Step::Settle(Ok(Outcome::Count(*count)));
        }
        self.accept(&bytes);
        match self.is_output_due(has_line_end) {
            true => Step::WriteOut(std::mem::take(&mut self.output)),
            false => Step::Settle(Ok(Outcome::Count(*count))),
        }
    }

    /// Takes bytes into the output.
    pub(crate) fn accept(&mut self, bytes: &[u8]) {
        if self.can_seek {
            self.input.clear();
        }
        self.position += bytes.len() as u64;
        self.output.extend_from_slice(bytes);
    }

    fn is_output_due(&self, has_line_end: bool) -> bool {
        let is_full = self.output.len() >= self.buffer_size;
        match self.buffering {
            Buffering::None => true,
            Buffering::Line => has_line_end || is_full,
            Buffering::Full => is_full,
        }
    }

    /// Where output of so many bytes goes that was just taken; nothing for streams and appends.
    pub(crate) fn place_of_output(&self, count: usize) -> Option<u64> {
        (self.can_seek && !self.appends).then(|| self.position.saturating_sub(count as u64))
    }

    /// Whether so many bytes of output can be taken with nothing to wait for.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        let is_quiet = self.life == Life::Open && self.queue.is_empty() && self.deferred.is_none();
        let is_plain = self.buffering == Buffering::Full && self.encoding == Encoding::Binary;
        is_quiet && self.can_write && is_plain && self.output.len() + count < self.buffer_size
    }

    fn seek(&mut self, to: SeekFrom) -> Step {
        if !self.can_seek {
            return Step::SeekEngine(to);
        }
        let place = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(_) => return Step::FindEnd,
        };
        Step::Settle(self.move_to(place, to))
    }

    /// Moves the position. The largest offset that the OS knows is that of a signed number.
    pub(crate) fn move_to(&mut self, place: Option<u64>, to: SeekFrom) -> Result<Outcome, Failure> {
        match place.filter(|place| i64::try_from(*place).is_ok()) {
            Some(place) => {
                self.input.clear();
                self.moves = self.moves.wrapping_add(1);
                self.ahead = self.buffer_size;
                self.eof = false;
                self.position = place;
                Ok(Outcome::Count(place))
            }
            None => {
                let why = "it is before the start, or farther than a file can reach";
                Err(OperationError::invalid(Work::Seek { to }.name(), &*self.name, why).into())
            }
        }
    }
}

impl Entry {
    pub(crate) fn new(request: &Rc<Request>, work: Work, encoding: Encoding, due: Option<Duration>) -> Entry {
        Entry {
            request: Rc::clone(request),
            work,
            encoding,
            due,
            timer: None,
            stopped: None,
            at_end: false,
            failure: None,
        }
    }
}
