//! Runs every contender on every workload, interleaved, in several rounds, and says how they compare with Corella.
//!
//! `cargo xtask bench` builds all and starts this. `workloads` is the table of what is run, `contenders` of by whom,
//! `fixtures` makes the files for it, `process` starts contenders, `load` is the other side of a server, `rounds` measures
//! one round, `counts` counts instructions, allocations and system calls, `results` keeps figures and prints them,
//! `goals` holds them against what is to be reached, `plots` draws them.

mod contenders;
mod counts;
mod fixtures;
mod goals;
mod load;
mod plots;
mod process;
mod results;
mod rounds;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;

use contenders::{CONTENDERS, Contender};
use results::Results;
use workloads::{Latency, WORKLOADS, Work, Workload};

/// Corella's benchmark.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Fewer rounds, shorter ones, and only instructions and system calls counted: to see where one stands.
    #[arg(long)]
    quick: bool,
    /// Runs only workloads whose name contains this; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Writes all figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws all figures as SVG.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// The folder with the contenders' programs.
    #[arg(long, value_name = "DIR", hide = true)]
    programs: PathBuf,
}

/// How long, and how often.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    seconds: f64,
    counts: &'static [counts::Count],
}

fn main() -> ExitCode {
    let options = Options::parse();
    let counts_kernel = counts::has_performance_counters();
    let effort = match options.quick {
        true => Effort { rounds: 3, seconds: 0.15, counts: &counts::ALL[..2] },
        false if counts_kernel => Effort { rounds: 7, seconds: 1.0, counts: counts::ALL },
        false => Effort { rounds: 7, seconds: 1.0, counts: &counts::ALL[..counts::ALL.len() - 1] },
    };
    let chosen = |workload: &&'static Workload| {
        options.only.is_empty() || options.only.iter().any(|part| workload.name.contains(part.as_str()))
    };
    let chosen: Vec<&'static Workload> = WORKLOADS.iter().filter(chosen).collect();
    if chosen.is_empty() {
        println!("no workload has such a name; there are:");
        WORKLOADS.iter().for_each(|workload| println!("  {}", workload.name));
        return ExitCode::FAILURE;
    }
    load::raise_descriptor_limit();
    process::pin(process::LOAD_PROCESSOR);
    let mut results = Results::default();
    println!("{}", process::machine(counts_kernel));
    for workload in chosen {
        eprintln!("{}", workload.name);
        run(workload, &options.programs, effort, &mut results);
        results.print(workload.name);
        print_lacks(workload);
        // After each, so that a run that is stopped has not been for nothing.
        if let Some(Err(problem)) = options.json.as_deref().map(|path| results.write_json(path)) {
            println!("{problem}");
            return ExitCode::FAILURE;
        }
    }
    goals::print(&results);
    match options.plots.as_deref().map_or(Ok(()), |folder| plots::draw(&results, folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// Who is not in the tables of a workload, and why.
fn print_lacks(workload: &Workload) {
    let lacks: Vec<String> = CONTENDERS
        .iter()
        .filter_map(|contender| contender.lack(workload).map(|why| format!("{} ({why})", contender.name)))
        .collect();
    println!("Not here: {}.", lacks.join("; "));
}

/// All figures of one workload: in time, round by round; then counted; then latencies under the same load for all.
fn run(workload: &'static Workload, programs: &Path, effort: Effort, results: &mut Results) {
    let able: Vec<&Contender> = CONTENDERS.iter().filter(|contender| contender.lack(workload).is_none()).collect();
    // Memory is the same in every round.
    let rounds = if matches!(workload.work, Work::Idle { .. }) { 1 } else { effort.rounds };
    in_turns(&able, rounds, |contender| {
        let measured = match workload.work {
            Work::Idle { .. } => memory(workload, contender, programs, results),
            _ => throughput(workload, contender, programs, effort.seconds, results),
        };
        if let Err(problem) = measured {
            println!("{}: {}: {problem}", workload.name, contender.name);
        }
    });
    counted(workload, &able, programs, effort.counts, results);
    let Work::Echo { latency, .. } = workload.work else { return };
    let Some(saturation) = results.median(workload.name, "corella callbacks", "throughput") else { return };
    let tails: &[(bool, [&'static str; 3])] = match latency {
        Latency::No => return,
        Latency::Yes => &[(false, ["p50", "p99", "p99.9"])],
        Latency::WithAndWithoutSlowWork => &[
            (false, ["p50 without slow work", "p99 without slow work", "p99.9 without slow work"]),
            (true, ["p50 beside slow work", "p99 beside slow work", "p99.9 beside slow work"]),
        ],
    };
    in_turns(&able, effort.rounds, |contender| {
        for &(is_beside_slow_work, metrics) in tails {
            let (rate, seconds) = (0.6 * saturation, effort.seconds);
            match rounds::latencies(workload, contender, programs, seconds, rate, is_beside_slow_work) {
                Ok(latencies) => {
                    for (metric, part) in metrics.into_iter().zip([0.5, 0.99, 0.999]) {
                        let nanoseconds = load::percentile(&latencies, part);
                        results.add(workload.name, contender.name, metric, "us", nanoseconds as f64 / 1000.0);
                    }
                }
                Err(problem) => println!("{}: {}: {problem}", workload.name, contender.name),
            }
        }
    });
}

/// Nobody is always first.
fn in_turns(able: &[&'static Contender], rounds: usize, mut measure: impl FnMut(&'static Contender)) {
    for round in 0..rounds {
        eprintln!("  round {} of {rounds}", round + 1);
        for place in 0..able.len() {
            measure(able[(place + round) % able.len()]);
        }
    }
}

fn throughput(
    workload: &'static Workload,
    contender: &'static Contender,
    programs: &Path,
    seconds: f64,
    results: &mut Results,
) -> Result<(), String> {
    let timed = rounds::timed(workload, contender, programs, seconds)?;
    if matches!(workload.work, Work::Start) {
        results.add(workload.name, contender.name, "wall time", "ms", timed.milliseconds());
    }
    results.add(workload.name, contender.name, "throughput", "operations/s", timed.per_second());
    results.add(workload.name, contender.name, "cpu", "ns/operation", timed.cpu_per_operation());
    Ok(())
}

fn memory(
    workload: &'static Workload,
    contender: &'static Contender,
    programs: &Path,
    results: &mut Results,
) -> Result<(), String> {
    let (resident, mapped) = rounds::idle(workload, contender, programs)?;
    results.add(workload.name, contender.name, "memory", "bytes/connection", resident);
    results.add(workload.name, contender.name, "mappings", "bytes/connection", mapped);
    Ok(())
}

/// Counts do not depend on how busy a machine is: one contender on each processor.
fn counted(
    workload: &'static Workload,
    able: &[&'static Contender],
    programs: &Path,
    counts: &'static [counts::Count],
    results: &mut Results,
) {
    if !counts::are_of_use(workload) {
        return;
    }
    let all: Vec<(&'static Contender, &'static counts::Count)> =
        able.iter().flat_map(|contender| counts.iter().map(move |count| (*contender, count))).collect();
    let (next, values) = (AtomicUsize::new(0), Mutex::new(vec![None; all.len()]));
    eprintln!("  {} counts", all.len());
    std::thread::scope(|scope| {
        for processor in 0..2 {
            let (next, values, all) = (&next, &values, &all);
            scope.spawn(move || {
                process::pin(processor);
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((contender, count)) = all.get(place) else { return };
                    let value = counts::count(count, workload, contender, programs);
                    values.lock().expect("nobody panics")[place] = Some(value);
                }
            });
        }
    });
    for ((contender, count), value) in all.into_iter().zip(values.into_inner().expect("nobody panics")) {
        match value {
            Some(Ok(value)) => results.add(workload.name, contender.name, count.metric, count.unit, value),
            Some(Err(problem)) => println!("{}: {}: {}: {problem}", workload.name, contender.name, count.metric),
            None => {}
        }
    }
}
