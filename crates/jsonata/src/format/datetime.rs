//! Dates and times: <https://www.w3.org/TR/xpath-functions-31/#formatting-dates-and-times>, and ISO 8601.

use super::integer::{Case, Format};
use crate::error::{Error, quoted};
use crate::regex::Regex;
use crate::value::Number;

const DAY_MS: i64 = 86_400_000;
/// The furthest a date can be from 1970, as in JavaScript.
const MS_MAX: f64 = 8.64e15;
const ISO8601: &str = "[Y0001]-[M01]-[D01]T[H01]:[m01]:[s01].[f001][Z01:01t]";
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A piece of a picture.
enum Part {
    Literal(String),
    Marker(Marker),
}

struct Marker {
    component: char,
    /// For numbers and time zones.
    integer: Option<Format>,
    /// For names.
    case: Option<Case>,
    width_max: Option<usize>,
    /// `t`: UTC is `Z`.
    is_traditional: bool,
    /// How many digits of the year are shown.
    year_digits: Option<usize>,
}

// Calendar.

/// Days since 1970-01-01 of a date. Months may be out of range.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    // Years start in March, so that the leap day comes last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

/// 0 for Monday.
fn weekday(days: i64) -> i64 {
    (days + 3).rem_euclid(7)
}

/// The value of a component at a time.
fn fragment(ms: i64, component: char) -> i64 {
    let (days, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = date_of(days);
    // A week belongs to where its Thursday is.
    let thursday = days - weekday(days) + 3;
    let (week_year, week_month, week_day) = date_of(thursday);
    match component {
        'Y' => year,
        'M' => month,
        'D' => day,
        'd' => days - days_of(year, 1, 1) + 1,
        'F' => weekday(days) + 1,
        'W' => (thursday - days_of(week_year, 1, 1)) / 7 + 1,
        'w' => (week_day - 1) / 7 + 1,
        'X' => week_year,
        'x' => week_month,
        'H' => in_day / 3_600_000,
        'h' => (in_day / 3_600_000 + 11) % 12 + 1,
        'P' => in_day / 43_200_000,
        'm' => in_day / 60_000 % 60,
        's' => in_day / 1000 % 60,
        'f' => in_day % 1000,
        _ => 0,
    }
}

// Pictures.

fn analyse(picture: &str) -> Result<Vec<Part>, Error> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = picture;
    while let Some(open) = rest.find('[') {
        if open > 0 {
            parts.push(Part::Literal(rest[..open].replace("]]", "]")));
        }
        rest = &rest[open + 1..];
        if let Some(after) = rest.strip_prefix('[') {
            parts.push(Part::Literal("[".to_owned()));
            rest = after;
            continue;
        }
        let Some(close) = rest.find(']') else { return Err(Error::new("D3135")) };
        let marker = marker(&rest[..close])?;
        rest = &rest[close + 1..];
        // Where numbers touch, the first has exactly the digits of its picture.
        if marker.integer.is_some()
            && let Some(Part::Marker(Marker { integer: Some(before), .. })) = parts.last_mut()
        {
            before.width = Some(before.mandatory);
        }
        parts.push(Part::Marker(marker));
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.replace("]]", "]")));
    }
    Ok(parts)
}

fn marker(text: &str) -> Result<Marker, Error> {
    let text: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let component = text.chars().next().unwrap_or_default();
    let default = match component {
        'Y' | 'M' | 'D' | 'd' | 'W' | 'w' | 'X' | 'x' | 'H' | 'h' | 'f' => "1",
        'F' | 'P' | 'C' | 'E' => "n",
        'm' | 's' => "01",
        'Z' | 'z' => "01:01",
        _ => return Err(Error::new("D3132").value(quoted(&component.to_string()))),
    };
    let body = &text[component.len_utf8()..];
    let (presentation, width) = match body.rsplit_once(',') {
        Some((presentation, width)) => (presentation, Some(width)),
        None => (body, None),
    };
    let bound = |text: &str| text.parse::<usize>().ok();
    let (width_min, width_max) = match width.map(|width| width.split_once('-').unwrap_or((width, "*"))) {
        Some((min, max)) => (bound(min), bound(max)),
        None => (None, None),
    };
    let mut first = presentation;
    let mut second = None;
    if presentation.chars().count() > 1
        && let Some(last) = presentation.chars().last().filter(|last| "atcov".contains(*last))
    {
        first = &presentation[..presentation.len() - last.len_utf8()];
        second = Some(last);
    }
    if first.is_empty() {
        first = default;
    }
    let mut marker = Marker {
        component,
        integer: None,
        case: None,
        width_max,
        is_traditional: second == Some('t'),
        year_digits: None,
    };
    if first.starts_with('n') {
        marker.case = Some(Case::Lower);
    } else if let Some(rest) = first.strip_prefix('N') {
        marker.case = Some(if rest.starts_with('n') { Case::Title } else { Case::Upper });
    } else if "YMDdFWwXxHhmsf".contains(component) {
        let picture = second.map_or_else(|| first.to_owned(), |second| format!("{first};{second}"));
        let mut format = Format::parse(&picture)?;
        if let Some(min) = width_min {
            format.mandatory = format.mandatory.max(min.min(1000));
        }
        if component == 'Y' {
            if let Some(max) = width_max {
                marker.year_digits = Some(max);
                format.mandatory = max.min(1000);
            } else if format.mandatory + format.optional >= 2 {
                marker.year_digits = Some(format.mandatory + format.optional);
            }
        }
        marker.integer = Some(format);
    }
    if matches!(component, 'Z' | 'z') {
        marker.integer = Some(Format::parse(first)?);
    }
    Ok(marker)
}

