//! Distributed Maps in all shapes: items given or read, batched, written, tolerated; Standard and Express children; stores
//! that fail and objects that change; stopped at any time, and redriven until they have succeeded or may not.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use starmap_engine::journal::{ExecutionId, MapRunRow, Reader, Status};

use super::Scenario;
use crate::invariants::{
    MAP_1, MAP_2, MAP_4, MAP_5, REDRIVE_1, REDRIVE_3, RUN_1, RUN_5, check_nothing_is_left, check_same_children,
};
use crate::random::Random;
use crate::world::{Faults, World};

const READER_FAILED: &str = "States.ItemReaderFailed";
const WRITER_FAILED: &str = "States.ResultWriterFailed";
const TOO_MANY: &str = "States.ExceedToleratedFailureThreshold";

struct Maps {
    items: u64,
    is_read: bool,
    is_written: bool,
    batch: Option<u64>,
    tolerated: u64,
    /// Every so manieth item fails until all is repaired.
    poison: Option<u64>,
    /// From this redrive on nothing goes wrong any more.
    redrives_broken: u64,
    object_changes: u64,
    root: ExecutionId,
    /// Items of children that have succeeded, and children that were there, before the redrive.
    succeeded: Vec<Value>,
    children: BTreeMap<u64, (ExecutionId, String)>,
}

pub fn new(mut random: Random) -> (World, Box<dyn Scenario>) {
    let faults = Faults {
        crash: random.below(15),
        fail: random.below(20),
        repeat: random.below(20),
        hang: random.below(10),
        slow: random.below(10),
        store: if random.chance(30) { random.below(20) } else { 0 },
        stop: if random.chance(40) { random.below(5) } else { 0 },
        ..Faults::default()
    };
    let concurrency = random.below(6);
    let mut maps = Maps {
        items: random.below(40),
        is_read: random.chance(60),
        is_written: random.chance(50),
        batch: random.chance(50).then(|| 1 + random.below(7)),
        tolerated: if random.chance(30) { 40 } else { random.below(4) },
        poison: random.chance(40).then(|| 2 + random.below(9)),
        redrives_broken: random.below(4),
        object_changes: if random.chance(20) { random.below(3) } else { 0 },
        root: ExecutionId(0),
        succeeded: Vec::new(),
        children: BTreeMap::new(),
    };
    let kind = if random.chance(50) { "STANDARD" } else { "EXPRESS" };
    let definition = maps.definition(concurrency, kind);
    let object: Vec<Value> = (0..maps.items).map(|number| json!({ "n": number })).collect();
    let mut world = World::new(random, faults, &[("sky", definition)]);
    world.concurrency_max = (concurrency > 0).then_some(concurrency);
    world.object.clone_from(&object);
    let input = if maps.is_read { json!({}) } else { json!(object) };
    maps.root = world.start(0, "one".to_owned(), input);
    (world, Box::new(maps))
}

impl Maps {
    fn definition(&self, concurrency: u64, kind: &str) -> String {
        let mut map = json!({
            "Type": "Map", "End": true, "MaxConcurrency": concurrency, "ToleratedFailureCount": self.tolerated,
            "ItemProcessor": {
                "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": kind }, "StartAt": "Do",
                "States": {
                    "Do": { "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true },
                },
            },
        });
        if self.is_read {
            map["ItemReader"] = json!({
                "Resource": "arn:aws:states:::s3:getObject", "Parameters": { "Bucket": "b", "Key": "k" },
                "ReaderConfig": { "InputType": "JSONL" },
            });
        }
        if let Some(batch) = self.batch {
            map["ItemBatcher"] = json!({ "MaxItemsPerBatch": batch });
        }
        if self.is_written {
            map["ResultWriter"] =
                json!({ "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b", "Prefix": "p" } });
        }
        json!({ "StartAt": "Map", "States": { "Map": map } }).to_string()
    }

    fn items_of(&self, input: &Value) -> Vec<Value> {
        match self.batch {
            None => vec![input.clone()],
            Some(_) => input["Items"].as_array().unwrap().clone(),
        }
    }

    fn run(&self, world: &World) -> Option<MapRunRow> {
        let runs = world.journal.map_runs(self.root).unwrap();
        assert!(runs.len() <= 1, "{REDRIVE_3}: {} map runs", runs.len());
        runs.first().map(|run| run.row)
    }

    /// It has ended without success and will be redriven: what must be the same afterwards.
    fn remember(&mut self, world: &World) {
        let Some(row) = self.run(world) else { return };
        self.succeeded.clear();
        for child in world.journal.children_page(row, None, usize::MAX).unwrap() {
            if child.status == Status::Succeeded {
                self.succeeded.extend(self.items_of(&child.input));
            }
            let index = child.parent.unwrap().item_index;
            self.children.insert(index, (child.id, child.arn));
        }
    }
}

