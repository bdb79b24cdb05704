//! Inference of one rank: partitions in, one row per galaxy out.
//!
//! A partition is streamed in batches, so memory does not depend on its size nor on `batch_size`. The model is loaded
//! once per process. Predictions are stored first and `{rank}.json` last: its presence says that the rank is done, and
//! a rank that is asked for again (its answer was lost) verifies and reuses what is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starmap_astromae::Predictor;
use starmap_astromae::kernels::Set;
use starmap_partitions::{BANDS, Batch, IMAGE, Partition};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::checkpoint::{self, Loaded};
use crate::error::{Error, Problems, with_causes};
use crate::payload::{BadPixels, Item, keys_to_json};
use crate::predictions::{FLAG_NO_REDSHIFT, FLAG_NOT_FINITE, Prediction, Provenance, Writer};
use crate::process;
use crate::results::{Manifest, PartitionFile, Phases, PredictionsFile, RankResult, names};
use crate::store::{Reads, Source, Store, url};

/// Galaxies in memory at once: 10.5 MB of pixels, and enough to keep the predictor busy.
const ROWS_AT_ONCE: usize = 512;
/// Bytes of one galaxy as the published figures count them: 5 × 32 × 32 float32 pixels and 5 float64 magnitudes.
const GALAXY_BYTES: f64 = 20_520.0;
/// Position of the r band in u, g, r, i, z.
const R_BAND: usize = 2;
/// Rows that an error lists.
const ROWS_SHOWN: usize = 10;

/// What a worker knows of itself.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Log stream of the worker; unique per process.
    pub log_stream: String,
    /// Memory of the function, MiB.
    pub memory_mib: Option<u32>,
    /// Process start to first poll.
    pub init: Option<Duration>,
    /// What it computes with.
    pub kernels: Set,
}

/// One process's inference: its store, its model once it is loaded, and whether it is warm.
#[derive(Debug)]
pub struct Worker {
    store: Store,
    identity: Identity,
    is_warm: AtomicBool,
    model: Mutex<Option<Arc<Loaded>>>,
}

impl Worker {
    /// A cold worker.
    pub fn new(store: Store, identity: Identity) -> Self {
        Self { store, identity, is_warm: AtomicBool::new(false), model: Mutex::default() }
    }

    /// Carries out one item. Answers `rank`, `galaxies` and `run_id`, and where the results are, for definitions that
    /// pass only the answers on to Summarize.
    ///
    /// # Errors
    /// Whatever is wrong with the item, the model, its partitions or the storage.
    pub async fn infer(&self, payload: &Value) -> Result<Value, Error> {
        let begun = Begun::now(!self.is_warm.swap(true, Ordering::Relaxed));
        let item = Item::parse(payload)?;
        let run_id = match &item.run_id {
            Some(run_id) => run_id.clone(),
            None => self.run_id_of_manifest(&item).await?,
        };
        if let Some(done) = self.finished(&item, &run_id).await? {
            tracing::info!(rank = item.rank, galaxies = done.rows, "the rank is done already; its result is reused");
            return Ok(answer(&item, &done));
        }
        let loading = Instant::now();
        let model = self.model(&item).await?;
        let load_model = loading.elapsed();

        let rank = Rank {
            runtime: Handle::current(),
            store: self.store.clone(),
            provenance: Provenance {
                run_id: run_id.clone(),
                model_hash: model.file.sha256.clone(),
                rank: Some(item.rank),
                precision: item.precision.name().to_owned(),
            },
            model: Arc::clone(&model),
            item: item.clone(),
            kernels: self.identity.kernels,
        };
        let computed = tokio::task::spawn_blocking(move || rank.compute()).await;
        let computed = computed.map_err(|error| match error.try_into_panic() {
            // The handler's edge turns it into `Starmap.Internal`, with its message.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Error::Internal(format!("inference ended early: {error}")),
        })??;

        let writing = Instant::now();
        let key = format!("{}/{}", item.result_path, names::rank_predictions(item.rank));
        let predictions = PredictionsFile {
            key: key.clone(),
            rows: computed.rows,
            bytes: computed.parquet.len() as u64,
            sha256: checkpoint::sha256(&computed.parquet),
        };
        let encoding = computed.encoding;
        self.store.put(&item.bucket, &key, computed.parquet.clone()).await?;
        let write = encoding + writing.elapsed();

        let result = self.result(&item, run_id, &model, &begun, &computed, predictions, load_model, write);
        let json = serde_json::to_vec_pretty(&result);
        let json =
            json.map_err(|error| Error::Internal(format!("writing the result of rank {}: {error}", item.rank)))?;
        self.store.put(&item.bucket, &format!("{}/{}", item.result_path, names::rank(item.rank)), json).await?;
        tracing::info!(
            rank = item.rank,
            galaxies = result.rows,
            duration_ms = result.phases.total * 1e3,
            cold = result.cold,
            "rank done"
        );
        Ok(answer(&item, &result))
    }

