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

mod address;
#[cfg(unix)]
mod children;
#[cfg(windows)]
#[path = "windows/children.rs"]
mod children;
pub(crate) mod codes;
mod control;
#[cfg(unix)]
mod datagram;
mod features;
pub(crate) mod fork;
#[cfg(any(windows, feature = "fake-port"))]
pub(crate) mod iocp;
#[cfg(target_os = "linux")]
mod message;
#[cfg(unix)]
#[path = "unix.rs"]
mod os;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod os;
#[cfg(unix)]
mod perform;
#[cfg(windows)]
#[path = "windows/perform.rs"]
mod perform;
pub(crate) mod pool;
#[cfg(unix)]
pub(crate) mod portable;
#[cfg(unix)]
pub(crate) mod reaper;
#[cfg(unix)]
mod sigpipe;
mod simulated;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(windows)]
#[path = "windows/waits.rs"]
mod waits;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::address::Address;
use crate::buffer::Part;
use crate::fs::{Entry, Metadata};
use crate::op::{Class, Op, Transfer};
use crate::sync::AtomicBool;

pub(crate) use children::{KILL_SIGNAL, Orphan, Started, Starter};
pub(crate) use codes::Errno;
pub(crate) use control::{Habits, Nature, SocketAnswer, SocketCall, expect_socket, lingers};
pub use features::KernelFeatures;
#[cfg(any(windows, feature = "fake-port"))]
pub(crate) use iocp::Iocp;
pub(crate) use os::{
    BorrowedWaitable, OsDescriptor, OwnedFile, OwnedSocket, RawDescriptor, duplicate, from_file, from_socket,
    into_file, into_socket, is_terminal, kind_of_entry, raw as raw_descriptor, set_cursor, set_nonblocking,
};
#[cfg(unix)]
pub(crate) use perform::Attempt;
#[cfg(target_os = "linux")]
pub(crate) use perform::adopt_descriptor;
use perform::{attempt, perform};
#[cfg(unix)]
pub(crate) use portable::Portable;
pub(crate) use simulated::Simulated;
pub use simulated::{Faults, InjectedFault, Simulation};
#[cfg(target_os = "linux")]
pub(crate) use uring::{MaskedOpcodes, Uring};

/// What stands for no descriptor; the OS refuses it.
pub(crate) const NO_DESCRIPTOR: RawDescriptor = -1;

/// A descriptor that closes itself.
#[derive(Debug)]
pub(crate) enum Descriptor {
    Os(OsDescriptor),
    Simulated(simulated::Number),
}

impl Descriptor {
    pub(crate) fn raw(&self) -> RawDescriptor {
        match self {
            Descriptor::Os(descriptor) => os::raw(descriptor),
            Descriptor::Simulated(number) => number.raw(),
        }
    }

    /// The number alone, which somebody has to close.
    pub(crate) fn into_raw(self) -> RawDescriptor {
        match self {
            Descriptor::Os(descriptor) => os::into_raw(descriptor),
            Descriptor::Simulated(number) => number.into_raw(),
        }
    }

    /// The OS's number for it, if it is the OS's.
    pub(crate) fn os_number(&self) -> Option<RawDescriptor> {
        match self {
            Descriptor::Os(descriptor) => Some(os::raw(descriptor)),
            Descriptor::Simulated(_) => None,
        }
    }

    /// The OS's descriptor, if it is one.
    pub(crate) fn into_os(self) -> Result<OsDescriptor, Descriptor> {
        match self {
            Descriptor::Os(descriptor) => Ok(descriptor),
            simulated => Err(simulated),
        }
    }
}

impl From<OsDescriptor> for Descriptor {
    fn from(descriptor: OsDescriptor) -> Descriptor {
        Descriptor::Os(descriptor)
    }
}

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
    Datagram(Arrival),
    Child(Box<Started>),
    /// As wait(2) has it.
    Exit(i32),
}

