//! `$match`, `$contains`, `$replace`, `$split`: with a text or with a matcher, which is a regular expression or any
//! function that answers as one does.

use std::rc::Rc;

use super::Arguments;
use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::evaluate::function::Function;
use crate::value::{Object, Text, Value};

type Result<'v, T = Value<'v>> = std::result::Result<T, Error>;

/// What a matcher found.
struct Found<'v> {
    object: Value<'v>,
    text: Text<'v>,
    /// In UTF-16 units, as the language counts here.
    start: usize,
    end: usize,
    groups: Value<'v>,
}

/// Calls a matcher on a text, or its `next` for more.
fn find<'v>(
    evaluator: &mut Evaluator<'v>,
    matcher: &Rc<Function<'v>>,
    arguments: Vec<Value<'v>>,
) -> Result<'v, Option<Found<'v>>> {
    let object = evaluator.apply(matcher, arguments, &Value::Undefined)?;
    if object.is_undefined() {
        return Ok(None);
    }
    let field = |name| object.as_fields().map_or(Value::Undefined, |fields| fields.get(name));
    let place = |value: Value<'v>| value.as_number().map(|number| number.as_f64() as usize);
    let (text, groups, next) = (field("match"), field("groups"), field("next"));
    let parts = (text, place(field("start")), place(field("end")), groups.is_array(), next.as_function().is_some());
    match parts {
        (Value::String(text), Some(start), Some(end), true, true) => {
            Ok(Some(Found { object, text, start, end, groups }))
        }
        _ => Err(Error::new("T1010")),
    }
}

/// Every match in a text, at most `limit`.
fn find_all<'v>(
    evaluator: &mut Evaluator<'v>,
    matcher: &Rc<Function<'v>>,
    text: &Text<'v>,
    limit: f64,
) -> Result<'v, Vec<Found<'v>>> {
    let mut all: Vec<Found<'v>> = Vec::new();
    while (all.len() as f64) < limit {
        let found = match all.last() {
            None => find(evaluator, matcher, vec![Value::String(text.clone())])?,
            Some(last) => {
                let next = last.object.as_fields().map_or(Value::Undefined, |fields| fields.get("next"));
                let Value::Function(next) = next else { break };
                find(evaluator, &next, Vec::new())?
            }
        };
        match found {
            Some(found) => all.push(found),
            None => break,
        }
    }
    Ok(all)
}

/// Cuts a text by UTF-16 places, which a matcher of someone's own may have got wrong.
struct Units<'a> {
    text: &'a str,
    /// Where in the text the last place was: (units, bytes).
    at: (usize, usize),
}

impl Units<'_> {
    fn bytes(&mut self, units: usize) -> usize {
        if units < self.at.0 {
            self.at = (0, 0);
        }
        for char in self.text[self.at.1..].chars() {
            if self.at.0 >= units {
                break;
            }
            self.at = (self.at.0 + char.len_utf16(), self.at.1 + char.len_utf8());
        }
        self.at.1
    }
}

fn limit(arguments: &mut Arguments<'_>, code: &'static str) -> std::result::Result<f64, Error> {
    match arguments.number() {
        None => Ok(f64::INFINITY),
        Some(limit) if limit < 0.0 => Err(Error::new(code)),
        Some(limit) => Ok(limit),
    }
}

pub(super) fn matches<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let Value::Function(matcher) = arguments.next() else { return Ok(Value::Undefined) };
    let limit = limit(&mut arguments, "D3040")?;
    let mut results = Vec::new();
    for found in find_all(evaluator, &matcher, &text, limit)? {
        let mut object = Object::default();
        object.insert(Text::Borrowed("match"), Value::String(found.text))?;
        object.insert(Text::Borrowed("index"), Value::from(found.start))?;
        object.insert(Text::Borrowed("groups"), found.groups)?;
        results.push(Value::from(object));
    }
    evaluator.sequence(results)
}

pub(super) fn contains<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    Ok(match arguments.next() {
        Value::String(pattern) => Value::Bool(text.contains(&*pattern)),
        Value::Function(matcher) => Value::Bool(find(evaluator, &matcher, vec![Value::String(text)])?.is_some()),
        _ => Value::Undefined,
    })
}

