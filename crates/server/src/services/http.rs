//! `arn:aws:states:::http:invoke`: an HTTP API called by a state machine.
//!
//! On AWS an EventBridge connection adds credentials to the request. Connections are not kept here: a task must name
//! one, as on AWS, and whichever it names, the request is sent without credentials, as the definition has it. `http:`
//! is called as well as `https:`, because what people try against is often on this machine. Redirects are not followed.
//!
//! Calling out needs no permission here: whoever may create a state machine may also create a function, which can do
//! whatever the user of this program can.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/call-https-apis.html>, read 2026-11.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE, USER_AGENT};
use hyper::{Method, Uri};
pub use hyper::{Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use starmap_engine::services::{Answering, ServiceCall, ServiceError};

use super::{Service, invalid, text};
use crate::limits::PAYLOAD_BYTES_MAX;

/// How long AWS waits for an answer.
pub const TIMEOUT: Duration = Duration::from_secs(60);

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"];

/// Headers that a definition must not have; those that end with `-` stand for all that begin so.
const FORBIDDEN: [&str; 36] = [
    "a-im",
    "accept-charset",
    "accept-datetime",
    "accept-encoding",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-md5",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "http2-settings",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "proxy-authorization",
    "referer",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "warning",
    "content-length",
    "x-forwarded-",
    "x-amz-",
    "x-amzn-",
];

/// Everything but what RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebError {
    /// The other side could not be reached, or did not answer in time; why.
    Socket(String),
    /// Its answer is larger than the limit.
    TooLarge,
}

/// The future of an answer.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Response<Bytes>, WebError>> + Send>>;

/// Sends a request to wherever its URL says, within [`TIMEOUT`].
///
/// For implementors: an answer of more than `bytes_max` is [`WebError::TooLarge`]; no redirect is followed.
pub trait Web: Send + Sync + 'static {
    /// Sends it.
    fn send(self: Arc<Self>, request: Request<Bytes>, bytes_max: usize) -> Fetching;
}

pub(super) struct Http {
    pub(super) web: Arc<dyn Web>,
    pub(super) region: String,
}

impl Service for Http {
    fn call(self: Arc<Self>, action: String, arguments: Map<String, Value>, _: ServiceCall) -> Answering {
        Box::pin(async move {
            if action != "invoke" {
                return Err(super::absent::action("http", &action, &["invoke"]));
            }
            let request = request(&arguments, &self.region)?;
            match Arc::clone(&self.web).send(request, PAYLOAD_BYTES_MAX).await {
                Ok(response) => answer(&response),
                Err(WebError::Socket(cause)) => Err(failed("States.Http.Socket", cause)),
                Err(WebError::TooLarge) => Err(failed(
                    "States.DataLimitExceeded",
                    "The HTTP response has exceeded the maximum size of 262144 bytes.".to_owned(),
                )),
            }
        })
    }
}

fn failed(error: &str, cause: String) -> ServiceError {
    ServiceError { error: error.to_owned(), cause }
}

fn request(arguments: &Map<String, Value>, region: &str) -> Result<Request<Bytes>, ServiceError> {
    let wrong = |problem: String| invalid(arguments, &problem);
    let endpoint = text(arguments, "ApiEndpoint")?;
    let method = text(arguments, "Method")?;
    if !METHODS.contains(&method) {
        return Err(wrong(format!("The value for the field 'Method' must be one of {}", METHODS.join(", "))));
    }
    let connection = ["InvocationConfig", "Authentication"].iter().find_map(|name| arguments.get(*name));
    if connection.and_then(|connection| connection.get("ConnectionArn")).and_then(Value::as_str).is_none() {
        return Err(wrong("The field 'ConnectionArn' is required but was missing".to_owned()));
    }
    let url = url(endpoint, arguments.get("QueryParameters")).map_err(wrong)?;
    let wrong = |problem: String| invalid(arguments, &problem);
    let mut headers = headers(arguments.get("Headers")).map_err(wrong)?;
    let user_agent = HeaderValue::from_str(&format!("Amazon|StepFunctions|HttpInvoke|{region}"));
    headers
        .insert(USER_AGENT, user_agent.unwrap_or_else(|_| HeaderValue::from_static("Amazon|StepFunctions|HttpInvoke")));
    headers.insert(RANGE, HeaderValue::from_static("bytes=0-262144"));
    let wrong = |problem: String| invalid(arguments, &problem);
    let body = body(arguments.get("RequestBody"), arguments.get("Transform")).map_err(wrong)?;
    if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    }
    let mut request = Request::new(Bytes::from(body.unwrap_or_default()));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap_or_default();
    *request.uri_mut() = url;
    *request.headers_mut() = headers;
    Ok(request)
}

