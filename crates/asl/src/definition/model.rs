//! What a checked definition is: no names to resolve and no text to parse any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::distributed::Distributed;
use crate::choice::Rule;
use crate::expression::Expression;
use crate::history::StateType;
use crate::resource::Resource;
use crate::retry::{Catcher, ResultPath, Retrier};
use crate::template::{Computed, Template};
use crate::time::Timestamp;

/// Whether a machine, or the child executions of a Distributed Map, are Standard or Express workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExecutionType {
    /// Journaled, up to a year.
    Standard,
    /// Short, at least once.
    Express,
}

/// The language of a state's expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum QueryLanguage {
    #[default]
    JsonPath,
    Jsonata,
}

impl QueryLanguage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            QueryLanguage::JsonPath => "JSONPath",
            QueryLanguage::Jsonata => "JSONata",
        }
    }
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
    pub(crate) language: QueryLanguage,
    /// JSONPath only.
    pub(crate) input_path: DataPath,
    /// JSONPath only.
    pub(crate) output_path: DataPath,
    /// JSONata only: `Output`. Of a Choice: where no rule matched.
    pub(crate) output: Option<Template>,
    /// `Assign`; makes an object. Of a Choice: where no rule matched.
    pub(crate) assign: Option<Template>,
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

    /// The Retry and Catch of the state types that have them.
    pub(crate) fn handling(&self) -> Option<&Handling> {
        match self {
            Kind::Task(task) => Some(&task.handling),
            Kind::Map(map) => Some(&map.handling),
            Kind::Parallel(parallel) => Some(&parallel.handling),
            Kind::Choice(_) | Kind::Pass(_) | Kind::Wait(_) | Kind::Succeed | Kind::Fail(_) => None,
        }
    }
}

/// A value from the definition, or computed.
#[derive(Clone, Debug)]
pub(crate) enum Setting<T> {
    Absent,
    Value(T),
    /// By the `…Path` field in the JSONPath dialect, by the field itself in the JSONata dialect.
    Computed(Computed),
}

impl<T> Setting<T> {
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        if let Setting::Computed(computed) = self {
            computed.expression.variables(note);
        }
    }
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
    /// `Parameters` or `Arguments`.
    pub(crate) arguments: Option<Template>,
    pub(crate) timeout: Setting<u64>,
    pub(crate) heartbeat: Setting<u64>,
    /// Makes an object with `RoleArn`.
    pub(crate) credentials: Option<Template>,
    pub(crate) handling: Handling,
}

#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) processor: ScopeId,
    pub(crate) mode: MapMode,
    pub(crate) items: Items,
    /// `ItemSelector`, or `Parameters` in older definitions.
    pub(crate) item_selector: Option<Template>,
    /// 0 is no limit.
    pub(crate) max_concurrency: Setting<u64>,
    pub(crate) tolerated_count: Setting<u64>,
    pub(crate) tolerated_percentage: Setting<f64>,
    pub(crate) handling: Handling,
}

/// What a Map goes over.
#[derive(Debug)]
pub(crate) enum Items {
    /// The effective input.
    Input,
    /// `ItemsPath`.
    Path(Expression),
    /// `Items`.
    Template(Template),
}

#[derive(Debug)]
pub(crate) enum MapMode {
    Inline,
    Distributed(Box<Distributed>),
}

#[derive(Debug)]
pub(crate) struct Parallel {
    pub(crate) branches: Vec<ScopeId>,
    /// `Parameters` or `Arguments`.
    pub(crate) arguments: Option<Template>,
    pub(crate) handling: Handling,
}

#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) rules: Vec<ChoiceRule>,
    pub(crate) default: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct ChoiceRule {
    pub(crate) condition: Condition,
    /// JSONata only.
    pub(crate) output: Option<Template>,
    pub(crate) assign: Option<Template>,
    /// Index of the state it leads to.
    pub(crate) next: usize,
}

#[derive(Debug)]
pub(crate) enum Condition {
    /// JSONPath.
    Rule(Rule),
    /// JSONata: a constant.
    Constant(bool),
    /// JSONata.
    Computed(Computed),
}

#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) result: Option<Arc<Value>>,
    pub(crate) parameters: Option<Template>,
    pub(crate) result_path: ResultPath,
}

#[derive(Debug)]
pub(crate) enum Wait {
    Seconds(u64),
    Timestamp(Timestamp),
    /// `SecondsPath`, or `Seconds` of the JSONata dialect.
    SecondsOf(Computed),
    /// `TimestampPath`, or `Timestamp` of the JSONata dialect.
    TimestampOf(Computed),
}

#[derive(Debug)]
pub(crate) struct Fail {
    pub(crate) error: Setting<String>,
    pub(crate) cause: Setting<String>,
}

impl State {
    /// Names the workflow variables that the state itself reads, and not those of its branches or its processor.
    pub(crate) fn variables(&self, note: &mut dyn FnMut(&str)) {
        for path in [&self.input_path, &self.output_path] {
            if let DataPath::Path(path) = path {
                path.variables(note);
            }
        }
        let mut templates = vec![&self.output, &self.assign];
        if let Some(handling) = self.kind.handling() {
            templates.push(&handling.result_selector);
            for catcher in &handling.catch {
                templates.extend([&catcher.output, &catcher.assign]);
            }
        }
        match &self.kind {
            Kind::Task(task) => {
                templates.extend([&task.arguments, &task.credentials]);
                task.timeout.variables(note);
                task.heartbeat.variables(note);
            }
            Kind::Map(map) => {
                templates.push(&map.item_selector);
                match &map.items {
                    Items::Input => {}
                    Items::Path(path) => path.variables(note),
                    Items::Template(items) => items.variables(note),
                }
                if let MapMode::Distributed(distributed) = &map.mode {
                    distributed.variables(note);
                }
                map.max_concurrency.variables(note);
                map.tolerated_count.variables(note);
                map.tolerated_percentage.variables(note);
            }
            Kind::Parallel(parallel) => templates.push(&parallel.arguments),
            Kind::Choice(choice) => {
                for rule in &choice.rules {
                    templates.extend([&rule.output, &rule.assign]);
                    match &rule.condition {
                        Condition::Rule(rule) => rule.variables(note),
                        Condition::Constant(_) => {}
                        Condition::Computed(computed) => computed.expression.variables(note),
                    }
                }
            }
            Kind::Pass(pass) => templates.push(&pass.parameters),
            Kind::Wait(Wait::SecondsOf(computed) | Wait::TimestampOf(computed)) => computed.expression.variables(note),
            Kind::Wait(Wait::Seconds(_) | Wait::Timestamp(_)) | Kind::Succeed => {}
            Kind::Fail(fail) => {
                fail.error.variables(note);
                fail.cause.variables(note);
            }
        }
        for template in templates.into_iter().flatten() {
            template.variables(note);
        }
    }
}
