//! Every operation, once, as data: its fields, its lane, what it conflicts with, and how it reads in an error.
//!
//! | operation | on a file | on a stream, pipe or socket | conflicts on a file with |
//! |---|---|---|---|
//! | `read_at` | range, reading | receive lane | overlapping writes; any write that may move an end it reaches |
//! | `write_at` | range, writing | send lane | overlapping reads and writes; past the known end: all that reach that end |
//! | `read`, `seek` | cursor | receive lane | the cursor, positioned writes, appends |
//! | `write`, `seek` from the end | cursor, writing | send lane | everything |
//! | `write` in append mode | append | – | everything |
//! | `stat` | end | send lane | writes that may move the end |
//! | `sync`, `truncate`, `allocate`, `barrier`, `close` | barrier | both lanes | everything |
//! | `send`, `send_to`, `shutdown` | – | send lane | |
//! | `recv`, `recv_from`, `accept` | – | receive lane | |
//! | `connect` | – | both lanes | |
//! | `exit_status` of a child | – | receive lane | |
//! | `readable`, `writable` | – | receive lane, send lane | |
//! | any positioned one, `.unordered()` | unordered | as without | barriers only |
//!
//! Within a lane of a stream everything conflicts, so it is first in, first out. Operations on paths, name
//! resolution, starts of programs and sleeps have no lane.

use std::ffi::CStr;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use crate::address::Address;
use crate::backend::Starter;
use crate::buffer::Parts;
use crate::fs::Entry;
use crate::planted::{self, Defect};

/// Where in a file a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At the handle's cursor; in append mode, a write goes to the end.
    Cursor,
    /// At this many bytes from the start.
    Offset(u64),
}

/// When a read is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// When anything came, or the end.
    Some,
    /// When the buffer is full; the end before that is an error.
    Exact,
    /// At the end. The buffer grows.
    ToEnd,
}

/// Where a cursor is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeekTo {
    Start(u64),
    Current(i64),
    End(i64),
}

/// Which direction of a connection to shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// No more receives.
    Read,
    /// No more sends; the peer reads an end. Queued sends go out first.
    Write,
    /// Both.
    Both,
}

/// How to open a path, in the terms of open(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) append: bool,
    pub(crate) create: bool,
    pub(crate) create_new: bool,
    pub(crate) truncate: bool,
    /// Past the page cache, with aligned buffers (O_DIRECT).
    pub(crate) direct: bool,
    /// Permissions of a file that is created, before the process's mask.
    pub(crate) permissions: u32,
}

/// An open directory being read. A lock, because the pool reads it.
pub(crate) type DirectoryReader = Arc<Mutex<Option<Entries>>>;

/// What is left of a directory.
pub(crate) struct Entries(pub(crate) Box<dyn Iterator<Item = io::Result<Entry>> + Send>);

impl fmt::Debug for Entries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Entries")
    }
}

/// One operation as plain data. No closures, no lifetimes.
#[derive(Debug)]
pub(crate) enum Op {
    // Neither handle nor OS.
    Sleep,

    // On paths and names: no lane, no order.
    Open { path: Arc<CStr>, options: OpenOptions },
    Stat { path: Arc<CStr>, follow: bool },
    Rename { from: Arc<CStr>, to: Arc<CStr> },
    Unlink { path: Arc<CStr> },
    MakeDirectory { path: Arc<CStr>, permissions: u32 },
    RemoveDirectory { path: Arc<CStr> },
    HardLink { from: Arc<CStr>, to: Arc<CStr> },
    SymbolicLink { content: Arc<CStr>, path: Arc<CStr> },
    ReadLink { path: Arc<CStr> },
    OpenDirectory { path: Arc<CStr> },
    ReadDirectory { reader: DirectoryReader, path: Arc<CStr> },
    SyncDirectory { path: Arc<CStr> },
    Resolve { name: Arc<str>, port: u16 },
    Start { program: Arc<str>, starter: Starter },

    // On files, pipes and terminals.
    Read { at: At, extent: Extent, parts: Parts },
    Write { at: At, parts: Parts },
    Seek { to: SeekTo },
    Sync { data_only: bool },
    Truncate { length: u64 },
    Allocate { offset: u64, length: u64 },
    StatHandle,

    // On sockets.
    Connect { address: Address },
    Accept,
    Recv { extent: Extent, parts: Parts },
    Send { parts: Parts },
    // One datagram; without an address it goes to the peer that the socket is connected to.
    RecvFrom { parts: Parts },
    SendTo { address: Option<Address>, parts: Parts },
    Shutdown { how: Shutdown },
    AwaitReady { writes: bool },

