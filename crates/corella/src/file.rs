//! Files: what a program holds of a regular file, a pipe, a terminal or a device.

use std::io::SeekFrom;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;

use crate::backend::{
    Descriptor, Nature, OwnedFile, RawDescriptor, StandardStream, Value, WaitsBy, codes, duplicate, from_file,
    into_file, is_terminal, set_cursor,
};
use crate::buffer::{Buffer, BufferMut, Parts, ReadToEnd};
use crate::error::{Error, ErrorKind};
use crate::fs::{FileKind, Stat, os_path};
use crate::op::{At, Class, Extent, Op, OpenOptions, SeekTo, Transfer};
use crate::operation::{Action, ActionReport, Operation, Plan, Sealed};
use crate::plain::{HandleRef, Plain, Reading, Writing};
use crate::queue::handles::{Handle, Target};
use crate::scheduler::Io;

/// The usual ways to open a file. [`OpenOptions`] has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading; it must exist.
    Read,
    /// For writing; made if need be, otherwise emptied.
    Write,
    /// For writing at its end; made if need be.
    Append,
    /// For both; made if need be, and not emptied.
    ReadWrite,
}

/// The permissions of a new file before the process's mask.
const FILE_PERMISSIONS: u32 = 0o666;

impl From<Mode> for OpenOptions {
    fn from(mode: Mode) -> OpenOptions {
        let options = OpenOptions::new();
        match mode {
            Mode::Read => options.read(true),
            Mode::Write => options.write(true).create(true).truncate(true),
            Mode::Append => options.append(true).create(true),
            Mode::ReadWrite => options.read(true).write(true).create(true),
        }
    }
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}

/// ```
/// use corella::{OpenOptions, Scheduler};
/// # fn main() -> Result<(), corella::Error> {
/// let scheduler = Scheduler::new()?;
/// let path = std::env::temp_dir().join("corella-options-example");
/// let options = OpenOptions::new().write(true).create(true).permissions(0o600);
/// let file = scheduler.io().open(&path, options).wait()?;
/// assert_eq!(file.stat().wait()?.permissions, 0o600);
/// # std::fs::remove_file(path).unwrap();
/// # Ok(()) }
/// ```
impl OpenOptions {
    /// Nothing chosen yet.
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            create: false,
            create_new: false,
            truncate: false,
            direct: false,
            permissions: FILE_PERMISSIONS,
        }
    }

    /// For reading.
    pub fn read(mut self, yes: bool) -> Self {
        self.read = yes;
        self
    }

    /// For writing.
    pub fn write(mut self, yes: bool) -> Self {
        self.write = yes;
        self
    }

    /// Every write goes to the end of the file as it then is. Positioned writes are refused, as the OS would append
    /// them as well (see pwrite(2)).
    pub fn append(mut self, yes: bool) -> Self {
        self.append = yes;
        self
    }

    /// Made if it does not exist.
    pub fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Made, and an error if it exists.
    pub fn create_new(mut self, yes: bool) -> Self {
        self.create_new = yes;
        self
    }

    /// Emptied.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn truncate(mut self, yes: bool) -> Self {
        self.truncate = yes;
        self
    }

    /// Past the page cache (O_DIRECT): buffers, offsets and lengths must be aligned to the device's blocks. Linux and
    /// FreeBSD; elsewhere it changes nothing.
    pub fn direct(mut self, yes: bool) -> Self {
        self.direct = yes;
        self
    }

    /// The permissions of a file that is made, before the process's mask (default `0o666`).
    pub fn permissions(mut self, bits: u32) -> Self {
        self.permissions = bits & 0o7777;
        self
    }
}

/// Gives a file that has been opened.
#[derive(Debug)]
pub struct Opening {
    path: Rc<str>,
    options: OpenOptions,
}

impl Sealed for Opening {}

impl Action for Opening {
    type Output = File;
    type Error = Error;

