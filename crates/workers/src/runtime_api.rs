//! The Lambda Runtime API of one worker: HTTP/1.1 on loopback.
//!
//! Requests become [`Call`]s to the worker's state machine, which decides; nothing is decided here but
//! what is not a request of this API at all.
//!
//! # Source
//! docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html; status codes and error bodies as
//! `aws/aws-lambda-runtime-interface-emulator` internal/lambda/rapi gives them. Read 2026-11-24.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Largest answer, bytes: 6 MiB and 100 bytes, as on Lambda.
pub(crate) const ANSWER_BYTES_MAX: usize = 6 * 1024 * 1024 + 100;

const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");

/// A request of the worker, with a way to answer it.
#[derive(Debug)]
pub(crate) enum Call {
    /// `GET runtime/invocation/next`: the worker is ready. Answered when there is an invocation.
    Next { poll: oneshot::Sender<Event> },
    /// `POST runtime/invocation/{id}/response` and `/error`.
    Answer { request_id: String, answer: Answer, verdict: oneshot::Sender<Verdict> },
    /// `POST runtime/init/error`: the worker could not get ready.
    InitError { error: FunctionError, verdict: oneshot::Sender<Verdict> },
}

/// An invocation on its way to the worker.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) request_id: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) deadline_ms: i64,
    pub(crate) function_arn: String,
    pub(crate) trace_id: String,
    pub(crate) payload: Bytes,
}

/// What the function made of an invocation.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Bytes),
    /// A response of more than [`ANSWER_BYTES_MAX`].
    TooLarge,
    Error(FunctionError),
}

/// A Lambda error object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FunctionError {
    pub(crate) error_type: String,
    pub(crate) message: String,
    /// The object as the function sent it, JSON text.
    pub(crate) payload: String,
}

/// Whether the state machine took an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    Accepted,
    TooLarge,
    /// Not the invocation that the worker has.
    InvalidRequestId,
    /// Not allowed in the state that the worker is in.
    InvalidState,
}

impl FunctionError {
    /// An error object of our own making.
    pub(crate) fn new(error_type: &str, message: String) -> Self {
        let payload = json!({ "errorType": error_type, "errorMessage": message }).to_string();
        Self { error_type: error_type.to_owned(), message, payload }
    }

    /// The error object in a request. The body's `errorType` counts, then the header.
    fn read(body: &[u8], header: Option<&HeaderValue>) -> Self {
        let header = header.and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
        let object = match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => object,
            // Whatever it is, the one who reads the cause should see it.
            _ => return Self::new(header.unwrap_or(UNKNOWN), String::from_utf8_lossy(body).into_owned()),
        };
        let text = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            error_type: text("errorType").or(header.map(str::to_owned)).unwrap_or_else(|| UNKNOWN.to_owned()),
            message: text("errorMessage").unwrap_or_default(),
            payload: String::from_utf8_lossy(body).into_owned(),
        }
    }
}

/// What Step Functions calls an error of a function that gave it no type.
const UNKNOWN: &str = "Lambda.Unknown";

/// Serves the API until dropped.
pub(crate) async fn serve(listener: TcpListener, calls: mpsc::Sender<Call>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, calls.clone()))),
                // Out of file descriptors, most likely. The worker's request waits in the backlog.
                Err(error) => {
                    tracing::warn!(%error, "connection of a worker could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, calls: mpsc::Sender<Call>) {
    // An answer is one small packet; do not let it wait for another.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let calls = calls.clone();
        async move { Ok::<_, Infallible>(respond(request, &calls).await) }
    });
    // A connection that breaks is the worker's death or its mistake, and both show elsewhere.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, calls: &mpsc::Sender<Call>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Some(resource) = path.strip_prefix("/2018-06-01/runtime/") else { return not_found(&path) };
    let segments: Vec<&str> = resource.split('/').collect();
    match (segments.as_slice(), &head.method) {
        (["invocation", "next"], &Method::GET) => next(calls).await,
        (["invocation", id, kind @ ("response" | "error")], &Method::POST) => {
            let answer = match *kind {
                "response" => read_response(&head.headers, body).await,
                _ => read_error(&head.headers, body).await.map(Answer::Error),
            };
            match answer {
                Ok(answer) => {
                    let request_id = (*id).to_owned();
                    decide(calls, |verdict| Call::Answer { request_id, answer, verdict }).await
                }
                Err(refusal) => *refusal,
            }
        }
        (["init", "error"], &Method::POST) => match read_error(&head.headers, body).await {
            Ok(error) => decide(calls, |verdict| Call::InitError { error, verdict }).await,
            Err(refusal) => *refusal,
        },
        (["invocation", "next"] | ["invocation", _, "response" | "error"] | ["init", "error"], method) => {
            error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", &format!("{method} is not a method of {path}"))
        }
        _ => not_found(&path),
    }
}

