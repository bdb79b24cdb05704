//! The actions of AWS Step Functions.
//!
//! [`StepFunctions::call`] is the way in, over HTTP and for a Task that calls `aws-sdk:sfn`.
//! One file per group of actions; what a history event looks like on the wire is in `events`.

mod activities;
mod aliases;
mod arn;
mod asks;
mod configuration;
mod definition;
mod events;
mod executions;
mod express;
mod history;
mod map_runs;
mod paging;
mod redrive;
mod state_machines;
mod tags;
mod test_state;
mod versions;

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::{Map, Value};
use starmap_asl::Timestamp;
use starmap_engine::clock::Clock;
use starmap_engine::journal::{self, Reader};
use starmap_engine::{Engine, Error};

use crate::aws_json::unknown_operation;
use crate::error::{Answer, ApiError};
use crate::roles::Guard;
use crate::wire::members::{Members, parse};

/// The Step Functions API over an engine.
pub struct StepFunctions {
    engine: Arc<Engine>,
    reader: Arc<dyn Reader>,
    clock: Arc<dyn Clock>,
    roles: Option<Arc<Guard>>,
}

impl std::fmt::Debug for StepFunctions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StepFunctions").finish_non_exhaustive()
    }
}

impl StepFunctions {
    /// Serves an engine.
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        let reader = engine.reader();
        Self { engine, reader, clock, roles: None }
    }

    /// The same where executions run under their roles: a state machine needs one that Step Functions may assume.
    #[must_use]
    pub fn under(self, roles: Arc<Guard>) -> Self {
        Self { roles: Some(roles), ..self }
    }

    fn check_role(&self, role_arn: &str, definition: &str) -> Result<(), ApiError> {
        self.roles.as_ref().map_or(Ok(()), |roles| roles.check_role(role_arn, definition))
    }

    /// Carries out an action; `body` is the JSON text of its members, and so is the answer.
    ///
    /// # Errors
    /// What AWS answers when it refuses.
    pub async fn call(&self, action: &str, body: &[u8]) -> Result<Vec<u8>, ApiError> {
        let members = parse(body)?;
        self.finish_deletions().await?;
        let answer = self.act(action, &members).await?;
        serde_json::to_vec(&answer).map_err(|error| ApiError::internal("writing the answer", &error))
    }

    async fn act(&self, action: &str, members: &Map<String, Value>) -> Answer {
        match action {
            "CreateActivity" => self.create_activity(read(members, activities::Create::read)?).await,
            "CreateStateMachine" => self.create_state_machine(read(members, state_machines::Create::read)?).await,
            "CreateStateMachineAlias" => self.create_state_machine_alias(read(members, aliases::Create::read)?).await,
            "DeleteActivity" => self.delete_activity(&read(members, activities::One::read)?).await,
            "DeleteStateMachine" => self.delete_state_machine(&read(members, state_machines::Delete::read)?).await,
            "DeleteStateMachineAlias" => self.delete_state_machine_alias(&read(members, aliases::One::read)?).await,
            "DeleteStateMachineVersion" => {
                self.delete_state_machine_version(&read(members, versions::Delete::read)?).await
            }
            "DescribeActivity" => self.describe_activity(&read(members, activities::One::read)?),
            "DescribeExecution" => self.describe_execution(&read(members, executions::One::read)?),
            "DescribeMapRun" => self.describe_map_run(&read(members, map_runs::One::read)?),
            "DescribeStateMachine" => self.describe_state_machine(&read(members, state_machines::Describe::read)?),
            "DescribeStateMachineAlias" => self.describe_state_machine_alias(&read(members, aliases::One::read)?),
            "DescribeStateMachineForExecution" => {
                self.describe_state_machine_for_execution(&read(members, executions::One::read)?)
            }
            "GetActivityTask" => self.get_activity_task(read(members, activities::GetTask::read)?).await,
            "GetExecutionHistory" => self.get_execution_history(&read(members, history::Get::read)?),
            "ListActivities" => self.list_activities(&read(members, state_machines::List::read)?),
            "ListExecutions" => self.list_executions(&read(members, executions::List::read)?),
            "ListMapRuns" => self.list_map_runs(&read(members, map_runs::List::read)?),
            "ListStateMachineAliases" => self.list_state_machine_aliases(&read(members, versions::ListOf::read)?),
            "ListStateMachineVersions" => self.list_state_machine_versions(&read(members, versions::ListOf::read)?),
            "ListStateMachines" => self.list_state_machines(&read(members, state_machines::List::read)?),
            "ListTagsForResource" => self.list_tags_for_resource(&read(members, tags::ListTags::read)?),
            "PublishStateMachineVersion" => {
                self.publish_state_machine_version(&read(members, versions::Publish::read)?).await
            }
            "RedriveExecution" => self.redrive_execution(read(members, redrive::Redrive::read)?).await,
            "SendTaskFailure" => self.send_task_failure(read(members, activities::Failure::read)?).await,
            "SendTaskHeartbeat" => self.send_task_heartbeat(&read(members, activities::Heartbeat::read)?).await,
            "SendTaskSuccess" => self.send_task_success(read(members, activities::Success::read)?).await,
            "StartExecution" => self.start_execution(read(members, executions::Start::read)?).await,
            "StartSyncExecution" => self.start_sync_execution(read(members, executions::Start::read)?).await,
            "StopExecution" => self.stop_execution(read(members, executions::Stop::read)?).await,
            "TagResource" => self.tag_resource(&read(members, tags::TagResource::read)?).await,
            "TestState" => self.test_state(&read(members, test_state::read)?).await,
            "UntagResource" => self.untag_resource(&read(members, tags::UntagResource::read)?).await,
            "UpdateMapRun" => self.update_map_run(read(members, map_runs::Update::read)?).await,
            "UpdateStateMachine" => self.update_state_machine(read(members, state_machines::Update::read)?).await,
            "UpdateStateMachineAlias" => self.update_state_machine_alias(read(members, aliases::Update::read)?).await,
            "ValidateStateMachineDefinition" => {
                self.validate_state_machine_definition(&read(members, definition::Validate::read)?)
            }
            _ => Err(unknown_operation()),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Reads the members of an action, all of them, then refuses what is wrong together.
fn read<T>(
    members: &Map<String, Value>,
    read: impl FnOnce(&Members<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let violations = RefCell::new(Vec::new());
    let members: Members<'_> = Members::new(members, &violations);
    let request = read(&members)?;
    members.finish()?;
    Ok(request)
}

/// What a client is told when the journal can't be read.
fn unreadable(error: journal::Error) -> ApiError {
    ApiError::internal("reading the journal", &error)
}

/// What a client is told of an error of the engine that no action expects.
fn unexpected(doing: &'static str) -> impl Fn(Error) -> ApiError {
    move |error| ApiError::internal(doing, &error)
}
