//! Reading an object's fields, noting everything that is missing, mistyped or unknown.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::model::{ScopeId, Setting};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::expression::Expression;
use crate::template::Template;

/// What the whole check has found so far.
#[derive(Default)]
pub(super) struct Findings {
    diagnostics: RefCell<Vec<Diagnostic>>,
    pub(super) processors: RefCell<BTreeMap<String, ScopeId>>,
    /// State name → pointer, over all scopes: a name may be used once in a machine.
    pub(super) names: RefCell<BTreeMap<String, String>>,
}

impl Findings {
    pub(super) fn error(&self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, code, pointer.into(), message.into());
    }

    /// The commonest kind of error.
    pub(super) fn schema(&self, pointer: impl Into<String>, message: impl Into<String>) {
        self.error(Code::SchemaValidationFailed, pointer, message);
    }

    pub(super) fn warning(&self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Warning, code, pointer.into(), message.into());
    }

    fn add(&self, severity: Severity, code: Code, pointer: String, message: String) {
        self.diagnostics.borrow_mut().push(Diagnostic { severity, code, message, pointer, position: None });
    }

    pub(super) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics.into_inner()
    }
}

/// Appends a step to a JSON pointer.
pub(super) fn child(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// One object of the definition. Every field that is asked for is known; [`Fields::finish`] reports the others.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pub(super) pointer: String,
    pub(super) findings: &'a Findings,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Notes it if `value` is no object.
    pub(super) fn new(value: &'a Value, pointer: String, findings: &'a Findings) -> Option<Fields<'a>> {
        match value {
            Value::Object(object) => Some(Fields { object, pointer, findings, known: RefCell::default() }),
            other => {
                findings.schema(pointer, format!("expected an object, found {}", describe(other)));
                None
            }
        }
    }

    pub(super) fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(name);
        self.object.get(name)
    }

    pub(super) fn at(&self, name: &str) -> String {
        child(&self.pointer, name)
    }

    pub(super) fn schema(&self, name: &str, message: impl Into<String>) {
        self.findings.schema(self.at(name), message);
    }

    /// Notes, in AWS's words, which of `names` are missing.
    pub(super) fn require(&self, names: &[&'static str]) {
        let missing: Vec<&str> = names.iter().copied().filter(|name| !self.object.contains_key(*name)).collect();
        if !missing.is_empty() {
            let message = format!("These fields are required: [{}]", missing.join(", "));
            self.findings.schema(self.pointer.clone(), message);
        }
    }

    /// Notes it if more than one of `names` is there.
    pub(super) fn exclusive(&self, names: &[&'static str]) {
        let present: Vec<&str> = names.iter().copied().filter(|name| self.object.contains_key(*name)).collect();
        if present.len() > 1 {
            let message = format!("Only one of these fields may be given: [{}]", present.join(", "));
            self.findings.schema(self.pointer.clone(), message);
        }
    }

    /// Fields of the language that this interpreter does not run.
    pub(super) fn unsupported(&self, name: &'static str, what: &str) {
        if self.get(name).is_some() {
            let message = format!("{name} ({what}) is not supported yet");
            self.findings.error(Code::Unsupported, self.at(name), message);
        }
    }

    /// A field's value if `read` makes something of it; notes what was expected otherwise.
    fn typed<T>(&self, name: &'static str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let typed = read(value);
        if typed.is_none() {
            self.schema(name, format!("expected {expected}, found {}", describe(value)));
        }
        typed
    }

    pub(super) fn string(&self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(super) fn array(&self, name: &'static str) -> Option<&'a Vec<Value>> {
        self.typed(name, "an array", Value::as_array)
    }

    pub(super) fn object(&self, name: &'static str) -> Option<Fields<'a>> {
        Fields::new(self.get(name)?, self.at(name), self.findings)
    }

    /// An integer within bounds, both included.
    pub(super) fn integer(&self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let expected = format!("an integer from {least} to {most}");
        self.typed(name, &expected, |value| value.as_u64().filter(|value| (least..=most).contains(value)))
    }

    pub(super) fn number(&self, name: &'static str, least: f64, most: f64) -> Option<f64> {
        let expected = if most.is_finite() {
            format!("a number from {least} to {most}")
        } else {
            format!("a number of at least {least}")
        };
        self.typed(name, &expected, |value| value.as_f64().filter(|value| (least..=most).contains(value)))
    }

    /// `Comment` means nothing, but must be a string.
    pub(super) fn comment(&self) {
        self.string("Comment");
    }

    /// A field that holds a path. Intrinsic functions are allowed where `or_call` says so.
    pub(super) fn path(&self, name: &'static str, or_call: bool) -> Option<Expression> {
        let text = self.string(name)?;
        let parsed = if or_call { Expression::parse(text) } else { Expression::parse_path(text) };
        parsed.map_err(|problem| self.schema(name, format!("Value is not a valid JSONPath: {problem}"))).ok()
    }

    pub(super) fn template(&self, name: &'static str) -> Option<Template> {
        let value = self.get(name)?;
        let mut bad = Vec::new();
        let template = Template::parse(value, &mut bad);
        for field in bad {
            let pointer = field.path.iter().fold(self.at(name), |pointer: String, step| child(&pointer, step));
            let message = format!(
                "The value for the field '{}' must be a valid JSONPath or a valid intrinsic function call",
                field.field
            );
            self.findings.schema(pointer, message);
        }
        Some(template)
    }

    /// `Name` and `NamePath`, of which at most one may be given.
    pub(super) fn setting<T>(
        &self,
        names: [&'static str; 2],
        or_call: bool,
        read: impl Fn(&Self, &'static str) -> Option<T>,
    ) -> Setting<T> {
        self.exclusive(&names);
        let value = read(self, names[0]);
        let path = self.path(names[1], or_call);
        match (value, path) {
            (Some(value), _) => Setting::Value(value),
            (None, Some(path)) => Setting::Path(path),
            (None, None) => Setting::Absent,
        }
    }

    /// Reports every field that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for name in self.object.keys() {
            if !known.contains(&name.as_str()) {
                self.findings.schema(self.at(name), "Field is not supported");
            }
        }
    }
}

/// A value in an error message: short ones as they are, long ones by their type.
pub(super) fn describe(value: &Value) -> String {
    const LENGTH_MAX: usize = 60;
    let text = value.to_string();
    if text.len() <= LENGTH_MAX {
        return text;
    }
    match value {
        Value::Array(array) => format!("an array of {}", array.len()),
        Value::Object(object) => format!("an object of {} fields", object.len()),
        _ => format!("a text of {} bytes", text.len()),
    }
}
