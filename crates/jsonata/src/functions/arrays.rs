//! Functions of arrays.

use super::Arguments;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::value::Value;

type Result<'v> = std::result::Result<Value<'v>, Error>;

pub(super) fn append<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (first, second) = (arguments.next(), arguments.next());
    if first.is_undefined() {
        return Ok(second);
    }
    if second.is_undefined() {
        return Ok(first);
    }
    let mut items = first.items();
    items.extend(second.items());
    evaluator.array(items)
}

pub(super) fn reverse<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let value = Arguments::new(arguments).next();
    if value.is_undefined() {
        return Ok(value);
    }
    let mut items = value.items();
    items.reverse();
    evaluator.array(items)
}

pub(super) fn shuffle<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let value = Arguments::new(arguments).next();
    if value.is_undefined() {
        return Ok(value);
    }
    let mut items = value.items();
    for last in (1..items.len()).rev() {
        let chosen = (evaluator.host.random() * (last + 1) as f64) as usize;
        items.swap(last, chosen.min(last));
    }
    evaluator.array(items)
}

pub(super) fn distinct<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let value = Arguments::new(arguments).next();
    let Some(list) = value.as_list() else { return Ok(value) };
    if list.len() <= 1 {
        return Ok(value);
    }
    let mut kept: Vec<Value<'v>> = Vec::new();
    for item in list.iter() {
        let mut is_new = true;
        for other in &kept {
            if item.equals(other, evaluator.steps_left())? {
                is_new = false;
                break;
            }
        }
        if is_new {
            kept.push(item);
        }
    }
    if value.is_sequence() { evaluator.sequence(kept) } else { evaluator.array(kept) }
}

pub(super) fn zip<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let length = |value: &Value<'v>| value.as_list().map_or(0, |list| list.len());
    let shortest = arguments.iter().map(length).min().unwrap_or(0);
    let mut rows = Vec::with_capacity(shortest);
    for index in 0..shortest {
        let row: Vec<_> = arguments.iter().filter_map(|value| value.as_list()?.get(index)).collect();
        rows.push(evaluator.array(row)?);
    }
    evaluator.array(rows)
}