fn url(endpoint: &str, parameters: Option<&Value>) -> Result<Uri, String> {
    let mut url = endpoint.to_owned();
    let query = match parameters {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(parameters)) => form(parameters, ArrayFormat::Repeat),
        Some(Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join("&"),
        Some(_) => return Err("The value for the field 'QueryParameters' must be an OBJECT".to_owned()),
    };
    if !query.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&query);
    }
    let parsed: Option<Uri> = url.parse().ok();
    let is_web = |uri: &Uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some();
    parsed.filter(is_web).ok_or_else(|| format!("The value for the field 'ApiEndpoint' is not a valid URL: {url}"))
}

fn headers(given: Option<&Value>) -> Result<HeaderMap, String> {
    let given = match given {
        None | Some(Value::Null) => return Ok(HeaderMap::new()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err("The value for the field 'Headers' must be an OBJECT".to_owned()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let lower = name.to_ascii_lowercase();
        if FORBIDDEN.iter().any(|taken| lower == *taken || (taken.ends_with('-') && lower.starts_with(taken))) {
            return Err(format!("The header '{name}' is not allowed"));
        }
        let values = match value {
            Value::Array(values) => values.iter().map(plain).collect(),
            one => vec![plain(one)],
        };
        for value in values {
            let (name_bytes, header) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value));
            let (Ok(name), Ok(value)) = (name_bytes, header) else {
                return Err(format!("The header '{name}' can't be sent"));
            };
            headers.append(name, value);
        }
    }
    Ok(headers)
}

fn body(body: Option<&Value>, transform: Option<&Value>) -> Result<Option<String>, String> {
    let option = |path: &str| transform.and_then(|transform| transform.pointer(path)).and_then(Value::as_str);
    let array_format = match option("/RequestEncodingOptions/ArrayFormat") {
        None | Some("INDICES") => ArrayFormat::Indices,
        Some("REPEAT") => ArrayFormat::Repeat,
        Some("COMMAS") => ArrayFormat::Commas,
        Some("BRACKETS") => ArrayFormat::Brackets,
        Some(other) => return Err(format!("The value for the field 'ArrayFormat' is not valid: {other}")),
    };
    let is_form = match option("/RequestBodyEncoding") {
        None | Some("NONE") => false,
        Some("URL_ENCODED") => true,
        Some(other) => return Err(format!("The value for the field 'RequestBodyEncoding' is not valid: {other}")),
    };
    Ok(match body {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Object(fields)) if is_form => Some(form(fields, array_format)),
        Some(_) if is_form => return Err("A 'RequestBody' that is URL_ENCODED must be an OBJECT".to_owned()),
        Some(other) => Some(other.to_string()),
    })
}

/// How the elements of an array are written in a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArrayFormat {
    /// `a[0]=x&a[1]=y`
    Indices,
    /// `a=x&a=y`
    Repeat,
    /// `a=x,y`
    Commas,
    /// `a[]=x&a[]=y`
    Brackets,
}

fn form(fields: &Map<String, Value>, arrays: ArrayFormat) -> String {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        flatten(name.clone(), value, arrays, &mut pairs);
    }
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let written = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    written.collect::<Vec<_>>().join("&")
}

fn flatten(name: String, value: &Value, arrays: ArrayFormat, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(format!("{name}[{field}]"), value, arrays, pairs);
            }
        }
        Value::Array(items) if arrays == ArrayFormat::Commas => {
            pairs.push((name, items.iter().map(plain).collect::<Vec<_>>().join(",")));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = match arrays {
                    ArrayFormat::Indices => format!("{name}[{index}]"),
                    ArrayFormat::Brackets => format!("{name}[]"),
                    ArrayFormat::Repeat | ArrayFormat::Commas => name.clone(),
                };
                flatten(name, item, arrays, pairs);
            }
        }
        one => pairs.push((name, plain(one))),
    }
}

