//! Why a request is refused, and what AWS says then.
//!
//! # Source
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>, and answers of AWS that people report, for
//! example aws/aws-cli#6676 (15 minutes at STS), serverless/serverless#27 (5 minutes and 403 at Lambda),
//! aws/chalice#828, aws/aws-sdk-php#2469, dmjio/s3-signer#16; read 2026-11.

use crate::time::Time;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing in it is signed.
    #[error("the request is not signed")]
    NotSigned,
    /// The header has another form than `AWS4-HMAC-SHA256 name=value, …`.
    #[error("{part:?} in the Authorization header is no name=value: {authorization:?}")]
    NoPair {
        /// What is none.
        part: String,
        /// The header.
        authorization: String,
    },
    /// The header, or the date beside it, lacks parts.
    #[error("the Authorization header lacks {missing:?}: {authorization:?}")]
    Incomplete {
        /// `Credential`, `Signature`, `SignedHeaders`, `Date`.
        missing: Vec<&'static str>,
        /// The header.
        authorization: String,
    },
    /// The query lacks parameters, or has unusable ones.
    #[error("the signed query is incomplete or malformed: {parameter}")]
    Query {
        /// The first such.
        parameter: &'static str,
    },
    /// A query that holds too long, or for no time.
    #[error("X-Amz-Expires is {found}, expected 1 to 604800")]
    Expires {
        /// Seconds.
        found: i64,
    },
    /// Signed in a way that is not spoken here.
    #[error("the algorithm {found:?} is not known, expected AWS4-HMAC-SHA256")]
    Algorithm {
        /// Its name.
        found: String,
    },
    /// Not `key/date/region/service/aws4_request`.
    #[error("the credential {found:?} is malformed, expected key/date/region/service/aws4_request")]
    Credential {
        /// As it was sent.
        found: String,
    },
    /// The time is not as in `20150830T123600Z`.
    #[error("the date {found:?} is malformed, expected as in 20150830T123600Z")]
    Date {
        /// As it was sent.
        found: String,
    },
    /// The scope is of another day than the time.
    #[error("the scope is of {found}, the request of {at}")]
    ScopeDate {
        /// The scope's.
        found: String,
        /// The request's.
        at: Time,
    },
    /// The scope is of another region.
    #[error("the scope's region is {found}, expected {expected}")]
    ScopeRegion {
        /// The scope's.
        found: String,
        /// This server's.
        expected: String,
    },
    /// The scope is of another service.
    #[error("the scope's service is {found}, expected {expected}")]
    ScopeService {
        /// The scope's.
        found: String,
        /// The one that was asked.
        expected: String,
    },
    /// Anyone could send the request elsewhere.
    #[error("the host is not signed")]
    HostNotSigned,
    /// Headers that are there have to be signed.
    #[error("headers are not signed: {names:?}")]
    HeadersNotSigned {
        /// In lower case.
        names: Vec<String>,
    },
    /// A header that is said to be signed is not there.
    #[error("the signed header {name} is not in the request")]
    HeaderAbsent {
        /// In lower case.
        name: String,
    },
    /// Too old.
    #[error("signed at {at}, which is more than {window_seconds} s before {now}")]
    TooOld {
        /// The request's.
        at: Time,
        /// The server's.
        now: Time,
        /// What is allowed.
        window_seconds: i64,
    },
    /// From the future.
    #[error("signed at {at}, which is more than {window_seconds} s after {now}")]
    TooNew {
        /// The request's.
        at: Time,
        /// The server's.
        now: Time,
        /// What is allowed.
        window_seconds: i64,
    },
    /// A signed query that held once.
    #[error("signed at {at} for {seconds} s, which is over at {now}")]
    Over {
        /// The request's.
        at: Time,
        /// How long it held.
        seconds: i64,
        /// The server's.
        now: Time,
    },
    /// The signature is of something else, or by another key.
    #[error("the signature does not match")]
    Mismatch(Box<Mismatch>),
    /// The body is not what was signed.
    #[error("the body's SHA-256 is {computed}, the request says {claimed}")]
    Payload {
        /// By the request.
        claimed: String,
        /// From the body.
        computed: String,
    },
    /// S3 wants to be told what the body is.
    #[error("x-amz-content-sha256 is missing")]
    PayloadMissing,
    /// What `x-amz-content-sha256` says is neither a hash nor a known word.
    #[error(
        "x-amz-content-sha256 is {found:?}, expected a SHA-256 in lower-case hexadecimal, UNSIGNED-PAYLOAD or STREAMING-…"
    )]
    PayloadUnknown {
        /// As it was sent.
        found: String,
    },
    /// Nobody has this key.
    #[error("the access key {access_key_id} is not known")]
    UnknownKey {
        /// As it was sent.
        access_key_id: String,
    },
    /// A session token that is missing, or not the key's.
    #[error("the session token of {access_key_id} is not the one that was given out")]
    Token {
        /// The key.
        access_key_id: String,
    },
    /// The session is over.
    #[error("the session of {access_key_id} is over")]
    TokenExpired {
        /// The key.
        access_key_id: String,
    },
}

