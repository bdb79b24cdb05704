//! What an execution has done in each of its states, followed along its history.
//!
//! A history names the event that led to each event, so every event belongs to the entering of one state: the one that
//! the event before it belongs to. That holds in branches and iterations, too.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use starmap_asl::Timestamp;
use starmap_engine::journal::{HistoryRow, Status};

use super::words::Mark;

/// Visits that are kept one by one; a loop that goes on for longer is still counted.
const VISITS_MAX: usize = 20_000;
/// No visit.
const NONE: u32 = u32::MAX;

/// One time that a state was entered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Visit {
    pub(super) state: String,
    /// As in `Task`.
    pub(super) kind: String,
    pub(super) entered: u64,
    pub(super) entered_at: Timestamp,
    pub(super) exited: Option<u64>,
    pub(super) exited_at: Option<Timestamp>,
    pub(super) mark: Mark,
    /// How often its work was begun.
    pub(super) attempts: u32,
    /// The last error, caught or not: name and cause.
    pub(super) error: Option<(String, String)>,
    /// The map run that it started.
    pub(super) map_run: Option<String>,
    /// Items of a Map, and how many of them have ended how.
    pub(super) items: Option<[u64; 4]>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The last event that was seen.
    pub(super) last: u64,
    pub(super) visits: Vec<Visit>,
    /// Visits that are not kept.
    pub(super) left_out: u64,
    /// Which visit each event belongs to, from event 1.
    visit_of: Vec<u32>,
    /// By state: its visits, how many, and the last.
    states: HashMap<String, (u64, u32)>,
    /// The states that each state was left for.
    taken: HashSet<(String, String)>,
    pub(super) has_ended: bool,
}

impl Progress {
    /// Follows what is new, in order.
    pub(super) fn follow(&mut self, rows: &[HistoryRow]) {
        for row in rows {
            if row.id <= self.last {
                continue;
            }
            self.visit_of.resize(usize::try_from(row.id - 1).unwrap_or(0), NONE);
            let visit = self.see(row);
            self.visit_of.push(visit);
            self.last = row.id;
        }
    }

    /// The visit that an event belongs to.
    fn visit_at(&self, event: u64) -> u32 {
        let index = usize::try_from(event).ok().and_then(|event| event.checked_sub(1));
        index.and_then(|index| self.visit_of.get(index)).copied().unwrap_or(NONE)
    }

    fn see(&mut self, row: &HistoryRow) -> u32 {
        let name = row.name.as_str();
        if let Some(kind) = name.strip_suffix("StateEntered") {
            return self.enter(row, kind);
        }
        let index = self.visit_at(row.previous_id);
        match name {
            "ExecutionSucceeded" => self.end(row, None),
            "ExecutionFailed" | "ExecutionTimedOut" => self.end(row, Some(Mark::Failed)),
            "ExecutionAborted" => self.end(row, Some(Mark::Cancelled)),
            // What it leads to belongs to a state that was open, the last one if there are several.
            "ExecutionRedriven" => return self.reopen(),
            _ => {}
        }
        // What ends a container is led to by the last of what was in it.
        let named = || row.details.get("name").and_then(Value::as_str).unwrap_or_default();
        let index = match name {
            "MapRunRedriven" => self.visit_of_run(&row.details).unwrap_or(index),
            "MapStateSucceeded" | "MapStateFailed" | "MapStateAborted" => self.open(index, |visit| visit.kind == "Map"),
            "ParallelStateSucceeded" | "ParallelStateFailed" | "ParallelStateAborted" => {
                self.open(index, |visit| visit.kind == "Parallel")
            }
            "MapIterationSucceeded" | "MapIterationFailed" | "MapIterationAborted" => {
                return self.count_iteration(index, name);
            }
            _ if name.ends_with("StateExited") => self.open(index, |visit| visit.state == named()),
            _ => index,
        };
        let Some(visit) = self.visits.get_mut(index as usize) else { return index };
        let text = |key: &str| row.details.get(key).and_then(Value::as_str).map(str::to_owned);
        let goes_on = |visit: &mut Visit| (visit.mark, visit.exited_at) = (Mark::InProgress, None);
        match name {
            _ if name.ends_with("StateExited") => {
                (visit.exited, visit.exited_at) = (Some(row.id), Some(row.at));
                // An error that was last and did not end the execution was caught.
                visit.mark = if visit.error.is_some() { Mark::Caught } else { Mark::Succeeded };
            }
            _ if name.ends_with("StateAborted") => {
                (visit.mark, visit.exited_at) = (Mark::Cancelled, Some(row.at));
            }
            "LambdaFunctionScheduled" | "TaskScheduled" | "ActivityScheduled" => {
                visit.attempts += 1;
                // After a redrive or between attempts.
                goes_on(visit);
            }
            "MapRunStarted" => (visit.map_run, visit.error) = (text("map_run_arn"), None),
            "MapRunRedriven" => {
                visit.error = None;
                goes_on(visit);
            }
            "MapStateStarted" => {
                let length = row.details.get("length").and_then(Value::as_u64).unwrap_or(0);
                (visit.items, visit.error) = (Some([length, 0, 0, 0]), None);
                goes_on(visit);
            }
            "LambdaFunctionSucceeded"
            | "TaskSucceeded"
            | "ActivitySucceeded"
            | "MapStateSucceeded"
            | "ParallelStateSucceeded"
            | "MapRunSucceeded" => visit.error = None,
            "ParallelStateFailed" | "MapStateFailed" => {
                visit.error.get_or_insert_with(|| ("States.BranchFailed".to_owned(), String::new()));
            }
            _ if row.details.get("error").is_some() && name != "ExecutionFailed" && name != "ExecutionAborted" => {
                visit.error = Some((text("error").unwrap_or_default(), text("cause").unwrap_or_default()));
            }
            _ if name.ends_with("Failed") && name != "ExecutionFailed" => {
                visit.error = Some((String::new(), text("cause").unwrap_or_default()));
            }
            _ => {}
        }
        index
    }

