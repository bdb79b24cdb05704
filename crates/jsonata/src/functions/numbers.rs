//! Functions of numbers.

use super::Arguments;
use crate::error::{Error, quoted};
use crate::evaluate::Evaluator;
use crate::format;
use crate::value::{Number, Value};

type Result<'v> = std::result::Result<Value<'v>, Error>;

/// Applies a function to the only argument.
fn of_number<'v>(arguments: Vec<Value<'v>>, function: impl FnOnce(f64) -> f64) -> Result<'v> {
    Ok(Arguments::new(arguments).number().map_or(Value::Undefined, |number| Value::from(function(number))))
}

pub(super) fn number<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let Some(value) = arguments.into_iter().next() else { return Ok(Value::Undefined) };
    match &value {
        Value::Bool(bool) => Ok(Value::from(f64::from(u8::from(*bool)))),
        Value::String(text) => match parse(text) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(Error::new("D3030").value(quoted(text))),
        },
        _ => Ok(value),
    }
}

/// A number as JSON writes it, with zeros in front if need be, or `0x`, `0o`, `0b` and digits.
fn parse(text: &str) -> Option<Number> {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        let digits = text.get(..2).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &text[2..]);
        let Some(digits) = digits else { continue };
        if digits.is_empty() || digits.len() > 256 || !digits.chars().all(|char| char.is_digit(radix)) {
            return None;
        }
        let digit = |char: char| f64::from(char.to_digit(radix).unwrap_or(0));
        return Some(Number::from(digits.chars().fold(0.0, |sum, char| sum * f64::from(radix) + digit(char))));
    }
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) || !is_digits(exponent) {
        return None;
    }
    match text.parse::<i64>() {
        Ok(number) => Some(Number::Int(number)),
        Err(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Number::from),
    }
}

pub(super) fn floor<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    of_number(arguments, f64::floor)
}

pub(super) fn ceil<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    of_number(arguments, f64::ceil)
}

pub(super) fn abs<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    of_number(arguments, f64::abs)
}

pub(super) fn round<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (number, precision) = (arguments.number(), arguments.number().unwrap_or(0.0));
    Ok(number.map_or(Value::Undefined, |number| Value::from(round_half_even(number, precision.trunc() as i32))))
}

/// Rounds to a number of decimals (negative ones too), a half to the even neighbour.
pub(crate) fn round_half_even(number: f64, decimals: i32) -> f64 {
    if !number.is_finite() {
        return number;
    }
    // The decimal point moves in the text: multiplying would round twice.
    let shift = |number: f64, by: i32| {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent = exponent.parse::<i32>().unwrap_or(0).saturating_add(by);
        format!("{digits}e{exponent}").parse::<f64>().unwrap_or(number)
    };
    let shifted = shift(number, decimals);
    if !shifted.is_finite() {
        return number;
    }
    let rounded = shifted.round_ties_even();
    let result = shift(rounded, decimals.saturating_neg());
    if result == 0.0 { 0.0 } else { result }
}

pub(super) fn sqrt<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    match Arguments::new(arguments).number() {
        None => Ok(Value::Undefined),
        Some(number) if number < 0.0 => Err(Error::new("D3060").value(Number::from(number).to_string())),
        Some(number) => Ok(Value::from(number.sqrt())),
    }
}

pub(super) fn power<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (Some(base), Some(exponent)) = (arguments.number(), arguments.number()) else { return Ok(Value::Undefined) };
    let result = base.powf(exponent);
    if result.is_finite() {
        return Ok(Value::from(result));
    }
    let shown = |number| Number::from(number).to_string();
    Err(Error::new("D3061").value(shown(base)).detail("exp", shown(exponent)))
}

pub(super) fn format_base<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let Some(number) = arguments.number() else { return Ok(Value::Undefined) };
    let (number, radix) = (round_half_even(number, 0), round_half_even(arguments.number().unwrap_or(10.0), 0));
    if !(2.0..=36.0).contains(&radix) {
        return Err(Error::new("D3100").value(Number::from(radix).to_string()));
    }
    let mut rest = number.abs();
    let mut digits = Vec::new();
    while rest >= 1.0 {
        digits.push(char::from_digit((rest % radix) as u32, radix as u32).unwrap_or('0'));
        rest = (rest / radix).floor();
    }
    if digits.is_empty() {
        digits.push('0');
    }
    if number < 0.0 {
        digits.push('-');
    }
    Ok(Value::from(digits.into_iter().rev().collect::<String>()))
}

pub(super) fn format_number<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (number, picture, options) = (arguments.number(), arguments.next(), arguments.next());
    let (Some(number), Value::String(picture)) = (number, picture) else { return Ok(Value::Undefined) };
    let symbols = format::number::Symbols::from_options(&options);
    let text = format::number::format(number, &picture, &symbols)?;
    evaluator.text(text)
}

pub(super) fn format_integer<'v>(evaluator: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (number, picture) = (arguments.number(), arguments.next());
    let (Some(number), Value::String(picture)) = (number, picture) else { return Ok(Value::Undefined) };
    let format = format::integer::Format::parse(&picture)?;
    let text = format.format(number.floor())?;
    evaluator.text(text)
}

pub(super) fn parse_integer<'v>(_: &mut Evaluator<'v>, arguments: Vec<Value<'v>>) -> Result<'v> {
    let mut arguments = Arguments::new(arguments);
    let (Value::String(text), Value::String(picture)) = (arguments.next(), arguments.next()) else {
        return Ok(Value::Undefined);
    };
    let format = format::integer::Format::parse(&picture)?;
    Ok(format.parse_text(&text)?.map_or(Value::Undefined, Value::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_goes_to_the_even_neighbour() {
        assert_eq!(round_half_even(11.5, 0), 12.0);
        assert_eq!(round_half_even(12.5, 0), 12.0);
        assert_eq!(round_half_even(-0.5, 0), 0.0);
        assert_eq!(round_half_even(4.525, 2), 4.52);
        assert_eq!(round_half_even(125.0, -1), 120.0);
        assert_eq!(round_half_even(1.0, 400), 1.0);
    }

    #[test]
    fn numbers_are_read_as_json_and_with_a_radix() {
        assert_eq!(parse("0x1F"), Some(Number::Int(31)));
        assert_eq!(parse("0b101"), Some(Number::Int(5)));
        assert_eq!(parse("-1.5e2"), Some(Number::Int(-150)));
        for refused in ["", "1.", ".5", "0x", "+1", " 1", "1e999", "NaN"] {
            assert_eq!(parse(refused), None, "{refused:?}");
        }
    }
}
