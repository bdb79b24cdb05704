//! S3's REST protocol: requests in, XML and bytes out.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html>, read 2026-11.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use starmap_asl::Timestamp;

use super::attributes::Attributes;
use super::buckets::{Buckets, Object, Put, is_match};
use super::checksum::{Algorithm, Checksum, Kind, md5_base64};
use super::chunked;
use super::error::Error;
use super::listing::{KEYS_MAX, Query};
use super::multipart::{Named, Part};
use super::request::{self, Target, header};
use crate::auth::{Ask, Guard};
use crate::router::{Answer, Answering, BodyError, Protocol, RequestBody, read_body};
use crate::times;
use crate::xml::{Element, Writer};

/// Most that one request may carry. An object that is larger comes in parts, as the clients do by themselves.
const BODY_BYTES_MAX: usize = 1 << 30;
/// What `encoding-type=url` leaves as it is.
const URL_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/').remove(b'*');
/// Everything has this owner.
pub(crate) const OWNER_ID: &str = "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a";
const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/// The S3 protocol; the last in a router, because every path may be a bucket.
#[derive(Debug)]
pub struct S3 {
    buckets: Arc<Buckets>,
}

impl S3 {
    /// Serves these buckets.
    pub fn new(buckets: Arc<Buckets>) -> Self {
        Self { buckets }
    }
}

impl Protocol for S3 {
    fn takes(&self, head: &Parts) -> bool {
        let is_root = matches!(head.uri.path(), "/" | "/health");
        let query = head.uri.query().unwrap_or_default();
        let is_signed = header(&head.headers, "authorization")
            .is_some_and(|value| value.contains("/s3/aws4_request") || value.starts_with("AWS "))
            || query.contains("%2Fs3%2Faws4_request")
            || query.contains("/s3/aws4_request");
        is_signed || !is_root
    }

    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering {
        Box::pin(async move {
            let body = match read_body(&head.headers, body, BODY_BYTES_MAX).await {
                Ok(body) => body,
                Err(BodyError::TooLarge) => {
                    let message = "Your proposed upload exceeds the maximum allowed size";
                    let error = Error::new("EntityTooLarge", 400, message);
                    return refused(&head, &error.with("MaxSizeAllowed", BODY_BYTES_MAX.to_string()));
                }
                Err(BodyError::Broken) => {
                    let message = "You did not provide the number of bytes specified by the Content-Length HTTP header";
                    return refused(&head, &Error::new("IncompleteBody", 400, message));
                }
            };
            self.answer(&head, body).await
        })
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard { family: starmap_sigv4::Family::S3, services: &["s3"], bytes_max: BODY_BYTES_MAX })
    }

    fn asks(&self, head: &Parts, body: &Bytes) -> Vec<Ask> {
        super::asks::of(head, body)
    }

    fn asks_of_absent(&self, head: &Parts) -> Option<Ask> {
        super::asks::of_absent(head)
    }

    fn refuse(&self, head: &Parts, _: &Bytes, refusal: &starmap_sigv4::Refusal) -> Answer {
        let mut error = Error::new(refusal.code, refusal.status, refusal.message.clone());
        error.members.clone_from(&refusal.details);
        refused(head, &error)
    }
}

impl S3 {
    /// Answers a request whose body was read.
    pub async fn answer(&self, head: &Parts, body: Bytes) -> Answer {
        match self.act(head, body).await {
            Ok(answer) => finished(answer),
            Err(error) => refused(head, &error),
        }
    }

    async fn act(&self, head: &Parts, body: Bytes) -> Result<Answer, Error> {
        let target = Target::of(head)?;
        let call = Call { buckets: &self.buckets, head, target: &target };
        match (&target.bucket, &target.key) {
            (None, _) if head.method == Method::GET => call.list_buckets().await,
            (None, _) => Err(method_not_allowed(&head.method, "SERVICE")),
            (Some(bucket), None) => call.on_bucket(bucket, body).await,
            (Some(bucket), Some(key)) => call.on_object(bucket, key, body).await,
        }
    }
}

/// One request under way.
struct Call<'a> {
    buckets: &'a Buckets,
    head: &'a Parts,
    target: &'a Target,
}