    fn enter(&mut self, row: &HistoryRow, kind: &str) -> u32 {
        let state = row.details.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(before) = self.visits.get(self.visit_at(row.previous_id) as usize) {
            // From an exit to an entry, or into a container.
            self.taken.insert((before.state.clone(), state.clone()));
        } else {
            self.taken.insert(("Start".to_owned(), state.clone()));
        }
        let index = if self.visits.len() < VISITS_MAX { self.visits.len() as u32 } else { NONE };
        let (count, last) = self.states.entry(state.clone()).or_insert((0, index));
        *count += 1;
        if index == NONE {
            self.left_out += 1;
            return *last;
        }
        *last = index;
        self.visits.push(Visit {
            state,
            kind: kind.to_owned(),
            entered: row.id,
            entered_at: row.at,
            exited: None,
            exited_at: None,
            mark: Mark::InProgress,
            attempts: 0,
            error: None,
            map_run: None,
            items: None,
        });
        index
    }

    /// The visit itself, or the last one before that has not been left.
    fn open(&self, index: u32, is_it: impl Fn(&Visit) -> bool) -> u32 {
        let until = self.visits.len().min((index as usize).saturating_add(1));
        let found = self.visits[..until].iter().rposition(|visit| visit.exited.is_none() && is_it(visit));
        found.and_then(|found| u32::try_from(found).ok()).unwrap_or(index)
    }

    /// Counts an iteration at the Map that it is one of, the last visit before with items that are not all counted; the
    /// event belongs to that.
    fn count_iteration(&mut self, index: u32, name: &str) -> u32 {
        let is_counting = |visit: &Visit| {
            visit.items.is_some_and(|[length, succeeded, failed, aborted]| succeeded + failed + aborted < length)
        };
        let index = self.open(index, is_counting);
        let Some(items) = self.visits.get_mut(index as usize).and_then(|visit| visit.items.as_mut()) else {
            return index;
        };
        match name {
            "MapIterationSucceeded" => items[1] += 1,
            "MapIterationFailed" => items[2] += 1,
            _ => items[3] += 1,
        }
        index
    }

    /// Whatever was open when the execution ended, ended with it.
    fn end(&mut self, row: &HistoryRow, mark: Option<Mark>) {
        self.has_ended = true;
        let failed_in = self.visit_at(row.previous_id);
        let last = self.visits.get(failed_in as usize).or(self.visits.last());
        if mark != Some(Mark::Cancelled) {
            self.taken.extend(last.map(|last| (last.state.clone(), "End".to_owned())));
        }
        let Some(mark) = mark else { return };
        for (index, visit) in self.visits.iter_mut().enumerate().filter(|(_, visit)| visit.exited.is_none()) {
            let is_to_blame = visit.error.is_some() || index as u32 == failed_in;
            if visit.mark == Mark::InProgress {
                visit.exited_at = Some(row.at);
                visit.mark = if is_to_blame && mark == Mark::Failed { Mark::Failed } else { Mark::Cancelled };
            }
        }
    }

