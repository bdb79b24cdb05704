//! Pages that follow what happens: server-sent events with the parts of a page that have changed.
//!
//! A stream renders its page again when the engine says that something ended or began, and every few seconds besides,
//! for what the engine does not tell of. It never takes more than a small share of a core: the longer a page takes to
//! render, the longer the next one waits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::json;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Console;
use super::request::Request;

/// Between two looks at least, at first.
const PAUSE_MIN: Duration = Duration::from_millis(300);
/// Between two looks at least, once a page has been followed for [`EARLY`] times as long; and so long a look waits for a
/// notice, and is made without one then.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What is short is seen in small steps; of what goes on for minutes a step in a second is enough, and a third of the
/// work, of which most is the browser's.
const EARLY: u32 = 20;
/// Rendering takes at most this part of the time.
const SHARE: u32 = 40;
/// Something is sent so often, whether there is news or not, so that a client that is gone is noticed.
const PING: Duration = Duration::from_secs(15);

/// The body of an answer: there at once, or as it comes.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// Server-sent events.
    Events(mpsc::Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Events(events) => events.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Events(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Answers with the changes of a page from now on.
pub(super) fn stream(console: &Arc<Console>, request: Request) -> Response<Body> {
    let (sender, events) = mpsc::channel(4);
    tokio::spawn(follow(Arc::clone(console), request, sender));
    let mut answer = Response::new(Body::Events(events));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn follow(console: Arc<Console>, request: Request, sender: mpsc::Sender<Bytes>) {
    let mut notices = console.engine.notices();
    let mut stopping = console.stopping.subscribe();
    let mut known: HashMap<&'static str, u64> = HashMap::new();
    let since = Instant::now();
    let mut said_at = since;
    loop {
        let began = Instant::now();
        let Ok(page) = console.page(&request).await else { break };
        let took = began.elapsed();
        for (id, piece) in &page.parts {
            let mut hasher = DefaultHasher::new();
            piece.as_str().hash(&mut hasher);
            let digest = hasher.finish();
            if known.insert(id, digest) == Some(digest) {
                continue;
            }
            let event = format!("data: {}\n\n", json!({ "id": id, "html": piece.as_str() }));
            said_at = Instant::now();
            if sender.send(Bytes::from(event)).await.is_err() {
                return;
            }
        }
        if !page.is_live {
            break;
        }
        if said_at.elapsed() >= PING {
            said_at = Instant::now();
            if sender.send(Bytes::from_static(b":\n\n")).await.is_err() {
                return;
            }
        }
        let pause_min = (since.elapsed() / EARLY).clamp(PAUSE_MIN, PAUSE_MAX);
        let pause = (took * SHARE).clamp(pause_min, 20 * PAUSE_MAX);
        let look_again = async {
            tokio::time::sleep(pause).await;
            // One that came during the pause is there at once; however many there are, they are one reason to look.
            let _ = tokio::time::timeout(PAUSE_MAX, notices.recv()).await;
            while matches!(notices.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
        };
        tokio::select! {
            () = look_again => {}
            () = sender.closed() => return,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
    }
    let _ = sender.send(Bytes::from_static(b"event: end\ndata: {}\n\n")).await;
}
