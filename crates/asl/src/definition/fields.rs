//! Reading an object's fields, noting everything that is missing, mistyped, unknown or of the other dialect.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::model::{ExecutionType, QueryLanguage, ScopeId, Setting};
use crate::diagnostics::{Code, Diagnostic, Severity};
use crate::expression::Expression;
use crate::query::{Offered, Problem, Query, expression_in};
use crate::template::{BadField, BadTemplate, Computed, Step, Template};

/// Fields that only the JSONPath dialect has, in whatever object.
const PATHS_ONLY: &[&str] = &[
    "CausePath",
    "ErrorPath",
    "HeartbeatSecondsPath",
    "InputPath",
    "ItemsPath",
    "MaxConcurrencyPath",
    "MaxInputBytesPerBatchPath",
    "MaxItemsPath",
    "MaxItemsPerBatchPath",
    "OutputPath",
    "Parameters",
    "Result",
    "ResultPath",
    "ResultSelector",
    "SecondsPath",
    "TimeoutSecondsPath",
    "TimestampPath",
    "ToleratedFailureCountPath",
    "ToleratedFailurePercentagePath",
    "Variable",
];

/// Fields that only the JSONata dialect has.
const QUERIES_ONLY: &[&str] = &["Arguments", "Condition", "Items", "Output"];

/// What the whole check has found so far.
pub(super) struct Findings {
    diagnostics: RefCell<Vec<Diagnostic>>,
    /// Index of a diagnostic → pointer to what people should look at, where AWS points at something larger.
    places: RefCell<BTreeMap<usize, String>>,
    pub(super) processors: RefCell<BTreeMap<String, ScopeId>>,
    /// State name → pointer, over all scopes: a name may be used once in a machine.
    pub(super) names: RefCell<BTreeMap<String, String>>,
    /// What runs the states that are being read.
    pub(super) execution_type: Cell<ExecutionType>,
    /// The machine's own, which a state's overrides.
    pub(super) language: Cell<QueryLanguage>,
}

impl Findings {
    pub(super) fn new(execution_type: ExecutionType) -> Findings {
        Findings {
            diagnostics: RefCell::default(),
            places: RefCell::default(),
            processors: RefCell::default(),
            names: RefCell::default(),
            execution_type: Cell::new(execution_type),
            language: Cell::default(),
        }
    }

    pub(super) fn error(&self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.add(Severity::Error, code, pointer.into(), message.into());
    }

    /// The commonest kind of error.
    pub(super) fn schema(&self, pointer: impl Into<String>, message: impl Into<String>) {
        self.error(Code::SchemaValidationFailed, pointer, message);
    }

    fn add(&self, severity: Severity, code: Code, pointer: String, message: String) {
        self.diagnostics.borrow_mut().push(Diagnostic { severity, code, message, pointer, position: None });
    }

    /// True if some part of the definition could not be read.
    pub(super) fn has_schema_error(&self) -> bool {
        self.diagnostics.borrow().iter().any(|diagnostic| diagnostic.code == Code::SchemaValidationFailed)
    }

    /// Every finding, with the pointer to its place in the text.
    pub(super) fn into_diagnostics(self) -> Vec<(Diagnostic, String)> {
        let mut places = self.places.into_inner();
        let diagnostics = self.diagnostics.into_inner().into_iter().enumerate();
        diagnostics
            .map(|(index, diagnostic)| {
                let place = places.remove(&index).unwrap_or_else(|| diagnostic.pointer.clone());
                (diagnostic, place)
            })
            .collect()
    }
}

