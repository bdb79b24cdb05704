//! What went wrong with a call of AWS, with its code, the id of the request, and what to try.

use std::fmt;

use super::client::Service;

/// Why a call did not do what was asked.
#[derive(Debug, Clone)]
pub struct CallError {
    /// Of which service.
    pub service: Service,
    /// Which call.
    pub action: String,
    /// What happened.
    pub reason: Reason,
}

/// See [`CallError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// AWS answered with an error.
    Refused {
        /// HTTP status.
        status: u16,
        /// AWS's name for it, without a namespace.
        code: String,
        /// In AWS's words.
        message: String,
        /// What AWS's support asks for.
        request_id: Option<String>,
    },
    /// There was no answer.
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// What the connection ended with.
        cause: String,
    },
    /// The answer is none that the call has.
    Unreadable {
        /// Who was asked.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CallError {
    /// AWS's name of the error, if AWS answered.
    pub fn code(&self) -> Option<&str> {
        match &self.reason {
            Reason::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the same call may succeed a little later.
    pub(super) fn is_transient(&self) -> bool {
        match &self.reason {
            Reason::Refused { status, code, .. } => *status >= 500 || *status == 429 || is_throttling(code),
            Reason::Unreachable { .. } => true,
            Reason::Unreadable { .. } => false,
        }
    }

    /// What the reader can try.
    fn hint(&self) -> Option<String> {
        let Reason::Refused { code, message, .. } = &self.reason else {
            return match &self.reason {
                Reason::Unreachable { endpoint, .. } => {
                    Some(format!("is {endpoint} reachable from here? region and AWS_ENDPOINT_URL make this address"))
                }
                _ => Some("is this really the service? region and AWS_ENDPOINT_URL make its address".to_owned()),
            };
        };
        let hint = match code.as_str() {
            "ExpiredToken" | "ExpiredTokenException" => {
                "the temporary credentials have expired; get new ones (`aws sso login`, `aws sts assume-role`) and run again"
            }
            "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
                "AWS does not know this access key; `aws sts get-caller-identity` says whose it is. Temporary keys need \
                 AWS_SESSION_TOKEN, too"
            }
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if message.contains("expired") || message.contains("not yet current") =>
            {
                "this machine's clock differs from AWS's; set it"
            }
            "RequestTimeTooSkewed" | "RequestExpired" => "this machine's clock differs from AWS's; set it",
            "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
                "the secret key does not belong to this access key id, or the region is another one"
            }
            "AccessDeniedException" | "AccessDenied" => {
                "add the action to the caller's policy; docs/target-aws.md lists what `--target aws` calls"
            }
            "StateMachineDoesNotExist" => {
                "`aws stepfunctions list-state-machines` shows those of this account and region; \
                 docs/deploy.md says how to make one"
            }
            "ExecutionDoesNotExist" => {
                "`starmap executions list --target aws` shows those of the state machine; AWS forgets them 90 days after they ended"
            }
            "ExecutionAlreadyExists" => {
                "that name belongs to an execution with another input, or to one that has ended; choose another --name"
            }
            "StateMachineDeleting" => "the state machine is being deleted; deploy it again or name another one",
            code if is_throttling(code) => {
                "AWS limits how often it is asked, and other programs ask, too; run again a little later"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// Whether AWS says by this code that it was asked too often.
///
/// # Source
/// The codes that the AWS SDKs' standard retry mode takes for throttling,
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>, read 2026-11.
fn is_throttling(code: &str) -> bool {
    const CODES: [&str; 11] = [
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottledException",
        "RequestThrottled",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "EC2ThrottledException",
    ];
    CODES.contains(&code)
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.service.name(), self.action)?;
        match &self.reason {
            Reason::Refused { status, code, message, request_id } => {
                write!(f, "{code}: {}", if message.is_empty() { "(AWS gives no reason)" } else { message })?;
                write!(f, " (status {status}")?;
                if let Some(request_id) = request_id {
                    write!(f, ", request {request_id}")?;
                }
                f.write_str(")")?;
            }
            Reason::Unreachable { endpoint, cause } => write!(f, "no answer from {endpoint}: {cause}")?,
            Reason::Unreadable { endpoint, problem } => write!(f, "the answer of {endpoint} {problem}")?,
        }
        match self.hint() {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CallError {}
