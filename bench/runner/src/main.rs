//! Runs every contender on every workload, interleaved, in several rounds, and says how they compare with Corella.
//!
//! `cargo xtask bench` builds all and starts this. `workloads` is the table of what is run and by whom, `process` starts
//! contenders, `load` is the other side of a server, `counts` counts instructions, allocations and system calls,
//! `results` keeps figures and prints them, `plots` draws them.

mod counts;
mod load;
mod plots;
mod process;
mod results;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use results::Results;
use workloads::{CONTENDERS, Contender, WORKLOADS, Work, Workload};

/// Corella's benchmark.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// Fewer rounds, shorter ones, and instructions alone counted: to see where one stands.
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
    let effort = match options.quick {
        true => Effort { rounds: 3, seconds: 0.3, counts: &counts::ALL[..1] },
        false => Effort { rounds: 7, seconds: 1.0, counts: counts::ALL },
    };
    let chosen = |workload: &&Workload| {
        options.only.is_empty() || options.only.iter().any(|part| workload.name.contains(part.as_str()))
    };
    let chosen: Vec<&Workload> = WORKLOADS.iter().filter(chosen).collect();
    let mut results = Results::default();
    println!("{}", process::machine());
    for workload in chosen {
        eprintln!("{}", workload.name);
        run(workload, &options.programs, effort, &mut results);
        results.print(workload.name);
    }
    let written = options.json.as_deref().map_or(Ok(()), |path| results.write_json(path));
    let drawn = options.plots.as_deref().map_or(Ok(()), |folder| plots::draw(&results, folder));
    match written.and(drawn) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// All figures of one workload: in time, round by round; then counted; then latencies under the same load for all.
fn run(workload: &Workload, programs: &std::path::Path, effort: Effort, results: &mut Results) {
    let able: Vec<&Contender> = CONTENDERS.iter().filter(|contender| contender.can(workload)).collect();
    for round in 0..effort.rounds {
        eprintln!("  round {} of {}", round + 1, effort.rounds);
        // Nobody is always first.
        for place in 0..able.len() {
            let contender = able[(place + round) % able.len()];
            match process::timed(workload, contender, programs, effort.seconds) {
                Ok(timed) => {
                    results.add(workload.name, contender.name, "throughput", "operations/s", timed.per_second());
                    results.add(workload.name, contender.name, "cpu", "ns/operation", timed.cpu_per_operation());
                }
                Err(problem) => println!("{}: {}: {problem}", workload.name, contender.name),
            }
        }
    }
    for contender in &able {
        for count in effort.counts {
            match counts::count(count, workload, contender, programs) {
                Ok(value) => results.add(workload.name, contender.name, count.metric, count.unit, value),
                Err(problem) => println!("{}: {}: {}: {problem}", workload.name, contender.name, count.metric),
            }
        }
    }
    if let Work::Echo { latency: true, .. } = workload.work
        && let Some(saturation) = results.median(workload.name, "corella callbacks", "throughput")
    {
        for round in 0..effort.rounds {
            eprintln!("  round {} of {}, at a rate", round + 1, effort.rounds);
            for place in 0..able.len() {
                let contender = able[(place + round) % able.len()];
                let rate = 0.6 * saturation;
                match process::latencies(workload, contender, programs, effort.seconds, rate) {
                    Ok(latencies) => {
                        for (metric, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                            let nanoseconds = load::percentile(&latencies, part);
                            results.add(workload.name, contender.name, metric, "us", nanoseconds as f64 / 1000.0);
                        }
                    }
                    Err(problem) => println!("{}: {}: {problem}", workload.name, contender.name),
                }
            }
        }
    }
}
