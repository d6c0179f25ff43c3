//! What Corella is to reach, each goal a figure made of those of one run, and how far it is from it.

use crate::results::Results;

/// The figure, made of medians; `None` where one of them was not measured.
type Figure = fn(&Medians) -> Option<f64>;

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

use Bound::{AtLeast, AtMost};

struct Goal {
    what: &'static str,
    bound: Bound,
    figure: Figure,
}

const fn goal(what: &'static str, bound: Bound, figure: Figure) -> Goal {
    Goal { what, bound, figure }
}

/// Those that are neither Corella nor a bare interface.
const PEERS: [&str; 5] = ["tokio", "tokio io_uring", "compio", "monoio", "libuv"];
const READS: [&str; 3] = ["cached reads, depth 1", "cached reads, depth 32", "cached reads, depth 128"];
const DIRECT: &str = "direct reads, depth 32";
const ECHO: &str = "echo, 512 connections, 64 bytes";
const SLOW: &str = "echo beside slow work, 64 connections, 64 bytes";
const TIMERS: &str = "timers armed and cancelled";
const SPAWNED: &str = "tasks spawned and joined";
const WOKEN: &str = "wakes from another thread";
const IDLE: &str = "idle connections";
const ORDERED: [[&str; 2]; 2] = [
    ["random writes, depth 32, order kept", "random writes, depth 32, order waived"],
    ["random writes, depth 1024, order kept", "random writes, depth 1024, order waived"],
];
const CALLBACKS: &str = "corella callbacks";
const AWAIT: &str = "corella await";
const PORTABLE: &str = "corella portable";
const RING: &str = "bare ring";
const RATE: &str = "throughput";
const CPU: &str = "cpu";
const USER: &str = "user instructions";
const CALLS: &str = "system calls";

struct Medians<'a>(&'a Results);

impl Medians<'_> {
    fn of(&self, workload: &str, contender: &str, metric: &str) -> Option<f64> {
        self.0.median(workload, contender, metric)
    }

    fn ratio(&self, workload: &str, contender: &str, to: &str, metric: &str) -> Option<f64> {
        Some(self.of(workload, contender, metric)? / self.of(workload, to, metric)?)
    }

    /// Of operations a second, to the peer that has most.
    fn to_best_peer(&self, workload: &str, contender: &str) -> Option<f64> {
        let best = PEERS.iter().filter_map(|peer| self.of(workload, peer, RATE)).reduce(f64::max)?;
        Some(self.of(workload, contender, RATE)? / best)
    }

    /// Of the time below which 99 in 100 are answered, to the peer that has least.
    fn tail_to_best_peer(&self, contender: &str) -> Option<f64> {
        let best = PEERS.iter().filter_map(|peer| self.of(ECHO, peer, "p99")).reduce(f64::min)?;
        Some(self.of(ECHO, contender, "p99")? / best)
    }

    fn tail_beside_slow_work(&self, contender: &str) -> Option<f64> {
        Some(self.of(SLOW, contender, "p99 beside slow work")? / self.of(SLOW, contender, "p99 without slow work")?)
    }

    /// What order costs in CPU time.
    fn order(&self, [kept, waived]: [&str; 2]) -> Option<f64> {
        Some(self.of(kept, AWAIT, CPU)? / self.of(waived, AWAIT, CPU)?)
    }
}

