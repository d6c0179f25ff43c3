//! The short form of the conformance suite: every promise that is kept in a moment. One test runs all of it in one
//! surrounding: plainly, with one opcode of io_uring missing, with one of its set-up flags refused.

#![allow(dead_code, reason = "the modules are those of the conformance suite, of which a part is used")]

#[path = "../conformance/another.rs"]
mod another;
#[path = "../conformance/children.rs"]
mod children;
#[path = "../conformance/codes.rs"]
mod codes;
#[path = "../conformance/datagrams.rs"]
mod datagrams;
#[path = "../conformance/delivery.rs"]
mod delivery;
#[path = "../conformance/ends.rs"]
mod ends;
#[path = "../conformance/lanes.rs"]
mod lanes;
#[path = "../conformance/local.rs"]
mod local;
#[path = "../conformance/loops.rs"]
mod loops;
#[path = "../conformance/once.rs"]
mod once;
#[path = "../conformance/readiness.rs"]
mod readiness;
#[path = "../conformance/runner.rs"]
mod runner;
#[path = "../conformance/setup.rs"]
mod setup;
#[path = "../conformance/stops.rs"]
mod stops;
#[path = "../conformance/surface.rs"]
mod surface;
#[path = "../conformance/waiting.rs"]
mod waiting;
#[path = "../conformance/words.rs"]
mod words;

use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
pub use runner::Promise;
use setup::Variant;

const POINTS: &[runner::Point] = &[
    ("once", once::PROMISES),
    ("lanes", lanes::PROMISES),
    ("ends", ends::PROMISES),
    ("stops", stops::PROMISES),
    ("delivery", delivery::PROMISES),
    ("words", words::PROMISES),
    ("children", children::PROMISES),
    ("datagrams", datagrams::PROMISES),
    ("local", local::PROMISES),
    ("readiness", readiness::PROMISES),
    ("surface", surface::PROMISES),
    ("loops", loops::PROMISES),
];

/// These take their time, or start this program again.
const TOO_LONG: &[&str] = &[
    "a_shared_file_goes_on_where_the_others_left_it",
    "a_child_that_takes_its_time_keeps_nobody_busy",
    "a_hundred_children_are_waited_for_without_a_thread_each",
];

/// Points that show nothing here: valgrind 3.19 knows no pidfd_open(2), so that no program can be started.
const LACKING: &[&str] = if cfg!(corella_valgrind) { &["children"] } else { &[] };

/// Without that opcode or flag the short form takes a few seconds; much longer on a machine that has other things to do.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The set-up flags of io_uring that Corella uses, by their numbers in linux/io_uring.h.
const FLAGS: [(&str, u32); 7] = [
    ("CQSIZE", 3),
    ("CLAMP", 4),
    ("SUBMIT_ALL", 7),
    ("COOP_TASKRUN", 8),
    ("TASKRUN_FLAG", 9),
    ("SINGLE_ISSUER", 12),
    ("DEFER_TASKRUN", 13),
];

fn short_form(name: &str, variant: Variant) -> Result<(), Failed> {
    let mut failures = String::new();
    let start = Instant::now();
    let points = POINTS.iter().filter(|(point, _)| !LACKING.contains(point));
    let promises = points.flat_map(|(point, promises)| promises.iter().map(move |promise| (*point, promise)));
    for (point, promise) in promises.filter(|(_, promise)| !TOO_LONG.contains(&promise.name)) {
        let full_name = format!("{name}::{point}::{}", promise.name);
        let begun = Instant::now();
        if let Err(failed) = runner::run(full_name.clone(), promise, variant, Duration::from_secs(60)) {
            failures.push_str(&format!("{full_name}: {}\n", failed.message().unwrap_or_default()));
        }
        if std::env::var_os("CORELLA_TIMES").is_some() {
            println!("{:6} ms {full_name}", begun.elapsed().as_millis());
        }
    }
    let took = start.elapsed();
    if !name.starts_with("plain") && took > TIME_LIMIT {
        failures.push_str(&format!("it took {took:?}\n"));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.into()) }
}

fn main() {
    if another::did_its_words() {
        return;
    }
    let arguments = Arguments::from_args();
    runner::keep_panics();
    let mut surroundings: Vec<_> =
        Variant::wanted().into_iter().map(|variant| (format!("plain::{}", variant.name()), variant)).collect();
    if !Variant::Uring.is_missing() {
        surroundings.extend((0..64).map(|opcode| (format!("without_opcode::{opcode}"), Variant::Without(opcode))));
        let flags = FLAGS.map(|(name, bit)| (format!("without_flag::{name}"), Variant::WithoutFlags(1 << bit)));
        surroundings.extend(flags);
    }
    let trial = |(name, variant): (String, Variant)| {
        Trial::test(name.clone(), move || short_form(&name, variant)).with_ignored_flag(variant.is_missing())
    };
    libtest_mimic::run(&arguments, surroundings.into_iter().map(trial).collect()).exit();
}
