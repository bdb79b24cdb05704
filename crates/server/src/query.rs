//! The AWS query protocol: an action and its parameters in a form, XML as the answer. IAM and STS speak it.
//!
//! # Source
//! <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>; errors as in
//! <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html>, read 2026-11.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use starmap_iam::Caller;
use starmap_sigv4::Family;

use crate::auth::{Ask, Guard};
use crate::iam::{ChangeError, Iam, Identity};
use crate::router::{Answer, Answering, Protocol, RequestBody, read_body};
use crate::s3::query;
use crate::sts::Sts;
use crate::xml::Writer;

const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The protocol of IAM and STS.
#[derive(Debug)]
pub struct AwsQuery {
    iam: Arc<Iam>,
    sts: Sts,
}

/// Which service a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Iam,
    Sts,
}

impl Service {
    /// By the version of the API that a form names, and by the scope of its signature without one.
    pub(crate) fn of(head: &Parts, form: &Form) -> Self {
        let authorization = head.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        match form.get("Version") {
            Some("2010-05-08") => Self::Iam,
            Some(_) => Self::Sts,
            None if authorization.contains("/iam/aws4_request") => Self::Iam,
            None => Self::Sts,
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Iam => "xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"",
            Self::Sts => "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"",
        }
    }
}

impl AwsQuery {
    /// Serves these two.
    pub fn new(iam: Arc<Iam>, sts: Sts) -> Self {
        Self { iam, sts }
    }

    fn act(&self, head: &Parts, form: &Form) -> (StatusCode, String) {
        let service = Service::of(head, form);
        let action = form.get("Action").unwrap_or_default();
        let identity = crate::auth::identity(head);
        let answered = match service {
            Service::Iam => self.iam.call(action, &form.about(identity)),
            Service::Sts => self.sts.call(action, form, identity),
        };
        let id = uuid::Uuid::new_v4().to_string();
        match answered {
            Ok(result) => (StatusCode::OK, success(service, action, result, &id)),
            Err(refusal) => {
                let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, failure(service, &refusal, &id))
            }
        }
    }
}

/// What an action answers: the inside of its `…Result`, if it has one.
pub(crate) type Result = std::result::Result<Option<Writer>, Refusal>;

/// Why an action is refused.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl Refusal {
    pub(crate) fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into() }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationError", 400, message)
    }

    pub(crate) fn unknown_action(action: &str, form: &Form) -> Self {
        let version = form.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
        Self::new("InvalidAction", 400, format!("Could not find operation {action} for version {version}"))
    }
}

impl From<ChangeError> for Refusal {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Refused(error) => error.into(),
            ChangeError::Kept(error) => {
                tracing::error!(%error, "directory of roles could not be kept");
                let message = "The directory of roles could not be kept; the server's log says why.";
                Self::new("ServiceFailure", 500, message)
            }
        }
    }
}

impl From<starmap_iam::directory::Error> for Refusal {
    fn from(error: starmap_iam::directory::Error) -> Self {
        Self::new(error.code(), error.status(), error.to_string())
    }
}

/// The parameters of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(query(&String::from_utf8_lossy(body)))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same, about the user who asks where it names no other.
    fn about(&self, identity: Option<&Identity>) -> Self {
        let mut form = self.clone();
        if let Some(Caller::User { arn, .. }) = identity.map(|identity| &identity.caller)
            && let Some((_, name)) = arn.rsplit_once('/')
        {
            form.0.entry("UserName".to_owned()).or_insert_with(|| name.to_owned());
        }
        form
    }

    /// One that must be there.
    pub(crate) fn required(&self, name: &str) -> std::result::Result<&str, Refusal> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let mut member = name.to_owned();
            member[..1].make_ascii_lowercase();
            Refusal::validation(format!(
                "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
            ))
        })
    }

    pub(crate) fn number(&self, name: &str) -> std::result::Result<Option<u32>, Refusal> {
        let Some(text) = self.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Refusal::validation(format!("{name} is {text:?}, expected a whole number")))
    }

    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    /// `Name.member.1`, `Name.member.2`, …
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.each(name).filter_map(|prefix| self.get(&prefix).map(str::to_owned)).collect()
    }

    /// The beginnings of a list's members' names: `Name.member.1`, …
    pub(crate) fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let is_there = |prefix: &str| {
            let within = format!("{prefix}.");
            self.0.contains_key(prefix)
                || self.0.range(within.clone()..).next().is_some_and(|(name, _)| name.starts_with(&within))
        };
        (1..).map(move |index| format!("{name}.member.{index}")).take_while(move |prefix| is_there(prefix))
    }

    /// `Tags.member.1.Key` and `…Value`.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let member = |prefix: &str, name: &str| self.get(&format!("{prefix}.{name}")).unwrap_or_default().to_owned();
        self.each("Tags").map(|prefix| (member(&prefix, "Key"), member(&prefix, "Value"))).collect()
    }
}

