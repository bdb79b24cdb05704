//! The whole check of a definition, as `CreateStateMachine` and `ValidateStateMachineDefinition` make it.
//!
//! [`StateMachine::parse_as`] says what is wrong with a definition. This adds warnings about what runs but was hardly meant.

use serde_json::{Map, Value};

use crate::definition::{ExecutionType, StateMachine, locate};
use crate::diagnostics::{Code, Diagnostic, Severity};

/// The answer of `ValidateStateMachineDefinition`.
#[derive(Clone, Debug, PartialEq)]
pub struct Validation {
    /// True if a state machine can be made of the definition: there are no errors.
    pub is_valid: bool,
    /// What was found, in the order of the text, no more than was asked for.
    pub diagnostics: Vec<Diagnostic>,
    /// True if there is more.
    pub is_truncated: bool,
}

/// Checks a definition and says what was found: at most `results_max` findings that are at least so severe.
pub fn validate(definition: &str, machine_type: ExecutionType, least: Severity, results_max: usize) -> Validation {
    let (_, mut diagnostics) = check(definition, machine_type);
    let is_valid = diagnostics.iter().all(|diagnostic| diagnostic.severity < Severity::Error);
    diagnostics.retain(|diagnostic| diagnostic.severity >= least);
    let is_truncated = diagnostics.len() > results_max;
    diagnostics.truncate(results_max);
    Validation { is_valid, diagnostics, is_truncated }
}

/// Reads and checks a definition for a machine of a type: [`StateMachine::parse_as`] and warnings.
///
/// Returns a machine exactly when no diagnostic is an error.
pub fn check(definition: &str, machine_type: ExecutionType) -> (Option<StateMachine>, Vec<Diagnostic>) {
    let (machine, mut diagnostics) = StateMachine::parse_as(definition, machine_type);
    let Ok(value) = serde_json::from_str::<Value>(definition) else { return (machine, diagnostics) };
    let mut warnings = Vec::new();
    Scope { pointer: String::new(), is_jsonata: false }.read(&value, &mut warnings);
    if warnings.is_empty() {
        return (machine, diagnostics);
    }
    let places: Vec<String> = warnings.iter().map(|warning| warning.pointer.clone()).collect();
    for (warning, position) in warnings.iter_mut().zip(locate(definition, &places)) {
        warning.position = Some(position);
    }
    diagnostics.extend(warnings);
    diagnostics.sort_by_key(|diagnostic| {
        let place = diagnostic.position.map(|position| (position.line, position.column));
        (diagnostic.code == Code::MissingEndState, place)
    });
    (machine, diagnostics)
}

impl Diagnostic {
    /// The place as `ValidateStateMachineDefinition` gives it, if there is one.
    pub fn location(&self) -> Option<String> {
        match self.code {
            // The parser's own place is the end of its message.
            Code::InvalidJson => self.message.rsplit_once("\n at ").map(|(_, place)| place.to_owned()),
            // It is said of the whole and has no place: floci-io/floci pull request 2786, read 2026-11-27.
            Code::MissingEndState => None,
            // An empty text has no places.
            _ if self.pointer.is_empty() && self.message == NO_OBJECT => None,
            _ if self.pointer.is_empty() => Some("/".to_owned()),
            _ => Some(self.pointer.clone()),
        }
    }
}

/// What AWS says about a text that is no definition at all.
const NO_OBJECT: &str = "Definition must be a valid JSON object";

/// A machine, branch or processor, and what its states inherit.
struct Scope {
    pointer: String,
    is_jsonata: bool,
}

impl Scope {
    fn read(mut self, scope: &Value, findings: &mut Vec<Diagnostic>) {
        self.is_jsonata = speaks_jsonata(scope, self.is_jsonata);
        let Some(states) = scope.get("States").and_then(Value::as_object) else { return };
        for (name, state) in states {
            let Value::Object(fields) = state else { continue };
            let state = State {
                pointer: child(&child(&self.pointer, "States"), name),
                fields,
                is_jsonata: speaks_jsonata(state, self.is_jsonata),
            };
            state.read(findings);
            for field in ["ItemProcessor", "Iterator"] {
                if let Some(inner) = fields.get(field) {
                    let pointer = child(&state.pointer, field);
                    Scope { pointer, is_jsonata: self.is_jsonata }.read(inner, findings);
                }
            }
            let branches = child(&state.pointer, "Branches");
            for (index, inner) in fields.get("Branches").and_then(Value::as_array).into_iter().flatten().enumerate() {
                Scope { pointer: element(&branches, index), is_jsonata: self.is_jsonata }.read(inner, findings);
            }
        }
    }
}

