//! The canonical request: what of a request is signed, in the one form that both sides can make of it.

use sha2::{Digest, Sha256};

/// The parts of a request as they go over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As in `GET`.
    pub method: &'a str,
    /// Percent-encoded, with its first slash.
    pub path: &'a str,
    /// Percent-encoded, without the question mark; may be empty.
    pub query: &'a str,
    /// Names in any case. `host` has to be among them.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Request<'_> {
    /// The first header of that name, if it is text. `name` is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok()).map(str::trim)
    }
}

/// What differs between services in how a path is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The path is encoded once more, although it is already.
    pub encodes_twice: bool,
    /// `.`, `..` and empty segments are taken out of the path.
    pub normalizes: bool,
}

impl Rules {
    /// S3's: a key is a key, with every slash and dot in it.
    pub const S3: Self = Self { encodes_twice: false, normalizes: false };
    /// Every other service's.
    pub const OTHERS: Self = Self { encodes_twice: true, normalizes: true };

    /// The rules of a service, by its name in scopes.
    pub fn of(service: &str) -> Self {
        if matches!(service, "s3" | "s3-outposts" | "s3-object-lambda" | "s3express") { Self::S3 } else { Self::OTHERS }
    }
}

/// What is said of the body in a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes with this SHA-256, in lower-case hexadecimal.
    Hash(&'a str),
    /// Nothing. For S3 alone.
    Unsigned,
    /// Chunks, each with a signature of its own; see [`crate::Chunks`]. For S3 alone.
    Chunks,
    /// The same with signed trailers after them.
    ChunksAndTrailers,
    /// Chunks without signatures, with trailers after them.
    UnsignedChunksAndTrailers,
}

impl Payload<'_> {
    /// What `x-amz-content-sha256` and the canonical request say.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => sha256_hex(bytes),
            Self::Hash(hash) => (*hash).to_owned(),
            Self::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
            Self::Chunks => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            Self::ChunksAndTrailers => "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER".to_owned(),
            Self::UnsignedChunksAndTrailers => "STREAMING-UNSIGNED-PAYLOAD-TRAILER".to_owned(),
        }
    }
}

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The canonical request with these headers signed (in lower case, sorted) and without the query's own signature.
///
/// A header's value may be any bytes; what is no UTF-8 is signed as it is.
pub(crate) fn canonical_request(
    request: &Request<'_>,
    rules: Rules,
    signed_headers: &[String],
    payload: &str,
) -> Vec<u8> {
    let mut text = Vec::new();
    for line in [request.method, &canonical_path(request.path, rules), &canonical_query(request.query)] {
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    for name in signed_headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        let mut is_first = true;
        for (_, value) in request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)) {
            if !is_first {
                text.push(b',');
            }
            is_first = false;
            push_trimmed(&mut text, value);
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    text.extend_from_slice(signed_headers.join(";").as_bytes());
    text.push(b'\n');
    text.extend_from_slice(payload.as_bytes());
    text
}

/// Without white space around it, and one space for any within.
fn push_trimmed(text: &mut Vec<u8>, value: &[u8]) {
    let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(word);
    }
}

fn canonical_path(path: &str, rules: Rules) -> String {
    let path = if rules.normalizes { normalized(path) } else { path.to_owned() };
    let path = if path.is_empty() { "/".to_owned() } else { path };
    if rules.encodes_twice { encode(path.as_bytes(), true) } else { encode(&decode(&path, false), true) }
}

/// Dot segments and empty ones removed, as in RFC 3986, 5.2.4.
fn normalized(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let is_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let end = if is_folder && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Sorted by name and value in their encoded form, each encoded once. A plus is a space, as forms have it.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(&decode(name, true), false), encode(&decode(value, true), false)))
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Percent-encodes all but the unreserved characters, and slashes if they are to stay.
pub(crate) fn encode(bytes: &[u8], keeps_slashes: bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        let is_kept = byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || byte == b'/' && keeps_slashes;
        if is_kept {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
    }
    text
}

/// Takes percent-encoding off; a percent sign without two digits stays.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match (byte, digit(bytes.get(at)), digit(bytes.get(at + 1))) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits are a byte.
                decoded.push((high << 4 | low) as u8);
                at += 2;
            }
            (b'+', ..) if plus_is_space => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_their_services_rules() {
        let both = |path| (canonical_path(path, Rules::S3), canonical_path(path, Rules::OTHERS));
        let check = |path, s3: &str, others: &str| assert_eq!(both(path), (s3.to_owned(), others.to_owned()), "{path}");
        check("", "/", "/");
        check("/a//b/../c%20d", "/a//b/../c%20d", "/a/c%2520d");
        check("/a/.", "/a/.", "/a/");
        check("/..", "/..", "/");
        check("/%e1+%zz", "/%E1%2B%25zz", "/%25e1%2B%25zz");
    }

    #[test]
    fn queries_are_sorted_in_their_encoded_form() {
        assert_eq!(canonical_query("b=2&a=%2f&a=+&c&X-Amz-Signature=1&=x"), "=x&a=%20&a=%2F&b=2&c=");
    }
}