    fn finish(self, io: &Io, report: ActionReport) -> Result<File, Error> {
        let Value::Descriptor(descriptor) = report.0.result? else { unreachable!("open gives a descriptor") };
        let operation = Op::Open { path: std::sync::Arc::from(c""), options: self.options }.to_string();
        let fault = |error: std::io::Error| Error::from_io(&error, operation.clone(), &*self.path);
        let core = io.core(&operation)?;
        let nature = core.queue.borrow().backend.nature(&descriptor).map_err(fault)?;
        let class = match nature.kind {
            FileKind::Directory => return Err(Error::from_os(codes::EISDIR, operation, &*self.path)),
            FileKind::File | FileKind::BlockDevice => Class::File { append: self.options.append },
            _ => Class::Stream,
        };
        if class == Class::Stream {
            core.queue.borrow().backend.take_in(&descriptor).map_err(fault)?;
        }
        let is_nonblocking = nature.kind == FileKind::CharacterDevice
            && core.queue.borrow().backend.habits(&descriptor).map_err(fault)?.nonblocking;
        let mut handle = Handle::new(descriptor, class, Target::Path(Rc::clone(&self.path)));
        handle.waits_by = waits_by(nature, is_nonblocking);
        handle.known_end = nature.size;
        let key = core.queue.borrow_mut().adopt(handle);
        Ok(File { handle: HandleRef::new(io.clone(), key, Some(self.path)) })
    }
}

/// How the requests of a handle wait.
fn waits_by(nature: Nature, is_nonblocking: bool) -> WaitsBy {
    match nature.is_answered_by_program {
        true => WaitsBy::Patience,
        false if is_nonblocking => WaitsBy::Readiness,
        false => WaitsBy::Class,
    }
}

/// Gives the place of the cursor.
#[derive(Debug)]
pub struct Seeking;

impl Sealed for Seeking {}

impl Action for Seeking {
    type Output = u64;
    type Error = Error;

    fn finish(self, _io: &Io, report: ActionReport) -> Result<u64, Error> {
        match report.0.result? {
            Value::Count(place) => Ok(place),
            other => unreachable!("seek gave {other:?}"),
        }
    }
}

/// A file, pipe, terminal or device. Clones are the same handle: they share its cursor and its order.
///
/// Dropping the last clone closes it in the background: queued writes go out first, reads are cancelled.
///
/// ```
/// use corella::{Mode, Scheduler};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut scheduler = Scheduler::new()?;
/// let path = std::env::temp_dir().join("corella-file-example");
/// let file = scheduler.io().open(&path, Mode::ReadWrite).wait()?;
/// // Submitted at once, carried out in order.
/// let first = file.write_at("hello", 0).submit()?;
/// let second = file.write_at("J", 0).submit()?;
/// let (count, text) = scheduler.block_on(file.read_at(vec![0; 5], 0))??;
/// assert_eq!((count, &text[..]), (5, &b"Jello"[..]));
/// # first.wait()?; second.wait()?; std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct File {
    pub(crate) handle: HandleRef,
}

impl File {
    fn reading<B: BufferMut + Unpin>(&self, at: At, extent: Extent, buffer: B) -> Operation<Reading<B>> {
        match at {
            At::Offset(offset) => self.handle.transfer(Transfer::Read(extent, offset), Reading(buffer)),
            At::Cursor => self.handle.operation(Op::Read { at, extent, parts: Parts::default() }, Reading(buffer)),
        }
    }

