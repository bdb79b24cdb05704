//! `summary.json`: every figure of a run, each as METRICS.md defines it.

use serde::{Deserialize, Serialize};

use crate::calibrate::Calibration;
use crate::legacy;
use crate::quality::Quality;
use crate::requests::{ByFunction, partition_reads};
use crate::results::{ModelFile, Plan, PredictionsFile, RankResult, full};
use crate::statistics::{Statistics, covered};
use crate::store::Retries;

/// Version of the format; grows when the meaning of a key changes.
pub const FORMAT: u32 = 1;

/// A run that has been proven complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: u32,
    /// What wrote this.
    pub created_by: String,
    /// Id of the run.
    pub run_id: String,
    /// Always true: every rank and every row was there, once; otherwise there is no summary.
    pub complete: bool,
    /// Galaxies, flagged ones too.
    pub galaxies: u64,
    /// Galaxies without a redshift because of their flag.
    pub galaxies_flagged: u64,
    /// Galaxies with a spectroscopic redshift to compare with.
    pub galaxies_with_z_spec: u64,
    /// Partitions that the run used.
    pub partitions: u64,
    /// Partitions that the input asked for.
    pub partitions_requested: u64,
    /// Partitions that are under the prefix.
    pub partitions_found: u64,
    /// Seconds from ExecutionStarted to ExecutionSucceeded; known once the run has ended.
    pub wall_s: Option<f64>,
    /// Number of ranks.
    pub world_size: u64,
    /// Galaxies per forward pass, as asked for.
    pub batch_size: u64,
    /// In how many bits the model's large layers multiplied.
    #[serde(default = "full")]
    pub precision: String,
    /// What a reduced precision changed, on the first partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Where the partitions are: `s3://bucket/prefix/`.
    pub data: String,
    /// Bytes of the partitions that were used.
    pub data_bytes: u64,
    /// Where the results are: `s3://bucket/result_path/`.
    pub results: String,
    /// The model.
    pub model: ModelFile,
    /// All predictions.
    pub predictions: PredictionsFile,
    /// How good the redshifts are, where there is something to compare with.
    pub quality: Option<Quality>,
    /// Galaxies that the quality was computed on, if they were too many to hold: a uniform sample.
    pub quality_sample: Option<u64>,
    /// Where the time went.
    pub time: Time,
    /// How fast it was.
    pub throughput: Throughput,
    /// How much memory it took.
    pub memory: Memory,
    /// The columns of the published tables.
    pub legacy: Legacy,
    /// Requests to object storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ByFunction>,
    /// Requests to S3 that failed and were repeated, by all ranks together.
    #[serde(default)]
    pub storage_retries: Retries,
    /// What the run would have cost on AWS; known once the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsCost>,
    /// What only the engine knows; there once the run has ended.
    pub execution: Option<Execution>,
}

/// Where the time went. Seconds, wall, monotonic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Time {
    /// All items.
    pub items: ItemTimes,
    /// Items that were their process's first.
    pub cold: Option<ItemTimes>,
    /// The others.
    pub warm: Option<ItemTimes>,
    /// Slowest over median of `total`.
    pub straggler_ratio: f64,
    /// Time in which at least one worker was inferring, by the workers' clocks.
    pub inferring_s: f64,
    /// Wall minus `inferring_s`.
    pub overhead_s: Option<f64>,
    /// Share of Initialize and Summarize in wall.
    pub initialize_and_summarize_share: Option<f64>,
}

/// Times of items, by phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemTimes {
    /// How many items.
    pub count: u64,
    /// Ready to handed to a worker; known once the run has ended.
    pub queued: Option<Statistics>,
    /// Process start to first poll; cold items only.
    pub init: Option<Statistics>,
    /// Waiting for object storage; beside `infer`.
    pub read: Statistics,
    /// Bytes to batches; beside `infer`.
    pub decode: Statistics,
    /// Forward passes waiting for galaxies: what of `read` and `decode` did not overlap with them.
    #[serde(default)]
    pub wait: Option<Statistics>,
    /// Model file to packed weights.
    pub load_model: Statistics,
    /// Forward passes.
    pub infer: Statistics,
    /// Encoding and storing predictions.
    pub write: Statistics,
    /// The whole handler.
    pub total: Statistics,
    /// CPU seconds, user and system.
    pub cpu: Statistics,
}

/// How fast it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Galaxies predicted / wall.
    pub galaxies_per_s: Option<f64>,
    /// Bytes of partitions read / wall.
    pub bytes_per_s: Option<f64>,
    /// Galaxies per second in forward passes, per worker.
    pub infer_galaxies_per_s: Statistics,
}

