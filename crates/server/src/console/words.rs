//! How figures, times and command lines are written for people.

use starmap_asl::Timestamp;
use starmap_engine::journal::Status;

use super::html::{Html, html};

/// A duration in the unit that suits it: `340 ms`, `12.4 s`, `3 min 05 s`, `2 h 14 min`.
pub(super) fn duration(ms: i64) -> String {
    let ms = ms.max(0);
    let s = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {:02} s", s / 60, s % 60),
        3_600_000..172_800_000 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86_400, s / 3600 % 24),
    }
}

/// Seconds, as [`duration`].
pub(super) fn seconds(s: f64) -> String {
    duration((s * 1e3).round() as i64)
}

/// A whole number with thin spaces between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `count` and a noun in the right form.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A time as a `<time>` that the script shows in local time where people want that; without it, UTC.
pub(super) fn time(at: Timestamp) -> Html {
    let text = at.to_string();
    let shown = text.get(..19).unwrap_or(&text).replace('T', " ");
    html!("<time datetime=\"{}\" title=\"{}\">{}</time>", text, text, shown)
}

/// As [`time`], with milliseconds.
pub(super) fn precise_time(at: Timestamp) -> Html {
    let text = at.to_string();
    let shown = text.trim_end_matches('Z').replace('T', " ");
    html!("<time datetime=\"{}\" data-precise title=\"{}\">{}</time>", text, text, shown)
}

/// How far something has come, as the five of the legend: mark, word and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Mark {
    NotStarted,
    Succeeded,
    Caught,
    Cancelled,
    InProgress,
    Failed,
}

impl Mark {
    pub(super) fn of(status: Status) -> Self {
        match status {
            Status::Running => Self::InProgress,
            Status::Succeeded => Self::Succeeded,
            Status::Failed | Status::TimedOut => Self::Failed,
            Status::Aborted => Self::Cancelled,
        }
    }

    /// For class names and identifiers.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::NotStarted => "none",
            Self::Succeeded => "ok",
            Self::Caught => "caught",
            Self::Cancelled => "cancelled",
            Self::InProgress => "running",
            Self::Failed => "failed",
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NotStarted => "Not started",
            Self::Succeeded => "Succeeded",
            Self::Caught => "Caught error",
            Self::Cancelled => "Cancelled",
            Self::InProgress => "In progress",
            Self::Failed => "Failed",
        }
    }

    /// The mark alone, for eyes; the word stands beside it.
    pub(super) fn icon(self) -> Html {
        html!("<svg class=\"mark mark-{}\" aria-hidden=\"true\"><use href=\"#m-{}\"/></svg>", self.key(), self.key())
    }
}

/// The status of an execution as people read it.
pub(super) fn status_word(status: Status) -> &'static str {
    match status {
        Status::Running => "Running",
        Status::Succeeded => "Succeeded",
        Status::Failed => "Failed",
        Status::TimedOut => "Timed out",
        Status::Aborted => "Aborted",
    }
}

/// A status with its mark.
pub(super) fn badge(status: Status) -> Html {
    labelled(Mark::of(status), status_word(status))
}

/// A mark and a word.
pub(super) fn labelled(mark: Mark, word: &str) -> Html {
    html!("<span class=\"badge badge-{}\">{}{}</span>", mark.key(), mark.icon(), word)
}

/// A text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        let all = [340, 12_400, 185_000, 8_040_000, 200_000_000].map(duration);
        assert_eq!(all, ["340 ms", "12.4 s", "3 min 05 s", "2 h 14 min", "2 d 07 h"]);
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(100), "100");
        assert_eq!(counted(1, "item", "items"), "1 item");
    }

    #[test]
    fn a_word_of_a_shell_is_one_whatever_is_in_it() {
        assert_eq!(quoted("arn:aws:states:::x"), "arn:aws:states:::x");
        assert_eq!(quoted("it's $(rm) `x`"), "'it'\\''s $(rm) `x`'");
        assert_eq!(quoted(""), "''");
    }
}
