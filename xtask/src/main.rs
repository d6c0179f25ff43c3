//! `cargo xtask`: runs Corella's checks, the same for a developer and for CI.
//!
//! `legs` is the table of what there is to run, `run` runs it, `process` starts single commands, `reports` reads
//! what they print, `skips` judges what did not run, `summary` closes the output. `install` lays the C library out,
//! `windows` builds for Windows and runs under Wine.

mod bench;
mod install;
mod legs;
mod process;
mod reports;
mod run;
mod skips;
mod summary;
mod tools;
mod torture;
mod windows;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use legs::{LEGS, Leg};
use process::Runner;
use run::LegResult;
use skips::{CommittedSkips, Skip};

/// Corella's checks.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs all legs of the tests, or those named.
    Test(TestOptions),
    /// Tortures the real thing, for as long as one likes.
    Torture(torture::TortureOptions),
    /// Builds the C library and lays it out under a prefix, with its header, pkg-config file and CMake package.
    Install {
        /// The directory; it is made if need be.
        #[arg(long, value_name = "DIR")]
        prefix: PathBuf,
    },
    /// Builds the contenders of bench/ and runs them against each other; see docs/BENCHMARKS.md.
    Bench {
        /// `--quick`, `--only NAME`, `--json FILE`, `--plots DIR`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Debian's cargo for Windows, whose tests and programs run under Wine: `cargo xtask windows test -p corella`.
    Windows {
        /// What follows `cargo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Shows what Wine lacks of Windows: what the committed skips of the leg `windows` are for.
    WineLacks,
    /// Runs one program for Windows under Wine.
    Wine {
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
    /// Type-checks the engine and the C library for another system, with warnings denied.
    Cross {
        /// As rustc names it.
        target: String,
    },
}

#[derive(Args)]
struct TestOptions {
    /// Runs this leg only; may be repeated.
    #[arg(long = "leg", value_name = "NAME", value_parser = leg_names())]
    legs: Vec<String>,
    /// Lists the legs with their budgets in seconds, and runs nothing.
    #[arg(long)]
    list: bool,
    /// Demands exactly the skips that xtask/skips.txt commits for CI.
    #[arg(long)]
    strict: bool,
}

fn leg_names() -> PossibleValuesParser {
    PossibleValuesParser::new(LEGS.iter().map(|leg| leg.name))
}

fn main() -> ExitCode {
    let options = match CommandLine::parse().command {
        Task::Test(options) => options,
        Task::Torture(options) => return torture::torture(&options),
        Task::Bench { arguments } => return bench::bench(&arguments),
        Task::Install { prefix } => return install::install(&prefix),
        Task::Windows { arguments } => return windows::cargo(&arguments),
        Task::WineLacks => return windows::lacks(),
        Task::Wine { program } => return windows::wine(&program),
        Task::Cross { target } => return windows::cross(&target),
    };
    if options.list {
        for leg in LEGS {
            println!("{:<12} {:>4} s  {}", leg.name, leg.budget_seconds, leg.purpose);
        }
        return ExitCode::SUCCESS;
    }
    test(&options)
}

fn test(options: &TestOptions) -> ExitCode {
    let committed = match CommittedSkips::load() {
        Ok(committed) => committed,
        Err(problem) => {
            println!("{problem}\n0 passed, 1 failed, 0 skipped");
            return ExitCode::FAILURE;
        }
    };
    let chosen = |leg: &&Leg| options.legs.is_empty() || options.legs.iter().any(|n| n == leg.name);
    let legs: Vec<&Leg> = LEGS.iter().filter(chosen).collect();
    let mut runner = Runner::new(repository_root(), interrupt_flag(), Box::new(io::stdout()));
    let results = run::run_legs(&mut runner, &legs);
    conclude(&committed, options.strict, runner.is_interrupted(), &results)
}

/// Prints what is left to say, the totals last, and decides on the exit code.
fn conclude(committed: &CommittedSkips, strict: bool, is_interrupted: bool, results: &[LegResult]) -> ExitCode {
    let names: Vec<&str> = results.iter().map(|result| result.name).collect();
    let skips: Vec<Skip> = results.iter().flat_map(|result| result.tally.skips.clone()).collect();
    let objections = committed.objections(strict, &names, &skips);
    println!("\n{}", summary::table(results));
    for result in results {
        for problem in &result.tally.problems {
            println!("{}: {problem}", result.name);
        }
    }
    for objection in &objections {
        println!("{objection}");
    }
    if is_interrupted {
        println!("interrupted: the run is not complete");
    }
    println!("{}", summary::totals(results));
    if !is_interrupted && objections.is_empty() && summary::failed_count(results) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn repository_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the repository")
}

/// Set by Ctrl-C or a termination; the second one ends us at once.
fn interrupt_flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order matters: the first signal must find the flag unset.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag))
            .expect("this signal can be handled");
        signal_hook::flag::register(signal, Arc::clone(&flag)).expect("this signal can be handled");
    }
    flag
}