/// How much memory it took, MiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Peak resident set of an item's process since its start.
    pub peak_rss_mib: Statistics,
    /// Memory of the function: what is billed.
    pub allocated_mib: Option<u32>,
}

/// The columns of the published tables; see [`legacy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Legacy {
    /// Partition (MB): what the prefix is called, else the mean size in MiB.
    pub partition_mb: f64,
    /// Lambda/File Limit.
    pub files: u64,
    /// Avg Runtime (s): mean of `total_cpu_time (seconds)`.
    pub runtime_s_mean: f64,
    /// Memory (MB): mean of `total_cpu_memory (MB)`.
    pub memory_mb_mean: f64,
    /// Data Size (GB).
    pub data_size_gb: f64,
    /// Cost ($).
    pub legacy_cost: f64,
    /// Throughput, headed MB/s there, really GiB/s.
    pub legacy_throughput: f64,
    /// Batch Size.
    pub batch_size: u64,
}

/// What a run would have cost on AWS, retries included; before free tiers. The durations are those of this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwsCost {
    /// When the prices were read.
    pub prices_as_of: String,
    /// The region that they are of.
    pub region: String,
    /// The functions' processor, as Lambda spells it.
    pub architecture: String,
    /// Billed GB-seconds of Lambda.
    pub gb_s: f64,
    /// State transitions of Step Functions.
    pub transitions: u64,
    /// Lambda: GB-seconds, requests and ephemeral storage, USD.
    pub lambda_usd: f64,
    /// Step Functions: state transitions, or requests and GB-seconds of Express children, USD.
    pub step_functions_usd: f64,
    /// Requests to S3, USD.
    pub s3_usd: f64,
    /// All of it, USD.
    pub total_usd: f64,
}

/// What only the engine knows of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// ARN of the execution.
    pub arn: String,
    /// MapRunStarted to MapRunSucceeded, seconds.
    pub map_s: Option<f64>,
    /// Initialize, seconds.
    pub initialize_s: Option<f64>,
    /// Summarize, seconds.
    pub summarize_s: Option<f64>,
    /// Invocations, retries and failures included.
    pub attempts: u64,
    /// Invocations that failed.
    pub attempts_failed: u64,
    /// Billed milliseconds of all invocations.
    pub billed_ms: u64,
    /// Billed milliseconds × memory of the function, GB-seconds (GB = 1024 MiB, as AWS bills).
    pub billed_gb_s: f64,
    /// Largest `Max Memory Used` of an invocation, MiB.
    pub max_memory_used_mib: Option<u32>,
}

/// What the proof found.
#[derive(Debug)]
pub(crate) struct Proven<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) results: String,
    pub(crate) ranks: &'a [RankResult],
    pub(crate) predictions: PredictionsFile,
    pub(crate) galaxies_flagged: u64,
    pub(crate) galaxies_with_z_spec: u64,
    pub(crate) quality: Option<Quality>,
    pub(crate) quality_sample: Option<u64>,
}

impl Summary {
    /// Everything that is known before the run has ended; `None` without ranks.
    pub(crate) fn of(proven: Proven<'_>) -> Option<Self> {
        let Proven { plan, ranks, .. } = proven;
        let items = ItemTimes::of(ranks.iter())?;
        let infer_rates = ranks.iter().filter(|rank| rank.phases.infer > 0.0);
        let data_bytes = plan.partitions.iter().map(|partition| partition.bytes).sum::<u64>();
        Some(Self {
            format: FORMAT,
            created_by: crate::CREATED_BY.to_owned(),
            run_id: plan.run_id.clone(),
            complete: true,
            galaxies: proven.predictions.rows,
            galaxies_flagged: proven.galaxies_flagged,
            galaxies_with_z_spec: proven.galaxies_with_z_spec,
            partitions: plan.partitions.len() as u64,
            partitions_requested: plan.partitions_requested as u64,
            partitions_found: plan.partitions_found as u64,
            wall_s: None,
            world_size: plan.world_size as u64,
            batch_size: plan.batch_size as u64,
            precision: plan.precision.clone(),
            calibration: plan.calibration.clone(),
            data: format!("{}/", crate::store::url(&plan.data_bucket, &plan.data_prefix)),
            data_bytes,
            results: proven.results,
            model: plan.model.clone(),
            predictions: proven.predictions,
            quality: proven.quality,
            quality_sample: proven.quality_sample,
            time: Time {
                straggler_ratio: if items.total.p50 > 0.0 { items.total.max / items.total.p50 } else { 1.0 },
                inferring_s: covered(ranks.iter().map(|rank| (rank.inferring_from, rank.inferring_to))) / 1e3,
                cold: ItemTimes::of(ranks.iter().filter(|rank| rank.cold)),
                warm: ItemTimes::of(ranks.iter().filter(|rank| !rank.cold)),
                items,
                overhead_s: None,
                initialize_and_summarize_share: None,
            },
            throughput: Throughput {
                galaxies_per_s: None,
                bytes_per_s: None,
                infer_galaxies_per_s: Statistics::of(infer_rates.map(|rank| rank.sample_persec))?,
            },
            memory: Memory {
                peak_rss_mib: Statistics::of(ranks.iter().map(|rank| rank.peak_rss_mib))?,
                allocated_mib: ranks.iter().filter_map(|rank| rank.memory_mib).max(),
            },
            legacy: Legacy::of(plan, ranks, data_bytes)?,
            requests: Some(requests(plan, ranks)),
            storage_retries: ranks.iter().fold(Retries::default(), |sum, rank| sum.and(rank.storage_retries)),
            aws: None,
            execution: None,
        })
    }
}

