//! What Lambda checks of a request before it does anything.
//!
//! # Source
//! <https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html> and the pages beside it, read 2026-11.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::Error;

/// The members of a request.
pub(crate) type Members = Map<String, Value>;

const NAME_PATTERN: &str = "satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso(b?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?";
const ENVIRONMENT_BYTES_MAX: usize = 4096;
/// Set by Lambda itself.
const RESERVED: [&str; 14] = [
    "_HANDLER",
    "_X_AMZN_TRACE_ID",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
];

/// A member that must be a string if it is there.
pub(crate) fn text<'a>(members: &'a Members, name: &str) -> Result<Option<&'a str>, Error> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::request_content(format!("{name} must be a string, found {other}"))),
    }
}

/// A member that must be a string.
pub(crate) fn required<'a>(members: &'a Members, name: &str) -> Result<&'a str, Error> {
    text(members, name)?.ok_or_else(|| {
        let lower = name[..1].to_ascii_lowercase() + &name[1..];
        Error::constraint(&lower, "null", "not be null")
    })
}

/// The name of a function: plain, partial ARN or ARN.
pub(crate) fn function_name(members: &Members) -> Result<&str, Error> {
    let name = required(members, "FunctionName")?;
    let (plain, qualifier) = starmap_workers::function::split(name);
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let is_qualifier = qualifier.is_none_or(|qualifier| qualifier == "$LATEST" || is_word(qualifier));
    if !is_word(plain) || !is_qualifier || plain.len() > 64 {
        let pattern = if plain.len() > 64 { "have length less than or equal to 64" } else { NAME_PATTERN };
        return Err(Error::constraint("functionName", name, pattern));
    }
    Ok(name)
}

/// A number within limits, or what stands for it.
pub(crate) fn number(members: &Members, name: &str, (least, most): (u32, u32), default: u32) -> Result<u32, Error> {
    let Some(value) = members.get(name).filter(|value| !value.is_null()) else { return Ok(default) };
    let lower = name[..1].to_ascii_lowercase() + &name[1..];
    match value.as_i64() {
        Some(number) if number < i64::from(least) => {
            let constraint = format!("have value greater than or equal to {least}");
            Err(Error::constraint(&lower, &number.to_string(), &constraint))
        }
        Some(number) => u32::try_from(number).ok().filter(|number| *number <= most).ok_or_else(|| {
            let constraint = format!("have value less than or equal to {most}");
            Error::constraint(&lower, &number.to_string(), &constraint)
        }),
        None => Err(Error::request_content(format!("{name} must be a number, found {value}"))),
    }
}

/// A member that must be an object of strings if it is there.
pub(crate) fn strings(value: Option<&Value>, name: &str) -> Result<Option<BTreeMap<String, String>>, Error> {
    let wrong = || Error::request_content(format!("{name} must be an object of strings"));
    let members = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value.as_object().ok_or_else(wrong)?,
    };
    let pair = |(name, value): (&String, &Value)| {
        value.as_str().map(|value| (name.clone(), value.to_owned())).ok_or_else(wrong)
    };
    members.iter().map(pair).collect::<Result<_, _>>().map(Some)
}

/// The variables of an environment.
pub(crate) fn environment(members: &Members) -> Result<Option<BTreeMap<String, String>>, Error> {
    let Some(environment) = members.get("Environment").filter(|value| !value.is_null()) else { return Ok(None) };
    let variables = strings(environment.get("Variables"), "Environment.Variables")?.unwrap_or_default();
    let beginning = "Lambda was unable to configure your environment variables because the environment variables you \
                     have provided";
    let reserved: Vec<&str> = RESERVED.into_iter().filter(|name| variables.contains_key(*name)).collect();
    if !reserved.is_empty() {
        return Err(Error::invalid(format!(
            "{beginning} contains reserved keys that are currently not supported for modification. Reserved keys used \
             in this request: {}",
            reserved.join(", ")
        )));
    }
    let is_name = |name: &String| {
        let bytes = name.as_bytes();
        bytes.len() >= 2
            && bytes[0].is_ascii_alphabetic()
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    };
    if let Some(name) = variables.keys().find(|name| !is_name(name)) {
        let pattern = "satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+";
        return Err(Error::constraint("environment.variables", name, pattern));
    }
    let bytes: usize = variables.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ENVIRONMENT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{beginning} exceeded the 4KB limit. String measured: {}",
            serde_json::to_string(&variables).unwrap_or_default()
        )));
    }
    Ok(Some(variables))
}

/// The path in an `ImageUri` of ours: `file:///absolute/path` to a folder of code, or to a bootstrap.
pub(crate) fn local_path(uri: &str) -> Result<&str, Error> {
    let path = uri.strip_prefix("file://").filter(|path| Path::new(path).is_absolute()).ok_or_else(|| {
        Error::invalid(format!(
            "{uri} can't be run here: container images are not; Code.ImageUri may be file:///absolute/path, of a \
             folder with the function's code or of an executable that speaks the Runtime API"
        ))
    })?;
    if !Path::new(path).exists() {
        return Err(Error::invalid(format!("{uri}: there is no such file or folder on the server's machine")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> Members {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn names_are_checked_in_every_spelling() {
        for good in ["f", "arn:aws:lambda:us-east-1:123456789012:function:f:$LATEST", "f:live"] {
            assert!(function_name(&members(json!({ "FunctionName": good }))).is_ok(), "{good}");
        }
        for bad in [json!("../f"), json!("a b"), json!(""), json!("x".repeat(65)), json!("f:a:b"), Value::Null] {
            let error = function_name(&members(json!({ "FunctionName": bad }))).unwrap_err();
            assert_eq!(error.name, "ValidationException", "{bad}");
        }
    }

    #[test]
    fn limits_are_lambdas() {
        let memory = |value: Value| number(&members(json!({ "MemorySize": value })), "MemorySize", (128, 10_240), 128);
        assert_eq!(memory(json!(512)).unwrap(), 512);
        assert!(memory(json!(64)).unwrap_err().message.contains("Value '64' at 'memorySize' failed"));
        assert!(memory(json!(10_241)).unwrap_err().message.ends_with("less than or equal to 10240"));
        assert!(memory(json!("512")).is_err());
    }

    #[test]
    fn environments_may_not_be_lambdas_own_or_large() {
        let of = |variables: Value| environment(&members(json!({ "Environment": { "Variables": variables } })));
        assert!(of(json!({ "GOOD_1": "x" })).is_ok());
        assert!(of(json!({ "AWS_REGION": "x" })).unwrap_err().message.contains("reserved keys"));
        assert!(of(json!({ "1A": "x" })).is_err());
        assert!(of(json!({ "BIG": "x".repeat(4096) })).unwrap_err().message.contains("4KB limit"));
        assert!(of(json!({ "N": 1 })).is_err());
    }
}
