//! The results of a map run: written to object storage, or gathered with all that is known of each child.
//!
//! Under `{prefix}/{map run's id}/` go `SUCCEEDED_0.json`, `FAILED_0.json` and `PENDING_0.json`, further numbers where
//! one file would be too large, and at last `manifest.json`, which names them all. Writing them again after a crash
//! writes the same, but for pending children whose items had been read and are not at hand any more.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html>, read 2026-11.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use starmap_asl::{Destination, OutputType, Writer, WriterTransformation};

use crate::items::Failed;
use crate::journal::{ExecutionRecord, MapRunRow, Reader, Status};
use crate::limits::{RESULT_FILE_BYTES, RESULT_PAGE_CHILDREN};
use crate::map_run::too_large;
use crate::objects::ObjectError;

/// AWS's name for every failure in here.
const WRITER_FAILED: &str = "States.ResultWriterFailed";

/// What is to be written.
#[derive(Debug)]
pub struct ResultJob {
    /// Whose children.
    pub map_run: MapRunRow,
    /// How often it had been redriven.
    pub redrive_count: u32,
    /// Its ARN.
    pub map_run_arn: String,
    /// With the map run's label: what a child's `StateMachineArn` says.
    pub state_machine_arn: String,
    /// Where and how.
    pub writer: Writer,
    /// The Map state's name.
    pub state: String,
    /// The most bytes that can be passed on, where results are gathered.
    pub output_bytes_max: Option<usize>,
    /// The inputs of children that were never started.
    pub pending: Vec<Arc<Value>>,
}

/// Puts a whole object; blocking.
pub type Put<'a> = dyn Fn(&str, &str, Bytes) -> Result<(), ObjectError> + 'a;

/// Writes or gathers results; says what the state's result is. Blocking.
///
/// # Errors
/// [`Failed`] `States.ResultWriterFailed` if storage or the journal refuses, `States.DataLimitExceeded` if what is gathered
/// is too large to be passed on.
pub(crate) fn write(journal: &dyn Reader, job: &ResultJob, put: &Put<'_>) -> Result<Value, Failed> {
    let Some(destination) = &job.writer.destination else { return gather(journal, job) };
    let id = job.map_run_arn.rsplit(':').next().unwrap_or_default();
    let folder = if destination.prefix.is_empty() { id.to_owned() } else { format!("{}/{id}", destination.prefix) };
    let mut succeeded = Files::new("SUCCEEDED", &folder, destination, job.writer.output_type, put);
    let mut failed = Files::new("FAILED", &folder, destination, job.writer.output_type, put);
    let mut pending = Files::new("PENDING", &folder, destination, job.writer.output_type, put);
    each_child(journal, job.map_run, &mut |child| {
        if child.status != Status::Succeeded {
            return failed.add(&everything(&child, job));
        }
        match (job.writer.transformation, child.output) {
            (WriterTransformation::Compact, Some(output)) => succeeded.add(&output),
            (WriterTransformation::Flatten, Some(Value::Array(outputs))) => {
                outputs.iter().try_for_each(|output| succeeded.add(output))
            }
            (WriterTransformation::Flatten, Some(output)) => succeeded.add(&output),
            (_, output) => succeeded.add(&everything(&ExecutionRecord { output, ..child }, job)),
        }
    })?;
    for input in &job.pending {
        pending.add(&json!({
            "Input": input.to_string(),
            "InputDetails": { "Included": true },
            "StateMachineArn": job.state_machine_arn,
            "Status": "PENDING",
        }))?;
    }
    let (failed, pending, succeeded) = (failed.finish()?, pending.finish()?, succeeded.finish()?);
    let manifest = json!({
        "DestinationBucket": destination.bucket,
        "MapRunArn": job.map_run_arn,
        "ResultFiles": { "FAILED": failed, "PENDING": pending, "SUCCEEDED": succeeded },
    });
    let key = format!("{folder}/manifest.json");
    put(&destination.bucket, &key, manifest.to_string().into()).map_err(|error| refused(&error))?;
    Ok(json!({
        "MapRunArn": job.map_run_arn,
        "ResultWriterDetails": { "Bucket": destination.bucket, "Key": key },
    }))
}

