//! Executions: start, describe, list, stop.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use starmap_asl::Timestamp;
use starmap_engine::core::not_redrivable;
use starmap_engine::journal::{
    Awaiting, ExecutionFilter, ExecutionId, ExecutionRecord, ExecutionsOf, MapRunRecord, Status,
};
use starmap_engine::names::invalid_name;
use starmap_engine::registry::{MachineKind, Revision};
use starmap_engine::{Error, INPUT_TEXT, NewExecution};

use super::arn::{Named, named, wrong_kind};
use super::paging::{self, page_size};
use super::state_machines::{
    describe_revision, does_not_exist, invalid_name_error, read_included, refused_if_deleting,
};
use super::tags::resource_not_found;
use super::{StepFunctions, unexpected, unreadable};
use crate::error::{Answer, ApiError};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::wire::members::{ARN, Is, LONG_ARN, Members, NAME, PAGE_SIZE};
use crate::wire::values::{data_details, object, time};

/// Characters of an input.
pub(super) const PAYLOAD: Is = Is::Secret(0, PAYLOAD_BYTES_MAX);
const STATUSES: Is = Is::OneOf(&["SUCCEEDED", "TIMED_OUT", "PENDING_REDRIVE", "ABORTED", "FAILED", "RUNNING"]);
const PENDING_REDRIVE: &str = "PENDING_REDRIVE";
const REDRIVE_FILTER: Is = Is::OneOf(&["REDRIVEN", "NOT_REDRIVEN"]);
const TRACE_HEADER: Is = Is::Length(0, 256);

pub(super) struct Start {
    pub(super) arn: String,
    pub(super) name: Option<String>,
    pub(super) input: Option<String>,
    pub(super) trace_header: Option<String>,
    pub(super) has_data: bool,
}

impl Start {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            name: members.string("name", NAME)?.map(str::to_owned),
            input: members.string("input", PAYLOAD)?.map(str::to_owned),
            trace_header: members.string("traceHeader", TRACE_HEADER)?.map(str::to_owned),
            has_data: read_included(members)?,
        })
    }
}

/// A request that names an execution.
pub(super) struct One {
    pub(super) arn: String,
    has_data: bool,
}

impl One {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("executionArn", ARN)?.to_owned(), has_data: read_included(members)? })
    }
}

pub(super) struct Stop {
    arn: String,
    error: Option<String>,
    cause: Option<String>,
}

impl Stop {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("executionArn", ARN)?.to_owned(),
            error: members.string("error", Is::Secret(0, 256))?.map(str::to_owned),
            cause: members.string("cause", Is::Secret(0, 32_768))?.map(str::to_owned),
        })
    }
}

pub(super) struct List {
    state_machine: Option<String>,
    map_run: Option<String>,
    status: Option<String>,
    redrive: Option<String>,
    size: usize,
    token: Option<String>,
}

impl List {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let text = |name: &str, is: Is| members.string(name, is).map(|text| text.map(str::to_owned));
        Ok(Self {
            state_machine: text("stateMachineArn", ARN)?,
            map_run: text("mapRunArn", LONG_ARN)?,
            status: text("statusFilter", STATUSES)?,
            redrive: text("redriveFilter", REDRIVE_FILTER)?,
            size: page_size(members.integer("maxResults", PAGE_SIZE)?),
            token: text("nextToken", Is::Length(1, 3_096))?,
        })
    }
}

/// What an execution is started by: the revision, and the version and alias that led to it.
pub(super) struct Target {
    pub(super) revision: Arc<Revision>,
    version_arn: Option<String>,
    alias_arn: Option<String>,
}

impl StepFunctions {
    pub(super) async fn start_execution(&self, start: Start) -> Answer {
        let target = self.target(&start.arn)?;
        self.check_role(&target.revision.role_arn, "")?;
        // The same call again, as long as its execution runs, is answered again: see the engine.
        match self.engine.start_revision(new_execution(target, start)?).await {
            Ok(started) => Ok(json!({ "executionArn": started.arn, "startDate": time(started.started_at) })),
            Err(Error::ExecutionExists { arn }) => {
                Err(ApiError::new("ExecutionAlreadyExists", format!("Execution Already Exists: '{arn}'")))
            }
            Err(error) => Err(unexpected("starting an execution")(error)),
        }
    }

