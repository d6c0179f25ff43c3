//! The settings of a scheduler, and the choice of its backend.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::remote::{Arrived, Inbox};
use super::tasks::{ReadyQueue, Tasks, enter_thread};
use super::turn::Budgets;
use super::{Core, Io, Scheduler};
#[cfg(unix)]
use crate::backend::Portable;
use crate::backend::{Backend, BackendKind, BackendReason, Simulated, Simulation, fork};
#[cfg(windows)]
use crate::backend::{Iocp, iocp};
#[cfg(all(unix, feature = "fake-port"))]
use crate::backend::{Iocp, iocp::fake};
#[cfg(target_os = "linux")]
use crate::backend::{MaskedOpcodes, Uring};
use crate::error::{Error, ErrorKind};
use crate::queue::{QueueSettings, RequestQueue};

static SCHEDULERS: AtomicU64 = AtomicU64::new(0);

/// Settings of a [`Scheduler`]. All limits are fixed at start.
///
/// ```
/// # fn main() -> Result<(), corella::Error> {
/// let scheduler = corella::Scheduler::builder()
///     .backend(corella::BackendKind::Portable)
///     .queue_depth(64)
///     .pool_threads(2)
///     .build()?;
/// assert_eq!(scheduler.backend(), corella::BackendKind::Portable);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SchedulerBuilder {
    backend: Option<BackendKind>,
    queue_depth: usize,
    ring_entries: u32,
    pool_threads: usize,
    inbox_jobs: usize,
    tasks: usize,
    sleeps: usize,
    inline_reads: bool,
    budgets: Budgets,
    masked_opcodes: u128,
    refused_flags: u32,
    #[cfg(all(unix, feature = "fake-port"))]
    packet_seed: Option<u64>,
}

impl Default for SchedulerBuilder {
    fn default() -> SchedulerBuilder {
        SchedulerBuilder {
            backend: None,
            queue_depth: 1 << 16,
            ring_entries: 256,
            pool_threads: 8,
            inbox_jobs: 1 << 16,
            tasks: 1 << 22,
            sleeps: 1 << 22,
            inline_reads: true,
            budgets: Budgets { tasks_per_turn: 256, operations_per_poll: 128, bytes_per_poll: 1 << 20 },
            masked_opcodes: 0,
            refused_flags: 0,
            #[cfg(all(unix, feature = "fake-port"))]
            packet_seed: None,
        }
    }
}

/// The limits of a scheduler, as the methods of the same names of [`SchedulerBuilder`] set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the builder's methods say what each is")]
pub struct Limits {
    pub queue_depth: usize,
    pub ring_entries: u32,
    pub pool_threads: usize,
    pub inbox_jobs: usize,
    pub tasks: usize,
    pub sleeps: usize,
}

impl SchedulerBuilder {
    /// The limits as they are set.
    ///
    /// ```
    /// assert_eq!(corella::Scheduler::builder().queue_depth(8).limits().queue_depth, 8);
    /// ```
    pub fn limits(&self) -> Limits {
        Limits {
            queue_depth: self.queue_depth,
            ring_entries: self.ring_entries,
            pool_threads: self.pool_threads,
            inbox_jobs: self.inbox_jobs,
            tasks: self.tasks,
            sleeps: self.sleeps,
        }
    }

    /// Forces a backend. Without it `CORELLA_BACKEND` decides, and without that the machine.
    pub fn backend(mut self, kind: BackendKind) -> Self {
        self.backend = Some(kind);
        self
    }

    /// Requests at once at most (default 65,536); 0 counts as 1. Beyond it `submit` and `then` answer `Rejected`, while
    /// `wait` and `await` wait their turn.
    pub fn queue_depth(mut self, requests: usize) -> Self {
        self.queue_depth = requests.max(1);
        self
    }

    /// Places in the submission ring of io_uring (default 256; 1 to 4096, rounded up to a power of two): what one
    /// system call hands over at most. What is outside of these bounds counts as the nearest that is inside.
    pub fn ring_entries(mut self, entries: u32) -> Self {
        self.ring_entries = entries;
        self
    }

    /// Threads at most (default 8; 0 counts as 1) for each of three sorts of work: files, closes, and what waits for
    /// others; of those that are at something given up at most 64 are made up for. With io_uring that pool does only
    /// what the ring cannot, and the kernel has as many workers of its own for each of two sorts of work, and up to 64
    /// for opens that wait for others.
    pub fn pool_threads(mut self, threads: usize) -> Self {
        self.pool_threads = threads.max(1);
        self
    }

    /// Jobs from other threads that may wait at once (default 65,536).
    pub fn inbox_jobs(mut self, jobs: usize) -> Self {
        self.inbox_jobs = jobs;
        self
    }