    /// The state that an event belongs to.
    pub(super) fn step_of(&self, event: u64) -> Option<&str> {
        self.visits.get(self.visit_at(event) as usize).map(|visit| visit.state.as_str())
    }

    /// A redrive takes up what was open at the end.
    fn reopen(&mut self) -> u32 {
        self.has_ended = false;
        let mut last = NONE;
        for (index, visit) in self.visits.iter_mut().enumerate().filter(|(_, visit)| visit.exited.is_none()) {
            (visit.mark, visit.exited_at, visit.error) = (Mark::InProgress, None, None);
            last = index as u32;
        }
        last
    }

    fn visit_of_run(&self, details: &Value) -> Option<u32> {
        let arn = details.get("map_run_arn").and_then(Value::as_str)?;
        let index = self.visits.iter().rposition(|visit| visit.map_run.as_deref() == Some(arn))?;
        u32::try_from(index).ok()
    }

    /// How often a state was entered, and the last time.
    pub(super) fn state(&self, name: &str) -> Option<(u64, &Visit)> {
        let (count, last) = self.states.get(name)?;
        Some((*count, self.visits.get(*last as usize)?))
    }

    /// The worst of a state's visits that have not been superseded: of a loop the last, of iterations any.
    pub(super) fn mark(&self, name: &str) -> Mark {
        let Some((count, last)) = self.state(name) else { return Mark::NotStarted };
        if count == 1 {
            return last.mark;
        }
        let of_state = || self.visits.iter().filter(|visit| visit.state == name);
        if of_state().any(|visit| visit.mark == Mark::InProgress) {
            return Mark::InProgress;
        }
        if of_state().any(|visit| visit.mark == Mark::Failed) { Mark::Failed } else { last.mark }
    }

    /// Whether an arrow was followed.
    pub(super) fn is_taken(&self, from: &str, to: &str) -> bool {
        // Allocates for the look-up; pictures are small.
        self.taken.contains(&(from.to_owned(), to.to_owned()))
    }

