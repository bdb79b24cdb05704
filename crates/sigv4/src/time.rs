//! Moments as signatures write them.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::Offset;

/// A moment, in whole seconds since 1970 UTC. Written as in `20150830T123600Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// Reads `20150830T123600Z`, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (date.len(), time.len()) != (8, 6) || !is_digits(date) || !is_digits(time) {
            return None;
        }
        let number = |text: &str| text.parse::<i8>().ok();
        let moment = DateTime::new(
            date[..4].parse().ok()?,
            number(&date[4..6])?,
            number(&date[6..])?,
            number(&time[..2])?,
            number(&time[2..4])?,
            number(&time[4..])?,
            0,
        );
        Some(Self(Offset::UTC.to_timestamp(moment.ok()?).ok()?.as_second()))
    }

    /// Reads the `Date` header of HTTP.
    pub fn parse_http(text: &str) -> Option<Self> {
        Some(Self(rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.as_second()))
    }

    /// The day, as in `20150830`: the first part of a scope.
    pub fn date(self) -> String {
        self.to_string()[..8].to_owned()
    }

    /// As in `2015-08-30T12:36:00Z`.
    pub fn iso(self) -> String {
        self.timestamp().to_string()
    }

    /// The same, that many seconds later.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Times beyond the calendar are its end; nobody signs there.
    fn timestamp(self) -> Timestamp {
        let last = if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_second(self.0).unwrap_or(last)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Offset::UTC.to_datetime(self.timestamp());
        let (date, time) = (at.date(), at.time());
        write!(f, "{:04}{:02}{:02}T", date.year().max(0), date.month(), date.day())?;
        write!(f, "{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_go_both_ways() {
        let at = Time::parse("20150830T123600Z").unwrap();
        assert_eq!(at, Time(1_440_938_160));
        assert_eq!(
            (at.to_string(), at.date(), at.iso()),
            ("20150830T123600Z".to_owned(), "20150830".to_owned(), "2015-08-30T12:36:00Z".to_owned())
        );
        assert_eq!(Time::parse_http("Sun, 30 Aug 2015 12:36:00 GMT"), Some(at));
        for broken in
            ["", "20150830T123600", "20150830 123600Z", "20151330T123600Z", "2015083éT123600Z", "+0150830T123600Z"]
        {
            assert_eq!(Time::parse(broken), None, "{broken}");
        }
        for far in [i64::MIN, i64::MAX, -1] {
            assert_eq!(Time(far).to_string().len(), 16);
        }
    }
}
