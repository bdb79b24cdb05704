//! Definitions that are accepted, and everything that is said about those that are not.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};
use starmap_asl::{Event, Execution, ExecutionContext, ExecutionType, Options, StateMachine, Timestamp, step};

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
            3:12: error: SCHEMA_VALIDATION_FAILED: Field 'Speed' is not supported at /
            5:39: error: SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN at /States/A/Resource
            5:84: error: SCHEMA_VALIDATION_FAILED: expected an integer from 1 to 99999999, found 0 at /States/A/TimeoutSeconds
            6:53: error: SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/B/Timestamp
            7:10: error: SCHEMA_VALIDATION_FAILED: Only one of these fields may be given: [Next, End] at /States/C
            7:51: error: SCHEMA_VALIDATION_FAILED: The value for the field 'x.$' must be a valid JSONPath or a valid intrinsic function call at /States/C/Parameters/list[0]
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
            1:2: error: INVALID_JSON_DESCRIPTION: Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')
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
            2:88: error: DUPLICATE_STATE_NAME: Duplicate State name: A (also /States/A) at /States/A/Branches[0]/States/A
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
            1:124: error: SCHEMA_VALIDATION_FAILED: States.ALL must be in the last entry of Retry at /States/A/Retry[0]/ErrorEquals
            1:124: error: SCHEMA_VALIDATION_FAILED: States.ALL must stand alone at /States/A/Retry[0]/ErrorEquals
            1:159: error: SCHEMA_VALIDATION_FAILED: Value cannot be empty at /States/A/Retry[1]/ErrorEquals
            1:176: error: SCHEMA_VALIDATION_FAILED: expected a number of at least 1, found 0.5 at /States/A/Retry[1]/BackoffRate
            1:197: error: SCHEMA_VALIDATION_FAILED: expected "FULL" or "NONE", found "HALF" at /States/A/Retry[1]/JitterStrategy
            1:215: error: SCHEMA_VALIDATION_FAILED: These fields are required: [ErrorEquals] at /States/A/Catch[0]
            1:223: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: Z at /States/A/Catch[0]/Next
            1:228: error: SCHEMA_VALIDATION_FAILED: expected an object, found 5 at /States/A/Catch[1]
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
            1:92: error: SCHEMA_VALIDATION_FAILED: expected a number, found "1" at /States/A/Choices[0]/NumericEquals
            1:108: error: SCHEMA_VALIDATION_FAILED: a rule needs exactly one of And, Or, Not and a comparison, found 2 at /States/A/Choices[1]
            1:175: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Variable] at /States/A/Choices[2]
            1:226: error: SCHEMA_VALIDATION_FAILED: Value is not a valid JSONPath: at character 2: expected a quoted name, an index, a slice, `*` or `?(`, found the end at /States/A/Choices[3]/And[0]/Variable
            1:253: error: SCHEMA_VALIDATION_FAILED: a rule needs exactly one of And, Or, Not and a comparison, found 0 at /States/A/Choices[3]/And[1]/Not
            1:322: error: SCHEMA_VALIDATION_FAILED: String does not match RFC3339 timestamp at /States/A/Choices[4]/TimestampEquals
            1:341: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Next] at /States/A/Choices[5]
            1:375: error: SCHEMA_VALIDATION_FAILED: `\b` is not an escape sequence at /States/A/Choices[5]/StringMatches
            1:394: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: B at /States/A/Default
        "#]],
    );
}

