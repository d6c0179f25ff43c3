//! Random programs against a sequential reference, on every backend.
//!
//! `CORELLA_SEED=N` runs one program and shows it; `CORELLA_SEEDS=N` runs so many; `CORELLA_BACKEND` narrows the run to
//! `simulated`, `uring`, `portable` or `iocp`: Windows' completion port or, with feature `fake-port`, a double of one, whose
//! packets are delayed, reordered and racing by the same seed. `CORELLA_MARKS=1` shows how often each rare moment was met.
//! A failing program is shown in a short form that fails as well.

mod codes;
mod diary;
mod draw;
mod held;
mod judge;
mod program;
mod reference;
mod run;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use corella::marks::{self, Mark};
use corella::{BackendKind, Scheduler};
use libtest_mimic::{Arguments, Failed, Trial};

use judge::{Machine, verdict};
use program::Program;

/// Steps of one program.
const STEPS: usize = 100;

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn check(seed: u64, steps: usize, machine: &Machine) -> Result<u64, Failed> {
    let program = Program::draw(seed, steps);
    verdict(&program, machine).map_err(|why| {
        let short = program.shrink(|shorter| verdict(shorter, machine).is_err());
        let why_short = verdict(&short, machine).err().unwrap_or_else(|| "nothing, at the next try".into());
        format!("{why}\n\n{short}which comes to: {why_short}\nAgain: CORELLA_SEED={seed} CORELLA_STEPS={steps}").into()
    })
}

fn seeds(default: u64) -> std::ops::Range<u64> {
    match number_from("CORELLA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("CORELLA_SEEDS").unwrap_or(default),
    }
}

/// Checks one program after the other: those wanted, or with `CORELLA_SECONDS` others each time, and longer ones, until
/// the time is over.
fn for_each_seed(default: u64, check: impl Fn(u64, usize) -> Result<(), Failed>) -> Result<(), Failed> {
    let Some(seconds) = number_from("CORELLA_SECONDS") else {
        let steps = number_from("CORELLA_STEPS").map_or(STEPS, |steps| steps as usize);
        return seeds(default).try_for_each(|seed| check(seed, steps));
    };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = u64::from(std::process::id()) << 32;
    while Instant::now() < end {
        check(seed, 10 * STEPS)?;
        seed += 1;
    }
    Ok(())
}

fn every_program_on_the_simulated_machine_is_as_if_one_at_a_time() -> Result<(), Failed> {
    for_each_seed(PROGRAMS, |seed, steps| check(seed, steps, &Machine::Simulated).map(drop))?;
    match seeds(PROGRAMS).end - seeds(PROGRAMS).start {
        few if few < PROGRAMS || number_from("CORELLA_SECONDS").is_some() => Ok(()),
        _ => check_marks(),
    }
}

/// Programs of an ordinary run on the simulated machine.
const PROGRAMS: u64 = 20_000;
/// How often each rare moment of the engine must have been met then.
const HITS: u64 = 100;

/// Whether what the programs are for was there: a run that meets no raced cancel shows nothing about raced cancels.
fn check_marks() -> Result<(), Failed> {
    let counts = || Mark::ALL.iter().map(|mark| (*mark, marks::count(*mark)));
    if std::env::var_os("CORELLA_MARKS").is_some() {
        counts().for_each(|(mark, count)| eprintln!("{mark:?}: {count}"));
    }
    let rare: Vec<String> =
        counts().filter(|(_, count)| *count < HITS).map(|(mark, count)| format!("{mark:?} {count} times")).collect();
    match rare.is_empty() {
        true => Ok(()),
        false => Err(format!("met too rarely to show anything: {}", rare.join(", ")).into()),
    }
}

fn every_program_has_one_history() -> Result<(), Failed> {
    seeds(200).try_for_each(|seed| {
        let [first, second] = [(); 2].map(|()| check(seed, STEPS, &Machine::Simulated));
        if first? != second? {
            return Err(format!("seed {seed} had two histories").into());
        }
        Ok(())
    })
}

fn every_program_on_a_real_backend_is_as_if_one_at_a_time(kind: BackendKind) -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("corella-model-{}-{}", kind.name(), std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = for_each_seed(300, |seed, steps| {
        let builder = Scheduler::builder();
        #[cfg(all(unix, feature = "fake-port"))]
        let builder = builder.packet_seed(seed);
        check(seed, steps, &Machine::Real(kind, builder, folder.clone())).map(drop)
    });
    std::fs::remove_dir_all(PathBuf::from(&folder))?;
    result
}

fn main() {
    // Panics are part of a program's verdict.
    std::panic::set_hook(Box::new(|_| {}));
    let wanted = std::env::var("CORELLA_BACKEND").unwrap_or_default();
    let is_wanted = |name: &str| wanted.is_empty() || wanted == name;
    // The scheduler reads it as well.
    let mut trials = Vec::new();
    if is_wanted("simulated") {
        trials.push(Trial::test(
            "simulated::every_program_is_as_if_one_at_a_time",
            every_program_on_the_simulated_machine_is_as_if_one_at_a_time,
        ));
        trials.push(Trial::test("simulated::every_program_has_one_history", every_program_has_one_history));
    }
    let kinds = [
        #[cfg(target_os = "linux")]
        BackendKind::Uring,
        #[cfg(unix)]
        BackendKind::Portable,
        #[cfg(any(windows, feature = "fake-port"))]
        BackendKind::Iocp,
    ];
    for kind in kinds {
        if is_wanted(kind.name()) {
            trials.push(Trial::test(format!("{}::every_program_is_as_if_one_at_a_time", kind.name()), move || {
                every_program_on_a_real_backend_is_as_if_one_at_a_time(kind)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
