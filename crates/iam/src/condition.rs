//! The operators of `Condition`.
//!
//! Within a condition a key's values are alternatives; conditions of a statement must all hold. A negated operator holds
//! when none of its values matches, and also when the key is not there.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html>,
//! read 2026-11.

use core::cmp::Ordering;
use core::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pattern::Pattern;
use crate::policy::Version;
use crate::request::Context;

/// One key under one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How it is compared.
    pub operator: Operator,
    /// Which key of the context.
    pub key: String,
    /// With which values: any of them will do.
    pub values: Vec<String>,
}

/// An operator as a policy has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// `ForAllValues:` or `ForAnyValue:`.
    pub set: Option<Set>,
    /// The comparison.
    pub test: Test,
    /// `…Not…`: none of the values may match.
    pub is_negated: bool,
    /// `…IfExists`: holds if the key is not there.
    pub if_exists: bool,
}

/// What is asked of a key with several values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Every value of the request; holds if there are none.
    All,
    /// At least one value of the request.
    Any,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `StringEquals`
    StringEquals,
    /// `StringEqualsIgnoreCase`
    StringEqualsIgnoreCase,
    /// `StringLike`
    StringLike,
    /// `ArnEquals` and `ArnLike`, which are the same.
    Arn,
    /// `Numeric…`
    Numeric(Order),
    /// `Date…`
    Date(Order),
    /// `Bool`
    Bool,
    /// `BinaryEquals`
    Binary,
    /// `IpAddress`
    Ip,
    /// `Null`: whether the key is not there.
    Null,
}

/// How numbers and dates compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Equals,
    /// Smaller or earlier.
    Less,
    /// At most.
    AtMost,
    /// Greater or later.
    Greater,
    /// At least.
    AtLeast,
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equals => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::AtMost => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::AtLeast => ordering.is_ge(),
        }
    }
}

impl Operator {
    /// An operator by its name, which has no case. `None` if there is none of that name.
    pub fn parse(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let (set, rest) = match lower.split_once(':') {
            Some(("forallvalues", rest)) => (Some(Set::All), rest),
            Some(("foranyvalue", rest)) => (Some(Set::Any), rest),
            Some(_) => return None,
            None => (None, lower.as_str()),
        };
        let (rest, if_exists) = match rest.strip_suffix("ifexists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (test, is_negated) = match rest {
            "stringequals" => (Test::StringEquals, false),
            "stringnotequals" => (Test::StringEquals, true),
            "stringequalsignorecase" => (Test::StringEqualsIgnoreCase, false),
            "stringnotequalsignorecase" => (Test::StringEqualsIgnoreCase, true),
            "stringlike" => (Test::StringLike, false),
            "stringnotlike" => (Test::StringLike, true),
            "arnequals" | "arnlike" => (Test::Arn, false),
            "arnnotequals" | "arnnotlike" => (Test::Arn, true),
            "numericequals" => (Test::Numeric(Order::Equals), false),
            "numericnotequals" => (Test::Numeric(Order::Equals), true),
            "numericlessthan" => (Test::Numeric(Order::Less), false),
            "numericlessthanequals" => (Test::Numeric(Order::AtMost), false),
            "numericgreaterthan" => (Test::Numeric(Order::Greater), false),
            "numericgreaterthanequals" => (Test::Numeric(Order::AtLeast), false),
            "dateequals" => (Test::Date(Order::Equals), false),
            "datenotequals" => (Test::Date(Order::Equals), true),
            "datelessthan" => (Test::Date(Order::Less), false),
            "datelessthanequals" => (Test::Date(Order::AtMost), false),
            "dategreaterthan" => (Test::Date(Order::Greater), false),
            "dategreaterthanequals" => (Test::Date(Order::AtLeast), false),
            "bool" => (Test::Bool, false),
            "binaryequals" => (Test::Binary, false),
            "ipaddress" => (Test::Ip, false),
            "notipaddress" => (Test::Ip, true),
            "null" if set.is_none() && !if_exists => (Test::Null, false),
            _ => return None,
        };
        Some(Self { set, test, is_negated, if_exists })
    }

