//! `aws-chunked` bodies: length, signature, bytes, and trailing headers, as the SDKs send them.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>, read 2026-11.

use bytes::{Bytes, BytesMut};
use starmap_sigv4::Mismatch;
use starmap_sigv4::{Chunks, Error as SignatureError};

use super::error::Error;

/// A body without its frame.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) body: Bytes,
    /// Names in lower case.
    pub(crate) trailers: Vec<(String, String)>,
}

/// Takes the frame off a body. Signatures of chunks are not checked: see [`verify`].
pub(crate) fn decode(mut framed: Bytes) -> Result<Decoded, Error> {
    let mut body = BytesMut::with_capacity(framed.len());
    loop {
        let line = take_line(&mut framed)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| incomplete("a chunk's size is not a number"))?;
        if size == 0 {
            break;
        }
        if framed.len() < size {
            return Err(incomplete("a chunk is shorter than it says"));
        }
        body.extend_from_slice(&framed.split_to(size));
        if !take_line(&mut framed)?.is_empty() {
            return Err(incomplete("a chunk is longer than it says"));
        }
    }
    let mut trailers = Vec::new();
    while !framed.is_empty() {
        let line = take_line(&mut framed)?;
        if let Some((name, value)) = line.split_once(':') {
            trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(Decoded { body: body.freeze(), trailers })
}

/// Checks the signatures of a body's chunks, and of its trailers if they are signed, too.
pub(crate) fn verify(mut framed: Bytes, mut chunks: Chunks, has_trailers: bool) -> Result<(), SignatureError> {
    let wrong = |signature: &str| {
        SignatureError::Mismatch(Box::new(Mismatch {
            access_key_id: String::new(),
            signature: signature.to_owned(),
            string_to_sign: "AWS4-HMAC-SHA256-PAYLOAD".to_owned(),
            canonical_request: String::new(),
        }))
    };
    // What is no frame at all is refused when the frame is taken off; unsigned it is in any case.
    let broken = |_: Error| wrong("");
    loop {
        let line = take_line(&mut framed).map_err(broken)?;
        let (size, signature) = line.split_once(";chunk-signature=").ok_or_else(|| wrong(""))?;
        let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size <= framed.len());
        let chunk = framed.split_to(size.ok_or_else(|| wrong(signature))?);
        if !chunks.verify(&chunk, signature.trim()) {
            return Err(wrong(signature));
        }
        if chunk.is_empty() {
            break;
        }
        if !take_line(&mut framed).map_err(broken)?.is_empty() {
            return Err(wrong(signature));
        }
    }
    if !has_trailers {
        return Ok(());
    }
    let mut trailers = String::new();
    while !framed.is_empty() {
        let line = take_line(&mut framed).map_err(broken)?;
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("x-amz-trailer-signature") {
            let is_right = chunks.verify_trailers(trailers.as_bytes(), value.trim());
            return if is_right { Ok(()) } else { Err(wrong(value)) };
        }
        trailers.push_str(&format!("{}:{}\n", name.trim().to_ascii_lowercase(), value.trim()));
    }
    Err(wrong(""))
}

/// Takes a line off the front; a last one may lack its end.
fn take_line(bytes: &mut Bytes) -> Result<String, Error> {
    const LINE_BYTES_MAX: usize = 8 * 1024;
    let end = bytes.iter().take(LINE_BYTES_MAX).position(|&byte| byte == b'\n');
    let line = match end {
        Some(end) => bytes.split_to(end + 1),
        None if bytes.len() < LINE_BYTES_MAX && !bytes.is_empty() => bytes.split_to(bytes.len()),
        None => return Err(incomplete("the end of the body is missing")),
    };
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| incomplete("a line of the frame is not text"))
}

fn incomplete(what: &str) -> Error {
    let message = format!(
        "You did not provide the number of bytes specified by the Content-Length HTTP header: aws-chunked, {what}"
    );
    Error::new("IncompleteBody", 400, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(framed: &'static str) -> Result<(String, Vec<(String, String)>), String> {
        let decoded = decode(Bytes::from_static(framed.as_bytes())).map_err(|error| error.message)?;
        Ok((String::from_utf8(decoded.body.to_vec()).unwrap(), decoded.trailers))
    }

    #[test]
    fn frames_come_off() {
        let crc = ("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned());
        assert_eq!(
            check("5\r\nhello\r\n6;chunk-signature=ab\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"),
            Ok(("hello world".to_owned(), vec![crc]))
        );
        assert_eq!(check("0\r\n\r\n"), Ok((String::new(), vec![])));
        assert_eq!(check("0\r\n"), Ok((String::new(), vec![])));
    }

    #[test]
    fn broken_frames_are_refused() {
        for broken in ["", "5\r\nhel", "x\r\n", "2\r\nhello\r\n0\r\n", "5\r\nhello", "ffffffffffffffffff\r\n"] {
            assert!(check(broken).is_err(), "{broken:?}");
        }
    }
}
