//! The legs of the test run, as one table: to add a leg, add an entry to `LEGS`.

use crate::tools::{
    CLIPPY, CMAKE, CURL, GCC, GLIB, GXX, LIBCLANG, LUV, MINGW, PKG_CONFIG, PYTHON, RUST_WITH_SOURCES, RUSTFMT, STRACE,
    Tool, VALGRIND, WINE,
};

/// One part of the checks, which runs alone with `--leg NAME`.
pub struct Leg {
    pub name: &'static str,
    /// Compiling included. A warning beyond it, the end of the leg at three times as much.
    pub budget_seconds: u64,
    pub purpose: &'static str,
    /// Programs without which the leg is skipped, if they cannot be installed.
    pub needs: &'static [&'static Tool],
    /// All run, also after one has failed.
    pub steps: &'static [Step],
}

/// One command of a leg.
pub struct Step {
    pub counts: Counts,
    pub environment: &'static [(&'static str, &'static str)],
    /// The program and its arguments.
    pub command: &'static [&'static str],
}

/// What a step adds to the number of tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counts {
    /// Nothing, unless it fails: it prepares another step.
    Nothing,
    /// The command as a whole is one test.
    OneTest,
    /// The tests that its test binaries report. None at all is a failure.
    Reported,
}

const fn step(counts: Counts, command: &'static [&'static str]) -> Step {
    Step { counts, environment: &[], command }
}

/// A step whose locks and atomics are those of a scheduler that tries the orders of threads.
const fn under_shuttle(command: &'static [&'static str]) -> Step {
    Step { counts: Counts::Reported, environment: &[("RUSTFLAGS", "--cfg corella_shuttle")], command }
}