// Writing.

/// Writes a time, in ISO 8601 without a picture; `zone` is like `+0100`.
pub(crate) fn format(millis: f64, picture: Option<&str>, zone: Option<&str>) -> Result<String, Error> {
    // Beyond this there are no dates.
    if millis.is_nan() || millis.abs() > MS_MAX {
        return Err(Error::new("D3110").value(Number::from(millis).to_string()));
    }
    let offset = zone.and_then(leading_integer).unwrap_or(0).clamp(-9999, 9999);
    let (hours, minutes) = (offset.div_euclid(100), offset.rem_euclid(100));
    let ms = millis.trunc() as i64 + (hours * 60 + minutes) * 60_000;
    let mut text = String::new();
    for part in analyse(picture.unwrap_or(ISO8601))? {
        match part {
            Part::Literal(literal) => text.push_str(&literal),
            Part::Marker(marker) => text.push_str(&marker.format(ms, hours, minutes)?),
        }
    }
    Ok(text)
}

/// The integer a text starts with, as JavaScript's `parseInt` reads it.
fn leading_integer(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = digits[..count].parse().ok()?;
    Some(if text.starts_with('-') { -number } else { number })
}

impl Marker {
    fn format(&self, ms: i64, hours: i64, minutes: i64) -> Result<String, Error> {
        match self.component {
            'Z' | 'z' => self.format_zone(hours, minutes),
            'C' | 'E' => Ok("ISO".to_owned()),
            'P' => {
                let name = if fragment(ms, 'P') == 0 { "am" } else { "pm" };
                Ok(if self.case == Some(Case::Upper) { name.to_uppercase() } else { name.to_owned() })
            }
            component => {
                let value = fragment(ms, component);
                match (&self.integer, self.case) {
                    (_, Some(case)) => self.format_name(value, case),
                    (Some(integer), _) => {
                        let digits = self.year_digits.filter(|digits| *digits < 18);
                        let value = digits.map_or(value, |digits| value % 10_i64.pow(digits as u32));
                        integer.format(value as f64)
                    }
                    _ => Ok(value.to_string()),
                }
            }
        }
    }

    fn format_name(&self, value: i64, case: Case) -> Result<String, Error> {
        let names = self.names()?;
        let name = names[(value - 1).rem_euclid(names.len() as i64) as usize];
        let name = match case {
            Case::Upper => name.to_uppercase(),
            Case::Lower => name.to_lowercase(),
            Case::Title => name.to_owned(),
        };
        Ok(name.chars().take(self.width_max.unwrap_or(usize::MAX)).collect())
    }