/// Sub-resources of buckets that are kept, with the error of one that was never set.
const KEPT: [(&str, &str); 5] = [
    ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("lifecycle", "NoSuchLifecycleConfiguration"),
    ("ownershipControls", "OwnershipControlsNotFoundError"),
    ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ("tagging", "NoSuchTagSet"),
];

/// Sub-resources of buckets and objects that are named in the query, and are not served.
pub(super) const NOT_SERVED: [&str; 22] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "publicAccessBlock",
    "replication",
    "restore",
    "retention",
    "tagging",
    "website",
];

// Buckets.
impl Call<'_> {
    async fn list_buckets(&self) -> Result<Answer, Error> {
        let prefix = self.target.get("prefix").unwrap_or_default();
        let buckets = self.buckets.list_buckets().await?;
        let mut xml = Writer::new();
        xml.element(&format!("ListAllMyBucketsResult {NAMESPACE}"), |result| {
            result.element("Buckets", |list| {
                for (name, made_at) in buckets.iter().filter(|(name, _)| name.starts_with(prefix)) {
                    list.element("Bucket", |bucket| {
                        bucket.text("Name", name).text("CreationDate", made_at.to_string());
                    });
                }
            });
            owner(result, "Owner");
        });
        Ok(document(xml))
    }

    /// What is set of a bucket is kept as it came and told again. It decides nothing: every object here belongs to the
    /// one account, nothing is public, and nothing expires.
    async fn setting(&self, bucket: &str, name: &str, absent: &'static str, body: &Bytes) -> Result<Answer, Error> {
        self.buckets.head_bucket(bucket).await?;
        let kept = &self.buckets.attributes;
        match self.head.method {
            Method::PUT | Method::POST => {
                if Element::parse(body).is_none() {
                    return Err(Error::malformed_xml());
                }
                kept.set(bucket, name, Some(body)).map_err(|error| unkept(&error))?;
                Ok(empty(if name == "tagging" { StatusCode::NO_CONTENT } else { StatusCode::OK }))
            }
            Method::DELETE => {
                kept.set(bucket, name, None).map_err(|error| unkept(&error))?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => {
                let missing = || {
                    Error::new(absent, 404, format!("The {name} configuration was not found"))
                        .with("BucketName", bucket)
                };
                let xml = kept.setting(bucket, name).ok_or_else(missing)?;
                let mut answer = Response::new(Full::new(Bytes::from(xml)));
                set(answer.headers_mut(), "content-type", "application/xml");
                Ok(answer)
            }
        }
    }

    async fn on_bucket(&self, bucket: &str, body: Bytes) -> Result<Answer, Error> {
        let target = self.target;
        if let Some((name, absent)) = KEPT.iter().find(|(name, _)| target.has(name)) {
            return self.setting(bucket, name, absent, &body).await;
        }
        if let Some(name) = NOT_SERVED.iter().find(|name| target.has(name)) {
            self.buckets.head_bucket(bucket).await?;
            return Err(Error::not_implemented(name));
        }
        match self.head.method {
            Method::PUT if target.has("versioning") => Err(Error::not_implemented("versioning")),
            Method::PUT => {
                self.buckets.create_bucket(bucket).await?;
                let mut answer = empty(StatusCode::OK);
                set(answer.headers_mut(), "location", &format!("/{bucket}"));
                Ok(answer)
            }
            Method::HEAD => {
                self.buckets.head_bucket(bucket).await?;
                let mut answer = empty(StatusCode::OK);
                set(answer.headers_mut(), "x-amz-bucket-region", &self.buckets.region);
                Ok(answer)
            }
            Method::DELETE => {
                self.buckets.delete_bucket(bucket).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            Method::POST if target.has("delete") => self.delete_objects(bucket, &body).await,
            Method::GET if target.has("location") => {
                self.buckets.head_bucket(bucket).await?;
                let mut xml = Writer::new();
                // `us-east-1` is written as nothing.
                let region = if self.buckets.region == "us-east-1" { "" } else { &self.buckets.region };
                xml.text(&format!("LocationConstraint {NAMESPACE}"), region);
                Ok(document(xml))
            }
            Method::GET if target.has("versioning") => {
                self.buckets.head_bucket(bucket).await?;
                let mut xml = Writer::new();
                xml.element(&format!("VersioningConfiguration {NAMESPACE}"), |_| {});
                Ok(document(xml))
            }
            Method::GET if target.has("uploads") => self.list_uploads(bucket).await,
            Method::GET if target.has("versions") => Err(Error::not_implemented("versions")),
            Method::GET => self.list_objects(bucket).await,
            _ => Err(method_not_allowed(&self.head.method, "BUCKET")),
        }
    }

    async fn list_objects(&self, bucket: &str) -> Result<Answer, Error> {
        let target = self.target;
        let is_second = target.get("list-type") == Some("2");
        let keys_max = target.number("max-keys")?.map_or(KEYS_MAX, |keys| (keys as usize).min(KEYS_MAX));
        let token = target.get("continuation-token");
        let resumed = token.map(|token| from_token(token).ok_or_else(invalid_token)).transpose()?;
        let given = target.get(if is_second { "start-after" } else { "marker" });
        let query = Query {
            prefix: target.get("prefix").unwrap_or_default().to_owned(),
            delimiter: target.get("delimiter").unwrap_or_default().to_owned(),
            start_after: resumed.or_else(|| given.map(str::to_owned)).unwrap_or_default(),
            keys_max,
        };
        let mut page = self.buckets.list(bucket, &query).await?;
        if keys_max == 0 {
            page.next = None;
        }
        let is_encoded = target.get("encoding-type") == Some("url");
        let encode = |text: &str| if is_encoded { url_encoded(text) } else { text.to_owned() };
        let mut xml = Writer::new();
        xml.element(&format!("ListBucketResult {NAMESPACE}"), |list| {
            list.text("Name", bucket).text("Prefix", encode(&query.prefix));
            if is_second {
                list.optional("ContinuationToken", token);
                list.optional("StartAfter", given.map(&encode));
                list.text("KeyCount", (page.objects.len() + page.common_prefixes.len()).to_string());
                list.optional("NextContinuationToken", page.next.as_deref().map(to_token));
            } else {
                list.text("Marker", encode(given.unwrap_or_default()));
                // As on S3, without a delimiter the last key says where to go on.
                let next = page.next.as_deref().filter(|_| !query.delimiter.is_empty());
                list.optional("NextMarker", next.map(&encode));
            }
            list.text("MaxKeys", keys_max.to_string());
            list.optional("Delimiter", Some(encode(&query.delimiter)).filter(|delimiter| !delimiter.is_empty()));
            list.optional("EncodingType", is_encoded.then_some("url"));
            list.text("IsTruncated", page.next.is_some().to_string());
            for object in &page.objects {
                list.element("Contents", |contents| {
                    contents.text("Key", encode(&object.key));
                    contents.text("LastModified", object.modified_at.to_string());
                    contents.text("ETag", format!("\"{}\"", object.etag));
                    contents.text("Size", object.bytes.to_string());
                    if !is_second || target.get("fetch-owner") == Some("true") {
                        owner(contents, "Owner");
                    }
                    contents.text("StorageClass", "STANDARD");
                });
            }
            for common in &page.common_prefixes {
                list.element("CommonPrefixes", |prefixes| {
                    prefixes.text("Prefix", encode(common));
                });
            }
        });
        Ok(document(xml))
    }

    async fn delete_objects(&self, bucket: &str, body: &[u8]) -> Result<Answer, Error> {
        const KEYS_AT_ONCE_MAX: usize = 1000;
        let delete = Element::parse(body).filter(|delete| delete.name == "Delete").ok_or_else(Error::malformed_xml)?;
        let keys: Vec<&str> = delete.all("Object").filter_map(|object| object.get("Key")).collect();
        if keys.is_empty() || keys.len() > KEYS_AT_ONCE_MAX || keys.len() != delete.all("Object").count() {
            return Err(Error::malformed_xml());
        }
        self.buckets.head_bucket(bucket).await?;
        let is_quiet = delete.get("Quiet") == Some("true");
        let mut done = Vec::new();
        for key in keys {
            done.push((key, self.buckets.delete(bucket, key).await));
        }
        let mut xml = Writer::new();
        xml.element(&format!("DeleteResult {NAMESPACE}"), |result| {
            for (key, deleted) in &done {
                match deleted {
                    Ok(()) if is_quiet => {}
                    Ok(()) => {
                        result.element("Deleted", |deleted| {
                            deleted.text("Key", key);
                        });
                    }
                    Err(error) => {
                        result.element("Error", |failed| {
                            failed.text("Key", key).text("Code", error.code).text("Message", &error.message);
                        });
                    }
                }
            }
        });
        Ok(document(xml))
    }

    async fn list_uploads(&self, bucket: &str) -> Result<Answer, Error> {
        let prefix = self.target.get("prefix").unwrap_or_default();
        let uploads = self.buckets.list_uploads(bucket).await?;
        let mut xml = Writer::new();
        xml.element(&format!("ListMultipartUploadsResult {NAMESPACE}"), |list| {
            list.text("Bucket", bucket).text("KeyMarker", "").text("UploadIdMarker", "");
            list.text("MaxUploads", "1000").text("IsTruncated", "false");
            for (id, upload) in uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix)) {
                list.element("Upload", |one| {
                    one.text("Key", &upload.key).text("UploadId", id);
                    owner(one, "Initiator");
                    owner(one, "Owner");
                    one.text("StorageClass", "STANDARD").text("Initiated", upload.begun_at().to_string());
                });
            }
        });
        Ok(document(xml))
    }
}

