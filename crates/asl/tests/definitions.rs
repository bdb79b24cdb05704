//! Definitions that are accepted, and everything that is said about those that are not.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};
use starmap_asl::{Event, Execution, ExecutionContext, Options, StateMachine, Timestamp, step};

#[track_caller]
fn check(text: &str, expected: Expect) {
    let (machine, diagnostics) = StateMachine::parse(text);
    let lines: String = diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
    expected.assert_eq(&lines);
    let has_error = lines.contains(": error: ");
    assert_eq!(machine.is_none(), has_error, "a machine exactly when there is no error");
}

#[track_caller]
fn check_state(state: Value, expected: Expect) {
    check(&json!({"StartAt": "A", "States": {"A": state}}).to_string(), expected);
}

#[test]
fn everything_is_reported_at_once_in_the_order_of_the_text() {
    check(
        r#"{
  "StartAt": "Nowhere",
  "Speed": 9,
  "States": {
    "A": {"Type": "Task", "Resource": "not an arn", "Next": "B", "TimeoutSeconds": 0},
    "B": {"Type": "Wait", "End": true, "Timestamp": "2016-12-05T25:29:29Z"},
    "C": {"Type": "Pass", "Parameters": {"list": [{"x.$": "nonsense"}]}, "Next": "D", "End": true},
    "D": {"Type": "Teleport"}
  }
}"#,
        expect![[r#"
            2:14: error: MISSING_TRANSITION_TARGET: Missing 'StartAt' target: Nowhere at /StartAt
            3:12: error: SCHEMA_VALIDATION_FAILED: Field is not supported at /Speed
            5:39: error: SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN: not an arn at /States/A/Resource
            5:84: error: SCHEMA_VALIDATION_FAILED: expected an integer from 1 to 99999999, found 0 at /States/A/TimeoutSeconds
            6:53: error: SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/B/Timestamp
            7:10: error: SCHEMA_VALIDATION_FAILED: Only one of these fields may be given: [Next, End] at /States/C
            7:51: error: SCHEMA_VALIDATION_FAILED: The value for the field 'x.$' must be a valid JSONPath or a valid intrinsic function call at /States/C/Parameters/list/0
            8:10: error: SCHEMA_VALIDATION_FAILED: One of these fields is required: [Next, End] at /States/D
            8:19: error: SCHEMA_VALIDATION_FAILED: expected Task, Map, Parallel, Choice, Pass, Wait, Succeed or Fail, found "Teleport" at /States/D/Type
        "#]],
    );
}

#[test]
fn what_is_no_definition() {
    check(
        "",
        expect![[r#"
        1:1: error: SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at /
    "#]],
    );
    check(
        "not a definition",
        expect![[r#"
        1:2: error: INVALID_JSON_DESCRIPTION: expected ident at line 1 column 2 at /
    "#]],
    );
    check(
        "[]",
        expect![[r#"
        1:1: error: SCHEMA_VALIDATION_FAILED: Definition must be a valid JSON object at /
    "#]],
    );
    check(
        "{}",
        expect![[r#"
        1:1: error: SCHEMA_VALIDATION_FAILED: These fields are required: [States, StartAt] at /
    "#]],
    );
    check(
        r#"{"StartAt": "A"}"#,
        expect![[r#"
        1:1: error: SCHEMA_VALIDATION_FAILED: These fields are required: [States] at /
    "#]],
    );
    check(
        r#"{"StartAt": "A", "States": {}}"#,
        expect![[r#"
        1:28: error: SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States
    "#]],
    );
}

#[test]
fn transitions() {
    check(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Pass", "Next": "A2"},
  "B": {"Type": "Pass", "End": true},
  "C": {"Type": "Pass"}
}}"#,
        expect![[r#"
            2:33: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: A2 at /States/A/Next
            4:8: error: SCHEMA_VALIDATION_FAILED: One of these fields is required: [Next, End] at /States/C
        "#]],
    );
    check(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Parallel", "End": true, "Branches": [{"StartAt": "A", "States": {"A": {"Type": "Succeed"}}}]},
  "B": {"Type": "Pass", "End": true}
}}"#,
        expect![[r#"
            2:88: error: DUPLICATE_STATE_NAME: Duplicate State name: A (also /States/A) at /States/A/Branches/0/States/A
            3:8: error: MISSING_TRANSITION_TARGET: State "B" is not reachable. at /States/B
        "#]],
    );
}

#[test]
fn retry_and_catch() {
    check_state(
        json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true,
            "Retry": [{"ErrorEquals": ["States.ALL", "X"]}, {"ErrorEquals": [], "BackoffRate": 0.5, "JitterStrategy": "HALF"}],
            "Catch": [{"Next": "Z"}, 5]}),
        expect![[r#"
            1:124: error: SCHEMA_VALIDATION_FAILED: States.ALL must be in the last entry of Retry at /States/A/Retry/0/ErrorEquals
            1:124: error: SCHEMA_VALIDATION_FAILED: States.ALL must stand alone at /States/A/Retry/0/ErrorEquals
            1:159: error: SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/A/Retry/1/ErrorEquals
            1:176: error: SCHEMA_VALIDATION_FAILED: expected a number of at least 1, found 0.5 at /States/A/Retry/1/BackoffRate
            1:197: error: SCHEMA_VALIDATION_FAILED: expected "FULL" or "NONE", found "HALF" at /States/A/Retry/1/JitterStrategy
            1:215: error: SCHEMA_VALIDATION_FAILED: These fields are required: [ErrorEquals] at /States/A/Catch/0
            1:223: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: Z at /States/A/Catch/0/Next
            1:228: error: SCHEMA_VALIDATION_FAILED: expected an object, found 5 at /States/A/Catch/1
        "#]],
    );
}

#[test]
fn choice_rules() {
    check_state(
        json!({"Type": "Choice", "Choices": [
            {"Variable": "$.a", "NumericEquals": "1", "Next": "A"},
            {"Variable": "$.a", "NumericEquals": 1, "StringEquals": "1", "Next": "A"},
            {"NumericEquals": 1, "Next": "A"},
            {"And": [{"Variable": "$[", "IsNull": true}, {"Not": {"Variable": "$.a"}}], "Next": "A"},
            {"Variable": "$.a", "TimestampEquals": "noon", "Next": "A"},
            {"Variable": "$.a", "StringMatches": "a\\b"},
        ], "Default": "B"}),
        expect![[r#"
            1:92: error: SCHEMA_VALIDATION_FAILED: expected a number, found "1" at /States/A/Choices/0/NumericEquals
            1:108: error: SCHEMA_VALIDATION_FAILED: a rule needs exactly one of And, Or, Not and a comparison, found 2 at /States/A/Choices/1
            1:175: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Variable] at /States/A/Choices/2
            1:226: error: SCHEMA_VALIDATION_FAILED: Value is not a valid JSONPath: at character 2: expected a quoted name, an index, a slice, `*` or `?(`, found the end at /States/A/Choices/3/And/0/Variable
            1:253: error: SCHEMA_VALIDATION_FAILED: a rule needs exactly one of And, Or, Not and a comparison, found 0 at /States/A/Choices/3/And/1/Not
            1:322: error: SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/A/Choices/4/TimestampEquals
            1:341: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Next] at /States/A/Choices/5
            1:375: error: SCHEMA_VALIDATION_FAILED: `\b` is not an escape sequence at /States/A/Choices/5/StringMatches
            1:394: error: MISSING_TRANSITION_TARGET: Missing 'Default' target: B at /States/A/Default
        "#]],
    );
}

#[test]
fn what_is_not_supported_yet_says_so() {
    check(
        r#"{"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": {"Type": "Pass", "Output": "{% 1 %}", "End": true}}}"#,
        expect![[r#"
            1:19: error: NOT_SUPPORTED: QueryLanguage JSONata is not supported yet, only JSONPath is at /QueryLanguage
        "#]],
    );
    check_state(
        json!({"Type": "Map", "End": true, "ItemReader": {}, "ResultWriter": {}, "ItemBatcher": {}, "Label": "a#b", "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "P", "States": {"P": {"Type": "Pass", "Assign": {}, "End": true}},
        }}),
        expect![[r#"
            1:68: error: NOT_SUPPORTED: ItemReader (items from object storage) is not supported yet at /States/A/ItemReader
            1:86: error: NOT_SUPPORTED: ResultWriter (results to object storage) is not supported yet at /States/A/ResultWriter
            1:103: error: NOT_SUPPORTED: ItemBatcher (several items per child execution) is not supported yet at /States/A/ItemBatcher
            1:114: error: SCHEMA_VALIDATION_FAILED: Label contains invalid character: '#' at /States/A/Label
            1:230: error: NOT_SUPPORTED: Assign (variables) is not supported yet at /States/A/ItemProcessor/States/P/Assign
        "#]],
    );
}

#[test]
fn credentials_are_a_warning_and_the_machine_runs() {
    check_state(
        json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true, "Credentials": {"RoleArn": "arn"}}),
        expect![[r#"
            1:114: warning: NOT_SUPPORTED: Credentials are read but not used: tasks run with the engine's own rights at /States/A/Credentials
        "#]],
    );
}

/// The two published shapes of the pipeline's definition.
#[test]
fn both_shapes_of_the_pipeline_are_accepted() {
    let example = include_str!("../../../examples/redshift/state-machine.asl.json");
    check(example, expect![[""]]);
    let invoke = |payload: Value| {
        json!({
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "OutputPath": "$.Payload",
            "Parameters": {"Payload.$": payload, "FunctionName": "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST"},
            "Retry": [{
                "ErrorEquals": ["Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException", "Lambda.TooManyRequestsException"],
                "IntervalSeconds": 2, "MaxAttempts": 6, "BackoffRate": 2,
            }],
        })
    };
    let with = |mut state: Value, key: &str, value: Value| {
        state[key] = value;
        state
    };
    let older = json!({
        "Comment": "A description of my state machine",
        "StartAt": "Initialize",
        "States": {
            "Initialize": with(invoke("$".into()), "Next", "Distributed Test".into()),
            "Distributed Test": {
                "Type": "Map",
                "MaxConcurrency": 1000,
                "ItemsPath": "$.body",
                "Label": "DistributedTest",
                "Iterator": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "Model Inference",
                    "States": {"Model Inference": with(invoke("$".into()), "End", true.into())},
                },
                "Next": "Summarize",
            },
            "Summarize": with(invoke("$".into()), "End", true.into()),
        },
    });
    check(&older.to_string(), expect![[""]]);
}

/// A definition with something of everything.
fn rich() -> Value {
    let task = json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true,
        "TimeoutSecondsPath": "$.t", "HeartbeatSeconds": 5, "InputPath": "$.a", "OutputPath": null,
        "Parameters": {"x.$": "$.a[0]", "y": [{"z.$": "States.Format('{}', $$.Execution.Name)"}]},
        "ResultSelector": {"r.$": "$"}, "ResultPath": "$.r.s",
        "Retry": [{"ErrorEquals": ["A"], "IntervalSeconds": 2, "MaxDelaySeconds": 5, "BackoffRate": 1.5, "MaxAttempts": 2}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.e", "Next": "Done"}]});
    json!({"Comment": "c", "Version": "1.0", "TimeoutSeconds": 9, "StartAt": "Pick", "States": {
        "Pick": {"Type": "Choice", "Default": "Map", "Choices": [
            {"And": [{"Variable": "$.a", "IsPresent": true}, {"Not": {"Variable": "$.b", "NumericLessThanPath": "$.c"}}], "Next": "Work"},
            {"Variable": "$.d", "StringMatches": "x*", "Next": "Pause"},
        ]},
        "Work": task,
        "Map": {"Type": "Map", "ItemsPath": "$.list", "ItemSelector": {"v.$": "$$.Map.Item.Value"}, "MaxConcurrencyPath": "$.c", "Next": "Run",
            "ItemProcessor": {"StartAt": "Inner", "States": {"Inner": {"Type": "Pass", "Result": 1, "ResultPath": "$.x", "End": true}}}},
        "Run": {"Type": "Map", "ToleratedFailureCountPath": "$.c", "ToleratedFailurePercentage": 5, "Label": "l", "Next": "Both",
            "Iterator": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"}, "StartAt": "P", "States": {"P": {"Type": "Succeed"}}}},
        "Both": {"Type": "Parallel", "Next": "Pause", "Branches": [{"StartAt": "Q", "States": {"Q": {"Type": "Fail", "ErrorPath": "$.e", "Cause": "c"}}}]},
        "Pause": {"Type": "Wait", "SecondsPath": "$.s", "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }})
}

/// Replaces or removes the `chosen`-th value inside `value`, counted depth first.
fn mutate(value: &mut Value, chosen: &mut usize, replacement: Option<&Value>) {
    let keys: Vec<String> = match value {
        Value::Object(object) => object.keys().cloned().collect(),
        Value::Array(array) => (0..array.len()).map(|index| index.to_string()).collect(),
        _ => return,
    };
    for key in keys {
        if *chosen == 0 {
            *chosen = usize::MAX;
            match (value, replacement) {
                (Value::Object(object), None) => drop(object.remove(&key)),
                (Value::Array(array), None) => drop(array.remove(key.parse::<usize>().unwrap())),
                (Value::Object(object), Some(new)) => drop(object.insert(key, new.clone())),
                (Value::Array(array), Some(new)) => array[key.parse::<usize>().unwrap()] = new.clone(),
                _ => {}
            }
            return;
        }
        if *chosen == usize::MAX {
            return;
        }
        *chosen -= 1;
        let pointer = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        mutate(value.pointer_mut(&pointer).unwrap(), chosen, replacement);
    }
}

fn replacement() -> impl Strategy<Value = Option<Value>> {
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("$"),
        json!("$$"),
        json!("$.list"),
        json!("$.."),
        json!("States.UUID()"),
        json!("Done"),
        json!("Pass"),
        json!("JSONata"),
        json!([]),
        json!({}),
        json!([1, {"a.$": "$"}]),
        json!({"a.$": 5}),
    ];
    prop_oneof![1 => Just(None), 6 => proptest::sample::select(values.to_vec()).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is changed in a definition: either it is refused with an error or it runs without a panic.
    #[test]
    fn a_damaged_definition_is_refused_or_runs(changes in prop::collection::vec((0_usize..150, replacement()), 1..4)) {
        let mut definition = rich();
        prop_assert!(StateMachine::parse(&definition.to_string()).0.is_some(), "{:?}", StateMachine::parse(&definition.to_string()).1);
        for (mut chosen, new) in changes {
            mutate(&mut definition, &mut chosen, new.as_ref());
        }
        let (machine, diagnostics) = StateMachine::parse(&definition.to_string());
        let has_error = diagnostics.iter().any(|found| found.to_string().contains(" error: "));
        prop_assert_eq!(machine.is_none(), has_error, "{}", definition);
        let Some(machine) = machine else { return Ok(()) };
        let input = json!({"a": [1, {"t": 3}], "c": 2, "list": [1, 2, 3], "s": 1, "t": 9, "e": "E", "d": "xyz"});
        let options = Options { payload_bytes_max: Some(500), seed: 3 };
        let mut execution = Execution::new(machine, ExecutionContext::default(), input, options);
        step(&mut execution, Timestamp(0), Event::Started).unwrap();
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC*") {
        let (machine, diagnostics) = StateMachine::parse(&text);
        prop_assert!(machine.is_some() || !diagnostics.is_empty());
    }
}
