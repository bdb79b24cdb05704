//! Buckets on S3 or a compatible store, by the standard `AWS_*` variables.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;

use super::source::Source;
use super::upload::Upload;
use super::watch::{Limits, Patience, Retries, Watched};
use super::{If, KeyPage, Listing, Object, S3Access, url};
use crate::error::Error;

/// Size of the parts of a large upload; S3 takes at most 10,000 of them, which makes 80 GiB.
const UPLOAD_PART_BYTES: usize = 8 << 20;

/// See the [module](self). One client per bucket, made when it is first used.
#[derive(Debug)]
pub(super) struct S3 {
    buckets: Mutex<HashMap<String, Arc<AmazonS3>>>,
    patience: Patience,
    access: Option<S3Access>,
}

impl S3 {
    pub(super) fn new(access: Option<S3Access>) -> Result<Self, Error> {
        // An error only says that another provider was chosen before us, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let limits = Limits::from_environment(|name| std::env::var(name).ok());
        let limits = limits.map_err(|reason| Error::Storage { doing: "opening", location: "S3".to_owned(), reason })?;
        Ok(Self { buckets: Mutex::default(), patience: Patience { limits, counters: Arc::default() }, access })
    }

    pub(super) fn retries(&self) -> Retries {
        self.patience.counters.get()
    }

    pub(super) async fn check_bucket(&self, bucket: &str) -> Result<(), Error> {
        let store = self.bucket(bucket)?;
        let first = store.list(None).next().await.transpose();
        first.map(drop).map_err(|error| failed("listing", bucket, "", &error))
    }

    pub(super) async fn list(&self, bucket: &str, prefix: &str) -> Result<Listing, Error> {
        let store = self.bucket(bucket)?;
        let path = path(bucket, prefix)?;
        let listed = store.list_with_delimiter(Some(&path)).await;
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
        let mut listed = match &after {
            Some(after) => store.list_with_offset(folder.as_ref(), after),
            None => store.list(folder.as_ref()),
        };
        let mut page = KeyPage::default();
        while let Some(meta) = listed.next().await {
            let meta = meta.map_err(|error| failed("listing", bucket, prefix, &error))?;
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
    }

    pub(super) async fn get_range(&self, bucket: &str, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        let store = self.bucket(bucket)?;
        if range.is_empty() {
            return Ok(self.head(bucket, key).await?.map(|_| Bytes::new()));
        }
        let path = path(bucket, key)?;
        // The range may end behind the object's end: what is expected is what the answer says that it is.
        let got = self.patience.whole(|| whole(&store, &path, Some(range.clone().into()), None)).await;
        match got {
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
        let (path, etag) = (path(bucket, key)?, format!("\"{etag}\""));
        let ask = || whole(&store, &path, Some(range.clone().into()), Some(etag.clone()));
        match self.patience.whole(ask).await {
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
        let got = self.patience.whole(|| whole(&store, &path, None, None)).await;
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
        let source =
            Source::remote(self.bucket(bucket)?, path(bucket, key)?, &object, self.patience.clone(), Handle::current());
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
        let Patience { limits, counters } = &self.patience;
        // Plain HTTP is the choice of whoever wrote `http://` into the endpoint; HTTPS endpoints stay HTTPS.
        let built = builder(self.access.as_ref())
            .with_bucket_name(bucket)
            .with_allow_http(true)
            .with_retry(limits.config())
            .with_http_connector(Watched { counters: Arc::clone(counters), stall: limits.stall })
            .build();
        let store = Arc::new(built.map_err(|error| failed("opening", bucket, "", &error))?);
        buckets.insert(bucket.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}

fn builder(access: Option<&S3Access>) -> AmazonS3Builder {
    let Some(access) = access else { return AmazonS3Builder::from_env() };
    let builder = AmazonS3Builder::new()
        .with_access_key_id(&access.access_key_id)
        .with_secret_access_key(&access.secret_access_key)
        .with_region(&access.region);
    let builder = match &access.session_token {
        Some(token) => builder.with_token(token),
        None => builder,
    };
    match &access.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint),
        None => builder,
    }
}

/// All that an answer says it brings, and how much that is.
async fn whole(
    store: &AmazonS3,
    path: &Path,
    range: Option<GetRange>,
    if_match: Option<String>,
) -> object_store::Result<(Bytes, u64)> {
    let got = store.get_opts(path, GetOptions { range, if_match, ..GetOptions::default() }).await?;
    let expected = got.range.end - got.range.start;
    Ok((got.bytes().await?, expected))
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
    let mut reason = with_causes(reason, error);
    // S3 says which permission is missing, but not to a HEAD, whose answer has no body.
    if matches!(error, object_store::Error::PermissionDenied { .. }) && !reason.contains("authorized to perform") {
        let (action, arn) = match doing {
            "listing" => ("s3:ListBucket", format!("arn:aws:s3:::{bucket}")),
            "writing" => ("s3:PutObject", format!("arn:aws:s3:::{bucket}/{key}")),
            "deleting" => ("s3:DeleteObject", format!("arn:aws:s3:::{bucket}/{key}")),
            _ => ("s3:GetObject", format!("arn:aws:s3:::{bucket}/{key}")),
        };
        reason = format!("{}; it needs {action} on {arn}", reason.trim_end_matches([':', ' ']));
        if action == "s3:GetObject" {
            reason = format!("{reason}, and s3:ListBucket on arn:aws:s3:::{bucket} to be told if it is not there");
        }
    }
    Error::Storage { doing, location: url(bucket, key), reason }
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