/// A datagram that was received.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Bytes that found room in the buffer.
    pub(crate) count: u32,
    /// The datagram's own length, if the OS tells it of one that found no room.
    pub(crate) size: Option<u32>,
    pub(crate) sender: Address,
}

/// Why an operation did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The OS's code.
    Os(i32),
    /// A name did not resolve, for this reason.
    Name(Box<str>),
    /// It cannot be, for this reason.
    Invalid(Box<str>),
    /// It cannot be: the OS's code, and what it means here.
    #[cfg_attr(not(any(windows, feature = "fake-port")), expect(dead_code, reason = "of a completion port alone"))]
    InvalidFor(i32, &'static str),
    /// It ended without moving anything, because of a cancel or a signal.
    Interrupted,
    /// It was stopped on its way, by a cancel or with this code of the OS's, which cannot say how much it has moved.
    #[cfg_attr(not(any(windows, feature = "fake-port")), expect(dead_code, reason = "completion ports alone forget"))]
    StoppedSomewhere(Option<i32>),
}

impl Fault {
    pub(crate) fn from_io(error: &io::Error) -> Fault {
        match error.raw_os_error() {
            Some(codes::EINTR) => Fault::Interrupted,
            Some(code) => Fault::Os(code),
            None => Fault::Name(error.to_string().into_boxed_str()),
        }
    }
}

impl From<Errno> for Fault {
    fn from(code: Errno) -> Fault {
        match code.raw_os_error() {
            codes::EINTR => Fault::Interrupted,
            code => Fault::Os(code),
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

/// How an operation waits, where its class alone does not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitsBy {
    #[default]
    Class,
    /// Only readiness waits for it: others have made the description non-blocking, or it is a terminal.
    Readiness,
    /// Another program answers for the file (FUSE), and may never do so: it must hold up nobody else.
    Patience,
}

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
    pub(crate) waits_by: WaitsBy,
    /// A write that passes the least that the file's length is known to be.
    #[cfg_attr(all(unix, not(feature = "fake-port")), expect(dead_code, reason = "a completion port's question"))]
    pub(crate) extends: bool,
    /// The close of this socket waits (SO_LINGER).
    pub(crate) lingers: bool,
}

/// What Linux moves at most in one call, in bytes (see read(2)).
pub(crate) const TRANSFER_BYTES_MAX: u64 = 0x7fff_f000;
/// Parts of one call at most, well below every system's IOV_MAX.
pub(crate) const TRANSFER_PARTS_MAX: usize = 64;

/// The streams that a process is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardStream {
    Input,
    Output,
    Error,
}

impl StandardStream {
    pub(crate) fn name(self) -> &'static str {
        match self {
            StandardStream::Input => "standard input",
            StandardStream::Output => "standard output",
            StandardStream::Error => "standard error",
        }
    }

    /// Writes to the real one: what a simulated program prints is to be seen.
    fn print(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            StandardStream::Input => Err(Errno::BADF.into()),
            StandardStream::Output => io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()),
            StandardStream::Error => io::stderr().lock().write_all(bytes),
        }
    }
}

/// Which backend a scheduler runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendKind {
    /// io_uring, on Linux.
    Uring,
    /// Readiness for sockets and pipes, a bounded pool of threads for files.
    Portable,
    /// An I/O completion port, on Windows.
    Iocp,
    /// A machine in memory, with a clock of its own; see [`Simulation`].
    Simulated,
}

impl BackendKind {
    /// Its name, as `CORELLA_BACKEND` has it.
    pub fn name(self) -> &'static str {
        match self {
            BackendKind::Uring => "uring",
            BackendKind::Portable => "portable",
            BackendKind::Iocp => "iocp",
            BackendKind::Simulated => "simulated",
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

/// Why it is this backend, in words.
impl fmt::Display for BackendReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendReason::Best => formatter.write_str("the best for this machine"),
            BackendReason::Builder => formatter.write_str("the program chose it"),
            BackendReason::Environment => formatter.write_str("CORELLA_BACKEND asks for it"),
            BackendReason::UringRefused { what, os_code: Some(code) } => {
                write!(formatter, "io_uring is not to be had: {what}, os error {code}")
            }
            BackendReason::UringRefused { what, os_code: None } => {
                write!(formatter, "io_uring is not to be had: {what}")
            }
        }
    }
}

