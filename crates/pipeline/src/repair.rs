//! Repair: takes note of partitions that were mended after a run failed on them.
//!
//! A run is of the partitions that Initialize found, and a partition that changes during it is refused, because nobody
//! could say which of its galaxies were predicted. Before a redrive the opposite is wanted: what failed was mended, and
//! is to be read anew. So the plan is brought up to date, for ranks without a result and for no others, and keeps what
//! was changed.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problems};
use crate::initialize::read_header;
use crate::payload::ResultPlace;
use crate::proof::read_manifest;
use crate::results::{RankResult, names};
use crate::store::{Store, url};

/// A partition that was changed between two attempts of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Its key.
    pub key: String,
    /// What its etag was.
    pub etag_before: String,
    /// What its etag is.
    pub etag: String,
    /// How many galaxies there were.
    pub rows_before: u64,
    /// How many galaxies there are.
    pub rows: u64,
}

/// Brings the plan of a run that failed up to date; says what was changed.
///
/// # Errors
/// [`Error::PartitionInvalid`] names every partition that is still not one; [`Error::Unproven`] if there is no plan of
/// this run; [`Error::Storage`]. Nothing is changed then.
pub async fn repair(store: &Store, place: &ResultPlace) -> Result<Vec<Repaired>, Error> {
    let mut manifest = read_manifest(store, place).await?;
    let bucket = manifest.plan.data_bucket.clone();
    let mut problems = Problems::of(format!("{}/", url(&bucket, &manifest.plan.data_prefix)));
    let mut repaired = Vec::new();
    for (rank, keys) in manifest.data_map.iter().enumerate() {
        let location = place.object(&names::rank(rank));
        let result = store.get(&location.bucket, &location.key).await?;
        let result = result.and_then(|json| serde_json::from_slice::<RankResult>(&json).ok());
        if result.is_some_and(|result| result.run_id == manifest.plan.run_id) {
            continue;
        }
        for key in keys {
            let Some(planned) = manifest.plan.partitions.iter_mut().find(|planned| planned.key == *key) else {
                continue;
            };
            let Some(now) = store.head(&bucket, key).await? else {
                problems.push(format!("{}: is not there any more", url(&bucket, key)));
                continue;
            };
            if (now.bytes, &now.etag) == (planned.bytes, &planned.etag) {
                continue;
            }
            match read_header(store, &bucket, now).await? {
                Err(problem) => problems.push(problem),
                Ok(header) => {
                    let before = std::mem::replace(planned, header);
                    repaired.push(Repaired {
                        key: key.clone(),
                        etag_before: before.etag,
                        etag: planned.etag.clone(),
                        rows_before: before.rows,
                        rows: planned.rows,
                    });
                }
            }
        }
    }
    if problems.count() > 0 {
        return Err(Error::PartitionInvalid(problems));
    }
    if !repaired.is_empty() {
        manifest.plan.repaired.extend(repaired.iter().cloned());
        let json = manifest.to_json().and_then(|json| serde_json::to_vec_pretty(&json));
        let json = json.map_err(|error| Error::Internal(format!("writing payload.json: {error}")))?;
        let location = place.object(names::PAYLOAD);
        store.put(&location.bucket, &location.key, json).await?;
    }
    Ok(repaired)
}
