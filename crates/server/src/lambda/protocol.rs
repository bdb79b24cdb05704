//! Lambda's REST protocol: paths and queries become members, members become JSON.
//!
//! # Source
//! botocore's model `lambda/2015-03-31`, and <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>,
//! read 2026-11.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::actions::{Lambda, Reply};
use super::check::{self, Members};
use super::error::Error;
use super::invoke::{Invoked, Kind, PAYLOAD_BYTES_MAX};
use crate::auth::{Ask, Guard};
use crate::router::{Answer, Answering, BodyError, Protocol, RequestBody, read_body};

/// Most that a request may carry; an archive of 50 MB in base64.
const BODY_BYTES_MAX: usize = 70_167_211;

/// The protocol of the Lambda API.
#[derive(Debug)]
pub struct LambdaRest {
    lambda: Arc<Lambda>,
}

impl LambdaRest {
    /// Serves these actions.
    pub fn new(lambda: Arc<Lambda>) -> Self {
        Self { lambda }
    }
}

impl Protocol for LambdaRest {
    fn takes(&self, head: &Parts) -> bool {
        let mut segments = head.uri.path().trim_start_matches('/').split('/');
        let (date, kind) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
        let is_date =
            date.len() == 10 && date.starts_with("20") && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let kinds =
            ["functions", "tags", "layers", "event-source-mappings", "account-settings", "code-signing-configs"];
        is_date && kinds.contains(&kind)
    }

    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering {
        Box::pin(async move {
            match read_body(&head.headers, body, BODY_BYTES_MAX).await {
                Ok(body) => self.answer(&head, body).await,
                Err(BodyError::TooLarge) => finished(Err(Error::too_large(BODY_BYTES_MAX, "CreateFunction"))),
                Err(BodyError::Broken) => finished(Err(Error::request_content("the request's body ended early"))),
            }
        })
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard { family: starmap_sigv4::Family::Rest, services: &["lambda"], bytes_max: BODY_BYTES_MAX })
    }

    fn asks(&self, head: &Parts, body: &Bytes) -> Vec<Ask> {
        let Some(route) = Route::of(&head.method, head.uri.path()) else { return Vec::new() };
        let query = crate::s3::query(head.uri.query().unwrap_or_default());
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let named = route.members.iter().find(|(name, _)| matches!(*name, "FunctionName" | "Resource"));
        let name = named.map(|(_, value)| value.as_str()).or_else(|| body.get("FunctionName")?.as_str());
        let qualifier = query.get("Qualifier").map(String::as_str).filter(|_| route.action == "Invoke");
        let resource = name.map(|name| self.lambda.arn_of(name, qualifier));
        let action = match route.action {
            "Invoke" => "InvokeFunction",
            other => other,
        };
        let mut asks = vec![Ask::new(format!("lambda:{action}"), resource.unwrap_or_else(|| "*".to_owned()))];
        // Whoever gives a function a role could act as that role.
        if let Some(role) = body.get("Role").and_then(Value::as_str).filter(|_| route.action != "Invoke") {
            asks.push(Ask::new("iam:PassRole", role).with("iam:PassedToService", "lambda.amazonaws.com"));
        }
        asks
    }

    fn refuse(&self, _: &Parts, _: &Bytes, refusal: &starmap_sigv4::Refusal) -> Answer {
        finished(Err(Error::refused(refusal)))
    }
}

impl LambdaRest {
    /// Answers a request whose body was read.
    pub async fn answer(&self, head: &Parts, body: Bytes) -> Answer {
        finished(self.act(head, body).await)
    }

