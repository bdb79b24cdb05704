//! Verify: reads a run's results and inputs again and proves, object by object, that they belong together.
//!
//! Beside what Summarize proved (see [`proof`](crate::proof)):
//!
//! - PROOF-6: no partition is given to two ranks, and every partition is given to one;
//! - PROOF-7: the model and the partitions are those of the run still, every row of every partition can be read, and
//!   its magnitude, its spectroscopic redshift and whether its values are finite are what its prediction says;
//! - PROOF-8: the merged files are the ranks', row by row and byte by byte, and the summary counts and hashes them so;
//! - PROOF-9: nothing of another run lies beside them, and nothing that was not written to its end.
//!
//! Nothing is written, and everything that is wrong is listed.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufReader, Read};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use serde::Serialize;
use starmap_partitions::{BANDS, Batch, ByteSource, Partition};
use tokio::runtime::Handle;

use crate::checkpoint::sha256_of;
use crate::error::{Error, with_causes};
use crate::payload::ResultPlace;
use crate::predictions::{FLAG_NOT_FINITE, Prediction, Reader, Rows};
use crate::proof::{Defect, Proof, read_manifest, read_results, short};
use crate::results::{Manifest, PartitionFile, RankResult, names};
use crate::store::{Object, Source, Store, url};
use crate::summary::Summary;

/// Rows of a partition that are read at once.
const ROWS_AT_ONCE: usize = 256;
/// Position of the r band in u, g, r, i, z.
const R_BAND: usize = 2;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Where the results are.
    pub results: String,
    /// Id of the run, if its `payload.json` says it.
    pub run_id: Option<String>,
    /// Ranks that there should be.
    pub ranks: usize,
    /// Partitions that were read again.
    pub partitions: u64,
    /// Galaxies that were compared with their predictions.
    pub galaxies: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Everything that is wrong.
    pub defects: Vec<Defect>,
}

/// Verifies a run.
///
/// # Errors
/// Only where the storage fails; what is wrong with the run is in the answer.
pub async fn verify(store: &Store, place: &ResultPlace) -> Result<Verification, Error> {
    verify_by(store, place, Depth::All).await
}

/// Verifies a run's results among themselves, and that its inputs are those that it read still: all of the above but for
/// reading model and partitions again (of PROOF-7, what their etags say). What is read is what the run wrote.
///
/// # Errors
/// Only where the storage fails; what is wrong with the run is in the answer.
pub async fn verify_results(store: &Store, place: &ResultPlace) -> Result<Verification, Error> {
    verify_by(store, place, Depth::Results).await
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Results,
    All,
}

async fn verify_by(store: &Store, place: &ResultPlace, depth: Depth) -> Result<Verification, Error> {
    let mut proof = Proof::new(place);
    let mut seen = Verification {
        results: place.to_string(),
        run_id: None,
        ranks: 0,
        partitions: 0,
        galaxies: 0,
        bytes: 0,
        defects: Vec::new(),
    };
    let manifest = match read_manifest(store, place).await {
        Ok(manifest) => manifest,
        Err(Error::Unproven { gravest, problems }) => {
            seen.defects = problems.shown().iter().map(|it| Defect { kind: gravest, problem: it.clone() }).collect();
            return Ok(seen);
        }
        Err(error) => return Err(error),
    };
    (seen.run_id, seen.ranks) = (Some(manifest.plan.run_id.clone()), manifest.plan.world_size);
    check_plan(&manifest, &mut proof);
    let (ranks, combined) = read_results(store, place, &manifest, &mut proof).await?;
    check_combined(store, place, &combined, &mut proof).await?;
    check_strays(store, place, &manifest, &mut proof).await?;
    let summary = read_summary(store, place, &manifest, &mut proof).await?;

    let reading = Reading {
        runtime: Handle::current(),
        store: store.clone(),
        place: place.clone(),
        manifest,
        summary,
        proof,
        seen,
        depth,
    };
    let done = tokio::task::spawn_blocking(move || reading.run(&ranks)).await;
    done.map_err(|error| Error::Internal(format!("verifying ended early: {error}")))?
}

