//! The functions that AWS Step Functions adds to the language.
//!
//! <https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html>, read 2026-11-27.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::Arguments;
use crate::error::{Error, quoted};
use crate::evaluate::Evaluator;
use crate::value::Value;

type Result<'v> = std::result::Result<Value<'v>, Error>;

/// What AWS says in these cases is not recorded anywhere we know of; the words are ours.
fn refused(message: String) -> Error {
    Error::new("D3137").detail("message", message)
}

/// `$partition([1,2,3], 2)` is `[[1,2],[3]]`.
pub(super) fn partition<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, size) = (arguments.next(), arguments.number());
    let (false, Some(size)) = (value.is_undefined(), size) else { return Ok(Value::Undefined) };
    if size < 1.0 || size.fract() != 0.0 {
        return Err(refused(format!("the chunk size of $partition must be a positive integer, got {size}")));
    }
    let items = value.items();
    evaluator.charge_items(items.len())?;
    let chunks: Vec<_> = items.chunks(size as usize).map(|chunk| Value::array(chunk.to_vec())).collect();
    let chunks = chunks.into_iter().collect::<std::result::Result<_, _>>()?;
    evaluator.array(chunks)
}

/// `$range(0, 6, 2)` is `[0,2,4,6]`: the end is included where a step lands on it.
pub(super) fn range<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (Some(start), Some(end), Some(step)) = (arguments.number(), arguments.number(), arguments.number()) else {
        return Ok(Value::Undefined);
    };
    if step == 0.0 {
        return Err(refused("the step of $range must not be 0".to_owned()));
    }
    let count = ((end - start) / step).floor() + 1.0;
    if count.is_nan() || count <= 0.0 {
        return evaluator.array(Vec::new());
    }
    evaluator.charge_items(count as usize)?;
    evaluator.array((0..count as u64).map(|index| Value::from(start + index as f64 * step)).collect())
}

pub(super) fn hash<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (Value::String(text), Value::String(algorithm)) = (arguments.next(), arguments.next()) else {
        return Ok(Value::Undefined);
    };
    evaluator.charge_text(text.len())?;
    let bytes = text.as_bytes();
    let digest: Vec<u8> = match &*algorithm {
        "MD5" => Md5::digest(bytes).to_vec(),
        "SHA-1" => Sha1::digest(bytes).to_vec(),
        "SHA-256" => Sha256::digest(bytes).to_vec(),
        "SHA-384" => Sha384::digest(bytes).to_vec(),
        "SHA-512" => Sha512::digest(bytes).to_vec(),
        _ => {
            let known = "MD5, SHA-1, SHA-256, SHA-384 or SHA-512";
            return Err(refused(format!("the algorithm of $hash must be {known}, got {}", quoted(&algorithm))));
        }
    };
    evaluator.text(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// With a seed, the first double of `java.util.Random`, as AWS answers; without one, the host's.
pub(super) fn random<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(match Arguments::new(arguments).number() {
        Some(seed) => Value::from(java_random(seed as i64)),
        None => Value::from(evaluator.host.random()),
    })
}

/// <https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/Random.html>: the generator is specified.
fn java_random(seed: i64) -> f64 {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (seed as u64 ^ MULTIPLIER) & MASK;
    let mut next = |bits: u32| {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        state >> (48 - bits)
    };
    let high = next(26) << 27;
    (high + next(27)) as f64 / (1_u64 << 53) as f64
}

pub(super) fn uuid<'v>(evaluator: &mut Evaluator<'v>, _: Vec<Value<'v>>) -> Result<'v> {
    let uuid = evaluator.host.uuid();
    evaluator.text(uuid)
}

pub(super) fn parse<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Value::String(text) = Arguments::new(arguments).next() else { return Ok(Value::Undefined) };
    evaluator.charge(text.len() as u64 / 4)?;
    match serde_json::from_str(&text) {
        Ok(json) => Value::owned(json),
        Err(error) => Err(refused(format!("the argument of $parse is not JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_what_it_gives_at_aws() {
        // Recorded at AWS: floci-io/floci issue 2662.
        assert_eq!(java_random(42), 0.727_563_680_032_868_1);
    }
}
