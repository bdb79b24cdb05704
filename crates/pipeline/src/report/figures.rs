//! The figures of the page, each as inline SVG.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::svg::{Frame, ticks};
use super::text::{count, escape, number, percent, seconds};
use crate::plots::{Bar, Density, Histogram, RedshiftDistribution};
use crate::quality::Bin;
use crate::results::Phases;

/// Shades of the density plot.
const SHADES: usize = 9;
/// Above this many items a bar is drawn whole: its phases could not be told apart, and the page would grow.
const ITEMS_WITH_PHASES_MAX: usize = 2_000;

pub(super) fn density(density: &Density) -> String {
    let (z_max, bins) = (density.z_max, density.bins);
    let inside: u64 = density.counts.iter().sum();
    let title = format!(
        "Density of predicted against spectroscopic redshift for {} galaxies between 0 and {}; {} lie outside",
        count(inside),
        number(z_max),
        count(density.outside)
    );
    let mut frame = Frame::new(&title, "spectroscopic redshift", (0.0, z_max), "predicted redshift", (0.0, z_max));
    let most = density.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let mut shades = vec![String::new(); SHADES];
    let step = z_max / bins as f64;
    for (i, &galaxies) in density.counts.iter().enumerate().filter(|(_, galaxies)| **galaxies > 0) {
        let (x, y) = ((i % bins) as f64 * step, (i / bins) as f64 * step);
        let share = if most > 1.0 { (galaxies as f64).ln() / most.ln() } else { 1.0 };
        let shade = ((share * SHADES as f64) as usize).min(SHADES - 1);
        let (left, top) = (frame.px(x), frame.py(y + step));
        let (width, height) = (frame.px(x + step) - left, frame.py(y) - top);
        let _ = write!(shades[shade], "M{left:.1} {top:.1}h{width:.2}v{height:.2}h-{width:.2}z");
    }
    for (shade, path) in shades.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let from = most.powf(shade as f64 / SHADES as f64).ceil().max(1.0);
        let opacity = 0.14 + 0.86 * shade as f64 / (SHADES - 1) as f64;
        let cells = format!(
            "<path class=\"density\" fill-opacity=\"{opacity:.2}\" d=\"{path}\"><title>{} galaxies or more per cell of {}</title></path>",
            count(from as u64),
            number(step)
        );
        frame.add(&cells);
    }
    frame.line("one-to-one", [(0.0, 0.0), (z_max, z_max)].into_iter());
    frame.finish()
}

pub(super) fn dz_histogram(histogram: &Histogram) -> String {
    let Histogram { edges, counts, below, above } = histogram;
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let ends = (edges[0], edges[edges.len() - 1]);
    let title = format!(
        "Histogram of dz between {} and {}; {} galaxies lie below and {} above",
        number(ends.0),
        number(ends.1),
        count(*below),
        count(*above)
    );
    let mut frame = Frame::new(&title, "dz", ends, "galaxies per bin", (0.0, most * 1.05));
    bars(&mut frame, edges, counts);
    frame.line("zero", [(0.0, 0.0), (0.0, most * 1.05)].into_iter());
    frame.finish()
}

pub(super) fn n_z(n_z: &RedshiftDistribution) -> String {
    let RedshiftDistribution { edges, z_phot, z_spec } = n_z;
    let most = z_phot.iter().chain(z_spec.iter().flatten()).copied().max().unwrap_or(1).max(1) as f64;
    let title = format!("Number of galaxies per redshift bin of {}", number(edges[1] - edges[0]));
    let ends = (edges[0], edges[edges.len() - 1]);
    let mut frame = Frame::new(&title, "redshift", ends, "galaxies per bin", (0.0, most * 1.05));
    bars(&mut frame, edges, z_phot);
    if let Some(z_spec) = z_spec {
        frame.steps("second", edges, z_spec.iter().map(|&galaxies| galaxies as f64));
    }
    frame.finish()
}

fn bars(frame: &mut Frame, edges: &[f64], counts: &[u64]) {
    for (edge, &galaxies) in edges.windows(2).zip(counts).filter(|(_, galaxies)| **galaxies > 0) {
        let (left, right) = (frame.px(edge[0]), frame.px(edge[1]));
        let (top, bottom) = (frame.py(galaxies as f64), frame.py(0.0));
        let bar = format!(
            "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{} to {}: {}</title></rect>",
            (right - left - 0.6).max(0.4),
            bottom - top,
            number(edge[0]),
            number(edge[1]),
            count(galaxies)
        );
        frame.add(&bar);
    }
}

