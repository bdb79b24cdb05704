//! What TestState is asked, and how it refuses.

use serde_json::Value;

use crate::diagnostics::{Diagnostic, refusal};

/// How much the answer tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// The outcome.
    #[default]
    Info,
    /// The data between the state's fields, too.
    Debug,
    /// The HTTP request and response of an HTTP task, too.
    Trace,
}

/// How a mocked result is compared with the service's response shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValidationMode {
    /// Required fields must be there and every field must be right.
    #[default]
    Strict,
    /// What is there must be right.
    Present,
    /// Anything goes.
    None,
}

/// What stands in for the call that the state would make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mock {
    /// The result, a JSON text.
    pub result: Option<String>,
    /// The error's name and its cause.
    pub error: Option<(Option<String>, Option<String>)>,
    /// For `result`.
    pub validation: ValidationMode,
}

/// What happened before the state, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Retries that the retrier for the mocked error has made already.
    pub retrier_retry_count: Option<u32>,
    /// Which state inside the Map or Parallel the mocked error came from.
    pub error_caused_by_state: Option<String>,
    /// How many iterations of the Map failed.
    pub map_iteration_failure_count: Option<u64>,
    /// What the Map's ItemReader read, as it is in the source.
    pub map_item_reader_data: Option<String>,
}

/// A call of TestState.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// One state, or a whole machine if `state_name` is given.
    pub definition: String,
    /// Which state of the machine; it may be in a branch or a processor.
    pub state_name: Option<String>,
    /// The role; a Task that is not mocked must have one.
    pub role_arn: Option<String>,
    /// A JSON text; `{}` if absent.
    pub input: Option<String>,
    /// A JSON object: the variables the state can see.
    pub variables: Option<String>,
    /// A JSON object: the context object; only with a mock.
    pub context: Option<String>,
    /// How much to tell.
    pub level: Level,
    /// Show what an EventBridge connection adds to an HTTP request.
    pub reveal_secrets: bool,
    /// Instead of the call.
    pub mock: Option<Mock>,
    /// What happened before.
    pub configuration: Option<Configuration>,
}

/// The names that a test's execution has in the context object. The caller makes them up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Of the state machine that does not exist; AWS takes a UUID.
    pub state_machine_name: String,
    /// `arn:aws:states:us-east-1:000000000000:stateMachine:NAME`.
    pub state_machine_arn: String,
    /// Of the execution.
    pub execution_name: String,
    /// `arn:aws:states:us-east-1:000000000000:express:MACHINE:NAME`.
    pub execution_arn: String,
    /// Seeds task tokens, jitter and random functions.
    pub seed: u64,
}

/// A test that is not run. The messages are AWS's where AWS's are known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `InvalidDefinition`.
    #[error("{0}")]
    InvalidDefinition(String),
    /// `InvalidExecutionInput`.
    #[error("{0}")]
    InvalidInput(String),
    /// `ValidationException`.
    #[error("{0}")]
    Validation(String),
}

impl Error {
    pub(super) fn validation(message: impl Into<String>) -> Error {
        Error::Validation(message.into())
    }

    pub(super) fn definition(diagnostics: &[Diagnostic]) -> Error {
        Error::InvalidDefinition(refusal(diagnostics))
    }
}

impl Request {
    pub(super) fn input(&self) -> Result<Value, Error> {
        let Some(text) = &self.input else { return Ok(Value::Object(Default::default())) };
        serde_json::from_str(text).map_err(|_| {
            let problem = crate::json_text::problem(text).map_or_else(String::new, |problem| problem.message);
            Error::InvalidInput(format!("Invalid State Machine Execution Input: '{problem}'"))
        })
    }

    /// The variables by name.
    pub(super) fn variables(&self) -> Result<Vec<(String, Value)>, Error> {
        let Some(text) = &self.variables else { return Ok(Vec::new()) };
        match serde_json::from_str(text) {
            Ok(Value::Object(variables)) => Ok(variables.into_iter().collect()),
            _ => Err(Error::validation("Variables must be a valid JSON object")),
        }
    }

    /// What the mock says, if there is one.
    pub(super) fn mocked(&self) -> Result<Option<Mocked>, Error> {
        let Some(mock) = &self.mock else { return Ok(None) };
        if self.reveal_secrets {
            return Err(Error::validation("TestState does not support RevealSecrets when a mock is specified."));
        }
        match (&mock.result, &mock.error) {
            (Some(_), Some(_)) | (None, None) => Err(Error::validation(
                "A test mock should have only one of the following fields: [result, errorOutput].",
            )),
            (Some(text), None) => match serde_json::from_str(text) {
                Ok(result) => Ok(Some(Mocked::Result(result))),
                Err(_) => Err(Error::validation("Mocked result must be valid JSON")),
            },
            (None, Some((None, _))) => Err(Error::validation("An error was not specified in the mocked error output.")),
            (None, Some((Some(error), cause))) => {
                Ok(Some(Mocked::Error { error: error.clone(), cause: cause.clone().unwrap_or_default() }))
            }
        }
    }

    pub(super) fn validation_mode(&self) -> ValidationMode {
        self.mock.as_ref().map_or(ValidationMode::None, |mock| mock.validation)
    }
}

/// A mock that has been read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mocked {
    Result(Value),
    Error { error: String, cause: String },
}