    // On a child.
    AwaitExit { pid: i32 },

    // On any handle.
    Barrier,
    Close,
}

/// A transfer of the hot path before its bytes are known: a `Recv`, a `Send` or a `Read` at an offset, of no more than there is
/// room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transfer {
    Receive(Extent),
    Send,
    Read(Extent, u64),
}

impl Transfer {
    /// What an operation is, if it is one on a handle of this class.
    #[inline(always)]
    pub(crate) fn of(op: &Op, class: Class) -> Option<Transfer> {
        let transfer = match op {
            Op::Recv { extent, .. } => Transfer::Receive(*extent),
            Op::Send { .. } => Transfer::Send,
            Op::Read { at: At::Offset(offset), extent, .. } => Transfer::Read(*extent, *offset),
            _ => return None,
        };
        transfer.suits(class).then_some(transfer)
    }

    /// Whether it is of the hot path on a handle of this class.
    #[inline(always)]
    pub(crate) fn suits(self, class: Class) -> bool {
        match self {
            Transfer::Receive(extent) => class == Class::Socket && extent != Extent::ToEnd,
            Transfer::Send => class == Class::Socket,
            Transfer::Read(extent, _) => matches!(class, Class::File { .. }) && extent != Extent::ToEnd,
        }
    }

    /// The same as an operation.
    #[inline(always)]
    pub(crate) fn op(self, parts: Parts) -> Op {
        match self {
            Transfer::Receive(extent) => Op::Recv { extent, parts },
            Transfer::Send => Op::Send { parts },
            Transfer::Read(extent, offset) => Op::Read { at: At::Offset(offset), extent, parts },
        }
    }
}

/// What sort of thing a handle refers to; decides its lanes and how a backend waits on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A regular file or block device that this process opened: the handle keeps the cursor.
    File { append: bool },
    /// A regular file whose description others share (a redirected standard stream): the OS keeps the cursor, so
    /// that what the others write goes on after it.
    SharedFile,
    /// A pipe, FIFO, terminal or character device.
    Stream,
    /// A socket for data.
    Socket,
    /// A listening socket.
    Listener,
    /// A socket for datagrams.
    Datagram,
    /// A child process, which ends once.
    Child,
}

/// The lanes of a handle, as a set. A file has one; a stream has one for each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lanes(u8);

impl Lanes {
    pub(crate) const COUNT: usize = 2;
    pub(crate) const NONE: Lanes = Lanes(0);
    /// A file's only lane, and the receive lane of a stream.
    pub(crate) const RECEIVE: Lanes = Lanes(1);
    pub(crate) const SEND: Lanes = Lanes(2);
    pub(crate) const BOTH: Lanes = Lanes(3);

    pub(crate) fn contains(self, lane: usize) -> bool {
        self.0 & (1 << lane) != 0
    }
}

/// How an operation uses its lane: what the conflict rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything in a stream's lane.
    Stream,
    /// Bytes `start..end` of a file.
    Range { start: u64, end: u64, write: bool },
    /// At the cursor, reading or moving it.
    CursorRead,
    /// At the cursor, writing, or in need of the final end.
    CursorWrite,
    /// At the end, wherever that is.
    Append,
    /// The file's length.
    End,
    /// Waits for all before it and holds back all after.
    Barrier,
    /// Taken out of the order by the program; only barriers count.
    Unordered,
}

impl Access {
    /// Whether it can be passed by other reads: those need no look at each other.
    pub(crate) fn only_reads(self) -> bool {
        matches!(self, Access::Range { write: false, .. } | Access::End | Access::Unordered)
    }

    /// The range with the end of the file taken into account: what passes the known end reaches everything there.
    fn reach(start: u64, end: u64, known_end: u64) -> (u64, u64) {
        let extends = end > known_end && !planted::is(Defect::ExtendingWriteNotHeldBack);
        if extends { (start.min(known_end), u64::MAX) } else { (start, end) }
    }
}

