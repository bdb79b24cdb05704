//! `StartSyncExecution`: an Express execution whose caller waits for its end.

use serde_json::{Value, json};
use starmap_engine::journal::Status;
use starmap_engine::registry::MachineKind;

use super::executions::{Start, new_execution};
use super::{StepFunctions, unexpected};
use crate::error::{Answer, ApiError};
use crate::wire::values::{object, time};

/// Step Functions bills Express executions in steps of 100 ms, and memory in chunks of 64 MB.
/// <https://aws.amazon.com/step-functions/pricing/>, read 2026-11.
const BILLED_STEP_MS: i64 = 100;
const BILLED_MEMORY_MB: u64 = 64;

impl StepFunctions {
    pub(super) async fn start_sync_execution(&self, start: Start) -> Answer {
        let target = self.target(&start.arn)?;
        self.check_role(&target.revision.role_arn, "")?;
        if target.revision.kind != MachineKind::Express {
            return Err(ApiError::new(
                "StateMachineTypeNotSupported",
                "This operation is not supported by this type of state machine",
            ));
        }
        let (has_data, trace_header) = (start.has_data, start.trace_header.clone());
        let new = new_execution(target, start)?;
        let started = self.engine.start_revision(new).await.map_err(unexpected("starting an execution"))?;
        self.engine.wait(started.id).await.map_err(unexpected("waiting for an execution"))?;
        let record = self.find_execution(&started.arn)?;
        let stopped_at = record.stopped_at.unwrap_or(record.started_at);
        let duration_ms = stopped_at.0.saturating_sub(record.started_at.0).max(1);
        let billed_ms = (duration_ms + BILLED_STEP_MS - 1) / BILLED_STEP_MS * BILLED_STEP_MS;
        let status = match record.status {
            // A caller knows no other ends.
            Status::Aborted | Status::Running => Status::Failed,
            status => status,
        };
        let mut described = self.payloads(&record, has_data);
        let members = object([
            ("executionArn", Some(Value::from(record.arn.as_str()))),
            ("stateMachineArn", Some(Value::from(record.state_machine_arn.as_str()))),
            ("name", Some(Value::from(record.name.as_str()))),
            ("status", Some(Value::from(status.as_str()))),
            ("startDate", Some(time(record.started_at))),
            ("stopDate", Some(time(stopped_at))),
            ("traceHeader", trace_header.map(Value::String)),
            (
                "billingDetails",
                Some(json!({
                    "billedDurationInMilliseconds": billed_ms, "billedMemoryUsedInMB": BILLED_MEMORY_MB,
                })),
            ),
        ]);
        described.extend(members.as_object().cloned().unwrap_or_default());
        Ok(Value::Object(described))
    }
}
