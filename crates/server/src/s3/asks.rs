//! Which actions on which resources a request to S3 asks for.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>, read 2026-11.

use bytes::Bytes;
use hyper::Method;
use hyper::http::request::Parts;

use super::protocol::{NOT_SERVED, copy_source};
use super::request::{Target, header};
use crate::auth::Ask;
use crate::xml::Element;

/// All that the caller has to be allowed.
pub(super) fn of(head: &Parts, body: &Bytes) -> Vec<Ask> {
    let Ok(target) = Target::of(head) else { return Vec::new() };
    match (&target.bucket, &target.key) {
        (None, _) => vec![Ask::new("s3:ListAllMyBuckets", "*")],
        (Some(bucket), None) => on_bucket(head, &target, bucket, body),
        (Some(bucket), Some(key)) => on_object(head, &target, bucket, key),
    }
}

/// Whoever may not list a bucket is not told that an object is not in it.
///
/// # Source
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions", read 2026-11.
pub(super) fn of_absent(head: &Parts) -> Option<Ask> {
    let is_read = matches!(head.method, Method::GET | Method::HEAD);
    let target = Target::of(head).ok().filter(|target| is_read && target.key.is_some())?;
    Some(Ask::new("s3:ListBucket", format!("arn:aws:s3:::{}", target.bucket?)))
}

fn on_bucket(head: &Parts, target: &Target, bucket: &str, body: &Bytes) -> Vec<Ask> {
    let arn = format!("arn:aws:s3:::{bucket}");
    if head.method == Method::POST && target.has("delete") {
        let keys = Element::parse(body).unwrap_or_default();
        let keys = keys.all("Object").filter_map(|object| object.get("Key"));
        return keys.map(|key| Ask::new("s3:DeleteObject", format!("{arn}/{key}"))).collect();
    }
    let named = NOT_SERVED.iter().chain(&["versioning"]).find(|name| target.has(name));
    let action = match (&head.method, named) {
        (method, Some(name)) => format!("s3:{}Bucket{}", verb(method), camel(name)),
        (&Method::PUT, None) => "s3:CreateBucket".to_owned(),
        (&Method::DELETE, None) => "s3:DeleteBucket".to_owned(),
        (_, None) if target.has("location") => "s3:GetBucketLocation".to_owned(),
        (_, None) if target.has("uploads") => "s3:ListBucketMultipartUploads".to_owned(),
        (_, None) if target.has("versions") => "s3:ListBucketVersions".to_owned(),
        _ => "s3:ListBucket".to_owned(),
    };
    let mut ask = Ask::new(action, arn);
    for name in ["prefix", "delimiter", "max-keys"] {
        if let Some(value) = target.get(name) {
            ask = ask.with(&format!("s3:{name}"), value);
        }
    }
    vec![ask]
}

fn on_object(head: &Parts, target: &Target, bucket: &str, key: &str) -> Vec<Ask> {
    let arn = format!("arn:aws:s3:::{bucket}/{key}");
    let named = ["acl", "tagging", "retention", "legal-hold", "attributes"].into_iter().find(|name| target.has(name));
    let action = match (&head.method, named) {
        (method, Some(name)) => format!("s3:{}Object{}", verb(method), camel(name)),
        (&Method::PUT | &Method::POST, None) => "s3:PutObject".to_owned(),
        (&Method::DELETE, None) if target.has("uploadId") => "s3:AbortMultipartUpload".to_owned(),
        (&Method::DELETE, None) => "s3:DeleteObject".to_owned(),
        (_, None) if target.has("uploadId") => "s3:ListMultipartUploadParts".to_owned(),
        _ => "s3:GetObject".to_owned(),
    };
    let mut asks = vec![Ask::new(action, arn)];
    let source = header(&head.headers, "x-amz-copy-source").and_then(|source| copy_source(source).ok());
    if let Some((bucket, key)) = source.filter(|_| head.method == Method::PUT) {
        asks.push(Ask::new("s3:GetObject", format!("arn:aws:s3:::{bucket}/{key}")));
    }
    asks
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::PUT | Method::POST => "Put",
        Method::DELETE => "Delete",
        _ => "Get",
    }
}

/// `legal-hold` is `LegalHold`, `publicAccessBlock` is `PublicAccessBlock`.
fn camel(name: &str) -> String {
    let words = name.split('-').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, uri: &str, body: &'static str, expected: &[(&str, &str)]) {
        let request = hyper::Request::builder().method(method).uri(uri).header("host", "localhost:1");
        let request = request.header("x-amz-copy-source", if uri.ends_with("copied") { "/from/a%20b" } else { "" });
        let asks = of(&request.body(()).unwrap().into_parts().0, &Bytes::from_static(body.as_bytes()));
        let asks: Vec<(&str, &str)> = asks.iter().map(|ask| (ask.action.as_str(), ask.resource.as_str())).collect();
        assert_eq!(asks, expected, "{method} {uri}");
    }

    #[test]
    fn requests_ask_for_actions() {
        check("GET", "/", "", &[("s3:ListAllMyBuckets", "*")]);
        check("GET", "/sky?list-type=2&prefix=a", "", &[("s3:ListBucket", "arn:aws:s3:::sky")]);
        check("HEAD", "/sky", "", &[("s3:ListBucket", "arn:aws:s3:::sky")]);
        check("PUT", "/sky?publicAccessBlock", "", &[("s3:PutBucketPublicAccessBlock", "arn:aws:s3:::sky")]);
        check("GET", "/sky/a/b%20c", "", &[("s3:GetObject", "arn:aws:s3:::sky/a/b c")]);
        check("POST", "/sky/a?uploads", "", &[("s3:PutObject", "arn:aws:s3:::sky/a")]);
        check("DELETE", "/sky/a?uploadId=1", "", &[("s3:AbortMultipartUpload", "arn:aws:s3:::sky/a")]);
        check("GET", "/sky/a?legal-hold", "", &[("s3:GetObjectLegalHold", "arn:aws:s3:::sky/a")]);
        check(
            "PUT",
            "/sky/copied",
            "",
            &[("s3:PutObject", "arn:aws:s3:::sky/copied"), ("s3:GetObject", "arn:aws:s3:::from/a b")],
        );
        check(
            "POST",
            "/sky?delete",
            "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>",
            &[("s3:DeleteObject", "arn:aws:s3:::sky/a"), ("s3:DeleteObject", "arn:aws:s3:::sky/b")],
        );
    }
}