/// PROOF-6.
fn check_plan(manifest: &Manifest, proof: &mut Proof) {
    let name = names::PAYLOAD;
    let planned: HashSet<&str> = manifest.plan.partitions.iter().map(|partition| partition.key.as_str()).collect();
    if planned.len() != manifest.plan.partitions.len() {
        proof.incomplete(format!("{name}: a partition is in its plan twice"));
    }
    let mut given = HashMap::new();
    for (rank, keys) in manifest.data_map.iter().enumerate() {
        for key in keys {
            if let Some(other) = given.insert(key.as_str(), rank) {
                proof.incomplete(format!("{name}: {key} is given to ranks {other} and {rank}"));
            }
            if !planned.contains(key.as_str()) {
                proof.incomplete(format!("{name}: {key} is given to rank {rank}, and is not in the plan"));
            }
        }
    }
    for key in planned.iter().filter(|key| !given.contains_key(**key)) {
        proof.missing(format!("{name}: {key} is in the plan, and is given to no rank"));
    }
}

async fn check_combined(store: &Store, place: &ResultPlace, expected: &[u8], proof: &mut Proof) -> Result<(), Error> {
    let location = place.object(names::COMBINED);
    match store.get(&location.bucket, &location.key).await? {
        None => proof.missing(format!("{}: is not there", names::COMBINED)),
        Some(found) if found != expected => {
            proof.incomplete(format!("{}: is not the ranks' results, one after the other", names::COMBINED));
        }
        Some(_) => {}
    }
    Ok(())
}

/// PROOF-9. Ranks that there should not be are found with the results.
async fn check_strays(store: &Store, place: &ResultPlace, manifest: &Manifest, proof: &mut Proof) -> Result<(), Error> {
    let folder = format!("{}/predictions", place.path);
    let ours: HashSet<String> =
        (0..manifest.plan.world_size).map(|rank| place.object(&names::rank_predictions(rank)).key).collect();
    for object in store.list(&place.bucket, &folder).await?.objects {
        if !ours.contains(&object.key) {
            let name = object.key.strip_prefix(&format!("{}/", place.path)).unwrap_or(&object.key);
            proof.stale(format!("{name}: no rank of this run writes it"));
        }
    }
    for (prefix, shown) in [(place.path.clone(), ""), (folder, "predictions/")] {
        for name in store.leftovers(&place.bucket, &prefix).await? {
            proof.stale(format!("{shown}{name}: was not written to its end"));
        }
    }
    for name in [names::PLOTS, names::REPORT] {
        let location = place.object(name);
        if store.head(&location.bucket, &location.key).await?.is_none() {
            proof.missing(format!("{name}: is not there"));
        }
    }
    Ok(())
}

/// The summary, if it is one of this run.
async fn read_summary(
    store: &Store,
    place: &ResultPlace,
    manifest: &Manifest,
    proof: &mut Proof,
) -> Result<Option<Summary>, Error> {
    let (name, location) = (names::SUMMARY, place.summary());
    let Some(json) = store.get(&location.bucket, &location.key).await? else {
        proof.missing(format!("{name}: is not there"));
        return Ok(None);
    };
    let summary: Summary = match serde_json::from_slice(&json) {
        Ok(summary) => summary,
        Err(error) => {
            proof.incomplete(format!("{name}: is not what Summarize writes: {error}"));
            return Ok(None);
        }
    };
    let plan = &manifest.plan;
    if summary.run_id != plan.run_id {
        proof.stale(format!("{name}: is of run {}, expected {}", summary.run_id, plan.run_id));
        return Ok(None);
    }
    if summary.model.sha256 != plan.model.sha256 {
        proof.stale(format!("{name}: is of model {}", short(&summary.model.sha256)));
    }
    let rows: u64 = plan.partitions.iter().map(|partition| partition.rows).sum();
    for (what, found, expected) in [
        ("galaxies", summary.galaxies, rows),
        ("rows of predictions", summary.predictions.rows, rows),
        ("partitions", summary.partitions, plan.partitions.len() as u64),
        ("ranks", summary.world_size, plan.world_size as u64),
    ] {
        if found != expected {
            proof.incomplete(format!("{name}: counts {found} {what}, expected {expected}"));
        }
    }
    Ok(Some(summary))
}

/// What reads much, on a thread that may block.
struct Reading {
    runtime: Handle,
    store: Store,
    place: ResultPlace,
    manifest: Manifest,
    summary: Option<Summary>,
    proof: Proof,
    seen: Verification,
    depth: Depth,
}

