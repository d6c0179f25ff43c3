//! Who is compared: a contender is an entry of `CONTENDERS`, what it can do a list of words, and what it cannot do a
//! sentence each in `LACKS`. There is no third: a test holds every workload against every contender.

use crate::workloads::{Work, Workload};

/// How a contender is started.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// A program of this workspace, with the command line of `contender`.
    Program,
    /// The echo server of `examples/c`, with arguments of its own.
    InC,
    /// An interpreter, found in the folder of the programs or on the PATH, with a script for each workload.
    Interpreter { scripts: &'static [(&'static str, &'static str)] },
}

pub struct Contender {
    pub name: &'static str,
    pub program: &'static str,
    pub kind: Kind,
    pub arguments: &'static [&'static str],
    pub environment: &'static [(&'static str, &'static str)],
    abilities: &'static [&'static str],
}

const fn contender(name: &'static str, program: &'static str, abilities: &'static [&'static str]) -> Contender {
    Contender { name, program, kind: Kind::Program, arguments: &[], environment: &[], abilities }
}

const fn interpreter(
    name: &'static str,
    program: &'static str,
    scripts: &'static [(&'static str, &'static str)],
    abilities: &'static [&'static str],
) -> Contender {
    Contender { kind: Kind::Interpreter { scripts }, ..contender(name, program, abilities) }
}

const URING: &[(&str, &str)] = &[("CORELLA_BACKEND", "uring")];
const PORTABLE: &[(&str, &str)] = &[("CORELLA_BACKEND", "portable")];

pub const CONTENDERS: &[Contender] = &[
    Contender {
        arguments: &["--style", "callbacks"],
        environment: URING,
        ..contender(
            "corella callbacks",
            "contender-corella",
            &["echo", "read", "direct", "append", "files", "churn", "stream", "idle", "slow", "echo in Lua"],
        )
    },
    Contender {
        environment: URING,
        ..contender(
            "corella await",
            "contender-corella",
            &[
                "echo",
                "read",
                "direct",
                "write",
                "ordered write",
                "append",
                "files",
                "churn",
                "stream",
                "idle",
                "slow",
                "timers",
                "fire",
                "spawn",
                "yield",
                "wake",
                "has-work",
                "echo in Lua",
            ],
        )
    },
    Contender {
        environment: PORTABLE,
        ..contender(
            "corella portable",
            "contender-corella",
            &[
                "echo",
                "read",
                "direct",
                "write",
                "ordered write",
                "append",
                "files",
                "churn",
                "stream",
                "idle",
                "slow",
                "wake",
                "has-work",
            ],
        )
    },
    Contender {
        kind: Kind::InC,
        environment: URING,
        ..contender("corella from C", "contender-corella-c", &["echo", "churn"])
    },
    Contender {
        arguments: &["run"],
        environment: URING,
        ..interpreter(
            "corella in Lua",
            "corella",
            &[("echo", "echo_corella.lua"), ("start", "empty.lua")],
            &["echo in Lua", "start"],
        )
    },
    contender(
        "tokio",
        "contender-tokio",
        &[
            "echo", "read", "direct", "write", "append", "files", "churn", "stream", "idle", "slow", "timers", "fire",
            "spawn", "yield", "wake",
        ],
    ),
    contender("tokio io_uring", "contender-tokio-io-uring", &["read", "files"]),
    contender(
        "compio",
        "contender-compio",
        &[
            "echo", "read", "direct", "write", "append", "files", "churn", "stream", "idle", "slow", "timers", "fire",
            "spawn", "yield", "wake",
        ],
    ),
    contender(
        "monoio",
        "contender-monoio",
        &[
            "echo", "read", "direct", "write", "append", "files", "churn", "stream", "idle", "slow", "timers", "fire",
            "spawn", "yield", "wake",
        ],
    ),
    contender(
        "libuv",
        "contender-libuv",
        &[
            "echo", "read", "direct", "write", "append", "files", "churn", "stream", "idle", "slow", "timers", "fire",
            "wake", "has-work",
        ],
    ),
    interpreter("luv on Lua", "lua5.4", &[("echo", "echo_luv.lua"), ("start", "luv.lua")], &["echo in Lua", "start"]),
    interpreter("Lua", "lua5.4", &[("start", "empty.lua")], &["start"]),
    Contender {
        arguments: &["--interface", "ring"],
        ..contender(
            "bare ring",
            "contender-bare",
            &["echo", "read", "direct", "write", "append", "files", "churn", "stream", "idle", "slow", "wake"],
        )
    },
    Contender {
        arguments: &["--interface", "epoll"],
        ..contender("bare epoll", "contender-bare", &["echo", "churn", "stream", "idle", "wake"])
    },
    Contender {
        arguments: &["--interface", "calls"],
        ..contender("bare calls", "contender-bare", &["read", "append", "files"])
    },
];

