//! State machines: create, update, describe, list, delete.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use starmap_asl::Timestamp;
use starmap_engine::names::invalid_name;
use starmap_engine::registry::{Change, MachineKind, Resources, Revision, StateMachineRecord, Tag, VersionRecord};

use super::arn::{Named, named, wrong_kind};
use super::configuration::Configuration;
use super::definition::refused_definition;
use super::paging::{self, page_size};
use super::tags::{check_tags, read_tags};
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members, NAME, PAGE_SIZE, PAGE_TOKEN};
use crate::wire::values::{object, time};

/// Characters of a definition.
pub(super) const DEFINITION: Is = Is::Length(1, 1_048_576);
pub(super) const KIND: Is = Is::OneOf(&["STANDARD", "EXPRESS"]);
/// Characters of a version's or an alias's description.
pub(super) const DESCRIPTION: Is = Is::Length(0, 256);
const INCLUDED: Is = Is::OneOf(&["ALL_DATA", "METADATA_ONLY"]);

pub(super) struct Create {
    name: String,
    definition: String,
    role_arn: String,
    kind: MachineKind,
    configuration: Configuration,
    tags: Vec<Tag>,
    publish: Publish,
}

/// Whether a version is published along with a change.
struct Publish {
    wanted: bool,
    description: Option<String>,
}

impl Publish {
    fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            wanted: members.boolean("publish")?.unwrap_or(false),
            description: members.string("versionDescription", DESCRIPTION)?.map(str::to_owned),
        })
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.description.is_some() && !self.wanted {
            return Err(ApiError::new(
                "ValidationException",
                "Version description can only be set when publish is true",
            ));
        }
        Ok(())
    }
}

impl Create {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            name: members.required("name", NAME)?.to_owned(),
            definition: members.required("definition", DEFINITION)?.to_owned(),
            role_arn: members.required("roleArn", ARN)?.to_owned(),
            kind: members.string("type", KIND)?.and_then(MachineKind::parse).unwrap_or(MachineKind::Standard),
            configuration: Configuration::read(members)?,
            tags: read_tags(members)?.unwrap_or_default(),
            publish: Publish::read(members)?,
        })
    }
}

pub(super) struct Update {
    arn: String,
    definition: Option<String>,
    role_arn: Option<String>,
    configuration: Configuration,
    publish: Publish,
}

impl Update {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            definition: members.string("definition", DEFINITION)?.map(str::to_owned),
            role_arn: members.string("roleArn", ARN)?.map(str::to_owned),
            configuration: Configuration::read(members)?,
            publish: Publish::read(members)?,
        })
    }
}

pub(super) struct Describe {
    arn: String,
    has_data: bool,
}

impl Describe {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineArn", ARN)?.to_owned(), has_data: read_included(members)? })
    }
}

/// Whether a description is to hold inputs, outputs and definitions.
pub(super) fn read_included(members: &Members<'_>) -> Result<bool, ApiError> {
    Ok(members.string("includedData", INCLUDED)? != Some("METADATA_ONLY"))
}

pub(super) struct Delete {
    arn: String,
}

impl Delete {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("stateMachineArn", ARN)?.to_owned() })
    }
}

/// A page of a listing that has no filter.
pub(super) struct List {
    pub(super) size: usize,
    pub(super) token: Option<String>,
}

impl List {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            size: page_size(members.integer("maxResults", PAGE_SIZE)?),
            token: members.string("nextToken", PAGE_TOKEN)?.map(str::to_owned),
        })
    }
}

