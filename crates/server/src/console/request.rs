//! What a browser asks for: the parts of a path, the pairs of a query or a form.

use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Below this is the console; the rest of a server is AWS's.
pub(super) const PREFIX: &str = "/console";

/// What stays as it is in a part of a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A request, read as far as its head.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The path below the prefix, decoded, without the ending `.json`.
    pub(super) path: Vec<String>,
    pub(super) query: Pairs,
    /// Whether the JSON twin is wanted.
    pub(super) is_json: bool,
    /// As the client calls this server: for the commands that are shown.
    pub(super) host: String,
}

/// Names and values, in their order; a name may be there often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Request {
    /// `None` if it is not of the console: see [`is_for_console`].
    pub(super) fn of(head: &Parts) -> Self {
        let rest = head.uri.path().strip_prefix(PREFIX).unwrap_or_default().trim_matches('/');
        let (rest, is_json) = match rest.strip_suffix(".json") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let path = rest.split('/').filter(|part| !part.is_empty());
        let path = path.map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned()).collect();
        let host = text(&head.headers, &header::HOST).unwrap_or("localhost").to_owned();
        Self { path, query: Pairs::parse(head.uri.query().unwrap_or_default()), is_json, host }
    }

    /// Its path's parts, for `match`.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// Where this server is, for clients.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.host)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a request is the console's: one below its prefix that no AWS client sends, or one of a browser that begins
/// at the root. A bucket of the console's name stays within reach of every client that signs its requests.
pub(crate) fn is_for_console(head: &Parts) -> bool {
    let is_from_client = head.headers.keys().any(|name| name.as_str().starts_with("x-amz-"))
        || head.headers.contains_key(header::AUTHORIZATION)
        || head.uri.query().is_some_and(|query| query.contains("X-Amz-"));
    if is_from_client {
        return false;
    }
    let path = head.uri.path();
    path == PREFIX || path.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/')) || is_root_for_people(head)
}

/// A browser at `/`.
pub(super) fn is_root_for_people(head: &Parts) -> bool {
    head.uri.path() == "/"
        && head.method == Method::GET
        && text(&head.headers, &header::ACCEPT).is_some_and(|accept| accept.contains("text/html"))
}

impl Pairs {
    /// Reads `a=1&b=2`, as in a query and a form.
    pub(super) fn parse(text: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        };
        Self(text.split('&').filter(|pair| !pair.is_empty()).map(pair).collect())
    }

    /// The first value of that name, unless it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(there, value)| there == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(there, _)| there == name)
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// The same, with a name's values replaced by one; an empty one takes the name out.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.0.iter().filter(|(there, _)| there != name).cloned().collect();
        if !value.is_empty() {
            pairs.push((name.to_owned(), value.to_owned()));
        }
        Self(pairs)
    }

    /// `?a=1&b=2`, or nothing.
    pub(super) fn to_query(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.0.iter().filter(|(_, value)| !value.is_empty()) {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(&format!("{}={}", encoded(name), encoded(value)));
        }
        text
    }
}

/// A text as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// A path of the console.
pub(super) fn path(parts: &[&str]) -> String {
    parts.iter().fold(PREFIX.to_owned(), |path, part| format!("{path}/{}", encoded(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn browsers_are_told_from_clients() {
        let html = ("accept", "text/html,application/xhtml+xml");
        for (uri, headers) in [("/console", vec![]), ("/console/x", vec![]), ("/", vec![html])] {
            assert!(is_for_console(&head(uri, &headers)), "{uri}");
        }
        for (uri, headers) in [
            ("/consoles/x", vec![]),
            ("/", vec![]),
            ("/console/key", vec![("authorization", "AWS4-HMAC-SHA256 …/s3/aws4_request")]),
            ("/console/key", vec![("x-amz-content-sha256", "…")]),
            ("/console/key?X-Amz-Algorithm=AWS4", vec![]),
            ("/", vec![html, ("x-amz-target", "AWSStepFunctions.ListActivities")]),
        ] {
            assert!(!is_for_console(&head(uri, &headers)), "{uri} {headers:?}");
        }
    }

    #[test]
    fn paths_and_pairs_are_decoded_once() {
        let request =
            Request::of(&head("/console/executions/a%2Fb%20c.json?q=x+y%26&id=1&id=2&e=", &[("host", "h:1")]));
        assert_eq!(request.path, ["executions", "a/b c"]);
        assert!(request.is_json);
        assert_eq!((request.query.get("q"), request.query.get("e")), (Some("x y&"), None));
        assert_eq!(request.query.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(request.query.with("id", "3").to_query(), "?q=x%20y%26&id=3");
        assert_eq!(path(&["executions", "a/b c"]), "/console/executions/a%2Fb%20c");
    }
}
