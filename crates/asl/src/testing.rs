//! What unit tests evaluate expressions in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::context::Context;
use crate::definition::{DataPath, Kind, Next, QueryLanguage, ScopeId, State};
use crate::execution::{Activity, Branch, ExecutionContext};
use crate::expression::{Environment, States};
use crate::random::Random;
use crate::time::Timestamp;
use crate::variables::Variables;

/// An execution named `run-1` in a state `A`, with the variable `$v = {"list": [1, 2]}`.
pub(crate) fn in_environment<T>(input: &Value, evaluate: impl FnOnce(&mut Environment<'_>) -> T) -> T {
    let who = ExecutionContext { execution_name: "run-1".to_owned(), ..ExecutionContext::default() };
    let state = State {
        name: "A".to_owned(),
        language: QueryLanguage::JsonPath,
        input_path: DataPath::Whole,
        output_path: DataPath::Whole,
        output: None,
        assign: None,
        next: Next::End,
        kind: Kind::Succeed,
    };
    let mut variables = Variables::default();
    variables.assign(&BTreeMap::from([("v".to_owned(), Arc::new(json!({"list": [1, 2]})))]));
    let variables = Arc::new(variables);
    let shared = Arc::new(input.clone());
    let branch = Branch {
        parent: None,
        scope: ScopeId(0),
        state: 0,
        input: Arc::clone(&shared),
        variables: Arc::clone(&variables),
        item: None,
        last_id: 0,
        before_id: 0,
        entered_id: 0,
        entered_at: Timestamp(0),
        retries: Vec::new(),
        activity: Activity::Ready,
    };
    let context = Context::new(&who, &shared, &state, &branch, None);
    evaluate(&mut Environment {
        input,
        states: States { input: &shared, result: None, error_output: None },
        context: &context,
        variables: &variables,
        random: &mut Random::new(0),
        at: Timestamp(0),
    })
}