/// Whether two requests on one lane must not be carried out at once. Symmetric.
///
/// `known_end` is the handle's knowledge of the file's length: a write beyond it may move the end of the file, and
/// then ranges that do not overlap still meet there (a read at 100 beside a write at 300 of a shorter file returns
/// nothing or zeros, as the write falls).
pub(crate) fn conflicts(one: Access, other: Access, known_end: u64) -> bool {
    use Access::*;
    match (one, other) {
        (Barrier, Unordered) | (Unordered, Barrier) if planted::is(Defect::UnorderedPassesBarriers) => false,
        (Barrier, _) | (_, Barrier) => !planted::is(Defect::BarrierDoesNotWait),
        (Unordered, _) | (_, Unordered) => false,
        (Append, Range { .. } | End) | (Range { .. } | End, Append) if planted::is(Defect::AppendPassesPositioned) => {
            false
        }
        (Stream, _) | (_, Stream) => !planted::is(Defect::LaneForgetsOrder),
        (Append | CursorWrite, _) | (_, Append | CursorWrite) => true,
        (CursorRead, CursorRead) => !planted::is(Defect::LaneForgetsOrder),
        (CursorRead, Range { write, .. }) | (Range { write, .. }, CursorRead) => write,
        (CursorRead, End) | (End, CursorRead) | (End, End) => false,
        (Range { end, write, .. }, End) | (End, Range { end, write, .. }) => write && end > known_end,
        (
            Range { start: first, end: first_end, write: first_writes },
            Range { start: second, end: second_end, write: second_writes },
        ) => {
            let (first, first_end) = Access::reach(first, first_end, known_end);
            let (second, second_end) = Access::reach(second, second_end, known_end);
            let overlap = first < second_end && second < first_end && !planted::is(Defect::OverlapNotHeldBack);
            (first_writes || second_writes) && overlap
        }
    }
}

