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
//! reads later (paths, result structures) is kept in `Kept` until the completion, also if the request is given up.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, types};
use rustix::event::{EventfdFlags, eventfd};
use socket2::SockAddr;

use super::perform::{clamp, open_flags, vectors};
use super::{
    Completion, Completions, Fault, Outcome, Portable, RawDescriptor, Submission, TRANSFER_PARTS_MAX, Token, Value,
    Wakeup, adopt_descriptor,
};
use crate::buffer::Part;
use crate::fs::Metadata;
use crate::op::{Op, Shutdown};

/// Marks what is the backend's own among the ring's user data; a token has neither this bit nor the next.
const OWN: u64 = 1 << 63;
/// Without `OWN`: the result is a descriptor.
const ACCEPT: u64 = 1 << 62;
/// Another thread has called.
const WAKE: u64 = OWN;
/// The portable backend beside the ring has something.
const FALLBACK: u64 = OWN | 1;
/// Answers to cancels, which say nothing: the request's own completion is the truth.
const CANCEL: u64 = OWN | 2;
/// The rest of the word is an index into `kept`.
const KEPT: u64 = OWN | 1 << 62;

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
        statx: Option<Box<libc::statx>>,
        address: Option<Box<SockAddr>>,
        /// A FIFO as the ring opens it first, until it is open as it should be.
        hasty: Option<OwnedFd>,
        is_second_try: bool,
        is_cancelled: bool,
    },
}

/// The header and parts of one vectored message, until the kernel has read them.
struct Message {
    header: libc::msghdr,
    parts: [Part; TRANSFER_PARTS_MAX],
}

pub(crate) struct Uring {
    ring: IoUring,
    supported: Vec<bool>,
    wake_event: Arc<OwnedFd>,
    wake_is_armed: bool,
    /// What a foreign event loop waits on, once there is one. The ring itself would not do: with deferred task work the
    /// kernel wakes no epoll for it, only the thread that waits inside the ring.
    foreign_event: OnceCell<OwnedFd>,
    fallback: Option<Box<Portable>>,
    fallback_is_armed: bool,
    pool_threads: usize,
    kept: Vec<Kept>,
    kept_free: Option<u32>,
    kept_used: usize,
    #[expect(clippy::vec_box, reason = "the kernel has their addresses, which must stay as the list grows")]
    messages: Vec<Box<Message>>,
    messages_used: usize,
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

/// Sets of set-up flags, best first. A kernel refuses what it does not know.
const FLAG_SETS: [&str; 3] = ["single issuer, deferred task work", "cooperative task work", "no flags"];

fn build(entries: u32, completion_entries: u32, set: usize) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(completion_entries);
    match set {
        0 => builder.setup_submit_all().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag(),
        1 => builder.setup_submit_all().setup_coop_taskrun().setup_taskrun_flag(),
        _ => &mut builder,
    };
    builder.build(entries)
}