    /// What a state machine's ARN leads to: itself, a version, or an alias that chooses among versions.
    pub(super) fn target(&self, arn: &str) -> Result<Target, ApiError> {
        let named = named(arn)?;
        self.engine.resources(|resources| {
            let missing = || does_not_exist(arn);
            if let Named::StateMachine = named {
                refused_if_deleting(resources, arn)?;
            } else if let Named::Version { state_machine } | Named::Alias { state_machine } = named {
                refused_if_deleting(resources, state_machine)?;
            }
            let (row, version_arn, alias_arn) = match named {
                Named::StateMachine => (resources.state_machine(arn).ok_or_else(missing)?.revision, None, None),
                Named::Version { .. } => {
                    let version = resources.version(arn).ok_or_else(missing)?;
                    (version.revision, Some(version.arn.clone()), None)
                }
                Named::Alias { .. } => {
                    let alias = resources.alias(arn).ok_or_else(missing)?;
                    let drawn = (uuid::Uuid::new_v4().as_u128() % 100) as u32;
                    let mut sum = 0;
                    let chosen = alias.routes.iter().find(|route| {
                        sum += route.weight;
                        drawn < sum
                    });
                    let chosen = chosen.and_then(|route| resources.version(&route.version_arn));
                    let version = chosen.ok_or_else(missing)?;
                    (version.revision, Some(version.arn.clone()), Some(alias.arn.clone()))
                }
                Named::Labelled { .. } => {
                    let message = "A state machine ARN that names a Distributed Map state can't be started";
                    return Err(ApiError::new("ValidationException", message));
                }
                _ => return Err(wrong_kind(arn)),
            };
            let revision = resources.revision(row).cloned().ok_or_else(missing)?;
            Ok(Target { revision, version_arn, alias_arn })
        })
    }

    pub(super) fn describe_execution(&self, one: &One) -> Answer {
        let record = self.named_execution(&one.arn)?;
        let mut described = self.payloads(&record, one.has_data);
        let run = self.map_run_of(&record)?;
        let status = status_told(record.status, record.run_redrives, run.as_ref().and_then(redrive_of));
        let map_run = run.map(|run| run.arn);
        let (redrive_status, reason) = redrive_status(&record, self.now());
        let members = object([
            ("executionArn", Some(Value::from(record.arn.as_str()))),
            ("stateMachineArn", Some(Value::String(state_machine_of(&record)))),
            ("name", Some(Value::from(record.name.as_str()))),
            ("status", Some(Value::from(status))),
            ("startDate", Some(time(record.started_at))),
            ("stopDate", record.stopped_at.map(time)),
            ("traceHeader", record.trace_header.clone().map(Value::String)),
            ("mapRunArn", map_run.map(Value::String)),
            ("stateMachineVersionArn", record.version_arn.clone().map(Value::String)),
            ("stateMachineAliasArn", record.alias_arn.clone().map(Value::String)),
            ("redriveCount", Some(Value::from(record.redrive_count))),
            ("redriveDate", record.redriven_at.map(time)),
            ("redriveStatus", Some(Value::from(redrive_status))),
            ("redriveStatusReason", reason.map(Value::String)),
        ]);
        described.extend(members.as_object().cloned().unwrap_or_default());
        Ok(Value::Object(described))
    }

    /// Input, output, error and cause with their details.
    pub(super) fn payloads(&self, record: &ExecutionRecord, has_data: bool) -> Map<String, Value> {
        let mut written = Map::new();
        for (name, value) in [("input", Some(&record.input)), ("output", record.output.as_ref())] {
            if let Some(value) = value {
                if has_data {
                    let own_text = record.annotations.get(INPUT_TEXT).filter(|_| name == "input");
                    written.insert(name.to_owned(), own_text.cloned().unwrap_or_else(|| value.to_string().into()));
                }
                written.insert(format!("{name}Details"), data_details(has_data));
            }
        }
        for (name, value) in [("error", &record.error), ("cause", &record.cause)] {
            if let Some(value) = value.as_ref().filter(|_| has_data) {
                written.insert(name.to_owned(), Value::from(value.as_str()));
            }
        }
        written
    }

    pub(super) fn describe_state_machine_for_execution(&self, one: &One) -> Answer {
        let record = self.named_execution(&one.arn)?;
        let revision = self.revision_of(&record)?;
        let mut described = describe_revision(&revision, one.has_data);
        described.insert("stateMachineArn".to_owned(), Value::String(state_machine_of(&record)));
        described.insert("updateDate".to_owned(), time(revision.created_at));
        if let Some(label) = label_of(&record) {
            described.insert("label".to_owned(), Value::from(label));
        }
        if let Some(run) = self.map_run_of(&record)? {
            described.insert("mapRunArn".to_owned(), Value::String(run.arn));
        }
        Ok(Value::Object(described))
    }

