//! What functions wrote to CloudWatch Logs: REPORT lines, which are what Lambda bills, and everything else.

use std::time::Duration;

use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::billing::{Prices, report_lines};

use super::client::{Aws, Service};
use super::error::CallError;

/// Most log events on a page.
const PAGE: u32 = 10_000;
/// Log events that are read at most.
const EVENTS_MAX: usize = 1_000_000;
/// One phrase or the other: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>. The
/// second is what functions have whose log format is JSON.
const REPORTS: &str = "?\"REPORT RequestId\" ?\"platform.report\"";
/// Lines come to CloudWatch some seconds after they were written.
pub const LATE: Duration = Duration::from_secs(120);

/// A function that an execution calls, and where it logs.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its log group.
    pub log_group: String,
    /// `x86_64` or `arm64`, if Lambda tells.
    pub architecture: Option<String>,
    /// Ephemeral storage in MB, if Lambda tells.
    pub ephemeral_mb: Option<u32>,
}

/// A REPORT line.
#[derive(Debug, Clone)]
pub struct Report {
    /// Function.
    pub function: String,
    /// Log stream: which worker it was.
    pub log_stream: String,
    /// Id of the invocation.
    pub request_id: String,
    /// When it was written: when the invocation ended.
    pub at: Timestamp,
    /// As in the line.
    pub duration_ms: f64,
    /// As in the line.
    pub billed_ms: u64,
    /// As in the line.
    pub memory_mib: u32,
    /// As in the line.
    pub max_memory_used_mib: u32,
    /// As in the line.
    pub init_ms: Option<f64>,
    /// What the line says of a failure: time-outs and crashes.
    pub error: Option<String>,
}

/// A line of a function.
#[derive(Debug, Clone)]
pub struct Line {
    /// Log stream: which worker it was.
    pub log_stream: String,
    /// When it was written.
    pub at: Timestamp,
    /// The line.
    pub message: String,
}

/// Asks Lambda where functions log. What it does not tell is as Lambda has it by default.
pub async fn functions(aws: &Aws, names: impl IntoIterator<Item = String>) -> Vec<Function> {
    let mut functions = Vec::new();
    for name in names {
        let target = format!("/2015-03-31/functions/{}/configuration", encoded(&name));
        let told = aws.lambda_get("GetFunctionConfiguration", &target).await.unwrap_or_default();
        let log_group =
            told.get("LoggingConfig").and_then(|config| config.get("LogGroup")?.as_str().map(str::to_owned));
        functions.push(Function {
            log_group: log_group.unwrap_or_else(|| format!("/aws/lambda/{name}")),
            architecture: told.get("Architectures").and_then(|all| all.get(0)?.as_str().map(str::to_owned)),
            ephemeral_mb: told.get("EphemeralStorage").and_then(|it| u32::try_from(it.get("Size")?.as_u64()?).ok()),
            name,
        });
    }
    functions
}

/// The REPORT lines of functions in a stretch of time, by when they were written.
pub async fn reports(
    aws: &Aws,
    functions: &[Function],
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Report>, CallError> {
    let prices = Prices::default();
    let mut reports = Vec::new();
    for function in functions {
        for line in lines(aws, function, from, to, Some(REPORTS)).await? {
            reports.extend(report(function, &line, &prices));
        }
    }
    reports.sort_by_key(|report| report.at);
    Ok(reports)
}

/// The lines of a function in a stretch of time, as CloudWatch gives them.
pub async fn lines(
    aws: &Aws,
    function: &Function,
    from: Timestamp,
    to: Timestamp,
    pattern: Option<&str>,
) -> Result<Vec<Line>, CallError> {
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut request = json!({
            "logGroupName": function.log_group, "startTime": from.0, "endTime": to.0, "limit": PAGE,
        });
        if let Some(pattern) = pattern {
            request["filterPattern"] = json!(pattern);
        }
        if let Some(token) = &token {
            request["nextToken"] = json!(token);
        }
        let answer = aws.json(Service::Logs, "FilterLogEvents", &request).await?;
        let page = answer.get("events").and_then(Value::as_array).into_iter().flatten();
        found.extend(page.filter_map(|event| {
            Some(Line {
                log_stream: event.get("logStreamName")?.as_str()?.to_owned(),
                at: Timestamp(event.get("timestamp")?.as_i64()?),
                message: event.get("message")?.as_str()?.trim_end().to_owned(),
            })
        }));
        token = answer.get("nextToken").and_then(Value::as_str).map(str::to_owned);
        // A page may be empty and not be the last.
        if token.is_none() || found.len() >= EVENTS_MAX {
            return Ok(found);
        }
    }
}

