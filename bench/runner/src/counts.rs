//! What one operation costs, counted and not timed: user instructions, heap allocations, system calls.
//!
//! A contender runs twice behind a program that counts, with so many operations and with three times as many; the
//! difference is theirs.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::load::{Load, Until};
use crate::process::{Server, command};
use crate::workloads::{Contender, Work, Workload};

pub struct Count {
    pub metric: &'static str,
    pub unit: &'static str,
    /// The program that counts, `REPORT` standing for the file that it is to write to.
    wrapper: &'static [&'static str],
    /// Finds the total in its report.
    total: fn(&str) -> Option<f64>,
}

pub const ALL: &[Count] = &[
    Count {
        metric: "user instructions",
        unit: "/operation",
        wrapper: &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=REPORT"],
        total: |report| after(report, "Collected :"),
    },
    Count {
        metric: "allocations",
        unit: "/operation",
        wrapper: &["valgrind", "--undef-value-errors=no", "--leak-check=no", "--log-file=REPORT"],
        total: |report| after(report, "total heap usage:"),
    },
    Count {
        metric: "system calls",
        unit: "/operation",
        wrapper: &["strace", "-f", "-c", "-U", "name,calls", "-o", "REPORT"],
        total: |report| {
            let calls = report.lines().filter(|line| !line.contains("total"));
            let count = |line: &str| line.split_whitespace().last()?.parse::<f64>().ok();
            Some(calls.filter_map(count).sum())
        },
    },
];

/// The first number after some words.
fn after(report: &str, words: &str) -> Option<f64> {
    let rest = report.split(words).nth(1)?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}

/// Connections at most: what runs behind a counting program is slow, and more change little.
const CONNECTIONS_MAX: usize = 64;

pub fn count(count: &Count, workload: &Workload, contender: &Contender, programs: &Path) -> Result<f64, String> {
    let few = match workload.work {
        Work::Echo { connections, .. } => 20 * connections.clamp(8, CONNECTIONS_MAX) as u64,
        Work::Alone { counted: 0, .. } => return Err("not counted: it depends on how two threads meet".into()),
        Work::Alone { counted, .. } => counted,
    };
    eprintln!("  {} of {}", count.metric, contender.name);
    let less = total(count, workload, contender, programs, few)?;
    let more = total(count, workload, contender, programs, 3 * few)?;
    Ok((more - less) / (2 * few) as f64)
}

fn total(
    count: &Count,
    workload: &Workload,
    contender: &Contender,
    programs: &Path,
    operations: u64,
) -> Result<f64, String> {
    let report = std::env::temp_dir().join(format!("corella-bench-report-{}", std::process::id()));
    let path = report.to_string_lossy().into_owned();
    let wrapper: Vec<String> = count.wrapper.iter().map(|word| word.replace("REPORT", &path)).collect();
    let mut command = command(workload, contender, programs, &wrapper)?;
    match workload.work {
        Work::Echo { connections, bytes, .. } => {
            let connections = connections.min(CONNECTIONS_MAX);
            // It ends by itself with the last of them.
            command.env("CONTENDER_CONNECTIONS", connections.to_string());
            if contender.is_in_c() {
                command.arg(connections.to_string());
            }
            let server = Server::start(command)?;
            let mut load = Load::connect(server.port, connections, bytes)?;
            load.run(Until::Answers(operations))?;
            server.end_after(load)?;
        }
        Work::Alone { .. } => {
            command.args(["--operations", &operations.to_string()]).stdout(Stdio::null());
            let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
            if !status.success() {
                return Err(format!("{command:?}: {status}"));
            }
        }
    }
    let text = fs::read_to_string(&report).map_err(|error| format!("{path}: {error}"))?;
    let _ = fs::remove_file(&report);
    (count.total)(&text).ok_or_else(|| format!("{} reported nothing: {text}", wrapper[0]))
}
