//! Text → [`JsonPath`].

use std::fmt;

use super::filter::{Comparison, Filter, Operand, Pattern};

/// A parsed path. See the [module](super) for what it can say.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    pub(super) text: String,
    pub(super) segments: Vec<Segment>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {problem}")]
pub struct ParseError {
    /// Where, in characters from 0.
    pub at: usize,
    /// What was found against what was expected.
    pub problem: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Segment {
    /// `.name`, `['name']`, `[0]`, `[*]`, …: of the value itself.
    Child(Vec<Selector>),
    /// `..name`, `..[0]`, …: of the value and everything inside it.
    Descendants(Vec<Selector>),
    /// `.length()`: ends the path.
    Function(Function),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Selector {
    Name(String),
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Wildcard,
    Filter(Filter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Length,
    Min,
    Max,
    Average,
    StandardDeviation,
    Sum,
    Keys,
}

impl JsonPath {
    /// Reads a whole text as a path; it begins with one `$`.
    ///
    /// # Errors
    /// [`ParseError`] with the place of the first character that does not fit.
    pub fn parse(text: &str) -> Result<JsonPath, ParseError> {
        let mut parser = Parser::new(text);
        let path = parser.path(b"$")?;
        parser.end()?;
        Ok(path)
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path as written, without its `$`.
    pub(crate) fn behind_root(&self) -> &str {
        self.text.get(1..).unwrap_or_default()
    }

    /// The names of its first two steps, where they are names.
    pub(crate) fn first_names(&self) -> (Option<&str>, Option<&str>) {
        let mut names = self.segments.iter().map(|segment| match segment {
            Segment::Child(selectors) => match selectors.as_slice() {
                [Selector::Name(name)] => Some(name.as_str()),
                _ => None,
            },
            Segment::Descendants(_) | Segment::Function(_) => None,
        });
        let first = names.next().flatten();
        (first, names.next().flatten())
    }

    /// True if the path can point at one place only.
    pub fn is_definite(&self) -> bool {
        self.segments.iter().all(|segment| match segment {
            Segment::Child(selectors) => {
                matches!(selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)])
            }
            Segment::Descendants(_) => false,
            Segment::Function(_) => true,
        })
    }

    /// The same path, written from `$` in bracket notation: `$['a'][0]`.
    pub fn normalized(&self) -> String {
        normalize(&self.segments)
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads what may follow a path's `$` at the beginning of `text`, as a path from there; says how many bytes it took.
pub(crate) fn parse_behind(text: &str) -> Result<(JsonPath, usize), ParseError> {
    let mut parser = Parser::new(text);
    let segments = parser.segments()?;
    Ok((JsonPath { text: format!("${}", &text[..parser.at]), segments }, parser.at))
}

/// Reads a path at the beginning of `text` and says how many bytes it took.
pub(crate) fn parse_prefix(text: &str) -> Result<(JsonPath, usize), ParseError> {
    let mut parser = Parser::new(text);
    let path = parser.path(b"$")?;
    Ok((path, parser.at))
}

pub(super) fn normalize(segments: &[Segment]) -> String {
    let mut text = String::from("$");
    for segment in segments {
        match segment {
            Segment::Child(selectors) => text.push_str(&format!("[{}]", list(selectors))),
            Segment::Descendants(selectors) => text.push_str(&format!("..[{}]", list(selectors))),
            Segment::Function(function) => text.push_str(&format!(".{}()", function.name())),
        }
    }
    text
}

fn list(selectors: &[Selector]) -> String {
    let parts: Vec<String> = selectors.iter().map(Selector::to_string).collect();
    parts.join(",")
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: &Option<i64>| bound.map_or(String::new(), |bound| bound.to_string());
        match self {
            Selector::Name(name) => write!(f, "'{name}'"),
            Selector::Index(index) => write!(f, "{index}"),
            Selector::Slice { start, end, step: 1 } => write!(f, "{}:{}", bound(start), bound(end)),
            Selector::Slice { start, end, step } => write!(f, "{}:{}:{step}", bound(start), bound(end)),
            Selector::Wildcard => write!(f, "*"),
            Selector::Filter(_) => write!(f, "?"),
        }
    }
}

impl Function {
    const ALL: [Function; 7] = [
        Function::Length,
        Function::Min,
        Function::Max,
        Function::Average,
        Function::StandardDeviation,
        Function::Sum,
        Function::Keys,
    ];

    fn name(self) -> &'static str {
        match self {
            Function::Length => "length",
            Function::Min => "min",
            Function::Max => "max",
            Function::Average => "avg",
            Function::StandardDeviation => "stddev",
            Function::Sum => "sum",
            Function::Keys => "keys",
        }
    }
}

/// Most steps of a path: what a path makes, others walk over.
const SEGMENTS_MAX: usize = 256;

/// How deep `[?(@.a[?(…)])]` may nest: paths come from people, stacks are finite.
const FILTER_DEPTH_MAX: usize = 32;

struct Parser<'a> {
    text: &'a str,
    /// Byte offset; always on a character boundary.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Parser { text, at: 0, depth: 0 }
    }

