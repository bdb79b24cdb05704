//! Questions about a value in an execution's input, as people write them: `$.batch_size = 256`.
//!
//! A question is a path and what is asked of the value there; a text without a path is looked for in all values. Several
//! questions stand side by side with `and` between them.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The steps to the value; `None`: any value that is no container.
    path: Option<Vec<Step>>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// There is a value.
    Is,
    Compares(Operator, Literal),
    /// As text, in upper or lower case.
    Has(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a value is compared with: the text as it was written, and what that is as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Literal {
    text: String,
    value: Option<Value>,
}

/// Where a question can't be understood, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misunderstood(String);

impl fmt::Display for Misunderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected for example $.batch_size = 256, $.bucket ~ sky, $.files[0] or a text", self.0)
    }
}

impl std::error::Error for Misunderstood {}

/// Longer ones first: `<` begins `<=`.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::Unequal),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("==", Operator::Equal),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

impl Condition {
    /// Reads all questions of a text; an empty one has none.
    ///
    /// # Errors
    /// [`Misunderstood`] says where.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Misunderstood> {
        let parts = split_at_and(text);
        parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, Misunderstood> {
        if !text.starts_with('$') {
            return Ok(Self { path: None, test: Test::Has(unquoted(text).to_lowercase()) });
        }
        let (path, rest) = parse_path(text)?;
        let rest = rest.trim_start();
        let test = if rest.is_empty() {
            Test::Is
        } else if let Some(wanted) = rest.strip_prefix('~') {
            Test::Has(unquoted(wanted.trim()).to_lowercase())
        } else {
            let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
            let (operator, literal) = found.ok_or_else(|| {
                Misunderstood(format!(
                    "{text}: after the path stands {rest:?}, which is none of =, !=, <, <=, >, >=, ~"
                ))
            })?;
            let literal = literal.trim();
            if literal.is_empty() {
                return Err(Misunderstood(format!("{text}: there is nothing to compare with")));
            }
            Test::Compares(operator, Literal { text: literal.to_owned(), value: serde_json::from_str(literal).ok() })
        };
        Ok(Self { path: Some(path), test })
    }

    /// Whether an input fulfils it.
    pub fn holds(&self, input: &Value) -> bool {
        match &self.path {
            Some(path) => at(input, path).is_some_and(|value| self.test.holds(value)),
            None => any_leaf(input, &|value| self.test.holds(value)),
        }
    }

    /// Whether an input can fulfil it, by its JSON text as the journal has it; if not, it need not be read.
    pub(super) fn may_hold(&self, text: &str) -> bool {
        // Of what is written in another way than it is meant, nothing is said.
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let names = self.path.iter().flatten();
        names.into_iter().all(|step| match step {
            Step::Field(name) if is_plain(name) => text.contains(name.as_str()),
            _ => true,
        })
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::Is => true,
            Self::Has(wanted) => as_text(value).to_lowercase().contains(wanted),
            Self::Compares(operator, literal) => {
                let ordering = literal.compare(value);
                match operator {
                    Operator::Equal => ordering == Some(Ordering::Equal),
                    Operator::Unequal => ordering != Some(Ordering::Equal),
                    Operator::Less => ordering == Some(Ordering::Less),
                    Operator::LessOrEqual => ordering.is_some_and(Ordering::is_le),
                    Operator::Greater => ordering == Some(Ordering::Greater),
                    Operator::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
                }
            }
        }
    }
}

impl Literal {
    /// How a value stands to this; `None` if the two can't be compared and are not equal.
    fn compare(&self, value: &Value) -> Option<Ordering> {
        if let (Some(wanted), Some(there)) = (self.value.as_ref().and_then(Value::as_f64), value.as_f64()) {
            return there.partial_cmp(&wanted);
        }
        match (value, &self.value) {
            // `sky` without quotes means the text; so does 7 where the value is the text "7".
            (Value::String(there), Some(Value::String(wanted))) => Some(there.as_str().cmp(wanted)),
            (Value::String(there), _) => Some(there.as_str().cmp(&self.text)),
            (there, Some(wanted)) if there == wanted => Some(Ordering::Equal),
            _ => None,
        }
    }
}

fn at<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Index(index) => value.get(index),
    })
}

