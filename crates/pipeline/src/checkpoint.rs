//! The model file: where it is, whether it is one of ours, and loading it once per process.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use starmap_astromae::kernels::Set;
use starmap_astromae::{Config, Model, Precision};
use starmap_partitions::tensors::TensorFile;
use starmap_partitions::{BANDS, ByteSource, SIDE};

use crate::cache::Cache;
use crate::error::{Error, with_causes};
use crate::model::CheckpointTensors;
use crate::payload::ObjectType;
use crate::results::ModelFile;
use crate::store::{Object, Source, Store, url};

/// Folder of the model below `S3_object_name`, as published.
pub(crate) const FOLDER: &str = "Fine_Tune_Model";
/// Name of the model in it, as published, without its ending.
const STEM: &str = "Mixed_Inception_z_VITAE_Base_Img_Full_New_Full";
/// Endings of model files, in the order in which they are preferred.
const ENDINGS: [&str; 2] = [".pt", ".safetensors"];
/// A remote model up to this size is fetched once and both hashed and loaded from memory; above, it is read twice.
const FETCH_BYTES_MAX: u64 = 256 << 20;

/// Finds the model: the file itself; or in a folder the published name, the same as safetensors, or the only model.
///
/// # Errors
/// [`Error::CheckpointNotFound`] says what is there instead.
pub async fn locate(store: &Store, bucket: &str, kind: ObjectType, object_name: &str) -> Result<Object, Error> {
    if kind == ObjectType::File {
        if let Some(object) = store.head(bucket, object_name).await? {
            return Ok(object);
        }
        let folder = object_name.rsplit_once('/').map_or("", |(folder, _)| folder);
        return Err(not_found(store, bucket, url(bucket, object_name), folder).await?);
    }
    let folder = format!("{object_name}/{FOLDER}");
    for ending in ENDINGS {
        if let Some(object) = store.head(bucket, &format!("{folder}/{STEM}{ending}")).await? {
            return Ok(object);
        }
    }
    let objects = store.list(bucket, &folder).await?.objects;
    let mut models = objects.into_iter().filter(|object| ENDINGS.iter().any(|ending| object.key.ends_with(ending)));
    match (models.next(), models.next()) {
        (Some(only), None) => Ok(only),
        (first, _) => {
            let looked_for = if first.is_some() {
                format!("{}/{STEM}.pt, or the only .pt or .safetensors there", url(bucket, &folder))
            } else {
                format!("{}/{STEM}.pt", url(bucket, &folder))
            };
            Err(not_found(store, bucket, looked_for, &folder).await?)
        }
    }
}

async fn not_found(store: &Store, bucket: &str, looked_for: String, folder: &str) -> Result<Error, Error> {
    let mut listing = store.list(bucket, folder).await?;
    if listing.objects.is_empty() && listing.folders.is_empty() {
        let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        listing = store.list(bucket, parent).await?;
    }
    let folders = listing.folders.into_iter().map(|folder| folder + "/");
    Ok(Error::CheckpointNotFound {
        looked_for,
        present: folders.chain(listing.objects.into_iter().map(|object| object.key)).collect(),
    })
}

/// A model that is ready to predict.
#[derive(Debug)]
pub struct Loaded {
    /// Packed weights.
    pub model: Model,
    /// The file they came from.
    pub file: ModelFile,
}

/// How models are loaded here.
#[derive(Debug, Clone, Default)]
pub struct Loader {
    /// What they are computed with.
    pub kernels: Set,
    /// Where they are kept packed, if anywhere.
    pub cache: Option<Cache>,
}

impl Loader {
    /// Makes sure that a file is a model, by the names and shapes in its header, and hashes it. With a cache, the model
    /// is there packed afterwards.
    ///
    /// # Errors
    /// [`Error::CheckpointInvalid`] names every tensor that is missing or has the wrong shape, or a weight that is not
    /// finite.
    pub async fn check(
        &self,
        store: &Store,
        bucket: &str,
        object: &Object,
        precision: Precision,
    ) -> Result<ModelFile, Error> {
        let opened = Opened::open(store, bucket, object).await?;
        let Self { kernels, cache } = self.clone();
        blocking(move || {
            let tensors = opened.tensors()?;
            let config = Config::read(&tensors).map_err(|error| opened.invalid(&error))?;
            opened.fits(&config)?;
            let file = opened.describe()?;
            if let Some(cache) = cache {
                cache.remember(&opened.location, &opened.object, &file.sha256);
                if !cache.has(&file.sha256, precision, kernels) {
                    let model = Model::load_in(&tensors, precision, kernels).map_err(|error| opened.invalid(&error))?;
                    cache.store(&file.sha256, &model, kernels, &tensors);
                }
            }
            Ok(file)
        })
        .await
    }

