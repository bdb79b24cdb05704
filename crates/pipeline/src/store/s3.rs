//! Buckets on S3 or a compatible store, by the standard `AWS_*` variables.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::Handle;

use super::source::Source;
use super::upload::Upload;
use super::{If, KeyPage, Listing, Object, RETRY_VARIABLE, url};
use crate::error::Error;

/// Size of the parts of a large upload; S3 takes at most 10,000 of them, which makes 80 GiB.
const UPLOAD_PART_BYTES: usize = 8 << 20;

/// How long to wait before asking again for an answer that was cut off.
const CUT_OFF_PAUSES_MS: [u64; 3] = [100, 400, 1_600];

/// See the [module](self). One client per bucket, made when it is first used.
#[derive(Debug)]
pub(super) struct S3 {
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
}

impl S3 {
    pub(super) fn new() -> Self {
        // An error only says that another provider was chosen before us, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { buckets: Mutex::default() }
    }

    pub(super) async fn check_bucket(&self, bucket: &str) -> Result<(), Error> {
        let store = self.bucket(bucket)?;
        let first = recovered(|| async { store.list(None).next().await.transpose() }).await;
        first.map(drop).map_err(|error| failed("listing", bucket, "", &error))
    }

    pub(super) async fn list(&self, bucket: &str, prefix: &str) -> Result<Listing, Error> {
        let store = self.bucket(bucket)?;
        let path = path(bucket, prefix)?;
        let listed = recovered(|| store.list_with_delimiter(Some(&path))).await;
        let listed = listed.map_err(|error| failed("listing", bucket, &format!("{prefix}/"), &error))?;
        Ok(Listing {
            objects: listed.objects.into_iter().map(object).collect(),
            folders: listed.common_prefixes.into_iter().map(|prefix| prefix.as_ref().to_owned()).collect(),
        })
    }

    pub(super) async fn list_keys(
        &self,
        bucket: &str,
        prefix: &str,
        start_after: Option<&str>,
        keys_max: usize,
    ) -> Result<KeyPage, Error> {
        let store = self.bucket(bucket)?;
        // The client's prefixes are whole folders; what is finer is filtered here.
        let folder = prefix.rsplit_once('/').map(|(folder, _)| path(bucket, folder)).transpose()?;
        let after = start_after.map(|after| path(bucket, after)).transpose()?;
        let read = || async {
            let mut listed = match &after {
                Some(after) => store.list_with_offset(folder.as_ref(), after),
                None => store.list(folder.as_ref()),
            };
            let mut page = KeyPage::default();
            while let Some(meta) = listed.next().await {
                let meta = meta?;
                if !meta.location.as_ref().starts_with(prefix) {
                    continue;
                }
                if page.objects.len() == keys_max {
                    page.has_more = true;
                    break;
                }
                page.objects.push(object(meta));
            }
            Ok(page)
        };
        recovered(read).await.map_err(|error| failed("listing", bucket, prefix, &error))
    }

