//! What goes wrong between us and S3: found out early, counted, and told to the client that asks again.
//!
//! `object_store` asks again by itself, with growing pauses and jitter: for answers of 5xx, 429 and 408, for connections
//! that fail or end, and for the rest of an object's body that ended early, from where it stopped and by the same ETag.
//! What it does not do is done here, one level below, where each single request is seen:
//!
//! - an answer that does not begin, or a body that stalls or trickles, ends as timed out after [`Limits::stall`];
//! - bodies of other answers (listings, uploads) are read whole before they are given on, so that one that is cut off
//!   is a request that failed, which is asked again, and not an answer that can't be read;
//! - every failed attempt is counted by its kind.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep};

/// Environment variable with for how many seconds a failing request to S3 is tried again; 180 by default.
pub const RETRY_VARIABLE: &str = "STARMAP_S3_RETRY_SECONDS";
/// Environment variable with how often a failing request to S3 is tried again at most; 10 by default, 0 is never.
pub const RETRIES_VARIABLE: &str = "STARMAP_S3_RETRIES";
/// Environment variable with for how many seconds S3 may be silent, or slower than 64 KiB, before a request is given up
/// and asked again; 10 by default.
pub const STALL_VARIABLE: &str = "STARMAP_S3_STALL_SECONDS";

/// Before the second attempt; later pauses grow, and are drawn.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A body that brings less than this in [`Limits::stall`] is given up.
const BYTES_PER_STALL_MIN: u64 = 64 << 10;

/// How long and how often S3 is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// From the first attempt on; no attempt begins later.
    pub within: Duration,
    /// Attempts after the first.
    pub retries: usize,
    /// How long an answer may take to begin, or to bring [`BYTES_PER_STALL_MIN`].
    pub stall: Duration,
}

impl Limits {
    /// As the environment says.
    ///
    /// # Errors
    /// If a variable is set to what is not a number, or out of bounds.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let Self { within, retries, stall } = Self::default();
        let number = |name: &str, default: u64, least: u64, most: u64| match variable(name).filter(|it| !it.is_empty())
        {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!("{name}={text}: expected a whole number from {least} to {most}")),
            },
        };
        Ok(Self {
            within: Duration::from_secs(number(RETRY_VARIABLE, within.as_secs(), 0, 900)?),
            // In bounds, so it fits.
            retries: number(RETRIES_VARIABLE, retries as u64, 0, 1_000)? as usize,
            stall: Duration::from_secs(number(STALL_VARIABLE, stall.as_secs(), 1, 900)?),
        })
    }

    /// The same for the client above: its first pause is 100 ms, each later one is drawn from 100 ms to twice the last.
    pub fn config(self) -> RetryConfig {
        let backoff = BackoffConfig { init_backoff: FIRST_PAUSE, max_backoff: Duration::from_secs(15), base: 2.0 };
        RetryConfig { backoff, max_retries: self.retries, retry_timeout: self.within }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { within: Duration::from_secs(180), retries: 10, stall: Duration::from_secs(10) }
    }
}

/// Asks for an object, or for a range of one, until all of it is there.
///
/// The client goes on by itself where a body ended early. It gives up when what it would go on with has another ETag: asked
/// again from the start, `If-Match` then says so by name. And an answer that is shorter than asked for is no error to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    pub limits: Limits,
    pub counters: Arc<Counters>,
}

/// Times that an answer is asked for again as a whole.
const WHOLE_RETRIES: usize = 2;

impl Patience {
    /// `ask` answers the bytes and how many there should be.
    pub async fn whole<F>(&self, ask: impl Fn() -> F) -> object_store::Result<Bytes>
    where
        F: Future<Output = object_store::Result<(Bytes, u64)>>,
    {
        let begun = Instant::now();
        let mut left = WHOLE_RETRIES.min(self.limits.retries);
        loop {
            let failed = match ask().await {
                Ok((bytes, expected)) if bytes.len() as u64 == expected => return Ok(bytes),
                Ok((bytes, expected)) => {
                    self.counters.failed(HttpErrorKind::Interrupted);
                    let source = format!("asked for {expected} bytes, got {} of them", bytes.len()).into();
                    object_store::Error::Generic { store: "S3", source }
                }
                Err(error) if is_of_body(&error) => error,
                Err(error) => return Err(error),
            };
            if left == 0 || begun.elapsed() > self.limits.within {
                return Err(failed);
            }
            tokio::time::sleep(FIRST_PAUSE * (1 << (WHOLE_RETRIES - left))).await;
            left -= 1;
        }
    }
}

/// Whether an error came from reading a body, and not from asking.
fn is_of_body(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { source, .. } if source.is::<HttpError>())
}

/// Attempts to ask S3 that failed and could be repeated, by how. Each was repeated, or ended what it was for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Answered with 503 Slow Down, another 5xx, 429 or 408.
    pub refused: u64,
    /// No answer, or a body that stalled or trickled.
    pub timed_out: u64,
    /// The connection failed or ended, or the answer was cut off.
    pub cut_off: u64,
}

impl Retries {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.refused + self.timed_out + self.cut_off
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            refused: self.refused + other.refused,
            timed_out: self.timed_out + other.timed_out,
            cut_off: self.cut_off + other.cut_off,
        }
    }

    /// Those since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            refused: self.refused - before.refused,
            timed_out: self.timed_out - before.timed_out,
            cut_off: self.cut_off - before.cut_off,
        }
    }

    /// `3 refused, 1 cut off`; empty if there are none.
    pub fn told(&self) -> String {
        let kinds = [(self.refused, "refused"), (self.timed_out, "timed out"), (self.cut_off, "cut off")];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, kind)| format!("{count} {kind}"));
        kinds.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    refused: AtomicU64,
    timed_out: AtomicU64,
    cut_off: AtomicU64,
}

