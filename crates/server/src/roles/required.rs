//! Which permissions a Task's call needs: IAM's action and the ARN of what it acts on.
//!
//! Arguments may be patterns: where a definition takes a name from its data, `*` stands for it, and so the ARN that
//! comes out of it is a pattern, too.
//!
//! # Source
//! <https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html> and the pages of each
//! integration beside it; <https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html>;
//! <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>;
//! read 2026-11.

use serde_json::Value;
use starmap_asl::Pattern;
use starmap_engine::names::Naming;

/// An action on a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// As in `lambda:InvokeFunction`.
    pub action: String,
    /// An ARN, a pattern of ARNs, or `*`.
    pub resource: String,
    /// Keys of the request's context beside those of every request.
    pub context: Vec<(String, String)>,
}

impl Permission {
    /// An action on a resource.
    pub fn new(action: &str, resource: impl Into<String>) -> Self {
        Self { action: action.to_owned(), resource: resource.into(), context: Vec::new() }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.context.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// A call of an integration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub service: &'a str,
    pub action: &'a str,
    pub is_sdk: bool,
    pub pattern: Pattern,
    pub arguments: &'a Value,
}

impl<'a> Call<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.arguments.get(name)?.as_str()
    }

    fn text_or_any(&self, name: &str) -> &'a str {
        self.text(name).unwrap_or("*")
    }

    fn waits(&self) -> bool {
        matches!(self.pattern, Pattern::Sync | Pattern::Sync2)
    }
}

/// Invoking a function by its name, its partial or its whole ARN, with or without a qualifier.
pub(super) fn invoke(function: &str, naming: &Naming) -> Permission {
    Permission::new("lambda:InvokeFunction", function_arn(function, naming))
}

fn function_arn(function: &str, naming: &Naming) -> String {
    let Naming { region, account } = naming;
    if function.starts_with("arn:") {
        function.to_owned()
    } else if function.contains(":function:") {
        format!("arn:aws:lambda:{region}:{function}")
    } else {
        format!("arn:aws:lambda:{region}:{account}:function:{function}")
    }
}

/// What a call needs.
pub(super) fn call(call: Call<'_>, naming: &Naming) -> Vec<Permission> {
    if call.is_sdk { sdk(call, naming) } else { optimised(call, naming) }
}

