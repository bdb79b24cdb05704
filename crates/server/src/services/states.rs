//! `states:startExecution`: another execution, started by this one. Whether the task waits for its end is the engine's
//! business, which finds it by the answer.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use starmap_asl::Timestamp;
use starmap_engine::services::{Answering, ServiceCall, ServiceError, http_metadata};

use super::sfn::{Sfn, lower};
use super::{Service, absent, text};
use crate::error::ApiError;

pub(super) struct States {
    pub(super) sfn: Arc<Sfn>,
}

impl Service for States {
    fn call(self: Arc<Self>, action: String, arguments: Map<String, Value>, call: ServiceCall) -> Answering {
        Box::pin(async move {
            if action != "startExecution" {
                return Err(absent::service("states", &action));
            }
            text(&arguments, "StateMachineArn")?;
            let mut request = lower(arguments);
            // A call that is repeated after a crash must find the execution that it started.
            request.entry("name").or_insert_with(|| json!(call.request_id));
            let answer = self.sfn.act("StartExecution", request).await.map_err(|error| failed(&error))?;
            let started: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
            let at_s = started["startDate"].as_f64().unwrap_or(0.0);
            let at = Timestamp((at_s * 1000.0).round() as i64);
            let headers = [
                ("connection", "keep-alive".to_owned()),
                ("Content-Length", answer.len().to_string()),
                ("Date", at.http_date()),
                ("Content-Type", "application/x-amz-json-1.0".to_owned()),
            ];
            let mut shown = Map::new();
            shown.insert("ExecutionArn".to_owned(), started["executionArn"].clone());
            shown.extend(http_metadata(200, &call.request_id, &headers));
            shown.insert("StartDate".to_owned(), json!(at.0));
            Ok(Value::Object(shown))
        })
    }
}

/// An error as the older SDK for Java names and words it, which this integration stands on.
fn failed(error: &ApiError) -> ServiceError {
    let code = error.name.trim_end_matches("Exception");
    let cause = format!(
        "{} (Service: AWSStepFunctions; Status Code: {}; Error Code: {}; Request ID: {}; Proxy: null)",
        error.message,
        error.status,
        error.name,
        uuid::Uuid::new_v4()
    );
    ServiceError { error: format!("StepFunctions.{code}Exception"), cause }
}
