//! Versions of a state machine: publish, list, delete.

use serde_json::{Value, json};
use starmap_engine::registry::Change;

use super::arn::{Named, named, wrong_kind};
use super::paging::{self, page_size};
use super::state_machines::{DESCRIPTION, does_not_exist, new_version, published, refused_if_deleting};
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ANY, ARN, LONG_ARN, Members, PAGE_SIZE, PAGE_TOKEN};
use crate::wire::values::{object, time};

/// Versions that a state machine may have.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
const VERSIONS_MAX: usize = 1_000;

pub(super) struct Publish {
    arn: String,
    revision_id: Option<String>,
    description: Option<String>,
}

impl Publish {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            revision_id: members.string("revisionId", ANY)?.map(str::to_owned),
            description: members.string("description", DESCRIPTION)?.map(str::to_owned),
        })
    }
}

pub(super) struct Delete {
    arn: String,
}

impl Delete {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineVersionArn", LONG_ARN)?.to_owned() })
    }
}

/// A page of what belongs to one state machine: its versions or its aliases.
pub(super) struct ListOf {
    pub(super) arn: String,
    pub(super) size: usize,
    pub(super) token: Option<String>,
}

impl ListOf {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            size: page_size(members.integer("maxResults", PAGE_SIZE)?),
            token: members.string("nextToken", PAGE_TOKEN)?.map(str::to_owned),
        })
    }
}

impl StepFunctions {
    pub(super) async fn publish_state_machine_version(&self, publish: &Publish) -> Answer {
        let arn = publish.arn.as_str();
        if !matches!(named(arn)?, Named::StateMachine) {
            return Err(wrong_kind(arn));
        }
        let at = self.now();
        let made = self.engine.change(|resources| {
            refused_if_deleting(resources, arn)?;
            let machine = resources.state_machine(arn).ok_or_else(|| does_not_exist(arn))?;
            let revision = resources.revision(machine.revision).ok_or_else(|| does_not_exist(arn))?;
            let current = revision.id.as_deref().unwrap_or("INITIAL");
            if let Some(wanted) = publish.revision_id.as_deref().filter(|wanted| *wanted != current) {
                let message = format!(
                    "Failed to publish the State Machine version for revision {wanted}. \
                     The current State Machine revision is {current}."
                );
                return Err(ApiError::new("ConflictException", message));
            }
            if let Some(there) = published(resources, machine) {
                return Ok(((there.arn.clone(), there.created_at), Vec::new()));
            }
            if resources.versions_of(arn).len() >= VERSIONS_MAX {
                let message = format!("The state machine has {VERSIONS_MAX} versions already; delete some of them.");
                return Err(ApiError::new("ServiceQuotaExceededException", message));
            }
            let mut machine = machine.clone();
            let (version, change) = new_version(&mut machine, publish.description.clone(), at);
            Ok(((version, at), vec![change, Change::StateMachine(machine)]))
        });
        let (version, created_at) = made.await.map_err(unexpected("publishing a version"))??;
        Ok(json!({ "creationDate": time(created_at), "stateMachineVersionArn": version }))
    }

    pub(super) fn list_state_machine_versions(&self, list: &ListOf) -> Answer {
        let arn = list.arn.as_str();
        if !matches!(named(arn)?, Named::StateMachine) {
            return Err(wrong_kind(arn));
        }
        let (question, now) = (format!("ListStateMachineVersions {arn}"), self.now());
        let after = paging::key(&question, list.token.as_deref(), now)?;
        let versions: Vec<_> = self.engine.resources(|resources| {
            // Newest first: the key counts down.
            let key = |number: u64| format!("{:020}", u64::MAX - number);
            resources.versions_of(arn).into_iter().rev().map(|version| (key(version.number), version.clone())).collect()
        });
        let (page, next) = paging::page(versions, after.as_deref(), list.size, &question, now);
        let listed = page
            .into_iter()
            .map(|version| json!({ "stateMachineVersionArn": version.arn, "creationDate": time(version.created_at) }));
        Ok(object([
            ("stateMachineVersions", Some(Value::Array(listed.collect()))),
            ("nextToken", next.map(Value::String)),
        ]))
    }

    pub(super) async fn delete_state_machine_version(&self, delete: &Delete) -> Answer {
        let arn = delete.arn.as_str();
        let Named::Version { state_machine } = named(arn)? else { return Err(wrong_kind(arn)) };
        let deleted = self.engine.change(|resources| {
            let leads_here = |alias: &&starmap_engine::registry::AliasRecord| {
                alias.routes.iter().any(|route| route.version_arn == arn)
            };
            let aliases: Vec<&str> =
                resources.aliases_of(state_machine).filter(leads_here).map(|alias| alias.name.as_str()).collect();
            if !aliases.is_empty() {
                let message = format!(
                    "Version to be deleted must not be referenced by an alias. \
                     Current list of aliases referencing this version: [{}]",
                    aliases.join(", ")
                );
                return Err(ApiError::new("ConflictException", message));
            }
            let change = resources.version(arn).map(|version| Change::VersionDeleted { arn: version.arn.clone() });
            Ok(((), change.into_iter().collect()))
        });
        deleted.await.map_err(unexpected("deleting a version"))??;
        Ok(json!({}))
    }
}