pub(super) fn dz_band(x_label: &str, bins: &[Bin]) -> String {
    // Bins of a few galaxies would set the scale and say nothing.
    let galaxies: u64 = bins.iter().map(|bin| bin.metrics.galaxies).sum();
    let bins: Vec<&Bin> = bins.iter().filter(|bin| bin.metrics.galaxies * 1_000 >= galaxies).collect();
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else { return String::new() };
    let size = bins.iter().flat_map(|bin| [bin.dz_p16.abs(), bin.dz_p84.abs()]).fold(0.005, f64::max) * 1.15;
    let title = format!("dz against {x_label}: median and middle 68 % in {} bins", bins.len());
    let mut frame = Frame::new(&title, x_label, (first.from, last.to), "dz", (-size, size));
    let middle = |bin: &Bin| (bin.from + bin.to) / 2.0;
    let lower = bins.iter().map(|bin| (middle(bin), bin.dz_p16));
    let upper = bins.iter().rev().map(|bin| (middle(bin), bin.dz_p84));
    frame.line("band", lower.chain(upper));
    frame.line("zero", [(first.from, 0.0), (last.to, 0.0)].into_iter());
    frame.line("median", bins.iter().map(|bin| (middle(bin), bin.metrics.figures.bias_median)));
    for bin in &bins {
        let figures = &bin.metrics.figures;
        let dot = format!(
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.2\"><title>{} to {}: {} galaxies, median dz {}, NMAD {}, outliers {}</title></circle>",
            frame.px(middle(bin)),
            frame.py(figures.bias_median),
            number(bin.from),
            number(bin.to),
            count(bin.metrics.galaxies),
            number(figures.bias_median),
            number(figures.nmad),
            percent(figures.outliers_15)
        );
        frame.add(&dot);
    }
    frame.finish()
}

/// The phases of an item in the order in which they are drawn: class and name, seconds.
fn phases(phases: &Phases) -> [(&'static str, f64); 4] {
    [("load_model", phases.load_model), ("wait", phases.wait), ("infer", phases.infer), ("write", phases.write)]
}

pub(super) fn timeline(bars: &[Bar]) -> String {
    let Some(begin) = bars.iter().map(|bar| bar.started_at).min_by(f64::total_cmp) else { return String::new() };
    let end = bars.iter().map(|bar| bar.started_at + bar.phases.total * 1e3).fold(begin, f64::max);
    let span_s = ((end - begin) / 1e3).max(1e-3);
    // Workers from the top in the order in which they began.
    let mut by_start: Vec<&Bar> = bars.iter().collect();
    by_start.sort_by(|a, b| a.started_at.total_cmp(&b.started_at));
    let mut rows: HashMap<&str, usize> = HashMap::new();
    for bar in &by_start {
        let next = rows.len();
        rows.entry(&bar.log_stream).or_insert(next);
    }
    let (width, left, top) = (980.0, 46.0, 26.0);
    let row_height = (720.0 / rows.len() as f64).clamp(0.8, 22.0);
    let height = top + row_height * rows.len() as f64 + 40.0;
    let px = |seconds: f64| left + seconds / span_s * (width - left - 10.0);
    let title =
        format!("{} items on {} workers over {}", count(bars.len() as u64), count(rows.len() as u64), seconds(span_s));
    let mut svg =
        format!("<svg viewBox=\"0 0 {width} {height:.1}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title>");
    let mut legend_x = left;
    for (name, _) in phases(&Phases::default()) {
        let _ = write!(
            svg,
            "<rect class=\"{name}\" x=\"{legend_x}\" y=\"4\" width=\"12\" height=\"12\" rx=\"2\"/><text class=\"label\" x=\"{}\" y=\"14\">{name}</text>",
            legend_x + 17.0
        );
        legend_x += 100.0;
    }
    svg.push_str("<g class=\"axis\">");
    let bottom = top + row_height * rows.len() as f64;
    for tick in ticks((0.0, span_s), 8) {
        let at = px(tick);
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {top}V{bottom:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            number(tick)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">seconds since the first item began</text>\
         <text class=\"label\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">workers</text></g>",
        (left + width) / 2.0,
        bottom + 34.0,
        (top + bottom) / 2.0
    );
    let gap = if row_height > 4.0 { 2.0 } else { 0.0 };
    for bar in by_start {
        let y = top + row_height * rows[bar.log_stream.as_str()] as f64;
        let began_s = (bar.started_at - begin) / 1e3;
        let _ = write!(svg, "<g><title>{}</title>", escape(&told(bar, began_s)));
        let mut segment = |class: &str, from_s: f64, seconds: f64| {
            let (x, width) = (px(from_s), px(from_s + seconds) - px(from_s));
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                width.max(0.2),
                row_height - gap
            );
        };
        if bars.len() > ITEMS_WITH_PHASES_MAX {
            segment("infer", began_s, bar.phases.total);
        } else {
            let mut from_s = began_s;
            for (class, seconds) in phases(&bar.phases).into_iter().filter(|(_, seconds)| *seconds > span_s / 5e3) {
                segment(class, from_s, seconds);
                from_s += seconds;
            }
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

fn told(bar: &Bar, began_s: f64) -> String {
    let phases = phases(&bar.phases).map(|(name, seconds)| format!("{name} {} s", number(seconds))).join(", ");
    format!("rank {}, from {} s for {} s: {phases}", bar.rank, number(began_s), number(bar.phases.total))
}
