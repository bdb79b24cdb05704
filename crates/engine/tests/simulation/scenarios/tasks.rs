//! Tasks that others carry out: services, task tokens, activities and nested executions, stopped and redriven until they
//! have succeeded.

use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionId, Reader, Status};

use super::Scenario;
use crate::invariants::{REDRIVE_1, RUN_1, RUN_7};
use crate::random::Random;
use crate::world::{ACTIVITY, Faults, World};

/// From this redrive on nothing goes wrong any more.
const REDRIVES_BROKEN: u64 = 3;

/// First → (Token ‖ Work ‖ Nested) → Last; everything but First is tried again when it fails or takes too long.
fn parent() -> String {
    let retry = json!([{"ErrorEquals": ["States.ALL"], "MaxAttempts": 9, "IntervalSeconds": 1}]);
    let branch = |name: &str, resource: &str, parameters: Value| {
        let mut state =
            json!({"Type": "Task", "Resource": resource, "TimeoutSeconds": 60, "Retry": retry, "End": true});
        state["Parameters"] = parameters;
        json!({"StartAt": name, "States": {name: state}})
    };
    json!({"StartAt": "First", "States": {
        "First": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:first", "Next": "All"},
        "All": {"Type": "Parallel", "Next": "Last", "Branches": [
            branch("Token", "arn:aws:states:::sqs:sendMessage.waitForTaskToken", json!({"token.$": "$$.Task.Token"})),
            branch("Work", ACTIVITY, json!({"do": "work"})),
            branch("Nested", "arn:aws:states:::states:startExecution.sync:2", json!({"Input": {"n": 1}})),
        ]},
        "Last": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:last", "End": true, "Retry": retry},
    }})
    .to_string()
}

const CHILD: &str = r#"{"StartAt": "Rest", "States": {
  "Rest": {"Type": "Wait", "Seconds": 3, "Next": "Call"},
  "Call": {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:child", "End": true}}}"#;

struct Tasks {
    root: ExecutionId,
}

pub fn new(mut random: Random) -> (World, Box<dyn Scenario>) {
    let faults = Faults {
        crash: random.below(12),
        fail: random.below(25),
        lose: random.below(15),
        repeat: random.below(25),
        stop: random.below(3),
        slow: random.below(10),
        ..Faults::default()
    };
    let mut world = World::new(random, faults, &[("sky", parent()), ("child", CHILD.to_owned())]);
    let root = world.start(0, "one".to_owned(), json!({}));
    (world, Box::new(Tasks { root }))
}

impl Scenario for Tasks {
    fn answer(&mut self, _: &str, payload: &Value, _: bool) -> Result<Value, &'static str> {
        Ok(payload.clone())
    }

    fn has_activities(&self) -> bool {
        true
    }

    fn is_heard_surely(&self, action: &str) -> bool {
        matches!(action, "first" | "last" | "child")
    }

    fn goes_on(&mut self, world: &mut World) -> bool {
        if world.calls.values().any(|call| call.action == "first") {
            let history = world.journal.history(self.root, 0, usize::MAX).unwrap();
            let has_left = history.iter().any(|row| row.name == "TaskStateExited" && row.details["name"] == "First");
            assert!(!has_left, "{REDRIVE_1}: First");
        }
        match world.status(self.root) {
            Status::Succeeded => return false,
            Status::Running if !world.is_repaired && world.random.chance(world.faults.stop) => world.stop(self.root),
            Status::Running => {}
            _ => {
                world.redrive(self.root);
                world.is_repaired = world.tally.redrives >= REDRIVES_BROKEN;
            }
        }
        true
    }

    fn check(&self, world: &World) {
        let root = world.record(self.root);
        assert_eq!(root.output, Some(json!({ "did": "last" })), "{RUN_1}");
        assert_eq!(u64::from(root.redrive_count), world.tally.redrives, "{RUN_1}");
        let history = world.journal.history(self.root, 0, usize::MAX).unwrap();
        for row in history.iter().filter(|row| row.name == "TaskTimedOut") {
            let before = history.iter().find(|before| before.id == row.previous_id).unwrap();
            let Some(arn) = before.details["output"]["ExecutionArn"].as_str() else { continue };
            let nested = world.journal.execution_by_arn(arn).unwrap().unwrap();
            let is_late = nested.stopped_at.is_none_or(|stopped| stopped >= row.at);
            assert!(is_late, "{RUN_7}: {arn} ended before the wait for it did");
        }
    }
}
