//! Object storage as the orchestration half sees it: what `ItemReader` reads, `ResultWriter` writes and the
//! S3 actions serve.
//!
//! Pixels never come through here: functions read their partitions themselves.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use bytes::Bytes;
use starmap_asl::Timestamp;

/// One object, as a listing or a head tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key in the bucket.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// When it was written last.
    pub modified_at: Timestamp,
}

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Only keys that begin so.
    pub prefix: String,
    /// Only keys after this one, in S3's order (by bytes).
    pub start_after: Option<String>,
    /// At most so many objects in the answer; 1,000 is S3's page.
    pub keys_max: usize,
}

/// A page of a listing, by keys in S3's order (by bytes).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The objects.
    pub objects: Vec<ObjectInfo>,
    /// Whether there are more after the last one.
    pub has_more: bool,
}

/// Why storage did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the parts of the message")]
pub enum ObjectError {
    /// S3's `NoSuchBucket`.
    #[error("bucket {bucket} does not exist")]
    NoSuchBucket { bucket: String },
    /// S3's `NoSuchKey`.
    #[error("s3://{bucket}/{key} does not exist")]
    NoSuchKey { bucket: String, key: String },
    /// S3's `BucketAlreadyOwnedByYou`.
    #[error("bucket {bucket} exists already")]
    BucketExists { bucket: String },
    /// S3's `BucketNotEmpty`.
    #[error("bucket {bucket} is not empty")]
    BucketNotEmpty { bucket: String },
    /// A name or key that can't be kept, or a range outside the object.
    #[error("s3://{bucket}/{key}: {reason}")]
    Invalid { bucket: String, key: String, reason: String },
    /// S3's `PreconditionFailed`: the object is not the one that was expected.
    #[error("s3://{bucket}/{key} has changed while it was being read")]
    Changed { bucket: String, key: String },
    /// Anything else; `reason` says what was being done.
    #[error("s3://{bucket}/{key}: {reason}")]
    Storage { bucket: String, key: String, reason: String },
}

/// The future of an answer.
pub type Storing<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectError>> + Send + 'a>>;

/// Buckets of objects. A write is atomic: readers see the whole object or none of it.
pub trait Objects: Send + Sync + 'static {
    /// What is known of an object.
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ObjectInfo>;
    /// An object's bytes, or those of a range within it.
    fn get<'a>(&'a self, bucket: &'a str, key: &'a str, range: Option<Range<u64>>) -> Storing<'a, Bytes>;
    /// The bytes of a range of an object that is still the one that `object` tells of; fails if it is another one now,
    /// as S3 does with `If-Match`.
    fn get_unchanged<'a>(&'a self, bucket: &'a str, object: &'a ObjectInfo, range: Range<u64>) -> Storing<'a, Bytes>;
    /// Writes a whole object.
    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, content: Bytes) -> Storing<'a, ObjectInfo>;
    /// Removes an object; one that is not there is removed already.
    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ()>;
    /// One page of a listing.
    fn list<'a>(&'a self, bucket: &'a str, request: ListRequest) -> Storing<'a, ListPage>;
    /// All buckets, by name, with when they were made.
    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>>;
    /// Makes a bucket.
    fn create_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()>;
    /// Removes an empty bucket.
    fn delete_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()>;
}

/// No buckets at all: every call fails by name. For engines whose map runs read and write nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObjects;

impl NoObjects {
    fn refuse<'a, T>(bucket: &str) -> Storing<'a, T> {
        let bucket = bucket.to_owned();
        Box::pin(async move { Err(ObjectError::NoSuchBucket { bucket }) })
    }
}

impl Objects for NoObjects {
    fn head<'a>(&'a self, bucket: &'a str, _key: &'a str) -> Storing<'a, ObjectInfo> {
        Self::refuse(bucket)
    }

    fn get<'a>(&'a self, bucket: &'a str, _key: &'a str, _range: Option<Range<u64>>) -> Storing<'a, Bytes> {
        Self::refuse(bucket)
    }

    fn get_unchanged<'a>(&'a self, bucket: &'a str, _object: &'a ObjectInfo, _range: Range<u64>) -> Storing<'a, Bytes> {
        Self::refuse(bucket)
    }

    fn put<'a>(&'a self, bucket: &'a str, _key: &'a str, _content: Bytes) -> Storing<'a, ObjectInfo> {
        Self::refuse(bucket)
    }

    fn delete<'a>(&'a self, bucket: &'a str, _key: &'a str) -> Storing<'a, ()> {
        Self::refuse(bucket)
    }

    fn list<'a>(&'a self, bucket: &'a str, _request: ListRequest) -> Storing<'a, ListPage> {
        Self::refuse(bucket)
    }

    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn create_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Self::refuse(bucket)
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Self::refuse(bucket)
    }
}