fn report(function: &Function, line: &Line, prices: &Prices) -> Option<Report> {
    if line.message.starts_with('{') {
        return report_of_json(function, line);
    }
    let request_id = line.message.split("REPORT RequestId:").nth(1)?.split_whitespace().next()?.to_owned();
    let read = report_lines::read(&line.message, prices).ok()?.pop()?;
    let word = |name: &str| {
        let rest = line.message.split(name).nth(1)?.trim_start();
        Some(rest.split('\t').next().unwrap_or(rest).trim().to_owned())
    };
    let error = word("Error Type:").or_else(|| word("Status:").filter(|status| status != "success"));
    Some(Report {
        function: function.name.clone(),
        log_stream: line.log_stream.clone(),
        request_id,
        at: line.at,
        duration_ms: read.duration_ms,
        billed_ms: read.billed_ms,
        memory_mib: read.memory_mib,
        max_memory_used_mib: read.max_memory_used_mib.unwrap_or(0),
        init_ms: read.init_ms,
        error,
    })
}

/// # Source
/// <https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report>, read 2026-11.
fn report_of_json(function: &Function, line: &Line) -> Option<Report> {
    let event: Value = serde_json::from_str(&line.message).ok()?;
    let record = event.get("record").filter(|_| event.get("type").is_some_and(|kind| kind == "platform.report"))?;
    let figure = |name: &str| record.get("metrics").and_then(|metrics| metrics.get(name)?.as_f64());
    let word = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Report {
        function: function.name.clone(),
        log_stream: line.log_stream.clone(),
        request_id: word("requestId")?,
        at: line.at,
        duration_ms: figure("durationMs")?,
        billed_ms: figure("billedDurationMs")? as u64,
        memory_mib: figure("memorySizeMB")? as u32,
        max_memory_used_mib: figure("maxMemoryUsedMB").unwrap_or(0.0) as u32,
        init_ms: figure("initDurationMs"),
        error: word("errorType").or_else(|| word("status").filter(|status| status != "success")),
    })
}

/// Percent-encoded, for a path.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_lines_say_what_an_attempt_took_and_how_it_failed() {
        let function = Function { name: "f".into(), log_group: "g".into(), architecture: None, ephemeral_mb: None };
        let of = |message: &str| {
            let line = Line { log_stream: "s".into(), at: Timestamp(9), message: message.to_owned() };
            report(&function, &line, &Prices::default())
        };
        // As CloudWatch has them: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html
        let ended = "REPORT RequestId: 0a-1\tDuration: 12.50 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\tMax Memory Used: 75 MB\tInit Duration: 1228.99 ms\t\n";
        let ended = of(ended).unwrap();
        let figures = (ended.duration_ms, ended.billed_ms, ended.memory_mib, ended.max_memory_used_mib, ended.init_ms);
        assert_eq!(
            (ended.request_id.as_str(), figures, ended.error),
            ("0a-1", (12.5, 13, 128, 75, Some(1_228.99)), None)
        );
        let late = "REPORT RequestId: b\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\tStatus: timeout";
        assert_eq!(of(late).unwrap().error.as_deref(), Some("timeout"));
        let crashed = "REPORT RequestId: b\tDuration: 3.00 ms\tBilled Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 30 MB\tStatus: error\tError Type: Runtime.ExitError";
        assert_eq!(of(crashed).unwrap().error.as_deref(), Some("Runtime.ExitError"));
        assert!(of("START RequestId: b Version: 1").is_none());
        let json = json!({ "time": "2026-11-27T20:00:00.000Z", "type": "platform.report", "record": {
            "requestId": "0a-1", "status": "success",
            "metrics": { "durationMs": 12.5, "billedDurationMs": 13, "memorySizeMB": 128, "maxMemoryUsedMB": 75, "initDurationMs": 1228.99 },
        }});
        let ended = of(&json.to_string()).unwrap();
        let of_json = (ended.duration_ms, ended.billed_ms, ended.memory_mib, ended.max_memory_used_mib, ended.init_ms);
        assert_eq!((ended.request_id.as_str(), of_json, ended.error), ("0a-1", figures, None));
        assert!(of("{\"level\":\"INFO\"}").is_none());
    }
}
