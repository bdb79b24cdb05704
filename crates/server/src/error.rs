//! What a client is told when an action is refused: AWS's error name, AWS's sentence.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// An error as the API answers it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct ApiError {
    /// AWS's name: what an SDK raises.
    pub name: Cow<'static, str>,
    /// For people, in AWS's words.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// Members beside `message`, for example `resourceName`.
    pub members: Vec<(&'static str, Value)>,
}

impl ApiError {
    /// An error of the caller's, with the status that AWS's service model documents for it.
    pub fn new(name: &'static str, message: impl Into<String>) -> Self {
        let status = match name {
            "ServiceQuotaExceededException" => 402,
            "ConflictException" => 409,
            _ => 400,
        };
        Self { name: Cow::Borrowed(name), message: message.into(), status, members: Vec::new() }
    }

    /// The same with another member.
    #[must_use]
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((member, value.into()));
        self
    }

    /// Something went wrong here and not with the caller; the log has the rest.
    pub fn internal(doing: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(error = error.to_string(), doing, "request failed");
        let name = Cow::Borrowed("InternalServerError");
        Self { name, message: format!("{doing} failed; the server's log says why"), status: 500, members: Vec::new() }
    }

    /// The body that goes over the wire.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("__type".to_owned(), Value::String(self.name.clone().into_owned()));
        body.insert("message".to_owned(), Value::String(self.message.clone()));
        body.extend(self.members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Value::Object(body).to_string().into_bytes()
    }
}

/// The answer of an action.
pub type Answer = Result<Value, ApiError>;
