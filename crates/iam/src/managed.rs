//! The AWS managed policies that are built in, as AWS has them.
//!
//! # Source
//! <https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html>; `managed/policies.json` has each
//! policy's default version with the date that AWS gave it. Read 2026-11.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use crate::policy::{Kind, Policy};

/// One policy of AWS's.
#[derive(Debug, Clone)]
pub struct Managed {
    /// As in `AmazonS3FullAccess`.
    pub name: String,
    /// `/` or, for some, `/service-role/`.
    pub path: String,
    /// As in `arn:aws:iam::aws:policy/AmazonS3FullAccess`.
    pub arn: String,
    /// Its default version, as in `v2`.
    pub version: String,
    /// When AWS made it, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When AWS made this version, milliseconds since 1970.
    pub updated_at_ms: i64,
    /// What it says.
    pub policy: Policy,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    path: String,
    version: String,
    created: String,
    updated: String,
    document: Value,
}

/// All of them, by name.
pub fn all() -> &'static [Managed] {
    static ALL: OnceLock<Vec<Managed>> = OnceLock::new();
    ALL.get_or_init(|| {
        let entries: Vec<Entry> =
            serde_json::from_str(include_str!("managed/policies.json")).expect("the file is part of the program");
        entries.into_iter().map(Managed::from).collect()
    })
}

/// One by its ARN.
pub fn get(arn: &str) -> Option<&'static Managed> {
    all().iter().find(|managed| managed.arn == arn)
}

impl From<Entry> for Managed {
    fn from(entry: Entry) -> Self {
        let Entry { name, path, version, created, updated, document } = entry;
        let text = serde_json::to_string_pretty(&document).expect("a JSON value can be written");
        let policy = Policy::parse(&text, Kind::Identity).expect("a policy of AWS's keeps to the grammar");
        let at = |text: &str| text.parse::<jiff::Timestamp>().expect("a time of AWS's").as_millisecond();
        let arn = format!("arn:aws:iam::aws:policy{path}{name}");
        Self { arn, version, created_at_ms: at(&created), updated_at_ms: at(&updated), policy, name, path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_role_finds_its_policies() {
        for name in [
            "AmazonS3FullAccess",
            "AWSLambda_FullAccess",
            "AWSStepFunctionsFullAccess",
            "service-role/AWSLambdaBasicExecutionRole",
            "AWSXRayDaemonWriteAccess",
            "CloudWatchLogsFullAccess",
        ] {
            assert!(get(&format!("arn:aws:iam::aws:policy/{name}")).is_some(), "{name}");
        }
        assert!(all().is_sorted_by(|a, b| a.name < b.name));
    }
}
