//! What is wrong with a text that is no JSON, in the words of the parser that AWS uses (Jackson).
//!
//! `serde_json` decides whether a text is JSON. This is for telling people, who search for AWS's message.

use std::fmt;

/// The first thing that is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Without the place.
    pub message: String,
    /// From 1.
    pub line: usize,
    /// From 1; one behind the character that is wrong.
    pub column: usize,
    /// The text as messages quote it: its beginning.
    pub source: String,
}

impl Problem {
    /// The place as AWS writes it: `[Source: (String)"not a definition"; line: 1, column: 4]`.
    pub fn location(&self) -> String {
        location(&self.source, self.line, self.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n at {}", self.message, self.location())
    }
}

/// What is wrong with `text`; `None` if nothing is, as far as this looks.
pub fn problem(text: &str) -> Option<Problem> {
    let mut reader = Reader::new(text);
    let message = reader.read().err()?;
    let (line, column) = reader.place(reader.at);
    Some(Problem { message, line, column, source: reader.source })
}

const VALUES: &str = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')";

/// A quoted text is cut off behind so many characters.
const SOURCE_LENGTH_MAX: usize = 500;

fn location(source: &str, line: usize, column: usize) -> String {
    format!("[Source: (String){source}; line: {line}, column: {column}]")
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(SOURCE_LENGTH_MAX) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}\"[truncated {} chars]", &text[..end], text[end..].chars().count()),
    }
}

struct Reader {
    characters: Vec<char>,
    at: usize,
    source: String,
    /// Opening brackets and where they are.
    open: Vec<(char, usize)>,
}

impl Reader {
    fn new(text: &str) -> Reader {
        Reader { characters: text.chars().collect(), at: 0, source: quoted(text), open: Vec::new() }
    }

