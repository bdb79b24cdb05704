//! ARNs of Step Functions: what kind of thing one names.

use starmap_engine::names::Naming;

use crate::error::ApiError;

/// What an ARN names; the parts borrow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// `stateMachine:NAME`
    StateMachine,
    /// `stateMachine:NAME:QUALIFIER`: a version if the qualifier is a number, else an alias.
    Qualified { state_machine: &'a str, qualifier: &'a str },
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

/// What `arn` names; `None` if it is no ARN of Step Functions.
pub(super) fn named(arn: &str) -> Option<Named<'_>> {
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
        ("stateMachine", [_, qualifier]) => Some(Named::Qualified { state_machine: without(qualifier), qualifier }),
        ("execution", [_, _]) => Some(Named::Execution),
        ("express", [_, _, _] | [_, _]) => Some(Named::ExpressExecution),
        ("mapRun", [_, _]) => Some(Named::MapRun),
        ("activity", [_]) => Some(Named::Activity),
        _ => None,
    }
}

/// What AWS answers to an ARN that is none.
pub(super) fn invalid_arn(arn: &str) -> ApiError {
    ApiError::new("InvalidArn", format!("Invalid Arn: 'Invalid ARN prefix: {}'", prefix(arn)))
}

fn prefix(arn: &str) -> &str {
    arn
}

/// What AWS answers to an ARN of something else.
pub(super) fn wrong_kind(expected: &str) -> ApiError {
    ApiError::new("InvalidArn", format!("Invalid Arn: 'Resource type not valid in this context: {expected}'"))
}

/// Whether an ARN is in our account and region.
#[allow(dead_code, reason = "comes with the checks on ARNs")]
pub(super) fn is_ours(arn: &str, naming: &Naming) -> bool {
    let mut parts = arn.split(':').skip(3);
    parts.next() == Some(&naming.region) && parts.next() == Some(&naming.account)
}

/// The word after the account: what AWS calls the resource's type.
pub(super) fn resource_type(arn: &str) -> &str {
    arn.split(':').nth(5).unwrap_or_default()
}
