//! The contract as one list of named promises, run by the same code against every backend.
//!
//! `uring` and `portable` force their backend; `refused` has the kernel refuse io_uring (as container run-times do)
//! and lets the scheduler choose. `CORELLA_BACKEND` narrows the run to one of the three. A test that does not end
//! fails by itself.

#![cfg_attr(windows, allow(unused_imports, dead_code, reason = "what only promises about Unix need"))]

mod another;
mod codes;
mod own_process;
mod runner;
mod setup;

mod backends;
mod children;
mod datagrams;
mod delivery;
mod ends;
mod extents;
mod inline;
mod lanes;
mod lifetimes;
mod limits;
mod local;
mod loops;
mod names;
mod once;
mod others;
mod panics;
mod random;
mod readiness;
mod remains;
mod shortages;
mod signals;
mod sleeps;
mod stalled;
mod stops;
mod surface;
mod waiting;
mod words;

use std::time::Duration;

pub use runner::Promise;

/// Every point of the contract, with its promises.
const POINTS: &[runner::Point] = &[
    ("once", once::PROMISES),
    ("lanes", lanes::PROMISES),
    ("extents", extents::PROMISES),
    ("inline", inline::PROMISES),
    ("ends", ends::PROMISES),
    ("stops", stops::PROMISES),
    ("lifetimes", lifetimes::PROMISES),
    ("remains", remains::PROMISES),
    ("delivery", delivery::PROMISES),
    ("panics", panics::PROMISES),
    ("limits", limits::PROMISES),
    ("backends", backends::PROMISES),
    ("shortages", shortages::PROMISES),
    ("signals", signals::PROMISES),
    ("words", words::PROMISES),
    ("children", children::PROMISES),
    ("datagrams", datagrams::PROMISES),
    ("local", local::PROMISES),
    ("readiness", readiness::PROMISES),
    ("surface", surface::PROMISES),
    ("loops", loops::PROMISES),
    ("sleeps", sleeps::PROMISES),
    ("names", names::PROMISES),
    ("others", others::PROMISES),
    ("random", random::PROMISES),
];

fn main() {
    if another::did_its_words() {
        return;
    }
    if let Ok(variant) = std::env::var("CORELLA_CHILD") {
        return surface::run_child(&variant);
    }
    runner::run_all(POINTS, Duration::from_secs(60));
}
