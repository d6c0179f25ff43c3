//! `cargo xtask torture`: what chance may find in minutes or hours, and the test legs have no time for.

use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::repository_root;

/// One kind of torture.
struct Torture {
    name: &'static str,
    purpose: &'static str,
    /// Promises that share its time, one after the other.
    promises: u64,
    /// What `cargo test -p corella --release` is told besides.
    arguments: &'static [&'static str],
    /// The variable that has the seconds of each promise.
    seconds: &'static str,
}

const TORTURES: &[Torture] = &[
    Torture {
        name: "programs",
        purpose: "long random programs against the model, on real files and sockets and on the simulated machine",
        promises: 3,
        arguments: &[
            "--features",
            "planted",
            "--test",
            "model",
            "--",
            "--test-threads=1",
            "every_program_is_as_if_one_at_a_time",
        ],
        seconds: "CORELLA_SECONDS",
    },
    Torture {
        name: "fuzz",
        purpose: "bytes turned into programs, changed where they meet something new; CORELLA_KEEP=1 keeps those",
        promises: 1,
        arguments: &["--features", "planted", "--test", "fuzz"],
        seconds: "CORELLA_SECONDS",
    },
    Torture {
        name: "files",
        purpose: "buffered and direct transfers, full disks, limits of sizes and descriptors",
        promises: 18,
        arguments: &["--test", "torture", "--", "--test-threads=1", "files::"],
        seconds: "CORELLA_TORTURE_SECONDS",
    },
    Torture {
        name: "sockets",
        purpose: "ten thousand connections in all orders, peers that reset, stall and trickle",
        promises: 6,
        arguments: &["--test", "torture", "--", "--test-threads=1", "sockets::"],
        seconds: "CORELLA_TORTURE_SECONDS",
    },
    Torture {
        name: "threads",
        purpose: "schedulers that wake each other in storms, with signals all the time",
        promises: 3,
        arguments: &["--test", "torture", "--", "--test-threads=1", "threads::"],
        seconds: "CORELLA_TORTURE_SECONDS",
    },
    Torture {
        name: "kills",
        purpose: "processes killed between writes, and what they had synced",
        promises: 3,
        arguments: &["--test", "torture", "--", "--test-threads=1", "kills::"],
        seconds: "CORELLA_TORTURE_SECONDS",
    },
];

#[derive(Args)]
pub struct TortureOptions {
    /// How long all of it takes, compiling apart.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// Runs this kind only; may be repeated.
    #[arg(long = "leg", value_name = "NAME", value_parser = names())]
    legs: Vec<String>,
    /// Lists the kinds, and runs nothing.
    #[arg(long)]
    list: bool,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(TORTURES.iter().map(|torture| torture.name))
}

pub fn torture(options: &TortureOptions) -> ExitCode {
    let is_wanted = |torture: &&Torture| options.legs.is_empty() || options.legs.iter().any(|leg| leg == torture.name);
    let wanted: Vec<&Torture> = TORTURES.iter().filter(is_wanted).collect();
    if options.list {
        wanted.iter().for_each(|torture| println!("{:<10} {}", torture.name, torture.purpose));
        return ExitCode::SUCCESS;
    }
    let share = Duration::from_secs(options.minutes * 60) / u32::try_from(wanted.len()).unwrap_or(1);
    let mut failed = Vec::new();
    for torture in wanted {
        let seconds = (share.as_secs() / torture.promises).max(1);
        println!("== {}: {}, {} s", torture.name, torture.purpose, share.as_secs());
        let status = Command::new("cargo")
            .current_dir(repository_root())
            .args(["test", "-p", "corella", "--release"])
            .args(torture.arguments)
            .env(torture.seconds, seconds.to_string())
            .status();
        if !status.is_ok_and(|status| status.success()) {
            failed.push(torture.name);
        }
    }
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            println!("failed: {}", failed.join(", "));
            ExitCode::FAILURE
        }
    }
}
