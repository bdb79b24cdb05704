//! AWS JSON 1.0 and 1.1: the action in a header, one JSON object in, one out.
//!
//! # Source
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>, read 2026-11.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use crate::error::ApiError;
use crate::limits::REQUEST_BYTES_MAX;
use starmap_sigv4::{Family, Refusal};

use crate::auth::{Ask, Guard};
use crate::router::{Answer, Answering, BodyError, Protocol, RequestBody, read_body};
use crate::sfn::StepFunctions;

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const PREFIX: &str = "AWSStepFunctions.";
/// The content type of Step Functions.
const VERSION_1_0: &str = "application/x-amz-json-1.0";
/// The content type of CloudWatch Logs.
pub(crate) const VERSION_1_1: &str = "application/x-amz-json-1.1";

/// The protocol of the Step Functions API.
#[derive(Debug)]
pub struct AwsJson {
    step_functions: Arc<StepFunctions>,
}

impl AwsJson {
    /// Serves these actions.
    pub fn new(step_functions: Arc<StepFunctions>) -> Self {
        Self { step_functions }
    }

    async fn act(&self, head: &Parts, body: RequestBody) -> Result<Vec<u8>, ApiError> {
        let target = target(head);
        let body = read_body(&head.headers, body, REQUEST_BYTES_MAX).await.map_err(refused_body)?;
        match target.strip_prefix(PREFIX) {
            Some(action) => self.step_functions.call(action, &body).await,
            None => Err(unknown_operation()),
        }
    }
}

impl Protocol for AwsJson {
    fn takes(&self, head: &Parts) -> bool {
        head.headers.contains_key(&TARGET)
    }

    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering {
        Box::pin(async move {
            let request_id = uuid::Uuid::new_v4().to_string();
            let answered = self.act(&head, body).await;
            answer(answered, &request_id, VERSION_1_0)
        })
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard { family: Family::Json, services: &["states"], bytes_max: REQUEST_BYTES_MAX })
    }

    fn asks(&self, head: &Parts, body: &Bytes) -> Vec<Ask> {
        let action = target(head).strip_prefix(PREFIX).unwrap_or_default();
        self.step_functions.asks(action, body)
    }

    fn refuse(&self, _: &Parts, _: &Bytes, refusal: &Refusal) -> Answer {
        refused(refusal, VERSION_1_0)
    }
}

/// The action that a request names.
pub(crate) fn target(head: &Parts) -> &str {
    head.headers.get(&TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A refusal before any action was looked at.
pub(crate) fn refused(refusal: &Refusal, version: &'static str) -> Answer {
    let error = ApiError { status: refusal.status, ..ApiError::new(refusal.code, refusal.message.clone()) };
    answer(Err(error), &uuid::Uuid::new_v4().to_string(), version)
}

/// What AWS answers to an action it does not know.
pub(crate) fn unknown_operation() -> ApiError {
    ApiError::new("UnknownOperationException", "")
}

pub(crate) fn refused_body(error: BodyError) -> ApiError {
    match error {
        BodyError::TooLarge => {
            let message = format!("Request size exceeded the limit of {REQUEST_BYTES_MAX} bytes");
            ApiError { status: 413, ..ApiError::new("RequestEntityTooLargeException", message) }
        }
        BodyError::Broken => ApiError::new("SerializationException", "the request's body ended early"),
    }
}

pub(crate) fn answer(answered: Result<Vec<u8>, ApiError>, request_id: &str, version: &'static str) -> Answer {
    let (status, body, error) = match answered {
        Ok(body) => (StatusCode::OK, body, None),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, error.body(), Some(error.name))
        }
    };
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(version));
    for (name, value) in [(REQUEST_ID, Some(request_id)), (ERROR_TYPE, error.as_deref())] {
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(name, value);
        }
    }
    answer
}
