//! STS, as far as clients ask before anything else: who am I?
//!
//! # Source
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>, read 2026-11.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use starmap_engine::names::Naming;

use crate::router::{Answering, Protocol, read_body};
use crate::s3::query;
use crate::xml::Writer;

const NAMESPACE: &str = "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"";
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The query protocol, with the one action there is.
#[derive(Debug)]
pub struct Sts {
    naming: Naming,
}

impl Sts {
    /// Everyone is the root of this account.
    pub fn new(naming: Naming) -> Self {
        Self { naming }
    }

    fn act(&self, action: &str) -> (StatusCode, String) {
        let id = uuid::Uuid::new_v4().to_string();
        let mut xml = Writer::new();
        if action == "GetCallerIdentity" {
            let account = &self.naming.account;
            xml.element(&format!("GetCallerIdentityResponse {NAMESPACE}"), |response| {
                response.element("GetCallerIdentityResult", |result| {
                    result.text("Arn", format!("arn:aws:iam::{account}:root"));
                    result.text("UserId", account).text("Account", account);
                });
                response.element("ResponseMetadata", |metadata| {
                    metadata.text("RequestId", id);
                });
            });
            return (StatusCode::OK, xml.finish());
        }
        xml.element(&format!("ErrorResponse {NAMESPACE}"), |response| {
            response.element("Error", |error| {
                error.text("Type", "Sender").text("Code", "InvalidAction");
                error.text("Message", format!("the action {action} is not served here; GetCallerIdentity is"));
            });
            response.text("RequestId", id);
        });
        (StatusCode::BAD_REQUEST, xml.finish())
    }
}

impl Protocol for Sts {
    fn takes(&self, head: &Parts) -> bool {
        let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        head.method == Method::POST
            && head.uri.path() == "/"
            && kind.starts_with("application/x-www-form-urlencoded")
            && !head.headers.contains_key("x-amz-target")
    }

    fn serve(self: Arc<Self>, head: Parts, body: Incoming) -> Answering {
        Box::pin(async move {
            let body = read_body(&head.headers, body, BODY_BYTES_MAX).await.unwrap_or_default();
            let form = query(&String::from_utf8_lossy(&body));
            let (status, xml) = self.act(form.get("Action").map_or("", String::as_str));
            let mut answer = Response::new(Full::new(Bytes::from(xml)));
            *answer.status_mut() = status;
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
            if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
                headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
            }
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_who_they_are() {
        let sts = Sts::new(Naming::default());
        let (status, xml) = sts.act("GetCallerIdentity");
        assert_eq!(status, StatusCode::OK);
        assert!(xml.contains("<Account>000000000000</Account>"), "{xml}");
        let (status, xml) = sts.act("<AssumeRole>");
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(xml.contains("the action &lt;AssumeRole&gt; is not served here"), "{xml}");
    }
}
