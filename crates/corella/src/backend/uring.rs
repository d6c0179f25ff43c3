//! The io_uring backend: one ring for one scheduler.
//!
//! Submissions are batched in the ring and handed over by the same system call that waits. The ring is set up for a
//! single issuer with deferred task work where the kernel can, so that completions arrive on this thread only and
//! only when it asks. What this kernel cannot do, opcode by opcode, the portable backend does beside the ring, whose
//! poller the ring watches.
//!
//! Memory. Buffers belong to the request in its slot, and the queue frees them after the terminal completion only.
//! Lists of parts and headers of messages need to live until the kernel has read them at submission
//! (IORING_FEAT_SUBMIT_STABLE, required), so they are kept here until the ring is empty. What the kernel writes or
//! reads later (paths, result structures, headers of datagrams to be received) is kept in `Kept` until the completion,
//! also if the request is given up.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, types};
use rustix::event::{EventfdFlags, epoll, eventfd};
use socket2::SockAddr;

use super::address::to_os;
use super::children::reap;
use super::datagram::RECEIVE_FLAGS;
use super::message::Message;
use super::perform::{clamp, open_flags};
use super::{
    Completion, Completions, Fault, Outcome, Portable, RawDescriptor, Submission, Token, Value, WaitsBy, Wakeup,
    adopt_descriptor, lend, sigpipe,
};
use crate::address::Address;
use crate::buffer::Part;
use crate::fs::Metadata;
use crate::op::{Class, Op, OpenOptions, Shutdown, Transfer};

/// What the ring carries with an entry and gives back with its completion, as a number of 64 bits.
///
/// The two highest bits say what the rest is: a token, of a request whose result is a count, a descriptor, or that of a
/// close; or something of the backend's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UserData {
    Request(Token),
    Accept(Token),
    Close(Token),
    /// An index into `kept`.
    Kept(u32),
    /// Another thread has called.
    Wake,
    /// The portable backend beside the ring has something.
    Fallback,
    /// Answers to cancels, which say nothing: the request's own completion is the truth.
    Cancel,
}

impl UserData {
    const ACCEPT: u64 = 1 << 62;
    const CLOSE: u64 = 2 << 62;
    const OWN: u64 = 3 << 62;
    /// Within what is the backend's own: above every index.
    const SINGLE: u64 = 1 << 32;

    /// How the ring names a request of the hot path.
    fn of(token: Token, op: &Op) -> UserData {
        match op {
            Op::Accept => UserData::Accept(token),
            Op::Close => UserData::Close(token),
            _ => UserData::Request(token),
        }
    }

    fn encode(self) -> u64 {
        match self {
            UserData::Request(token) => token.0,
            UserData::Accept(token) => UserData::ACCEPT | token.0,
            UserData::Close(token) => UserData::CLOSE | token.0,
            UserData::Kept(index) => UserData::OWN | u64::from(index),
            UserData::Wake => UserData::OWN | UserData::SINGLE,
            UserData::Fallback => UserData::OWN | UserData::SINGLE | 1,
            UserData::Cancel => UserData::OWN | UserData::SINGLE | 2,
        }
    }

    fn decode(word: u64) -> UserData {
        let rest = word & !UserData::OWN;
        match (word & UserData::OWN, rest) {
            (0, _) => UserData::Request(Token(rest)),
            (UserData::ACCEPT, _) => UserData::Accept(Token(rest)),
            (UserData::CLOSE, _) => UserData::Close(Token(rest)),
            (_, index) if index < UserData::SINGLE => UserData::Kept(index as u32),
            (_, UserData::SINGLE) => UserData::Wake,
            (_, single) if single == UserData::SINGLE | 1 => UserData::Fallback,
            _ => UserData::Cancel,
        }
    }
}

/// Bytes of one transfer on a stream at most. A pipe has no more; a device (/dev/urandom) has as much as is asked for,
/// and the kernel would fetch it all before it returns to this thread.
const STREAM_BYTES_MAX: usize = 1 << 20;

/// No place in `kept`.
const NOT_KEPT: u32 = u32::MAX;
/// FIFOs that may be waited for at once; more wait in line here. Each holds a worker of the kernel's until its other
/// side comes, so opens have workers of their own beside those that everything else needs: as many as there are opens
/// at the ring, and this many at most.
const FIFO_OPENS_MAX: usize = 64;

/// Opcodes that count as missing, as a set; for tests of every fallback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MaskedOpcodes(pub(crate) u128);

impl MaskedOpcodes {
    fn contains(self, code: u8) -> bool {
        self.0 & (1u128 << (code & 127)) != 0
    }
}

/// What the kernel may touch after a submission, besides the request's own buffer.
#[derive(Debug)]
enum Kept {
    Free {
        next: Option<u32>,
    },
    Used {
        token: Token,
        op: Op,
        descriptor: RawDescriptor,
        statx: Option<Box<libc::statx>>,
        address: Option<Box<SockAddr>>,
        /// Of a datagram to be received: the kernel writes to its header.
        message: Option<Box<Message>>,
        /// Where a FIFO is kept as the ring opens it first, until it is open as it should be.
        hasty: Option<u32>,
        is_second_try: bool,
        is_cancelled: bool,
        /// It has been told of, and the kernel has yet to let go of it.
        is_answered: bool,
    },
    /// A FIFO that is open for reading before there is a writer, and is polled.
    Hasty {
        descriptor: OwnedFd,
        /// The open that it is of, if that still waits.
        open: Option<u32>,
    },
}