/// A string without quotes, nothing for null, all else as JSON writes it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn answer(response: &Response<Bytes>) -> Result<Value, ServiceError> {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_binary =
        kind == "application/octet-stream" || ["image/", "video/", "audio/"].iter().any(|of| kind.starts_with(of));
    if is_binary {
        let cause = format!("The response of the HTTP endpoint has the content type {kind}, which is not supported");
        return Err(failed("States.Runtime", cause));
    }
    let Ok(text) = std::str::from_utf8(response.body()) else {
        let cause = "The response of the HTTP endpoint can't be read as a string".to_owned();
        return Err(failed("States.Runtime", cause));
    };
    let status = response.status();
    let status_text = status.canonical_reason().unwrap_or_default();
    if !status.is_success() {
        let cause = if text.is_empty() { status_text } else { text };
        return Err(failed(&format!("States.Http.StatusCode.{}", status.as_u16()), cause.to_owned()));
    }
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let body = is_json.then(|| serde_json::from_str(text).ok()).flatten().unwrap_or_else(|| Value::from(text));
    let mut headers = Map::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value.into());
        }
    }
    Ok(json!({ "Headers": headers, "ResponseBody": body, "StatusCode": status.as_u16(), "StatusText": status_text }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use starmap_asl::Pattern;

    use super::*;

    /// Answers what it is told, and keeps what it was asked.
    struct Recorder(Mutex<Option<Request<Bytes>>>, Mutex<Option<Result<Response<Bytes>, WebError>>>);

    impl Web for Recorder {
        fn send(self: Arc<Self>, request: Request<Bytes>, _: usize) -> Fetching {
            *self.0.lock().unwrap() = Some(request);
            let answer = self.1.lock().unwrap().take().unwrap();
            Box::pin(async move { answer })
        }
    }

    async fn call(
        arguments: Value,
        answer: Result<Response<Bytes>, WebError>,
    ) -> (Option<Request<Bytes>>, Result<Value, ServiceError>) {
        let recorder = Arc::new(Recorder(Mutex::new(None), Mutex::new(Some(answer))));
        let http = Arc::new(Http { web: Arc::clone(&recorder) as _, region: "eu-west-1".to_owned() });
        let call = ServiceCall {
            service: "http".to_owned(),
            action: "invoke".to_owned(),
            is_sdk: false,
            pattern: Pattern::RequestResponse,
            arguments: Value::Null,
            request_id: String::new(),
            execution_arn: String::new(),
            role_arn: String::new(),
        };
        let answer = http.call("invoke".to_owned(), arguments.as_object().unwrap().clone(), call).await;
        let asked = recorder.0.lock().unwrap().take();
        (asked, answer)
    }

    fn response(status: u16, kind: &str, body: &'static [u8]) -> Result<Response<Bytes>, WebError> {
        let response = Response::builder().status(status).header("content-type", kind);
        Ok(response.header("x-a", "1").header("x-a", "2").body(Bytes::from_static(body)).unwrap())
    }

    fn arguments(others: Value) -> Value {
        let mut arguments = json!({
            "ApiEndpoint": "https://example.com/v1/customers", "Method": "POST",
            "InvocationConfig": { "ConnectionArn": "arn:aws:events:us-east-1:000000000000:connection/c/1" },
        });
        arguments.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        arguments
    }

    #[tokio::test]
    async fn the_request_is_as_aws_sends_it() {
        let others = json!({
            "Headers": { "Request-Id": "r", "X-Many": ["a", "b"] },
            "QueryParameters": { "currency": "us d", "n": [1, 2] },
            "RequestBody": { "Job": "Engineer", "n": [1] },
        });
        let (asked, answer) =
            call(arguments(others), response(200, "application/json; charset=utf-8", b"{\"a\":1}")).await;
        let asked = asked.unwrap();
        assert_eq!(asked.method(), Method::POST);
        assert_eq!(asked.uri(), "https://example.com/v1/customers?currency=us%20d&n=1&n=2");
        let header =
            |name: &str| asked.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(header("user-agent"), ["Amazon|StepFunctions|HttpInvoke|eu-west-1"]);
        assert_eq!(header("range"), ["bytes=0-262144"]);
        assert_eq!(header("content-type"), ["application/json; charset=UTF-8"]);
        assert_eq!((header("request-id"), header("x-many")), (vec!["r"], vec!["a", "b"]));
        assert_eq!(asked.body(), r#"{"Job":"Engineer","n":[1]}"#);
        let expected = json!({
            "Headers": { "content-type": ["application/json; charset=utf-8"], "x-a": ["1", "2"] },
            "ResponseBody": { "a": 1 }, "StatusCode": 200, "StatusText": "OK",
        });
        assert_eq!(answer, Ok(expected));
    }

    #[tokio::test]
    async fn a_body_may_be_a_form() {
        let body = json!({ "array": ["a", "b"], "metadata": { "order_details": "monthly report" }, "none": null });
        for (format, expected) in [
            ("INDICES", "array%5B0%5D=a&array%5B1%5D=b"),
            ("REPEAT", "array=a&array=b"),
            ("COMMAS", "array=a%2Cb"),
            ("BRACKETS", "array%5B%5D=a&array%5B%5D=b"),
        ] {
            let transform =
                json!({ "RequestBodyEncoding": "URL_ENCODED", "RequestEncodingOptions": { "ArrayFormat": format } });
            let others = json!({
                "RequestBody": body, "Transform": transform,
                "Headers": { "content-type": "application/x-www-form-urlencoded" },
            });
            let (asked, answer) = call(arguments(others), response(201, "text/plain", b"{}")).await;
            let asked = asked.unwrap();
            let rest = "&metadata%5Border_details%5D=monthly%20report&none=";
            assert_eq!(asked.body(), &format!("{expected}{rest}"), "{format}");
            assert_eq!(asked.headers()["content-type"], "application/x-www-form-urlencoded");
            assert_eq!(answer.unwrap()["ResponseBody"], "{}", "only JSON is parsed");
        }
        let raw = json!({ "RequestBody": "as it is" });
        let (asked, _) = call(arguments(raw), response(200, "", b"")).await;
        assert_eq!(asked.unwrap().body(), "as it is");
    }

    #[tokio::test]
    async fn what_can_not_be_sent_is_refused_before_it_is() {
        for (others, problem) in [
            (json!({ "Headers": { "Authorization": "x" } }), "The header 'Authorization' is not allowed"),
            (json!({ "Headers": { "X-Amz-Date": "x" } }), "The header 'X-Amz-Date' is not allowed"),
            (json!({ "Headers": { "a": "x\ny" } }), "The header 'a' can't be sent"),
            (json!({ "Method": "TRACE" }), "must be one of GET, POST"),
            (json!({ "ApiEndpoint": "file:///etc/passwd" }), "is not a valid URL: file:///etc/passwd"),
            (json!({ "InvocationConfig": {} }), "'ConnectionArn' is required but was missing"),
            (json!({ "Transform": { "RequestBodyEncoding": "ROT13" } }), "is not valid: ROT13"),
        ] {
            let (asked, answer) = call(arguments(others), response(200, "", b"")).await;
            let error = answer.unwrap_err();
            assert!(asked.is_none() && error.error == "States.Runtime", "{error:?}");
            assert!(error.cause.contains(problem), "{error:?}");
        }
    }

    #[tokio::test]
    async fn answers_that_are_no_success_are_errors_by_their_status() {
        for (answer, error, cause) in [
            (response(404, "application/json", b"{\"e\":1}"), "States.Http.StatusCode.404", "{\"e\":1}"),
            (response(302, "", b""), "States.Http.StatusCode.302", "Found"),
            (response(503, "", b""), "States.Http.StatusCode.503", "Service Unavailable"),
            (Err(WebError::Socket("refused".to_owned())), "States.Http.Socket", "refused"),
            (
                Err(WebError::TooLarge),
                "States.DataLimitExceeded",
                "The HTTP response has exceeded the maximum size of 262144 bytes.",
            ),
            (
                response(200, "image/png", b"x"),
                "States.Runtime",
                "The response of the HTTP endpoint has the content type image/png, which is not supported",
            ),
            (
                response(200, "text/plain", b"\xff"),
                "States.Runtime",
                "The response of the HTTP endpoint can't be read as a string",
            ),
        ] {
            let (_, answer) = call(arguments(json!({})), answer).await;
            assert_eq!(answer, Err(failed(error, cause.to_owned())));
        }
    }
}
