//! From a request to its page, its twin or its action.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::compare::Results;
use super::html::{html, put};
use super::live::{self, Body};
use super::page::{Frame, Page, Section, start};
use super::request::{Pairs, Request, is_root_for_people};
use super::{Console, Failure};
use crate::router::{BodyError, read_body};

/// A form with an input of AWS's largest size in it, every letter of which is written as three.
const FORM_BYTES_MAX: usize = 1 << 20;

/// Where an action leads.
pub(super) type Done = Result<String, Box<Refused>>;

/// An action that was not carried out, and the page that says so.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) failure: Failure,
    /// The page that the form was on, with what was written into it; the page of the path if there is none.
    pub(super) page: Option<Page>,
}

impl From<Failure> for Box<Refused> {
    fn from(failure: Failure) -> Self {
        Box::new(Refused { failure, page: None })
    }
}

impl Console {
    /// Answers a request that [`is_for_console`](super::is_for_console).
    pub(crate) async fn answer(self: &Arc<Self>, head: Parts, body: Incoming) -> Response<Body> {
        let request = Request::of(&head);
        let is_root = is_root_for_people(&head) || request.path.is_empty();
        match head.method {
            Method::GET | Method::HEAD if is_root => redirect(&start()),
            Method::GET | Method::HEAD => self.get(request).await,
            Method::POST => self.post(&head, request, body).await,
            _ => {
                let mut answer =
                    self.failed(&request, &Failure { status: 405, message: "Pages are read with GET.".into() });
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                answer
            }
        }
    }

    async fn get(self: &Arc<Self>, request: Request) -> Response<Body> {
        if let [folder, name] = request.parts().as_slice()
            && *folder == "assets"
        {
            return self.asset(&request, name);
        }
        if request.is_json {
            return match self.twin(&request).await {
                Ok(value) => as_json(StatusCode::OK, &value),
                Err(failure) => self.failed(&request, &failure),
            };
        }
        match self.page(&request).await {
            Ok(page) if request.query.has("live") => {
                drop(page);
                live::stream(self, request)
            }
            Ok(page) => {
                let notice = request.query.get("done").and_then(said);
                self.framed(&page, notice.map(|text| ("done", text.to_owned())))
            }
            Err(failure) => self.failed(&request, &failure),
        }
    }

    /// A page without its frame.
    pub(super) async fn page(self: &Arc<Self>, request: &Request) -> Result<Page, Failure> {
        if let ["executions", id, "science"] = request.parts().as_slice() {
            return self.science_page(request, id).await;
        }
        let mut timeline = Vec::new();
        if let ["map-runs", row] = request.parts().as_slice() {
            let (_, execution) = self.map_run(row)?;
            timeline = self.timeline_of(&execution).await;
        }
        let mut results = Results::default();
        if request.parts() == ["compare"] {
            results = self.compared_results(request).await;
        }
        let (console, request) = (Arc::clone(self), request.clone());
        aside(move || match request.parts().as_slice() {
            ["executions"] => console.executions_page(&request),
            ["executions", id] => console.execution_page(&request, id),
            ["map-runs", row] => console.map_run_page(&request, row, &timeline),
            ["map-runs", row, "children"] => console.children_page(&request, row),
            ["machines"] => console.machines_page(&request),
            ["machines", name] => console.machine_page(&request, name),
            ["machines", name, "start"] => console.start_page(&request, name),
            ["functions"] => console.functions_page(&request),
            ["functions", name] => console.function_page(&request, name),
            ["logs"] => console.logs_page(&request),
            ["logs", "groups"] => console.groups_page(&request),
            ["logs", "groups", group] => console.group_page(&request, group),
            ["roles"] => console.roles_page(&request),
            ["roles", name] => console.role_page(&request, name),
            ["compare"] => console.compare_page(&request, &results),
            ["keyboard"] => Ok(keyboard_page()),
            _ => Err(nowhere()),
        })
        .await
    }

    /// The same as data.
    async fn twin(self: &Arc<Self>, request: &Request) -> Result<Value, Failure> {
        if let ["executions", id, "science"] = request.parts().as_slice() {
            return self.science_json(id).await;
        }
        let mut results = Results::default();
        if request.parts() == ["compare"] {
            results = self.compared_results(request).await;
        }
        let (console, request) = (Arc::clone(self), request.clone());
        aside(move || match request.parts().as_slice() {
            ["executions"] => console.executions_json(&request),
            ["executions", id] => console.execution_json(&request, id),
            ["map-runs", row] => console.map_run_json(&request, row),
            ["map-runs", row, "children"] => console.children_json(&request, row),
            ["machines"] => console.machines_json(),
            ["machines", name] => console.machine_json(&request, name),
            ["machines", name, "start"] => console.start_json(name),
            ["functions"] => console.functions_json(),
            ["functions", name] => console.function_json(&request, name),
            ["logs"] => console.logs_json(&request),
            ["logs", "groups"] => console.groups_json(&request),
            ["logs", "groups", group] => console.group_json(&request, group),
            ["roles"] => console.roles_json(),
            ["roles", name] => console.role_json(name),
            ["compare"] => console.compare_json(&request, &results),
            ["keyboard"] => Ok(json!(KEYS)),
            _ => Err(nowhere()),
        })
        .await
    }

