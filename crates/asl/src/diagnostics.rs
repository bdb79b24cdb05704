//! What is wrong with a definition, all of it at once, each with a place.

use std::fmt;

/// How bad a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The definition runs, but probably not as meant.
    Warning,
    /// The definition cannot run.
    Error,
}

/// The kind of a [`Diagnostic`], with the codes AWS's `ValidateStateMachineDefinition` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The text is not JSON.
    InvalidJson,
    /// The JSON does not match the Amazon States Language: a missing, unknown or wrong-typed field.
    SchemaValidationFailed,
    /// `StartAt`, `Next` or `Default` names a state that does not exist, or nothing leads to a state.
    MissingTransitionTarget,
    /// Two states of a machine have one name, be it in different branches.
    DuplicateStateName,
    /// No state ends the workflow.
    MissingEndState,
    /// An expression between `{%` and `%}` that cannot be read.
    InvalidJsonata,
    /// A JSONata expression that reads what is not there for it.
    UnsupportedJsonata,
    /// Correct Amazon States Language that this interpreter does not run.
    Unsupported,
    /// A field that looks like a path or an intrinsic function, and whose name does not end with `.$`.
    NoDollar,
    /// A field that looks like a path, and whose name does not end with `Path`.
    NoPath,
    /// A Pass state's `Result` that looks like a path: it is taken as it is.
    PassResultIsStatic,
}

impl Code {
    /// AWS's spelling, for example `SCHEMA_VALIDATION_FAILED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidJson => "INVALID_JSON_DESCRIPTION",
            Code::SchemaValidationFailed => "SCHEMA_VALIDATION_FAILED",
            Code::MissingTransitionTarget => "MISSING_TRANSITION_TARGET",
            Code::DuplicateStateName => "DUPLICATE_STATE_NAME",
            Code::MissingEndState => "MISSING_END_STATE",
            Code::InvalidJsonata => "INVALID_JSONATA_EXPRESSION",
            Code::UnsupportedJsonata => "UNSUPPORTED_JSONATA_EXPRESSION",
            Code::Unsupported => "NOT_SUPPORTED",
            Code::NoDollar => "NO_DOLLAR",
            Code::NoPath => "NO_PATH",
            Code::PassResultIsStatic => "PASS_RESULT_IS_STATIC",
        }
    }
}

/// A line and column in the definition's text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One finding about a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// What is wrong, in AWS's words where AWS's words are known.
    pub message: String,
    /// The offending place as AWS writes it, a JSON pointer (RFC 6901) with indices in brackets:
    /// `/States/Decide/Choices[0]/Next`; empty for the whole text.
    pub pointer: String,
    /// Where the pointer's value begins in the text, if the text is JSON; else where JSON ended.
    pub position: Option<Position>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        if self.code == Code::InvalidJson {
            // The place is said already, and there is no pointer to say.
            let message = self.message.split("\n at ").next().unwrap_or_default();
            return write!(f, "{severity}: {}: {message}", self.code.as_str());
        }
        write!(f, "{severity}: {}: {}", self.code.as_str(), self.message)?;
        // AWS writes the whole definition as `/`.
        write!(f, " at {}", if self.pointer.is_empty() { "/" } else { &self.pointer })
    }
}

/// The message with which AWS refuses a definition: `Invalid State Machine Definition: '…'` with every error in it.
pub fn refusal(diagnostics: &[Diagnostic]) -> String {
    let errors: Vec<String> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| match (diagnostic.code, diagnostic.location()) {
            // Its message says where.
            (Code::InvalidJson, _) => format!("{}: {}", diagnostic.code.as_str(), diagnostic.message),
            // Measured: floci-io/floci issue 2735, read 2026-11-27.
            (Code::MissingEndState, None) => format!("{}: {} at null", diagnostic.code.as_str(), diagnostic.message),
            (_, None) => format!("{}: {}", diagnostic.code.as_str(), diagnostic.message),
            (code, Some(location)) => format!("{}: {} at {location}", code.as_str(), diagnostic.message),
        })
        .collect();
    format!("Invalid State Machine Definition: '{}'", errors.join(", "))
}
