//! What is simulated: machines, what their functions answer, what people do meanwhile, and what must have come of it.

mod fleet;
mod maps;
mod pipeline;
mod tasks;

use serde_json::Value;

use crate::random::Random;
use crate::world::World;

pub trait Scenario {
    /// What a function answers when nothing else goes wrong; once all is repaired, nothing is poisoned.
    fn answer(&mut self, function: &str, payload: &Value, is_repaired: bool) -> Result<Value, &'static str>;

    /// Whether workers ask for tasks of activities.
    fn has_activities(&self) -> bool {
        false
    }

    /// Whether the answer of a service always arrives.
    fn is_heard_surely(&self, _action: &str) -> bool {
        true
    }

    /// What people do before the next step; false once there is nothing more to come.
    fn goes_on(&mut self, world: &mut World) -> bool;

    /// What must have come of it, beside the invariants that always hold.
    fn check(&self, world: &World);
}

/// The scenario of a seed, and its world.
pub fn of(seed: u64) -> (World, Box<dyn Scenario>) {
    let random = Random::new(seed);
    match seed % 10 {
        0..3 => pipeline::new(random),
        3..5 => tasks::new(random),
        5..9 => maps::new(random),
        _ => fleet::new(random),
    }
}
