//! Who may ask, where requests must be signed (`starmap serve --auth`): the signature of every request is verified before its
//! protocol sees it, and the caller's policies must allow what it asks for.
//!
//! In this order: what the request claims, its time and its scope; whether the key is known and its session not over; the
//! body, as far as its protocol takes one; the signature; the policies. Refusals are AWS's, in each protocol's own form.
//!
//! As on AWS a request may be sent again as long as its time is within the window: a signature is no token that is used
//! up. What must not happen twice has a client token.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html> ("protect against reuse of the signed portions …
//! must reach AWS within five minutes"), read 2026-11.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use starmap_asl::Timestamp;
use starmap_iam::{Request as IamRequest, evaluate};
use starmap_sigv4::{Error, Family, Refusal, Request, Time, sha256_hex};

use crate::iam::{Identity, Store};
use crate::router::{Answer, BodyError, Protocol, read_body};
use crate::s3::chunked;
use crate::times::iso_seconds;

/// How a protocol's requests are signed.
#[derive(Debug, Clone, Copy)]
pub struct Guard {
    /// In which words it refuses.
    pub family: Family,
    /// As scopes name the services behind it.
    pub services: &'static [&'static str],
    /// Most that a request may carry.
    pub bytes_max: usize,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// As in `states:StartExecution`.
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// Another ARN of the same thing, as policies may have it, too.
    pub alias: Option<String>,
    /// Condition keys.
    pub context: Vec<(String, String)>,
}

impl Ask {
    /// An action on a resource.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), alias: None, context: Vec::new() }
    }

    /// With a condition key.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.context.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The resource under another ARN, too.
    #[must_use]
    pub fn also(self, alias: String) -> Self {
        Self { alias: Some(alias), ..self }
    }
}

/// See the [module](self).
pub struct Auth {
    store: Arc<Store>,
    region: String,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    console_token: String,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Who asks, once it is proven; `None` where nobody has to sign.
pub(crate) fn identity(head: &Parts) -> Option<&Identity> {
    head.extensions.get::<Identity>()
}

impl Auth {
    /// With the keys of a directory, for requests of one region.
    pub fn new(store: Arc<Store>, region: String, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        let console_token = [(); 2].map(|()| uuid::Uuid::new_v4().simple().to_string()).concat();
        Self { store, region, clock, console_token }
    }

    /// What opens the console: see [`Auth::at_console`].
    pub fn console_token(&self) -> &str {
        &self.console_token
    }

    pub(crate) async fn serve(
        &self,
        protocol: &Arc<dyn Protocol>,
        guard: Guard,
        mut head: Parts,
        body: Incoming,
    ) -> Answer {
        match self.admit(protocol, guard, &head, body).await {
            Ok((identity, body)) => {
                let absent = protocol.asks_of_absent(&head).map(|ask| (ask, head.clone(), identity.clone()));
                head.extensions.insert(identity);
                let answer = Arc::clone(protocol).serve(head, Either::Right(Full::new(body))).await;
                let Some((ask, head, identity)) = absent.filter(|_| answer.status() == StatusCode::NOT_FOUND) else {
                    return answer;
                };
                let Some(message) = self.denied(&identity, &ask, (self.clock)()) else { return answer };
                let refusal = Refusal { code: "AccessDenied", message, status: 403, details: Vec::new() };
                protocol.refuse(&head, &Bytes::new(), &refusal)
            }
            Err((refusal, body)) => {
                tracing::info!(code = refusal.code, path = head.uri.path(), "request refused");
                protocol.refuse(&head, &body, &refusal)
            }
        }
    }

    async fn admit(
        &self,
        protocol: &Arc<dyn Protocol>,
        guard: Guard,
        head: &Parts,
        body: Incoming,
    ) -> Result<(Identity, Bytes), (Refusal, Bytes)> {
        let Guard { family, services, bytes_max } = guard;
        let early = |error: Error| (error.refusal(family), Bytes::new());
        let now = (self.clock)();
        let headers: Vec<(&str, &[u8])> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        let request = Request { method: head.method.as_str(), path, query, headers: &headers };
        let claim = starmap_sigv4::parse(&request).map_err(early)?;
        let service = services.iter().copied().find(|service| *service == claim.scope.service).unwrap_or(services[0]);
        // IAM is in one region, wherever it is asked from.
        let regions = [self.region.as_str(), "us-east-1"];
        let regions = if family == Family::Query { &regions[..] } else { &regions[..1] };
        claim.check(&request, family, regions, service, Time(now.0.div_euclid(1000))).map_err(early)?;
        let key = self.store.key(&claim.access_key_id);
        let access_key_id = claim.access_key_id.clone();
        let key = key.ok_or_else(|| early(Error::UnknownKey { access_key_id: access_key_id.clone() }))?;
        // Compared by their hashes: how long that takes tells nothing of the token.
        let hash = |token: &Option<String>| token.as_ref().map(|token| sha256_hex(token.as_bytes()));
        if hash(&key.token) != hash(&claim.session_token) {
            return Err(early(Error::Token { access_key_id }));
        }
        if key.expires_at_ms.is_some_and(|end| end <= now.0) {
            return Err(early(Error::TokenExpired { access_key_id }));
        }
        // S3 says what the body is before it comes, and a wrong signature is known before it is read.
        let claimed = match family {
            Family::S3 => Some(claimed_payload(head, claim.is_query).map_err(early)?),
            _ => None,
        };
        let verified = match &claimed {
            Some(claimed) => Some(claim.verify(&request, claimed, &key.secret).map_err(early)?),
            None => None,
        };
        let body = read_body(&head.headers, Either::Left(body), bytes_max)
            .await
            .map_err(|error| (unread(error, family), Bytes::new()))?;
        let refused = |error: Error| (error.refusal(family), body.clone());
        match (claimed, verified) {
            (Some(claimed), Some(verified)) => check_payload(&claimed, &body, verified.chunks).map_err(refused)?,
            _ => {
                claim.verify(&request, &sha256_hex(&body), &key.secret).map_err(refused)?;
            }
        }

        let asks = protocol.asks(head, &body);
        // Behind one address there are two services, and a signature is for one of them.
        if let Some(asked) = asks.first().and_then(|ask| ask.action.split(':').next()).filter(|_| services.len() > 1)
            && asked != service
        {
            return Err(refused(Error::ScopeService { found: service.to_owned(), expected: asked.to_owned() }));
        }
        let identity = key.identity;
        if let Some(message) = asks.iter().find_map(|ask| self.denied(&identity, ask, now)) {
            let code =
                if matches!(family, Family::Json | Family::Rest) { "AccessDeniedException" } else { "AccessDenied" };
            let status = if family == Family::Json { 400 } else { 403 };
            return Err((Refusal { code, message, status, details: Vec::new() }, body));
        }
        self.store.used(&identity, &self.region, service);
        Ok((identity, body))
    }

