//! The picture of a state machine: [`model`] reads a definition, [`layout`] finds a place for everything in it, and
//! [`draw`] makes an SVG of it with what an execution has done so far.

mod draw;
mod layout;
mod model;

pub(super) use draw::{Counts, Look, Picture, legend};
use layout::Placed;
use model::Scope;

/// A definition, laid out once and drawn as often as its execution changes.
#[derive(Debug)]
pub(in crate::console) struct Graph {
    scope: Scope,
    placed: Placed,
}

impl Graph {
    /// Of a definition; it need not be valid, only JSON with states in it.
    ///
    /// # Errors
    /// Why there is no picture of it.
    pub(in crate::console) fn of(definition: &str) -> Result<Self, String> {
        let scope = model::read(definition)?;
        let placed = layout::layout(&scope)?;
        Ok(Self { scope, placed })
    }

    /// The names of all states, each with its type, outer ones before those in them.
    pub(in crate::console) fn states(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        self.scope.each_state(&mut |node| found.push((node.name.as_str(), node.kind.as_str())));
        found
    }
}
