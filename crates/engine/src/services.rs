//! How a Task calls an AWS service, whoever carries it out.
//!
//! The engine knows that `arn:aws:states:::aws-sdk:s3:getObject` is the action `getObject` of the service `s3` and
//! how the answer goes into the execution; what the service does belongs to the implementor (see `starmap-server`).
//! Lambda invocations go through [`Invoker`](crate::invoker::Invoker) instead, because they are billed and limited.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use starmap_asl::Pattern;

/// One call of a service.
#[derive(Debug, Clone)]
pub struct ServiceCall {
    /// The service as the resource names it: `s3`, `sfn`, `states`, `lambda`, `sqs`, …
    pub service: String,
    /// The action as the resource names it: `getObject`, `startExecution`, …
    pub action: String,
    /// Whether it came by `aws-sdk:`; the optimised integrations differ in their answers.
    pub is_sdk: bool,
    /// Whether the task waits for more than the answer of the call.
    pub pattern: Pattern,
    /// The call's parameters, with the names that the definition gives them (`Bucket`, `Key`, …).
    pub arguments: Value,
    /// The same for every repetition of this call after a crash: what makes a repeated `startExecution` without a name
    /// the same execution.
    pub request_id: String,
    /// Who calls.
    pub execution_arn: String,
    /// As whom.
    pub role_arn: String,
}

/// Why a call gave no answer; `error` is what `Retry` and `Catch` match on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// For example `S3.NoSuchKeyException`.
    pub error: String,
    /// For people, in AWS's words.
    pub cause: String,
}

/// The future of an answer.
pub type Answering = Pin<Box<dyn Future<Output = Result<Value, ServiceError>> + Send>>;

/// The services that Tasks can call.
pub trait Services: Send + Sync + 'static {
    /// Calls a service. The answer is the raw result as the state machine sees it before `ResultSelector`.
    ///
    /// For implementors: a call may be repeated after a crash, when its answer was not recorded. Dropping the
    /// future gives the call up.
    fn call(self: Arc<Self>, call: ServiceCall) -> Answering;
}

/// What the optimised integrations tell of the HTTP answer behind theirs: `SdkHttpMetadata` and `SdkResponseMetadata`.
///
/// `headers` are those of the answer but for the request id, whose header is `x-amzn-RequestId` everywhere.
pub fn http_metadata(status: u16, request_id: &str, headers: &[(&str, String)]) -> Map<String, Value> {
    // Moved together and not by `json!`, which would write a value that is there already once more: every answer of
    // every function has this.
    let text = |text: &str| Value::String(text.to_owned());
    let count = headers.len() + 1;
    let (mut all, mut each) = (Map::with_capacity(count), Map::with_capacity(count));
    for (name, value) in [("x-amzn-RequestId", request_id)]
        .into_iter()
        .chain(headers.iter().map(|(name, value)| (*name, value.as_str())))
    {
        all.insert(name.to_owned(), Value::Array(vec![text(value)]));
        each.insert(name.to_owned(), text(value));
    }
    let object = |members: Vec<(&str, Value)>| {
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let (all, each) = (Value::Object(all), Value::Object(each));
    let http = vec![("AllHttpHeaders", all), ("HttpHeaders", each), ("HttpStatusCode", status.into())];
    Map::from_iter([
        ("SdkHttpMetadata".to_owned(), object(http)),
        ("SdkResponseMetadata".to_owned(), object(vec![("RequestId", text(request_id))])),
    ])
}

/// No services at all: every call fails by name. For engines that run Lambda functions only.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoServices;

impl Services for NoServices {
    fn call(self: Arc<Self>, call: ServiceCall) -> Answering {
        let ServiceCall { service, action, .. } = call;
        Box::pin(async move {
            Err(ServiceError {
                error: "States.Runtime".to_owned(),
                cause: format!("{service}:{action} can't be called here: this engine runs Lambda functions only"),
            })
        })
    }
}