    fn names(&self) -> Result<&'static [&'static str], Error> {
        match self.component {
            'M' | 'x' => Ok(&MONTHS),
            'F' => Ok(&DAYS),
            other => Err(Error::new("D3133").value(quoted(&other.to_string()))),
        }
    }

    fn format_zone(&self, hours: i64, minutes: i64) -> Result<String, Error> {
        let offset = hours * 100 + minutes;
        if offset == 0 && self.is_traditional {
            return Ok("Z".to_owned());
        }
        let plain = Format::parse("01:01")?;
        let integer = self.integer.as_ref().unwrap_or(&plain);
        let text = if integer.is_regular() {
            integer.format(offset as f64)?
        } else {
            match integer.mandatory {
                1 | 2 => {
                    let mut text = integer.format(hours as f64)?;
                    if minutes != 0 {
                        text = format!("{text}:{minutes:02}");
                    }
                    text
                }
                3 | 4 => integer.format(offset as f64)?,
                _ => return Err(Error::new("D3134")),
            }
        };
        let sign = if offset >= 0 { "+" } else { "" };
        let name = if self.component == 'z' { "GMT" } else { "" };
        Ok(format!("{name}{sign}{text}"))
    }

    // Reading.

    fn pattern(&self) -> Result<String, Error> {
        match (self.component, &self.integer) {
            ('Z' | 'z', integer) => {
                let separator = integer.as_ref().and_then(Format::separator);
                let name = if self.component == 'z' { "GMT" } else { "" };
                let rest = separator.map(|char| format!("{}[0-9]+", escaped(&char.to_string()))).unwrap_or_default();
                Ok(format!("{name}[-+][0-9]+{rest}"))
            }
            (_, Some(integer)) => integer.pattern(),
            ('P', _) => Ok("[a-zA-Z]+".to_owned()),
            _ => self.names().map(|_| "[a-zA-Z]+".to_owned()),
        }
    }

    fn parse(&self, text: &str) -> Result<Option<f64>, Error> {
        match (self.component, &self.integer) {
            ('Z' | 'z', integer) => {
                let text = text.trim_start_matches(|char: char| char.is_ascii_alphabetic());
                let separator = integer.as_ref().and_then(Format::separator);
                let (hours, minutes) = match separator.and_then(|separator| text.split_once(separator)) {
                    Some((hours, minutes)) => (hours, minutes),
                    None if text.len() <= 3 => (text, "0"),
                    None => text.split_at(3),
                };
                let (hours, minutes) = (leading_integer(hours).unwrap_or(0), leading_integer(minutes).unwrap_or(0));
                Ok(Some((hours as f64) * 60.0 + minutes as f64))
            }
            (_, Some(integer)) => integer.parse_text(text),
            ('P', _) => Ok(Some(f64::from(u8::from(text.eq_ignore_ascii_case("pm"))))),
            _ => {
                let width = self.width_max.unwrap_or(usize::MAX);
                let shown = |name: &str| name.chars().take(width).collect::<String>();
                let index = self.names()?.iter().position(|name| shown(name).eq_ignore_ascii_case(text));
                Ok(index.map(|index| (index + 1) as f64))
            }
        }
    }
}

fn escaped(literal: &str) -> String {
    let mut escaped = String::new();
    for char in literal.chars() {
        if "\\.+*?()|[]{}^$/-#&~".contains(char) {
            escaped.push('\\');
        }
        escaped.push(char);
    }
    escaped
}

/// Reads a time by a picture; what the picture lacks in front comes from now, what it lacks behind is the least.
/// None if the text does not fit.
pub(crate) fn parse(text: &str, picture: &str, now_ms: i64) -> Result<Option<f64>, Error> {
    let parts = analyse(picture)?;
    let mut pattern = String::from("^");
    let mut markers = Vec::new();
    for part in &parts {
        match part {
            Part::Literal(literal) => pattern.push_str(&escaped(literal)),
            Part::Marker(marker) => {
                pattern.push_str(&format!("({})", marker.pattern()?));
                markers.push(marker);
            }
        }
    }
    pattern.push('$');
    let Some(regex) = Regex::compile(&pattern, "i") else { return Ok(None) };
    let Some(found) = regex.find(text, 0)? else { return Ok(None) };
    let mut values: Vec<(char, f64)> = Vec::new();
    for (marker, group) in markers.iter().zip(&found.groups) {
        if let Some(value) = marker.parse(group.as_deref().unwrap_or_default())? {
            values.push((marker.component, value));
        }
    }
    if values.is_empty() {
        return Ok(None);
    }
    millis(values, now_ms).map(Some)
}

