//! What every journal must do. Call [`run`] with a way to open the journal again and again.

use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::{Event, EventKind, HistoryEvent, TaskId, Timestamp};

use super::{
    Awaiting, Batch, ChildState, Counts, Ending, ExecutionFilter, ExecutionId, ExecutionRecord, ExecutionsOf,
    HistoryRow, InvocationRow, ItemCounts, Journal, MapRunCounts, MapRunDetails, MapRunLimits, MapRunRecord, MapRunRow,
    Parent, Status, Write,
};
use crate::registry::{Change, MachineKind, Revision, RevisionRow, StateMachineRecord};

/// Runs the suite. `open` opens the same journal each time; at first it must be empty.
///
/// # Panics
/// When the journal does not do what [`Journal`] says.
pub fn run(mut open: impl FnMut() -> Box<dyn Journal>) {
    let mut writer = open();
    assert_eq!(writer.reader().last_rows().unwrap(), (ExecutionId(0), MapRunRow(0)), "an empty journal has no rows");
    let (parent, child) = (execution(1, None), execution(2, Some(Parent { map_run: MapRunRow(1), item_index: 0 })));
    let revision = Arc::new(Revision::new(
        RevisionRow(1),
        "arn:machine".to_owned(),
        "machine".to_owned(),
        MachineKind::Standard,
        None,
        "{\"StartAt\": \"ü\"}".to_owned(),
        "arn:role".to_owned(),
        json!({ "tracingConfiguration": { "enabled": false } }),
        Timestamp(5),
    ));
    let machine = StateMachineRecord {
        arn: "arn:machine".to_owned(),
        name: "machine".to_owned(),
        kind: MachineKind::Standard,
        revision: RevisionRow(1),
        last_version: 0,
        created_at: Timestamp(5),
        updated_at: Timestamp(5),
    };
    let run = MapRunRecord {
        row: MapRunRow(1),
        arn: "arn:run".to_owned(),
        execution: parent.id,
        number: 1,
        state: "Map".to_owned(),
        status: Status::Running,
        started_at: Timestamp(11),
        stopped_at: None,
        details: MapRunDetails {
            label: "label".to_owned(),
            limits: MapRunLimits {
                max_concurrency: 3,
                tolerated_failure_count: None,
                tolerated_failure_percentage: Some(12.5),
            },
            counts: MapRunCounts {
                items: Counts { pending: 1, pending_redrive: 2, ..Counts::default() },
                children: Counts { pending_redrive: 3, not_redrivable: 4, ..Counts::default() },
            },
            etag: Some("e".to_owned()),
            items_read: Some(7),
            redrive_count: 1,
            redriven_at: Some(Timestamp(9)),
        },
    };
    let events = [
        (Timestamp(10), Event::Started),
        (Timestamp(12), Event::TaskSucceeded { task: TaskId(1), output: json!({ "z": [1.5, null], "a": "ü" }).into() }),
    ];
    let kind = EventKind::ExecutionStarted { input: Arc::new(json!({})), role_arn: "role".to_owned() };
    let entry = HistoryEvent { id: 1, previous_id: 0, at: Timestamp(10), kind, text: None };
    let history = HistoryRow {
        id: 1,
        previous_id: 0,
        at: Timestamp(10),
        name: "ExecutionStarted".to_owned(),
        details: json!({ "input": {}, "role_arn": "role" }),
    };
    let invocation = InvocationRow {
        execution: child.id,
        task: 1,
        function: "infer".to_owned(),
        request_id: "r".to_owned(),
        log_stream: "s".to_owned(),
        duration_ms: 1.25,
        billed_ms: 2,
        memory_mib: 512,
        max_memory_used_mib: 99,
        init_ms: None,
        error: None,
        at: Timestamp(12),
    };
    let mut writes = vec![
        Write::Resource(Change::Revision(Arc::clone(&revision))),
        Write::Resource(Change::StateMachine(machine.clone())),
        Write::Execution(Box::new(parent.clone())),
        Write::MapRun(Box::new(run.clone())),
        Write::Execution(Box::new(child.clone())),
        Write::History { execution: parent.id, event: Box::new(entry) },
        Write::Invocation(Box::new(invocation.clone())),
    ];
    for (sequence, (at, event)) in (0..).zip(events.clone()) {
        writes.push(Write::Event { execution: parent.id, sequence, at, event });
    }
    writer.append(&Batch { writes }).unwrap();

    // A batch with a gap in its events is refused as a whole.
    let mut other = execution(3, None);
    other.name = "other".to_owned();
    let gap = Write::Event { execution: parent.id, sequence: 1, at: Timestamp(13), event: Event::Started };
    let refused = writer.append(&Batch { writes: vec![gap, Write::Execution(Box::new(other))] });
    assert!(refused.is_err(), "an event that is there already is refused");

    drop(writer);
    let mut writer = open();
    let journal = writer.reader();
    assert_eq!(journal.last_rows().unwrap(), (ExecutionId(2), MapRunRow(1)), "nothing of the refused batch is there");
    let resources = journal.resources().unwrap();
    assert_eq!(resources.state_machine("arn:machine"), Some(&machine));
    assert_eq!(resources.revision(RevisionRow(1)), Some(&revision));
    assert_eq!(resources.next_revision(), RevisionRow(2));
    assert_eq!(journal.revision(RevisionRow(1)).unwrap().as_ref(), Some(&*revision));
    assert_eq!(journal.revision(RevisionRow(2)).unwrap(), None);
    assert_eq!(journal.execution(parent.id).unwrap(), Some(parent.clone()));
    assert_eq!(journal.find_execution("arn:1").unwrap(), Some(parent.clone()));
    assert_eq!(journal.find_execution("name-2").unwrap(), Some(child.clone()));
    assert_eq!(journal.find_execution("none").unwrap(), None);
    let is_there = |arn: &str| writer.has_execution(arn).unwrap();
    assert!(is_there("arn:1") && is_there("arn:2") && !is_there("name-2") && !is_there("arn:3"));
    let list = |of: ExecutionsOf, status, before| {
        let listed =
            journal.executions(&ExecutionFilter { of, status, ..ExecutionFilter::everyone() }, before, 10).unwrap();
        listed.into_iter().map(|summary| summary.id).collect::<Vec<_>>()
    };
    let of_machine = || ExecutionsOf::StateMachine("arn:machine".to_owned());
    assert_eq!(list(ExecutionsOf::Everyone, None, None), [parent.id], "children are not listed");
    assert_eq!(list(of_machine(), Some(Status::Running), None), [parent.id]);
    assert_eq!(list(of_machine(), Some(Status::Failed), None), []);
    assert_eq!(list(of_machine(), None, Some(parent.id)), [], "a page goes on after the last one seen");
    assert_eq!(list(ExecutionsOf::StateMachine("arn:other".to_owned()), None, None), []);
    assert_eq!(list(ExecutionsOf::MapRun(run.row), None, None), [child.id]);
    assert_eq!(journal.execution_by_arn("arn:1").unwrap(), Some(parent.clone()));
    assert_eq!(journal.execution_by_arn("name-1").unwrap(), None);
    assert_eq!(journal.events(parent.id).unwrap(), events);
    assert_eq!(journal.events(child.id).unwrap(), []);
    assert_eq!(journal.history(parent.id, 0, 10).unwrap(), vec![history]);
    assert_eq!(journal.history(parent.id, 1, 10).unwrap(), vec![]);
    assert_eq!(journal.history_backward(parent.id, u64::MAX, 10).unwrap().len(), 1);
    assert_eq!(journal.history_backward(parent.id, 1, 10).unwrap(), vec![]);
    assert_eq!(journal.map_runs(parent.id).unwrap(), vec![run.clone()]);
    assert_eq!(journal.map_runs_page(parent.id, Some(run.row), 10).unwrap(), vec![]);
    assert_eq!(journal.map_run(run.row).unwrap(), Some(run.clone()));
    assert_eq!(journal.map_run_by_arn("arn:run").unwrap(), Some(run.clone()));
    assert_eq!(journal.item_counts(run.row).unwrap(), ItemCounts { running: 1, ..ItemCounts::default() });
    assert_eq!(journal.invocations(parent.id).unwrap(), vec![invocation], "a child's count for its parent");

    let ending =
        Ending { status: Status::Failed, output: None, error: Some("E".to_owned()), cause: Some("because".to_owned()) };
    let done = Ending { status: Status::Succeeded, output: Some(json!([1])), error: None, cause: None };
    let writes = vec![
        Write::ExecutionEnded { execution: child.id, at: Timestamp(20), ending: done },
        Write::MapRunChanged {
            map_run: run.row,
            status: Status::Succeeded,
            stopped_at: Some(Timestamp(21)),
            details: Box::new(MapRunDetails { redrive_count: 2, ..run.details.clone() }),
        },
        Write::ExecutionEnded { execution: parent.id, at: Timestamp(22), ending },
    ];
    writer.append(&Batch { writes }).unwrap();
    assert_eq!(
        journal.execution(parent.id).unwrap().unwrap().status,
        Status::Failed,
        "a reader sees what was appended"
    );
    drop((writer, journal));
    let journal = open().reader();
    // Histories grow over batches, and are read from any place in both directions.
    let mut writer = open();
    let ids = |rows: Vec<HistoryRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    for sequence in 0..40 {
        let entry = |id| {
            let kind = EventKind::MapStateStarted { length: id };
            Write::History {
                execution: child.id,
                event: Box::new(HistoryEvent { id, previous_id: id - 1, at: Timestamp(20), kind, text: None }),
            }
        };
        let event = Write::Event {
            execution: child.id,
            sequence,
            at: Timestamp(20),
            event: Event::TaskStarted { task: TaskId(1) },
        };
        let writes = vec![event, entry(sequence * 3 + 1), entry(sequence * 3 + 2), entry(sequence * 3 + 3)];
        writer.append(&Batch { writes }).unwrap();
    }
    drop(writer);
    assert_eq!(journal.events(child.id).unwrap().len(), 40);
    assert_eq!(ids(journal.history(child.id, 0, usize::MAX).unwrap()), (1..=120).collect::<Vec<_>>());
    assert_eq!(ids(journal.history(child.id, 7, 5).unwrap()), [8, 9, 10, 11, 12]);
    assert_eq!(ids(journal.history_backward(child.id, u64::MAX, 4).unwrap()), [120, 119, 118, 117]);
    assert_eq!(ids(journal.history_backward(child.id, 3, 10).unwrap()), [2, 1]);

    let children = journal.children(run.row).unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!((children[0].status, &children[0].output), (Status::Succeeded, &Some(json!([1]))));
    let ended = journal.execution(parent.id).unwrap().unwrap();
    assert_eq!((ended.status, ended.cause.as_deref()), (Status::Failed, Some("because")));
    assert_eq!(ended.stopped_at, Some(Timestamp(22)));
    assert_eq!(journal.map_runs(parent.id).unwrap()[0].stopped_at, Some(Timestamp(21)));
    assert_eq!(journal.map_runs(parent.id).unwrap()[0].details.redrive_count, 2);
    let state = ChildState { id: child.id, item_index: 0, items: 1, status: Status::Succeeded, run_redrives: 0 };
    assert_eq!(journal.child_states(run.row, false).unwrap(), [state]);
    assert_eq!(journal.child_states(run.row, true).unwrap(), [state], "an input that is no batch is one item");
    assert_eq!(journal.children_page(run.row, None, 10).unwrap()[0].id, child.id);
    assert_eq!(journal.children_page(run.row, Some(0), 10).unwrap(), []);

    let mut writer = open();
    let redriven = |execution, at, redrive_count, run_redrives, token: Option<&str>| Write::ExecutionRedriven {
        execution,
        at: Timestamp(at),
        redrive_count,
        run_redrives,
        client_token: token.map(str::to_owned),
    };
    writer.append(&Batch { writes: vec![redriven(parent.id, 30, 1, 0, Some("token"))] }).unwrap();
    assert_eq!(journal.redriven_by(parent.id, "token").unwrap(), Some(Timestamp(30)));
    assert_eq!(journal.redriven_by(parent.id, "other").unwrap(), None);
    assert_eq!(journal.redriven_by(child.id, "token").unwrap(), None);
    let again = journal.execution(parent.id).unwrap().unwrap();
    assert_eq!(again, ExecutionRecord { redrive_count: 1, redriven_at: Some(Timestamp(30)), ..parent.clone() });
    let list = |is_redriven| {
        let filter = ExecutionFilter { is_redriven: Some(is_redriven), ..ExecutionFilter::everyone() };
        journal.executions(&filter, None, 10).unwrap().len()
    };
    assert_eq!((list(true), list(false)), (1, 0));

    // A map run is redriven: its children wait for it until they begin again.
    let failed = Ending { status: Status::Failed, output: None, error: None, cause: None };
    let details = MapRunDetails { redrive_count: 1, ..run.details.clone() };
    let ended = Write::ExecutionEnded { execution: child.id, at: Timestamp(31), ending: failed };
    let again = Write::MapRunRedriven { map_run: run.row, details: Box::new(details.clone()) };
    writer.append(&Batch { writes: vec![ended, again] }).unwrap();
    let found = journal.map_run(run.row).unwrap().unwrap();
    assert_eq!((found.status, found.stopped_at, found.details), (Status::Running, None, details));
    let awaiting = |is_awaiting| {
        let awaiting = Some(Awaiting { redrive: 1, is_awaiting });
        let filter = ExecutionFilter { of: ExecutionsOf::MapRun(run.row), awaiting, ..ExecutionFilter::everyone() };
        journal.executions(&filter, None, 10).unwrap().len()
    };
    assert_eq!((awaiting(true), awaiting(false)), (1, 0));
    writer.append(&Batch { writes: vec![redriven(child.id, 32, 1, 1, None)] }).unwrap();
    assert_eq!((awaiting(true), awaiting(false)), (0, 1));
    assert_eq!(journal.child_states(run.row, false).unwrap()[0].run_redrives, 1);
    assert_eq!(journal.execution(child.id).unwrap().unwrap().run_redrives, 1);
}

fn execution(id: u64, parent: Option<Parent>) -> ExecutionRecord {
    ExecutionRecord {
        id: ExecutionId(id),
        arn: format!("arn:{id}"),
        name: format!("name-{id}"),
        state_machine_arn: "arn:machine".to_owned(),
        revision: RevisionRow(1),
        version_arn: Some("arn:machine:1".to_owned()),
        alias_arn: None,
        kind: MachineKind::Standard,
        trace_header: Some("Root=1".to_owned()),
        redrive_count: 0,
        redriven_at: None,
        processor: parent.map(|_| "/States/Map/ItemProcessor".to_owned()),
        parent,
        run_redrives: 0,
        input: json!({ "bucket": "with spaces", "n": 1 }),
        annotations: Value::Null,
        payload_bytes_max: Some(262_144),
        status: Status::Running,
        output: None,
        error: None,
        cause: None,
        started_at: Timestamp(10),
        stopped_at: None,
    }
}
