//! `$formatInteger` and `$parseInteger`: <https://www.w3.org/TR/xpath-functions-31/#formatting-integers>.

use super::regular_distance;
use crate::error::{Error, quoted};
use crate::value::Number;

/// What a picture asks for.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    kind: Kind,
    case: Case,
    is_ordinal: bool,
    /// Of digits in use.
    zero: u32,
    pub(crate) mandatory: usize,
    pub(crate) optional: usize,
    separators: Separators,
    /// How many digits to read where another number follows at once.
    pub(crate) width: Option<usize>,
    first: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Decimal,
    Letters,
    Roman,
    Words,
    Sequence,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Case {
    Upper,
    Lower,
    Title,
}

#[derive(Clone, Debug)]
enum Separators {
    Regular(usize, char),
    /// Positions from the right, and what stands there.
    Irregular(Vec<(usize, char)>),
}

const FEW: [&str; 20] = [
    "Zero",
    "One",
    "Two",
    "Three",
    "Four",
    "Five",
    "Six",
    "Seven",
    "Eight",
    "Nine",
    "Ten",
    "Eleven",
    "Twelve",
    "Thirteen",
    "Fourteen",
    "Fifteen",
    "Sixteen",
    "Seventeen",
    "Eighteen",
    "Nineteen",
];
const ORDINALS: [&str; 20] = [
    "Zeroth",
    "First",
    "Second",
    "Third",
    "Fourth",
    "Fifth",
    "Sixth",
    "Seventh",
    "Eighth",
    "Ninth",
    "Tenth",
    "Eleventh",
    "Twelfth",
    "Thirteenth",
    "Fourteenth",
    "Fifteenth",
    "Sixteenth",
    "Seventeenth",
    "Eighteenth",
    "Nineteenth",
];
const DECADES: [&str; 8] = ["Twenty", "Thirty", "Forty", "Fifty", "Sixty", "Seventy", "Eighty", "Ninety"];
const MAGNITUDES: [&str; 4] = ["Thousand", "Million", "Billion", "Trillion"];
const ROMAN: [(f64, &str); 13] = [
    (1000.0, "m"),
    (900.0, "cm"),
    (500.0, "d"),
    (400.0, "cd"),
    (100.0, "c"),
    (90.0, "xc"),
    (50.0, "l"),
    (40.0, "xl"),
    (10.0, "x"),
    (9.0, "ix"),
    (5.0, "v"),
    (4.0, "iv"),
    (1.0, "i"),
];
/// The zeros of the digits that Unicode has.
const ZEROS: [u32; 37] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0,
    0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620,
    0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

impl Format {
    pub(crate) fn parse(picture: &str) -> Result<Format, Error> {
        let (primary, modifier) = picture.rsplit_once(';').unwrap_or((picture, ""));
        let mut format = Format {
            kind: Kind::Decimal,
            case: Case::Lower,
            is_ordinal: modifier.starts_with('o'),
            zero: 0x30,
            mandatory: 0,
            optional: 0,
            separators: Separators::Irregular(Vec::new()),
            width: None,
            first: primary.to_owned(),
        };
        (format.kind, format.case) = match primary {
            "A" => (Kind::Letters, Case::Upper),
            "a" => (Kind::Letters, Case::Lower),
            "I" => (Kind::Roman, Case::Upper),
            "i" => (Kind::Roman, Case::Lower),
            "W" => (Kind::Words, Case::Upper),
            "Ww" => (Kind::Words, Case::Title),
            "w" => (Kind::Words, Case::Lower),
            _ => {
                format.decimal(primary)?;
                return Ok(format);
            }
        };
        Ok(format)
    }

    fn decimal(&mut self, primary: &str) -> Result<(), Error> {
        let mut zero = None;
        let mut separators: Vec<(usize, char)> = Vec::new();
        for char in primary.chars().rev() {
            let code = char as u32;
            let family = ZEROS.iter().copied().find(|zero| (*zero..zero + 10).contains(&code));
            match family {
                Some(family) => {
                    self.mandatory += 1;
                    if *zero.get_or_insert(family) != family {
                        return Err(Error::new("D3131"));
                    }
                }
                None if char == '#' => self.optional += 1,
                None => separators.push((self.mandatory + self.optional, char)),
            }
        }
        if self.mandatory == 0 {
            self.kind = Kind::Sequence;
            return Ok(());
        }
        self.zero = zero.unwrap_or(0x30);
        let positions: Vec<usize> = separators.iter().map(|(position, _)| *position).collect();
        let is_uniform = separators.windows(2).all(|pair| pair[0].1 == pair[1].1);
        self.separators = match regular_distance(&positions).filter(|_| is_uniform) {
            Some(distance) => Separators::Regular(distance, separators[0].1),
            None => Separators::Irregular(separators),
        };
        Ok(())
    }

    pub(crate) fn is_regular(&self) -> bool {
        matches!(self.separators, Separators::Regular(..))
    }