impl Uring {
    /// A ring with `entries` places for submissions, or what was refused.
    pub(crate) fn new(
        entries: u32,
        pool_threads: usize,
        masked: MaskedOpcodes,
        refused_flag_sets: usize,
    ) -> Result<Uring, (io::Error, &'static str)> {
        let entries = entries.clamp(1, 4096);
        let completion_entries = (entries * 8).max(1024).max(entries);
        let mut built = Err((io::Error::from_raw_os_error(libc::EINVAL), "io_uring_setup"));
        for (set, flags) in FLAG_SETS.iter().enumerate().skip(refused_flag_sets) {
            match build(entries, completion_entries, set) {
                Ok(ring) => {
                    built = Ok((ring, *flags));
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
        let wake_event =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| (error.into(), "eventfd"))?;
        Ok(Uring {
            ring,
            supported,
            wake_event: Arc::new(wake_event),
            foreign_event: OnceCell::new(),
            wake_is_armed: false,
            fallback: None,
            fallback_is_armed: false,
            pool_threads,
            kept: Vec::new(),
            kept_free: None,
            kept_used: 0,
            messages: Vec::new(),
            messages_used: 0,
            stash: VecDeque::new(),
            flags,
        })
    }

    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        let kept = self.keep(submission);
        let lowered = match submission.nonblocking {
            // The ring would answer EAGAIN where it is to wait.
            true => None,
            false => self.lower(submission, kept),
        };
        match lowered {
            Some((entry, code)) if self.supported[code as usize] => {
                let user_data = match kept {
                    Some(index) => KEPT | u64::from(index),
                    None => user_data(submission.token, submission.op),
                };
                self.push(entry.user_data(user_data));
            }
            _ => {
                if let Some(index) = kept {
                    self.release(index);
                }
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
        match (submission.op, submission.parts) {
            (Op::Read { .. }, [part]) => {
                entry!(Read, opcode::Read::new(fd, part.pointer, clamp(part.length) as u32).offset(offset))
            }
            (Op::Write { .. }, [part]) => {
                entry!(Write, opcode::Write::new(fd, part.pointer, clamp(part.length) as u32).offset(offset))
            }
            (Op::Read { .. } | Op::Recv { .. }, parts) if parts.len() > 1 => {
                let (list, count) = self.keep_message(parts);
                entry!(Readv, opcode::Readv::new(fd, list, count).offset(offset))
            }
            (Op::Write { .. }, parts) => {
                let (list, count) = self.keep_message(parts);
                entry!(Writev, opcode::Writev::new(fd, list, count).offset(offset))
            }
            (Op::Recv { .. }, [part]) => {
                entry!(Recv, opcode::Recv::new(fd, part.pointer, clamp(part.length) as u32))
            }
            (Op::Send { .. }, [part]) => {
                let flags = libc::MSG_NOSIGNAL;
                entry!(Send, opcode::Send::new(fd, part.pointer, clamp(part.length) as u32).flags(flags))
            }
            (Op::Send { .. }, parts) => {
                self.keep_message(parts);
                let header = &raw const self.messages[self.messages_used - 1].header;
                entry!(SendMsg, opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32))
            }
            (Op::Accept, _) => {
                let none = std::ptr::null_mut();
                entry!(Accept, opcode::Accept::new(fd, none, none.cast()).flags(libc::SOCK_CLOEXEC))
            }
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
            (Op::Close, _) => entry!(Close, opcode::Close::new(fd)),
            (Op::Open { path, options }, _) => {
                let flags = open_flags(options).bits() as i32 | libc::O_LARGEFILE;
                entry!(OpenAt, opcode::OpenAt::new(cwd, path.as_ptr()).flags(flags).mode(options.permissions))
            }
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
            // SAFETY: all zeroes is a valid empty header, and valid null parts.
            self.messages.push(Box::new(unsafe { std::mem::zeroed() }));
        }
        let message = &mut self.messages[self.messages_used];
        self.messages_used += 1;
        message.parts[..parts.len()].copy_from_slice(parts);
        let (list, count) = vectors(&message.parts[..parts.len()]);
        message.header.msg_iov = list.cast_mut();
        message.header.msg_iovlen = count as _;
        (list, count as u32)
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
            | Op::Connect { .. } => None,
            _ => return None,
        };
        let address = match submission.op {
            Op::Connect { address } => Some(Box::new(SockAddr::from(*address))),
            _ => None,
        };
        let used = Kept::Used {
            token: submission.token,
            op: submission.op.without_parts(),
            statx,
            address,
            hasty: None,
            is_second_try: false,
            is_cancelled: false,
        };
        self.kept_used += 1;
        let index = match self.kept_free {
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
        };
        Some(index)
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
    /// which waits for the other side; the first descriptor stays open until then.
    fn opens_again(&mut self, index: u32, result: i32) -> bool {
        let Kept::Used { op: Op::Open { path, options }, hasty, is_second_try, is_cancelled, .. } =
            &mut self.kept[index as usize]
        else {
            return false;
        };
        let is_open = result >= 0;
        if *is_second_try || *is_cancelled || !(is_open || result == -libc::ENXIO) {
            return false;
        }
        if is_open {
            let descriptor = adopt_descriptor(result);
            let is_fifo = rustix::fs::fstat(&descriptor)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo());
            if !is_fifo || (options.read && options.write) {
                // It goes on as the number that it is.
                let _ = std::os::fd::IntoRawFd::into_raw_fd(descriptor);
                return false;
            }
            *hasty = Some(descriptor);
        }
        *is_second_try = true;
        let flags = open_flags(options).bits() as i32 | libc::O_LARGEFILE;
        let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags).mode(options.permissions);
        let entry = open.build().flags(io_uring::squeue::Flags::ASYNC).user_data(KEPT | u64::from(index));
        self.push(entry);
        true
    }

    fn push(&mut self, entry: Entry) {
        loop {
            // SAFETY: every address in an entry is either part of a request's buffer, which the queue keeps until
            // the completion, or in `messages` or `kept`, which outlive the kernel's use (see the module page).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: hand over what is there. A kernel whose completion queue has overflowed may want that emptied
            // first; what it held is kept for the next reaping.
            match self.ring.submit() {
                Ok(_) => self.messages_handed_over(),
                Err(_) => {
                    let Uring { ring, stash, .. } = self;
                    stash.extend(ring.completion());
                }
            }
        }
    }

    fn messages_handed_over(&mut self) {
        if self.ring.submission().is_empty() {
            self.messages_used = 0;
        }
    }

