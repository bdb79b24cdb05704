//! Who signs, for what, with which key.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::canonical::hex;
use crate::time::Time;

/// An access key; with a session token, a temporary one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// What requests name.
    pub access_key_id: String,
    /// What they are signed with. Never sent.
    pub secret_access_key: String,
    /// What goes along with temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What a signature holds for: one day, one region, one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// As in `20150830`.
    pub date: String,
    /// As in `us-east-1`.
    pub region: String,
    /// As in `s3`.
    pub service: String,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// The key that is derived from a secret for one [`Scope`].
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// Derives the key.
    pub fn new(secret_access_key: &str, scope: &Scope) -> Self {
        let secret = format!("AWS4{secret_access_key}");
        let parts = [scope.date.as_str(), &scope.region, &scope.service, "aws4_request"];
        let first = hmac(secret.as_bytes(), parts[0].as_bytes());
        Self(parts[1..].iter().fold(first, |key, part| hmac(&key, part.as_bytes())))
    }

    /// Signs a string to sign; lower-case hexadecimal.
    pub fn sign(&self, string_to_sign: &str) -> String {
        hex(&hmac(&self.0, string_to_sign.as_bytes()))
    }

    /// Whether a signature is the string's. Takes as long for a wrong one as for a right one.
    pub fn is_signature(&self, string_to_sign: &str, signature: &str) -> bool {
        let mut mac = keyed(&self.0);
        mac.update(string_to_sign.as_bytes());
        from_hex(signature).is_some_and(|signature| mac.verify_slice(&signature).is_ok())
    }
}

/// The string whose signature a request carries.
pub(crate) fn string_to_sign(at: Time, scope: &Scope, canonical_request_hash: &str) -> String {
    format!("{}\n{at}\n{scope}\n{canonical_request_hash}", crate::ALGORITHM)
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Lower-case only, as signatures are written.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    bytes?.try_into().ok()
}
