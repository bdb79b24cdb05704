//! State machines: create, describe, list, delete.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::Diagnostic;
use starmap_engine::names::invalid_name;
use starmap_engine::registry::{Change, MachineKind, Revision, StateMachineRecord};

use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members, NAME};
use crate::wire::values::{object, time};

/// Characters of a definition.
const DEFINITION: Is = Is::Length(1, 1_048_576);
const KIND: Is = Is::OneOf(&["STANDARD", "EXPRESS"]);

pub(super) struct Create {
    name: String,
    definition: String,
    role_arn: String,
    kind: MachineKind,
}

impl Create {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            name: members.required("name", NAME)?.to_owned(),
            definition: members.required("definition", DEFINITION)?.to_owned(),
            role_arn: members.required("roleArn", ARN)?.to_owned(),
            kind: members.string("type", KIND)?.and_then(MachineKind::parse).unwrap_or(MachineKind::Standard),
        })
    }
}

pub(super) struct Describe {
    arn: String,
}

impl Describe {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineArn", ARN)?.to_owned() })
    }
}

pub(super) struct Delete {
    arn: String,
}

impl Delete {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineArn", ARN)?.to_owned() })
    }
}

impl StepFunctions {
    pub(super) async fn create_state_machine(&self, create: Create) -> Answer {
        let Create { name, definition, role_arn, kind } = create;
        if invalid_name(&name).is_some() {
            return Err(ApiError::new("InvalidName", format!("Invalid Name: '{name}'")));
        }
        let (arn, at) = (self.engine.naming().state_machine(&name), self.now());
        let made = self.engine.change(|resources| {
            if let Some(there) = resources.state_machine(&arn) {
                let same = resources.revision(there.revision).is_some_and(|revision| {
                    revision.definition == definition && revision.role_arn == role_arn && revision.kind == kind
                });
                if !same {
                    let message = format!("State Machine Already Exists: '{arn}'");
                    return Err(ApiError::new("StateMachineAlreadyExists", message));
                }
                return Ok((there.created_at, Vec::new()));
            }
            let row = resources.next_revision();
            let revision =
                Revision::new(row, arn.clone(), name.clone(), kind, None, definition, role_arn, json!({}), at);
            if let Err(diagnostics) = revision.machine() {
                return Err(invalid_definition(diagnostics));
            }
            let machine = StateMachineRecord {
                arn: arn.clone(),
                name,
                kind,
                revision: row,
                last_version: 0,
                created_at: at,
                updated_at: at,
            };
            Ok((at, vec![Change::Revision(Arc::new(revision)), Change::StateMachine(machine)]))
        });
        let created_at = made.await.map_err(unexpected("creating a state machine"))??;
        Ok(json!({ "stateMachineArn": arn, "creationDate": time(created_at) }))
    }

    pub(super) fn describe_state_machine(&self, describe: &Describe) -> Answer {
        let found = self.engine.resources(|resources| {
            let machine = resources.state_machine(&describe.arn)?;
            Some((machine.clone(), Arc::clone(resources.revision(machine.revision)?)))
        });
        let (machine, revision) = found.ok_or_else(|| does_not_exist(&describe.arn))?;
        Ok(object([
            ("stateMachineArn", Some(Value::String(machine.arn))),
            ("name", Some(Value::String(machine.name))),
            ("status", Some(Value::from("ACTIVE"))),
            ("definition", Some(Value::from(revision.definition.as_str()))),
            ("roleArn", Some(Value::from(revision.role_arn.as_str()))),
            ("type", Some(Value::from(machine.kind.as_str()))),
            ("creationDate", Some(time(machine.created_at))),
            ("loggingConfiguration", Some(json!({ "level": "OFF", "includeExecutionData": false }))),
            ("tracingConfiguration", Some(json!({ "enabled": false }))),
            ("revisionId", revision.id.clone().map(Value::String)),
        ]))
    }

    pub(super) async fn delete_state_machine(&self, delete: &Delete) -> Answer {
        let deleted = self.engine.change(|resources| {
            let there = resources.state_machine(&delete.arn);
            Ok::<_, ApiError>((
                (),
                there.map(|there| Change::StateMachineDeleted { arn: there.arn.clone() }).into_iter().collect(),
            ))
        });
        deleted.await.map_err(unexpected("deleting a state machine"))??;
        Ok(json!({}))
    }

    pub(super) fn list_state_machines(&self) -> Answer {
        let mut machines: Vec<StateMachineRecord> =
            self.engine.resources(|resources| resources.state_machines().cloned().collect());
        machines.sort_by_key(|machine| std::cmp::Reverse(machine.created_at));
        let listed = machines.into_iter().map(|machine| {
            json!({
                "stateMachineArn": machine.arn, "name": machine.name, "type": machine.kind.as_str(),
                "creationDate": time(machine.created_at),
            })
        });
        Ok(json!({ "stateMachines": listed.collect::<Vec<_>>() }))
    }
}

/// What AWS answers when there is no such state machine.
pub(super) fn does_not_exist(arn: &str) -> ApiError {
    ApiError::new("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
}

/// What AWS answers to a definition with errors.
pub(super) fn invalid_definition(diagnostics: &[Diagnostic]) -> ApiError {
    let listed = diagnostics.iter().map(|diagnostic| {
        let place = if diagnostic.pointer.is_empty() { "/" } else { &diagnostic.pointer };
        format!("{}: {} at {place}", diagnostic.code.as_str(), diagnostic.message)
    });
    let listed: Vec<_> = listed.collect();
    ApiError::new("InvalidDefinition", format!("Invalid State Machine Definition: '{}'", listed.join(", ")))
}
