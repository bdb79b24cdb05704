//! Random executions: a replay of the journaled events gives the same execution, whatever happened; and what must
//! hold of every execution does.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use starmap_asl::{
    Command, Event, Execution, ExecutionContext, MapRunId, Options, StateMachine, Status, TaskId, TimerId, Timestamp,
    step,
};

/// Everything that waits, retries, catches, nests and fans out.
fn definition() -> Value {
    let task = |fields: Value| {
        let mut state = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true});
        for (key, value) in fields.as_object().unwrap() {
            state[key] = value.clone();
        }
        state
    };
    let retry = json!([
        {"ErrorEquals": ["A"], "IntervalSeconds": 1, "MaxAttempts": 2, "JitterStrategy": "FULL"},
        {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 1},
    ]);
    json!({
        "TimeoutSeconds": 300,
        "StartAt": "Parallel",
        "States": {
            "Parallel": {
                "Type": "Parallel",
                "Branches": [
                    {"StartAt": "Timed", "States": {"Timed": task(json!({"TimeoutSeconds": 20, "HeartbeatSeconds": 7, "Retry": retry}))}},
                    {"StartAt": "Map", "States": {"Map": {
                        "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "Retry": retry, "End": true,
                        "ItemProcessor": {"StartAt": "Pause", "States": {
                            "Pause": {"Type": "Wait", "Seconds": 3, "Next": "Inner"},
                            "Inner": {"Type": "Parallel", "End": true, "Branches": [
                                {"StartAt": "X", "States": {"X": task(json!({"Parameters": {"id.$": "States.UUID()"}}))}},
                                {"StartAt": "Y", "States": {"Y": task(json!({"Retry": retry}))}},
                            ]},
                        }},
                    }}},
                    {"StartAt": "Run", "States": {"Run": {
                        "Type": "Map", "ItemsPath": "$.items", "Retry": retry, "End": true,
                        "ItemProcessor": {
                            "ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}},
                        },
                    }}},
                ],
                "Retry": retry,
                "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
                "Next": "Caught",
            },
            "Caught": {"Type": "Pass", "End": true},
        },
    })
}

fn new_execution(machine: &StateMachine, seed: u64) -> Execution {
    let input = json!({"items": [1, 2, 3, 4, 5]});
    Execution::new(machine.clone(), ExecutionContext::default(), input, Options { payload_bytes_max: None, seed })
}

/// A driver that answers in any order, late, twice, and sometimes with errors.
struct Driver {
    dice: u64,
    now: i64,
    answered: Vec<Event>,
}

impl Driver {
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    fn next(&mut self, execution: &Execution) -> Event {
        if !self.answered.is_empty() && self.roll(6) == 0 {
            let late = self.roll(self.answered.len() as u64) as usize;
            return self.answered[late].clone();
        }
        let outstanding = execution.outstanding();
        assert!(!outstanding.is_empty(), "RUN-1: a running execution waits for something");
        let chosen = self.roll(outstanding.len() as u64) as usize;
        let error = ["A", "B", "States.Timeout"][self.roll(3) as usize].to_owned();
        let event = match &outstanding[chosen] {
            Command::InvokeTask(invocation) => self.answer_task(invocation.task, error),
            Command::StartTimer { timer, due } => {
                self.now = self.now.max(due.0);
                Event::TimerFired { timer: *timer }
            }
            Command::StartMapRun { map_run, spec } => self.answer_map_run(*map_run, spec.given_items(), error),
            other => panic!("RUN-2: {other:?} cannot be outstanding"),
        };
        self.answered.push(event.clone());
        event
    }

    fn answer_task(&mut self, task: TaskId, error: String) -> Event {
        match self.roll(8) {
            0 | 1 => Event::TaskStarted { task },
            2 => Event::TaskHeartbeat { task },
            3 => Event::TaskFailed { task, error, cause: "dice".to_owned() },
            _ => Event::TaskSucceeded { task, output: json!({"task": task.0}).into() },
        }
    }

    fn answer_map_run(&mut self, map_run: MapRunId, items: &[Arc<Value>], error: String) -> Event {
        match self.roll(4) {
            0 => Event::MapRunFailed { map_run, error, cause: "dice".to_owned() },
            1 | 2 => Event::MapRunStarted { map_run, arn: "arn".to_owned() },
            _ => {
                let outputs: Value = items.iter().map(|item| Value::clone(item)).collect();
                Event::MapRunSucceeded { map_run, output: outputs.into() }
            }
        }
    }
}

/// What the driver knows to be outstanding, from commands alone.
#[derive(Default, Debug, PartialEq)]
struct Ledger {
    tasks: BTreeSet<TaskId>,
    timers: BTreeSet<TimerId>,
    map_runs: BTreeSet<MapRunId>,
    finished: usize,
    last_id: u64,
}