    /// The character between hours and minutes of a time zone.
    pub(crate) fn separator(&self) -> Option<char> {
        match &self.separators {
            Separators::Regular(_, char) => Some(*char),
            Separators::Irregular(separators) => separators.first().map(|(_, char)| *char),
        }
    }

    fn unsupported(&self) -> Error {
        Error::new("D3130").value(quoted(&self.first))
    }

    /// Writes a whole number.
    pub(crate) fn format(&self, number: f64) -> Result<String, Error> {
        let magnitude = number.abs();
        let text = match self.kind {
            Kind::Sequence => return Err(self.unsupported()),
            Kind::Letters => letters(magnitude),
            Kind::Roman if magnitude > 1e6 => return Err(Error::too_much_memory()),
            Kind::Roman => roman(magnitude),
            Kind::Words => words(magnitude, false, self.is_ordinal),
            Kind::Decimal => self.digits(magnitude),
        };
        let text = match (self.kind, self.case) {
            (Kind::Decimal, _) | (_, Case::Title) => text,
            (_, Case::Upper) => text.to_uppercase(),
            (_, Case::Lower) => text.to_lowercase(),
        };
        Ok(if number < 0.0 { format!("-{text}") } else { text })
    }

    fn digits(&self, magnitude: f64) -> String {
        let plain = Number::from(magnitude).to_string();
        let plain = format!("{plain:0>0$}", self.mandatory.min(60_000));
        let shown = |char: char| match char.to_digit(10) {
            Some(digit) => char::from_u32(self.zero + digit).unwrap_or(char),
            None => char,
        };
        let length = plain.len();
        let mut text = String::new();
        for (index, char) in plain.chars().enumerate() {
            let from_right = length - index;
            if index > 0 {
                match &self.separators {
                    Separators::Regular(distance, separator) if from_right % distance == 0 => text.push(*separator),
                    Separators::Regular(..) => {}
                    Separators::Irregular(separators) => {
                        let here = separators.iter().rev().filter(|(position, _)| *position == from_right);
                        text.extend(here.map(|(_, separator)| *separator));
                    }
                }
            }
            text.push(shown(char));
        }
        if self.is_ordinal {
            let is_teen = length > 1 && plain.as_bytes()[length - 2] == b'1';
            text.push_str(match plain.chars().last() {
                Some('1') if !is_teen => "st",
                Some('2') if !is_teen => "nd",
                Some('3') if !is_teen => "rd",
                _ => "th",
            });
        }
        text
    }

    /// Reads a whole number; None if there is none.
    pub(crate) fn parse_text(&self, text: &str) -> Result<Option<f64>, Error> {
        Ok(match self.kind {
            Kind::Sequence => return Err(self.unsupported()),
            Kind::Letters => {
                let first = if self.case == Case::Upper { 'A' } else { 'a' };
                let digit = |char: char| f64::from(char as u32) - f64::from(first as u32) + 1.0;
                Some(text.chars().fold(0.0, |sum, char| sum * 26.0 + digit(char)))
            }
            Kind::Roman => roman_value(text),
            Kind::Words => words_value(&text.to_lowercase()),
            Kind::Decimal => {
                let mut digits = String::new();
                let text =
                    if self.is_ordinal { text.get(..text.len().saturating_sub(2)).unwrap_or_default() } else { text };
                for char in text.chars() {
                    let is_separator = match &self.separators {
                        Separators::Regular(_, separator) => char == *separator || char == ',',
                        Separators::Irregular(separators) => separators.iter().any(|(_, other)| *other == char),
                    };
                    let digit = (char as u32).checked_sub(self.zero).and_then(|digit| char::from_digit(digit, 10));
                    match digit {
                        _ if is_separator => {}
                        Some(digit) => digits.push(digit),
                        None if char == '-' && digits.is_empty() => digits.push('-'),
                        None => break,
                    }
                }
                digits.parse().ok()
            }
        })
    }

    /// What a number in this format looks like, as a regular expression.
    pub(crate) fn pattern(&self) -> Result<String, Error> {
        let pattern = match (self.kind, self.case) {
            (Kind::Sequence, _) => return Err(self.unsupported()),
            (Kind::Letters, Case::Upper) => "[A-Z]+".to_owned(),
            (Kind::Letters, _) => "[a-z]+".to_owned(),
            (Kind::Roman, Case::Upper) => "[MDCLXVI]+".to_owned(),
            (Kind::Roman, _) => "[mdclxvi]+".to_owned(),
            (Kind::Words, _) => {
                let decades = DECADES.iter().map(|decade| decade.trim_end_matches('y').to_lowercase() + "(?:y|ieth)");
                let large = MAGNITUDES.iter().chain(&["Hundred"]).map(|name| name.to_lowercase() + "(?:th)?");
                let few = FEW.iter().chain(&ORDINALS).map(|name| name.to_lowercase());
                let words: Vec<String> = few.chain(decades).chain(large).collect();
                format!("(?:{}|and|[-, ])+", words.join("|"))
            }
            (Kind::Decimal, _) => {
                let digits = match self.width {
                    Some(width) => format!("[0-9]{{{width}}}"),
                    None => "[0-9]+".to_owned(),
                };
                return Ok(digits + if self.is_ordinal { "(?:th|st|nd|rd)" } else { "" });
            }
        };
        Ok(pattern)
    }
}