/// Both sides of a signature that does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Whose key.
    pub access_key_id: String,
    /// As it was sent.
    pub signature: String,
    /// As it is made here.
    pub string_to_sign: String,
    /// As it is made here.
    pub canonical_request: String,
}

/// Protocols that refuse in different words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Amazon S3.
    S3,
    /// AWS JSON 1.0 and 1.1: Step Functions, CloudWatch Logs.
    Json,
    /// REST with JSON: Lambda.
    Rest,
    /// The query protocol: IAM, STS.
    Query,
}

impl Family {
    /// How far a request's time may be from the server's.
    ///
    /// S3 documents 15 minutes (`RequestTimeTooSkewed`); IAM and STS answer `(now - 15 min.)`, others `(now - 5 min.)`.
    pub fn window_seconds(self) -> i64 {
        match self {
            Self::S3 | Self::Query => 15 * 60,
            Self::Json | Self::Rest => 5 * 60,
        }
    }
}

/// What a client is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error's name.
    pub code: &'static str,
    /// In AWS's words.
    pub message: String,
    /// Of HTTP.
    pub status: u16,
    /// Elements that S3 has beside the message.
    pub details: Vec<(&'static str, String)>,
}

impl Error {
    /// What AWS answers in these protocols.
    pub fn refusal(&self, family: Family) -> Refusal {
        match family {
            Family::S3 => self.s3(),
            _ => self.others(family),
        }
    }

