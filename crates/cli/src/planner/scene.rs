//! One simulated run: which work, with which durations, where.

use serde_json::{Value, json};
use starmap_engine::billing::{Architecture, Bill, Prices};
use starmap_engine::journal::Status;
use starmap_engine::simulate::{self, Attempt, Attempted, Capacity, Latency, Setup, Simulated};
use starmap_pipeline::plan::{Profile, Random, Work};
use starmap_pipeline::requests::{ByFunction, partition_reads};

use crate::billing;
use crate::commands::run::EXAMPLE_DEFINITION;

/// A run to predict.
#[derive(Debug, Clone)]
pub struct Scene<'a> {
    /// How long functions take.
    pub profile: &'a Profile,
    /// Galaxies by rank.
    pub work: &'a Work,
    /// Galaxies per forward pass.
    pub batch: u64,
    /// In how many bits the model's large layers multiply.
    pub precision: &'a str,
    /// Memory of a function, MiB.
    pub memory_mib: u32,
    /// When workers are to be had.
    pub capacity: Capacity,
    /// How long the orchestration takes.
    pub latency: Latency,
    /// Children that run at once: the definition's `MaxConcurrency`.
    pub children_max: u32,
    /// Seconds here for each second of the profile.
    pub slowness: f64,
    /// Seconds of Initialize and of Summarize beside what the profile says.
    pub ends_s: (f64, f64),
}

/// What is predicted of one run.
#[derive(Debug)]
pub struct Predicted {
    /// Start to end of the execution, seconds.
    pub wall_s: f64,
    /// The map run, seconds.
    pub map_s: f64,
    /// What it used, requests to object storage included.
    pub run: Simulated,
}

impl Predicted {
    /// What it costs.
    pub fn bill(&self, prices: &Prices, architecture: Architecture) -> Bill {
        Bill::of(&self.run.meter, prices, architecture, 512)
    }

    /// Whether it ends well.
    pub fn succeeds(&self) -> bool {
        self.run.ending.status == Status::Succeeded
    }
}

/// Simulates it.
///
/// # Errors
/// When the definition asks for what a simulation does not have.
pub fn predict(scene: &Scene<'_>, seed: u64) -> anyhow::Result<Predicted> {
    let mut setup = Setup::new(definition(scene.children_max), json!({}), format!("plan-{seed}"), scene.capacity);
    setup.latency = scene.latency;
    let mut random = Random::new(seed);
    let (work, profile, memory_mib) = (scene.work, scene.profile, scene.memory_mib);
    let partitions = work.partitions() as f64;
    let galaxies = work.galaxies() as f64;
    let mut cold = 0;
    let mut functions = |attempt: &Attempt<'_>| {
        let (seconds, answer) = match attempt.function {
            "starmap-initialize" => {
                let body: Vec<Value> = (0..work.ranks()).map(Value::from).collect();
                let seconds = profile.initialize_s.at(partitions) + scene.ends_s.0;
                (seconds, json!({ "statusCode": 200, "body": body }))
            }
            "starmap-infer" => {
                let rank = std::str::from_utf8(attempt.payload).ok().and_then(|text| text.trim().parse().ok());
                let (galaxies, _) = work.of_rank(rank.unwrap_or(usize::MAX));
                cold += u64::from(attempt.is_cold);
                let item_s = profile.item_s(galaxies, scene.batch, scene.precision, attempt.is_cold, &mut random);
                (item_s * scene.slowness, Value::Null)
            }
            _ => (profile.summarize_s.at(galaxies) + scene.ends_s.1, json!({ "statusCode": 200 })),
        };
        Attempted {
            init_ms: random.one_of(&profile.init_s, 0.0) * 1e3,
            duration_ms: seconds * 1e3,
            memory_mib,
            max_memory_used_mib: 0,
            result: Ok(answer.to_string().into_bytes()),
        }
    };
    let mut run = simulate::run(&setup, &mut functions, None)?;
    let (ranks, partitions) = (work.ranks() as u64, work.partitions() as u64);
    let reads = partitions * partition_reads(work.galaxies().div_ceil(partitions.max(1)));
    let requests = ByFunction::of(partitions, partitions, ranks, cold, profile.model_bytes, reads);
    billing::add_requests(&mut run.meter, Some(requests));
    Ok(Predicted { wall_s: run.wall_s, map_s: run.map_s.unwrap_or(0.0), run })
}

/// The definition that ships, with another limit on its children.
fn definition(children_max: u32) -> String {
    let mut definition: Value = serde_json::from_str(EXAMPLE_DEFINITION).unwrap_or_default();
    if let Some(Value::Object(states)) = definition.get_mut("States") {
        for state in states.values_mut().filter(|state| state["Type"] == "Map") {
            state["MaxConcurrency"] = json!(children_max);
        }
    }
    definition.to_string()
}