/// What time it is for a scheduler.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    /// The machine's, from this moment on.
    Monotonic(Instant),
    /// A simulated machine's, which moves by itself.
    Simulated(Rc<Cell<u64>>),
}

impl Clock {
    /// Nanoseconds since its start.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Clock::Monotonic(start) => start.elapsed().as_nanos() as u64,
            Clock::Simulated(now) => now.get(),
        }
    }
}

/// Ends a wait from another thread.
///
/// It does not keep the backend's descriptors: once that is gone nobody waits.
#[derive(Clone, Debug)]
pub(crate) enum Wakeup {
    #[cfg(target_os = "linux")]
    Event(Weak<OsDescriptor>),
    #[cfg(unix)]
    Poller(Weak<portable::Bell>),
    #[cfg(any(windows, feature = "fake-port"))]
    Port(Weak<iocp::Bell>),
    Flag(Arc<AtomicBool>),
}

impl Wakeup {
    pub(crate) fn wake(&self) {
        match self {
            #[cfg(target_os = "linux")]
            Wakeup::Event(event) => {
                let Some(event) = event.upgrade() else { return };
                // A full counter (EAGAIN) is as good as a wake: the other side has not looked yet.
                let _ = rustix::io::write(event, &1u64.to_ne_bytes());
            }
            #[cfg(unix)]
            Wakeup::Poller(bell) => bell.upgrade().iter().for_each(|bell| bell.ring()),
            #[cfg(any(windows, feature = "fake-port"))]
            Wakeup::Port(bell) => bell.upgrade().iter().for_each(|bell| bell.ring()),
            Wakeup::Flag(flag) => flag.store(true, Ordering::Release),
        }
    }
}

/// The backend of one queue. One `match` a call; no dynamic dispatch.
#[derive(Debug)]
pub(crate) enum Backend {
    #[cfg(target_os = "linux")]
    Uring(Box<Uring>),
    #[cfg(unix)]
    Portable(Box<Portable>),
    #[cfg(any(windows, feature = "fake-port"))]
    Iocp(Box<Iocp<iocp::Port>>),
    Simulated(Box<Simulated>),
    /// The scheduler has ended.
    Ended(Ended),
}

/// What is left of a backend after its scheduler: its kind. Whoever still keeps an outcome keeps no ring and no poller.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) BackendKind);

impl Ended {
    fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        completions.push_back(Completion { token: submission.token, outcome: Err(Fault::Os(codes::ECANCELED)) });
    }

    fn cancel(&mut self, _token: Token, _op: &Op, _descriptor: RawDescriptor, _completions: &mut Completions) {}

    fn cancel_all(&mut self, _completions: &mut Completions) -> bool {
        true
    }

    fn wait(&mut self, _timeout: Option<Duration>, _completions: &mut Completions) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn forget_descriptor(&mut self, _descriptor: RawDescriptor) {}

    fn is_idle(&self) -> bool {
        true
    }

    fn wakeup(&self) -> Wakeup {
        Wakeup::Flag(Arc::default())
    }

    fn os_handle(&self) -> RawDescriptor {
        unreachable!("only a scheduler lends its handle, and it has ended")
    }
}

macro_rules! dispatch {
    ($self:expr, $backend:ident => $call:expr) => {
        match $self {
            #[cfg(target_os = "linux")]
            Backend::Uring($backend) => $call,
            #[cfg(unix)]
            Backend::Portable($backend) => $call,
            #[cfg(any(windows, feature = "fake-port"))]
            Backend::Iocp($backend) => $call,
            Backend::Simulated($backend) => $call,
            Backend::Ended($backend) => $call,
        }
    };
}