    async fn run_id_of_manifest(&self, item: &Item) -> Result<String, Error> {
        let key = format!("{}/{}", item.result_path, names::PAYLOAD);
        let manifest = self.store.get(&item.bucket, &key).await?;
        let manifest = manifest.as_deref().map(Manifest::parse);
        match manifest {
            Some(Ok(manifest)) => Ok(manifest.plan.run_id),
            other => {
                let found = other.and_then(Result::err).unwrap_or_else(|| "it is not there".to_owned());
                let problem =
                    format!("RUN_ID: missing, and {} does not say it either: {found}", url(&item.bucket, &key));
                Err(crate::payload::InputError { problems: vec![problem] }.into())
            }
        }
    }

    /// The rank's result, if it was done before in this run, from the same partitions, and is still whole.
    async fn finished(&self, item: &Item, run_id: &str) -> Result<Option<RankResult>, Error> {
        let key = format!("{}/{}", item.result_path, names::rank(item.rank));
        let Some(json) = self.store.get(&item.bucket, &key).await? else { return Ok(None) };
        let Ok(result) = serde_json::from_slice::<RankResult>(&json) else { return Ok(None) };
        let keys: Vec<&String> = result.partitions.iter().map(|partition| &partition.key).collect();
        if result.run_id != run_id
            || result.rank != item.rank
            || !keys.iter().copied().eq(&item.data_path)
            || result.precision != item.precision.name()
        {
            return Ok(None);
        }
        for partition in &result.partitions {
            let now = self.store.head(&item.data_bucket, &partition.key).await?;
            if now.is_none_or(|now| (now.bytes, &now.etag) != (partition.bytes, &partition.etag)) {
                return Ok(None);
            }
        }
        let predictions = self.store.get(&item.bucket, &result.predictions.key).await?;
        let is_whole = predictions.is_some_and(|bytes| checkpoint::sha256(&bytes) == result.predictions.sha256);
        Ok(is_whole.then_some(result))
    }

