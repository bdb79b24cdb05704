//! [`StateMachine`]: the way in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::fields::{Fields, Findings};
use super::locate::locate;
use super::model::{Definition, ExecutionType, Scope, ScopeId};
use super::scope::ScopeReader;
use super::state::query_language;
use crate::command::ProcessorPath;
use crate::diagnostics::{Code, Diagnostic, Position, Severity};
use crate::json_text;

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
        StateMachine::parse_as(text, ExecutionType::Standard)
    }

    /// The same, for a workflow of a type: Express workflows may not do everything.
    pub fn parse_as(text: &str, execution_type: ExecutionType) -> (Option<StateMachine>, Vec<Diagnostic>) {
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return (None, vec![not_json(text, &error)]),
        };
        let findings = Findings::new(execution_type);
        let mut scopes = Vec::new();
        let read = read_machine(&value, &findings, &mut scopes);
        let processors = findings.processors.take();
        let (mut diagnostics, places): (Vec<Diagnostic>, Vec<String>) = findings.into_diagnostics().into_iter().unzip();
        for (diagnostic, position) in diagnostics.iter_mut().zip(locate(text, &places)) {
            diagnostic.position = Some(position);
        }
        // Having no end is said of the whole, so it comes last.
        diagnostics.sort_by_key(|diagnostic| {
            let place = diagnostic.position.map(|position| (position.line, position.column));
            (diagnostic.code == Code::MissingEndState, place)
        });
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
        let processors = &self.definition.processors;
        let root = *processors.get(&map.0).or_else(|| processors.get(&with_brackets(&map.0)))?;
        Some(StateMachine { definition: Arc::clone(&self.definition), root, timeout_s: None })
    }

    /// For every state that reads workflow variables, which: the API's `variableReferences`.
    pub fn variable_references(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut references: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for state in self.definition.scopes.iter().flat_map(|scope| &scope.states) {
            state.variables(&mut |name| {
                references.entry(state.name.clone()).or_default().insert(name.to_owned());
            });
        }
        references
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

/// `/Branches/0/States` → `/Branches[0]/States`: journals of the first version write indices as names.
fn with_brackets(path: &str) -> String {
    let mut steps = path.split('/').peekable();
    let mut bracketed = String::new();
    while let Some(step) = steps.next() {
        bracketed.push_str(step);
        if let Some(index) = steps.peek().filter(|next| step == "Branches" && next.parse::<usize>().is_ok()) {
            bracketed.push_str(&format!("[{index}]"));
            steps.next();
        }
        if steps.peek().is_some() {
            bracketed.push('/');
        }
    }
    bracketed
}

fn not_json(text: &str, error: &serde_json::Error) -> Diagnostic {
    // AWS tells an empty definition from a wrong one.
    let (code, message) = match text.trim() {
        "" => (Code::SchemaValidationFailed, "Definition must be a valid JSON object".to_owned()),
        _ => {
            let problem = json_text::problem(text).map(|problem| problem.to_string());
            (Code::InvalidJson, problem.unwrap_or_else(|| error.to_string()))
        }
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
    findings.language.set(query_language(&fields).unwrap_or_default());
    let mut reader = ScopeReader::new(findings, scopes);
    let scope = reader.read(&fields, false);
    reader.assignments.check(findings);
    fields.finish();
    Some((scope?, timeout_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_found_by_the_paths_of_older_journals() {
        assert_eq!(
            with_brackets("/States/A/Branches/10/States/B/ItemProcessor"),
            "/States/A/Branches[10]/States/B/ItemProcessor"
        );
        assert_eq!(with_brackets("/States/Branches/ItemProcessor"), "/States/Branches/ItemProcessor");
        let definition = r#"{"StartAt": "A", "States": {"A": {"Type": "Parallel", "End": true, "Branches": [{"StartAt": "B", "States": {
            "B": {"Type": "Map", "End": true, "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "C", "States": {"C": {"Type": "Succeed"}}}}
        }}]}}}"#;
        let machine = StateMachine::parse(definition).0.unwrap();
        for path in ["/States/A/Branches[0]/States/B/ItemProcessor", "/States/A/Branches/0/States/B/ItemProcessor"] {
            assert!(machine.processor(&ProcessorPath(path.to_owned())).is_some(), "{path}");
        }
    }
}