fn letters(mut number: f64) -> String {
    let mut letters = Vec::new();
    while number > 0.0 && number.is_finite() {
        letters.push(char::from(b'a' + ((number - 1.0) % 26.0) as u8));
        number = ((number - 1.0) / 26.0).floor();
    }
    letters.into_iter().rev().collect()
}

fn roman(mut number: f64) -> String {
    let mut text = String::new();
    for (value, symbol) in ROMAN {
        while number >= value {
            text.push_str(symbol);
            number -= value;
        }
    }
    text
}

fn roman_value(text: &str) -> Option<f64> {
    let (mut sum, mut largest) = (0.0, 1.0);
    for char in text.to_lowercase().chars().rev() {
        let symbol = char.to_string();
        let value = ROMAN.iter().find(|(_, other)| *other == symbol)?.0;
        if value < largest {
            sum -= value;
        } else {
            largest = value;
            sum += value;
        }
    }
    Some(sum)
}

fn words(number: f64, follows: bool, is_ordinal: bool) -> String {
    if number < 20.0 {
        let word = if is_ordinal { ORDINALS } else { FEW }[number as usize];
        return if follows { format!(" and {word}") } else { word.to_owned() };
    }
    if number < 100.0 {
        let (tens, rest) = ((number / 10.0) as usize, number % 10.0);
        let mut text = format!("{}{}", if follows { " and " } else { "" }, DECADES[tens - 2]);
        if rest > 0.0 {
            text = text + "-" + &words(rest, false, is_ordinal);
        } else if is_ordinal {
            text.pop();
            text.push_str("ieth");
        }
        return text;
    }
    let (unit, name) = if number < 1000.0 {
        (100.0, "Hundred")
    } else {
        let magnitude = ((number.log10() / 3.0).floor() as usize).clamp(1, MAGNITUDES.len());
        // The logarithm may be off by one at a power of ten.
        let magnitude = if number < 10_f64.powi(3 * magnitude as i32) { magnitude - 1 } else { magnitude }.max(1);
        (10_f64.powi(3 * magnitude as i32), MAGNITUDES[magnitude - 1])
    };
    let (count, rest) = ((number / unit).floor(), number - (number / unit).floor() * unit);
    let mut text = format!("{}{} {name}", if follows { ", " } else { "" }, words(count, false, false));
    if rest > 0.0 {
        text.push_str(&words(rest, true, is_ordinal));
    } else if is_ordinal {
        text.push_str("th");
    }
    text
}

fn word_value(word: &str) -> Option<f64> {
    let place = |list: &[&str]| list.iter().position(|other| other.eq_ignore_ascii_case(word));
    if let Some(value) = place(&FEW).or_else(|| place(&ORDINALS)) {
        return Some(value as f64);
    }
    for (index, decade) in DECADES.iter().enumerate() {
        let decade = decade.to_lowercase();
        if word == decade || word.strip_suffix("ieth") == decade.strip_suffix('y') {
            return Some((index + 2) as f64 * 10.0);
        }
    }
    let word = word.strip_suffix("th").unwrap_or(word);
    if word == "hundred" {
        return Some(100.0);
    }
    let index = MAGNITUDES.iter().position(|other| other.eq_ignore_ascii_case(word))?;
    Some(1000_f64.powi(index as i32 + 1))
}

fn words_value(text: &str) -> Option<f64> {
    let mut segments = vec![0.0];
    for word in text.split([' ', ',', '-']).filter(|word| !word.is_empty() && *word != "and") {
        let value = word_value(word)?;
        let top = segments.pop().unwrap_or(0.0);
        if value >= 100.0 {
            segments.push(top * value);
        } else if top >= 1000.0 {
            segments.extend([top, value]);
        } else {
            segments.push(top + value);
        }
    }
    Some(segments.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(number: f64, picture: &str) -> String {
        Format::parse(picture).and_then(|format| format.format(number)).unwrap_or_else(|error| error.code().to_owned())
    }

    #[test]
    fn integers_are_written_and_read_in_every_way() {
        for (number, picture, text) in [
            (2019.0, "I", "MMXIX"),
            (27.0, "a", "aa"),
            (1234.0, "w", "one thousand, two hundred and thirty-four"),
            (120.0, "w;o", "one hundred and twentieth"),
            (1_234_567.0, "#,##0", "1,234,567"),
            (12.0, "0001", "0012"),
        ] {
            assert_eq!(formatted(number, picture), text);
            let read = Format::parse(picture).expect(picture).parse_text(text).expect(text);
            assert_eq!(read, Some(number), "{text}");
        }
        assert_eq!(formatted(113.0, "1;o"), "113th");
        assert_eq!(formatted(1e300, "I"), "U1001");
        assert_eq!(formatted(1.0, "#"), "D3130");
    }
}
