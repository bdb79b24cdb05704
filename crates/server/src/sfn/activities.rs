//! Activities and the answers of those who work: task tokens.

use std::time::Duration;

use serde_json::{Map, Value, json};
use starmap_engine::Error;
use starmap_engine::names::invalid_name;
use starmap_engine::registry::{ActivityRecord, Change, Tag};

use super::arn::{Named, named, wrong_kind};
use super::configuration::{check_encryption, encryption_of, read_encryption};
use super::paging;
use super::state_machines::{List, invalid_name_error};
use super::tags::{check_tags, read_tags};
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::wire::members::{ANY, ARN, Is, Members, NAME};
use crate::wire::values::{object, time};

/// How long `GetActivityTask` waits for a task.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetActivityTask.html>, read 2026-11.
const POLL_TIME: Duration = Duration::from_secs(60);

/// Activities that an account may have. <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
const ACTIVITIES_MAX: usize = 10_000;

const TOKEN: Is = Is::Length(1, 2_048);
const ERROR: Is = Is::Length(0, 256);
const CAUSE: Is = Is::Length(0, 32_768);

pub(super) struct Create {
    name: String,
    tags: Vec<Tag>,
    encryption: Option<Value>,
}

impl Create {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            name: members.required("name", NAME)?.to_owned(),
            tags: read_tags(members)?.unwrap_or_default(),
            encryption: read_encryption(members)?,
        })
    }
}

/// A request that names an activity.
pub(super) struct One {
    arn: String,
}

impl One {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("activityArn", ARN)?.to_owned() })
    }
}

pub(super) struct GetTask {
    arn: String,
    worker: Option<String>,
}

impl GetTask {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("activityArn", ARN)?.to_owned(),
            worker: members.string("workerName", NAME)?.map(str::to_owned),
        })
    }
}

pub(super) struct Success {
    token: String,
    output: String,
}

impl Success {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            token: members.required("taskToken", TOKEN)?.to_owned(),
            output: members.required("output", Is::Length(0, PAYLOAD_BYTES_MAX))?.to_owned(),
        })
    }
}

pub(super) struct Failure {
    token: String,
    error: String,
    cause: String,
}

impl Failure {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            token: members.required("taskToken", TOKEN)?.to_owned(),
            error: members.string("error", ERROR)?.unwrap_or_default().to_owned(),
            cause: members.string("cause", CAUSE)?.unwrap_or_default().to_owned(),
        })
    }
}

pub(super) struct Heartbeat {
    token: String,
}

impl Heartbeat {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { token: members.required("taskToken", ANY)?.to_owned() })
    }
}

impl StepFunctions {
    pub(super) async fn create_activity(&self, create: Create) -> Answer {
        let Create { name, tags, encryption } = create;
        if invalid_name(&name).is_some() {
            return Err(invalid_name_error(&name));
        }
        check_tags(&tags)?;
        if let Some(encryption) = &encryption {
            check_encryption(encryption)?;
        }
        let mut settings = Map::new();
        settings.extend(encryption.map(|encryption| ("encryptionConfiguration".to_owned(), encryption)));
        let settings = Value::Object(settings);
        let (arn, at) = (self.engine.naming().activity(&name), self.now());
        let made = self.engine.change(|resources| {
            if let Some(there) = resources.activity(&arn) {
                if there.settings != settings {
                    let message = format!("Activity Already Exists: '{arn}'");
                    return Err(ApiError::new("ActivityAlreadyExists", message));
                }
                return Ok((there.created_at, Vec::new()));
            }
            if resources.activities().count() >= ACTIVITIES_MAX {
                let message = format!("There are {ACTIVITIES_MAX} activities already; delete some of them.");
                return Err(ApiError::new("ActivityLimitExceeded", message));
            }
            let activity =
                ActivityRecord { arn: arn.clone(), name: name.clone(), settings: settings.clone(), created_at: at };
            let mut changes = vec![Change::Activity(activity)];
            if !tags.is_empty() {
                changes.push(Change::Tags { arn: arn.clone(), tags: tags.clone() });
            }
            Ok((at, changes))
        });
        let created_at = made.await.map_err(unexpected("creating an activity"))??;
        Ok(json!({ "activityArn": arn, "creationDate": time(created_at) }))
    }

