//! AWS JSON 1.1, as CloudWatch Logs speaks it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::Value;
use starmap_sigv4::{Family, Refusal};

use super::Logs;
use crate::auth::{Ask, Guard};
use crate::aws_json::{VERSION_1_1, answer, refused, refused_body, target};
use crate::error::ApiError;
use crate::limits::REQUEST_BYTES_MAX;
use crate::router::{Answer, Answering, Protocol, RequestBody, read_body};

const PREFIX: &str = "Logs_20140328.";

/// The protocol of CloudWatch Logs.
#[derive(Debug)]
pub struct LogsJson {
    logs: Arc<Logs>,
}

impl LogsJson {
    /// Serves these actions.
    pub fn new(logs: Arc<Logs>) -> Self {
        Self { logs }
    }

    async fn act(&self, head: &Parts, body: RequestBody) -> Result<Vec<u8>, ApiError> {
        let body = read_body(&head.headers, body, REQUEST_BYTES_MAX).await.map_err(refused_body)?;
        let action = target(head).strip_prefix(PREFIX).unwrap_or_default().to_owned();
        let logs = Arc::clone(&self.logs);
        // Files are read and synced.
        let acting = tokio::task::spawn_blocking(move || logs.call(&action, &body));
        let value: Value = acting.await.map_err(|error| ApiError::internal("an action of logs", &error))??;
        Ok(value.to_string().into_bytes())
    }
}

impl Protocol for LogsJson {
    fn takes(&self, head: &Parts) -> bool {
        target(head).starts_with(PREFIX)
    }

    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering {
        Box::pin(async move {
            let answered = self.act(&head, body).await;
            answer(answered, &uuid::Uuid::new_v4().to_string(), VERSION_1_1)
        })
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard { family: Family::Json, services: &["logs"], bytes_max: REQUEST_BYTES_MAX })
    }

    fn asks(&self, head: &Parts, body: &Bytes) -> Vec<Ask> {
        self.logs.asks(target(head).strip_prefix(PREFIX).unwrap_or_default(), body)
    }

    fn refuse(&self, _: &Parts, _: &Bytes, refusal: &Refusal) -> Answer {
        refused(refusal, VERSION_1_1)
    }
}
