//! The seeded simulation: the real core on a journal in memory, and everything else as the seed has it. What is
//! simulated is in `scenarios`, what must always hold in `invariants`, what goes wrong in `world`.
//!
//! A failure prints its seed and the command that replays it. `STARMAP_SIMULATION_SEEDS=n` runs n seeds,
//! `STARMAP_SIMULATION_SEED=n` runs the seed n alone, and both run so many from there on. See docs/simulation.md.

mod invariants;
mod random;
mod scenarios;
mod world;

use starmap_engine::journal::{ExecutionId, Reader, Status};

use crate::invariants::{RUN_4, check_journal};
use crate::world::{Tally, World};

const SEEDS_DEFAULT: u64 = 1_000;
const STEPS_MAX: usize = 20_000;

fn simulate(seed: u64) -> World {
    let (mut world, mut scenario) = scenarios::of(seed);
    for _ in 0..STEPS_MAX {
        if !scenario.goes_on(&mut world) {
            check_journal(&world);
            scenario.check(&world);
            world.tally.succeeded =
                world.roots.iter().filter(|root| world.status(**root) == Status::Succeeded).count() as u64;
            return world;
        }
        world.step(scenario.as_mut());
    }
    panic!("{RUN_4}: not in {STEPS_MAX} steps, with {:?} and {:?}", world.faults, world.tally);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn seeds() {
    let (seed, seeds) = (number("STARMAP_SIMULATION_SEED"), number("STARMAP_SIMULATION_SEEDS"));
    let first = seed.unwrap_or(0);
    let count = seeds.unwrap_or(if seed.is_some() { 1 } else { SEEDS_DEFAULT });
    let mut all = Tally::default();
    for seed in first..first + count {
        let done = std::panic::catch_unwind(|| simulate(seed).tally);
        let tally = done.unwrap_or_else(|panic| {
            eprintln!(
                "seed {seed} failed; replay: STARMAP_SIMULATION_SEED={seed} \
                 cargo test --release -p starmap-engine --test simulation"
            );
            std::panic::resume_unwind(panic)
        });
        all.crashes += tally.crashes;
        all.stops += tally.stops;
        all.redrives += tally.redrives;
        all.by_token += tally.by_token;
        all.succeeded += tally.succeeded;
    }
    println!("{count} seeds: {all:?}");
    if count > 100 {
        let proves =
            all.crashes > count && all.stops > count / 2 && all.redrives > count / 2 && all.by_token > count / 10;
        assert!(proves && all.succeeded > count / 2, "it proves little: {all:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 70..80 {
        assert_eq!(recorded(&simulate(seed)), recorded(&simulate(seed)), "seed {seed}");
    }
}

/// Everything that was recorded, as text.
fn recorded(world: &World) -> String {
    let last = world.journal.last_rows().unwrap().0.0;
    let all = (1..=last).map(|id| {
        let id = ExecutionId(id);
        let history = world.journal.history(id, 0, usize::MAX).unwrap();
        format!("{:?}\n{history:?}\n", world.record(id))
    });
    all.collect()
}