pub const LEGS: &[Leg] = &[
    Leg {
        name: "format",
        budget_seconds: 20,
        purpose: "the sources are formatted as rustfmt would",
        needs: &[&RUSTFMT],
        steps: &[step(Counts::OneTest, &["cargo", "fmt", "--all", "--check"])],
    },
    Leg {
        name: "lint",
        budget_seconds: 180,
        purpose: "clippy finds nothing in any target",
        needs: &[&CLIPPY],
        steps: &[step(
            Counts::OneTest,
            &["cargo", "clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
        )],
    },
    Leg {
        name: "bench",
        budget_seconds: 180,
        purpose: "the benchmark compiles without a warning, and no contender is left out of a workload without a word",
        needs: &[&CLIPPY, &LIBCLANG],
        steps: &[
            step(
                Counts::OneTest,
                &[
                    "cargo",
                    "clippy",
                    "--manifest-path",
                    "bench/Cargo.toml",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
            ),
            step(
                Counts::OneTest,
                &[
                    "cargo",
                    "clippy",
                    "--manifest-path",
                    "bench/Cargo.toml",
                    "-p",
                    "contender-tokio",
                    "--features",
                    "io-uring",
                    "--",
                    "-D",
                    "warnings",
                ],
            ),
            step(Counts::Reported, &["cargo", "test", "--manifest-path", "bench/Cargo.toml", "-p", "bench"]),
        ],
    },
    Leg {
        name: "unit",
        budget_seconds: 240,
        purpose: "the unit tests of every crate, with all features",
        needs: &[],
        steps: &[step(
            Counts::Reported,
            &["cargo", "test", "--workspace", "--all-features", "--lib", "--bins", "--no-fail-fast"],
        )],
    },
    Leg {
        name: "conformance",
        budget_seconds: 420,
        purpose: "the contract holds on every backend, or on the one that CORELLA_BACKEND names",
        needs: &[],
        steps: &[step(
            Counts::Reported,
            &["cargo", "test", "-p", "corella", "--features", "fake-port", "--test", "conformance"],
        )],
    },
    Leg {
        name: "simulation",
        budget_seconds: 300,
        purpose: "the simulated machine, random programs against a model on every backend, and planted defects found",
        needs: &[],
        steps: &[
            step(Counts::Reported, &["cargo", "test", "-p", "corella", "--test", "simulation"]),
            step(
                Counts::Reported,
                &[
                    "cargo",
                    "test",
                    "-p",
                    "corella",
                    "--release",
                    "--features",
                    "planted,fake-port",
                    "--test",
                    "model",
                    "--test",
                    "planted",
                    "--test",
                    "fuzz",
                    "--no-fail-fast",
                ],
            ),
        ],
    },
    Leg {
        name: "attack",
        budget_seconds: 180,
        purpose: "the rare, repeated until near certain: races, storms, signals, buffers of dropped schedulers",
        needs: &[],
        steps: &[step(Counts::Reported, &["cargo", "test", "-p", "corella", "--release", "--test", "attack"])],
    },
    Leg {
        name: "threads",
        budget_seconds: 300,
        purpose: "what two threads touch, in thousands of the orders in which they may come",
        needs: &[],
        steps: &[
            under_shuttle(&[
                "cargo",
                "test",
                "-p",
                "corella",
                "--lib",
                "--release",
                "--features",
                "fake-port",
                "--target-dir",
                "target/shuttle",
                "--",
                "sync::",
            ]),
            under_shuttle(&[
                "cargo",
                "test",
                "-p",
                "corella-c",
                "-p",
                "corella-lua",
                "--lib",
                "--release",
                "--target-dir",
                "target/shuttle",
                "--",
                "sync::",
            ]),
        ],
    },
    Leg {
        name: "torture",
        budget_seconds: 240,
        purpose: "the short form of `cargo xtask torture`: limits, crowds, hostile peers, storms, kills",
        needs: &[],
        steps: &[Step {
            counts: Counts::Reported,
            environment: &[("CORELLA_TORTURE_SECONDS", "1")],
            command: &["cargo", "test", "-p", "corella", "--release", "--test", "torture", "--", "--test-threads=1"],
        }],
    },
    Leg {
        name: "masks",
        budget_seconds: 300,
        purpose: "the short form of the contract without each opcode of io_uring in turn, and each set-up flag",
        needs: &[],
        steps: &[step(Counts::Reported, &["cargo", "test", "-p", "corella", "--test", "short", "--", "without"])],
    },
    Leg {
        name: "asan",
        budget_seconds: 180,
        purpose: "the contract under AddressSanitizer: no memory is used that is free or nobody's",
        needs: &[],
        steps: &[Step {
            counts: Counts::Reported,
            // Sanitizers are behind a gate of the compiler's. What is leaked on purpose is what the contract says.
            environment: &[
                ("RUSTC_BOOTSTRAP", "1"),
                ("RUSTFLAGS", "-Zsanitizer=address"),
                ("ASAN_OPTIONS", "detect_leaks=0"),
                ("CORELLA_SLOWNESS", "5"),
            ],
            command: &[
                "cargo",
                "test",
                "-p",
                "corella",
                "--target",
                "x86_64-unknown-linux-gnu",
                "--target-dir",
                "target/asan",
                "--test",
                "conformance",
            ],
        }],
    },
    Leg {
        name: "valgrind",
        budget_seconds: 180,
        purpose: "the short form of the contract under valgrind: no byte is used that nobody wrote",
        needs: &[&VALGRIND],
        steps: &[Step {
            counts: Counts::Reported,
            // What the kernel writes through the ring is told to valgrind where it is reaped.
            environment: &[
                ("RUSTFLAGS", "--cfg corella_valgrind"),
                (
                    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
                    "valgrind --quiet --fair-sched=yes --error-exitcode=9 --exit-on-first-error=yes",
                ),
            ],
            command: &[
                "cargo",
                "test",
                "-p",
                "corella",
                "--target-dir",
                "target/valgrind",
                "--test",
                "short",
                "--",
                "plain",
                "--test-threads=1",
            ],
        }],
    },
    Leg {
        name: "docs",
        budget_seconds: 240,
        purpose: "the documentation builds without a warning and its examples run",
        needs: &[],
        steps: &[
            Step {
                counts: Counts::OneTest,
                environment: &[("RUSTDOCFLAGS", "-D warnings")],
                command: &["cargo", "doc", "--workspace", "--no-deps", "--all-features"],
            },
            step(Counts::Reported, &["cargo", "test", "--workspace", "--all-features", "--doc", "--no-fail-fast"]),
        ],
    },
    Leg {
        name: "examples",
        budget_seconds: 300,
        purpose: "the Rust examples and the Lua scripts do what they say, from outside",
        needs: &[&CURL],
        steps: &[
            step(Counts::Nothing, &["cargo", "build", "--workspace", "--bins", "--examples"]),
            step(Counts::Reported, &["cargo", "test", "-p", "corella-cli", "--test", "*", "--no-fail-fast"]),
            step(Counts::Reported, &["cargo", "test", "-p", "corella", "--test", "examples"]),
        ],
    },
    Leg {
        name: "lua",
        budget_seconds: 120,
        purpose: "what scripts see, as tests in Lua that are examples too, on each backend",
        needs: &[],
        steps: &[step(Counts::Reported, &["cargo", "test", "-p", "corella-lua", "--test", "semantics"])],
    },
    Leg {
        name: "counting",
        budget_seconds: 240,
        purpose: "the numbers of allocations and system calls stay what they are said to be",
        needs: &[&STRACE],
        steps: &[step(
            Counts::Reported,
            &["cargo", "test", "-p", "corella", "--release", "--features", "fake-port", "--test", "counting"],
        )],
    },
    Leg {
        name: "instructions",
        budget_seconds: 400,
        purpose: "the hot paths cost no more instructions than is stored, and an echo in Lua no more than on luv",
        needs: &[&VALGRIND, &LUV],
        steps: &[
            step(
                Counts::Reported,
                &["cargo", "test", "-p", "corella", "--profile", "packaged", "--test", "instructions"],
            ),
            step(
                Counts::Reported,
                &["cargo", "test", "-p", "corella-lua", "--profile", "packaged", "--test", "instructions"],
            ),
        ],
    },
    Leg {
        name: "c",
        budget_seconds: 400,
        purpose: "corella.h is what the functions say; programs in C, C++ and Python against a fresh installation",
        needs: &[&GCC, &GXX, &PKG_CONFIG, &CMAKE, &VALGRIND, &PYTHON, &GLIB],
        steps: &[step(
            Counts::Reported,
            &["cargo", "test", "-p", "corella-c", "--test", "header", "--test", "handles", "--test", "programs"],
        )],
    },
    Leg {
        name: "c-fuzz",
        budget_seconds: 240,
        purpose: "a million calls of the C interface in random order, with ids that are random, stale or foreign",
        needs: &[],
        steps: &[step(Counts::Reported, &["cargo", "test", "-p", "corella-c", "--release", "--test", "fuzz"])],
    },
    Leg {
        name: "windows",
        budget_seconds: 600,
        purpose: "Windows, as far as Wine is that: the contract and random programs on a completion port, scripts, what they see, corella.h, and what Wine lacks",
        needs: &[&GCC, &RUST_WITH_SOURCES, &MINGW, &WINE, &CURL],
        steps: &[
            step(Counts::Reported, &["xtask", "windows", "test", "-p", "corella", "--lib"]),
            step(Counts::Reported, &["xtask", "windows", "test", "-p", "corella", "--test", "conformance"]),
            step(Counts::Reported, &["xtask", "windows", "test", "-p", "corella-lua", "--test", "semantics"]),
            Step {
                counts: Counts::Reported,
                environment: &[("CORELLA_SEEDS", "200")],
                command: &["xtask", "windows", "test", "-p", "corella", "--features", "marks", "--test", "model"],
            },
            step(Counts::Reported, &["xtask", "wine-lacks"]),
            step(Counts::Nothing, &["xtask", "windows", "build", "-p", "corella-cli", "-p", "corella-c"]),
            step(Counts::Nothing, &["cargo", "build", "-p", "corella-cli"]),
            step(Counts::Reported, &["cargo", "test", "-p", "xtask", "--test", "windows"]),
        ],
    },
    Leg {
        name: "cross",
        budget_seconds: 300,
        purpose: "the engine and the C library pass the compiler without a warning for Windows and the systems that nobody runs here",
        needs: &[&GCC, &RUST_WITH_SOURCES],
        steps: &[
            step(Counts::OneTest, &["xtask", "cross", "x86_64-apple-darwin"]),
            step(Counts::OneTest, &["xtask", "cross", "x86_64-unknown-freebsd"]),
            step(Counts::OneTest, &["xtask", "cross", "aarch64-unknown-linux-gnu"]),
            step(Counts::OneTest, &["xtask", "cross", "x86_64-pc-windows-gnu"]),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::repository_root;

    #[test]
    fn every_leg_has_a_name_of_its_own_a_budget_and_a_step_that_counts() {
        let names: BTreeSet<_> = LEGS.iter().map(|leg| leg.name).collect();
        assert_eq!(names.len(), LEGS.len());
        for leg in LEGS {
            assert!(!leg.name.contains(['/', ':', '#', ' ']), "{}", leg.name);
            assert!(leg.budget_seconds > 0, "{}", leg.name);
            assert!(leg.steps.iter().any(|step| step.counts != Counts::Nothing), "{}", leg.name);
        }
    }

    #[test]
    fn every_integration_test_belongs_to_a_leg() {
        let crates = std::fs::read_dir(repository_root().join("crates")).expect("crates/ is there");
        let mut without_leg = Vec::new();
        for entry in crates {
            let package = entry.expect("crates/ can be listed");
            let package_name = package.file_name().to_string_lossy().into_owned();
            for test in integration_tests(&package.path().join("tests")) {
                if !LEGS.iter().any(|leg| runs(leg, &package_name, &test)) {
                    without_leg.push(format!("-p {package_name} --test {test}"));
                }
            }
        }
        assert_eq!(without_leg, Vec::<String>::new(), "no leg runs these");
    }

    /// The test targets that cargo finds by itself: `tests/NAME.rs` and `tests/NAME/main.rs`.
    fn integration_tests(directory: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(directory) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.expect("a tests directory can be listed").path())
            .filter(|path| path.join("main.rs").is_file() || path.extension().is_some_and(|e| e == "rs"))
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect()
    }

    fn runs(leg: &Leg, package: &str, test: &str) -> bool {
        leg.steps.iter().any(|step| {
            let has = |flag: &str, value: &str| step.command.windows(2).any(|w| w == [flag, value]);
            has("-p", package) && (has("--test", test) || has("--test", "*"))
        })
    }
}
