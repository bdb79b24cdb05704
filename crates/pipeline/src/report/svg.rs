//! Axes, ticks and coordinates of a figure.

use std::fmt::Write as _;

use super::text::{escape, number};
use crate::quality::round_step;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 50.0;

/// A figure with two linear axes.
pub(crate) struct Frame {
    body: String,
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    /// Draws the axes. `title` tells what is in view to whoever can't see it.
    pub(crate) fn new(title: &str, x_label: &str, x: (f64, f64), y_label: &str, y: (f64, f64)) -> Self {
        let mut frame = Self { body: String::new(), x, y };
        let title = escape(title);
        let _ = write!(
            frame.body,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title><g class=\"axis\">"
        );
        let (left, right, top, bottom) = (LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM);
        for tick in ticks(x, 6) {
            let at = frame.px(tick);
            let _ = write!(
                frame.body,
                "<path d=\"M{at:.1} {top}V{bottom}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                number(tick)
            );
        }
        for tick in ticks(y, 6) {
            let at = frame.py(tick);
            let _ = write!(
                frame.body,
                "<path d=\"M{left} {at:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                at + 4.0,
                number(tick)
            );
        }
        let _ = write!(
            frame.body,
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text class=\"label\" transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text></g>",
            (left + right) / 2.0,
            HEIGHT - 10.0,
            escape(x_label),
            (top + bottom) / 2.0,
            escape(y_label)
        );
        frame
    }

    /// Horizontal position of a value.
    pub(crate) fn px(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    /// Vertical position of a value; values beyond the axis stay at its end.
    pub(crate) fn py(&self, value: f64) -> f64 {
        let share = ((value - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    /// Adds markup.
    pub(crate) fn add(&mut self, markup: &str) {
        self.body.push_str(markup);
    }

    /// A line through points.
    pub(crate) fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<String> = points.map(|(x, y)| format!("{:.1},{:.1}", self.px(x), self.py(y))).collect();
        let _ = write!(self.body, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }

    /// The outline of a histogram, down to the axis at both ends.
    pub(crate) fn steps(&mut self, class: &str, edges: &[f64], values: impl Iterator<Item = f64>) {
        let zero = self.y.0.max(0.0);
        let mut points = vec![(edges[0], zero)];
        for (edge, value) in edges.windows(2).zip(values) {
            points.extend([(edge[0], value), (edge[1], value)]);
        }
        points.push((edges[edges.len() - 1], zero));
        self.line(class, points.into_iter());
    }

    /// The figure.
    pub(crate) fn finish(mut self) -> String {
        self.body.push_str("</svg>");
        self.body
    }
}

/// About `count` round values in a range.
pub(crate) fn ticks((from, to): (f64, f64), count: usize) -> Vec<f64> {
    let step = round_step((to - from) / count as f64);
    let (first, last) = ((from / step - 1e-9).ceil() as i64, (to / step + 1e-9).floor() as i64);
    // Rounded, so that a tick says 0.3 and not 0.30000000000000004, and 0 and not -0.
    (first..=last).map(|i| (i as f64 * step * 1e9).round() / 1e9 + 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(ticks((0.0, 0.6), 6), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        assert_eq!(ticks((-0.07, 0.07), 6), [-0.05, 0.0, 0.05]);
        assert_eq!(ticks((0.0, 8200.0), 6), [0.0, 2000.0, 4000.0, 6000.0, 8000.0]);
    }
}
