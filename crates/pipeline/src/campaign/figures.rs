//! What one run of a campaign measured, and what a configuration's runs have in common.

use serde::{Deserialize, Serialize};

use crate::summary::{ItemTimes, Legacy, Summary};

/// A campaign that may still be under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// What wrote this.
    pub created_by: String,
    /// Repeats of each configuration that were asked for, warm-ups not counted.
    pub repeats: u32,
    /// Warm-ups of each configuration; they are in no figure.
    pub warm_ups: u32,
    /// The configurations, in the order of the grid.
    pub configurations: Vec<Configuration>,
}

/// One point of the grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// What distinguishes it: keys and values, in the order of the grid.
    pub keys: Vec<(String, String)>,
    /// Its measured runs, in the order in which they were made.
    pub runs: Vec<Figures>,
    /// Its warm-ups.
    pub warm_ups: Vec<Figures>,
    /// Why runs of it failed, if any did.
    pub failures: Vec<String>,
}

/// What one run measured. METRICS defines each figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The run's id.
    pub run_id: String,
    /// Galaxies predicted.
    pub galaxies: u64,
    /// Partitions used.
    pub partitions: u64,
    /// Bytes of those.
    pub data_bytes: u64,
    /// Ranks.
    pub world_size: u64,
    /// Galaxies per forward pass.
    pub batch_size: u64,
    /// In how many bits the model's large layers multiplied.
    pub precision: String,
    /// Workers that ran at once.
    pub concurrency: u64,
    /// Memory of a function, MiB.
    pub memory_mib: u32,
    /// Start to end of the execution, seconds.
    pub wall_s: f64,
    /// Start to end of the map run, seconds.
    pub map_s: f64,
    /// The state Initialize, seconds.
    pub initialize_s: f64,
    /// The state Summarize, seconds.
    pub summarize_s: f64,
    /// Galaxies per second of wall time.
    pub galaxies_per_s: f64,
    /// Bytes of partitions per second of wall time.
    pub bytes_per_s: f64,
    /// Galaxies per second in forward passes, per worker; median over ranks.
    pub infer_galaxies_per_s: f64,
    /// Seconds of the items that were their worker's first.
    pub cold: Option<ItemSeconds>,
    /// Seconds of the others.
    pub warm: Option<ItemSeconds>,
    /// Slowest item over the median one.
    pub straggler_ratio: f64,
    /// Peak resident set of the largest worker, MiB.
    pub peak_rss_mib: f64,
    /// Billed GB-seconds.
    pub gb_s: f64,
    /// What it would have cost on AWS, USD.
    pub aws_usd: f64,
    /// Attempts that failed.
    pub attempts_failed: u64,
    /// R² of the redshifts, where they can be compared.
    pub r2: Option<f64>,
    /// The columns of the published table.
    pub legacy: Legacy,
}

/// Seconds of a run's items.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ItemSeconds {
    /// How many items.
    pub count: u64,
    /// Median of the whole handler.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// Largest.
    pub max: f64,
    /// Median of the forward passes.
    pub infer_p50: f64,
}

impl Figures {
    /// The figures of a run that has ended; `None` if its summary does not tell how long it took.
    pub fn of(summary: &Summary, concurrency: u64) -> Option<Self> {
        let execution = summary.execution.as_ref();
        let items = |times: &ItemTimes| ItemSeconds {
            count: times.count,
            p50: times.total.p50,
            p95: times.total.p95,
            max: times.total.max,
            infer_p50: times.infer.p50,
        };
        Some(Self {
            run_id: summary.run_id.clone(),
            galaxies: summary.galaxies,
            partitions: summary.partitions,
            data_bytes: summary.data_bytes,
            world_size: summary.world_size,
            batch_size: summary.batch_size,
            precision: summary.precision.clone(),
            concurrency,
            memory_mib: summary.memory.allocated_mib.unwrap_or(0),
            wall_s: summary.wall_s?,
            map_s: execution.and_then(|execution| execution.map_s).unwrap_or(0.0),
            initialize_s: execution.and_then(|execution| execution.initialize_s).unwrap_or(0.0),
            summarize_s: execution.and_then(|execution| execution.summarize_s).unwrap_or(0.0),
            galaxies_per_s: summary.throughput.galaxies_per_s?,
            bytes_per_s: summary.throughput.bytes_per_s?,
            infer_galaxies_per_s: summary.throughput.infer_galaxies_per_s.p50,
            cold: summary.time.cold.as_ref().map(items),
            warm: summary.time.warm.as_ref().map(items),
            straggler_ratio: summary.time.straggler_ratio,
            peak_rss_mib: summary.memory.peak_rss_mib.max,
            gb_s: execution.map_or(0.0, |execution| execution.billed_gb_s),
            aws_usd: summary.aws.as_ref().map_or(0.0, |aws| aws.total_usd),
            attempts_failed: execution.map_or(0, |execution| execution.attempts_failed),
            r2: summary.quality.as_ref().and_then(|quality| quality.all.figures.r2),
            legacy: summary.legacy.clone(),
        })
    }

    /// GiB of partitions.
    pub fn data_gib(&self) -> f64 {
        self.data_bytes as f64 / f64::from(1 << 30)
    }
}

/// A figure of the runs: name, unit, and how to read it.
#[derive(Clone, Copy)]
pub struct Value {
    /// What it is, for an axis or a column.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Reads it; `None` where a run does not have it.
    pub of: fn(&Figures) -> Option<f64>,
}

/// Smallest, median, largest, and mean with standard deviation of a few runs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Spread {
    pub count: usize,
    pub min: f64,
    pub median: f64,
    pub max: f64,
    pub mean: f64,
    /// Of the sample; zero for one run.
    pub sd: f64,
}

impl Spread {
    /// Of these values; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        Some(Self {
            count,
            min: *values.first()?,
            median: crate::quality::percentile(&values, 0.5),
            max: *values.last()?,
            mean,
            sd: if count > 1 { (squares / (count - 1) as f64).sqrt() } else { 0.0 },
        })
    }
}

impl Configuration {
    /// How a figure is spread over the measured runs.
    pub fn spread(&self, value: Value) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(value.of))
    }

    /// `batch_size 64, precision int8`.
    pub fn label(&self) -> String {
        let words: Vec<String> = self.keys.iter().map(|(key, value)| format!("{key} {value}")).collect();
        if words.is_empty() { "the only configuration".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_deviation_of_a_sample() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max, spread.mean, spread.sd), (1.0, 2.0, 3.0, 2.0, 1.0));
        assert_eq!(Spread::of([5.0]).unwrap().sd, 0.0);
        assert_eq!(Spread::of([]), None);
    }
}
