//! Buckets: folders on one machine, S3 or anything compatible elsewhere; the same keys in both.
//!
//! - [`StoreConfig`] says which, and travels to workers as environment variables.
//! - [`Store`] reads, writes and lists. A write is atomic in both: other readers see the whole object or none of it.
//! - [`Source`] reads ranges of one object from a compute thread (`source`), with read-ahead where it is remote.
//! - [`Upload`] writes one large object from a compute thread.
//!
//! Small operations are async; what streams is blocking, because it belongs to the thread that computes.

mod folder;
mod s3;
mod source;
pub mod suite;
mod upload;
mod watch;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

pub use self::source::{Reads, Source};
pub use self::upload::Upload;
pub use self::watch::{RETRIES_VARIABLE, RETRY_VARIABLE, Retries, STALL_VARIABLE};
use crate::error::Error;
use crate::natural;

/// Environment variable with the folder whose subfolders are buckets.
pub const BUCKETS_VARIABLE: &str = "STARMAP_BUCKETS";
/// Environment variable that says, by `1`, that buckets are on S3.
pub const S3_VARIABLE: &str = "STARMAP_S3";

/// Where buckets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// In this folder; each subfolder is a bucket.
    Folder(PathBuf),
    /// On S3 or a compatible store, by the standard `AWS_*` variables; `AWS_ENDPOINT_URL_S3` wins over
    /// `AWS_ENDPOINT_URL`, and an `http://` endpoint is taken at its word.
    S3,
}

impl StoreConfig {
    /// The variables that tell a worker about this store. `AWS_*` variables are the worker's own business.
    pub fn environment(&self) -> Vec<(String, String)> {
        match self {
            Self::Folder(folder) => vec![(BUCKETS_VARIABLE.to_owned(), folder.display().to_string())],
            Self::S3 => vec![(S3_VARIABLE.to_owned(), "1".to_owned())],
        }
    }

    /// Reads what [`environment`](Self::environment) wrote. With neither variable set it is S3, as on AWS Lambda.
    ///
    /// # Errors
    /// If both variables are set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let s3 = set(S3_VARIABLE).filter(|value| value != "0");
        match (set(BUCKETS_VARIABLE), s3) {
            (Some(folder), None) => Ok(Self::Folder(folder.into())),
            (None, _) => Ok(Self::S3),
            (Some(folder), Some(_)) => {
                Err(format!("{BUCKETS_VARIABLE}={folder} and {S3_VARIABLE} are both set, expected one of them"))
            }
        }
    }
}

/// S3 as someone is told to use it, in place of what the environment says.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Access {
    /// Whose key signs.
    pub access_key_id: String,
    /// With what. Never shown.
    pub secret_access_key: String,
    /// What goes along with temporary credentials.
    pub session_token: Option<String>,
    /// Region of the buckets.
    pub region: String,
    /// A store that is not AWS's.
    pub endpoint: Option<String>,
}

impl fmt::Debug for S3Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Access").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// One object, as a listing or a write tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key in the bucket.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Changes whenever the object does. S3's own; for a file, of its modification time and size.
    pub etag: String,
    /// When it was written last, milliseconds since the Unix epoch.
    pub modified_at_ms: i64,
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its bucket.
    pub bucket: String,
    /// Its key.
    pub key: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&url(&self.bucket, &self.key))
    }
}

/// What is directly under a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Objects, in natural order of their keys.
    pub objects: Vec<Object>,
    /// Prefixes one level down, without the slash, in natural order.
    pub folders: Vec<String>,
}

/// A page of all keys with some beginning, in S3's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The objects, by the bytes of their keys.
    pub objects: Vec<Object>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// What a reading with a condition found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum If {
    /// The bytes: the object is still the one with that etag.
    Same(Bytes),
    /// Another object under that key.
    Another,
    /// Nothing under that key.
    Absent,
}

/// See the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Backend>);

#[derive(Debug)]
enum Backend {
    Folder(folder::Folder),
    S3(s3::S3),
}

impl Store {
    /// Opens a store. Nothing is read yet.
    ///
    /// # Errors
    /// [`Error::Storage`] if the folder of buckets is not there, or a variable for S3 says what it can't.
    pub fn open(config: &StoreConfig) -> Result<Self, Error> {
        Ok(Self(Arc::new(match config {
            StoreConfig::Folder(root) => Backend::Folder(folder::Folder::open(root)?),
            StoreConfig::S3 => Backend::S3(s3::S3::new(None)?),
        })))
    }