pub(crate) struct Uring {
    ring: IoUring,
    supported: Vec<bool>,
    wake_event: Arc<OwnedFd>,
    wake_is_armed: bool,
    /// What a foreign event loop waits on: an epoll set of the three below. The ring's own descriptor would not do:
    /// with deferred task work the kernel wakes nobody who polls it when work comes, only a registered event; and that
    /// one not for what another event (eventfd(2)) sets off, such as a call of another thread.
    watched: OwnedFd,
    /// Registered with the ring; beside it `wake_event` and the fallback's poller.
    ready_event: OwnedFd,
    ready_is_registered: bool,
    /// Such a loop may be waiting.
    is_watched: bool,
    fallback: Option<Box<Portable>>,
    fallback_is_armed: bool,
    pool_threads: usize,
    kept: Vec<Kept>,
    kept_free: Option<u32>,
    kept_used: usize,
    /// The place in `kept` by the low half of a token, which is the index of its request.
    kept_of: Vec<u32>,
    opens_at_ring: usize,
    /// Those of them that wait for the other side of a FIFO.
    fifo_opens_at_ring: usize,
    /// More of those, in line, as indices into `kept`.
    fifo_opens_waiting: VecDeque<u32>,
    /// Workers of the kernel's that it may have for opens, beside those for everything else.
    open_workers: usize,
    #[expect(clippy::vec_box, reason = "the kernel has their addresses, which must stay as the list grows")]
    messages: Vec<Box<Message>>,
    messages_used: usize,
    /// Those of datagrams that have been received, for the next.
    #[expect(clippy::vec_box, reason = "each stays where it is, in the list and out of it")]
    spare_messages: Vec<Box<Message>>,
    /// Completions taken out to make room, not yet reaped.
    stash: VecDeque<cqueue::Entry>,
    /// Set-up flags that this kernel took, for people.
    flags: &'static str,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Uring({} entries, {})", self.ring.params().sq_entries(), self.flags)
    }
}

/// Set-up flags by their numbers in linux/io_uring.h, as the kernel refuses those that it does not know.
const CQSIZE: u32 = 1 << 3;
const CLAMP: u32 = 1 << 4;
const SUBMIT_ALL: u32 = 1 << 7;
const COOP_TASKRUN: u32 = 1 << 8;
const TASKRUN_FLAG: u32 = 1 << 9;
const SINGLE_ISSUER: u32 = 1 << 12;
const DEFER_TASKRUN: u32 = 1 << 13;

/// Sets of set-up flags, best first.
const FLAG_SETS: [(&str, u32); 3] = [
    ("single issuer, deferred task work", SUBMIT_ALL | SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG),
    ("cooperative task work", SUBMIT_ALL | COOP_TASKRUN | TASKRUN_FLAG),
    ("no flags", 0),
];

fn build(entries: u32, completion_entries: u32, flags: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(completion_entries);
    if flags & SUBMIT_ALL != 0 {
        builder.setup_submit_all();
    }
    if flags & COOP_TASKRUN != 0 {
        builder.setup_coop_taskrun();
    }
    if flags & TASKRUN_FLAG != 0 {
        builder.setup_taskrun_flag();
    }
    if flags & SINGLE_ISSUER != 0 {
        builder.setup_single_issuer();
    }
    if flags & DEFER_TASKRUN != 0 {
        builder.setup_defer_taskrun();
    }
    builder.build(entries)
}