async fn next(calls: &mpsc::Sender<Call>) -> Response<Full<Bytes>> {
    let (poll, event) = oneshot::channel();
    if calls.send(Call::Next { poll }).await.is_err() {
        return stopped();
    }
    // Not answered: the worker polled twice, or is being stopped.
    let Ok(event) = event.await else { return invalid_state() };
    let mut response = Response::new(Full::new(event.payload));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("lambda-runtime-aws-request-id", event.request_id),
        ("lambda-runtime-deadline-ms", event.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", event.function_arn),
        ("lambda-runtime-trace-id", event.trace_id),
    ] {
        // A name with control characters in it cannot be sent; the worker does without.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn decide(
    calls: &mpsc::Sender<Call>,
    call: impl FnOnce(oneshot::Sender<Verdict>) -> Call,
) -> Response<Full<Bytes>> {
    let (sender, verdict) = oneshot::channel();
    if calls.send(call(sender)).await.is_err() {
        return stopped();
    }
    match verdict.await {
        Ok(Verdict::Accepted) => body(StatusCode::ACCEPTED, &json!({ "status": "OK" })),
        Ok(Verdict::TooLarge) => too_large(),
        Ok(Verdict::InvalidRequestId) => error(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID"),
        Ok(Verdict::InvalidState) => invalid_state(),
        Err(_) => stopped(),
    }
}

/// Reads a response to its end, however long; past the limit it is read and thrown away, because a worker
/// that is still sending would not see our refusal.
async fn read_response(headers: &HeaderMap, mut body: Incoming) -> Result<Answer, Box<Response<Full<Bytes>>>> {
    if headers.get(&RESPONSE_MODE).is_some_and(|mode| mode != "streaming") {
        let message = "Invalid function response mode";
        return Err(Box::new(error(StatusCode::BAD_REQUEST, "InvalidFunctionResponseMode", message)));
    }
    let mut received = BytesMut::new();
    let mut is_too_large = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Box::new(truncated()))?;
        if let Some(trailer) = frame.trailers_ref().and_then(|trailers| trailers.get(&ERROR_TYPE)) {
            // A streamed response that failed half-way says so behind its end.
            return Ok(Answer::Error(FunctionError::read(b"", Some(trailer))));
        }
        let Ok(data) = frame.into_data() else { continue };
        is_too_large = is_too_large || received.len() + data.len() > ANSWER_BYTES_MAX;
        if is_too_large {
            received = BytesMut::new();
        } else {
            received.extend_from_slice(&data);
        }
    }
    Ok(if is_too_large { Answer::TooLarge } else { Answer::Response(received.freeze()) })
}

async fn read_error(headers: &HeaderMap, body: Incoming) -> Result<FunctionError, Box<Response<Full<Bytes>>>> {
    let body = match http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => return Err(Box::new(too_large())),
        Err(_) => return Err(Box::new(truncated())),
    };
    Ok(FunctionError::read(&body, headers.get(&ERROR_TYPE)))
}

fn not_found(path: &str) -> Response<Full<Bytes>> {
    error(StatusCode::NOT_FOUND, "NotFound", &format!("{path} is not part of the Lambda Runtime API"))
}

fn too_large() -> Response<Full<Bytes>> {
    let message = format!("Exceeded maximum allowed payload size ({ANSWER_BYTES_MAX} bytes).");
    error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", &message)
}

fn truncated() -> Response<Full<Bytes>> {
    error(StatusCode::BAD_REQUEST, "TruncatedHTTPRequest", "HTTP request detected as truncated")
}

fn invalid_state() -> Response<Full<Bytes>> {
    let message = "State transition is not allowed: answer the invocation before polling for the next, once each";
    error(StatusCode::FORBIDDEN, "InvalidStateTransition", message)
}

fn stopped() -> Response<Full<Bytes>> {
    error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "the worker is being stopped")
}

fn error(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    body(status, &json!({ "errorMessage": message, "errorType": error_type }))
}

fn body(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_objects_are_read_as_they_come() {
        let header = HeaderValue::from_static("Runtime.Whatever");
        let full = br#"{"errorType":"Partition.Missing","errorMessage":"no 7.pt","stackTrace":[]}"#;
        let read = FunctionError::read(full, Some(&header));
        assert_eq!((read.error_type.as_str(), read.message.as_str()), ("Partition.Missing", "no 7.pt"));
        assert_eq!(read.payload.as_bytes(), full);

        let untyped = FunctionError::read(br#"{"errorMessage":"x"}"#, Some(&header));
        assert_eq!(untyped.error_type, "Runtime.Whatever");
        assert_eq!(FunctionError::read(b"{}", None).error_type, "Lambda.Unknown");

        let not_an_object = FunctionError::read(b"boom \xff", None);
        assert_eq!(not_an_object.error_type, "Lambda.Unknown");
        assert_eq!(not_an_object.payload, r#"{"errorType":"Lambda.Unknown","errorMessage":"boom �"}"#);
    }
}
