//! Verifying, in the order in which it can be done: what a request claims ([`parse`]), whether it is of now and of here
//! ([`Claim::check`]), and, once its secret is known, whether the signature is right ([`Claim::verify`]).

use std::collections::BTreeMap;

use crate::ALGORITHM;
use crate::canonical::{Request, Rules, canonical_request, decode, sha256_hex};
use crate::chunks::Chunks;
use crate::credentials::{Scope, SigningKey, string_to_sign};
use crate::error::{Error, Family, Mismatch};
use crate::time::Time;

/// Longest that a signed query may hold.
const EXPIRES_SECONDS_MAX: i64 = 604_800;

/// What a request claims of its signature. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose key signed it.
    pub access_key_id: String,
    /// What temporary credentials go along with.
    pub session_token: Option<String>,
    /// When it was signed.
    pub at: Time,
    /// For what it holds.
    pub scope: Scope,
    /// How long it holds, if it is a query that says so.
    pub expires_in: Option<i64>,
    /// Whether the query is signed, and not headers.
    pub is_query: bool,
    signed_headers: Vec<String>,
    signature: String,
}

/// A signature that was right.
#[derive(Debug, Clone)]
pub struct Verified {
    /// At which the signatures of the body's chunks begin.
    pub chunks: Chunks,
}

/// Reads what a request claims.
///
/// # Errors
/// [`Error::NotSigned`] if there is neither an `Authorization` header nor a signature in the query; [`Error::Algorithm`] for
/// signatures of other versions; others for what is malformed.
pub fn parse(request: &Request<'_>) -> Result<Claim, Error> {
    if let Some(authorization) = request.header("authorization") {
        return by_header(request, authorization);
    }
    let query: BTreeMap<String, String> = pairs(request.query).collect();
    if query.contains_key("X-Amz-Signature") || query.contains_key("X-Amz-Algorithm") {
        return by_query(&query);
    }
    if query.contains_key("AWSAccessKeyId") && query.contains_key("Signature") {
        return Err(Error::Algorithm { found: "AWS".to_owned() });
    }
    Err(Error::NotSigned)
}

impl Claim {
    /// Checks what can be checked without a key: the time, the scope, and which headers are signed.
    ///
    /// - `regions`: those that are accepted, the server's own first.
    /// - `service`: as scopes name it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        request: &Request<'_>,
        family: Family,
        regions: &[&str],
        service: &str,
        now: Time,
    ) -> Result<(), Error> {
        if self.scope.service != service {
            return Err(Error::ScopeService { found: self.scope.service.clone(), expected: service.to_owned() });
        }
        if !regions.contains(&self.scope.region.as_str()) {
            let expected = regions.first().copied().unwrap_or_default().to_owned();
            return Err(Error::ScopeRegion { found: self.scope.region.clone(), expected });
        }
        if self.scope.date != self.at.date() {
            return Err(Error::ScopeDate { found: self.scope.date.clone(), at: self.at });
        }
        if !self.signed_headers.iter().any(|name| name == "host") {
            return Err(Error::HostNotSigned);
        }
        if family == Family::S3 {
            let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
            names.retain(|name| name.starts_with("x-amz-") && !self.signed_headers.contains(name));
            names.dedup();
            if !names.is_empty() {
                return Err(Error::HeadersNotSigned { names });
            }
        }
        self.check_time(family.window_seconds(), now)
    }

    fn check_time(&self, window_seconds: i64, now: Time) -> Result<(), Error> {
        let at = self.at;
        if at > now.plus(window_seconds) {
            return Err(Error::TooNew { at, now, window_seconds });
        }
        match self.expires_in {
            Some(seconds) if now > at.plus(seconds) => Err(Error::Over { at, seconds, now }),
            None if at < now.plus(-window_seconds) => Err(Error::TooOld { at, now, window_seconds }),
            _ => Ok(()),
        }
    }

    /// Makes the signature again and compares, in a time that does not tell how much of it was right.
    ///
    /// `payload` is what the canonical request says of the body: what `x-amz-content-sha256` claims at S3 (the body has
    /// then to be compared with that), and the SHA-256 of the body elsewhere.
    ///
    /// # Errors
    /// [`Error::HeaderAbsent`], [`Error::Mismatch`].
    pub fn verify(&self, request: &Request<'_>, payload: &str, secret_access_key: &str) -> Result<Verified, Error> {
        self.verify_by(request, payload, secret_access_key, Rules::of(&self.scope.service))
    }

    /// The same under given rules.
    pub(crate) fn verify_by(
        &self,
        request: &Request<'_>,
        payload: &str,
        secret_access_key: &str,
        rules: Rules,
    ) -> Result<Verified, Error> {
        let is_there = |name: &String| request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        if let Some(name) = self.signed_headers.iter().find(|name| !is_there(name)) {
            return Err(Error::HeaderAbsent { name: name.clone() });
        }
        let canonical = canonical_request(request, rules, &self.signed_headers, payload);
        let text = string_to_sign(self.at, &self.scope, &sha256_hex(&canonical));
        let key = SigningKey::new(secret_access_key, &self.scope);
        if key.is_signature(&text, &self.signature) {
            let chunks = Chunks::new(key, self.at, self.scope.clone(), self.signature.clone());
            return Ok(Verified { chunks });
        }
        Err(Error::Mismatch(Box::new(Mismatch {
            access_key_id: self.access_key_id.clone(),
            signature: self.signature.clone(),
            string_to_sign: text,
            canonical_request: String::from_utf8_lossy(&canonical).into_owned(),
        })))
    }
}