impl Uring {
    /// A ring with `entries` places for submissions, or what was refused.
    pub(crate) fn new(
        entries: u32,
        pool_threads: usize,
        masked: MaskedOpcodes,
        refused_flags: u32,
    ) -> Result<Uring, (io::Error, &'static str)> {
        let entries = entries.clamp(1, 4096);
        let completion_entries = (entries * 8).max(1024).max(entries);
        let mut built = Err((io::Error::from_raw_os_error(libc::EINVAL), "io_uring_setup"));
        for (name, flags) in FLAG_SETS {
            let result = match (flags | CLAMP | CQSIZE) & refused_flags {
                0 => build(entries, completion_entries, flags),
                _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
            };
            match result {
                Ok(ring) => {
                    built = Ok((ring, name));
                    break;
                }
                Err(error) => {
                    let unknown_flag = error.raw_os_error() == Some(libc::EINVAL);
                    built = Err((error, "io_uring_setup"));
                    if !unknown_flag {
                        break;
                    }
                }
            }
        }
        let (ring, flags) = built?;
        let unsupported = |what| (io::Error::from_raw_os_error(libc::ENOSYS), what);
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_submit_stable() || !params.is_feature_nodrop() {
            return Err(unsupported("io_uring without timeouts on enter (Linux 5.11)"));
        }
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(|error| (error, "io_uring probe"))?;
        let supported: Vec<bool> = (0..=127).map(|code| probe.is_supported(code) && !masked.contains(code)).collect();
        // Without these two the rest is of no use.
        for (code, name) in
            [(opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"), (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL")]
        {
            if !supported[code as usize] {
                return Err(unsupported(name));
            }
        }
        // The kernel's own threads for what it cannot do without blocking are bounded like the pool's.
        let workers = pool_threads as u32;
        let _ = ring.submitter().register_iowq_max_workers(&mut [workers, workers]);
        let event =
            || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| (error.into(), "eventfd"));
        let (wake_event, ready_event) = (event()?, event()?);
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|error| (error.into(), "epoll"))?;
        for event in [&wake_event, &ready_event] {
            watch(&watched, event.as_fd()).map_err(|error| (error, "epoll"))?;
        }
        Ok(Uring {
            ring,
            supported,
            wake_event: Arc::new(wake_event),
            wake_is_armed: false,
            watched,
            ready_event,
            ready_is_registered: false,
            is_watched: false,
            fallback: None,
            fallback_is_armed: false,
            pool_threads,
            kept: Vec::new(),
            kept_free: None,
            kept_used: 0,
            kept_of: Vec::new(),
            opens_at_ring: 0,
            fifo_opens_at_ring: 0,
            fifo_opens_waiting: VecDeque::new(),
            open_workers: 0,
            messages: Vec::new(),
            messages_used: 0,
            spare_messages: Vec::new(),
            stash: VecDeque::new(),
            flags,
        })
    }

    /// Whether the next system call has nothing to hand over so far.
    pub(super) fn has_no_batch(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    pub(super) fn supports(&self, code: u8) -> bool {
        self.supported.get(usize::from(code)).copied().unwrap_or(false)
    }

    /// Set-up flags that the kernel took.
    pub(super) fn flags(&self) -> &'static str {
        self.flags
    }

    /// Places for submissions, and for completions.
    pub(super) fn entries(&self) -> (u32, u32) {
        (self.ring.params().sq_entries(), self.ring.params().cq_entries())
    }

    /// Puts a transfer of one run of bytes, on a file or a socket that waits by itself, into the ring: the hot path. False if
    /// the ring has no such operation, or no room.
    #[inline(always)]
    pub(crate) fn submit_transfer(
        &mut self,
        token: Token,
        transfer: Transfer,
        descriptor: RawDescriptor,
        part: Part,
        offset: Option<u64>,
    ) -> bool {
        let (entry, code) = transfer_entry(transfer, descriptor, part, offset);
        self.supported[code as usize] && self.add(&entry.user_data(UserData::Request(token).encode()))
    }

    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        match transfer(submission) {
            Some((entry, code)) if self.supported[code as usize] => {
                if let Err(error) = self.push(entry, UserData::Request(submission.token)) {
                    refuse(submission.token, &error, completions);
                }
            }
            _ => self.submit_other(submission, completions),
        }
    }

    /// Submits what is not of the hot path.
    #[inline(never)]
    fn submit_other(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        let kept = self.keep(submission);
        let messages_used = self.messages_used;
        let writes_to_stream = submission.class == Class::Stream && matches!(submission.op, Op::Write { .. });
        let would_signal = writes_to_stream && sigpipe::write_flag() == 0 && !sigpipe::is_ignored();
        let lowered = match submission.waits_by != WaitsBy::Class || submission.lingers || would_signal {
            // The ring would answer EAGAIN where it is to wait; close on this thread, however long that takes; read on
            // this thread a file that another program answers for, as it always reports itself ready; and the signal
            // of a write that nobody reads would come to this thread at any time.
            true => None,
            false => self.lower(submission, kept),
        };
        match lowered {
            Some((entry, code)) if self.supported[code as usize] => {
                if matches!(submission.op, Op::Open { .. }) {
                    self.open_begins();
                }
                let user_data = kept.map_or(UserData::of(submission.token, submission.op), UserData::Kept);
                if let Err(error) = self.push(entry, user_data) {
                    // It was not handed over, and never will be.
                    if matches!(submission.op, Op::Open { .. }) {
                        self.opens_at_ring -= 1;
                    }
                    kept.into_iter().for_each(|index| drop(self.release(index)));
                    let outcome = Err(Fault::from_io(&error));
                    completions.push_back(Completion { token: submission.token, outcome });
                }
            }
            _ => {
                kept.into_iter().for_each(|index| drop(self.release(index)));
                // Nothing was handed over with the message that it may have taken.
                self.messages_used = messages_used;
                self.fall_back(submission, completions);
            }
        }
    }

    /// One operation as a ring entry, with the opcode that it needs; nothing where the ring has none.
    fn lower(&mut self, submission: &Submission<'_>, kept: Option<u32>) -> Option<(Entry, u8)> {
        let fd = Fd(submission.descriptor);
        // Minus one is the OS's own cursor, and all there is on a stream.
        let offset = submission.offset.unwrap_or(u64::MAX);
        let cwd = Fd(libc::AT_FDCWD);
        macro_rules! entry {
            ($operation:ident, $built:expr) => {
                Some(($built.build(), opcode::$operation::CODE))
            };
        }
        match (submission.op, cut(submission)) {
            // Of files and sockets these are transfers of the hot path.
            (Op::Read { .. }, [part]) => {
                let length = clamp_in(submission.class, part.length);
                entry!(Read, opcode::Read::new(fd, part.pointer, length).offset(offset))
            }
            (Op::Write { .. }, [part]) => {
                let length = clamp_in(submission.class, part.length);
                let flags = write_flags(submission.class);
                entry!(Write, opcode::Write::new(fd, part.pointer, length).offset(offset).rw_flags(flags))
            }
            (Op::Read { .. } | Op::Recv { .. }, parts) if parts.len() > 1 => {
                let (list, count) = self.keep_message(parts);
                entry!(Readv, opcode::Readv::new(fd, list, count).offset(offset))
            }
            (Op::Write { .. }, parts) => {
                let (list, count) = self.keep_message(parts);
                let flags = write_flags(submission.class);
                entry!(Writev, opcode::Writev::new(fd, list, count).offset(offset).rw_flags(flags))
            }
            (Op::Send { .. }, parts) => {
                self.keep_message(parts);
                let header = self.messages[self.messages_used - 1].send(None).ok()?;
                entry!(SendMsg, opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32))
            }
            (Op::SendTo { address, .. }, parts) => {
                self.keep_message(parts);
                let header = self.messages[self.messages_used - 1].send(address.as_ref()).ok()?;
                entry!(SendMsg, opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32))
            }
            (Op::RecvFrom { .. }, parts) => {
                let Some(Kept::Used { message: Some(message), .. }) = self.kept.get_mut(kept? as usize) else {
                    return None;
                };
                message.keep(parts);
                entry!(RecvMsg, opcode::RecvMsg::new(fd, message.fill()).flags(RECEIVE_FLAGS as u32))
            }
            (Op::Accept, _) => {
                let none = std::ptr::null_mut();
                entry!(Accept, opcode::Accept::new(fd, none, none.cast()).flags(libc::SOCK_CLOEXEC))
            }
            // Without room at the listener the ring would take the socket for ready again and again until it leaves it to a
            // worker, and meanwhile a cancel finds nothing and is lost.
            (Op::Connect { address: Address::Unix(_) }, _) => None,
            (Op::Connect { .. }, _) => {
                let Some(Kept::Used { address: Some(address), .. }) = self.kept.get(kept? as usize) else {
                    return None;
                };
                entry!(Connect, opcode::Connect::new(fd, address.as_ptr().cast(), address.len()))
            }
            (Op::Shutdown { how }, _) => {
                let how = match how {
                    Shutdown::Read => libc::SHUT_RD,
                    Shutdown::Write => libc::SHUT_WR,
                    Shutdown::Both => libc::SHUT_RDWR,
                };
                entry!(Shutdown, opcode::Shutdown::new(fd, how))
            }
            (Op::Sync { data_only: true }, _) => entry!(Fsync, opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC)),
            (Op::Sync { data_only: false }, _) => entry!(Fsync, opcode::Fsync::new(fd)),
            (Op::Truncate { length }, _) => entry!(Ftruncate, opcode::Ftruncate::new(fd, *length)),
            (Op::Allocate { offset, length }, _) => {
                entry!(Fallocate, opcode::Fallocate::new(fd, *length).offset(*offset))
            }
            (Op::AwaitReady { writes }, _) => {
                let wanted = if *writes { libc::POLLOUT } else { libc::POLLIN };
                entry!(PollAdd, opcode::PollAdd::new(fd, wanted as u32))
            }
            (Op::AwaitExit { .. }, _) => entry!(PollAdd, opcode::PollAdd::new(fd, libc::POLLIN as u32)),
            (Op::Close, _) => entry!(Close, opcode::Close::new(fd)),
            (Op::Open { path, options }, _) => Some((open_entry(path, options), opcode::OpenAt::CODE)),
            (Op::Stat { .. } | Op::StatHandle, _) => {
                let Some(Kept::Used { statx: Some(statx), .. }) = self.kept.get_mut(kept? as usize) else {
                    return None;
                };
                let buffer = (&raw mut **statx).cast::<types::statx>();
                let (dir, path, flags) = match submission.op {
                    Op::Stat { path, follow: true } => (cwd, &**path, 0),
                    Op::Stat { path, .. } => (cwd, &**path, libc::AT_SYMLINK_NOFOLLOW),
                    _ => (fd, c"" as &CStr, libc::AT_EMPTY_PATH),
                };
                let built = opcode::Statx::new(dir, path.as_ptr(), buffer);
                entry!(Statx, built.flags(flags).mask(libc::STATX_BASIC_STATS | libc::STATX_BTIME))
            }
            (Op::Rename { from, to }, _) => {
                entry!(RenameAt, opcode::RenameAt::new(cwd, from.as_ptr(), cwd, to.as_ptr()))
            }
            (Op::Unlink { path }, _) => entry!(UnlinkAt, opcode::UnlinkAt::new(cwd, path.as_ptr())),
            (Op::RemoveDirectory { path }, _) => {
                entry!(UnlinkAt, opcode::UnlinkAt::new(cwd, path.as_ptr()).flags(libc::AT_REMOVEDIR))
            }
            (Op::MakeDirectory { path, permissions }, _) => {
                entry!(MkDirAt, opcode::MkDirAt::new(cwd, path.as_ptr()).mode(*permissions))
            }
            (Op::HardLink { from, to }, _) => {
                entry!(LinkAt, opcode::LinkAt::new(cwd, from.as_ptr(), cwd, to.as_ptr()))
            }
            (Op::SymbolicLink { content, path }, _) => {
                entry!(SymlinkAt, opcode::SymlinkAt::new(cwd, content.as_ptr(), path.as_ptr()))
            }
            _ => None,
        }
    }

    /// Copies parts to where they stay until the kernel has read them.
    fn keep_message(&mut self, parts: &[Part]) -> (*const libc::iovec, u32) {
        if self.messages_used == self.messages.len() {
            self.messages.push(Message::new());
        }
        let message = &mut self.messages[self.messages_used];
        self.messages_used += 1;
        message.keep(parts)
    }

    /// Keeps what the kernel may touch after the submission; nothing for the operations of the hot path.
    fn keep(&mut self, submission: &Submission<'_>) -> Option<u32> {
        let statx = match submission.op {
            // SAFETY: all zeroes is a valid `statx`.
            Op::Stat { .. } | Op::StatHandle => Some(Box::new(unsafe { std::mem::zeroed::<libc::statx>() })),
            Op::Open { .. }
            | Op::Rename { .. }
            | Op::Unlink { .. }
            | Op::MakeDirectory { .. }
            | Op::RemoveDirectory { .. }
            | Op::HardLink { .. }
            | Op::SymbolicLink { .. }
            | Op::Connect { .. }
            | Op::RecvFrom { .. }
            | Op::AwaitExit { .. } => None,
            _ => return None,
        };
        let address = match submission.op {
            Op::Connect { address } => to_os(address).ok().map(Box::new),
            _ => None,
        };
        let message = match submission.op {
            Op::RecvFrom { .. } => Some(self.spare_messages.pop().unwrap_or_else(Message::new)),
            _ => None,
        };
        let used = Kept::Used {
            token: submission.token,
            op: submission.op.without_parts(),
            descriptor: submission.descriptor,
            statx,
            address,
            message,
            hasty: None,
            is_second_try: false,
            is_cancelled: false,
            is_answered: false,
        };
        let index = self.insert(used);
        let request = submission.token.0 as u32 as usize;
        if self.kept_of.len() <= request {
            self.kept_of.resize(request + 1, NOT_KEPT);
        }
        self.kept_of[request] = index;
        Some(index)
    }

    fn insert(&mut self, used: Kept) -> u32 {
        self.kept_used += 1;
        match self.kept_free {
            Some(index) => {
                let Kept::Free { next } = std::mem::replace(&mut self.kept[index as usize], used) else {
                    unreachable!("the free list holds free places")
                };
                self.kept_free = next;
                index
            }
            None => {
                self.kept.push(used);
                (self.kept.len() - 1) as u32
            }
        }
    }

    /// Gives a kept thing back once the kernel is done with it, or never got it.
    fn release(&mut self, index: u32) -> Kept {
        self.kept_used -= 1;
        let free = Kept::Free { next: self.kept_free.replace(index) };
        std::mem::replace(&mut self.kept[index as usize], free)
    }

    /// Has a FIFO opened once more, as open(2) does it.
    ///
    /// The ring tries an open without blocking first, and then a FIFO is open for reading before there is a writer,
    /// and one without a reader is refused to a writer (ENXIO). So it is opened again by a thread of the kernel's,
    /// which waits for the other side. A writer finds a reader in the first descriptor, and may have written and gone
    /// before that thread waits: so the first one is polled meanwhile, and is the answer if anything is there to read.
    fn opens_again(&mut self, index: u32, result: i32) -> bool {
        let Kept::Used { op: Op::Open { options, .. }, is_second_try, is_cancelled, .. } =
            &mut self.kept[index as usize]
        else {
            return false;
        };
        let is_open = result >= 0;
        if *is_second_try || *is_cancelled || !(is_open || result == -libc::ENXIO) {
            return false;
        }
        let mut first = None;
        if is_open {
            let descriptor = adopt_descriptor(result);
            let is_fifo = rustix::fs::fstat(&descriptor)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo());
            if !is_fifo || options.write {
                // It goes on as the number that it is; a writer that did not block has found its reader.
                let _ = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
                return false;
            }
            first = Some(descriptor);
        }
        *is_second_try = true;
        self.opens_at_ring -= 1;
        self.fifo_opens_waiting.push_back(index);
        if let Some(descriptor) = first {
            self.poll_first(index, descriptor);
        }
        true
    }

    /// Polls a FIFO that is open before it has a writer. Without room for that the second open alone decides.
    fn poll_first(&mut self, open: u32, descriptor: OwnedFd) {
        let poll = opcode::PollAdd::new(Fd(descriptor.as_raw_fd()), libc::POLLIN as u32).build();
        let index = self.insert(Kept::Hasty { descriptor, open: Some(open) });
        match self.push(poll, UserData::Kept(index)) {
            Ok(()) => {
                if let Kept::Used { hasty, .. } = &mut self.kept[open as usize] {
                    *hasty = Some(index);
                }
            }
            Err(_) => drop(self.release(index)),
        }
    }

    /// The poll of a FIFO has ended: if a writer has been there, its open is answered, whatever becomes of the second try.
    fn first_is_polled(&mut self, index: u32, result: i32, completions: &mut Completions) {
        let Kept::Hasty { descriptor, open } = self.release(index) else { unreachable!("it was looked at just now") };
        let Some(open) = open else { return };
        let Kept::Used { token, hasty, is_cancelled, is_answered, .. } = &mut self.kept[open as usize] else {
            unreachable!("an open that is over has let go of its first descriptor")
        };
        *hasty = None;
        if result < 0 || *is_cancelled {
            return;
        }
        *is_answered = true;
        let outcome = Ok(Value::Descriptor(descriptor.into()));
        completions.push_back(Completion { token: *token, outcome });
        match self.fifo_opens_waiting.iter().position(|waiting| *waiting == open) {
            Some(place) => {
                self.fifo_opens_waiting.remove(place);
                self.release(open);
            }
            None => self.ask_to_stop(UserData::Kept(open)),
        }
    }

    /// An open is over, and its first descriptor with it.
    fn forget_first(&mut self, hasty: Option<u32>) {
        let Some(index) = hasty else { return };
        if let Kept::Hasty { open, .. } = &mut self.kept[index as usize] {
            *open = None;
            self.ask_to_stop(UserData::Kept(index));
        }
    }

    /// Asks the kernel for an early end. It is advice, and where the kernel takes nothing the next wait says so.
    fn ask_to_stop(&mut self, what: UserData) {
        let _ = self.push(opcode::AsyncCancel::new(what.encode()).build(), UserData::Cancel);
    }

    /// Hands opens of FIFOs over, as many as may be waited for at once.
    fn wait_for_fifos(&mut self) {
        while self.fifo_opens_at_ring < FIFO_OPENS_MAX {
            let Some(index) = self.fifo_opens_waiting.pop_front() else { break };
            let Kept::Used { op: Op::Open { path, options }, .. } = &self.kept[index as usize] else {
                unreachable!("only opens are of FIFOs")
            };
            let entry = open_entry(path, options).flags(io_uring::squeue::Flags::ASYNC);
            self.open_begins();
            if self.push(entry, UserData::Kept(index)).is_err() {
                self.opens_at_ring -= 1;
                self.fifo_opens_waiting.push_front(index);
                break;
            }
            self.fifo_opens_at_ring += 1;
        }
    }

    /// Counts one more open at the ring, with a worker for each.
    fn open_begins(&mut self) {
        self.opens_at_ring += 1;
        if self.opens_at_ring > self.open_workers && self.open_workers < FIFO_OPENS_MAX {
            self.open_workers = self.opens_at_ring.next_power_of_two().min(FIFO_OPENS_MAX);
            // Zero leaves the limit of the other kind as it is. A kernel without this call has no limit to raise.
            let workers = (self.pool_threads + self.open_workers) as u32;
            let _ = self.ring.submitter().register_iowq_max_workers(&mut [workers, 0]);
        }
    }

    /// Puts an entry into the ring. An error says that there is no room and the kernel takes nothing.
    #[inline(always)]
    fn push(&mut self, entry: Entry, user_data: UserData) -> io::Result<()> {
        let entry = entry.user_data(user_data.encode());
        match self.add(&entry) {
            true => Ok(()),
            false => self.push_when_there_is_room(&entry),
        }
    }

    #[cold]
    fn push_when_there_is_room(&mut self, entry: &Entry) -> io::Result<()> {
        while !self.add(entry) {
            // Full: hand over what is there.
            self.hand_over()?;
        }
        Ok(())
    }

    /// Puts an entry into the ring, if that is not full.
    #[inline(always)]
    fn add(&mut self, entry: &Entry) -> bool {
        // SAFETY: every address in an entry is either part of a request's buffer, which the queue keeps until
        // the completion, or in `messages` or `kept`, which outlive the kernel's use (see the module page).
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Hands over what is in the ring; an error if that cannot be done, now or ever.
    fn hand_over(&mut self) -> io::Result<()> {
        let Err(error) = self.ring.submit() else {
            self.messages_handed_over();
            return Ok(());
        };
        // A kernel whose completion queue has overflowed may want that emptied first; what it held is kept for the
        // next reaping.
        let stashed = self.stash.len();
        let Uring { ring, stash, .. } = self;
        stash.extend(ring.completion());
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(()),
            Some(libc::EBUSY | libc::EAGAIN) if self.stash.len() > stashed => Ok(()),
            _ => Err(error),
        }
    }

    fn messages_handed_over(&mut self) {
        if self.ring.submission().is_empty() {
            self.messages_used = 0;
        }
    }

    fn fall_back(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        if self.fallback.is_none() {
            let made = Portable::new(self.pool_threads, true).and_then(|portable| {
                watch(&self.watched, lend(portable.os_handle(), &portable))?;
                Ok(portable)
            });
            match made {
                Ok(portable) => self.fallback = Some(Box::new(portable)),
                Err(error) => {
                    let outcome = Err(Fault::from_io(&error));
                    completions.push_back(Completion { token: submission.token, outcome });
                    return;
                }
            }
        }
        if let Some(fallback) = &mut self.fallback {
            fallback.submit(submission, completions);
        }
    }

    pub(crate) fn cancel(&mut self, token: Token, op: &Op, descriptor: RawDescriptor, completions: &mut Completions) {
        let is_it = |kept: &u32| matches!(self.kept[*kept as usize], Kept::Used { token: other, .. } if other == token);
        let kept = self.kept_of.get(token.0 as u32 as usize).copied().filter(|kept| *kept != NOT_KEPT);
        let kept = kept.filter(is_it).map(|kept| kept as usize);
        let user_data = match kept {
            Some(index) => {
                if let Some(place) = self.fifo_opens_waiting.iter().position(|waiting| *waiting as usize == index) {
                    self.fifo_opens_waiting.remove(place);
                    if let Kept::Used { hasty, .. } = self.release(index as u32) {
                        self.forget_first(hasty);
                    }
                    return completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
                }
                if let Kept::Used { is_cancelled, .. } = &mut self.kept[index] {
                    *is_cancelled = true;
                }
                UserData::Kept(index as u32)
            }
            None => UserData::of(token, op),
        };
        if let Some(fallback) = &mut self.fallback {
            let before = completions.len();
            fallback.cancel(token, op, descriptor, completions);
            if completions.len() > before {
                return;
            }
        }
        self.ask_to_stop(user_data);
    }

    /// Asks for an early end of everything. False: this kernel (before 6.0) knows no such call.
    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) -> bool {
        for index in std::mem::take(&mut self.fifo_opens_waiting) {
            if let Kept::Used { token, .. } = self.kept[index as usize] {
                completions.push_back(Completion { token, outcome: Err(Fault::Interrupted) });
            }
            if let Kept::Used { hasty, .. } = self.release(index) {
                self.forget_first(hasty);
            }
        }
        for kept in &mut self.kept {
            if let Kept::Used { is_cancelled, .. } = kept {
                *is_cancelled = true;
            }
        }
        if let Some(fallback) = &mut self.fallback {
            fallback.cancel_all(completions);
        }
        while !self.ring.submission().is_empty() && self.hand_over().is_ok() {}
        // Without waiting for what cannot be stopped: the completions tell.
        let all = types::CancelBuilder::any().all();
        let result = self.ring.submitter().register_sync_cancel(Some(Timespec::new()), all);
        // What could not be handed over the kernel has not been asked for.
        let are_handed_over = self.ring.submission().is_empty();
        are_handed_over && !result.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        if std::mem::take(&mut self.is_watched) {
            self.ring.completion().disable_eventfd();
            for event in [&self.ready_event, &*self.wake_event] {
                // Empty already is as good.
                let _ = rustix::io::read(event, &mut [0; 8]);
            }
        }
        self.arm();
        let waits = completions.is_empty()
            && timeout != Some(Duration::ZERO)
            && self.stash.is_empty()
            && self.ring.completion().is_empty()
            && !self.fallback.as_ref().is_some_and(|fallback| fallback.has_done());
        #[cfg(corella_valgrind)]
        let waits = waits && self.wait_outside(timeout)?;
        let (needs_enter, batch) = {
            let submission = self.ring.submission();
            (submission.taskrun() || submission.cq_overflow(), submission.len())
        };
        if waits || needs_enter || batch > 0 {
            let result = match timeout {
                Some(timeout) if waits => {
                    let timespec = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                    let arguments = SubmitArgs::new().timespec(&timespec);
                    self.ring.submitter().submit_with_args(1, &arguments)
                }
                _ => self.ring.submitter().submit_and_wait(usize::from(waits)),
            };
            match result {
                Ok(_) => self.messages_handed_over(),
                // The time is over, a signal came, or the completion queue is to be emptied first.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) =>
                {
                    self.messages_handed_over();
                }
                Err(error) => return Err(error),
            }
        }
        self.reap(completions)
    }

    /// Waits as a foreign event loop does. valgrind lets no other thread run while one is in `io_uring_enter`.
    #[cfg(corella_valgrind)]
    fn wait_outside(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        self.flush()?;
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // A signal is as good as an event, and an event as the end of the time.
        let _ = poll(&mut [PollFd::new(&self.watched, PollFlags::IN)], timeout.as_ref());
        Ok(false)
    }

    /// Watches the wake event and the portable backend beside the ring.
    fn arm(&mut self) {
        if !self.wake_is_armed {
            let poll = opcode::PollAdd::new(Fd(self.wake_event.as_raw_fd()), libc::POLLIN as u32).multi(true);
            // The event is written and never read: such a poll tells of every write.
            self.wake_is_armed = self.push(poll.build(), UserData::Wake).is_ok();
        }
        if let Some(fallback) = &self.fallback
            && !self.fallback_is_armed
            && fallback.is_awaited()
        {
            let poll = opcode::PollAdd::new(Fd(fallback.os_handle()), libc::POLLIN as u32);
            self.fallback_is_armed = self.push(poll.build(), UserData::Fallback).is_ok();
        }
    }

    fn reap(&mut self, completions: &mut Completions) -> io::Result<()> {
        let mut fallback_calls = self.fallback.as_ref().is_some_and(|fallback| fallback.has_done());
        // What arrives while this loop runs is for the next turn, so that a flood cannot hold this one.
        let mut left = self.ring.params().cq_entries();
        while left > 0 {
            let stashed = self.stash.pop_front();
            let special = stashed.or_else(|| reap_counts(self.ring.completion(), &mut left, completions));
            let Some(entry) = special else { break };
            fallback_calls |= self.reap_one(&entry, completions);
            left = left.saturating_sub(1);
        }
        self.wait_for_fifos();
        match &mut self.fallback {
            Some(fallback) if fallback_calls => fallback.wait(Some(Duration::ZERO), completions),
            _ => Ok(()),
        }
    }

    /// What one entry of the completion queue says. Whether it is that the backend beside the ring calls.
    fn reap_one(&mut self, entry: &cqueue::Entry, completions: &mut Completions) -> bool {
        let result = entry.result();
        let (token, outcome) = match UserData::decode(entry.user_data()) {
            UserData::Request(token) => (token, value_of(result, false, None)),
            UserData::Accept(token) => (token, value_of(result, true, None)),
            UserData::Close(token) => (token, closed(result)),
            UserData::Kept(index) => {
                if matches!(self.kept[index as usize], Kept::Hasty { .. }) {
                    self.first_is_polled(index, result, completions);
                    return false;
                }
                if self.opens_again(index, result) {
                    return false;
                }
                let Kept::Used { token, op, descriptor, statx, message, hasty, is_second_try, is_answered, .. } =
                    self.release(index)
                else {
                    unreachable!("one completion for each submission")
                };
                self.forget_first(hasty);
                if let Some(message) = message {
                    let outcome = match value_of(result, false, None) {
                        Ok(_) => Ok(Value::Datagram(message.arrival(result as usize))),
                        Err(fault) => Err(fault),
                    };
                    self.spare_messages.push(message);
                    completions.push_back(Completion { token, outcome });
                    return false;
                }
                if let (Op::AwaitExit { pid }, true) = (&op, result >= 0) {
                    // SAFETY: the queue keeps a handle's descriptor open until the requests on it have settled.
                    let outcome = reap(*pid, unsafe { BorrowedFd::borrow_raw(descriptor) });
                    // If it is not ours yet it is waited for again.
                    let outcome = outcome.unwrap_or(Err(Fault::Interrupted));
                    completions.push_back(Completion { token, outcome });
                    return false;
                }
                let is_open = matches!(op, Op::Open { .. });
                if is_open {
                    self.opens_at_ring -= 1;
                    self.fifo_opens_at_ring -= usize::from(is_second_try);
                }
                let outcome = value_of(result, is_open, statx);
                if is_answered {
                    // A descriptor that came too late is closed.
                    drop(outcome);
                    return false;
                }
                (token, outcome)
            }
            UserData::Wake => {
                self.wake_is_armed = cqueue::more(entry.flags());
                return false;
            }
            UserData::Fallback => {
                self.fallback_is_armed = false;
                return true;
            }
            UserData::Cancel => return false,
        };
        completions.push_back(Completion { token, outcome });
        false
    }

    /// Hands over what is batched; a foreign event loop is about to wait.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if !self.ready_is_registered {
            self.ring.submitter().register_eventfd(self.ready_event.as_raw_fd())?;
            self.ready_is_registered = true;
        }
        self.is_watched = true;
        self.ring.completion().enable_eventfd();
        // Either the kernel sees that, or its work is seen below.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.arm();
        if !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => self.messages_handed_over(),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
        }
        if self.has_entries() {
            rustix::io::write(&self.ready_event, &1u64.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Whether completions are in the ring, or the kernel has work left that may make some.
    #[inline(always)]
    pub(super) fn shows_completions(&mut self) -> bool {
        !self.ring.completion().is_empty() || self.ring.submission().taskrun()
    }

    /// Whether a wait that does not wait would do nothing. Where a foreign event loop watches, each wait takes away what its
    /// handle is readable for.
    pub(super) fn is_at_rest(&mut self) -> bool {
        self.is_idle() && !self.is_watched && !self.may_have_completions()
    }

    /// A look at the backend beside the ring would cost a system call.
    pub(super) fn may_have_completions(&mut self) -> bool {
        self.has_entries() || self.fallback.is_some()
    }

    fn has_entries(&mut self) -> bool {
        let submission = self.ring.submission();
        // What was not handed over yet needs a turn to begin at all.
        let pending = submission.taskrun() || submission.cq_overflow() || !submission.is_empty();
        drop(submission);
        pending
            || !self.stash.is_empty()
            || !self.ring.completion().is_empty()
            || self.fallback.as_ref().is_some_and(|fallback| !self.fallback_is_armed && fallback.is_awaited())
    }

    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        if let Some(fallback) = &mut self.fallback {
            fallback.forget_descriptor(descriptor);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.kept_used == 0
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        Wakeup::Event(Arc::downgrade(&self.wake_event))
    }

    pub(crate) fn os_handle(&self) -> RawDescriptor {
        self.watched.as_raw_fd()
    }
}

/// Adds a descriptor to an epoll set, for as long as it is readable.
fn watch(set: &OwnedFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    Ok(epoll::add(set, descriptor, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?)
}

/// An open as open(2) has it.
fn open_entry(path: &CStr, options: &OpenOptions) -> Entry {
    let flags = open_flags(options).bits() as i32 | libc::O_LARGEFILE;
    opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).mode(options.permissions).build()
}

/// Takes out at most `left` entries that report a count of bytes moved: the hot path. Gives the first that does not.
#[inline]
fn reap_counts(
    entries: cqueue::CompletionQueue<'_>,
    left: &mut u32,
    completions: &mut Completions,
) -> Option<cqueue::Entry> {
    for entry in entries.take(*left as usize) {
        match UserData::decode(entry.user_data()) {
            UserData::Request(token) if entry.result() >= 0 => {
                *left -= 1;
                completions.push_back(Completion { token, outcome: Ok(Value::Count(entry.result() as u64)) });
            }
            _ => return Some(entry),
        }
    }
    None
}

/// Answers for a request that the ring does not take.
#[cold]
fn refuse(token: Token, error: &io::Error, completions: &mut Completions) {
    completions.push_back(Completion { token, outcome: Err(Fault::from_io(error)) });
}

/// The same of any transfer of one run of bytes, if that is what a submission is.
fn transfer(submission: &Submission<'_>) -> Option<(Entry, u8)> {
    let [part] = submission.parts else { return None };
    if submission.waits_by != WaitsBy::Class || submission.class == Class::Stream {
        return None;
    }
    let transfer = match submission.op {
        Op::Recv { extent, .. } => Transfer::Receive(*extent),
        Op::Send { .. } => Transfer::Send,
        Op::Read { extent, .. } => Transfer::Read(*extent, 0),
        Op::Write { .. } => {
            let (fd, length) = (Fd(submission.descriptor), clamp(part.length) as u32);
            let write = opcode::Write::new(fd, part.pointer, length).offset(submission.offset.unwrap_or(u64::MAX));
            return Some((write.build(), opcode::Write::CODE));
        }
        _ => return None,
    };
    Some(transfer_entry(transfer, submission.descriptor, *part, submission.offset))
}

/// A transfer of one run of bytes on a file or a socket that waits by itself, as a ring entry with its opcode.
#[inline(always)]
fn transfer_entry(transfer: Transfer, descriptor: RawDescriptor, part: Part, offset: Option<u64>) -> (Entry, u8) {
    let (fd, length) = (Fd(descriptor), clamp(part.length) as u32);
    match transfer {
        Transfer::Receive(_) => (opcode::Recv::new(fd, part.pointer, length).build(), opcode::Recv::CODE),
        Transfer::Send => {
            (opcode::Send::new(fd, part.pointer, length).flags(libc::MSG_NOSIGNAL).build(), opcode::Send::CODE)
        }
        Transfer::Read(..) => {
            // Minus one is the OS's own cursor.
            let offset = offset.unwrap_or(u64::MAX);
            (opcode::Read::new(fd, part.pointer, length).offset(offset).build(), opcode::Read::CODE)
        }
    }
}

/// The parts that one transfer takes: on a stream no more than so many bytes, but always one part.
fn cut<'a>(submission: &Submission<'a>) -> &'a [Part] {
    if submission.class != Class::Stream {
        return submission.parts;
    }
    let mut bytes = 0;
    let fits = |part: &&Part| {
        bytes += part.length;
        bytes <= STREAM_BYTES_MAX
    };
    let count = submission.parts.iter().take_while(fits).count().max(1);
    &submission.parts[..count.min(submission.parts.len())]
}

