//! A parsed state machine.
use crate::command::ProcessorPath;
use crate::diagnostics::Diagnostic;

/// Whether child executions of a Distributed Map are Standard or Express workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionType {
    /// Journaled, up to a year.
    Standard,
    /// Short, at least once.
    Express,
}

/// A state machine that has been checked and can run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StateMachine {}

impl StateMachine {
    /// Reads and checks a definition; reports everything it finds.
    ///
    /// Returns a machine exactly when no diagnostic is an error.
    pub fn parse(_text: &str) -> (Option<StateMachine>, Vec<Diagnostic>) {
        (None, Vec::new())
    }

    /// The processor of a Distributed Map as a machine of its own, for child executions.
    ///
    /// Paths count from the definition's root, so a child's machine resolves its own nested maps, too.
    pub fn processor(&self, _map: &ProcessorPath) -> Option<StateMachine> {
        None
    }
}