    fn revision_of(&self, record: &ExecutionRecord) -> Result<Arc<Revision>, ApiError> {
        if let Some(revision) = self.engine.resources(|resources| resources.revision(record.revision).cloned()) {
            return Ok(revision);
        }
        // No state machine or version stands for it any more.
        let found = self.reader.revision(record.revision).map_err(unreadable)?;
        found.map(Arc::new).ok_or_else(|| execution_does_not_exist(&record.arn))
    }

    pub(super) async fn stop_execution(&self, stop: Stop) -> Answer {
        let record = self.named_execution(&stop.arn)?;
        if record.status == Status::Running {
            let stopped = self.engine.stop_execution(record.id, stop.error, stop.cause).await;
            stopped.map_err(unexpected("stopping an execution"))?;
        }
        let record = self.find_execution(&stop.arn)?;
        Ok(json!({ "stopDate": time(record.stopped_at.unwrap_or_else(|| self.now())) }))
    }

    pub(super) fn list_executions(&self, list: &List) -> Answer {
        let mut redrive = None;
        let of = match (&list.state_machine, &list.map_run) {
            (Some(arn), None) => self.executions_of_machine(arn)?,
            (None, Some(arn)) => {
                if !matches!(named(arn)?, Named::MapRun) {
                    return Err(wrong_kind(arn));
                }
                let run = self.reader.map_run_by_arn(arn).map_err(unreadable)?;
                let run = run.ok_or_else(|| resource_not_found(arn))?;
                redrive = redrive_of(&run);
                ExecutionsOf::MapRun(run.row)
            }
            _ => {
                let message = "Exactly one of stateMachineArn and mapRunArn must be specified";
                return Err(ApiError::new("ValidationException", message));
            }
        };
        let question = format!("ListExecutions {of:?} {:?} {:?}", list.status, list.redrive);
        let now = self.now();
        let before = paging::key(&question, list.token.as_deref(), now)?;
        let before = before.and_then(|key| key.parse().ok()).map(ExecutionId);
        let is_pending = list.status.as_deref() == Some(PENDING_REDRIVE);
        if is_pending && list.map_run.is_none() {
            // https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html, read 2026-11.
            let message = "The statusFilter PENDING_REDRIVE can only be used with a mapRunArn";
            return Err(ApiError::new("ValidationException", message));
        }
        let status = list.status.as_deref().and_then(Status::parse);
        let awaiting = match (is_pending, status, redrive) {
            (true, _, None) => return Ok(json!({ "executions": [] })),
            (true, _, Some(redrive)) => Some(Awaiting { redrive, is_awaiting: true }),
            (false, Some(_), Some(redrive)) => Some(Awaiting { redrive, is_awaiting: false }),
            (false, ..) => None,
        };
        let is_redriven = list.redrive.as_deref().map(|filter| filter == "REDRIVEN");
        let filter = ExecutionFilter { of, status, is_redriven, awaiting };
        let mut found = self.reader.executions(&filter, before, list.size + 1).map_err(unreadable)?;
        let has_more = found.len() > list.size;
        found.truncate(list.size);
        let last = found.last().filter(|_| has_more).map(|last| last.id.to_string());
        let listed = found.into_iter().map(|record| {
            let status = status_told(record.status, record.run_redrives, redrive);
            let label = label_in(&record.arn);
            let machine = match label.filter(|_| record.parent.is_some()) {
                Some(label) => format!("{}/{label}", record.state_machine_arn),
                None => record.state_machine_arn,
            };
            object([
                ("executionArn", Some(Value::String(record.arn.clone()))),
                ("stateMachineArn", Some(Value::String(machine))),
                ("name", Some(Value::String(record.name))),
                ("status", Some(Value::from(status))),
                ("startDate", Some(time(record.started_at))),
                ("stopDate", record.stopped_at.map(time)),
                ("mapRunArn", list.map_run.clone().map(Value::String)),
                ("stateMachineVersionArn", record.version_arn.map(Value::String)),
                ("stateMachineAliasArn", record.alias_arn.map(Value::String)),
                ("redriveCount", Some(Value::from(record.redrive_count))),
                ("redriveDate", record.redriven_at.map(time)),
            ])
        });
        let listed = listed.collect::<Vec<_>>();
        let next = last.map(|last| paging::token(&question, &last, now));
        Ok(object([("executions", Some(Value::Array(listed))), ("nextToken", next.map(Value::String))]))
    }

