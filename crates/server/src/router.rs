//! Which protocol a request speaks. One seam for all of them: [`Protocol`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::auth::{Ask, Auth, Guard};
use crate::console::{self, Body, Console};
use crate::limits::BODY_TIMEOUT;
use crate::origin::{Hosts, refusal};

/// What is answered.
pub type Answer = Response<Full<Bytes>>;

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// The body of a request: still to come, or read already, to verify its signature.
pub type RequestBody = Either<Incoming, Full<Bytes>>;

/// One wire protocol.
///
/// For implementors: `takes` looks at the head alone, must be cheap and may overlap with protocols that come
/// later in the router; `serve` reads as much of the body as it allows (see [`read_body`]) and always answers.
/// What is only asked where requests must be signed has defaults: nothing of it is guarded.
pub trait Protocol: Send + Sync + 'static {
    /// Whether a request is of this protocol.
    fn takes(&self, head: &Parts) -> bool;

    /// Answers a request.
    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering;

    /// How requests are signed; `None` if anyone may ask.
    fn guard(&self) -> Option<Guard> {
        None
    }

    /// What a request asks for: the caller's policies must allow all of it.
    fn asks(&self, _head: &Parts, _body: &Bytes) -> Vec<Ask> {
        Vec::new()
    }

    /// What a caller has to be allowed to be told that what it asks for is not there. To others it is forbidden.
    fn asks_of_absent(&self, _head: &Parts) -> Option<Ask> {
        None
    }

    /// Refuses a request in this protocol's form.
    fn refuse(&self, _head: &Parts, _body: &Bytes, refusal: &starmap_sigv4::Refusal) -> Answer {
        let body = serde_json::json!({ "__type": refusal.code, "message": refusal.message });
        json(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN), body.to_string())
    }
}

/// The protocols of a server, asked in order.
#[derive(Clone, Default)]
pub struct Router {
    protocols: Vec<Arc<dyn Protocol>>,
    console: Option<Arc<Console>>,
    hosts: Hosts,
    auth: Option<Arc<Auth>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("protocols", &self.protocols.len()).finish()
    }
}

impl Router {
    /// A router that knows `GET /health` only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a protocol after those that are there.
    #[must_use]
    pub fn with(mut self, protocol: Arc<dyn Protocol>) -> Self {
        self.protocols.push(protocol);
        self
    }

    /// Adds the console, before all protocols: to S3 its pages are keys of a bucket.
    #[must_use]
    pub fn with_console(self, console: Arc<Console>) -> Self {
        Self { console: Some(console), ..self }
    }

    /// Requests must be signed, and their callers allowed to make them.
    #[must_use]
    pub fn guarded(self, auth: Arc<Auth>) -> Self {
        Self { auth: Some(auth), ..self }
    }

    /// The server stops: answers that go on for as long as someone listens end now.
    pub(crate) fn stop(&self) {
        if let Some(console) = &self.console {
            console.stop();
        }
    }

    /// The same under other names; see [`Hosts`].
    #[must_use]
    pub fn known_as(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if let Some(reason) = refusal(self.hosts, &head) {
            tracing::warn!(reason, "request refused");
            let body = serde_json::json!({ "__type": "AccessDeniedException", "message": reason });
            return json(StatusCode::FORBIDDEN, body.to_string()).map(Body::Whole);
        }
        // Before all protocols: to S3 this is a bucket.
        if head.method == Method::GET && head.uri.path() == "/health" {
            return json(StatusCode::OK, r#"{"status":"ok"}"#).map(Body::Whole);
        }
        if let Some(console) = self.console.as_ref().filter(|_| console::is_for_console(&head)) {
            if let Some(answer) = self.auth.as_ref().and_then(|auth| auth.at_console(&head)) {
                return answer.map(Body::Whole);
            }
            return console.answer(head, body).await;
        }
        let is_from_browser = head.headers.contains_key(FETCH_DESTINATION);
        let mut answer = match self.protocols.iter().find(|protocol| protocol.takes(&head)) {
            Some(protocol) => match (&self.auth, protocol.guard()) {
                (Some(auth), Some(guard)) => auth.serve(protocol, guard, head, body).await,
                _ => Arc::clone(protocol).serve(head, Either::Left(body)).await,
            },
            None => json(StatusCode::NOT_FOUND, r#"{"__type":"UnknownOperationException"}"#),
        };
        if is_from_browser {
            // An object may be a page. Opened, it is of no origin, and can ask nothing of this server.
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox allow-scripts"));
        }
        answer.map(Body::Whole)
    }
}

/// Sent by browsers alone.
const FETCH_DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");

fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// More than was allowed.
    TooLarge,
    /// The client went away or was too slow.
    Broken,
}

/// Reads a body of at most `bytes_max`.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body(headers: &HeaderMap, body: RequestBody, bytes_max: usize) -> Result<Bytes, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyError::Broken),
    }
}
