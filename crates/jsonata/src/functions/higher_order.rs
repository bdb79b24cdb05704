//! Functions that take a function.

use std::rc::Rc;

use super::Arguments;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::evaluate::function::Function;
use crate::value::{Object, Value};

type Result<'v, T = Value<'v>> = std::result::Result<T, Error>;

/// Calls back with an element, and its key or index and the whole if the function has parameters for them.
fn call<'v>(
    evaluator: &mut Evaluator<'v>,
    function: &Rc<Function<'v>>,
    item: Value<'v>,
    key: Value<'v>,
    whole: &Value<'v>,
) -> Result<'v> {
    let mut arguments = vec![item];
    if function.arity() >= 2 {
        arguments.push(key);
    }
    if function.arity() >= 3 {
        arguments.push(whole.clone());
    }
    evaluator.apply(function, arguments, &Value::Undefined)
}

pub(super) fn map<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, Value::Function(function)) = (arguments.next(), arguments.next()) else { return Ok(Value::Undefined) };
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    let mut results = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let result = call(evaluator, &function, item, Value::from(index), &value)?;
        if !result.is_undefined() {
            results.push(result);
        }
    }
    evaluator.sequence(results)
}

pub(super) fn filter<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, Value::Function(function)) = (arguments.next(), arguments.next()) else { return Ok(Value::Undefined) };
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    let mut results = Vec::new();
    for (index, item) in list.iter().enumerate() {
        if call(evaluator, &function, item.clone(), Value::from(index), &value)?.is_truthy() {
            results.push(item);
        }
    }
    evaluator.sequence(results)
}

pub(super) fn single<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, function) = (arguments.next(), arguments.next());
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    let mut found = None;
    for (index, item) in list.iter().enumerate() {
        let is_match = match &function {
            Value::Function(function) => {
                call(evaluator, function, item.clone(), Value::from(index), &value)?.is_truthy()
            }
            _ => true,
        };
        if !is_match {
            continue;
        }
        if found.is_some() {
            return Err(Error::new("D3138"));
        }
        found = Some(item);
    }
    found.ok_or_else(|| Error::new("D3139"))
}

pub(super) fn reduce<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, function, initial) = (arguments.next(), arguments.next(), arguments.next());
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    let Value::Function(function) = function else { return Ok(Value::Undefined) };
    let arity = function.arity();
    if arity < 2 {
        return Err(Error::new("D3050"));
    }
    let mut items = list.iter().enumerate();
    let mut result = match initial {
        Value::Undefined => items.next().map_or(Value::Undefined, |(_, item)| item),
        initial => initial,
    };
    for (index, item) in items {
        let mut arguments = vec![result, item];
        if arity >= 3 {
            arguments.push(Value::from(index));
        }
        if arity >= 4 {
            arguments.push(value.clone());
        }
        result = evaluator.apply(&function, arguments, &Value::Undefined)?;
    }
    Ok(result)
}

pub(super) fn sift<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, Value::Function(function)) = (arguments.next(), arguments.next()) else { return Ok(Value::Undefined) };
    let Some(fields) = value.as_fields() else { return Ok(Value::Undefined) };
    let mut kept = Object::default();
    for (key, item) in fields.entries() {
        if call(evaluator, &function, item.clone(), Value::String(key.clone()), &value)?.is_truthy() {
            kept.insert(key, item)?;
        }
    }
    Ok(if kept.fields.is_empty() { Value::Undefined } else { Value::from(kept) })
}

pub(super) fn each<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, Value::Function(function)) = (arguments.next(), arguments.next()) else { return Ok(Value::Undefined) };
    let Some(fields) = value.as_fields() else { return Ok(Value::Undefined) };
    let mut results = Vec::new();
    for (key, item) in fields.entries() {
        let result = call(evaluator, &function, item, Value::String(key), &value)?;
        if !result.is_undefined() {
            results.push(result);
        }
    }
    evaluator.sequence(results)
}

pub(super) fn sort<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, function) = (arguments.next(), arguments.next());
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    if list.len() <= 1 {
        return Ok(value);
    }
    let items = value.items();
    evaluator.charge_items(items.len())?;
    let sorted = match function {
        Value::Function(function) => evaluator.merge_sort(items, &mut |evaluator, left, right| {
            Ok(evaluator.apply(&function, vec![left.clone(), right.clone()], &Value::Undefined)?.is_truthy())
        })?,
        _ => {
            let all_numbers = items.iter().all(|item| matches!(item, Value::Number(_)));
            let all_texts = items.iter().all(|item| matches!(item, Value::String(_)));
            if !all_numbers && !all_texts {
                return Err(Error::new("D3070"));
            }
            evaluator.merge_sort(items, &mut |_, left, right| {
                Ok(match (left, right) {
                    (Value::Number(left), Value::Number(right)) => left.as_f64() > right.as_f64(),
                    (Value::String(left), Value::String(right)) => crate::evaluate::compare_texts(left, right).is_gt(),
                    _ => false,
                })
            })?
        }
    };
    evaluator.array(sorted)
}