impl StepFunctions {
    pub(super) async fn create_state_machine(&self, create: Create) -> Answer {
        let Create { name, definition, role_arn, kind, configuration, tags, publish } = create;
        if invalid_name(&name).is_some() {
            return Err(invalid_name_error(&name));
        }
        check_role(&role_arn)?;
        configuration.check()?;
        publish.check()?;
        check_tags(&tags)?;
        refused_definition(&definition, kind)?;
        self.check_role(&role_arn, &definition)?;
        let (arn, at) = (self.engine.naming().state_machine(&name), self.now());
        let settings = configuration.over(&Value::Object(Map::new()));
        let made = self.engine.change(|resources| {
            refused_if_deleting(resources, &arn)?;
            if let Some(there) = resources.state_machine(&arn) {
                return same_machine(resources, there, &definition, kind, &settings, &publish);
            }
            let row = resources.next_revision();
            let revision = Revision::new(
                row,
                arn.clone(),
                name.clone(),
                kind,
                None,
                definition.clone(),
                role_arn.clone(),
                settings.clone(),
                at,
            );
            let mut machine = StateMachineRecord {
                arn: arn.clone(),
                name: name.clone(),
                kind,
                revision: row,
                last_version: 0,
                created_at: at,
                updated_at: at,
            };
            let mut changes = vec![Change::Revision(Arc::new(revision))];
            let version = publish.wanted.then(|| {
                let (version, change) = new_version(&mut machine, publish.description.clone(), at);
                changes.push(change);
                version
            });
            changes.push(Change::StateMachine(machine));
            if !tags.is_empty() {
                changes.push(Change::Tags { arn: arn.clone(), tags: tags.clone() });
            }
            Ok(((at, version), changes))
        });
        let (created_at, version) = made.await.map_err(unexpected("creating a state machine"))??;
        Ok(object([
            ("stateMachineArn", Some(Value::String(arn))),
            ("creationDate", Some(time(created_at))),
            ("stateMachineVersionArn", version.map(Value::String)),
        ]))
    }

    pub(super) async fn update_state_machine(&self, update: Update) -> Answer {
        let Update { arn, definition, role_arn, configuration, publish } = update;
        if !matches!(named(&arn)?, Named::StateMachine) {
            return Err(wrong_kind(&arn));
        }
        if definition.is_none() && role_arn.is_none() && configuration == Configuration::default() {
            return Err(ApiError::new(
                "MissingRequiredParameter",
                "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified",
            ));
        }
        if let Some(role_arn) = &role_arn {
            check_role(role_arn)?;
        }
        configuration.check()?;
        publish.check()?;
        let kind = self.engine.resources(|resources| resources.state_machine(&arn).map(|machine| machine.kind));
        let kind = kind.ok_or_else(|| does_not_exist(&arn))?;
        if let Some(definition) = &definition {
            refused_definition(definition, kind)?;
        }
        if let Some(role_arn) = &role_arn {
            self.check_role(role_arn, definition.as_deref().unwrap_or_default())?;
        }
        let (at, revision_id) = (self.now(), uuid::Uuid::new_v4().to_string());
        let made = self.engine.change(|resources| {
            refused_if_deleting(resources, &arn)?;
            let machine = resources.state_machine(&arn).ok_or_else(|| does_not_exist(&arn))?;
            let before = resources.revision(machine.revision).ok_or_else(|| does_not_exist(&arn))?;
            let definition = definition.clone().unwrap_or_else(|| before.definition.clone());
            let role_arn = role_arn.clone().unwrap_or_else(|| before.role_arn.clone());
            let settings = configuration.over(&before.settings);
            let is_same = definition == before.definition && role_arn == before.role_arn && settings == before.settings;
            let (mut machine, mut changes) = (machine.clone(), Vec::new());
            machine.updated_at = at;
            let id = if is_same {
                before.id.clone()
            } else {
                machine.revision = resources.next_revision();
                let (of, name) = (arn.clone(), machine.name.clone());
                let (row, id) = (machine.revision, Some(revision_id.clone()));
                let revision =
                    Revision::new(row, of, name, machine.kind, id.clone(), definition, role_arn, settings, at);
                changes.push(Change::Revision(Arc::new(revision)));
                id
            };
            let version = publish.wanted.then(|| match published(resources, &machine) {
                Some(there) => there.arn.clone(),
                None => {
                    let (version, change) = new_version(&mut machine, publish.description.clone(), at);
                    changes.push(change);
                    version
                }
            });
            changes.push(Change::StateMachine(machine));
            Ok::<_, ApiError>(((id, version), changes))
        });
        let (id, version) = made.await.map_err(unexpected("updating a state machine"))??;
        Ok(object([
            ("updateDate", Some(time(at))),
            ("revisionId", id.map(Value::String)),
            ("stateMachineVersionArn", version.map(Value::String)),
        ]))
    }

