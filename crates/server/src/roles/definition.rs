//! What a definition needs, read from its text: every Task, every Distributed Map, its reader and its writer.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use starmap_asl::Resource;
use starmap_engine::names::Naming;

use super::required::{self, Call, Permission};

/// What one state needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The state's name.
    pub state: String,
    /// For what.
    pub purpose: String,
    /// Which permissions.
    pub permissions: Vec<Permission>,
    /// Arguments that come from the data, so that a pattern stands for them.
    pub open: Vec<String>,
    /// The role that the state takes on for it, if its `Credentials` name one.
    pub role_arn: Option<String>,
}

/// What a role needs beside what its definition says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optional {
    /// The state machine logs to CloudWatch Logs.
    pub logging: bool,
    /// It sends traces to X-Ray.
    pub tracing: bool,
    /// Its map runs may be redriven.
    pub redrives: bool,
}

/// What executions of a state machine need. `input` is the execution's, where it is known: arguments that are taken
/// from it by `$$.Execution.Input` stand for what is there.
pub fn needs(
    definition: &Value,
    state_machine_arn: &str,
    input: Option<&Value>,
    naming: &Naming,
    optional: Optional,
) -> Vec<Need> {
    let language = language(definition).unwrap_or("JSONPath").to_owned();
    let mut walk = Walk { needs: Vec::new(), state_machine_arn, input, naming, optional };
    walk.states(definition, &language);
    let of_all = |purpose: &str, actions: &[&str]| Need {
        state: String::new(),
        purpose: purpose.to_owned(),
        permissions: actions.iter().map(|action| Permission::new(action, "*")).collect(),
        open: Vec::new(),
        role_arn: None,
    };
    if optional.logging {
        walk.needs.push(of_all("logs of executions", &LOGGING));
    }
    if optional.tracing {
        walk.needs.push(of_all("traces", &TRACING));
    }
    walk.needs
}

/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html>, read 2026-11.
const LOGGING: [&str; 8] = [
    "logs:CreateLogDelivery",
    "logs:GetLogDelivery",
    "logs:UpdateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:DescribeResourcePolicies",
    "logs:DescribeLogGroups",
];
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-xray-tracing.html>, read 2026-11.
const TRACING: [&str; 4] =
    ["xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"];

struct Walk<'a> {
    needs: Vec<Need>,
    state_machine_arn: &'a str,
    input: Option<&'a Value>,
    naming: &'a Naming,
    optional: Optional,
}