fn success(service: Service, action: &str, result: Option<Writer>, id: &str) -> String {
    let mut xml = Writer::new();
    xml.element(&format!("{action}Response {}", service.namespace()), |response| {
        if let Some(result) = result {
            response.element(&format!("{action}Result"), |inside| inside.push(result));
        }
        response.element("ResponseMetadata", |metadata| {
            metadata.text("RequestId", id);
        });
    });
    xml.finish()
}

fn failure(service: Service, refusal: &Refusal, id: &str) -> String {
    let mut xml = Writer::new();
    xml.element(&format!("ErrorResponse {}", service.namespace()), |response| {
        response.element("Error", |error| {
            error.text("Type", if refusal.status < 500 { "Sender" } else { "Receiver" });
            error.text("Code", refusal.code).text("Message", &refusal.message);
        });
        response.text("RequestId", id);
    });
    xml.finish()
}

fn answer(status: StatusCode, xml: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(xml)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    answer
}

impl Protocol for AwsQuery {
    fn takes(&self, head: &Parts) -> bool {
        let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        head.method == Method::POST
            && head.uri.path() == "/"
            && kind.starts_with("application/x-www-form-urlencoded")
            && !head.headers.contains_key("x-amz-target")
    }

    fn serve(self: Arc<Self>, head: Parts, body: RequestBody) -> Answering {
        Box::pin(async move {
            let body = read_body(&head.headers, body, BODY_BYTES_MAX).await.unwrap_or_default();
            let form = Form::parse(&body);
            let this = Arc::clone(&self);
            // Changes are synced to disk.
            let acted = tokio::task::spawn_blocking(move || this.act(&head, &form)).await;
            let (status, xml) = acted.unwrap_or_else(|_| {
                let refusal = Refusal::new("ServiceFailure", 500, "The action failed; the server's log says why.");
                (StatusCode::INTERNAL_SERVER_ERROR, failure(Service::Iam, &refusal, ""))
            });
            answer(status, xml)
        })
    }

    fn guard(&self) -> Option<Guard> {
        Some(Guard { family: Family::Query, services: &["sts", "iam"], bytes_max: BODY_BYTES_MAX })
    }

    fn asks(&self, head: &Parts, body: &Bytes) -> Vec<Ask> {
        let form = Form::parse(body);
        let action = form.get("Action").unwrap_or_default();
        match Service::of(head, &form) {
            Service::Iam => self.iam.asks(action, &form),
            // Who one is may be asked by anyone, and who may take on a role is decided by the role.
            Service::Sts => Vec::new(),
        }
    }

    fn refuse(&self, head: &Parts, body: &Bytes, refusal: &starmap_sigv4::Refusal) -> Answer {
        let refused = Refusal::new(refusal.code, refusal.status, refusal.message.clone());
        let xml = failure(Service::of(head, &Form::parse(body)), &refused, &uuid::Uuid::new_v4().to_string());
        answer(StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN), xml)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_have_lists_and_tags() {
        let form = Form::parse(
            b"A.member.1=x&A.member.2=y&A.member.10=z&Tags.member.1.Key=k&Tags.member.1.Value=v&Tags.member.2.Key=only&P=%7B%7D",
        );
        assert_eq!(form.list("A"), ["x", "y"]);
        let tags = form.tags();
        assert_eq!((tags["k"].as_str(), tags["only"].as_str(), tags.len()), ("v", "", 2));
        assert_eq!(form.get("P"), Some("{}"));
        assert!(form.required("RoleName").unwrap_err().message.contains("Value null at 'roleName'"));
    }
}
