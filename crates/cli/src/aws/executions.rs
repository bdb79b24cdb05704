//! Executions on AWS: started, watched, stopped, and read whole.

use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};
use starmap_asl::Timestamp;
use starmap_engine::core::MapRunProgress;
use starmap_engine::journal::{
    Counts, ExecutionId, ExecutionRecord, ExecutionSummary, HistoryRow, MapRunCounts, MapRunDetails, MapRunLimits,
    MapRunRecord, MapRunRow, Parent, Status,
};
use starmap_engine::registry::{MachineKind, RevisionRow};
use tokio::task::JoinSet;

use super::client::{Aws, AwsArgs, Service};
use super::error::CallError;
use super::events;
use super::mirror::{Mirror, Mirrored, state_of};
use crate::exit;

/// The state machine that the Terraform module makes unless told otherwise.
pub const STATE_MACHINE: &str = "starmap";
/// Most that one page of anything has.
const PAGE: u32 = 1_000;
/// Children whose histories are read: each is a call, and AWS allows 20 a second.
const CHILDREN_MAX: usize = 2_000;
/// Histories that are read at once.
const AT_ONCE: usize = 8;

/// A state machine in one account and region.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The client.
    pub aws: Arc<Aws>,
    /// Its ARN.
    pub machine: String,
}

/// A state machine as it is there.
#[derive(Debug)]
pub struct Machine {
    /// Its definition.
    pub definition: String,
}

impl Remote {
    /// Finds account, region and state machine. With a name, STS is asked for the account.
    pub async fn connect(args: &AwsArgs, machine: Option<&str>) -> anyhow::Result<Self> {
        let machine = machine.unwrap_or(STATE_MACHINE);
        let mut args = args.clone();
        if let Some(arn) = machine.strip_prefix("arn:") {
            let parts: Vec<&str> = arn.split(':').collect();
            let [_, "states", region, _, "stateMachine", ..] = parts[..] else {
                return Err(exit::usage(format!(
                    "state machine {machine}: expected a name or arn:aws:states:REGION:ACCOUNT:stateMachine:NAME"
                )));
            };
            if let Some(given) = args.region.as_deref().filter(|given| *given != region) {
                return Err(exit::usage(format!(
                    "state machine {machine} is in region {region}, and --region is {given}"
                )));
            }
            args.region = Some(region.to_owned());
        }
        let aws = Arc::new(Aws::connect(&args).await?);
        if machine.starts_with("arn:") {
            return Ok(Self { aws, machine: machine.to_owned() });
        }
        let (account, caller) = aws.caller_identity().await.map_err(refused)?;
        let partition = caller.split(':').nth(1).unwrap_or("aws").to_owned();
        let machine = format!("arn:{partition}:states:{}:{account}:stateMachine:{machine}", aws.region());
        Ok(Self { aws, machine })
    }

    /// The state machine, which has to be a Standard one.
    pub async fn describe(&self) -> anyhow::Result<Machine> {
        let answer = self.sfn("DescribeStateMachine", &json!({ "stateMachineArn": self.machine })).await;
        let answer = answer.map_err(refused).with_context(|| format!("state machine {}", self.machine))?;
        if text(&answer, "type") != "STANDARD" {
            return Err(exit::usage(format!(
                "state machine {} is an {} one, expected a STANDARD one: the executions of others have no history\n\
                 hint: only the children of its Distributed Map may be Express",
                self.machine,
                text(&answer, "type")
            )));
        }
        Ok(Machine { definition: text(&answer, "definition").to_owned() })
    }

    /// ARN of an execution by its name; an ARN stays.
    pub fn arn(&self, execution: &str) -> String {
        if execution.starts_with("arn:") {
            return execution.to_owned();
        }
        format!("{}:{execution}", self.machine.replacen(":stateMachine:", ":execution:", 1))
    }

