//! `aws-sdk:lambda`: the actions of the Lambda API as AWS's SDK gives their answers to a state machine.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use starmap_engine::services::{Answering, ServiceCall, ServiceError};

use super::sfn::recased;
use super::{Service, optional, text};
use crate::lambda::protocol::{invocation_type, sdk_cause};
use crate::lambda::{Error, Lambda};

#[derive(Debug)]
pub(super) struct LambdaService {
    pub(super) lambda: Arc<Lambda>,
}

impl Service for LambdaService {
    fn call(self: Arc<Self>, action: String, arguments: Map<String, Value>, _: ServiceCall) -> Answering {
        Box::pin(async move {
            if action == "invoke" {
                return self.invoke(&arguments).await;
            }
            let action = recased(&action, char::to_ascii_uppercase);
            let reply = self.lambda.call(&action, arguments).await.map_err(|error| failed(&error))?;
            Ok(reply.body.unwrap_or_else(|| json!({})))
        })
    }
}

impl LambdaService {
    async fn invoke(&self, arguments: &Map<String, Value>) -> Result<Value, ServiceError> {
        let name = text(arguments, "FunctionName")?;
        let kind = invocation_type(optional(arguments, "InvocationType")?).map_err(|error| failed(&error))?;
        let qualifier = optional(arguments, "Qualifier")?;
        let wants_log = optional(arguments, "LogType")? == Some("Tail");
        let payload = arguments.get("Payload").map(Value::to_string).unwrap_or_default();
        let invoked = self.lambda.invoke(name, qualifier, kind, wants_log, Bytes::from(payload)).await;
        let invoked = invoked.map_err(|error| failed(&error))?;
        let mut answer = Map::new();
        answer.insert("ExecutedVersion".to_owned(), json!(invoked.version));
        if invoked.is_error {
            answer.insert("FunctionError".to_owned(), json!("Unhandled"));
        }
        if let Some(tail) = invoked.log_tail {
            answer.insert("LogResult".to_owned(), json!(BASE64.encode(tail)));
        }
        // The SDK has bytes here, and a state machine gets them as text.
        answer.insert("Payload".to_owned(), json!(String::from_utf8_lossy(&invoked.payload)));
        answer.insert("StatusCode".to_owned(), json!(invoked.status));
        Ok(Value::Object(answer))
    }
}

fn failed(error: &Error) -> ServiceError {
    let name = if error.name.ends_with("Exception") { error.name } else { "LambdaException" };
    ServiceError { error: format!("Lambda.{name}"), cause: sdk_cause(error) }
}
