//! One call of AWS: signed, repeated while AWS asks for that, its error named.

use std::error::Error as StdError;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::Value;
use starmap_sigv4::{Credentials, Payload, Request, Signing, Time};

use super::config::Config;
use super::credentials;
use super::error::{CallError, Reason};
use crate::exit;
use crate::session::now;

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Most of an answer that is read: twice what a page of a history with data can be.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How often a call is made at most, unless AWS_MAX_ATTEMPTS says otherwise.
const ATTEMPTS_MAX: u32 = 6;
/// Before the second attempt at most; doubles with each, up to the next.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// Before any attempt at most.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// A service of AWS that is called here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Step Functions: AWS JSON 1.0.
    StepFunctions,
    /// Lambda: REST with JSON.
    Lambda,
    /// CloudWatch Logs: AWS JSON 1.1.
    Logs,
    /// STS: Query.
    Sts,
    /// S3. Its objects are read by the pipeline's store; only its address is asked for here.
    S3,
}

impl Service {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StepFunctions => "Step Functions",
            Self::Lambda => "Lambda",
            Self::Logs => "CloudWatch Logs",
            Self::Sts => "STS",
            Self::S3 => "S3",
        }
    }

    /// First part of its address.
    pub(super) fn host(self) -> &'static str {
        match self {
            Self::StepFunctions => "states",
            Self::Lambda => "lambda",
            Self::Logs => "logs",
            Self::Sts => "sts",
            Self::S3 => "s3",
        }
    }

    /// Its name in signatures.
    fn signing_name(self) -> &'static str {
        self.host()
    }

    /// Variables with an address of its own; the first one is the AWS tools'.
    pub(super) fn endpoint_variables(self) -> &'static [&'static str] {
        match self {
            Self::StepFunctions => &["AWS_ENDPOINT_URL_SFN"],
            Self::Lambda => &["AWS_ENDPOINT_URL_LAMBDA"],
            Self::Logs => &["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS", "AWS_ENDPOINT_URL_LOGS"],
            Self::Sts => &["AWS_ENDPOINT_URL_STS"],
            Self::S3 => &["AWS_ENDPOINT_URL_S3"],
        }
    }
}

/// Which account and region.
#[derive(Debug, Clone, Default, Args)]
pub struct AwsArgs {
    /// AWS region [default: AWS_REGION, AWS_DEFAULT_REGION, or the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Profile of the shared AWS configuration files [default: AWS_PROFILE, or keys from the environment]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// A client for one account and region. See the [module](super).
#[derive(Debug)]
pub struct Aws {
    http: reqwest::Client,
    config: Config,
    credentials: Credentials,
    region: String,
    attempts_max: u32,
}

/// What is sent.
struct Call<'a> {
    service: Service,
    action: &'a str,
    method: reqwest::Method,
    /// Percent-encoded path and query.
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// What came back.
struct Answer {
    status: u16,
    error_header: Option<String>,
    request_id: Option<String>,
    body: Bytes,
}

impl Aws {
    /// Finds region and credentials. Nobody is asked yet, but for a container's metadata.
    ///
    /// # Errors
    /// If there are none, or what the environment and the shared files say can't be.
    pub async fn connect(args: &AwsArgs) -> anyhow::Result<Self> {
        let config = Config::read(args.profile.as_deref())?;
        let region = config.region(args.region.as_deref())?;
        let attempts_max = match config.variable("AWS_MAX_ATTEMPTS") {
            None => ATTEMPTS_MAX,
            Some(text) => match text.parse() {
                Ok(attempts @ 1..=100) => attempts,
                _ => {
                    return Err(exit::usage(format!("AWS_MAX_ATTEMPTS={text}: expected a whole number from 1 to 100")));
                }
            },
        };
        // What is wrong with an address is said before anything is asked.
        for service in [Service::StepFunctions, Service::Lambda, Service::Logs, Service::Sts, Service::S3] {
            config.endpoint(service, &region)?;
        }
        let http = http()?;
        let credentials = credentials::find(&config, args.profile.is_some(), &http).await?;
        Ok(Self { http, config, credentials, region, attempts_max })
    }

