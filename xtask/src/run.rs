//! Runs legs one after the other and turns what their steps print and return into counts.

use std::time::Duration;

use crate::legs::{Counts, Leg, Step};
use crate::process::{Clock, Ending, Runner};
use crate::reports::{Failure, Reports};
use crate::skips::Skip;

/// What became of a leg.
#[derive(Debug)]
pub struct LegResult {
    pub name: &'static str,
    pub tally: Tally,
    pub elapsed: Duration,
    pub budget_seconds: u64,
}

/// The counts of a step, or the sum over a leg's steps.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skips: Vec<Skip>,
    /// What failed: tests by name with what they said, and whatever failed without a test's report.
    pub problems: Vec<String>,
}

/// Runs the legs in their order. After an interrupt the rest is not started.
pub fn run_legs(runner: &mut Runner, legs: &[&Leg]) -> Vec<LegResult> {
    let mut results = Vec::new();
    for leg in legs {
        if runner.is_interrupted() {
            break;
        }
        println!("\n== {}: {}", leg.name, leg.purpose);
        results.push(run_leg(runner, leg));
    }
    results
}

fn run_leg(runner: &mut Runner, leg: &Leg) -> LegResult {
    let mut total = Tally::default();
    for tool in leg.needs {
        if !tool.obtain(runner) {
            println!("skipped: needs {}", tool.name);
            total.skips.push(Skip::of_leg(leg.name, tool.name));
            return leg_result(leg, total, Duration::ZERO);
        }
    }
    let mut clock = Clock::start(leg.name, Duration::from_secs(leg.budget_seconds));
    for step in leg.steps {
        let (ending, reports) = run_step(runner, step, &mut clock);
        let is_cut_short = matches!(ending, Ending::OutOfTime | Ending::Interrupted);
        total.add(judge(leg.name, step, &ending, &reports));
        if is_cut_short {
            break;
        }
    }
    leg_result(leg, total, clock.elapsed())
}

fn leg_result(leg: &Leg, tally: Tally, elapsed: Duration) -> LegResult {
    LegResult { name: leg.name, tally, elapsed, budget_seconds: leg.budget_seconds }
}

fn run_step(runner: &mut Runner, step: &Step, clock: &mut Clock) -> (Ending, Reports) {
    println!("$ {}", step.command.join(" "));
    let mut reports = Reports::default();
    let mut command = runner.command(step.command);
    command.envs(step.environment.iter().copied());
    let ending = runner.run(command, clock, |chunk| reports.take(chunk));
    reports.finish();
    (ending, reports)
}

/// The counts of a step. Whatever is not clearly a success is a failure.
fn judge(leg: &str, step: &Step, ending: &Ending, reports: &Reports) -> Tally {
    let succeeded = matches!(ending, Ending::Exited(status) if status.success());
    let mut tally = Tally::default();
    if step.counts == Counts::Reported {
        tally.passed = reports.passed;
        tally.failed = reports.failed;
        tally.problems = reports.failures.iter().map(problem_of).collect();
        let skips = reports.ignored.iter().map(|test| Skip::of_test(leg, test));
        tally.skips.extend(skips);
        for _ in reports.ignored.len() as u64..reports.ignored_count {
            tally.skips.push(Skip::of_unnamed_test(leg));
        }
    }
    let command = step.command.join(" ");
    if !succeeded && (tally.failed == 0 || !matches!(ending, Ending::Exited(_))) {
        tally.fail(format!("`{command}`: {ending}"));
    }
    match step.counts {
        Counts::OneTest if succeeded => tally.passed = 1,
        Counts::Reported if succeeded && reports.unclosed_count > 0 => {
            tally.fail(format!("`{command}`: a test binary did not report its end"));
        }
        Counts::Reported if succeeded && reports.passed + reports.failed == 0 => {
            tally.fail(format!("`{command}`: no test ran"));
        }
        Counts::Nothing | Counts::OneTest | Counts::Reported => {}
    }
    tally
}

/// That a test failed, and below it what it said.
fn problem_of(failure: &Failure) -> String {
    let mut problem = format!("{} failed", failure.name);
    for line in &failure.words {
        problem.push_str("\n    ");
        problem.push_str(line);
    }
    problem
}

impl Tally {
    fn fail(&mut self, problem: String) {
        self.failed += 1;
        self.problems.push(problem);
    }