    fn path(&mut self, roots: &[u8]) -> Result<JsonPath, ParseError> {
        let start = self.at;
        if !self.peek().is_some_and(|c| roots.iter().any(|root| c == char::from(*root))) {
            return Err(self.error("a path begins with `$`"));
        }
        self.at += 1;
        let segments = self.segments()?;
        Ok(JsonPath { text: self.text[start..self.at].to_owned(), segments })
    }

    fn segments(&mut self) -> Result<Vec<Segment>, ParseError> {
        let mut segments = Vec::new();
        loop {
            if segments.len() > SEGMENTS_MAX {
                return Err(self.error(&format!("a path has at most {SEGMENTS_MAX} steps")));
            }
            if self.eat("..") {
                let selectors = if self.eat("[") { self.brackets()? } else { vec![self.dot_selector()?] };
                segments.push(Segment::Descendants(selectors));
            } else if self.eat(".") {
                match self.dot_selector()? {
                    Selector::Name(name) if self.eat("()") => {
                        let function = Function::ALL.into_iter().find(|function| function.name() == name);
                        let function = function.ok_or_else(|| self.error(&format!("unknown function `{name}()`")))?;
                        segments.push(Segment::Function(function));
                        break;
                    }
                    selector => segments.push(Segment::Child(vec![selector])),
                }
            } else if self.eat("[") {
                segments.push(Segment::Child(self.brackets()?));
            } else {
                break;
            }
        }
        Ok(segments)
    }

