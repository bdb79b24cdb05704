//! Reading the journal beside its writer: what recovery, listings and the API ask.
//!
//! Nothing here waits for the engine's thread. What the engine has acknowledged is seen by every call that begins after.

use starmap_asl::{Event, Timestamp};

use super::browse::{self, Course, FailureGroup, Listing, ListingPage};
use super::{
    ChildRecord, ChildState, Error, ExecutionId, ExecutionRecord, HistoryRow, InvocationRow, MapRunRecord, MapRunRow,
    Parent, Status,
};
use crate::registry::{Resources, Revision, RevisionRow};

/// Which executions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Whose.
    pub of: ExecutionsOf,
    /// Only those that have come so far.
    pub status: Option<Status>,
    /// Only those that were redriven, or only those that were not.
    pub is_redriven: Option<bool>,
    /// Of the children of a map run that is being redriven: only those that wait for it, or only the others.
    pub awaiting: Option<Awaiting>,
}

/// Children of a map run that is being redriven for the `redrive`th time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaiting {
    /// How often the map run was redriven, this time included.
    pub redrive: u32,
    /// Those that ended without success before and have not begun again, or those for which that is not so.
    pub is_awaiting: bool,
}

impl Awaiting {
    /// Whether a child is meant.
    pub fn includes(&self, status: Status, run_redrives: u32) -> bool {
        let has_ended_badly = !matches!(status, Status::Running | Status::Succeeded);
        (has_ended_badly && run_redrives < self.redrive) == self.is_awaiting
    }
}

/// Whose executions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionsOf {
    /// All that are not children.
    Everyone,
    /// Those of a state machine, by ARN without qualifier; no children.
    StateMachine(String),
    /// Those that were started by a version, by its ARN.
    Version(String),
    /// Those that were started by an alias, by its ARN.
    Alias(String),
    /// The children of a map run.
    MapRun(MapRunRow),
}

/// An execution in a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ExecutionSummary {
    /// Its row: the key to the next page.
    pub id: ExecutionId,
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// The state machine it runs.
    pub state_machine_arn: String,
    /// The version that it was started by, if it was.
    pub version_arn: Option<String>,
    /// The alias that it was started by, if it was.
    pub alias_arn: Option<String>,
    /// The item of a child execution.
    pub parent: Option<Parent>,
    /// Of a child: how often its map run had been redriven when it began last.
    pub run_redrives: u32,
    /// How far it has come.
    pub status: Status,
    /// The error's name, if it ended with one.
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

impl From<&ExecutionRecord> for ExecutionSummary {
    fn from(record: &ExecutionRecord) -> Self {
        Self {
            id: record.id,
            arn: record.arn.clone(),
            name: record.name.clone(),
            state_machine_arn: record.state_machine_arn.clone(),
            version_arn: record.version_arn.clone(),
            alias_arn: record.alias_arn.clone(),
            parent: record.parent,
            run_redrives: record.run_redrives,
            status: record.status,
            error: record.error.clone(),
            cause: record.cause.clone(),
            started_at: record.started_at,
            stopped_at: record.stopped_at,
            redrive_count: record.redrive_count,
            redriven_at: record.redriven_at,
        }
    }
}

/// How many children of a map run have come how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the statuses' names")]
pub struct ItemCounts {
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub timed_out: u64,
    pub aborted: u64,
}

/// What can be asked of a journal while its writer goes on writing.
///
/// Callers: every call blocks for as long as the disk takes, usually some tens of microseconds, and never for the writer.
/// Pages are asked for by the key of the last row seen, so that they stay right while rows are added.
/// Implementors: one call sees one state of the journal.
pub trait Reader: Send + Sync {
    /// The highest execution and map run rows given out so far, 0 if none.
    fn last_rows(&self) -> Result<(ExecutionId, MapRunRow), Error>;

    /// All resources that are there.
    fn resources(&self) -> Result<Resources, Error>;

    /// A revision, whether its state machine still stands for it or not.
    fn revision(&self, row: RevisionRow) -> Result<Option<Revision>, Error>;

    /// An execution by row.
    fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, Error>;

    /// An execution by ARN.
    fn execution_by_arn(&self, arn: &str) -> Result<Option<ExecutionRecord>, Error>;

    /// An execution by ARN, or by name if no other execution has it. For people; programs know ARNs.
    fn find_execution(&self, arn_or_name: &str) -> Result<Option<ExecutionRecord>, Error>;

