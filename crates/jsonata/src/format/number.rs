//! `$formatNumber`: <https://www.w3.org/TR/xpath-functions-31/#formatting-numbers>.

use super::regular_distance;
use crate::error::Error;
use crate::functions::round_half_even;
use crate::value::Value;

/// More decimals than any double has.
const DECIMALS_MAX: usize = 400;

/// The characters with a meaning in a picture.
pub(crate) struct Symbols {
    decimal: char,
    grouping: char,
    exponent: char,
    infinity: String,
    minus: String,
    nan: String,
    percent: char,
    per_mille: char,
    zero: char,
    digit: char,
    pattern: char,
}

impl Symbols {
    /// The usual ones, but for those that the options name.
    pub(crate) fn from_options(options: &Value<'_>) -> Symbols {
        let text = |name: &str, default: &str| {
            let option = options.as_fields().map_or(Value::Undefined, |fields| fields.get(name));
            option.as_text().map_or_else(|| default.to_owned(), |text| text.to_string())
        };
        let char = |name: &str, default: char| text(name, "").chars().next().unwrap_or(default);
        Symbols {
            decimal: char("decimal-separator", '.'),
            grouping: char("grouping-separator", ','),
            exponent: char("exponent-separator", 'e'),
            infinity: text("infinity", "Infinity"),
            minus: text("minus-sign", "-"),
            nan: text("NaN", "NaN"),
            percent: char("percent", '%'),
            per_mille: char("per-mille", '‰'),
            zero: char("zero-digit", '0'),
            digit: char("digit", '#'),
            pattern: char("pattern-separator", ';'),
        }
    }

    fn is_decimal(&self, char: char) -> bool {
        (self.zero as u32..self.zero as u32 + 10).contains(&(char as u32))
    }

    fn is_digit(&self, char: char) -> bool {
        self.is_decimal(char) || char == self.digit
    }

    fn is_active(&self, char: char) -> bool {
        self.is_digit(char) || char == self.decimal || char == self.grouping || char == self.exponent
    }

    fn shown(&self, digit: char) -> char {
        let value = digit.to_digit(10).unwrap_or(0);
        char::from_u32(self.zero as u32 + value).unwrap_or(digit)
    }
}

/// A sub-picture cut into its parts.
struct Parts {
    prefix: String,
    suffix: String,
    integer: Vec<char>,
    fraction: Vec<char>,
    exponent: Option<Vec<char>>,
    whole: Vec<char>,
    /// From the first active character to the last.
    active: Vec<char>,
}

/// What a sub-picture asks for.
struct Rules {
    prefix: String,
    suffix: String,
    is_percent: bool,
    is_per_mille: bool,
    has_decimal: bool,
    integer_grouping: Vec<usize>,
    regular_grouping: Option<usize>,
    fraction_grouping: Vec<usize>,
    integer_min: usize,
    scaling: usize,
    fraction_min: usize,
    fraction_max: usize,
    exponent_min: usize,
}

pub(crate) fn format(number: f64, picture: &str, symbols: &Symbols) -> Result<String, Error> {
    let pictures: Vec<&str> = picture.split(symbols.pattern).collect();
    if pictures.len() > 2 {
        return Err(Error::new("D3080"));
    }
    let mut rules = Vec::new();
    for picture in pictures {
        let parts = cut(picture, symbols);
        validate(&parts, symbols)?;
        rules.push(analyse(&parts, symbols));
    }
    let positive = &rules[0];
    let (rules, prefix) = match rules.get(1) {
        Some(negative) if number < 0.0 => (negative, negative.prefix.clone()),
        _ if number < 0.0 => (positive, symbols.minus.clone() + &positive.prefix),
        _ => (positive, positive.prefix.clone()),
    };
    if number.is_nan() {
        return Ok(symbols.nan.clone());
    }
    let body = match number.is_infinite() {
        true => symbols.infinity.clone(),
        false => body(number.abs(), rules, symbols),
    };
    Ok(prefix + &body + &rules.suffix)
}

