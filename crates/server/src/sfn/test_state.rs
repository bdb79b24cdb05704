//! `TestState`: one state, run alone (see `starmap_asl::test_state`).

use std::time::Duration;

use serde_json::{Value, json};
use starmap_asl::test_state::{
    Answer as CallAnswer, Begun, Configuration, Error, HttpRequest, HttpResponse, Identity, Inspection, Level, Mock,
    Outcome, Request, ValidationMode, begin,
};

use super::StepFunctions;
use super::executions::PAYLOAD;
use super::state_machines::DEFINITION;
use crate::error::{Answer, ApiError};
use crate::wire::members::{ANY, ARN, Is, Members, NAME};
use crate::wire::values::object;

const LEVEL: Is = Is::OneOf(&["INFO", "DEBUG", "TRACE"]);
const VALIDATION: Is = Is::OneOf(&["STRICT", "PRESENT", "NONE"]);

/// Reads a request.
pub(super) fn read(members: &Members<'_>) -> Result<Request, ApiError> {
    let text = |name: &str, is: Is| members.string(name, is).map(|text| text.map(str::to_owned));
    let level = match members.string("inspectionLevel", LEVEL)? {
        Some("DEBUG") => Level::Debug,
        Some("TRACE") => Level::Trace,
        _ => Level::Info,
    };
    Ok(Request {
        definition: members.required("definition", DEFINITION)?.to_owned(),
        state_name: text("stateName", NAME)?,
        role_arn: text("roleArn", ARN)?,
        input: text("input", PAYLOAD)?,
        variables: text("variables", PAYLOAD)?,
        context: text("context", PAYLOAD)?,
        level,
        reveal_secrets: members.boolean("revealSecrets")?.unwrap_or(false),
        mock: members.structure("mock")?.map(|mock| read_mock(&mock)).transpose()?,
        configuration: members.structure("stateConfiguration")?.map(|given| read_configuration(&given)).transpose()?,
    })
}

fn read_mock(mock: &Members<'_>) -> Result<Mock, ApiError> {
    let error = match mock.structure("errorOutput")? {
        None => None,
        Some(output) => Some((
            output.string("error", Is::Secret(0, 256))?.map(str::to_owned),
            output.string("cause", Is::Secret(0, 32_768))?.map(str::to_owned),
        )),
    };
    let validation = match mock.string("fieldValidationMode", VALIDATION)? {
        Some("PRESENT") => ValidationMode::Present,
        Some("NONE") => ValidationMode::None,
        _ => ValidationMode::Strict,
    };
    Ok(Mock { result: mock.string("result", PAYLOAD)?.map(str::to_owned), error, validation })
}

fn read_configuration(given: &Members<'_>) -> Result<Configuration, ApiError> {
    let count = |name: &str| given.integer(name, Is::Range(0, i64::from(i32::MAX)));
    Ok(Configuration {
        retrier_retry_count: count("retrierRetryCount")?.and_then(|count| u32::try_from(count).ok()),
        error_caused_by_state: given.string("errorCausedByState", ANY)?.map(str::to_owned),
        map_iteration_failure_count: count("mapIterationFailureCount")?.and_then(|count| u64::try_from(count).ok()),
        map_item_reader_data: given.string("mapItemReaderData", ANY)?.map(str::to_owned),
    })
}

/// A test may last five minutes.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html>, read 2026-11.
const DURATION_S_MAX: u64 = 300;