/// The depth of JSON that the journal reads is bounded.
fn any_leaf(value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(|field| any_leaf(field, test)),
        Value::Array(items) => items.iter().any(|item| any_leaf(item, test)),
        leaf => test(leaf),
    }
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn unquoted(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

/// The steps of a path, and what stands after it: `$.a['b c'][0] = 1`.
fn parse_path(text: &str) -> Result<(Vec<Step>, &str), Misunderstood> {
    let mut steps = Vec::new();
    let mut rest = &text[1..];
    loop {
        if let Some(named) = rest.strip_prefix('.') {
            let end = named.find(|letter: char| ".[ =!<>~".contains(letter)).unwrap_or(named.len());
            if end == 0 {
                return Err(Misunderstood(format!("{text}: a field has no name")));
            }
            steps.push(Step::Field(named[..end].to_owned()));
            rest = &named[end..];
        } else if let Some(inner) = rest.strip_prefix('[') {
            let unclosed = || Misunderstood(format!("{text}: a [ is not closed"));
            let quote = inner.chars().next().filter(|letter| matches!(letter, '\'' | '"'));
            if let Some(quote) = quote {
                let (name, after) = inner[1..].split_once(quote).ok_or_else(unclosed)?;
                steps.push(Step::Field(name.to_owned()));
                rest = after.strip_prefix(']').ok_or_else(unclosed)?;
            } else {
                let (index, after) = inner.split_once(']').ok_or_else(unclosed)?;
                let index = index.trim().parse();
                steps.push(Step::Index(index.map_err(|_| Misunderstood(format!("{text}: an index is no number")))?));
                rest = after;
            }
        } else {
            return Ok((steps, rest));
        }
    }
}

/// At each ` and ` that is not within quotes.
fn split_at_and(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut is_quoted) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        if byte == b'"' {
            is_quoted = !is_quoted;
        }
        let here = text.as_bytes().get(index..index + 5);
        if !is_quoted && index >= from && here.is_some_and(|here| here.eq_ignore_ascii_case(b" and ")) {
            parts.push(&text[from..index]);
            from = index + 5;
        }
    }
    parts.push(&text[from..]);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(text: &str) -> bool {
        let input = json!({
            "batch_size": 256, "ratio": 0.5, "bucket": "deep Sky", "overwrite": true, "none": null, "seven": "7",
            "files": ["a.pt", { "b c": [1, 2] }], "x.y": 1,
        });
        let conditions = Condition::parse_all(text).unwrap();
        let text = input.to_string();
        let holds = conditions.iter().all(|condition| condition.holds(&input));
        assert!(!holds || conditions.iter().all(|condition| condition.may_hold(&text)), "what holds may hold");
        holds
    }

    #[test]
    fn values_are_found_by_path_and_compared() {
        for text in [
            "",
            "$.batch_size = 256",
            "$.batch_size=256.0",
            "$.batch_size == 256 and $.ratio < 1",
            "$.batch_size > 255 AND $.batch_size <= 256",
            "$.batch_size != 512",
            "$.bucket = \"deep Sky\"",
            "$.bucket = deep Sky",
            "$.bucket ~ sky",
            "$.bucket > deep",
            "$.overwrite = true",
            "$.none = null",
            "$.none",
            "$.seven = 7",
            "$.files[0] = a.pt",
            "$.files[1]['b c'][1] = 2",
            "$['x.y'] = 1",
            "SKY",
            "\"a.pt\"",
            "256",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "$.batch_size = 25",
            "$.batch_size = sky",
            "$.batch_size < 256",
            "$.overwrite = 1",
            "$.none = 0",
            "$.none < 1",
            "$.missing",
            "$.missing != 1",
            "$.files[2]",
            "$.bucket = \"deep and Sky\"",
            "nowhere",
            "batch_size",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_question_is_refused_with_its_place() {
        for (text, expected) in [
            ("$.a is 1", "none of ="),
            ("$.a =", "nothing to compare"),
            ("$..a = 1", "no name"),
            ("$.a[b] = 1", "no number"),
            ("$.a['b = 1", "not closed"),
        ] {
            let error = Condition::parse_all(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(text), "{text}: {error}");
        }
    }
}