    async fn post(self: &Arc<Self>, head: &Parts, request: Request, body: Incoming) -> Response<Body> {
        let form = match read_body(&head.headers, http_body_util::Either::Left(body), FORM_BYTES_MAX).await {
            Ok(body) => Pairs::parse(&String::from_utf8_lossy(&body)),
            Err(error) => {
                let status = if error == BodyError::TooLarge { 413 } else { 400 };
                return self.failed(&request, &Failure { status, message: "The form could not be read.".into() });
            }
        };
        if !form.get("token").is_some_and(|token| is_same(token, &self.token)) {
            let message =
                "This form is not from a page of this server as it runs now. Load the page again, then repeat.";
            return self.failed(&request, &Failure { status: 403, message: message.into() });
        }
        let done = match request.parts().as_slice() {
            ["executions"] => self.act_on_executions(&form).await,
            ["executions", id, "stop"] => self.stop_execution(id, &form).await,
            ["executions", id, "redrive"] => self.redrive_execution(id).await,
            ["map-runs", row, "update"] => self.update_map_run(row, &form).await,
            ["machines", name, "start"] => self.start_execution(&request, name, &form).await,
            _ => Err(nowhere().into()),
        };
        match done {
            Ok(location) => redirect(&location),
            Err(refused) => {
                let Refused { failure, page } = *refused;
                match page {
                    Some(mut page) => {
                        page.status = failure.status;
                        self.framed(&page, Some(("error", failure.message)))
                    }
                    None => self.failed(&request, &failure),
                }
            }
        }
    }

    fn asset(&self, request: &Request, name: &str) -> Response<Body> {
        let Some((kind, content)) = self.assets.find(name) else { return self.failed(request, &nowhere()) };
        let mut answer = whole(StatusCode::OK, kind, Bytes::from_static(content));
        // Its name changes with it.
        let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
        answer.headers_mut().insert(CACHE_CONTROL, kept);
        answer
    }

    fn framed(&self, page: &Page, notice: Option<(&'static str, String)>) -> Response<Body> {
        let nonce = uuid::Uuid::new_v4().simple().to_string();
        let document = self.document(page, &Frame { nonce: &nonce, notice });
        let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::OK);
        let mut answer = whole(status, "text/html; charset=utf-8", Bytes::from(document.into_string()));
        // Nothing runs, loads or is sent but what this page names; whatever is written into it stays text.
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        answer
    }

    fn failed(&self, request: &Request, failure: &Failure) -> Response<Body> {
        let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if request.is_json {
            return as_json(status, &json!({ "message": failure.message }));
        }
        let mut page = Page::new(Section::Executions, status.canonical_reason().unwrap_or("Error"));
        page.status = status.as_u16();
        put!(page.body, "<h1>{}</h1><p class=\"lead\">{}</p>", page.title.clone(), failure.message);
        put!(page.body, "<p><a class=\"button\" href=\"{}\">To the executions</a></p>", start());
        self.framed(&page, None)
    }
}

/// Reads on a thread where that may take its time.
async fn aside<T: Send + 'static>(read: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let read = tokio::task::spawn_blocking(read).await;
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "page failed");
        Err(Failure { status: 500, message: "This page could not be made; the server's log says why.".to_owned() })
    })
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::Whole(Full::new(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that, browsers do not say where a form comes from.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    answer
}

fn as_json(status: StatusCode, value: &Value) -> Response<Body> {
    whole(status, "application/json", Bytes::from(format!("{value:#}\n")))
}

fn redirect(location: &str) -> Response<Body> {
    let mut answer = whole(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", Bytes::new());
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// Takes as long for a wrong token as for another wrong one.
fn is_same(given: &str, token: &str) -> bool {
    let differing = given.bytes().zip(token.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == token.len() && differing == 0
}

fn nowhere() -> Failure {
    Failure::missing("There is no such page.".to_owned())
}

/// What is said once an action is done.
fn said(key: &str) -> Option<&'static str> {
    Some(match key {
        "started" => "The execution was started.",
        "stopped" => "The execution was stopped.",
        "redriven" => "The execution goes on where it ended.",
        "updated" => "The map run goes on with the new limits.",
        "several" => "Done for all that were chosen.",
        _ => return None,
    })
}

const KEYS: [(&str, &str); 11] = [
    ("Tab, Shift+Tab", "to the next link, button or field, and back; the first one leads past the navigation"),
    ("Enter, Space", "open a link, press a button, tick a box"),
    ("← ↑ → ↓", "in a graph: to the next state in that direction; Home and End to the first and the last"),
    ("↑ ↓ PageUp PageDown", "in a table or a log that scrolls"),
    ("/", "to the filter or the search of the page"),
    ("g e", "to the executions"),
    ("g m", "to the state machines"),
    ("g f", "to the functions"),
    ("g l", "to the logs"),
    ("g r", "to the roles"),
    ("Escape, ?", "close what is open; this page"),
];

fn keyboard_page() -> Page {
    let mut page = Page::new(Section::Executions, "Keyboard");
    put!(
        page.body,
        "<h1>Keyboard</h1><p class=\"lead\">Everything here can be done without a mouse.</p><dl class=\"facts keys\">"
    );
    for (key, meaning) in KEYS {
        page.body.add(&html!("<div><dt><kbd>{}</kbd></dt><dd>{}</dd></div>", key, meaning));
    }
    put!(page.body, "</dl>");
    page
}