impl Op {
    /// The lanes it takes on a handle of this class.
    pub(crate) fn lanes(&self, class: Class) -> Lanes {
        match self {
            Op::Sleep
            | Op::Open { .. }
            | Op::Stat { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::MakeDirectory { .. }
            | Op::RemoveDirectory { .. }
            | Op::HardLink { .. }
            | Op::SymbolicLink { .. }
            | Op::ReadLink { .. }
            | Op::OpenDirectory { .. }
            | Op::ReadDirectory { .. }
            | Op::SyncDirectory { .. }
            | Op::Resolve { .. }
            | Op::Start { .. } => Lanes::NONE,
            _ => match class {
                Class::File { .. } => Lanes::RECEIVE,
                Class::SharedFile => Lanes::BOTH,
                _ => match self {
                    Op::Read { .. }
                    | Op::Recv { .. }
                    | Op::RecvFrom { .. }
                    | Op::Accept
                    | Op::AwaitExit { .. }
                    | Op::AwaitReady { writes: false }
                    | Op::Seek { .. } => Lanes::RECEIVE,
                    Op::Write { .. }
                    | Op::Send { .. }
                    | Op::SendTo { .. }
                    | Op::AwaitReady { .. }
                    | Op::Shutdown { .. }
                    | Op::StatHandle => Lanes::SEND,
                    _ => Lanes::BOTH,
                },
            },
        }
    }

    /// How it uses its lane.
    pub(crate) fn access(&self, class: Class, unordered: bool) -> Access {
        let Class::File { append } = class else {
            return match self {
                Op::Barrier | Op::Close | Op::Sync { .. } | Op::Truncate { .. } | Op::Allocate { .. } => {
                    Access::Barrier
                }
                _ => Access::Stream,
            };
        };
        match self {
            Op::Read { at: At::Offset(_), .. } | Op::Write { at: At::Offset(_), .. } if unordered => Access::Unordered,
            Op::Read { at: At::Offset(start), extent: Extent::ToEnd, .. } => {
                Access::Range { start: *start, end: u64::MAX, write: false }
            }
            Op::Read { at: At::Offset(start), parts, .. } => {
                Access::Range { start: *start, end: start.saturating_add(parts.total()), write: false }
            }
            Op::Write { at: At::Offset(start), parts } => {
                Access::Range { start: *start, end: start.saturating_add(parts.total()), write: true }
            }
            Op::Read { at: At::Cursor, .. } => Access::CursorRead,
            Op::Seek { to: SeekTo::End(_) } => Access::CursorWrite,
            Op::Seek { .. } => Access::CursorRead,
            Op::Write { at: At::Cursor, .. } if append => Access::Append,
            Op::Write { at: At::Cursor, .. } => Access::CursorWrite,
            Op::Sync { .. } if planted::is(Defect::SyncIsNoBarrier) => Access::Unordered,
            Op::StatHandle => Access::End,
            _ => Access::Barrier,
        }
    }

    /// The bytes of the buffer that the OS reads or fills, for operations that move bytes.
    pub(crate) fn parts(&self) -> Option<&Parts> {
        match self {
            Op::Read { parts, .. }
            | Op::Write { parts, .. }
            | Op::Recv { parts, .. }
            | Op::Send { parts }
            | Op::RecvFrom { parts }
            | Op::SendTo { parts, .. } => Some(parts),
            _ => None,
        }
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut Parts> {
        match self {
            Op::Read { parts, .. }
            | Op::Write { parts, .. }
            | Op::Recv { parts, .. }
            | Op::Send { parts }
            | Op::RecvFrom { parts }
            | Op::SendTo { parts, .. } => Some(parts),
            _ => None,
        }
    }

    /// Has it be none.
    #[inline]
    pub(crate) fn clear(&mut self) {
        match self {
            // These have nothing to drop; to find that out of any operation costs a call.
            Op::Recv { parts, .. } | Op::Send { parts } | Op::Read { parts, .. } | Op::Write { parts, .. }
                if parts.rest.capacity() == 0 =>
            {
                std::mem::forget(std::mem::replace(self, Op::Sleep));
            }
            _ => *self = Op::Sleep,
        }
    }

    /// The same operation without its bytes, for a backend that keeps those apart.
    pub(crate) fn without_parts(&self) -> Op {
        match self {
            Op::Sleep => Op::Sleep,
            Op::Open { path, options } => Op::Open { path: path.clone(), options: *options },
            Op::Stat { path, follow } => Op::Stat { path: path.clone(), follow: *follow },
            Op::Rename { from, to } => Op::Rename { from: from.clone(), to: to.clone() },
            Op::Unlink { path } => Op::Unlink { path: path.clone() },
            Op::MakeDirectory { path, permissions } => {
                Op::MakeDirectory { path: path.clone(), permissions: *permissions }
            }
            Op::RemoveDirectory { path } => Op::RemoveDirectory { path: path.clone() },
            Op::HardLink { from, to } => Op::HardLink { from: from.clone(), to: to.clone() },
            Op::SymbolicLink { content, path } => Op::SymbolicLink { content: content.clone(), path: path.clone() },
            Op::ReadLink { path } => Op::ReadLink { path: path.clone() },
            Op::OpenDirectory { path } => Op::OpenDirectory { path: path.clone() },
            Op::ReadDirectory { reader, path } => Op::ReadDirectory { reader: reader.clone(), path: path.clone() },
            Op::SyncDirectory { path } => Op::SyncDirectory { path: path.clone() },
            Op::Resolve { name, port } => Op::Resolve { name: name.clone(), port: *port },
            Op::Start { program, starter } => Op::Start { program: program.clone(), starter: starter.clone() },
            Op::AwaitExit { pid } => Op::AwaitExit { pid: *pid },
            Op::AwaitReady { writes } => Op::AwaitReady { writes: *writes },
            Op::Read { at, extent, .. } => Op::Read { at: *at, extent: *extent, parts: Parts::default() },
            Op::Write { at, .. } => Op::Write { at: *at, parts: Parts::default() },
            Op::Seek { to } => Op::Seek { to: *to },
            Op::Sync { data_only } => Op::Sync { data_only: *data_only },
            Op::Truncate { length } => Op::Truncate { length: *length },
            Op::Allocate { offset, length } => Op::Allocate { offset: *offset, length: *length },
            Op::StatHandle => Op::StatHandle,
            Op::Connect { address } => Op::Connect { address: address.clone() },
            Op::Accept => Op::Accept,
            Op::Recv { extent, .. } => Op::Recv { extent: *extent, parts: Parts::default() },
            Op::Send { .. } => Op::Send { parts: Parts::default() },
            Op::RecvFrom { .. } => Op::RecvFrom { parts: Parts::default() },
            Op::SendTo { address, .. } => Op::SendTo { address: address.clone(), parts: Parts::default() },
            Op::Shutdown { how } => Op::Shutdown { how: *how },
            Op::Barrier => Op::Barrier,
            Op::Close => Op::Close,
        }
    }

    /// Whether it takes bytes out of a stream, so that they are gone from it.
    pub(crate) fn is_stream_read(&self, class: Class) -> bool {
        match self {
            Op::Recv { .. } => true,
            Op::Read { at: At::Cursor, .. } => !matches!(class, Class::File { .. }),
            _ => false,
        }
    }

    /// How far a read must get; `None` for what does not read.
    pub(crate) fn extent(&self) -> Option<Extent> {
        match self {
            Op::Read { extent, .. } | Op::Recv { extent, .. } => Some(*extent),
            _ => None,
        }
    }

    /// Whether it puts bytes into a stream, so that a failure leaves a gap after which nothing may follow.
    pub(crate) fn is_stream_write(&self) -> bool {
        matches!(self, Op::Send { .. } | Op::Write { at: At::Cursor, .. })
    }

    /// Whether it is about one datagram, which the OS takes and gives whole or not at all.
    pub(crate) fn is_datagram(&self) -> bool {
        matches!(self, Op::RecvFrom { .. } | Op::SendTo { .. })
    }

    /// Whether a close cancels it, instead of waiting for it.
    pub(crate) fn ends_at_close(&self) -> bool {
        let takes = matches!(self, Op::Read { .. } | Op::Recv { .. } | Op::RecvFrom { .. } | Op::Accept);
        takes || matches!(self, Op::Connect { .. } | Op::AwaitExit { .. } | Op::AwaitReady { .. })
    }

    /// Whether a cancel settles it at once, while the OS may still be at it: nothing of a handle's depends on it.
    pub(crate) fn settles_when_cancelled(&self) -> bool {
        self.lanes(Class::Stream) == Lanes::NONE
    }

    /// The path or name that it is about, for operations without a handle.
    pub(crate) fn target(&self) -> String {
        match self {
            Op::Open { path, .. }
            | Op::Stat { path, .. }
            | Op::Rename { from: path, .. }
            | Op::Unlink { path }
            | Op::MakeDirectory { path, .. }
            | Op::RemoveDirectory { path }
            | Op::HardLink { from: path, .. }
            | Op::SymbolicLink { path, .. }
            | Op::ReadLink { path }
            | Op::OpenDirectory { path }
            | Op::ReadDirectory { path, .. }
            | Op::SyncDirectory { path } => path.to_string_lossy().into_owned(),
            Op::Resolve { name, port } => format!("{name}:{port}"),
            Op::Start { program, .. } => program.to_string(),
            _ => String::new(),
        }
    }
}

/// The operation with its numbers, as errors and `outstanding()` show it.
impl fmt::Display for Op {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Sleep => write!(out, "sleep"),
            Op::Open { options, .. } => {
                let mode = match (options.read, options.write, options.append) {
                    (_, _, true) => "appending",
                    (true, true, _) => "reading and writing",
                    (false, true, _) => "writing",
                    _ => "reading",
                };
                write!(out, "open for {mode}")
            }
            Op::Stat { .. } | Op::StatHandle => write!(out, "stat"),
            Op::Rename { to, .. } => write!(out, "rename to {}", to.to_string_lossy()),
            Op::Unlink { .. } => write!(out, "unlink"),
            Op::MakeDirectory { .. } => write!(out, "mkdir"),
            Op::RemoveDirectory { .. } => write!(out, "rmdir"),
            Op::HardLink { to, .. } => write!(out, "hard link as {}", to.to_string_lossy()),
            Op::SymbolicLink { content, .. } => write!(out, "symbolic link to {}", content.to_string_lossy()),
            Op::ReadLink { .. } => write!(out, "readlink"),
            Op::OpenDirectory { .. } => write!(out, "opendir"),
            Op::ReadDirectory { .. } => write!(out, "readdir"),
            Op::SyncDirectory { .. } => write!(out, "sync"),
            Op::Resolve { .. } => write!(out, "resolve"),
            Op::Start { .. } => write!(out, "start"),
            Op::AwaitExit { .. } => write!(out, "exit_status"),
            Op::AwaitReady { writes: false } => write!(out, "readable"),
            Op::AwaitReady { writes: true } => write!(out, "writable"),
            Op::Read { at, extent, parts } => {
                match extent {
                    Extent::ToEnd => write!(out, "read_to_end")?,
                    Extent::Exact => write!(out, "read_exact {} bytes", parts.total())?,
                    Extent::Some if *at == At::Cursor => write!(out, "read {} bytes", parts.total())?,
                    Extent::Some => write!(out, "read_at {} bytes", parts.total())?,
                }
                match at {
                    At::Cursor => Ok(()),
                    At::Offset(offset) => write!(out, " at {offset}"),
                }
            }
            Op::Write { at: At::Cursor, parts } => write!(out, "write {} bytes", parts.total()),
            Op::Write { at: At::Offset(offset), parts } => {
                write!(out, "write_at {} bytes at {offset}", parts.total())
            }
            Op::Seek { to } => match to {
                SeekTo::Start(offset) => write!(out, "seek to {offset}"),
                SeekTo::Current(offset) => write!(out, "seek by {offset}"),
                SeekTo::End(offset) => write!(out, "seek to {offset} from the end"),
            },
            Op::Sync { data_only: true } => write!(out, "sync_data"),
            Op::Sync { data_only: false } => write!(out, "sync"),
            Op::Truncate { length } => write!(out, "truncate to {length} bytes"),
            Op::Allocate { offset, length } => write!(out, "allocate {length} bytes at {offset}"),
            Op::Connect { address } => write!(out, "connect to {address}"),
            Op::Accept => write!(out, "accept"),
            Op::Recv { extent, parts } => match extent {
                Extent::Some => write!(out, "recv {} bytes", parts.total()),
                Extent::Exact => write!(out, "recv_exact {} bytes", parts.total()),
                Extent::ToEnd => write!(out, "recv_to_end"),
            },
            Op::Send { parts } | Op::SendTo { address: None, parts } => write!(out, "send {} bytes", parts.total()),
            Op::RecvFrom { parts } => write!(out, "recv_from {} bytes", parts.total()),
            Op::SendTo { address: Some(address), parts } => {
                write!(out, "send_to {} bytes to {address}", parts.total())
            }
            Op::Shutdown { how: Shutdown::Read } => write!(out, "shutdown read"),
            Op::Shutdown { how: Shutdown::Write } => write!(out, "shutdown write"),
            Op::Shutdown { how: Shutdown::Both } => write!(out, "shutdown both"),
            Op::Barrier => write!(out, "barrier"),
            Op::Close => write!(out, "close"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Access::*;
    use super::*;

    const READ_FIRST: Access = Range { start: 0, end: 10, write: false };
    const WRITE_FIRST: Access = Range { start: 0, end: 10, write: true };
    const READ_SECOND: Access = Range { start: 10, end: 20, write: false };
    const WRITE_SECOND: Access = Range { start: 10, end: 20, write: true };
    const WRITE_FAR: Access = Range { start: 500, end: 600, write: true };
    const READ_FAR: Access = Range { start: 300, end: 310, write: false };

    fn both_ways(one: Access, other: Access, known_end: u64) -> bool {
        let result = conflicts(one, other, known_end);
        assert_eq!(result, conflicts(other, one, known_end), "{one:?} and {other:?}");
        result
    }

    #[test]
    fn ranges_conflict_when_they_overlap_and_one_writes() {
        assert!(!both_ways(READ_FIRST, READ_FIRST, 1000));
        assert!(both_ways(READ_FIRST, WRITE_FIRST, 1000));
        assert!(both_ways(WRITE_FIRST, WRITE_FIRST, 1000));
        assert!(!both_ways(READ_FIRST, WRITE_SECOND, 1000));
        assert!(!both_ways(WRITE_FIRST, WRITE_SECOND, 1000));
        assert!(!both_ways(WRITE_FIRST, READ_SECOND, 1000));
    }

    #[test]
    fn a_write_past_the_known_end_conflicts_with_everything_that_reaches_it() {
        assert!(both_ways(WRITE_FAR, READ_FAR, 100));
        assert!(both_ways(WRITE_FAR, End, 100));
        assert!(!both_ways(WRITE_FAR, READ_FIRST, 100));
        assert!(!both_ways(WRITE_FAR, READ_FAR, 1000));
        assert!(!both_ways(WRITE_FAR, End, 1000));
    }

    #[test]
    fn the_cursor_is_used_by_one_at_a_time_and_never_beside_positioned_writes() {
        assert!(both_ways(CursorRead, CursorRead, 0));
        assert!(both_ways(CursorRead, CursorWrite, 0));
        assert!(both_ways(CursorRead, WRITE_FIRST, 1000));
        assert!(!both_ways(CursorRead, READ_FIRST, 1000));
        assert!(both_ways(CursorWrite, READ_FIRST, 1000));
        assert!(both_ways(Append, READ_FIRST, 1000));
        assert!(both_ways(Append, Append, 1000));
        assert!(both_ways(Append, End, 1000));
    }

    #[test]
    fn unordered_requests_meet_barriers_only() {
        assert!(both_ways(Unordered, Barrier, 0));
        for other in [WRITE_FIRST, CursorWrite, Append, End, Unordered] {
            assert!(!both_ways(Unordered, other, 0));
        }
    }
}
