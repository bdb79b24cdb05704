//! The S3 API, request by request, without a socket.

use std::sync::Arc;

use bytes::Bytes;
use starmap_asl::Timestamp;
use starmap_server::s3::{Buckets, S3};

use crate::support::{MemoryObjects, head, read};

struct Place {
    s3: S3,
    objects: Arc<MemoryObjects>,
    _folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = Arc::new(MemoryObjects::default());
        let clock = Arc::new(|| Timestamp(1_800_000_000_000));
        let buckets = Buckets::new(Arc::clone(&objects) as _, folder.path(), clock, "us-east-1");
        Self { s3: S3::new(Arc::new(buckets)), objects, _folder: folder }
    }

    async fn with_bucket() -> Self {
        let place = Self::new();
        assert_eq!(place.call("PUT", "/sky", &[], b"").await.status, 200);
        place
    }

    async fn call(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Answer {
        let (status, headers, body) =
            read(self.s3.answer(&head(method, uri, headers), Bytes::from_static(body)).await).await;
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn post(&self, uri: &str, body: String) -> Answer {
        let (status, headers, body) = read(self.s3.answer(&head("POST", uri, &[]), body.into()).await).await;
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn text(&self, element: &str) -> &str {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        self.body.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text)
    }
}

#[tokio::test]
async fn an_object_keeps_its_type_its_metadata_and_its_checksum() {
    let place = Place::with_bucket().await;
    let headers = [("content-type", "text/plain"), ("x-amz-meta-who", "me"), ("x-amz-checksum-crc32", "K81oMA==")];
    let put = place.call("PUT", "/sky/a%20b/c", &headers, b"false").await;
    assert_eq!((put.status, put.header("etag")), (200, "\"68934a3e9455fa72420237eb05902327\""));
    assert_eq!(put.header("x-amz-checksum-crc32"), "K81oMA==");

    let got = place.call("GET", "/sky/a%20b/c", &[("x-amz-checksum-mode", "ENABLED")], b"").await;
    assert_eq!((got.status, got.body.as_str()), (200, "false"));
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("x-amz-meta-who"), "me");
    assert_eq!(got.header("x-amz-checksum-crc32"), "K81oMA==");
    assert_eq!(got.header("last-modified"), "Fri, 15 Jan 2027 08:00:00 GMT");
    let headed = place.call("HEAD", "/sky/a%20b/c", &[], b"").await;
    assert_eq!((headed.status, headed.header("content-length"), headed.body.as_str()), (200, "5", ""));
    assert_eq!(headed.header("x-amz-checksum-crc32"), "");

    // Written by someone else in the meantime: what was known is not true any more.
    use starmap_engine::objects::Objects;
    place.objects.put("sky", "a b/c", Bytes::from_static(b"other")).await.unwrap();
    let changed = place.call("GET", "/sky/a%20b/c", &[], b"").await;
    assert_eq!((changed.header("content-type"), changed.header("x-amz-meta-who")), ("binary/octet-stream", ""));
}

