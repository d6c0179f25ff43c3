//! Backends carry operations out. This page says what each owes the queue.
//!
//! - [`Backend::submit`] takes one operation and never blocks, except on what the OS itself does at once. It answers
//!   with **exactly one** terminal [`Completion`] for each token, now (pushed before `submit` returns) or from a later
//!   [`Backend::wait`].
//! - The bytes of [`Submission::parts`] belong to the backend from `submit` until that completion. The list of parts,
//!   like the submission itself, is valid during the call only. Whatever else the OS may touch later (a path, an
//!   address, a result structure) the backend keeps for itself.
//! - [`Backend::cancel`] is advice: it may come too late, and the completion is the truth. `Fault::Interrupted` is
//!   the answer of a request that ended because of it, with nothing moved by this submission.
//! - [`Backend::wait`] hands over whatever was batched, waits in the same call, and may return early for no reason.
//! - A transfer may be short. The queue carries on.
//! - A [`Wakeup`] ends a `wait` from any thread, or makes the next one return at once.

pub(crate) mod fork;
mod perform;
#[cfg(unix)]
mod pool;
#[cfg(unix)]
mod portable;
#[cfg(target_os = "linux")]
mod uring;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::buffer::Part;
use crate::fs::{Entry, Metadata};
use crate::op::{Class, Op};

pub(crate) use perform::{Attempt, adopt_descriptor, attempt, new_socket, perform, set_nonblocking};
pub(crate) use portable::Portable;
#[cfg(target_os = "linux")]
pub(crate) use uring::{MaskedOpcodes, Uring};

/// An OS handle that closes itself.
pub(crate) type Descriptor = OwnedFd;
/// An OS handle as a number.
pub(crate) type RawDescriptor = RawFd;

/// The queue's name for a request in flight, carried through the OS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u64);

/// What the OS gave for an operation that succeeded.
#[derive(Debug)]
pub(crate) enum Value {
    /// Bytes moved; zero for operations that move none.
    Count(u64),
    Descriptor(Descriptor),
    Metadata(Box<Metadata>),
    Path(PathBuf),
    Entries(Vec<Entry>),
    Addresses(Vec<SocketAddr>),
}

/// Why an operation did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The OS's code.
    Os(i32),
    /// A name did not resolve, for this reason.
    Name(Box<str>),
    /// It ended without moving anything, because of a cancel or a signal.
    Interrupted,
}

impl Fault {
    pub(crate) fn from_io(error: &io::Error) -> Fault {
        match error.raw_os_error() {
            Some(libc::EINTR) => Fault::Interrupted,
            Some(code) => Fault::Os(code),
            None => Fault::Name(error.to_string().into_boxed_str()),
        }
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(code: rustix::io::Errno) -> Fault {
        match code {
            rustix::io::Errno::INTR => Fault::Interrupted,
            code => Fault::Os(code.raw_os_error()),
        }
    }
}

pub(crate) type Outcome = Result<Value, Fault>;

/// One operation has ended, as the OS reports it.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    pub(crate) outcome: Outcome,
}

/// Completions on their way from a backend to the queue.
pub(crate) type Completions = VecDeque<Completion>;

/// One operation for a backend.
#[derive(Debug)]
pub(crate) struct Submission<'a> {
    pub(crate) token: Token,
    pub(crate) op: &'a Op,
    /// The handle's descriptor; for operations without one, unused.
    pub(crate) descriptor: RawDescriptor,
    pub(crate) class: Class,
    /// What is left of the buffer, or of several joined writes, in order.
    pub(crate) parts: &'a [Part],
    /// Where in the file; `None` for streams and where the OS keeps the cursor.
    pub(crate) offset: Option<u64>,
    /// A description that others have made non-blocking, so that only readiness waits for it.
    pub(crate) nonblocking: bool,
}

/// What Linux moves at most in one call, in bytes (see read(2)).
pub(crate) const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;
/// Parts of one call at most, well below every system's IOV_MAX.
pub(crate) const TRANSFER_PARTS_MAX: usize = 64;

/// Which backend a scheduler runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendKind {
    /// io_uring, on Linux.
    Uring,
    /// Readiness for sockets and pipes, a bounded pool of threads for files.
    Portable,
}