// Objects.
impl Call<'_> {
    async fn on_object(&self, bucket: &str, key: &str, body: Bytes) -> Result<Answer, Error> {
        let target = self.target;
        if let Some(name) = NOT_SERVED.iter().find(|name| target.has(name)) {
            self.buckets.head(bucket, key).await?;
            return Err(Error::not_implemented(name));
        }
        let upload = target.get("uploadId");
        let copied = header(&self.head.headers, "x-amz-copy-source");
        match (&self.head.method, upload, copied) {
            (&Method::GET | &Method::HEAD, None, _) => self.get_object(bucket, key).await,
            (&Method::GET, Some(id), _) => self.list_parts(bucket, key, id).await,
            (&Method::PUT, None, None) => self.put_object(bucket, key, body).await,
            (&Method::PUT, None, Some(source)) => self.copy_object(bucket, key, source).await,
            (&Method::PUT, Some(id), None) => self.upload_part(bucket, key, id, body).await,
            (&Method::PUT, Some(id), Some(source)) => self.upload_part_copy(bucket, key, id, source).await,
            (&Method::POST, None, _) if target.has("uploads") => self.create_upload(bucket, key).await,
            (&Method::POST, Some(id), _) => self.complete_upload(bucket, key, id, &body).await,
            (&Method::DELETE, None, _) => {
                self.buckets.delete(bucket, key).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            (&Method::DELETE, Some(id), _) => {
                self.buckets.abort_upload(bucket, key, id).await?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
            (method, ..) => Err(method_not_allowed(method, "OBJECT")),
        }
    }

    async fn get_object(&self, bucket: &str, key: &str) -> Result<Answer, Error> {
        let headers = &self.head.headers;
        let is_head = self.head.method == Method::HEAD;
        let object = self.buckets.head(bucket, key).await?;
        if let Some(status) = condition(headers, &object) {
            if status == StatusCode::PRECONDITION_FAILED {
                let name = if headers.contains_key("if-match") { "If-Match" } else { "If-Unmodified-Since" };
                return Err(Error::precondition_failed(name));
            }
            let mut answer = empty(status);
            set(answer.headers_mut(), "etag", &object.etag());
            set(answer.headers_mut(), "last-modified", &object.info.modified_at.http_date());
            return Ok(answer);
        }
        let size = object.info.bytes;
        let range = header(headers, "range").map(|text| range(text, size)).transpose()?.flatten();
        let (first, end) = range.as_ref().map_or((0, size), |range| (range.start, range.end));
        let mut answer = if is_head || first == end {
            Response::new(Full::default())
        } else {
            Response::new(Full::new(self.buckets.get(bucket, key, range.clone()).await?))
        };
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let out = answer.headers_mut();
        describe(out, &object);
        set(out, "accept-ranges", "bytes");
        if is_head {
            set(out, "content-length", &(end - first).to_string());
        }
        match range {
            Some(range) => set(out, "content-range", &format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            None if header(headers, "x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ENABLED")) => {
                checksum_headers(out, object.attributes.checksum.as_ref());
            }
            None => {}
        }
        for (parameter, name) in [
            ("response-cache-control", "cache-control"),
            ("response-content-disposition", "content-disposition"),
            ("response-content-encoding", "content-encoding"),
            ("response-content-language", "content-language"),
            ("response-content-type", "content-type"),
            ("response-expires", "expires"),
        ] {
            if let Some(value) = self.target.get(parameter) {
                set(out, name, value);
            }
        }
        Ok(answer)
    }

    /// The bytes of a body and what its checksum must be.
    fn body(&self, body: Bytes) -> Result<(Bytes, Option<(Algorithm, String)>), Error> {
        let headers = &self.head.headers;
        let (body, trailers) = if request::is_framed(headers) {
            let decoded = chunked::decode(body)?;
            (decoded.body, decoded.trailers)
        } else {
            (body, Vec::new())
        };
        let said = header(headers, "x-amz-decoded-content-length").and_then(|length| length.parse::<usize>().ok());
        if said.is_some_and(|length| length != body.len()) {
            let message = "You did not provide the number of bytes specified by the Content-Length HTTP header";
            return Err(Error::new("IncompleteBody", 400, message));
        }
        if let Some(md5) = header(headers, "content-md5") {
            if BASE64.decode(md5).map_or(true, |digest| digest.len() != 16) {
                return Err(Error::new("InvalidDigest", 400, "The Content-MD5 you specified was invalid."));
            }
            if md5 != md5_base64(&body) {
                return Err(Error::new(
                    "BadDigest",
                    400,
                    "The Content-MD5 you specified did not match what we received.",
                ));
            }
        }
        Ok((body, request::expected_checksum(headers, &trailers)))
    }

    /// The algorithm that a header asks for.
    fn algorithm(&self) -> Result<Option<Algorithm>, Error> {
        let headers = &self.head.headers;
        let name =
            header(headers, "x-amz-checksum-algorithm").or_else(|| header(headers, "x-amz-sdk-checksum-algorithm"));
        let Some(name) = name else { return Ok(None) };
        let message = "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                       [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]";
        Algorithm::parse(name).map(Some).ok_or_else(|| Error::new("InvalidRequest", 400, message))
    }

    async fn put_object(&self, bucket: &str, key: &str, body: Bytes) -> Result<Answer, Error> {
        let headers = &self.head.headers;
        let (body, expected) = self.body(body)?;
        let Attributes { content_type, headers: kept, metadata, .. } = request::attributes(headers)?;
        let algorithm = expected.as_ref().map(|(algorithm, _)| *algorithm).or(self.algorithm()?);
        let put = Put {
            content_type,
            headers: kept,
            metadata,
            algorithm,
            expected: expected.map(|(_, value)| value),
            is_new: header(headers, "if-none-match") == Some("*"),
            if_match: header(headers, "if-match").map(str::to_owned),
        };
        let object = self.buckets.put(bucket, key, body, put).await?;
        let mut answer = empty(StatusCode::OK);
        written(answer.headers_mut(), &object);
        Ok(answer)
    }

    async fn copy_object(&self, bucket: &str, key: &str, source: &str) -> Result<Answer, Error> {
        let headers = &self.head.headers;
        let (from_bucket, from_key) = copy_source(source)?;
        self.check_source(&from_bucket, &from_key).await?;
        let is_replaced = header(headers, "x-amz-metadata-directive").is_some_and(|directive| directive == "REPLACE");
        let replacement = if is_replaced { Some(request::attributes(headers)?) } else { None };
        let (from, to) = ((from_bucket.as_str(), from_key.as_str()), (bucket, key));
        let object = self.buckets.copy(from, to, replacement, self.algorithm()?).await?;
        let mut xml = Writer::new();
        xml.element(&format!("CopyObjectResult {NAMESPACE}"), |result| {
            result.text("LastModified", object.info.modified_at.to_string()).text("ETag", object.etag());
            checksum_elements(result, object.attributes.checksum.as_ref());
        });
        Ok(document(xml))
    }

    /// The conditions on the source of a copy.
    async fn check_source(&self, bucket: &str, key: &str) -> Result<Object, Error> {
        let headers = &self.head.headers;
        let object = self.buckets.head(bucket, key).await?;
        let etag = &object.attributes.etag;
        for (name, is_wanted) in [("x-amz-copy-source-if-match", true), ("x-amz-copy-source-if-none-match", false)] {
            if header(headers, name).is_some_and(|condition| is_match(condition, etag) != is_wanted) {
                return Err(Error::precondition_failed(name));
            }
        }
        Ok(object)
    }

    async fn create_upload(&self, bucket: &str, key: &str) -> Result<Answer, Error> {
        let headers = &self.head.headers;
        let algorithm = self.algorithm()?;
        let kind = match header(headers, "x-amz-checksum-type") {
            Some("FULL_OBJECT") => Some(Kind::FullObject),
            Some("COMPOSITE") => Some(Kind::Composite),
            _ => None,
        };
        let attributes = request::attributes(headers)?;
        let id = self.buckets.begin_upload(bucket, key, attributes, algorithm, kind).await?;
        let mut xml = Writer::new();
        xml.element(&format!("InitiateMultipartUploadResult {NAMESPACE}"), |result| {
            result.text("Bucket", bucket).text("Key", key).text("UploadId", &id);
        });
        let mut answer = document(xml);
        if let Some(algorithm) = algorithm {
            let kind = kind.unwrap_or_else(|| algorithm.default_kind());
            set(answer.headers_mut(), "x-amz-checksum-algorithm", algorithm.name());
            set(answer.headers_mut(), "x-amz-checksum-type", kind.name());
        }
        set(answer.headers_mut(), "x-amz-server-side-encryption", "AES256");
        Ok(answer)
    }

    fn part_number(&self) -> Result<u32, Error> {
        let number = self.target.number("partNumber")?.unwrap_or(0);
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    async fn upload_part(&self, bucket: &str, key: &str, id: &str, body: Bytes) -> Result<Answer, Error> {
        let (body, expected) = self.body(body)?;
        let number = self.part_number()?;
        let (part, algorithm) = self.buckets.put_part(bucket, key, id, number, body, expected).await?;
        let mut answer = empty(StatusCode::OK);
        let out = answer.headers_mut();
        set(out, "etag", &format!("\"{}\"", part.etag));
        set(out, "x-amz-server-side-encryption", "AES256");
        if let (Some(algorithm), Some(checksum)) = (algorithm, &part.checksum) {
            set(out, algorithm.header(), checksum);
        }
        Ok(answer)
    }

    async fn upload_part_copy(&self, bucket: &str, key: &str, id: &str, source: &str) -> Result<Answer, Error> {
        let (from_bucket, from_key) = copy_source(source)?;
        let object = self.check_source(&from_bucket, &from_key).await?;
        let range = match header(&self.head.headers, "x-amz-copy-source-range") {
            None => None,
            Some(text) => match parse_range(text, object.info.bytes) {
                Ranged::Within(first, end) => Some(first..end),
                Ranged::Outside | Ranged::Unknown => {
                    let message = "The x-amz-copy-source-range value must be of the form bytes=first-last where first \
                                   and last are the zero-based offsets of the first and last bytes to copy";
                    return Err(Error::invalid_argument("x-amz-copy-source-range", text, message));
                }
            },
        };
        let content = self.buckets.get(&from_bucket, &from_key, range).await?;
        let number = self.part_number()?;
        let (part, algorithm) = self.buckets.put_part(bucket, key, id, number, content, None).await?;
        let mut xml = Writer::new();
        xml.element(&format!("CopyPartResult {NAMESPACE}"), |result| {
            result.text("LastModified", Timestamp(part.written_at_ms).to_string());
            result.text("ETag", format!("\"{}\"", part.etag));
            if let (Some(algorithm), Some(checksum)) = (algorithm, &part.checksum) {
                result.text(algorithm.member(), checksum);
            }
        });
        Ok(document(xml))
    }

    async fn list_parts(&self, bucket: &str, key: &str, id: &str) -> Result<Answer, Error> {
        let parts_max = self.target.number("max-parts")?.map_or(KEYS_MAX, |parts| (parts as usize).min(KEYS_MAX));
        let marker = self.target.number("part-number-marker")?.unwrap_or(0);
        let upload = self.buckets.upload(bucket, key, id).await?;
        let mut parts = self.buckets.list_parts(bucket, key, id).await?;
        parts.retain(|part| u64::from(part.number) > marker);
        let is_truncated = parts.len() > parts_max;
        parts.truncate(parts_max);
        let mut xml = Writer::new();
        xml.element(&format!("ListPartsResult {NAMESPACE}"), |list| {
            list.text("Bucket", bucket).text("Key", key).text("UploadId", id);
            owner(list, "Initiator");
            owner(list, "Owner");
            list.text("StorageClass", "STANDARD").text("PartNumberMarker", marker.to_string());
            let next = parts.last().map_or(0, |part| part.number);
            list.text("NextPartNumberMarker", next.to_string());
            list.text("MaxParts", parts_max.to_string()).text("IsTruncated", is_truncated.to_string());
            for part in &parts {
                let Part { number, etag, bytes, checksum, written_at_ms } = part;
                list.element("Part", |one| {
                    one.text("PartNumber", number.to_string()).text("ETag", format!("\"{etag}\""));
                    one.text("LastModified", Timestamp(*written_at_ms).to_string()).text("Size", bytes.to_string());
                    if let (Some(algorithm), Some(checksum)) = (upload.algorithm, checksum) {
                        one.text(algorithm.member(), checksum);
                    }
                });
            }
        });
        Ok(document(xml))
    }

    async fn complete_upload(&self, bucket: &str, key: &str, id: &str, body: &[u8]) -> Result<Answer, Error> {
        let complete = Element::parse(body).ok_or_else(Error::malformed_xml)?;
        let named = complete.all("Part").map(|part| {
            let number =
                part.get("PartNumber").and_then(|number| number.parse().ok()).ok_or_else(Error::malformed_xml)?;
            let etag = part.get("ETag").unwrap_or_default().to_owned();
            Ok(Named { number, etag })
        });
        let named = named.collect::<Result<Vec<_>, Error>>()?;
        let is_new = header(&self.head.headers, "if-none-match") == Some("*");
        let object = self.buckets.complete_upload(bucket, key, id, named, is_new).await?;
        let host = header(&self.head.headers, "host").unwrap_or("localhost");
        let mut xml = Writer::new();
        xml.element(&format!("CompleteMultipartUploadResult {NAMESPACE}"), |result| {
            result.text("Location", format!("http://{host}/{bucket}/{}", url_encoded(key)));
            result.text("Bucket", bucket).text("Key", key).text("ETag", object.etag());
            checksum_elements(result, object.attributes.checksum.as_ref());
        });
        let mut answer = document(xml);
        set(answer.headers_mut(), "x-amz-server-side-encryption", "AES256");
        Ok(answer)
    }
}

/// The part of an object of so many bytes that a range header asks for; what is no range of bytes is none.
pub(crate) fn range(text: &str, size: u64) -> Result<Option<Range<u64>>, Error> {
    match parse_range(text, size) {
        Ranged::Unknown => Ok(None),
        Ranged::Within(first, end) => Ok(Some(first..end)),
        Ranged::Outside => {
            let error = Error::new("InvalidRange", 416, "The requested range is not satisfiable");
            Err(error.with("RangeRequested", text).with("ActualObjectSize", size.to_string()))
        }
    }
}

/// What a range header asks for, of an object of so many bytes.
enum Ranged {
    /// First, and one past the last.
    Within(u64, u64),
    Outside,
    Unknown,
}

fn parse_range(text: &str, size: u64) -> Ranged {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ranged::Unknown;
    };
    let (first, last) = (first.trim(), last.trim());
    let (first, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => (size.saturating_sub(count), size),
        (Err(_), Ok(_)) if first.is_empty() => return Ranged::Outside,
        _ => return Ranged::Unknown,
    };
    if first >= size { Ranged::Outside } else { Ranged::Within(first, end) }
}

/// The status of a read whose conditions do not hold.
///
/// # Source
/// RFC 9110, 13.2.2: an etag wins over a date.
fn condition(headers: &HeaderMap, object: &Object) -> Option<StatusCode> {
    let etag = &object.attributes.etag;
    let modified = object.info.modified_at.0.div_euclid(1000);
    let date = |name| header(headers, name).and_then(times::parse_http_date).map(|date| date.0.div_euclid(1000));
    match (header(headers, "if-match"), date("if-unmodified-since")) {
        (Some(condition), _) if !is_match(condition, etag) => return Some(StatusCode::PRECONDITION_FAILED),
        (None, Some(date)) if modified > date => return Some(StatusCode::PRECONDITION_FAILED),
        _ => {}
    }
    match (header(headers, "if-none-match"), date("if-modified-since")) {
        (Some(condition), _) if is_match(condition, etag) => Some(StatusCode::NOT_MODIFIED),
        (None, Some(date)) if modified <= date => Some(StatusCode::NOT_MODIFIED),
        _ => None,
    }
}

/// Bucket and key of `x-amz-copy-source`.
pub(crate) fn copy_source(source: &str) -> Result<(String, String), Error> {
    let source = source.split_once("?versionId=").map_or(source, |(source, _)| source);
    let decoded = request::decode(source)?;
    let pair =
        decoded.trim_start_matches('/').split_once('/').filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
    pair.map(|(bucket, key)| (bucket.to_owned(), key.to_owned())).ok_or_else(|| {
        let message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey";
        Error::invalid_argument("x-amz-copy-source", source, message)
    })
}

fn to_token(start_after: &str) -> String {
    BASE64.encode(start_after)
}

fn from_token(token: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(token).ok()?).ok()
}