    /// Loads a model in a precision.
    ///
    /// # Errors
    /// [`Error::CheckpointInvalid`].
    pub async fn load(
        &self,
        store: &Store,
        bucket: &str,
        object: &Object,
        precision: Precision,
    ) -> Result<Arc<Loaded>, Error> {
        if let Some(loaded) = self.cached(bucket, object, precision).await? {
            return Ok(loaded);
        }
        let opened = Opened::open(store, bucket, object).await?;
        let Self { kernels, cache } = self.clone();
        blocking(move || {
            let file = opened.describe()?;
            let tensors = opened.tensors()?;
            let model = Model::load_in(&tensors, precision, kernels).map_err(|error| opened.invalid(&error))?;
            opened.fits(model.config())?;
            if let Some(cache) = cache {
                cache.remember(&opened.location, &opened.object, &file.sha256);
                cache.store(&file.sha256, &model, kernels, &tensors);
            }
            Ok(Arc::new(Loaded { model, file }))
        })
        .await
    }

    /// The model from the cache: one read of what the kernels take, and nothing of the model's own file.
    async fn cached(&self, bucket: &str, object: &Object, precision: Precision) -> Result<Option<Arc<Loaded>>, Error> {
        let Self { kernels, cache: Some(cache) } = self.clone() else { return Ok(None) };
        let (location, object) = (url(bucket, &object.key), object.clone());
        blocking(move || {
            let Some(sha256) = cache.content(&location, &object) else { return Ok(None) };
            let Some(model) = cache.load(&sha256, precision, kernels) else { return Ok(None) };
            check_fit(&location, model.config())?;
            let file = ModelFile { key: object.key, bytes: object.bytes, etag: object.etag, sha256 };
            Ok(Some(Arc::new(Loaded { model, file })))
        })
        .await
    }
}

/// A model file that is open.
struct Opened {
    location: String,
    object: Object,
    source: Source,
}

impl Opened {
    async fn open(store: &Store, bucket: &str, object: &Object) -> Result<Self, Error> {
        let location = url(bucket, &object.key);
        let gone = || Error::CheckpointNotFound { looked_for: location.clone(), present: Vec::new() };
        let (object, mut source) = store.source(bucket, &object.key).await?.ok_or_else(gone)?;
        if source.is_remote() && object.bytes <= FETCH_BYTES_MAX {
            source = Source::memory(store.get(bucket, &object.key).await?.ok_or_else(gone)?);
        }
        Ok(Self { location, object, source })
    }

    fn tensors(&self) -> Result<CheckpointTensors<Source>, Error> {
        let file = TensorFile::open(self.source.clone(), &self.location).map_err(|error| self.invalid(&error))?;
        Ok(CheckpointTensors::new(file))
    }

    fn describe(&self) -> Result<ModelFile, Error> {
        let sha256 = sha256_of(&self.source).map_err(|error| self.invalid(&error))?;
        let object = &self.object;
        Ok(ModelFile { key: object.key.clone(), bytes: object.bytes, etag: object.etag.clone(), sha256 })
    }

    fn fits(&self, config: &Config) -> Result<(), Error> {
        check_fit(&self.location, config)
    }

    /// A store that fails is told from a file that is bad.
    fn invalid(&self, error: &dyn std::error::Error) -> Error {
        if let Some(reason) = self.source.failure() {
            return Error::Storage { doing: "reading", location: self.location.clone(), reason };
        }
        let text = with_causes(error);
        let is_named = text.starts_with(&self.location);
        Error::CheckpointInvalid(if is_named { text } else { format!("{}: {text}", self.location) })
    }
}

/// A model of other dimensions is a model, but not one for these partitions.
fn check_fit(location: &str, config: &Config) -> Result<(), Error> {
    if (config.bands, config.side) == (BANDS, SIDE) {
        return Ok(());
    }
    let (bands, side) = (config.bands, config.side);
    Err(Error::CheckpointInvalid(format!(
        "{location}: the model takes {bands} bands of {side}×{side} pixels, expected {BANDS} bands of {SIDE}×{SIDE} as in partitions"
    )))
}

/// SHA-256 of an object, hexadecimal; read a MiB at a time.
pub(crate) fn sha256_of(source: &Source) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < source.len() {
        let count = buffer.len().min(usize::try_from(source.len() - offset).unwrap_or(usize::MAX));
        source.read_at(offset, &mut buffer[..count])?;
        hash.update(&buffer[..count]);
        offset += count as u64;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// SHA-256 of bytes in memory, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(format!("reading the model ended early: {error}")))?
}