impl Counters {
    pub fn get(&self) -> Retries {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Retries { refused: of(&self.refused), timed_out: of(&self.timed_out), cut_off: of(&self.cut_off) }
    }

    fn failed(&self, kind: HttpErrorKind) {
        let counter = if kind == HttpErrorKind::Timeout { &self.timed_out } else { &self.cut_off };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn answered(&self, status: u16) {
        if status >= 500 || [408, 429].contains(&status) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes clients that are watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub counters: Arc<Counters>,
    pub stall: Duration,
}

impl HttpConnector for Watched {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Service { inner, counters: Arc::clone(&self.counters), stall: self.stall }))
    }
}

#[derive(Debug)]
struct Service {
    inner: HttpClient,
    counters: Arc<Counters>,
    stall: Duration,
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_object = request.method() == "GET" && !request.uri().query().unwrap_or_default().contains("list-type=");
        // Sending takes as long as it takes: the client's own limit on a whole request holds for it.
        let is_small = request.body().content_length() < BYTES_PER_STALL_MIN as usize;
        let answering = self.inner.execute(request);
        let answered = if is_small {
            match tokio::time::timeout(self.stall, answering).await {
                Ok(answered) => answered,
                Err(_) => Err(stalled(self.stall, 0)),
            }
        } else {
            answering.await
        };
        let answer = answered.inspect_err(|error| self.counters.failed(error.kind()))?;
        self.counters.answered(answer.status().as_u16());
        let (parts, body) = answer.into_parts();
        let body = HttpResponseBody::new(Watch::new(body, Arc::clone(&self.counters), self.stall));
        if is_object && parts.status.is_success() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let bytes = body.bytes().await.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

fn stalled(stall: Duration, bytes: u64) -> HttpError {
    let text = format!(
        "S3 sent {bytes} bytes in {} s, expected {BYTES_PER_STALL_MIN} or the end ({STALL_VARIABLE})",
        stall.as_secs()
    );
    HttpError::new(HttpErrorKind::Timeout, std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

/// A body that ends as timed out when it stalls. Whoever does not read it is not waited for.
struct Watch {
    body: HttpResponseBody,
    counters: Arc<Counters>,
    stall: Duration,
    /// Bytes since the timer was set.
    bytes: u64,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    fn new(body: HttpResponseBody, counters: Arc<Counters>, stall: Duration) -> Self {
        Self { body, counters, stall, bytes: 0, timer: Box::pin(tokio::time::sleep(stall)) }
    }

    fn set_timer(&mut self) {
        self.bytes = 0;
        self.timer.as_mut().reset(Instant::now() + self.stall);
    }
}

impl Body for Watch {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            match &frame {
                Some(Ok(frame)) => self.bytes += frame.data_ref().map_or(0, |bytes| bytes.len() as u64),
                Some(Err(error)) => self.counters.failed(error.kind()),
                None => {}
            }
            if self.bytes >= BYTES_PER_STALL_MIN {
                self.set_timer();
            }
            return Poll::Ready(frame);
        }
        if self.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let error = stalled(self.stall, self.bytes);
        self.counters.failed(error.kind());
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(variables: &[(&str, &str)]) -> Result<Limits, String> {
        let found = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Limits::from_environment(found)
    }

    #[test]
    fn limits_have_defaults_and_are_checked() {
        let seconds = Duration::from_secs;
        assert_eq!(limits(&[]), Ok(Limits { within: seconds(180), retries: 10, stall: seconds(10) }));
        let set = [(RETRY_VARIABLE, "5"), (RETRIES_VARIABLE, "0"), (STALL_VARIABLE, "2")];
        assert_eq!(limits(&set), Ok(Limits { within: seconds(5), retries: 0, stall: seconds(2) }));
        let error = limits(&[(RETRIES_VARIABLE, "many")]).unwrap_err();
        assert_eq!(error, "STARMAP_S3_RETRIES=many: expected a whole number from 0 to 1000");
        assert!(limits(&[(STALL_VARIABLE, "0")]).is_err());
    }

    #[test]
    fn retries_are_told_by_kind() {
        let some = Retries { refused: 3, timed_out: 0, cut_off: 1 };
        assert_eq!((some.told(), some.total(), some.and(some).since(some)), ("3 refused, 1 cut off".into(), 4, some));
        assert_eq!(Retries::default().told(), "");
    }

    /// A body of this many parts of this size; then the end, or nothing any more.
    struct Parts {
        left: usize,
        bytes: usize,
        ends: bool,
    }

    impl Body for Parts {
        type Data = Bytes;
        type Error = HttpError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
            if self.left == 0 {
                return if self.ends { Poll::Ready(None) } else { Poll::Pending };
            }
            self.left -= 1;
            Poll::Ready(Some(Ok(Frame::data(vec![0; self.bytes].into()))))
        }
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_given_up_and_one_that_ends_is_not() {
        for ends in [true, false] {
            let counters = Arc::new(Counters::default());
            let body = HttpResponseBody::new(Parts { left: 3, bytes: 50_000, ends });
            let read =
                HttpResponseBody::new(Watch::new(body, Arc::clone(&counters), Duration::from_millis(20))).bytes().await;
            assert_eq!(
                (read.as_ref().ok().map(Bytes::len), counters.get().timed_out),
                (ends.then_some(150_000), u64::from(!ends))
            );
            // What came since the timer was set last: the first two parts are enough, the third is not.
            if let Err(error) = read {
                assert_eq!(error.kind(), HttpErrorKind::Timeout);
                assert!(std::error::Error::source(&error).unwrap().to_string().contains("sent 50000 bytes"), "{error}");
            }
        }
    }
}