/// Appends a name to a pointer.
pub(super) fn child(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// Appends an index to a pointer, as AWS writes it: `/States/A/Choices[0]`.
pub(super) fn element(pointer: &str, index: usize) -> String {
    format!("{pointer}[{index}]")
}

/// One object of the definition. Every field that is asked for is known; [`Fields::finish`] reports the others.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pub(super) pointer: String,
    pub(super) findings: &'a Findings,
    pub(super) language: QueryLanguage,
    /// What `Output` and `Assign` may read.
    pub(super) offered: Offered,
    /// How much of the pointer leads to the state: messages name fields by their way from there.
    state_length: usize,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Notes it if `value` is no object.
    pub(super) fn new(value: &'a Value, pointer: String, findings: &'a Findings) -> Option<Fields<'a>> {
        match value {
            Value::Object(object) => {
                let state_length = pointer.len();
                let language = findings.language.get();
                let (offered, known) = (Offered::Nothing, RefCell::default());
                Some(Fields { object, pointer, findings, language, offered, state_length, known })
            }
            other => {
                findings.schema(pointer, format!("expected an object, found {}", describe(other)));
                None
            }
        }
    }

    /// An object inside this one, of the same state.
    fn inner(&self, value: &'a Value, pointer: String) -> Option<Fields<'a>> {
        let fields = Fields::new(value, pointer, self.findings)?;
        Some(Fields { language: self.language, state_length: self.state_length, ..fields })
    }

    pub(super) fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.known.borrow_mut().push(name);
        self.object.get(name)
    }

    pub(super) fn at(&self, name: &str) -> String {
        child(&self.pointer, name)
    }

    /// The field as messages name it: its way from the state, `Choices[0]/Condition`.
    pub(super) fn field(&self, name: &str) -> String {
        let way = self.pointer.get(self.state_length..).unwrap_or_default().trim_start_matches('/');
        if way.is_empty() { name.to_owned() } else { format!("{way}/{name}") }
    }

    pub(super) fn is_jsonata(&self) -> bool {
        self.language == QueryLanguage::Jsonata
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
        self.inner(self.get(name)?, self.at(name))
    }

    /// The objects of an array; elements that are none are noted and left out.
    pub(super) fn objects(&self, name: &'static str) -> Vec<Fields<'a>> {
        let entries = self.array(name).into_iter().flatten().enumerate();
        entries.filter_map(|(index, entry)| self.inner(entry, element(&self.at(name), index))).collect()
    }

    /// An object that is an element of an array of this object's.
    pub(super) fn inner_at(&self, name: &str, index: usize, value: &'a Value) -> Option<Fields<'a>> {
        self.inner(value, element(&self.at(name), index))
    }

    /// The object that is the value of `name`, though its owner was asked for it before.
    pub(super) fn inner_of(&self, name: &str, value: &'a Value) -> Option<Fields<'a>> {
        self.inner(value, self.at(name))
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

    /// A payload template, in the state's dialect.
    pub(super) fn template(&self, name: &'static str) -> Option<Template> {
        let value = self.get(name)?;
        let mut bad = Vec::new();
        let template = match self.language {
            QueryLanguage::JsonPath => Template::with_paths(value, &mut bad),
            QueryLanguage::Jsonata => {
                let is_exit = matches!(name, "Output" | "Assign");
                let offered = if is_exit { self.offered } else { Offered::Nothing };
                Template::with_queries(value, &self.field(name), offered, &mut bad)
            }
        };
        for BadField { path, problem } in bad {
            let pointer = path.iter().fold(self.at(name), |pointer: String, step| match step {
                Step::Name(name) => child(&pointer, name),
                Step::Index(index) => element(&pointer, *index),
            });
            match problem {
                BadTemplate::Path { field, .. } => {
                    let message = format!(
                        "The value for the field '{field}' must be a valid JSONPath or a valid intrinsic function call"
                    );
                    self.findings.schema(pointer, message);
                }
                BadTemplate::Query(problem) => self.bad_query(pointer, problem),
            }
        }
        Some(template)
    }

    fn bad_query(&self, pointer: String, problem: Problem) {
        match problem {
            Problem::Invalid(message) => self.findings.error(Code::InvalidJsonata, pointer, message),
            Problem::Unsupported(message) => self.findings.error(Code::UnsupportedJsonata, pointer, message),
        }
    }

    /// The expression of a field of the JSONata dialect, if its value is one.
    pub(super) fn query(&self, name: &'static str) -> Option<Computed> {
        if !self.is_jsonata() {
            return None;
        }
        let text = self.get(name)?.as_str().and_then(expression_in)?;
        match Query::parse(text, Offered::Nothing) {
            Ok(query) => Some(Computed { expression: Expression::Query(query), field: self.field(name) }),
            Err(problem) => {
                self.bad_query(self.at(name), problem);
                None
            }
        }
    }

    /// True if a field's value is an expression of the JSONata dialect.
    pub(super) fn is_query(&self, name: &str) -> bool {
        self.is_jsonata()
            && self.object.get(name).and_then(Value::as_str).is_some_and(|text| expression_in(text).is_some())
    }

    /// A field that may be computed: by its `…Path` in the JSONPath dialect, by itself in the JSONata dialect.
    pub(super) fn setting<T>(
        &self,
        names: [&'static str; 2],
        or_call: bool,
        read: impl Fn(&Self, &'static str) -> Option<T>,
    ) -> Setting<T> {
        let [name, path_name] = names;
        if self.is_query(name) {
            return self.query(name).map_or(Setting::Absent, Setting::Computed);
        }
        let value = read(self, name);
        if self.is_jsonata() {
            return value.map_or(Setting::Absent, Setting::Value);
        }
        self.exclusive(&names);
        let path = self.path(path_name, or_call);
        match (value, path) {
            (Some(value), _) => Setting::Value(value),
            (None, Some(expression)) => Setting::Computed(Computed { expression, field: path_name.to_owned() }),
            (None, None) => Setting::Absent,
        }
    }

    /// Reports every field that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for name in self.object.keys() {
            if known.contains(&name.as_str()) {
                continue;
            }
            let only = |other: QueryLanguage| {
                format!(
                    "The QueryLanguage is set to '{}', but field '{name}' is only supported for the '{}' QueryLanguage",
                    self.language.name(),
                    other.name()
                )
            };
            let message = match self.language {
                QueryLanguage::JsonPath if QUERIES_ONLY.contains(&name.as_str()) => only(QueryLanguage::Jsonata),
                QueryLanguage::Jsonata if PATHS_ONLY.contains(&name.as_str()) => only(QueryLanguage::JsonPath),
                _ => format!("Field '{name}' is not supported"),
            };
            self.findings.places.borrow_mut().insert(self.findings.diagnostics.borrow().len(), self.at(name));
            self.findings.schema(self.pointer.clone(), message);
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