    fn others(&self, family: Family) -> Refusal {
        let is_query = family == Family::Query;
        let named = |query: &'static str, others: &'static str| if is_query { query } else { others };
        let signature = named("SignatureDoesNotMatch", "InvalidSignatureException");
        let incomplete = named("IncompleteSignature", "IncompleteSignatureException");
        let unknown = named("InvalidClientTokenId", "UnrecognizedClientException");
        let invalid = "The security token included in the request is invalid.".to_owned();
        let (code, message) = match self {
            Self::NotSigned if is_query => {
                ("MissingAuthenticationToken", "Request is missing Authentication Token".to_owned())
            }
            Self::NotSigned => ("MissingAuthenticationTokenException", "Missing Authentication Token".to_owned()),
            Self::NoPair { part, authorization } => (
                incomplete,
                format!(
                    "'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{authorization}'."
                ),
            ),
            Self::Incomplete { missing, authorization } => {
                let sentence = |part: &&str| match *part {
                    "Date" => "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
                        .to_owned(),
                    part => format!("Authorization header requires '{part}' parameter. "),
                };
                let sentences: String = missing.iter().map(sentence).collect();
                (incomplete, format!("{sentences}Authorization={authorization}"))
            }
            Self::Query { parameter } => (
                incomplete,
                format!(
                    "AWS query-string parameters must include '{parameter}'. Re-examine the query-string parameters."
                ),
            ),
            Self::Expires { found } => (signature, format!("X-Amz-Expires must be between 1 and 604800, not {found}.")),
            Self::Algorithm { found } => (incomplete, format!("Unsupported AWS 'algorithm': '{found}'.")),
            Self::Credential { found } => (
                incomplete,
                format!(
                    "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{found}'"
                ),
            ),
            Self::Date { found } => (
                incomplete,
                format!(
                    "Date must be in ISO-8601 'basic format'. Got '{found}'. See http://en.wikipedia.org/wiki/ISO_8601"
                ),
            ),
            Self::ScopeDate { found, at } => (
                signature,
                format!(
                    "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{found}' != '{}', from '{at}'.",
                    at.date()
                ),
            ),
            Self::ScopeRegion { found, .. } => {
                (signature, format!("Credential should be scoped to a valid region, not '{found}'. "))
            }
            Self::ScopeService { expected, .. } => {
                (signature, format!("Credential should be scoped to correct service: '{expected}'. "))
            }
            Self::HostNotSigned => {
                (signature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned())
            }
            Self::HeadersNotSigned { names } => {
                (signature, format!("'{}' must be a 'SignedHeader' in the AWS Authorization.", names.join("', '")))
            }
            Self::HeaderAbsent { name } => {
                (incomplete, format!("'{name}' is named as a SignedHeader, but it does not exist in the HTTP request."))
            }
            Self::TooOld { at, now, window_seconds } => {
                let (start, minutes) = (now.plus(-window_seconds), window_seconds / 60);
                (signature, format!("Signature expired: {at} is now earlier than {start} ({now} - {minutes} min.)"))
            }
            Self::TooNew { at, now, window_seconds } => {
                let (end, minutes) = (now.plus(*window_seconds), window_seconds / 60);
                (
                    signature,
                    format!("Signature not yet current: {at} is still later than {end} ({now} + {minutes} min.)"),
                )
            }
            Self::Over { at, seconds, now } => {
                (signature, format!("Signature expired: {} is now earlier than {now}", at.plus(*seconds)))
            }
            Self::Mismatch(mismatch) => (
                signature,
                format!(
                    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have been\n'{}'\n\nThe String-to-Sign should have been\n'{}'\n",
                    mismatch.canonical_request, mismatch.string_to_sign
                ),
            ),
            Self::Payload { .. } | Self::PayloadMissing | Self::PayloadUnknown { .. } => (signature, self.to_string()),
            Self::UnknownKey { .. } | Self::Token { .. } => (unknown, invalid),
            Self::TokenExpired { .. } => (
                named("ExpiredToken", "ExpiredTokenException"),
                "The security token included in the request is expired".to_owned(),
            ),
        };
        let status = match family {
            Family::Json => 400,
            _ => 403,
        };
        Refusal { code, message, status, details: Vec::new() }
    }

