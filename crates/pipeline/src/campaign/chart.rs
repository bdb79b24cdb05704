//! A chart of a figure over a key that was swept, as inline SVG: medians with the range of the runs, one line per series.

use std::fmt::Write as _;

use super::figures::Spread;
use crate::report::svg::ticks;
use crate::report::text::{escape, number};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 54.0;
/// Series that have a colour and a mark of their own.
pub(super) const SERIES_MAX: usize = 6;

/// One line of a chart: a place on the x axis, counted from 0, and what was measured there.
pub(super) struct Series {
    pub name: String,
    pub points: Vec<(usize, Spread)>,
}

/// Draws a chart. Places on the x axis are evenly spaced, because keys are swept in steps that grow.
pub(super) fn chart(title: &str, x_label: &str, places: &[String], y_label: &str, series: &[Series]) -> String {
    let most = series.iter().flat_map(|series| &series.points).map(|(_, spread)| spread.max).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.08 } else { 1.0 };
    let step = (WIDTH - LEFT - RIGHT) / places.len().max(1) as f64;
    let px = |place: usize| LEFT + step * (place as f64 + 0.5);
    let py = |value: f64| HEIGHT - BOTTOM - value / most * (HEIGHT - TOP - BOTTOM);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let title = escape(title);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title><g class=\"axis\">"
    );
    for tick in ticks((0.0, most), 5) {
        let at = py(tick);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            number(tick)
        );
    }
    for (place, name) in places.iter().enumerate() {
        let at = px(place);
        let _ = write!(
            svg,
            "<path d=\"M{at:.1} {bottom}v5\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 19.0,
            escape(name)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"label\" transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text></g>",
        (LEFT + right) / 2.0,
        HEIGHT - 12.0,
        escape(x_label),
        (TOP + bottom) / 2.0,
        escape(y_label)
    );
    let middle = (series.len() as f64 - 1.0) / 2.0;
    for (index, series) in series.iter().enumerate() {
        // Beside each other, so that bars of the same place do not hide one another.
        let shift = (index as f64 - middle) * (step / 8.0).min(9.0);
        let class = format!("s{}", index.min(SERIES_MAX));
        let points: Vec<String> = series
            .points
            .iter()
            .map(|(place, spread)| format!("{:.1},{:.1}", px(*place) + shift, py(spread.median)))
            .collect();
        let _ = write!(svg, "<g class=\"{class}\"><polyline points=\"{}\"/>", points.join(" "));
        for (place, spread) in &series.points {
            let (x, y) = (px(*place) + shift, py(spread.median));
            let (low, high) = (py(spread.min), py(spread.max));
            let told = format!(
                "{}, {}: median {}, {} to {}, {} runs",
                series.name,
                places[*place],
                number(spread.median),
                number(spread.min),
                number(spread.max),
                spread.count
            );
            let _ = write!(svg, "<g><title>{}</title>", escape(&told));
            if high < low {
                let _ = write!(
                    svg,
                    "<path class=\"range\" d=\"M{:.1} {low:.1}h8M{x:.1} {low:.1}V{high:.1}M{:.1} {high:.1}h8\"/>",
                    x - 4.0,
                    x - 4.0
                );
            }
            let _ = write!(svg, "{}</g>", mark(index, x, y));
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

/// The names of the series with their marks; nothing for one without a name.
pub(super) fn legend(series: &[String]) -> String {
    if series.len() < 2 {
        return String::new();
    }
    let mut html = String::from("<ul class=\"legend\">");
    for (index, name) in series.iter().enumerate() {
        let _ = write!(
            html,
            "<li><svg viewBox=\"0 0 26 14\" aria-hidden=\"true\"><g class=\"s{}\"><polyline points=\"0,7 26,7\"/>{}</g></svg>{}</li>",
            index.min(SERIES_MAX),
            mark(index, 13.0, 7.0),
            escape(name)
        );
    }
    html.push_str("</ul>");
    html
}

/// A mark by shape, so that colour does not say it alone.
fn mark(index: usize, x: f64, y: f64) -> String {
    let r = 4.2;
    match index % SERIES_MAX {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\"/>"),
        1 => format!("<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{}\" height=\"{}\"/>", x - r, y - r, 2.0 * r, 2.0 * r),
        2 => format!("<path d=\"M{x:.1} {:.1}l{r} {}h-{}z\"/>", y - r, 2.0 * r, 2.0 * r),
        3 => format!("<path d=\"M{x:.1} {:.1}l{r} {r}l-{r} {r}l-{r} -{r}z\"/>", y - r),
        4 => format!("<path d=\"M{x:.1} {:.1}l{r} -{}h-{}z\"/>", y + r, 2.0 * r, 2.0 * r),
        _ => format!(
            "<path class=\"cross\" d=\"M{:.1} {:.1}l{} {}m0 -{}l-{} {}\"/>",
            x - r,
            y - r,
            2.0 * r,
            2.0 * r,
            2.0 * r,
            2.0 * r,
            2.0 * r
        ),
    }
}
