//! Figures as bars, one SVG for each workload and metric.

use std::fs;
use std::path::Path;

use plotters::prelude::*;

use crate::results::{Figure, Results};

pub fn draw(results: &Results, folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let figures = results.figures();
    let mut drawn: Vec<(&str, &str)> = Vec::new();
    for figure in &figures {
        let what = (figure.workload, figure.metric);
        if drawn.contains(&what) {
            continue;
        }
        drawn.push(what);
        let bars: Vec<&Figure> = figures.iter().filter(|other| (other.workload, other.metric) == what).collect();
        let name: String =
            format!("{}-{}", what.0, what.1).chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
        let path = folder.join(format!("{}.svg", name.replace("--", "-")));
        bar_chart(&bars, &path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Horizontal bars, Corella's in another colour, with a line from the least round to the most.
fn bar_chart(bars: &[&Figure], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let height = 90 + 34 * bars.len() as u32;
    let area = SVGBackend::new(path, (760, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = bars.iter().map(|bar| bar.max).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let title = format!("{}: {}, {}", bars[0].workload, bars[0].metric, bars[0].unit);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .y_label_area_size(150)
        .x_label_area_size(30)
        .build_cartesian_2d(0.0..most * 1.05, (0..bars.len() as i32 - 1).into_segmented())?;
    let name = |place: &SegmentValue<i32>| match place {
        SegmentValue::CenterOf(index) => {
            bars.get(bars.len() - 1 - *index as usize).map_or(String::new(), |bar| bar.contender.to_string())
        }
        _ => String::new(),
    };
    chart.configure_mesh().disable_y_mesh().y_label_formatter(&name).draw()?;
    for (place, bar) in bars.iter().rev().enumerate() {
        let place = place as i32;
        let colour =
            if bar.contender.starts_with("corella") { RGBColor(30, 100, 180) } else { RGBColor(150, 150, 150) };
        let (bottom, top) = (SegmentValue::Exact(place), SegmentValue::Exact(place + 1));
        let mut rectangle = Rectangle::new([(0.0, bottom), (bar.median, top)], colour.filled());
        rectangle.set_margin(6, 6, 0, 0);
        chart.draw_series([rectangle])?;
        let middle = SegmentValue::CenterOf(place);
        chart.draw_series([PathElement::new(vec![(bar.min, middle.clone()), (bar.max, middle)], BLACK)])?;
    }
    area.present()?;
    Ok(())
}