    fn add(&mut self, step: Tally) {
        self.passed += step.passed;
        self.failed += step.failed;
        self.skips.extend(step.skips);
        self.problems.extend(step.problems);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::ExitStatus;
    use std::sync::Arc;

    use super::*;

    const ONE_PASSED: &str = "running 1 test\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";

    /// (passed, failed, skipped) of a step that printed this and exited so.
    fn judged(counts: Counts, exit_code: i32, output: &str) -> (u64, u64, usize) {
        let status = ExitStatus::from_raw(exit_code << 8);
        judged_ending(counts, &Ending::Exited(status), output)
    }

    fn judged_ending(counts: Counts, ending: &Ending, output: &str) -> (u64, u64, usize) {
        let step = Step { counts, environment: &[], command: &["test"] };
        let mut reports = Reports::default();
        reports.take(output.as_bytes());
        let result = judge("unit", &step, ending, &reports);
        (result.passed, result.failed, result.skips.len())
    }

    #[test]
    fn a_command_that_is_one_test_passes_or_fails_as_one() {
        assert_eq!(judged(Counts::OneTest, 0, ""), (1, 0, 0));
        assert_eq!(judged(Counts::OneTest, 1, ""), (0, 1, 0));
    }

    #[test]
    fn a_preparing_step_counts_only_when_it_fails() {
        assert_eq!(judged(Counts::Nothing, 0, ""), (0, 0, 0));
        assert_eq!(judged(Counts::Nothing, 1, ""), (0, 1, 0));
    }

    #[test]
    fn reported_tests_count_one_by_one() {
        let output = "running 3 tests\ntest a ... ignored\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored\n";
        assert_eq!(judged(Counts::Reported, 101, output), (1, 1, 1));
    }

    #[test]
    fn a_failure_that_no_test_reported_counts_as_one_failed() {
        assert_eq!(judged(Counts::Reported, 101, ONE_PASSED), (1, 1, 0));
        assert_eq!(judged(Counts::Reported, 101, ""), (0, 1, 0));
    }

    #[test]
    fn a_step_in_which_no_test_ran_fails() {
        assert_eq!(judged(Counts::Reported, 0, ""), (0, 1, 0));
        let only_ignored = "running 1 test\ntest a ... ignored\n\
            test result: ok. 0 passed; 0 failed; 1 ignored\n";
        assert_eq!(judged(Counts::Reported, 0, only_ignored), (0, 1, 1));
    }

    #[test]
    fn a_test_binary_that_ends_early_and_exits_with_success_fails() {
        let output = format!("{ONE_PASSED}running 5 tests\ntest a ... ok\n");
        assert_eq!(judged(Counts::Reported, 0, &output), (1, 1, 0));
    }

    #[test]
    fn being_killed_counts_beside_the_tests_that_failed_before() {
        let output = "test result: FAILED. 0 passed; 1 failed; 0 ignored\n";
        let killed = judged_ending(Counts::Reported, &Ending::OutOfTime, output);
        assert_eq!(killed, (0, 2, 0));
    }

    #[test]
    fn an_ignored_test_without_a_name_is_still_a_skip() {
        let output = "test result: ok. 1 passed; 0 failed; 2 ignored\n";
        assert_eq!(judged(Counts::Reported, 0, output), (1, 0, 2));
    }

    #[test]
    fn a_leg_sums_its_steps_also_after_one_has_failed() {
        const fn shell(counts: Counts, command: &'static [&'static str]) -> Step {
            Step { counts, environment: &[("LINE", "test result: ok. 2 passed; 0 failed; 0 ignored")], command }
        }
        const STEPS: &[Step] = &[
            shell(Counts::OneTest, &["sh", "-c", "exit 1"]),
            shell(Counts::Reported, &["sh", "-c", "echo \"$LINE\""]),
        ];
        let leg =
            Leg { name: "unit", budget_seconds: 60, purpose: "a leg made for this test", needs: &[], steps: STEPS };
        let mut runner = Runner::new(Path::new("/"), Arc::default(), Box::new(io::sink()));
        let results = run_legs(&mut runner, &[&leg]);
        let tally = &results[0].tally;
        assert_eq!((tally.passed, tally.failed), (2, 1));
        assert_eq!(tally.problems.len(), 1);
    }
}