    /// What is wrong with a value that nothing could match, if anything is.
    pub fn invalid(self, value: &str) -> Option<&'static str> {
        let (is_valid, expected) = match self.test {
            Test::Numeric(_) => (number(value).is_some(), "expected a number"),
            Test::Date(_) => (date(value).is_some(), "expected an ISO 8601 date or seconds since 1970"),
            Test::Bool | Test::Null => (boolean(value).is_some(), "expected true or false"),
            Test::Binary => (STANDARD.decode(value).is_ok(), "expected base64"),
            Test::Ip => (network(value).is_some(), "expected an IP address or a CIDR block"),
            _ => (true, ""),
        };
        (!is_valid).then_some(expected)
    }
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, version: Version, context: &Context) -> bool {
        let Operator { set, test, is_negated, if_exists } = self.operator;
        let found = context.get(&self.key);
        if test == Test::Null {
            return self.values.iter().any(|value| boolean(value) == Some(found.is_none()));
        }
        let Some(found) = found else {
            return if_exists
                || match set {
                    Some(Set::All) => true,
                    Some(Set::Any) => false,
                    None => is_negated,
                };
        };
        let matches = |value: &String| self.values.iter().any(|expected| same(test, expected, value, version, context));
        let one = |value| matches(value) != is_negated;
        match set {
            Some(Set::All) => found.iter().all(one),
            Some(Set::Any) => found.iter().any(one),
            // A key with several values under an operator for one: AWS advises against it. A match with any of them
            // is a match, and so a negated operator holds only when none matches.
            None => found.iter().any(matches) != is_negated,
        }
    }
}

/// Whether a value of the request is what a value of the policy says.
fn same(test: Test, expected: &str, found: &str, version: Version, context: &Context) -> bool {
    match test {
        Test::StringEquals => Pattern::exact(expected, version, context).is_some_and(|pattern| pattern.matches(found)),
        Test::StringEqualsIgnoreCase => {
            Pattern::exact(expected, version, context).is_some_and(|pattern| pattern.matches_ignoring_case(found))
        }
        Test::StringLike => Pattern::new(expected, version, context).is_some_and(|pattern| pattern.matches(found)),
        Test::Arn => Pattern::new(expected, version, context).is_some_and(|pattern| pattern.matches_arn(found)),
        Test::Numeric(order) => {
            let ordering =
                number(found).zip(number(expected)).and_then(|(found, expected)| found.partial_cmp(&expected));
            ordering.is_some_and(|ordering| order.holds(ordering))
        }
        Test::Date(order) => {
            date(found).zip(date(expected)).is_some_and(|(found, expected)| order.holds(found.cmp(&expected)))
        }
        Test::Bool => boolean(expected).is_some_and(|expected| boolean(found) == Some(expected)),
        Test::Binary => STANDARD.decode(expected).is_ok_and(|expected| STANDARD.decode(found) == Ok(expected)),
        Test::Ip => network(expected).zip(found.parse().ok()).is_some_and(|(network, ip)| contains(network, ip)),
        Test::Null => false,
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn number(text: &str) -> Option<f64> {
    let is_plain = text.chars().all(|char| char.is_ascii_digit() || "+-.eE".contains(char));
    text.parse().ok().filter(|_| is_plain)
}

/// Nanoseconds since 1970.
fn date(text: &str) -> Option<i128> {
    if let Ok(seconds) = text.parse::<i64>()
        && text.len() > 4
    {
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_nanosecond());
    }
    // A day, as in 2026-11-27: its beginning.
    let is_day = text.len() == "2026-11-27".len();
    let at = is_day.then(|| format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().ok()).flatten()?;
    Some(at.as_nanosecond())
}

/// An address and how many of its bits count.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max)?,
        None => bits_max,
    };
    Some((address, bits))
}

fn contains((network, bits): (IpAddr, u32), ip: IpAddr) -> bool {
    match (network, ip.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let differing = network.to_bits() ^ ip.to_bits();
            differing.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let differing = network.to_bits() ^ ip.to_bits();
            differing.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
