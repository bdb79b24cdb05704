//! The fields of a Map.

use serde_json::Value;

use super::distributed::read_distributed;
use super::fields::Fields;
use super::handling::read_handling;
use super::model::{ExecutionType, Items, Map, MapMode, QueryLanguage};
use super::scope::{ScopeReader, Targets};
use crate::command::ProcessorPath;

pub(super) fn read_map(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Map> {
    fields.exclusive(&["ItemProcessor", "Iterator"]);
    let name = match (fields.get("ItemProcessor"), fields.get("Iterator")) {
        (Some(_), _) => "ItemProcessor",
        (None, Some(_)) => "Iterator",
        (None, None) => {
            fields.require(&["ItemProcessor"]);
            return None;
        }
    };
    let processor = fields.object(name)?;
    processor.comment();
    let config = read_processor_config(&processor);
    let outer_type = fields.findings.execution_type.get();
    fields.findings.execution_type.set(config.unwrap_or(outer_type));
    let scope = scopes.read(&processor, config.is_none());
    fields.findings.execution_type.set(outer_type);
    let path = ProcessorPath(processor.pointer.clone());
    processor.finish();
    let items = read_items(fields);
    let item_selector = match fields.language {
        QueryLanguage::JsonPath => {
            fields.exclusive(&["ItemSelector", "Parameters"]);
            fields.template("ItemSelector").or(fields.template("Parameters"))
        }
        QueryLanguage::Jsonata => fields.template("ItemSelector"),
    };
    let count = |fields: &Fields<'_>, name| fields.integer(name, 0, u64::from(u32::MAX));
    let max_concurrency = fields.setting(["MaxConcurrency", "MaxConcurrencyPath"], false, count);
    let tolerated_count =
        fields.setting(["ToleratedFailureCount", "ToleratedFailureCountPath"], false, |fields, name| {
            fields.integer(name, 0, u64::MAX)
        });
    let tolerated_percentage =
        fields.setting(["ToleratedFailurePercentage", "ToleratedFailurePercentagePath"], false, |fields, name| {
            fields.number(name, 0.0, 100.0)
        });
    let mode = match config {
        Some(child_type) => MapMode::Distributed(Box::new(read_distributed(fields, path, child_type))),
        None => MapMode::Inline,
    };
    if let (Some(scope), MapMode::Distributed(distributed)) = (scope, &mode) {
        fields.findings.processors.borrow_mut().insert(distributed.path.0.clone(), scope);
    }
    let handling = read_handling(fields, targets, scopes);
    Some(Map {
        processor: scope?,
        mode,
        items,
        item_selector,
        max_concurrency,
        tolerated_count,
        tolerated_percentage,
        handling,
    })
}

fn read_items(fields: &Fields<'_>) -> Items {
    match fields.language {
        QueryLanguage::JsonPath => fields.path("ItemsPath", false).map_or(Items::Input, Items::Path),
        QueryLanguage::Jsonata => {
            let items = fields.template("Items");
            let is_text = fields.get("Items").is_some_and(Value::is_string);
            if is_text && !fields.is_query("Items") {
                fields.schema("Items", "expected an array, an object or a JSONata expression");
            }
            items.map_or(Items::Input, Items::Template)
        }
    }
}

/// `Some` for a distributed processor. The published older definitions have a `ProcessorConfig` in an `Iterator`, too.
fn read_processor_config(processor: &Fields<'_>) -> Option<ExecutionType> {
    let config = processor.object("ProcessorConfig")?;
    let mode = config.string("Mode").unwrap_or("INLINE");
    let child_type = config.string("ExecutionType");
    let child_type = match (mode, child_type) {
        ("INLINE", None) => None,
        ("INLINE", Some(_)) => {
            config.schema("ExecutionType", "only a processor in Mode DISTRIBUTED has an ExecutionType");
            None
        }
        ("DISTRIBUTED", None | Some("STANDARD")) => Some(ExecutionType::Standard),
        ("DISTRIBUTED", Some("EXPRESS")) => Some(ExecutionType::Express),
        ("DISTRIBUTED", Some(other)) => {
            config.schema("ExecutionType", format!("expected \"STANDARD\" or \"EXPRESS\", found \"{other}\""));
            None
        }
        (other, _) => {
            config.schema("Mode", format!("expected \"INLINE\" or \"DISTRIBUTED\", found \"{other}\""));
            None
        }
    };
    config.finish();
    child_type
}
