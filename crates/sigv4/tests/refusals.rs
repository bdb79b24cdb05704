//! What is refused, in which words; and that what is signed verifies, and nothing else does.

use proptest::prelude::*;
use starmap_sigv4::{Credentials, Error, Family, Payload, Request, Signing, Time, parse, presign, sha256_hex, sign};

type Headers = Vec<(String, Vec<u8>)>;

fn credentials() -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: Some("token/+=".to_owned()),
    }
}

fn at() -> Time {
    Time::parse("20150830T123600Z").unwrap()
}

fn borrowed(headers: &Headers) -> Vec<(&str, &[u8])> {
    headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect()
}

/// A signed request to Step Functions.
fn signed(body: &[u8]) -> Headers {
    let mut headers: Headers = vec![
        ("Host".to_owned(), b"states.us-east-1.amazonaws.com".to_vec()),
        ("X-Amz-Target".to_owned(), b"AWSStepFunctions.StartExecution".to_vec()),
    ];
    let credentials = credentials();
    let signing = Signing { credentials: &credentials, region: "us-east-1", service: "states", at: at() };
    let signed = {
        let headers = borrowed(&headers);
        let request = Request { method: "POST", path: "/", query: "", headers: &headers };
        sign(&request, Payload::Bytes(body), &signing)
    };
    headers.extend(signed.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())));
    headers
}

/// Everything a server does.
fn verified(headers: &Headers, family: Family, now: Time) -> Result<(), Error> {
    let headers = borrowed(headers);
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    let claim = parse(&request)?;
    claim.check(&request, family, &["us-east-1"], "states", now)?;
    claim.verify(&request, &sha256_hex(b"{}"), &credentials().secret_access_key).map(|_| ())
}

/// The same with the `Authorization` header changed.
fn changed(from: &str, to: &str) -> Error {
    let mut headers = signed(b"{}");
    let authorization = headers.iter_mut().find(|(name, _)| name == "authorization").unwrap();
    let text = String::from_utf8(authorization.1.clone()).unwrap();
    assert!(text.contains(from), "{text}");
    authorization.1 = text.replace(from, to).into_bytes();
    verified(&headers, Family::Json, at()).unwrap_err()
}

#[track_caller]
fn check(error: &Error, family: Family, code: &str, status: u16, message: &str) {
    let refusal = error.refusal(family);
    assert_eq!((refusal.code, refusal.status), (code, status));
    assert!(refusal.message.starts_with(message), "{}", refusal.message);
}

#[test]
fn times_may_differ_by_minutes() {
    let headers = signed(b"{}");
    for (family, window) in [(Family::Json, 300), (Family::Rest, 300), (Family::Query, 900), (Family::S3, 900)] {
        for seconds in [-window, 0, window] {
            assert_eq!(verified(&headers, family, at().plus(seconds)), Ok(()), "{family:?} {seconds}");
        }
        assert!(matches!(verified(&headers, family, at().plus(window + 1)), Err(Error::TooOld { .. })));
        assert!(matches!(verified(&headers, family, at().plus(-window - 1)), Err(Error::TooNew { .. })));
    }
    let late = verified(&headers, Family::Json, at().plus(301)).unwrap_err();
    let words = "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)";
    check(&late, Family::Json, "InvalidSignatureException", 400, words);
    check(&late, Family::Rest, "InvalidSignatureException", 403, words);
    let early = verified(&headers, Family::Query, at().plus(-901)).unwrap_err();
    let words =
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)";
    check(&early, Family::Query, "SignatureDoesNotMatch", 403, words);
    let words = "The difference between the request time and the current time is too large.";
    check(&early, Family::S3, "RequestTimeTooSkewed", 403, words);
}

#[test]
fn scopes_have_to_fit() {
    let error = changed("us-east-1/states", "eu-west-1/states");
    check(&error, Family::Json, "InvalidSignatureException", 400, "Credential should be scoped to a valid region");
    let words = "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'";
    check(&error, Family::S3, "AuthorizationHeaderMalformed", 400, words);
    let error = changed("/states/", "/lambda/");
    let words = "Credential should be scoped to correct service: 'states'.";
    check(&error, Family::Json, "InvalidSignatureException", 400, words);
    let error = changed("20150830/us-east-1", "20150831/us-east-1");
    let words = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20150831' != '20150830', from '20150830T123600Z'.";
    check(&error, Family::Json, "InvalidSignatureException", 400, words);
    assert!(matches!(changed("/aws4_request", "/aws5_request"), Error::Credential { .. }));
    assert!(matches!(changed("AKIDEXAMPLE/", ""), Error::Credential { .. }));
}

