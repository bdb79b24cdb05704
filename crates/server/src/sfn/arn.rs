//! ARNs of Step Functions: what kind of thing one names.

use crate::error::ApiError;

/// What an ARN names; the parts borrow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// `stateMachine:NAME`
    StateMachine,
    /// `stateMachine:NAME:NUMBER`
    Version { state_machine: &'a str },
    /// `stateMachine:NAME:ALIAS`
    Alias { state_machine: &'a str },
    /// `stateMachine:NAME/LABEL`
    Labelled { state_machine: &'a str, label: &'a str },
    /// `execution:NAME:EXECUTION`, of a child `execution:NAME/LABEL:EXECUTION`
    Execution,
    /// `express:NAME:EXECUTION:ID`
    ExpressExecution,
    /// `mapRun:NAME/LABEL:ID`
    MapRun,
    /// `activity:NAME`
    Activity,
}

/// What `arn` names.
///
/// # Errors
/// AWS's `InvalidArn`, if it is no ARN of Step Functions.
pub(super) fn named(arn: &str) -> Result<Named<'_>, ApiError> {
    parse(arn).ok_or_else(|| invalid(&format!("Invalid ARN prefix: {arn}")))
}

/// What AWS answers to an ARN of the wrong kind.
pub(super) fn wrong_kind(arn: &str) -> ApiError {
    let kind = arn.split(':').nth(5).unwrap_or_default();
    invalid(&format!("Resource type not valid in this context: {kind}"))
}

fn invalid(reason: &str) -> ApiError {
    ApiError::new("InvalidArn", format!("Invalid Arn: '{reason}'"))
}

fn parse(arn: &str) -> Option<Named<'_>> {
    let mut parts = arn.splitn(7, ':');
    let (head, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account) = (parts.next()?, parts.next()?);
    let (kind, rest) = (parts.next()?, parts.next()?);
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    if head != "arn" || !partition.starts_with("aws") || service != "states" || region.is_empty() || !is_account {
        return None;
    }
    let pieces: Vec<&str> = rest.split(':').collect();
    if pieces.iter().any(|piece| piece.is_empty()) {
        return None;
    }
    let without = |tail: &str| &arn[..arn.len() - tail.len() - 1];
    match (kind, pieces.as_slice()) {
        ("stateMachine", [name]) => match name.split_once('/') {
            None => Some(Named::StateMachine),
            Some((name, label)) if !name.is_empty() && !label.is_empty() => {
                Some(Named::Labelled { state_machine: without(label), label })
            }
            Some(_) => None,
        },
        ("stateMachine", [_, number]) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(Named::Version { state_machine: without(number) })
        }
        ("stateMachine", [_, alias]) => Some(Named::Alias { state_machine: without(alias) }),
        ("execution", [_, _]) => Some(Named::Execution),
        ("express", [_, _, ..]) => Some(Named::ExpressExecution),
        ("mapRun", [_, _]) => Some(Named::MapRun),
        ("activity", [_]) => Some(Named::Activity),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_say_what_they_name() {
        let named = |rest: &str| parse(&format!("arn:aws:states:us-east-1:000000000000:{rest}")).map(|_| ());
        for good in [
            "stateMachine:m",
            "stateMachine:m:1",
            "stateMachine:m:live",
            "stateMachine:m/label",
            "execution:m:e",
            "execution:m/label:e",
            "express:m:e:id",
            "mapRun:m/label:id",
            "activity:a",
        ] {
            assert!(named(good).is_some(), "{good}");
        }
        for bad in ["", "stateMachine", "stateMachine:", "stateMachine:m:1:2", "execution:m", "activity:a:b", "role:r"]
        {
            assert!(named(bad).is_none(), "{bad}");
        }
        let version = "arn:aws:states:us-east-1:000000000000:stateMachine:m:12";
        assert_eq!(parse(version), Some(Named::Version { state_machine: &version[..version.len() - 3] }));
        assert_eq!(parse("arn:aws:s3:us-east-1:000000000000:stateMachine:m"), None);
        assert_eq!(parse("arn:aws:states:us-east-1:1:stateMachine:m"), None);
    }
}
