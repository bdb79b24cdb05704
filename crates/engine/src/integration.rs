//! What a Task's resource means: which function, with which payload, and what its answer looks like to the
//! state machine.
//!
//! Knows the envelope of `arn:aws:states:::lambda:invoke` and nothing about how a function is run.

use std::borrow::Cow;

use serde_json::{Map, Value, json};
use starmap_asl::{Pattern, Resource, Timestamp};

use crate::invoker::Report;
use crate::services::http_metadata;

/// A task that can be invoked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call<'a> {
    /// Function name or ARN.
    pub function: String,
    /// Its event.
    pub payload: Cow<'a, Value>,
    /// Whether the answer goes into the envelope of `lambda:invoke`.
    pub enveloped: bool,
}

/// Why a task's answer can't be had: error name and cause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    pub error: &'static str,
    pub cause: String,
}

/// Resolves a task to a function call.
pub(crate) fn call<'a>(resource: &Resource, arguments: &'a Value) -> Result<Call<'a>, Refused> {
    match resource {
        Resource::Function { arn } => {
            Ok(Call { function: arn.to_string(), payload: Cow::Borrowed(arguments), enveloped: false })
        }
        Resource::Service { pattern: Pattern::RequestResponse | Pattern::WaitForTaskToken, .. }
            if resource.is_lambda_invoke() =>
        {
            lambda_invoke(arguments)
        }
        other => {
            Err(Refused { error: "States.Runtime", cause: format!("the resource {} is not one of AWS's", other.arn()) })
        }
    }
}

fn lambda_invoke(arguments: &Value) -> Result<Call<'_>, Refused> {
    let Value::Object(arguments) = arguments else {
        return Err(Refused {
            error: "States.Runtime",
            cause: "the Parameters of lambda:invoke must be an object with FunctionName".to_owned(),
        });
    };
    let Some(Value::String(function)) = arguments.get("FunctionName") else {
        return Err(Refused {
            error: "States.Runtime",
            cause: format!(
                "the Parameters of lambda:invoke need FunctionName, a string; found {}",
                arguments.get("FunctionName").map_or_else(|| "none".to_owned(), Value::to_string)
            ),
        });
    };
    let function = match arguments.get("Qualifier").and_then(Value::as_str) {
        Some(qualifier) => format!("{function}:{qualifier}"),
        None => function.clone(),
    };
    let payload = arguments.get("Payload").map_or_else(|| Cow::Owned(Value::Object(Map::new())), Cow::Borrowed);
    Ok(Call { function, payload, enveloped: true })
}

/// A function's answer as the state machine sees it; `report` is of the attempt that gave it.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html>, read 2026-11.
pub(crate) fn answer(
    enveloped: bool,
    function: &str,
    answer: &[u8],
    at: Timestamp,
    report: Option<&Report>,
) -> Result<Value, Refused> {
    let value: Value = serde_json::from_slice(answer).map_err(|error| Refused {
        error: "Lambda.Unknown",
        cause: format!("function {function} answered {} bytes that are not JSON: {error}", answer.len()),
    })?;
    if !enveloped {
        return Ok(value);
    }
    // The log stream's name has the version in it.
    let version = report.and_then(|report| report.log_stream.split_once('[')?.1.split_once(']'));
    let version = version.map_or("$LATEST", |(version, _)| version).to_owned();
    let request_id = report.map_or("", |report| report.request_id.as_str());
    let digits: String = request_id.chars().filter(|character| *character != '-').take(24).collect();
    let trace_id = format!("root=1-{:08x}-{digits:0>24};sampled=0", at.0.div_euclid(1000));
    let headers = [
        ("X-Amz-Executed-Version", version.clone()),
        ("x-amzn-Remapped-Content-Length", "0".to_owned()),
        ("Connection", "keep-alive".to_owned()),
        ("Content-Length", answer.len().to_string()),
        ("Date", at.http_date()),
        ("X-Amzn-Trace-Id", trace_id),
        ("Content-Type", "application/json".to_owned()),
    ];
    let mut envelope = Map::new();
    envelope.insert("ExecutedVersion".to_owned(), Value::String(version));
    envelope.insert("Payload".to_owned(), value);
    envelope.extend(http_metadata(200, request_id, &headers));
    envelope.insert("StatusCode".to_owned(), json!(200));
    Ok(Value::Object(envelope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_invoke_takes_payload_and_qualifier_and_says_what_is_missing() {
        let ok = json!({ "FunctionName": "infer", "Payload": { "a": 1 }, "Qualifier": "live" });
        let payload = Cow::Owned(json!({ "a": 1 }));
        let expected = Call { function: "infer:live".to_owned(), payload, enveloped: true };
        assert_eq!(lambda_invoke(&ok), Ok(expected));
        let bad = json!({ "Payload": 1 });
        let bad = lambda_invoke(&bad).unwrap_err();
        assert!(bad.cause.contains("need FunctionName, a string; found none"), "{}", bad.cause);
    }

    #[test]
    fn answers_that_are_not_json_fail_by_name() {
        assert_eq!(answer(true, "f", b"{", Timestamp(0), None).unwrap_err().error, "Lambda.Unknown");
    }

    #[test]
    fn the_envelope_tells_of_the_answer_behind_it() {
        let answer = answer(true, "f", b"[1]", Timestamp(0), None).unwrap();
        assert_eq!((&answer["ExecutedVersion"], &answer["Payload"]), (&json!("$LATEST"), &json!([1])));
        let metadata = &answer["SdkHttpMetadata"];
        assert_eq!(metadata["HttpHeaders"]["Date"], "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(metadata["AllHttpHeaders"]["Content-Length"], json!(["3"]));
        assert_eq!((&metadata["HttpStatusCode"], &answer["StatusCode"]), (&json!(200), &json!(200)));
    }
}
