//! What people ask of a journal when they look around in it: pages in any order, failures by their message, and the
//! shape of a map run over time.
//!
//! The functions here answer from the rest of [`Reader`] and read everything that they are asked about. They are what
//! a reader does unless it knows better; [`sqlite`](super::sqlite) does, by its indexes.

use std::collections::HashMap;

use starmap_asl::Timestamp;

use super::condition::Condition;
use super::{
    Error, ExecutionFilter, ExecutionId, ExecutionSummary, ExecutionsOf, InvocationRow, ItemCounts, MapRunRow, Reader,
    Status,
};

/// Which executions to show, and in what order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Whose.
    pub of: ExecutionsOf,
    /// Only those whose name has this in it, in upper or lower case; ASCII letters only are the same in both.
    pub name_has: Option<String>,
    /// Only those that have come so far; all if empty.
    pub statuses: Vec<Status>,
    /// Only those that were started then or later.
    pub started_from: Option<Timestamp>,
    /// Only those that were started before.
    pub started_before: Option<Timestamp>,
    /// Only those that were started by an alias of that name, or by a version of that number.
    pub version: Option<String>,
    /// Only those whose input fulfils all of them.
    pub input: Vec<Condition>,
    /// By what.
    pub order: Order,
    /// Largest or newest first.
    pub is_descending: bool,
    /// So many are left out at the beginning.
    pub offset: u64,
    /// At most so many.
    pub limit: usize,
    /// Whether to count those on all pages, too.
    pub is_counted: bool,
}

impl Listing {
    /// All of them in the order of being started, to be changed where more is asked.
    pub fn new(of: ExecutionsOf, limit: usize) -> Self {
        Self {
            of,
            name_has: None,
            statuses: Vec::new(),
            started_from: None,
            started_before: None,
            version: None,
            input: Vec::new(),
            order: Order::Started,
            is_descending: false,
            offset: 0,
            limit,
            is_counted: true,
        }
    }
}

/// By what a listing is sorted; what is equal in that is in the order of being started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// When they were started; children of a map run by their items.
    Started,
    /// When they ended; those that run are before all others.
    Stopped,
    /// How long they took; those that run are before all others.
    Duration,
    /// By name, by bytes.
    Name,
    /// By the status's spelling.
    Status,
    /// By the number of the version that they were started by; those without one are before all others.
    Version,
    /// By the name of the alias that they were started by; those without one are before all others.
    Alias,
    /// By how often they were redriven.
    Redrives,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct ListingPage {
    /// The executions.
    pub rows: Vec<ExecutionSummary>,
    /// How many there are on all pages; 0 if that was not asked for.
    pub total: u64,
}

/// Children of a map run that ended with the same error for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// How they ended.
    pub status: Status,
    /// The error's name.
    pub error: Option<String>,
    /// The error's cause.
    pub cause: Option<String>,
    /// How many.
    pub count: u64,
    /// The first of them, by item index.
    pub first: ExecutionId,
    /// Its item.
    pub first_item: u64,
}

/// What happened to the children of a map run in one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stretch {
    /// So many were started.
    pub started: u64,
    /// So many ended.
    pub ended: u64,
}

/// How a map run went over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// Its children that exist so far, by status.
    pub counts: ItemCounts,
    /// What happened in each stretch of time.
    pub stretches: Vec<Stretch>,
}

impl Course {
    /// Counts a child.
    pub(super) fn add(&mut self, status: Status, started: Option<usize>, ended: Option<usize>) {
        self.counts.add(status, 1);
        if let Some(stretch) = started.and_then(|index| self.stretches.get_mut(index)) {
            stretch.started += 1;
        }
        if let Some(stretch) = ended.and_then(|index| self.stretches.get_mut(index)) {
            stretch.ended += 1;
        }
    }
}

/// The statuses of what went wrong.
pub const FAILURES: [Status; 3] = [Status::Failed, Status::TimedOut, Status::Aborted];

