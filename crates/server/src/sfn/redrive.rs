//! `RedriveExecution`: an execution that ended without success goes on where it ended.

use serde_json::json;
use starmap_engine::Error;

use super::executions::execution_does_not_exist;
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, Members};
use crate::wire::values::time;

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

impl StepFunctions {
    pub(super) async fn redrive_execution(&self, redrive: Redrive) -> Answer {
        self.named_execution(&redrive.arn)?;
        match self.engine.redrive_by_token(&redrive.arn, redrive.token).await {
            Ok(at) => Ok(json!({ "redriveDate": time(at) })),
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
