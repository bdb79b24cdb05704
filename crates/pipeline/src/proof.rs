//! What makes a run complete, and what is wrong with one that is not.
//!
//! What is proven, against `payload.json` as Initialize wrote it:
//!
//! - PROOF-1: every rank has a `{rank}.json` of this run, and there is none beyond the last rank;
//! - PROOF-2: its partitions are those that Initialize gave it, unchanged, with the rows that their headers say;
//! - PROOF-3: its predictions are byte for byte those that it wrote;
//! - PROOF-4: they are the galaxies of those partitions, each row once and in order. Partitions belong to one rank
//!   each, so no galaxy is twice in the run;
//! - PROOF-5: they are of this run and this model.
//!
//! Summarize proves it before it writes anything; `verify` proves it again, whenever someone asks.

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::checkpoint::sha256;
use crate::error::{Error, Problems, Unproven};
use crate::payload::ResultPlace;
use crate::predictions::{Reader, Rows, galaxy_id};
use crate::results::{Manifest, Plan, RankResult, names};
use crate::store::Store;

/// `{rank}.json`s read at once.
const RESULTS_AT_ONCE: usize = 32;

/// Something that keeps a run from being complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Defect {
    /// How grave it is.
    pub kind: Unproven,
    /// What is wrong with what, in a sentence that begins with the object's name.
    pub problem: String,
}

/// Collects what is wrong.
#[derive(Debug)]
pub(crate) struct Proof {
    place: String,
    pub defects: Vec<Defect>,
}

impl Proof {
    pub fn new(place: &ResultPlace) -> Self {
        Self { place: place.to_string(), defects: Vec::new() }
    }

    pub fn count(&self) -> usize {
        self.defects.len()
    }

    pub fn incomplete(&mut self, problem: String) {
        self.defects.push(Defect { kind: Unproven::Incomplete, problem });
    }

    pub fn missing(&mut self, problem: String) {
        self.defects.push(Defect { kind: Unproven::Missing, problem });
    }

    pub fn stale(&mut self, problem: String) {
        self.defects.push(Defect { kind: Unproven::Stale, problem });
    }

    pub fn into_error(self) -> Error {
        let gravest = self.defects.iter().map(|defect| defect.kind).max().unwrap_or(Unproven::Incomplete);
        let mut problems = Problems::of(format!("{}: the run is not complete", self.place));
        self.defects.into_iter().for_each(|defect| problems.push(defect.problem));
        Error::Unproven { gravest, problems }
    }

    /// PROOF-3 to PROOF-5 for one rank: its predictions, if nothing is wrong with them.
    pub fn predictions(&mut self, result: &RankResult, bytes: Option<Bytes>, plan: &Plan) -> Option<Vec<Rows>> {
        let name = names::rank_predictions(result.rank);
        let Some(bytes) = bytes else {
            self.missing(format!("{name}: is not there"));
            return None;
        };
        match proven(&name, result, bytes, plan) {
            Ok(groups) => Some(groups),
            Err(problem) => {
                self.incomplete(problem);
                None
            }
        }
    }
}

fn proven(name: &str, result: &RankResult, bytes: Bytes, plan: &Plan) -> Result<Vec<Rows>, String> {
    let found = sha256(&bytes);
    if found != result.predictions.sha256 {
        return Err(format!(
            "{name}: is {} bytes with SHA-256 {}, expected {} bytes with {}",
            bytes.len(),
            short(&found),
            result.predictions.bytes,
            short(&result.predictions.sha256)
        ));
    }
    let opened = Reader::new(bytes)
        .and_then(|reader| (0..reader.groups()).map(|group| reader.group(group)).collect::<Result<Vec<Rows>, _>>());
    let groups = opened.map_err(|error| format!("{name}: {error}"))?;
    let rows: usize = groups.iter().map(|group| group.predictions.len()).sum();
    if rows as u64 != result.rows {
        return Err(format!("{name}: has {rows} rows, expected {}", result.rows));
    }
    // The galaxies that must follow, in order.
    let mut expected =
        result.partitions.iter().flat_map(|partition| (0..partition.rows).map(|row| (partition.key.as_str(), row)));
    for group in &groups {
        for (i, prediction) in group.predictions.iter().enumerate() {
            let is_expected = expected.next().is_some_and(|(key, row)| {
                row == prediction.row
                    && group.partition[i].data() == key.as_bytes()
                    && group.galaxy_id[i].data() == galaxy_id(key, row).as_bytes()
            });
            let is_ours = group.run_id[i].data() == plan.run_id.as_bytes()
                && group.model_hash[i].data() == plan.model.sha256.as_bytes();
            if !is_expected || !is_ours {
                let id = String::from_utf8_lossy(group.galaxy_id[i].data());
                let why = if is_expected { "is of another run or model" } else { "is doubled or out of order" };
                return Err(format!("{name}: galaxy {id} {why}"));
            }
        }
    }
    Ok(groups)
}