    async fn act(&self, head: &Parts, body: Bytes) -> Result<Answer, Error> {
        let query = crate::s3::query(head.uri.query().unwrap_or_default());
        let Some(route) = Route::of(&head.method, head.uri.path()) else {
            return Err(Error::not_served(&format!("{} {}", head.method, head.uri.path())));
        };
        if route.action == "Invoke" {
            return self.invoke(head, &route, &query, body).await;
        }
        let mut members = match body.is_empty() {
            true => Members::new(),
            false => match serde_json::from_slice(&body) {
                Ok(Value::Object(members)) => members,
                Ok(_) => return Err(Error::request_content("the request's body must be a JSON object")),
                Err(error) => {
                    let message = format!("Could not parse request body into json: {error}");
                    return Err(Error::request_content(message));
                }
            },
        };
        for (name, value) in route.members {
            members.insert(name.to_owned(), Value::String(value));
        }
        for (name, value) in &query {
            let value = match name.as_str() {
                "MaxItems" => value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number)),
                // Repeated in the query, which a map does not tell.
                "tagKeys" => {
                    let keys = repeated(head.uri.query().unwrap_or_default(), "tagKeys");
                    members.insert("TagKeys".to_owned(), json!(keys));
                    continue;
                }
                _ => json!(value),
            };
            members.insert(name.clone(), value);
        }
        let Reply { status, body } = self.lambda.call(route.action, members).await?;
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        Ok(response(status, body))
    }

    async fn invoke(
        &self,
        head: &Parts,
        route: &Route,
        query: &BTreeMap<String, String>,
        body: Bytes,
    ) -> Result<Answer, Error> {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if body.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::too_large(PAYLOAD_BYTES_MAX, "InvokeFunction"));
        }
        let kind = invocation_type(header("x-amz-invocation-type"))?;
        let name = route.members.iter().find(|(name, _)| *name == "FunctionName").map_or("", |(_, value)| value);
        check::function_name(&Members::from_iter([("FunctionName".to_owned(), json!(name))]))?;
        let wants_log = header("x-amz-log-type") == Some("Tail");
        let qualifier = query.get("Qualifier").map(String::as_str);
        let invoked = self.lambda.invoke(name, qualifier, kind, wants_log, body).await?;
        let Invoked { status, version, is_error, log_tail, payload } = invoked;
        let mut answer = response(status, payload.into());
        let log = log_tail.map(|tail| BASE64.encode(tail));
        for (name, value) in [
            ("x-amz-executed-version", Some(version.as_str())),
            ("x-amz-function-error", is_error.then_some("Unhandled")),
            ("x-amz-log-result", log.as_deref()),
        ] {
            if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
                answer.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        Ok(answer)
    }
}

/// Reads an invocation type; waiting is the default.
pub(crate) fn invocation_type(text: Option<&str>) -> Result<Kind, Error> {
    match text {
        None | Some("RequestResponse") => Ok(Kind::RequestResponse),
        Some("Event") => Ok(Kind::Event),
        Some("DryRun") => Ok(Kind::DryRun),
        Some(other) => {
            Err(Error::constraint("invocationType", other, "satisfy enum value set: [RequestResponse, Event, DryRun]"))
        }
    }
}

