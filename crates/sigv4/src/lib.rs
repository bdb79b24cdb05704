//! AWS Signature Version 4, both ways: a client's requests are signed, and signed requests are verified.
//!
//! Pure: no clock, no environment, no HTTP library. A request is its parts as they go over the wire ([`Request`]),
//! the time is an argument ([`Time`]), and what a verifier knows of keys it looks up itself between [`parse`] and
//! [`Claim::verify`].
//!
//! Whoever signs wants [`sign`] or [`presign`]; whoever verifies, [`parse`]; a body that comes in signed chunks,
//! [`Chunks`]. [`Error::refusal`] has what AWS answers, per [`Family`] of protocols.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html> and, for S3,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>, read 2026-11. The official
//! test suite is in `tests/aws-signing-test-suite`.

mod canonical;
mod chunks;
mod credentials;
mod error;
mod sign;
#[cfg(test)]
mod suite;
mod time;
mod verify;

pub use canonical::{Payload, Request, Rules, sha256_hex};
pub use chunks::Chunks;
pub use credentials::{Credentials, Scope, SigningKey};
pub use error::{Error, Family, Mismatch, Refusal};
pub use sign::{Signed, Signing, presign, sign};
pub use time::Time;
pub use verify::{Claim, Verified, parse};

/// The one algorithm there is here.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
