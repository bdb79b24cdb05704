//! Recorded calls of TestState, made again.
//!
//! Reads `asl/cases/*.json` of the shared reference folder (`STARMAP_SHARED`, else `../shared` beside the workspace).
//! Where a recording has a placeholder (`<resource:1>`, `date`), any text is right.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use starmap_asl::Timestamp;
use starmap_asl::test_state::{
    Begun, Configuration, Error, Identity, Level, Mock, Outcome, Request, ValidationMode, begin,
};

/// Cases whose recording differs from ours, and why.
const KNOWN: &[(&str, &str)] = &[];

/// How many cases agreed when this test was written; fewer means that cases are skipped that were not.
const SAME_LEAST: usize = 100;

#[test]
fn recorded_tests_of_states_are_answered_as_aws_answered_them() {
    let Some(folder) = cases() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let known: BTreeMap<&str, &str> = KNOWN.iter().copied().collect();
    let (mut same, mut repaired, mut report) = (0, Vec::new(), Vec::new());
    for file in files {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let id = case["id"].as_str().unwrap();
        match run_case(&case) {
            None => {}
            Some(differences) if differences.is_empty() => {
                same += 1;
                if known.contains_key(id) {
                    repaired.push(id.to_owned());
                }
            }
            Some(_) if known.contains_key(id) => {}
            Some(differences) => report.push(format!("{id}\n    {}", differences.join("\n    "))),
        }
    }
    assert!(report.is_empty(), "{same} same, {} different\n{}", report.len(), report.join("\n"));
    assert!(repaired.is_empty(), "no longer different, take them off the list: {repaired:?}");
    assert!(same >= SAME_LEAST, "{same} cases are the same, expected at least {SAME_LEAST}: were cases skipped?");
}