impl Walk<'_> {
    fn states(&mut self, scope: &Value, outer: &str) {
        for (name, state) in scope.get("States").and_then(Value::as_object).into_iter().flatten() {
            let language = language(state).unwrap_or(outer);
            match state.get("Type").and_then(Value::as_str) {
                Some("Task") => self.task(name, state, language),
                Some("Map") => self.map(name, state, language),
                _ => {}
            }
            for branch in state.get("Branches").and_then(Value::as_array).into_iter().flatten() {
                self.states(branch, language);
            }
            for processor in ["ItemProcessor", "Iterator"].iter().filter_map(|name| state.get(name)) {
                self.states(processor, language);
            }
        }
    }

    fn task(&mut self, name: &str, state: &Value, language: &str) {
        let Some(resource) = state.get("Resource").and_then(Value::as_str).and_then(Resource::parse) else { return };
        let template = state.get(if language == "JSONata" { "Arguments" } else { "Parameters" });
        let (arguments, open) = self.arguments(template);
        let permissions = match &resource {
            Resource::Function { arn } => vec![required::invoke(arn, self.naming)],
            // Its worker asks for it; the execution only puts it there.
            Resource::Activity { .. } => return,
            Resource::Service { service, action, pattern, .. } => {
                let sdk = service.strip_prefix("aws-sdk:");
                let call = Call {
                    service: sdk.unwrap_or(service),
                    action,
                    is_sdk: sdk.is_some(),
                    pattern: *pattern,
                    arguments: &arguments,
                };
                required::call(call, self.naming)
            }
        };
        // Only what the permissions are about can be open: a payload may be what it wants.
        let open =
            open.into_iter().filter(|name| !matches!(name.as_str(), "Payload" | "Input" | "MessageBody" | "Message"));
        let role_arn = state.pointer("/Credentials/RoleArn").and_then(Value::as_str).map(str::to_owned);
        let (state, purpose) = (name.to_owned(), resource.arn().to_owned());
        self.needs.push(Need { state, purpose, permissions, open: open.collect(), role_arn });
    }

    fn map(&mut self, name: &str, state: &Value, language: &str) {
        let mode =
            state.pointer("/ItemProcessor/ProcessorConfig/Mode").or(state.pointer("/Iterator/ProcessorConfig/Mode"));
        if mode.and_then(Value::as_str) != Some("DISTRIBUTED") {
            return;
        }
        let machine = self.state_machine_arn;
        self.push(name, "children of the map run", required::map_run(machine, false), Vec::new());
        if self.optional.redrives {
            self.push(name, "redriven children of the map run", required::map_run(machine, true), Vec::new());
        }
        let field = if language == "JSONata" { "Arguments" } else { "Parameters" };
        if let Some(reader) = state.get("ItemReader") {
            let (arguments, open) = self.arguments(reader.get(field));
            let is_listing =
                reader.get("Resource").and_then(Value::as_str).is_some_and(|arn| arn.ends_with("listObjectsV2"));
            let mut permissions = required::item_reader(is_listing, &arguments);
            let config = reader.get("ReaderConfig");
            let is_manifest = config.and_then(|config| config.get("InputType")).is_some_and(|kind| kind == "MANIFEST");
            let loads =
                config.and_then(|config| config.get("Transformation")).is_some_and(|kind| kind == "LOAD_AND_FLATTEN");
            if is_manifest || loads {
                // The files that are named there are read, too, wherever in the bucket they are.
                let bucket = arguments.get("Bucket").and_then(Value::as_str).unwrap_or("*");
                permissions.push(Permission::new("s3:GetObject", format!("arn:aws:s3:::{bucket}/*")));
            }
            self.push(name, "items", permissions, open);
        }
        if let Some(writer) = state.get("ResultWriter") {
            let (arguments, open) = self.arguments(writer.get(field));
            let text = |name: &str| arguments.get(name).and_then(Value::as_str);
            if let Some(bucket) = text("Bucket") {
                self.push(name, "results", required::result_writer(bucket, text("Prefix").unwrap_or("")), open);
            }
        }
    }

    fn push(&mut self, state: &str, purpose: &str, permissions: Vec<Permission>, open: Vec<String>) {
        let (state, purpose) = (state.to_owned(), purpose.to_owned());
        self.needs.push(Need { state, purpose, permissions, open, role_arn: None });
    }

    /// A template with `*` for whatever comes from the data, and which fields those are.
    fn arguments(&self, template: Option<&Value>) -> (Value, Vec<String>) {
        let mut open = BTreeSet::new();
        let Some(Value::Object(template)) = template else {
            let is_computed = template.is_some_and(|template| template.is_string());
            return (Value::Object(Map::new()), if is_computed { vec!["Arguments".to_owned()] } else { Vec::new() });
        };
        let arguments = template.iter().map(|(name, value)| {
            let (name, value) = match (name.strip_suffix(".$"), value) {
                (Some(name), Value::String(path)) => (name, self.known(path)),
                (_, Value::String(text)) if text.starts_with("{%") => {
                    let inner = text.trim_start_matches("{%").trim_end_matches("%}").trim();
                    let path = inner.strip_prefix("$states.context.Execution.Input");
                    (name.as_str(), path.and_then(|path| self.known(&format!("$$.Execution.Input{path}"))))
                }
                (_, value) => (name.as_str(), Some(value.clone())),
            };
            let value = value.unwrap_or_else(|| {
                open.insert(name.to_owned());
                Value::from("*")
            });
            (name.to_owned(), value)
        });
        let arguments = Value::Object(arguments.collect());
        (arguments, open.into_iter().collect())
    }

    /// What a path leads to, if that is in the execution's input and known to be.
    fn known(&self, path: &str) -> Option<Value> {
        let rest = path.strip_prefix("$$.Execution.Input")?;
        let mut at = self.input?;
        for step in rest.split('.').filter(|step| !step.is_empty()) {
            at = at.get(step)?;
        }
        Some(at.clone())
    }
}

