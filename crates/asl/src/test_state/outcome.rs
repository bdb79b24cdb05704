//! What is said about a test.

use serde_json::Value;

/// How the state ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It went on to its next state, or to the end.
    Succeeded,
    /// An error that nothing in the state handles.
    Failed,
    /// An error that the state would be tried again for.
    Retriable,
    /// An error that a Catch takes.
    CaughtError,
}

impl Status {
    /// AWS's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Succeeded => "SUCCEEDED",
            Status::Failed => "FAILED",
            Status::Retriable => "RETRIABLE",
            Status::CaughtError => "CAUGHT_ERROR",
        }
    }
}

/// The answer of TestState. Values are JSON texts, as the API has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How the state ended.
    pub status: Status,
    /// The state's output, or a Catch's.
    pub output: Option<String>,
    /// The error's name.
    pub error: Option<String>,
    /// For people.
    pub cause: Option<String>,
    /// Where the state leads.
    pub next_state: Option<String>,
    /// From [`Level::Debug`](super::Level::Debug) on.
    pub inspection: Option<Inspection>,
    /// What a user might like to know and AWS has no place for: a mock that was not compared with a response shape, and why.
    pub notes: Vec<String>,
}

/// The data between a state's fields; names and meaning are those of the API's `InspectionData`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Inspection {
    pub input: Option<String>,
    pub after_input_path: Option<String>,
    pub after_parameters: Option<String>,
    pub after_arguments: Option<String>,
    pub after_items_path: Option<String>,
    pub after_items_pointer: Option<String>,
    pub after_item_selector: Option<String>,
    pub after_item_batcher: Option<String>,
    pub result: Option<String>,
    pub after_result_selector: Option<String>,
    pub after_result_path: Option<String>,
    pub variables: Option<String>,
    pub error_details: Option<ErrorDetails>,
    pub tolerated_failure_count: Option<u64>,
    pub tolerated_failure_percentage: Option<f64>,
    pub max_concurrency: Option<u64>,
    pub request: Option<HttpRequest>,
    pub response: Option<HttpResponse>,
}

/// Which Retry or Catch takes an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorDetails {
    /// Counts from 0.
    pub catch_index: Option<usize>,
    /// Counts from 0.
    pub retry_index: Option<usize>,
    /// The wait before the next attempt.
    pub retry_backoff_interval_s: Option<u64>,
}

/// What an HTTP task sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HttpRequest {
    pub protocol: String,
    pub method: String,
    pub url: String,
    pub headers: String,
    pub body: Option<String>,
}

/// What an HTTP task got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct HttpResponse {
    pub protocol: String,
    pub status_code: String,
    pub status_message: String,
    pub headers: String,
    pub body: Option<String>,
}

impl Inspection {
    /// The JSON texts by the API's names, those that are there and those that are not.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, Option<&String>)> {
        [
            ("input", &self.input),
            ("afterInputPath", &self.after_input_path),
            ("afterParameters", &self.after_parameters),
            ("afterArguments", &self.after_arguments),
            ("afterItemsPath", &self.after_items_path),
            ("afterItemsPointer", &self.after_items_pointer),
            ("afterItemSelector", &self.after_item_selector),
            ("afterItemBatcher", &self.after_item_batcher),
            ("result", &self.result),
            ("afterResultSelector", &self.after_result_selector),
            ("afterResultPath", &self.after_result_path),
            ("variables", &self.variables),
        ]
        .into_iter()
        .map(|(name, text)| (name, text.as_ref()))
    }

    /// The numbers by the API's names, those that are there.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, Value)> {
        [
            ("maxConcurrency", self.max_concurrency.map(Value::from)),
            ("toleratedFailureCount", self.tolerated_failure_count.map(Value::from)),
            ("toleratedFailurePercentage", self.tolerated_failure_percentage.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, number)| Some((name, number?)))
    }
}

impl ErrorDetails {
    /// The numbers by the API's names, those that are there.
    pub fn numbers(&self) -> impl Iterator<Item = (&'static str, Value)> {
        [
            ("catchIndex", self.catch_index.map(Value::from)),
            ("retryIndex", self.retry_index.map(Value::from)),
            ("retryBackoffIntervalSeconds", self.retry_backoff_interval_s.map(Value::from)),
        ]
        .into_iter()
        .filter_map(|(name, number)| Some((name, number?)))
    }
}
