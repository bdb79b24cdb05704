//! The state to test as a machine of its own, in which every other state is a Succeed.

use serde_json::{Map, Value, json};

use super::request::{Error, Request};
use crate::definition::StateMachine;
use crate::diagnostics::Severity;
use crate::history::StateType;
use crate::resource::Resource;

/// What a state is called that came without a machine: AWS's name for it.
pub(super) const NAMELESS: &str = "StateName";

/// The state to test.
#[derive(Clone, Debug)]
pub(super) struct Tested {
    pub(super) name: String,
    pub(super) state_type: StateType,
    /// The state as it is in the definition.
    pub(super) state: Map<String, Value>,
    pub(super) is_jsonata: bool,
    /// What a Task calls.
    pub(super) resource: Option<Resource>,
}

impl Tested {
    /// Finds and checks the state to test.
    pub(super) fn find(request: &Request) -> Result<Tested, Error> {
        let definition: Value = match serde_json::from_str(&request.definition) {
            Ok(definition @ Value::Object(_)) => definition,
            _ => return Err(Error::definition(&StateMachine::parse(&request.definition).1)),
        };
        let (name, found) = match &request.state_name {
            None => (NAMELESS.to_owned(), Found { state: definition, language: None }),
            Some(name) => {
                parse(&request.definition)?;
                let found =
                    find(&definition, name, None).ok_or_else(|| Error::validation("State not found in definition"))?;
                (name.clone(), found)
            }
        };
        let language = found.state.get("QueryLanguage").or(found.language.as_ref()).and_then(Value::as_str);
        let is_jsonata = language == Some("JSONata");
        let Value::Object(state) = found.state else { return Err(Error::validation("State not found in definition")) };
        let tested = Tested {
            name,
            state_type: state_type(&state).unwrap_or(StateType::Pass),
            resource: state.get("Resource").and_then(Value::as_str).and_then(Resource::parse),
            is_jsonata,
            state,
        };
        // A state of a machine has been checked with it; its name and its neighbours' are not at the top here.
        if request.state_name.is_none() {
            parse(&tested.wrap(tested.state.clone()))?;
        }
        Ok(tested)
    }

    /// The machine that is run. Where there is a mock, a Map asks for its iterations as a Distributed Map does,
    /// whatever it is, and every branch of a Parallel is one Task: so both ask the one who holds the mock.
    pub(super) fn machine(&self, is_mocked: bool) -> Result<StateMachine, Error> {
        let mut state = self.state.clone();
        match self.state_type {
            StateType::Map if is_mocked => ask_for_iterations(&mut state),
            StateType::Parallel if is_mocked => ask_for_branches(&mut state, &self.name),
            _ => {}
        }
        parse(&self.wrap(state))
    }

    /// How many branches a Parallel has.
    pub(super) fn branch_count(&self) -> usize {
        self.state.get("Branches").and_then(Value::as_array).map_or(0, Vec::len)
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.state.contains_key(field)
    }

    /// True if a state of this name is somewhere inside the Map or Parallel.
    pub(super) fn contains(&self, name: &str) -> bool {
        inner_scopes(&self.state).any(|scope| find(scope, name, None).is_some())
    }

    /// What the definition calls a state that the machine of one leads to.
    pub(super) fn name_of_target(&self, target: String) -> String {
        if target == ITSELF { self.name.clone() } else { target }
    }

    fn wrap(&self, mut state: Map<String, Value>) -> String {
        let mut targets = Vec::new();
        for_each_target(&mut state, &mut |target| {
            if target == &self.name {
                ITSELF.clone_into(target);
            }
            targets.push(target.clone());
        });
        let mut states = Map::new();
        states.insert(self.name.clone(), Value::Object(state));
        for target in targets {
            // What the state leads to is never run; it only has to be there.
            states.entry(target).or_insert_with(|| json!({ "Type": "Succeed" }));
        }
        let mut machine = Map::new();
        if self.is_jsonata && !self.has("QueryLanguage") {
            machine.insert("QueryLanguage".to_owned(), "JSONata".into());
        }
        machine.insert("StartAt".to_owned(), self.name.clone().into());
        machine.insert("States".to_owned(), Value::Object(states));
        Value::Object(machine).to_string()
    }
}

