//! `RedriveExecution`: an execution that ended without success goes on where it ended.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use starmap_asl::Timestamp;
use starmap_engine::Error;

use super::executions::execution_does_not_exist;
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members};
use crate::wire::values::time;

/// How long a client token is remembered, and how many are.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html> ("valid for up to
/// 15 minutes after they are first used"), read 2026-11.
const TOKEN_LIFETIME_MS: i64 = 15 * 60 * 1000;
const TOKENS_MAX: usize = 1_000;

pub(super) struct Redrive {
    arn: String,
    token: Option<String>,
}

impl Redrive {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let token = members.string("clientToken", Is::Length(1, 64))?;
        if let Some(token) = token.filter(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            let constraint = "Member must satisfy regular expression pattern: [!-~]+";
            members.violation(token, "clientToken", constraint);
        }
        Ok(Self { arn: members.required("executionArn", ARN)?.to_owned(), token: token.map(str::to_owned) })
    }
}

/// Redrives that were asked for with a client token: the same again is answered again.
#[derive(Debug, Default)]
pub(super) struct Redriven {
    recent: Mutex<VecDeque<(String, String, Timestamp)>>,
}

impl Redriven {
    fn find(&self, redrive: &Redrive, now: Timestamp) -> Option<Timestamp> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(arn, token, at): &&(String, String, Timestamp)| {
            *arn == redrive.arn && Some(token) == redrive.token.as_ref() && now.0 - at.0 < TOKEN_LIFETIME_MS
        };
        recent.iter().find(is_it).map(|(_, _, at)| *at)
    }

    fn remember(&self, redrive: Redrive, at: Timestamp) {
        let Redrive { arn, token: Some(token) } = redrive else { return };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.push_back((arn, token, at));
        if recent.len() > TOKENS_MAX {
            recent.pop_front();
        }
    }
}

impl StepFunctions {
    pub(super) async fn redrive_execution(&self, redrive: Redrive) -> Answer {
        self.named_execution(&redrive.arn)?;
        if let Some(at) = self.redriven.find(&redrive, self.now()) {
            return Ok(json!({ "redriveDate": time(at) }));
        }
        match self.engine.redrive_execution(&redrive.arn).await {
            Ok(at) => {
                self.redriven.remember(redrive, at);
                Ok(json!({ "redriveDate": time(at) }))
            }
            Err(Error::NotRedrivable { reason, .. }) => Err(not_redrivable(&reason)),
            Err(Error::IsChild { .. }) => {
                Err(not_redrivable("Execution is a child of a Map Run; redrive the execution that the Map Run is of"))
            }
            Err(Error::NoExecution { .. }) => Err(execution_does_not_exist(&redrive.arn)),
            Err(error) => Err(unexpected("redriving an execution")(error)),
        }
    }
}

fn not_redrivable(reason: &str) -> ApiError {
    ApiError::new("ExecutionNotRedrivable", reason)
}
