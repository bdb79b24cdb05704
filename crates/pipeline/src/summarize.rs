//! Summarize: proves that every rank and every row is there, once and of this run, and merges.
//!
//! What is proven is listed in `proof`. Everything that is wrong is named in one error, and then nothing is written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use parquet::errors::ParquetError;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::checkpoint::hexadecimal;
use crate::error::Error;
use crate::payload::ResultPlace;
use crate::plots::Plots;
use crate::predictions::{Prediction, Provenance, Rows, Writer};
use crate::proof::{Proof, read_manifest, read_results};
use crate::quality::{self, Galaxy, Random};
use crate::report;
use crate::results::{Manifest, PredictionsFile, RankResult, names};
use crate::statistics::Statistics;
use crate::store::{Store, Upload};
use crate::summary::{AwsCost, Execution, Proven, Summary};

/// Files of predictions read ahead of the one that is being merged.
const PREDICTIONS_AHEAD: usize = 4;
/// Galaxies that quality and plots hold at most; above, they are of a uniform sample of this size.
const SAMPLE_GALAXIES_MAX: usize = 2_000_000;

/// Carries out Summarize. `payload` says where the results are; see [`ResultPlace::find`].
///
/// # Errors
/// [`Error::Unproven`] names everything that is missing, stale, short or damaged.
pub async fn summarize(store: &Store, payload: &Value) -> Result<Value, Error> {
    let place = ResultPlace::find(payload)?;
    let manifest = read_manifest(store, &place).await?;
    let mut proof = Proof::new(&place);
    let (ranks, combined) = read_results(store, &place, &manifest, &mut proof).await?;

    let merged = merge(store, &place, &manifest, &ranks, proof).await?;
    let ranks: Vec<RankResult> = ranks.into_iter().flatten().collect();
    let location = place.object(names::COMBINED);
    store.put(&location.bucket, &location.key, combined).await?;

    let plots = Plots::of(&merged.sample.galaxies, &ranks);
    let mut galaxies = merged.sample.galaxies;
    galaxies.retain(|galaxy| galaxy.z_spec.is_finite());
    let summary = Summary::of(Proven {
        plan: &manifest.plan,
        results: place.to_string(),
        ranks: &ranks,
        predictions: merged.predictions,
        galaxies_flagged: merged.flagged,
        galaxies_with_z_spec: merged.with_z_spec,
        quality: quality::quality(&galaxies),
        quality_sample: (merged.sample.seen > SAMPLE_GALAXIES_MAX as u64).then_some(galaxies.len() as u64),
    });
    let summary = summary.ok_or_else(|| Error::Internal(format!("{place}: a run without ranks was proven")))?;
    let plots_json = encode(&plots)?;
    let location = place.object(names::PLOTS);
    store.put(&location.bucket, &location.key, plots_json).await?;
    write(store, &place, &summary, &plots).await?;
    for folder in [place.path.clone(), format!("{}/predictions", place.path)] {
        store.sweep(&place.bucket, &folder).await?;
    }
    tracing::info!(galaxies = summary.galaxies, ranks = ranks.len(), "run proven complete");
    Ok(json!({
        "statusCode": 200,
        "run_id": summary.run_id,
        "galaxies": summary.galaxies,
        "partitions": summary.partitions,
        "partitions_requested": summary.partitions_requested,
        "summary": place.summary().to_string(),
        "S3_BUCKET": place.bucket,
        "RESULT_PATH": place.path,
    }))
}

/// What only the engine knows of a run's time, handed in by whoever ran it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecutionTimes {
    /// ARN of the execution.
    pub execution_arn: String,
    /// ExecutionStarted to ExecutionSucceeded, seconds.
    pub wall_s: f64,
    /// MapRunStarted to MapRunSucceeded, seconds.
    pub map_s: Option<f64>,
    /// The state Initialize, seconds.
    pub initialize_s: Option<f64>,
    /// The state Summarize, seconds.
    pub summarize_s: Option<f64>,
    /// How long each item waited for a worker.
    pub queued: Vec<QueuedItem>,
    /// Every invocation, retries and failures included.
    pub attempts: Vec<Attempt>,
    /// What it would have cost on AWS, where whoever ran it says so.
    pub aws: Option<AwsCost>,
}

/// How long one item waited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueuedItem {
    /// The rank.
    pub rank: u64,
    /// Ready to handed to a worker, seconds.
    pub queued_s: f64,
}

/// One invocation, as its REPORT line tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Function name.
    pub function: String,
    /// Request id.
    pub request_id: String,
    /// Log stream of the worker.
    pub log_stream: String,
    /// Milliseconds from hand-over to answer.
    pub duration_ms: f64,
    /// Milliseconds billed.
    pub billed_ms: u64,
    /// The function's memory, MiB.
    pub memory_mib: u32,
    /// Peak resident set, MiB.
    pub max_memory_used_mib: u32,
    /// Process start to first poll, milliseconds, on a cold start.
    pub init_ms: Option<f64>,
    /// The error's name if the attempt failed.
    pub error: Option<String>,
}