    pub(super) fn describe_activity(&self, one: &One) -> Answer {
        let activity = self.activity(&one.arn)?;
        Ok(json!({
            "activityArn": activity.arn, "name": activity.name, "creationDate": time(activity.created_at),
            "encryptionConfiguration": encryption_of(&activity.settings),
        }))
    }

    pub(super) async fn delete_activity(&self, one: &One) -> Answer {
        if !matches!(named(&one.arn)?, Named::Activity) {
            return Err(wrong_kind(&one.arn));
        }
        let deleted = self.engine.change(|resources| {
            let there = resources.activity(&one.arn);
            let change = there.map(|activity| Change::ActivityDeleted { arn: activity.arn.clone() });
            Ok::<_, ApiError>(((), change.into_iter().collect()))
        });
        deleted.await.map_err(unexpected("deleting an activity"))??;
        Ok(json!({}))
    }

    pub(super) fn list_activities(&self, list: &List) -> Answer {
        let (question, now) = ("ListActivities", self.now());
        let after = paging::key(question, list.token.as_deref(), now)?;
        let mut activities: Vec<_> = self.engine.resources(|resources| {
            resources.activities().map(|activity| (activity.name.clone(), activity.clone())).collect()
        });
        activities.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (page, next) = paging::page(activities, after.as_deref(), list.size, question, now);
        let listed = page.into_iter().map(|activity| {
            json!({ "activityArn": activity.arn, "name": activity.name, "creationDate": time(activity.created_at) })
        });
        Ok(object([("activities", Some(Value::Array(listed.collect()))), ("nextToken", next.map(Value::String))]))
    }

    pub(super) async fn get_activity_task(&self, get: GetTask) -> Answer {
        self.activity(&get.arn)?;
        let task = self.engine.activity_task(&get.arn, get.worker, POLL_TIME).await;
        Ok(match task.map_err(unexpected("waiting for a task"))? {
            Some(task) => json!({ "taskToken": task.token, "input": task.input.to_string() }),
            // A worker asks again.
            None => json!({}),
        })
    }

    pub(super) async fn send_task_success(&self, success: Success) -> Answer {
        let Success { token, output } = success;
        let refused = |reason: String| ApiError::new("InvalidOutput", format!("Invalid Output: '{reason}'"));
        if output.len() > PAYLOAD_BYTES_MAX {
            return Err(refused(format!("Output exceeds the maximum size of {PAYLOAD_BYTES_MAX} bytes")));
        }
        let problem = || starmap_asl::json_text::problem(&output).map_or_else(String::new, |problem| problem.message);
        let Ok(value) = serde_json::from_str(&output) else {
            // As recorded, a bad token is told before a bad output. Whoever sends the latter is alive.
            self.engine.send_task_heartbeat(&token).await.map_err(refused_token)?;
            return Err(refused(problem()));
        };
        self.engine.send_task_success(&token, value).await.map_err(refused_token)?;
        Ok(json!({}))
    }

    pub(super) async fn send_task_failure(&self, failure: Failure) -> Answer {
        let Failure { token, error, cause } = failure;
        self.engine.send_task_failure(&token, error, cause).await.map_err(refused_token)?;
        Ok(json!({}))
    }

    pub(super) async fn send_task_heartbeat(&self, heartbeat: &Heartbeat) -> Answer {
        self.engine.send_task_heartbeat(&heartbeat.token).await.map_err(refused_token)?;
        Ok(json!({}))
    }

    fn activity(&self, arn: &str) -> Result<ActivityRecord, ApiError> {
        if !matches!(named(arn)?, Named::Activity) {
            return Err(wrong_kind(arn));
        }
        let found = self.engine.resources(|resources| resources.activity(arn).cloned());
        let missing = || ApiError::new("ActivityDoesNotExist", format!("Activity Does Not Exist: '{arn}'"));
        found.ok_or_else(missing)
    }
}

fn refused_token(error: Error) -> ApiError {
    match error {
        Error::InvalidToken => ApiError::new("InvalidToken", "Invalid Token: 'Invalid token'"),
        Error::TaskDoesNotExist => ApiError::new("TaskDoesNotExist", "Task does not exist"),
        Error::TaskTimedOut => ApiError::new("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'"),
        error => unexpected("answering a task")(error),
    }
}
