//! What can be done with buckets and objects, in our own types.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use starmap_asl::Timestamp;
use starmap_engine::objects::{ObjectInfo, Objects};
use tokio::sync::Mutex;

use super::attributes::{Attributes, Folder};
use super::checksum::{Algorithm, Checksum, Kind, md5_hex};
use super::error::Error;
use super::listing::{self, Page, Query};
use super::multipart::Uploads;

/// S3's longest key, bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Keys that are written at the same time take turns only if they fall together here.
const LOCKS: usize = 64;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Buckets with all that S3 keeps of their objects.
pub struct Buckets {
    pub(crate) objects: Arc<dyn Objects>,
    pub(crate) attributes: Folder,
    pub(crate) uploads: Uploads,
    pub(crate) clock: Clock,
    /// As in `us-east-1`.
    pub(crate) region: String,
    locks: [Mutex<()>; LOCKS],
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("attributes", &self.attributes).finish_non_exhaustive()
    }
}

/// How to write an object.
#[derive(Debug, Clone, Default)]
pub struct Put {
    /// As in `text/plain`.
    pub content_type: Option<String>,
    /// `content-encoding`, `cache-control`, …
    pub headers: BTreeMap<String, String>,
    /// User metadata.
    pub metadata: BTreeMap<String, String>,
    /// How to compute the checksum; S3's own choice by default.
    pub algorithm: Option<Algorithm>,
    /// What it must be, base64.
    pub expected: Option<String>,
    /// Only if there is no such object.
    pub is_new: bool,
    /// Only if the object there has this etag.
    pub if_match: Option<String>,
}

/// An object with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Size and time.
    pub info: ObjectInfo,
    /// The rest.
    pub attributes: Attributes,
}

impl Object {
    /// With quotes, as on the wire.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.attributes.etag)
    }

    /// What S3 says when nothing was given.
    pub fn content_type(&self) -> &str {
        self.attributes.content_type.as_deref().unwrap_or("binary/octet-stream")
    }
}

impl Buckets {
    /// Over a store; what S3 keeps beside the bytes, and uploads in parts, go into `folder`.
    pub fn new(objects: Arc<dyn Objects>, folder: &Path, clock: Clock, region: impl Into<String>) -> Self {
        Self {
            objects,
            attributes: Folder::new(folder.join("attributes")),
            uploads: Uploads::new(folder.join("uploads")),
            clock,
            region: region.into(),
            locks: std::array::from_fn(|_| Mutex::new(())),
        }
    }

