//! Definitions: refused, checked, described.

use serde_json::{Value, json};
use starmap_asl::{Diagnostic, ExecutionType, Severity, StateMachine, refusal};
use starmap_engine::registry::{MachineKind, Revision};

use super::StepFunctions;
use super::state_machines::{DEFINITION, KIND};
use crate::error::{Answer, ApiError};
use crate::wire::members::{Is, Members};
use crate::wire::values::object;

/// Findings in the answer of `ValidateStateMachineDefinition`, unless told otherwise; 0 means so many, too.
const RESULTS_MAX: usize = 100;

pub(super) struct Validate {
    definition: String,
    kind: MachineKind,
    least: Severity,
    results_max: usize,
}

impl Validate {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let severity = members.string("severity", Is::OneOf(&["ERROR", "WARNING"]))?;
        let results_max = members.integer("maxResults", Is::Range(0, 100))?.and_then(|max| usize::try_from(max).ok());
        Ok(Self {
            definition: members.required("definition", DEFINITION)?.to_owned(),
            kind: members.string("type", KIND)?.and_then(MachineKind::parse).unwrap_or(MachineKind::Standard),
            least: if severity == Some("WARNING") { Severity::Warning } else { Severity::Error },
            results_max: results_max.filter(|&max| max > 0).unwrap_or(RESULTS_MAX),
        })
    }
}

impl StepFunctions {
    pub(super) fn validate_state_machine_definition(&self, validate: &Validate) -> Answer {
        let Validate { definition, kind, least, results_max } = validate;
        let found = starmap_asl::validate(definition, machine_type(*kind), *least, *results_max);
        Ok(json!({
            "result": if found.is_valid { "OK" } else { "FAIL" },
            "diagnostics": found.diagnostics.iter().map(diagnostic).collect::<Vec<_>>(),
            "truncated": found.is_truncated,
        }))
    }
}

fn machine_type(kind: MachineKind) -> ExecutionType {
    match kind {
        MachineKind::Standard => ExecutionType::Standard,
        MachineKind::Express => ExecutionType::Express,
    }
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let severity = match diagnostic.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
    };
    object([
        ("severity", Some(severity.into())),
        ("code", Some(diagnostic.code.as_str().into())),
        ("message", Some(diagnostic.message.as_str().into())),
        ("location", diagnostic.location().map(Value::String)),
    ])
}

/// Refuses a definition with errors as creating or updating a state machine does.
pub(super) fn refused_definition(definition: &str, kind: MachineKind) -> Result<(), ApiError> {
    let (_, diagnostics) = StateMachine::parse_as(definition, machine_type(kind));
    let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    if let Some(label) = errors.clone().find(|error| error.pointer.ends_with("/Label")) {
        return Err(refused_label(definition, &label.message));
    }
    match errors.next() {
        None => Ok(()),
        Some(_) => Err(ApiError::new("InvalidDefinition", refusal(&diagnostics))),
    }
}

/// A Map's label is refused by another part of AWS, in words of its own: the character is escaped where it is named,
/// and the sentence once more where it is quoted.
fn refused_label(definition: &str, problem: &str) -> ApiError {
    let named = problem.strip_prefix("Label contains invalid character: '").and_then(|rest| rest.strip_suffix('\''));
    let problem = match named {
        Some(letter) => format!("Label contains invalid character: {}", quoted(letter)),
        None => problem.to_owned(),
    };
    let problem = quoted(&problem);
    ApiError::new("InvalidDefinition", format!("Error=ValueError Args=[{problem}] in definition '{definition}'."))
}

/// A text in quotes, double ones if that saves escapes; what does not print is escaped.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for letter in text.chars() {
        match letter {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            letter if letter == quote => {
                quoted.push('\\');
                quoted.push(letter);
            }
            letter if (letter as u32) < 0x20 || (0x7f..0xa1).contains(&(letter as u32)) => {
                quoted.push_str(&format!("\\x{:02x}", letter as u32));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push(quote);
    quoted
}

/// For every state that reads variables, which; `None` if none does.
pub(super) fn variable_references(revision: &Revision) -> Option<Value> {
    let references = revision.machine().ok()?.variable_references();
    if references.is_empty() {
        return None;
    }
    let listed = references.into_iter().map(|(state, names)| (state, Value::from(Vec::from_iter(names))));
    Some(Value::Object(listed.collect()))
}