fn cases() -> Option<PathBuf> {
    let shared = std::env::var_os("STARMAP_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let folder = shared.join("asl/cases");
    if folder.is_dir() {
        return Some(folder);
    }
    let message = format!("SKIPPED: {} is not there", folder.display());
    assert!(std::env::var_os("STARMAP_REQUIRE_REFERENCE").is_none(), "{message}");
    std::io::Write::write_all(&mut std::io::stderr(), format!("{message}\n").as_bytes()).unwrap();
    None
}

/// The differences of a case; `None` for a case of something else, or of one that really calls a service.
fn run_case(case: &Value) -> Option<Vec<String>> {
    let steps = case["steps"].as_array()?;
    let calls: BTreeMap<&str, &Value> = steps
        .iter()
        .filter(|step| step["op"] == "call" && step["method"] == "test_state")
        .filter_map(|step| Some((step["id"].as_str()?, &step["params"])))
        .collect();
    if calls.is_empty() {
        return None;
    }
    let mut differences = Vec::new();
    for matched in steps.iter().filter(|step| step["op"] == "match") {
        let key = matched["key"].as_str()?;
        let reference = matched["value"]["$ref"].as_str().unwrap_or_default();
        let call = reference.split('.').next()?;
        let params = match calls.get(call) {
            Some(params) => params,
            None if calls.len() == 1 => calls.values().next()?,
            None => return None,
        };
        let told = answer(params)?;
        // The rest of the language comes from elsewhere.
        compare(&case["recorded"][key], &told, key, &mut differences);
    }
    Some(differences)
}

fn answer(params: &Value) -> Option<Value> {
    let identity = Identity {
        state_machine_name: "machine".to_owned(),
        state_machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:machine".to_owned(),
        execution_name: "test".to_owned(),
        execution_arn: "arn:aws:states:us-east-1:000000000000:express:machine:test".to_owned(),
        seed: 1,
    };
    match begin(&request(params), &identity, Timestamp(1_764_000_000_000)) {
        Ok(Begun::Done(outcome)) => Some(wire(&outcome)),
        Ok(Begun::NeedsCall(_) | Begun::NeedsItems(_)) => None,
        Err(error) => {
            let code = match error {
                Error::InvalidDefinition(_) => "InvalidDefinition",
                Error::InvalidInput(_) => "InvalidExecutionInput",
                Error::Validation(_) => "ValidationException",
            };
            Some(json!({ "code": code, "message": error.to_string() }))
        }
    }
}

fn request(params: &Value) -> Request {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mock = &params["mock"];
    let configuration = &params["stateConfiguration"];
    Request {
        definition: text(&params["definition"]).unwrap_or_default(),
        state_name: text(&params["stateName"]),
        role_arn: text(&params["roleArn"]),
        input: text(&params["input"]),
        variables: text(&params["variables"]),
        context: text(&params["context"]),
        level: match params["inspectionLevel"].as_str() {
            Some("DEBUG") => Level::Debug,
            Some("TRACE") => Level::Trace,
            _ => Level::Info,
        },
        reveal_secrets: params["revealSecrets"] == true,
        mock: mock.is_object().then(|| Mock {
            result: text(&mock["result"]),
            error: mock["errorOutput"]
                .is_object()
                .then(|| (text(&mock["errorOutput"]["error"]), text(&mock["errorOutput"]["cause"]))),
            validation: match mock["fieldValidationMode"].as_str() {
                Some("PRESENT") => ValidationMode::Present,
                Some("NONE") => ValidationMode::None,
                _ => ValidationMode::Strict,
            },
        }),
        configuration: configuration.is_object().then(|| Configuration {
            retrier_retry_count: configuration["retrierRetryCount"].as_u64().map(|count| count as u32),
            error_caused_by_state: text(&configuration["errorCausedByState"]),
            map_iteration_failure_count: configuration["mapIterationFailureCount"].as_u64(),
            map_item_reader_data: text(&configuration["mapItemReaderData"]),
        }),
    }
}

/// The answer as the API has it, with JSON objects in place of their texts, as the recordings have them.
fn wire(outcome: &Outcome) -> Value {
    let mut out = Map::new();
    let put = |out: &mut Map<String, Value>, name: &str, text: Option<&String>| {
        let Some(text) = text else { return };
        let parsed = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten();
        out.insert(name.to_owned(), parsed.unwrap_or_else(|| text.as_str().into()));
    };
    put(&mut out, "output", outcome.output.as_ref());
    put(&mut out, "error", outcome.error.as_ref());
    put(&mut out, "cause", outcome.cause.as_ref());
    put(&mut out, "nextState", outcome.next_state.as_ref());
    out.insert("status".to_owned(), outcome.status.as_str().into());
    if let Some(inspection) = &outcome.inspection {
        let mut data = Map::new();
        for (name, text) in inspection.texts() {
            put(&mut data, name, text);
        }
        data.extend(inspection.numbers().map(|(name, number)| (name.to_owned(), number)));
        if let Some(details) = inspection.error_details {
            let details: Map<_, _> = details.numbers().map(|(name, number)| (name.to_owned(), number)).collect();
            data.insert("errorDetails".to_owned(), details.into());
        }
        out.insert("inspectionData".to_owned(), data.into());
    }
    out.into()
}

fn compare(recorded: &Value, told: &Value, place: &str, differences: &mut Vec<String>) {
    if let Some(message) = recorded["exception_value"].as_str() {
        let expected = message.rsplit_once("operation: ").map_or(message, |(_, message)| message);
        return same(&json!(expected), &told["message"], place, differences);
    }
    if recorded["Error"].is_object() {
        same(&recorded["Error"]["Code"], &told["code"], place, differences);
        return same(&recorded["Error"]["Message"], &told["message"], place, differences);
    }
    let mut recorded = recorded.clone();
    recorded.as_object_mut().unwrap().remove("ResponseMetadata");
    same(&recorded, told, place, differences);
}

fn same(recorded: &Value, told: &Value, place: &str, differences: &mut Vec<String>) {
    match (recorded, told) {
        (Value::Object(recorded), Value::Object(told)) => {
            for name in recorded.keys().chain(told.keys().filter(|name| !recorded.contains_key(*name))) {
                match (recorded.get(name), told.get(name)) {
                    (Some(recorded), Some(told)) => same(recorded, told, &format!("{place}/{name}"), differences),
                    (recorded, told) => differences.push(format!("{place}/{name}: AWS {recorded:?}, here {told:?}")),
                }
            }
        }
        (Value::Array(recorded), Value::Array(told)) if recorded.len() == told.len() => {
            for (index, (recorded, told)) in recorded.iter().zip(told).enumerate() {
                same(recorded, told, &format!("{place}/{index}"), differences);
            }
        }
        (Value::String(recorded), Value::String(told)) if like(recorded, told) => {}
        // 1 and 1.0
        (Value::Number(recorded), Value::Number(told)) if recorded.as_f64() == told.as_f64() => {}
        (recorded, told) if recorded == told => {}
        (recorded, told) => differences.push(format!("{place}: AWS {recorded}, here {told}")),
    }
}

/// True if the text fits the recorded one, whose placeholders fit anything.
fn like(recorded: &str, told: &str) -> bool {
    if recorded == told || recorded == "date" || recorded == "timestamp" {
        return true;
    }
    // Literal pieces between placeholders must appear in order.
    let mut pieces = Vec::new();
    let mut rest = recorded;
    while let Some((literal, placeholder)) = rest.split_once('<') {
        pieces.extend(literal.split("111111111111"));
        rest = placeholder.split_once('>').map_or("", |(_, rest)| rest);
    }
    pieces.extend(rest.split("111111111111"));
    if pieces.len() == 1 {
        return false;
    }
    let mut left = told;
    for piece in pieces {
        match left.split_once(piece) {
            Some((_, rest)) => left = rest,
            None => return false,
        }
    }
    true
}

#[test]
fn a_maps_items_come_from_its_readers_data_and_are_shown_in_batches() {
    let definition = json!({
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": { "InputType": "JSON" },
            "Parameters": { "Bucket": "b", "Key": "k" },
        },
        "ItemBatcher": { "MaxItemsPerBatch": 2 },
        "ItemProcessor": {
            "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" },
            "StartAt": "P",
            "States": { "P": { "Type": "Pass", "End": true } },
        },
        "End": true,
    });
    let mut request = Request {
        definition: definition.to_string(),
        level: Level::Debug,
        mock: Some(Mock { result: Some("[10, 20]".to_owned()), ..Mock::default() }),
        configuration: Some(Configuration { map_item_reader_data: Some("[1, 2, 3]".to_owned()), ..Default::default() }),
        ..Request::default()
    };
    let Ok(Begun::NeedsItems(pending)) = begin(&request, &Identity::default(), Timestamp(0)) else { panic!() };
    assert_eq!((pending.data(), &pending.request().arguments), ("[1, 2, 3]", &json!({ "Bucket": "b", "Key": "k" })));
    let outcome = pending.finish(Ok(vec![json!(1), json!(2), json!(3)])).unwrap();
    assert_eq!((outcome.status.as_str(), outcome.output.as_deref()), ("SUCCEEDED", Some("[10, 20]")));
    let inspection = outcome.inspection.unwrap();
    assert_eq!(inspection.after_items_path.as_deref(), Some("[1, 2, 3]"));
    assert_eq!(inspection.after_item_batcher.as_deref(), Some(r#"[{"Items": [1, 2]}, {"Items": [3]}]"#));
    request.configuration = None;
    let refused = begin(&request, &Identity::default(), Timestamp(0)).unwrap_err();
    assert!(refused.to_string().starts_with("ItemReader data must be specified"), "{refused}");
}
