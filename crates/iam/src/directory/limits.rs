//! IAM's limits, and which names it takes.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>, read 2026-11.

use std::collections::BTreeMap;

use super::Error;
use crate::policy::{Kind, Policy};

/// Managed policies on one role or user.
pub const ATTACHED_MAX: usize = 10;
/// Characters of a role's inline policies together, without white space.
pub const ROLE_INLINE_CHARS_MAX: usize = 10_240;
/// Characters of a user's inline policies together, without white space.
pub const USER_INLINE_CHARS_MAX: usize = 2_048;
/// Characters of a managed policy, without white space.
pub const MANAGED_CHARS_MAX: usize = 6_144;
/// Characters of a trust policy, without white space.
pub const TRUST_CHARS_MAX: usize = 2_048;
/// Versions of a managed policy.
pub const VERSIONS_MAX: usize = 5;
/// Tags on one thing.
pub const TAGS_MAX: usize = 50;
/// Access keys of a user.
pub const ACCESS_KEYS_MAX: usize = 2;
/// How long a session may be at most, seconds.
pub const SESSION_S: core::ops::RangeInclusive<u32> = 3_600..=43_200;

/// Characters that count.
pub(super) fn chars(policy: &Policy) -> usize {
    policy.text().chars().filter(|char| !char.is_whitespace()).count()
}

pub(super) fn check_name(what: &str, name: &str, chars_max: usize) -> Result<(), Error> {
    let is_valid = !name.is_empty()
        && name.chars().count() <= chars_max
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "+=,.@_-".contains(char));
    if is_valid {
        return Ok(());
    }
    Err(Error::ValidationError(format!(
        "The specified value for {what} is invalid. It must contain only alphanumeric characters and/or the following: \
         +=,.@_- and have 1 to {chars_max} of them; found {name:?}"
    )))
}

pub(super) fn check_path(path: &str) -> Result<(), Error> {
    let is_valid = path.starts_with('/')
        && path.ends_with('/')
        && path.len() <= 512
        && path.chars().all(|char| ('\u{21}'..='\u{7e}').contains(&char));
    if is_valid {
        return Ok(());
    }
    Err(Error::ValidationError(format!(
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters \
         and/or / characters; found {path:?}"
    )))
}

/// A document of one kind within its size.
pub(super) fn document(text: &str, kind: Kind, chars_max: usize, what: &str) -> Result<Policy, Error> {
    let policy = Policy::parse(text, kind).map_err(Error::MalformedPolicyDocument)?;
    if chars(&policy) > chars_max {
        return Err(Error::LimitExceeded(format!("Cannot exceed quota for {what}: {chars_max}")));
    }
    Ok(policy)
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Error> {
    if tags.len() > TAGS_MAX {
        return Err(Error::LimitExceeded(format!("The number of tags has reached the maximum limit. {TAGS_MAX}")));
    }
    for (key, value) in tags {
        let is_valid = (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256;
        if !is_valid || key.to_lowercase().starts_with("aws:") {
            return Err(Error::InvalidInput(format!(
                "tag {key:?}={value:?}: keys have 1 to 128 characters and do not begin with aws:, values up to 256"
            )));
        }
    }
    Ok(())
}
