//! The context object: `$$` and `$states.context`.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::definition::State;
use crate::execution::{Branch, ExecutionContext, Given, Item};
use crate::jsonpath::{JsonPath, NotFound};

/// The context object of a state. It is made when it is first read, and the execution's input, which may be large,
/// is copied into it only for those who read that part.
pub(crate) struct Context<'a> {
    who: &'a ExecutionContext,
    input: &'a Arc<Value>,
    state: &'a State,
    branch: &'a Branch,
    item: Option<Item>,
    token: Option<&'a str>,
    given: Option<&'a Given>,
    whole: OnceCell<Arc<Value>>,
    without_input: OnceCell<Arc<Value>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        who: &'a ExecutionContext,
        input: &'a Arc<Value>,
        state: &'a State,
        branch: &'a Branch,
        token: Option<&'a str>,
    ) -> Context<'a> {
        Context {
            who,
            input,
            state,
            branch,
            item: branch.item.clone(),
            token,
            given: None,
            whole: OnceCell::new(),
            without_input: OnceCell::new(),
        }
    }

    /// What a test gives in place of the execution's own.
    pub(crate) fn given(self, given: Option<&'a Given>) -> Context<'a> {
        Context { given, ..self }
    }

    /// Puts another item of a Map in place, without making the rest anew.
    pub(crate) fn set_item(&mut self, item: Item) {
        for made in [self.whole.get_mut(), self.without_input.get_mut()].into_iter().flatten() {
            Arc::make_mut(made)["Map"] = map_of(&item);
        }
        self.item = Some(item);
    }

    pub(crate) fn value(&self) -> &Value {
        self.shared()
    }

    pub(crate) fn shared(&self) -> &Arc<Value> {
        self.whole.get_or_init(|| Arc::new(self.make(true)))
    }

    /// What `path` points at, where `$` is the context object.
    pub(crate) fn query<'v>(&'v self, path: &JsonPath) -> Result<Cow<'v, Value>, NotFound> {
        let reads_input = match path.first_names() {
            (Some("Execution"), Some("Input") | None) | (None, _) => true,
            (Some(_), _) => false,
        };
        if reads_input {
            return path.query(self.value());
        }
        path.query(self.without_input.get_or_init(|| Arc::new(self.make(false))))
    }

    fn make(&self, with_input: bool) -> Value {
        if let Some(given) = self.given {
            return given.context_of(self.item.as_ref(), self.token);
        }
        let who = self.who;
        let mut execution = Map::new();
        execution.insert("Id".to_owned(), who.execution_id.as_str().into());
        if with_input {
            execution.insert("Input".to_owned(), Value::clone(self.input));
        }
        execution.insert("StartTime".to_owned(), who.start_time.to_string().into());
        execution.insert("Name".to_owned(), who.execution_name.as_str().into());
        execution.insert("RoleArn".to_owned(), who.role_arn.as_str().into());
        if !who.is_express {
            execution.insert("RedriveCount".to_owned(), who.redrive_count.into());
        }
        let mut context = json!({
            "Execution": execution,
            "StateMachine": { "Id": who.state_machine_id, "Name": who.state_machine_name },
            "State": { "Name": self.state.name, "EnteredTime": self.branch.entered_at.to_string() },
        });
        if self.state.kind.handling().is_some() {
            context["State"]["RetryCount"] = self.branch.retries.iter().sum::<u32>().into();
        }
        if let Some(item) = &self.item {
            context["Map"] = map_of(item);
        }
        if let Some(token) = self.token {
            context["Task"] = json!({ "Token": token });
        }
        context
    }
}

fn map_of(Item { index, key, source, value }: &Item) -> Value {
    let mut item = json!({ "Index": index, "Value": **value });
    if let Some(key) = key {
        item["Key"] = key.as_str().into();
    }
    if let Some(source) = source {
        item["Source"] = source.as_str().into();
    }
    json!({ "Item": item })
}
