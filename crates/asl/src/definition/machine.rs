//! [`StateMachine`]: the way in.

use std::sync::Arc;

use serde_json::Value;

use super::fields::{Fields, Findings};
use super::locate::locate;
use super::model::{Definition, Scope, ScopeId};
use super::scope::{ScopeReader, query_language};
use crate::command::ProcessorPath;
use crate::diagnostics::{Code, Diagnostic, Position, Severity};

/// A state machine that has been checked and can run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateMachine {
    definition: Arc<Definition>,
    root: ScopeId,
    timeout_s: Option<u64>,
}

impl StateMachine {
    /// Reads and checks a definition; reports everything it finds, in the order of the text.
    ///
    /// Returns a machine exactly when no diagnostic is an error.
    pub fn parse(text: &str) -> (Option<StateMachine>, Vec<Diagnostic>) {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return (None, vec![not_json(text, &error)]),
        };
        let findings = Findings::default();
        let mut scopes = Vec::new();
        let read = read_machine(&value, &findings, &mut scopes);
        let processors = findings.processors.take();
        let mut diagnostics = findings.into_diagnostics();
        for diagnostic in &mut diagnostics {
            diagnostic.position = Some(locate(text, &diagnostic.pointer));
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.position.map(|position| (position.line, position.column)));
        let has_error = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
        let machine = read.filter(|_| !has_error).map(|(root, timeout_s)| {
            let definition = Definition { scopes, processors };
            StateMachine { definition: Arc::new(definition), root, timeout_s }
        });
        (machine, diagnostics)
    }

    /// The processor of a Distributed Map as a machine of its own, for child executions.
    ///
    /// Paths count from the definition's root, so a child's machine resolves its own nested maps, too.
    pub fn processor(&self, map: &ProcessorPath) -> Option<StateMachine> {
        let root = *self.definition.processors.get(&map.0)?;
        Some(StateMachine { definition: Arc::clone(&self.definition), root, timeout_s: None })
    }

    pub(crate) fn root(&self) -> ScopeId {
        self.root
    }

    pub(crate) fn scope(&self, id: ScopeId) -> &Scope {
        &self.definition.scopes[id.0]
    }

    /// The machine's own `TimeoutSeconds`.
    pub(crate) fn timeout_s(&self) -> Option<u64> {
        self.timeout_s
    }
}

fn not_json(text: &str, error: &serde_json::Error) -> Diagnostic {
    // AWS tells an empty definition from a wrong one.
    let (code, message) = match text.trim() {
        "" => (Code::SchemaValidationFailed, "Definition must be a valid JSON object".to_owned()),
        _ => (Code::InvalidJson, error.to_string()),
    };
    let position = Position { line: error.line().max(1), column: error.column().max(1) };
    Diagnostic { severity: Severity::Error, code, message, pointer: String::new(), position: Some(position) }
}

fn read_machine(value: &Value, findings: &Findings, scopes: &mut Vec<Scope>) -> Option<(ScopeId, Option<u64>)> {
    let Value::Object(_) = value else {
        findings.schema("", "Definition must be a valid JSON object");
        return None;
    };
    let fields = Fields::new(value, String::new(), findings)?;
    fields.comment();
    if let Some(version) = fields.string("Version")
        && version != "1.0"
    {
        fields.schema("Version", format!("expected \"1.0\", found \"{version}\""));
    }
    let timeout_s = fields.integer("TimeoutSeconds", 1, super::state::SECONDS_MAX);
    let is_readable = query_language(&fields);
    let scope = if is_readable { ScopeReader::new(findings, scopes).read(&fields) } else { None };
    if is_readable {
        fields.finish();
    }
    Some((scope?, timeout_s))
}