fn by_header(request: &Request<'_>, authorization: &str) -> Result<Claim, Error> {
    let (algorithm, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    // AWS finds parameters missing in what is no signature at all; S3 knows older signatures (`AWS key:signature`).
    if algorithm != ALGORITHM && algorithm.starts_with("AWS") {
        return Err(Error::Algorithm { found: algorithm.to_owned() });
    }
    let mut parts = BTreeMap::new();
    if algorithm == ALGORITHM {
        for part in rest.split([',', ' ']).filter(|part| !part.is_empty()) {
            let no_pair = || Error::NoPair { part: part.to_owned(), authorization: authorization.to_owned() };
            let (name, value) = part.split_once('=').ok_or_else(no_pair)?;
            parts.insert(name, value);
        }
    }
    let date = request.header("x-amz-date").or_else(|| request.header("date"));
    let names = ["Credential", "Signature", "SignedHeaders"];
    let mut missing: Vec<&str> = names.into_iter().filter(|name| !parts.contains_key(name)).collect();
    missing.extend(date.is_none().then_some("Date"));
    let (Some(credential), Some(signature), Some(signed), Some(date)) =
        (parts.get(names[0]), parts.get(names[1]), parts.get(names[2]), date)
    else {
        return Err(Error::Incomplete { missing, authorization: authorization.to_owned() });
    };
    let (access_key_id, scope) = credential_of(credential)?;
    let at = Time::parse(date).or_else(|| Time::parse_http(date));
    Ok(Claim {
        access_key_id,
        session_token: request.header("x-amz-security-token").map(str::to_owned),
        at: at.ok_or_else(|| Error::Date { found: date.to_owned() })?,
        scope,
        expires_in: None,
        is_query: false,
        signed_headers: names_of(signed),
        signature: (*signature).to_owned(),
    })
}

fn by_query(query: &BTreeMap<String, String>) -> Result<Claim, Error> {
    let get = |name: &'static str| query.get(name).map(String::as_str).ok_or(Error::Query { parameter: name });
    let algorithm = get("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(Error::Algorithm { found: algorithm.to_owned() });
    }
    let (access_key_id, scope) = credential_of(get("X-Amz-Credential")?)?;
    let date = get("X-Amz-Date")?;
    let signed = get("X-Amz-SignedHeaders")?;
    let signature = get("X-Amz-Signature")?;
    // S3 wants a query to say how long it holds; elsewhere it may hold as long as headers do.
    let expires_in = match query.get("X-Amz-Expires") {
        Some(text) => Some(text.parse::<i64>().map_err(|_| Error::Query { parameter: "X-Amz-Expires" })?),
        None if Rules::of(&scope.service) == Rules::S3 => return Err(Error::Query { parameter: "X-Amz-Expires" }),
        None => None,
    };
    if let Some(found) = expires_in.filter(|seconds| !(1..=EXPIRES_SECONDS_MAX).contains(seconds)) {
        return Err(Error::Expires { found });
    }
    Ok(Claim {
        access_key_id,
        session_token: query.get("X-Amz-Security-Token").cloned(),
        at: Time::parse(date).ok_or_else(|| Error::Date { found: date.to_owned() })?,
        scope,
        expires_in,
        is_query: true,
        signed_headers: names_of(signed),
        signature: signature.to_owned(),
    })
}

/// Takes `key/date/region/service/aws4_request` apart.
fn credential_of(text: &str) -> Result<(String, Scope), Error> {
    let parts: Vec<&str> = text.split('/').collect();
    match parts.as_slice() {
        [key, date, region, service, "aws4_request"] if !key.is_empty() => {
            let scope =
                Scope { date: (*date).to_owned(), region: (*region).to_owned(), service: (*service).to_owned() };
            Ok(((*key).to_owned(), scope))
        }
        _ => Err(Error::Credential { found: text.to_owned() }),
    }
}

/// As they were signed: in lower case, in the order given.
fn names_of(text: &str) -> Vec<String> {
    text.split(';').filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect()
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let text = |part: &str| String::from_utf8_lossy(&decode(part, true)).into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(move |(name, value)| (text(name), text(value)))
}
