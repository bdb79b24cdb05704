//! The context object of a test: the caller's, checked, or the one of an Express execution.

use serde_json::{Map, Value, json};

use super::machine::NAMELESS;
use super::request::{Error, Identity, Request};
use crate::time::Timestamp;

/// The caller's context object. Nothing is added to it: what is not in there, the state does not see.
pub(super) fn given(request: &Request) -> Result<Option<Value>, Error> {
    let Some(text) = &request.context else { return Ok(None) };
    let problem = |problem: String| Error::validation(format!("Invalid Context object provided: {problem}"));
    let context: Value =
        serde_json::from_str(text).map_err(|_| problem("Context object must be valid JSON".to_owned()))?;
    let Value::Object(fields) = &context else {
        return Err(problem("Context object must be a JSON object".to_owned()));
    };
    check(fields).map_err(problem)?;
    Ok(Some(context))
}

/// What a field of the context object may hold.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Number,
    Anything,
}

const EXECUTION: &[(&str, Kind)] = &[
    ("Id", Kind::Text),
    ("Input", Kind::Anything),
    ("Name", Kind::Text),
    ("RedriveCount", Kind::Number),
    ("RedriveTime", Kind::Text),
    ("RoleArn", Kind::Text),
    ("StartTime", Kind::Text),
];
const STATE: &[(&str, Kind)] = &[("EnteredTime", Kind::Text), ("Name", Kind::Text), ("RetryCount", Kind::Number)];
const STATE_MACHINE: &[(&str, Kind)] = &[("Id", Kind::Text), ("Name", Kind::Text)];
const TASK: &[(&str, Kind)] = &[("Token", Kind::Text)];

fn check(context: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in context {
        let known = match name.as_str() {
            "Execution" => EXECUTION,
            "State" => STATE,
            "StateMachine" => STATE_MACHINE,
            "Task" => TASK,
            "Map" => return Err("'Map' field is not supported when mocking a Context object".to_owned()),
            other => return Err(format!("Field '{other}' is not allowed")),
        };
        let Value::Object(fields) = value else { return Err(format!("{name} must be an object")) };
        for (field, value) in fields {
            let Some((_, kind)) = known.iter().find(|(known, _)| known == field) else {
                return Err(format!("Field '{field}' is not allowed"));
            };
            match kind {
                Kind::Text if !value.is_string() => return Err(format!("{name}.{field} must be a string")),
                Kind::Number if !value.is_number() => return Err(format!("{name}.{field} must be a number")),
                _ => {}
            }
        }
    }
    Ok(())
}

/// The context object that AWS makes up: the test runs as an Express execution of a machine that does not exist.
pub(super) fn made_up(
    request: &Request,
    identity: &Identity,
    at: Timestamp,
    input: &Value,
    has_retries: bool,
) -> Value {
    let mut context = json!({
        "Execution": {
            "Id": identity.execution_arn,
            "Input": input,
            "Name": identity.execution_name,
            "RoleArn": request.role_arn,
            "StartTime": at.to_string(),
        },
        "StateMachine": { "Id": identity.state_machine_arn, "Name": identity.state_machine_name },
        // Recorded: whatever the state is called in its machine.
        "State": { "Name": NAMELESS, "EnteredTime": at.to_string() },
    });
    if has_retries {
        let made = request.configuration.as_ref().and_then(|configuration| configuration.retrier_retry_count);
        context["State"]["RetryCount"] = made.unwrap_or(0).into();
    }
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(context: &str) -> String {
        let request = Request { context: Some(context.to_owned()), ..Request::default() };
        match given(&request) {
            Ok(context) => context.map_or_else(String::new, |context| context.to_string()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_context_object_is_taken_as_it_is_or_refused() {
        assert_eq!(told("{}"), "{}");
        assert_eq!(told(r#"{"Execution":{},"Task":{"Token":"t"}}"#), r#"{"Execution":{},"Task":{"Token":"t"}}"#);
        let refused = |context: &str, problem: &str| {
            assert_eq!(told(context), format!("Invalid Context object provided: {problem}"));
        };
        refused(r#"{"Pokedex": {}}"#, "Field 'Pokedex' is not allowed");
        refused(r#"{"Execution": {"pokemon": 1}}"#, "Field 'pokemon' is not allowed");
        refused(r#"{"Execution": {"Id": 1}}"#, "Execution.Id must be a string");
        refused(r#"{"Map": {}}"#, "'Map' field is not supported when mocking a Context object");
    }
}
