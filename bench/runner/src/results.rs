//! Figures: kept, printed as tables, written as JSON.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::contenders::CONTENDERS;

/// All rounds of one figure.
struct Series {
    workload: &'static str,
    contender: &'static str,
    metric: &'static str,
    unit: &'static str,
    values: Vec<f64>,
}

#[derive(Default)]
pub struct Results {
    series: Vec<Series>,
}

/// One figure as it is written.
#[derive(Clone, Serialize)]
pub struct Figure {
    pub workload: &'static str,
    pub contender: &'static str,
    pub metric: &'static str,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub rounds: usize,
}

/// The figure that ratios are to, in this order.
const REFERENCES: [&str; 3] = ["corella callbacks", "corella await", "corella in Lua"];

impl Results {
    pub fn add(
        &mut self,
        workload: &'static str,
        contender: &'static str,
        metric: &'static str,
        unit: &'static str,
        value: f64,
    ) {
        let is_it = |series: &&mut Series| {
            series.workload == workload && series.contender == contender && series.metric == metric
        };
        match self.series.iter_mut().find(is_it) {
            Some(series) => series.values.push(value),
            None => self.series.push(Series { workload, contender, metric, unit, values: vec![value] }),
        }
    }

    pub fn figures(&self) -> Vec<Figure> {
        self.series.iter().map(Series::figure).collect()
    }

    pub fn median(&self, workload: &str, contender: &str, metric: &str) -> Option<f64> {
        let is_it =
            |figure: &Figure| figure.workload == workload && figure.contender == contender && figure.metric == metric;
        self.figures().into_iter().find(is_it).map(|figure| figure.median)
    }

    /// A table of a workload in Markdown: a row for each contender, a column for each metric, each figure with its spread
    /// and, behind ×, its ratio to Corella.
    pub fn print(&self, workload: &str) {
        let figures: Vec<Figure> = self.figures().into_iter().filter(|figure| figure.workload == workload).collect();
        let (mut metrics, mut contenders): (Vec<(&str, &str)>, Vec<&str>) = (Vec::new(), Vec::new());
        for figure in &figures {
            if !metrics.contains(&(figure.metric, figure.unit)) {
                metrics.push((figure.metric, figure.unit));
            }
            if !contenders.contains(&figure.contender) {
                contenders.push(figure.contender);
            }
        }
        // In the order of the table of contenders, whoever ran first.
        contenders.sort_by_key(|name| CONTENDERS.iter().position(|contender| contender.name == *name));
        let heads = metrics.iter().map(|(metric, unit)| format!(" {metric}, {unit} |"));
        println!("\n### {workload}\n\n| |{}", heads.collect::<String>());
        println!("|---|{}", "---|".repeat(metrics.len()));
        for contender in contenders {
            let cells = metrics.iter().map(|(metric, _)| {
                let find = |name: &str| figures.iter().find(|it| it.metric == *metric && it.contender == name);
                let reference = REFERENCES.iter().find_map(|name| find(name));
                find(contender).map_or(" – |".into(), |figure| format!(" {} |", cell(figure, reference)))
            });
            println!("| {contender} |{}", cells.collect::<String>());
        }
        println!();
    }

    pub fn write_json(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(&self.figures()).map_err(|error| error.to_string())?;
        fs::write(path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Series {
    fn figure(&self) -> Figure {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        let Series { workload, contender, metric, unit, .. } = *self;
        Figure { workload, contender, metric, unit, median, min: first, max: last, rounds: sorted.len() }
    }
}

fn cell(figure: &Figure, reference: Option<&Figure>) -> String {
    let spread = match figure.rounds {
        1 => String::new(),
        _ => format!(" ({} to {})", number(figure.min), number(figure.max)),
    };
    let ratio = match reference {
        Some(reference) if reference.median != 0.0 => format!(" ×{:.2}", figure.median / reference.median),
        _ => String::new(),
    };
    format!("{}{spread}{ratio}", number(figure.median))
}

/// With as many digits as mean something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                let left = digits.len() - place;
                if place > 0 && left.is_multiple_of(3) && digit != '-' {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_of_its_rounds_and_their_spread() {
        let mut results = Results::default();
        for value in [3.0, 1.0, 2.0, 10.0] {
            results.add("reads", "corella await", "throughput", "operations/s", value);
        }
        let figure = &results.figures()[0];
        assert_eq!((figure.median, figure.min, figure.max, figure.rounds), (2.5, 1.0, 10.0, 4));
        assert_eq!(results.median("reads", "tokio", "throughput"), None);
    }

    #[test]
    fn numbers_are_as_long_as_they_mean_something() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(1.234), "1.23");
    }
}
