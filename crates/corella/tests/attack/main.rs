//! The contract under attack: what is rare, repeated until it is near certain. Run in the release profile.
//!
//! The same harness as the conformance suite, on the same backends; what takes longer than that suite may is here.

mod memory;
mod races;
mod threads;

#[path = "../conformance/runner.rs"]
mod runner;
#[path = "../conformance/setup.rs"]
#[allow(dead_code, reason = "what the conformance suite needs besides")]
mod setup;

use std::time::Duration;

pub use runner::Promise;

const POINTS: &[runner::Point] =
    &[("memory", memory::PROMISES), ("races", races::PROMISES), ("threads", threads::PROMISES)];

fn main() {
    runner::run_all(POINTS, Duration::from_secs(120));
}