    pub(super) fn describe_state_machine(&self, describe: &Describe) -> Answer {
        let arn = describe.arn.as_str();
        let missing = || does_not_exist(arn);
        let (of, label) = match named(arn)? {
            Named::StateMachine => (arn, None),
            Named::Version { state_machine } | Named::Alias { state_machine } => (state_machine, None),
            Named::Labelled { state_machine, label } => (state_machine, Some(label)),
            _ => return Err(wrong_kind(arn)),
        };
        let found = self.engine.resources(|resources| {
            let machine = resources.state_machine(of)?.clone();
            let version = match named(arn) {
                Ok(Named::Version { .. }) => Some(resources.version(arn)?.clone()),
                Ok(Named::Alias { .. }) => {
                    let alias = resources.alias(arn)?;
                    Some(resources.version(&alias.routes.first()?.version_arn)?.clone())
                }
                _ => None,
            };
            let row = version.as_ref().map_or(machine.revision, |version| version.revision);
            let status = if resources.is_deleting(of) { "DELETING" } else { "ACTIVE" };
            Some((machine, version, Arc::clone(resources.revision(row)?), status))
        });
        let (machine, version, revision, status) = found.ok_or_else(missing)?;
        let created_at = version.as_ref().map_or(machine.created_at, |version| version.created_at);
        let mut described = describe_revision(&revision, describe.has_data);
        described.insert("stateMachineArn".to_owned(), Value::from(arn));
        described.insert("status".to_owned(), Value::from(status));
        described.insert("type".to_owned(), Value::from(machine.kind.as_str()));
        described.insert("creationDate".to_owned(), time(created_at));
        if let Some(label) = label {
            described.insert("label".to_owned(), Value::from(label));
        }
        if let Some(description) = version.and_then(|version| version.description) {
            described.insert("description".to_owned(), Value::String(description));
        }
        Ok(Value::Object(described))
    }

    pub(super) async fn delete_state_machine(&self, delete: &Delete) -> Answer {
        let arn = delete.arn.as_str();
        if !matches!(named(arn)?, Named::StateMachine) {
            return Err(wrong_kind(arn));
        }
        let deleted = self.engine.change(|resources| {
            let there = resources.state_machine(arn).filter(|there| !resources.is_deleting(&there.arn));
            let changes = there.map(|there| Change::StateMachineDeleting { arn: there.arn.clone() });
            Ok::<_, ApiError>(((), changes.into_iter().collect()))
        });
        deleted.await.map_err(unexpected("deleting a state machine"))??;
        self.finish_deletions().await?;
        Ok(json!({}))
    }

    /// Lets those state machines go that were deleted while something of them ran, and of which nothing runs now.
    ///
    /// Before each action, so that nobody has to watch executions for it, and none is forgotten with a crash.
    pub(super) async fn finish_deletions(&self) -> Result<(), ApiError> {
        let deleting: Vec<String> =
            self.engine.resources(|resources| resources.deleting().map(str::to_owned).collect());
        for arn in deleting {
            if self.engine.is_running(&arn).await.map_err(unexpected("looking for what runs"))? {
                continue;
            }
            let gone = self.engine.change(|resources| {
                // Another call may have been here before, and a new machine may have that ARN already.
                let is_there = resources.is_deleting(&arn);
                let changes = is_there.then(|| Change::StateMachineDeleted { arn: arn.clone() });
                Ok::<_, ApiError>(((), changes.into_iter().collect()))
            });
            gone.await.map_err(unexpected("deleting a state machine"))??;
        }
        Ok(())
    }

