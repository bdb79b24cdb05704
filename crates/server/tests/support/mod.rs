//! Buckets in memory, and the Lambda API over real workers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use starmap_asl::Timestamp;
use starmap_engine::objects::{ListPage, ListRequest, ObjectError, ObjectInfo, Objects, Storing};

type Bucket = BTreeMap<String, (Bytes, Timestamp)>;

/// Buckets that last as long as the test.
#[derive(Debug, Default)]
pub struct MemoryObjects {
    buckets: Mutex<BTreeMap<String, Bucket>>,
    clock: AtomicI64,
}

impl MemoryObjects {
    fn with<T>(&self, bucket: &str, work: impl FnOnce(&mut Bucket) -> T) -> Result<T, ObjectError> {
        let mut buckets = self.buckets.lock().unwrap();
        let missing = || ObjectError::NoSuchBucket { bucket: bucket.to_owned() };
        buckets.get_mut(bucket).map(work).ok_or_else(missing)
    }
}

fn info(key: &str, (bytes, at): &(Bytes, Timestamp)) -> ObjectInfo {
    let etag = format!("{:x}-{:x}", at.0, bytes.len());
    ObjectInfo { key: key.to_owned(), bytes: bytes.len() as u64, etag, modified_at: *at }
}

impl Objects for MemoryObjects {
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ObjectInfo> {
        let missing = || ObjectError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let found = self.with(bucket, |objects| objects.get(key).map(|object| info(key, object)));
        let found = found.and_then(|found| found.ok_or_else(missing));
        Box::pin(async { found })
    }

    fn get<'a>(&'a self, bucket: &'a str, key: &'a str, range: Option<Range<u64>>) -> Storing<'a, Bytes> {
        let missing = || ObjectError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() };
        let cut = |(bytes, _): &(Bytes, Timestamp)| match range {
            Some(range) => bytes.slice(range.start as usize..range.end as usize),
            None => bytes.clone(),
        };
        let found = self.with(bucket, |objects| objects.get(key).map(cut));
        let found = found.and_then(|found| found.ok_or_else(missing));
        Box::pin(async { found })
    }

    fn get_unchanged<'a>(&'a self, bucket: &'a str, object: &'a ObjectInfo, range: Range<u64>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            if self.head(bucket, &object.key).await? != *object {
                return Err(ObjectError::Changed { bucket: bucket.to_owned(), key: object.key.clone() });
            }
            self.get(bucket, &object.key, Some(range)).await
        })
    }

    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, content: Bytes) -> Storing<'a, ObjectInfo> {
        let at = Timestamp(1_800_000_000_000 + self.clock.fetch_add(1, Ordering::Relaxed));
        let put = self.with(bucket, |objects| {
            objects.insert(key.to_owned(), (content, at));
            info(key, &objects[key])
        });
        Box::pin(async { put })
    }

    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ()> {
        let deleted = self.with(bucket, |objects| drop(objects.remove(key)));
        Box::pin(async { deleted })
    }

    fn list<'a>(&'a self, bucket: &'a str, request: ListRequest) -> Storing<'a, ListPage> {
        let listed = self.with(bucket, |objects| {
            let after = request.start_after.unwrap_or_default();
            let found = objects.iter().filter(|(key, _)| key.starts_with(&request.prefix) && **key > after);
            let mut found: Vec<_> = found.map(|(key, object)| info(key, object)).collect();
            let has_more = found.len() > request.keys_max;
            found.truncate(request.keys_max);
            ListPage { objects: found, has_more }
        });
        Box::pin(async { listed })
    }

    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>> {
        let names = self.buckets.lock().unwrap().keys().map(|name| (name.clone(), Timestamp(0))).collect();
        Box::pin(async { Ok(names) })
    }

    fn create_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        let mut buckets = self.buckets.lock().unwrap();
        let made = match buckets.contains_key(bucket) {
            true => Err(ObjectError::BucketExists { bucket: bucket.to_owned() }),
            false => {
                buckets.insert(bucket.to_owned(), Bucket::new());
                Ok(())
            }
        };
        Box::pin(async { made })
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        let is_empty = self.with(bucket, |objects| objects.is_empty());
        let removed = match is_empty {
            Ok(true) => {
                self.buckets.lock().unwrap().remove(bucket);
                Ok(())
            }
            Ok(false) => Err(ObjectError::BucketNotEmpty { bucket: bucket.to_owned() }),
            Err(error) => Err(error),
        };
        Box::pin(async { removed })
    }
}

/// The head of a request; `headers` as `name: value` lines.
pub fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1:8083");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// An answer's status, headers that begin so, and body.
pub async fn read<B: hyper::body::Body<Data = Bytes>>(answer: Response<B>) -> (u16, BTreeMap<String, String>, Bytes)
where
    B::Error: std::fmt::Debug,
{
    let status = answer.status().as_u16();
    let headers = answer.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
    let headers = headers.collect();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, headers, body)
}