impl BackendKind {
    /// Its name, as `CORELLA_BACKEND` has it.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Uring => "uring",
            BackendKind::Portable => "portable",
        }
    }
}

/// Why a scheduler has the backend that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendReason {
    /// It is the best for this platform.
    Best,
    /// The builder named it.
    Builder,
    /// The environment variable `CORELLA_BACKEND` named it.
    Environment,
    /// io_uring was tried first and is not to be had.
    UringRefused {
        /// The OS's code: EPERM and EACCES in locked-down containers, ENOSYS on old kernels.
        os_code: Option<i32>,
        /// What was refused.
        what: String,
    },
}

/// Ends a wait from another thread.
#[derive(Clone, Debug)]
pub(crate) enum Wakeup {
    #[cfg(target_os = "linux")]
    Event(Arc<OwnedFd>),
    Poller(Arc<polling::Poller>),
}

impl Wakeup {
    pub(crate) fn wake(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Wakeup::Event(event) => {
                // A full counter (EAGAIN) is as good as a wake: the other side has not looked yet.
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
            Wakeup::Poller(poller) => {
                let _ = poller.notify();
            }
        }
    }
}

/// The backend of one queue. One `match` a call; no dynamic dispatch.
#[derive(Debug)]
pub(crate) enum Backend {
    #[cfg(target_os = "linux")]
    Uring(Box<Uring>),
    Portable(Box<Portable>),
}

macro_rules! dispatch {
    ($self:expr, $backend:ident => $call:expr) => {
        match $self {
            #[cfg(target_os = "linux")]
            Backend::Uring($backend) => $call,
            Backend::Portable($backend) => $call,
        }
    };
}

impl Backend {
    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        dispatch!(self, backend => backend.submit(submission, completions));
    }

    /// Asks for an early end of what was submitted with this token, operation and descriptor.
    pub(crate) fn cancel(&mut self, token: Token, op: &Op, descriptor: RawDescriptor, completions: &mut Completions) {
        dispatch!(self, backend => backend.cancel(token, op, descriptor, completions));
    }

    /// Asks for an early end of everything but closes, in one go. False: it is to be asked request by request.
    pub(crate) fn cancel_all(&mut self, completions: &mut Completions) -> bool {
        dispatch!(self, backend => backend.cancel_all(completions))
    }

    /// Waits for at most `timeout` (`None`: without limit) for at least one completion.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, completions: &mut Completions) -> io::Result<()> {
        dispatch!(self, backend => backend.wait(timeout, completions))
    }

    /// Hands over what is batched, without waiting.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        dispatch!(self, backend => backend.flush())
    }

    /// Whether a `wait` would find something. May say yes for nothing; never says no for long.
    pub(crate) fn has_completions(&mut self) -> bool {
        dispatch!(self, backend => backend.has_completions())
    }

    /// Called before a descriptor is closed or given away, when nothing is in flight on it.
    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        dispatch!(self, backend => backend.forget_descriptor(descriptor));
    }

    /// Whether the OS has nothing left that must be waited for.
    pub(crate) fn is_idle(&self) -> bool {
        dispatch!(self, backend => backend.is_idle())
    }

    /// Whether sockets and pipes must be non-blocking.
    pub(crate) fn wants_nonblocking(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(_) => false,
            Backend::Portable(_) => true,
        }
    }

    pub(crate) fn wakeup(&self) -> Wakeup {
        dispatch!(self, backend => backend.wakeup())
    }

    /// The descriptor that becomes readable when `wait` has something to fetch.
    pub(crate) fn os_handle(&self) -> RawDescriptor {
        dispatch!(self, backend => backend.os_handle())
    }

    pub(crate) fn kind(&self) -> BackendKind {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(_) => BackendKind::Uring,
            Backend::Portable(_) => BackendKind::Portable,
        }
    }
}

/// Lends a backend's own descriptor for as long as the owner of the backend lives.
pub(crate) fn lend<Owner>(descriptor: RawDescriptor, _owner: &Owner) -> BorrowedFd<'_> {
    // SAFETY: called for a backend's own descriptor with the scheduler's core as owner; a core keeps its backend,
    // and a backend its descriptor, until it is dropped.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedFd::borrow_raw(descriptor)
    }
}
