//! Initialize → Distributed Map of Infer → a Parallel, as the redshift pipeline has it, with retries and time limits.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use starmap_asl::Event;
use starmap_engine::journal::{ExecutionId, Reader, Status};

use super::Scenario;
use crate::invariants::{MAP_2, MAP_4, RUN_1, RUN_3};
use crate::random::Random;
use crate::world::{Faults, World};

const DEFINITION: &str = r#"{
  "StartAt": "Initialize",
  "States": {
    "Initialize": {
      "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
      "Parameters": {"FunctionName": "initialize", "Payload.$": "$"}, "OutputPath": "$.Payload",
      "Retry": [{"ErrorEquals": ["Flaky"], "MaxAttempts": 9, "IntervalSeconds": 1, "JitterStrategy": "FULL"}],
      "Next": "Map"
    },
    "Map": {
      "Type": "Map", "ItemsPath": "$.items", "MaxConcurrency": 4,
      "ItemProcessor": {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "Pause",
        "States": {
          "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Infer"},
          "Infer": {
            "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "TimeoutSeconds": 60,
            "Parameters": {"FunctionName": "infer", "Payload.$": "$"}, "OutputPath": "$.Payload",
            "Retry": [{"ErrorEquals": ["Flaky", "States.Timeout"], "MaxAttempts": 9, "IntervalSeconds": 1}],
            "End": true
          }
        }
      },
      "Next": "Both"
    },
    "Both": {
      "Type": "Parallel",
      "Branches": [
        {"StartAt": "Sum", "States": {"Sum": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:sum", "End": true,
          "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 9, "IntervalSeconds": 1}]}}},
        {"StartAt": "Rest", "States": {"Rest": {"Type": "Wait", "Seconds": 5, "End": true}}}
      ],
      "End": true
    }
  }
}"#;

struct Pipeline {
    items: u64,
    poison: Option<u64>,
    root: ExecutionId,
}

pub fn new(mut random: Random) -> (World, Box<dyn Scenario>) {
    let faults = Faults {
        crash: random.below(15),
        fail: random.below(30),
        repeat: random.below(20),
        hang: random.below(10),
        slow: random.below(10),
        ..Faults::default()
    };
    let (items, poison) = (random.below(14), random.chance(15).then(|| random.below(14)));
    let mut world = World::new(random, faults, &[("sky", DEFINITION.to_owned())]);
    world.concurrency_max = Some(4);
    let root = world.start(0, "one".to_owned(), json!({}));
    (world, Box::new(Pipeline { items, poison, root }))
}

impl Scenario for Pipeline {
    fn answer(&mut self, function: &str, payload: &Value, _: bool) -> Result<Value, &'static str> {
        match function {
            "infer" if self.poison.is_some_and(|poison| payload == &json!({ "rank": poison })) => Err("Poison"),
            "initialize" => {
                let items = (0..self.items).map(|rank| json!({ "rank": rank }));
                Ok(json!({ "items": items.collect::<Vec<_>>() }))
            }
            "infer" => Ok(json!({ "done": payload["rank"] })),
            _ => Ok(json!(payload.as_array().map(Vec::len))),
        }
    }

    fn goes_on(&mut self, world: &mut World) -> bool {
        world.status(self.root) == Status::Running
    }

    fn check(&self, world: &World) {
        let root = world.record(self.root);
        let is_poisoned = self.poison.is_some_and(|poison| poison < self.items);
        for run in &world.journal.map_runs(self.root).unwrap() {
            let children = world.journal.children(run.row).unwrap();
            for child in children.iter().filter(|child| child.status == Status::Succeeded) {
                assert_eq!(child.output, Some(json!({ "done": child.item_index })), "{MAP_4}");
                let events = world.journal.events(child.id).unwrap();
                let answers = events.iter().filter(|(_, event)| matches!(event, Event::TaskSucceeded { .. }));
                assert_eq!(answers.count(), 1, "{RUN_3}: a child's success is recorded once");
            }
            if run.status == Status::Succeeded {
                let all: BTreeSet<_> = children.iter().map(|child| child.status).map(Status::as_str).collect();
                assert!(children.len() as u64 == self.items && all.len() <= 1, "{MAP_2}: {all:?}");
            }
        }
        match root.status {
            Status::Succeeded => {
                assert!(!is_poisoned, "{RUN_1}: success in spite of a poisoned item");
                let outputs: Vec<Value> = (0..self.items).map(|rank| json!({ "done": rank })).collect();
                assert_eq!(root.output, Some(json!([self.items, outputs])), "{RUN_1}");
            }
            Status::Failed => {
                let error = root.error.as_deref().unwrap_or_default();
                // Ten flaky answers in a row are possible, if unlikely.
                let expected = ["States.ExceedToleratedFailureThreshold", "Flaky"];
                assert!(expected.contains(&error), "{RUN_1}: failed by {error}: {:?}", root.cause);
            }
            other => panic!("{RUN_1}: ended as {other:?}"),
        }
    }
}