impl Reading {
    fn run(mut self, ranks: &[Option<RankResult>]) -> Result<Verification, Error> {
        self.model()?;
        // Without a rank's rows nobody can say what should follow in the merged file.
        let is_whole = ranks.iter().all(Option::is_some);
        let mut merged = self.merged()?.filter(|_| is_whole);
        for result in ranks.iter().flatten() {
            let key = &result.predictions.key;
            let bytes = self.runtime.block_on(self.store.get(&self.place.bucket, key))?;
            self.seen.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let Some(groups) = self.proof.predictions(result, bytes, &self.manifest.plan) else {
                // What follows in the merged file can't be compared any more.
                merged = None;
                continue;
            };
            let mut predictions = groups.iter().flat_map(|group| &group.predictions);
            for partition in &result.partitions {
                self.partition(result.rank, partition, &mut predictions)?;
            }
            if let Some(rows) = &mut merged
                && let Err(problem) = rows.follow(&groups)
            {
                self.proof.incomplete(format!("{}: {problem}", names::PREDICTIONS));
                merged = None;
            }
        }
        if let Some(mut rows) = merged
            && rows.next().is_some()
        {
            self.proof.incomplete(format!("{}: has rows that no rank predicted", names::PREDICTIONS));
        }
        self.seen.defects = self.proof.defects;
        Ok(self.seen)
    }

    fn model(&mut self) -> Result<(), Error> {
        let (bucket, planned) = (&self.place.bucket, &self.manifest.plan.model);
        let location = url(bucket, &planned.key);
        let Some((object, source)) = self.runtime.block_on(self.store.source(bucket, &planned.key))? else {
            self.proof.missing(format!("{location}: is not there any more"));
            return Ok(());
        };
        if self.depth == Depth::Results {
            if !is_still(&object, planned.bytes, &planned.etag) {
                self.proof.stale(format!("{location}: has changed since the run used it"));
            }
            return Ok(());
        }
        let found = sha256_of(&source).map_err(|error| storage(&location, &error))?;
        self.seen.bytes += object.bytes;
        if found != planned.sha256 {
            self.proof.stale(format!(
                "{location}: has SHA-256 {}, the run used {}",
                short(&found),
                short(&planned.sha256)
            ));
        }
        Ok(())
    }

    /// The merged predictions, if they can be read and are those that the summary tells of.
    fn merged(&mut self) -> Result<Option<Merged>, Error> {
        let location = self.place.object(names::PREDICTIONS);
        let opened = self.runtime.block_on(self.store.source(&location.bucket, &location.key))?;
        let Some((object, source)) = opened else {
            self.proof.missing(format!("{}: is not there", names::PREDICTIONS));
            return Ok(None);
        };
        let found = sha256_of(&source).map_err(|error| storage(&location.to_string(), &error))?;
        self.seen.bytes += object.bytes;
        if let Some(summary) = &self.summary
            && (object.bytes, &found) != (summary.predictions.bytes, &summary.predictions.sha256)
        {
            self.proof.incomplete(format!(
                "{}: is {} bytes with SHA-256 {}, expected {} bytes with {}",
                names::PREDICTIONS,
                object.bytes,
                short(&found),
                summary.predictions.bytes,
                short(&summary.predictions.sha256)
            ));
            return Ok(None);
        }
        match Reader::open(Chunks(source)) {
            Ok(reader) => Ok(Some(Merged { reader, group: 0, rows: Rows::default(), at: 0 })),
            Err(error) => {
                self.proof.incomplete(format!("{}: {error}", names::PREDICTIONS));
                Ok(None)
            }
        }
    }

    /// PROOF-7 for one partition, whose predictions follow.
    fn partition<'p>(
        &mut self,
        rank: usize,
        read: &PartitionFile,
        predictions: &mut impl Iterator<Item = &'p Prediction>,
    ) -> Result<(), Error> {
        let mut theirs = predictions.by_ref().take(usize::try_from(read.rows).unwrap_or(usize::MAX));
        let location = url(&self.manifest.plan.data_bucket, &read.key);
        let opened = self.runtime.block_on(self.store.source(&self.manifest.plan.data_bucket, &read.key))?;
        let compared = match opened {
            None => {
                self.proof.missing(format!("{location}: is not there any more"));
                Ok(())
            }
            Some((object, _)) if !is_still(&object, read.bytes, &read.etag) => {
                self.proof.stale(format!("{location}: has changed since rank {rank} read it"));
                Ok(())
            }
            Some(_) if self.depth == Depth::Results => Ok(()),
            Some((object, source)) => {
                self.seen.bytes += object.bytes;
                self.seen.partitions += 1;
                match compare(&source, &location, read.rows, &mut theirs) {
                    Ok(galaxies) => {
                        self.seen.galaxies += galaxies;
                        Ok(())
                    }
                    Err(problem) => match source.failure() {
                        Some(reason) => Err(Error::Storage { doing: "reading", location, reason }),
                        None => {
                            self.proof.incomplete(problem);
                            Ok(())
                        }
                    },
                }
            }
        };
        // The next partition's predictions begin behind this one's.
        theirs.for_each(drop);
        compared
    }
}

