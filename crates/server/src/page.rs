//! A page of text at a path of its own: what is neither an API nor an object, such as metrics.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response};

use crate::router::{Answering, Protocol, RequestBody};

/// `GET` on one path, answered with what `text` says at that moment. It has to come before S3, to which every path is a
/// bucket's.
pub struct Page {
    path: &'static str,
    content_type: &'static str,
    text: Box<dyn Fn() -> String + Send + Sync>,
}

impl Page {
    /// A page. `text` may block for some milliseconds.
    pub fn new(
        path: &'static str,
        content_type: &'static str,
        text: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self { path, content_type, text: Box::new(text) }
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Page").field(&self.path).finish()
    }
}

impl Protocol for Page {
    fn takes(&self, head: &Parts) -> bool {
        head.method == Method::GET && head.uri.path() == self.path
    }

    fn serve(self: Arc<Self>, _: Parts, _: RequestBody) -> Answering {
        Box::pin(async move {
            let this = Arc::clone(&self);
            // A panic in it is its own; the page is empty then.
            let text = tokio::task::spawn_blocking(move || (this.text)()).await.unwrap_or_default();
            let mut answer = Response::new(Full::new(Bytes::from(text)));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            answer
        })
    }
}