fn cut(picture: &str, symbols: &Symbols) -> Parts {
    let whole: Vec<char> = picture.chars().collect();
    let is_edge = |char: &char| symbols.is_active(*char) && *char != symbols.exponent;
    let start = whole.iter().position(is_edge).unwrap_or(0);
    let end = whole.iter().rposition(is_edge).map_or(whole.len(), |last| last + 1);
    let active = whole[start..end].to_vec();
    let exponent_at = active.iter().position(|char| *char == symbols.exponent);
    let (mantissa, exponent) = match exponent_at {
        Some(at) => (&active[..at], Some(active[at + 1..].to_vec())),
        None => (&active[..], None),
    };
    let (integer, fraction) = match mantissa.iter().position(|char| *char == symbols.decimal) {
        Some(at) => (mantissa[..at].to_vec(), mantissa[at + 1..].to_vec()),
        None => (mantissa.to_vec(), Vec::new()),
    };
    Parts {
        prefix: whole[..start].iter().collect(),
        suffix: whole[end..].iter().collect(),
        integer,
        fraction,
        exponent,
        active,
        whole,
    }
}

fn validate(parts: &Parts, symbols: &Symbols) -> Result<(), Error> {
    let count = |wanted: char| parts.whole.iter().filter(|char| **char == wanted).count();
    let refuse = |code| Err(Error::new(code));
    let (percents, per_milles) = (count(symbols.percent), count(symbols.per_mille));
    if count(symbols.decimal) > 1 {
        return refuse("D3081");
    }
    if percents > 1 {
        return refuse("D3082");
    }
    if per_milles > 1 {
        return refuse("D3083");
    }
    if percents > 0 && per_milles > 0 {
        return refuse("D3084");
    }
    let is_digit = |char: &char| symbols.is_digit(*char);
    // Without any active character AWS complains about the passive ones.
    let has_active = parts.active.iter().any(|char| symbols.is_active(*char));
    if has_active && !parts.integer.iter().chain(&parts.fraction).any(is_digit) {
        return refuse("D3085");
    }
    if !parts.active.iter().all(|char| symbols.is_active(*char)) {
        return refuse("D3086");
    }
    let at = parts.whole.iter().position(|char| *char == symbols.decimal);
    match at {
        Some(at) => {
            let is_grouping =
                |index: Option<usize>| index.and_then(|index| parts.whole.get(index)) == Some(&symbols.grouping);
            if is_grouping(at.checked_sub(1)) || is_grouping(Some(at + 1)) {
                return refuse("D3087");
            }
        }
        None if parts.integer.last() == Some(&symbols.grouping) => return refuse("D3088"),
        None => {}
    }
    if parts.whole.windows(2).any(|pair| pair == [symbols.grouping, symbols.grouping]) {
        return refuse("D3089");
    }
    let first_decimal = parts.integer.iter().position(|char| symbols.is_decimal(*char));
    let last_optional = parts.integer.iter().rposition(|char| *char == symbols.digit);
    if first_decimal.zip(last_optional).is_some_and(|(decimal, optional)| decimal < optional) {
        return refuse("D3090");
    }
    let first_optional = parts.fraction.iter().position(|char| *char == symbols.digit);
    let last_decimal = parts.fraction.iter().rposition(|char| symbols.is_decimal(*char));
    if first_optional.zip(last_decimal).is_some_and(|(optional, decimal)| optional < decimal) {
        return refuse("D3091");
    }
    let Some(exponent) = &parts.exponent else { return Ok(()) };
    if !exponent.is_empty() && percents + per_milles > 0 {
        return refuse("D3092");
    }
    if exponent.is_empty() || !exponent.iter().all(|char| symbols.is_decimal(*char)) {
        return refuse("D3093");
    }
    Ok(())
}

