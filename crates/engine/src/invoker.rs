//! How the engine has a function invoked, whoever carries it out.
//!
//! The engine knows functions by name and payloads as JSON text. Processes, limits and logs belong to
//! the implementor (see `starmap-workers`); in tests an invoker is a closure.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::journal::ExecutionId;

/// One attempt to run a function.
#[derive(Debug)]
pub struct Invocation {
    /// Unique per attempt; becomes the Lambda request id.
    pub request_id: String,
    /// Function name or ARN as the definition has it, with or without `:qualifier`.
    pub function: String,
    /// The event, JSON text.
    pub payload: Vec<u8>,
    /// Told once, when a worker takes the invocation. Dropped unsent if none ever does.
    pub started: oneshot::Sender<Started>,
    /// For whoever looks on: the execution that asks, if it is one in the journal.
    pub execution: Option<ExecutionId>,
    /// The execution that invokes; nobody's where a client of Lambda does.
    pub caller: Option<Caller>,
}

/// An execution that invokes a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its ARN.
    pub execution_arn: String,
    /// The role that it does so under.
    pub role_arn: String,
    /// Whether the Task names the function itself, and not `lambda:invoke`.
    pub is_direct: bool,
}

/// Who took an invocation.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// The worker's log stream, unique per worker process.
    pub log_stream: String,
    /// Process start to first poll, seconds; present only on a worker's first invocation (a cold start).
    pub init_s: Option<f64>,
}

/// How an attempt ended, with its bill.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The function's answer as JSON text, or why there is none.
    pub result: Result<Vec<u8>, InvokeError>,
    /// What the attempt used; absent when no worker ran it.
    pub report: Option<Report>,
}

/// Why an attempt gave no answer.
///
/// [`InvokeError::error_name`] is what `Retry` and `Catch` match on and is public API.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are the parts of the message")]
pub enum InvokeError {
    /// The function answered with an error, or its process failed. `payload` is the Lambda error object
    /// (`errorType`, `errorMessage`, …) as JSON text; it becomes the cause.
    #[error("function {function}: {error_type}: {message}")]
    Function { function: String, error_type: String, message: String, payload: String },
    /// There is no function of that name.
    #[error("function {function} does not exist; known: {known}")]
    NotFound { function: String, known: String },
    /// The function cannot take more work now.
    #[error("function {function}: {reason}")]
    TooManyRequests { function: String, reason: String },
    /// Lambda refused the invocation, in its own words: an error name as in `Lambda.ResourceNotFoundException`, and
    /// the cause as its SDK has it.
    #[error("{error}: {cause}")]
    Refused { error: String, cause: String },
    /// The invoker itself failed (could not start a process, could not bind a socket).
    #[error("function {function}: {reason}")]
    Service { function: String, reason: String },
}

impl InvokeError {
    /// The error name as AWS gives it for a `lambda:invoke` task.
    pub fn error_name(&self) -> &str {
        match self {
            Self::Function { error_type, .. } => error_type,
            Self::Refused { error, .. } => error,
            Self::NotFound { .. } => "Lambda.ResourceNotFoundException",
            Self::TooManyRequests { .. } => "Lambda.TooManyRequestsException",
            Self::Service { .. } => "Lambda.ServiceException",
        }
    }

    /// The cause as AWS gives it: the function's error object, or a sentence.
    pub fn cause(&self) -> String {
        match self {
            Self::Function { payload, .. } => payload.clone(),
            Self::Refused { cause, .. } => cause.clone(),
            other => other.to_string(),
        }
    }
}

/// What one attempt used: the figures of a Lambda REPORT line.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The attempt.
    pub request_id: String,
    /// Function name without ARN or qualifier.
    pub function: String,
    /// The worker's log stream.
    pub log_stream: String,
    /// Wall time from hand-over to answer, milliseconds.
    pub duration_ms: f64,
    /// `ceil(init + duration)`, milliseconds.
    pub billed_ms: u64,
    /// Memory of the function, MiB.
    pub memory_mib: u32,
    /// Peak resident set of the worker during the attempt, MiB, rounded up.
    pub max_memory_used_mib: u32,
    /// Process start to first poll, milliseconds; cold starts only.
    pub init_ms: Option<f64>,
}

/// The future of one attempt. Dropping it cancels the attempt: the worker is stopped and replaced.
pub type Invoking = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Runs functions.
///
/// Callers: every call is one attempt; retries are the state machine's business. Dropping the future
/// cancels. Implementors: `invoke` must return at once and queue inside the future when all workers are
/// busy; exactly one [`Outcome`] per call; a crash of a worker is an `Outcome`, never a panic.
pub trait Invoker: Send + Sync + 'static {
    /// Begins one attempt.
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking;
}
