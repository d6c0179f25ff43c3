//! The C interface of Corella, as `include/corella.h` documents it for readers of C.
//!
//! Ids go out and come in; what they name stays here, in tables of the scheduler's thread (`host`) or, for what is bound
//! to no thread, in one table under a lock (`threads`). `registry` finds the host of an id and says why it may not be
//! used. A request is a record in the host's table (`request`) from the call that names the operation; its ending hands it
//! to the engine (`begin`, `launch`): a plain transfer by the number of its record, under which the engine tells its outcome after a
//! turn; anything else with a closure that only writes the outcome (`outcome`) into the record. Either puts the record on
//! a list (`host`). Nothing of C's is ever called by the engine: `run` fetches one settled request from those lists, returns
//! from that, and calls the callback from a frame that has nothing to drop. So a callback may jump out, and may call
//! anything.
//!
//! Every function that is given a pointer demands that it is null or valid for what its documentation says. Pointers to
//! places for answers are `Option<&mut MaybeUninit<T>>`: null or a place that may be uninitialised.
#![allow(clippy::missing_safety_doc, reason = "each function's documentation is its contract, in the terms of C")]
#![deny(unsafe_op_in_unsafe_fn)]

mod addresses;
mod begin;
mod buffers;
mod children;
mod codes;
mod datagrams;
mod endings;
mod faults;
mod files;
mod fork;
mod host;
mod ids;
mod inbox;
mod launch;
mod memory;
mod os;
mod outcome;
mod paths;
mod registry;
mod request;
mod results;
mod run;
mod scheduler;
mod signals;
mod sockets;
mod sync;
mod table;
mod threads;
mod valgrind;

pub use addresses::*;
pub use buffers::*;
pub use children::*;
pub use codes::*;
pub use datagrams::*;
pub use endings::*;
pub use faults::*;
pub use files::*;
pub use ids::*;
pub use paths::*;
pub use request::Callback;
pub use results::*;
pub use run::*;
pub use scheduler::*;
pub use sockets::*;
pub use threads::*;
