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
    /// Correct Amazon States Language that this interpreter does not run.
    Unsupported,
}

impl Code {
    /// AWS's spelling, for example `SCHEMA_VALIDATION_FAILED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidJson => "INVALID_JSON_DESCRIPTION",
            Code::SchemaValidationFailed => "SCHEMA_VALIDATION_FAILED",
            Code::MissingTransitionTarget => "MISSING_TRANSITION_TARGET",
            Code::DuplicateStateName => "DUPLICATE_STATE_NAME",
            Code::Unsupported => "NOT_SUPPORTED",
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
    /// JSON pointer (RFC 6901) to the offending place, for example `/States/Wait/Seconds`; empty for the whole text.
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
        write!(f, "{severity}: {}: {}", self.code.as_str(), self.message)?;
        // AWS writes the whole definition as `/`.
        write!(f, " at {}", if self.pointer.is_empty() { "/" } else { &self.pointer })
    }
}
