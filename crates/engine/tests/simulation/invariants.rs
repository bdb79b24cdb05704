//! What must hold in every run, whatever goes wrong. Each has a name, and whatever breaks it says so.

use std::collections::{BTreeMap, BTreeSet};

use starmap_asl::{Event, TaskId};
use starmap_engine::journal::{Counts, ExecutionId, MapRunRecord, Reader, Status};

use crate::world::World;

pub const RUN_1: &str = "RUN-1: an execution ends as the answers to it say";
pub const RUN_2: &str = "RUN-2: what is under way is not asked for again";
pub const RUN_3: &str = "RUN-3: what has a recorded answer is never asked for again";
pub const RUN_4: &str = "RUN-4: every execution ends";
pub const RUN_5: &str = "RUN-5: nothing that an execution asked for outlives it";
pub const RUN_6: &str = "RUN-6: nothing is asked for an execution that has ended";
pub const RUN_7: &str = "RUN-7: whoever waits for an execution is told when it ends";
pub const HIST_1: &str = "HIST-1: ids count from 1 without gaps, point back, and times never go back";
pub const HIST_2: &str = "HIST-2: a history begins with its start and has one end for every time that it ended";
pub const MAP_1: &str = "MAP-1: every item ends exactly once";
pub const MAP_2: &str = "MAP-2: success means every item, and no more failures than are tolerated";
pub const MAP_3: &str = "MAP-3: no map run outlives its execution";
pub const MAP_4: &str = "MAP-4: outputs are their items', in order";
pub const MAP_5: &str = "MAP-5: counts are true";
pub const MAP_6: &str = "MAP-6: no more children run at once than may";
pub const READ_1: &str = "READ-1: items of one run are read from one version of an object, a chunk at a time";
pub const WRITE_1: &str =
    "WRITE-1: results are written when every child has ended, and tell of every item that was read";
pub const REDRIVE_1: &str = "REDRIVE-1: what succeeded before is not run again";
pub const REDRIVE_2: &str = "REDRIVE-2: what did not succeed can be redriven, and every redrive is counted";
pub const REDRIVE_3: &str = "REDRIVE-3: a redriven map run is the same run, with the same children";
pub const STOP_1: &str = "STOP-1: who stops an execution stops all of it, at once";
pub const TOKEN_1: &str = "TOKEN-1: a task is ended by its token at most once, and by no other token";
pub const ACTIVITY_1: &str = "ACTIVITY-1: a task is given to one worker";
pub const ISO_1: &str = "ISO-1: executions do not disturb each other";

/// RUN-3 and RUN-6, when something is asked for.
pub fn check_asked(world: &World, execution: ExecutionId, task: TaskId) {
    let record = world.record(execution);
    assert_eq!(record.status, Status::Running, "{RUN_6}: execution {execution}");
    let events = world.journal.events(execution).unwrap();
    let is_answered = events.iter().any(|(_, event)| {
        use Event as E;
        matches!(event, E::TaskSucceeded { task: t, .. } | E::TaskFailed { task: t, .. } | E::TaskSubmitted { task: t, .. }
            | E::TaskSubmitFailed { task: t, .. } if *t == task)
    });
    assert!(!is_answered, "{RUN_3}: task {} of execution {execution}", task.0);
}

/// After every turn: no execution that is stopped has anything left, no map run has more children than it may.
pub fn check_turn(world: &World) {
    for id in &world.roots {
        if !world.core.is_live(*id) {
            continue;
        }
        let Some(max) = world.concurrency_max else { continue };
        for run in world.journal.map_runs(*id).unwrap() {
            let running = run.details.counts.children.running;
            assert!(running <= max, "{MAP_6}: {running} of {max}");
        }
    }
}

/// When an execution that is no child has ended: nothing of it is left. `name` is the invariant that says so.
pub fn check_nothing_is_left(world: &World, root: ExecutionId, name: &str) {
    assert!(!world.core.is_live(root), "{name}: execution {root} is in memory");
    let mut family = BTreeSet::from([root]);
    for run in world.journal.map_runs(root).unwrap() {
        assert_ne!(run.status, Status::Running, "{MAP_3}: {}", run.arn);
        for child in world.journal.children(run.row).unwrap() {
            assert_ne!(child.status, Status::Running, "{name}: child {} runs", child.id);
            assert!(!world.core.is_live(child.id), "{name}: child {} is in memory", child.id);
            family.insert(child.id);
        }
        check_map_run(world, &run);
    }
    let asked = world.invoked.keys().chain(world.calls.keys());
    let left: Vec<_> = asked.filter(|(execution, _)| family.contains(execution)).collect();
    assert!(left.is_empty(), "{name}: {left:?} are under way");
    let timers = world.timers.iter().filter(|(_, execution, _)| family.contains(execution)).count();
    assert_eq!(timers, 0, "{name}: timers are armed");
}