    /// Reads what there is at the cursor, up to the buffer's room. Zero is the end.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn read<B: BufferMut + Unpin>(&self, buffer: B) -> Operation<Reading<B>> {
        self.reading(At::Cursor, Extent::Some, buffer)
    }

    /// Reads at `offset` bytes from the start, up to the buffer's room. Zero is the end.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn read_at<B: BufferMut + Unpin>(&self, buffer: B, offset: u64) -> Operation<Reading<B>> {
        self.reading(At::Offset(offset), Extent::Some, buffer)
    }

    /// Fills the whole buffer from the cursor, or fails with `UnexpectedEnd`.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn read_exact<B: BufferMut + Unpin>(&self, buffer: B) -> Operation<Reading<B>> {
        self.reading(At::Cursor, Extent::Exact, buffer)
    }

    /// Fills the whole buffer from `offset`, or fails with `UnexpectedEnd`.
    ///
    /// A `Vec` is filled up to its length, and an empty one gets nothing: `vec![0; 64]`, or
    /// [`spare()`](crate::SpareCapacity::spare) to append into its capacity.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn read_exact_at<B: BufferMut + Unpin>(&self, buffer: B, offset: u64) -> Operation<Reading<B>> {
        self.reading(At::Offset(offset), Extent::Exact, buffer)
    }

    /// Appends everything from the cursor to the end to `bytes`.
    ///
    /// Gives `(usize, Vec<u8>)`, the bytes and the buffer; fails with [`Failed<Vec<u8>>`](crate::Failed), the buffer in it.
    pub fn read_to_end(&self, bytes: Vec<u8>) -> Operation<ReadToEnd> {
        let op = Op::Read { at: At::Cursor, extent: Extent::ToEnd, parts: Parts::default() };
        self.handle.operation(op, ReadToEnd::new(bytes))
    }

    /// Appends everything from `offset` to the end to `bytes`.
    ///
    /// Gives `(usize, Vec<u8>)`, the bytes and the buffer; fails with [`Failed<Vec<u8>>`](crate::Failed), the buffer in it.
    pub fn read_to_end_at(&self, bytes: Vec<u8>, offset: u64) -> Operation<ReadToEnd> {
        let op = Op::Read { at: At::Offset(offset), extent: Extent::ToEnd, parts: Parts::default() };
        self.handle.operation(op, ReadToEnd::new(bytes))
    }

    /// Writes the whole buffer at the cursor, or in append mode at the end.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn write<B: Buffer + Unpin>(&self, buffer: B) -> Operation<Writing<B>> {
        self.handle.operation(Op::Write { at: At::Cursor, parts: Parts::default() }, Writing(buffer))
    }

    /// Writes the whole buffer at `offset`. `InvalidInput` in append mode.
    ///
    /// Gives `(usize, B)`, the bytes and the buffer; fails with [`Failed<B>`](crate::Failed), the buffer in it.
    pub fn write_at<B: Buffer + Unpin>(&self, buffer: B, offset: u64) -> Operation<Writing<B>> {
        self.handle.operation(Op::Write { at: At::Offset(offset), parts: Parts::default() }, Writing(buffer))
    }

    /// Moves the cursor, in turn with the other operations at the cursor, and gives its place.
    ///
    /// Gives the place from the start; fails with [`Error`].
    pub fn seek(&self, to: SeekFrom) -> Operation<Seeking> {
        let to = match to {
            SeekFrom::Start(offset) => SeekTo::Start(offset),
            SeekFrom::Current(offset) => SeekTo::Current(offset),
            SeekFrom::End(offset) => SeekTo::End(offset),
        };
        self.handle.operation(Op::Seek { to }, Seeking)
    }

    /// Makes everything written so far durable, attributes included; fsync(2). Waits for all before it.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn sync(&self) -> Operation<Plain> {
        self.handle.operation(Op::Sync { data_only: false }, Plain)
    }

    /// As [`sync`](Self::sync), without the attributes that reading does not need; fdatasync(2).
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn sync_data(&self) -> Operation<Plain> {
        self.handle.operation(Op::Sync { data_only: true }, Plain)
    }

    /// Makes the file `length` bytes long. Waits for all before it and holds back all after.
    pub fn truncate(&self, length: u64) -> Operation<Plain> {
        self.handle.operation(Op::Truncate { length }, Plain)
    }

    /// Reserves `length` bytes from `offset`, growing the file; fallocate(2). The OS's error where a file system
    /// cannot.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn allocate(&self, offset: u64, length: u64) -> Operation<Plain> {
        self.handle.operation(Op::Allocate { offset, length }, Plain)
    }

    /// What the file system knows of the file.
    ///
    /// Gives [`Metadata`](crate::Metadata); fails with [`Error`].
    pub fn stat(&self) -> Operation<Stat> {
        self.handle.operation(Op::StatHandle, Stat)
    }

    /// Settles when everything before it on this handle has, and holds back everything after.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn barrier(&self) -> Operation<Plain> {
        self.handle.operation(Op::Barrier, Plain)
    }

    /// Closes the handle for all its clones: queued writes go out first (within the deadline), reads are cancelled.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn close(&self) -> Operation<Plain> {
        self.handle.close(false)
    }

    /// Closes the handle for all its clones; queued writes are cancelled too.
    ///
    /// Gives `()`; fails with [`Error`].
    pub fn close_now(&self) -> Operation<Plain> {
        self.handle.close(true)
    }

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        self.handle.is_open()
    }

    /// Whether it has places to seek to and to read at: a regular file or block device that this process opened.
    pub fn can_seek(&self) -> bool {
        let Ok(core) = self.handle.io.try_core() else { return false };
        let queue = core.queue.borrow();
        let index = queue.handles.find(self.handle.key);
        index.is_some_and(|index| matches!(queue.handles[index].class, Class::File { .. }))
    }

    /// Where the next operation at the cursor goes, in bytes from the start, once those submitted have settled.
    /// Always zero on pipes and terminals.
    pub fn cursor(&self) -> Result<u64, Error> {
        let core = self.handle.io.core("cursor")?;
        let queue = core.queue.borrow();
        match queue.handles.find(self.handle.key) {
            Some(index) => Ok(queue.handles[index].cursor),
            None => Err(Error::new(ErrorKind::Closed, "cursor", self.handle.closed_name())),
        }
    }

    /// What gives a child process this file, pipe or terminal as a standard stream: a second descriptor of the same.
    ///
    /// The child begins at this handle's cursor and moves its own.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scheduler = corella::Scheduler::new()?;
    /// # let io = scheduler.io();
    /// let (reader, writer) = io.pipe()?;
    /// let mut command = std::process::Command::new("echo");
    /// command.arg("by the child").stdout(writer.to_stdio()?);
    /// let child = io.start(command).wait()?;
    /// drop(writer);
    /// assert_eq!(reader.read_to_end(Vec::new()).wait()?.1, b"by the child\n");
    /// assert!(child.exit_status().wait()?.success());
    /// # Ok(()) }
    /// ```
    pub fn to_stdio(&self) -> Result<Stdio, Error> {
        self.duplicate(None)
    }

    /// As [`to_stdio`](Self::to_stdio), for a child that begins so many bytes from the start of a file.
    pub fn to_stdio_at(&self, offset: u64) -> Result<Stdio, Error> {
        self.duplicate(Some(offset))
    }

    fn duplicate(&self, offset: Option<u64>) -> Result<Stdio, Error> {
        let operation = "duplicate";
        let core = self.handle.io.core(operation)?;
        let queue = core.queue.borrow();
        let handle = queue.handles.find(self.handle.key).map(|index| &queue.handles[index]);
        let cursor = handle
            .and_then(|handle| matches!(handle.class, Class::File { .. }).then_some(offset.unwrap_or(handle.cursor)));
        match handle.and_then(|handle| handle.descriptor.as_ref()) {
            Some(Descriptor::Os(descriptor)) => {
                if let Some(cursor) = cursor {
                    // A file that cannot seek has no cursor to move.
                    let _ = set_cursor(descriptor, cursor);
                }
                let stdio = duplicate(descriptor).map(Stdio::from);
                stdio.map_err(|error| Error::from_io(&error, operation, self.handle.closed_name()))
            }
            Some(Descriptor::Simulated(_)) => {
                let error = Error::new(ErrorKind::InvalidInput, operation, self.handle.closed_name());
                Err(error.with_note("a simulated machine runs no programs"))
            }
            None => Err(Error::new(ErrorKind::Closed, operation, self.handle.closed_name())),
        }
    }

    /// Hands the descriptor back, its cursor moved to this handle's, with bytes that an abandoned read had received.
    ///
    /// `Busy`, with the file, while it has other clones or requests in flight.
    pub fn into_std(self) -> Result<(std::fs::File, Vec<u8>), (File, Error)> {
        let core = match self.handle.io.core("hand back") {
            Ok(core) => core,
            Err(error) => return Err((self, error)),
        };
        let given = core.queue.borrow_mut().give_away(self.handle.key, self.handle.is_the_only());
        match given {
            Ok((descriptor, handle)) => {
                if matches!(handle.class, Class::File { .. }) {
                    // A file that cannot seek has no cursor to move.
                    let _ = set_cursor(&descriptor, handle.cursor);
                }
                let received = handle.pushback.map_or_else(Vec::new, |pushback| pushback.into_parts().0);
                Ok((into_file(descriptor).into(), received))
            }
            Err(kind) => {
                let error = Error::new(kind, "hand back", self.handle.closed_name());
                Err((self, error))
            }
        }
    }
}

