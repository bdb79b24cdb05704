//! How long an item lasts: a line in its galaxies, with the scatter that was seen around it.

use crate::plan::Random;
use crate::results::RankResult;
use crate::summary::Summary;

/// A run that was measured.
#[derive(Debug, Clone)]
pub struct MeasuredRun {
    /// Its summary.
    pub summary: Summary,
    /// Its ranks' results.
    pub ranks: Vec<RankResult>,
    /// Workers that ran at once.
    pub concurrency: usize,
}

/// Seconds per galaxy under one batch size and precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// Galaxies per forward pass.
    pub batch: u64,
    /// In how many bits the model's large layers multiply.
    pub precision: String,
    /// Seconds per galaxy: reading, decoding, inferring.
    pub galaxy_s: f64,
    /// Peak resident set, MiB.
    pub peak_mib: f64,
}

/// A line with a slope of zero or more.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fitted {
    /// Where it begins.
    pub base: f64,
    /// How it grows.
    pub slope: f64,
}

impl Fitted {
    /// Its value.
    pub fn at(self, x: f64) -> f64 {
        self.base + self.slope * x
    }

    /// As [`through`](Self::through), but points that lie close together in x say no more about the slope than `slope_max`.
    fn growing(points: &[(f64, f64)], slope_max: f64) -> Self {
        let fitted = Self::through(points).unwrap_or_default();
        let (low, high) =
            points.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
        if high > SPAN_MIN * low || fitted.slope <= slope_max {
            return fitted;
        }
        let count = points.len().max(1) as f64;
        let x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        Self { base: (y - slope_max * x).max(0.0), slope: slope_max }
    }

    /// Least squares of relative errors; through the mean where there is one x only, or where it would fall.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        let weights = || points.iter().map(|(_, y)| 1.0 / y.abs().max(1e-6).powi(2));
        let total: f64 = weights().sum();
        if points.is_empty() || !total.is_finite() {
            return None;
        }
        let mean =
            |of: fn(&(f64, f64)) -> f64| points.iter().zip(weights()).map(|(p, w)| of(p) * w).sum::<f64>() / total;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let sxx: f64 = points.iter().zip(weights()).map(|(p, w)| w * (p.0 - x).powi(2)).sum();
        let sxy: f64 = points.iter().zip(weights()).map(|(p, w)| w * (p.0 - x) * (p.1 - y)).sum();
        let slope = if sxx > 1e-12 * total { (sxy / sxx).max(0.0) } else { 0.0 };
        let base = y - slope * x;
        // A line that begins below zero is one through the origin.
        Some(if base < 0.0 && x > 0.0 { Self { base: 0.0, slope: y / x } } else { Self { base, slope } })
    }
}

/// How a pipeline's functions behave.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Where it comes from, for people.
    pub source: String,
    /// What is taken for granted in it.
    pub assumptions: Vec<String>,
    /// Seconds from process start to first poll, as seen.
    pub init_s: Vec<f64>,
    /// Seconds to load the model, once per worker.
    pub load_s: f64,
    /// Seconds of an item that do not depend on its galaxies.
    pub overhead_s: f64,
    /// By batch size and precision.
    pub rates: Vec<Rate>,
    /// Item over line, as seen.
    pub scatter: Vec<f64>,
    /// Seconds of Initialize, by partitions.
    pub initialize_s: Fitted,
    /// Seconds of Summarize, by galaxies.
    pub summarize_s: Fitted,
    /// Bytes of the model.
    pub model_bytes: u64,
    /// Workers that ran at once, at most, when this was measured.
    pub concurrency: usize,
    /// Cores of the machine on which it was measured.
    pub cores: usize,
}

/// Seconds of Summarize per galaxy, at most, where runs of one size do not say how it grows: 3.6 s for 659,448 galaxies in
/// 516 ranks, measured on a busy machine (BENCHMARKS, "A run").
const SUMMARIZE_GALAXY_S: f64 = 3.6 / 659_448.0;
/// Seconds of Initialize per partition, at most, likewise: it reads the header of each; taken, not measured.
const INITIALIZE_PARTITION_S: f64 = 0.005;
/// Runs whose sizes differ by less than this say nothing about growth.
const SPAN_MIN: f64 = 5.0;

/// The 250 recorded REPORT lines.
const RECORDED: &str = include_str!("../published/lambda_report_lines.csv");
/// Galaxies of the partitions of those.
const RECORDED_GALAXIES: f64 = 1_278.0;

