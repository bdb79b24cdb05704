//! Filter patterns: terms, phrases and JSON selectors.
//!
//! | pattern | matches an event that |
//! |---|---|
//! | (empty) | is one |
//! | `a "b c"` | contains all of these |
//! | `?a ?b` | contains one of these |
//! | `a -b` | contains `a` and not `b` |
//! | `{ $.level = "ERROR" && ($.n > 3 || $.x[0] NOT EXISTS) }` | is such JSON |
//!
//! `?` terms beside others do not count, as the documentation has it. Patterns of fields in brackets and regular expressions
//! (`%…%`) are refused by name.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>, read 2026-11.

use serde_json::Value;

/// A pattern, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pattern {
    Terms { all: Vec<String>, any: Vec<String>, none: Vec<String> },
    Json(Test),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    And(Vec<Test>),
    Or(Vec<Test>),
    Compare { path: Vec<Step>, how: How, value: Literal },
    IsNull(Vec<Step>),
    IsTrue(Vec<Step>),
    IsFalse(Vec<Step>),
    NotExists(Vec<Step>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Number(f64),
    /// With `*` for anything.
    Text(String),
}

/// Conditions in conditions, at most.
const DEPTH_MAX: usize = 16;
/// AWS's limit, characters.
const CHARS_MAX: usize = 1024;

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.chars().count() > CHARS_MAX {
            return Err(format!("filter pattern has more than {CHARS_MAX} characters"));
        }
        if text.starts_with('[') {
            return Err(format!("filter pattern {text:?}: patterns of fields in brackets are not served"));
        }
        if let Some(inside) = text.strip_prefix('{') {
            let inside = inside
                .strip_suffix('}')
                .ok_or_else(|| format!("filter pattern {text:?}: its closing brace is missing"))?;
            let mut parser = Parser { rest: inside, depth: 0 };
            let test = parser.either()?;
            return match parser.rest.trim() {
                "" => Ok(Self::Json(test)),
                rest => Err(format!("filter pattern: {rest:?} is more than a condition")),
            };
        }
        terms(text)
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Terms { all, any, none } => {
                let has = |term: &String| message.contains(term.as_str());
                let is_any = any.is_empty() || !all.is_empty() || !none.is_empty() || any.iter().any(has);
                is_any && all.iter().all(has) && !none.iter().any(has)
            }
            Self::Json(test) => serde_json::from_str(message).is_ok_and(|value: Value| test.holds(&value)),
        }
    }
}

fn terms(text: &str) -> Result<Pattern, String> {
    let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (list, after) = match rest.as_bytes()[0] {
            b'?' => (&mut any, &rest[1..]),
            b'-' => (&mut none, &rest[1..]),
            _ => (&mut all, rest),
        };
        let (term, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                quoted_end(quoted).ok_or_else(|| format!("filter pattern {text:?}: a quote is not closed"))?
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                let term = &after[..end];
                if term.starts_with('%') {
                    return Err(format!("filter pattern {term:?}: regular expressions are not served"));
                }
                // AWS wants quotes around whatever is not a word.
                if term.is_empty() || term.chars().any(|char| !char.is_alphanumeric() && char != '_') {
                    return Err(format!("Invalid character(s) in term '{term}'"));
                }
                (term.to_owned(), &after[end..])
            }
        };
        list.push(term);
        rest = after.trim_start();
    }
    Ok(Pattern::Terms { all, any, none })
}

