//! Lambda's errors: name, sentence, status.

use serde_json::{Map, Value, json};

/// Why an action is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Error {
    /// What an SDK raises.
    pub name: &'static str,
    /// For people, in AWS's words.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// `User` or `Server`; newer errors have none.
    pub fault: Option<&'static str>,
    /// Of a throttled invocation: by what.
    pub reason: Option<&'static str>,
}

impl Error {
    fn new(name: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { name, message: message.into(), status, fault: Some("User"), reason: None }
    }

    /// Of who may ask, before anything is looked at.
    pub(crate) fn refused(refusal: &starmap_sigv4::Refusal) -> Self {
        Self { fault: None, ..Self::new(refusal.code, refusal.status, refusal.message.clone()) }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", 404, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new("ResourceConflictException", 409, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValueException", 400, message)
    }

    /// Of the checks that AWS makes before it looks at anything.
    pub(crate) fn constraint(member: &str, value: &str, constraint: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must \
             {constraint}"
        );
        Self { fault: None, ..Self::new("ValidationException", 400, message) }
    }

    pub(crate) fn request_content(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestContentException", 400, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::new("PreconditionFailedException", 412, message)
    }

    pub(crate) fn code_storage_exceeded() -> Self {
        Self::new("CodeStorageExceededException", 400, "Code storage limit exceeded.")
    }

    pub(crate) fn too_large(bytes_max: usize, operation: &str) -> Self {
        let message = format!("Request must be smaller than {bytes_max} bytes for the {operation} operation");
        Self::new("RequestTooLargeException", 413, message)
    }

    pub(crate) fn too_many_requests(reason: &'static str) -> Self {
        Self { reason: Some(reason), ..Self::new("TooManyRequestsException", 429, "Rate Exceeded.") }
    }

    pub(crate) fn not_served(what: &str) -> Self {
        let message = format!("{what} is not served here");
        Self { fault: None, ..Self::new("UnknownOperationException", 404, message) }
    }

    pub(crate) fn service(message: impl Into<String>) -> Self {
        Self { fault: Some("Service"), ..Self::new("ServiceException", 500, message) }
    }

    /// Something went wrong here; the log has the rest.
    pub(crate) fn internal(doing: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, doing, "request failed");
        Self::service(format!("{doing} failed; the server's log says why"))
    }

    /// The body that goes over the wire.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = Map::new();
        if let Some(fault) = self.fault {
            body.insert("Type".to_owned(), json!(fault));
        }
        // Old errors have it so, new ones so; SDKs read either.
        body.insert("Message".to_owned(), json!(self.message));
        body.insert("message".to_owned(), json!(self.message));
        if let Some(reason) = self.reason {
            body.insert("Reason".to_owned(), json!(reason));
        }
        Value::Object(body).to_string().into_bytes()
    }
}
