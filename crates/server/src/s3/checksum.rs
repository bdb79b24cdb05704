//! Checksums of objects: what clients send along, and what S3 keeps and answers.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>, read 2026-11.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::CrcAlgorithm;
use md5::Digest;
use serde::{Deserialize, Serialize};

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// The one of gzip and PNG.
    #[serde(rename = "CRC32")]
    Crc32,
    /// Castagnoli's.
    #[serde(rename = "CRC32C")]
    Crc32c,
    /// What S3 computes when nothing else is asked for.
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    /// SHA-1.
    #[serde(rename = "SHA1")]
    Sha1,
    /// SHA-256.
    #[serde(rename = "SHA256")]
    Sha256,
}

/// Whether a checksum is of all bytes, or of the checksums of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Of all bytes.
    #[serde(rename = "FULL_OBJECT")]
    FullObject,
    /// Of the checksums of the parts.
    #[serde(rename = "COMPOSITE")]
    Composite,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }
}

/// A checksum as S3 keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// Base64; of a composite one with `-` and the count of parts.
    pub value: String,
    /// Of what.
    pub kind: Kind,
}

impl Algorithm {
    pub(crate) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As in `x-amz-checksum-algorithm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header (or trailer, or query parameter) with a value of it.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element or member with a value of it.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32c => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// What S3 makes of parts unless told otherwise.
    pub(crate) fn default_kind(self) -> Kind {
        if self == Self::Crc64Nvme { Kind::FullObject } else { Kind::Composite }
    }

    /// Base64 of the checksum of some bytes.
    pub(crate) fn of(self, bytes: &[u8]) -> String {
        BASE64.encode(self.raw(bytes))
    }

    fn raw(self, bytes: &[u8]) -> Vec<u8> {
        let crc32 = |algorithm| (crc_fast::checksum(algorithm, bytes) as u32).to_be_bytes().to_vec();
        match self {
            Self::Crc32 => crc32(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => crc32(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes).to_be_bytes().to_vec(),
            Self::Sha1 => sha1::Sha1::digest(bytes).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
        }
    }

    /// The checksum of an object made of parts: of their checksums, or of all `bytes`.
    pub(crate) fn of_parts(self, kind: Kind, parts: &[String], bytes: &[u8]) -> Checksum {
        let value = match kind {
            Kind::FullObject => self.of(bytes),
            Kind::Composite => {
                let raw: Vec<u8> = parts.iter().flat_map(|part| BASE64.decode(part).unwrap_or_default()).collect();
                format!("{}-{}", self.of(&raw), parts.len())
            }
        };
        Checksum { algorithm: self, value, kind }
    }
}

/// MD5 as S3's ETags have it.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    hex(&md5::Md5::digest(bytes))
}

/// MD5 as `Content-MD5` has it.
pub(crate) fn md5_base64(bytes: &[u8]) -> String {
    BASE64.encode(md5::Md5::digest(bytes))
}

/// The ETag of an object made of parts, from theirs.
pub(crate) fn etag_of_parts(parts: &[String]) -> String {
    let raw: Vec<u8> = parts.iter().flat_map(|part| from_hex(part)).collect();
    format!("{}-{}", md5_hex(&raw), parts.len())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_s3s() {
        // CRC values of the check string as the CRC catalogue has them; hashes of the empty string are well known.
        let check = b"123456789";
        assert_eq!(Algorithm::Crc32.of(check), BASE64.encode(0xcbf4_3926_u32.to_be_bytes()));
        assert_eq!(Algorithm::Crc32c.of(check), BASE64.encode(0xe306_9283_u32.to_be_bytes()));
        assert_eq!(Algorithm::Crc64Nvme.of(check), BASE64.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()));
        assert_eq!(Algorithm::Sha1.of(b""), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
        assert_eq!(Algorithm::Sha256.of(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        // As recorded from AWS for the object `false`.
        assert_eq!(Algorithm::Crc32.of(b"false"), "K81oMA==");
        assert_eq!(md5_hex(b"false"), "68934a3e9455fa72420237eb05902327");
    }

    #[test]
    fn parts_make_composite_values() {
        let parts = [md5_hex(b"a"), md5_hex(b"b")];
        let raw = [md5::Md5::digest(b"a").to_vec(), md5::Md5::digest(b"b").to_vec()].concat();
        assert_eq!(etag_of_parts(&parts), format!("{}-2", md5_hex(&raw)));
        let crc = Algorithm::Crc32;
        let composite = crc.of_parts(Kind::Composite, &[crc.of(b"a"), crc.of(b"b")], b"ab");
        assert!(composite.value.ends_with("-2"));
        assert_eq!(crc.of_parts(Kind::FullObject, &[], b"ab").value, crc.of(b"ab"));
    }
}
