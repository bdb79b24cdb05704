//! `States.MathAdd` and `States.MathRandom`, and how numbers become integers.

use serde_json::Value;

use crate::random::Random;

/// Rounds to the nearest integer, halves up, as AWS's recorded executions do (−1.5 becomes −1).
pub(super) fn integer(value: &Value, what: &str) -> Result<i64, String> {
    let number = match value {
        Value::Number(number) => number,
        other => return Err(format!("{what} must be a number, found {other}")),
    };
    if let Some(integer) = number.as_i64() {
        return Ok(integer);
    }
    match number.as_f64().map(|float| (float + 0.5).floor()) {
        Some(rounded) if rounded.abs() < 9e15 => Ok(rounded as i64),
        _ => Err(format!("{what} is out of range: {number}")),
    }
}

fn int32(value: &Value, what: &str) -> Result<i64, String> {
    let integer = integer(value, what)?;
    match i32::try_from(integer) {
        Ok(_) => Ok(integer),
        Err(_) => Err(format!("{what} must lie between -2147483648 and 2147483647, found {integer}")),
    }
}

pub(super) fn add(a: &Value, b: &Value) -> Result<Value, String> {
    Ok((int32(a, "the first number")? + int32(b, "the second number")?).into())
}

/// Uniform from `start` (included) to `end` (excluded).
pub(super) fn random(start: &Value, end: &Value, random: &mut Random) -> Result<Value, String> {
    let (start, end) = (int32(start, "the start")?, int32(end, "the end")?);
    if start >= end {
        return Err(format!("the start {start} must be less than the end {end}"));
    }
    Ok((start + random.below((end - start) as u64) as i64).into())
}