impl Io {
    /// Opens a file. `mode` is a [`Mode`] or [`OpenOptions`].
    ///
    /// Regular files, block devices, FIFOs and character devices; a directory is an error.
    ///
    /// Gives a [`File`]; fails with [`Error`].
    pub fn open(&self, path: impl AsRef<Path>, mode: impl Into<OpenOptions>) -> Operation<Opening> {
        let path = path.as_ref();
        let options: OpenOptions = mode.into();
        let action = Opening { path: path.to_string_lossy().into(), options };
        let operation = || Op::Open { path: std::sync::Arc::from(c""), options }.to_string();
        let plan = match os_path(path, &operation()) {
            Ok(path) => Plan::Op(Op::Open { path, options }),
            Err(error) => Plan::Invalid(error),
        };
        Operation::new(self.clone(), plan, action)
    }

    /// Takes a descriptor over as a file: one of the standard library's, or any that can be read or written.
    ///
    /// A regular file goes on at its present cursor. `name` is what errors call it. A description that others share
    /// (a standard stream) is better had from [`stdin`](Self::stdin) and its kin.
    pub fn adopt_file(&self, descriptor: impl Into<OwnedFile>, name: &str) -> Result<File, Error> {
        self.adopt(Descriptor::Os(from_file(descriptor.into())), Target::Path(name.into()), false)
    }