/// Everything that can be said of a journal when all has ended, whatever ran.
pub fn check_journal(world: &World) {
    let last = world.journal.last_rows().unwrap().0.0;
    for id in (1..=last).map(ExecutionId) {
        check_history(world, id);
    }
    for root in &world.roots {
        check_nothing_is_left(world, *root, RUN_5);
    }
}

fn check_history(world: &World, id: ExecutionId) {
    let record = world.record(id);
    let history = world.journal.history(id, 0, usize::MAX).unwrap();
    for (expected, row) in (1..).zip(&history) {
        assert_eq!(row.id, expected, "{HIST_1}: execution {id}");
        assert!(row.previous_id < row.id, "{HIST_1}: event {expected} of execution {id} points forward");
    }
    assert!(history.windows(2).all(|pair| pair[0].at <= pair[1].at), "{HIST_1}: times of execution {id}");
    let count = |name: &str| history.iter().filter(|row| row.name == name).count() as u32;
    assert_eq!(history.first().map(|row| row.name.as_str()), Some("ExecutionStarted"), "{HIST_2}: execution {id}");
    // An Express child is started again, a Standard execution is redriven.
    let begun = count("ExecutionStarted") + count("ExecutionRedriven");
    assert_eq!(begun, record.redrive_count + 1, "{REDRIVE_2}: execution {id}");
    let ends = ["Succeeded", "Failed", "TimedOut", "Aborted"].map(|end| count(&format!("Execution{end}")));
    let is_running = u32::from(record.status == Status::Running);
    assert_eq!(ends.iter().sum::<u32>() + is_running, begun, "{HIST_2}: execution {id}");
    assert!(count("ExecutionSucceeded") <= 1, "{REDRIVE_1}: execution {id}");
}

/// MAP-1, MAP-5 and REDRIVE-3 of a map run that has ended.
fn check_map_run(world: &World, run: &MapRunRecord) {
    let children = world.journal.children(run.row).unwrap();
    let mut counted = Counts::default();
    for (expected, child) in (0..).zip(&children) {
        assert_eq!(child.item_index, expected, "{MAP_1}: children of {} are numbered without gaps", run.arn);
        *match child.status {
            Status::Running => panic!("{MAP_1}: child {expected} of {} runs", run.arn),
            Status::Succeeded => &mut counted.succeeded,
            Status::Failed => &mut counted.failed,
            Status::TimedOut => &mut counted.timed_out,
            Status::Aborted => &mut counted.aborted,
        } += 1;
    }
    for child in world.journal.children_page(run.row, None, usize::MAX).unwrap() {
        let (count, of_run) = (child.redrive_count, run.details.redrive_count);
        assert!(count <= of_run, "{REDRIVE_3}: child {} was redriven {count} times in {of_run}", child.id);
    }
    let told = run.details.counts.children;
    let told = Counts { pending: 0, ..told };
    assert_eq!(told, counted, "{MAP_5}: children of {}", run.arn);
    let items = run.details.counts.items;
    assert_eq!((items.running, items.pending_redrive), (0, 0), "{MAP_5}: items of {}", run.arn);
}

/// Children keep what they are over redrives: REDRIVE-3.
pub fn check_same_children(before: &BTreeMap<u64, (ExecutionId, String)>, world: &World, run: &MapRunRecord) {
    let children = world.journal.children_page(run.row, None, usize::MAX).unwrap();
    for (index, (id, arn)) in before {
        let child = children.iter().find(|child| child.parent.is_some_and(|parent| parent.item_index == *index));
        let child = child.unwrap_or_else(|| panic!("{REDRIVE_3}: child {index} is gone"));
        assert_eq!((child.id, &child.arn), (*id, arn), "{REDRIVE_3}: child {index}");
    }
}
