//! Inference of one rank: partitions in, one row per galaxy out.
//!
//! A partition is streamed in batches, so memory does not depend on its size nor on `batch_size`; the next batch is read
//! and decoded while one is predicted (`reader`). The model is loaded once per process. Predictions are stored first and `{rank}.json` last: its presence says that the rank is done, and
//! a rank that is asked for again (its answer was lost) verifies and reuses what is there.

mod reader;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use starmap_astromae::Predictor;
use starmap_astromae::kernels::Set;
use starmap_partitions::{BANDS, Batch, IMAGE};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use self::reader::{Chunk, Chunks, Found, Reader};
use crate::checkpoint::{self, Loaded, Loader};
use crate::error::{Error, Problems};
use crate::payload::{BadPixels, Item, keys_to_json};
use crate::predictions::{FLAG_NO_REDSHIFT, FLAG_NOT_FINITE, Prediction, Provenance, Writer};
use crate::process;
use crate::results::{Manifest, Phases, PredictionsFile, RankResult, names};
use crate::store::{Retries, Store, url};

/// Galaxies that are read at once: 5.2 MB of pixels, and as many as the wide layers of the model take together.
const ROWS_AT_ONCE: usize = 256;
/// Environment variable with another number of galaxies to read at once, for a worker that is short of memory.
pub const ROWS_AT_ONCE_VARIABLE: &str = "STARMAP_ROWS_AT_ONCE";
/// Bytes of one galaxy as the published figures count them: 5 × 32 × 32 float32 pixels and 5 float64 magnitudes.
const GALAXY_BYTES: f64 = 20_520.0;
/// Position of the r band in u, g, r, i, z.
const R_BAND: usize = 2;

/// What a worker knows of itself.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Log stream of the worker; unique per process.
    pub log_stream: String,
    /// Memory of the function, MiB.
    pub memory_mib: Option<u32>,
    /// Process start to first poll.
    pub init: Option<Duration>,
    /// What it computes with, and where models are kept packed.
    pub loader: Loader,
    /// Galaxies that it reads at once, and at most in a forward pass, where it is told to do with fewer than usual.
    pub rows_at_once: Option<usize>,
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
        let begun = Begun::now(!self.is_warm.swap(true, Ordering::Relaxed), self.store.retries());
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
            kernels: self.identity.loader.kernels,
            rows_at_once: self.identity.rows_at_once.unwrap_or(ROWS_AT_ONCE).clamp(1, ROWS_AT_ONCE),
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
            storage_retries = result.storage_retries.total(),
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
        let loaded = self.identity.loader.load(&self.store, &item.bucket, &object, item.precision).await?;
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
        let reads = computed.found.reads;
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
            partitions: computed.found.partitions.clone(),
            model_sha256: model.file.sha256.clone(),
            predictions,
            phases: Phases {
                init: self.identity.init.filter(|_| begun.cold).map(|init| init.as_secs_f64()),
                read: reads.waited.as_secs_f64(),
                decode: computed.found.decode.as_secs_f64(),
                wait: computed.wait.as_secs_f64(),
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
            storage_retries: self.store.retries().since(begun.retries),
            precision: item.precision.name().to_owned(),
            kernels: self.identity.loader.kernels.name().to_owned(),
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
    retries: Retries,
    cold: bool,
}

impl Begun {
    fn now(cold: bool, retries: Retries) -> Self {
        // A cold process's CPU time since its start belongs to its first item.
        let cpu_seconds = if cold { 0.0 } else { process::cpu_seconds() };
        Self { at: Instant::now(), at_ms: process::now_ms(), cpu_seconds, retries, cold }
    }
}

/// Everything that the compute thread needs.
struct Rank {
    runtime: Handle,
    store: Store,
    item: Item,
    kernels: Set,
    rows_at_once: usize,
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
    found: Found,
    wait: Duration,
    infer: Duration,
    encoding: Duration,
    inferring_from: f64,
    inferring_to: f64,
}

impl Rank {
    fn compute(self) -> Result<Computed, Error> {
        let (batch_size, rows_at_once) = whole_batches(self.item.batch_size, self.rows_at_once);
        let mut computed = Computed { inferring_from: process::now_ms(), ..Computed::default() };
        let (reader, chunks) = Reader::new(&self.runtime, &self.store, &self.item, rows_at_once);
        std::thread::scope(|scope| {
            let reading = std::thread::Builder::new().name("reader".to_owned()).spawn_scoped(scope, || reader.run());
            let reading = reading.map_err(|error| Error::Internal(format!("starting the reading thread: {error}")))?;
            // What is wrong with a batch comes before what is wrong with those behind it.
            self.predict(chunks, batch_size, &mut computed)?;
            computed.found = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok::<_, Error>(())
        })?;
        let batches = |rows: u64| rows.div_ceil(self.item.batch_size as u64);
        computed.batches = computed.found.partitions.iter().map(|partition| batches(partition.rows)).sum();
        Ok(computed)
    }

