//! How AWS orchestrates: what published wall times say of the time that no item explains.
//!
//! Published runs of the same input differ by tens of percent, from year to year and from team to team. What is fitted is
//! therefore simple, and its error is kept and given with every prediction: the ratio of what was measured to what was
//! predicted, over the rows that it was fitted on.

use crate::published;

/// Galaxies of a run's walls.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The row of the published table.
    pub row_id: u32,
    /// Partition size, MB.
    pub partition_mb: f64,
    /// Workers, one partition each.
    pub workers: u64,
    /// Seconds.
    pub wall_s: f64,
    /// Whether that is the map run only, and not the execution.
    pub is_map: bool,
}

/// Workers up to which children are reached slowly: in the published runs the first hundreds took 50 to 70 ms each, and
/// thousands some 12 ms each.
const FIRST: f64 = 600.0;
/// Mean seconds of an item of 25 MB with its cold start, by the recorded REPORT lines.
const ITEM_25MB_S: f64 = 12.77;

/// A row that the fit goes through whatever it says tells nothing of the error.
const LEVERAGE_MAX: f64 = 0.9;

/// What is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// Rows that it was fitted on.
    pub rows: usize,
    /// Seconds of Initialize and Summarize together.
    pub ends_s: f64,
    /// Seconds from the start of a map run to its first child's function, and of whatever else does not grow.
    pub map_s: f64,
    /// Seconds between the functions of one child and the next, up to [`first`](Self::first) children.
    pub child_s: f64,
    /// So many children.
    pub first: u64,
    /// The same for those after.
    pub child_later_s: f64,
    /// Seconds by which an item grows per MB of its partition.
    pub item_mb_s: f64,
    /// Measured over predicted as it would have been had the row not been fitted on, sorted; empty until somebody has
    /// predicted.
    pub ratios: Vec<f64>,
    /// How far the fit follows each row that it was made from, 0 to 1: the diagonal of the hat matrix.
    pub leverages: Vec<f64>,
}

/// The published walls on Lambda that can be explained: batch size 128 or more, one partition per worker, nothing known
/// against them.
pub fn observations() -> Vec<Observation> {
    let usable = published::rows().iter().filter(|row| {
        row.platform == "AWS Lambda 10240MB" && row.is_sound() && row.batch.is_some_and(|batch| batch >= 128.0)
    });
    let mut found: Vec<Observation> = usable
        .filter_map(|row| {
            let workers = row.world_size.or(row.files)? as u64;
            let partition_mb = row.partition_mb?;
            let observation =
                |wall_s: f64, is_map: bool| Observation { row_id: row.row_id, partition_mb, workers, wall_s, is_map };
            match row.wall_def.as_str() {
                "execution wall" => Some(observation(row.runtime_s?, true)),
                text if text.starts_with("Step Functions total") => Some(observation(row.wall_s?, false)),
                _ => None,
            }
        })
        .collect();
    // The same run stands in several of a team's tables.
    found.dedup_by(|a, b| a.wall_s == b.wall_s && a.workers == b.workers);
    found
}

impl Calibrated {
    /// Least squares of relative errors over these rows; `None` of fewer than twelve.
    pub fn fit(rows: &[Observation]) -> Option<Self> {
        if rows.len() < 12 {
            return None;
        }
        let mut used = [true; 5];
        let coefficients = loop {
            let solved = solve(rows, used)?;
            // No part of a run takes less than no time.
            match solved.iter().position(|coefficient| *coefficient < 0.0) {
                Some(negative) => used[negative] = false,
                None => break solved,
            }
        };
        let [constant, per_mb, per_first, per_later, ends_s] = coefficients;
        Some(Self {
            rows: rows.len(),
            ends_s,
            map_s: (constant + per_mb * 25.0 - ITEM_25MB_S).max(0.0),
            child_s: per_first,
            first: FIRST as u64,
            child_later_s: per_later,
            item_mb_s: per_mb,
            ratios: Vec::new(),
            leverages: leverages(rows, used)?,
        })
    }

    /// Keeps how far measurements were from predictions, in the order of the rows of the fit. A fit is nearer to its own rows than
    /// to any other: the residual of a row that is left out is r / (1 - h), with h how far the fit follows it.
    ///
    /// # Source
    /// Allen 1974, doi:10.1080/00401706.1974.10489157 (PRESS).
    pub fn with_ratios(mut self, ratios: &[f64]) -> Self {
        let left_out = |(ratio, leverage): (&f64, &f64)| 1.0 + (ratio - 1.0) / (1.0 - leverage.min(LEVERAGE_MAX));
        self.ratios = ratios.iter().zip(&self.leverages).map(left_out).collect();
        self.ratios.sort_by(f64::total_cmp);
        self
    }

    /// The middle of what a prediction of `seconds` came to, and the ends of the interval that holds `share` of further runs.
    pub fn interval(&self, seconds: f64, share: f64) -> (f64, f64, f64) {
        interval(&self.ratios, seconds, share)
    }
}

/// What rounding may take from a number that would be whole: 0.05 × 40 is not two.
const ROUNDING: f64 = 1e-9;

