//! From text to tokens. Whether `/` divides or opens a regular expression is the parser's to say.

use crate::error::{Error, quoted};
use crate::value::Number;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Operator(&'static str),
    /// A bare or back-quoted name.
    Name(String),
    /// `$name` without its `$`.
    Variable(String),
    String(String),
    Number(Number),
    True,
    False,
    Null,
    Regex {
        pattern: String,
        flags: String,
    },
    End,
}

impl Token {
    /// As messages show it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Token::Operator(text) => (*text).to_owned(),
            Token::Name(text) | Token::Variable(text) | Token::String(text) => text.clone(),
            Token::Number(number) => number.to_string(),
            Token::True => "true".to_owned(),
            Token::False => "false".to_owned(),
            Token::Null => "null".to_owned(),
            Token::Regex { pattern, .. } => format!("/{pattern}/"),
            Token::End => "(end)".to_owned(),
        }
    }
}

const OPERATORS: [&str; 31] = [
    "..", ":=", "!=", ">=", "<=", "**", "~>", ".", "[", "]", "{", "}", "(", ")", ",", "@", "#", ";", ":", "?", "+",
    "-", "*", "/", "%", "|", "=", "<", ">", "^", "&",
];

pub(crate) struct Lexer {
    text: Vec<char>,
    /// In characters.
    pub(crate) position: usize,
}

impl Lexer {
    pub(crate) fn new(text: &str) -> Lexer {
        Lexer { text: text.chars().collect(), position: 0 }
    }

