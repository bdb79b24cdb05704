//! Bodies in chunks, each signed after the one before it.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>, read 2026-11.

use crate::canonical::sha256_hex;
use crate::credentials::{Scope, SigningKey};
use crate::time::Time;

/// The chain of signatures of one body. It begins at the signature of the request and takes a step with each chunk; the
/// last chunk is empty.
#[derive(Debug, Clone)]
pub struct Chunks {
    key: SigningKey,
    at: Time,
    scope: Scope,
    before: String,
}

impl Chunks {
    /// The chain that starts at a request's signature.
    pub fn new(key: SigningKey, at: Time, scope: Scope, request_signature: String) -> Self {
        Self { key, at, scope, before: request_signature }
    }

    /// The signature of the next chunk.
    pub fn sign(&mut self, chunk: &[u8]) -> String {
        let text = self.chunk_text(chunk);
        self.before = self.key.sign(&text);
        self.before.clone()
    }

    /// Whether this is the next chunk's signature; the chain goes on if it is.
    #[must_use]
    pub fn verify(&mut self, chunk: &[u8], signature: &str) -> bool {
        let text = self.chunk_text(chunk);
        self.step(&text, signature)
    }

    /// The signature of the trailers: lines as in `x-amz-checksum-crc32c:sOO8/Q==`, each with a line feed at its end.
    pub fn sign_trailers(&mut self, trailers: &[u8]) -> String {
        let text = self.trailer_text(trailers);
        self.before = self.key.sign(&text);
        self.before.clone()
    }

    /// Whether this is the trailers' signature.
    #[must_use]
    pub fn verify_trailers(&mut self, trailers: &[u8], signature: &str) -> bool {
        let text = self.trailer_text(trailers);
        self.step(&text, signature)
    }

    fn step(&mut self, text: &str, signature: &str) -> bool {
        let is_right = self.key.is_signature(text, signature);
        if is_right {
            signature.clone_into(&mut self.before);
        }
        is_right
    }

    fn chunk_text(&self, chunk: &[u8]) -> String {
        let (at, scope, before) = (self.at, &self.scope, &self.before);
        let (empty, hash) = (sha256_hex(b""), sha256_hex(chunk));
        format!("AWS4-HMAC-SHA256-PAYLOAD\n{at}\n{scope}\n{before}\n{empty}\n{hash}")
    }

    fn trailer_text(&self, trailers: &[u8]) -> String {
        let (at, scope, before) = (self.at, &self.scope, &self.before);
        format!("AWS4-HMAC-SHA256-TRAILER\n{at}\n{scope}\n{before}\n{}", sha256_hex(trailers))
    }
}