fn invalid_token() -> Error {
    Error::invalid_argument("continuation-token", "", "The continuation token provided is incorrect")
}

fn url_encoded(text: &str) -> String {
    utf8_percent_encode(text, URL_ENCODED).to_string()
}

fn owner(xml: &mut Writer, name: &str) {
    xml.element(name, |owner| {
        owner.text("ID", OWNER_ID).text("DisplayName", "starmap");
    });
}

fn checksum_elements(xml: &mut Writer, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum {
        xml.text(checksum.algorithm.member(), &checksum.value).text("ChecksumType", checksum.kind.name());
    }
}

fn checksum_headers(headers: &mut HeaderMap, checksum: Option<&Checksum>) {
    if let Some(checksum) = checksum {
        set(headers, checksum.algorithm.header(), &checksum.value);
        set(headers, "x-amz-checksum-type", checksum.kind.name());
    }
}

/// The headers of an answer to a write.
fn written(headers: &mut HeaderMap, object: &Object) {
    set(headers, "etag", &object.etag());
    set(headers, "x-amz-server-side-encryption", "AES256");
    checksum_headers(headers, object.attributes.checksum.as_ref());
}

/// The headers that tell of an object.
fn describe(headers: &mut HeaderMap, object: &Object) {
    set(headers, "content-type", object.content_type());
    set(headers, "etag", &object.etag());
    set(headers, "last-modified", &object.info.modified_at.http_date());
    set(headers, "x-amz-server-side-encryption", "AES256");
    for (name, value) in &object.attributes.headers {
        set(headers, name, value);
    }
    for (name, value) in &object.attributes.metadata {
        set(headers, &format!("x-amz-meta-{name}"), value);
    }
}

