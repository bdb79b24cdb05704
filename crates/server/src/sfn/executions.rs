//! Executions: start, describe, list, stop.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionFilter, ExecutionRecord, ExecutionsOf, Status};
use starmap_engine::names::invalid_name;
use starmap_engine::{Error, NewExecution};

use super::state_machines::does_not_exist;
use super::{StepFunctions, unexpected, unreadable};
use crate::error::{Answer, ApiError};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::wire::members::{ANY, ARN, Is, Members, NAME, PAGE_SIZE};
use crate::wire::values::{data_details, object, time};

pub(super) struct Start {
    arn: String,
    name: Option<String>,
    input: Option<String>,
}

impl Start {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            name: members.string("name", NAME)?.map(str::to_owned),
            input: members.string("input", ANY)?.map(str::to_owned),
        })
    }
}

pub(super) struct Describe {
    arn: String,
}

impl Describe {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("executionArn", ARN)?.to_owned() })
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
            error: members.string("error", Is::Length(0, 256))?.map(str::to_owned),
            cause: members.string("cause", Is::Length(0, 32_768))?.map(str::to_owned),
        })
    }
}

pub(super) struct List {
    arn: String,
    status: Option<Status>,
    max_results: usize,
}

const STATUSES: Is = Is::OneOf(&["SUCCEEDED", "TIMED_OUT", "PENDING_REDRIVE", "ABORTED", "FAILED", "RUNNING"]);

impl List {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("stateMachineArn", ARN)?.to_owned(),
            status: members.string("statusFilter", STATUSES)?.and_then(Status::parse),
            max_results: page_size(members.integer("maxResults", PAGE_SIZE)?),
        })
    }
}

/// Results of a page: 100 unless told otherwise; 0 means the default.
pub(super) fn page_size(given: Option<i64>) -> usize {
    given.and_then(|given| usize::try_from(given).ok()).filter(|&given| given > 0).unwrap_or(100)
}

impl StepFunctions {
    pub(super) async fn start_execution(&self, start: Start) -> Answer {
        let Start { arn, name, input } = start;
        let revision = self.engine.resources(|resources| {
            let machine = resources.state_machine(&arn)?;
            resources.revision(machine.revision).cloned()
        });
        let revision = revision.ok_or_else(|| does_not_exist(&arn))?;
        let input = parse_input(input.as_deref().unwrap_or("{}"))?;
        let name = name.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        if invalid_name(&name).is_some() {
            return Err(ApiError::new("InvalidName", format!("Invalid Name: '{name}'")));
        }
        let new = NewExecution {
            revision: Arc::clone(&revision),
            version_arn: None,
            alias_arn: None,
            name,
            input: input.clone(),
            annotations: Value::Null,
        };
        match self.engine.start_revision(new).await {
            Ok(started) => Ok(json!({ "executionArn": started.arn, "startDate": time(started.started_at) })),
            Err(Error::ExecutionExists { arn }) => {
                let there = self.find_execution(&arn)?;
                if there.status == Status::Running && there.input == input {
                    return Ok(json!({ "executionArn": arn, "startDate": time(there.started_at) }));
                }
                let message = format!("Execution Already Exists: '{arn}'");
                Err(ApiError::new("ExecutionAlreadyExists", message))
            }
            Err(error) => Err(unexpected("starting an execution")(error)),
        }
    }

    pub(super) fn describe_execution(&self, describe: &Describe) -> Answer {
        let record = self.find_execution(&describe.arn)?;
        let text = |value: &Value| Value::String(value.to_string());
        Ok(object([
            ("executionArn", Some(Value::from(record.arn.as_str()))),
            ("stateMachineArn", Some(Value::from(record.state_machine_arn.as_str()))),
            ("name", Some(Value::from(record.name.as_str()))),
            ("status", Some(Value::from(record.status.as_str()))),
            ("startDate", Some(time(record.started_at))),
            ("stopDate", record.stopped_at.map(time)),
            ("input", Some(text(&record.input))),
            ("inputDetails", Some(data_details(true))),
            ("output", record.output.as_ref().map(text)),
            ("outputDetails", record.output.as_ref().map(|_| data_details(true))),
            ("error", record.error.clone().map(Value::String)),
            ("cause", record.cause.clone().map(Value::String)),
            ("stateMachineVersionArn", record.version_arn.clone().map(Value::String)),
            ("stateMachineAliasArn", record.alias_arn.clone().map(Value::String)),
            ("redriveCount", Some(Value::from(0))),
            ("redriveStatus", Some(Value::from(redrive_status(&record).0))),
            ("redriveStatusReason", redrive_status(&record).1.map(Value::String)),
        ]))
    }

    pub(super) async fn stop_execution(&self, stop: Stop) -> Answer {
        let record = self.find_execution(&stop.arn)?;
        let stopped = self.engine.stop_execution(record.id, stop.error, stop.cause).await;
        stopped.map_err(unexpected("stopping an execution"))?;
        let record = self.find_execution(&stop.arn)?;
        Ok(json!({ "stopDate": time(record.stopped_at.unwrap_or_else(|| self.now())) }))
    }

    pub(super) fn list_executions(&self, list: &List) -> Answer {
        let of = ExecutionsOf::StateMachine(list.arn.clone());
        let filter = ExecutionFilter { of, status: list.status, is_redriven: None };
        let found = self.reader.executions(&filter, None, list.max_results).map_err(unreadable)?;
        let listed = found.into_iter().map(|record| {
            object([
                ("executionArn", Some(Value::String(record.arn))),
                ("stateMachineArn", Some(Value::String(record.state_machine_arn))),
                ("name", Some(Value::String(record.name))),
                ("status", Some(Value::from(record.status.as_str()))),
                ("startDate", Some(time(record.started_at))),
                ("stopDate", record.stopped_at.map(time)),
                ("redriveCount", Some(Value::from(0))),
            ])
        });
        Ok(json!({ "executions": listed.collect::<Vec<_>>() }))
    }

    /// An execution by ARN.
    pub(super) fn find_execution(&self, arn: &str) -> Result<ExecutionRecord, ApiError> {
        let found = self.reader.execution_by_arn(arn).map_err(unreadable)?;
        found.ok_or_else(|| execution_does_not_exist(arn))
    }
}

fn redrive_status(record: &ExecutionRecord) -> (&'static str, Option<String>) {
    match record.status {
        Status::Running | Status::Succeeded => {
            let reason = format!("Execution is {} and cannot be redriven", record.status.as_str());
            ("NOT_REDRIVABLE", Some(reason))
        }
        _ => ("REDRIVABLE", None),
    }
}

/// What AWS answers when there is no such execution.
pub(super) fn execution_does_not_exist(arn: &str) -> ApiError {
    ApiError::new("ExecutionDoesNotExist", format!("Execution Does Not Exist: '{arn}'"))
}

/// An execution's input.
pub(super) fn parse_input(text: &str) -> Result<Value, ApiError> {
    let refused = |reason: String| {
        ApiError::new("InvalidExecutionInput", format!("Invalid State Machine Execution Input: '{reason}'"))
    };
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(refused("Input exceeds the maximum size of 262144 bytes.".to_owned()));
    }
    serde_json::from_str(text).map_err(|error| refused(error.to_string()))
}