    /// An execution; `None` if AWS knows none.
    pub async fn find(&self, execution: &str) -> Result<Option<ExecutionRecord>, CallError> {
        match self.sfn("DescribeExecution", &json!({ "executionArn": self.arn(execution) })).await {
            Ok(answer) => Ok(Some(record(&answer, ExecutionId(1)))),
            Err(error) if error.code() == Some("ExecutionDoesNotExist") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts an execution; the same name and input again are the same execution while it runs.
    pub async fn start(&self, name: &str, input: &Value) -> Result<String, CallError> {
        let request = json!({ "stateMachineArn": self.machine, "name": name, "input": input.to_string() });
        let answer = self.sfn("StartExecution", &request).await?;
        Ok(text(&answer, "executionArn").to_owned())
    }

    /// Stops an execution.
    pub async fn stop(&self, arn: &str, error: Option<&str>, cause: Option<&str>) -> Result<(), CallError> {
        let mut request = json!({ "executionArn": arn });
        for (key, value) in [("error", error), ("cause", cause)] {
            if let Some(value) = value {
                request[key] = json!(value);
            }
        }
        self.sfn("StopExecution", &request).await.map(drop)
    }

    /// Runs again what failed of an execution.
    pub async fn redrive(&self, arn: &str) -> Result<(), CallError> {
        let token = uuid::Uuid::new_v4().to_string();
        self.sfn("RedriveExecution", &json!({ "executionArn": arn, "clientToken": token })).await.map(drop)
    }

    /// A page of executions, newest first, and how to ask for the next one.
    pub async fn page(
        &self,
        status: Option<Status>,
        is_redriven: bool,
        token: Option<String>,
    ) -> Result<(Vec<ExecutionSummary>, Option<String>), CallError> {
        let mut request = json!({ "stateMachineArn": self.machine, "maxResults": PAGE });
        if let Some(status) = status {
            request["statusFilter"] = json!(status.as_str());
        }
        if is_redriven {
            request["redriveFilter"] = json!("REDRIVEN");
        }
        if let Some(token) = token {
            request["nextToken"] = json!(token);
        }
        let answer = self.sfn("ListExecutions", &request).await?;
        let page =
            rows(&answer, "executions").map(|row| ExecutionSummary::from(&record(row, ExecutionId(0)))).collect();
        Ok((page, answer.get("nextToken").and_then(Value::as_str).map(str::to_owned)))
    }

    /// The history after an event, oldest first. From the beginning it is paged forward; what is new is read backward.
    pub async fn history(&self, arn: &str, after: u64) -> Result<Vec<HistoryRow>, CallError> {
        let is_reversed = after > 0;
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut request = json!({
                "executionArn": arn, "maxResults": if is_reversed { 100 } else { PAGE }, "reverseOrder": is_reversed,
                "includeExecutionData": true,
            });
            if let Some(token) = &token {
                request["nextToken"] = json!(token);
            }
            let answer = self.sfn("GetExecutionHistory", &request).await?;
            found.extend(rows(&answer, "events").filter_map(events::row));
            token = answer.get("nextToken").and_then(Value::as_str).map(str::to_owned);
            if token.is_none() || (is_reversed && found.last().is_some_and(|row| row.id <= after)) {
                break;
            }
        }
        found.retain(|row| row.id > after);
        found.sort_by_key(|row| row.id);
        Ok(found)
    }

    /// The map runs of an execution, oldest first, as far as they have come.
    pub async fn map_runs(&self, arn: &str) -> Result<Vec<MapRunRecord>, CallError> {
        let mut runs = Vec::new();
        for listed in self.listed_map_runs(arn).await? {
            let row = MapRunRow(runs.len() as u64 + 1);
            runs.push(self.map_run(&listed, row).await?);
        }
        Ok(runs)
    }

    async fn listed_map_runs(&self, arn: &str) -> Result<Vec<String>, CallError> {
        let answer = self.sfn("ListMapRuns", &json!({ "executionArn": arn, "maxResults": PAGE })).await?;
        let mut runs: Vec<(i64, String)> = rows(&answer, "mapRuns")
            .map(|run| (at(run, "startDate").map_or(0, |at| at.0), text(run, "mapRunArn").to_owned()))
            .collect();
        runs.sort();
        Ok(runs.into_iter().map(|(_, arn)| arn).collect())
    }

    async fn map_run(&self, arn: &str, row: MapRunRow) -> Result<MapRunRecord, CallError> {
        Ok(map_run(&self.sfn("DescribeMapRun", &json!({ "mapRunArn": arn })).await?, row))
    }

    /// Progress of the last map run, once there is one. `state` keeps the name of its Map state, which only the history has.
    pub async fn progress(
        &self,
        arn: &str,
        state: &mut Option<(String, String)>,
    ) -> Result<Option<MapRunProgress>, CallError> {
        let Some(run) = self.listed_map_runs(arn).await?.pop() else { return Ok(None) };
        if state.as_ref().is_none_or(|(of, _)| *of != run) {
            let named = state_of(&self.history(arn, 0).await?, &run);
            *state = named.map(|name| (run.clone(), name));
        }
        let mut run = self.map_run(&run, MapRunRow(1)).await?;
        if let Some((_, name)) = state {
            run.state.clone_from(name);
        }
        let Counts { pending, running, succeeded, failed, timed_out, aborted, .. } = run.details.counts.items;
        Ok(Some(MapRunProgress {
            state: run.state,
            total: run.details.counts.items.total(),
            pending,
            running,
            in_flight: running,
            succeeded,
            failed: failed + timed_out,
            aborted,
        }))
    }

    /// All that AWS tells of an execution, its map runs and their children, as a journal would have it.
    pub async fn mirror(&self, record: &ExecutionRecord) -> anyhow::Result<Mirror> {
        let doing = || format!("reading execution {} from AWS", record.name);
        let history = self.history(&record.arn, 0).await.with_context(doing)?;
        let mut mirror = Mirror::new(Mirrored { record: record.clone(), history });
        for mut run in self.map_runs(&record.arn).await.with_context(doing)? {
            if let Some(state) = mirror.state_of(&run.arn) {
                run.state = state;
            }
            let children = self.children(&run).await.with_context(doing)?;
            mirror.add(run, children);
        }
        Ok(mirror)
    }

    /// The children of a map run with their histories; those that failed first, if they are too many for all. None for
    /// Express children: AWS lists them nowhere but in logs.
    async fn children(&self, run: &MapRunRecord) -> Result<Vec<Mirrored>, CallError> {
        let mut arns: Vec<String> = Vec::new();
        for status in ["FAILED", "TIMED_OUT", "ABORTED", "RUNNING", "SUCCEEDED"] {
            let mut token = None::<String>;
            while arns.len() < CHILDREN_MAX {
                let mut request = json!({ "mapRunArn": run.arn, "statusFilter": status, "maxResults": PAGE });
                if let Some(token) = &token {
                    request["nextToken"] = json!(token);
                }
                let answer = match self.sfn("ListExecutions", &request).await {
                    Ok(answer) => answer,
                    Err(error) if is_about_express(&error) => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                };
                arns.extend(rows(&answer, "executions").map(|child| text(child, "executionArn").to_owned()));
                token = answer.get("nextToken").and_then(Value::as_str).map(str::to_owned);
                if token.is_none() {
                    break;
                }
            }
        }
        arns.truncate(CHILDREN_MAX);
        // An Express child has no history to ask for.
        arns.retain(|arn| !arn.contains(":express:"));
        let mut reading = JoinSet::new();
        let (mut arns, mut children) = (arns.into_iter(), Vec::new());
        loop {
            while reading.len() < AT_ONCE {
                let Some(arn) = arns.next() else { break };
                let remote = self.clone();
                reading.spawn(async move {
                    let history = remote.history(&arn, 0).await;
                    (arn, history)
                });
            }
            let Some(read) = reading.join_next().await else { return Ok(children) };
            // A panic is a bug, and goes on as one.
            let (arn, history) = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            let history = match history {
                Ok(history) => history,
                Err(error) if is_about_express(&error) => continue,
                Err(error) => return Err(error),
            };
            children.push(Mirrored { record: child(&arn, &self.machine, &history), history });
        }
    }

    /// What other executions of the state machine ran in some time.
    pub async fn others_between(&self, own: &str, from: Timestamp, to: Timestamp) -> Result<Vec<String>, CallError> {
        let (page, _) = self.page(None, false, None).await?;
        let overlaps =
            |it: &ExecutionSummary| it.started_at <= to && it.stopped_at.is_none_or(|stopped| stopped >= from);
        Ok(page.into_iter().filter(|it| it.arn != own && overlaps(it)).map(|it| it.name).collect())
    }

    async fn sfn(&self, action: &str, request: &Value) -> Result<Value, CallError> {
        self.aws.json(Service::StepFunctions, action, request).await
    }
}

/// An error of a call before any work started: exit code 2.
pub fn refused(error: CallError) -> anyhow::Error {
    exit::usage(error.to_string())
}

fn is_about_express(error: &CallError) -> bool {
    matches!(error.code(), Some("StateMachineTypeNotSupported" | "InvalidArn" | "ValidationException"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn at(value: &Value, key: &str) -> Option<Timestamp> {
    value.get(key).and_then(events::time)
}

fn rows<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// `PENDING_REDRIVE` is how a child waits for its map run.
fn status(value: &Value) -> Status {
    Status::parse(text(value, "status")).unwrap_or(Status::Running)
}

/// An execution as `DescribeExecution` and `ListExecutions` tell of it.
fn record(value: &Value, id: ExecutionId) -> ExecutionRecord {
    let given = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    ExecutionRecord {
        id,
        arn: text(value, "executionArn").to_owned(),
        name: text(value, "name").to_owned(),
        state_machine_arn: text(value, "stateMachineArn").to_owned(),
        revision: RevisionRow(0),
        version_arn: given("stateMachineVersionArn"),
        alias_arn: given("stateMachineAliasArn"),
        kind: MachineKind::Standard,
        trace_header: given("traceHeader"),
        processor: None,
        parent: None,
        run_redrives: 0,
        input: value.get("input").map(events::parsed).unwrap_or(Value::Null),
        annotations: Value::Null,
        payload_bytes_max: None,
        status: status(value),
        output: value.get("output").map(events::parsed),
        error: given("error"),
        cause: given("cause"),
        started_at: at(value, "startDate").unwrap_or(Timestamp(0)),
        stopped_at: at(value, "stopDate"),
        redrive_count: value.get("redriveCount").and_then(Value::as_u64).unwrap_or(0) as u32,
        redriven_at: at(value, "redriveDate"),
    }
}

/// A child, from its history: it has all that DescribeExecution would tell.
fn child(arn: &str, machine: &str, history: &[HistoryRow]) -> ExecutionRecord {
    let last = history.last();
    let ended = last.and_then(|row| match row.name.as_str() {
        "ExecutionSucceeded" => Some(Status::Succeeded),
        "ExecutionFailed" => Some(Status::Failed),
        "ExecutionTimedOut" => Some(Status::TimedOut),
        "ExecutionAborted" => Some(Status::Aborted),
        _ => None,
    });
    let detail = |key: &str| last.filter(|_| ended.is_some()).and_then(|row| row.details.get(key)).cloned();
    let words = |key: &str| detail(key).and_then(|value| value.as_str().map(str::to_owned));
    let first = history.first();
    let name = arn.rsplit(':').next().unwrap_or(arn);
    let mut record = record(&json!({ "executionArn": arn, "name": name, "stateMachineArn": machine }), ExecutionId(0));
    record.status = ended.unwrap_or(Status::Running);
    record.started_at = first.map_or(Timestamp(0), |row| row.at);
    record.stopped_at = last.filter(|_| ended.is_some()).map(|row| row.at);
    record.input = first.and_then(|row| row.details.get("input")).cloned().unwrap_or(Value::Null);
    (record.output, record.error, record.cause) = (detail("output"), words("error"), words("cause"));
    record
}

fn map_run(value: &Value, row: MapRunRow) -> MapRunRecord {
    let counts = |key: &str| {
        let count = |name: &str| value.get(key).and_then(|counts| counts.get(name)?.as_u64()).unwrap_or(0);
        Counts {
            pending: count("pending"),
            running: count("running"),
            succeeded: count("succeeded"),
            failed: count("failed"),
            timed_out: count("timedOut"),
            aborted: count("aborted"),
            pending_redrive: count("pendingRedrive"),
            not_redrivable: count("failuresNotRedrivable"),
        }
    };
    let arn = text(value, "mapRunArn").to_owned();
    // arn:aws:states:REGION:ACCOUNT:mapRun:MACHINE/LABEL:ID
    let label =
        arn.rsplit(':').nth(1).and_then(|named| named.split_once('/')).map_or("", |(_, label)| label).to_owned();
    MapRunRecord {
        row,
        execution: ExecutionId(1),
        number: row.0 - 1,
        state: label.clone(),
        status: status(value),
        started_at: at(value, "startDate").unwrap_or(Timestamp(0)),
        stopped_at: at(value, "stopDate"),
        details: MapRunDetails {
            label,
            limits: MapRunLimits::default(),
            counts: MapRunCounts { items: counts("itemCounts"), children: counts("executionCounts") },
            etag: None,
            items_read: None,
            redrive_count: value.get("redriveCount").and_then(Value::as_u64).unwrap_or(0) as u32,
            redriven_at: at(value, "redriveDate"),
        },
        arn,
    }
}

/// The item that a child carries out: our ranks say which they are, in their input.
pub fn item_of(record: &ExecutionRecord, otherwise: u64) -> u64 {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let rank = |value: &Value| value.get("RANK").or_else(|| value.get("rank")).and_then(number);
    rank(&record.input).or_else(|| record.output.as_ref().and_then(rank)).unwrap_or(otherwise)
}

/// A child as part of a map run.
pub fn placed(mut child: Mirrored, id: u64, run: MapRunRow, item: u64) -> Mirrored {
    child.record.id = ExecutionId(id);
    child.record.parent = Some(Parent { map_run: run, item_index: item });
    child
}
