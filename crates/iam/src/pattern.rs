//! Wildcards, ARNs and policy variables.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>, read 2026-11.

use crate::policy::Version;
use crate::request::Context;

/// One piece of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// `*`
    Any,
    /// `?`
    One,
    /// Itself. `is_written` if the policy has it; otherwise it came out of a variable.
    Char { char: char, is_written: bool },
}

/// A string of a policy, its variables replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

/// Fields of an ARN: `arn:partition:service:region:account:resource`.
const ARN_FIELDS: usize = 6;

impl Pattern {
    /// A string in which `*` and `?` are wildcards, with variables where the policy's version has them.
    ///
    /// `None` if it has a variable without a value and without a default: nothing matches it then. What a variable
    /// stands for has no wildcards.
    pub fn new(text: &str, version: Version, context: &Context) -> Option<Self> {
        Self::parse(text, version, context, true)
    }

    /// The same where `*` and `?` are themselves, as in `StringEquals`.
    pub fn exact(text: &str, version: Version, context: &Context) -> Option<Self> {
        Self::parse(text, version, context, false)
    }

    /// Wildcards only, without variables.
    pub fn plain(text: &str) -> Self {
        Self(text.chars().map(|char| piece(char, true)).collect())
    }

    fn parse(text: &str, version: Version, context: &Context, has_wildcards: bool) -> Option<Self> {
        let mut pieces = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(char) = rest.chars().next() {
            let variable = (version == Version::V2012).then(|| rest.strip_prefix("${")).flatten();
            if let Some((variable, after)) = variable.and_then(|inner| inner.split_once('}')) {
                let literal = |char| Piece::Char { char, is_written: false };
                pieces.extend(value(variable, context)?.chars().map(literal));
                rest = after;
                continue;
            }
            pieces.push(piece(char, has_wildcards));
            rest = &rest[char.len_utf8()..];
        }
        Some(Self(pieces))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        glob(&self.0, &text, |pattern, char| pattern == char)
    }

    /// The same without regard to case.
    pub fn matches_ignoring_case(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        glob(&self.0, &text, |pattern, char| pattern == char || pattern.to_lowercase().eq(char.to_lowercase()))
    }

    /// Whether an ARN matches: field by field, so that no wildcard of one field reaches into the next, but for the
    /// last field, in which resources have colons of their own. A pattern of fewer fields matches what is left of
    /// the ARN if it ends with `*`, which may reach beyond its field there.
    pub fn matches_arn(&self, arn: &str) -> bool {
        if self.0 == [Piece::Any] {
            return true;
        }
        let mut fields: Vec<&[Piece]> = Vec::with_capacity(ARN_FIELDS);
        let mut rest = self.0.as_slice();
        while fields.len() < ARN_FIELDS - 1 {
            let colon = Piece::Char { char: ':', is_written: true };
            let Some(at) = rest.iter().position(|piece| *piece == colon) else { break };
            fields.push(&rest[..at]);
            rest = &rest[at + 1..];
        }
        fields.push(rest);
        let values: Vec<&str> = arn.splitn(fields.len(), ':').collect();
        let is_open = fields.len() == ARN_FIELDS || self.0.last() == Some(&Piece::Any);
        is_open
            && values.len() == fields.len()
            && fields.iter().zip(values).all(|(field, value)| {
                let value: Vec<char> = value.chars().collect();
                glob(field, &value, |pattern, char| pattern == char)
            })
    }
}

fn piece(char: char, has_wildcards: bool) -> Piece {
    match char {
        '*' if has_wildcards => Piece::Any,
        '?' if has_wildcards => Piece::One,
        char => Piece::Char { char, is_written: true },
    }
}

/// What stands for a variable: a key of the context with one value, or the default after a comma. `${*}`, `${?}` and
/// `${$}` are the characters themselves.
fn value(variable: &str, context: &Context) -> Option<String> {
    if matches!(variable, "*" | "?" | "$") {
        return Some(variable.to_owned());
    }
    let (key, default) = match variable.split_once(',') {
        Some((key, default)) => (key, default.trim().strip_prefix('\'').and_then(|text| text.strip_suffix('\''))),
        None => (variable, None),
    };
    match context.get(key.trim()) {
        Some([value]) => Some(value.clone()),
        // A key with several values can't be a variable.
        _ => default.map(str::to_owned),
    }
}

/// Whether `text` matches: linear in both but for one step back per `*`.
fn glob(pattern: &[Piece], text: &[char], same: impl Fn(char, char) -> bool) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(Piece::Any) => {
                star = Some((at, read));
                at += 1;
                continue;
            }
            Some(Piece::One) => {
                at += 1;
                read += 1;
                continue;
            }
            Some(Piece::Char { char, .. }) if same(*char, text[read]) => {
                at += 1;
                read += 1;
                continue;
            }
            _ => {}
        }
        let Some((star_at, star_read)) = star else { return false };
        star = Some((star_at, star_read + 1));
        at = star_at + 1;
        read = star_read + 1;
    }
    pattern[at..].iter().all(|piece| *piece == Piece::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_what_they_should() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("s3:Get*", "s3:GetObject", true),
            ("s3:Get*", "s3:PutObject", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxbxxcb", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::plain(pattern).matches(text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn wildcards_stay_within_a_field_of_an_arn() {
        let queue = "arn:aws:sqs:us-east-1:123456789012:jobs";
        for (pattern, arn, expected) in [
            ("*", queue, true),
            ("arn:aws:sqs:*:123456789012:jobs", queue, true),
            ("arn:aws:sqs:*:jobs", queue, false),
            ("arn:aws:sqs:*", queue, true),
            ("arn:aws:sqs", queue, false),
            ("arn:aws:s3:::sky/*", "arn:aws:s3:::sky/a:b/c", true),
            ("arn:aws:s3:::sky*", "arn:aws:s3:::sky-2", true),
            ("arn:aws:lambda:*:*:function:f:*", "arn:aws:lambda:us-east-1:123456789012:function:f:live", true),
            ("arn:aws:lambda:*:*:function:f:*", "arn:aws:lambda:us-east-1:123456789012:function:f", false),
            ("arn:aws:s3:::sky", "sky", false),
        ] {
            assert_eq!(Pattern::plain(pattern).matches_arn(arn), expected, "{pattern} {arn}");
        }
    }

    #[test]
    fn variables_stand_for_values_and_never_for_wildcards() {
        let context = Context::from_iter([("aws:username", "kim*"), ("aws:PrincipalTag/team", "sky")]);
        let new = |text| Pattern::new(text, Version::V2012, &context);
        assert!(new("home/${aws:username}/*").unwrap().matches("home/kim*/a"));
        assert!(!new("home/${aws:username}/*").unwrap().matches("home/kimberly/a"));
        assert!(new("${AWS:PrincipalTag/Team}").unwrap().matches("sky"));
        assert!(new("${aws:PrincipalTag/none, 'all'}").unwrap().matches("all"));
        assert_eq!(new("${aws:PrincipalTag/none}"), None);
        assert!(new("a${*}b${?}${$}").unwrap().matches("a*b?$"));
        assert!(!new("a${*}b").unwrap().matches("axb"));
        let old = Pattern::new("${aws:username}", Version::V2008, &context).unwrap();
        assert!(old.matches("${aws:username}"));
    }
}
