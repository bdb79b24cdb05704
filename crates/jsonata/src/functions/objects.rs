//! Functions of objects and of any value.

use super::Arguments;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::value::{Object, Text, Value};

type Result<'v> = std::result::Result<Value<'v>, Error>;

pub(super) fn boolean<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(match Arguments::new(arguments).next() {
        Value::Undefined => Value::Undefined,
        value => Value::Bool(value.is_truthy()),
    })
}

pub(super) fn not<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(match Arguments::new(arguments).next() {
        Value::Undefined => Value::Undefined,
        value => Value::Bool(!value.is_truthy()),
    })
}

pub(super) fn exists<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(Value::Bool(!Arguments::new(arguments).next().is_undefined()))
}

pub(super) fn type_of<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(Value::from(match Arguments::new(arguments).next() {
        Value::Undefined => return Ok(Value::Undefined),
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Function(_) => "function",
        value if value.is_array() => "array",
        _ => "object",
    }))
}

pub(super) fn keys<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut keys = indexmap::IndexSet::new();
    let value = Arguments::new(arguments).next();
    collect_keys(evaluator, &value, &mut keys)?;
    evaluator.sequence(keys.into_iter().map(Value::String).collect())
}

fn collect_keys<'v>(
    evaluator: &mut Evaluator<'v>,
    value: &Value<'v>,
    keys: &mut indexmap::IndexSet<Text<'v>>,
) -> std::result::Result<(), Error> {
    evaluator.charge(1)?;
    if let Some(list) = value.as_list() {
        for item in list.iter() {
            collect_keys(evaluator, &item, keys)?;
        }
    } else if let Some(fields) = value.as_fields() {
        keys.extend(fields.entries().into_iter().map(|(key, _)| key));
    }
    Ok(())
}

pub(super) fn lookup<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, key) = (arguments.next(), arguments.next());
    match key {
        Value::String(key) => evaluator.field(&value, &key),
        _ => Ok(Value::Undefined),
    }
}

pub(super) fn spread<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let value = Arguments::new(arguments).next();
    if !value.is_array() && value.as_fields().is_none() {
        return Ok(value);
    }
    let mut parts = Vec::new();
    collect_parts(evaluator, &value, &mut parts)?;
    evaluator.sequence(parts)
}

fn collect_parts<'v>(
    evaluator: &mut Evaluator<'v>,
    value: &Value<'v>,
    parts: &mut Vec<Value<'v>>,
) -> std::result::Result<(), Error> {
    evaluator.charge(1)?;
    if let Some(list) = value.as_list() {
        for item in list.iter() {
            collect_parts(evaluator, &item, parts)?;
        }
    } else if let Some(fields) = value.as_fields() {
        for (key, value) in fields.entries() {
            let mut object = Object::default();
            object.insert(key, value)?;
            parts.push(Value::from(object));
        }
    } else {
        parts.push(value.clone());
    }
    Ok(())
}

pub(super) fn merge<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let value = Arguments::new(arguments).next();
    let Some(list) = value.as_list() else { return Ok(Value::Undefined) };
    let mut merged = Object::default();
    for item in list.iter() {
        for (key, value) in item.as_fields().map(|fields| fields.entries()).unwrap_or_default() {
            evaluator.charge(1)?;
            merged.insert(key, value)?;
        }
    }
    Ok(Value::from(merged))
}

/// Values never change, so a copy is the value.
pub(super) fn clone<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    Ok(Arguments::new(arguments).next())
}

pub(super) fn error<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let message = Arguments::new(arguments).next();
    let message = message.as_text().filter(|text| !text.is_empty()).map(|text| text.to_string());
    Err(Error::new("D3137").detail("message", message.unwrap_or_else(|| "$error() function evaluated".to_owned())))
}

pub(super) fn assert<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    if arguments.next().is_truthy() {
        return Ok(Value::Undefined);
    }
    let message = arguments.next();
    let message = message.as_text().filter(|text| !text.is_empty()).map(|text| text.to_string());
    Err(Error::new("D3141").detail("message", message.unwrap_or_else(|| "$assert() statement failed".to_owned())))
}
