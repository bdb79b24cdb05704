//! The JSON objects of a run: `payload.json` (what was asked for) and `{rank}.json` (what a rank did).
//!
//! `{rank}.json` has the published keys, spelled as people's scripts read them, with what they say made true; ours are
//! beside them. It is written last, so its presence says that the rank is done.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::calibrate::Calibration;
use crate::payload::{KeyList, keys_to_json};
use crate::repair::Repaired;
use crate::store::Retries;

/// Names of the objects under a result path.
pub mod names {
    /// What was asked for.
    pub const PAYLOAD: &str = "payload.json";
    /// All ranks' results in one array.
    pub const COMBINED: &str = "combined_data.json";
    /// All predictions.
    pub const PREDICTIONS: &str = "predictions.parquet";
    /// Every figure.
    pub const SUMMARY: &str = "summary.json";
    /// The numbers behind the report's figures.
    pub const PLOTS: &str = "plots.json";
    /// The report.
    pub const REPORT: &str = "report.html";

    /// A rank's result.
    pub fn rank(rank: usize) -> String {
        format!("{rank}.json")
    }

    /// A rank's predictions.
    pub fn rank_predictions(rank: usize) -> String {
        format!("predictions/{rank}.parquet")
    }

    /// The rank of a `{rank}.json`, if the name is one.
    pub fn rank_of(name: &str) -> Option<usize> {
        let digits = name.strip_suffix(".json")?;
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|rank: &usize| is_number && rank.to_string() == digits)
    }

    /// Whether an object under a result path, named from there, is one that a run of ours writes.
    pub fn is_ours(name: &str) -> bool {
        let whole = [PAYLOAD, COMBINED, PREDICTIONS, SUMMARY, PLOTS, REPORT];
        let rank_of_predictions = |name: &str| -> Option<usize> {
            rank_of(&format!("{}.json", name.strip_prefix("predictions/")?.strip_suffix(".parquet")?))
        };
        whole.contains(&name) || rank_of(name).is_some() || rank_of_predictions(name).is_some()
    }
}

/// `payload.json`: what Initialize decided, and what Summarize proves against.
///
/// Written as the input with two keys more: `data_map` (rank → keys, the published spelling) and `starmap` (ours, in
/// one place so that it can't collide with keys of the input).
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The input as it was given.
    pub input: Value,
    /// The keys of each rank's partitions.
    pub data_map: Vec<Vec<String>>,
    /// What Initialize found and decided.
    pub plan: Plan,
}

impl Manifest {
    /// The JSON of `payload.json`.
    ///
    /// # Errors
    /// Never for what Initialize makes; the type is serde's.
    pub fn to_json(&self) -> serde_json::Result<Value> {
        let mut keys = self.input.as_object().cloned().unwrap_or_default();
        let data_map = self.data_map.iter().enumerate();
        let data_map: Map<String, Value> =
            data_map.map(|(rank, keys)| (rank.to_string(), keys_to_json(keys))).collect();
        keys.insert("data_map".to_owned(), Value::Object(data_map));
        keys.insert("starmap".to_owned(), serde_json::to_value(&self.plan)?);
        Ok(Value::Object(keys))
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// If it is not JSON, or was not written by Starmap.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut input: Value = serde_json::from_slice(bytes).map_err(|error| format!("this is not JSON: {error}"))?;
        let Some(keys) = input.as_object_mut() else {
            return Err("this is not an object".to_owned());
        };
        let plan = keys.remove("starmap").ok_or("key starmap: missing; Starmap did not write this")?;
        let plan: Plan = serde_json::from_value(plan).map_err(|error| format!("key starmap: {error}"))?;
        let data_map = keys.remove("data_map").ok_or("key data_map: missing")?;
        let data_map = (0..plan.world_size).map(|rank| {
            let keys = data_map.get(rank.to_string()).ok_or_else(|| format!("data_map: rank {rank} is missing"))?;
            KeyList::deserialize(keys).map(|keys| keys.0).map_err(|error| format!("data_map: rank {rank}: {error}"))
        });
        let data_map = data_map.collect::<Result<_, String>>()?;
        Ok(Self { input, data_map, plan })
    }
}

/// The precision of files that were written before there was another.
pub(crate) fn full() -> String {
    "f32".to_owned()
}

/// What Initialize found and decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Id of the run.
    pub run_id: String,
    /// What wrote this.
    pub created_by: String,
    /// Number of ranks.
    pub world_size: usize,
    /// Galaxies per forward pass.
    pub batch_size: usize,
    /// In how many bits the model's large layers multiply.
    #[serde(default = "full")]
    pub precision: String,
    /// What a reduced precision changes, on the first partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Bucket of the partitions.
    pub data_bucket: String,
    /// Key prefix of the partitions.
    pub data_prefix: String,
    /// How many partitions the input asked for.
    pub partitions_requested: usize,
    /// How many there are under the prefix.
    pub partitions_found: usize,
    /// Those that are used, in order, with what their headers say.
    pub partitions: Vec<PartitionFile>,
    /// Partitions that were mended between two attempts, as they changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repaired: Vec<Repaired>,
    /// The model.
    pub model: ModelFile,
}