/// A machine or a state says its query language, or takes that of what it is in.
fn speaks_jsonata(value: &Value, inherited: bool) -> bool {
    match value.get("QueryLanguage").and_then(Value::as_str) {
        Some(language) => language == "JSONata",
        None => inherited,
    }
}

struct State<'a> {
    pointer: String,
    fields: &'a Map<String, Value>,
    is_jsonata: bool,
}

impl State<'_> {
    fn read(&self, findings: &mut Vec<Diagnostic>) {
        if self.is_jsonata {
            return;
        }
        let is_pass = self.fields.get("Type").is_some_and(|kind| kind == "Pass");
        if let (true, Some(result)) = (is_pass, self.fields.get("Result"))
            && holds_path(result)
        {
            let message =
                "The Result of a Pass state is taken as it is: a path in it is not evaluated. Use Parameters for that.";
            findings.push(warning(Code::PassResultIsStatic, child(&self.pointer, "Result"), message));
        }
        for template in ["Parameters", "ResultSelector", "ItemSelector", "Assign"] {
            if let Some(value) = self.fields.get(template) {
                warn_of_missing_dollars(value, &child(&self.pointer, template), findings);
            }
        }
        for field in ["Error", "Cause", "Timestamp"] {
            self.warn_of_missing_path(self.fields.get(field), field, &child(&self.pointer, field), findings);
        }
        let choices = child(&self.pointer, "Choices");
        for (index, rule) in self.fields.get("Choices").and_then(Value::as_array).into_iter().flatten().enumerate() {
            self.warn_of_rule(rule, &element(&choices, index), findings);
        }
    }

    /// A rule and the rules inside it.
    fn warn_of_rule(&self, rule: &Value, pointer: &str, findings: &mut Vec<Diagnostic>) {
        for (name, value) in rule.as_object().into_iter().flatten() {
            let place = child(pointer, name);
            match value {
                Value::Array(rules) => {
                    for (index, rule) in rules.iter().enumerate() {
                        self.warn_of_rule(rule, &element(&place, index), findings);
                    }
                }
                Value::Object(_) => self.warn_of_rule(value, &place, findings),
                _ if matches!(name.as_str(), "Variable" | "Next" | "Comment") || name.ends_with("Path") => {}
                value => self.warn_of_missing_path(Some(value), name, &place, findings),
            }
        }
    }

    fn warn_of_missing_path(&self, value: Option<&Value>, name: &str, pointer: &str, findings: &mut Vec<Diagnostic>) {
        if value.and_then(Value::as_str).is_some_and(looks_like_path) {
            let message = format!(
                "The value for the field '{name}' looks like a path, but the field's name does not end with 'Path'"
            );
            findings.push(warning(Code::NoPath, pointer.to_owned(), &message));
        }
    }
}

fn warn_of_missing_dollars(value: &Value, pointer: &str, findings: &mut Vec<Diagnostic>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let place = child(pointer, name);
                match value {
                    Value::String(text)
                        if !name.ends_with(".$") && (looks_like_path(text) || looks_like_call(text)) =>
                    {
                        let message = format!(
                            "The value for the field '{name}' looks like a JSONPath or an intrinsic function call, but the field's name does not end with '.$'"
                        );
                        findings.push(warning(Code::NoDollar, place, &message));
                    }
                    value => warn_of_missing_dollars(value, &place, findings),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                warn_of_missing_dollars(item, &element(pointer, index), findings);
            }
        }
        _ => {}
    }
}

/// True if a string somewhere in it looks like a path, or a name like that of a computed field.
fn holds_path(value: &Value) -> bool {
    match value {
        Value::String(text) => looks_like_path(text),
        Value::Array(items) => items.iter().any(holds_path),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.ends_with(".$") || holds_path(value)),
        _ => false,
    }
}

fn looks_like_path(text: &str) -> bool {
    text == "$" || ["$.", "$[", "$$."].iter().any(|start| text.starts_with(start))
}

fn looks_like_call(text: &str) -> bool {
    text.starts_with("States.") && text.ends_with(')') && text.contains('(')
}

