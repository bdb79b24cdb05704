//! `States.Base64Encode`, `States.Base64Decode` and `States.Hash`.

use md5::Md5;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::strings::text;

/// Longest text these functions take, by AWS's documentation.
const CHARACTERS_MAX: usize = 10_000;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn short_text(value: &Value) -> Result<&str, String> {
    let text = text(value, "the argument")?;
    let count = text.chars().count();
    if count > CHARACTERS_MAX {
        return Err(format!("the argument has {count} characters, at most {CHARACTERS_MAX} are allowed"));
    }
    Ok(text)
}

pub(super) fn base64_encode(value: &Value) -> Result<Value, String> {
    let mut encoded = String::new();
    for chunk in short_text(value)?.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            match position <= chunk.len() {
                true => encoded.push(char::from(ALPHABET[(bits >> (18 - 6 * position) & 63) as usize])),
                false => encoded.push('='),
            }
        }
    }
    Ok(encoded.into())
}

pub(super) fn base64_decode(value: &Value) -> Result<Value, String> {
    let text = short_text(value)?;
    let symbols = text.trim_end_matches('=');
    let padded = text.len() % 4 == 0 && text.len() - symbols.len() <= 2;
    if !padded {
        return Err("the argument is not Base64: its length is not a multiple of 4".to_owned());
    }
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for symbol in symbols.bytes() {
        let digit = ALPHABET.iter().position(|other| *other == symbol);
        let digit = digit.ok_or_else(|| format!("the argument is not Base64: it has `{}`", char::from(symbol)))?;
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8(bytes).map(Value::from).map_err(|_| "the decoded bytes are not UTF-8".to_owned())
}

pub(super) fn hash(value: &Value, algorithm: &Value) -> Result<Value, String> {
    let data = short_text(value)?;
    let digest = match text(algorithm, "the algorithm")? {
        "MD5" => hex(&Md5::digest(data)),
        "SHA-1" => hex(&Sha1::digest(data)),
        "SHA-256" => hex(&Sha256::digest(data)),
        "SHA-384" => hex(&Sha384::digest(data)),
        "SHA-512" => hex(&Sha512::digest(data)),
        other => {
            return Err(format!("the algorithm must be MD5, SHA-1, SHA-256, SHA-384 or SHA-512, found `{other}`"));
        }
    };
    Ok(digest.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
