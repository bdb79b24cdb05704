//! Another definition's function names, mapped to our functions before anything starts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::exit;
use crate::functions::HANDLERS;

/// The published state machine's Task states and the functions that they stand for.
const PUBLISHED_STATES: [(&str, &str); 3] =
    [("Initialize", "initialize"), ("Model Inference", "infer"), ("Summarize", "summarize")];

/// Reads one `NAME=HANDLER`.
pub fn parse_alias(text: &str) -> Result<(String, String), String> {
    let (name, handler) = text.rsplit_once('=').ok_or("expected NAME=initialize, NAME=infer or NAME=summarize")?;
    if !HANDLERS.contains(&handler) {
        return Err(format!("{handler:?} is not a handler; expected initialize, infer or summarize"));
    }
    Ok((function_name(name).to_owned(), handler.to_owned()))
}

/// Which of our functions each function in a definition stands for: as told, else by the published names of
/// the states that call them.
///
/// # Errors
/// Names every function that stands for none.
pub fn aliases(file: &Path, text: &str, told: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut aliases: BTreeMap<String, String> = told.iter().cloned().collect();
    // What is not JSON is refused by the engine, with its position.
    let Ok(definition) = serde_json::from_str::<Value>(text) else { return Ok(aliases) };
    let mut unknown = Vec::new();
    for (state, name) in called(&definition) {
        if aliases.contains_key(&name) || HANDLERS.iter().any(|handler| name == format!("starmap-{handler}")) {
            continue;
        }
        match PUBLISHED_STATES.iter().find(|(published, _)| *published == state) {
            Some((_, handler)) => {
                aliases.insert(name, (*handler).to_owned());
            }
            None => unknown.push(format!("  state {state:?} calls function {name:?}")),
        }
    }
    if unknown.is_empty() {
        return Ok(aliases);
    }
    Err(exit::usage(format!(
        "definition {}: these functions are none of starmap-initialize, starmap-infer and starmap-summarize:\n{}\n\
         hint: say which one each stands for, as in --function NAME=infer",
        file.display(),
        unknown.join("\n")
    )))
}

/// Task states and the names of the functions they call, wherever in a definition.
pub fn called(definition: &Value) -> Vec<(String, String)> {
    let mut called = Vec::new();
    collect(definition, &mut called);
    called.into_iter().map(|(state, function)| (state, function_name(&function).to_owned())).collect()
}

/// The functions that a definition calls, by name, each once.
pub fn functions(definition: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (_, name) in called(definition) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Which of our functions the functions of a definition stand for, as far as that is known: as told, else by the
/// published names of the states that call them.
pub fn known(definition: &Value, told: &[(String, String)]) -> BTreeMap<String, String> {
    let mut known: BTreeMap<String, String> = told.iter().cloned().collect();
    for (state, name) in called(definition) {
        if let Some((_, handler)) = PUBLISHED_STATES.iter().find(|(published, _)| *published == state) {
            known.entry(name).or_insert_with(|| (*handler).to_owned());
        }
    }
    known
}

fn collect(value: &Value, called: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        if let Value::Array(values) = value {
            values.iter().for_each(|value| collect(value, called));
        }
        return;
    };
    if let Some(Value::Object(states)) = fields.get("States") {
        for (name, state) in states {
            let resource = state.get("Resource").and_then(Value::as_str).unwrap_or_default();
            let named = state.get("Parameters").and_then(|parameters| parameters.get("FunctionName")?.as_str());
            if resource.contains(":lambda:") && resource.contains(":function:") {
                called.push((name.clone(), resource.to_owned()));
            } else if let Some(function) = named.filter(|_| resource.ends_with(":lambda:invoke")) {
                called.push((name.clone(), function.to_owned()));
            }
        }
    }
    fields.values().for_each(|value| collect(value, called));
}

/// The bare name in `name`, `name:qualifier` or any ARN of a function.
pub fn function_name(text: &str) -> &str {
    let rest = text.split_once(":function:").map_or(text, |(_, rest)| rest);
    rest.split(':').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHED: &str = r#"{"States": {
        "Initialize": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:init2"},
        "Distributed Test": {"Type": "Map", "Iterator": {"States": {
            "Model Inference": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
                "Parameters": {"FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:exec:$LATEST"}}}}},
        "Done": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "summarizer"}}}}"#;

    #[test]
    fn published_states_say_what_their_functions_are_and_others_must_be_told() {
        let error = aliases(Path::new("d.json"), PUBLISHED, &[]).unwrap_err().to_string();
        assert!(error.contains("state \"Done\" calls function \"summarizer\""), "{error}");
        assert!(!error.contains("init2"), "{error}");
        let told = [parse_alias("summarizer=summarize").unwrap()];
        let found = aliases(Path::new("d.json"), PUBLISHED, &told).unwrap();
        let expected = [("exec", "infer"), ("init2", "initialize"), ("summarizer", "summarize")];
        assert_eq!(found, expected.map(|(name, handler)| (name.to_owned(), handler.to_owned())).into());
    }

    #[test]
    fn aliases_are_checked() {
        assert!(parse_alias("x").is_err());
        assert!(parse_alias("x=train").unwrap_err().contains("not a handler"));
        assert_eq!(
            parse_alias("arn:aws:lambda:us-east-1:1:function:x:live=infer").unwrap(),
            ("x".to_owned(), "infer".to_owned())
        );
    }
}
