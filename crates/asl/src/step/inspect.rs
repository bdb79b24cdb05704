//! Looking over a state's shoulder: what its data were between its fields.
//!
//! TestState shows these values. An ordinary step has no inspector and pays one branch for each.

use serde_json::Value;

use crate::error::Failure;

/// A point in a state's data flow, named as the API's `InspectionData` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stage {
    /// The raw input, when the state is entered.
    Input,
    AfterInputPath,
    AfterParameters,
    AfterArguments,
    /// The items of a Map: `ItemsPath` or `Items`.
    AfterItemsPath,
    /// Every item after `ItemSelector`, as one array.
    AfterItemSelector,
    MaxConcurrency,
    ToleratedFailureCount,
    ToleratedFailurePercentage,
    /// The raw result of a Task, Map, Parallel or Pass.
    Result,
    AfterResultSelector,
    AfterResultPath,
    /// What `Assign` stored, as one object.
    Variables,
}

/// Told about every [`Stage`] a state goes through, in order, and what became of its errors.
pub(crate) trait Inspector {
    /// The data at a point.
    fn inspect(&mut self, stage: Stage, value: &Value);

    /// The state has failed: what comes before `Retry` and `Catch`.
    fn failed(&mut self, _failure: &Failure) {}

    /// The error goes to `Retry`: which entry, and the wait before the next attempt.
    fn retried(&mut self, _retrier: usize, _delay_ms: i64) {}

    /// The error goes to `Catch`: which entry.
    fn caught(&mut self, _catcher: usize) {}
}
