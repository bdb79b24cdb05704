//! Times as HTTP and the SDKs write them.

use jiff::fmt::rfc2822::DateTimeParser;
use starmap_asl::Timestamp;

/// Reads a date of HTTP, in its older forms, too.
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    Some(Timestamp(DateTimeParser::new().parse_timestamp(text).ok()?.as_millisecond()))
}

/// As in `2026-11-27T00:28:09Z`, whole seconds.
pub(crate) fn iso_seconds(at: Timestamp) -> String {
    let text = Timestamp(at.0.div_euclid(1000) * 1000).to_string();
    text.replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        let at = Timestamp(1_795_739_289_123);
        assert_eq!(at.http_date(), "Fri, 27 Nov 2026 00:28:09 GMT");
        assert_eq!(parse_http_date(&at.http_date()), Some(Timestamp(1_795_739_289_000)));
        assert_eq!(iso_seconds(at), "2026-11-27T00:28:09Z");
        assert_eq!(parse_http_date("yesterday"), None);
    }
}
