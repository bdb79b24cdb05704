//! Initialize: checks everything before any work starts, and shares the partitions among ranks.
//!
//! Nothing is written when anything is refused. For the same run it may be called again (a retry, a resume) without
//! harm: it finds its own `payload.json` and leaves finished ranks alone.

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use starmap_astromae::Precision;
use starmap_partitions::Partition;

use crate::calibrate::calibrate;
use crate::checkpoint::{self, Loader};
use crate::error::{Error, Problems, with_causes};
use crate::payload::{self, InitializeRequest, Input, Item};
use crate::results::{Manifest, PartitionFile, Plan, names};
use crate::store::{Listing, Object, Store, url};

/// Partitions whose headers are read at once.
const HEADERS_AT_ONCE: usize = 16;
/// Endings of files that may be partitions; anything else under the prefix is passed over.
const PARTITION_ENDINGS: [&str; 3] = [".pt", ".safetensors", ".npz"];

/// Carries out Initialize; answers one item per rank in `body`.
///
/// Beside `statusCode` and `body` the answer has `run_id`, `partitions_requested` and `partitions_found`.
///
/// # Errors
/// Whatever is wrong with the input, the buckets, the model, the partitions or the result path.
pub async fn initialize(store: &Store, payload: &Value) -> Result<Value, Error> {
    initialize_with(store, payload, &Loader::default()).await
}

/// The same with a cache of packed models, and kernels to calibrate a reduced precision with.
///
/// # Errors
/// As [`initialize`].
pub async fn initialize_with(store: &Store, payload: &Value, loader: &Loader) -> Result<Value, Error> {
    let request = InitializeRequest::parse(payload)?;
    let input = &request.input;
    let run_id = request.run_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    store.check_bucket(&input.bucket).await?;
    store.check_bucket(&input.data_bucket).await?;

    let result_path = ResultPath::look(store, input, &run_id).await?;
    let model = checkpoint::locate(store, &input.bucket, input.object_type, &input.object_name).await?;
    let object = model;
    let model = loader.check(store, &input.bucket, &object, input.precision).await?;
    let found = find_partitions(store, input).await?;
    let partitions_found = found.len();
    let used: Vec<Object> = found.into_iter().take(input.file_limit).collect();
    let partitions = read_headers(store, input, used).await?;
    if partitions_found < input.file_limit {
        tracing::warn!(
            partitions_found,
            partitions_requested = input.file_limit,
            prefix = url(&input.data_bucket, &input.data_prefix),
            "there are fewer partitions than file_limit asks for; the run takes those that are there"
        );
    }

    let calibration = match (input.precision, partitions.first()) {
        (Precision::F32, _) | (_, None) => None,
        (_, Some(first)) => Some(calibrate(store, input, &object, first, loader).await?),
    };
    let keys: Vec<String> = partitions.iter().map(|partition| partition.key.clone()).collect();
    let world_size = input.workers(keys.len());
    let data_map = payload::split(&keys, world_size);
    let manifest = Manifest {
        input: input.given.clone(),
        data_map,
        plan: Plan {
            run_id,
            created_by: crate::CREATED_BY.to_owned(),
            world_size,
            batch_size: input.batch_size,
            precision: input.precision.name().to_owned(),
            calibration,
            data_bucket: input.data_bucket.clone(),
            data_prefix: input.data_prefix.clone(),
            partitions_requested: input.file_limit,
            partitions_found,
            partitions,
            repaired: Vec::new(),
            model,
        },
    };
    let json = manifest.to_json().and_then(|json| serde_json::to_vec_pretty(&json));
    let json = json.map_err(|error| Error::Internal(format!("writing payload.json: {error}")))?;
    result_path.clear(store).await?;
    store.put(&input.bucket, &result_path.key(names::PAYLOAD), json).await?;
    Ok(answer(input, &manifest))
}

fn answer(input: &Input, manifest: &Manifest) -> Value {
    let items = manifest.data_map.iter().enumerate().map(|(rank, keys)| Item {
        bucket: input.bucket.clone(),
        object_name: input.object_name.clone(),
        script: input.script.clone(),
        object_type: input.object_type,
        world_size: manifest.plan.world_size,
        rank,
        data_bucket: input.data_bucket.clone(),
        data_prefix: input.data_prefix.clone(),
        data_path: keys.clone(),
        result_path: input.result_path.clone(),
        batch_size: input.batch_size,
        run_id: Some(manifest.plan.run_id.clone()),
        bad_pixels: input.bad_pixels,
        precision: input.precision,
    });
    let mut answer = payload::initialize_answer(&items.collect::<Vec<_>>());
    answer["run_id"] = json!(manifest.plan.run_id);
    answer["partitions_requested"] = json!(manifest.plan.partitions_requested);
    answer["partitions_found"] = json!(manifest.plan.partitions_found);
    answer
}

