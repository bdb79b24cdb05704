//! `$sum`, `$count`, `$max`, `$min`, `$average`.

use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::value::Value;

type Result<'v> = std::result::Result<Value<'v>, Error>;

/// The numbers of the only argument; None if it is missing.
fn numbers<'v>(evaluator: &mut Evaluator<'v>, arguments: &[Value<'v>]) -> std::result::Result<Option<Vec<f64>>, Error> {
    let Some(list) = arguments.first().and_then(Value::as_list) else { return Ok(None) };
    evaluator.charge(list.len() as u64 / 4)?;
    Ok(Some(list.iter().filter_map(|item| Some(item.as_number()?.as_f64())).collect()))
}

pub(super) fn sum<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let numbers = numbers(evaluator, &arguments)?;
    Ok(numbers.map_or(Value::Undefined, |numbers| Value::from(numbers.iter().fold(0.0, |sum, number| sum + number))))
}

pub(super) fn count<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(Value::from(arguments.first().and_then(Value::as_list).map_or(0, |list| list.len())))
}

pub(super) fn max<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let numbers = numbers(evaluator, &arguments)?.unwrap_or_default();
    Ok(numbers.into_iter().reduce(f64::max).map_or(Value::Undefined, Value::from))
}

pub(super) fn min<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let numbers = numbers(evaluator, &arguments)?.unwrap_or_default();
    Ok(numbers.into_iter().reduce(f64::min).map_or(Value::Undefined, Value::from))
}

pub(super) fn average<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let numbers = numbers(evaluator, &arguments)?.unwrap_or_default();
    if numbers.is_empty() {
        return Ok(Value::Undefined);
    }
    let sum = numbers.iter().fold(0.0, |sum, number| sum + number);
    Ok(Value::from(sum / numbers.len() as f64))
}
