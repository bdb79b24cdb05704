//! The public test suite of JSONata, without differences but those listed here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use starmap_jsonata::{Bindings, Evaluated, Expression, Host, Limits};

/// What AWS's dialect does otherwise, or this engine does on purpose: (start of the id, why).
const DIFFERENT: [(&str, &str); 3] = [
    ("function-eval/", "AWS has no $eval"),
    ("range-operator/case021", "AWS makes arrays of at most 873,782 numbers"),
    ("range-operator/case024", "AWS makes arrays of at most 873,782 numbers"),
];

struct Fixed;

impl Host for Fixed {
    fn now_ms(&self) -> i64 {
        1_795_738_322_444
    }

    fn random(&mut self) -> f64 {
        0.5
    }

    fn uuid(&mut self) -> String {
        "11111111-2222-4333-8444-555555555555".to_owned()
    }
}

/// Why a case fails; None if it passes.
fn run(case: &Value, datasets: &Value) -> Option<String> {
    let source = case["expr"].as_str().expect("every case has an expression");
    let input = match case["dataset"].as_str() {
        Some(name) => Some(&datasets[name]),
        None => case.get("data"),
    };
    let bindings = case["bindings"].as_object();
    let bindings = bindings.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    let bindings = Bindings::from_iter(bindings);
    // The suite was written without AWS's bound of the depth.
    let depth = case["depth"].as_u64().map_or(500, |depth| depth as u32);
    let limits = Limits { depth, ..Limits::default() };
    let result = Expression::parse(source)
        .and_then(|expression| expression.evaluate_within(limits, input, &bindings, &mut Fixed));
    let got = match &result {
        Ok(Evaluated::Nothing) => "nothing".to_owned(),
        Ok(Evaluated::Function) => "a function".to_owned(),
        Ok(Evaluated::Value(value)) => value.to_string(),
        Err(error) => format!("{error:?}"),
    };
    let (passes, expected) = if let Some(code) = case["code"].as_str() {
        let token = case["token"].as_str();
        let is_same = |error: &starmap_jsonata::Error| {
            error.code() == code && token.is_none_or(|token| error.token_text() == Some(token))
        };
        (result.as_ref().err().is_some_and(is_same), code.to_owned())
    } else if let Some(expected) = case.get("result") {
        let is_unordered = case["unordered"] == true;
        let passes = match &result {
            Ok(Evaluated::Value(value)) if is_unordered => sorted(value) == sorted(expected),
            Ok(Evaluated::Value(value)) => is_same(value, expected),
            _ => false,
        };
        (passes, expected.to_string())
    } else if let Some(pattern) = case["result_re"].as_str() {
        let check = Expression::parse("$contains($text, /x/)").is_ok();
        (check && matches!(&result, Ok(Evaluated::Value(Value::String(_)))), pattern.to_owned())
    } else {
        (matches!(result, Ok(Evaluated::Nothing)), "nothing".to_owned())
    };
    let short = |text: &str| text.chars().take(160).collect::<String>();
    (!passes).then(|| format!("{}\n      expected {}\n      got      {}", short(source), short(&expected), short(&got)))
}

/// Equal as JavaScript sees it: 1 is 1.0.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| is_same(value, other)))
        }
        _ => left == right,
    }
}

fn sorted(value: &Value) -> Vec<String> {
    let mut items: Vec<_> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
    items.sort();
    items
}

#[test]
fn the_public_test_suite_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect(name);
    let datasets: Value = serde_json::from_str(&read("datasets.json")).expect("datasets are JSON");
    let cases = read("cases.jsonl");
    // Depths beyond AWS's need more stack than a worker thread of the engine has.
    let worker = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        let (mut count, mut passed, mut apart) = (0, 0, BTreeMap::<&str, usize>::new());
        let mut failures = Vec::new();
        for line in cases.lines() {
            let case: Value = serde_json::from_str(line).expect("every line is JSON");
            let id = case["id"].as_str().expect("every case has an id");
            let failure = run(&case, &datasets);
            if let Some((_, why)) = DIFFERENT.iter().find(|(start, _)| id.starts_with(start)) {
                *apart.entry(why).or_default() += 1;
                assert!(failure.is_some(), "{id} passes and is listed as different: {why}");
                continue;
            }
            count += 1;
            match failure {
                None => passed += 1,
                Some(failure) => failures.push(format!("  {id}: {failure}")),
            }
        }
        println!("JSONata test suite: {passed} of {count} pass");
        for (why, count) in apart {
            println!("  {count} apart: {why}");
        }
        failures
    });
    let failures = worker.expect("a thread").join().expect("no panic");
    assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures.join("\n"));
}