impl Profile {
    /// Of runs that were measured; `None` without an item.
    pub fn measured(runs: &[MeasuredRun], cores: usize) -> Option<Self> {
        let ranks = || runs.iter().flat_map(|run| &run.ranks);
        let warm_s = |rank: &RankResult| rank.phases.total - rank.phases.load_model;
        let work_s = |rank: &RankResult| rank.phases.read + rank.phases.decode + rank.phases.infer;
        let overhead_s = median(ranks().map(|rank| (warm_s(rank) - work_s(rank)).max(0.0)))?;
        let mut rates: Vec<Rate> = Vec::new();
        for rank in ranks() {
            let batch = rank.batch_size as u64;
            if rates.iter().any(|rate| rate.batch == batch && rate.precision == rank.precision) {
                continue;
            }
            let same = || ranks().filter(|other| other.batch_size as u64 == batch && other.precision == rank.precision);
            let galaxy_s = median(same().filter(|rank| rank.rows > 0).map(|rank| work_s(rank) / rank.rows as f64))?;
            let peak_mib = same().map(|rank| rank.peak_rss_mib).fold(0.0, f64::max);
            rates.push(Rate { batch, precision: rank.precision.clone(), galaxy_s, peak_mib });
        }
        let execution = |run: &MeasuredRun| run.summary.execution.clone();
        let initialize: Vec<(f64, f64)> = runs
            .iter()
            .filter_map(|run| Some((run.summary.partitions as f64, execution(run)?.initialize_s?)))
            .collect();
        let summarize: Vec<(f64, f64)> =
            runs.iter().filter_map(|run| Some((run.summary.galaxies as f64, execution(run)?.summarize_s?))).collect();
        let mut profile = Self {
            source: match runs.len() {
                1 => format!("one run of yours with {} items", ranks().count()),
                count => format!("{count} runs of yours with {} items", ranks().count()),
            },
            assumptions: Vec::new(),
            init_s: ranks().filter_map(|rank| rank.phases.init).collect(),
            load_s: median(ranks().map(|rank| rank.phases.load_model).filter(|load| *load > 0.0)).unwrap_or(0.0),
            overhead_s,
            rates,
            scatter: Vec::new(),
            initialize_s: Fitted::growing(&initialize, INITIALIZE_PARTITION_S),
            summarize_s: Fitted::growing(&summarize, SUMMARIZE_GALAXY_S),
            model_bytes: runs.first()?.summary.model.bytes,
            concurrency: runs.iter().map(|run| run.concurrency).max()?,
            cores,
        };
        let scatter = ranks().map(|rank| {
            let rate = profile.rate(rank.batch_size as u64, &rank.precision);
            warm_s(rank) / (profile.overhead_s + rate.galaxy_s * rank.rows as f64).max(1e-9)
        });
        profile.scatter = scatter.collect();
        Some(profile)
    }

