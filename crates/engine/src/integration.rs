//! What a Task's resource means: which function, with which payload, and what its answer looks like to the
//! state machine.
//!
//! Knows the envelope of `arn:aws:states:::lambda:invoke` and nothing about how a function is run.

use serde_json::{Map, Value, json};
use starmap_asl::{Pattern, Resource};

/// A task that can be invoked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    /// Function name or ARN.
    pub function: String,
    /// Its event.
    pub payload: Value,
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
pub(crate) fn call(resource: &Resource, arguments: Value) -> Result<Call, Refused> {
    match resource {
        Resource::Function { arn } => Ok(Call { function: arn.clone(), payload: arguments, enveloped: false }),
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

fn lambda_invoke(arguments: Value) -> Result<Call, Refused> {
    let Value::Object(mut arguments) = arguments else {
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
    let payload = arguments.remove("Payload").unwrap_or_else(|| Value::Object(Map::new()));
    Ok(Call { function, payload, enveloped: true })
}

/// A function's answer as the state machine sees it.
pub(crate) fn answer(enveloped: bool, function: &str, answer: &[u8]) -> Result<Value, Refused> {
    let value: Value = serde_json::from_slice(answer).map_err(|error| Refused {
        error: "Lambda.Unknown",
        cause: format!("function {function} answered {} bytes that are not JSON: {error}", answer.len()),
    })?;
    if !enveloped {
        return Ok(value);
    }
    Ok(json!({ "ExecutedVersion": "$LATEST", "Payload": value, "StatusCode": 200 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_invoke_takes_payload_and_qualifier_and_says_what_is_missing() {
        let ok = lambda_invoke(json!({ "FunctionName": "infer", "Payload": { "a": 1 }, "Qualifier": "live" }));
        assert_eq!(ok, Ok(Call { function: "infer:live".to_owned(), payload: json!({ "a": 1 }), enveloped: true }));
        let bad = lambda_invoke(json!({ "Payload": 1 })).unwrap_err();
        assert!(bad.cause.contains("need FunctionName, a string; found none"), "{}", bad.cause);
    }

    #[test]
    fn answers_that_are_not_json_fail_by_name() {
        assert_eq!(answer(true, "f", b"{").unwrap_err().error, "Lambda.Unknown");
        assert_eq!(
            answer(true, "f", b"[1]").unwrap(),
            json!({ "ExecutedVersion": "$LATEST", "Payload": [1], "StatusCode": 200 })
        );
    }
}
