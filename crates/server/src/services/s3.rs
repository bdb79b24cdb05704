//! `aws-sdk:s3`: the S3 actions as AWS's SDK gives their answers to a state machine.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use starmap_engine::services::{Answering, ServiceCall, ServiceError};

use super::{Service, absent, invalid, optional, text};
use crate::s3::buckets::{Object, Put};
use crate::s3::{Algorithm, Buckets, Error, ListQuery};
use crate::times::iso_seconds;

/// What can be called.
const SERVED: [&str; 13] = [
    "copyObject",
    "createBucket",
    "deleteBucket",
    "deleteObject",
    "deleteObjects",
    "getBucketLocation",
    "getObject",
    "headBucket",
    "headObject",
    "listBuckets",
    "listObjects",
    "listObjectsV2",
    "putObject",
];
/// Largest payload of a state machine: nothing larger can be an answer.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
const PAYLOAD_BYTES_MAX: u64 = 262_144;

#[derive(Debug)]
pub(super) struct S3Service {
    pub(super) buckets: Arc<Buckets>,
}

type Arguments = Map<String, Value>;

impl Service for S3Service {
    fn call(self: Arc<Self>, action: String, arguments: Arguments, _: ServiceCall) -> Answering {
        Box::pin(async move {
            match action.as_str() {
                "getObject" => self.get_object(&arguments).await,
                "putObject" => self.put_object(&arguments).await,
                "headObject" => self.head_object(&arguments).await,
                "deleteObject" => self.delete_object(&arguments).await,
                "deleteObjects" => self.delete_objects(&arguments).await,
                "copyObject" => self.copy_object(&arguments).await,
                "listObjects" => self.list_objects(&arguments, false).await,
                "listObjectsV2" => self.list_objects(&arguments, true).await,
                "listBuckets" => self.list_buckets().await,
                "createBucket" => self.create_bucket(&arguments).await,
                "deleteBucket" => self.delete_bucket(&arguments).await,
                "headBucket" => self.head_bucket(&arguments).await,
                "getBucketLocation" => self.bucket_location(&arguments).await,
                other => Err(absent::action("s3", other, &SERVED)),
            }
        })
    }
}

impl S3Service {
    async fn get_object(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let (bucket, key) = (text(arguments, "Bucket")?, text(arguments, "Key")?);
        let object = self.buckets.head(bucket, key).await.map_err(failed)?;
        let size = object.info.bytes;
        let range = match optional(arguments, "Range")? {
            Some(text) => Some(crate::s3::range(text, size).map_err(failed)?).flatten(),
            None => None,
        };
        let length = range.as_ref().map_or(size, |range| range.end - range.start);
        if length > PAYLOAD_BYTES_MAX {
            let cause = "The state/task returned a result with a size exceeding the maximum number of bytes service \
                         limit.";
            return Err(ServiceError { error: "States.DataLimitExceeded".to_owned(), cause: cause.to_owned() });
        }
        let body = self.buckets.get(bucket, key, range.clone()).await.map_err(failed)?;
        let mut answer = Map::new();
        answer.insert("AcceptRanges".to_owned(), json!("bytes"));
        answer.insert("ContentLength".to_owned(), json!(length));
        if let Some(range) = range {
            answer.insert("ContentRange".to_owned(), json!(format!("bytes {}-{}/{size}", range.start, range.end - 1)));
        }
        describe(&mut answer, &object);
        answer.insert("Body".to_owned(), json!(String::from_utf8_lossy(&body)));
        Ok(Value::Object(answer))
    }

    async fn head_object(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let (bucket, key) = (text(arguments, "Bucket")?, text(arguments, "Key")?);
        // An answer to HEAD has no body, so the SDK has no sentence to give.
        let object = self
            .buckets
            .head(bucket, key)
            .await
            .map_err(|error| failed(Error { message: "null".to_owned(), ..error }))?;
        let mut answer = Map::new();
        answer.insert("AcceptRanges".to_owned(), json!("bytes"));
        answer.insert("ContentLength".to_owned(), json!(object.info.bytes));
        describe(&mut answer, &object);
        Ok(Value::Object(answer))
    }