    /// Tasks at once at most (default 4,194,304).
    pub fn tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// Sleeps at once at most (default 4,194,304). They do not count towards the queue's depth.
    pub fn sleeps(mut self, sleeps: usize) -> Self {
        self.sleeps = sleeps;
        self
    }

    /// Tasks and callbacks run in one turn at most (default 256), before timers and I/O have theirs.
    pub fn tasks_per_turn(mut self, tasks: usize) -> Self {
        self.budgets.tasks_per_turn = tasks.max(1);
        self
    }

    /// What a task may do with operations that finish at once before it has to yield: how many (default 128), and
    /// how many bytes (default 1 MiB).
    pub fn budget_per_poll(mut self, operations: u32, bytes: u64) -> Self {
        self.budgets.operations_per_poll = operations;
        self.budgets.bytes_per_poll = bytes;
        self
    }

    /// Whether an awaited read of a file is first tried by a call that gives what is in the page cache and does not block
    /// (preadv2(2) with RWF_NOWAIT), when there is no other to batch it with (default: yes). Linux alone has such a call.
    ///
    /// ```
    /// # fn main() -> Result<(), corella::Error> {
    /// // Every awaited read goes through the queue, as it does when it waits for a disk.
    /// let scheduler = corella::Scheduler::builder().inline_reads(false).build()?;
    /// # drop(scheduler); Ok(()) }
    /// ```
    pub fn inline_reads(mut self, yes: bool) -> Self {
        self.inline_reads = yes;
        self
    }

    /// Makes an io_uring opcode count as missing, so that its fallback is used. For tests.
    pub fn mask_opcode(mut self, opcode: u8) -> Self {
        self.masked_opcodes |= 1u128 << (opcode & 127);
        self
    }

    /// Makes io_uring set-up flags (`IORING_SETUP_*`) count as refused, as by a kernel that does not know them. For
    /// tests.
    pub fn refuse_setup_flags(mut self, flags: u32) -> Self {
        self.refused_flags |= flags;
        self
    }

    /// Has chance delay, reorder and race the packets of the double of a completion port. For tests.
    #[cfg(all(unix, feature = "fake-port"))]
    #[doc(hidden)]
    pub fn packet_seed(mut self, seed: u64) -> Self {
        self.packet_seed = Some(seed);
        self
    }

    /// Starts the scheduler on this double of a completion port.
    #[cfg(all(test, unix, feature = "fake-port"))]
    pub(crate) fn build_on_port(self, port: fake::FakePort) -> Scheduler {
        let iocp = Iocp::new(port, self.pool_threads);
        self.start(Backend::Iocp(Box::new(iocp)), BackendReason::Builder)
    }

    /// Starts the scheduler.
    ///
    /// `InvalidInput` for an unknown `CORELLA_BACKEND`, and the OS's error for a forced backend that is not to be had.
    pub fn build(self) -> Result<Scheduler, Error> {
        let (backend, reason) = self.choose()?;
        Ok(self.start(backend, reason))
    }

    /// Starts the scheduler on a simulated machine.
    ///
    /// The OS's error EBUSY while another runs on it.
    pub fn build_simulated(self, machine: &Simulation) -> Result<Scheduler, Error> {
        match Simulated::new(machine) {
            Ok(simulated) => Ok(self.start(Backend::Simulated(Box::new(simulated)), BackendReason::Builder)),
            Err(error) => Err(Error::from_io(&error, "start simulated", "the machine")),
        }
    }

    fn start(self, backend: Backend, reason: BackendReason) -> Scheduler {
        fork::watch();
        let clock = backend.clock();
        let scheduler = SCHEDULERS.fetch_add(1, Ordering::Relaxed);
        let inbox = Arc::new(Inbox::new(scheduler, backend.wakeup(), self.inbox_jobs));
        let ready = Rc::new(ReadyQueue::default());
        enter_thread(scheduler, &ready);
        let (depth, sleeps_max, inline_reads) = (self.queue_depth, self.sleeps, self.inline_reads);
        let settings = QueueSettings { depth, sleeps_max, inline_reads };
        let queue = RequestQueue::new(backend, settings, Arc::clone(&inbox), Rc::clone(&ready));
        let core = Rc::new_cyclic(|io| Core {
            io: Io { core: io.clone() },
            queue: RefCell::new(queue),
            tasks: RefCell::new(Tasks::default()),
            ready,
            direct: RefCell::new(VecDeque::new()),
            inbox,
            arrived: RefCell::new(Arrived::default()),
            inside: Cell::new(false),
            stopping: Cell::new(false),
            root_is_ready: Cell::new(false),
            root_is_driven: Cell::new(false),
            ended: Cell::new(false),
            clock,
            hook: RefCell::new(None),
            unobserved: Cell::new(0),
            fork_generation: fork::generation(),
            budgets: self.budgets,
            has_unset_sleeps: Cell::new(false),
            operations_left: Cell::new(0),
            bytes_left: Cell::new(0),
            tasks_max: self.tasks,
            panic: RefCell::new(None),
            reason,
            current: RefCell::new(None),
            wakers: RefCell::new(Vec::new()),
            leftovers: RefCell::new(Vec::new()),
            looks: Cell::new(0),
        });
        Scheduler { core }
    }

