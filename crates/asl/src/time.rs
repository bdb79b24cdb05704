//! Points in time as the interpreter sees them: always given from outside, never read from a clock.

use std::fmt;

/// Milliseconds since the Unix epoch, UTC.
///
/// Prints as AWS prints times in a context object: `2026-01-31T12:00:00.123Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time plus `seconds`; saturates instead of overflowing.
    pub fn plus_seconds(self, seconds: u64) -> Timestamp {
        self.plus_ms(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// This time plus `ms` milliseconds; saturates instead of overflowing.
    pub fn plus_ms(self, ms: i64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Reads an ISO-8601 date and time with offset (`2016-03-14T01:59:00Z`, `…T01:59:00.123456+02:00`),
    /// the form AWS demands of `Timestamp` fields and of the timestamp operators of a Choice.
    ///
    /// Fractions finer than a millisecond are cut off. Returns `None` for anything else: a missing `T`,
    /// a missing offset, a 25th hour.
    pub fn parse(text: &str) -> Option<Timestamp> {
        Instant::parse(text).map(|instant| Timestamp(instant.seconds * 1000 + i64::from(instant.nanos / 1_000_000)))
    }

    /// As HTTP writes dates: `Fri, 27 Nov 2026 00:28:09 GMT`, whole seconds.
    pub fn http_date(self) -> String {
        const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (days, second) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000) / 1000);
        let (year, month, day) = civil_from_days(days);
        // The epoch was a Thursday. Both indices are in range by the arithmetic.
        let (weekday, month) = (WEEKDAYS[days.rem_euclid(7) as usize], MONTHS[(month - 1) as usize]);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms_of_day) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60);
        let (second, ms) = (ms_of_day / 1000 % 60, ms_of_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }
}

/// A parsed timestamp at full precision, which comparisons in a Choice need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant {
    seconds: i64,
    nanos: u32,
}

impl Instant {
    pub(crate) fn parse(text: &str) -> Option<Instant> {
        let mut rest = Digits(text.as_bytes());
        let year = rest.number(4)?;
        rest.literal(b"-")?;
        let month = rest.number(2)?;
        rest.literal(b"-")?;
        let day = rest.number(2)?;
        rest.literal(b"Tt")?;
        let hour = rest.number(2)?;
        rest.literal(b":")?;
        let minute = rest.number(2)?;
        // Seconds may be absent in ISO-8601 extended offset date-times, as AWS's parser accepts.
        let (mut second, mut nanos) = (0, 0);
        if rest.literal(b":").is_some() {
            second = rest.number(2)?;
            if rest.literal(b".").is_some() {
                nanos = rest.fraction_nanos()?;
            }
        }
        let offset_minutes = rest.offset_minutes()?;
        let in_range = (1..=12).contains(&month)
            && day >= 1
            && day <= days_in_month(year, month)
            && hour < 24
            && minute < 60
            && second < 60;
        if !in_range || !rest.0.is_empty() {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
        Some(Instant { seconds, nanos })
    }
}

struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn number(&mut self, digits: usize) -> Option<i64> {
        let (head, tail) = self.0.split_at_checked(digits)?;
        let mut value = 0;
        for byte in head {
            if !byte.is_ascii_digit() {
                return None;
            }
            value = value * 10 + i64::from(byte - b'0');
        }
        self.0 = tail;
        Some(value)
    }

    fn literal(&mut self, any_of: &[u8]) -> Option<u8> {
        let (first, tail) = self.0.split_first()?;
        if !any_of.contains(first) {
            return None;
        }
        self.0 = tail;
        Some(*first)
    }

    fn fraction_nanos(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&count) {
            return None;
        }
        let value = self.number(count)?;
        u32::try_from(value * 10_i64.pow(9 - count as u32)).ok()
    }

    fn offset_minutes(&mut self) -> Option<i64> {
        let sign = match self.literal(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.number(2)?;
        let minutes = match self.literal(b":") {
            Some(_) => self.number(2)?,
            None => 0,
        };
        (hours <= 18 && minutes < 60).then_some(sign * (hours * 60 + minutes))
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
///
/// # Source
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * 146_097 + doe - 719_468
}

/// The inverse of [`days_from_civil`], from the same source.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_as_aws_does() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_709_210_096_007).to_string(), "2024-02-29T12:34:56.007Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_offsets_and_fractions() {
        let noon = Timestamp::parse("2024-02-29T12:00:00Z");
        assert_eq!(noon, Some(Timestamp(1_709_208_000_000)));
        assert_eq!(Timestamp::parse("2024-02-29T14:00:00+02:00"), noon);
        assert_eq!(Timestamp::parse("2024-02-29T12:00Z"), noon);
        assert_eq!(Timestamp::parse("2024-02-29T12:00:00.000999999Z"), noon);
    }

    #[test]
    fn refuses_what_aws_refuses() {
        for text in [
            "",
            "2016-12-05 21:29:29Z",
            "2016-12-05T25:29:29Z",
            "2016-12-05T21:29:29",
            "05-12-2016T21:29:29Z",
            "2023-02-29T00:00:00Z",
            "2016-12-05T21:29:29Z ",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_prints(ms in -62_135_596_800_000_i64..253_402_300_800_000) {
            prop_assert_eq!(Timestamp::parse(&Timestamp(ms).to_string()), Some(Timestamp(ms)));
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = Timestamp::parse(&text);
        }
    }
}