/// A quoted text without its opening quote, and what follows its closing one.
fn quoted_end(text: &str) -> Option<(String, &str)> {
    let mut term = String::new();
    let mut chars = text.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '"' => return Some((term, &text[index + 1..])),
            '\\' => term.push(chars.next()?.1),
            _ => term.push(char),
        }
    }
    None
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start();
        let Some((head, after)) = rest.split_at_checked(word.len()) else { return false };
        let ends = !after.starts_with(|char: char| char.is_alphanumeric());
        let is_there = head.eq_ignore_ascii_case(word) && ends;
        if is_there {
            self.rest = after;
        }
        is_there
    }

    fn either(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.both()?];
        while self.take("||") {
            tests.push(self.both()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Or(tests) })
    }

    fn both(&mut self) -> Result<Test, String> {
        let mut tests = vec![self.one()?];
        while self.take("&&") {
            tests.push(self.one()?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::And(tests) })
    }

    fn one(&mut self) -> Result<Test, String> {
        if self.take("(") {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return Err(format!("filter pattern: more than {DEPTH_MAX} parentheses in each other"));
            }
            let test = self.either()?;
            self.depth -= 1;
            return if self.take(")") { Ok(test) } else { Err(self.expected("a closing parenthesis")) };
        }
        let path = self.path()?;
        if self.keyword("IS") {
            return match () {
                () if self.keyword("NULL") => Ok(Test::IsNull(path)),
                () if self.keyword("TRUE") => Ok(Test::IsTrue(path)),
                () if self.keyword("FALSE") => Ok(Test::IsFalse(path)),
                () => Err(self.expected("NULL, TRUE or FALSE")),
            };
        }
        if self.keyword("NOT") {
            return if self.keyword("EXISTS") { Ok(Test::NotExists(path)) } else { Err(self.expected("EXISTS")) };
        }
        let operators = [
            ("!=", How::NotEqual),
            ("<=", How::LessOrEqual),
            (">=", How::GreaterOrEqual),
            ("=", How::Equal),
            ("<", How::Less),
            (">", How::Greater),
        ];
        let found = operators.into_iter().find(|(token, _)| self.take(token));
        let Some((_, how)) = found else { return Err(self.expected("an operator")) };
        let value = self.literal()?;
        if matches!(value, Literal::Text(_)) && !matches!(how, How::Equal | How::NotEqual) {
            return Err("filter pattern: text can be compared by = and != only".to_owned());
        }
        Ok(Test::Compare { path, how, value })
    }

    fn path(&mut self) -> Result<Vec<Step>, String> {
        if !self.take("$") {
            return Err(self.expected("a selector, as in $.level"));
        }
        let mut path = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                let end =
                    rest.find(|char: char| !char.is_alphanumeric() && !"_-@".contains(char)).unwrap_or(rest.len());
                if end == 0 {
                    return Err(self.expected("a name"));
                }
                path.push(Step::Key(rest[..end].to_owned()));
                self.rest = &rest[end..];
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                let (inside, after) = rest.split_once(']').ok_or_else(|| self.expected("a closing bracket"))?;
                let quoted = inside.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
                path.push(match (quoted, inside.trim().parse()) {
                    (Some(key), _) => Step::Key(key.to_owned()),
                    (None, Ok(index)) => Step::Index(index),
                    _ => return Err(self.expected("an index")),
                });
                self.rest = after;
            } else if path.is_empty() {
                return Err(self.expected("a selector, as in $.level"));
            } else {
                return Ok(path);
            }
        }
    }

    fn literal(&mut self) -> Result<Literal, String> {
        let rest: &'a str = self.rest.trim_start();
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted_end(quoted).ok_or_else(|| self.expected("a closing quote"))?;
            self.rest = after;
            return Ok(Literal::Text(text));
        }
        let end = rest.find(|char: char| char.is_whitespace() || ")&|".contains(char)).unwrap_or(rest.len());
        let word = &rest[..end];
        if word.is_empty() || word.starts_with('%') {
            return Err(self.expected("a number or a text"));
        }
        self.rest = &rest[end..];
        Ok(word.parse().map_or_else(|_| Literal::Text(word.to_owned()), Literal::Number))
    }

    fn expected(&self, what: &str) -> String {
        let found: String = self.rest.trim_start().chars().take(20).collect();
        format!("filter pattern: expected {what}, found {found:?}")
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::And(tests) => tests.iter().all(|test| test.holds(value)),
            Self::Or(tests) => tests.iter().any(|test| test.holds(value)),
            Self::IsNull(path) => get(value, path) == Some(&Value::Null),
            Self::IsTrue(path) => get(value, path) == Some(&Value::Bool(true)),
            Self::IsFalse(path) => get(value, path) == Some(&Value::Bool(false)),
            Self::NotExists(path) => get(value, path).is_none(),
            Self::Compare { path, how, value: literal } => match (get(value, path), literal) {
                (Some(Value::Number(found)), Literal::Number(wanted)) => {
                    let found = found.as_f64().unwrap_or(f64::NAN);
                    match how {
                        How::Equal => found == *wanted,
                        How::NotEqual => found != *wanted,
                        How::Less => found < *wanted,
                        How::LessOrEqual => found <= *wanted,
                        How::Greater => found > *wanted,
                        How::GreaterOrEqual => found >= *wanted,
                    }
                }
                (Some(Value::String(found)), Literal::Text(wanted)) => is_like(found, wanted) == (*how == How::Equal),
                // A number that is written as text is compared as it is written.
                (Some(Value::String(found)), Literal::Number(wanted)) => {
                    let is_equal = found.parse::<f64>().is_ok_and(|found| found == *wanted);
                    matches!(how, How::Equal | How::NotEqual) && is_equal == (*how == How::Equal)
                }
                _ => false,
            },
        }
    }
}