fn child(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// A place in an array, as AWS writes it.
fn element(pointer: &str, index: usize) -> String {
    format!("{pointer}[{index}]")
}

fn warning(code: Code, pointer: String, message: &str) -> Diagnostic {
    Diagnostic { severity: Severity::Warning, code, message: message.to_owned(), pointer, position: None }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(definition: &str, machine_type: ExecutionType, expected: Expect) {
        let validation = validate(definition, machine_type, Severity::Warning, 100);
        let mut told = vec![if validation.is_valid { "OK" } else { "FAIL" }.to_owned()];
        told.extend(validation.diagnostics.iter().map(|diagnostic| {
            let Diagnostic { code, message, .. } = diagnostic;
            format!("{:?} {} {:?}: {message}", diagnostic.severity, code.as_str(), diagnostic.location())
        }));
        expected.assert_eq(&told.join("\n"));
    }

    #[test]
    fn express_machines_wait_for_nobody() {
        let task = |resource: &str| {
            format!(r#"{{"StartAt":"A","States":{{"A":{{"Type":"Task","Resource":"{resource}","End":true}}}}}}"#)
        };
        let sync = task("arn:aws:states:::states:startExecution.sync");
        check(&sync, ExecutionType::Standard, expect!["OK"]);
        check(
            &sync,
            ExecutionType::Express,
            expect![[r#"
            FAIL
            Error SCHEMA_VALIDATION_FAILED Some("/States/A/Resource"): Express state machine does not support '.sync' service integration"#]],
        );
        check(
            &task("arn:aws:states:::sqs:sendMessage.waitForTaskToken"),
            ExecutionType::Express,
            expect![[r#"
            FAIL
            Error SCHEMA_VALIDATION_FAILED Some("/States/A/Resource"): Express state machine does not support '.waitForTaskToken' service integration "#]],
        );
    }

    #[test]
    fn what_looks_like_a_path_and_is_none_is_a_warning() {
        check(
            r#"{"StartAt":"P","States":{
                "P":{"Type":"Pass","Result":{"a":"$.x"},"Next":"Q"},
                "Q":{"Type":"Pass","Parameters":{"a":"$.x","b.$":"$.x","c":[{"d":"States.UUID()"}],"e":"$5"},"Next":"C"},
                "C":{"Type":"Choice","Choices":[{"And":[{"Variable":"$.x","StringEquals":"$.y"},{"Variable":"$.x","IsNull":true}],"Next":"F"}],"Default":"F"},
                "F":{"Type":"Fail","Error":"$.error"}}}"#,
            ExecutionType::Standard,
            expect![[r#"
                OK
                Warning PASS_RESULT_IS_STATIC Some("/States/P/Result"): The Result of a Pass state is taken as it is: a path in it is not evaluated. Use Parameters for that.
                Warning NO_DOLLAR Some("/States/Q/Parameters/a"): The value for the field 'a' looks like a JSONPath or an intrinsic function call, but the field's name does not end with '.$'
                Warning NO_DOLLAR Some("/States/Q/Parameters/c[0]/d"): The value for the field 'd' looks like a JSONPath or an intrinsic function call, but the field's name does not end with '.$'
                Warning NO_PATH Some("/States/C/Choices[0]/And[0]/StringEquals"): The value for the field 'StringEquals' looks like a path, but the field's name does not end with 'Path'
                Warning NO_PATH Some("/States/F/Error"): The value for the field 'Error' looks like a path, but the field's name does not end with 'Path'"#]],
        );
    }

    #[test]
    fn what_is_no_definition_has_the_parsers_place() {
        check(
            "not a definition",
            ExecutionType::Standard,
            expect![[r#"
            FAIL
            Error INVALID_JSON_DESCRIPTION Some("[Source: (String)\"not a definition\"; line: 1, column: 4]"): Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')
             at [Source: (String)"not a definition"; line: 1, column: 4]"#]],
        );
        check(
            " ",
            ExecutionType::Standard,
            expect![[r#"
            FAIL
            Error SCHEMA_VALIDATION_FAILED None: Definition must be a valid JSON object"#]],
        );
        check(
            "{}",
            ExecutionType::Standard,
            expect![[r#"
            FAIL
            Error SCHEMA_VALIDATION_FAILED Some("/"): These fields are required: [States, StartAt]"#]],
        );
    }

    #[test]
    fn no_more_is_told_than_was_asked_for() {
        let definition = r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Result":"$.x","Oops":1,"Eek":2,"End":true}}}"#;
        let errors = validate(definition, ExecutionType::Standard, Severity::Error, 1);
        assert!(!errors.is_valid && errors.is_truncated);
        assert_eq!(errors.diagnostics.len(), 1);
        let all = validate(definition, ExecutionType::Standard, Severity::Warning, 100);
        assert_eq!((all.diagnostics.len(), all.is_truncated), (3, false));
    }
}
