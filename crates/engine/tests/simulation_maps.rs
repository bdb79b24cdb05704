//! The seeded simulation of map runs that read, batch and write: chunks of any size, stores that fail, crashes between
//! any two steps.
//!
//! Every failure prints its seed; `STARMAP_SIMULATION_SEED=n cargo test --release -p starmap-engine --test simulation_maps`
//! replays it. `STARMAP_SIMULATION_SEEDS=n` runs more seeds than the default.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};
use starmap_asl::{TaskId, Timestamp};
use starmap_engine::NewExecution;
use starmap_engine::core::{Core, Effect, Input, Turn};
use starmap_engine::invoker::{InvokeError, Outcome};
use starmap_engine::items::Failed;
use starmap_engine::items::blocking::{Chunk, Position};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::journal::{ExecutionId, Journal, MapRunRow, Reader, Status, Write};
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::registry::{Change, MachineKind, Revision, RevisionRow};

const SEEDS_DEFAULT: u64 = 1_000;
const STEPS_MAX: usize = 20_000;
const MACHINE: &str = "arn:aws:states:us-east-1:000000000000:stateMachine:sky";
const READER_FAILED: &str = "States.ItemReaderFailed";
const WRITER_FAILED: &str = "States.ResultWriterFailed";
const TOO_MANY: &str = "States.ExceedToleratedFailureThreshold";

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True with a probability of `percent` in 100.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the seed decides.
#[derive(Debug, Clone, Copy)]
struct Odds {
    items: u64,
    batch: Option<u64>,
    concurrency: u64,
    tolerated: u64,
    crash: u64,
    fail: u64,
    store_fails: u64,
    is_written: bool,
}

struct World {
    random: Random,
    odds: Odds,
    journal: MemoryJournal,
    core: Core,
    now: Timestamp,
    invoked: BTreeMap<(ExecutionId, TaskId), Value>,
    /// Readers: from where, and whether a chunk is wanted.
    reading: BTreeMap<MapRunRow, (Position, bool)>,
    writing: BTreeSet<MapRunRow>,
    advancing: Vec<MapRunRow>,
    root: ExecutionId,
    crashes: u32,
}