impl StepFunctions {
    pub(super) async fn test_state(&self, request: &Request) -> Answer {
        let unique = || uuid::Uuid::new_v4().to_string();
        let (machine, name) = (unique(), unique());
        let naming = self.engine.naming();
        let identity = Identity {
            state_machine_arn: naming.state_machine(&machine),
            execution_arn: naming.execution(&machine, &name).replacen(":execution:", ":express:", 1),
            state_machine_name: machine,
            execution_name: name,
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        };
        let outcome = match begin(request, &identity, self.now()).map_err(refused)? {
            Begun::Done(outcome) => *outcome,
            Begun::NeedsItems(pending) => {
                let items = starmap_engine::items::read_text(pending.request(), pending.data());
                pending.finish(items.map_err(|failed| (failed.error, failed.cause))).map_err(refused)?
            }
            Begun::NeedsCall(pending) => {
                let role_arn = request.role_arn.clone().unwrap_or_default();
                let invocation = pending.invocation().clone();
                let timeout_s = invocation.timeout_s.map_or(DURATION_S_MAX, |given| given.min(DURATION_S_MAX));
                let calling = self.engine.call_once(invocation, &identity.execution_arn, &role_arn);
                let answer = match tokio::time::timeout(Duration::from_secs(timeout_s), calling).await {
                    Ok(Ok(output)) => CallAnswer::Succeeded(output),
                    Ok(Err((error, cause))) => CallAnswer::Failed { error, cause },
                    Err(_) => CallAnswer::Failed { error: "States.Timeout".to_owned(), cause: String::new() },
                };
                pending.finish(answer, self.now(), None)
            }
        };
        for note in &outcome.notes {
            tracing::debug!(note, "test of a state");
        }
        Ok(written(outcome))
    }
}

fn refused(error: Error) -> ApiError {
    match error {
        Error::InvalidDefinition(message) => ApiError::new("InvalidDefinition", message),
        Error::InvalidInput(message) => ApiError::new("InvalidExecutionInput", message),
        Error::Validation(message) => ApiError::new("ValidationException", message),
    }
}

fn written(outcome: Outcome) -> Value {
    let text = |text: Option<String>| text.map(Value::String);
    object([
        ("output", text(outcome.output)),
        ("error", text(outcome.error)),
        ("cause", text(outcome.cause)),
        ("inspectionData", outcome.inspection.map(inspection)),
        ("nextState", text(outcome.next_state)),
        ("status", Some(Value::from(outcome.status.as_str()))),
    ])
}

fn inspection(data: Inspection) -> Value {
    let text = |text: Option<String>| text.map(Value::String);
    let details = data.error_details.map(|details| {
        object([
            ("catchIndex", details.catch_index.map(Value::from)),
            ("retryIndex", details.retry_index.map(Value::from)),
            ("retryBackoffIntervalSeconds", details.retry_backoff_interval_s.map(Value::from)),
        ])
    });
    object([
        ("input", text(data.input)),
        ("afterArguments", text(data.after_arguments)),
        ("afterInputPath", text(data.after_input_path)),
        ("afterParameters", text(data.after_parameters)),
        ("result", text(data.result)),
        ("afterResultSelector", text(data.after_result_selector)),
        ("afterResultPath", text(data.after_result_path)),
        ("request", data.request.map(http_request)),
        ("response", data.response.map(http_response)),
        ("variables", text(data.variables)),
        ("errorDetails", details),
        ("afterItemsPath", text(data.after_items_path)),
        ("afterItemSelector", text(data.after_item_selector)),
        ("afterItemBatcher", text(data.after_item_batcher)),
        ("afterItemsPointer", text(data.after_items_pointer)),
        ("toleratedFailureCount", data.tolerated_failure_count.map(Value::from)),
        ("toleratedFailurePercentage", data.tolerated_failure_percentage.map(Value::from)),
        ("maxConcurrency", data.max_concurrency.map(Value::from)),
    ])
}

fn http_request(request: HttpRequest) -> Value {
    let HttpRequest { protocol, method, url, headers, body } = request;
    let mut written = json!({ "protocol": protocol, "method": method, "url": url, "headers": headers });
    if let Some(body) = body {
        written["body"] = Value::String(body);
    }
    written
}

fn http_response(response: HttpResponse) -> Value {
    let HttpResponse { protocol, status_code, status_message, headers, body } = response;
    let mut written = json!({
        "protocol": protocol, "statusCode": status_code, "statusMessage": status_message, "headers": headers,
    });
    if let Some(body) = body {
        written["body"] = Value::String(body);
    }
    written
}
