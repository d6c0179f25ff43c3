//! What one operation costs, counted and not timed: user instructions, heap allocations, system calls.
//!
//! A contender runs twice behind a program that counts, with so many operations and with three times as many; the
//! difference is theirs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::contenders::{Contender, Kind};
use crate::load::{Load, Sender, Until};
use crate::process::{Server, command};
use crate::workloads::{Work, Workload};

pub struct Count {
    pub metric: &'static str,
    pub unit: &'static str,
    /// The program that counts, `REPORT` standing for the file that it is to write to.
    wrapper: &'static [&'static str],
    /// Finds the total in its report.
    total: fn(&str) -> Option<f64>,
}

/// The first two are what a quick run counts.
pub const ALL: &[Count] = &[
    Count {
        metric: "user instructions",
        unit: "/operation",
        wrapper: &["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-file=REPORT"],
        total: |report| after(report, "Collected :"),
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
    Count {
        metric: "allocations",
        unit: "/operation",
        wrapper: &["valgrind", "--undef-value-errors=no", "--leak-check=no", "--log-file=REPORT"],
        total: |report| after(report, "total heap usage:"),
    },
    Count {
        metric: "kernel instructions",
        unit: "/operation",
        wrapper: &["perf", "stat", "-x", ",", "-e", "instructions:k", "-o", "REPORT"],
        total: |report| report.lines().find(|line| line.contains("instructions:k"))?.split(',').next()?.parse().ok(),
    },
];

/// The first number after some words.
fn after(report: &str, words: &str) -> Option<f64> {
    let rest = report.split(words).nth(1)?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}

/// Connections at most: what runs behind a counting program is slow, and more change little.
const CONNECTIONS_MAX: usize = 64;
/// The same for those that come and go.
const CHURN_CONNECTIONS: usize = 8;

/// Whether this machine counts what a processor executes in the kernel.
pub fn has_performance_counters() -> bool {
    let perf = Command::new("perf").args(["stat", "-x", ",", "-e", "instructions:k", "true"]).output();
    perf.is_ok_and(|output| output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("<not"))
}

/// Whether there is something to count: not where nothing happens, nor where it depends on how two threads meet.
pub fn are_of_use(workload: &Workload) -> bool {
    !matches!(workload.work, Work::Idle { .. } | Work::Alone { counted: 0, .. })
}

pub fn count(count: &Count, workload: &Workload, contender: &Contender, programs: &Path) -> Result<f64, String> {
    let few = match workload.work {
        Work::Echo { connections, .. } => 20 * connections.clamp(8, CONNECTIONS_MAX) as u64,
        Work::Churn { .. } | Work::Stream { .. } => 200,
        Work::Alone { counted, .. } => counted,
        // The start is the operation.
        Work::Start => return total(count, workload, contender, programs, 1),
        Work::Idle { .. } => return Err("not counted".into()),
    };
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
    static REPORTS: AtomicU64 = AtomicU64::new(0);
    let number = REPORTS.fetch_add(1, Ordering::Relaxed);
    let report = std::env::temp_dir().join(format!("corella-bench-report-{}-{number}", std::process::id()));
    let path = report.to_string_lossy().into_owned();
    let wrapper: Vec<String> = count.wrapper.iter().map(|word| word.replace("REPORT", &path)).collect();
    let mut command = command(workload, contender, programs, &wrapper)?;
    // A server ends by itself with the last of its connections.
    let mut serve = |connections: u64| {
        command.env("CONTENDER_CONNECTIONS", connections.to_string());
        if contender.kind == Kind::InC {
            command.arg(connections.to_string());
        }
    };
    match workload.work {
        Work::Echo { connections, bytes, .. } => {
            let connections = connections.min(CONNECTIONS_MAX);
            serve(connections as u64);
            let server = Server::start(command)?;
            let mut load = Load::connect(server.port, connections, bytes)?;
            // Once everybody has been answered all connections are accepted, which some servers do one in a turn.
            load.run(Until::Answers(connections as u64))?;
            load.run(Until::Answers(operations))?;
            drop(load);
            server.end_by_itself()?;
        }
        Work::Churn { bytes, .. } => {
            serve(operations);
            let server = Server::start(command)?;
            let mut load = Load::connect(server.port, CHURN_CONNECTIONS, bytes)?;
            load.run_with_churn(Until::Answers(operations))?;
            drop(load);
            server.end_by_itself()?;
        }
        Work::Stream { bytes } => {
            serve(1);
            let server = Server::start(command)?;
            let mut sender = Sender::connect(server.port, bytes)?;
            sender.run(Until::Answers(operations))?;
            drop(sender);
            server.end_by_itself()?;
        }
        Work::Alone { .. } => {
            command.args(["--operations", &operations.to_string()]);
            run(&mut command)?;
        }
        Work::Start => run(&mut command)?,
        Work::Idle { .. } => return Err("not counted".into()),
    }
    let text = fs::read_to_string(&report).map_err(|error| format!("{path}: {error}"))?;
    let _ = fs::remove_file(&report);
    (count.total)(&text).ok_or_else(|| format!("{} reported nothing: {text}", wrapper[0]))
}

/// Many threads take turns so often that behind strace some never come to an end.
const PATIENCE: Duration = Duration::from_secs(15);

fn run(command: &mut Command) -> Result<(), String> {
    let at = |error: std::io::Error, command: &Command| format!("{command:?}: {error}");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| at(error, command))?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match child.try_wait().map_err(|error| at(error, command))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{command:?}: {status}")),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Err(format!("given up after {PATIENCE:?}"))
}