fn gather(journal: &dyn Reader, job: &ResultJob) -> Result<Value, Failed> {
    let (mut results, mut bytes) = (Vec::new(), 0);
    each_child(journal, job.map_run, &mut |child| {
        let result = everything(&child, job);
        if let Some(bytes_max) = job.output_bytes_max {
            bytes += result.to_string().len() + 1;
            if bytes > bytes_max {
                return Err(too_large(&job.state));
            }
        }
        results.push(result);
        Ok(())
    })?;
    Ok(Value::Array(results))
}

fn each_child(
    journal: &dyn Reader,
    map_run: MapRunRow,
    each: &mut dyn FnMut(ExecutionRecord) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut after = None;
    loop {
        let page = journal.children_page(map_run, after, RESULT_PAGE_CHILDREN);
        let page = page.map_err(|error| failed(error.to_string()))?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.parent.map(|parent| parent.item_index);
        page.into_iter().try_for_each(&mut *each)?;
    }
}

/// All that is known of a child, by AWS's names.
fn everything(child: &ExecutionRecord, job: &ResultJob) -> Value {
    let mut result = Map::new();
    let mut put = |name: &str, value: Value| drop(result.insert(name.to_owned(), value));
    let is_redrivable = child.status != Status::Succeeded;
    if let Some(cause) = &child.cause {
        put("Cause", cause.as_str().into());
    }
    if let Some(error) = &child.error {
        put("Error", error.as_str().into());
    }
    put("ExecutionArn", child.arn.as_str().into());
    put("Input", child.input.to_string().into());
    put("InputDetails", json!({ "Included": true }));
    put("Name", child.name.as_str().into());
    if let Some(output) = &child.output {
        put("Output", output.to_string().into());
        put("OutputDetails", json!({ "Included": true }));
    }
    put("RedriveCount", child.redrive_count.into());
    put("RedriveStatus", if is_redrivable { "REDRIVABLE" } else { "NOT_REDRIVABLE" }.into());
    if !is_redrivable {
        put("RedriveStatusReason", "Execution is SUCCEEDED and cannot be redriven".into());
    }
    put("StartDate", child.started_at.to_string().into());
    put("StateMachineArn", job.state_machine_arn.as_str().into());
    put("Status", child.status.as_str().into());
    if let Some(stopped_at) = child.stopped_at {
        put("StopDate", stopped_at.to_string().into());
    }
    Value::Object(result)
}

/// Results of one kind, file after file.
struct Files<'p> {
    kind: &'static str,
    folder: String,
    bucket: String,
    output_type: OutputType,
    put: &'p Put<'p>,
    text: Vec<u8>,
    written: Vec<Value>,
}

impl<'p> Files<'p> {
    fn new(
        kind: &'static str,
        folder: &str,
        destination: &Destination,
        output_type: OutputType,
        put: &'p Put<'p>,
    ) -> Self {
        let (folder, bucket) = (folder.to_owned(), destination.bucket.clone());
        Self { kind, folder, bucket, output_type, put, text: Vec::new(), written: Vec::new() }
    }

    fn add(&mut self, result: &Value) -> Result<(), Failed> {
        match (self.output_type, self.text.is_empty()) {
            (OutputType::Json, true) => self.text.push(b'['),
            (OutputType::Json, false) => self.text.push(b','),
            (OutputType::JsonLines, _) => {}
        }
        self.text.extend_from_slice(result.to_string().as_bytes());
        if self.output_type == OutputType::JsonLines {
            self.text.push(b'\n');
        }
        if self.text.len() >= RESULT_FILE_BYTES { self.end_file() } else { Ok(()) }
    }

    fn end_file(&mut self) -> Result<(), Failed> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut text = std::mem::take(&mut self.text);
        let extension = match self.output_type {
            OutputType::Json => {
                text.push(b']');
                "json"
            }
            OutputType::JsonLines => "jsonl",
        };
        let (number, bytes) = (self.written.len(), text.len());
        let key = format!("{}/{}_{number}.{extension}", self.folder, self.kind);
        (self.put)(&self.bucket, &key, text.into()).map_err(|error| refused(&error))?;
        self.written.push(json!({ "Key": key, "Size": bytes }));
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Value>, Failed> {
        self.end_file()?;
        Ok(self.written)
    }
}

fn refused(error: &ObjectError) -> Failed {
    failed(match error {
        ObjectError::NoSuchBucket { .. } => "The specified bucket does not exist".to_owned(),
        other => other.to_string(),
    })
}

fn failed(cause: String) -> Failed {
    Failed { error: WRITER_FAILED.to_owned(), cause }
}
