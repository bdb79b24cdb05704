//! `States.Format` and `States.StringSplit`.

use serde_json::Value;

pub(super) fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{what} must be a string, found {value}"))
}

/// Fills each `{}` of `raw` with the next argument; `\{`, `\}`, `\'` and `\\` stand for themselves.
pub(super) fn format(raw: &str, arguments: &[Value]) -> Result<Value, String> {
    let mut filled = String::with_capacity(raw.len());
    let mut remaining = arguments.iter();
    let mut characters = raw.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' => filled.push(characters.next().unwrap_or('\\')),
            '{' if characters.peek() == Some(&'}') => {
                characters.next();
                match remaining.next() {
                    Some(Value::String(text)) => filled.push_str(text),
                    Some(value) => filled.push_str(&value.to_string()),
                    None => return Err(holes(raw, arguments.len())),
                }
            }
            '{' | '}' => {
                return Err(format!("unescaped `{c}` in the template: write `\\{c}`, or `{{}}` for an argument"));
            }
            c => filled.push(c),
        }
    }
    match remaining.next() {
        None => Ok(Value::String(filled)),
        Some(_) => Err(holes(raw, arguments.len())),
    }
}

fn holes(raw: &str, arguments: usize) -> String {
    format!("{} occurrences of `{{}}` in the template, {arguments} arguments", raw.matches("{}").count())
}

/// Splits at every character that occurs in `separators`; empty parts are dropped.
pub(super) fn split(value: &Value, separators: &Value) -> Result<Value, String> {
    let (value, separators) = (text(value, "the text")?, text(separators, "the separators")?);
    if separators.is_empty() {
        return Err("the separators must not be empty".to_owned());
    }
    let parts = value.split(|c| separators.contains(c)).filter(|part| !part.is_empty());
    Ok(parts.map(Value::from).collect())
}
