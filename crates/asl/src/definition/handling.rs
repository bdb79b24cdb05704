//! `Retry`, `Catch` and the way of a result: what Task, Parallel and Map have in common.

use serde_json::Value;

use super::fields::Fields;
use super::model::{Handling, QueryLanguage};
use super::scope::{ScopeReader, Targets};
use super::state::SECONDS_MAX;
use crate::error::ALL;
use crate::jsonpath::ReferencePath;
use crate::query::Offered;
use crate::retry::{Catcher, Jitter, ResultPath, Retrier};

pub(super) fn read_handling(fields: &Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Handling {
    let result_selector = match fields.language {
        QueryLanguage::JsonPath => fields.template("ResultSelector"),
        QueryLanguage::Jsonata => None,
    };
    Handling {
        result_selector,
        result_path: read_result_path(fields),
        retry: read_list(fields, "Retry", read_retrier),
        catch: read_list(fields, "Catch", |entry| read_catcher(entry, targets, scopes)),
    }
}

pub(super) fn read_result_path(fields: &Fields<'_>) -> ResultPath {
    let whole = || ReferencePath::parse("$").expect("`$` is a reference path");
    if fields.is_jsonata() {
        return ResultPath::Put(whole());
    }
    match fields.get("ResultPath") {
        None => ResultPath::Put(whole()),
        Some(Value::Null) => ResultPath::Discard,
        Some(_) => {
            let path = fields.string("ResultPath").and_then(|text| match ReferencePath::parse(text) {
                Ok(path) => Some(path),
                Err(error) => {
                    fields.schema("ResultPath", format!("Value is not a Reference Path: {error}"));
                    None
                }
            });
            ResultPath::Put(path.unwrap_or_else(whole))
        }
    }
}

/// Reads the objects of an array; what cannot be read is noted and left out.
fn read_list<'a, T>(
    fields: &Fields<'a>,
    name: &'static str,
    mut read: impl FnMut(&mut Fields<'a>) -> Option<T>,
) -> Vec<T> {
    let count = fields.array(name).map_or(0, Vec::len);
    let mut list = Vec::new();
    for (index, mut entry) in fields.objects(name).into_iter().enumerate() {
        let errors = entry.get("ErrorEquals").and_then(Value::as_array);
        let has_all = errors.is_some_and(|errors| errors.iter().any(|error| error == ALL));
        if has_all && index + 1 < count {
            entry.schema("ErrorEquals", format!("{ALL} must be in the last entry of {name}"));
        }
        list.extend(read(&mut entry));
        entry.finish();
    }
    list
}

fn read_error_equals(entry: &Fields<'_>) -> Option<Vec<String>> {
    entry.require(&["ErrorEquals"]);
    let names = entry.array("ErrorEquals")?;
    if names.is_empty() {
        entry.schema("ErrorEquals", "Value cannot be empty");
    }
    let errors: Option<Vec<String>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    match &errors {
        None => entry.schema("ErrorEquals", "expected an array of strings"),
        Some(errors) if errors.len() > 1 && errors.iter().any(|error| error == ALL) => {
            entry.schema("ErrorEquals", format!("{ALL} must stand alone"));
        }
        Some(_) => {}
    }
    errors
}

fn read_retrier(entry: &mut Fields<'_>) -> Option<Retrier> {
    entry.comment();
    let errors = read_error_equals(entry);
    let interval_s = entry.integer("IntervalSeconds", 1, SECONDS_MAX).unwrap_or(1);
    let attempts_max = entry.integer("MaxAttempts", 0, SECONDS_MAX).unwrap_or(3);
    let backoff_rate = entry.number("BackoffRate", 1.0, f64::INFINITY).unwrap_or(2.0);
    let delay_s_max = entry.integer("MaxDelaySeconds", 1, 31_622_399);
    if delay_s_max.is_some_and(|max| max <= interval_s) {
        entry.schema("MaxDelaySeconds", format!("must be greater than IntervalSeconds, which is {interval_s}"));
    }
    let jitter = match entry.string("JitterStrategy") {
        None | Some("NONE") => Jitter::None,
        Some("FULL") => Jitter::Full,
        Some(other) => {
            entry.schema("JitterStrategy", format!("expected \"FULL\" or \"NONE\", found \"{other}\""));
            Jitter::None
        }
    };
    let attempts_max = u32::try_from(attempts_max).unwrap_or(u32::MAX);
    Some(Retrier { errors: errors?, interval_s, attempts_max, backoff_rate, delay_s_max, jitter })
}

fn read_catcher(entry: &mut Fields<'_>, targets: &Targets<'_>, scopes: &mut ScopeReader<'_>) -> Option<Catcher> {
    entry.comment();
    entry.require(&["Next"]);
    let errors = read_error_equals(entry);
    let result_path = read_result_path(entry);
    entry.offered = Offered::ErrorOutput;
    let output = if entry.is_jsonata() { entry.template("Output") } else { None };
    let assign = scopes.assignments.read(entry);
    let next = entry.string("Next").and_then(|next| targets.find(next));
    Some(Catcher { errors: errors?, result_path, output, assign, next: next? })
}