    /// S3 by given credentials.
    ///
    /// # Errors
    /// [`Error::Storage`] if a variable for S3 says what it can't.
    pub fn s3(access: S3Access) -> Result<Self, Error> {
        Ok(Self(Arc::new(Backend::S3(s3::S3::new(Some(access))?))))
    }

    /// Requests to S3 that failed and could be repeated, since this was opened.
    pub fn retries(&self) -> Retries {
        match &*self.0 {
            Backend::Folder(_) => Retries::default(),
            Backend::S3(s3) => s3.retries(),
        }
    }

    /// Where a person finds an object: the path of its file in folder mode, its URL on S3.
    pub fn display(&self, location: &Location) -> String {
        match &*self.0 {
            Backend::Folder(folder) => folder.path(&location.bucket, &location.key).display().to_string(),
            Backend::S3(_) => location.to_string(),
        }
    }

    /// Makes sure that a bucket is there.
    ///
    /// # Errors
    /// [`Error::BucketNotFound`]; in folder mode it names those that are there.
    pub async fn check_bucket(&self, bucket: &str) -> Result<(), Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let bucket = bucket.to_owned();
                self.in_folder(move |folder| folder.check_bucket(&bucket)).await
            }
            Backend::S3(s3) => s3.check_bucket(bucket).await,
        }
    }

    /// Lists what is directly under `prefix`: keys that begin with exactly `{prefix}/` and have no further slash, all
    /// pages of them. `1GB/1` never takes in `1GB/10`.
    ///
    /// # Errors
    /// [`Error::BucketNotFound`], [`Error::Storage`]. A prefix with nothing under it is an empty listing.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Result<Listing, Error> {
        let mut listing = match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
                self.in_folder(move |folder| folder.list(&bucket, &prefix)).await?
            }
            Backend::S3(s3) => s3.list(bucket, prefix).await?,
        };
        listing.objects.sort_by(|a, b| natural::compare(&a.key, &b.key));
        listing.folders.sort_by(|a, b| natural::compare(a, b));
        Ok(listing)
    }

    /// One page of the keys that begin with exactly `prefix`, however deep, after `start_after`, by their bytes: what
    /// S3's ListObjectsV2 gives without a delimiter.
    ///
    /// # Errors
    /// [`Error::BucketNotFound`], [`Error::Storage`].
    pub async fn list_keys(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
        keys_max: usize,
    ) -> Result<KeyPage, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
                let start_after = start_after.unwrap_or_default().to_owned();
                self.in_folder(move |folder| folder.list_keys(&bucket, &prefix, &start_after, keys_max)).await
            }
            Backend::S3(s3) => s3.list_keys(bucket, prefix, start_after, keys_max).await,
        }
    }

    /// Reads `range` of an object, which may end behind the object's end; `None` if the object is not there.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn get_range(&self, bucket: &str, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.get_range(&bucket, &key, range)).await
            }
            Backend::S3(s3) => s3.get_range(bucket, key, range).await,
        }
    }

    /// As [`Store::get_range`], if the object still has that etag, with or without quotes.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn get_range_if(&self, bucket: &str, key: &str, etag: &str, range: Range<u64>) -> Result<If, Error> {
        let etag = etag.trim_matches('"');
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key, etag) = (bucket.to_owned(), key.to_owned(), etag.to_owned());
                self.in_folder(move |folder| folder.get_range_if(&bucket, &key, &etag, range)).await
            }
            Backend::S3(s3) => s3.get_range_if(bucket, key, etag, range).await,
        }
    }

    /// All buckets, by name, with when they were made (milliseconds since the Unix epoch).
    ///
    /// # Errors
    /// [`Error::Storage`], always on S3: one client serves one bucket there.
    pub async fn buckets(&self) -> Result<Vec<(String, i64)>, Error> {
        match &*self.0 {
            Backend::Folder(_) => self.in_folder(folder::Folder::buckets_with_times).await,
            Backend::S3(_) => Err(not_on_s3("listing buckets", "")),
        }
    }

    /// Makes a bucket; false if it is there already.
    ///
    /// # Errors
    /// [`Error::Storage`], always on S3.
    pub async fn create_bucket(&self, bucket: &str) -> Result<bool, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let bucket = bucket.to_owned();
                self.in_folder(move |folder| folder.create_bucket(&bucket)).await
            }
            Backend::S3(_) => Err(not_on_s3("creating a bucket", bucket)),
        }
    }

    /// Removes an empty bucket; false if there are objects in it.
    ///
    /// # Errors
    /// [`Error::BucketNotFound`], [`Error::Storage`], always on S3.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<bool, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let bucket = bucket.to_owned();
                self.in_folder(move |folder| folder.delete_bucket(&bucket)).await
            }
            Backend::S3(_) => Err(not_on_s3("deleting a bucket", bucket)),
        }
    }

    /// Says what is known of an object without reading it; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.head(&bucket, &key)).await
            }
            Backend::S3(s3) => s3.head(bucket, key).await,
        }
    }

    /// Reads a whole object into memory: for small ones. `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.get(&bucket, &key)).await
            }
            Backend::S3(s3) => s3.get(bucket, key).await,
        }
    }

    /// Writes a whole object, atomically and durably.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Storage`]; then whatever was there before is still there.
    pub async fn put(&self, bucket: &str, key: &str, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let bytes = bytes.into();
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.put(&bucket, &key, &bytes)).await
            }
            Backend::S3(s3) => s3.put(bucket, key, bytes).await,
        }
    }

    /// Deletes an object; one that is not there is no error.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.delete(&bucket, &key)).await
            }
            Backend::S3(s3) => s3.delete(bucket, key).await,
        }
    }

    /// Names of what writes that were cut off left directly under `prefix`; see [`sweep`](Self::sweep).
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn leftovers(&self, bucket: &str, prefix: &str) -> Result<Vec<String>, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
                self.in_folder(move |folder| folder.leftovers(&bucket, &prefix)).await
            }
            Backend::S3(_) => Ok(Vec::new()),
        }
    }

    /// Removes what writes that were cut off (a killed process) left directly under `prefix`. Nothing that is listed goes.
    ///
    /// On S3 there is nothing to see of such writes; a lifecycle rule for incomplete uploads removes them.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn sweep(&self, bucket: &str, prefix: &str) -> Result<(), Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
                self.in_folder(move |folder| folder.sweep(&bucket, &prefix)).await
            }
            Backend::S3(_) => Ok(()),
        }
    }

    /// Opens an object to read ranges of it; `None` if it is not there.
    ///
    /// The source is for a thread that may block, never for an async one.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub async fn source(&self, bucket: &str, key: &str) -> Result<Option<(Object, Source)>, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.source(&bucket, &key)).await
            }
            Backend::S3(s3) => s3.source(bucket, key).await,
        }
    }

    /// Begins to write an object of unknown size; nothing is visible before [`Upload::finish`].
    ///
    /// The upload is for a thread that may block, never for an async one.
    ///
    /// # Errors
    /// [`Error::StorageFull`], [`Error::Storage`].
    pub async fn upload(&self, bucket: &str, key: &str) -> Result<Upload, Error> {
        match &*self.0 {
            Backend::Folder(_) => {
                let (bucket, key) = (bucket.to_owned(), key.to_owned());
                self.in_folder(move |folder| folder.upload(&bucket, &key)).await
            }
            Backend::S3(s3) => s3.upload(bucket, key),
        }
    }

    /// Runs a blocking folder operation off the async threads.
    async fn in_folder<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&folder::Folder) -> Result<T, Error> + Send + 'static,
    {
        let backend = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || match &*backend {
            Backend::Folder(folder) => operation(folder),
            Backend::S3(_) => Err(Error::Internal("a folder operation was asked of S3".to_owned())),
        });
        done.await.map_err(|error| Error::Internal(format!("a folder operation ended early: {error}")))?
    }
}

fn not_on_s3(doing: &'static str, bucket: &str) -> Error {
    let reason = "not possible with buckets on S3; use the AWS tools".to_owned();
    Error::Storage { doing, location: url(bucket, ""), reason }
}

/// `s3://bucket/key`: how objects are named in every message, wherever they are.
pub fn url(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_survives_the_environment() {
        for config in [StoreConfig::Folder("/data/bu ckets".into()), StoreConfig::S3] {
            let environment = config.environment();
            let variable = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            assert_eq!(StoreConfig::from_environment(variable).unwrap(), config);
        }
        assert_eq!(StoreConfig::from_environment(|_| None).unwrap(), StoreConfig::S3);
        let both = StoreConfig::from_environment(|_| Some("1".to_owned())).unwrap_err();
        assert_eq!(both, "STARMAP_BUCKETS=1 and STARMAP_S3 are both set, expected one of them");
    }
}