pub(crate) async fn read_manifest(store: &Store, place: &ResultPlace) -> Result<Manifest, Error> {
    let location = place.object(names::PAYLOAD);
    let mut proof = Proof::new(place);
    match store.get(&location.bucket, &location.key).await?.as_deref().map(Manifest::parse) {
        None => proof.missing(format!("{}: is not there, expected it from Initialize", names::PAYLOAD)),
        Some(Err(problem)) => proof.incomplete(format!("{}: {problem}", names::PAYLOAD)),
        Some(Ok(manifest)) => {
            let run_id = &manifest.plan.run_id;
            match &place.run_id {
                Some(expected) if expected != run_id => {
                    proof.stale(format!("{}: is of run {run_id}, expected {expected}", names::PAYLOAD));
                }
                _ => return Ok(manifest),
            }
        }
    }
    Err(proof.into_error())
}

/// PROOF-1 and PROOF-2. Also answers `combined_data.json`: every `{rank}.json` as it is, in one array.
pub(crate) async fn read_results(
    store: &Store,
    place: &ResultPlace,
    manifest: &Manifest,
    proof: &mut Proof,
) -> Result<(Vec<Option<RankResult>>, Vec<u8>), Error> {
    let world_size = manifest.plan.world_size;
    for object in store.list(&place.bucket, &place.path).await?.objects {
        let name = object.key.rsplit('/').next().unwrap_or_default();
        if names::rank_of(name).is_some_and(|rank| rank >= world_size) {
            proof.stale(format!("{name}: there are {world_size} ranks, expected no such file"));
        }
    }
    let mut reads = stream::iter(0..world_size)
        .map(|rank| async move { store.get(&place.bucket, &place.object(&names::rank(rank)).key).await })
        .buffered(RESULTS_AT_ONCE);
    let mut ranks = Vec::with_capacity(world_size);
    let mut combined = b"[".to_vec();
    while let Some(json) = reads.next().await {
        let rank = ranks.len();
        let name = names::rank(rank);
        let result = match json? {
            None => {
                proof.missing(format!("{name}: is not there"));
                None
            }
            Some(json) => {
                combined.extend_from_slice(if rank == 0 { b"\n" } else { b",\n" });
                combined.extend_from_slice(&json);
                match serde_json::from_slice::<RankResult>(&json) {
                    Ok(result) => check_result(rank, result, manifest, proof),
                    Err(error) => {
                        proof.incomplete(format!("{name}: is not a rank's result: {error}"));
                        None
                    }
                }
            }
        };
        ranks.push(result);
    }
    combined.extend_from_slice(b"\n]\n");
    Ok((ranks, combined))
}

fn check_result(rank: usize, result: RankResult, manifest: &Manifest, proof: &mut Proof) -> Option<RankResult> {
    let name = names::rank(rank);
    let plan = &manifest.plan;
    if result.run_id != plan.run_id {
        proof.stale(format!("{name}: is of run {}, expected {}", result.run_id, plan.run_id));
        return None;
    }
    let before = proof.count();
    if result.rank != rank {
        proof.incomplete(format!("{name}: is of rank {}", result.rank));
    }
    if result.model_sha256 != plan.model.sha256 {
        proof.stale(format!(
            "{name}: is of model {}, expected {}; the model changed during the run",
            short(&result.model_sha256),
            short(&plan.model.sha256)
        ));
    }
    if result.precision != plan.precision {
        proof.stale(format!("{name}: was computed in {}, expected {}", result.precision, plan.precision));
    }
    let keys = &manifest.data_map[rank];
    if !result.partitions.iter().map(|partition| &partition.key).eq(keys) {
        let found: Vec<_> = result.partitions.iter().map(|partition| &partition.key).collect();
        proof.incomplete(format!("{name}: read {found:?}, expected {keys:?}"));
        return None;
    }
    for read in &result.partitions {
        let Some(planned) = plan.partitions.iter().find(|planned| planned.key == read.key) else {
            proof.incomplete(format!("{name}: read {}, which Initialize did not find", read.key));
            continue;
        };
        if (read.bytes, &read.etag) != (planned.bytes, &planned.etag) {
            proof.stale(format!("{name}: {} changed during the run", read.key));
        }
        if read.rows != planned.rows {
            proof.incomplete(format!("{name}: {} gave {} rows, expected {}", read.key, read.rows, planned.rows));
        }
    }
    let rows: u64 = result.partitions.iter().map(|partition| partition.rows).sum();
    if (result.rows, result.predictions.rows) != (rows, rows) {
        proof.incomplete(format!(
            "{name}: says {} rows and {} predictions, expected {rows} of its partitions",
            result.rows, result.predictions.rows
        ));
    }
    (proof.count() == before).then_some(result)
}

pub(crate) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_problem_names_the_error() {
        let place = ResultPlace { bucket: "b".into(), path: "r".into(), run_id: None };
        let mut proof = Proof::new(&place);
        proof.incomplete("1.json: short".into());
        proof.missing("2.json: is not there".into());
        proof.incomplete("3.json: short".into());
        let error = proof.into_error();
        assert_eq!(error.error_name(), "Starmap.MissingResult");
        assert!(error.to_string().starts_with("s3://b/r/: the run is not complete: 3 problems\n- 1.json: short"));
    }
}
