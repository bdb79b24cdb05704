//! Map runs: describe, list, update.

use serde_json::{Value, json};
use starmap_engine::Error;
use starmap_engine::core::MapRunUpdate;
use starmap_engine::journal::{Counts, MapRunRecord, MapRunRow, Status};

use super::arn::{Named, named, wrong_kind};
use super::paging::{self, page_size};
use super::tags::resource_not_found;
use super::{StepFunctions, unexpected, unreadable};
use crate::error::{Answer, ApiError};
use crate::wire::members::{ARN, Is, LONG_ARN, Members, PAGE_SIZE, PAGE_TOKEN};
use crate::wire::values::{object, time};

/// A request that names a map run.
pub(super) struct One {
    arn: String,
}

impl One {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self { arn: members.required("mapRunArn", LONG_ARN)?.to_owned() })
    }
}

pub(super) struct List {
    arn: String,
    size: usize,
    token: Option<String>,
}

impl List {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        Ok(Self {
            arn: members.required("executionArn", ARN)?.to_owned(),
            size: page_size(members.integer("maxResults", PAGE_SIZE)?),
            token: members.string("nextToken", PAGE_TOKEN)?.map(str::to_owned),
        })
    }
}

pub(super) struct Update {
    arn: String,
    update: MapRunUpdate,
}

impl Update {
    pub(super) fn read(members: &Members<'_>) -> Result<Self, ApiError> {
        let count = |name: &str, max: i64| members.integer(name, Is::Range(0, max));
        let percentage = members.number("toleratedFailurePercentage")?;
        if let Some(percentage) = percentage.filter(|percentage| !(0.0..=100.0).contains(percentage)) {
            let bound = if percentage < 0.0 { "greater than or equal to 0" } else { "less than or equal to 100" };
            let constraint = format!("Member must have value {bound}");
            members.violation(&percentage.to_string(), "toleratedFailurePercentage", &constraint);
        }
        Ok(Self {
            arn: members.required("mapRunArn", LONG_ARN)?.to_owned(),
            update: MapRunUpdate {
                max_concurrency: count("maxConcurrency", i64::from(i32::MAX))?.and_then(|max| u32::try_from(max).ok()),
                tolerated_failure_count: count("toleratedFailureCount", i64::MAX)?
                    .and_then(|count| u64::try_from(count).ok()),
                tolerated_failure_percentage: percentage,
            },
        })
    }
}

impl StepFunctions {
    pub(super) fn describe_map_run(&self, one: &One) -> Answer {
        let run = self.map_run(&one.arn)?;
        let execution = self.reader.execution(run.execution).map_err(unreadable)?;
        let has_results = run.status == Status::Succeeded;
        let details = &run.details;
        Ok(object([
            ("mapRunArn", Some(Value::from(run.arn.as_str()))),
            ("executionArn", execution.map(|execution| Value::String(execution.arn))),
            ("status", Some(Value::from(status(run.status)))),
            ("startDate", Some(time(run.started_at))),
            ("stopDate", run.stopped_at.map(time)),
            ("maxConcurrency", Some(Value::from(details.limits.max_concurrency))),
            (
                "toleratedFailurePercentage",
                Some(Value::from(details.limits.tolerated_failure_percentage.unwrap_or(0.0))),
            ),
            ("toleratedFailureCount", Some(Value::from(details.limits.tolerated_failure_count.unwrap_or(0)))),
            ("itemCounts", Some(counts(&details.counts.items, has_results, details.redrive_count > 0))),
            ("executionCounts", Some(counts(&details.counts.children, has_results, details.redrive_count > 0))),
            // As recorded: nothing is said of redrives before the first one.
            ("redriveCount", (details.redrive_count > 0).then(|| Value::from(details.redrive_count))),
            ("redriveDate", details.redriven_at.map(time)),
        ]))
    }

    pub(super) fn list_map_runs(&self, list: &List) -> Answer {
        let record = self.named_execution(&list.arn)?;
        let (question, now) = (format!("ListMapRuns {}", list.arn), self.now());
        let after = paging::key(&question, list.token.as_deref(), now)?;
        let after = after.and_then(|key| key.parse().ok()).map(MapRunRow);
        let mut runs = self.reader.map_runs_page(record.id, after, list.size + 1).map_err(unreadable)?;
        let has_more = runs.len() > list.size;
        runs.truncate(list.size);
        let last = runs.last().filter(|_| has_more).map(|run| run.row.0.to_string());
        let listed = runs.into_iter().map(|run| {
            object([
                ("executionArn", Some(Value::from(list.arn.as_str()))),
                ("mapRunArn", Some(Value::String(run.arn))),
                ("stateMachineArn", Some(Value::String(format!("{}/{}", record.state_machine_arn, run.details.label)))),
                ("startDate", Some(time(run.started_at))),
                ("stopDate", run.stopped_at.map(time)),
            ])
        });
        let listed = Value::Array(listed.collect());
        let next = last.map(|last| Value::String(paging::token(&question, &last, now)));
        Ok(object([("mapRuns", Some(listed)), ("nextToken", next)]))
    }

    pub(super) async fn update_map_run(&self, update: Update) -> Answer {
        let Update { arn, update } = update;
        self.map_run(&arn)?;
        if update == MapRunUpdate::default() {
            let message = "At least one of maxConcurrency, toleratedFailureCount and toleratedFailurePercentage \
                           must be specified";
            return Err(ApiError::new("ValidationException", message));
        }
        match self.engine.update_map_run(&arn, update).await {
            Ok(()) => Ok(json!({})),
            Err(Error::NoMapRun { .. }) => Err(resource_not_found(&arn)),
            Err(error @ Error::MapRunHasEnded { .. }) => Err(ApiError::new("ValidationException", error.to_string())),
            Err(error) => Err(unexpected("updating a map run")(error)),
        }
    }

    fn map_run(&self, arn: &str) -> Result<MapRunRecord, ApiError> {
        if !matches!(named(arn)?, Named::MapRun) {
            return Err(wrong_kind(arn));
        }
        let found = self.reader.map_run_by_arn(arn).map_err(unreadable)?;
        found.ok_or_else(|| resource_not_found(arn))
    }
}

/// A map run knows no time limit of its own.
fn status(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "FAILED",
        status => status.as_str(),
    }
}

/// Those that wait for their redrive are counted there and not by how they ended.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_MapRunExecutionCounts.html>, read 2026-11.
fn counts(counts: &Counts, has_results: bool, is_redriven: bool) -> Value {
    let mut told = json!({
        "pending": counts.pending, "running": counts.running, "succeeded": counts.succeeded, "failed": counts.failed,
        "timedOut": counts.timed_out, "aborted": counts.aborted, "total": counts.total(),
        "resultsWritten": if has_results { counts.ended() } else { 0 },
    });
    if is_redriven {
        told["failuresNotRedrivable"] = counts.not_redrivable.into();
        told["pendingRedrive"] = counts.pending_redrive.into();
    }
    told
}
