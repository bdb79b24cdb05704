//! Every limit of the HTTP edge, with its number and where it comes from.

use std::time::Duration;

/// AWS's limit on the body of a Step Functions request.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html> ("Maximum request size … 1 MB"), read 2026-11.
pub const REQUEST_BYTES_MAX: usize = 1_048_576;

/// AWS's limit on the input and output of an execution, bytes of UTF-8. Same page.
pub const PAYLOAD_BYTES_MAX: usize = 262_144;

/// Connections that are open at once; more wait in the listener's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;

/// How long a connection may sit idle, or take over the head of a request.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a request's body may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long answers under way may take once the server is stopping.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
