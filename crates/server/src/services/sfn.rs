//! `aws-sdk:sfn`: the server's own actions, called without HTTP.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};

use serde_json::{Map, Value};
use starmap_asl::Timestamp;
use starmap_engine::services::{Answering, ServiceCall, ServiceError};

use tokio::sync::watch;

use super::Service;
use crate::error::ApiError;
use crate::sfn::StepFunctions;

/// The Step Functions API by the names of its actions.
pub trait Actions: Send + Sync {
    /// Calls an action with a request as it goes over the wire; the answer is one, too.
    fn act<'a>(
        &'a self,
        action: &'a str,
        request: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, ApiError>> + Send + 'a>>;
}

impl Actions for StepFunctions {
    fn act<'a>(
        &'a self,
        action: &'a str,
        request: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, ApiError>> + Send + 'a>> {
        Box::pin(async move { self.call(action, &request).await })
    }
}

/// The actions, once they are there: the engine may call before they are, when it goes on after a crash.
pub(super) struct Sfn {
    pub(super) actions: watch::Sender<Option<Weak<dyn Actions>>>,
}

impl Service for Sfn {
    fn call(self: Arc<Self>, action: String, arguments: Map<String, Value>, _: ServiceCall) -> Answering {
        Box::pin(async move {
            let name = recased(&action, char::to_ascii_uppercase);
            let answer = self.act(&name, lower(arguments)).await.map_err(|error| failed(&error))?;
            Ok(upper(serde_json::from_slice(&answer).unwrap_or(Value::Null), ""))
        })
    }
}

impl Sfn {
    /// Calls an action, with names as on the wire.
    pub(super) async fn act(&self, action: &str, request: Map<String, Value>) -> Result<Vec<u8>, ApiError> {
        let mut given = self.actions.subscribe();
        // The sender is in `self`, so this waits for as long as it takes.
        let actions = match given.wait_for(Option::is_some).await {
            Ok(actions) => actions.as_ref().and_then(Weak::upgrade),
            Err(_) => None,
        };
        let Some(actions) = actions else {
            return Err(ApiError::new("ServiceUnavailable", "the server is being stopped"));
        };
        actions.act(action, Value::Object(request).to_string().into_bytes()).await
    }
}

/// Members whose value is JSON text: what is not text is written as such.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html>, "Parameters … of type string
/// that are JSON"; recorded for `Input`.
const TEXTS: [&str; 5] = ["input", "output", "definition", "cause", "error"];

/// A request with the names of the wire: `StateMachineArn` is `stateMachineArn`.
pub(super) fn lower(arguments: Map<String, Value>) -> Map<String, Value> {
    let named = |(name, value): (String, Value)| {
        let name = recased(&name, char::to_ascii_lowercase);
        let value = match value {
            value if TEXTS.contains(&name.as_str()) && !value.is_string() => Value::String(value.to_string()),
            Value::Object(members) if name != "tags" => Value::Object(lower(members)),
            Value::Array(items) => {
                let item = |item| match item {
                    // Tags have lower-case names on the wire, too.
                    Value::Object(members) => Value::Object(lower(members)),
                    other => other,
                };
                Value::Array(items.into_iter().map(item).collect())
            }
            other => other,
        };
        (name, value)
    };
    // What is null is not given.
    arguments.into_iter().filter(|(_, value)| !value.is_null()).map(named).collect()
}

/// An answer with the names of the SDK; times become text.
fn upper(value: Value, name: &str) -> Value {
    match value {
        Value::Object(members) => {
            let named = |(name, value): (String, Value)| {
                let value = upper(value, &name);
                (recased(&name, char::to_ascii_uppercase), value)
            };
            Value::Object(members.into_iter().map(named).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| upper(item, name)).collect()),
        Value::Number(seconds) if name.ends_with("Date") || name == "timestamp" => {
            let seconds = seconds.as_f64().unwrap_or(0.0);
            Value::String(Timestamp((seconds * 1000.0).round() as i64).to_string())
        }
        other => other,
    }
}

/// A name with its first letter in another case.
pub(super) fn recased(name: &str, first: impl Fn(&char) -> char) -> String {
    let mut letters = name.chars();
    letters.next().map(|letter| [first(&letter)].into_iter().chain(letters).collect()).unwrap_or_default()
}

/// An error as the SDK for Java names and words it.
fn failed(error: &ApiError) -> ServiceError {
    // `InvalidToken` is `InvalidTokenException` in the SDK.
    let name = error.name.trim_end_matches("Exception");
    let id = uuid::Uuid::new_v4();
    let cause = format!(
        "{} (Service: Sfn, Status Code: {}, Request ID: {id}) (SDK Attempt Count: 1)",
        error.message, error.status
    );
    ServiceError { error: format!("Sfn.{name}Exception"), cause }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    struct Recorder;

    impl Actions for Recorder {
        fn act<'a>(
            &'a self,
            action: &'a str,
            request: Vec<u8>,
        ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, ApiError>> + Send + 'a>> {
            Box::pin(async move {
                let request: Value = serde_json::from_slice(&request).unwrap();
                match action {
                    "StartExecution" => {
                        assert_eq!(request["input"], "{\"a\":1}");
                        assert_eq!(request["stateMachineArn"], "arn");
                        Ok(json!({ "executionArn": "x", "startDate": 1.5 }).to_string().into_bytes())
                    }
                    _ => Err(ApiError::new("InvalidToken", "Invalid Token: 'Invalid token'")),
                }
            })
        }
    }

    async fn call(action: &str, arguments: Value) -> Result<Value, ServiceError> {
        let recorder: Arc<dyn Actions> = Arc::new(Recorder);
        let sfn = Arc::new(Sfn { actions: watch::Sender::new(Some(Arc::downgrade(&recorder))) });
        let arguments = arguments.as_object().unwrap().clone();
        let call = ServiceCall {
            service: "sfn".to_owned(),
            action: action.to_owned(),
            is_sdk: true,
            pattern: starmap_asl::Pattern::RequestResponse,
            arguments: Value::Null,
            request_id: String::new(),
            execution_arn: String::new(),
            role_arn: String::new(),
        };
        sfn.call(action.to_owned(), arguments, call).await
    }

    #[tokio::test]
    async fn names_change_on_the_way_in_and_out() {
        let started = call("startExecution", json!({ "StateMachineArn": "arn", "Input": { "a": 1 } })).await;
        assert_eq!(started, Ok(json!({ "ExecutionArn": "x", "StartDate": "1970-01-01T00:00:01.500Z" })));
    }

    #[tokio::test]
    async fn errors_are_the_sdks() {
        let error = call("sendTaskSuccess", json!({ "TaskToken": "x", "Output": "y" })).await.unwrap_err();
        assert_eq!(error.error, "Sfn.InvalidTokenException");
        assert!(
            error.cause.starts_with("Invalid Token: 'Invalid token' (Service: Sfn, Status Code: 400, Request ID: ")
        );
        assert!(error.cause.ends_with(") (SDK Attempt Count: 1)"));
    }
}