/// Sets a header; one whose name or value can't be a header is left out.
fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
        headers.insert(name, value);
    }
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn document(xml: Writer) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(xml.finish())));
    set(answer.headers_mut(), "content-type", "application/xml");
    answer
}

fn unkept(error: &std::io::Error) -> Error {
    tracing::error!(%error, "a bucket's setting could not be kept");
    Error::new("InternalError", 500, "We encountered an internal error. Please try again.")
}

fn method_not_allowed(method: &Method, resource: &str) -> Error {
    let message = "The specified method is not allowed against this resource.";
    Error::new("MethodNotAllowed", 405, message).with("Method", method.as_str()).with("ResourceType", resource)
}

/// What every answer has.
fn finished(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    let id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    set(headers, "x-amz-request-id", &id[..16]);
    set(headers, "x-amz-id-2", &BASE64.encode(uuid::Uuid::new_v4().as_bytes()));
    set(headers, "server", "AmazonS3");
    answer
}

/// An error as S3 writes it; an answer to HEAD has no body.
fn refused(head: &Parts, error: &Error) -> Answer {
    let is_head = head.method == Method::HEAD;
    let mut answer = finished(empty(StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)));
    if is_head || answer.status() == StatusCode::NOT_MODIFIED {
        return answer;
    }
    let id = |name: &str| header(answer.headers(), name).unwrap_or_default().to_owned();
    let (request_id, host_id) = (id("x-amz-request-id"), id("x-amz-id-2"));
    let mut xml = Writer::new();
    xml.element("Error", |out| {
        out.text("Code", error.code).text("Message", &error.message);
        for (name, value) in &error.members {
            out.text(name, value);
        }
        out.text("RequestId", request_id).text("HostId", host_id);
    });
    let body = Bytes::from(xml.finish());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *answer.body_mut() = Full::new(body);
    answer
}
