//! The journal: what the engine has decided, on disk before it acts.
//!
//! The driver hands over one [`Batch`] per turn; a journal makes it durable as a whole or not at all, and
//! only then does anything happen outside. Recovery reads the events back and replays them.
//! [`sqlite`] is the journal people get; [`memory`] is for tests and simulation; [`suite`] is what every
//! journal must pass.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use starmap_asl::{Event, HistoryEvent, Timestamp};

use crate::registry::{Change, MachineKind, RevisionRow};

pub mod browse;
pub(crate) mod codec;
pub mod condition;
pub mod memory;
pub(crate) mod migrate;
mod reader;
pub mod sqlite;
pub mod suite;

pub use reader::{Awaiting, ExecutionFilter, ExecutionSummary, ExecutionsOf, ItemCounts, Reader};

/// An execution's row in the journal. Allocated by the engine, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionId(pub u64);

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A map run's row in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MapRunRow(pub u64);

/// A position in the events of one execution, counted from 0.
pub type Sequence = u64;

/// How far an execution or a map run has come; AWS's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Not ended.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Ended by its own time limit.
    TimedOut,
    /// Stopped from outside.
    Aborted,
}

impl Status {
    /// AWS's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Aborted => "ABORTED",
        }
    }

    /// The status spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Succeeded, Self::Failed, Self::TimedOut, Self::Aborted]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// The item that a child execution carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The map run.
    pub map_run: MapRunRow,
    /// Which of its items, from 0.
    pub item_index: u64,
}

/// An execution as it was started, and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionRecord {
    /// Its row.
    pub id: ExecutionId,
    /// Its ARN, unique.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The state machine it runs (for a child: the machine of the whole run).
    pub state_machine_arn: String,
    /// What the state machine was when the execution was started.
    pub revision: RevisionRow,
    /// The version that it was started by, if it was.
    pub version_arn: Option<String>,
    /// The alias that it was started by, if it was.
    pub alias_arn: Option<String>,
    /// Standard or Express.
    pub kind: MachineKind,
    /// As given to `StartExecution`; AWS X-Ray's.
    pub trace_header: Option<String>,
    /// Where the processor of a child execution is in the definition.
    pub processor: Option<String>,
    /// The item of a child execution.
    pub parent: Option<Parent>,
    /// Of a child: how often its map run had been redriven when it began last.
    pub run_redrives: u32,
    /// Its input.
    pub input: Value,
    /// What the one who started it wants to find again; the engine never looks inside.
    pub annotations: Value,
    /// The limit on a state's input and output that it was started under; a replay must keep it.
    pub payload_bytes_max: Option<usize>,
    /// How far it has come.
    pub status: Status,
    /// Its output, once [`Status::Succeeded`].
    pub output: Option<Value>,
    /// The error's name, once it ended otherwise and gave one.
    pub error: Option<String>,
    /// The error's cause.
    pub cause: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// How often it was redriven.
    pub redrive_count: u32,
    /// When it was redriven last.
    pub redriven_at: Option<Timestamp>,
}

/// A map run.
#[derive(Debug, Clone, PartialEq)]
pub struct MapRunRecord {
    /// Its row.
    pub row: MapRunRow,
    /// Its ARN.
    pub arn: String,
    /// The execution whose Map state it carries out.
    pub execution: ExecutionId,
    /// The map run's number inside that execution.
    pub number: u64,
    /// The Map state's name.
    pub state: String,
    /// How far it has come.
    pub status: Status,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// What changes while it runs.
    pub details: MapRunDetails,
}

/// What changes while a map run runs, but for its status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MapRunDetails {
    /// The `Label` field or, without one, a name of our own: part of the ARNs of the run and its children.
    pub label: String,
    /// How far it may go; `UpdateMapRun` changes it.
    pub limits: MapRunLimits,
    /// How far its items and its children have come.
    pub counts: MapRunCounts,
    /// The etag of the object that its items are read from.
    pub etag: Option<String>,
    /// How many items a reader has found, once it has found them all.
    pub items_read: Option<u64>,
    /// How often it was redriven.
    pub redrive_count: u32,
    /// When it was redriven last.
    pub redriven_at: Option<Timestamp>,
}

/// How far a map run may go.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MapRunLimits {
    /// Children that run at once; 0 is no limit of the definition's.
    pub max_concurrency: u32,
    /// The run fails when more items than this failed.
    pub tolerated_failure_count: Option<u64>,
    /// The run fails when more than this share of the items failed, in percent.
    pub tolerated_failure_percentage: Option<f64>,
}

/// How far a map run has come, in items and in child executions, which differ where items are batched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct MapRunCounts {
    pub items: Counts,
    pub children: Counts,
}

/// So many are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the statuses' names")]
pub struct Counts {
    pub pending: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
    /// Those that ended without success and wait for the redrive of their map run.
    pub pending_redrive: u64,
    /// Of those that failed, timed out or were aborted, the ones that a redrive did not run again because it could not.
    pub not_redrivable: u64,
}

impl Counts {
    /// Those that have ended.
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.timed_out + self.aborted
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.pending + self.running + self.pending_redrive + self.ended()
    }

    /// So many that ran have ended.
    pub(crate) fn end(&mut self, status: Status, count: u64) {
        self.running = self.running.saturating_sub(count);
        self.add(status, count);
    }

    /// So many have ended so.
    pub(crate) fn add(&mut self, status: Status, count: u64) {
        *match status {
            Status::Succeeded => &mut self.succeeded,
            Status::Failed | Status::Running => &mut self.failed,
            Status::TimedOut => &mut self.timed_out,
            Status::Aborted => &mut self.aborted,
        } += count;
    }
}