#[tokio::test]
async fn bodies_that_are_not_what_they_say_are_refused() {
    let place = Place::with_bucket().await;
    let code = |headers: Vec<(&'static str, &'static str)>, body: &'static [u8]| {
        let place = &place;
        async move { place.call("PUT", "/sky/k", &headers, body).await.text("Code").to_owned() }
    };
    assert_eq!(code(vec![("x-amz-checksum-crc32", "AAAAAA==")], b"x").await, "BadDigest");
    assert_eq!(code(vec![("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], b"x").await, "BadDigest");
    assert_eq!(code(vec![("content-md5", "x")], b"x").await, "InvalidDigest");
    assert_eq!(code(vec![("x-amz-sdk-checksum-algorithm", "CRC16")], b"x").await, "InvalidRequest");
    let framed = vec![("content-encoding", "aws-chunked"), ("x-amz-trailer", "x-amz-checksum-crc32")];
    let wrong = b"1\r\nx\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
    assert_eq!(code(framed.clone(), wrong).await, "BadDigest");
    assert_eq!(code(framed.clone(), b"9\r\nx\r\n").await, "IncompleteBody");
    assert_eq!(place.call("GET", "/sky/k", &[], b"").await.text("Code"), "NoSuchKey", "nothing was kept");
    let good = b"5\r\nfalse\r\n0\r\nx-amz-checksum-crc32:K81oMA==\r\n\r\n";
    let put = place.call("PUT", "/sky/k", &framed, good).await;
    assert_eq!(put.status, 200);
    let got = place.call("GET", "/sky/k", &[], b"").await;
    assert_eq!((got.body.as_str(), got.header("content-encoding")), ("false", ""));
}

#[tokio::test]
async fn ranges_and_conditions_are_http() {
    let place = Place::with_bucket().await;
    place.call("PUT", "/sky/k", &[], b"0123456789").await;
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", "bytes 0-3/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let got = place.call("GET", "/sky/k", &[("range", range)], b"").await;
        assert_eq!((got.status, got.body.as_str(), got.header("content-range")), (status, body, content_range));
    }
    let outside = place.call("GET", "/sky/k", &[("range", "bytes=10-")], b"").await;
    assert_eq!((outside.status, outside.text("Code"), outside.text("ActualObjectSize")), (416, "InvalidRange", "10"));

    let etag = "\"781e5e245d69b566979b86e28d23f2c7\"";
    let status = |name: &'static str, value: &'static str| {
        let place = &place;
        async move { place.call("GET", "/sky/k", &[(name, value)], b"").await.status }
    };
    assert_eq!(status("if-none-match", etag).await, 304);
    assert_eq!(status("if-match", etag).await, 200);
    assert_eq!(status("if-match", "\"other\"").await, 412);
    assert_eq!(status("if-modified-since", "Fri, 15 Jan 2027 08:00:00 GMT").await, 304);
    assert_eq!(status("if-unmodified-since", "Thu, 14 Jan 2027 08:00:00 GMT").await, 412);
    assert_eq!(place.call("PUT", "/sky/k", &[("if-none-match", "*")], b"x").await.status, 412);
    assert_eq!(place.call("PUT", "/sky/new", &[("if-none-match", "*")], b"x").await.status, 200);
}

#[tokio::test]
async fn listings_come_in_pages_with_common_prefixes() {
    let place = Place::with_bucket().await;
    for key in ["a/1", "a/2", "b", "c/x/1", "c/x/2", "c/y", "d & e"] {
        place.call("PUT", &format!("/sky/{}", key.replace(' ', "%20").replace('&', "%26")), &[], b"x").await;
    }
    let mut seen = Vec::new();
    let mut uri = "/sky?list-type=2&delimiter=%2F&max-keys=2".to_owned();
    loop {
        let page = place.call("GET", &uri, &[], b"").await;
        seen.push(page.body.matches("<Key>").count() * 10 + page.body.matches("<CommonPrefixes>").count());
        let next = page.text("NextContinuationToken").to_owned();
        assert_eq!(page.text("IsTruncated") == "true", !next.is_empty());
        if next.is_empty() {
            break;
        }
        uri = format!("/sky?list-type=2&delimiter=%2F&max-keys=2&continuation-token={next}");
    }
    assert_eq!(seen, [11, 11], "a/ and b, then c/ and d");

    let inner = place.call("GET", "/sky?prefix=c%2F&delimiter=%2F", &[], b"").await;
    assert_eq!((inner.text("Key"), inner.text("CommonPrefixes")), ("c/y", "<Prefix>c/x/</Prefix>"));
    let encoded = place.call("GET", "/sky?prefix=d&encoding-type=url", &[], b"").await;
    assert_eq!(encoded.text("Key"), "d%20%26%20e");
    assert!(place.call("GET", "/sky?prefix=d", &[], b"").await.body.contains("<Key>d &amp; e</Key>"));
    let marked = place.call("GET", "/sky?marker=c%2Fx%2F2", &[], b"").await;
    assert_eq!(marked.text("Key"), "c/y");
    let none = place.call("GET", "/sky?max-keys=0", &[], b"").await;
    assert_eq!((none.text("IsTruncated"), none.text("Key")), ("false", ""));
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    let place = Place::with_bucket().await;
    let begun = place.call("POST", "/sky/big?uploads", &[("content-type", "image/fits")], b"").await;
    let id = begun.text("UploadId").to_owned();
    let first: &'static [u8] = vec![b'a'; 5 << 20].leak();
    let mut etags = Vec::new();
    for (number, body) in [(1, first), (2, b"end".as_slice())] {
        let part = place.call("PUT", &format!("/sky/big?partNumber={number}&uploadId={id}"), &[], body).await;
        etags.push(part.header("etag").to_owned());
    }
    let parts = place.call("GET", &format!("/sky/big?uploadId={id}"), &[], b"").await;
    assert_eq!(parts.body.matches("<Part>").count(), 2);
    assert!(place.call("GET", "/sky?uploads", &[], b"").await.body.contains(&id));

    let part =
        |number: usize| format!("<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>", etags[number - 1]);
    let order = format!("<CompleteMultipartUpload>{}{}</CompleteMultipartUpload>", part(2), part(1));
    assert_eq!(place.post(&format!("/sky/big?uploadId={id}"), order).await.text("Code"), "InvalidPartOrder");
    let complete = format!("<CompleteMultipartUpload>{}{}</CompleteMultipartUpload>", part(1), part(2));
    let done = place.post(&format!("/sky/big?uploadId={id}"), complete.clone()).await;
    assert!(done.text("ETag").ends_with("-2&quot;"), "{done:?}");
    let headed = place.call("HEAD", "/sky/big", &[], b"").await;
    assert_eq!((headed.header("content-length"), headed.header("content-type")), ("5242883", "image/fits"));
    assert_eq!(place.post(&format!("/sky/big?uploadId={id}"), complete).await.text("Code"), "NoSuchUpload");

    let other = place.call("POST", "/sky/other?uploads", &[], b"").await.text("UploadId").to_owned();
    assert_eq!(place.call("DELETE", &format!("/sky/other?uploadId={other}"), &[], b"").await.status, 204);
    assert_eq!(place.call("DELETE", "/sky/other?uploadId=../../etc", &[], b"").await.text("Code"), "NoSuchUpload");
}

#[tokio::test]
async fn objects_are_copied_and_deleted() {
    let place = Place::with_bucket().await;
    place.call("PUT", "/sky/a%20b", &[("x-amz-meta-who", "me"), ("content-type", "text/plain")], b"x").await;
    let copied = place.call("PUT", "/sky/copy", &[("x-amz-copy-source", "/sky/a%20b")], b"").await;
    assert_eq!(copied.status, 200);
    assert_eq!(place.call("HEAD", "/sky/copy", &[], b"").await.header("x-amz-meta-who"), "me");
    let itself = place.call("PUT", "/sky/copy", &[("x-amz-copy-source", "sky/copy")], b"").await;
    assert_eq!(itself.text("Code"), "InvalidRequest");
    let replace = [("x-amz-copy-source", "sky/copy"), ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-new", "1")];
    assert_eq!(place.call("PUT", "/sky/copy", &replace, b"").await.status, 200);
    let headed = place.call("HEAD", "/sky/copy", &[], b"").await;
    assert_eq!((headed.header("x-amz-meta-who"), headed.header("x-amz-meta-new")), ("", "1"));

    assert_eq!(place.call("DELETE", "/sky", &[], b"").await.text("Code"), "BucketNotEmpty");
    let delete = "<Delete><Object><Key>a b</Key></Object><Object><Key>copy</Key></Object></Delete>";
    let deleted = place.post("/sky?delete", delete.to_owned()).await;
    assert_eq!(deleted.body.matches("<Deleted>").count(), 2);
    assert_eq!(place.call("DELETE", "/sky/gone", &[], b"").await.status, 204);
    assert_eq!(place.call("DELETE", "/sky", &[], b"").await.status, 204);
    assert_eq!(place.call("GET", "/sky/a", &[], b"").await.text("Code"), "NoSuchBucket");
}

#[tokio::test]
async fn what_is_not_there_or_not_served_is_said() {
    let place = Place::with_bucket().await;
    for (method, uri, status, code) in [
        ("GET", "/nowhere", 404, "NoSuchBucket"),
        ("GET", "/sky/nothing", 404, "NoSuchKey"),
        ("PUT", "/Bad_Name", 400, "InvalidBucketName"),
        ("PUT", "/sky", 409, "BucketAlreadyOwnedByYou"),
        ("GET", "/sky?policy", 501, "NotImplemented"),
        ("GET", "/sky?list-type=2&continuation-token=%21", 400, "InvalidArgument"),
        ("PATCH", "/sky/x", 405, "MethodNotAllowed"),
        ("POST", "/sky?delete", 400, "MalformedXML"),
    ] {
        let answer = place.call(method, uri, &[], b"").await;
        assert_eq!((answer.status, answer.text("Code")), (status, code), "{method} {uri}");
        assert!(!answer.text("RequestId").is_empty());
    }
    let headed = place.call("HEAD", "/sky/nothing", &[], b"").await;
    assert_eq!((headed.status, headed.body.as_str()), (404, ""));
    let buckets = place.call("GET", "/", &[], b"").await;
    assert_eq!(buckets.text("Name"), "sky");
    assert_eq!(place.call("GET", "/sky?location", &[], b"").await.status, 200);
}