impl ItemTimes {
    fn of<'a>(ranks: impl Iterator<Item = &'a RankResult> + Clone) -> Option<Self> {
        let of = |figure: fn(&RankResult) -> f64| Statistics::of(ranks.clone().map(figure));
        Some(Self {
            count: ranks.clone().count() as u64,
            queued: None,
            init: Statistics::of(ranks.clone().filter_map(|rank| rank.phases.init)),
            read: of(|rank| rank.phases.read)?,
            decode: of(|rank| rank.phases.decode)?,
            wait: of(|rank| rank.phases.wait),
            load_model: of(|rank| rank.phases.load_model)?,
            infer: of(|rank| rank.phases.infer)?,
            write: of(|rank| rank.phases.write)?,
            total: of(|rank| rank.phases.total)?,
            cpu: of(|rank| rank.cpu_seconds)?,
        })
    }
}

fn requests(plan: &Plan, ranks: &[RankResult]) -> ByFunction {
    let on_s3 = plan.partitions.iter().map(|partition| partition_reads(partition.rows)).sum();
    ByFunction::of(
        plan.partitions.len() as u64,
        plan.partitions_found as u64,
        ranks.len() as u64,
        ranks.iter().filter(|rank| rank.cold).count() as u64,
        plan.model.bytes,
        ranks.iter().map(|rank| rank.s3_num_requests).sum::<u64>().min(on_s3),
    )
}