/// Completes `summary.json` and `report.html` with what is known once the run has ended. May be repeated.
///
/// # Errors
/// [`Error::Unproven`] if there is no summary of this run there, [`Error::Storage`].
pub async fn finalize(store: &Store, place: &ResultPlace, times: ExecutionTimes) -> Result<Summary, Error> {
    let mut summary: Summary = read_json(store, place, names::SUMMARY).await?;
    let plots: Plots = read_json(store, place, names::PLOTS).await?;
    if let Some(run_id) = &place.run_id
        && *run_id != summary.run_id
    {
        let mut proof = Proof::new(place);
        proof.stale(format!("{}: is of run {}, expected {run_id}", names::SUMMARY, summary.run_id));
        return Err(proof.into_error());
    }
    let wall_s = Some(times.wall_s).filter(|wall_s| *wall_s > 0.0);
    summary.wall_s = wall_s;
    summary.throughput.galaxies_per_s = wall_s.map(|wall_s| summary.galaxies as f64 / wall_s);
    summary.throughput.bytes_per_s = wall_s.map(|wall_s| summary.data_bytes as f64 / wall_s);
    summary.time.overhead_s = wall_s.map(|wall_s| (wall_s - summary.time.inferring_s).max(0.0));
    let ends_s =
        times.initialize_s.zip(times.summarize_s).map(|(initialize_s, summarize_s)| initialize_s + summarize_s);
    summary.time.initialize_and_summarize_share = wall_s.zip(ends_s).map(|(wall_s, ends_s)| ends_s / wall_s);
    summary.time.items.queued = Statistics::of(times.queued.iter().map(|item| item.queued_s));
    summary.aws = times.aws;
    summary.execution = Some(Execution {
        arn: times.execution_arn,
        map_s: times.map_s,
        initialize_s: times.initialize_s,
        summarize_s: times.summarize_s,
        attempts: times.attempts.len() as u64,
        attempts_failed: times.attempts.iter().filter(|attempt| attempt.error.is_some()).count() as u64,
        billed_ms: times.attempts.iter().map(|attempt| attempt.billed_ms).sum(),
        // The sum of nothing is minus zero.
        billed_gb_s: times.attempts.iter().map(Attempt::billed_gb_s).fold(0.0, |sum, gb_s| sum + gb_s),
        max_memory_used_mib: times.attempts.iter().map(|attempt| attempt.max_memory_used_mib).max(),
    });
    write(store, place, &summary, &plots).await?;
    Ok(summary)
}

impl Attempt {
    fn billed_gb_s(&self) -> f64 {
        self.billed_ms as f64 / 1e3 * f64::from(self.memory_mib) / 1024.0
    }
}

async fn write(store: &Store, place: &ResultPlace, summary: &Summary, plots: &Plots) -> Result<(), Error> {
    let report = place.report();
    store.put(&report.bucket, &report.key, report::html(summary, plots)).await?;
    let json = encode(summary)?;
    let location = place.summary();
    store.put(&location.bucket, &location.key, json).await
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::Internal(format!("writing a summary: {error}")))
}

async fn read_json<T: serde::de::DeserializeOwned>(store: &Store, place: &ResultPlace, name: &str) -> Result<T, Error> {
    let location = place.object(name);
    let mut proof = Proof::new(place);
    match store.get(&location.bucket, &location.key).await? {
        None => proof.missing(format!("{name}: is not there, expected it from Summarize")),
        Some(json) => match serde_json::from_slice(&json) {
            Ok(value) => return Ok(value),
            Err(error) => proof.incomplete(format!("{name}: is not what Summarize writes: {error}")),
        },
    }
    Err(proof.into_error())
}

/// What merging found.
struct Merged {
    predictions: PredictionsFile,
    sample: Sample,
    flagged: u64,
    with_z_spec: u64,
}

/// PROOF-3 to PROOF-5, while writing `predictions.parquet`: reads ahead here, decodes and writes on a thread of its own.
async fn merge(
    store: &Store,
    place: &ResultPlace,
    manifest: &Manifest,
    ranks: &[Option<RankResult>],
    proof: Proof,
) -> Result<Merged, Error> {
    let target = place.object(names::PREDICTIONS);
    let upload = store.upload(&target.bucket, &target.key).await?;
    let merger = Merger {
        manifest: manifest.clone(),
        key: target.key,
        proof,
        sample: Sample::default(),
        flagged: 0,
        with_z_spec: 0,
    };
    // An error goes through the channel too: the merger must not take it for the end of the ranks.
    let (send, receive) = mpsc::channel::<Result<(RankResult, Option<Bytes>), Error>>(1);
    let merging = tokio::task::spawn_blocking(move || merger.run(receive, upload));
    let mut reads = stream::iter(ranks.iter().flatten())
        .map(|result| async move {
            let bytes = store.get(&place.bucket, &result.predictions.key).await?;
            Ok((result.clone(), bytes))
        })
        .buffered(PREDICTIONS_AHEAD);
    while let Some(read) = reads.next().await {
        if send.send(read).await.is_err() {
            break; // The merger has given up, and says why.
        }
    }
    drop(send);
    merging.await.map_err(|error| Error::Internal(format!("merging ended early: {error}")))?
}

