//! `$now`, `$millis`, `$fromMillis`, `$toMillis`. The time comes from the host.

use super::Arguments;
use crate::error::{Error, quoted};
use crate::evaluate::Evaluator;
use crate::format::datetime;
use crate::value::Value;

type Result<'v> = std::result::Result<Value<'v>, Error>;

pub(super) fn millis<'v>(evaluator: &mut Evaluator<'v>, _: Vec<Value<'v>>) -> Result<'v> {
    Ok(Value::from(evaluator.now_ms() as f64))
}

pub(super) fn now<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (picture, zone) = (arguments.next(), arguments.next());
    let now_ms = evaluator.now_ms();
    format(evaluator, now_ms as f64, &picture, &zone)
}

pub(super) fn from_millis<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (millis, picture, zone) = (arguments.number(), arguments.next(), arguments.next());
    match millis {
        Some(millis) => format(evaluator, millis, &picture, &zone),
        None => Ok(Value::Undefined),
    }
}

fn format<'v>(evaluator: &mut Evaluator<'v>, millis: f64, picture: &Value<'v>, zone: &Value<'v>) -> Result<'v> {
    let picture = picture.as_text().map(|text| text.to_string());
    let zone = zone.as_text().map(|text| text.to_string());
    let text = datetime::format(millis, picture.as_deref(), zone.as_deref())?;
    evaluator.text(text)
}

pub(super) fn to_millis<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (Value::String(text), picture) = (arguments.next(), arguments.next()) else { return Ok(Value::Undefined) };
    evaluator.charge_text(text.len())?;
    let millis = match picture {
        Value::String(picture) => datetime::parse(&text, &picture, evaluator.now_ms())?,
        _ => {
            let millis = datetime::parse_iso8601(&text);
            Some(millis.ok_or_else(|| Error::new("D3110").value(quoted(&text)))?)
        }
    };
    Ok(millis.map_or(Value::Undefined, Value::from))
}