const GOALS: &[Goal] = &[
    goal("cached reads, depth 1, awaited: operations/s to pread's", AtLeast(0.75), |all| {
        all.ratio(READS[0], AWAIT, "bare calls", RATE)
    }),
    goal("cached reads, depth 1, awaited: operations/s to the bare ring's", AtLeast(1.2), |all| {
        all.ratio(READS[0], AWAIT, RING, RATE)
    }),
    goal("cached reads, depth 32, callbacks: user instructions to the bare ring's", AtMost(1.3), |all| {
        all.ratio(READS[1], CALLBACKS, RING, USER)
    }),
    goal("cached reads, depth 32, awaited: user instructions to the bare ring's", AtMost(1.3), |all| {
        all.ratio(READS[1], AWAIT, RING, USER)
    }),
    goal("cached reads, depth 128, awaited: user instructions to the bare ring's", AtMost(1.3), |all| {
        all.ratio(READS[2], AWAIT, RING, USER)
    }),
    goal("cached reads, depth 32, awaited: operations/s to the bare ring's", AtLeast(0.95), |all| {
        all.ratio(READS[1], AWAIT, RING, RATE)
    }),
    goal("cached reads, depth 128, awaited: operations/s to the bare ring's", AtLeast(0.95), |all| {
        all.ratio(READS[2], AWAIT, RING, RATE)
    }),
    goal("cached reads, depth 32, awaited: operations/s to the best peer's", AtLeast(1.1), |all| {
        all.to_best_peer(READS[1], AWAIT)
    }),
    goal("direct reads, depth 32, awaited: system calls to the bare ring's", AtMost(1.0), |all| {
        all.ratio(DIRECT, AWAIT, RING, CALLS)
    }),
    goal("direct reads, depth 32, awaited: user instructions to the bare ring's", AtMost(1.3), |all| {
        all.ratio(DIRECT, AWAIT, RING, USER)
    }),
    goal("echo, 512 connections, callbacks: user instructions", AtMost(400.0), |all| all.of(ECHO, CALLBACKS, USER)),
    goal("echo, 512 connections, awaited: user instructions", AtMost(600.0), |all| all.of(ECHO, AWAIT, USER)),
    goal("echo, 512 connections, callbacks: CPU time to the bare ring's", AtMost(1.02), |all| {
        all.ratio(ECHO, CALLBACKS, RING, CPU)
    }),
    goal("echo, 512 connections, awaited: CPU time to the bare ring's", AtMost(1.04), |all| {
        all.ratio(ECHO, AWAIT, RING, CPU)
    }),
    goal("echo, 512 connections, callbacks: p99 to the best peer's", AtMost(1.0), |all| {
        all.tail_to_best_peer(CALLBACKS)
    }),
    goal("echo, portable: user instructions to tokio's", AtMost(1.0), |all| all.ratio(ECHO, PORTABLE, "tokio", USER)),
    goal("cached reads, depth 32, portable: operations per CPU second to libuv's", AtLeast(1.0), |all| {
        all.ratio(READS[1], "libuv", PORTABLE, CPU)
    }),
    goal("cached reads, depth 1, portable: operations/s to pread's", AtLeast(0.7), |all| {
        all.ratio(READS[0], PORTABLE, "bare calls", RATE)
    }),
    goal("echo, 512 connections, callbacks: heap allocations", AtMost(0.0), |all| {
        all.of(ECHO, CALLBACKS, "allocations")
    }),
    goal("timers armed and cancelled: operations/s to the best peer's", AtLeast(1.5), |all| {
        all.to_best_peer(TIMERS, AWAIT)
    }),
    goal("tasks spawned and joined: operations/s to the best peer's", AtLeast(1.0), |all| {
        all.to_best_peer(SPAWNED, AWAIT)
    }),
    goal("wakes from another thread: operations/s to the best peer's", AtLeast(1.0), |all| {
        all.to_best_peer(WOKEN, AWAIT)
    }),
    goal("has_work when idle, io_uring: nanoseconds", AtMost(2.0), |all| all.of("has_work when idle", AWAIT, CPU)),
    goal("idle connection, callbacks: bytes in memory", AtMost(512.0), |all| all.of(IDLE, CALLBACKS, "memory")),
    goal("idle connection, awaited: bytes in memory", AtMost(512.0), |all| all.of(IDLE, AWAIT, "memory")),
    goal("random writes, depth 32: CPU time with order kept to without", AtMost(1.05), |all| all.order(ORDERED[0])),
    goal("random writes, depth 1024: CPU time with order kept to without", AtMost(1.05), |all| all.order(ORDERED[1])),
    goal("echo, callbacks: p99 beside slow work to that without", AtMost(1.2), |all| {
        all.tail_beside_slow_work(CALLBACKS)
    }),
    goal("echo, portable: p99 beside slow work to that without", AtMost(1.2), |all| {
        all.tail_beside_slow_work(PORTABLE)
    }),
];

/// A table of those whose figures were measured.
pub fn print(results: &Results) {
    let measured = GOALS.iter().filter_map(|goal| Some((goal, (goal.figure)(&Medians(results))?)));
    let rows: Vec<String> = measured.map(|(goal, value)| row(goal, value)).collect();
    if !rows.is_empty() {
        println!("\n### To reach\n\n| goal | figure | measured | reached |\n|---|---|---|---|");
        rows.iter().for_each(|row| println!("{row}"));
    }
}

fn row(goal: &Goal, value: f64) -> String {
    let (bound, is_reached) = match goal.bound {
        AtLeast(bound) => (format!("≥ {bound}"), value >= bound),
        AtMost(bound) => (format!("≤ {bound}"), value <= bound),
    };
    let reached = if is_reached { "yes" } else { "no" };
    format!("| {} | {bound} | {} | {reached} |", goal.what, crate::results::number(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contenders::CONTENDERS;
    use crate::workloads::WORKLOADS;

    #[test]
    fn a_goal_has_a_figure_once_all_is_measured_and_none_before() {
        let mut results = Results::default();
        assert!(GOALS.iter().all(|goal| (goal.figure)(&Medians(&results)).is_none()));
        let tails = ["p99", "p99 beside slow work", "p99 without slow work", "allocations", "memory"];
        for workload in WORKLOADS {
            for contender in CONTENDERS {
                for metric in [RATE, CPU, USER, CALLS].into_iter().chain(tails) {
                    results.add(workload.name, contender.name, metric, "", 1.0);
                }
            }
        }
        for goal in GOALS {
            assert_eq!((goal.figure)(&Medians(&results)), Some(1.0), "{}", goal.what);
        }
    }

    #[test]
    fn a_goal_is_reached_at_its_bound() {
        let least = goal("a rate", AtLeast(1.5), |_| None);
        let most = goal("a cost", AtMost(1.5), |_| None);
        assert!(row(&least, 1.5).ends_with("| yes |") && row(&least, 1.4).ends_with("| no |"));
        assert!(row(&most, 1.5).ends_with("| yes |") && row(&most, 1.6).ends_with("| no |"));
    }
}
