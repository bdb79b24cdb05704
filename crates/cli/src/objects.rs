//! The engine's port to object storage over the pipeline's store: one set of buckets for both halves.

use std::ops::Range;

use bytes::Bytes;
use starmap_asl::Timestamp;
use starmap_engine::objects::{ListPage, ListRequest, ObjectError, ObjectInfo, Objects, Storing};
use starmap_pipeline::error::Error;
use starmap_pipeline::store::{If, Object, Store};

/// S3's largest page of a listing.
const KEYS_PER_PAGE_MAX: usize = 1_000;

/// See the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreObjects(Store);

impl StoreObjects {
    /// The buckets of a store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }

    /// What a missing object means: there may be no such bucket either.
    async fn absent(&self, bucket: &str, key: &str) -> ObjectError {
        match self.0.check_bucket(bucket).await {
            Ok(()) => ObjectError::NoSuchKey { bucket: bucket.to_owned(), key: key.to_owned() },
            Err(error) => translated(bucket, key, &error),
        }
    }
}

impl Objects for StoreObjects {
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ObjectInfo> {
        Box::pin(async move {
            match self.0.head(bucket, key).await {
                Ok(Some(object)) => Ok(info(object)),
                Ok(None) => Err(self.absent(bucket, key).await),
                Err(error) => Err(translated(bucket, key, &error)),
            }
        })
    }

    fn get<'a>(&'a self, bucket: &'a str, key: &'a str, range: Option<Range<u64>>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            let got = match range {
                None => self.0.get(bucket, key).await,
                Some(range) => self.0.get_range(bucket, key, range).await,
            };
            match got {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(self.absent(bucket, key).await),
                Err(error) => Err(translated(bucket, key, &error)),
            }
        })
    }

    fn get_unchanged<'a>(&'a self, bucket: &'a str, object: &'a ObjectInfo, range: Range<u64>) -> Storing<'a, Bytes> {
        Box::pin(async move {
            let key = object.key.as_str();
            match self.0.get_range_if(bucket, key, &object.etag, range).await {
                Ok(If::Same(bytes)) => Ok(bytes),
                Ok(If::Another) => Err(ObjectError::Changed { bucket: bucket.to_owned(), key: key.to_owned() }),
                Ok(If::Absent) => Err(self.absent(bucket, key).await),
                Err(error) => Err(translated(bucket, key, &error)),
            }
        })
    }

    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, content: Bytes) -> Storing<'a, ObjectInfo> {
        Box::pin(async move {
            self.0.put(bucket, key, content).await.map_err(|error| translated(bucket, key, &error))?;
            self.head(bucket, key).await
        })
    }

    fn delete<'a>(&'a self, bucket: &'a str, key: &'a str) -> Storing<'a, ()> {
        Box::pin(async move { self.0.delete(bucket, key).await.map_err(|error| translated(bucket, key, &error)) })
    }

    fn list<'a>(&'a self, bucket: &'a str, request: ListRequest) -> Storing<'a, ListPage> {
        Box::pin(async move {
            let keys_max = if request.keys_max == 0 { KEYS_PER_PAGE_MAX } else { request.keys_max };
            let listed = self.0.list_keys(bucket, &request.prefix, request.start_after.as_deref(), keys_max).await;
            let page = listed.map_err(|error| translated(bucket, &request.prefix, &error))?;
            Ok(ListPage { objects: page.objects.into_iter().map(info).collect(), has_more: page.has_more })
        })
    }

    fn buckets(&self) -> Storing<'_, Vec<(String, Timestamp)>> {
        Box::pin(async move {
            let buckets = self.0.buckets().await.map_err(|error| translated("", "", &error))?;
            Ok(buckets.into_iter().map(|(name, made_at_ms)| (name, Timestamp(made_at_ms))).collect())
        })
    }

    fn create_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Box::pin(async move {
            match self.0.create_bucket(bucket).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(ObjectError::BucketExists { bucket: bucket.to_owned() }),
                Err(error) => Err(translated(bucket, "", &error)),
            }
        })
    }

    fn delete_bucket<'a>(&'a self, bucket: &'a str) -> Storing<'a, ()> {
        Box::pin(async move {
            match self.0.delete_bucket(bucket).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(ObjectError::BucketNotEmpty { bucket: bucket.to_owned() }),
                Err(error) => Err(translated(bucket, "", &error)),
            }
        })
    }
}

fn info(object: Object) -> ObjectInfo {
    let Object { key, bytes, etag, modified_at_ms } = object;
    // S3 answers etags in quotes, files have none.
    let etag = etag.trim_matches('"').to_owned();
    ObjectInfo { key, bytes, etag, modified_at: Timestamp(modified_at_ms) }
}

fn translated(bucket: &str, key: &str, error: &Error) -> ObjectError {
    match error {
        Error::BucketNotFound { bucket, .. } => ObjectError::NoSuchBucket { bucket: bucket.clone() },
        error => ObjectError::Storage { bucket: bucket.to_owned(), key: key.to_owned(), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use starmap_pipeline::store::StoreConfig;

    use super::*;

    #[tokio::test]
    async fn a_folder_of_buckets_answers_as_s3_does() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::Folder(root.path().to_owned())).unwrap();
        let objects = StoreObjects::new(store);
        let no_bucket = ObjectError::NoSuchBucket { bucket: "sky".to_owned() };
        assert_eq!(objects.head("sky", "a").await, Err(no_bucket.clone()));
        assert_eq!(objects.list("sky", ListRequest::default()).await, Err(no_bucket));
        objects.create_bucket("sky").await.unwrap();
        assert!(matches!(objects.create_bucket("sky").await, Err(ObjectError::BucketExists { .. })));
        assert!(matches!(objects.get("sky", "a", None).await, Err(ObjectError::NoSuchKey { .. })));
        let put = objects.put("sky", "a", Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!((put.key.as_str(), put.bytes), ("a", 5));
        assert_eq!(objects.get("sky", "a", Some(1..3)).await.unwrap(), "el");
        assert_eq!(objects.get_unchanged("sky", &put, 1..3).await.unwrap(), "el");
        let other = ObjectInfo { etag: "another".to_owned(), ..put.clone() };
        let changed = objects.get_unchanged("sky", &other, 1..3).await;
        assert_eq!(changed, Err(ObjectError::Changed { bucket: "sky".to_owned(), key: "a".to_owned() }));
        let page = objects.list("sky", ListRequest::default()).await.unwrap();
        assert_eq!(page, ListPage { objects: vec![put], has_more: false });
        assert!(matches!(objects.delete_bucket("sky").await, Err(ObjectError::BucketNotEmpty { .. })));
        objects.delete("sky", "a").await.unwrap();
        objects.delete_bucket("sky").await.unwrap();
        assert_eq!(objects.buckets().await.unwrap(), []);
    }
}