impl Backend {
    pub(crate) fn submit(&mut self, submission: &Submission<'_>, completions: &mut Completions) {
        dispatch!(self, backend => backend.submit(submission, completions));
    }

    /// Takes a transfer of one run of bytes where there is a shorter way than [`submit`](Self::submit); otherwise false.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a structure of them would be written to memory and read again")]
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "a ring alone has one"))]
    pub(crate) fn submit_transfer(
        &mut self,
        token: Token,
        transfer: Transfer,
        descriptor: RawDescriptor,
        class: Class,
        waits_by: WaitsBy,
        part: Part,
        offset: Option<u64>,
    ) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(uring) if waits_by == WaitsBy::Class && class != Class::Stream => {
                uring.submit_transfer(token, transfer, descriptor, part, offset)
            }
            _ => false,
        }
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

    /// Whether a `wait` would find something that can be seen by a couple of loads.
    #[inline(always)]
    pub(crate) fn shows_completions(&mut self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(uring) => uring.shows_completions(),
            Backend::Simulated(simulated) => simulated.has_completions(),
            _ => false,
        }
    }

    /// Whether a `wait` may find something. Where a look costs a system call the answer is yes, for the sake of the wait.
    pub(crate) fn may_have_completions(&mut self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(uring) => uring.may_have_completions(),
            Backend::Simulated(simulated) => simulated.has_completions(),
            Backend::Ended(_) => false,
            #[cfg(unix)]
            Backend::Portable(_) => true,
            #[cfg(any(windows, feature = "fake-port"))]
            Backend::Iocp(_) => true,
        }
    }

    /// Whether it has nothing of anybody's, nor any news, so that a `wait` which does not wait may be left out. Time on a
    /// simulated machine needs each of them to go on.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(uring) => uring.is_at_rest(),
            _ => false,
        }
    }

    /// Called before a descriptor is closed or given away, when nothing is in flight on it.
    pub(crate) fn forget_descriptor(&mut self, descriptor: RawDescriptor) {
        dispatch!(self, backend => backend.forget_descriptor(descriptor));
    }

    /// As [`forget_descriptor`](Self::forget_descriptor), of one that others are to use from now on.
    pub(crate) fn part_with(&mut self, descriptor: RawDescriptor) {
        self.forget_descriptor(descriptor);
        #[cfg(any(windows, feature = "fake-port"))]
        if let Backend::Iocp(iocp) = self {
            iocp.part_with(descriptor);
        }
    }

    /// Whether the OS has nothing left that must be waited for.
    pub(crate) fn is_idle(&self) -> bool {
        dispatch!(self, backend => backend.is_idle())
    }

    /// Carries an operation out by a bare call of this thread, which may block on a file; nothing where that would
    /// block, or is not to be had.
    pub(crate) fn perform(&self, submission: &Submission<'_>) -> Option<Outcome> {
        match (submission.class, submission.op) {
            _ if matches!(self, Backend::Simulated(_)) => None,
            (Class::File { .. }, _) => Some(perform(submission)),
            // A socket of a port is tried by an overlapped call.
            #[cfg(any(windows, feature = "fake-port"))]
            (Class::Socket | Class::Datagram, _) if matches!(self, Backend::Iocp(_)) => None,
            (Class::Socket, Op::Recv { .. } | Op::Send { .. })
            | (Class::Datagram, Op::RecvFrom { .. } | Op::SendTo { .. }) => attempt(submission, false),
            _ => None,
        }
    }

    /// Whether what comes next is better tried by a call of its own, as there is nothing to hand it over with.
    #[inline]
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "a ring's question"))]
    pub(crate) fn gains_by_trying(&mut self, others_are_ready: bool) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(uring) => !others_are_ready && uring.has_no_batch(),
            _ => true,
        }
    }

    /// Reads of a file before it is worth asking whether they can be tried.
    pub(crate) fn reads_before_a_try(&self) -> u8 {
        // Programs on a simulated machine are short, and are to meet everything.
        if matches!(self, Backend::Simulated(_)) { 0 } else { 2 }
    }

    /// Whether reads of this file can be tried without blocking. Past the page cache they cannot: there the call waits for
    /// the device.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "Linux alone has the call"))]
    pub(crate) fn reads_at_once(&self, descriptor: RawDescriptor) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(_) | Backend::Portable(_) => !perform::is_direct(descriptor),
            Backend::Simulated(_) => true,
            _ => false,
        }
    }

    /// Reads what is in the page cache, without blocking: so many bytes, none if there are none. Nothing where the OS has no
    /// such call for this file.
    pub(crate) fn read_at_once(&self, descriptor: RawDescriptor, part: Part, offset: u64) -> Option<u64> {
        match self {
            Backend::Simulated(simulated) => Some(simulated.read_at_once(descriptor, part, offset)),
            #[cfg(target_os = "linux")]
            _ => perform::read_at_once(descriptor, part, offset),
            #[cfg(not(target_os = "linux"))]
            _ => None,
        }
    }

    /// Sends what there is room for on a connection, without waiting: so many bytes, or why not, in the OS's code. Nothing
    /// if there is no room, or no such call.
    #[inline]
    pub(crate) fn send_at_once(&self, descriptor: RawDescriptor, bytes: &[u8]) -> Option<Result<u64, i32>> {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(_) => perform::send_at_once(descriptor, bytes),
            #[cfg(unix)]
            Backend::Portable(_) => perform::send_at_once(descriptor, bytes),
            Backend::Simulated(simulated) => simulated.send_at_once(descriptor, bytes),
            // A port's sockets are for overlapped calls; another would wait.
            _ => None,
        }
    }

    /// What a descriptor refers to.
    pub(crate) fn nature(&self, descriptor: &Descriptor) -> io::Result<Nature> {
        match (self, descriptor) {
            (Backend::Simulated(simulated), Descriptor::Simulated(number)) => simulated.nature(number),
            (Backend::Simulated(_), _) | (_, Descriptor::Simulated(_)) => Err(foreign()),
            (_, Descriptor::Os(descriptor)) => os::nature(descriptor),
        }
    }

    /// How a descriptor is that somebody else has opened.
    pub(crate) fn habits(&self, descriptor: &Descriptor) -> io::Result<Habits> {
        match descriptor {
            Descriptor::Os(descriptor) => os::habits(descriptor),
            Descriptor::Simulated(_) => Ok(Habits::default()),
        }
    }

    /// A socket of this address's family, for datagrams or a connection.
    pub(crate) fn new_socket(&self, address: &Address, class: Class) -> io::Result<Descriptor> {
        match self {
            Backend::Simulated(simulated) => simulated.new_socket(address, class),
            _ => control::new_socket(address, class, self.wants_nonblocking()).map(Descriptor::Os),
        }
    }

    /// Two sockets that are connected to each other, for datagrams or as streams.
    pub(crate) fn socket_pair(&self, class: Class) -> io::Result<[Descriptor; 2]> {
        match self {
            Backend::Simulated(simulated) => simulated.socket_pair(class),
            #[cfg(unix)]
            _ => Ok(control::socket_pair(class, self.wants_nonblocking())?.map(Descriptor::Os)),
            #[cfg(windows)]
            _ => Err(io::Error::new(io::ErrorKind::Unsupported, "Windows has no pairs of sockets")),
        }
    }

    /// The ends of a new pipe: for reading, for writing.
    pub(crate) fn pipe(&self) -> io::Result<[Descriptor; 2]> {
        match self {
            Backend::Simulated(simulated) => simulated.pipe(),
            #[cfg(unix)]
            _ => Ok(control::pipe()?.map(Descriptor::Os)),
            #[cfg(windows)]
            _ => Ok(os::pipe()?.map(Descriptor::Os)),
        }
    }

    pub(crate) fn socket_call(&self, descriptor: &Descriptor, call: SocketCall) -> io::Result<SocketAnswer> {
        match (self, descriptor) {
            (Backend::Simulated(simulated), Descriptor::Simulated(number)) => simulated.socket_call(number, call),
            (Backend::Simulated(_), _) | (_, Descriptor::Simulated(_)) => Err(foreign()),
            (_, Descriptor::Os(descriptor)) => control::socket_call(descriptor, call),
        }
    }

    /// Sends a signal to the child that a descriptor is of.
    pub(crate) fn signal(&self, descriptor: &Descriptor, pid: i32, number: i32) -> io::Result<()> {
        match (self, descriptor) {
            (Backend::Simulated(_), _) | (_, Descriptor::Simulated(_)) => Err(foreign()),
            (_, Descriptor::Os(descriptor)) => children::signal(pid, descriptor, number),
        }
    }

    /// Makes a socket or pipe ready for this backend's way of waiting.
    pub(crate) fn take_in(&self, descriptor: &Descriptor) -> io::Result<()> {
        match (self, descriptor) {
            (Backend::Simulated(_), Descriptor::Simulated(_)) => Ok(()),
            (Backend::Simulated(_), _) | (_, Descriptor::Simulated(_)) => Err(foreign()),
            (_, Descriptor::Os(descriptor)) => set_nonblocking(descriptor, self.wants_nonblocking()),
        }
    }

    /// One of the process's standard streams.
    pub(crate) fn standard(&self, stream: StandardStream) -> io::Result<Descriptor> {
        match self {
            Backend::Simulated(simulated) => simulated.standard(stream),
            _ => os::standard(stream).map(Descriptor::Os),
        }
    }

    /// Whether the OS says of a write to a stream that was stopped how far it came. Otherwise several writes are not made
    /// one: the cancel of one would break off them all.
    pub(crate) fn tells_what_went_out(&self) -> bool {
        match self {
            #[cfg(any(windows, feature = "fake-port"))]
            Backend::Iocp(iocp) => iocp.tells_what_went_out(),
            _ => true,
        }
    }

    /// Whether sockets and pipes must be non-blocking.
    fn wants_nonblocking(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Backend::Uring(_) => false,
            #[cfg(unix)]
            Backend::Portable(_) => true,
            #[cfg(any(windows, feature = "fake-port"))]
            Backend::Iocp(_) => cfg!(unix),
            Backend::Simulated(_) | Backend::Ended(_) => false,
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        match self {
            Backend::Simulated(simulated) => simulated.clock(),
            _ => Clock::Monotonic(Instant::now()),
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
            #[cfg(unix)]
            Backend::Portable(_) => BackendKind::Portable,
            #[cfg(any(windows, feature = "fake-port"))]
            Backend::Iocp(_) => BackendKind::Iocp,
            Backend::Simulated(_) => BackendKind::Simulated,
            Backend::Ended(ended) => ended.0,
        }
    }
}

/// A status of wait(2) as the standard library has it.
pub(crate) fn exit_status_of(status: i32) -> std::process::ExitStatus {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::from_raw(status);
    #[cfg(windows)]
    return std::os::windows::process::ExitStatusExt::from_raw(status as u32);
}

/// Why the OS cannot take an address, if it cannot.
pub(crate) fn check_address(address: &Address) -> io::Result<()> {
    address::to_os(address).map(drop)
}

/// A descriptor of the OS on a simulated machine, or the other way round.
fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a simulated machine and the real one do not share descriptors")
}

/// Lends a backend's own descriptor for as long as the owner of the backend lives.
pub(crate) fn lend<Owner>(descriptor: RawDescriptor, _owner: &Owner) -> BorrowedWaitable<'_> {
    // SAFETY: called for a backend's own descriptor with the scheduler's core as owner; a core keeps its backend,
    // and a backend its descriptor, until it is dropped.
    #[allow(unsafe_code)]
    unsafe {
        BorrowedWaitable::borrow_raw(descriptor as _)
    }
}