    /// Of the published pipeline on Lambda with 10,240 MB: the scatter of the recorded lines around a line in the
    /// partition's size whose slope follows from published wall times.
    pub fn recorded(item_mb_s: f64) -> Self {
        let lines: Vec<(f64, f64)> = RECORDED
            .lines()
            .skip(1)
            .filter_map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                Some((cells.get(3)?.parse::<f64>().ok()? / 1e3, cells.get(7)?.parse::<f64>().ok()? / 1e3))
            })
            .collect();
        let mean_s = lines.iter().map(|(duration_s, _)| duration_s).sum::<f64>() / lines.len() as f64;
        let galaxy_s = (item_mb_s / super::GALAXIES_PER_MB).min(0.9 * mean_s / RECORDED_GALAXIES);
        Self {
            source: "250 recorded REPORT lines of the published pipeline (Lambda, 10,240 MB, 25 MB partitions)"
                .to_owned(),
            assumptions: vec![
                "items grow with their partition as published wall times do; other batch sizes from 256 on and other \
                 memory sizes were not recorded and are not proposed"
                    .to_owned(),
            ],
            init_s: lines.iter().map(|(_, init_s)| *init_s).collect(),
            load_s: 0.0,
            overhead_s: mean_s - galaxy_s * RECORDED_GALAXIES,
            rates: vec![Rate { batch: 512, precision: "f32".to_owned(), galaxy_s, peak_mib: 2_900.0 }],
            scatter: lines.iter().map(|(duration_s, _)| duration_s / mean_s).collect(),
            initialize_s: Fitted::default(),
            summarize_s: Fitted::default(),
            model_bytes: 90 << 20,
            concurrency: 120,
            cores: 120,
        }
    }

    /// The rate of a batch size and a precision, or the nearest that is known.
    pub fn rate(&self, batch: u64, precision: &str) -> &Rate {
        let away = |rate: &Rate| {
            let batches = (rate.batch.max(1) as f64 / batch.max(1) as f64).ln().abs();
            batches + if rate.precision == precision { 0.0 } else { 100.0 }
        };
        self.rates.iter().min_by(|a, b| away(a).total_cmp(&away(b))).expect("a profile has one rate or more")
    }

    /// Whether this batch size and precision were measured.
    pub fn knows(&self, batch: u64, precision: &str) -> bool {
        self.rates.iter().any(|rate| rate.batch == batch && rate.precision == precision)
    }

    /// Seconds of an item of so many galaxies, sampled.
    pub fn item_s(&self, galaxies: u64, batch: u64, precision: &str, is_cold: bool, random: &mut Random) -> f64 {
        let line = self.overhead_s + self.rate(batch, precision).galaxy_s * galaxies as f64;
        line * random.one_of(&self.scatter, 1.0) + if is_cold { self.load_s } else { 0.0 }
    }

    /// Seconds of an item of so many galaxies on a worker that has the model, without scatter.
    pub fn item_s_mean(&self, galaxies: f64, batch: u64, precision: &str) -> f64 {
        self.overhead_s + self.rate(batch, precision).galaxy_s * galaxies
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| crate::quality::percentile(&values, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_neither_falls_nor_begins_below_zero() {
        let line = Fitted::through(&[(1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]).unwrap();
        assert!((line.base - 1.0).abs() < 1e-9 && (line.slope - 2.0).abs() < 1e-9, "{line:?}");
        assert_eq!(Fitted::through(&[(1.0, 3.0), (2.0, 1.0)]).unwrap().slope, 0.0);
        assert_eq!(Fitted::through(&[(1.0, 1.0), (10.0, 100.0)]).unwrap().base, 0.0);
        assert_eq!(Fitted::through(&[(4.0, 3.0)]).unwrap(), Fitted { base: 3.0, slope: 0.0 });
        assert_eq!(Fitted::through(&[]), None);
        // A thousandth of a second more in three does not make a million seconds of a million.
        let close = Fitted::growing(&[(2_000.0, 0.3), (3_000.0, 0.6)], 1e-5);
        assert!(close.slope == 1e-5 && (close.at(2_500.0) - 0.45).abs() < 1e-9, "{close:?}");
        let far = Fitted::growing(&[(1.0, 1.0), (100.0, 100.0)], 1e-5);
        assert!(far.slope > 0.9, "{far:?}");
    }

    #[test]
    fn the_recorded_items_last_what_their_lines_say() {
        let profile = Profile::recorded(0.2);
        assert_eq!((profile.scatter.len(), profile.init_s.len()), (250, 250));
        let mean = profile.item_s_mean(1_278.0, 512, "f32");
        assert!((11.5..12.5).contains(&mean), "{mean}");
        let mut random = Random::new(1);
        let sampled = (0..2_000).map(|_| profile.item_s(1_278, 512, "f32", false, &mut random)).sum::<f64>() / 2_000.0;
        assert!((sampled / mean - 1.0).abs() < 0.02, "{sampled}");
        assert!((profile.item_s_mean(2_556.0, 512, "f32") - mean - 5.0).abs() < 0.05);
    }

    #[test]
    fn a_profile_of_measured_runs_gives_their_items_back() {
        let (summary, _) = crate::summary::tests::example(40);
        let ranks: Vec<RankResult> = (0..40).map(crate::summary::tests::rank).collect();
        let runs = [MeasuredRun { summary, ranks: ranks.clone(), concurrency: 8 }];
        let profile = Profile::measured(&runs, 8).unwrap();
        let mut random = Random::new(3);
        let (batch, precision) = (ranks[0].batch_size as u64, ranks[0].precision.as_str());
        assert!(profile.knows(batch, precision) && !profile.knows(batch + 1, precision));
        let measured: f64 = ranks.iter().map(|rank| rank.phases.total - rank.phases.load_model).sum();
        let sampled: f64 =
            ranks.iter().map(|rank| profile.item_s(rank.rows, batch, precision, false, &mut random)).sum();
        assert!((sampled / measured - 1.0).abs() < 0.05, "{sampled} for {measured}");
        assert_eq!(profile.load_s, 0.4);
    }
}