fn optimised(call: Call<'_>, naming: &Naming) -> Vec<Permission> {
    let Naming { region, account } = naming;
    let arn = |service: &str, rest: String| format!("arn:aws:{service}:{region}:{account}:{rest}");
    let mut needed = Vec::new();
    let mut add = |action: &str, resource: String| needed.push(Permission::new(action, resource));
    let rule = match (call.service, call.action) {
        ("lambda", _) => return vec![invoke(&qualified(call), naming)],
        ("states", _) => {
            let machine = call.text_or_any("StateMachineArn");
            add("states:StartExecution", machine.to_owned());
            if call.waits() {
                let executions = executions_of(machine);
                add("states:DescribeExecution", executions.clone());
                add("states:StopExecution", executions);
            }
            "StepFunctionsGetEventsForStepFunctionsExecutionRule"
        }
        ("sqs", _) => {
            add("sqs:SendMessage", queue_arn(call.text_or_any("QueueUrl")));
            ""
        }
        ("sns", _) => {
            add("sns:Publish", call.text("TopicArn").or(call.text("TargetArn")).unwrap_or("*").to_owned());
            ""
        }
        ("dynamodb", action) => {
            add(&format!("dynamodb:{}", pascal(action)), table_arn(call.text_or_any("TableName"), naming));
            ""
        }
        ("events", _) => {
            let entries = call.arguments.get("Entries").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut buses: Vec<String> = entries
                .iter()
                .map(|entry| match entry.get("EventBusName").and_then(Value::as_str) {
                    Some(bus) if bus.starts_with("arn:") => bus.to_owned(),
                    bus => arn("events", format!("event-bus/{}", bus.unwrap_or("default"))),
                })
                .collect();
            if buses.is_empty() {
                buses.push(arn("events", "event-bus/*".to_owned()));
            }
            buses.sort();
            buses.dedup();
            buses.into_iter().for_each(|bus| add("events:PutEvents", bus));
            ""
        }
        ("http", _) => return http(call, naming),
        ("apigateway", _) => {
            let (endpoint, method) = (call.text_or_any("ApiEndpoint"), call.text_or_any("Method"));
            let api = endpoint.split('.').next().unwrap_or("*");
            let (stage, path) = (call.text_or_any("Stage"), call.text_or_any("Path").trim_start_matches('/'));
            add("execute-api:Invoke", arn("execute-api", format!("{api}/{stage}/{method}/{path}")));
            ""
        }
        ("batch", _) => {
            add(
                "batch:SubmitJob",
                call.text("JobQueue").filter(|arn| arn.starts_with("arn:")).unwrap_or("*").to_owned(),
            );
            add("batch:SubmitJob", named(call.text_or_any("JobDefinition"), "job-definition", &arn, "batch"));
            if call.waits() {
                // Of a job's ARN nothing is known before there is one.
                add("batch:DescribeJobs", "*".to_owned());
                add("batch:TerminateJob", "*".to_owned());
            }
            "StepFunctionsGetEventsForBatchJobsRule"
        }
        ("ecs", _) => {
            add("ecs:RunTask", named(call.text_or_any("TaskDefinition"), "task-definition", &arn, "ecs"));
            if call.waits() {
                add("ecs:StopTask", arn("ecs", "task/*".to_owned()));
                add("ecs:DescribeTasks", arn("ecs", "task/*".to_owned()));
            }
            "StepFunctionsGetEventsForECSTaskRule"
        }
        ("glue", _) => {
            add("glue:StartJobRun", arn("glue", format!("job/{}", call.text_or_any("JobName"))));
            if call.waits() {
                for action in ["glue:GetJobRun", "glue:GetJobRuns", "glue:BatchStopJobRun"] {
                    add(action, arn("glue", format!("job/{}", call.text_or_any("JobName"))));
                }
            }
            ""
        }
        ("codebuild", "startBuild") => {
            let project = arn("codebuild", format!("project/{}", call.text_or_any("ProjectName")));
            add("codebuild:StartBuild", project.clone());
            if call.waits() {
                add("codebuild:StopBuild", project.clone());
                add("codebuild:BatchGetBuilds", project);
            }
            "StepFunctionsGetEventForCodeBuildStartBuildRule"
        }
        ("bedrock", "invokeModel") => {
            let model = call.text_or_any("ModelId");
            let is_arn = model.starts_with("arn:");
            let model =
                if is_arn { model.to_owned() } else { format!("arn:aws:bedrock:{region}::foundation-model/{model}") };
            add("bedrock:InvokeModel", model);
            ""
        }
        (service, action) => {
            add(&format!("{service}:{}", pascal(action)), "*".to_owned());
            ""
        }
    };
    if call.waits() && !rule.is_empty() {
        for action in ["events:PutTargets", "events:PutRule", "events:DescribeRule"] {
            needed.push(Permission::new(action, arn("events", format!("rule/{rule}"))));
        }
    }
    needed
}

fn http(call: Call<'_>, naming: &Naming) -> Vec<Permission> {
    let Naming { region, account } = naming;
    let connection = call.arguments.pointer("/Authentication/ConnectionArn").and_then(Value::as_str).unwrap_or("*");
    let invoke =
        Permission::new("states:InvokeHTTPEndpoint", format!("arn:aws:states:{region}:{account}:stateMachine:*"))
            .with("states:HTTPMethod", call.text_or_any("Method"))
            .with("states:HTTPEndpoint", call.text_or_any("ApiEndpoint"));
    let secret = "arn:aws:secretsmanager:*:*:secret:events!connection/*";
    vec![
        invoke,
        Permission::new("events:RetrieveConnectionCredentials", connection),
        Permission::new("secretsmanager:GetSecretValue", secret),
        Permission::new("secretsmanager:DescribeSecret", secret),
    ]
}

fn sdk(call: Call<'_>, naming: &Naming) -> Vec<Permission> {
    let action = pascal(call.action);
    let one = |action: &str, resource: String| vec![Permission::new(action, resource)];
    match (call.service, call.action) {
        ("lambda", "invoke" | "invokeAsync" | "invokeWithResponseStream") => vec![invoke(&qualified(call), naming)],
        ("lambda", _) => match call.text("FunctionName") {
            Some(function) => one(&format!("lambda:{action}"), function_arn(function, naming)),
            None => one(&format!("lambda:{action}"), "*".to_owned()),
        },
        ("s3", _) => s3(call),
        ("sfn", _) => {
            let named = ["StateMachineArn", "ExecutionArn", "MapRunArn", "ActivityArn", "StateMachineVersionArn"];
            let resource = named.iter().find_map(|name| call.text(name)).unwrap_or("*");
            one(&format!("states:{action}"), resource.to_owned())
        }
        ("dynamodb", _) => match call.text("TableName") {
            Some(table) => one(&format!("dynamodb:{action}"), table_arn(table, naming)),
            None => one(&format!("dynamodb:{action}"), "*".to_owned()),
        },
        ("sqs", _) => one(&format!("sqs:{action}"), queue_arn(call.text_or_any("QueueUrl"))),
        ("sns", _) => one(&format!("sns:{action}"), call.text_or_any("TopicArn").to_owned()),
        (service, _) => one(&format!("{}:{action}", prefix(service)), "*".to_owned()),
    }
}