/// What a path means.
#[derive(Debug, PartialEq)]
struct Route {
    action: &'static str,
    members: Vec<(&'static str, String)>,
}

impl Route {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let mut segments = path.trim_matches('/').split('/');
        // Dates tell versions of actions apart that have different paths anyway.
        let _date = segments.next()?;
        let kind = segments.next()?;
        let rest: Vec<String> =
            segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect();
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let route = |action, members: &[(&'static str, &str)]| {
            let members = members.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            Some(Self { action, members })
        };
        let function = |action, name: &str| route(action, &[("FunctionName", name)]);
        match (kind, method.as_str(), rest.as_slice()) {
            ("account-settings", "GET", []) => route("GetAccountSettings", &[]),
            ("event-source-mappings", "GET", []) => route("ListEventSourceMappings", &[]),
            ("tags", "GET", [arn]) => route("ListTags", &[("Resource", arn)]),
            ("tags", "POST", [arn]) => route("TagResource", &[("Resource", arn)]),
            ("tags", "DELETE", [arn]) => route("UntagResource", &[("Resource", arn)]),
            ("functions", "GET", []) => route("ListFunctions", &[]),
            ("functions", "POST", []) => route("CreateFunction", &[]),
            ("functions", "GET", [name]) => function("GetFunction", name),
            ("functions", "DELETE", [name]) => function("DeleteFunction", name),
            ("functions", "POST", [name, "invocations"]) => function("Invoke", name),
            ("functions", "GET", [name, "configuration"]) => function("GetFunctionConfiguration", name),
            ("functions", "PUT", [name, "configuration"]) => function("UpdateFunctionConfiguration", name),
            ("functions", "PUT", [name, "code"]) => function("UpdateFunctionCode", name),
            ("functions", "POST", [name, "versions"]) => function("PublishVersion", name),
            ("functions", "GET", [name, "versions"]) => function("ListVersionsByFunction", name),
            ("functions", "POST", [name, "aliases"]) => function("CreateAlias", name),
            ("functions", "GET", [name, "aliases"]) => function("ListAliases", name),
            ("functions", method, [name, "aliases", alias]) => {
                let action = match method {
                    "GET" => "GetAlias",
                    "PUT" => "UpdateAlias",
                    "DELETE" => "DeleteAlias",
                    _ => return None,
                };
                route(action, &[("FunctionName", name), ("Name", alias)])
            }
            ("functions", "PUT", [name, "concurrency"]) => function("PutFunctionConcurrency", name),
            ("functions", "GET", [name, "concurrency"]) => function("GetFunctionConcurrency", name),
            ("functions", "DELETE", [name, "concurrency"]) => function("DeleteFunctionConcurrency", name),
            ("functions", "GET", [name, "code-signing-config"]) => function("GetFunctionCodeSigningConfig", name),
            ("functions", "GET", [name, "policy"]) => function("GetPolicy", name),
            ("functions", "POST", [name, "policy"]) => function("AddPermission", name),
            ("functions", "DELETE", [name, "policy", id]) => {
                route("RemovePermission", &[("FunctionName", name), ("StatementId", id)])
            }
            ("functions", "GET", [name, "event-invoke-config"]) => function("GetFunctionEventInvokeConfig", name),
            ("functions", "GET", [name, "url"]) => function("GetFunctionUrlConfig", name),
            _ => None,
        }
    }
}

/// All values of a name in a query.
fn repeated(query: &str, wanted: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| decode(value)).collect()
}

fn response(status: u16, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn finished(answered: Result<Answer, Error>) -> Answer {
    let mut answer = answered.unwrap_or_else(|error| {
        let mut answer = response(error.status, Bytes::from(error.body()));
        let kind = HeaderValue::from_static(error.name);
        answer.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), kind);
        answer
    });
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        answer.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    answer
}

/// An error as AWS's SDK for Java words it, which is what a state machine sees.
pub(crate) fn sdk_cause(error: &Error) -> String {
    let id = uuid::Uuid::new_v4();
    format!(
        "{} (Service: Lambda, Status Code: {}, Request ID: {id}) (SDK Attempt Count: 1)",
        error.message, error.status
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_actions() {
        let of = |method: Method, path: &str| Route::of(&method, path).map(|route| (route.action, route.members));
        let named = |name: &str| vec![("FunctionName", name.to_owned())];
        assert_eq!(of(Method::POST, "/2015-03-31/functions"), Some(("CreateFunction", vec![])));
        assert_eq!(of(Method::GET, "/2015-03-31/functions/"), Some(("ListFunctions", vec![])));
        let arn = "arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af";
        assert_eq!(
            of(Method::POST, &format!("/2015-03-31/functions/{arn}/invocations")),
            Some(("Invoke", named("arn:aws:lambda:us-east-1:1:function:f")))
        );
        assert_eq!(
            of(Method::PUT, "/2017-10-31/functions/f/concurrency"),
            Some(("PutFunctionConcurrency", named("f")))
        );
        assert_eq!(of(Method::PATCH, "/2015-03-31/functions/f/aliases/live"), None);
        assert_eq!(of(Method::GET, "/2015-03-31/layers"), None);
    }
}