    async fn put_object(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let (bucket, key) = (text(arguments, "Bucket")?, text(arguments, "Key")?);
        // A body goes as JSON text, a string with its quotes.
        let body = arguments.get("Body").map(Value::to_string).unwrap_or_default();
        let algorithm = optional(arguments, "ChecksumAlgorithm")?.and_then(Algorithm::parse);
        let mut put = Put {
            content_type: Some(optional(arguments, "ContentType")?.unwrap_or("text/plain; charset=UTF-8").to_owned()),
            metadata: metadata(arguments)?,
            algorithm: Some(algorithm.unwrap_or(Algorithm::Crc32)),
            is_new: optional(arguments, "IfNoneMatch")? == Some("*"),
            if_match: optional(arguments, "IfMatch")?.map(str::to_owned),
            ..Put::default()
        };
        for (member, header) in [
            ("CacheControl", "cache-control"),
            ("ContentDisposition", "content-disposition"),
            ("ContentEncoding", "content-encoding"),
            ("ContentLanguage", "content-language"),
        ] {
            if let Some(value) = optional(arguments, member)? {
                put.headers.insert(header.to_owned(), value.to_owned());
            }
        }
        let object = self.buckets.put(bucket, key, Bytes::from(body), put).await.map_err(failed)?;
        let mut answer = Map::new();
        checksum(&mut answer, &object);
        answer.insert("ETag".to_owned(), json!(object.etag()));
        answer.insert("ServerSideEncryption".to_owned(), json!("AES256"));
        Ok(Value::Object(answer))
    }

    async fn delete_object(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let (bucket, key) = (text(arguments, "Bucket")?, text(arguments, "Key")?);
        self.buckets.delete(bucket, key).await.map_err(failed)?;
        Ok(json!({}))
    }

    async fn delete_objects(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let bucket = text(arguments, "Bucket")?;
        let objects = arguments.get("Delete").and_then(|delete| delete.get("Objects")).and_then(Value::as_array);
        let Some(objects) = objects else {
            return Err(invalid(arguments, "The field 'Delete' is required but was missing"));
        };
        self.buckets.head_bucket(bucket).await.map_err(failed)?;
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            let key = object.get("Key").and_then(Value::as_str).unwrap_or_default();
            match self.buckets.delete(bucket, key).await {
                Ok(()) => deleted.push(json!({ "Key": key })),
                Err(error) => errors.push(json!({ "Key": key, "Code": error.code, "Message": error.message })),
            }
        }
        Ok(json!({ "Deleted": deleted, "Errors": errors }))
    }

    async fn copy_object(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let (bucket, key) = (text(arguments, "Bucket")?, text(arguments, "Key")?);
        let (from_bucket, from_key) = crate::s3::copy_source(text(arguments, "CopySource")?).map_err(failed)?;
        let from = (from_bucket.as_str(), from_key.as_str());
        let object = self.buckets.copy(from, (bucket, key), None, None).await.map_err(failed)?;
        let mut result = Map::new();
        result.insert("ETag".to_owned(), json!(object.etag()));
        result.insert("LastModified".to_owned(), json!(iso_seconds(object.info.modified_at)));
        checksum(&mut result, &object);
        Ok(json!({ "CopyObjectResult": result, "ServerSideEncryption": "AES256" }))
    }

    async fn list_objects(&self, arguments: &Arguments, is_second: bool) -> Result<Value, ServiceError> {
        let bucket = text(arguments, "Bucket")?;
        let keys_max = arguments.get("MaxKeys").and_then(Value::as_u64).unwrap_or(1000).min(1000);
        let prefix = optional(arguments, "Prefix")?.unwrap_or_default();
        let token = optional(arguments, "ContinuationToken")?;
        let resumed = token.map(|token| {
            let text = BASE64.decode(token).ok().and_then(|text| String::from_utf8(text).ok());
            text.ok_or_else(|| invalid(arguments, "The continuation token provided is incorrect"))
        });
        let given = optional(arguments, if is_second { "StartAfter" } else { "Marker" })?;
        let query = ListQuery {
            prefix: prefix.to_owned(),
            delimiter: optional(arguments, "Delimiter")?.unwrap_or_default().to_owned(),
            start_after: resumed.transpose()?.or_else(|| given.map(str::to_owned)).unwrap_or_default(),
            keys_max: usize::try_from(keys_max).unwrap_or(1000),
        };
        let page = self.buckets.list(bucket, &query).await.map_err(failed)?;
        let contents = page.objects.iter().map(|object| {
            json!({
                "ETag": format!("\"{}\"", object.etag),
                "Key": object.key,
                "LastModified": iso_seconds(object.modified_at),
                "Size": object.bytes,
                "StorageClass": "STANDARD",
            })
        });
        let mut answer = Map::new();
        let contents: Vec<Value> = contents.collect();
        let count = contents.len() + page.common_prefixes.len();
        if !page.common_prefixes.is_empty() {
            let prefixes = page.common_prefixes.iter().map(|prefix| json!({ "Prefix": prefix }));
            answer.insert("CommonPrefixes".to_owned(), prefixes.collect());
        }
        if !contents.is_empty() {
            answer.insert("Contents".to_owned(), Value::Array(contents));
        }
        if !query.delimiter.is_empty() {
            answer.insert("Delimiter".to_owned(), json!(query.delimiter));
        }
        answer.insert("IsTruncated".to_owned(), json!(page.next.is_some()));
        answer.insert("MaxKeys".to_owned(), json!(keys_max));
        answer.insert("Name".to_owned(), json!(bucket));
        answer.insert("Prefix".to_owned(), json!(prefix));
        if is_second {
            answer.insert("KeyCount".to_owned(), json!(count));
            if let Some(next) = &page.next {
                answer.insert("NextContinuationToken".to_owned(), json!(BASE64.encode(next)));
            }
        } else {
            answer.insert("Marker".to_owned(), json!(given.unwrap_or_default()));
        }
        Ok(Value::Object(answer))
    }

    async fn list_buckets(&self) -> Result<Value, ServiceError> {
        let buckets = self.buckets.list_buckets().await.map_err(failed)?;
        let buckets: Vec<Value> = buckets
            .iter()
            .map(|(name, made_at)| json!({ "CreationDate": iso_seconds(*made_at), "Name": name }))
            .collect();
        Ok(json!({ "Buckets": buckets, "Owner": { "Id": crate::s3::OWNER_ID } }))
    }

    async fn create_bucket(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let bucket = text(arguments, "Bucket")?;
        self.buckets.create_bucket(bucket).await.map_err(failed)?;
        Ok(json!({ "Location": format!("/{bucket}") }))
    }

    async fn delete_bucket(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        self.buckets.delete_bucket(text(arguments, "Bucket")?).await.map_err(failed)?;
        Ok(json!({}))
    }

    async fn head_bucket(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        let headed = self.buckets.head_bucket(text(arguments, "Bucket")?).await;
        headed.map_err(|error| failed(Error { message: "null".to_owned(), ..error }))?;
        Ok(json!({ "AccessPointAlias": false, "BucketRegion": self.buckets.region() }))
    }

    async fn bucket_location(&self, arguments: &Arguments) -> Result<Value, ServiceError> {
        self.buckets.head_bucket(text(arguments, "Bucket")?).await.map_err(failed)?;
        let region = self.buckets.region();
        Ok(json!({ "LocationConstraint": if region == "us-east-1" { "" } else { region } }))
    }
}