    /// Whether the execution has got to one of the ends of the picture.
    pub(super) fn terminal(&self, name: &str, status: Status) -> Mark {
        match (name, status) {
            ("Start", _) if !self.visits.is_empty() => Mark::Succeeded,
            ("End", Status::Succeeded) => Mark::Succeeded,
            _ => Mark::NotStarted,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn follow(events: &[(u64, &str, Value)]) -> Progress {
        let mut progress = Progress::default();
        for (index, (previous_id, name, details)) in events.iter().enumerate() {
            let id = index as u64 + 1;
            let (at, name, details) = (Timestamp(id as i64 * 10), (*name).to_owned(), details.clone());
            // One at a time: what is followed in pieces is followed all the same.
            progress.follow(&[HistoryRow { id, previous_id: *previous_id, at, name, details }]);
        }
        progress
    }

    #[test]
    fn an_error_is_caught_retried_or_final() {
        let caught = follow(&[
            (0, "ExecutionStarted", json!({})),
            (0, "TaskStateEntered", json!({ "name": "A" })),
            (2, "LambdaFunctionScheduled", json!({})),
            (3, "LambdaFunctionFailed", json!({ "error": "E", "cause": "c" })),
            (4, "LambdaFunctionScheduled", json!({})),
            (5, "LambdaFunctionFailed", json!({ "error": "E", "cause": "d" })),
            (6, "TaskStateExited", json!({ "name": "A" })),
            (7, "TaskStateEntered", json!({ "name": "B" })),
            (8, "LambdaFunctionScheduled", json!({})),
            (9, "LambdaFunctionFailed", json!({ "error": "E", "cause": "c" })),
            (10, "LambdaFunctionScheduled", json!({})),
            (11, "LambdaFunctionSucceeded", json!({})),
            (12, "TaskStateExited", json!({ "name": "B" })),
            (13, "PassStateEntered", json!({ "name": "C" })),
        ]);
        assert_eq!(
            ["A", "B", "C", "D"].map(|state| caught.mark(state)),
            [Mark::Caught, Mark::Succeeded, Mark::InProgress, Mark::NotStarted]
        );
        let (_, a) = caught.state("A").unwrap();
        assert_eq!((a.attempts, a.error.clone()), (2, Some(("E".to_owned(), "d".to_owned()))));
        assert!(caught.is_taken("A", "B") && caught.is_taken("Start", "A") && !caught.is_taken("B", "A"));
    }

    #[test]
    fn what_is_open_at_the_end_failed_or_was_cancelled() {
        let failed = follow(&[
            (0, "ExecutionStarted", json!({})),
            (0, "ParallelStateEntered", json!({ "name": "P" })),
            (2, "ParallelStateStarted", json!({})),
            (3, "TaskStateEntered", json!({ "name": "A" })),
            (3, "WaitStateEntered", json!({ "name": "W" })),
            (4, "LambdaFunctionScheduled", json!({})),
            (6, "LambdaFunctionFailed", json!({ "error": "E" })),
            (5, "WaitStateAborted", json!({})),
            (7, "ParallelStateFailed", json!({})),
            (9, "ExecutionFailed", json!({ "error": "E" })),
        ]);
        assert_eq!(["A", "W"].map(|state| failed.mark(state)), [Mark::Failed, Mark::Cancelled]);
        assert!(failed.has_ended);
    }

    #[test]
    fn branches_end_their_parallel() {
        let parallel = follow(&[
            (0, "ExecutionStarted", json!({})),
            (0, "ParallelStateEntered", json!({ "name": "P" })),
            (2, "ParallelStateStarted", json!({})),
            (3, "PassStateEntered", json!({ "name": "A" })),
            (4, "PassStateExited", json!({ "name": "A" })),
            (3, "PassStateEntered", json!({ "name": "B" })),
            (6, "PassStateExited", json!({ "name": "B" })),
            (7, "ParallelStateSucceeded", json!({})),
            (8, "ParallelStateExited", json!({ "name": "P" })),
            (9, "ExecutionSucceeded", json!({})),
        ]);
        let marks = ["P", "A", "B", "C"].map(|state| parallel.mark(state));
        assert_eq!(marks, [Mark::Succeeded, Mark::Succeeded, Mark::Succeeded, Mark::NotStarted]);
        assert_eq!((parallel.step_of(8), parallel.step_of(9)), (Some("P"), Some("P")));
        assert!(parallel.is_taken("P", "A") && parallel.is_taken("P", "End") && !parallel.is_taken("B", "End"));
    }

    #[test]
    fn a_redrive_goes_on_with_what_was_open() {
        let mut events = vec![
            (0, "ExecutionStarted", json!({})),
            (0, "MapStateEntered", json!({ "name": "M" })),
            (2, "MapStateStarted", json!({})),
            (3, "MapRunStarted", json!({ "map_run_arn": "run" })),
            (0, "ExecutionAborted", json!({})),
            (5, "ExecutionRedriven", json!({})),
            (6, "MapRunRedriven", json!({ "map_run_arn": "run" })),
        ];
        assert_eq!(follow(&events[..5]).mark("M"), Mark::Cancelled);
        assert_eq!((follow(&events).mark("M"), follow(&events).step_of(7)), (Mark::InProgress, Some("M")));
        events.extend([
            (7, "MapRunSucceeded", json!({})),
            (8, "MapStateSucceeded", json!({})),
            (9, "MapStateExited", json!({ "name": "M" })),
        ]);
        assert_eq!(follow(&events).mark("M"), Mark::Succeeded);
    }

    #[test]
    fn iterations_are_counted_at_their_map() {
        let map = follow(&[
            (0, "ExecutionStarted", json!({})),
            (0, "MapStateEntered", json!({ "name": "M" })),
            (2, "MapStateStarted", json!({ "length": 2 })),
            (3, "MapIterationStarted", json!({ "index": 0 })),
            (4, "PassStateEntered", json!({ "name": "I" })),
            (5, "PassStateExited", json!({ "name": "I" })),
            (6, "MapIterationSucceeded", json!({ "index": 0 })),
            (3, "MapIterationStarted", json!({ "index": 1 })),
            (8, "PassStateEntered", json!({ "name": "I" })),
            (9, "PassStateExited", json!({ "name": "I" })),
            (10, "MapIterationSucceeded", json!({ "index": 1 })),
            (11, "MapStateSucceeded", json!({})),
            (12, "MapStateExited", json!({ "name": "M" })),
            (13, "ExecutionSucceeded", json!({})),
        ]);
        assert_eq!(map.state("M").unwrap().1.items, Some([2, 2, 0, 0]));
        assert_eq!(map.state("I").unwrap().0, 2);
        assert_eq!((map.mark("M"), map.mark("I")), (Mark::Succeeded, Mark::Succeeded));
    }
}