    /// The model, loaded once per process and again only if the file changes.
    async fn model(&self, item: &Item) -> Result<Arc<Loaded>, Error> {
        let object = checkpoint::locate(&self.store, &item.bucket, item.object_type, &item.object_name).await?;
        let mut cached = self.model.lock().await;
        if let Some(loaded) = &*cached
            && (&loaded.file.key, &loaded.file.etag) == (&object.key, &object.etag)
            && loaded.model.precision() == item.precision
        {
            return Ok(Arc::clone(loaded));
        }
        // The old one goes first: there is never room for two.
        *cached = None;
        let loaded =
            checkpoint::load(&self.store, &item.bucket, &object, item.precision, self.identity.kernels).await?;
        *cached = Some(Arc::clone(&loaded));
        Ok(loaded)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that is known at the end comes together here, once")]
    fn result(
        &self,
        item: &Item,
        run_id: String,
        model: &Loaded,
        begun: &Begun,
        computed: &Computed,
        predictions: PredictionsFile,
        load_model: Duration,
        write: Duration,
    ) -> RankResult {
        let (total, infer) = (begun.at.elapsed().as_secs_f64(), computed.infer.as_secs_f64());
        let cpu_seconds = process::cpu_seconds() - begun.cpu_seconds;
        let peak_rss_mib = process::peak_rss_mib();
        let peak_rss_mb = peak_rss_mib * 1.048_576;
        let rows = computed.rows as f64;
        let reads = computed.reads;
        let per_s = |amount: f64, seconds: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        RankResult {
            total_cpu_time: cpu_seconds,
            total_cpu_memory: peak_rss_mb,
            total_process_memory: peak_rss_mb,
            execution_time: per_s(infer, computed.batches as f64),
            num_batches: computed.batches,
            batch_size: item.batch_size,
            device: "cpu".to_owned(),
            throughput_bps: per_s(rows * GALAXY_BYTES * 8.0, infer),
            sample_persec: per_s(rows, infer),
            result_path: item.result_path.clone(),
            data_path: keys_to_json(&item.data_path),
            s3_num_requests: reads.requests,
            s3_total_time: reads.waited.as_secs_f64(),
            s3_avg_time: per_s(reads.waited.as_secs_f64(), reads.requests as f64),
            s3_min_time: reads.waited_min.as_secs_f64(),
            s3_max_time: reads.waited_max.as_secs_f64(),
            run_id,
            rank: item.rank,
            rows: computed.rows,
            rows_flagged: computed.rows_flagged,
            partitions: computed.partitions.clone(),
            model_sha256: model.file.sha256.clone(),
            predictions,
            phases: Phases {
                init: self.identity.init.filter(|_| begun.cold).map(|init| init.as_secs_f64()),
                read: reads.waited.as_secs_f64(),
                decode: computed.decode.as_secs_f64(),
                load_model: load_model.as_secs_f64(),
                infer,
                write: write.as_secs_f64(),
                total,
            },
            cpu_seconds,
            peak_rss_mib,
            memory_mib: self.identity.memory_mib,
            cold: begun.cold,
            log_stream: self.identity.log_stream.clone(),
            started_at: begun.at_ms,
            inferring_from: computed.inferring_from,
            inferring_to: computed.inferring_to,
            finished_at: process::now_ms(),
            galaxies_per_s: per_s(rows, total),
            precision: item.precision.name().to_owned(),
            kernels: self.identity.kernels.name().to_owned(),
            created_by: crate::CREATED_BY.to_owned(),
        }
    }
}

fn answer(item: &Item, result: &RankResult) -> Value {
    json!({
        "rank": result.rank,
        "galaxies": result.rows,
        "run_id": result.run_id,
        "S3_BUCKET": item.bucket,
        "RESULT_PATH": item.result_path,
    })
}

/// When an invocation began, by every clock.
struct Begun {
    at: Instant,
    at_ms: f64,
    cpu_seconds: f64,
    cold: bool,
}

impl Begun {
    fn now(cold: bool) -> Self {
        // A cold process's CPU time since its start belongs to its first item.
        let cpu_seconds = if cold { 0.0 } else { process::cpu_seconds() };
        Self { at: Instant::now(), at_ms: process::now_ms(), cpu_seconds, cold }
    }
}

/// Everything that the compute thread needs.
struct Rank {
    runtime: Handle,
    store: Store,
    item: Item,
    kernels: Set,
    model: Arc<Loaded>,
    provenance: Provenance,
}

/// Everything that the compute thread found.
#[derive(Default)]
struct Computed {
    parquet: bytes::Bytes,
    rows: u64,
    rows_flagged: u64,
    batches: u64,
    partitions: Vec<PartitionFile>,
    reads: Reads,
    decode: Duration,
    infer: Duration,
    encoding: Duration,
    inferring_from: f64,
    inferring_to: f64,
}

impl Rank {
    /// Whole batches, as many as memory is given to; a part of one if it alone is larger.
    fn rows_at_once(&self) -> usize {
        let batch_size = self.item.batch_size.min(ROWS_AT_ONCE);
        ROWS_AT_ONCE - ROWS_AT_ONCE % batch_size
    }