#[test]
fn distributed_maps() {
    let processor = json!({
        "ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}},
    });
    check_state(
        json!({"Type": "Map", "End": true, "ItemReader": {}, "ResultWriter": {}, "ItemBatcher": {}, "Label": "a#b",
            "ItemProcessor": processor}),
        expect![[r#"
            1:68: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Resource] at /States/A/ItemReader
            1:86: error: SCHEMA_VALIDATION_FAILED: One of these fields is required: [Resource, WriterConfig] at /States/A/ResultWriter
            1:103: error: SCHEMA_VALIDATION_FAILED: One of these fields is required: [MaxItemsPerBatch, MaxItemsPerBatchPath, MaxInputBytesPerBatch, MaxInputBytesPerBatchPath] at /States/A/ItemBatcher
            1:114: error: SCHEMA_VALIDATION_FAILED: Label contains invalid character: '#' at /States/A/Label
        "#]],
    );
    check_state(
        json!({"Type": "Map", "End": true,
            "ItemReader": {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key.$": "$.k"},
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVDelimiter": "BAR", "MaxItemsPath": "$.n"}},
            "ItemBatcher": {"MaxItemsPerBatch": 0, "BatchInput": {"x.$": "$.x"}},
            "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "WriterConfig": {"Transformation": "FLAT"}},
            "ItemProcessor": processor}),
        expect![[r#"
            1:169: error: SCHEMA_VALIDATION_FAILED: These fields are required: [CSVHeaders] at /States/A/ItemReader/ReaderConfig
            1:231: error: SCHEMA_VALIDATION_FAILED: Value is not valid. Expected one of [COMMA, PIPE, SEMICOLON, SPACE, TAB], found BAR at /States/A/ItemReader/ReaderConfig/CSVDelimiter
            1:294: error: SCHEMA_VALIDATION_FAILED: expected an integer from 1 to 100000000, found 0 at /States/A/ItemBatcher/MaxItemsPerBatch
            1:339: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Parameters] at /States/A/ResultWriter
            1:416: error: SCHEMA_VALIDATION_FAILED: Value is not valid. Expected one of [NONE, COMPACT, FLATTEN], found FLAT at /States/A/ResultWriter/WriterConfig/Transformation
        "#]],
    );
    check_state(
        json!({"Type": "Map", "End": true,
            "ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}},
            "ItemBatcher": {"MaxInputBytesPerBatchPath": "$.n"},
            "ResultWriter": {"WriterConfig": {"Transformation": "FLATTEN", "OutputType": "JSONL"}},
            "ItemProcessor": processor}),
        expect![[r#""#]],
    );
}

#[test]
fn query_languages() {
    check(
        r#"{"QueryLanguage": "JSONata", "StartAt": "A", "States": {
  "A": {"Type": "Pass", "Output": 1, "Next": "B"},
  "B": {"Type": "Pass", "QueryLanguage": "JSONPath", "Next": "C"},
  "C": {"Type": "Wait", "SecondsPath": "$.x", "InputPath": "$", "Seconds": 1, "Next": "D"},
  "D": {"Type": "Choice", "Choices": [{"Variable": "$.x", "NumericEquals": 1, "Next": "E"}, {"Condition": 1, "Next": "E"}], "Arguments": 1},
  "E": {"Type": "Map", "Items": "$.x", "ItemProcessor": {"QueryLanguage": "JSONata", "StartAt": "F", "States": {"F": {"Type": "Succeed"}}}, "End": true}
}}"#,
        expect![[r#"
            3:8: error: SCHEMA_VALIDATION_FAILED: 'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine at /States/B
            4:40: error: SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field 'SecondsPath' is only supported for the 'JSONPath' QueryLanguage at /States/C
            4:60: error: SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field 'InputPath' is only supported for the 'JSONPath' QueryLanguage at /States/C
            5:39: error: SCHEMA_VALIDATION_FAILED: These fields are required: [Condition] at /States/D/Choices[0]
            5:52: error: SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONata', but field 'Variable' is only supported for the 'JSONPath' QueryLanguage at /States/D/Choices[0]
            5:76: error: SCHEMA_VALIDATION_FAILED: Field 'NumericEquals' is not supported at /States/D/Choices[0]
            5:107: error: SCHEMA_VALIDATION_FAILED: expected true, false or a JSONata expression, found 1 at /States/D/Choices[1]/Condition
            5:138: error: SCHEMA_VALIDATION_FAILED: Field 'Arguments' is not supported at /States/D
            6:33: error: SCHEMA_VALIDATION_FAILED: expected an array, an object or a JSONata expression at /States/E/Items
            6:75: error: SCHEMA_VALIDATION_FAILED: Field 'QueryLanguage' is not supported at /States/E/ItemProcessor
        "#]],
    );
    check(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Pass", "Output": "{% 1 %}", "Next": "B"},
  "B": {"Type": "Map", "QueryLanguage": "JSONata", "Items": [1], "Next": "C", "ItemProcessor": {
    "StartAt": "P", "States": {"P": {"Type": "Pass", "Output": 1, "End": true}}}},
  "C": {"Type": "Succeed", "QueryLanguage": "SQL"}
}}"#,
        expect![[r#"
            2:35: error: SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage at /States/A
            4:64: error: SCHEMA_VALIDATION_FAILED: The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage at /States/B/ItemProcessor/States/P
            5:45: error: SCHEMA_VALIDATION_FAILED: expected "JSONPath" or "JSONata", found "SQL" at /States/C/QueryLanguage
        "#]],
    );
}

#[test]
fn variables() {
    check(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Pass", "Assign": {"x": 1, "y.$": "$.a", "1z": 0, "a.b": 0, "states": 0}, "Next": "B"},
  "B": {"Type": "Map", "End": true, "ItemProcessor": {"StartAt": "C", "States": {
    "C": {"Type": "Parallel", "Assign": {"w": 1}, "End": true, "Branches": [
      {"StartAt": "D", "States": {"D": {"Type": "Pass", "Assign": {"y": 1, "v": 1}, "End": true}}},
      {"StartAt": "E", "States": {"E": {"Type": "Pass", "Assign": {"w": 1, "v": 1, "u.$": "$x.["}, "End": true}}}
    ]}
  }}},
  "F": {"Type": "Map", "End": true, "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "G", "States": {
    "G": {"Type": "Pass", "Assign": {"x": 1}, "End": true}
  }}},
  "H": {"Type": "Succeed", "Assign": {"x": 1}}
}}"#,
        expect![[r#"
            2:35: error: SCHEMA_VALIDATION_FAILED: Variable name '1z' is not valid at /States/A/Assign
            2:35: error: SCHEMA_VALIDATION_FAILED: Variable name 'a.b' is not valid at /States/A/Assign
            2:35: error: SCHEMA_VALIDATION_FAILED: Variable name 'states' is reserved at /States/A/Assign
            5:67: error: SCHEMA_VALIDATION_FAILED: Variable 'y' is already assigned in an outer scope at /States/B/ItemProcessor/States/C/Branches[0]/States/D/Assign
            6:67: error: SCHEMA_VALIDATION_FAILED: The value for the field 'u.$' must be a valid JSONPath or a valid intrinsic function call at /States/B/ItemProcessor/States/C/Branches[1]/States/E/Assign
            6:67: error: SCHEMA_VALIDATION_FAILED: Variable name 'u.$' is not valid at /States/B/ItemProcessor/States/C/Branches[1]/States/E/Assign
            6:67: error: SCHEMA_VALIDATION_FAILED: Variable 'w' is already assigned in an outer scope at /States/B/ItemProcessor/States/C/Branches[1]/States/E/Assign
            12:38: error: SCHEMA_VALIDATION_FAILED: Field 'Assign' is not supported at /States/H
        "#]],
    );
}

#[test]
fn a_workflow_ends_and_every_state_is_reached() {
    // Messages and places as measured on AWS: floci-io/floci issue 2735 and pull request 2786, read 2026-11-27.
    let pass = |next: &str| json!({"Type": "Pass", "Next": next});
    let machine = |states: Value| json!({"StartAt": "A", "States": states}).to_string();
    check(
        &machine(json!({"A": pass("B"), "B": pass("A")})),
        expect![[r#"
        1:1: error: MISSING_END_STATE: Workflow has no terminal state at /
    "#]],
    );
    check(
        &machine(json!({"A": pass("B"), "B": pass("A"), "C": {"Type": "Succeed"}})),
        expect![[r#"
        1:92: error: MISSING_TRANSITION_TARGET: State "C" is not reachable. at /States/C
    "#]],
    );
    check(
        &machine(json!({"A": pass("NOPE")})),
        expect![[r#"
        1:52: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: NOPE at /States/A/Next
        1:1: error: MISSING_END_STATE: Workflow has no terminal state at /
    "#]],
    );
    check(
        &machine(json!({
            "A": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsNull": true, "Next": "X"}], "Default": "Y"},
            "B": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Z"}], "End": true},
        })),
        expect![[r#"
            1:97: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: X at /States/A/Choices[0]/Next
            1:113: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: Y at /States/A/Default
            1:122: error: MISSING_TRANSITION_TARGET: State "B" is not reachable. at /States/B
            1:227: error: MISSING_TRANSITION_TARGET: Missing 'Next' target: Z at /States/B/Catch[0]/Next
        "#]],
    );
}

#[test]
fn fields_of_other_types_of_states() {
    check(
        r#"{"StartAt": "A", "States": {
  "A": {"Type": "Pass", "Catch": [], "Retry": [], "TimeoutSeconds": 1, "Next": "B"},
  "B": {"Type": "Parallel", "TimeoutSeconds": 1, "Branches": [{"StartAt": "C", "States": {"C": {"Type": "Fail", "End": true}}}], "End": true}
}}"#,
        expect![[r#"
            2:34: error: SCHEMA_VALIDATION_FAILED: Field 'Catch' is not supported at /States/A
            2:47: error: SCHEMA_VALIDATION_FAILED: Field 'Retry' is not supported at /States/A
            2:69: error: SCHEMA_VALIDATION_FAILED: Field 'TimeoutSeconds' is not supported at /States/A
            3:47: error: SCHEMA_VALIDATION_FAILED: Field 'TimeoutSeconds' is not supported at /States/B
            3:120: error: SCHEMA_VALIDATION_FAILED: Field 'End' is not supported at /States/B/Branches[0]/States/C
        "#]],
    );
}

#[test]
fn resources_and_credentials() {
    let task = |resource: &str| json!({"Type": "Task", "Resource": resource, "End": true});
    check_state(
        task("arn:aws:states:::dynamodb:query"),
        expect![[r#"
        1:56: error: SCHEMA_VALIDATION_FAILED: The resource provided arn:aws:states:::dynamodb:query is not recognized. The value is not a valid resource ARN, or the resource is not available in this region. at /States/A/Resource
    "#]],
    );
    check_state(
        task("infer"),
        expect![[r#"
        1:56: error: SCHEMA_VALIDATION_FAILED: Value is not a valid resource ARN at /States/A/Resource
    "#]],
    );
    let mut state = task("arn:aws:states:::lambda:invoke");
    state["Credentials"] = json!({"InvalidField": 1});
    check_state(
        state.clone(),
        expect![[r#"
        1:114: error: SCHEMA_VALIDATION_FAILED: The field 'RoleArn' is required but was missing at /States/A/Credentials
    "#]],
    );
    state["Credentials"] = json!({"RoleArn.$": "$.role"});
    check_state(state, expect![[""]]);
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken", "Next": "B"},
        "B": {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2", "End": true},
    }});
    let (machine, diagnostics) = StateMachine::parse_as(&definition.to_string(), ExecutionType::Express);
    assert!(machine.is_none());
    let lines: String = diagnostics.iter().map(|diagnostic| format!("{diagnostic}\n")).collect();
    expect![[r#"
        1:56: error: SCHEMA_VALIDATION_FAILED: Express state machine does not support '.waitForTaskToken' service integration  at /States/A/Resource
        1:150: error: SCHEMA_VALIDATION_FAILED: Express state machine does not support '.sync' service integration at /States/B/Resource
    "#]].assert_eq(&lines);
}

#[test]
fn variables_that_a_definition_reads() {
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Map", "ItemsPath": "$list", "MaxConcurrencyPath": "$max.n", "Next": "C", "ItemSelector": {"a.$": "States.Format($f, $$.Map.Item.Value)", "b": "$no"},
            "ItemProcessor": {"StartAt": "B", "States": {"B": {"Type": "Pass", "InputPath": "$in", "Assign": {"x.$": "$y"}, "End": true}}}},
        "C": {"Type": "Choice", "Choices": [{"Variable": "$c", "NumericEqualsPath": "$d.e", "Next": "D"}], "Default": "D"},
        "D": {"Type": "Fail", "ErrorPath": "$error", "CausePath": "States.JsonToString($cause)"},
    }});
    let references = StateMachine::parse(&definition.to_string()).0.unwrap().variable_references();
    let lines: String = references.iter().map(|(state, names)| format!("{state}: {names:?}\n")).collect();
    expect![[r#"
        A: {"f", "list", "max"}
        B: {"in", "y"}
        C: {"c", "d"}
        D: {"cause", "error"}
    "#]]
    .assert_eq(&lines);
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