    /// Why a caller may not do what it asks for; `None` if it may.
    fn denied(&self, identity: &Identity, ask: &Ask, now: Timestamp) -> Option<String> {
        let policies = self.store.policies_of(identity);
        let decide = |resource: &str| {
            let request = IamRequest::new(identity.caller.clone(), &ask.action, resource);
            let request = self.store.read(|directory| directory.tagged(request));
            let mut request = request
                .with("aws:CurrentTime", [iso_seconds(now)])
                .with("aws:EpochTime", [now.0.div_euclid(1000).to_string()])
                .with("aws:RequestedRegion", [&self.region])
                .with("aws:SecureTransport", ["false"]);
            for (key, value) in &ask.context {
                request = request.with(key, [value]);
            }
            evaluate(&request, &policies)
        };
        let decision = decide(&ask.resource);
        let Some(alias) = &ask.alias else { return (!decision.is_allowed()).then(|| decision.refusal()) };
        // Either name may be the one that a policy has; a deny counts under both.
        let other = decide(alias);
        let is_denied = |decision: &starmap_iam::Decision| decision.effect == starmap_iam::Effect::ExplicitDeny;
        let is_allowed = decision.is_allowed() || other.is_allowed();
        if is_denied(&other) {
            return Some(other.refusal());
        }
        (is_denied(&decision) || !is_allowed).then(|| decision.refusal())
    }

    /// The console acts for whoever runs the server, so it is opened by a token that only they were told: the address that
    /// was printed has it, and leaves it behind as a cookie. `None` if it is open.
    pub(crate) fn at_console(&self, head: &Parts) -> Option<Answer> {
        let is_right = |token: &str| sha256_hex(token.as_bytes()) == sha256_hex(self.console_token.as_bytes());
        let cookies = head.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut tokens =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().strip_prefix("starmap-console="));
        if tokens.any(is_right) {
            return None;
        }
        let query = crate::s3::query(head.uri.query().unwrap_or_default());
        if query.get("token").is_some_and(|token| is_right(token)) {
            let mut answer = page(StatusCode::SEE_OTHER, "");
            let cookie = format!("starmap-console={}; Path=/; HttpOnly; SameSite=Strict", self.console_token);
            let path = HeaderValue::from_str(head.uri.path()).unwrap_or(HeaderValue::from_static("/console/"));
            answer.headers_mut().insert(LOCATION, path);
            if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                answer.headers_mut().insert(SET_COOKIE, cookie);
            }
            return Some(answer);
        }
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        tracing::info!(host, "console refused");
        let text = "This server asks who you are. Open the console by the address with its token that starmap serve printed when it started.\n";
        Some(page(StatusCode::UNAUTHORIZED, text))
    }
}

fn page(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn unread(error: BodyError, family: Family) -> Refusal {
    let (code, status, message) = match (error, family) {
        (BodyError::TooLarge, Family::S3) => {
            ("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
        }
        (BodyError::TooLarge, Family::Rest) => ("RequestTooLargeException", 413, "Request is too large"),
        (BodyError::TooLarge, _) => ("RequestEntityTooLargeException", 413, "Request size exceeded the limit"),
        (BodyError::Broken, Family::S3) => {
            let words = "You did not provide the number of bytes specified by the Content-Length HTTP header";
            ("IncompleteBody", 400, words)
        }
        (BodyError::Broken, _) => ("SerializationException", 400, "the request's body ended early"),
    };
    Refusal { code, message: message.to_owned(), status, details: Vec::new() }
}

/// What a request to S3 says of its body.
fn claimed_payload(head: &Parts, is_query: bool) -> Result<String, Error> {
    let header = head.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let query = || crate::s3::query(head.uri.query().unwrap_or_default()).remove("X-Amz-Content-Sha256");
    match (header.or_else(query), is_query) {
        (Some(claimed), _) => Ok(claimed),
        (None, true) => Ok("UNSIGNED-PAYLOAD".to_owned()),
        (None, false) => Err(Error::PayloadMissing),
    }
}

/// Whether a body is what was signed.
fn check_payload(claimed: &str, body: &Bytes, chunks: starmap_sigv4::Chunks) -> Result<(), Error> {
    match claimed {
        "UNSIGNED-PAYLOAD" | "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(()),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => chunked::verify(body.clone(), chunks, false),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => chunked::verify(body.clone(), chunks, true),
        hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let computed = sha256_hex(body);
            if hash.eq_ignore_ascii_case(&computed) {
                return Ok(());
            }
            Err(Error::Payload { claimed: hash.to_owned(), computed })
        }
        other => Err(Error::PayloadUnknown { found: other.to_owned() }),
    }
}
