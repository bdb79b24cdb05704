//! `%`: finding the step whose context a reference to a parent means.
//!
//! Every `%` opens a slot that looks, step by step to the left and then outwards, for the step it stands for. That step
//! then carries its context along in a variable.

use crate::ast::{Kind, Node, Slot};
use crate::error::Error;

#[derive(Debug, Default)]
pub(crate) struct Ancestry {
    slots: Vec<State>,
}

#[derive(Debug)]
struct State {
    /// Slots that found the same step share one label.
    label: usize,
    /// How many steps up it still has to go.
    level: u32,
}

impl Ancestry {
    pub(crate) fn new_slot(&mut self) -> Slot {
        let label = self.slots.len();
        self.slots.push(State { label, level: 1 });
        label
    }

    pub(crate) fn labels(&self) -> Vec<usize> {
        self.slots.iter().map(|state| state.label).collect()
    }

    pub(crate) fn level(&self, slot: Slot) -> u32 {
        self.slots[slot].level
    }

    pub(crate) fn lower(&mut self, slot: Slot) {
        self.slots[slot].level = self.slots[slot].level.saturating_sub(1);
    }

    /// What a node hands on to the node around it.
    pub(crate) fn sought(&self, node: &Node) -> Vec<Slot> {
        let mut slots = node.seeking.clone();
        if let Kind::Parent(slot) = node.kind {
            slots.push(slot);
        }
        slots
    }

    /// Lets the slots of a path's last step look through the steps before it.
    pub(crate) fn resolve(&mut self, path: &mut Node) -> Result<(), Error> {
        let mut unresolved = Vec::new();
        if let Kind::Path { steps, .. } = &mut path.kind {
            let last = steps.len() - 1;
            for slot in self.sought(&steps[last]) {
                let mut index = last;
                while self.level(slot) > 0 {
                    if index == 0 {
                        unresolved.push(slot);
                        break;
                    }
                    index -= 1;
                    // Steps that bind a variable each have the same context.
                    while index > 0 && steps[index].step.focus.is_some() && steps[index - 1].step.focus.is_some() {
                        index -= 1;
                    }
                    self.seek(&mut steps[index], slot)?;
                }
            }
        }
        path.seeking.extend(unresolved);
        Ok(())
    }

    /// Lets one slot look at one step.
    ///
    /// # Errors
    /// S0217 for a step that has no parent.
    pub(crate) fn seek(&mut self, node: &mut Node, slot: Slot) -> Result<(), Error> {
        match &mut node.kind {
            Kind::Name(_) | Kind::Wildcard => {
                self.lower(slot);
                if self.level(slot) == 0 {
                    match node.step.ancestor {
                        Some(other) => self.slots[slot].label = self.slots[other].label,
                        None => node.step.ancestor = Some(slot),
                    }
                    node.step.is_tuple = true;
                }
            }
            Kind::Parent(_) => self.slots[slot].level += 1,
            Kind::Block(expressions) => {
                if let Some(last) = expressions.last_mut() {
                    self.seek(last, slot)?;
                    node.step.is_tuple = true;
                }
            }
            Kind::Path { steps, .. } => {
                for step in steps.iter_mut().rev() {
                    self.seek(step, slot)?;
                    if self.level(slot) == 0 {
                        break;
                    }
                }
                node.step.is_tuple = true;
            }
            _ => return Err(Error::new("S0217").token(node.type_name()).at(node.position)),
        }
        Ok(())
    }
}