    fn s3(&self) -> Refusal {
        let malformed = |message: String| ("AuthorizationHeaderMalformed", 400, message, Vec::new());
        let denied = |message: &str, details| ("AccessDenied", 403, message.to_owned(), details);
        let (code, status, message, details) = match self {
            Self::NotSigned => denied("Access Denied", Vec::new()),
            Self::NoPair { .. } | Self::Incomplete { .. } => malformed(
                "The authorization header is malformed; the authorization header requires three components: Credential, SignedHeaders, and Signature.".to_owned(),
            ),
            Self::Query { .. } => (
                "AuthorizationQueryParametersError",
                400,
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.".to_owned(),
                Vec::new(),
            ),
            Self::Expires { found } => (
                "AuthorizationQueryParametersError",
                400,
                if *found < 1 { "X-Amz-Expires must be non-negative".to_owned() } else { "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds".to_owned() },
                Vec::new(),
            ),
            Self::Algorithm { .. } => {
                ("InvalidRequest", 400, "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.".to_owned(), Vec::new())
            }
            Self::Credential { found } => malformed(format!(
                "The authorization header is malformed; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\", got \"{found}\"."
            )),
            Self::Date { .. } => denied("AWS authentication requires a valid Date or x-amz-date header", Vec::new()),
            Self::ScopeDate { found, at } => malformed(format!(
                "The authorization header is malformed; Invalid credential date \"{found}\". This date is not the same as X-Amz-Date: \"{}\".",
                at.date()
            )),
            Self::ScopeRegion { found, expected } => {
                let message = format!("The authorization header is malformed; the region '{found}' is wrong; expecting '{expected}'");
                ("AuthorizationHeaderMalformed", 400, message, vec![("Region", expected.clone())])
            }
            Self::ScopeService { found, expected } => malformed(format!(
                "The authorization header is malformed; incorrect service \"{found}\". This endpoint belongs to \"{expected}\"."
            )),
            Self::HostNotSigned => not_signed("host"),
            Self::HeadersNotSigned { names } => not_signed(&names.join(", ")),
            Self::HeaderAbsent { name } => malformed(format!(
                "The authorization header is malformed; the signed header \"{name}\" is not in the request."
            )),
            Self::TooOld { at, now, window_seconds } | Self::TooNew { at, now, window_seconds } => (
                "RequestTimeTooSkewed",
                403,
                "The difference between the request time and the current time is too large.".to_owned(),
                vec![
                    ("RequestTime", at.to_string()),
                    ("ServerTime", now.iso()),
                    ("MaxAllowedSkewMilliseconds", (window_seconds * 1000).to_string()),
                ],
            ),
            Self::Over { at, seconds, now } => denied(
                "Request has expired",
                vec![
                    ("X-Amz-Expires", seconds.to_string()),
                    ("Expires", at.plus(*seconds).iso()),
                    ("ServerTime", now.iso()),
                ],
            ),
            Self::Mismatch(mismatch) => (
                "SignatureDoesNotMatch",
                403,
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.".to_owned(),
                vec![
                    ("AWSAccessKeyId", mismatch.access_key_id.clone()),
                    ("StringToSign", mismatch.string_to_sign.clone()),
                    ("SignatureProvided", mismatch.signature.clone()),
                    ("CanonicalRequest", mismatch.canonical_request.clone()),
                ],
            ),
            Self::Payload { claimed, computed } => (
                "XAmzContentSHA256Mismatch",
                400,
                "The provided 'x-amz-content-sha256' header does not match what was computed.".to_owned(),
                vec![("ClientComputedContentSHA256", claimed.clone()), ("S3ComputedContentSHA256", computed.clone())],
            ),
            Self::PayloadMissing => (
                "InvalidRequest",
                400,
                "Missing required header for this request: x-amz-content-sha256".to_owned(),
                Vec::new(),
            ),
            Self::PayloadUnknown { found } => (
                "InvalidArgument",
                400,
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER or a valid sha256 value.".to_owned(),
                vec![("ArgumentName", "x-amz-content-sha256".to_owned()), ("ArgumentValue", found.clone())],
            ),
            Self::UnknownKey { access_key_id } => (
                "InvalidAccessKeyId",
                403,
                "The AWS Access Key Id you provided does not exist in our records.".to_owned(),
                vec![("AWSAccessKeyId", access_key_id.clone())],
            ),
            Self::Token { .. } => {
                ("InvalidToken", 400, "The provided token is malformed or otherwise invalid.".to_owned(), Vec::new())
            }
            Self::TokenExpired { .. } => ("ExpiredToken", 400, "The provided token has expired.".to_owned(), Vec::new()),
        };
        Refusal { code, message, status, details }
    }
}

fn not_signed(names: &str) -> (&'static str, u16, String, Vec<(&'static str, String)>) {
    let message = "There were headers present in the request which were not signed".to_owned();
    ("AccessDenied", 403, message, vec![("HeadersNotSigned", names.to_owned())])
}