fn parse(definition: &str) -> Result<StateMachine, Error> {
    let (machine, mut diagnostics) = StateMachine::parse(definition);
    machine.ok_or_else(|| {
        diagnostics.retain(|diagnostic| diagnostic.severity == Severity::Error);
        Error::definition(&diagnostics)
    })
}

struct Found {
    state: Value,
    /// The query language of the machine the state is in.
    language: Option<Value>,
}

/// Looks for a state in a scope and in everything inside it. `language` is what the scope inherits.
fn find(scope: &Value, name: &str, language: Option<&Value>) -> Option<Found> {
    let language = scope.get("QueryLanguage").or(language);
    let states = scope.get("States")?.as_object()?;
    if let Some(state) = states.get(name) {
        return Some(Found { state: state.clone(), language: language.cloned() });
    }
    states.values().filter_map(Value::as_object).find_map(|state| {
        // A branch or processor takes the machine's language, not that of the state around it.
        inner_scopes(state).find_map(|scope| find(scope, name, language))
    })
}

/// The branches of a Parallel, the processor of a Map.
fn inner_scopes(state: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let processors = ["ItemProcessor", "Iterator"].into_iter().filter_map(|name| state.get(name));
    state.get("Branches").and_then(Value::as_array).into_iter().flatten().chain(processors)
}

/// What a state is called where it leads to itself, so that it is not run twice.
const ITSELF: &str = "\u{2022}";

/// Everything in a state that names the state it leads to.
fn for_each_target(state: &mut Map<String, Value>, visit: &mut impl FnMut(&mut String)) {
    for field in ["Next", "Default"] {
        if let Some(Value::String(target)) = state.get_mut(field) {
            visit(target);
        }
    }
    for list in ["Choices", "Catch"] {
        let Some(Value::Array(entries)) = state.get_mut(list) else { continue };
        for entry in entries {
            if let Some(Value::String(target)) = entry.get_mut("Next") {
                visit(target);
            }
        }
    }
}

fn ask_for_iterations(state: &mut Map<String, Value>) {
    for name in ["ItemProcessor", "Iterator"] {
        if let Some(Value::Object(processor)) = state.get_mut(name) {
            let is_distributed = processor.get("ProcessorConfig").is_some_and(|config| config["Mode"] == "DISTRIBUTED");
            if !is_distributed {
                processor.insert(
                    "ProcessorConfig".to_owned(),
                    json!({ "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }),
                );
            }
        }
    }
}

/// What a mocked branch calls. Nobody is called: the mock answers.
const MOCKED: &str = "arn:aws:lambda:us-east-1:000000000000:function:mock";

fn ask_for_branches(state: &mut Map<String, Value>, name: &str) {
    let Some(Value::Array(branches)) = state.get_mut("Branches") else { return };
    for (index, branch) in branches.iter_mut().enumerate() {
        // Names must be unique in a machine, and cannot be longer than AWS allows.
        let inner = format!("{index} {}", name.chars().take(60).collect::<String>());
        let mut states = Map::new();
        states.insert(
            inner.clone(),
            json!({ "Type": "Task", "Resource": MOCKED, "QueryLanguage": "JSONPath", "End": true }),
        );
        *branch = json!({ "StartAt": inner, "States": states });
    }
}

fn state_type(state: &Map<String, Value>) -> Option<StateType> {
    use StateType::*;
    let name = state.get("Type")?.as_str()?;
    [Task, Map, Parallel, Choice, Pass, Wait, Succeed, Fail].into_iter().find(|kind| kind.as_str() == name)
}