pub(super) fn listing<R: Reader + ?Sized>(reader: &R, listing: &Listing) -> Result<ListingPage, Error> {
    let filter = ExecutionFilter { of: listing.of.clone(), status: None, is_redriven: None, awaiting: None };
    let wanted = listing.name_has.as_ref().map(|name| name.to_ascii_lowercase());
    let mut found = reader.executions(&filter, None, usize::MAX)?;
    if !listing.input.is_empty() {
        let mut kept = Vec::new();
        for row in found {
            let record = reader.execution(row.id)?;
            if record.is_some_and(|record| listing.input.iter().all(|condition| condition.holds(&record.input))) {
                kept.push(row);
            }
        }
        found = kept;
    }
    let is_of_version = |row: &ExecutionSummary, wanted: &String| {
        [&row.alias_arn, &row.version_arn].iter().any(|arn| last_part(arn.as_deref()) == Some(wanted))
    };
    found.retain(|row| {
        wanted.as_ref().is_none_or(|wanted| row.name.to_ascii_lowercase().contains(wanted))
            && (listing.statuses.is_empty() || listing.statuses.contains(&row.status))
            && listing.started_from.is_none_or(|from| row.started_at >= from)
            && listing.started_before.is_none_or(|before| row.started_at < before)
            && listing.version.as_ref().is_none_or(|wanted| is_of_version(row, wanted))
    });
    found.sort_by(|a, b| {
        let took = |row: &ExecutionSummary| row.stopped_at.map(|stopped| stopped.0 - row.started_at.0);
        let by = match listing.order {
            Order::Started => a.parent.map(|parent| parent.item_index).cmp(&b.parent.map(|parent| parent.item_index)),
            Order::Stopped => a.stopped_at.cmp(&b.stopped_at),
            Order::Duration => took(a).cmp(&took(b)),
            Order::Name => a.name.cmp(&b.name),
            Order::Status => a.status.as_str().cmp(b.status.as_str()),
            Order::Version => {
                let number = |row: &ExecutionSummary| {
                    last_part(row.version_arn.as_deref()).map(|number| number.parse::<i64>().unwrap_or(0))
                };
                number(a).cmp(&number(b))
            }
            Order::Alias => last_part(a.alias_arn.as_deref()).cmp(&last_part(b.alias_arn.as_deref())),
            Order::Redrives => a.redrive_count.cmp(&b.redrive_count),
        };
        by.then(a.id.cmp(&b.id))
    });
    if listing.is_descending {
        found.reverse();
    }
    let total = if listing.is_counted { found.len() as u64 } else { 0 };
    let offset = usize::try_from(listing.offset).unwrap_or(usize::MAX);
    Ok(ListingPage { rows: found.into_iter().skip(offset).take(listing.limit).collect(), total })
}

/// Of an ARN, what the version or the alias is called.
fn last_part(arn: Option<&str>) -> Option<&str> {
    arn?.rsplit(':').next()
}

pub(super) fn failures<R: Reader + ?Sized>(
    reader: &R,
    map_run: MapRunRow,
    limit: usize,
) -> Result<Vec<FailureGroup>, Error> {
    let mut groups: Vec<FailureGroup> = Vec::new();
    for child in reader.children(map_run)?.into_iter().filter(|child| FAILURES.contains(&child.status)) {
        let same = |group: &&mut FailureGroup| {
            (group.status, &group.error, &group.cause) == (child.status, &child.error, &child.cause)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.count += 1,
            None => groups.push(FailureGroup {
                status: child.status,
                error: child.error,
                cause: child.cause,
                count: 1,
                first: child.id,
                first_item: child.item_index,
            }),
        }
    }
    groups.sort_by_key(|group| (group.status == Status::Aborted, std::cmp::Reverse(group.count), group.first_item));
    groups.truncate(limit);
    Ok(groups)
}

pub(super) fn course<R: Reader + ?Sized>(
    reader: &R,
    map_run: MapRunRow,
    from: Timestamp,
    width_ms: i64,
    count: usize,
) -> Result<Course, Error> {
    let mut course = Course { stretches: vec![Stretch::default(); count], ..Course::default() };
    let index = |at| stretch_at(from, width_ms, at);
    for child in reader.children(map_run)? {
        course.add(child.status, index(child.started_at), child.stopped_at.and_then(index));
    }
    Ok(course)
}

/// Which stretch of `width_ms` milliseconds a time falls into.
pub(super) fn stretch_at(from: Timestamp, width_ms: i64, at: Timestamp) -> Option<usize> {
    usize::try_from((at.0 - from.0).div_euclid(width_ms)).ok()
}

pub(super) fn map_run_invocations<R: Reader + ?Sized>(
    reader: &R,
    map_run: MapRunRow,
    limit: usize,
) -> Result<Vec<InvocationRow>, Error> {
    let items: HashMap<ExecutionId, u64> =
        reader.children(map_run)?.into_iter().map(|child| (child.id, child.item_index)).collect();
    let Some(run) = reader.map_run(map_run)? else { return Ok(Vec::new()) };
    let all = reader.invocations(run.execution)?;
    let mut own: Vec<_> = all.into_iter().filter(|row| items.contains_key(&row.execution)).collect();
    own.sort_by_key(|row| items.get(&row.execution).copied());
    own.drain(..own.len().saturating_sub(limit));
    own.sort_by_key(|row| row.at);
    Ok(own)
}