fn s3(call: Call<'_>) -> Vec<Permission> {
    let bucket = call.text_or_any("Bucket");
    let of_bucket = || format!("arn:aws:s3:::{bucket}");
    let of_object = || format!("arn:aws:s3:::{bucket}/{}", call.text_or_any("Key"));
    let action = match call.action {
        "listBuckets" => return vec![Permission::new("s3:ListAllMyBuckets", "*")],
        "listObjects" | "listObjectsV2" | "headBucket" => {
            let mut needed = Permission::new("s3:ListBucket", of_bucket());
            for (argument, key) in [("Prefix", "s3:prefix"), ("Delimiter", "s3:delimiter")] {
                if let Some(value) = call.text(argument) {
                    needed = needed.with(key, value);
                }
            }
            return vec![needed];
        }
        "deleteObjects" => return vec![Permission::new("s3:DeleteObject", format!("arn:aws:s3:::{bucket}/*"))],
        "copyObject" => {
            let source = call.text_or_any("CopySource").trim_start_matches('/');
            let from = Permission::new("s3:GetObject", format!("arn:aws:s3:::{source}"));
            return vec![from, Permission::new("s3:PutObject", of_object())];
        }
        "getObject" | "headObject" => "GetObject",
        "putObject" | "createMultipartUpload" | "uploadPart" | "completeMultipartUpload" => "PutObject",
        "listMultipartUploads" => return vec![Permission::new("s3:ListBucketMultipartUploads", of_bucket())],
        "listParts" => "ListMultipartUploadParts",
        other => {
            return vec![Permission::new(
                &format!("s3:{}", pascal(other)),
                if call.text("Key").is_some() { of_object() } else { of_bucket() },
            )];
        }
    };
    vec![Permission::new(&format!("s3:{action}"), of_object())]
}

/// A Distributed Map's own: its children are executions of the state machine itself.
pub(super) fn map_run(state_machine_arn: &str, is_redrive: bool) -> Vec<Permission> {
    let executions = executions_of(state_machine_arn);
    if is_redrive {
        // As AWS has it: the children's ARNs have the map run's label behind the machine's name.
        let children = executions.strip_suffix(":*").map_or("*".to_owned(), |machine| format!("{machine}/*:*"));
        return vec![Permission::new("states:RedriveExecution", children)];
    }
    vec![
        Permission::new("states:StartExecution", state_machine_arn),
        Permission::new("states:DescribeExecution", executions.clone()),
        Permission::new("states:StopExecution", executions),
    ]
}

/// What an `ItemReader` needs.
pub(super) fn item_reader(is_listing: bool, arguments: &Value) -> Vec<Permission> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let bucket = text("Bucket").unwrap_or("*");
    if !is_listing {
        return vec![Permission::new("s3:GetObject", format!("arn:aws:s3:::{bucket}/{}", text("Key").unwrap_or("*")))];
    }
    let listing = Permission::new("s3:ListBucket", format!("arn:aws:s3:::{bucket}"));
    vec![match text("Prefix") {
        Some(prefix) => listing.with("s3:prefix", prefix),
        None => listing,
    }]
}

/// What a `ResultWriter` needs.
pub(super) fn result_writer(bucket: &str, prefix: &str) -> Vec<Permission> {
    let objects = match prefix.trim_end_matches('/') {
        "" => format!("arn:aws:s3:::{bucket}/*"),
        prefix => format!("arn:aws:s3:::{bucket}/{prefix}/*"),
    };
    let actions = ["s3:PutObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"];
    actions.map(|action| Permission::new(action, objects.clone())).into()
}

/// `arn:…:execution:name:*` of `arn:…:stateMachine:name`, with or without a version or an alias.
fn executions_of(state_machine_arn: &str) -> String {
    match state_machine_arn.split_once(":stateMachine:") {
        Some((account, name)) => {
            let name = name.split(':').next().unwrap_or_default();
            format!("{account}:execution:{name}:*")
        }
        None => "*".to_owned(),
    }
}

fn qualified(call: Call<'_>) -> String {
    let function = call.text_or_any("FunctionName");
    match call.text("Qualifier") {
        Some(qualifier) => format!("{function}:{qualifier}"),
        None => function.to_owned(),
    }
}