/// A partition as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFile {
    /// Key in its bucket.
    pub key: String,
    /// Galaxies in it.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Changes when the file does.
    pub etag: String,
}

/// The model file as it was when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Key in the run's bucket.
    pub key: String,
    /// Size of the file.
    pub bytes: u64,
    /// Changes when the file does.
    pub etag: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// A file of predictions as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionsFile {
    /// Key in the run's bucket.
    pub key: String,
    /// Galaxies in it.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Seconds (wall, monotonic) of the phases of one item, as METRICS.md defines them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Process start to first poll; cold items only.
    pub init: Option<f64>,
    /// Waiting for object storage; beside `infer`.
    pub read: f64,
    /// Bytes to batches; beside `infer`.
    pub decode: f64,
    /// Forward passes waiting for galaxies: what of `read` and `decode` did not overlap with them.
    #[serde(default)]
    pub wait: f64,
    /// Model file to packed weights; zero when it was there already.
    pub load_model: f64,
    /// Forward passes.
    pub infer: f64,
    /// Encoding and storing predictions.
    pub write: f64,
    /// Start of the handler to the end of the last write before `{rank}.json`.
    pub total: f64,
}

/// `{rank}.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankResult {
    /// CPU seconds (user + system) of the process in this invocation.
    #[serde(rename = "total_cpu_time (seconds)")]
    pub total_cpu_time: f64,
    /// Peak resident set of the process since its start, MB = 10⁶ bytes.
    #[serde(rename = "total_cpu_memory (MB)")]
    pub total_cpu_memory: f64,
    /// The same: one process is the worker.
    #[serde(rename = "total_process_memory (MB)")]
    pub total_process_memory: f64,
    /// Seconds in forward passes, per batch.
    #[serde(rename = "execution_time (seconds/batch)")]
    pub execution_time: f64,
    /// Batches of `batch_size` galaxies; the last of a partition may be smaller.
    pub num_batches: u64,
    /// Galaxies per forward pass, as asked for.
    pub batch_size: usize,
    /// Always `cpu`.
    pub device: String,
    /// Bits of galaxies (20,520 bytes each) per second in forward passes.
    pub throughput_bps: f64,
    /// Galaxies per second in forward passes.
    pub sample_persec: f64,
    /// Key prefix of the results.
    pub result_path: String,
    /// A key, a list of keys or null.
    pub data_path: Value,
    /// Requests to object storage for partitions.
    pub s3_num_requests: u64,
    /// Seconds waited for them.
    pub s3_total_time: f64,
    /// Mean of those.
    pub s3_avg_time: f64,
    /// Shortest of those.
    pub s3_min_time: f64,
    /// Longest of those.
    pub s3_max_time: f64,

    /// Id of the run.
    pub run_id: String,
    /// This rank, from 0.
    pub rank: usize,
    /// Galaxies, flagged ones too.
    pub rows: u64,
    /// Galaxies without a redshift because of their flag.
    pub rows_flagged: u64,
    /// The partitions, as they were read.
    pub partitions: Vec<PartitionFile>,
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// The predictions, as they were written.
    pub predictions: PredictionsFile,
    /// Where the time went.
    pub phases: Phases,
    /// CPU seconds (user + system) of the process in this invocation.
    pub cpu_seconds: f64,
    /// Peak resident set of the process since its start, MiB.
    pub peak_rss_mib: f64,
    /// Memory of the function, MiB, where there is one.
    pub memory_mib: Option<u32>,
    /// Whether this was the process's first item.
    pub cold: bool,
    /// Which worker it was.
    pub log_stream: String,
    /// When the handler began, ms since the epoch, by this machine's clock.
    pub started_at: f64,
    /// When the first partition was opened, ms since the epoch.
    pub inferring_from: f64,
    /// When the last forward pass ended, ms since the epoch.
    pub inferring_to: f64,
    /// When all but this file was written, ms since the epoch.
    pub finished_at: f64,
    /// Galaxies per second of `phases.total`.
    pub galaxies_per_s: f64,
    /// Requests to S3 of this invocation that failed and were repeated, up to this file.
    #[serde(default)]
    pub storage_retries: Retries,
    /// In how many bits the model's large layers multiplied.
    #[serde(default = "full")]
    pub precision: String,
    /// Kernel set that computed it; empty in files of older versions.
    #[serde(default)]
    pub kernels: String,
    /// What wrote this.
    pub created_by: String,
}

#[cfg(test)]
mod tests {
    use super::names::*;

    #[test]
    fn only_our_own_names_are_ours() {
        for name in
            ["payload.json", "0.json", "515.json", "predictions/7.parquet", "predictions.parquet", "report.html"]
        {
            assert!(is_ours(name), "{name}");
        }
        for name in
            ["notes.json", "01.json", "-1.json", ".json", "predictions/x.parquet", "2/0.json", "1.pt", "a/payload.json"]
        {
            assert!(!is_ours(name), "{name}");
        }
        assert_eq!(["7.json", "07.json", "7.jsonx"].map(rank_of), [Some(7), None, None]);
    }
}