    pub(super) async fn get_range(&self, bucket: &str, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let store = self.bucket(bucket)?;
        if range.is_empty() {
            return Ok(self.head(bucket, key).await?.map(|_| Bytes::new()));
        }
        match store.get_range(&path(bucket, key)?, range).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => absent("reading", bucket, key, &error),
        }
    }

    pub(super) async fn get_range_if(
        &self,
        bucket: &str,
        key: &str,
        etag: &str,
        range: Range<u64>,
    ) -> Result<If, Error> {
        let store = self.bucket(bucket)?;
        let options =
            GetOptions { if_match: Some(format!("\"{etag}\"")), range: Some(range.into()), ..GetOptions::default() };
        let got = match store.get_opts(&path(bucket, key)?, options).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(If::Same(bytes)),
            Err(object_store::Error::Precondition { .. }) => Ok(If::Another),
            Err(error) => Ok(absent("reading", bucket, key, &error)?.map_or(If::Absent, If::Same)),
        }
    }

    pub(super) async fn head(&self, bucket: &str, key: &str) -> Result<Option<Object>, Error> {
        let store = self.bucket(bucket)?;
        match store.head(&path(bucket, key)?).await {
            Ok(meta) => Ok(Some(object(meta))),
            Err(error) => absent("reading", bucket, key, &error),
        }
    }

    pub(super) async fn get(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let store = self.bucket(bucket)?;
        let path = path(bucket, key)?;
        let got = recovered(|| async { store.get(&path).await?.bytes().await }).await;
        match got {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => absent("reading", bucket, key, &error),
        }
    }

    pub(super) async fn put(&self, bucket: &str, key: &str, bytes: Bytes) -> Result<(), Error> {
        let store = self.bucket(bucket)?;
        let put = store.put(&path(bucket, key)?, bytes.into()).await;
        put.map(drop).map_err(|error| failed("writing", bucket, key, &error))
    }

    pub(super) async fn delete(&self, bucket: &str, key: &str) -> Result<(), Error> {
        let store = self.bucket(bucket)?;
        match store.delete(&path(bucket, key)?).await {
            Ok(()) => Ok(()),
            Err(error) => absent::<()>("deleting", bucket, key, &error).map(drop),
        }
    }

    pub(super) async fn source(&self, bucket: &str, key: &str) -> Result<Option<(Object, Source)>, Error> {
        let Some(object) = self.head(bucket, key).await? else { return Ok(None) };
        let source = Source::remote(self.bucket(bucket)?, path(bucket, key)?, &object, Handle::current());
        Ok(Some((object, source)))
    }

    pub(super) fn upload(&self, bucket: &str, key: &str) -> Result<Upload, Error> {
        let writer = BufWriter::with_capacity(self.bucket(bucket)?, path(bucket, key)?, UPLOAD_PART_BYTES);
        Ok(Upload::to_remote(writer, Handle::current(), url(bucket, key)))
    }

    fn bucket(&self, bucket: &str) -> Result<Arc<AmazonS3>, Error> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = buckets.get(bucket) {
            return Ok(Arc::clone(store));
        }
        // Plain HTTP is the choice of whoever wrote `http://` into the endpoint; HTTPS endpoints stay HTTPS.
        let built =
            AmazonS3Builder::from_env().with_bucket_name(bucket).with_allow_http(true).with_retry(retries()).build();
        let store = Arc::new(built.map_err(|error| failed("opening", bucket, "", &error))?);
        buckets.insert(bucket.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

/// How long a request is tried again: 503s, time-outs and connections that end, with growing pauses between.
fn retries() -> RetryConfig {
    let default = RetryConfig::default();
    let seconds = std::env::var(RETRY_VARIABLE).ok().and_then(|seconds| seconds.parse().ok());
    RetryConfig { retry_timeout: seconds.map_or(default.retry_timeout, Duration::from_secs), ..default }
}

/// Asks again when an answer was cut off: the client below does so for requests, and for the bodies of some answers only.
async fn recovered<T, F>(ask: impl Fn() -> F) -> object_store::Result<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    for pause_ms in CUT_OFF_PAUSES_MS {
        match ask().await {
            Err(error) if is_cut_off(&error) => tokio::time::sleep(Duration::from_millis(pause_ms)).await,
            answered => return answered,
        }
    }
    ask().await
}

/// An answer whose body ended early is told apart by nothing but what the HTTP client says of it.
fn is_cut_off(error: &object_store::Error) -> bool {
    let text = with_causes(error.to_string(), error);
    text.contains("response body") || text.contains("end of file before message length reached")
}

/// A key as it is, without the percent-encoding that `Path::from` would add.
fn path(bucket: &str, key: &str) -> Result<Path, Error> {
    Path::parse(key).map_err(|error| Error::Storage {
        doing: "opening",
        location: url(bucket, key),
        reason: error.to_string(),
    })
}

fn object(meta: ObjectMeta) -> Object {
    Object {
        key: meta.location.as_ref().to_owned(),
        bytes: meta.size,
        modified_at_ms: meta.last_modified.timestamp_millis(),
        etag: meta.e_tag.unwrap_or_else(|| format!("{:x}-{:x}", meta.last_modified.timestamp_micros(), meta.size)),
    }
}

/// A missing object is `None`, a missing bucket and anything else is an error.
fn absent<T>(doing: &'static str, bucket: &str, key: &str, error: &object_store::Error) -> Result<Option<T>, Error> {
    match failed(doing, bucket, key, error) {
        Error::Storage { .. } if matches!(error, object_store::Error::NotFound { .. }) => Ok(None),
        error => Err(error),
    }
}

fn failed(doing: &'static str, bucket: &str, key: &str, error: &object_store::Error) -> Error {
    let reason = error.to_string();
    // The S3 error code is not a field of the error; it is in the XML body, which its text quotes.
    if reason.contains("NoSuchBucket") {
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"].iter().find_map(|name| std::env::var(name).ok());
        return Error::BucketNotFound {
            bucket: bucket.to_owned(),
            place: endpoint.unwrap_or_else(|| "S3".to_owned()),
            present: Vec::new(),
        };
    }
    Error::Storage { doing, location: url(bucket, key), reason: with_causes(reason, error) }
}

/// The error's text and what its causes add to it: a refused certificate or connection is only said there.
fn with_causes(mut text: String, error: &object_store::Error) -> String {
    let mut cause = StdError::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