/// The members that tell of an object.
fn describe(answer: &mut Map<String, Value>, object: &Object) {
    answer.insert("ContentType".to_owned(), json!(object.content_type()));
    for (member, header) in [
        ("CacheControl", "cache-control"),
        ("ContentDisposition", "content-disposition"),
        ("ContentEncoding", "content-encoding"),
        ("ContentLanguage", "content-language"),
    ] {
        if let Some(value) = object.attributes.headers.get(header) {
            answer.insert(member.to_owned(), json!(value));
        }
    }
    answer.insert("ETag".to_owned(), json!(object.etag()));
    answer.insert("LastModified".to_owned(), json!(iso_seconds(object.info.modified_at)));
    answer.insert("Metadata".to_owned(), json!(object.attributes.metadata));
    answer.insert("ServerSideEncryption".to_owned(), json!("AES256"));
}

fn checksum(answer: &mut Map<String, Value>, object: &Object) {
    if let Some(checksum) = &object.attributes.checksum {
        answer.insert(checksum.algorithm.member().to_owned(), json!(checksum.value));
        answer.insert("ChecksumType".to_owned(), json!(checksum.kind.name()));
    }
}

fn metadata(arguments: &Arguments) -> Result<std::collections::BTreeMap<String, String>, ServiceError> {
    let Some(metadata) = arguments.get("Metadata").and_then(Value::as_object) else { return Ok(Default::default()) };
    let pair = |(name, value): (&String, &Value)| match value.as_str() {
        Some(value) => Ok((name.to_lowercase(), value.to_owned())),
        None => Err(invalid(arguments, &format!("The value for the field 'Metadata.{name}' must be a STRING"))),
    };
    metadata.iter().map(pair).collect()
}

/// An error as the SDK for Java names and words it.
fn failed(error: Error) -> ServiceError {
    // The exceptions that S3's model has; all others are the general one.
    let name = match error.code {
        "NoSuchBucket" => "NoSuchBucketException",
        "NoSuchKey" => "NoSuchKeyException",
        "NoSuchUpload" => "NoSuchUploadException",
        "BucketAlreadyOwnedByYou" => "BucketAlreadyOwnedByYouException",
        "BucketAlreadyExists" => "BucketAlreadyExistsException",
        _ => "S3Exception",
    };
    let id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    let host_id = BASE64.encode([uuid::Uuid::new_v4().into_bytes(), uuid::Uuid::new_v4().into_bytes()].concat());
    let Error { message, status, .. } = error;
    let cause = format!(
        "{message} (Service: S3, Status Code: {status}, Request ID: {}, Extended Request ID: {host_id})",
        &id[..16]
    );
    ServiceError { error: format!("S3.{name}"), cause }
}