impl Ledger {
    fn settle(&mut self, event: &Event) {
        match event {
            Event::TaskSucceeded { task, .. } | Event::TaskFailed { task, .. } => {
                self.tasks.remove(task);
            }
            Event::TimerFired { timer } => {
                self.timers.remove(timer);
            }
            Event::MapRunSucceeded { map_run, .. } | Event::MapRunFailed { map_run, .. } => {
                self.map_runs.remove(map_run);
            }
            _ => {}
        }
    }

    fn note(&mut self, command: &Command) {
        assert_eq!(self.finished, 0, "RUN-3: nothing comes after Finish, got {command:?}");
        match command {
            Command::Record(event) => {
                self.last_id += 1;
                assert_eq!(event.id, self.last_id, "HISTORY-1: ids have no gaps");
                assert!(event.previous_id < event.id, "HISTORY-2: an event follows from an earlier one");
            }
            Command::InvokeTask(invocation) => {
                assert!(self.tasks.insert(invocation.task), "RUN-4: a task is asked for once")
            }
            Command::StartTimer { timer, .. } => {
                assert!(self.timers.insert(*timer), "RUN-4: a timer is asked for once")
            }
            Command::StartMapRun { map_run, .. } | Command::RedriveMapRun { map_run, .. } => {
                assert!(self.map_runs.insert(*map_run), "RUN-4: a map run is asked for once")
            }
            Command::CancelTask { task } => {
                assert!(self.tasks.remove(task), "RUN-5: only what is outstanding is cancelled")
            }
            Command::CancelTimer { timer } => {
                assert!(self.timers.remove(timer), "RUN-5: only what is outstanding is cancelled")
            }
            Command::CancelMapRun { map_run } => {
                assert!(self.map_runs.remove(map_run), "RUN-5: only what is outstanding is cancelled")
            }
            Command::Finish(_) => self.finished += 1,
        }
    }

    fn of(commands: &[Command]) -> Ledger {
        let mut ledger = Ledger::default();
        commands.iter().for_each(|command| ledger.note(command));
        ledger
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_replay_gives_the_same_execution(seed: u64, dice: u64, crash in 0_usize..200) {
        let (machine, diagnostics) = StateMachine::parse(&definition().to_string());
        let machine = machine.unwrap_or_else(|| panic!("{diagnostics:#?}"));
        let mut execution = new_execution(&machine, seed);
        let mut driver = Driver { dice, now: 0, answered: Vec::new() };
        let (mut journal, mut commands, mut ledger) = (Vec::new(), Vec::new(), Ledger::default());
        let mut event = Event::Started;
        for round in 0..2000 {
            journal.push((driver.now, event.clone()));
            let was_running = execution.status() == Status::Running;
            let new = step(&mut execution, Timestamp(driver.now), event.clone()).unwrap();
            prop_assert!(was_running || new.is_empty(), "RUN-3: nothing happens after the end");
            ledger.settle(&event);
            new.iter().for_each(|command| ledger.note(command));
            commands.extend(new);
            let outstanding = Ledger::of(&execution.outstanding());
            prop_assert_eq!(&outstanding.tasks, &ledger.tasks, "RUN-6: outstanding is what was asked for and not answered");
            prop_assert_eq!(&outstanding.timers, &ledger.timers, "RUN-6: outstanding is what was asked for and not answered");
            prop_assert_eq!(&outstanding.map_runs, &ledger.map_runs, "RUN-6: outstanding is what was asked for and not answered");
            if round == crash || execution.status() != Status::Running {
                let mut replayed = new_execution(&machine, seed);
                let mut again = Vec::new();
                for (at, event) in &journal {
                    again.extend(step(&mut replayed, Timestamp(*at), event.clone()).unwrap());
                }
                prop_assert_eq!(&again, &commands, "REPLAY-1: the same commands");
                prop_assert_eq!(replayed.outstanding(), execution.outstanding(), "REPLAY-2: the same things outstanding");
                prop_assert_eq!(format!("{replayed:?}"), format!("{execution:?}"), "REPLAY-3: the same state");
                execution = replayed;
            }
            if execution.status() != Status::Running {
                prop_assert_eq!(ledger.finished, 1);
                return Ok(());
            }
            driver.now += driver.roll(1500) as i64;
            event = driver.next(&execution);
        }
        prop_assert!(false, "RUN-7: the machine's own time-out ends every execution");
    }
}

proptest! {
    /// A journal holds JSON text, so a replay is exact only if numbers survive it. Needs `float_roundtrip`.
    #[test]
    fn numbers_survive_their_text(bits in prop::collection::vec(any::<f64>(), 100)) {
        for number in bits.into_iter().filter(|number| number.is_finite()) {
            let back: Value = serde_json::from_str(&json!(number).to_string()).unwrap();
            prop_assert_eq!(back.as_f64().map(f64::to_bits), Some(number.to_bits()));
        }
    }
}
