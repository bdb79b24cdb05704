//! A request as S3 reads it: bucket, key, query, headers.

use std::collections::BTreeMap;

use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::attributes::Attributes;
use super::checksum::Algorithm;
use super::error::Error;

/// Headers that are kept with an object as they are.
const KEPT_HEADERS: [&str; 5] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "expires"];
/// Most that user metadata may take, bytes.
const METADATA_BYTES_MAX: usize = 2048;

/// What a request is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// None is the service itself.
    pub(crate) bucket: Option<String>,
    /// None is the bucket itself.
    pub(crate) key: Option<String>,
    /// Decoded; a name without `=` has an empty value.
    pub(crate) query: BTreeMap<String, String>,
}

impl Target {
    /// Reads the host (`bucket.s3.localhost`, or path style) and the path.
    pub(crate) fn of(head: &Parts) -> Result<Self, Error> {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).or_else(|| head.uri.host());
        let path = head.uri.path().strip_prefix('/').unwrap_or_default();
        let (bucket, key) = match host.and_then(virtual_bucket) {
            Some(bucket) => (Some(bucket), Some(path)),
            None => match path.split_once('/') {
                Some((bucket, key)) => (Some(bucket.to_owned()), Some(key)),
                None => (Some(path.to_owned()), None),
            },
        };
        let key = key.filter(|key| !key.is_empty()).map(decode).transpose()?;
        let bucket = bucket.filter(|bucket| !bucket.is_empty()).map(|bucket| decode(&bucket)).transpose()?;
        Ok(Self { bucket, key, query: query(head.uri.query().unwrap_or_default()) })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    /// A number in the query.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let message = format!("Provided {name} not an integer or within integer range");
        text.parse()
            .ok()
            .filter(|number| *number <= i32::MAX as u64)
            .map(Some)
            .ok_or_else(|| Error::invalid_argument(name, text, message))
    }
}

/// The bucket in a host of virtual-host style: before `.s3.`, or before `.localhost`.
fn virtual_bucket(host: &str) -> Option<String> {
    let host = host.rsplit_once(':').map_or(host, |(host, _port)| host).to_ascii_lowercase();
    if let Some((bucket, _)) = host.split_once(".s3.").or_else(|| host.split_once(".s3-")) {
        return Some(bucket.to_owned());
    }
    let bucket = host.strip_suffix(".localhost")?;
    let is_service = bucket == "s3" || bucket.starts_with("s3.");
    (!is_service).then(|| bucket.to_owned())
}

pub(crate) fn decode(text: &str) -> Result<String, Error> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Error::new("InvalidURI", 400, "Couldn't parse the specified URI."))
}

/// A query; what is not UTF-8 is replaced.
pub(crate) fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A header as text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The attributes that a request gives an object.
pub(crate) fn attributes(headers: &HeaderMap) -> Result<Attributes, Error> {
    let mut attributes = Attributes {
        content_type: header(headers, "content-type").filter(|kind| !kind.is_empty()).map(str::to_owned),
        ..Attributes::default()
    };
    for (name, value) in headers {
        // Header values are bytes; metadata beyond ASCII arrives as UTF-8 from some clients.
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if let Some(name) = name.as_str().strip_prefix("x-amz-meta-") {
            attributes.metadata.insert(name.to_owned(), value);
        } else if KEPT_HEADERS.contains(&name.as_str()) {
            let value = if name == "content-encoding" { without_framing(&value) } else { value };
            if !value.is_empty() {
                attributes.headers.insert(name.as_str().to_owned(), value);
            }
        }
    }
    let bytes: usize = attributes.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        let error =
            Error::new("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size");
        return Err(error.with("Size", bytes.to_string()).with("MaxSizeAllowed", METADATA_BYTES_MAX.to_string()));
    }
    Ok(attributes)
}

/// `aws-chunked` frames the request and is no property of the object.
fn without_framing(encoding: &str) -> String {
    let codings = encoding.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked");
    codings.collect::<Vec<_>>().join(",")
}

/// Whether the body comes in frames.
pub(crate) fn is_framed(headers: &HeaderMap) -> bool {
    header(headers, "content-encoding").is_some_and(|codings| codings.contains("aws-chunked"))
        || header(headers, "x-amz-content-sha256").is_some_and(|hash| hash.starts_with("STREAMING-"))
}

/// The checksum that headers or trailers say the body has.
pub(crate) fn expected_checksum(headers: &HeaderMap, trailers: &[(String, String)]) -> Option<(Algorithm, String)> {
    let given = |algorithm: Algorithm| {
        let trailer = trailers.iter().find(|(name, _)| name == algorithm.header()).map(|(_, value)| value.as_str());
        header(headers, algorithm.header()).or(trailer).map(|value| (algorithm, value.to_owned()))
    };
    Algorithm::ALL.into_iter().find_map(given)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn target(uri: &str, host: &str) -> Target {
        let (head, ()) = Request::builder().uri(uri).header("host", host).body(()).unwrap().into_parts();
        Target::of(&head).unwrap()
    }

    #[test]
    fn buckets_come_by_path_or_by_host() {
        let at = |uri, host| {
            let target = target(uri, host);
            (target.bucket, target.key)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at("/", "127.0.0.1:8083"), (None, None));
        assert_eq!(at("/sky", "127.0.0.1:8083"), (some("sky"), None));
        assert_eq!(at("/sky/", "localhost"), (some("sky"), None));
        assert_eq!(at("/sky/a%20b/c+d", "localhost:1"), (some("sky"), some("a b/c+d")));
        assert_eq!(at("/a/b", "sky.s3.us-east-1.amazonaws.com"), (some("sky"), some("a/b")));
        assert_eq!(at("/a/b", "my.sky.s3.localhost:8083"), (some("my.sky"), some("a/b")));
        assert_eq!(at("/", "sky.localhost:8083"), (some("sky"), None));
        assert_eq!(at("/sky/a", "s3.localhost:8083"), (some("sky"), some("a")));
    }

    #[test]
    fn queries_are_decoded() {
        let target = target("/sky?list-type=2&prefix=a%2Fb+c&uploads&max-keys=x", "localhost");
        assert_eq!(target.get("prefix"), Some("a/b c"));
        assert!(target.has("uploads") && !target.has("delete"));
        assert_eq!(target.number("max-keys").unwrap_err().code, "InvalidArgument");
    }

    #[test]
    fn framing_is_no_attribute() {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", "aws-chunked,gzip".parse().unwrap());
        headers.insert("x-amz-meta-who", "me".parse().unwrap());
        let read = attributes(&headers).unwrap();
        assert_eq!(read.headers["content-encoding"], "gzip");
        assert_eq!(read.metadata["who"], "me");
        assert!(is_framed(&headers));
    }
}
