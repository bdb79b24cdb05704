//! The `?( … )` of a path: which elements stay.

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
}

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
}

impl Comparison {
    /// Longer tokens first, so that `<=` is not read as `<`.
    pub(super) const TOKENS: [(&'static str, Comparison); 9] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
        ("in ", Comparison::In),
        ("nin ", Comparison::NotIn),
        ("contains ", Comparison::Contains),
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
        }
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