fn language(scope: &Value) -> Option<&str> {
    scope.get("QueryLanguage").and_then(Value::as_str)
}

/// The rules of events that waiting for other services' jobs needs, which AWS makes when a state machine is made.
pub(super) fn managed_rules(definition: &Value, naming: &Naming) -> Vec<Permission> {
    let all = needs(definition, "*", None, naming, Optional::default());
    let rules =
        all.into_iter().flat_map(|need| need.permissions).filter(|needed| needed.action.starts_with("events:Put"));
    rules.filter(|needed| needed.resource.contains(":rule/StepFunctionsGetEvent")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn permissions(definition: &Value, input: Option<&Value>) -> Vec<(String, String)> {
        let naming = Naming { region: "us-east-1".to_owned(), account: "123456789012".to_owned() };
        let machine = naming.state_machine("m");
        let all = needs(definition, &machine, input, &naming, Optional::default());
        all.into_iter().flat_map(|need| need.permissions).map(|needed| (needed.action, needed.resource)).collect()
    }

    #[test]
    fn every_state_counts_wherever_it_is() {
        let task = |name: &str| {
            json!({
                "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": { "FunctionName": name }, "End": true,
            })
        };
        let scope = |name: &str| json!({ "StartAt": name, "States": { name: task(name) } });
        let mut distributed = scope("d");
        distributed["ProcessorConfig"] = json!({ "Mode": "DISTRIBUTED" });
        let definition = json!({ "StartAt": "a", "States": {
            "a": task("a"),
            "p": { "Type": "Parallel", "Branches": [scope("b"), scope("c")] },
            "m": {
                "Type": "Map",
                "Iterator": distributed,
                "ItemReader": { "Resource": "arn:aws:states:::s3:getObject", "Parameters": { "Bucket": "in", "Key.$": "$.key" } },
                "ResultWriter": { "Resource": "arn:aws:states:::s3:putObject", "Parameters": { "Bucket": "out", "Prefix": "r" } },
            },
        } });
        let found = permissions(&definition, None);
        let arns: Vec<&str> = found.iter().map(|(_, arn)| arn.as_str()).collect();
        for name in ["a", "b", "c", "d"] {
            assert!(
                arns.contains(&format!("arn:aws:lambda:us-east-1:123456789012:function:{name}").as_str()),
                "{arns:?}"
            );
        }
        assert!(found.contains(&(
            "states:StartExecution".to_owned(),
            "arn:aws:states:us-east-1:123456789012:stateMachine:m".to_owned()
        )));
        assert!(found.contains(&("s3:GetObject".to_owned(), "arn:aws:s3:::in/*".to_owned())));
        assert!(found.contains(&("s3:PutObject".to_owned(), "arn:aws:s3:::out/r/*".to_owned())));
    }

    #[test]
    fn what_is_in_the_input_is_known() {
        let definition = json!({ "States": { "a": {
            "Type": "Task", "Resource": "arn:aws:states:::aws-sdk:s3:getObject",
            "Parameters": { "Bucket.$": "$$.Execution.Input.bucket", "Key.$": "$.key" },
        } } });
        let input = json!({ "bucket": "sky" });
        assert_eq!(
            permissions(&definition, Some(&input)),
            [("s3:GetObject".to_owned(), "arn:aws:s3:::sky/*".to_owned())]
        );
        assert_eq!(permissions(&definition, None), [("s3:GetObject".to_owned(), "arn:aws:s3:::*/*".to_owned())]);
    }
}