async fn find_partitions(store: &Store, input: &Input) -> Result<Vec<Object>, Error> {
    let listing = store.list(&input.data_bucket, &input.data_prefix).await?;
    let is_partition = |object: &Object| PARTITION_ENDINGS.iter().any(|ending| object.key.ends_with(ending));
    let (partitions, others): (Vec<_>, Vec<_>) = listing.objects.into_iter().partition(is_partition);
    if !partitions.is_empty() {
        return Ok(partitions);
    }
    // Say what the reader may have meant: what is below the prefix, else what is beside it.
    let folders = listing.folders.into_iter().map(|folder| folder + "/");
    let mut present: Vec<String> = folders.chain(others.into_iter().map(|object| object.key)).collect();
    if present.is_empty() {
        let parent = input.data_prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        let beside = store.list(&input.data_bucket, parent).await?;
        present = beside.folders.into_iter().map(|folder| folder + "/").collect();
    }
    Err(Error::NoPartitions { location: format!("{}/", url(&input.data_bucket, &input.data_prefix)), present })
}

/// Reads the header of every partition: structure, shapes, types, rows. Names all that are bad.
async fn read_headers(store: &Store, input: &Input, objects: Vec<Object>) -> Result<Vec<PartitionFile>, Error> {
    let headers = stream::iter(objects).map(|object| read_header(store, &input.data_bucket, object));
    let headers: Vec<_> = headers.buffered(HEADERS_AT_ONCE).collect().await;
    let mut problems = Problems::of(format!("{}/", url(&input.data_bucket, &input.data_prefix)));
    let mut partitions = Vec::with_capacity(headers.len());
    for header in headers {
        match header? {
            Ok(partition) => partitions.push(partition),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.count() > 0 { Err(Error::PartitionInvalid(problems)) } else { Ok(partitions) }
}

/// The outer result is that of the store, the inner one that of the file.
pub(crate) async fn read_header(
    store: &Store,
    bucket: &str,
    object: Object,
) -> Result<Result<PartitionFile, String>, Error> {
    let location = url(bucket, &object.key);
    let Some((object, source)) = store.source(bucket, &object.key).await? else {
        return Ok(Err(format!("{location}: is gone since it was listed")));
    };
    let name = location.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let failure = source.clone();
        let opened = Partition::open(source, &name).map(|partition| partition.galaxies() as u64);
        (opened, failure.failure())
    });
    let (opened, failure) = opened
        .await
        .map_err(|error| Error::Internal(format!("{location}: reading the header ended early: {error}")))?;
    match (opened, failure) {
        (Ok(rows), _) => Ok(Ok(PartitionFile { key: object.key, rows, bytes: object.bytes, etag: object.etag })),
        (Err(_), Some(reason)) => Err(Error::Storage { doing: "reading", location, reason }),
        (Err(error), None) => Ok(Err(with_causes(&error))),
    }
}

/// What is under the result path already, and whether it may go.
struct ResultPath {
    bucket: String,
    path: String,
    to_delete: Vec<String>,
}

impl ResultPath {
    /// Looks without touching anything. Results of another run are refused unless they may be overwritten.
    async fn look(store: &Store, input: &Input, run_id: &str) -> Result<Self, Error> {
        let (bucket, path) = (input.bucket.clone(), input.result_path.clone());
        let Listing { objects, .. } = store.list(&bucket, &path).await?;
        let predictions = store.list(&bucket, &format!("{path}/predictions")).await?.objects;
        let inside = |object: Object| object.key.strip_prefix(&format!("{path}/")).map(str::to_owned);
        let ours: Vec<String> =
            objects.into_iter().chain(predictions).filter_map(inside).filter(|n| names::is_ours(n)).collect();
        let mut found = Self { bucket, path, to_delete: Vec::new() };
        let owner = match store.get(&found.bucket, &found.key(names::PAYLOAD)).await? {
            Some(payload) => match Manifest::parse(&payload) {
                Ok(manifest) if manifest.plan.run_id == run_id => return Ok(found),
                Ok(manifest) => format!("run {}", manifest.plan.run_id),
                Err(_) => "a run that is not Starmap's".to_owned(),
            },
            None if ours.is_empty() => return Ok(found),
            None => "an earlier run".to_owned(),
        };
        if !input.overwrite {
            return Err(Error::ResultPathInUse { location: format!("{}/", url(&found.bucket, &found.path)), owner });
        }
        found.to_delete = ours;
        // Last: as long as anything is there, it says whose it is.
        found.to_delete.sort_by_key(|name| name == names::PAYLOAD);
        Ok(found)
    }

    async fn clear(&self, store: &Store) -> Result<(), Error> {
        for name in &self.to_delete {
            store.delete(&self.bucket, &self.key(name)).await?;
        }
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}