    /// As in `us-east-1`.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// All buckets, by name, with when they were made.
    ///
    /// # Errors
    /// As the store has them.
    pub async fn list_buckets(&self) -> Result<Vec<(String, Timestamp)>, Error> {
        Ok(self.objects.buckets().await?)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// `InvalidBucketName`, `BucketAlreadyOwnedByYou`.
    pub async fn create_bucket(&self, bucket: &str) -> Result<(), Error> {
        if !is_bucket_name(bucket) {
            return Err(
                Error::new("InvalidBucketName", 400, "The specified bucket is not valid.").with("BucketName", bucket)
            );
        }
        self.objects.create_bucket(bucket).await?;
        self.attributes.remove_bucket(bucket);
        Ok(())
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// `NoSuchBucket`, `BucketNotEmpty`.
    pub async fn delete_bucket(&self, bucket: &str) -> Result<(), Error> {
        self.objects.delete_bucket(bucket).await?;
        self.attributes.remove_bucket(bucket);
        Ok(())
    }

    /// Makes sure that a bucket is there.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn head_bucket(&self, bucket: &str) -> Result<(), Error> {
        let query = Query { keys_max: 1, prefix: "\u{0}".to_owned(), ..Query::default() };
        listing::list(&*self.objects, bucket, &query).await.map(drop)
    }

    /// One page of a listing, each object with its attributes' etag.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn list(&self, bucket: &str, query: &Query) -> Result<Page, Error> {
        let mut page = listing::list(&*self.objects, bucket, query).await?;
        let (folder, bucket, mut objects) = (self.attributes.clone(), bucket.to_owned(), page.objects);
        page.objects = blocking(move || {
            for object in &mut objects {
                if let Some(attributes) = folder.read(&bucket, &object.key, &object.etag) {
                    object.etag = attributes.etag;
                }
            }
            objects
        })
        .await?;
        Ok(page)
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub async fn head(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        let info = self.objects.head(bucket, key).await?;
        let (folder, bucket, store_etag) = (self.attributes.clone(), bucket.to_owned(), info.etag.clone());
        let key = key.to_owned();
        let attributes = blocking(move || folder.read(&bucket, &key, &store_etag)).await?;
        let attributes = attributes.unwrap_or_else(|| Attributes { etag: info.etag.clone(), ..Attributes::default() });
        Ok(Object { info, attributes })
    }

    /// An object's bytes, or those of a range within it.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`.
    pub async fn get(&self, bucket: &str, key: &str, range: Option<Range<u64>>) -> Result<Bytes, Error> {
        Ok(self.objects.get(bucket, key, range).await?)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// `NoSuchBucket`, `KeyTooLongError`, `BadDigest`, `PreconditionFailed`.
    pub async fn put(&self, bucket: &str, key: &str, content: Bytes, put: Put) -> Result<Object, Error> {
        let algorithm = put.algorithm.unwrap_or(Algorithm::Crc64Nvme);
        let summed = content.clone();
        let (etag, value) = blocking(move || (md5_hex(&summed), algorithm.of(&summed))).await?;
        if put.expected.as_ref().is_some_and(|expected| *expected != value) {
            let name = algorithm.name();
            let message = format!("The {name} you specified did not match the calculated checksum.");
            return Err(Error::new("BadDigest", 400, message));
        }
        let attributes = Attributes {
            etag,
            content_type: put.content_type,
            headers: put.headers,
            metadata: put.metadata,
            checksum: Some(Checksum { algorithm, value, kind: Kind::FullObject }),
            parts: None,
        };
        self.write(bucket, key, content, attributes, put.is_new, put.if_match.as_deref()).await
    }

    /// Writes bytes and attributes, the latter as they are.
    pub(crate) async fn write(
        &self,
        bucket: &str,
        key: &str,
        content: Bytes,
        attributes: Attributes,
        is_new: bool,
        if_match: Option<&str>,
    ) -> Result<Object, Error> {
        check_key(key)?;
        let _turn = self.turn(bucket, key).await;
        if is_new || if_match.is_some() {
            match self.head(bucket, key).await {
                Ok(_) if is_new => return Err(Error::precondition_failed("If-None-Match")),
                Ok(object) if if_match.is_some_and(|etag| !is_match(etag, &object.attributes.etag)) => {
                    return Err(Error::precondition_failed("If-Match"));
                }
                Err(error) if error.code != "NoSuchKey" || if_match.is_some() => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
        let info = self.objects.put(bucket, key, content).await?;
        let (folder, bucket, key, store_etag) =
            (self.attributes.clone(), bucket.to_owned(), key.to_owned(), info.etag.clone());
        let kept = attributes.clone();
        let written = blocking(move || folder.write(&bucket, &key, &store_etag, &kept)).await?;
        if let Err(error) = written {
            tracing::warn!(%error, "attributes of an object could not be kept");
        }
        Ok(Object { info, attributes })
    }

    /// Removes an object; one that is not there is removed already.
    ///
    /// # Errors
    /// `NoSuchBucket`.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        let _turn = self.turn(bucket, key).await;
        self.objects.delete(bucket, key).await?;
        self.attributes.remove(bucket, key);
        Ok(())
    }

    /// Copies an object with its attributes, or with others.
    ///
    /// # Errors
    /// `NoSuchBucket`, `NoSuchKey`, `InvalidRequest` for a copy onto itself that changes nothing.
    pub async fn copy(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        replacement: Option<Attributes>,
        algorithm: Option<Algorithm>,
    ) -> Result<Object, Error> {
        if from == to && replacement.is_none() {
            let message = "This copy request is illegal because it is trying to copy an object to itself without \
                           changing the object's metadata, storage class, website redirect location or encryption \
                           attributes.";
            return Err(Error::new("InvalidRequest", 400, message));
        }
        let source = self.head(from.0, from.1).await?;
        let content = self.get(from.0, from.1, None).await?;
        let mut attributes = replacement.unwrap_or_else(|| source.attributes.clone());
        attributes.parts = None;
        let kept = source.attributes.checksum.map(|checksum| checksum.algorithm);
        let algorithm = algorithm.or(kept).unwrap_or(Algorithm::Crc64Nvme);
        let summed = content.clone();
        let (etag, value) = blocking(move || (md5_hex(&summed), algorithm.of(&summed))).await?;
        attributes.etag = etag;
        attributes.checksum = Some(Checksum { algorithm, value, kind: Kind::FullObject });
        self.write(to.0, to.1, content, attributes, false, None).await
    }

    /// The right to change a key.
    async fn turn(&self, bucket: &str, key: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let sum =
            bucket.bytes().chain(key.bytes()).fold(5381_usize, |sum, byte| sum.wrapping_mul(33) ^ usize::from(byte));
        self.locks[sum % LOCKS].lock().await
    }
}

/// Whether one of the etags of a condition is this one.
pub(crate) fn is_match(condition: &str, etag: &str) -> bool {
    condition
        .split(',')
        .map(|one| one.trim().trim_start_matches("W/").trim_matches('"'))
        .any(|one| one == "*" || one == etag)
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > KEY_BYTES_MAX {
        let error = Error::new("KeyTooLongError", 400, "Your key is too long");
        return Err(error.with("Size", key.len().to_string()).with("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
    }
    Ok(())
}

/// # Source
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>, read 2026-11.
fn is_bucket_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| is_plain(byte) || byte == b'-' || byte == b'.')
        && [bytes.first(), bytes.last()].into_iter().flatten().all(|&byte| is_plain(byte))
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

/// Runs what blocks or computes off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal("storage", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_are_s3s() {
        for good in ["sky", "my.bucket-1", "123"] {
            assert!(is_bucket_name(good), "{good}");
        }
        for bad in ["ab", "Sky", "a_b", "-ab", "ab-", "a..b", "127.0.0.1", "../x", &"a".repeat(64)] {
            assert!(!is_bucket_name(bad), "{bad}");
        }
    }

    #[test]
    fn conditions_name_etags() {
        assert!(is_match("\"a\", \"b\"", "b") && is_match("*", "x") && is_match("W/\"c\"", "c"));
        assert!(!is_match("\"a\"", "b"));
    }
}
