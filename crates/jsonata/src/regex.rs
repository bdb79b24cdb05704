//! Regular expressions with the meaning they have in JavaScript and Java, on an engine with other defaults.

use std::sync::Arc;

use crate::error::Error;
use crate::limits::{REGEX_BACKTRACKS_MAX, REGEX_BYTES_MAX};

/// A regular expression of the source text, compiled once.
#[derive(Clone, Debug)]
pub(crate) struct Regex(Arc<fancy_regex::Regex>);

/// One match in a text.
pub(crate) struct Match {
    /// In bytes.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// None for a group that took no part.
    pub(crate) groups: Vec<Option<String>>,
}

impl Regex {
    pub(crate) fn compile(pattern: &str, flags: &str) -> Option<Regex> {
        fancy_regex::RegexBuilder::new(&translate(pattern))
            .case_insensitive(flags.contains('i'))
            .multi_line(flags.contains('m'))
            .backtrack_limit(REGEX_BACKTRACKS_MAX)
            .delegate_size_limit(REGEX_BYTES_MAX)
            .delegate_dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .ok()
            .map(|regex| Regex(Arc::new(regex)))
    }

    /// The first match at or behind `from` (bytes).
    ///
    /// # Errors
    /// If the pattern needs back-tracking and too much of it.
    pub(crate) fn find(&self, text: &str, from: usize) -> Result<Option<Match>, Error> {
        let captures = self.0.captures_from_pos(text, from).map_err(|_| Error::too_many_steps())?;
        Ok(captures.and_then(|captures| {
            let whole = captures.get(0)?;
            let groups = captures.iter().skip(1).map(|group| group.map(|group| group.as_str().to_owned())).collect();
            Some(Match { start: whole.start(), end: whole.end(), groups })
        }))
    }
}

/// Writes the pattern anew where the two engines would read it differently: classes are ASCII, `.` stops at every line
/// end, and brackets, `&&`, `--` and `~~` inside a class are ordinary characters.
fn translate(pattern: &str) -> String {
    let mut out = String::new();
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    let mut previous = ' ';
    while let Some(char) = chars.next() {
        match char {
            '\\' => {
                let Some(escaped) = chars.next() else {
                    out.push('\\');
                    break;
                };
                match escaped {
                    'd' if in_class => out.push_str("0-9"),
                    'd' => out.push_str("[0-9]"),
                    'D' => out.push_str("[^0-9]"),
                    'w' if in_class => out.push_str("A-Za-z0-9_"),
                    'w' => out.push_str("[A-Za-z0-9_]"),
                    'W' => out.push_str("[^A-Za-z0-9_]"),
                    'b' if in_class => out.push_str("\\x08"),
                    '/' | '"' | '\'' | '`' | ':' | ';' | ',' | '=' | '<' | '>' | '@' | '!' | '%' | '_' => {
                        out.push(escaped)
                    }
                    _ => {
                        out.push('\\');
                        out.push(escaped);
                    }
                }
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '-' | '~' if in_class && previous == char => {
                out.push('\\');
                out.push(char);
            }
            '.' if !in_class => out.push_str("[^\\n\\r\\x{2028}\\x{2029}]"),
            // A brace that opens no repetition stands for itself.
            '{' if !in_class && !chars.peek().is_some_and(char::is_ascii_digit) => out.push_str("\\{"),
            _ => out.push(char),
        }
        previous = if char == '\\' { ' ' } else { char };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: &str, text: &str) -> Option<String> {
        let found = Regex::compile(pattern, "").expect(pattern).find(text, 0).expect("within bounds")?;
        Some(text[found.start..found.end].to_owned())
    }

    #[test]
    fn patterns_mean_what_they_mean_in_javascript() {
        assert_eq!(first(r"\d+", "٣3"), Some("3".to_owned()));
        assert_eq!(first(r"[[&&a]+", "&a["), Some("&a[".to_owned()));
        assert_eq!(first(r".+", "ab\rc"), Some("ab".to_owned()));
        assert_eq!(first(r"a{x}", "a{x}"), Some("a{x}".to_owned()));
        assert_eq!(first(r"\/x", "/x"), Some("/x".to_owned()));
        assert_eq!(first(r"(?<=a)b(?!c)", "bcabc abd"), Some("b".to_owned()));
        assert_eq!(first(r"(a|b)\1", "abb"), Some("bb".to_owned()));
    }

    #[test]
    fn a_hostile_pattern_is_given_up() {
        let regex = Regex::compile(r"(?=(a+)+$)(a+)+\1$", "").expect("it compiles");
        assert!(regex.find(&format!("{}b", "a".repeat(5_000)), 0).is_err());
        assert!(Regex::compile("(((((a{1000}){1000}){1000})))", "").is_none());
    }
}