/// Whether an object is the one that was read. The quotes of an ETag depend on whether it came over HTTP.
fn is_still(object: &Object, bytes: u64, etag: &str) -> bool {
    (object.bytes, object.etag.trim_matches('"')) == (bytes, etag.trim_matches('"'))
}

/// Reads a partition and compares every row with its prediction; how many there were.
fn compare<'p>(
    source: &Source,
    location: &str,
    rows: u64,
    predictions: &mut impl Iterator<Item = &'p Prediction>,
) -> Result<u64, String> {
    let named = |error: starmap_partitions::Error| with_causes(&error);
    let mut partition = Partition::open(source.clone(), location).map_err(named)?;
    let galaxies = partition.galaxies();
    if galaxies as u64 != rows {
        return Err(format!("{location}: has {galaxies} galaxies, the run predicted {rows}"));
    }
    let mut batch = Batch::default();
    for first in (0..galaxies).step_by(ROWS_AT_ONCE) {
        partition.read(first..galaxies.min(first + ROWS_AT_ONCE), &mut batch).map_err(named)?;
        let bad = batch.non_finite_rows();
        for row in 0..batch.rows() {
            let Some(prediction) = predictions.next() else { return Err(format!("{location}: has no predictions")) };
            let z_spec = batch.redshifts.as_ref().map(|redshifts| redshifts[row]).filter(|z| z.is_finite());
            let magnitude_r = batch.magnitudes[row * BANDS + R_BAND];
            let is_bad = bad.binary_search(&row).is_ok();
            let is_the_same = prediction.z_spec.map(f64::to_bits) == z_spec.map(f64::to_bits)
                && (is_bad || prediction.magnitude_r.to_bits() == magnitude_r.to_bits())
                && (prediction.flags & FLAG_NOT_FINITE != 0) == is_bad;
            if !is_the_same {
                return Err(format!(
                    "{location}: row {} is not the galaxy that was predicted: z_spec {z_spec:?}, magnitude {magnitude_r}, \
                     expected {:?} and {}",
                    first + row,
                    prediction.z_spec,
                    prediction.magnitude_r
                ));
            }
        }
    }
    partition.finish().map_err(named)?;
    Ok(galaxies as u64)
}

/// The rows of the merged file, group by group.
struct Merged {
    reader: Reader<Chunks>,
    group: usize,
    rows: Rows,
    at: usize,
}

impl Merged {
    /// Makes sure that these rows follow.
    fn follow(&mut self, groups: &[Rows]) -> Result<(), String> {
        for group in groups {
            for (i, expected) in group.predictions.iter().enumerate() {
                let (rows, at) = match self.next() {
                    None => return Err("ends before the ranks' predictions do".to_owned()),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(at)) => (&self.rows, at),
                };
                let is_the_same = rows.galaxy_id[at] == group.galaxy_id[i]
                    && rows.run_id[at] == group.run_id[i]
                    && rows.model_hash[at] == group.model_hash[i]
                    && rows.predictions[at] == *expected;
                if !is_the_same {
                    let id = String::from_utf8_lossy(rows.galaxy_id[at].data());
                    return Err(format!("galaxy {id} is not what its rank predicted"));
                }
            }
        }
        Ok(())
    }

    /// Where the next row is in `rows`.
    fn next(&mut self) -> Option<Result<usize, ParquetError>> {
        while self.at == self.rows.predictions.len() {
            if self.group == self.reader.groups() {
                return None;
            }
            match self.reader.group(self.group) {
                Ok(rows) => (self.rows, self.at) = (rows, 0),
                Err(error) => return Some(Err(error)),
            }
            self.group += 1;
        }
        self.at += 1;
        Some(Ok(self.at - 1))
    }
}

/// An object as Parquet reads it.
struct Chunks(Source);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Rest>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(64 << 10, Rest { source: self.0.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.0.read_at(start, &mut bytes).map_err(|error: io::Error| ParquetError::General(error.to_string()))?;
        Ok(bytes.into())
    }
}

/// The rest of an object.
struct Rest {
    source: Source,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.source.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        self.source.read_at(self.at, &mut buffer[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

fn storage(location: &str, error: &io::Error) -> Error {
    Error::Storage { doing: "reading", location: location.to_owned(), reason: error.to_string() }
}