impl Legacy {
    fn of(plan: &Plan, ranks: &[RankResult], data_bytes: u64) -> Option<Self> {
        let files = plan.partitions.len() as u64;
        let mean_mib = data_bytes as f64 / files as f64 / f64::from(1 << 20);
        let partition_mb = legacy::partition_mb_of(&plan.data_prefix).unwrap_or(mean_mib);
        let runtime_s_mean = Statistics::of(ranks.iter().map(|rank| rank.total_cpu_time))?.mean();
        let memory_mb_mean = Statistics::of(ranks.iter().map(|rank| rank.total_cpu_memory))?.mean();
        Some(Self {
            partition_mb,
            files,
            runtime_s_mean,
            memory_mb_mean,
            data_size_gb: legacy::data_size_gb(partition_mb, files),
            legacy_cost: legacy::cost(files, runtime_s_mean, memory_mb_mean),
            legacy_throughput: legacy::throughput(partition_mb, files, runtime_s_mean),
            batch_size: plan.batch_size as u64,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plots::Plots;
    use crate::quality::{Galaxy, quality};
    use crate::results::{PartitionFile, Phases};

    fn predictions() -> PredictionsFile {
        PredictionsFile { key: "r/predictions.parquet".into(), rows: 5_000, bytes: 90_000, sha256: "c".repeat(64) }
    }

    /// A rank with plausible figures; the first of each worker is cold.
    pub(crate) fn rank(rank: usize) -> RankResult {
        let (worker, turn) = (rank % 8, rank / 8);
        let infer = 3.6 + 0.1 * ((rank * 7) % 11) as f64;
        let load_model = if turn == 0 { 0.4 } else { 0.0 };
        let phases = Phases {
            init: (turn == 0).then_some(0.03),
            read: 0.25,
            decode: 0.1,
            wait: 0.35,
            load_model,
            infer,
            write: 0.05,
            total: infer + load_model + 0.41,
        };
        let started_at = 1_790_000_000_000.0 + turn as f64 * 4_800.0;
        RankResult {
            total_cpu_time: infer + 0.4,
            total_cpu_memory: 310.0,
            total_process_memory: 310.0,
            execution_time: infer / 5.0,
            num_batches: 5,
            batch_size: 256,
            device: "cpu".into(),
            throughput_bps: 5.5e7,
            sample_persec: 1_278.0 / infer,
            result_path: "r".into(),
            data_path: serde_json::Value::Null,
            s3_num_requests: 12,
            s3_total_time: 0.25,
            s3_avg_time: 0.02,
            s3_min_time: 0.01,
            s3_max_time: 0.05,
            run_id: "run-1".into(),
            rank,
            rows: 1_278,
            rows_flagged: 0,
            partitions: Vec::new(),
            model_sha256: "b".repeat(64),
            predictions: predictions(),
            phases,
            cpu_seconds: infer + 0.4,
            peak_rss_mib: 290.0 + (rank % 5) as f64,
            memory_mib: Some(1_769),
            cold: turn == 0,
            log_stream: format!("2026/11/24/[$LATEST]{worker:032x}"),
            started_at,
            inferring_from: started_at + 400.0,
            inferring_to: started_at + phases.total * 1e3 - 50.0,
            finished_at: started_at + phases.total * 1e3,
            galaxies_per_s: 1_278.0 / phases.total,
            storage_retries: Retries::default(),
            precision: full(),
            kernels: "portable".into(),
            created_by: crate::CREATED_BY.into(),
        }
    }

    /// A summary and plots of a run of that many ranks.
    pub(crate) fn example(world_size: usize) -> (Summary, Plots) {
        let galaxies: Vec<Galaxy> = (0..5_000)
            .map(|i| {
                let t = f64::from(i) / 5_000.0;
                let z_spec = 0.02 + 0.45 * t * t + 0.1 * ((f64::from(i) * 0.7).sin() + 1.0) * t;
                let error = 0.012 * (1.0 + z_spec) * ((f64::from(i) * 12.9898).sin() * 43_758.545).fract();
                Galaxy { z_phot: (z_spec + error) as f32, z_spec, magnitude_r: (14.5 + 3.2 * t) as f32 }
            })
            .collect();
        let ranks: Vec<RankResult> = (0..world_size).map(rank).collect();
        let partition =
            |i: usize| PartitionFile { key: format!("25MB/{i}.pt"), rows: 1_278, bytes: 26_224_560, etag: "e".into() };
        let plan = Plan {
            run_id: "run-1".into(),
            created_by: crate::CREATED_BY.into(),
            world_size,
            batch_size: 256,
            precision: full(),
            calibration: None,
            data_bucket: "cosmicai-data".into(),
            data_prefix: "25MB".into(),
            partitions_requested: world_size,
            repaired: Vec::new(),
            partitions_found: world_size,
            partitions: (1..=world_size).map(partition).collect(),
            model: ModelFile { key: "m.pt".into(), bytes: 97_000_000, etag: "m".into(), sha256: "b".repeat(64) },
        };
        let plots = Plots::of(&galaxies, &ranks);
        let proven = Proven {
            plan: &plan,
            results: "s3://cosmicai-data/r/".into(),
            ranks: &ranks,
            predictions: predictions(),
            galaxies_flagged: 0,
            galaxies_with_z_spec: 5_000,
            quality: quality(&galaxies),
            quality_sample: None,
        };
        (Summary::of(proven).unwrap(), plots)
    }

    #[test]
    fn cold_and_warm_items_are_told_apart() {
        let (summary, _) = example(40);
        let (cold, warm) = (summary.time.cold.unwrap(), summary.time.warm.unwrap());
        assert_eq!((summary.time.items.count, cold.count, warm.count), (40, 8, 32));
        assert_eq!((cold.load_model.p50, warm.load_model.max), (0.4, 0.0));
        assert_eq!(cold.init.unwrap().count, 8);
        assert_eq!(warm.init, None);
        assert!((1.0..1.3).contains(&summary.time.straggler_ratio));
        let legacy = &summary.legacy;
        assert_eq!((legacy.partition_mb, legacy.files), (25.0, 40));
        assert_eq!(legacy.legacy_throughput, legacy::throughput(25.0, 40, legacy.runtime_s_mean));
    }

    #[test]
    fn a_summary_survives_its_file() {
        let (summary, plots) = example(9);
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
        assert!(json.contains("\"quality\":{\"galaxies\":5000,\"mae\":"), "the figures are keys of quality itself");
        let json = serde_json::to_string(&plots).unwrap();
        assert!(serde_json::from_str::<Plots>(&json).unwrap() == plots);
    }
}