fn definition(odds: &Odds) -> String {
    let mut map = json!({
        "Type": "Map", "End": true, "MaxConcurrency": odds.concurrency, "ToleratedFailureCount": odds.tolerated,
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject", "Parameters": { "Bucket": "b", "Key": "k" },
            "ReaderConfig": { "InputType": "JSONL" },
        },
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "Do",
            "States": {
                "Do": { "Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true },
            },
        },
    });
    if let Some(batch) = odds.batch {
        map["ItemBatcher"] = json!({ "MaxItemsPerBatch": batch });
    }
    if odds.is_written {
        map["ResultWriter"] =
            json!({ "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "b", "Prefix": "p" } });
    }
    json!({ "StartAt": "Map", "States": { "Map": map } }).to_string()
}

fn core(journal: &MemoryJournal) -> Core {
    Core::new(Naming::default(), Limits::default(), journal.last_rows().unwrap())
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let odds = Odds {
            items: random.below(40),
            batch: random.chance(50).then(|| 1 + random.below(7)),
            concurrency: random.below(6),
            tolerated: if random.chance(50) { 40 } else { random.below(4) },
            crash: random.below(15),
            fail: random.below(20),
            store_fails: if random.chance(30) { random.below(20) } else { 0 },
            is_written: random.chance(50),
        };
        let mut journal = MemoryJournal::default();
        let (kind, settings) = (MachineKind::Standard, json!({}));
        let (arn, name, role) = (MACHINE.to_owned(), "sky".to_owned(), Naming::default().role());
        let text = definition(&odds);
        let revision = Revision::new(RevisionRow(1), arn, name, kind, None, text, role, settings, Timestamp(0));
        let revision = Arc::new(revision);
        assert!(revision.machine().is_ok(), "{:?}", revision.machine());
        let mut turn = Turn::default();
        turn.batch.writes.push(Write::Resource(Change::Revision(Arc::clone(&revision))));
        journal.append(&turn.batch).unwrap();
        let core = core(&journal);
        let mut world = Self {
            random,
            odds,
            journal,
            core,
            now: Timestamp(1_000_000),
            invoked: BTreeMap::new(),
            reading: BTreeMap::new(),
            writing: BTreeSet::new(),
            advancing: Vec::new(),
            root: ExecutionId(0),
            crashes: 0,
        };
        let mut turn = Turn::default();
        let new = NewExecution {
            revision,
            version_arn: None,
            alias_arn: None,
            trace_header: None,
            name: format!("seed-{seed}"),
            input: json!({}),
            annotations: Value::Null,
        };
        world.root = world.core.take_in(world.now, Input::Start(Box::new(new)), &mut turn).unwrap();
        world.core.finish_turn(&mut turn);
        world.journal.append(&turn.batch).unwrap();
        world.carry_out(turn);
        world
    }

    /// One turn, with a crash before it is recorded, after it is recorded, or not at all.
    fn turn(&mut self, inputs: Vec<Input>) {
        self.now = self.now.plus_ms(1);
        let mut turn = Turn::default();
        for input in inputs {
            self.core.take_in(self.now, input, &mut turn);
        }
        self.core.finish_turn(&mut turn);
        if self.random.chance(self.odds.crash) {
            return self.crash();
        }
        self.journal.append(&turn.batch).unwrap();
        if self.random.chance(self.odds.crash) {
            return self.crash();
        }
        self.carry_out(turn);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.invoked.clear();
        self.reading.clear();
        self.writing.clear();
        self.advancing.clear();
        self.core = core(&self.journal);
        if self.journal.execution(self.root).unwrap().unwrap().status != Status::Running {
            return;
        }
        let mut turn = Turn::default();
        self.core.recover(self.now, &self.journal, self.root, &mut turn).unwrap();
        self.core.finish_turn(&mut turn);
        self.journal.append(&turn.batch).unwrap();
        self.carry_out(turn);
    }

    fn carry_out(&mut self, turn: Turn) {
        for effect in turn.effects {
            match effect {
                Effect::Invoke { execution, task, payload, .. } => {
                    let payload = serde_json::from_slice(&payload).unwrap();
                    assert!(self.invoked.insert((execution, task), payload).is_none(), "RUN-2: asked for once");
                }
                Effect::CancelInvoke { execution, task } => drop(self.invoked.remove(&(execution, task))),
                Effect::ReadItems { map_run, from, .. } => drop(self.reading.insert(map_run, (from, true))),
                Effect::MoreItems { map_run } => {
                    // A reader whose run has failed may be gone.
                    if let Some((_, is_wanted)) = self.reading.get_mut(&map_run) {
                        assert!(!std::mem::replace(is_wanted, true), "MAP-3: one chunk is asked for at a time");
                    }
                }
                Effect::StopReading { map_run } => drop(self.reading.remove(&map_run)),
                Effect::WriteResults { map_run, .. } => {
                    assert!(self.odds.is_written && self.writing.insert(map_run));
                }
                Effect::Advance { map_run } => self.advancing.push(map_run),
                Effect::Ended { .. } => {}
                other => panic!("the simulated machine asks for no such thing: {other:?}"),
            }
        }
    }

    /// The next chunk of a reader, or its failure.
    fn read(&mut self, map_run: MapRunRow) -> Input {
        let (position, is_wanted) = self.reading.get_mut(&map_run).unwrap();
        *is_wanted = false;
        let etag = Some("etag".to_owned());
        assert!(position.etag.is_none() || position.etag == etag, "an etag is kept as it was");
        if self.random.chance(self.odds.store_fails) {
            self.reading.remove(&map_run);
            return Input::ItemsRead { map_run, read: Err(failed_store(READER_FAILED)) };
        }
        let end = (position.skip + 1 + self.random.below(9)).min(self.odds.items);
        let items = (position.skip..end).map(|number| json!({ "n": number })).collect();
        position.skip = end;
        let is_last = end == self.odds.items;
        if is_last {
            self.reading.remove(&map_run);
        }
        Input::ItemsRead { map_run, read: Ok(Chunk { items, is_last, etag }) }
    }

    fn step(&mut self) {
        let mut inputs: Vec<Input> = self.advancing.drain(..).map(|map_run| Input::Advance { map_run }).collect();
        for _ in 0..=self.random.below(3) {
            let wanted: Vec<MapRunRow> =
                self.reading.iter().filter(|(_, (_, is_wanted))| *is_wanted).map(|(row, _)| *row).collect();
            let calls: Vec<_> = self.invoked.keys().copied().collect();
            let chosen = self.random.below(calls.len() as u64 + 2) as usize;
            if let Some(&(execution, task)) = calls.get(chosen) {
                let payload = self.invoked.remove(&(execution, task)).unwrap();
                let outcome = if self.random.chance(self.odds.fail) { flaky() } else { answered(&payload) };
                inputs.push(Input::TaskEnded { execution, task, outcome });
            } else if let Some(&map_run) = wanted.first() {
                inputs.push(self.read(map_run));
            } else if let Some(map_run) = self.writing.pop_first() {
                let written = match self.random.chance(self.odds.store_fails) {
                    true => Err(failed_store(WRITER_FAILED)),
                    false => Ok(json!({ "written": true })),
                };
                inputs.push(Input::ResultsWritten { map_run, written });
            }
        }
        self.turn(inputs);
    }

    fn run(mut self) -> Self {
        for _ in 0..STEPS_MAX {
            if self.journal.execution(self.root).unwrap().unwrap().status != Status::Running {
                return self;
            }
            self.step();
        }
        panic!("RUN-4: the execution did not end in {STEPS_MAX} steps: {:?}", self.odds);
    }

    fn check(&self) {
        let root = self.journal.execution(self.root).unwrap().unwrap();
        let runs = self.journal.map_runs(self.root).unwrap();
        let [run] = &runs[..] else { panic!("one map run, found {}", runs.len()) };
        assert_ne!(run.status, Status::Running, "MAP-3: no map run outlives its execution");
        assert_eq!(run.status, root.status);
        let mut next = 0;
        let (mut succeeded, mut failed) = (0, 0);
        for child in self.journal.children_page(run.row, None, usize::MAX).unwrap() {
            assert_ne!(child.status, Status::Running, "MAP-1: every item ends exactly once");
            assert!(!self.core.is_live(child.id), "MAP-1: an ended child is forgotten");
            let items = match self.odds.batch {
                None => vec![child.input.clone()],
                Some(_) => child.input["Items"].as_array().unwrap().clone(),
            };
            for item in &items {
                assert_eq!(item, &json!({ "n": next }), "MAP-1: every item once, in order");
                next += 1;
            }
            let is_last = next == self.odds.items;
            assert!(is_last || items.len() as u64 == self.odds.batch.unwrap_or(1), "only the last batch is short");
            match child.status {
                Status::Succeeded => succeeded += items.len() as u64,
                _ => failed += items.len() as u64,
            }
        }
        let counts = run.details.counts.items;
        assert_eq!(counts.running, 0);
        assert_eq!((counts.succeeded, counts.ended() - counts.succeeded), (succeeded, failed), "counts are true");
        match root.status {
            Status::Succeeded => {
                assert_eq!(next, self.odds.items, "MAP-2: success means every item");
                assert!(failed <= self.odds.tolerated, "MAP-2: and no more failures than are tolerated");
                if self.odds.is_written {
                    assert_eq!(root.output, Some(json!({ "written": true })));
                } else if failed == 0 {
                    let outputs = root.output.unwrap().as_array().unwrap().len() as u64;
                    assert_eq!(outputs, self.odds.items.div_ceil(self.odds.batch.unwrap_or(1)));
                }
            }
            Status::Failed => {
                let error = root.error.as_deref().unwrap_or_default();
                match error {
                    TOO_MANY => assert!(failed > self.odds.tolerated),
                    READER_FAILED | WRITER_FAILED => assert!(self.odds.store_fails > 0),
                    other => panic!("RUN-1: failed by {other}: {:?}", root.cause),
                }
            }
            other => panic!("RUN-1: ended as {other:?}"),
        }
        assert!(self.invoked.is_empty(), "RUN-5: no attempt outlives its execution");
    }
}

