//! The `?( … )` of a path: which elements stay.

use fancy_regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::parse::JsonPath;
use super::query::{equal, select};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Or(Box<Filter>, Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Exists(Operand),
    Compare { left: Operand, comparison: Comparison, right: Operand },
    Matches { left: Operand, pattern: Pattern },
}

/// `/pattern/flags`: fits the whole text, as Java's `matches` does.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    pub(super) fn new(pattern: &str, flags: &str) -> Result<Pattern, String> {
        if let Some(unknown) = flags.chars().find(|flag| !"imsx".contains(*flag)) {
            return Err(format!("unknown flag `{unknown}` of a regular expression"));
        }
        let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
        let source = format!("{flags}^(?:{pattern})$");
        let regex = RegexBuilder::new(&source).backtrack_limit(BACKTRACKS_MAX).delegate_size_limit(SIZE_MAX).build();
        Ok(Pattern { regex: regex.map_err(|error| error.to_string())?, source })
    }

    fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text).unwrap_or(false)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.source == other.source
    }
}

/// What a pattern may try before it does not fit, and how large it may be: patterns come from people.
const BACKTRACKS_MAX: usize = 200_000;
const SIZE_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// `@…`: from the element under test.
    Current(JsonPath),
    /// `$…`: from the whole document.
    Root(JsonPath),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    LessOrEqual,
    GreaterOrEqual,
    Less,
    Greater,
    In,
    NotIn,
    Contains,
    SubsetOf,
    AnyOf,
    NoneOf,
    Size,
    Empty,
}

impl Comparison {
    /// Longer tokens first, so that `<=` is not read as `<`.
    pub(super) const TOKENS: [(&'static str, Comparison); 14] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("in ", Comparison::In),
        ("nin ", Comparison::NotIn),
        ("contains ", Comparison::Contains),
        ("subsetof ", Comparison::SubsetOf),
        ("anyof ", Comparison::AnyOf),
        ("noneof ", Comparison::NoneOf),
        ("size ", Comparison::Size),
        ("empty ", Comparison::Empty),
    ];

    fn holds(self, left: &Value, right: &Value) -> bool {
        let ordering = || match (left, right) {
            (Value::Number(left), Value::Number(right)) => left.as_f64()?.partial_cmp(&right.as_f64()?),
            (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
            _ => None,
        };
        let member = |item: &Value, list: &Value| match list {
            Value::Array(list) => list.iter().any(|other| equal(item, other)),
            Value::String(text) => item.as_str().is_some_and(|item| text.contains(item)),
            _ => false,
        };
        match self {
            Comparison::Equal => equal(left, right),
            Comparison::NotEqual => !equal(left, right),
            Comparison::LessOrEqual => ordering().is_some_and(|ordering| ordering.is_le()),
            Comparison::GreaterOrEqual => ordering().is_some_and(|ordering| ordering.is_ge()),
            Comparison::Less => ordering().is_some_and(|ordering| ordering.is_lt()),
            Comparison::Greater => ordering().is_some_and(|ordering| ordering.is_gt()),
            Comparison::In => member(left, right),
            Comparison::NotIn => !member(left, right),
            Comparison::Contains => member(right, left),
            Comparison::SubsetOf => lists(left, right).is_some_and(|left| left.iter().all(|item| member(item, right))),
            Comparison::AnyOf => lists(left, right).is_some_and(|left| left.iter().any(|item| member(item, right))),
            Comparison::NoneOf => lists(left, right).is_some_and(|left| !left.iter().any(|item| member(item, right))),
            Comparison::Size => {
                // A size may be told as a number or by another list.
                let wanted = right.as_u64().or_else(|| length(right));
                wanted.is_some() && length(left) == wanted
            }
            Comparison::Empty => {
                right.as_bool().is_some_and(|wanted| length(left).map(|length| length == 0) == Some(wanted))
            }
        }
    }
}

/// The left one of two lists.
fn lists<'v>(left: &'v Value, right: &Value) -> Option<&'v Vec<Value>> {
    left.as_array().filter(|_| right.is_array())
}

/// Of a list or a text.
fn length(value: &Value) -> Option<u64> {
    match value {
        Value::Array(items) => Some(items.len() as u64),
        Value::String(text) => Some(text.chars().count() as u64),
        _ => None,
    }
}

impl Filter {
    /// A comparison with something absent is false, whatever the operator.
    pub(super) fn accepts(&self, root: &Value, current: &Value) -> bool {
        match self {
            Filter::Or(left, right) => left.accepts(root, current) || right.accepts(root, current),
            Filter::And(left, right) => left.accepts(root, current) && right.accepts(root, current),
            Filter::Not(inner) => !inner.accepts(root, current),
            Filter::Exists(operand) => operand.value(root, current).is_some(),
            Filter::Matches { left, pattern } => {
                left.value(root, current).is_some_and(|left| left.as_str().is_some_and(|text| pattern.fits(text)))
            }
            Filter::Compare { left, comparison, right } => {
                let (left, right) = (left.value(root, current), right.value(root, current));
                match (left, right) {
                    (Some(left), Some(right)) => comparison.holds(&left, &right),
                    _ => false,
                }
            }
        }
    }
}

impl Operand {
    fn value(&self, root: &Value, current: &Value) -> Option<Value> {
        let (path, start) = match self {
            Operand::Literal(value) => return Some(value.clone()),
            Operand::Current(path) => (path, current),
            Operand::Root(path) => (path, root),
        };
        let found = select(path, root, start).ok()?;
        if path.is_definite() {
            return found.into_iter().next().map(std::borrow::Cow::into_owned);
        }
        (!found.is_empty()).then(|| found.into_iter().map(std::borrow::Cow::into_owned).collect())
    }
}
