//! The `States.Array…` functions.

use serde_json::Value;

use super::math::integer;
use crate::jsonpath::equal;

/// Most elements `States.ArrayRange` makes, by AWS's documentation.
const RANGE_LENGTH_MAX: u64 = 1000;

fn array(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::Array(array) => Ok(array),
        other => Err(format!("the first argument must be an array, found {other}")),
    }
}

pub(super) fn partition(value: &Value, size: &Value) -> Result<Value, String> {
    let size = integer(size, "the chunk size")?;
    match usize::try_from(size) {
        Ok(size) if size > 0 => Ok(array(value)?.chunks(size).map(|chunk| Value::from(chunk.to_vec())).collect()),
        _ => Err(format!("the chunk size must be positive, found {size}")),
    }
}

pub(super) fn contains(value: &Value, item: &Value) -> Result<Value, String> {
    Ok(array(value)?.iter().any(|other| equal(other, item)).into())
}

pub(super) fn length(value: &Value) -> Result<Value, String> {
    Ok(array(value)?.len().into())
}

/// The first of equal elements stays. Quadratic; payloads are at most 256 KiB.
pub(super) fn unique(value: &Value) -> Result<Value, String> {
    let mut kept: Vec<Value> = Vec::new();
    for item in array(value)? {
        if !kept.iter().any(|other| equal(other, item)) {
            kept.push(item.clone());
        }
    }
    Ok(kept.into())
}

pub(super) fn get_item(value: &Value, index: &Value) -> Result<Value, String> {
    let array = array(value)?;
    let index = integer(index, "the index")?;
    let item = usize::try_from(index).ok().and_then(|index| array.get(index));
    item.cloned().ok_or_else(|| format!("the index {index} is out of range for an array of length {}", array.len()))
}

pub(super) fn range(first: &Value, last: &Value, step: &Value) -> Result<Value, String> {
    let (first, last) = (integer(first, "the first value")?, integer(last, "the last value")?);
    let step = integer(step, "the step")?;
    if step == 0 {
        return Err("the step must not be 0".to_owned());
    }
    let span = if step > 0 { last.saturating_sub(first) } else { first.saturating_sub(last) };
    let Ok(span) = u64::try_from(span) else {
        return Ok(Value::Array(Vec::new()));
    };
    let count = span / step.unsigned_abs() + 1;
    if count > RANGE_LENGTH_MAX {
        return Err(format!("a range of {count} elements, at most {RANGE_LENGTH_MAX} are allowed"));
    }
    // `count` is at most 1000, so no term leaves the span.
    Ok((0..count as i64).map(|index| Value::from(first + index * step)).collect())
}