#[test]
fn incomplete_headers_are_named() {
    let words = "Authorization header requires 'Signature' parameter. Authorization=AWS4-HMAC-SHA256 Credential=";
    check(&changed("Signature=", "Sig="), Family::Json, "IncompleteSignatureException", 400, words);
    let words = "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=Bearer";
    check(&changed("AWS4-HMAC-SHA256", "Bearer"), Family::Rest, "IncompleteSignatureException", 403, words);
    let words = "'AKIDEXAMPLE/20150830/us-east-1/states/aws4_request' not a valid key=value pair (missing equal-sign) in Authorization header";
    check(&changed("Credential=", "Credential= "), Family::Json, "IncompleteSignatureException", 400, words);
    let words = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";
    check(&changed("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Family::S3, "InvalidRequest", 400, words);
    let words = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
    check(&changed("SignedHeaders=host;", "SignedHeaders="), Family::Json, "InvalidSignatureException", 400, words);
    let words = "'accept' is named as a SignedHeader, but it does not exist in the HTTP request.";
    let error = changed("SignedHeaders=host;", "SignedHeaders=accept;host;");
    check(&error, Family::Json, "IncompleteSignatureException", 400, words);

    let mut headers = signed(b"{}");
    headers.retain(|(name, _)| name != "x-amz-date");
    let words = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=";
    let error = verified(&headers, Family::Json, at()).unwrap_err();
    check(&error, Family::Json, "IncompleteSignatureException", 400, words);
    headers.push(("date".to_owned(), b"Sun, 30 Aug 2015 12:36:00 GMT".to_vec()));
    assert!(matches!(verified(&headers, Family::Json, at()), Err(Error::HeaderAbsent { .. })));
    headers.retain(|(name, _)| name != "authorization");
    let error = verified(&headers, Family::Json, at()).unwrap_err();
    check(&error, Family::Rest, "MissingAuthenticationTokenException", 403, "Missing Authentication Token");
    check(&error, Family::Query, "MissingAuthenticationToken", 403, "Request is missing Authentication Token");
    check(&error, Family::S3, "AccessDenied", 403, "Access Denied");
}

#[test]
fn wrong_signatures_say_what_was_expected() {
    let error = verified(&signed(b"{ }"), Family::Json, at()).unwrap_err();
    let refusal = error.refusal(Family::Json);
    assert_eq!((refusal.code, refusal.status), ("InvalidSignatureException", 400));
    let start = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.";
    assert!(refusal.message.starts_with(start), "{}", refusal.message);
    assert!(
        refusal.message.contains("The Canonical String for this request should have been\n'POST\n/\n\nhost:states.")
    );
    assert!(!refusal.message.contains("wJalrXUtnFEMI"), "the secret");
    let names: Vec<&str> = error.refusal(Family::S3).details.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "CanonicalRequest"]);
    assert!(!format!("{:?}", credentials()).contains("wJalrXUtnFEMI"));
}

prop_compose! {
    fn requests()(
        method in "GET|PUT|POST",
        path in "/[a-z0-9%./~ +é]{0,20}",
        query in "([a-z%=+é-]{0,6}&){0,3}",
        headers in prop::collection::vec(("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..12)), 0..4),
        body in prop::collection::vec(any::<u8>(), 0..40),
        service in "s3|states",
    ) -> (String, String, String, Headers, Vec<u8>, String) {
        (method, path, query, headers, body, service)
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_refused_and_nothing_panics(
        authorization in "(AWS4-HMAC-SHA256 )?(Credential=|SignedHeaders=|Signature=|[a-z0-9/;,= é-]){0,8}",
        query in "(X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature)=[A-Z0-9a-z/%é-]{0,20}&){0,7}",
        date in "[0-9TZ]{0,17}",
        is_header in any::<bool>(),
        now in any::<i64>(),
    ) {
        let mut headers: Headers = vec![("host".to_owned(), b"h".to_vec()), ("x-amz-date".to_owned(), date.into_bytes())];
        if is_header {
            headers.push(("authorization".to_owned(), authorization.into_bytes()));
        }
        let headers = borrowed(&headers);
        let request = Request { method: "GET", path: "/", query: &query, headers: &headers };
        let error = match parse(&request) {
            Ok(claim) => {
                let _ = claim.check(&request, Family::S3, &["us-east-1"], "s3", Time(now));
                claim.verify(&request, "", "secret").map(|_| ()).unwrap_err()
            }
            Err(error) => error,
        };
        for family in [Family::S3, Family::Json, Family::Rest, Family::Query] {
            prop_assert!(error.refusal(family).status >= 400);
        }
    }

    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        (method, path, query, mut headers, body, service) in requests(),
        is_query in any::<bool>(),
        what in 0_usize..5,
        position in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        headers.retain(|(name, _)| !["host", "connection", "expect"].contains(&name.as_str()));
        headers.push(("host".to_owned(), b"localhost".to_vec()));
        let credentials = credentials();
        let signing = Signing { credentials: &credentials, region: "us-east-1", service: &service, at: at() };
        let mut query = query;
        {
            let given = borrowed(&headers);
            let request = Request { method: &method, path: &path, query: &query, headers: &given };
            if is_query {
                query = presign(&request, Payload::Bytes(&body), 60, &signing);
            } else {
                let signed = sign(&request, Payload::Bytes(&body), &signing);
                headers.extend(signed.headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())));
            }
        }
        let verified = |method: &str, path: &str, query: &str, headers: &Headers, body: &[u8]| {
            let headers = borrowed(headers);
            let request = Request { method, path, query, headers: &headers };
            let claim = parse(&request)?;
            let family = if service == "s3" { Family::S3 } else { Family::Json };
            claim.check(&request, family, &["us-east-1"], &service, at())?;
            claim.verify(&request, &sha256_hex(body), &credentials.secret_access_key).map(|_| claim.session_token)
        };
        prop_assert_eq!(verified(&method, &path, &query, &headers, &body), Ok(credentials.session_token.clone()));

        // One thing is changed, in a way that means something else.
        let (mut method, mut path, mut query, mut headers, mut body) = (method, path, query, headers, body);
        match what {
            0 => method.push('X'),
            1 => path.push('x'),
            2 => query.push_str("&x=y"),
            3 => {
                let index = position.index(headers.len());
                let (name, value) = &mut headers[index];
                if name == "authorization" {
                    let last = value.len() - 1;
                    value[last] = if value[last] == b'0' { b'1' } else { b'0' };
                } else {
                    value.push(b'x');
                }
            }
            _ if body.is_empty() => body.push(flip),
            _ => {
                let index = position.index(body.len());
                body[index] ^= flip;
            }
        }
        prop_assert!(verified(&method, &path, &query, &headers, &body).is_err());
    }
}