/// A child execution as the recovery of its map run needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildState {
    /// Its row.
    pub id: ExecutionId,
    /// Which child of the run, from 0.
    pub item_index: u64,
    /// How many items it was given.
    pub items: u64,
    /// How far it has come.
    pub status: Status,
    /// How often its map run had been redriven when it began last.
    pub run_redrives: u32,
}

/// One event of an execution's history, as people and the API see it.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryRow {
    /// From 1.
    pub id: u64,
    /// The event that led here; 0 for none.
    pub previous_id: u64,
    /// When.
    pub at: Timestamp,
    /// AWS's name of the event's type.
    pub name: String,
    /// What the event carries, keys in snake case.
    pub details: Value,
}

/// One finished attempt of a task, with its bill.
#[derive(Debug, Clone, PartialEq)]
pub struct InvocationRow {
    /// The execution it was made for.
    pub execution: ExecutionId,
    /// The task's number inside that execution.
    pub task: u64,
    /// Function name.
    pub function: String,
    /// Request id.
    pub request_id: String,
    /// Log stream of the worker.
    pub log_stream: String,
    /// Milliseconds from hand-over to answer.
    pub duration_ms: f64,
    /// Milliseconds billed.
    pub billed_ms: u64,
    /// The function's memory, MiB.
    pub memory_mib: u32,
    /// Peak resident set, MiB.
    pub max_memory_used_mib: u32,
    /// Process start to first poll, milliseconds, on a cold start.
    pub init_ms: Option<f64>,
    /// The error's name if the attempt failed.
    pub error: Option<String>,
    /// When the answer came.
    pub at: Timestamp,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Any but [`Status::Running`].
    pub status: Status,
    /// Output of a success.
    pub output: Option<Value>,
    /// Name of an error.
    pub error: Option<String>,
    /// Cause of an error.
    pub cause: Option<String>,
}

/// One change to the journal.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields say it: what changed, and to what")]
pub enum Write {
    /// A resource was created, changed or deleted.
    Resource(Change),
    /// An execution was created.
    Execution(Box<ExecutionRecord>),
    /// An event happened to an execution; `sequence` counts from 0 without gaps.
    Event { execution: ExecutionId, sequence: Sequence, at: Timestamp, event: Event },
    /// The history grew.
    History { execution: ExecutionId, event: Box<HistoryEvent> },
    /// An execution ended.
    ExecutionEnded { execution: ExecutionId, at: Timestamp, ending: Ending },
    /// An execution that had ended goes on. Of a child, `run_redrives` is that of its map run; a client's token is kept.
    ExecutionRedriven {
        execution: ExecutionId,
        at: Timestamp,
        redrive_count: u32,
        run_redrives: u32,
        client_token: Option<String>,
    },
    /// A map run was created.
    MapRun(Box<MapRunRecord>),
    /// A map run that had ended goes on.
    MapRunRedriven { map_run: MapRunRow, details: Box<MapRunDetails> },
    /// A map run has come further, or ended.
    MapRunChanged { map_run: MapRunRow, status: Status, stopped_at: Option<Timestamp>, details: Box<MapRunDetails> },
    /// A task's attempt finished.
    Invocation(Box<InvocationRow>),
}

/// Changes that become durable together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// In the order in which they were decided.
    pub writes: Vec<Write>,
}

/// A child execution as recovery and listings need it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildRecord {
    /// Its row.
    pub id: ExecutionId,
    /// Which item, from 0.
    pub item_index: u64,
    /// How far it has come.
    pub status: Status,
    /// Its output, once it succeeded.
    pub output: Option<Value>,
    /// The error's name, if it failed.
    pub error: Option<String>,
    /// The error's cause, if it failed.
    pub cause: Option<String>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
}

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be opened, or is not a journal.
    #[error("journal {path}: {reason}")]
    Open {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The disk is full.
    #[error(
        "journal: the disk is full, nothing of this step was recorded\nhint: make room and run again with --resume"
    )]
    Full,
    /// SQLite refused.
    #[error("journal: {doing}")]
    Sqlite {
        /// What we were doing.
        doing: &'static str,
        /// SQLite's own words.
        #[source]
        source: rusqlite::Error,
    },
    /// A row does not say what it must.
    #[error("journal: {what} is damaged: {reason}")]
    Damaged {
        /// Which row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Durable storage of what the engine decided.
///
/// Callers: one writer at a time. After [`append`](Journal::append) returned `Ok`, the batch survives a
/// power cut; after `Err`, none of it is there and the writer must stop, because its memory is ahead.
/// Implementors: every reader sees everything appended before.
pub trait Journal: Send {
    /// Makes a batch durable, as a whole or not at all.
    fn append(&mut self, batch: &Batch) -> Result<(), Error>;

    /// Whether an execution of that ARN was ever started.
    fn has_execution(&self, arn: &str) -> Result<bool, Error> {
        Ok(self.reader().execution_by_arn(arn)?.is_some())
    }

    /// Reads beside the writer.
    fn reader(&self) -> Arc<dyn Reader>;
}