fn get<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let parsed = Pattern::parse(pattern).unwrap();
        for message in matching {
            assert!(parsed.matches(message), "{pattern} {message}");
        }
        for message in others {
            assert!(!parsed.matches(message), "{pattern} {message}");
        }
    }

    #[test]
    fn terms_and_phrases() {
        check("", &["", "anything"], &[]);
        check("ERROR Exception", &["an ERROR: Exception"], &["ERROR", "error Exception"]);
        check("?ERROR ?WARN", &["ERROR", "a WARN"], &["INFO"]);
        check("ERROR -EXITING", &["ERROR"], &["ERROR EXITING", "INFO"]);
        check("-ERROR", &["INFO", ""], &["ERROR"]);
        check("\"exit status: 1\" a", &["a: exit status: 1"], &["exit a status: 1"]);
        check("?INFO ERROR", &["ERROR"], &["INFO"]);
        check(r#""a \"b\"""#, &["a \"b\""], &["a b"]);
    }

    #[test]
    fn json() {
        let event = r#"{"level":"ERROR","n":4,"deep":{"list":[1,{"x":"10.0.0.1"}]},"on":true,"off":false,"nil":null}"#;
        for pattern in [
            "{ $.level = \"ERROR\" }",
            "{$.level=ERR*}",
            "{ $.n > 3 && $.n <= 4 }",
            "{ $.n = 5 || ($.on IS TRUE && $.off IS FALSE) }",
            "{ $.nil IS NULL && $.none NOT EXISTS }",
            "{ $.deep.list[1].x = 10.*.1 }",
            "{ $.level != \"INFO\" && $[\"n\"] != 5 }",
        ] {
            check(pattern, &[event], &["no JSON", "{}"]);
        }
        check("{ $.n > 4 }", &[], &[event]);
        check("{ $.missing = \"*\" }", &[], &[event]);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for broken in [
            "\"a",
            "a.b",
            "{ $.a = 1",
            "{ }",
            "{ $.a }",
            "{ $.a > \"x\" }",
            "{ $.a = 1 ) }",
            "{ ($.a = 1 }",
            "[a, b]",
            "%a%",
            "{ $ = 1 }",
            "{ $.a IS MAYBE }",
            "-",
        ] {
            assert!(Pattern::parse(broken).is_err(), "{broken}");
        }
        assert!(Pattern::parse(&format!("{{ {}$.a = 1 }}", "(".repeat(40))).is_err());
    }
}
