//! Errors a state machine can see: the names that `Retry` and `Catch` match on.

/// Any error but those that end an execution whatever it says.
pub(crate) const ALL: &str = "States.ALL";
pub(crate) const TASK_FAILED: &str = "States.TaskFailed";
pub(crate) const TIMEOUT: &str = "States.Timeout";
pub(crate) const HEARTBEAT_TIMEOUT: &str = "States.HeartbeatTimeout";
pub(crate) const RUNTIME: &str = "States.Runtime";
pub(crate) const DATA_LIMIT_EXCEEDED: &str = "States.DataLimitExceeded";
pub(crate) const NO_CHOICE_MATCHED: &str = "States.NoChoiceMatched";
pub(crate) const INTRINSIC_FAILURE: &str = "States.IntrinsicFailure";
pub(crate) const RESULT_PATH_MATCH_FAILURE: &str = "States.ResultPathMatchFailure";
pub(crate) const QUERY_EVALUATION_ERROR: &str = "States.QueryEvaluationError";

/// An error inside an execution, on its way to a Retry, a Catch or the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The error's name. A Fail state may have none.
    pub(crate) error: Option<String>,
    pub(crate) cause: Option<String>,
    /// Set if it came of evaluating a field of a JSONata state, which the history shows.
    pub(crate) evaluation: Option<Evaluation>,
    /// True if nothing can catch it, wherever in the execution it happens.
    pub(crate) is_fatal: bool,
}

/// Which field could not be evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// For example `Arguments/FunctionName`; some failures are of the state and of no field.
    pub(crate) location: Option<String>,
}

impl Failure {
    pub(crate) fn new(error: &str, cause: impl Into<String>) -> Failure {
        Failure { error: Some(error.to_owned()), cause: Some(cause.into()), ..Failure::default() }
    }

    /// The interpreter cannot go on: `States.Runtime` "will always cause the execution to fail".
    ///
    /// # Source
    /// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>, read 2026-11-27.
    pub(crate) fn runtime(cause: impl Into<String>) -> Failure {
        Failure { is_fatal: true, ..Failure::new(RUNTIME, cause) }
    }

    /// A field of a JSONata state gave no usable value.
    pub(crate) fn evaluation(location: Option<&str>, cause: impl Into<String>) -> Failure {
        let location = location.map(str::to_owned);
        Failure { evaluation: Some(Evaluation { location }), ..Failure::new(QUERY_EVALUATION_ERROR, cause) }
    }

    /// Says in the cause which state could not be evaluated, as AWS does for errors that no task made.
    pub(crate) fn in_state(mut self, state: &str, entered_id: u64) -> Failure {
        let cause = self.cause.unwrap_or_default();
        self.cause = Some(format!(
            "An error occurred while executing the state '{state}' (entered at the event id #{entered_id}). {cause}"
        ));
        self
    }
}