    /// What may follow a dot: `*` or a name without special characters.
    fn dot_selector(&mut self) -> Result<Selector, ParseError> {
        if self.eat("*") {
            return Ok(Selector::Wildcard);
        }
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| c.is_whitespace() || ".[]()'\",*=!<>&|~".contains(c)).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error("expected a name or `*` after the dot"));
        }
        self.at += length;
        Ok(Selector::Name(rest[..length].to_owned()))
    }

    /// Everything after `[` up to and including `]`.
    fn brackets(&mut self) -> Result<Vec<Selector>, ParseError> {
        let mut selectors = Vec::new();
        loop {
            self.space();
            selectors.push(self.bracket_selector()?);
            self.space();
            if self.eat("]") {
                return Ok(selectors);
            }
            if !self.eat(",") {
                return Err(self.error("expected `]` or `,`"));
            }
        }
    }

    fn bracket_selector(&mut self) -> Result<Selector, ParseError> {
        match self.peek() {
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('\'' | '"') => Ok(Selector::Name(self.quoted()?)),
            Some('?') => {
                self.at += 1;
                self.space();
                if self.peek() != Some('(') {
                    return Err(self.error("expected `(` after `?`"));
                }
                self.depth += 1;
                if self.depth > FILTER_DEPTH_MAX {
                    return Err(self.error("filters nest too deeply"));
                }
                let filter = self.filter_primary()?;
                self.depth -= 1;
                Ok(Selector::Filter(filter))
            }
            _ => self.index_or_slice(),
        }
    }

    fn index_or_slice(&mut self) -> Result<Selector, ParseError> {
        let start = self.integer()?;
        self.space();
        if !self.eat(":") {
            return match start {
                Some(index) => Ok(Selector::Index(index)),
                None => Err(self.error("expected a quoted name, an index, a slice, `*` or `?(`")),
            };
        }
        self.space();
        let end = self.integer()?;
        self.space();
        let step = if self.eat(":") { self.integer()?.unwrap_or(1) } else { 1 };
        if step < 1 {
            return Err(self.error("a slice's step is at least 1"));
        }
        Ok(Selector::Slice { start, end, step })
    }

    fn integer(&mut self) -> Result<Option<i64>, ParseError> {
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with('-'));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return if sign == 0 { Ok(None) } else { Err(self.error("expected digits after `-`")) };
        }
        let text = &rest[..sign + digits];
        let value = text.parse().map_err(|_| self.error(&format!("index {text} is out of range")))?;
        self.at += sign + digits;
        Ok(Some(value))
    }

    /// A quoted name. `\` escapes the quote and itself; before anything else AWS takes it literally.
    fn quoted(&mut self) -> Result<String, ParseError> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return Err(self.error("expected a quote"));
        };
        let opening = self.at;
        self.at += 1;
        let mut name = String::new();
        while let Some(c) = self.peek() {
            self.at += c.len_utf8();
            match (c, self.peek()) {
                (c, _) if c == quote => return Ok(name),
                ('\\', Some(next)) if next == quote || next == '\\' => {
                    self.at += next.len_utf8();
                    name.push(next);
                }
                (c, _) => name.push(c),
            }
        }
        self.at = opening;
        Err(self.error("this quote is never closed"))
    }

    fn filter_or(&mut self) -> Result<Filter, ParseError> {
        let mut filter = self.filter_and()?;
        loop {
            self.space();
            if !self.eat("||") {
                return Ok(filter);
            }
            filter = Filter::Or(Box::new(filter), Box::new(self.filter_and()?));
        }
    }

    fn filter_and(&mut self) -> Result<Filter, ParseError> {
        let mut filter = self.filter_primary()?;
        loop {
            self.space();
            if !self.eat("&&") {
                return Ok(filter);
            }
            filter = Filter::And(Box::new(filter), Box::new(self.filter_primary()?));
        }
    }

    fn filter_primary(&mut self) -> Result<Filter, ParseError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(self.error("filters nest too deeply"));
        }
        self.space();
        let filter = if self.eat("!") {
            Filter::Not(Box::new(self.filter_primary()?))
        } else if self.eat("(") {
            let inner = self.filter_or()?;
            self.space();
            if !self.eat(")") {
                return Err(self.error("expected `)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, ParseError> {
        let left = self.operand()?;
        self.space();
        if self.eat("=~") {
            self.space();
            return Ok(Filter::Matches { left, pattern: self.pattern()? });
        }
        for (token, comparison) in Comparison::TOKENS {
            if self.eat(token) {
                self.space();
                let right = self.operand()?;
                return Ok(Filter::Compare { left, comparison, right });
            }
        }
        match left {
            Operand::Current(_) | Operand::Root(_) => Ok(Filter::Exists(left)),
            Operand::Literal(_) => Err(self.error("expected a comparison")),
        }
    }

    /// `/pattern/flags`; `\/` is a slash in the pattern.
    fn pattern(&mut self) -> Result<Pattern, ParseError> {
        if !self.eat("/") {
            return Err(self.error("expected `/` and a regular expression"));
        }
        let mut pattern = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error("this regular expression is never closed")),
                Some('/') => break,
                Some('\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some('/') => {}
                        _ => pattern.push('\\'),
                    }
                    if let Some(escaped) = self.peek() {
                        pattern.push(escaped);
                        self.at += escaped.len_utf8();
                    }
                }
                Some(c) => {
                    pattern.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        self.at += 1;
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let pattern = Pattern::new(&pattern, &rest[..length]).map_err(|problem| self.error(&problem))?;
        self.at += length;
        Ok(pattern)
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        match self.peek() {
            Some('@') => Ok(Operand::Current(self.path(b"@")?)),
            Some('$') => Ok(Operand::Root(self.path(b"$")?)),
            Some('\'' | '"') => Ok(Operand::Literal(self.quoted()?.into())),
            Some('[') => self.list(),
            _ => self.scalar(),
        }
    }

    fn list(&mut self) -> Result<Operand, ParseError> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Operand::Literal(items.into()));
        }
        loop {
            self.space();
            let item = match self.peek() {
                Some('\'' | '"') => self.quoted()?.into(),
                _ => match self.scalar()? {
                    Operand::Literal(value) => value,
                    _ => return Err(self.error("expected a literal")),
                },
            };
            items.push(item);
            self.space();
            if self.eat("]") {
                return Ok(Operand::Literal(items.into()));
            }
            if !self.eat(",") {
                return Err(self.error("expected `]` or `,`"));
            }
        }
    }

    fn scalar(&mut self) -> Result<Operand, ParseError> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(rest.len());
        let value = serde_json::from_str(&rest[..length])
            .map_err(|_| self.error("expected a path, a number, a quoted text, true, false or null"))?;
        self.at += length;
        Ok(Operand::Literal(value))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn end(&self) -> Result<(), ParseError> {
        if self.at == self.text.len() { Ok(()) } else { Err(self.error("expected the end of the path")) }
    }

    fn error(&self, problem: &str) -> ParseError {
        let found = match self.peek() {
            Some(c) => format!("found `{c}`"),
            None => "found the end".to_owned(),
        };
        ParseError { at: self.text[..self.at].chars().count(), problem: format!("{problem}, {found}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn knows_definite_from_indefinite() {
        for text in ["$", "$.a", "$.a.b-c", "$['a b'][0]", "$.a[-1]", "$.a.length()"] {
            assert!(JsonPath::parse(text).unwrap().is_definite(), "{text}");
        }
        for text in ["$.*", "$[*]", "$..a", "$.a[0:2]", "$.a[0,1]", "$['a','b']", "$.a[?(@.b > 1)]", "$..*", "$..[0]"] {
            assert!(!JsonPath::parse(text).unwrap().is_definite(), "{text}");
        }
    }

    #[test]
    fn says_where_a_path_breaks() {
        let problem = |text: &str| JsonPath::parse(text).unwrap_err().to_string();
        assert_eq!(problem("a"), "at character 0: a path begins with `$`, found `a`");
        assert_eq!(problem("$."), "at character 2: expected a name or `*` after the dot, found the end");
        assert_eq!(
            problem("$.a["),
            "at character 4: expected a quoted name, an index, a slice, `*` or `?(`, found the end"
        );
        assert_eq!(problem("$['a"), "at character 2: this quote is never closed, found `'`");
        assert_eq!(problem("$.a b"), "at character 3: expected the end of the path, found ` `");
        assert_eq!(problem("$.a.foo()"), "at character 9: unknown function `foo()`, found the end");
    }

    #[test]
    fn normalizes_to_brackets() {
        assert_eq!(JsonPath::parse("$.a['b c'][0][*]").unwrap().normalized(), "$['a']['b c'][0][*]");
    }

    #[test]
    fn deep_nesting_is_refused_and_not_followed() {
        assert!(JsonPath::parse(&format!("${}", ".a".repeat(256))).is_ok());
        assert!(JsonPath::parse(&format!("${}", ".a".repeat(100_000))).is_err());
        let text = format!("$[?({}@.a{})]", "(".repeat(100_000), ")".repeat(100_000));
        assert!(JsonPath::parse(&text).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = JsonPath::parse(&text);
            let _ = JsonPath::parse(&format!("${text}"));
        }

        #[test]
        fn never_panics_on_nearly_paths(text in r#"\$[\.\[\]\(\)\?@\$'"*:,0-9a-z&|!=<> \\-]{0,40}"#) {
            if let Ok(path) = JsonPath::parse(&text) {
                prop_assert_eq!(path.as_str(), text.as_str());
            }
        }
    }
}
