//! The end of a run's output: a table with a line per leg, and the line of totals that comes last.

use crate::run::LegResult;

pub fn table(results: &[LegResult]) -> String {
    let mut table =
        format!("{:<12} {:>7} {:>7} {:>7} {:>8} {:>7}\n", "leg", "passed", "failed", "skipped", "seconds", "budget");
    for result in results {
        table.push_str(&format!(
            "{:<12} {:>7} {:>7} {:>7} {:>8.1} {:>7}\n",
            result.name,
            result.tally.passed,
            result.tally.failed,
            result.tally.skips.len(),
            result.elapsed.as_secs_f64(),
            result.budget_seconds,
        ));
    }
    table
}

pub fn failed_count(results: &[LegResult]) -> u64 {
    results.iter().map(|result| result.tally.failed).sum()
}

pub fn totals(results: &[LegResult]) -> String {
    let passed: u64 = results.iter().map(|result| result.tally.passed).sum();
    let skipped: usize = results.iter().map(|result| result.tally.skips.len()).sum();
    let failed = failed_count(results);
    format!("{passed} passed, {failed} failed, {skipped} skipped")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::run::Tally;
    use crate::skips::Skip;

    fn results() -> [LegResult; 2] {
        let leg = |name, passed, failed, skips| LegResult {
            name,
            tally: Tally { passed, failed, skips, problems: Vec::new() },
            elapsed: Duration::from_millis(1240),
            budget_seconds: 20,
        };
        let skip = Skip::of_leg("examples", "curl");
        [leg("unit", 12, 1, Vec::new()), leg("examples", 0, 0, vec![skip])]
    }

    #[test]
    fn totals_sum_over_the_legs() {
        assert_eq!(totals(&results()), "12 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn the_table_has_a_line_for_each_leg() {
        let table = table(&results());
        let words: Vec<Vec<_>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["unit", "12", "1", "0", "1.2", "20"]);
        assert_eq!(words[2], ["examples", "0", "0", "1", "1.2", "20"]);
    }
}