    pub(crate) fn length(&self) -> usize {
        self.text.len()
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.position + ahead).copied()
    }

    /// The next token; `prefix` says that an operand is expected, so that `/` opens a regular expression.
    pub(crate) fn next(&mut self, prefix: bool) -> Result<Token, Error> {
        self.skip_blanks()?;
        let Some(first) = self.peek(0) else { return Ok(Token::End) };
        if first == '/' && prefix {
            self.position += 1;
            return self.regex();
        }
        for operator in OPERATORS {
            if operator.chars().enumerate().all(|(index, char)| self.peek(index) == Some(char)) {
                self.position += operator.len();
                return Ok(Token::Operator(operator));
            }
        }
        match first {
            '!' | '~' => {
                self.position += 1;
                Err(Error::new("S0204").at(self.position).token(&first.to_string()))
            }
            '"' | '\'' => self.string(first),
            '0'..='9' => self.number(),
            '`' => self.back_quoted(),
            _ => Ok(self.name()),
        }
    }

    /// Whether a number with a `-` in front stands here is for the parser: JSON's `-` is an operator.
    fn number(&mut self) -> Result<Token, Error> {
        let start = self.position;
        let digits = |lexer: &mut Lexer| {
            while lexer.peek(0).is_some_and(|char| char.is_ascii_digit()) {
                lexer.position += 1;
            }
        };
        match self.peek(0) {
            Some('0') => self.position += 1,
            _ => digits(self),
        }
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|char| char.is_ascii_digit()) {
            self.position += 1;
            digits(self);
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            let signed = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + signed).is_some_and(|char| char.is_ascii_digit()) {
                self.position += 1 + signed;
                digits(self);
            }
        }
        let text: String = self.text[start..self.position].iter().collect();
        if let Ok(exact) = text.parse::<i64>() {
            return Ok(Token::Number(Number::Int(exact)));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Number(Number::from(number))),
            _ => Err(Error::new("S0102").at(start).token(&text)),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, Error> {
        self.position += 1;
        let mut text = String::new();
        loop {
            let Some(char) = self.peek(0) else { return Err(Error::new("S0101").at(self.position)) };
            self.position += 1;
            match char {
                '\\' => self.escape(&mut text)?,
                _ if char == quote => return Ok(Token::String(text)),
                _ => text.push(char),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), Error> {
        let Some(char) = self.peek(0) else { return Err(Error::new("S0101").at(self.position)) };
        let unescaped = match char {
            '"' | '\\' | '/' => char,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.four_digits()?;
                // A pair of surrogates is one character; a lone one cannot be in a Rust string.
                let second = match first {
                    0xD800..0xDC00 if self.peek(1) == Some('\\') && self.peek(2) == Some('u') => {
                        let back = self.position;
                        self.position += 2;
                        match self.four_digits()? {
                            second @ 0xDC00..0xE000 => Some(second),
                            _ => {
                                self.position = back;
                                None
                            }
                        }
                    }
                    _ => None,
                };
                let code = second.map_or(first, |second| 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(Error::new("S0103").at(self.position).token(&char.to_string())),
        };
        self.position += 1;
        text.push(unescaped);
        Ok(())
    }

    /// Reads the digits after the `u` that is here and leaves off at the last of them.
    fn four_digits(&mut self) -> Result<u32, Error> {
        let digit = |char: Option<char>| char.and_then(|char| char.to_digit(16));
        let mut code = 0;
        for ahead in 1..=4 {
            match digit(self.peek(ahead)) {
                Some(value) => code = code << 4 | value,
                None => return Err(Error::new("S0104").at(self.position)),
            }
        }
        self.position += 4;
        Ok(code)
    }

    fn back_quoted(&mut self) -> Result<Token, Error> {
        self.position += 1;
        let rest = &self.text[self.position..];
        let Some(length) = rest.iter().position(|char| *char == '`') else {
            return Err(Error::new("S0105").at(self.text.len()));
        };
        let name = rest[..length].iter().collect();
        self.position += length + 1;
        Ok(Token::Name(name))
    }

    fn name(&mut self) -> Token {
        let start = self.position;
        let ends = |char: char| {
            char.is_whitespace()
                || matches!(char, '!' | '~')
                || OPERATORS.iter().any(|operator| operator.starts_with(char))
        };
        while self.peek(0).is_some_and(|char| !ends(char)) {
            self.position += 1;
        }
        let name: String = self.text[start..self.position].iter().collect();
        match name.as_str() {
            "and" => Token::Operator("and"),
            "or" => Token::Operator("or"),
            "in" => Token::Operator("in"),
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            _ => match name.strip_prefix('$') {
                Some(variable) => Token::Variable(variable.to_owned()),
                None => Token::Name(name),
            },
        }
    }

    fn regex(&mut self) -> Result<Token, Error> {
        let start = self.position;
        let (mut depth, mut escaped) = (0_usize, false);
        while let Some(char) = self.peek(0) {
            if char == '/' && !escaped && depth == 0 {
                let pattern: String = self.text[start..self.position].iter().collect();
                if pattern.is_empty() {
                    return Err(Error::new("S0301").at(self.position));
                }
                self.position += 1;
                let mut flags = String::new();
                while let Some(flag @ ('i' | 'm')) = self.peek(0) {
                    flags.push(flag);
                    self.position += 1;
                }
                return Ok(Token::Regex { pattern, flags });
            }
            match char {
                '(' | '[' | '{' if !escaped => depth += 1,
                ')' | ']' | '}' if !escaped => depth = depth.saturating_sub(1),
                _ => {}
            }
            escaped = char == '\\' && !escaped;
            self.position += 1;
        }
        Err(Error::new("S0302").at(self.position))
    }

    fn skip_blanks(&mut self) -> Result<(), Error> {
        loop {
            match self.peek(0) {
                Some(char) if char.is_whitespace() => self.position += 1,
                Some('/') if self.peek(1) == Some('*') => {
                    let start = self.position;
                    self.position += 2;
                    while !(self.peek(0) == Some('*') && self.peek(1) == Some('/')) {
                        if self.peek(0).is_none() {
                            return Err(Error::new("S0106").at(start));
                        }
                        self.position += 1;
                    }
                    self.position += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    /// The text of a signature, which starts at the `<` behind us and is not made of tokens.
    pub(crate) fn signature(&mut self) -> Result<String, Error> {
        let (mut depth, mut text) = (1, String::from("<"));
        while let Some(char) = self.peek(0) {
            // The reference reads tokens, in which `<` and `>` may be part of an operator; no signature has those.
            match char {
                '{' => break,
                '<' => depth += 1,
                '>' => depth -= 1,
                _ => {}
            }
            self.position += 1;
            if !char.is_whitespace() {
                text.push(char);
            }
            if depth == 0 {
                return Ok(text);
            }
        }
        let found = self.peek(0).map_or_else(|| "(end)".to_owned(), String::from);
        let code = if found == "(end)" { "S0203" } else { "S0202" };
        Err(Error::new(code).at(self.position).value(quoted(">")).token(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        let mut prefix = true;
        loop {
            match lexer.next(prefix) {
                Ok(Token::End) => return tokens,
                Ok(token) => {
                    prefix = matches!(token, Token::Operator(_));
                    tokens.push(token.shown());
                }
                Err(error) => return vec![error.to_string()],
            }
        }
    }

    #[test]
    fn names_operators_and_numbers_are_told_apart() {
        assert_eq!(tokens("a.b~>$c /* x */ := 1.5e3..2"), ["a", ".", "b", "~>", "c", ":=", "1500", "..", "2"]);
        assert_eq!(tokens("`a b`and 3"), ["a b", "and", "3"]);
        assert_eq!(tokens("a/b"), ["a", "/", "b"]);
        assert_eq!(tokens("(/a[/]b/i)"), ["(", "/a[/]b/", ")"]);
    }

    #[test]
    fn escapes_are_those_of_json() {
        assert_eq!(tokens(r#""\u00e9\ud83d\ude00\n""#), ["é😀\n"]);
        assert_eq!(tokens(r#""\q""#), [r#"S0103: Unsupported escape sequence: \"q""#]);
        assert_eq!(tokens(r#""\u12"#), [r"S0104: The escape sequence \u must be followed by 4 hex digits"]);
        assert_eq!(tokens("9e999"), [r#"S0102: Number out of range: "9e999""#]);
    }
}