    fn compute(self) -> Result<Computed, Error> {
        let rows_at_once = self.rows_at_once();
        let mut stage = Stage {
            predictor: Predictor::with_kernels(&self.model.model, self.item.batch_size.min(ROWS_AT_ONCE), self.kernels),
            batch_size: self.item.batch_size.min(ROWS_AT_ONCE),
            batch: Batch::default(),
            redshifts: vec![0.0; rows_at_once],
            predictions: Vec::with_capacity(rows_at_once),
        };
        let mut computed = Computed { inferring_from: process::now_ms(), ..Computed::default() };
        let encoding = |error| Error::Internal(format!("encoding the predictions of rank {}: {error}", self.item.rank));
        let mut writer = Writer::new(Vec::new(), self.provenance.clone()).map_err(encoding)?;
        for key in &self.item.data_path {
            self.partition(key, &mut stage, &mut writer, &mut computed)?;
        }
        computed.inferring_to = process::now_ms();
        let finishing = Instant::now();
        let (parquet, rows) = writer.finish().map_err(encoding)?;
        computed.encoding += finishing.elapsed();
        (computed.parquet, computed.rows) = (parquet.into(), rows);
        Ok(computed)
    }

    fn partition(
        &self,
        key: &str,
        stage: &mut Stage<'_>,
        writer: &mut Writer<Vec<u8>>,
        computed: &mut Computed,
    ) -> Result<(), Error> {
        let location = url(&self.item.data_bucket, key);
        let opening = Instant::now();
        let opened = self.runtime.block_on(self.store.source(&self.item.data_bucket, key))?;
        let (object, source) =
            opened.ok_or_else(|| invalid(format!("{location}: is gone since Initialize listed it")))?;
        let failed = |error: starmap_partitions::Error| match source.failure() {
            Some(reason) => Error::Storage { doing: "reading", location: location.clone(), reason },
            None => invalid(with_causes(&error)),
        };
        let mut partition = Partition::open(source.clone(), &location).map_err(failed)?;
        computed.decode += opening.elapsed().saturating_sub(source.reads().waited);

        let rows = partition.galaxies();
        let rows_at_once = stage.redshifts.len();
        for first in (0..rows).step_by(rows_at_once) {
            let range = first..rows.min(first + rows_at_once);
            let (decoding, waited) = (Instant::now(), source.reads().waited);
            partition.read(range.clone(), &mut stage.batch).map_err(failed)?;
            if first == 0 {
                partition.check_band_order(&stage.batch).map_err(failed)?;
            }
            let bad = stage.batch.non_finite_rows();
            if !bad.is_empty() && self.item.bad_pixels == BadPixels::Refuse {
                return Err(self.refuse(&location, first, &bad, &mut partition, &mut stage.batch).map_err(failed)?);
            }
            stage.blank(&bad);
            computed.decode += decoding.elapsed().saturating_sub(source.reads().waited - waited);

            let inferring = Instant::now();
            stage.predict(range.len()).map_err(|error| Error::Internal(format!("{location}: {error}")))?;
            computed.infer += inferring.elapsed();

            let encoding = Instant::now();
            stage.collect(first, range.len(), &bad);
            computed.rows_flagged += stage.predictions.iter().filter(|prediction| prediction.flags != 0).count() as u64;
            if self.item.bad_pixels == BadPixels::Refuse
                && let Some(none) = stage.predictions.iter().find(|prediction| prediction.z_phot.is_none())
            {
                return Err(invalid(format!(
                    "{location}: row {} has finite pixels and magnitudes, but the model's redshift is not finite\n\
                     hint: look for values far outside of the training range, or pass such rows with \"bad_pixels\": \"flag\"",
                    none.row
                )));
            }
            let pushed = writer.push(key, &stage.predictions);
            pushed.map_err(|error| Error::Internal(format!("{location}: encoding predictions: {error}")))?;
            computed.encoding += encoding.elapsed();
        }
        partition.finish().map_err(failed)?;
        computed.batches += rows.div_ceil(self.item.batch_size) as u64;
        computed.reads = computed.reads.and(source.reads());
        computed.partitions.push(PartitionFile {
            key: key.to_owned(),
            rows: rows as u64,
            bytes: object.bytes,
            etag: object.etag,
        });
        Ok(())
    }