    fn fall_back(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        if self.fallback.is_none() {
            match Portable::new(self.pool_threads, true) {
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
        let is_it = |kept: &Kept| matches!(kept, Kept::Used { token: other, .. } if *other == token);
        let kept = if self.kept_used == 0 { None } else { self.kept.iter().position(is_it) };
        let user_data = match kept {
            Some(index) => {
                if let Kept::Used { is_cancelled, .. } = &mut self.kept[index] {
                    *is_cancelled = true;
                }
                KEPT | index as u64
            }
            None => user_data(token, op),
        };
        if let Some(fallback) = &mut self.fallback {
            let before = completions.len();
            fallback.cancel(token, op, descriptor, completions);
            if completions.len() > before {
                return;
            }
        }
        self.push(opcode::AsyncCancel::new(user_data).build().user_data(CANCEL));
    }

    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        self.arm();
        let waits = completions.is_empty()
            && timeout != Some(Duration::ZERO)
            && self.stash.is_empty()
            && self.ring.completion().is_empty()
            && !self.fallback.as_ref().is_some_and(|fallback| fallback.has_done());
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

    /// Watches the wake event and the portable backend beside the ring.
    fn arm(&mut self) {
        if !self.wake_is_armed {
            self.wake_is_armed = true;
            let poll = opcode::PollAdd::new(Fd(self.wake_event.as_raw_fd()), libc::POLLIN as u32).multi(true);
            self.push(poll.build().user_data(WAKE));
        }
        if let Some(fallback) = &self.fallback
            && !self.fallback_is_armed
        {
            self.fallback_is_armed = true;
            let poll = opcode::PollAdd::new(Fd(fallback.os_handle()), libc::POLLIN as u32);
            self.push(poll.build().user_data(FALLBACK));
        }
    }

    fn reap(&mut self, completions: &mut Completions) -> io::Result<()> {
        let mut fallback_calls = self.fallback.as_ref().is_some_and(|fallback| fallback.has_done());
        // What arrives while this loop runs is for the next turn, so that a flood cannot hold this one.
        for _ in 0..self.ring.params().cq_entries() {
            let stashed = self.stash.pop_front();
            let Some(entry) = stashed.or_else(|| self.ring.completion().next()) else { break };
            let user_data = entry.user_data();
            let (token, outcome) = if user_data & OWN == 0 {
                let makes_descriptor = user_data & ACCEPT != 0;
                (Token(user_data & !ACCEPT), value_of(entry.result(), makes_descriptor, None))
            } else if user_data & KEPT == KEPT {
                if self.opens_again(user_data as u32, entry.result()) {
                    continue;
                }
                let Kept::Used { token, op, statx, .. } = self.release(user_data as u32) else {
                    unreachable!("one completion for each submission")
                };
                (token, value_of(entry.result(), matches!(op, Op::Open { .. }), statx))
            } else {
                match user_data {
                    WAKE => self.wake_is_armed = cqueue::more(entry.flags()),
                    FALLBACK => {
                        self.fallback_is_armed = false;
                        fallback_calls = true;
                    }
                    _ => {}
                }
                continue;
            };
            completions.push_back(Completion { token, outcome });
        }
        match &mut self.fallback {
            Some(fallback) if fallback_calls => fallback.wait(Some(Duration::ZERO), completions),
            _ => Ok(()),
        }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.arm();
        self.reset_foreign_event();
        if !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(_) => self.messages_handed_over(),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
                Err(error) => return Err(error),
            }
        }
        if self.foreign_event.get().is_some()
            && self.has_completions()
            && let Some(event) = self.foreign_event.get()
        {
            // What came before the reset, or with this hand-over, is told again.
            rustix::io::write(event, &1u64.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Takes back what was told to a foreign event loop.
    fn reset_foreign_event(&self) {
        if let Some(event) = self.foreign_event.get() {
            // Nothing to take back is no error.
            let _ = rustix::io::read(event, &mut [0; 8]);
        }
    }

    pub(crate) fn has_completions(&mut self) -> bool {
        let submission = self.ring.submission();
        let pending = submission.taskrun() || submission.cq_overflow();
        drop(submission);
        pending || !self.stash.is_empty() || !self.ring.completion().is_empty()
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
        Wakeup::Event(Arc::clone(&self.wake_event))
    }

    pub(crate) fn os_handle(&self) -> RawDescriptor {
        if self.foreign_event.get().is_none()
            && let Ok(event) = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            && self.ring.submitter().register_eventfd(event.as_raw_fd()).is_ok()
        {
            // It is empty, as was just seen.
            let _ = self.foreign_event.set(event);
        }
        self.foreign_event.get().map_or_else(|| self.ring.as_raw_fd(), |event| event.as_raw_fd())
    }
}

/// How the ring names a request of the hot path.
fn user_data(token: Token, op: &Op) -> u64 {
    match op {
        Op::Accept => token.0 | ACCEPT,
        _ => token.0,
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
        raw if makes_descriptor => Ok(Value::Descriptor(adopt_descriptor(raw))),
        count => Ok(match statx {
            Some(statx) => Value::Metadata(Box::new(Metadata::from_statx(&statx))),
            None => Value::Count(count as u64),
        }),
    }
}
