//! Which actions on which resources a request to Step Functions asks for.
//!
//! # Source
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html>, read 2026-11.

use serde_json::{Map, Value};

use super::StepFunctions;
use crate::auth::Ask;

/// Members that name what an action is about, in the order in which they are looked for.
const NAMING: [&str; 8] = [
    "stateMachineAliasArn",
    "stateMachineVersionArn",
    "executionArn",
    "mapRunArn",
    "activityArn",
    "stateMachineArn",
    "resourceArn",
    "routingConfiguration",
];

impl StepFunctions {
    /// All that the caller has to be allowed.
    pub(crate) fn asks(&self, action: &str, body: &[u8]) -> Vec<Ask> {
        let members: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let naming = self.engine.naming();
        let resource = match action {
            "CreateStateMachine" => text("name").map(|name| naming.state_machine(name)),
            "CreateActivity" => text("name").map(|name| naming.activity(name)),
            // An alias is of the state machine whose versions it names.
            "CreateStateMachineAlias" => members
                .get("routingConfiguration")
                .and_then(|routes| routes.get(0)?.get("stateMachineVersionArn")?.as_str())
                .and_then(|version| version.rsplit_once(':'))
                .map(|(machine, _)| machine.to_owned()),
            _ => NAMING.iter().find_map(|name| text(name)).map(str::to_owned),
        };
        let mut asks = vec![Ask::new(format!("states:{action}"), resource.unwrap_or_else(|| "*".to_owned()))];
        // Whoever gives a state machine a role could act as that role.
        if let Some(role) =
            text("roleArn").filter(|_| ["CreateStateMachine", "UpdateStateMachine", "TestState"].contains(&action))
        {
            asks.push(Ask::new("iam:PassRole", role).with("iam:PassedToService", "states.amazonaws.com"));
        }
        asks
    }
}