/// What contenders cannot do, or are not asked to: the contender, the abilities, and why. An empty name is any of those
/// that have not said it by themselves.
const LACKS: &[(&str, &[&str], &str)] = &[
    (
        "corella callbacks",
        &["write", "ordered write"],
        "runs the same requests as `corella await`, which stands for both",
    ),
    ("corella callbacks", &["timers", "fire", "spawn", "yield", "wake"], "has no tasks: see `corella await`"),
    ("corella callbacks", &["has-work"], "asks the same question as `corella await`"),
    (
        "corella portable",
        &["timers", "fire", "spawn", "yield"],
        "has the timers and tasks of `corella await`, whatever the backend",
    ),
    ("corella from C", &["idle"], "keeps 16 KiB for each connection in its example"),
    ("tokio", &["ordered write"], "keeps no order among writes of one file"),
    ("tokio io_uring", &["direct"], "reads into a buffer of its own, which `O_DIRECT` refuses"),
    ("tokio io_uring", ANY, "does nothing else by its ring: see `tokio`"),
    ("compio", &["ordered write"], "keeps no order among writes of one file"),
    ("monoio", &["ordered write"], "keeps no order among writes of one file"),
    ("libuv", &["ordered write"], "keeps no order among writes of one file"),
    ("bare ring", &["ordered write"], "keeps no order among writes of one file"),
    ("libuv", &["spawn", "yield"], "has no tasks"),
    ("tokio", &["has-work"], "cannot be asked"),
    ("compio", &["has-work"], "cannot be asked"),
    ("monoio", &["has-work"], "cannot be asked"),
    ("bare ring", &["timers", "fire"], "has no timers that a program would use by the million"),
    ("bare ring", &["spawn", "yield", "has-work"], "has no tasks, and no state of its own to ask for"),
    (
        "bare epoll",
        &["read", "direct", "write", "ordered write", "append", "files", "slow"],
        "knows no files, and has no pool",
    ),
    ("bare epoll", &["timers", "fire", "spawn", "yield", "has-work"], "has no timers, no tasks, no state to ask for"),
    ("bare calls", &["echo", "churn", "stream", "idle", "slow"], "waits in one call at a time"),
    ("bare calls", &["direct", "write", "ordered write"], "has no depth"),
    ("bare calls", &["timers", "fire", "spawn", "yield", "wake", "has-work"], "has no timers and no tasks"),
    ("Lua", &["echo in Lua"], "has no sockets"),
    ("luv on Lua", ANY, "is compared where Lua is"),
    ("Lua", ANY, "is compared where Lua is"),
    ("corella in Lua", ANY, "is compared where Lua is"),
    ("corella from C", ANY, "is compared on the echo alone"),
    ("", &["echo in Lua", "start"], "runs no Lua"),
];
const ANY: &[&str] = &[];

impl Contender {
    /// Why it is not among those that a workload compares; `None` if it is.
    pub fn lack(&self, workload: &Workload) -> Option<&'static str> {
        let has_depth = matches!(workload.work, Work::Alone { arguments, .. }
            if arguments.windows(2).any(|pair| pair[0] == "--depth" && pair[1] != "1"));
        let is_one_at_a_time = self.arguments.contains(&"calls") && workload.called == "read";
        if is_one_at_a_time && has_depth {
            return Some("has no depth");
        }
        if self.abilities.contains(&workload.ability) {
            return None;
        }
        let is_it = |name: &str, abilities: &[&str]| {
            (name.is_empty() || name == self.name) && (abilities.is_empty() || abilities.contains(&workload.ability))
        };
        let stated = LACKS.iter().find(|(name, abilities, _)| is_it(name, abilities));
        Some(stated.map_or(UNSTATED, |(_, _, why)| why))
    }
}

const UNSTATED: &str = "nobody has said why";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::WORKLOADS;

    #[test]
    fn every_workload_has_every_contender_or_says_why_not() {
        for workload in WORKLOADS {
            let able = CONTENDERS.iter().filter(|contender| contender.lack(workload).is_none());
            assert!(able.count() >= 2, "{}: nothing to compare", workload.name);
            for contender in CONTENDERS {
                assert_ne!(contender.lack(workload), Some(UNSTATED), "{}: {}", workload.name, contender.name);
            }
        }
    }

    #[test]
    fn no_ability_is_one_that_no_workload_asks_for() {
        for contender in CONTENDERS {
            for ability in contender.abilities {
                let is_asked_for = WORKLOADS.iter().any(|workload| workload.ability == *ability);
                assert!(is_asked_for, "{}: {ability}", contender.name);
            }
        }
    }
}