/// Writes the merged predictions as they come in, in rank order.
struct Merger {
    manifest: Manifest,
    key: String,
    proof: Proof,
    sample: Sample,
    flagged: u64,
    with_z_spec: u64,
}

impl Merger {
    fn run(
        mut self,
        mut ranks: mpsc::Receiver<Result<(RankResult, Option<Bytes>), Error>>,
        upload: Upload,
    ) -> Result<Merged, Error> {
        let plan = &self.manifest.plan;
        let provenance = Provenance {
            run_id: plan.run_id.clone(),
            model_hash: plan.model.sha256.clone(),
            rank: None,
            precision: plan.precision.clone(),
        };
        let broken = Arc::new(Mutex::new(None));
        let hashed = Hashed { upload, hash: Sha256::new(), broken: Arc::clone(&broken) };
        let failed = |error: ParquetError| {
            let stored: Option<Error> = broken.lock().unwrap_or_else(PoisonError::into_inner).take();
            stored.unwrap_or_else(|| Error::Internal(format!("encoding the merged predictions: {error}")))
        };
        let mut writer = Writer::new(hashed, provenance).map_err(&failed)?;
        while let Some(read) = ranks.blocking_recv() {
            let (result, bytes) = read?;
            self.rank(&result, bytes, &mut writer).map_err(&failed)?;
        }
        let (hashed, rows) = writer.finish().map_err(&failed)?;
        if self.proof.count() > 0 {
            hashed.upload.abort();
            return Err(self.proof.into_error());
        }
        let expected: u64 = self.manifest.plan.partitions.iter().map(|partition| partition.rows).sum();
        if rows != expected {
            hashed.upload.abort();
            return Err(Error::Internal(format!("merged {rows} rows that were proven to be {expected}")));
        }
        let sha256 = hexadecimal(&hashed.hash.finalize());
        let bytes = hashed.upload.finish()?;
        Ok(Merged {
            predictions: PredictionsFile { key: self.key, rows, bytes, sha256 },
            sample: self.sample,
            flagged: self.flagged,
            with_z_spec: self.with_z_spec,
        })
    }

    /// Proves one rank's predictions and adds them. What is wrong with them is a problem, not an error.
    fn rank(
        &mut self,
        result: &RankResult,
        bytes: Option<Bytes>,
        writer: &mut Writer<Hashed>,
    ) -> Result<(), ParquetError> {
        let Some(groups) = self.proof.predictions(result, bytes, &self.manifest.plan) else { return Ok(()) };
        for group in &groups {
            self.add(group, writer)?;
        }
        Ok(())
    }

    fn add(&mut self, group: &Rows, writer: &mut Writer<Hashed>) -> Result<(), ParquetError> {
        let mut first = 0;
        for partition in group.partition.chunk_by(|a, b| a == b) {
            let predictions = &group.predictions[first..first + partition.len()];
            let key = partition[0].as_utf8()?;
            if self.proof.count() == 0 {
                writer.push(key, predictions)?;
            }
            predictions.iter().for_each(|prediction| self.count(prediction));
            first += partition.len();
        }
        Ok(())
    }

    fn count(&mut self, prediction: &Prediction) {
        self.flagged += u64::from(prediction.flags != 0);
        let Some(z_phot) = prediction.z_phot else { return };
        self.with_z_spec += u64::from(prediction.z_spec.is_some());
        self.sample.push(Galaxy {
            z_phot,
            z_spec: prediction.z_spec.unwrap_or(f64::NAN),
            magnitude_r: prediction.magnitude_r,
        });
    }
}

/// Hashes what it passes on, and keeps the store's own error, which Parquet's would hide.
struct Hashed {
    upload: Upload,
    hash: Sha256,
    broken: Arc<Mutex<Option<Error>>>,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.upload.write(bytes).inspect_err(|error| {
            *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.upload.failed(error));
        })?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

/// A uniform sample of bounded size (reservoir sampling, Vitter's algorithm R), everything as long as it fits.
#[derive(Default)]
struct Sample {
    galaxies: Vec<Galaxy>,
    seen: u64,
    random: Random,
}

impl Sample {
    fn push(&mut self, galaxy: Galaxy) {
        self.seen += 1;
        if self.galaxies.len() < SAMPLE_GALAXIES_MAX {
            self.galaxies.push(galaxy);
            return;
        }
        let at = self.random.below(self.seen);
        if let Some(place) = usize::try_from(at).ok().and_then(|at| self.galaxies.get_mut(at)) {
            *place = galaxy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_everything_until_it_is_full() {
        let mut sample = Sample::default();
        (0..1_000).for_each(|i| sample.push(Galaxy { z_phot: i as f32, z_spec: 0.5, magnitude_r: 18.0 }));
        assert_eq!((sample.galaxies.len(), sample.seen), (1_000, 1_000));
        assert!(sample.galaxies.iter().enumerate().all(|(i, galaxy)| galaxy.z_phot == i as f32));
    }
}