fn failed_store(error: &str) -> Failed {
    Failed { error: error.to_owned(), cause: "503".to_owned() }
}

fn answered(payload: &Value) -> Outcome {
    Outcome { result: Ok(payload.to_string().into_bytes()), report: None }
}

fn flaky() -> Outcome {
    let payload = json!({ "errorType": "Flaky" }).to_string();
    let (function, error_type, message) = ("f".to_owned(), "Flaky".to_owned(), String::new());
    Outcome { result: Err(InvokeError::Function { function, error_type, message, payload }), report: None }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn seeds() {
    let (first, count) = match number("STARMAP_SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("STARMAP_SIMULATION_SEEDS").unwrap_or(SEEDS_DEFAULT)),
    };
    let (mut crashes, mut succeeded) = (0_u64, 0_u64);
    for seed in first..first + count {
        let done = std::panic::catch_unwind(|| {
            let world = World::new(seed).run();
            world.check();
            world
        });
        let world = done.unwrap_or_else(|panic| {
            eprintln!("seed {seed} failed; replay: STARMAP_SIMULATION_SEED={seed} cargo test --release -p starmap-engine --test simulation_maps");
            std::panic::resume_unwind(panic)
        });
        crashes += u64::from(world.crashes);
        succeeded += u64::from(world.journal.execution(world.root).unwrap().unwrap().status == Status::Succeeded);
    }
    println!("{count} seeds, {crashes} crashes, {succeeded} executions succeeded");
    if count > 100 {
        assert!(crashes > count, "the simulation crashes less than once per seed: it proves little");
        assert!(succeeded > count / 3, "many executions should succeed, or there is little to prove");
    }
}