    /// A new pipe: what is written to the second is read from the first, whose end comes when the second is closed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scheduler = corella::Scheduler::new()?;
    /// let (reader, writer) = scheduler.io().pipe()?;
    /// writer.write("through the pipe").wait()?;
    /// writer.close().wait()?;
    /// assert_eq!(reader.read_to_end(Vec::new()).wait()?.1, b"through the pipe");
    /// # Ok(()) }
    /// ```
    pub fn pipe(&self) -> Result<(File, File), Error> {
        let made = self.core("pipe")?.queue.borrow().backend.pipe();
        let [reader, writer] = made.map_err(|error| Error::from_io(&error, "pipe", ""))?;
        let end = |descriptor| self.adopt(descriptor, Target::Static("a pipe"), false);
        Ok((end(reader)?, end(writer)?))
    }

    /// The process's standard input.
    pub fn stdin(&self) -> Result<File, Error> {
        self.standard(StandardStream::Input)
    }

    /// The process's standard output. Nothing buffered by the standard library goes through it.
    pub fn stdout(&self) -> Result<File, Error> {
        self.standard(StandardStream::Output)
    }

    /// The process's standard error output.
    pub fn stderr(&self) -> Result<File, Error> {
        self.standard(StandardStream::Error)
    }

    fn standard(&self, stream: StandardStream) -> Result<File, Error> {
        let descriptor = self.core("open")?.queue.borrow().backend.standard(stream);
        let descriptor = descriptor.map_err(|error| Error::from_io(&error, "open", stream.name()))?;
        self.adopt(descriptor, Target::Static(stream.name()), true)
    }

    fn adopt(&self, descriptor: Descriptor, target: Target, is_shared: bool) -> Result<File, Error> {
        let name = match &target {
            Target::Path(path) => path.to_string(),
            Target::Static(name) => (*name).to_string(),
            Target::Socket => String::new(),
        };
        let core = self.core("adopt")?;
        let fault = |error: std::io::Error| Error::from_io(&error, "adopt", name.clone());
        let nature = core.queue.borrow().backend.nature(&descriptor).map_err(fault)?;
        let habits = core.queue.borrow().backend.habits(&descriptor).map_err(fault)?;
        let class = match nature.kind {
            FileKind::Directory => return Err(Error::from_os(codes::EISDIR, "adopt", name)),
            FileKind::File | FileKind::BlockDevice if is_shared => Class::SharedFile,
            FileKind::File | FileKind::BlockDevice => Class::File { append: habits.appends },
            _ => Class::Stream,
        };
        let cursor = match class {
            Class::File { .. } => habits.cursor,
            _ => 0,
        };
        let mut handle = Handle::new(descriptor, class, target);
        handle.waits_by = waits_by(nature, class == Class::Stream && habits.nonblocking);
        handle.cursor = cursor;
        handle.known_end = nature.size;
        let key = core.queue.borrow_mut().adopt(handle);
        Ok(File { handle: HandleRef::new(self.clone(), key, Some(name.into())) })
    }
}

/// The descriptor as a number, for a look with tools; it stays the handle's.
impl File {
    /// The OS's number for it, or nothing once it is closed.
    pub fn descriptor_number(&self) -> Option<RawDescriptor> {
        let core = self.handle.io.try_core().ok()?;
        let queue = core.queue.borrow();
        let handle = &queue.handles[queue.handles.find(self.handle.key)?];
        handle.descriptor.as_ref().and_then(Descriptor::os_number)
    }

    /// Whether it is a terminal; never once it is closed.
    pub fn is_terminal(&self) -> bool {
        let Ok(core) = self.handle.io.try_core() else { return false };
        let queue = core.queue.borrow();
        let handle = queue.handles.find(self.handle.key).map(|index| &queue.handles[index]);
        handle.is_some_and(|handle| matches!(&handle.descriptor, Some(Descriptor::Os(os)) if is_terminal(os)))
    }
}
