//! Torture of the real thing, for as long as one likes: real files, sockets, limits, signals and kills.
//!
//! `CORELLA_TORTURE_SECONDS` says how long each promise goes on (2 without it), `CORELLA_SEED` what chance starts from; a
//! failure names both. Promises run one after the other, as they count descriptors and memory of the process.

mod files;
mod kills;
mod sockets;
mod threads;

#[path = "../conformance/own_process.rs"]
#[allow(dead_code, reason = "what the conformance suite needs besides")]
mod own_process;
#[path = "../conformance/runner.rs"]
mod runner;
#[path = "../conformance/setup.rs"]
#[allow(dead_code, reason = "what the conformance suite needs besides")]
mod setup;

use std::time::{Duration, Instant};

pub use runner::Promise;

const POINTS: &[runner::Point] = &[
    ("files", files::PROMISES),
    ("sockets", sockets::PROMISES),
    ("threads", threads::PROMISES),
    ("kills", kills::PROMISES),
];

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// How long each promise goes on.
fn duration() -> Duration {
    Duration::from_secs(number_from("CORELLA_TORTURE_SECONDS").unwrap_or(2))
}

/// Random numbers (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() % limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Runs rounds, each with random numbers of its own, until the time is over; a failing one is named by its seed. In the
/// end the process has as many descriptors as in the beginning, and no more memory than one round may leave behind.
pub fn rounds(mut round: impl FnMut(&mut Random)) {
    let first = number_from("CORELLA_SEED");
    let mut seed = first.unwrap_or_else(|| u64::from(std::process::id()) << 32);
    let end = Instant::now() + duration();
    let run = |seed: u64, round: &mut dyn FnMut(&mut Random)| {
        let told = Told(seed);
        round(&mut Random::new(seed));
        std::mem::forget(told);
    };
    let descriptors = open_descriptors();
    // What is allocated once has been after the first.
    run(seed, &mut round);
    let bytes = setup::resident_bytes();
    while first.is_none() && Instant::now() < end {
        seed += 1;
        run(seed, &mut round);
    }
    // A thread of a pool may be the last to let go of its scheduler's.
    let patience = Instant::now() + Duration::from_secs(10);
    while open_descriptors() > descriptors && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    let left = open_descriptors();
    assert!(left <= descriptors, "{left} descriptors at the end, {descriptors} at the beginning");
    let grown = setup::resident_bytes().saturating_sub(bytes);
    assert!(grown < 64 << 20, "{grown} bytes more at the end than at the beginning");
}

/// Tells the seed if its round panics.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        println!("the round of CORELLA_SEED={} failed", self.0);
    }
}

pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn main() {
    runner::run_all(POINTS, duration() * 4 + Duration::from_secs(120));
}