fn millis(mut values: Vec<(char, f64)>, now_ms: i64) -> Result<f64, Error> {
    let has = |values: &[(char, f64)], component: char| values.iter().any(|(other, _)| *other == component);
    // Which of the components given belong to one way of naming a date or a time, and to no other.
    let only = |all: &str, allowed: &str| {
        let given: Vec<char> = all.chars().filter(|component| has(&values, *component)).collect();
        !given.is_empty() && given.iter().all(|component| allowed.contains(*component))
    };
    let dates = "YXMxWwdD";
    let by_day_of_year = !only(dates, "YMD") && only(dates, "Yd");
    let by_week = only(dates, "Xxw") || only(dates, "XW");
    let by_half_day = !only("PHhmsf", "Hmsf") && only("PHhmsf", "Phmsf");
    if by_week {
        return Err(Error::new("D3136"));
    }
    let order = format!("{}{}", if by_day_of_year { "Yd" } else { "YMD" }, if by_half_day { "Phmsf" } else { "Hmsf" });
    let (mut started, mut ended) = (false, false);
    for component in order.chars() {
        if has(&values, component) {
            started = true;
            if ended {
                return Err(Error::new("D3136"));
            }
        } else if started {
            values.push((component, if "MDd".contains(component) { 1.0 } else { 0.0 }));
            ended = true;
        } else {
            values.push((component, fragment(now_ms, component) as f64));
        }
    }
    let value = |component: char| {
        let found = values.iter().rev().find(|(other, _)| *other == component);
        // Beyond these no date is left anyway.
        found.map_or(0, |(_, value)| value.clamp(-1e9, 1e9) as i64)
    };
    let days = match by_day_of_year {
        true => days_of(value('Y'), 1, 1) + value('d') - 1,
        false => days_of(value('Y'), value('M').max(1), value('D')),
    };
    let hour = match by_half_day {
        true => value('h') % 12 + 12 * value('P'),
        false => value('H'),
    };
    let zone = if has(&values, 'Z') { value('Z') } else { value('z') };
    let seconds = days as f64 * 86_400.0 + (hour * 3600 + value('m') * 60 + value('s') - zone * 60) as f64;
    Ok(seconds * 1000.0 + value('f') as f64)
}

/// Reads ISO 8601 as far as the language knows it: from a year to a time with milliseconds and an offset.
pub(crate) fn parse_iso8601(text: &str) -> Option<f64> {
    let number = |from: usize, count: usize| {
        let digits = text.get(from..from + count)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let year = number(0, 4)?;
    let (mut month, mut day, mut at) = (1, 1, 4);
    let next = |at: usize| text.as_bytes().get(at).copied();
    if next(at) == Some(b'-') {
        month = number(at + 1, 2)?;
        at += 3;
        if next(at) == Some(b'-') {
            day = number(at + 1, 2)?;
            at += 3;
        }
    }
    let mut ms = 0.0;
    if next(at) == Some(b'T') {
        let (hour, minute) = (number(at + 1, 2)?, number(at + 4, 2)?);
        if next(at + 3) != Some(b':') || hour > 24 || minute > 59 {
            return None;
        }
        at += 6;
        ms = (hour * 3_600_000 + minute * 60_000) as f64;
        if next(at) == Some(b':') {
            let second = number(at + 1, 2)?;
            if second > 59 {
                return None;
            }
            ms += second as f64 * 1000.0;
            at += 3;
            if next(at) == Some(b'.') {
                let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
                let shown = text.get(at + 1..at + 1 + digits).filter(|_| digits > 0)?;
                // Digits beyond the third are cut off.
                ms += format!("{shown:0<3}")[..3].parse::<f64>().ok()?;
                at += 1 + digits;
            }
        }
        match next(at) {
            Some(b'Z') => at += 1,
            Some(sign @ (b'+' | b'-')) => {
                let colon = usize::from(next(at + 3) == Some(b':'));
                let offset = (number(at + 1, 2)? * 60 + number(at + 3 + colon, 2)?) as f64 * 60_000.0;
                ms -= if sign == b'+' { offset } else { -offset };
                at += 5 + colon;
            }
            _ => {}
        }
    }
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if at != text.len() || !is_date {
        return None;
    }
    Some(days_of(year, month, day) as f64 * DAY_MS as f64 + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_goes_both_ways() {
        for days in [-719_528, -1, 0, 59, 11_016, 19_000, 2_932_896] {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(weekday(0), 3);
    }

    #[test]
    fn iso8601_is_read_and_written() {
        assert_eq!(parse_iso8601("2017-10-30T16:25:32.935Z"), Some(1_509_380_732_935.0));
        assert_eq!(parse_iso8601("2018"), Some(1_514_764_800_000.0));
        assert_eq!(parse_iso8601("2018-02-01T09:42:13+0100"), Some(1_517_474_533_000.0));
        assert_eq!(parse_iso8601("2018-13"), None);
        assert_eq!(format(1_509_380_732_935.0, None, None), Ok("2017-10-30T16:25:32.935Z".to_owned()));
        assert!(format(f64::NAN, None, None).is_err());
    }

    #[test]
    fn pictures_are_read_and_written() {
        let picture = "[FNn], [D1o] [MNn] [Y] [h]:[m01][P]";
        let text = "Monday, 30th October 2017 4:25pm";
        assert_eq!(format(1_509_380_732_935.0, Some(picture), None), Ok(text.to_owned()));
        assert_eq!(parse("30/10/2017", "[D]/[M]/[Y]", 0), Ok(Some(1_509_321_600_000.0)));
        assert_eq!(parse("nonsense", "[D]/[M]/[Y]", 0), Ok(None));
    }
}
