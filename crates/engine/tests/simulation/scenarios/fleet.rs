//! Fifty executions at once, twenty of them stopped at any time, ten of those that did not succeed redriven.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionId, Reader, Status};

use super::Scenario;
use crate::invariants::{ISO_1, REDRIVE_2, RUN_1};
use crate::random::Random;
use crate::world::{Faults, World};

const EXECUTIONS: u64 = 50;
const STOPS: usize = 20;
const REDRIVES: usize = 10;

/// A wait, a map of a few items, a function over all of them. The last item of every fifth execution is poisoned.
const DEFINITION: &str = r#"{"StartAt": "Rest", "States": {
  "Rest": {"Type": "Wait", "Seconds": 2, "Next": "Each"},
  "Each": {"Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 2, "Next": "All", "ItemProcessor": {
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Do", "States": {
      "Do": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:each", "End": true,
        "Retry": [{"ErrorEquals": ["Flaky"], "MaxAttempts": 9, "IntervalSeconds": 1}]}}}},
  "All": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:all", "End": true,
    "Retry": [{"ErrorEquals": ["Flaky"], "MaxAttempts": 9, "IntervalSeconds": 1}]}}}"#;

struct Fleet {
    to_stop: Vec<ExecutionId>,
    stopped: BTreeSet<ExecutionId>,
    redriven: BTreeSet<ExecutionId>,
}

pub fn new(mut random: Random) -> (World, Box<dyn Scenario>) {
    let faults = Faults {
        crash: random.below(3),
        fail: random.below(15),
        repeat: random.below(20),
        hang: random.below(10),
        slow: random.below(10),
        ..Faults::default()
    };
    let mut world = World::new(random, faults, &[("sky", DEFINITION.to_owned())]);
    world.concurrency_max = Some(2);
    for number in 0..EXECUTIONS {
        let count = world.random.below(4);
        let items: Vec<Value> = (0..count)
            .map(|item| json!({ "of": number, "n": item, "bad": number % 5 == 0 && item + 1 == count }))
            .collect();
        world.start(0, format!("e{number}"), json!({ "items": items }));
    }
    let mut to_stop = world.roots.clone();
    while to_stop.len() > STOPS {
        let index = world.random.index(to_stop.len());
        to_stop.swap_remove(index);
    }
    (world, Box::new(Fleet { to_stop, stopped: BTreeSet::new(), redriven: BTreeSet::new() }))
}

impl Scenario for Fleet {
    fn answer(&mut self, function: &str, payload: &Value, is_repaired: bool) -> Result<Value, &'static str> {
        if function.ends_with("all") {
            return Ok(payload.clone());
        }
        if payload["bad"] == true && !is_repaired { Err("Poison") } else { Ok(json!([payload["of"], payload["n"]])) }
    }

    fn goes_on(&mut self, world: &mut World) -> bool {
        if !self.to_stop.is_empty() && world.random.chance(30) {
            let index = world.random.index(self.to_stop.len());
            let execution = self.to_stop.swap_remove(index);
            if world.status(execution) == Status::Running {
                world.stop(execution);
                if world.status(execution) != Status::Running {
                    self.stopped.insert(execution);
                }
            }
        }
        let is_running = |root: &ExecutionId| world.core.is_live(*root);
        if world.roots.iter().any(is_running) {
            return true;
        }
        self.to_stop.clear();
        let unhappy = |root: &&ExecutionId| world.status(**root) != Status::Succeeded && !self.redriven.contains(root);
        let next = world.roots.iter().find(unhappy).copied();
        match next.filter(|_| self.redriven.len() < REDRIVES) {
            Some(execution) => {
                world.is_repaired = true;
                if world.redrive(execution) {
                    self.redriven.insert(execution);
                }
                true
            }
            None => false,
        }
    }

    fn check(&self, world: &World) {
        for root in &world.roots {
            let record = world.record(*root);
            let items = record.input["items"].as_array().unwrap();
            let outputs: Vec<Value> = items.iter().map(|item| json!([item["of"], item["n"]])).collect();
            let is_bad = items.iter().any(|item| item["bad"] == true);
            if self.redriven.contains(root) {
                assert_eq!(record.status, Status::Succeeded, "{REDRIVE_2}: {}", record.name);
            }
            match record.status {
                Status::Succeeded => assert_eq!(record.output, Some(json!(outputs)), "{ISO_1}: {}", record.name),
                Status::Aborted => assert!(self.stopped.contains(root), "{ISO_1}: {} was not stopped", record.name),
                Status::Failed => {
                    let is_flaky = record.error.as_deref() == Some("Flaky");
                    let history = world.journal.history(*root, 0, usize::MAX).unwrap();
                    let has_failed_run = history.iter().any(|row| row.name == "MapRunFailed");
                    assert!(is_bad || is_flaky || has_failed_run, "{RUN_1}: {} failed", record.name);
                }
                other => panic!("{RUN_1}: {} ended as {other:?}", record.name),
            }
        }
    }
}
