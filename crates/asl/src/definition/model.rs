//! What a checked definition is: no names to resolve and no text to parse any more.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::choice::Rule;
use crate::command::ProcessorPath;
use crate::expression::Expression;
use crate::history::StateType;
use crate::resource::Resource;
use crate::retry::{Catcher, ResultPath, Retrier};
use crate::template::Template;
use crate::time::Timestamp;

/// Whether child executions of a Distributed Map are Standard or Express workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionType {
    /// Journaled, up to a year.
    Standard,
    /// Short, at least once.
    Express,
}

#[derive(Debug)]
pub(crate) struct Definition {
    /// The machine itself, every branch and every processor.
    pub(crate) scopes: Vec<Scope>,
    /// Where distributed processors are, by pointer.
    pub(crate) processors: BTreeMap<String, ScopeId>,
}

/// Index into [`Definition::scopes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScopeId(pub(crate) usize);

/// States that can reach each other: one `StartAt` and its `States`.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) start: usize,
    pub(crate) states: Vec<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) input_path: DataPath,
    pub(crate) output_path: DataPath,
    /// Unused by Choice, Succeed and Fail.
    pub(crate) next: Next,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Index into [`Scope::states`].
    State(usize),
    End,
}

/// `InputPath` or `OutputPath`.
#[derive(Debug)]
pub(crate) enum DataPath {
    /// `$`, the default.
    Whole,
    /// `null`: an empty object.
    Nothing,
    Path(Expression),
}

#[derive(Debug)]
pub(crate) enum Kind {
    Task(Task),
    Map(Map),
    Parallel(Parallel),
    Choice(Choice),
    Pass(Pass),
    Wait(Wait),
    Succeed,
    Fail(Fail),
}

impl Kind {
    pub(crate) fn state_type(&self) -> StateType {
        match self {
            Kind::Task(_) => StateType::Task,
            Kind::Map(_) => StateType::Map,
            Kind::Parallel(_) => StateType::Parallel,
            Kind::Choice(_) => StateType::Choice,
            Kind::Pass(_) => StateType::Pass,
            Kind::Wait(_) => StateType::Wait,
            Kind::Succeed => StateType::Succeed,
            Kind::Fail(_) => StateType::Fail,
        }
    }
}

/// A value from the definition or from the input.
#[derive(Clone, Debug)]
pub(crate) enum Setting<T> {
    Absent,
    Value(T),
    Path(Expression),
}

/// What Task, Parallel and Map do with their result and their errors.
#[derive(Debug)]
pub(crate) struct Handling {
    pub(crate) result_selector: Option<Template>,
    pub(crate) result_path: ResultPath,
    pub(crate) retry: Vec<Retrier>,
    pub(crate) catch: Vec<Catcher>,
}

#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) resource: Resource,
    pub(crate) parameters: Option<Template>,
    pub(crate) timeout: Setting<u64>,
    pub(crate) heartbeat: Setting<u64>,
    pub(crate) handling: Handling,
}

#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) processor: ScopeId,
    pub(crate) mode: MapMode,
    /// `None` is the whole effective input.
    pub(crate) items: Option<Expression>,
    /// `ItemSelector`, or `Parameters` in older definitions.
    pub(crate) item_selector: Option<Template>,
    /// 0 is no limit.
    pub(crate) max_concurrency: Setting<u64>,
    pub(crate) handling: Handling,
}

#[derive(Debug)]
pub(crate) enum MapMode {
    Inline,
    Distributed {
        path: ProcessorPath,
        child_type: ExecutionType,
        label: Option<String>,
        tolerated_count: Setting<u64>,
        tolerated_percentage: Setting<f64>,
    },
}

#[derive(Debug)]
pub(crate) struct Parallel {
    pub(crate) branches: Vec<ScopeId>,
    pub(crate) parameters: Option<Template>,
    pub(crate) handling: Handling,
}

#[derive(Debug)]
pub(crate) struct Choice {
    /// With the index of the state each leads to.
    pub(crate) rules: Vec<(Rule, usize)>,
    pub(crate) default: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) result: Option<Value>,
    pub(crate) parameters: Option<Template>,
    pub(crate) result_path: ResultPath,
}

#[derive(Debug)]
pub(crate) enum Wait {
    Seconds(u64),
    SecondsPath(Expression),
    Timestamp(Timestamp),
    TimestampPath(Expression),
}

#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) error: Setting<String>,
    pub(crate) cause: Setting<String>,
}