pub(super) fn replace<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let (pattern, replacement) = (arguments.next(), arguments.next());
    if pattern.as_text().is_some_and(|pattern| pattern.is_empty()) {
        return Err(Error::new("D3010"));
    }
    let limit = limit(&mut arguments, "D3011")?;
    let mut result = String::new();
    let mut done = 0;
    match pattern {
        Value::String(pattern) => {
            for (count, (start, found)) in text.match_indices(&*pattern).enumerate() {
                if count as f64 >= limit {
                    break;
                }
                result.push_str(&text[done..start]);
                match &replacement {
                    Value::String(replacement) => result.push_str(replacement),
                    Value::Function(function) => {
                        let argument = Value::from(found);
                        result.push_str(&replaced(evaluator, function, argument)?);
                    }
                    _ => {}
                }
                evaluator.charge(1)?;
                check_length(evaluator, &result)?;
                done = start + found.len();
            }
        }
        Value::Function(matcher) => {
            let mut units = Units { text: &text, at: (0, 0) };
            for found in find_all(evaluator, &matcher, &text, limit)? {
                let (start, end) = (units.bytes(found.start), units.bytes(found.end));
                result.push_str(text.get(done..start).unwrap_or_default());
                match &replacement {
                    Value::String(template) => substitute(template, &found, &mut result),
                    Value::Function(function) => {
                        result.push_str(&replaced(evaluator, function, found.object.clone())?);
                    }
                    _ => {}
                }
                check_length(evaluator, &result)?;
                done = end.max(done);
            }
        }
        _ => return Ok(Value::Undefined),
    }
    result.push_str(text.get(done..).unwrap_or_default());
    evaluator.text(result)
}

fn check_length(evaluator: &mut Evaluator<'_>, text: &str) -> std::result::Result<(), Error> {
    if text.len() > 1 << 16 { evaluator.charge_text(text.len()) } else { Ok(()) }
}

fn replaced<'v>(
    evaluator: &mut Evaluator<'v>,
    function: &Rc<Function<'v>>,
    argument: Value<'v>,
) -> Result<'v, Text<'v>> {
    match evaluator.apply(function, vec![argument], &Value::Undefined)? {
        Value::String(text) => Ok(text),
        other => Err(Error::new("D3012").value(other.shown())),
    }
}

/// Fills `$0`, `$1`, … of a replacement; `$$` is a dollar sign. As many digits count as the number of groups has.
fn substitute(template: &str, found: &Found<'_>, result: &mut String) {
    let groups = found.groups.items();
    let digits_max = groups.len().to_string().len();
    let mut rest = template;
    while let Some(dollar) = rest.find('$') {
        result.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix('0') {
            result.push_str(&found.text);
            rest = after;
            continue;
        }
        let digits = rest.bytes().take(digits_max).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            result.push('$');
            continue;
        }
        let number = |digits: usize| rest[..digits].parse::<usize>().unwrap_or(usize::MAX);
        let used = if digits > 1 && number(digits) > groups.len() { digits - 1 } else { digits };
        if let Some(Value::String(group)) = groups.get(number(used).wrapping_sub(1)) {
            result.push_str(group);
        }
        rest = &rest[used..];
    }
    result.push_str(rest);
}

pub(super) fn split<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Value::String(text) = arguments.next() else { return Ok(Value::Undefined) };
    let separator = arguments.next();
    let limit = limit(&mut arguments, "D3020")?.floor();
    let limit = if limit.is_finite() { limit as usize } else { usize::MAX };
    let parts: Vec<Value<'v>> = match separator {
        Value::String(separator) if separator.is_empty() => {
            text.chars().take(limit).map(|char| Value::from(char.to_string())).collect()
        }
        Value::String(separator) => text.split(&*separator).take(limit).map(Value::from).collect(),
        Value::Function(matcher) => {
            let mut units = Units { text: &text, at: (0, 0) };
            let (mut parts, mut done) = (Vec::new(), 0);
            let found = find_all(evaluator, &matcher, &text, limit as f64)?;
            let count = found.len();
            for found in found {
                let (start, end) = (units.bytes(found.start), units.bytes(found.end));
                parts.push(Value::from(text.get(done..start).unwrap_or_default()));
                done = end.max(done);
            }
            if count < limit {
                parts.push(Value::from(text.get(done..).unwrap_or_default()));
            }
            parts
        }
        _ => return Ok(Value::Undefined),
    };
    evaluator.charge_text(text.len())?;
    evaluator.array(parts)
}