    pub(super) fn list_state_machines(&self, list: &List) -> Answer {
        let (question, now) = ("ListStateMachines", self.now());
        let after = paging::key(question, list.token.as_deref(), now)?;
        let mut machines: Vec<_> = self.engine.resources(|resources| {
            resources.state_machines().map(|machine| (machine.name.clone(), machine.clone())).collect()
        });
        machines.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (page, next) = paging::page(machines, after.as_deref(), list.size, question, now);
        let listed = page.into_iter().map(|machine| {
            json!({
                "stateMachineArn": machine.arn, "name": machine.name, "type": machine.kind.as_str(),
                "creationDate": time(machine.created_at),
            })
        });
        Ok(object([("stateMachines", Some(Value::Array(listed.collect()))), ("nextToken", next.map(Value::String))]))
    }
}

/// What descriptions of a state machine say of a revision.
pub(super) fn describe_revision(revision: &Revision, has_data: bool) -> Map<String, Value> {
    let mut described = Map::new();
    described.insert("name".to_owned(), Value::from(revision.state_machine_name.as_str()));
    if has_data {
        described.insert("definition".to_owned(), Value::from(revision.definition.as_str()));
    }
    described.insert("roleArn".to_owned(), Value::from(revision.role_arn.as_str()));
    Configuration::describe(&revision.settings, &mut described);
    if let Some(id) = &revision.id {
        described.insert("revisionId".to_owned(), Value::from(id.as_str()));
    }
    if let Some(references) = super::definition::variable_references(revision) {
        described.insert("variableReferences".to_owned(), references);
    }
    described
}

/// The version that was published last, if it stands for what the machine is now.
pub(super) fn published<'a>(resources: &'a Resources, machine: &StateMachineRecord) -> Option<&'a VersionRecord> {
    resources.versions_of(&machine.arn).pop().filter(|version| version.revision == machine.revision)
}

/// Gives the next version number to what the machine is now.
pub(super) fn new_version(
    machine: &mut StateMachineRecord,
    description: Option<String>,
    at: Timestamp,
) -> (String, Change) {
    machine.last_version += 1;
    let arn = format!("{}:{}", machine.arn, machine.last_version);
    let version = VersionRecord {
        arn: arn.clone(),
        state_machine_arn: machine.arn.clone(),
        number: machine.last_version,
        revision: machine.revision,
        description,
        created_at: at,
    };
    (arn, Change::Version(version))
}

type Made = ((Timestamp, Option<String>), Vec<Change>);

/// The same request again is answered again; role and tags are not compared, as on AWS.
fn same_machine(
    resources: &Resources,
    there: &StateMachineRecord,
    definition: &str,
    kind: MachineKind,
    settings: &Value,
    publish: &Publish,
) -> Result<Made, ApiError> {
    let is_same = resources.revision(there.revision).is_some_and(|revision| {
        revision.definition == definition && revision.kind == kind && revision.settings == *settings
    });
    let version = published(resources, there);
    let is_same_version =
        publish.wanted == version.is_some() && version.is_none_or(|version| version.description == publish.description);
    if !is_same || !is_same_version {
        let message = format!("State Machine Already Exists: '{}'", there.arn);
        return Err(ApiError::new("StateMachineAlreadyExists", message));
    }
    Ok(((there.created_at, version.map(|version| version.arn.clone())), Vec::new()))
}

fn check_role(arn: &str) -> Result<(), ApiError> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let is_role = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, rest]
        if partition.starts_with("aws") && account.len() == 12 && rest.starts_with("role/"));
    if is_role {
        return Ok(());
    }
    Err(ApiError::new("InvalidArn", format!("Invalid Role Arn: '{arn}'")))
}

/// What AWS answers to a name that it does not take.
pub(super) fn invalid_name_error(name: &str) -> ApiError {
    ApiError::new("InvalidName", format!("Invalid Name: '{name}'"))
}

/// A state machine that is to go can neither be started nor changed.
pub(super) fn refused_if_deleting(resources: &Resources, arn: &str) -> Result<(), ApiError> {
    if !resources.is_deleting(arn) {
        return Ok(());
    }
    Err(ApiError::new("StateMachineDeleting", format!("State Machine is being deleted: '{arn}'")))
}

/// What AWS answers when there is no such state machine.
pub(super) fn does_not_exist(arn: &str) -> ApiError {
    ApiError::new("StateMachineDoesNotExist", format!("State Machine Does Not Exist: '{arn}'"))
}