    /// Executions, newest first, at most `limit`, beginning with the newest that is older than `before`.
    fn executions(
        &self,
        filter: &ExecutionFilter,
        before: Option<ExecutionId>,
        limit: usize,
    ) -> Result<Vec<ExecutionSummary>, Error>;

    /// When an execution was redriven by a caller who gave this token, last.
    fn redriven_by(&self, execution: ExecutionId, client_token: &str) -> Result<Option<Timestamp>, Error>;

    /// All events of an execution, in order.
    fn events(&self, execution: ExecutionId) -> Result<Vec<(Timestamp, Event)>, Error>;

    /// The history of an execution after event `after` (0 is before the first), oldest first, at most `limit` rows.
    fn history(&self, execution: ExecutionId, after: u64, limit: usize) -> Result<Vec<HistoryRow>, Error>;

    /// The history of an execution before event `before` (`u64::MAX` is after the last), newest first.
    fn history_backward(&self, execution: ExecutionId, before: u64, limit: usize) -> Result<Vec<HistoryRow>, Error>;

    /// A map run by row.
    fn map_run(&self, row: MapRunRow) -> Result<Option<MapRunRecord>, Error>;

    /// A map run by ARN.
    fn map_run_by_arn(&self, arn: &str) -> Result<Option<MapRunRecord>, Error>;

    /// The map runs of an execution after `after`, oldest first, at most `limit`.
    fn map_runs_page(
        &self,
        execution: ExecutionId,
        after: Option<MapRunRow>,
        limit: usize,
    ) -> Result<Vec<MapRunRecord>, Error>;

    /// All map runs of an execution, oldest first.
    fn map_runs(&self, execution: ExecutionId) -> Result<Vec<MapRunRecord>, Error> {
        self.map_runs_page(execution, None, usize::MAX)
    }

    /// The children of a map run that exist so far, by item index.
    fn children(&self, map_run: MapRunRow) -> Result<Vec<ChildRecord>, Error>;

    /// The children of a map run that exist so far, by item index, without what they carry. `is_batched` says that
    /// their inputs are batches.
    fn child_states(&self, map_run: MapRunRow, is_batched: bool) -> Result<Vec<ChildState>, Error>;

    /// The children of a map run after item index `after`, in its order, at most `limit`, with all that is recorded.
    fn children_page(
        &self,
        map_run: MapRunRow,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<ExecutionRecord>, Error>;

    /// How far the children of a map run have come.
    fn item_counts(&self, map_run: MapRunRow) -> Result<ItemCounts, Error>;

    /// The finished attempts of an execution and of all its children, in the order in which they finished.
    fn invocations(&self, execution: ExecutionId) -> Result<Vec<InvocationRow>, Error>;

    /// A page of executions in an order of the caller's, and how many there are.
    fn listing(&self, listing: &Listing) -> Result<ListingPage, Error> {
        browse::listing(self, listing)
    }

    /// The children of a map run that ended without success, by how and why, most frequent first and what was
    /// aborted last, at most `limit` groups.
    fn failures(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<FailureGroup>, Error> {
        browse::failures(self, map_run, limit)
    }

    /// The children of a map run that exist so far, by status, and how many were started and how many ended in each of
    /// `count` stretches of `width_ms` milliseconds (at least 1) from `from` on.
    fn course(&self, map_run: MapRunRow, from: Timestamp, width_ms: i64, count: usize) -> Result<Course, Error> {
        browse::course(self, map_run, from, width_ms.max(1), count)
    }

    /// The finished attempts of a map run's last children, by item, at most `limit`, in the order in which they finished.
    fn map_run_invocations(&self, map_run: MapRunRow, limit: usize) -> Result<Vec<InvocationRow>, Error> {
        browse::map_run_invocations(self, map_run, limit)
    }

    /// A number that grows whenever something is added to an execution's events or history.
    fn log_position(&self, execution: ExecutionId) -> Result<u64, Error> {
        Ok(self.events(execution)?.len() as u64 + self.history_backward(execution, u64::MAX, 1)?.len() as u64)
    }
}

impl std::fmt::Debug for dyn Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl ItemCounts {
    /// Counts one more.
    pub(crate) fn add(&mut self, status: Status, count: u64) {
        *match status {
            Status::Running => &mut self.running,
            Status::Succeeded => &mut self.succeeded,
            Status::Failed => &mut self.failed,
            Status::TimedOut => &mut self.timed_out,
            Status::Aborted => &mut self.aborted,
        } += count;
    }
}

impl ExecutionFilter {
    /// All executions that are not children.
    pub fn everyone() -> Self {
        Self { of: ExecutionsOf::Everyone, status: None, is_redriven: None, awaiting: None }
    }
}