/// The length of the only part that one transfer takes.
fn clamp_in(class: Class, length: usize) -> u32 {
    match class {
        Class::Stream => length.min(STREAM_BYTES_MAX) as u32,
        _ => clamp(length) as u32,
    }
}

/// What a write asks for besides: on a stream, that there be no signal.
fn write_flags(class: Class) -> i32 {
    if class == Class::Stream { sigpipe::write_flag() } else { 0 }
}

/// What the result of a close says. After an interruption it is closed all the same (see close(2)).
fn closed(result: i32) -> Outcome {
    match value_of(result, false, None) {
        Err(Fault::Interrupted | Fault::Os(libc::EINPROGRESS)) if result != -libc::ECANCELED => Ok(Value::Count(0)),
        outcome => outcome,
    }
}

/// What a result of the ring says.
fn value_of(result: RawFd, makes_descriptor: bool, statx: Option<Box<libc::statx>>) -> Outcome {
    match result {
        code if code < 0 => Err(match -code {
            libc::ECANCELED | libc::EINTR => Fault::Interrupted,
            // ERESTARTSYS and its kin, which should not leave the kernel but have.
            512..=514 | 516 => Fault::Interrupted,
            code => Fault::Os(code),
        }),
        raw if makes_descriptor => Ok(Value::Descriptor(adopt_descriptor(raw).into())),
        count => Ok(match statx {
            Some(statx) => Value::Metadata(Box::new(Metadata::from_statx(&statx))),
            None => Value::Count(count as u64),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ring_carries_comes_back_as_it_went() {
        // Tokens have 62 bits.
        let tokens = [1, u64::from(u32::MAX), 1 << 32 | 7, (1 << 62) - 1].map(Token);
        let of_tokens = tokens
            .iter()
            .flat_map(|token| [UserData::Request(*token), UserData::Accept(*token), UserData::Close(*token)]);
        let own = [UserData::Kept(0), UserData::Kept(1), UserData::Kept(u32::MAX)];
        let single = [UserData::Wake, UserData::Fallback, UserData::Cancel];
        for data in of_tokens.chain(own).chain(single) {
            assert_eq!(UserData::decode(data.encode()), data);
        }
    }

    #[test]
    fn an_interrupted_close_has_closed() {
        for code in [libc::EINTR, libc::EINPROGRESS, 512] {
            assert!(matches!(closed(-code), Ok(Value::Count(0))), "{code}");
        }
        assert!(matches!(closed(0), Ok(Value::Count(0))));
        assert!(matches!(closed(-libc::EIO), Err(Fault::Os(libc::EIO))));
    }
}