    /// Predicts batch by batch until there are no more.
    fn predict(&self, chunks: Chunks, batch_size: usize, computed: &mut Computed) -> Result<(), Error> {
        let mut stage = Stage {
            predictor: Predictor::with_kernels(&self.model.model, batch_size, self.kernels),
            batch_size,
            redshifts: Vec::new(),
            predictions: Vec::new(),
        };
        let encoding = |error| Error::Internal(format!("encoding the predictions of rank {}: {error}", self.item.rank));
        let mut writer = Writer::new(Vec::new(), self.provenance.clone()).map_err(encoding)?;
        loop {
            let waiting = Instant::now();
            let Ok(chunk) = chunks.filled.recv() else { break };
            computed.wait += waiting.elapsed();
            let key = &self.item.data_path[chunk.partition];
            let location = || url(&self.item.data_bucket, key);

            let inferring = Instant::now();
            stage.predict(&chunk.batch).map_err(|error| Error::Internal(format!("{}: {error}", location())))?;
            computed.infer += inferring.elapsed();

            let collecting = Instant::now();
            stage.collect(&chunk);
            computed.rows_flagged += stage.predictions.iter().filter(|prediction| prediction.flags != 0).count() as u64;
            if self.item.bad_pixels == BadPixels::Refuse
                && let Some(none) = stage.predictions.iter().find(|prediction| prediction.z_phot.is_none())
            {
                return Err(invalid(format!(
                    "{}: row {} has finite pixels and magnitudes, but the model's redshift is not finite\n\
                     hint: look for values far outside of the training range, or pass such rows with \"bad_pixels\": \"flag\"",
                    location(),
                    none.row
                )));
            }
            // Reading has ended when nobody takes it.
            let _ = chunks.emptied.send(chunk.batch);
            let pushed = writer.push(key, &stage.predictions);
            pushed.map_err(|error| Error::Internal(format!("{}: encoding predictions: {error}", location())))?;
            computed.encoding += collecting.elapsed();
        }
        computed.inferring_to = process::now_ms();
        let finishing = Instant::now();
        let (parquet, rows) = writer.finish().map_err(encoding)?;
        computed.encoding += finishing.elapsed();
        (computed.parquet, computed.rows) = (parquet.into(), rows);
        Ok(())
    }
}

/// Galaxies of a forward pass, and those that are read at once: whole batches, as many as memory is given to, or one
/// batch that is smaller than what was asked for. A galaxy's redshift does not depend on either.
fn whole_batches(asked: usize, rows_at_once: usize) -> (usize, usize) {
    let batch_size = asked.min(rows_at_once).max(1);
    (batch_size, (rows_at_once - rows_at_once % batch_size).max(1))
}

/// Buffers that are used again for every batch.
struct Stage<'a> {
    predictor: Predictor<'a>,
    batch_size: usize,
    redshifts: Vec<f32>,
    predictions: Vec<Prediction>,
}

impl Stage<'_> {
    fn predict(&mut self, batch: &Batch) -> Result<(), starmap_astromae::Error> {
        self.redshifts.resize(batch.rows(), 0.0);
        let images = batch.images.chunks(self.batch_size * IMAGE);
        let magnitudes = batch.magnitudes.chunks(self.batch_size * BANDS);
        let redshifts = self.redshifts.chunks_mut(self.batch_size);
        for ((images, magnitudes), redshifts) in images.zip(magnitudes).zip(redshifts) {
            self.predictor.predict(images, magnitudes, redshifts)?;
        }
        Ok(())
    }

    fn collect(&mut self, chunk: &Chunk) {
        self.predictions.clear();
        let Chunk { first, batch, bad, .. } = chunk;
        for row in 0..batch.rows() {
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
                z_spec: batch.redshifts.as_ref().map(|redshifts| redshifts[row]).filter(|z| z.is_finite()),
                magnitude_r: batch.magnitudes[row * BANDS + R_BAND],
                flags,
            });
        }
    }
}

/// A partition that is not what it should be.
fn invalid(problem: String) -> Error {
    let mut problems = Problems::alone();
    problems.push(problem);
    Error::PartitionInvalid(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_whole_batches_or_batches_are_smaller() {
        assert_eq!(whole_batches(256, 256), (256, 256));
        assert_eq!(whole_batches(100, 256), (100, 200));
        assert_eq!(whole_batches(100_000, 256), (256, 256));
        assert_eq!(whole_batches(256, 32), (32, 32));
        assert_eq!(whole_batches(1, 1), (1, 1));
    }
}