/// What a prediction of `seconds` comes to: the middle, and the ends of an interval that holds the next one with a
/// probability of `share` or more, by how far earlier ones were off: measured over predicted, sorted. That the next one is among
/// `n` others at any of `n + 1` places with the same probability makes the interval wider than the one that holds `share` of the
/// `n`; of fewer than 2 / (1 - share) - 1 of them no interval can promise it, and theirs is the whole range.
///
/// # Source
/// Vovk, Gammerman, Shafer 2005, doi:10.1007/b106715, chapter 2 (conformal prediction).
pub fn interval(ratios: &[f64], seconds: f64, share: f64) -> (f64, f64, f64) {
    let Some(last) = ratios.len().checked_sub(1) else {
        return (seconds, seconds, seconds);
    };
    let tail = (1.0 - share) / 2.0;
    // The k-th smallest has k of n + 1 places below it.
    let below = ((tail * (ratios.len() + 1) as f64 + ROUNDING).floor() as usize).saturating_sub(1);
    (seconds * crate::quality::percentile(ratios, 0.5), seconds * ratios[below], seconds * ratios[last - below])
}

fn features(row: &Observation) -> [f64; 5] {
    let workers = row.workers as f64;
    [1.0, row.partition_mb, workers.min(FIRST), (workers - FIRST).max(0.0), if row.is_map { 0.0 } else { 1.0 }]
}

/// Coefficients of the features that are used; zero for the others.
fn solve(rows: &[Observation], used: [bool; 5]) -> Option<[f64; 5]> {
    let mut right = [0.0; 5];
    for row in rows {
        for (value, feature) in right.iter_mut().zip(features(row)) {
            *value += feature * row.wall_s * weight(row);
        }
    }
    solve_for(rows, used, right)
}

/// How far the fit follows each row: x'(X'WX)⁻¹x w.
fn leverages(rows: &[Observation], used: [bool; 5]) -> Option<Vec<f64>> {
    let leverage = |row: &Observation| {
        let solved = solve_for(rows, used, features(row))?;
        Some(weight(row) * features(row).iter().zip(solved).map(|(feature, x)| feature * x).sum::<f64>())
    };
    rows.iter().map(leverage).collect()
}

/// Errors count relative to what was measured.
fn weight(row: &Observation) -> f64 {
    1.0 / row.wall_s.powi(2)
}

/// Solves (X'WX) y = right over the features that are used; zero for the others.
fn solve_for(rows: &[Observation], used: [bool; 5], right: [f64; 5]) -> Option<[f64; 5]> {
    let columns: Vec<usize> = (0..5).filter(|column| used[*column]).collect();
    let n = columns.len();
    let mut matrix = vec![vec![0.0; n + 1]; n];
    for (i, &a) in columns.iter().enumerate() {
        matrix[i][n] = right[a];
        for (j, &b) in columns.iter().enumerate() {
            matrix[i][j] = rows.iter().map(|row| weight(row) * features(row)[a] * features(row)[b]).sum();
        }
    }
    for pivot in 0..n {
        let best = (pivot..n).max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()))?;
        matrix.swap(pivot, best);
        if matrix[pivot][pivot].abs() < 1e-12 {
            return None;
        }
        for row in 0..n {
            if row != pivot {
                let factor = matrix[row][pivot] / matrix[pivot][pivot];
                let above = matrix[pivot].clone();
                for (value, above) in matrix[row].iter_mut().zip(above).skip(pivot) {
                    *value -= factor * above;
                }
            }
        }
    }
    let mut coefficients = [0.0; 5];
    for (i, column) in columns.into_iter().enumerate() {
        coefficients[column] = matrix[i][n] / matrix[i][i];
    }
    Some(coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_the_walls_is_found_again() {
        let row = |row_id: u32| {
            let (partition_mb, workers) = (f64::from(row_id % 4 + 1) * 25.0, u64::from(row_id) * 97 % 3_000 + 1);
            let few = (workers as f64).min(FIRST);
            let is_map = row_id.is_multiple_of(3);
            let wall_s = 15.0
                + 0.2 * partition_mb
                + 0.06 * few
                + 0.012 * (workers as f64 - few)
                + if is_map { 0.0 } else { 8.0 };
            Observation { row_id, partition_mb, workers, wall_s, is_map }
        };
        let fitted = Calibrated::fit(&(0..60).map(row).collect::<Vec<_>>()).unwrap();
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
        close(fitted.ends_s, 8.0);
        close(fitted.child_s, 0.06);
        close(fitted.child_later_s, 0.012);
        close(fitted.item_mb_s, 0.2);
        close(fitted.map_s, 15.0 + 5.0 - ITEM_25MB_S);
        assert!(Calibrated::fit(&[]).is_none());
    }

    #[test]
    fn an_interval_holds_as_many_as_it_says() {
        let of = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
        // Of 19 there is one place in twenty below the first and one above the last.
        assert_eq!(interval(&of(19), 1.0, 0.9), (10.0, 1.0, 19.0));
        assert_eq!(interval(&of(39), 10.0, 0.9), (200.0, 20.0, 380.0));
        assert_eq!(interval(&of(5), 1.0, 0.9), (3.0, 1.0, 5.0));
        assert_eq!(interval(&[], 7.0, 0.9), (7.0, 7.0, 7.0));
    }

    #[test]
    fn the_published_walls_can_be_used() {
        let rows = observations();
        assert!(rows.len() > 80, "{}", rows.len());
        assert!(rows.iter().filter(|row| row.is_map).count() >= 20);
        let fitted = Calibrated::fit(&rows).unwrap();
        assert!(fitted.child_s > 0.0 && fitted.item_mb_s > 0.0, "{fitted:?}");
        // They add up to the number of coefficients.
        let used = [fitted.map_s, fitted.item_mb_s, fitted.child_s, fitted.child_later_s, fitted.ends_s];
        let used = used.iter().filter(|coefficient| **coefficient > 0.0).count() as f64;
        assert!((fitted.leverages.iter().sum::<f64>() - used).abs() < 1e-6, "{:?}", fitted.leverages);
    }
}
