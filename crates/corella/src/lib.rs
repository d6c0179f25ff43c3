//! Corella: one asynchronous I/O system for every OS, made to be put inside a language virtual machine or a native
//! program.
//!
//! A program asks for I/O on a [`File`] or a [`Socket`]; the request goes into the queue of its [`Scheduler`]; the OS's
//! own completion queue carries it out; the scheduler hands the outcome back as a blocking return, a polled status, a
//! callback, or a woken task. No request ever gets a thread of its own, and the requests on one handle take effect in
//! the order they were submitted.
//!
//! ```
//! use corella::{Mode, Scheduler};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut scheduler = Scheduler::new()?;
//! let io = scheduler.io();
//! let file = io.open("Cargo.toml", Mode::Read).wait()?;                  // 1 wait: blocking
//!
//! let request = file.read_at(vec![0; 16], 0).submit()?;                  // 2 submit: a status to ask
//! file.read_at(vec![0; 16], 0)
//!     .deadline(Duration::from_millis(50))
//!     .then(|outcome| println!("{:?}", outcome.map(|(n, _)| n)))?;       // 3 then: a callback, run as a task
//! let (count, buffer) = scheduler.block_on(file.read_at(vec![0; 16], 0))??; // 4 await: it is itself a future
//! # request.wait()?; assert_eq!(count, buffer.len()); Ok(()) }
//! ```
//!
//! # What it does not do
//! No threads of its own beside the bounded pool, no work stealing: one thread, one scheduler. No TLS, no HTTP, no
//! codecs. No futures executor of general use: a task runs where its scheduler runs.
//!
//! # Platforms
//! | system | backend | falls back to |
//! |---|---|---|
//! | Linux 5.11 or newer | io_uring | the portable one, opcode by opcode or as a whole, and says why |
//! | other Linux, macOS, BSD | readiness, and a bounded pool for files | |
//! | Windows | a completion port, and a bounded pool for what the system would do inside the call; so far run under Wine only | |
#![deny(unsafe_code)]
#![warn(missing_docs)]

mod address;
mod backend;
mod buffer;
mod buffer_pool;
mod child;
mod datagram;
mod erased;
mod error;
mod file;
mod fs;
mod hosted;
#[cfg(feature = "marks")]
#[doc(hidden)]
pub mod marks;
#[cfg(not(feature = "marks"))]
#[expect(unreachable_pub, dead_code, reason = "public to tests, with the feature")]
mod marks;
mod net;
mod op;
mod operation;
mod plain;
#[cfg(feature = "planted")]
#[doc(hidden)]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
mod queue;
#[cfg(corella_shuttle)]
#[doc(hidden)]
pub mod rehearsal;
mod scheduler;
mod status;
mod sync;
mod time;
mod unix_socket;

pub use address::{Address, UnixAddress};
pub use backend::KernelFeatures;
#[doc(hidden)]
pub use backend::fork::{generation as fork_generation, watch as watch_forks};
pub use backend::{BackendKind, BackendReason, Faults, InjectedFault, Simulation};
pub use buffer::{Buffer, BufferMut, Parts, Slice, SliceOf, Spare, SpareCapacity};
pub use buffer_pool::{BufferPool, PooledBuffer};
pub use child::Child;
pub use datagram::{Datagram, DatagramSocket, ReturnedDatagram};
pub use error::{Error, ErrorKind, Failed, Moved};
pub use file::{File, Mode};
pub use fs::{Directory, Entry, FileKind, Metadata};
#[doc(hidden)]
pub use hosted::{HostedOptions, HostedTransfer, submit_hosted, submit_hosted_plain};
pub use net::{Detached, Incoming, Listener, RecvStream, Socket};
pub use op::{OpenOptions, Shutdown};
#[doc(hidden)]
pub use operation::Begun;
pub use operation::{Action, Operation, Positioned};
pub use queue::slots::RequestId;
pub use queue::{Outstanding, Unobserved};
#[doc(hidden)]
pub use scheduler::hosted::{HostedOutcome, HostedOutcomes};
pub use scheduler::remote::Remote;
pub use scheduler::tasks::JoinHandle;
pub use scheduler::token::CancelToken;
pub use scheduler::{ForeignHandle, Io, Leaked, Limits, Scheduler, SchedulerBuilder};
pub use status::{Progress, Status};
pub use time::{Interval, Timeout, YieldNow};

/// The examples of the front page, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// What each operation carries and gives back: the parameter of [`Operation`] and [`Status`].
pub mod actions {
    pub use crate::buffer::ReadToEnd;
    pub use crate::child::{Exiting, Starting};
    pub use crate::datagram::ReceivingFrom;
    pub use crate::file::{Opening, Seeking};
    pub use crate::fs::{OpenDirectory, ReadDirectory, ReadLink, Stat};
    pub use crate::net::{Accepting, Connecting, ReceivingPooled, Resolving};
    pub use crate::plain::{Plain, Reading, Writing};
}