impl Scenario for Maps {
    fn answer(&mut self, _: &str, payload: &Value, is_repaired: bool) -> Result<Value, &'static str> {
        let items = self.items_of(payload);
        let is_poisoned = |item: &Value| {
            let number = item["n"].as_u64().unwrap_or_else(|| panic!("{MAP_1}: {item} is nobody's item"));
            self.poison.is_some_and(|poison| number % poison == poison - 1)
        };
        match !is_repaired && items.iter().any(is_poisoned) {
            true => Err("Poison"),
            false => Ok(payload.clone()),
        }
    }

    fn goes_on(&mut self, world: &mut World) -> bool {
        for (_, payload) in world.invoked.values() {
            let again = self.items_of(payload).into_iter().find(|item| self.succeeded.contains(item));
            assert_eq!(again, None, "{REDRIVE_1}");
        }
        match world.status(self.root) {
            Status::Succeeded => false,
            Status::Running => {
                if !world.is_repaired && self.object_changes > 0 && world.random.chance(3) {
                    self.object_changes -= 1;
                    // Whoever has read some of it must notice; it has the items that it had.
                    world.object_etag.push('+');
                }
                if !world.is_repaired && world.random.chance(world.faults.stop) {
                    world.stop(self.root);
                }
                true
            }
            _ => {
                check_nothing_is_left(world, self.root, RUN_5);
                self.remember(world);
                if world.tally.redrives >= self.redrives_broken {
                    world.is_repaired = true;
                    // Nobody can go on with an object that is another one; it is put back.
                    world.object_etag = "v1".to_owned();
                    let run = self.run(world).map(|row| world.journal.map_run(row).unwrap().unwrap());
                    if let Some(etag) = run.and_then(|run| run.details.etag) {
                        world.object_etag = etag;
                    }
                }
                world.redrive(self.root);
                true
            }
        }
    }

    fn check(&self, world: &World) {
        let root = world.record(self.root);
        let row = self.run(world).expect("it has a map run");
        let run = world.journal.map_run(row).unwrap().unwrap();
        check_same_children(&self.children, world, &run);
        let mut next = 0;
        let (mut succeeded, mut failed) = (0, 0);
        let mut outputs = Vec::new();
        for child in world.journal.children_page(row, None, usize::MAX).unwrap() {
            let items = self.items_of(&child.input);
            for item in &items {
                assert_eq!(item, &json!({ "n": next }), "{MAP_1}: every item once, in order");
                next += 1;
            }
            let is_last = next == self.items;
            let is_whole = items.len() as u64 == self.batch.unwrap_or(1);
            assert!(is_last || is_whole, "{MAP_1}: only the last batch is short");
            let good = child.status == Status::Succeeded;
            *(if good { &mut succeeded } else { &mut failed }) += items.len() as u64;
            let told = |text: Option<String>| text.unwrap_or_default();
            let error = || json!({ "Error": told(child.error), "Cause": told(child.cause) });
            outputs.push(child.output.unwrap_or_else(error));
        }
        let counts = run.details.counts.items;
        let told = (counts.succeeded, counts.ended() - counts.succeeded, counts.pending);
        assert_eq!(told, (succeeded, failed, 0), "{MAP_5}: items");
        assert_eq!((root.status, run.status), (Status::Succeeded, Status::Succeeded), "{RUN_1}");
        assert_eq!(next, self.items, "{MAP_2}");
        assert!(failed <= self.tolerated, "{MAP_2}: {failed} failed");
        let expected = match self.is_written {
            true => json!({ "written": run.details.redrive_count }),
            false => json!(outputs),
        };
        assert_eq!(root.output, Some(expected), "{MAP_4}");
        assert_eq!(u64::from(run.details.redrive_count), world.tally.redrives, "{REDRIVE_3}");
        // What ended it before is told in its history.
        for row in world.journal.history(self.root, 0, usize::MAX).unwrap() {
            if row.name == "MapRunFailed" {
                let error = row.details["error"].as_str().unwrap();
                assert!([READER_FAILED, WRITER_FAILED, TOO_MANY].contains(&error), "{RUN_1}: failed by {error}");
            }
        }
    }
}
