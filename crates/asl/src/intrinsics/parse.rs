//! Text → [`Call`].

use super::call::{Argument, Call, Function};
use crate::expression::Variable;
use crate::jsonpath::parse_prefix;

/// How deep calls may nest; AWS allows ten.
const DEPTH_MAX: usize = 10;

/// Reads a whole text as a call.
pub(crate) fn parse(text: &str) -> Result<Call, String> {
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let call = parser.call(1)?;
    parser.space();
    if parser.rest().is_empty() { Ok(call) } else { Err(parser.expected("the end")) }
}

struct Parser<'a> {
    text: &'a str,
    /// Byte offset; always on a character boundary.
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn call(&mut self, depth: usize) -> Result<Call, String> {
        let start = self.at;
        if depth > DEPTH_MAX {
            return Err(format!("intrinsic functions nest deeper than {DEPTH_MAX}"));
        }
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
        let name = &rest[..length];
        let function = Function::ALL.iter().copied().find(|function| function.name() == name);
        let function = function.ok_or_else(|| match name {
            "" => self.expected("an intrinsic function"),
            name => format!("`{name}` is not an intrinsic function"),
        })?;
        self.at += length;
        self.space();
        self.token('(')?;
        let arguments = self.arguments(depth)?;
        let (least, most) = function.arity();
        if arguments.len() < least || arguments.len() > most {
            let wanted = if least == most { least.to_string() } else { format!("at least {least}") };
            return Err(format!("{name} takes {wanted} arguments, found {}", arguments.len()));
        }
        Ok(Call { text: self.text[start..self.at].to_owned(), function, arguments })
    }

    fn arguments(&mut self, depth: usize) -> Result<Vec<Argument>, String> {
        let mut arguments = Vec::new();
        self.space();
        if self.rest().starts_with(')') {
            self.at += 1;
            return Ok(arguments);
        }
        loop {
            self.space();
            arguments.push(self.argument(depth)?);
            self.space();
            if self.rest().starts_with(')') {
                self.at += 1;
                return Ok(arguments);
            }
            self.token(',')?;
        }
    }

    fn argument(&mut self, depth: usize) -> Result<Argument, String> {
        let rest = self.rest();
        if rest.starts_with('\'') {
            return self.quoted();
        }
        if rest.starts_with("States.") {
            return self.call(depth + 1).map(Argument::Call);
        }
        if let Some(context) = rest.strip_prefix("$$") {
            // `$$.a` is `.a` from the context's root: read it from its second `$`.
            let path = &rest[1..];
            debug_assert!(path.ends_with(context));
            let (path, length) = parse_prefix(path).map_err(|error| error.to_string())?;
            self.at += length + 1;
            return Ok(Argument::Context(path));
        }
        if let Some((variable, length)) = Variable::parse_prefix(rest)? {
            self.at += length;
            return Ok(Argument::Variable(variable));
        }
        if rest.starts_with('$') {
            let (path, length) = parse_prefix(rest).map_err(|error| error.to_string())?;
            self.at += length;
            return Ok(Argument::Path(path));
        }
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..length])
            .map_err(|_| self.expected("a path, a number, a quoted text, true, false, null or a function"))?;
        self.at += length;
        Ok(Argument::Literal(value))
    }

    /// `'…'`; only `\'`, `\{`, `\}` and `\\` are escapes, AWS refuses every other backslash.
    fn quoted(&mut self) -> Result<Argument, String> {
        let start = self.at + 1;
        let mut value = String::new();
        let mut characters = self.text[start..].char_indices();
        while let Some((offset, c)) = characters.next() {
            match c {
                '\'' => {
                    let raw = self.text[start..start + offset].to_owned();
                    self.at = start + offset + 1;
                    return Ok(Argument::Text { value, raw });
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\'' | '{' | '}' | '\\'))) => value.push(escaped),
                    Some((_, other)) => return Err(format!("`\\{other}` is not an escape sequence")),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err("a quoted text is never closed".to_owned())
    }

    fn token(&mut self, token: char) -> Result<(), String> {
        if !self.rest().starts_with(token) {
            return Err(self.expected(&format!("`{token}`")));
        }
        self.at += token.len_utf8();
        Ok(())
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn expected(&self, what: &str) -> String {
        match self.rest().chars().next() {
            Some(c) => format!("expected {what}, found `{c}` at character {}", self.text[..self.at].chars().count()),
            None => format!("expected {what}, found the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_aws_refuses() {
        for text in [
            "",
            "States.Nothing(1)",
            "States.Format",
            "States.Format(",
            "States.Format('a'",
            "States.Format('a",
            "States.Format()",
            "States.UUID(1)",
            "States.ArrayLength($.a, $.b)",
            "States.Format('a') b",
            // Recorded: test_illegal_escapes.
            r#"States.StringToJson('{"text":"An \"escaped double quote\" here"}')"#,
            r#"States.Format('He said, \"Hello, {}!\"', 'Test \"Name\" Here')"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |depth: usize| format!("{}1{}", "States.JsonToString(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(10)).is_ok());
        assert!(parse(&nested(11)).is_err());
        assert!(parse(&nested(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
            let _ = parse(&format!("States.Format({text})"));
        }

        #[test]
        fn never_panics_on_nearly_calls(text in r"States\.(Format|Array|UUID)\([\$\.\(\)'\\{},0-9a-z -]{0,40}\)?") {
            if let Ok(call) = parse(&text) {
                let input = serde_json::json!({"a": 1});
                let _ = crate::testing::in_environment(&input, |environment| call.evaluate(environment));
            }
        }
    }
}