fn analyse(parts: &Parts, symbols: &Symbols) -> Rules {
    let decimals = |part: &[char]| part.iter().filter(|char| symbols.is_decimal(**char)).count();
    let digits = |part: &[char]| part.iter().filter(|char| symbols.is_digit(**char)).count();
    let groupings = |part: &[char]| {
        let is_grouping = |(_, char): &(usize, &char)| **char == symbols.grouping;
        part.iter().enumerate().filter(is_grouping).map(|(index, _)| index).collect::<Vec<_>>()
    };
    let integer_grouping: Vec<_> = groupings(&parts.integer).iter().map(|at| digits(&parts.integer[*at..])).collect();
    let fraction_grouping = groupings(&parts.fraction).iter().map(|at| digits(&parts.fraction[..*at])).collect();
    let has_exponent = parts.exponent.is_some();
    let scaling = decimals(&parts.integer);
    let (mut integer_min, mut fraction_min) = (scaling, decimals(&parts.fraction));
    let mut fraction_max = digits(&parts.fraction);
    if integer_min == 0 && fraction_max == 0 {
        if has_exponent {
            (fraction_min, fraction_max) = (1, 1);
        } else {
            integer_min = 1;
        }
    }
    if has_exponent && integer_min == 0 && parts.integer.contains(&symbols.digit) {
        integer_min = 1;
    }
    if integer_min == 0 && fraction_min == 0 {
        fraction_min = 1;
    }
    Rules {
        prefix: parts.prefix.clone(),
        suffix: parts.suffix.clone(),
        is_percent: parts.whole.contains(&symbols.percent),
        is_per_mille: parts.whole.contains(&symbols.per_mille),
        has_decimal: parts.whole.contains(&symbols.decimal),
        regular_grouping: regular_distance(&integer_grouping),
        integer_grouping,
        fraction_grouping,
        integer_min,
        scaling,
        fraction_min,
        fraction_max: fraction_max.min(DECIMALS_MAX),
        exponent_min: parts.exponent.as_deref().map_or(0, decimals),
    }
}

fn body(magnitude: f64, rules: &Rules, symbols: &Symbols) -> String {
    let adjusted = match (rules.is_percent, rules.is_per_mille) {
        (true, _) => magnitude * 100.0,
        (_, true) => magnitude * 1000.0,
        _ => magnitude,
    };
    let (mut mantissa, mut exponent) = (adjusted, 0_i64);
    if rules.exponent_min > 0 && mantissa > 0.0 {
        let scaling = rules.scaling.min(300) as i32;
        let (most, least) = (10_f64.powi(scaling), 10_f64.powi(scaling - 1));
        while mantissa < least {
            mantissa *= 10.0;
            exponent -= 1;
        }
        while mantissa > most {
            mantissa /= 10.0;
            exponent += 1;
        }
    }
    let rounded = round_half_even(mantissa, rules.fraction_max as i32);
    let fixed = format!("{rounded:.*}", rules.fraction_max);
    let (integer, fraction) = fixed.split_once('.').unwrap_or((&fixed, ""));
    let (integer, fraction) = (integer.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let mut integer: Vec<char> = format!("{integer:0>0$}", rules.integer_min.min(60_000)).chars().collect();
    let mut fraction: Vec<char> = format!("{fraction:0<0$}", rules.fraction_min.min(60_000)).chars().collect();
    for char in integer.iter_mut().chain(&mut fraction) {
        *char = symbols.shown(*char);
    }
    let length = integer.len();
    let places: Vec<usize> = match rules.regular_grouping {
        Some(distance) => (1..length).filter(|place| place % distance == 0).collect(),
        None => rules.integer_grouping.iter().copied().filter(|place| (1..length).contains(place)).collect(),
    };
    let mut text = String::new();
    for (index, char) in integer.into_iter().enumerate() {
        if places.contains(&(length - index)) && index > 0 {
            text.push(symbols.grouping);
        }
        text.push(char);
    }
    if rules.has_decimal && !fraction.is_empty() {
        text.push(symbols.decimal);
        for (index, char) in fraction.into_iter().enumerate() {
            if rules.fraction_grouping.contains(&index) {
                text.push(symbols.grouping);
            }
            text.push(char);
        }
    }
    if rules.exponent_min > 0 {
        text.push(symbols.exponent);
        if exponent < 0 {
            text.push_str(&symbols.minus);
        }
        let digits = format!("{:0>1$}", exponent.abs().to_string(), rules.exponent_min.min(60_000));
        text.extend(digits.chars().map(|digit| symbols.shown(digit)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(number: f64, picture: &str) -> String {
        let symbols = Symbols::from_options(&Value::Undefined);
        format(number, picture, &symbols).unwrap_or_else(|error| error.code().to_owned())
    }

    #[test]
    fn pictures_say_how_numbers_look() {
        assert_eq!(formatted(12345.6, "#,###.00"), "12,345.60");
        assert_eq!(formatted(0.14, "01%"), "14%");
        assert_eq!(formatted(-6.0, "000"), "-006");
        assert_eq!(formatted(1234.5678, "00.000e0"), "12.346e2");
        assert_eq!(formatted(0.0, "0.0e0"), "0.0e0");
        assert_eq!(formatted(1.0, "x"), "D3086");
        assert_eq!(formatted(1.0, "0;0;0"), "D3080");
    }
}