/// `https://sqs.us-east-1.amazonaws.com/123456789012/name` is `arn:aws:sqs:us-east-1:123456789012:name`.
fn queue_arn(url: &str) -> String {
    let parts: Vec<&str> = url.split('/').collect();
    let &[_, "", host, account, name] = parts.as_slice() else { return "*".to_owned() };
    let region = host.split('.').nth(1).unwrap_or("*");
    format!("arn:aws:sqs:{region}:{account}:{name}")
}

fn table_arn(table: &str, naming: &Naming) -> String {
    let Naming { region, account } = naming;
    if table.starts_with("arn:") {
        table.to_owned()
    } else {
        format!("arn:aws:dynamodb:{region}:{account}:table/{table}")
    }
}

/// An ARN as it is, or that of a name and its revision.
fn named(name: &str, kind: &str, arn: &dyn Fn(&str, String) -> String, service: &str) -> String {
    if name.starts_with("arn:") { name.to_owned() } else { arn(service, format!("{kind}/{name}")) }
}

/// The prefix of actions of services that the SDK names otherwise.
fn prefix(service: &str) -> &str {
    match service {
        "cloudwatchlogs" => "logs",
        "eventbridge" => "events",
        "bedrockruntime" => "bedrock",
        "sesv2" => "ses",
        "emr" => "elasticmapreduce",
        "ecrpublic" => "ecr-public",
        "costexplorer" => "ce",
        other => other,
    }
}

fn pascal(action: &str) -> String {
    let mut letters = action.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(resource: &str, arguments: Value, expected: &[(&str, &str)]) {
        let starmap_asl::Resource::Service { service, action, pattern, .. } =
            starmap_asl::Resource::parse(resource).unwrap()
        else {
            panic!("{resource} is no integration")
        };
        let sdk = service.strip_prefix("aws-sdk:");
        let asked = Call {
            service: sdk.unwrap_or(&service),
            action: &action,
            is_sdk: sdk.is_some(),
            pattern,
            arguments: &arguments,
        };
        let naming = Naming { region: "us-east-1".to_owned(), account: "123456789012".to_owned() };
        let needed = call(asked, &naming);
        let needed: Vec<(&str, &str)> = needed.iter().map(|need| (&*need.action, &*need.resource)).collect();
        assert_eq!(needed, expected, "{resource}");
    }

    #[test]
    fn calls_need_what_aws_documents() {
        let function = "arn:aws:lambda:us-east-1:123456789012:function:infer";
        let invoke = "arn:aws:states:::lambda:invoke";
        check(invoke, json!({ "FunctionName": "infer" }), &[("lambda:InvokeFunction", function)]);
        check(invoke, json!({ "FunctionName": function }), &[("lambda:InvokeFunction", function)]);
        let qualified = json!({ "FunctionName": "infer", "Qualifier": "live" });
        check(invoke, qualified, &[("lambda:InvokeFunction", &format!("{function}:live"))]);
        let machine = json!({ "StateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:m" });
        let start = ("states:StartExecution", "arn:aws:states:us-east-1:123456789012:stateMachine:m");
        check("arn:aws:states:::states:startExecution", machine.clone(), &[start]);
        let rule = "arn:aws:events:us-east-1:123456789012:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule";
        let executions = "arn:aws:states:us-east-1:123456789012:execution:m:*";
        check(
            "arn:aws:states:::states:startExecution.sync:2",
            machine,
            &[
                start,
                ("states:DescribeExecution", executions),
                ("states:StopExecution", executions),
                ("events:PutTargets", rule),
                ("events:PutRule", rule),
                ("events:DescribeRule", rule),
            ],
        );
        let object = json!({ "Bucket": "sky", "Key": "a" });
        check("arn:aws:states:::aws-sdk:s3:headObject", object, &[("s3:GetObject", "arn:aws:s3:::sky/a")]);
        let listing = json!({ "Bucket": "sky", "Prefix": "a/" });
        check("arn:aws:states:::aws-sdk:s3:listObjectsV2", listing, &[("s3:ListBucket", "arn:aws:s3:::sky")]);
        let url = json!({ "QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs" });
        let queue = "arn:aws:sqs:us-east-1:123456789012:jobs";
        check("arn:aws:states:::sqs:sendMessage.waitForTaskToken", url, &[("sqs:SendMessage", queue)]);
        let table = json!({ "TableName": "t" });
        let table_arn = "arn:aws:dynamodb:us-east-1:123456789012:table/t";
        check("arn:aws:states:::dynamodb:putItem", table, &[("dynamodb:PutItem", table_arn)]);
        check("arn:aws:states:::aws-sdk:eventbridge:listRules", json!({}), &[("events:ListRules", "*")]);
    }
}
