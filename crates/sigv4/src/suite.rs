//! The official test suite: every request is signed and verified, by headers and by query. Its files are in
//! `tests/aws-signing-test-suite`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::canonical::{Payload, Request, Rules, canonical_request, sha256_hex};
use crate::credentials::Credentials;
use crate::error::{Error, Family};
use crate::sign::{Signing, presign_by, sign_by};
use crate::time::Time;
use crate::verify::parse;

/// A request as its file has it.
struct Case {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Case {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let first = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
        let (method, target) = first.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
        for line in lines {
            if line.starts_with(' ') {
                let (_, value) = headers.last_mut().unwrap();
                value.push(b'\n');
                value.extend(line.bytes());
            } else {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        let body = body.as_bytes().to_vec();
        Self { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), headers, body }
    }

    fn with<T>(&self, act: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        act(&Request { method: &self.method, path: &self.path, query: &self.query, headers: &headers })
    }
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aws-signing-test-suite/v4");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

struct Context {
    credentials: Credentials,
    region: String,
    service: String,
    at: Time,
    expires_in: u32,
    rules: Rules,
    signs_body: bool,
    omitted_token: Option<String>,
}

impl Context {
    fn read(file: &Path) -> Option<Self> {
        let json: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let token = json["credentials"]["token"].as_str().map(str::to_owned);
        let is_omitted = json["omit_session_token"] == true;
        Some(Self {
            credentials: Credentials {
                access_key_id: text(&json["credentials"]["access_key_id"]),
                secret_access_key: text(&json["credentials"]["secret_access_key"]),
                session_token: token.clone().filter(|_| !is_omitted),
            },
            region: text(&json["region"]),
            service: text(&json["service"]),
            at: Time::parse(&text(&json["timestamp"]).replace(['-', ':'], "")).unwrap(),
            expires_in: u32::try_from(json["expiration_in_seconds"].as_u64().unwrap()).unwrap(),
            // The suite's service encodes once.
            rules: Rules { encodes_twice: false, normalizes: json["normalize"] == true },
            signs_body: json["sign_body"] == true,
            omitted_token: token.filter(|_| is_omitted),
        })
    }

    fn signing(&self) -> Signing<'_> {
        Signing { credentials: &self.credentials, region: &self.region, service: &self.service, at: self.at }
    }
}

#[test]
fn requests_are_signed_by_headers() {
    let mut checked = 0;
    for folder in folders() {
        let Some(context) = Context::read(&folder.join("context.json")) else { continue };
        let mut case = Case::read(&folder.join("request.txt"));
        let hash = sha256_hex(&case.body);
        if context.signs_body {
            case.headers.push(("x-amz-content-sha256".to_owned(), hash.into_bytes()));
        }
        let signed =
            case.with(|request| sign_by(request, Payload::Bytes(&case.body), &context.signing(), context.rules));
        let expected = fs::read_to_string(folder.join("header-signature.txt")).unwrap();
        assert_eq!(signed.signature, expected, "{}", folder.display());
        let authorization = signed.headers.last().unwrap().1.clone();
        let file = fs::read_to_string(folder.join("header-signed-request.txt")).unwrap();
        assert!(file.contains(&authorization), "{}: {authorization}", folder.display());
        checked += 1;
    }
    assert_eq!(checked, 38);
}

#[test]
fn requests_are_signed_by_query() {
    let mut checked = 0;
    for folder in folders() {
        let Some(context) = Context::read(&folder.join("context.json")) else { continue };
        let case = Case::read(&folder.join("request.txt"));
        let (payload, signing) = (Payload::Bytes(&case.body), context.signing());
        let query = case.with(|request| presign_by(request, payload, context.expires_in, &signing, context.rules));
        let expected = fs::read_to_string(folder.join("query-signature.txt")).unwrap();
        assert!(query.ends_with(&format!("X-Amz-Signature={expected}")), "{}: {query}", folder.display());
        checked += 1;
    }
    assert_eq!(checked, 38);
}

#[test]
fn signed_requests_are_verified() {
    let mut checked = 0;
    for folder in folders() {
        let Some(context) = Context::read(&folder.join("context.json")) else { continue };
        for form in ["header", "query"] {
            let mut case = Case::read(&folder.join(format!("{form}-signed-request.txt")));
            // A token that is added after signing is no part of what was signed.
            if let Some(token) = context.omitted_token.as_deref().filter(|_| form == "query") {
                let token = crate::canonical::encode(token.as_bytes(), false);
                case.query = case.query.replace(&format!("&X-Amz-Security-Token={token}"), "");
            }
            let payload = sha256_hex(&case.body);
            let secret = &context.credentials.secret_access_key;
            let verified = |secret: &str| {
                case.with(|request| {
                    let claim = parse(request)?;
                    let (service, region) = (context.service.as_str(), context.region.as_str());
                    claim.check(request, Family::Query, &[region], service, context.at)?;
                    claim.verify_by(request, &payload, secret, context.rules)
                })
            };
            verified(secret).map_err(|error| panic!("{} {form}: {error}", folder.display())).unwrap();
            assert!(matches!(verified("another"), Err(Error::Mismatch(_))), "{} {form}", folder.display());
            checked += 1;
        }
    }
    assert_eq!(checked, 2 * 38);
}

#[test]
fn canonical_requests_are_the_suites() {
    for folder in folders() {
        let rules = Context::read(&folder.join("context.json")).map_or(Rules::OTHERS, |context| context.rules);
        let expected = fs::read_to_string(folder.join("header-canonical-request.txt")).unwrap();
        let lines: Vec<&str> = expected.lines().collect();
        let (names, payload) = (lines[lines.len() - 2], lines[lines.len() - 1]);
        let mut case = Case::read(&folder.join("request.txt"));
        // What signing brings, as the expected text has it.
        case.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("x-amz-date"));
        for line in &lines {
            if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.starts_with("x-amz-")) {
                case.headers.push((name.to_owned(), value.as_bytes().to_vec()));
            }
        }
        let names: Vec<String> = names.split(';').map(str::to_owned).collect();
        let canonical = case.with(|request| canonical_request(request, rules, &names, payload));
        assert_eq!(String::from_utf8(canonical).unwrap(), expected, "{}", folder.display());
    }
}
