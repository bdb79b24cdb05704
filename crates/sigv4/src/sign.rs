//! Signing: by headers, or by a query that can be handed on.

use crate::ALGORITHM;
use crate::canonical::{Payload, Request, Rules, canonical_request, encode, sha256_hex};
use crate::chunks::Chunks;
use crate::credentials::{Credentials, Scope, SigningKey, string_to_sign};
use crate::time::Time;

/// Who signs, when, for which service.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// With these.
    pub credentials: &'a Credentials,
    /// As in `us-east-1`.
    pub region: &'a str,
    /// As in `states`.
    pub service: &'a str,
    /// Now.
    pub at: Time,
}

/// Headers that proxies change on the way, or that are not there yet when a request is signed.
const NEVER_SIGNED: [&str; 6] =
    ["authorization", "connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"];

/// What a request gets by being signed.
#[derive(Debug, Clone)]
pub struct Signed {
    /// To be added to the request's headers.
    pub headers: Vec<(&'static str, String)>,
    /// The signature, at which the signatures of chunks begin; see [`Signed::chunks`].
    pub signature: String,
    key: SigningKey,
    scope: Scope,
    at: Time,
}

impl Signed {
    /// The signatures of the body's chunks, for [`Payload::Chunks`] and [`Payload::ChunksAndTrailers`].
    pub fn chunks(&self) -> Chunks {
        Chunks::new(self.key.clone(), self.at, self.scope.clone(), self.signature.clone())
    }
}

/// Signs a request by headers. `host` and whatever else goes along has to be among its headers already; those that
/// signing brings (`x-amz-date`, `x-amz-security-token`, `authorization`, and for S3 `x-amz-content-sha256`) are answered.
pub fn sign(request: &Request<'_>, payload: Payload<'_>, signing: &Signing<'_>) -> Signed {
    sign_by(request, payload, signing, Rules::of(signing.service))
}

/// The same under given rules.
pub(crate) fn sign_by(request: &Request<'_>, payload: Payload<'_>, signing: &Signing<'_>, rules: Rules) -> Signed {
    let payload = payload.text();
    let mut headers = vec![("x-amz-date", signing.at.to_string())];
    if let Some(token) = &signing.credentials.session_token {
        headers.push(("x-amz-security-token", token.clone()));
    }
    if Rules::of(signing.service) == Rules::S3 {
        headers.push(("x-amz-content-sha256", payload.clone()));
    }
    // What is brought takes the place of what is there.
    let given =
        request.headers.iter().filter(|(name, _)| headers.iter().all(|(own, _)| !own.eq_ignore_ascii_case(name)));
    let mut all: Vec<(&str, &[u8])> = given.copied().collect();
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_bytes())));
    let request = Request { headers: &all, ..*request };
    let signed_headers = signed_headers(&request);
    let canonical = canonical_request(&request, rules, &signed_headers, &payload);
    let scope = signing.scope();
    let key = SigningKey::new(&signing.credentials.secret_access_key, &scope);
    let signature = key.sign(&string_to_sign(signing.at, &scope, &sha256_hex(&canonical)));
    let (id, names) = (&signing.credentials.access_key_id, signed_headers.join(";"));
    let authorization = format!("{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    headers.push(("authorization", authorization));
    Signed { headers, signature, key, scope, at: signing.at }
}

/// Signs a request by its query, which holds for `expires_in` seconds and is answered whole. All headers that are given
/// have to be sent with it.
///
/// S3 says nothing of the body (`payload` is [`Payload::Unsigned`]); elsewhere it is that of the request.
pub fn presign(request: &Request<'_>, payload: Payload<'_>, expires_in: u32, signing: &Signing<'_>) -> String {
    presign_by(request, payload, expires_in, signing, Rules::of(signing.service))
}

/// The same under given rules.
pub(crate) fn presign_by(
    request: &Request<'_>,
    payload: Payload<'_>,
    expires_in: u32,
    signing: &Signing<'_>,
    rules: Rules,
) -> String {
    let scope = signing.scope();
    let signed_headers = signed_headers(request);
    let credential = format!("{}/{scope}", signing.credentials.access_key_id);
    let token = signing.credentials.session_token.as_deref();
    let mut query = request.query.to_owned();
    for (name, value) in [
        ("X-Amz-Algorithm", Some(ALGORITHM)),
        ("X-Amz-Credential", Some(credential.as_str())),
        ("X-Amz-Date", Some(signing.at.to_string().as_str())),
        ("X-Amz-Expires", Some(expires_in.to_string().as_str())),
        ("X-Amz-SignedHeaders", Some(signed_headers.join(";").as_str())),
        ("X-Amz-Security-Token", token),
    ] {
        let Some(value) = value else { continue };
        let separator = if query.is_empty() { "" } else { "&" };
        query.push_str(&format!("{separator}{name}={}", encode(value.as_bytes(), false)));
    }
    let unsigned = Request { query: &query, ..*request };
    let canonical = canonical_request(&unsigned, rules, &signed_headers, &payload.text());
    let key = SigningKey::new(&signing.credentials.secret_access_key, &scope);
    let signature = key.sign(&string_to_sign(signing.at, &scope, &sha256_hex(&canonical)));
    format!("{query}&X-Amz-Signature={signature}")
}

impl Signing<'_> {
    fn scope(&self) -> Scope {
        Scope { date: self.at.date(), region: self.region.to_owned(), service: self.service.to_owned() }
    }
}

fn signed_headers(request: &Request<'_>) -> Vec<String> {
    let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.retain(|name| !NEVER_SIGNED.contains(&name.as_str()));
    names.sort();
    names.dedup();
    names
}
