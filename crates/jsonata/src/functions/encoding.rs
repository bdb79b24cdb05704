//! Base64 and URL encoding, of UTF-8 as the Java port does it.

use super::Arguments;
use crate::error::{Error, quoted};
use crate::evaluate::Evaluator;
use crate::value::{Text, Value};

type Result<'v> = std::result::Result<Value<'v>, Error>;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// What stays as it is in a component, beside letters and digits.
const COMPONENT: &[u8] = b"-_.!~*'()";
/// What stays as it is in a whole URL besides.
const URL: &[u8] = b"-_.!~*'();/?:@&=+$,#";

fn text<'v>(arguments: Vec<Value<'v>>) -> Option<Text<'v>> {
    match Arguments::new(arguments).next() {
        Value::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn base64_encode<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(text) = text(arguments) else { return Ok(Value::Undefined) };
    let mut encoded = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            match place <= chunk.len() {
                true => encoded.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize])),
                false => encoded.push('='),
            }
        }
    }
    evaluator.text(encoded)
}

pub(super) fn base64_decode<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(text) = text(arguments) else { return Ok(Value::Undefined) };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for symbol in text.trim_end_matches('=').bytes() {
        let Some(digit) = ALPHABET.iter().position(|other| *other == symbol) else {
            // AWS answers with an internal error that has no text of its own.
            return Err(Error::new("D3137").detail("message", format!("{} is not Base64", quoted(&text))));
        };
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    evaluator.text(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn encode_url_component<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    encode(evaluator, arguments, COMPONENT)
}

pub(super) fn encode_url<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    encode(evaluator, arguments, URL)
}

fn encode<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>, kept: &[u8]) -> Result<'v> {
    let Some(text) = text(arguments) else { return Ok(Value::Undefined) };
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    evaluator.text(encoded)
}

pub(super) fn decode_url_component<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    decode(evaluator, arguments, "decodeUrlComponent", b"")
}

pub(super) fn decode_url<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    decode(evaluator, arguments, "decodeUrl", b";/?:@&=+$,#")
}

/// Escapes of `reserved` stay escapes: they mean something else when they are written plainly.
fn decode<'v>(
    evaluator: &mut Evaluator<'v>,
    arguments: Vec<Value<'v>>,
    name: &'static str,
    reserved: &[u8],
) -> Result<'v> {
    let Some(text) = text(arguments) else { return Ok(Value::Undefined) };
    let malformed = || Error::new("D3140").detail("functionName", name).value(quoted(&text));
    let source = text.as_bytes();
    let (mut bytes, mut index) = (Vec::with_capacity(source.len()), 0);
    while index < source.len() {
        if source[index] != b'%' {
            bytes.push(source[index]);
            index += 1;
            continue;
        }
        let digits = source.get(index + 1..index + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or_else(malformed)?;
        match reserved.contains(&byte) {
            true => bytes.extend_from_slice(&source[index..index + 3]),
            false => bytes.push(byte),
        }
        index += 3;
    }
    let decoded = String::from_utf8(bytes).map_err(|_| malformed())?;
    evaluator.text(decoded)
}
