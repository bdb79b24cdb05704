//! Functions of text, and the text of any value. A character is a code point.

use serde_json::Value as Json;

use super::Arguments;
use crate::error::{Error, quoted};
use crate::evaluate::Evaluator;
use crate::value::{Number, Value};

type Result<'v> = std::result::Result<Value<'v>, Error>;

/// A value as `$string` writes it, which is nothing for nothing.
pub(crate) fn to_text<'v>(
    evaluator: &mut Evaluator<'v>,
    value: &Value<'v>,
    is_pretty: bool,
) -> std::result::Result<String, Error> {
    match value {
        Value::Undefined | Value::Function(_) => Ok(String::new()),
        Value::String(text) => Ok(text.to_string()),
        Value::Number(number) if !number.as_f64().is_finite() => Err(Error::new("D3001").value(number.to_string())),
        _ => {
            let mut text = String::new();
            write(evaluator, value, is_pretty.then_some(0), &mut text)?;
            Ok(text)
        }
    }
}

/// Fifteen significant digits, as the reference rounds numbers in texts; whole numbers are exact.
fn rounded(number: Number) -> String {
    match number {
        Number::Int(_) => number.to_string(),
        Number::Float(float) => {
            let rounded = format!("{float:.14e}").parse().unwrap_or(float);
            Number::from(rounded).to_string()
        }
    }
}

fn write<'v>(
    evaluator: &mut Evaluator<'v>,
    value: &Value<'v>,
    indent: Option<usize>,
    text: &mut String,
) -> std::result::Result<(), Error> {
    evaluator.charge(1)?;
    // The length is looked at now and then: it may not grow without bound.
    if text.len() > 1 << 16 {
        evaluator.charge_text(text.len())?;
    }
    let inner = indent.map(|indent| indent + 2);
    let line = |text: &mut String, indent: Option<usize>| {
        if let Some(indent) = indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent));
        }
    };
    if let Some(list) = value.as_list() {
        text.push('[');
        for (index, item) in list.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            line(text, inner);
            write(evaluator, &item, inner, text)?;
        }
        if list.len() > 0 {
            line(text, indent);
        }
        text.push(']');
        return Ok(());
    }
    if let Some(fields) = value.as_fields() {
        text.push('{');
        for (index, (key, value)) in fields.entries().into_iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            line(text, inner);
            text.push_str(&quoted(&key));
            text.push_str(if indent.is_some() { ": " } else { ":" });
            write(evaluator, &value, inner, text)?;
        }
        if fields.len() > 0 {
            line(text, indent);
        }
        text.push('}');
        return Ok(());
    }
    match value {
        Value::Bool(bool) => text.push_str(if *bool { "true" } else { "false" }),
        Value::Number(number) if !number.as_f64().is_finite() => {
            return Err(Error::new("D1001").value(number.to_string()));
        }
        Value::Number(number) => text.push_str(&rounded(*number)),
        Value::String(string) => text.push_str(&quoted(string)),
        Value::Function(_) => text.push_str("\"\""),
        _ => text.push_str(&Json::Null.to_string()),
    }
    Ok(())
}

pub(super) fn string<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (value, is_pretty) = (arguments.next(), arguments.next().is_truthy());
    match value {
        Value::Undefined | Value::String(_) => Ok(value),
        _ => {
            let text = to_text(evaluator, &value, is_pretty)?;
            evaluator.text(text)
        }
    }
}

pub(super) fn length<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(Value::String(text)) = arguments.first() else { return Ok(Value::Undefined) };
    evaluator.charge_text(text.len())?;
    Ok(Value::from(text.chars().count()))
}

pub(super) fn substring<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let (start, length) = (arguments.number().unwrap_or(0.0), arguments.number());
    let chars: Vec<char> = text.chars().collect();
    let count = chars.len() as f64;
    let start = if count + start < 0.0 { 0.0 } else { start };
    let end = match length {
        Some(length) if length <= 0.0 => return Ok(Value::from("")),
        Some(length) if start >= 0.0 => start + length,
        Some(length) => count + start + length,
        None => count,
    };
    // As JavaScript slices: fractions are cut off, negative places count from the end.
    let place = |place: f64| {
        let place = place.trunc();
        (if place < 0.0 { (count + place).max(0.0) } else { place.min(count) }) as usize
    };
    let (start, end) = (place(start), place(end));
    evaluator.text(chars.get(start..end).unwrap_or_default().iter().collect())
}

pub(super) fn substring_before<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    around(evaluator, arguments, |text, found, _| &text[..found])
}

pub(super) fn substring_after<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    around(evaluator, arguments, |text, found, length| &text[found + length..])
}

fn around<'v>(
    evaluator: &mut Evaluator<'v>,
    arguments: Vec<Value<'v>>,
    cut: fn(&str, usize, usize) -> &str,
) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let Value::String(separator) = arguments.next() else { return Ok(Value::String(text)) };
    match text.find(&*separator) {
        None => Ok(Value::String(text)),
        Some(found) => evaluator.text(cut(&text, found, separator.len()).to_owned()),
    }
}

pub(super) fn lowercase<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(Value::String(text)) = arguments.first() else { return Ok(Value::Undefined) };
    evaluator.text(text.to_lowercase())
}

pub(super) fn uppercase<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(Value::String(text)) = arguments.first() else { return Ok(Value::Undefined) };
    evaluator.text(text.to_uppercase())
}

pub(super) fn trim<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(Value::String(text)) = arguments.first() else { return Ok(Value::Undefined) };
    let words = text.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty());
    evaluator.text(words.collect::<Vec<_>>().join(" "))
}

pub(super) fn pad<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let width = arguments.number().unwrap_or(0.0).trunc();
    let filler = match arguments.next() {
        Value::String(filler) if !filler.is_empty() => filler.to_string(),
        _ => " ".to_owned(),
    };
    evaluator.charge_text(width.abs() as usize)?;
    let missing = (width.abs() as usize).saturating_sub(text.chars().count());
    let padding: String = filler.chars().cycle().take(missing).collect();
    evaluator.text(if width < 0.0 { padding + &*text } else { text.to_string() + &padding })
}

pub(super) fn join<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (texts, separator) = (arguments.next(), arguments.next());
    let Some(list) = texts.as_list() else { return Ok(Value::Undefined) };
    let separator = separator.as_text().map(|text| text.to_string()).unwrap_or_default();
    let mut joined = String::new();
    for (index, text) in list.iter().enumerate() {
        let Value::String(text) = text else { continue };
        if index > 0 {
            joined.push_str(&separator);
        }
        joined.push_str(&text);
        evaluator.charge(1)?;
        if joined.len() > 1 << 16 {
            evaluator.charge_text(joined.len())?;
        }
    }
    evaluator.text(joined)
}
