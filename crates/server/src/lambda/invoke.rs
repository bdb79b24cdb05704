//! Invocations that come by the API: with an answer, without one, or only asked about.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Outcome};
use starmap_workers::function::LATEST;
use starmap_workers::logs;
use tokio::sync::oneshot;

use super::actions::Lambda;
use super::catalog::{Meant, chance};
use super::error::Error;

/// Lambda's limit on the payload of an invocation that is waited for: 6 MiB.
///
/// # Source
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>, read 2026-11.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// The same of one that is not: 1 MiB.
const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// How long an event waits before it is tried again after an error of the function.
///
/// # Source
/// <https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html>, read 2026-11.
const EVENT_RETRIES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(120)];

/// How an invocation is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wait for the answer.
    RequestResponse,
    /// Don't.
    Event,
    /// Only say whether it could be done.
    DryRun,
}

/// What the caller is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Invoked {
    /// 200, 202 or 204.
    pub status: u16,
    /// `$LATEST` or a number.
    pub version: String,
    /// Whether the payload is an error of the function.
    pub is_error: bool,
    /// The end of the invocation's log, if it was asked for.
    pub log_tail: Option<Vec<u8>>,
    /// The answer; empty for all but `RequestResponse`.
    pub payload: Vec<u8>,
}

impl Lambda {
    /// Invokes a function.
    ///
    /// # Errors
    /// When it can't be invoked; an error of the function itself is an [`Invoked`].
    pub async fn invoke(
        &self,
        name: &str,
        qualifier: Option<&str>,
        kind: Kind,
        wants_log: bool,
        payload: Bytes,
    ) -> Result<Invoked, Error> {
        let bytes_max = if kind == Kind::Event { EVENT_BYTES_MAX } else { PAYLOAD_BYTES_MAX };
        if payload.len() > bytes_max {
            return Err(Error::too_large(bytes_max, "InvokeFunction"));
        }
        let payload = if payload.is_empty() { Bytes::from_static(b"{}") } else { payload };
        if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
            return Err(Error::request_content(format!("Could not parse request body into json: {error}")));
        }
        let Meant { function, version } = self.catalog.resolve(name, qualifier, chance())?;
        let done =
            |status| Invoked { status, version: version.clone(), is_error: false, log_tail: None, payload: Vec::new() };
        match kind {
            Kind::DryRun => return Ok(done(204)),
            Kind::Event => {
                self.send(&function, &version, payload)?;
                return Ok(done(202));
            }
            Kind::RequestResponse => {}
        }
        let Outcome { result, report } = self.run(&function, &version, &payload).await;
        let log_tail = match (&report, &self.catalog.place.logs) {
            (Some(report), Some(folder)) if wants_log => {
                let (folder, function) = (folder.clone(), function.clone());
                let (stream, id) = (report.log_stream.clone(), report.request_id.clone());
                let read = tokio::task::spawn_blocking(move || logs::tail(&folder, &function, &stream, &id));
                read.await.ok()
            }
            _ => None,
        };
        match result {
            Ok(answer) => Ok(Invoked { log_tail, payload: answer, ..done(200) }),
            Err(InvokeError::Function { payload, .. }) => {
                Ok(Invoked { is_error: true, log_tail, payload: payload.into_bytes(), ..done(200) })
            }
            Err(InvokeError::NotFound { .. }) => Err(self.catalog.missing(&function, qualifier)),
            Err(InvokeError::TooManyRequests { .. }) => {
                Err(Error::too_many_requests("ReservedFunctionConcurrentInvocationLimitExceeded"))
            }
            Err(error) => Err(Error::service(error.to_string())),
        }
    }

    /// Has a function invoked later, with Lambda's retries. Events are kept in memory only.
    fn send(&self, function: &str, version: &str, payload: Bytes) -> Result<(), Error> {
        let permit = Arc::clone(&self.events).try_acquire_owned();
        let permit = permit.map_err(|_| Error::too_many_requests("ConcurrentInvocationLimitExceeded"))?;
        let workers = Arc::clone(&self.catalog.place.workers);
        let (function, name) = (function.to_owned(), self.pinned(function, version));
        tokio::spawn(async move {
            let waits = EVENT_RETRIES.iter().map(Some).chain([None]);
            for wait in waits {
                let error = match Arc::clone(&workers).invoke(invocation(&name, &payload)).await.result {
                    Ok(_) => break,
                    Err(InvokeError::NotFound { .. }) => break,
                    Err(error) => error,
                };
                match wait {
                    Some(wait) => {
                        tracing::warn!(function, %error, "event will be tried again");
                        tokio::time::sleep(*wait).await;
                    }
                    None => tracing::warn!(function, %error, "event is given up"),
                }
            }
            drop(permit);
        });
        Ok(())
    }

    async fn run(&self, function: &str, version: &str, payload: &Bytes) -> Outcome {
        let name = self.pinned(function, version);
        Arc::clone(&self.catalog.place.workers).invoke(invocation(&name, payload)).await
    }

    /// The ARN that leads the workers to one version.
    fn pinned(&self, function: &str, version: &str) -> String {
        self.catalog.arn(function, (version != LATEST).then_some(version))
    }
}

fn invocation(function: &str, payload: &Bytes) -> Invocation {
    // Whoever invokes by the API is told at the end only.
    let (started, _) = oneshot::channel();
    let request_id = uuid::Uuid::new_v4().to_string();
    let (function, payload) = (function.to_owned(), payload.to_vec());
    Invocation { request_id, function, payload, started, execution: None, caller: None }
}