    /// Line and column of what is read next.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.characters[..at.min(self.characters.len())];
        let line_start = before.iter().rposition(|c| *c == '\n').map_or(0, |newline| newline + 1);
        (before.iter().filter(|c| **c == '\n').count() + 1, before.len() - line_start + 1)
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    /// Without recursion: a text may be nested as deeply as it likes.
    fn read(&mut self) -> Result<(), String> {
        self.space()?;
        if self.peek().is_none() {
            return Err("No content to map due to end-of-input".to_owned());
        }
        'value: loop {
            self.space()?;
            match self.next() {
                None => return Err(self.unexpected_end()),
                Some(bracket @ ('{' | '[')) => {
                    self.open.push((bracket, self.at - 1));
                    self.space()?;
                    let close = if bracket == '{' { '}' } else { ']' };
                    if self.peek() == Some(close) {
                        self.at += 1;
                        self.open.pop();
                    } else {
                        if bracket == '{' {
                            self.field_name()?;
                        }
                        continue 'value;
                    }
                }
                Some('"') => self.string("was expecting closing quote for a string value")?,
                Some('-') => self.negative()?,
                Some(digit) if digit.is_ascii_digit() => self.number(digit)?,
                Some(letter) if letter.is_alphabetic() || letter == '_' || letter == '$' => self.token()?,
                Some(other) => return Err(unexpected(other, &format!("expected a valid value {VALUES}"))),
            }
            // Behind a value: everything that it ends, and then what comes next.
            loop {
                self.space()?;
                let Some((bracket, start)) = self.open.last().copied() else {
                    return match self.next() {
                        None => Ok(()),
                        Some(other) => Err(unexpected(other, "Expected space separating root-level values")),
                    };
                };
                let (kind, close) = if bracket == '{' { ("Object", '}') } else { ("Array", ']') };
                match self.next() {
                    None => return Err(self.unexpected_end()),
                    Some(',') => {
                        if bracket == '{' {
                            self.space()?;
                            self.field_name()?;
                        }
                        continue 'value;
                    }
                    Some(end) if end == close => drop(self.open.pop()),
                    Some(wrong @ ('}' | ']')) => {
                        let (line, column) = self.place(start);
                        let started = location(&self.source, line, column);
                        return Err(format!(
                            "Unexpected close marker '{wrong}': expected '{close}' (for {kind} starting at {started})"
                        ));
                    }
                    Some(other) => {
                        return Err(unexpected(other, &format!("was expecting comma to separate {kind} entries")));
                    }
                }
            }
        }
    }

    fn space(&mut self) -> Result<(), String> {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\n' | '\r' | '\t' => self.at += 1,
                c if c < ' ' => {
                    self.at += 1;
                    return Err(format!(
                        "Illegal character ((CTRL-CHAR, code {})): only regular white space (\\r, \\n, \\t) is allowed between tokens",
                        u32::from(c)
                    ));
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn field_name(&mut self) -> Result<(), String> {
        match self.next() {
            None => return Err(self.unexpected_end()),
            Some('"') => self.string("in field name")?,
            Some(other) => return Err(unexpected(other, "was expecting double-quote to start field name")),
        }
        self.space()?;
        match self.next() {
            None => Err(self.unexpected_end()),
            Some(':') => Ok(()),
            Some(other) => Err(unexpected(other, "was expecting a colon to separate field name and value")),
        }
    }

    fn string(&mut self, unfinished: &str) -> Result<(), String> {
        loop {
            match self.next() {
                None if unfinished.starts_with("in ") => return Err(format!("Unexpected end-of-input {unfinished}")),
                None => return Err(format!("Unexpected end-of-input: {unfinished}")),
                Some('"') => return Ok(()),
                Some('\\') => self.escape()?,
                Some(c) if c < ' ' => {
                    return Err(format!(
                        "Illegal unquoted character ((CTRL-CHAR, code {})): has to be escaped using backslash to be included in string value",
                        u32::from(c)
                    ));
                }
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.next() {
            None => Err("Unexpected end-of-input in character escape sequence".to_owned()),
            Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Ok(()),
            Some('u') => {
                for _ in 0..4 {
                    match self.next() {
                        None => return Err("Unexpected end-of-input in character escape sequence".to_owned()),
                        Some(digit) if digit.is_ascii_hexdigit() => {}
                        Some(other) => {
                            return Err(unexpected(other, "expected a hex-digit for character escape sequence"));
                        }
                    }
                }
                Ok(())
            }
            Some(other) => Err(format!("Unrecognized character escape {}", told(other))),
        }
    }

    fn negative(&mut self) -> Result<(), String> {
        match self.next() {
            Some(digit) if digit.is_ascii_digit() => self.number(digit),
            Some(other) => Err(in_number(other, "expected digit (0-9) to follow minus sign, for valid numeric value")),
            None => Err("Unexpected end-of-input in VALUE_NUMBER_INT".to_owned()),
        }
    }

    fn number(&mut self, first: char) -> Result<(), String> {
        if first == '0' && self.peek().is_some_and(|next| next.is_ascii_digit()) {
            return Err("Invalid numeric value: Leading zeroes not allowed".to_owned());
        }
        self.digits();
        if self.peek() == Some('.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.no_digit("Decimal point not followed by a digit"));
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.no_digit("Exponent indicator not followed by a digit"));
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn no_digit(&mut self, problem: &str) -> String {
        match self.next() {
            Some(other) => in_number(other, problem),
            None => "Unexpected end-of-input in VALUE_NUMBER_FLOAT".to_owned(),
        }
    }

    /// `true`, `false`, `null`, or something else that looks like a word.
    fn token(&mut self) -> Result<(), String> {
        let start = self.at - 1;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            self.at += 1;
        }
        let token: String = self.characters[start..self.at].iter().collect();
        match token.as_str() {
            "true" | "false" | "null" => Ok(()),
            _ => Err(format!("Unrecognized token '{token}': was expecting {VALUES}")),
        }
    }

    fn unexpected_end(&self) -> String {
        let Some((bracket, start)) = self.open.last() else { return "Unexpected end-of-input".to_owned() };
        let kind = if *bracket == '{' { "Object" } else { "Array" };
        let (line, column) = self.place(*start);
        let started = location(&self.source, line, column);
        format!("Unexpected end-of-input: expected close marker for {kind} (start marker at {started})")
    }
}

fn told(c: char) -> String {
    match u32::from(c) {
        code if code < 32 => format!("(CTRL-CHAR, code {code})"),
        code => format!("'{c}' (code {code})"),
    }
}

fn unexpected(c: char, expected: &str) -> String {
    format!("Unexpected character ({}): {expected}", told(c))
}

fn in_number(c: char, problem: &str) -> String {
    format!("Unexpected character ({}) in numeric value: {problem}", told(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, message: &str, line: usize, column: usize) {
        let problem = problem(text).unwrap();
        assert_eq!((problem.message.as_str(), problem.line, problem.column), (message, line, column));
    }

    #[test]
    fn problems_are_told_in_jacksons_words() {
        check(
            "not a definition",
            "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            1,
            4,
        );
        check("{'a': 1}", "Unexpected character (''' (code 39)): was expecting double-quote to start field name", 1, 3);
        check(
            "{\"a\" 1}",
            "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value",
            1,
            7,
        );
        check(
            "{\"a\":\n 1 2}",
            "Unexpected character ('2' (code 50)): was expecting comma to separate Object entries",
            2,
            5,
        );
        check("[1,]", &format!("Unexpected character (']' (code 93)): expected a valid value {VALUES}"), 1, 5);
        check(
            "{\"a\": 1",
            "Unexpected end-of-input: expected close marker for Object (start marker at [Source: (String)\"{\"a\": 1\"; line: 1, column: 1])",
            1,
            8,
        );
        check("\"ab", "Unexpected end-of-input: was expecting closing quote for a string value", 1, 4);
        check("[01]", "Invalid numeric value: Leading zeroes not allowed", 1, 3);
    }

    #[test]
    fn the_place_is_written_as_aws_writes_it() {
        let problem = problem("not a definition").unwrap();
        assert_eq!(problem.location(), "[Source: (String)\"not a definition\"; line: 1, column: 4]");
        assert!(
            problem
                .to_string()
                .ends_with("or 'false')\n at [Source: (String)\"not a definition\"; line: 1, column: 4]")
        );
    }

    proptest! {
        #[test]
        fn what_serde_json_takes_has_no_problem(text in "[\\[\\]{}:,\"a0-9. etrufalsn-]{0,12}") {
            // The other way round it would not be: numbers beyond a double, lone surrogates.
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert_eq!(problem(&text), None);
            }
        }
    }
}