    fn executions_of_machine(&self, arn: &str) -> Result<ExecutionsOf, ApiError> {
        let (of, machine) = match named(arn)? {
            Named::StateMachine => (ExecutionsOf::StateMachine(arn.to_owned()), arn),
            Named::Version { state_machine } => (ExecutionsOf::Version(arn.to_owned()), state_machine),
            Named::Alias { state_machine } => (ExecutionsOf::Alias(arn.to_owned()), state_machine),
            _ => return Err(wrong_kind(arn)),
        };
        let kind = self.engine.resources(|resources| resources.state_machine(machine).map(|machine| machine.kind));
        match kind.ok_or_else(|| does_not_exist(arn))? {
            MachineKind::Standard => Ok(of),
            MachineKind::Express => Err(ApiError::new(
                "StateMachineTypeNotSupported",
                "This operation is not supported by this type of state machine",
            )),
        }
    }

    /// An execution by an ARN that must name one.
    pub(super) fn named_execution(&self, arn: &str) -> Result<ExecutionRecord, ApiError> {
        match named(arn)? {
            Named::Execution => self.find_execution(arn),
            _ => Err(wrong_kind(arn)),
        }
    }

    /// An execution by ARN.
    pub(super) fn find_execution(&self, arn: &str) -> Result<ExecutionRecord, ApiError> {
        let found = self.reader.execution_by_arn(arn).map_err(unreadable)?;
        found.ok_or_else(|| execution_does_not_exist(arn))
    }

    fn map_run_of(&self, record: &ExecutionRecord) -> Result<Option<MapRunRecord>, ApiError> {
        let Some(parent) = record.parent else { return Ok(None) };
        self.reader.map_run(parent.map_run).map_err(unreadable)
    }
}

/// An execution to start, checked.
pub(super) fn new_execution(target: Target, start: Start) -> Result<NewExecution, ApiError> {
    let name = start.name.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    if invalid_name(&name).is_some() {
        return Err(invalid_name_error(&name));
    }
    let input_text = start.input.as_deref().unwrap_or("{}");
    let input = parse_input(input_text)?;
    let mut annotations = Value::Null;
    let compact = input.to_string();
    if compact != input_text {
        annotations[INPUT_TEXT] = input_text.into();
    }
    let Target { revision, version_arn, alias_arn } = target;
    let trace_header = start.trace_header;
    Ok(NewExecution { revision, version_arn, alias_arn, trace_header, name, input, annotations })
}

/// The state machine as descriptions of an execution give it: with its Map's label for a child.
fn state_machine_of(record: &ExecutionRecord) -> String {
    match label_of(record) {
        Some(label) => format!("{}/{label}", record.state_machine_arn),
        None => record.state_machine_arn.clone(),
    }
}

/// How often a map run has been redriven, if that is what it is doing.
fn redrive_of(run: &MapRunRecord) -> Option<u32> {
    (run.status == Status::Running && run.details.redrive_count > 0).then_some(run.details.redrive_count)
}

/// An execution's status, also that of a child which waits until its map run, being redriven, has room for it.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html>, read 2026-11
fn status_told(status: Status, run_redrives: u32, redrive: Option<u32>) -> &'static str {
    let awaits = redrive.map(|redrive| Awaiting { redrive, is_awaiting: true });
    if awaits.is_some_and(|awaits| awaits.includes(status, run_redrives)) { PENDING_REDRIVE } else { status.as_str() }
}

/// The label of the Map that a child execution belongs to.
fn label_of(record: &ExecutionRecord) -> Option<&str> {
    label_in(&record.arn).filter(|_| record.parent.is_some())
}

/// `label` in `…:execution:machine/label:name`.
fn label_in(arn: &str) -> Option<&str> {
    arn.split(':').nth(6)?.split_once('/').map(|(_, label)| label)
}

fn redrive_status(record: &ExecutionRecord, now: Timestamp) -> (&'static str, Option<String>) {
    match not_redrivable(record, now) {
        Some(reason) => ("NOT_REDRIVABLE", Some(reason.to_owned())),
        None if record.parent.is_some() => ("REDRIVABLE_BY_MAP_RUN", None),
        None => ("REDRIVABLE", None),
    }
}

/// What AWS answers when there is no such execution.
pub(super) fn execution_does_not_exist(arn: &str) -> ApiError {
    ApiError::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// An execution's input.
pub(super) fn parse_input(text: &str) -> Result<Value, ApiError> {
    let refused = |reason: &str| {
        ApiError::new("InvalidExecutionInput", format!("Invalid State Machine Execution Input: '{reason}'"))
    };
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(refused("Input exceeds the maximum size of 262144 bytes."));
    }
    if text.trim().is_empty() {
        return Err(refused("Invalid execution input."));
    }
    serde_json::from_str(text).map_err(|error| {
        let problem = starmap_asl::json_text::problem(text);
        refused(&problem.map_or_else(|| error.to_string(), |problem| problem.message))
    })
}
