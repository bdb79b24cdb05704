//! The fields of a Task.

use super::fields::Fields;
use super::handling::read_handling;
use super::model::{ExecutionType, Setting, Task};
use super::scope::{ScopeReader, Targets};
use super::state::{SECONDS_MAX, read_arguments};
use crate::resource::{Pattern, Resource};
use crate::template::Template;

pub(super) fn read_task(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Task> {
    fields.require(&["Resource"]);
    let resource = fields.string("Resource").and_then(|arn| read_resource(fields, arn));
    let credentials = read_credentials(fields);
    let seconds = |fields: &Fields<'_>, name| fields.integer(name, 1, SECONDS_MAX);
    let timeout = fields.setting(["TimeoutSeconds", "TimeoutSecondsPath"], false, seconds);
    let heartbeat = fields.setting(["HeartbeatSeconds", "HeartbeatSecondsPath"], false, seconds);
    if let (Setting::Value(timeout), Setting::Value(heartbeat)) = (&timeout, &heartbeat)
        && heartbeat >= timeout
    {
        fields.schema("HeartbeatSeconds", format!("must be less than TimeoutSeconds, which is {timeout}"));
    }
    let arguments = read_arguments(fields);
    let handling = read_handling(fields, targets, scopes);
    Some(Task { resource: resource?, arguments, timeout, heartbeat, credentials, handling })
}

fn read_resource(fields: &Fields<'_>, arn: &str) -> Option<Resource> {
    let Some(resource) = Resource::parse(arn) else {
        fields.schema("Resource", "Value is not a valid resource ARN");
        return None;
    };
    if !resource.is_recognized() {
        let message = format!(
            "The resource provided {arn} is not recognized. The value is not a valid resource ARN, or the resource is not available in this region."
        );
        fields.schema("Resource", message);
    }
    if fields.findings.execution_type.get() == ExecutionType::Express {
        match &resource {
            // AWS's own blank at the end.
            Resource::Service { pattern: Pattern::WaitForTaskToken, .. } => fields
                .schema("Resource", "Express state machine does not support '.waitForTaskToken' service integration "),
            Resource::Service { pattern: Pattern::Sync | Pattern::Sync2, .. } => {
                fields.schema("Resource", "Express state machine does not support '.sync' service integration");
            }
            Resource::Activity { .. } => fields.schema("Resource", "Express state machine does not support activities"),
            Resource::Function { .. } | Resource::Service { .. } => {}
        }
    }
    Some(resource)
}

fn read_credentials(fields: &Fields<'_>) -> Option<Template> {
    let credentials = fields.object("Credentials")?;
    let role_arn = credentials.get("RoleArn");
    let by_path = if credentials.is_jsonata() { None } else { credentials.get("RoleArn.$") };
    if role_arn.or(by_path).is_none() {
        let message = "The field 'RoleArn' is required but was missing";
        fields.findings.schema(credentials.pointer.clone(), message);
        return None;
    }
    credentials.finish();
    fields.template("Credentials")
}