    fn choose(&self) -> Result<(Backend, BackendReason), Error> {
        if let Some(kind) = self.backend {
            return Ok((self.open(kind)?, BackendReason::Builder));
        }
        match std::env::var("CORELLA_BACKEND").as_deref() {
            Ok("uring") => Ok((self.open(BackendKind::Uring)?, BackendReason::Environment)),
            Ok("portable") => Ok((self.open(BackendKind::Portable)?, BackendReason::Environment)),
            Ok("iocp") => Ok((self.open(BackendKind::Iocp)?, BackendReason::Environment)),
            Ok("") | Err(_) => self.choose_best(),
            Ok(other) => {
                let note = format!("CORELLA_BACKEND is {other:?}; it may be \"uring\" or \"portable\"");
                Err(Error::new(ErrorKind::InvalidInput, "start a scheduler", "").with_note(note))
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn choose_best(&self) -> Result<(Backend, BackendReason), Error> {
        match self.uring() {
            Ok(uring) => Ok((Backend::Uring(Box::new(uring)), BackendReason::Best)),
            Err((error, what)) => {
                let reason = BackendReason::UringRefused { os_code: error.raw_os_error(), what: what.to_string() };
                Ok((self.open(BackendKind::Portable)?, reason))
            }
        }
    }

    #[cfg(windows)]
    fn choose_best(&self) -> Result<(Backend, BackendReason), Error> {
        Ok((self.open(BackendKind::Iocp)?, BackendReason::Best))
    }

    #[cfg(not(any(target_os = "linux", windows)))]
    fn choose_best(&self) -> Result<(Backend, BackendReason), Error> {
        Ok((self.open(BackendKind::Portable)?, BackendReason::Best))
    }

    #[cfg(target_os = "linux")]
    fn uring(&self) -> Result<Uring, (std::io::Error, &'static str)> {
        let masked = MaskedOpcodes(self.masked_opcodes);
        Uring::new(self.ring_entries, self.pool_threads, masked, self.refused_flags)
    }

    fn open(&self, kind: BackendKind) -> Result<Backend, Error> {
        let fault = |error: std::io::Error, what: &str| Error::from_io(&error, format!("start {}", kind.name()), what);
        match kind {
            #[cfg(target_os = "linux")]
            BackendKind::Uring => match self.uring() {
                Ok(uring) => Ok(Backend::Uring(Box::new(uring))),
                Err((error, what)) => Err(fault(error, what)),
            },
            #[cfg(not(target_os = "linux"))]
            BackendKind::Uring => {
                let note = "io_uring is of Linux";
                Err(Error::new(ErrorKind::InvalidInput, "start uring", "").with_note(note))
            }
            #[cfg(windows)]
            BackendKind::Iocp => match iocp::Port::new() {
                Ok(port) => Ok(Backend::Iocp(Box::new(Iocp::new(port, self.pool_threads)))),
                Err(error) => Err(fault(error, "port")),
            },
            #[cfg(all(unix, feature = "fake-port"))]
            BackendKind::Iocp => match fake::FakePort::new(fake::Plan::new(self.packet_seed)) {
                Ok(port) => Ok(Backend::Iocp(Box::new(Iocp::new(port, self.pool_threads)))),
                Err(error) => Err(fault(error, "port")),
            },
            #[cfg(all(unix, not(feature = "fake-port")))]
            BackendKind::Iocp => {
                let note = "completion ports are of Windows";
                Err(Error::new(ErrorKind::InvalidInput, "start iocp", "").with_note(note))
            }
            BackendKind::Simulated => {
                let note = "it needs a machine: use build_simulated";
                Err(Error::new(ErrorKind::InvalidInput, "start simulated", "").with_note(note))
            }
            #[cfg(windows)]
            BackendKind::Portable => {
                let note = "it needs readiness, which Windows has only of sockets";
                Err(Error::new(ErrorKind::InvalidInput, "start portable", "").with_note(note))
            }
            #[cfg(unix)]
            BackendKind::Portable => match Portable::new(self.pool_threads, false) {
                Ok(portable) => Ok(Backend::Portable(Box::new(portable))),
                Err(error) => Err(fault(error, "poller")),
            },
        }
    }
}
