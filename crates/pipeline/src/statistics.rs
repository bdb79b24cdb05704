//! p50, p95 and max of a handful of numbers.

use serde::{Deserialize, Serialize};

use crate::quality::percentile;

/// How a figure is distributed over items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// How many items have it.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
    /// All together.
    pub sum: f64,
}

impl Statistics {
    /// Of these values; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            count: values.len() as u64,
            p50: percentile(&values, 0.5),
            p95: percentile(&values, 0.95),
            max: *values.last()?,
            sum: values.iter().sum(),
        })
    }

    /// Sum over count.
    pub fn mean(&self) -> f64 {
        self.sum / self.count as f64
    }
}

/// How long at least one of these intervals lasted.
pub fn covered(intervals: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let mut intervals: Vec<(f64, f64)> = intervals.into_iter().collect();
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut covered, mut until) = (0.0, f64::NEG_INFINITY);
    for (from, to) in intervals {
        covered += (to - from.max(until)).max(0.0);
        until = until.max(to);
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_interpolate_as_numpy_does() {
        let statistics = Statistics::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((statistics.count, statistics.p50, statistics.max, statistics.sum), (4, 2.5, 4.0, 10.0));
        assert!((statistics.p95 - 3.85).abs() < 1e-12);
        assert_eq!(Statistics::of([]), None);
    }

    #[test]
    fn covered_time_counts_overlaps_once() {
        assert_eq!(covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (1.5, 2.5)]), 4.0);
        assert_eq!(covered([]), 0.0);
    }
}