    /// Counts all bad rows of the partition: whoever repairs it wants to know them all.
    fn refuse(
        &self,
        location: &str,
        first: usize,
        bad: &[usize],
        partition: &mut Partition<Source>,
        batch: &mut Batch,
    ) -> Result<Error, starmap_partitions::Error> {
        let mut count = bad.len() as u64;
        let mut rows: Vec<u64> = bad.iter().map(|row| (first + row) as u64).collect();
        let galaxies = partition.galaxies();
        let rows_at_once = self.rows_at_once();
        for next in (first..galaxies).step_by(rows_at_once).skip(1) {
            partition.read(next..galaxies.min(next + rows_at_once), batch)?;
            let bad = batch.non_finite_rows();
            count += bad.len() as u64;
            rows.extend(bad.iter().map(|row| (next + row) as u64).take(ROWS_SHOWN));
        }
        rows.truncate(ROWS_SHOWN);
        Ok(Error::NonFinitePixels { partition: location.to_owned(), rows, count, galaxies: galaxies as u64 })
    }
}

/// Buffers that are used again for every batch.
struct Stage<'a> {
    predictor: Predictor<'a>,
    batch_size: usize,
    batch: Batch,
    redshifts: Vec<f32>,
    predictions: Vec<Prediction>,
}

impl Stage<'_> {
    /// Puts zeros into rows that are flagged; what the model says of them is not used.
    fn blank(&mut self, rows: &[usize]) {
        for &row in rows {
            self.batch.images[row * IMAGE..(row + 1) * IMAGE].fill(0.0);
            self.batch.magnitudes[row * BANDS..(row + 1) * BANDS].fill(0.0);
        }
    }

    fn predict(&mut self, rows: usize) -> Result<(), starmap_astromae::Error> {
        let images = self.batch.images.chunks(self.batch_size * IMAGE);
        let magnitudes = self.batch.magnitudes.chunks(self.batch_size * BANDS);
        let redshifts = self.redshifts[..rows].chunks_mut(self.batch_size);
        for ((images, magnitudes), redshifts) in images.zip(magnitudes).zip(redshifts) {
            self.predictor.predict(images, magnitudes, redshifts)?;
        }
        Ok(())
    }

    fn collect(&mut self, first: usize, rows: usize, bad: &[usize]) {
        self.predictions.clear();
        for row in 0..rows {
            let is_bad = bad.binary_search(&row).is_ok();
            let z_phot = Some(self.redshifts[row]).filter(|z_phot| !is_bad && z_phot.is_finite());
            let flags = match (is_bad, z_phot) {
                (true, _) => FLAG_NOT_FINITE,
                (false, None) => FLAG_NO_REDSHIFT,
                (false, Some(_)) => 0,
            };
            self.predictions.push(Prediction {
                row: (first + row) as u64,
                z_phot,
                z_spec: self.batch.redshifts.as_ref().map(|redshifts| redshifts[row]).filter(|z| z.is_finite()),
                magnitude_r: self.batch.magnitudes[row * BANDS + R_BAND],
                flags,
            });
        }
    }
}

fn invalid(problem: String) -> Error {
    let mut problems = Problems::alone();
    problems.push(problem);
    Error::PartitionInvalid(problems)
}