    /// The region that is asked.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whose key signs.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The address of a service that is not AWS's own, if one is given.
    pub fn custom_endpoint(&self, service: Service) -> Option<String> {
        let region = &self.region;
        let endpoint = self.config.endpoint(service, region).ok()?;
        (!endpoint.contains(".amazonaws.com")).then_some(endpoint)
    }

    /// Calls an action of Step Functions or CloudWatch Logs.
    pub async fn json(&self, service: Service, action: &str, input: &Value) -> Result<Value, CallError> {
        let (version, target) = match service {
            Service::Logs => ("1.1", "Logs_20140328"),
            _ => ("1.0", "AWSStepFunctions"),
        };
        let call = Call {
            service,
            action,
            method: reqwest::Method::POST,
            target: "/".to_owned(),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{version}")),
                ("x-amz-target", format!("{target}.{action}")),
            ],
            body: input.to_string().into(),
        };
        self.value(&call).await
    }

    /// Calls an action of Lambda that is a GET. `target` is percent-encoded path and query, from its first slash on.
    pub async fn lambda_get(&self, action: &str, target: &str) -> Result<Value, CallError> {
        let call = Call {
            service: Service::Lambda,
            action,
            method: reqwest::Method::GET,
            target: target.to_owned(),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.value(&call).await
    }

    /// Limits and use of Lambda in this account and region: `AccountLimit`, `AccountUsage`.
    pub async fn lambda_account_settings(&self) -> Result<Value, CallError> {
        self.lambda_get("GetAccountSettings", "/2016-08-19/account-settings/").await
    }

    /// Whose credentials these are: account, ARN.
    pub async fn caller_identity(&self) -> Result<(String, String), CallError> {
        let call = Call {
            service: Service::Sts,
            action: "GetCallerIdentity",
            method: reqwest::Method::POST,
            target: "/".to_owned(),
            headers: vec![("content-type", "application/x-www-form-urlencoded; charset=utf-8".to_owned())],
            body: Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15"),
        };
        let body = self.answer(&call).await?;
        let text = String::from_utf8_lossy(&body);
        match (element(&text, "Account"), element(&text, "Arn")) {
            (Some(account), Some(arn)) => Ok((account, arn)),
            _ => Err(self.unreadable(&call, "has no Account and Arn".to_owned())),
        }
    }

    async fn value(&self, call: &Call<'_>) -> Result<Value, CallError> {
        let body = self.answer(call).await?;
        serde_json::from_slice(&body).map_err(|error| self.unreadable(call, format!("is not JSON: {error}")))
    }

    /// Makes a call until it succeeds, fails for good, or was made often enough. Every call here may be repeated.
    async fn answer(&self, call: &Call<'_>) -> Result<Bytes, CallError> {
        let mut attempt = 1;
        loop {
            let error = match self.once(call).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer.body),
                Ok(answer) => self.failed(call, refusal(&answer)),
                Err(cause) => self.failed(call, Reason::Unreachable { endpoint: self.endpoint(call), cause }),
            };
            if !error.is_transient() || attempt >= self.attempts_max {
                return Err(error);
            }
            let pause = pause(attempt);
            tracing::info!(
                service = call.service.name(),
                action = call.action,
                attempt,
                pause_ms = pause.as_millis() as u64,
                reason = error.code().unwrap_or("no answer"),
                "asking AWS again"
            );
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, call: &Call<'_>) -> Result<Answer, String> {
        let url = format!("{}{}", self.endpoint(call), call.target);
        let url = url.parse::<reqwest::Url>().map_err(|error| format!("{url}: {error}"))?;
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let mut headers: Vec<(&str, &[u8])> = vec![("host", host.as_bytes())];
        headers.extend(call.headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        let request = Request {
            method: call.method.as_str(),
            path: url.path(),
            query: url.query().unwrap_or_default(),
            headers: &headers,
        };
        let signing = Signing {
            credentials: &self.credentials,
            region: &self.region,
            service: call.service.signing_name(),
            at: Time(now().0 / 1_000),
        };
        let signed = starmap_sigv4::sign(&request, Payload::Bytes(&call.body), &signing);
        let mut request = self.http.request(call.method.clone(), url).body(call.body.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        for (name, value) in &signed.headers {
            request = request.header(*name, value);
        }
        let mut answer = request.send().await.map_err(|error| with_causes(&error))?;
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let request_id = header("x-amzn-requestid").or_else(|| header("x-amz-request-id"));
        let (status, error_header) = (answer.status().as_u16(), header("x-amzn-errortype"));
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| with_causes(&error))? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(format!("an answer of more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status, error_header, request_id, body: body.into() })
    }

    /// Where a call goes. Whether it can be was checked when this client was made.
    fn endpoint(&self, call: &Call<'_>) -> String {
        self.config.endpoint(call.service, &self.region).unwrap_or_default()
    }

    fn failed(&self, call: &Call<'_>, reason: Reason) -> CallError {
        CallError { service: call.service, action: call.action.to_owned(), reason }
    }

    fn unreadable(&self, call: &Call<'_>, problem: String) -> CallError {
        self.failed(call, Reason::Unreadable { endpoint: self.endpoint(call), problem })
    }
}

/// An HTTP client that trusts whom the operating system trusts.
pub(super) fn http() -> anyhow::Result<reqwest::Client> {
    // An error only says that another provider was chosen before us, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().timeout(CALL_MAX).connect_timeout(CONNECT_MAX);
    let client = builder.redirect(reqwest::redirect::Policy::none()).build();
    client.context("making the HTTP client for AWS")
}

/// Anything up to a bound that doubles with each attempt: whoever was refused together does not come back together.
fn pause(attempt: u32) -> Duration {
    let most = PAUSE_FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(PAUSE_MAX);
    let share = (uuid::Uuid::new_v4().as_u128() % 1_000) as u32;
    most * (share + 1) / 1_000
}

/// The error of an answer: in JSON protocols `__type` (or a header) and `message`, in XML `Code` and `Message`.
fn refusal(answer: &Answer) -> Reason {
    let text = String::from_utf8_lossy(&answer.body);
    let json: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let of_json = |keys: &[&str]| keys.iter().find_map(|key| json.get(key)?.as_str().map(str::to_owned));
    // As in `com.amazonaws.swf.service.v2.model#StateMachineDoesNotExist:http://internal.amazon.com/…`.
    let bare = |code: String| {
        let code = code.rsplit_once('#').map_or(code.as_str(), |(_, code)| code);
        code.split(':').next().unwrap_or(code).to_owned()
    };
    let code = of_json(&["__type", "code", "Code"]).or_else(|| answer.error_header.clone());
    let code = code.or_else(|| element(&text, "Code")).map(bare);
    let message = of_json(&["message", "Message", "errorMessage"]).or_else(|| element(&text, "Message"));
    let code = code.unwrap_or_else(|| format!("HTTP {}", answer.status));
    let message = message.unwrap_or_else(|| text.chars().take(200).collect::<String>().trim().to_owned());
    let request_id = answer.request_id.clone().or_else(|| element(&text, "RequestId"));
    Reason::Refused { status: answer.status, code, message, request_id }
}

/// The text of the first element of that name, in the short answers of STS and in errors.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(text.replace("&amp;", "&"))
}

/// The error with what it came from: its own text names only the URL.
fn with_causes(error: &reqwest::Error) -> String {
    let mut cause = StdError::source(error);
    let mut text = if error.is_timeout() { "timed out".to_owned() } else { String::new() };
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = if text.is_empty() { more } else { format!("{text}: {more}") };
        }
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
