//! Histories and commands, event by event.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use starmap_asl::{
    Command, Event, EventKind, Execution, ExecutionContext, HistoryEvent, MapRunId, MapRunSpec, Options, StateMachine,
    Status, StepError, TaskId, TaskInvocation, TimerId, Timestamp, step,
};

const LAMBDA: &str = "arn:aws:states:::lambda:invoke";

fn machine(definition: &Value) -> StateMachine {
    let (machine, diagnostics) = StateMachine::parse(&definition.to_string());
    machine.unwrap_or_else(|| panic!("{diagnostics:#?}"))
}

fn execution(definition: &Value, input: Value) -> Execution {
    let context = ExecutionContext { execution_id: "run-1".to_owned(), ..ExecutionContext::default() };
    Execution::new(machine(definition), context, input, Options { payload_bytes_max: Some(1000), seed: 7 })
}

/// Feeds `Started` at 0 s and then the script (seconds, event); compares all commands.
#[track_caller]
fn check(definition: Value, input: Value, script: Vec<(i64, Event)>, expected: Expect) {
    let mut execution = execution(&definition, input);
    let mut told = String::new();
    for (second, event) in std::iter::once((0, Event::Started)).chain(script) {
        told.push_str(&format!("{second}s {}\n", event.name()));
        for command in step(&mut execution, Timestamp(second * 1000), event).unwrap() {
            told.push_str(&format!("    {}\n", tell(&command)));
        }
    }
    expected.assert_eq(&told);
}

fn tell(command: &Command) -> String {
    match command {
        Command::Record(event) => {
            let HistoryEvent { id, previous_id, kind, .. } = &**event;
            format!("{id} <- {previous_id} {}{}", kind.name(), details(kind))
        }
        Command::InvokeTask(invocation) => {
            let TaskInvocation { task, resource, arguments, retry_count, token, .. } = &**invocation;
            let token = if token.is_some() { " with token" } else { "" };
            format!("> invoke {} {resource} {arguments} after {retry_count} retries{token}", task.0)
        }
        Command::CancelTask { task } => format!("> cancel task {}", task.0),
        Command::StartTimer { timer, due } => format!("> timer {} at {}s", timer.0, due.0 as f64 / 1000.0),
        Command::CancelTimer { timer } => format!("> cancel timer {}", timer.0),
        Command::StartMapRun { map_run, spec } => format!("> map run {} {}", map_run.0, map_run_told(spec)),
        Command::RedriveMapRun { map_run, spec } => format!("> map run {} again {}", map_run.0, map_run_told(spec)),
        Command::CancelMapRun { map_run } => format!("> cancel map run {}", map_run.0),
        Command::Finish(outcome) => format!("> {outcome:?}"),
    }
}

fn details(kind: &EventKind) -> String {
    match kind {
        EventKind::StateEntered { name, input, .. } => format!(" {name} {input}"),
        EventKind::StateExited { name, output, assigned, .. } => {
            let assigned: String = assigned.iter().map(|(name, value)| format!(" ${name}={value}")).collect();
            format!(" {name} {output}{assigned}")
        }
        EventKind::EvaluationFailed { cause, location, .. } => {
            format!(" {}: {cause}", location.as_deref().unwrap_or("-"))
        }
        EventKind::MapIterationStarted { index, .. }
        | EventKind::MapIterationSucceeded { index, .. }
        | EventKind::MapIterationFailed { index, .. }
        | EventKind::MapIterationAborted { index, .. } => format!(" {index}"),
        EventKind::ExecutionFailed { error, cause } | EventKind::ExecutionAborted { error, cause } => {
            format!(" {} {}", error.as_deref().unwrap_or("-"), cause.as_deref().unwrap_or("-"))
        }
        EventKind::TaskFailed { error, cause, .. } | EventKind::LambdaFunctionFailed { error, cause } => {
            format!(" {error} {cause}")
        }
        EventKind::TaskTimedOut { error, .. } => format!(" {error}"),
        EventKind::TaskScheduled { timeout_s, heartbeat_s, .. } if timeout_s.is_some() || heartbeat_s.is_some() => {
            format!(" {timeout_s:?} {heartbeat_s:?}")
        }
        _ => String::new(),
    }
}

fn started(task: u64) -> Event {
    Event::TaskStarted { task: TaskId(task) }
}

fn succeeded(task: u64, output: Value) -> Event {
    Event::TaskSucceeded { task: TaskId(task), output: output.into() }
}

fn failed(task: u64, error: &str) -> Event {
    Event::TaskFailed { task: TaskId(task), error: error.to_owned(), cause: "because".to_owned() }
}

fn fired(timer: u64) -> Event {
    Event::TimerFired { timer: TimerId(timer) }
}

/// A machine of one state, which ends.
fn single(state: Value) -> Value {
    let mut state = state;
    state["End"] = true.into();
    json!({"StartAt": "A", "States": {"A": state}})
}

fn task(fields: Value) -> Value {
    let mut state = json!({"Type": "Task", "Resource": LAMBDA, "Parameters": {"FunctionName": "f", "Payload.$": "$"}});
    for (key, value) in fields.as_object().unwrap() {
        state[key] = value.clone();
    }
    state
}

#[test]
fn a_task_is_retried_with_backoff_and_then_succeeds() {
    let retry = json!([{"ErrorEquals": ["Slow"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 2}]);
    check(
        single(task(json!({"Retry": retry, "OutputPath": "$.Payload"}))),
        json!({"rank": 0}),
        vec![
            (1, started(1)),
            (2, failed(1, "Slow")),
            (4, fired(1)),
            (5, failed(2, "Slow")),
            (11, fired(2)),
            (12, started(3)),
            (13, succeeded(3, json!({"Payload": {"ok": true}}))),
        ],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {"rank":0}
                3 <- 2 TaskScheduled
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"rank":0}} after 0 retries
            1s TaskStarted
                4 <- 3 TaskStarted
            2s TaskFailed
                5 <- 4 TaskFailed Slow because
                > timer 1 at 4s
            4s TimerFired
                6 <- 5 TaskScheduled
                > invoke 2 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"rank":0}} after 1 retries
            5s TaskFailed
                7 <- 6 TaskFailed Slow because
                > timer 2 at 11s
            11s TimerFired
                8 <- 7 TaskScheduled
                > invoke 3 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"rank":0}} after 2 retries
            12s TaskStarted
                9 <- 8 TaskStarted
            13s TaskSucceeded
                10 <- 9 TaskSucceeded
                11 <- 10 TaskStateExited A {"ok":true}
                12 <- 11 ExecutionSucceeded
                > Succeeded { output: Object {"ok": Bool(true)} }
        "#]],
    );
}

#[test]
fn exhausted_retries_go_on_to_catch() {
    let definition = json!({"StartAt": "A", "States": {
        "A": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "Retry": [{"ErrorEquals": ["States.TaskFailed"], "MaxAttempts": 1}],
            "Catch": [{"ErrorEquals": ["Other"], "Next": "Never"}, {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "B"}],
            "Next": "Never",
        },
        "B": {"Type": "Succeed"},
        "Never": {"Type": "Fail"},
    }});
    check(
        definition,
        json!({"rank": 0}),
        vec![(0, failed(1, "Boom")), (1, fired(1)), (1, started(2)), (2, failed(2, "Boom"))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {"rank":0}
                3 <- 2 LambdaFunctionScheduled
                > invoke 1 arn:aws:lambda:us-east-1:000000000000:function:f {"rank":0} after 0 retries
            0s TaskFailed
                4 <- 3 LambdaFunctionFailed Boom because
                > timer 1 at 1s
            1s TimerFired
                5 <- 4 LambdaFunctionScheduled
                > invoke 2 arn:aws:lambda:us-east-1:000000000000:function:f {"rank":0} after 1 retries
            1s TaskStarted
                6 <- 5 LambdaFunctionStarted
            2s TaskFailed
                7 <- 6 LambdaFunctionFailed Boom because
                8 <- 7 TaskStateExited A {"rank":0,"error":{"Error":"Boom","Cause":"because"}}
                9 <- 8 SucceedStateEntered B {"rank":0,"error":{"Error":"Boom","Cause":"because"}}
                10 <- 9 SucceedStateExited B {"rank":0,"error":{"Error":"Boom","Cause":"because"}}
                11 <- 10 ExecutionSucceeded
                > Succeeded { output: Object {"rank": Number(0), "error": Object {"Error": String("Boom"), "Cause": String("because")}} }
        "#]],
    );
}

#[test]
fn a_task_that_takes_too_long_is_cancelled_and_its_late_answer_ignored() {
    check(
        single(task(json!({"TimeoutSeconds": 10}))),
        json!({}),
        vec![(1, started(1)), (10, fired(1)), (11, succeeded(1, json!(1)))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {}
                3 <- 2 TaskScheduled Some(10) None
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{}} after 0 retries
                > timer 1 at 10s
            1s TaskStarted
                4 <- 3 TaskStarted
            10s TimerFired
                > cancel task 1
                5 <- 4 TaskTimedOut States.Timeout
                6 <- 5 ExecutionFailed States.Timeout -
                > Failed { error: Some("States.Timeout"), cause: None }
            11s TaskSucceeded
        "#]],
    );
}

#[test]
fn heartbeats_keep_a_task_alive_until_they_stop() {
    let catch = json!([{"ErrorEquals": ["States.Timeout"], "Next": "B"}]);
    let definition = json!({"StartAt": "A", "States": {
        "A": task(json!({"TimeoutSeconds": 100, "HeartbeatSecondsPath": "$.beat", "Catch": catch, "End": true})),
        "B": {"Type": "Succeed"},
    }});
    check(
        definition,
        json!({"beat": 5}),
        vec![(3, Event::TaskHeartbeat { task: TaskId(1) }), (5, fired(2)), (8, fired(3))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {"beat":5}
                3 <- 2 TaskScheduled Some(100) Some(5)
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"beat":5}} after 0 retries
                > timer 1 at 100s
                > timer 2 at 5s
            3s TaskHeartbeat
                > cancel timer 2
                > timer 3 at 8s
            5s TimerFired
            8s TimerFired
                > cancel task 1
                > cancel timer 1
                4 <- 3 TaskTimedOut States.HeartbeatTimeout
                5 <- 4 TaskStateExited A {"Error":"States.HeartbeatTimeout","Cause":""}
                6 <- 5 SucceedStateEntered B {"Error":"States.HeartbeatTimeout","Cause":""}
                7 <- 6 SucceedStateExited B {"Error":"States.HeartbeatTimeout","Cause":""}
                8 <- 7 ExecutionSucceeded
                > Succeeded { output: Object {"Error": String("States.HeartbeatTimeout"), "Cause": String("")} }
        "#]],
    );
}

#[test]
fn a_task_that_waits_for_its_token_is_submitted_first() {
    let state = json!({
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"Body": {"has.$": "States.ArrayLength(States.Array($$.Task.Token))"}},
        "ResultSelector": {"x.$": "$.a"},
        "ResultPath": "$.r",
    });
    check(
        single(state),
        json!({"i": 1}),
        vec![
            (0, started(1)),
            (0, Event::TaskSubmitted { task: TaskId(1), output: json!({}) }),
            (9, succeeded(1, json!({"a": 2, "b": 3}))),
        ],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {"i":1}
                3 <- 2 TaskScheduled
                > invoke 1 arn:aws:states:::sqs:sendMessage.waitForTaskToken {"Body":{"has":1}} after 0 retries with token
            0s TaskStarted
                4 <- 3 TaskStarted
            0s TaskSubmitted
                5 <- 4 TaskSubmitted
            9s TaskSucceeded
                6 <- 5 TaskSucceeded
                7 <- 6 TaskStateExited A {"i":1,"r":{"x":2}}
                8 <- 7 ExecutionSucceeded
                > Succeeded { output: Object {"i": Number(1), "r": Object {"x": Number(2)}} }
        "#]],
    );
}

#[test]
fn a_failing_branch_aborts_its_siblings() {
    let definition = json!({"StartAt": "P", "States": {
        "P": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "T", "States": {"T": task(json!({"TimeoutSeconds": 60, "End": true}))}},
                {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 50, "End": true}}},
                {"StartAt": "M", "States": {"M": {"Type": "Map", "ItemsPath": "$.list", "MaxConcurrency": 1, "End": true, "ItemProcessor": {
                    "StartAt": "I", "States": {"I": task(json!({"End": true}))},
                }}}},
                {"StartAt": "F", "States": {"F": task(json!({"End": true}))}},
            ],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Caught"}],
            "End": true,
        },
        "Caught": {"Type": "Pass", "End": true},
    }});
    check(
        definition,
        json!({"list": [1, 2]}),
        vec![(3, failed(2, "Boom")), (4, succeeded(1, json!(0))), (4, succeeded(3, json!(0)))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 ParallelStateEntered P {"list":[1,2]}
                3 <- 2 ParallelStateStarted
                4 <- 3 TaskStateEntered T {"list":[1,2]}
                5 <- 4 TaskScheduled Some(60) None
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"list":[1,2]}} after 0 retries
                > timer 1 at 60s
                6 <- 3 WaitStateEntered W {"list":[1,2]}
                > timer 2 at 50s
                7 <- 3 MapStateEntered M {"list":[1,2]}
                8 <- 7 MapStateStarted
                9 <- 8 MapIterationStarted 0
                10 <- 3 TaskStateEntered F {"list":[1,2]}
                11 <- 10 TaskScheduled
                > invoke 2 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"list":[1,2]}} after 0 retries
                12 <- 9 TaskStateEntered I 1
                13 <- 12 TaskScheduled
                > invoke 3 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":1} after 0 retries
            3s TaskFailed
                14 <- 11 TaskFailed Boom because
                > cancel task 1
                > cancel timer 1
                15 <- 5 TaskStateAborted
                > cancel timer 2
                16 <- 6 WaitStateAborted
                > cancel task 3
                17 <- 13 TaskStateAborted
                18 <- 17 MapIterationAborted 0
                19 <- 8 MapStateAborted
                20 <- 14 ParallelStateFailed
                21 <- 20 ParallelStateExited P {"Error":"Boom","Cause":"because"}
                22 <- 21 PassStateEntered Caught {"Error":"Boom","Cause":"because"}
                23 <- 22 PassStateExited Caught {"Error":"Boom","Cause":"because"}
                24 <- 23 ExecutionSucceeded
                > Succeeded { output: Object {"Error": String("Boom"), "Cause": String("because")} }
            4s TaskSucceeded
            4s TaskSucceeded
        "#]],
    );
}

#[test]
fn an_inline_map_keeps_to_its_concurrency_and_its_order() {
    let state = json!({
        "Type": "Map",
        "MaxConcurrency": 2,
        "ItemSelector": {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "of.$": "$[0]"},
        "ItemProcessor": {"StartAt": "T", "States": {"T": task(json!({"End": true}))}},
    });
    check(
        single(state),
        json!(["a", "b", "c"]),
        vec![(1, succeeded(2, json!("B"))), (2, succeeded(1, json!("A"))), (3, succeeded(3, json!("C")))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 MapStateEntered A ["a","b","c"]
                3 <- 2 MapStateStarted
                4 <- 3 MapIterationStarted 0
                5 <- 3 MapIterationStarted 1
                6 <- 4 TaskStateEntered T {"v":"a","i":0,"of":"a"}
                7 <- 6 TaskScheduled
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"v":"a","i":0,"of":"a"}} after 0 retries
                8 <- 5 TaskStateEntered T {"v":"b","i":1,"of":"a"}
                9 <- 8 TaskScheduled
                > invoke 2 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"v":"b","i":1,"of":"a"}} after 0 retries
            1s TaskSucceeded
                10 <- 9 TaskSucceeded
                11 <- 10 TaskStateExited T "B"
                12 <- 11 MapIterationSucceeded 1
                13 <- 11 MapIterationStarted 2
                14 <- 13 TaskStateEntered T {"v":"c","i":2,"of":"a"}
                15 <- 14 TaskScheduled
                > invoke 3 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{"v":"c","i":2,"of":"a"}} after 0 retries
            2s TaskSucceeded
                16 <- 7 TaskSucceeded
                17 <- 16 TaskStateExited T "A"
                18 <- 17 MapIterationSucceeded 0
            3s TaskSucceeded
                19 <- 15 TaskSucceeded
                20 <- 19 TaskStateExited T "C"
                21 <- 20 MapIterationSucceeded 2
                22 <- 21 MapStateSucceeded
                23 <- 21 MapStateExited A ["A","B","C"]
                24 <- 23 ExecutionSucceeded
                > Succeeded { output: Array [String("A"), String("B"), String("C")] }
        "#]],
    );
}

fn distributed() -> Value {
    single(json!({
        "Type": "Map",
        "ItemsPath": "$.items",
        "ItemSelector": {"item.$": "$$.Map.Item.Value", "run.$": "$.run"},
        "MaxConcurrency": 40,
        "ToleratedFailurePercentage": 5,
        "Label": "galaxies",
        "Retry": [{"ErrorEquals": ["States.ExceedToleratedFailureThreshold"], "MaxAttempts": 1}],
        "ResultPath": "$.results",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            "StartAt": "Infer",
            "States": {"Infer": {"Type": "Pass", "End": true}},
        },
    }))
}

#[test]
fn a_distributed_map_is_handed_over_whole_and_retried_whole() {
    let map_run_failed = Event::MapRunFailed {
        map_run: MapRunId(1),
        error: "States.ExceedToleratedFailureThreshold".to_owned(),
        cause: "The specified tolerated failure threshold was exceeded".to_owned(),
    };
    check(
        distributed(),
        json!({"items": [1, 2], "run": "r"}),
        vec![
            (1, Event::MapRunStarted { map_run: MapRunId(1), arn: "arn-1".to_owned() }),
            (2, map_run_failed),
            (3, fired(1)),
            (3, Event::MapRunStarted { map_run: MapRunId(2), arn: "arn-2".to_owned() }),
            (3, Event::MapRunSucceeded { map_run: MapRunId(1), output: json!(["late"]).into() }),
            (4, Event::MapRunSucceeded { map_run: MapRunId(2), output: json!(["x", "y"]).into() }),
        ],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 MapStateEntered A {"items":[1,2],"run":"r"}
                3 <- 2 MapStateStarted
                > map run 1 A galaxies Express [{"item":1,"run":"r"},{"item":2,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            1s MapRunStarted
                4 <- 3 MapRunStarted
            2s MapRunFailed
                5 <- 4 MapRunFailed
                > timer 1 at 3s
            3s TimerFired
                6 <- 5 MapStateStarted
                > map run 2 A galaxies Express [{"item":1,"run":"r"},{"item":2,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            3s MapRunStarted
                7 <- 6 MapRunStarted
            3s MapRunSucceeded
            4s MapRunSucceeded
                8 <- 7 MapRunSucceeded
                9 <- 8 MapStateSucceeded
                10 <- 8 MapStateExited A {"items":[1,2],"run":"r","results":["x","y"]}
                11 <- 10 ExecutionSucceeded
                > Succeeded { output: Object {"items": Array [Number(1), Number(2)], "run": String("r"), "results": Array [String("x"), String("y")]} }
        "#]],
    );
}

#[test]
fn the_processor_of_a_distributed_map_is_a_machine() {
    let parent = machine(&distributed());
    let mut execution =
        Execution::new(parent.clone(), ExecutionContext::default(), json!({"items": [], "run": 1}), Options::default());
    let commands = step(&mut execution, Timestamp(0), Event::Started).unwrap();
    let spec = commands.into_iter().find_map(|command| match command {
        Command::StartMapRun { spec, .. } => Some(spec),
        _ => None,
    });
    let child = parent.processor(&spec.unwrap().processor).unwrap();
    let mut execution = Execution::new(child, ExecutionContext::default(), json!({"item": 1}), Options::default());
    step(&mut execution, Timestamp(0), Event::Started).unwrap();
    assert_eq!(
        execution.status(),
        Status::Ended(starmap_asl::Outcome::Succeeded { output: json!({"item": 1}).into() })
    );
}

#[test]
fn a_machine_that_takes_too_long_ends_and_takes_everything_back() {
    let mut definition = single(task(json!({"TimeoutSeconds": 60})));
    definition["TimeoutSeconds"] = 30.into();
    check(
        definition,
        json!({}),
        vec![(30, fired(1)), (31, succeeded(1, json!(1)))],
        expect![[r#"
        0s Started
            1 <- 0 ExecutionStarted
            > timer 1 at 30s
            2 <- 0 TaskStateEntered A {}
            3 <- 2 TaskScheduled Some(60) None
            > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{}} after 0 retries
            > timer 2 at 60s
        30s TimerFired
            4 <- 0 ExecutionTimedOut
            > cancel task 1
            > cancel timer 2
            > TimedOut
        31s TaskSucceeded
    "#]],
    );
}

#[test]
fn a_stop_ends_a_wait() {
    let stop = Event::StopRequested { error: Some("Enough".to_owned()), cause: None };
    check(
        single(json!({"Type": "Wait", "Seconds": 60})),
        json!({}),
        vec![(5, stop), (60, fired(1))],
        expect![[r#"
        0s Started
            1 <- 0 ExecutionStarted
            2 <- 0 WaitStateEntered A {}
            > timer 1 at 60s
        5s StopRequested
            3 <- 0 ExecutionAborted Enough -
            > cancel timer 1
            > Aborted { error: Some("Enough"), cause: None }
        60s TimerFired
    "#]],
    );
}

#[test]
fn states_all_does_not_catch_runtime_errors() {
    let definition = json!({"StartAt": "A", "States": {
        "A": task(json!({
            "Parameters": {"x.$": "$.missing"},
            "Retry": [{"ErrorEquals": ["States.ALL"]}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "B"}],
            "End": true,
        })),
        "B": {"Type": "Succeed"},
    }});
    check(
        definition,
        json!({}),
        vec![],
        expect![[r#"
        0s Started
            1 <- 0 ExecutionStarted
            2 <- 0 TaskStateEntered A {}
            3 <- 2 ExecutionFailed States.Runtime An error occurred while executing the state 'A' (entered at the event id #2). The JSONPath '$.missing' specified for the field 'x.$' could not be found in the input '{}'
            > Failed { error: Some("States.Runtime"), cause: Some("An error occurred while executing the state 'A' (entered at the event id #2). The JSONPath '$.missing' specified for the field 'x.$' could not be found in the input '{}'") }
    "#]],
    );
}

#[test]
fn a_result_beyond_the_limit_fails_the_execution() {
    check(
        single(task(json!({}))),
        json!({}),
        vec![(1, succeeded(1, json!("x".repeat(1001))))],
        expect![[r#"
        0s Started
            1 <- 0 ExecutionStarted
            2 <- 0 TaskStateEntered A {}
            3 <- 2 TaskScheduled
            > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{}} after 0 retries
        1s TaskSucceeded
            4 <- 3 TaskFailed States.DataLimitExceeded The state/task 'lambda' returned a result with a size exceeding the maximum number of bytes service limit.
            5 <- 4 ExecutionFailed States.DataLimitExceeded The state/task 'lambda' returned a result with a size exceeding the maximum number of bytes service limit.
            > Failed { error: Some("States.DataLimitExceeded"), cause: Some("The state/task 'lambda' returned a result with a size exceeding the maximum number of bytes service limit.") }
    "#]],
    );
}

#[test]
fn a_machine_that_runs_in_circles_is_ended() {
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.x", "IsPresent": true, "Next": "C"}], "Default": "A"},
        "C": {"Type": "Succeed"},
    }});
    let mut execution = execution(&definition, json!({}));
    let commands = step(&mut execution, Timestamp(0), Event::Started).unwrap();
    let Some(Command::Finish(starmap_asl::Outcome::Failed { error, cause })) = commands.last() else { panic!() };
    assert_eq!(error.as_deref(), Some("States.Runtime"));
    assert_eq!(cause.as_deref(), Some("The execution reached the maximum number of history events (25000)."));
    // Measured on AWS: event 25000 says so, 24999 is the last that the machine made (floci-io/floci issue 2734).
    let history = commands.iter().filter(|command| matches!(command, Command::Record(_)));
    assert_eq!(history.count(), 25_000);
}

#[test]
fn full_jitter_stays_below_the_delay_and_follows_the_seed() {
    let retry =
        json!([{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 10, "MaxAttempts": 1, "JitterStrategy": "FULL"}]);
    let definition = single(task(json!({"Retry": retry})));
    let due = |seed| {
        let options = Options { payload_bytes_max: None, seed };
        let mut execution = Execution::new(machine(&definition), ExecutionContext::default(), json!({}), options);
        step(&mut execution, Timestamp(0), Event::Started).unwrap();
        step(&mut execution, Timestamp(0), failed(1, "Boom")).unwrap();
        match execution.outstanding().as_slice() {
            [Command::StartTimer { due, .. }] => due.0,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(due(1), due(1));
    let dues: std::collections::BTreeSet<i64> = (0..20).map(due).collect();
    assert!(dues.len() > 10, "{dues:?}");
    assert!(dues.iter().all(|due| (0..10_000).contains(due)), "{dues:?}");
}

#[test]
fn what_cannot_be_an_answer_is_an_error_and_changes_nothing() {
    let mut execution = execution(&single(task(json!({}))), json!({}));
    let before = format!("{execution:?}");
    let early = step(&mut execution, Timestamp(0), succeeded(1, json!(1)));
    assert_eq!(early, Err(StepError::NotStarted { execution: "run-1".to_owned(), event: "TaskSucceeded" }));
    assert_eq!(format!("{execution:?}"), before);
    step(&mut execution, Timestamp(0), Event::Started).unwrap();
    let before = format!("{execution:?}");
    for event in [
        succeeded(2, json!(1)),
        succeeded(0, json!(1)),
        fired(1),
        Event::MapRunStarted { map_run: MapRunId(1), arn: String::new() },
    ] {
        let error = step(&mut execution, Timestamp(0), event).unwrap_err();
        assert!(error.to_string().ends_with("was never asked for"), "{error}");
    }
    assert_eq!(step(&mut execution, Timestamp(0), Event::Started), Ok(vec![]));
    assert_eq!(format!("{execution:?}"), before);
}

#[test]
fn repeated_answers_are_ignored() {
    let mut execution = execution(
        &single(json!({
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "T", "States": {"T": task(json!({"End": true}))}},
                {"StartAt": "U", "States": {"U": task(json!({"End": true}))}},
            ],
        })),
        json!({}),
    );
    step(&mut execution, Timestamp(0), Event::Started).unwrap();
    assert_eq!(step(&mut execution, Timestamp(1), started(1)).unwrap().len(), 1);
    assert_eq!(step(&mut execution, Timestamp(1), started(1)), Ok(vec![]));
    assert!(!step(&mut execution, Timestamp(2), succeeded(1, json!(1))).unwrap().is_empty());
    for event in [succeeded(1, json!(2)), failed(1, "Boom"), started(1), Event::TaskHeartbeat { task: TaskId(1) }] {
        assert_eq!(step(&mut execution, Timestamp(3), event), Ok(vec![]));
    }
    assert!(!step(&mut execution, Timestamp(4), succeeded(2, json!(1))).unwrap().is_empty());
    assert!(matches!(execution.status(), Status::Ended(_)));
    assert_eq!(step(&mut execution, Timestamp(5), Event::StopRequested { error: None, cause: None }), Ok(vec![]));
    assert_eq!(execution.outstanding(), []);
}

fn map_run_told(spec: &MapRunSpec) -> String {
    let selected = |(index, item): (u64, &Arc<Value>)| {
        spec.selection.select(index, Arc::clone(item), "STATE_DATA").unwrap().to_string()
    };
    let items: Vec<String> = (0..).zip(spec.given_items()).map(selected).collect();
    format!(
        "{} {} {:?} [{}] at most {:?}, tolerating {:?}, {:?}",
        spec.state,
        spec.label.as_deref().unwrap_or("-"),
        spec.child_type,
        items.join(","),
        spec.max_concurrency,
        spec.tolerated_failure_count,
        spec.tolerated_failure_percentage
    )
}

#[test]
fn variables_are_seen_inside_and_not_outside_and_change_after_the_state() {
    check(
        json!({"StartAt": "A", "States": {
            "A": {"Type": "Pass", "Assign": {"x": 1, "list.$": "$.list"}, "Next": "B"},
            "B": {"Type": "Pass", "Assign": {"x.$": "States.MathAdd($x, 1)", "old.$": "$x"}, "Next": "C"},
            "C": {"Type": "Map", "ItemsPath": "$list", "MaxConcurrency": 1, "Next": "D", "ResultPath": "$.mapped",
                "Assign": {"mapped.$": "$[*].y"},
                "ItemProcessor": {"StartAt": "I", "States": {
                    "I": {"Type": "Pass", "Parameters": {"y.$": "States.MathAdd($x, $$.Map.Item.Value)"}, "Assign": {"inner.$": "$.y"}, "Next": "J"},
                    "J": {"Type": "Pass", "OutputPath": "$", "Parameters": {"y.$": "$inner"}, "End": true},
                }}},
            "D": {"Type": "Choice", "Choices": [{"Variable": "$mapped[1]", "NumericEqualsPath": "$.list[1]", "Next": "E"}], "Default": "E", "Assign": {"chosen": false}},
            "E": {"Type": "Pass", "Parameters": {"x.$": "$x", "mapped.$": "$mapped", "inner.$": "$inner"}, "End": true},
        }}),
        json!({"list": [10, 20]}),
        vec![],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 PassStateEntered A {"list":[10,20]}
                3 <- 2 PassStateExited A {"list":[10,20]} $list=[10,20] $x=1
                4 <- 3 PassStateEntered B {"list":[10,20]}
                5 <- 4 PassStateExited B {"list":[10,20]} $old=1 $x=2
                6 <- 5 MapStateEntered C {"list":[10,20]}
                7 <- 6 MapStateStarted
                8 <- 7 MapIterationStarted 0
                9 <- 8 PassStateEntered I 10
                10 <- 9 PassStateExited I {"y":12} $inner=12
                11 <- 10 PassStateEntered J {"y":12}
                12 <- 11 PassStateExited J {"y":12}
                13 <- 12 MapIterationSucceeded 0
                14 <- 12 MapIterationStarted 1
                15 <- 14 PassStateEntered I 20
                16 <- 15 PassStateExited I {"y":22} $inner=22
                17 <- 16 PassStateEntered J {"y":22}
                18 <- 17 PassStateExited J {"y":22}
                19 <- 18 MapIterationSucceeded 1
                20 <- 19 MapStateSucceeded
                21 <- 19 MapStateExited C {"list":[10,20],"mapped":[{"y":12},{"y":22}]} $mapped=[12,22]
                22 <- 21 ChoiceStateEntered D {"list":[10,20],"mapped":[{"y":12},{"y":22}]}
                23 <- 22 ChoiceStateExited D {"list":[10,20],"mapped":[{"y":12},{"y":22}]} $chosen=false
                24 <- 23 PassStateEntered E {"list":[10,20],"mapped":[{"y":12},{"y":22}]}
                25 <- 24 ExecutionFailed States.Runtime An error occurred while executing the state 'E' (entered at the event id #24). The JSONPath '$inner' specified for the field 'inner.$' could not be found in the input '{"list":[10,20],"mapped":[{"y":12},{"y":22}]}'
                > Failed { error: Some("States.Runtime"), cause: Some("An error occurred while executing the state 'E' (entered at the event id #24). The JSONPath '$inner' specified for the field 'inner.$' could not be found in the input '{\"list\":[10,20],\"mapped\":[{\"y\":12},{\"y\":22}]}'") }
        "#]],
    );
}

#[test]
fn a_jsonata_task_has_arguments_and_leaves_with_output_and_variables() {
    check(
        json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": {
            "Type": "Task", "Resource": LAMBDA, "End": true, "TimeoutSeconds": "{% $states.input.n * 10 %}",
            "Arguments": {"FunctionName": "f", "Payload": "{% $states.input.n + 1 %}"},
            "Output": {"n": "{% $states.result.Payload %}", "from": "{% $states.context.State.Name %}"},
            "Assign": {"n": "{% $states.result.Payload %}", "constant": ["{% $states.input.n %}", "$x"]},
        }}}),
        json!({"n": 1}),
        vec![(1, started(1)), (2, succeeded(1, json!({"Payload": 5})))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {"n":1}
                3 <- 2 TaskScheduled Some(10) None
                > invoke 1 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":2} after 0 retries
                > timer 1 at 10s
            1s TaskStarted
                4 <- 3 TaskStarted
            2s TaskSucceeded
                > cancel timer 1
                5 <- 4 TaskSucceeded
                6 <- 5 TaskStateExited A {"n":5,"from":"A"} $constant=[1,"$x"] $n=5
                7 <- 6 ExecutionSucceeded
                > Succeeded { output: Object {"n": Number(5), "from": String("A")} }
        "#]],
    );
}

#[test]
fn an_error_can_be_caught_with_output_and_variables() {
    let catch = json!([{"ErrorEquals": ["Boom"], "Next": "B", "Output": "{% $states.errorOutput.Cause & '!' %}", "Assign": {"error": "{% $states.errorOutput.Error %}"}}]);
    check(
        json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {
            "A": {"Type": "Task", "Resource": LAMBDA, "Catch": catch, "End": true},
            "B": {"Type": "Succeed", "Output": "{% $error %}"},
        }}),
        json!({}),
        vec![(1, failed(1, "Boom"))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 TaskStateEntered A {}
                3 <- 2 TaskScheduled
                > invoke 1 arn:aws:states:::lambda:invoke {} after 0 retries
            1s TaskFailed
                4 <- 3 TaskFailed Boom because
                5 <- 4 TaskStateExited A "because!" $error="Boom"
                6 <- 5 SucceedStateEntered B "because!"
                7 <- 6 SucceedStateExited B "Boom"
                8 <- 7 ExecutionSucceeded
                > Succeeded { output: String("Boom") }
        "#]],
    );
}

#[test]
fn what_cannot_be_evaluated_is_told_retried_and_caught() {
    let retry = json!([{"ErrorEquals": ["States.QueryEvaluationError"], "MaxAttempts": 1}]);
    let catch =
        json!([{"ErrorEquals": ["States.ALL"], "Next": "B", "Assign": {"error": "{% $states.errorOutput.Error %}"}}]);
    check(
        json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {
            "A": {"Type": "Parallel", "Retry": retry, "Catch": catch, "Arguments": {"a": ["{% 1 + 'x' %}"]}, "End": true,
                "Branches": [{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}]},
            "B": {"Type": "Wait", "Seconds": "{% -1 %}", "End": true},
        }}),
        json!({}),
        vec![(1, fired(1))],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 ParallelStateEntered A {}
                3 <- 0 EvaluationFailed Arguments/a[0]: An error occurred while executing the state 'A' (entered at the event id #2). The JSONata expression '1 + 'x'' specified for the field 'Arguments/a[0]' threw an error during evaluation. T2002: The right side of the "+" operator must evaluate to a number
                > timer 1 at 1s
            1s TimerFired
                4 <- 3 EvaluationFailed Arguments/a[0]: An error occurred while executing the state 'A' (entered at the event id #2). The JSONata expression '1 + 'x'' specified for the field 'Arguments/a[0]' threw an error during evaluation. T2002: The right side of the "+" operator must evaluate to a number
                5 <- 4 ParallelStateFailed
                6 <- 5 ParallelStateExited A {"Error":"States.QueryEvaluationError","Cause":"An error occurred while executing the state 'A' (entered at the event id #2). The JSONata expression '1 + 'x'' specified for the field 'Arguments/a[0]' threw an error during evaluation. T2002: The right side of the \"+\" operator must evaluate to a number"} $error="States.QueryEvaluationError"
                7 <- 6 WaitStateEntered B {"Error":"States.QueryEvaluationError","Cause":"An error occurred while executing the state 'A' (entered at the event id #2). The JSONata expression '1 + 'x'' specified for the field 'Arguments/a[0]' threw an error during evaluation. T2002: The right side of the \"+\" operator must evaluate to a number"}
                8 <- 7 EvaluationFailed Seconds: An error occurred while executing the state 'B' (entered at the event id #7). The Seconds field must not be negative: -1
                9 <- 8 ExecutionFailed States.QueryEvaluationError An error occurred while executing the state 'B' (entered at the event id #7). The Seconds field must not be negative: -1
                > Failed { error: Some("States.QueryEvaluationError"), cause: Some("An error occurred while executing the state 'B' (entered at the event id #7). The Seconds field must not be negative: -1") }
        "#]],
    );
}

#[test]
fn a_jsonata_choice_takes_the_rules_own_output() {
    check(
        json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": {
            "A": {"Type": "Choice", "Output": 0, "Default": "B", "Choices": [
                {"Condition": "{% $states.input.n > 5 %}", "Next": "B", "Output": "large"},
                {"Condition": "{% $states.input.n > 1 %}", "Next": "B", "Output": {"n": "{% $states.input.n %}"}, "Assign": {"x": 1}},
            ]},
            "B": {"Type": "Choice", "Choices": [{"Condition": "{% 'yes' %}", "Next": "C"}]},
            "C": {"Type": "Succeed"},
        }}),
        json!({"n": 2}),
        vec![],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 ChoiceStateEntered A {"n":2}
                3 <- 2 ChoiceStateExited A {"n":2} $x=1
                4 <- 3 ChoiceStateEntered B {"n":2}
                5 <- 3 EvaluationFailed Choices[0]/Condition: An error occurred while executing the state 'B' (entered at the event id #4). The JSONata expression ''yes'' specified for the field 'Choices[0]/Condition' returned an unexpected result type. Expected 'boolean', but was 'string' for value: "yes"
                6 <- 5 ExecutionFailed States.QueryEvaluationError An error occurred while executing the state 'B' (entered at the event id #4). The JSONata expression ''yes'' specified for the field 'Choices[0]/Condition' returned an unexpected result type. Expected 'boolean', but was 'string' for value: "yes"
                > Failed { error: Some("States.QueryEvaluationError"), cause: Some("An error occurred while executing the state 'B' (entered at the event id #4). The JSONata expression ''yes'' specified for the field 'Choices[0]/Condition' returned an unexpected result type. Expected 'boolean', but was 'string' for value: \"yes\"") }
        "#]],
    );
}

#[test]
fn a_runtime_error_ends_the_execution_wherever_it_happens() {
    let bad = json!({"StartAt": "X", "States": {"X": {"Type": "Pass", "Parameters": {"m.$": "$.nope"}, "End": true}}});
    let good = json!({"StartAt": "Y", "States": {"Y": {"Type": "Wait", "Seconds": 9, "End": true}}});
    let catch = json!([{"ErrorEquals": ["States.ALL"], "Next": "C"}]);
    check(
        json!({"StartAt": "P", "States": {
            "P": {"Type": "Parallel", "Branches": [good, bad], "Catch": catch, "End": true},
            "C": {"Type": "Succeed"},
        }}),
        json!({"x": "a"}),
        vec![],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 ParallelStateEntered P {"x":"a"}
                3 <- 2 ParallelStateStarted
                4 <- 3 WaitStateEntered Y {"x":"a"}
                > timer 1 at 9s
                5 <- 3 PassStateEntered X {"x":"a"}
                6 <- 5 ExecutionFailed States.Runtime An error occurred while executing the state 'X' (entered at the event id #5). The JSONPath '$.nope' specified for the field 'm.$' could not be found in the input '{"x":"a"}'
                > cancel timer 1
                > Failed { error: Some("States.Runtime"), cause: Some("An error occurred while executing the state 'X' (entered at the event id #5). The JSONPath '$.nope' specified for the field 'm.$' could not be found in the input '{\"x\":\"a\"}'") }
        "#]],
    );
}

/// Each turn of the loop nests its input once more.
#[test]
fn data_cannot_nest_without_end() {
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Parameters": {"a.$": "$"}, "Next": "B"},
        "B": {"Type": "Choice", "Choices": [{"Variable": "$.stop", "IsPresent": true, "Next": "C"}], "Default": "A"},
        "C": {"Type": "Succeed"},
    }});
    let mut execution = execution(&definition, json!({}));
    let commands = step(&mut execution, Timestamp(0), Event::Started).unwrap();
    let Some(Command::Finish(starmap_asl::Outcome::Failed { cause, .. })) = commands.last() else { panic!() };
    expect!["An error occurred while executing the state 'A' (entered at the event id #398). The state/task 'A' returned a result nested deeper than 100 levels."].assert_eq(cause.as_deref().unwrap());
}

/// Where a redrive goes on: the state that failed, with all its retries, and no state that has succeeded.
#[test]
fn a_redrive_goes_on_where_the_execution_ended() {
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Pass", "Next": "Both"},
        "Both": {"Type": "Parallel", "End": true, "Branches": [
            {"StartAt": "Good", "States": {"Good": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true}}},
            {"StartAt": "Bad", "States": {"Bad": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true,
                "Retry": [{"ErrorEquals": ["Flaky"], "MaxAttempts": 1, "IntervalSeconds": 1}]}}},
            {"StartAt": "Slow", "States": {"Slow": {"Type": "Wait", "Seconds": 100, "End": true}}},
        ]},
    }});
    let mut execution = execution(&definition, json!({}));
    let failed = |task| Event::TaskFailed { task: TaskId(task), error: "Flaky".to_owned(), cause: String::new() };
    let mut feed = |event: Event| {
        let commands = step(&mut execution, Timestamp(0), event).unwrap();
        let names: Vec<String> = commands
            .iter()
            .filter_map(|command| match command {
                Command::Record(event) => Some(event.kind.name().to_owned()),
                Command::InvokeTask(invocation) => Some(format!("invoke {} {}", invocation.task.0, invocation.state)),
                Command::StartTimer { timer, .. } => Some(format!("timer {}", timer.0)),
                Command::Finish(_) => Some("finish".to_owned()),
                _ => None,
            })
            .collect();
        names.join(", ")
    };
    feed(Event::Started);
    feed(Event::TaskSucceeded { task: TaskId(1), output: json!("good").into() });
    assert_eq!(feed(failed(2)), "TaskFailed, timer 2");
    assert_eq!(feed(Event::TimerFired { timer: TimerId(2) }), "TaskScheduled, invoke 3 Bad");
    assert_eq!(feed(Event::Redriven), "", "a running execution is not redriven");
    assert_eq!(feed(failed(3)), "TaskFailed, WaitStateAborted, ParallelStateFailed, ExecutionFailed, finish");
    // The branch that succeeded is not run again; the one that was aborted is.
    assert_eq!(feed(Event::Redriven), "ExecutionRedriven, TaskScheduled, invoke 4 Bad, timer 3");
    assert_eq!(feed(failed(4)), "TaskFailed, timer 4", "retries count from the start");
    let stopped = Event::StopRequested { error: None, cause: None };
    assert_eq!(feed(stopped), "ExecutionAborted, finish");
    assert_eq!(feed(Event::Redriven), "ExecutionRedriven, TaskScheduled, invoke 5 Bad, timer 5");
    assert_eq!(feed(Event::TimerFired { timer: TimerId(5) }), "WaitStateExited");
    let done =
        "TaskSucceeded, TaskStateExited, ParallelStateSucceeded, ParallelStateExited, ExecutionSucceeded, finish";
    assert_eq!(feed(Event::TaskSucceeded { task: TaskId(5), output: json!("bad").into() }), done);
    assert_eq!(feed(Event::Redriven), "", "what succeeded is not redriven");
}

/// The fields of an object are items of a Distributed Map: as they are with their keys, and in `$$.Map.Item`.
#[test]
fn a_distributed_map_takes_an_object() {
    let mut definition = distributed();
    let select = json!({"k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value", "n.$": "$$.Map.Item.Index"});
    definition["States"]["A"]["ItemSelector"] = select;
    let selected = [json!({"k": "b", "v": 1, "n": 0}), json!({"k": "a", "v": [2], "n": 1})];
    let whole = [json!({"Key": "b", "Value": 1}), json!({"Key": "a", "Value": [2]})];
    for expected in [&selected, &whole] {
        let mut execution = execution(&definition, json!({"items": {"b": 1, "a": [2]}}));
        let commands = step(&mut execution, Timestamp(0), Event::Started).unwrap();
        let spec = commands.iter().find_map(|command| match command {
            Command::StartMapRun { spec, .. } => Some(spec),
            _ => None,
        });
        let (spec, mut found) = (spec.unwrap(), Vec::new());
        for (index, item) in (0..).zip(spec.given_items()) {
            found.push(Value::clone(&spec.selection.select(index, item.clone(), "STATE_DATA").unwrap()));
        }
        assert_eq!(found, expected);
        definition["States"]["A"].as_object_mut().unwrap().remove("ItemSelector");
    }
}

/// What did not succeed of a map run is run again in the same run; too much data, or a failure of the state's own, make
/// a new one.
#[test]
fn a_redrive_asks_for_the_same_map_run_again() {
    let mut definition = distributed();
    definition["States"]["A"].as_object_mut().unwrap().remove("Retry");
    let failed = |map_run, error: &str| Event::MapRunFailed {
        map_run: MapRunId(map_run),
        error: error.to_owned(),
        cause: String::new(),
    };
    let redriven =
        |redrive_count| Event::MapRunRedriven { map_run: MapRunId(1), arn: "arn-1".to_owned(), redrive_count };
    check(
        definition,
        json!({"items": [1], "run": "r"}),
        vec![
            (1, Event::MapRunStarted { map_run: MapRunId(1), arn: "arn-1".to_owned() }),
            (2, failed(1, "States.ExceedToleratedFailureThreshold")),
            (3, Event::Redriven),
            (3, redriven(1)),
            (3, redriven(1)),
            (4, Event::StopRequested { error: None, cause: None }),
            (5, Event::Redriven),
            (5, redriven(2)),
            (6, failed(1, "States.DataLimitExceeded")),
            (7, Event::Redriven),
            (7, Event::MapRunStarted { map_run: MapRunId(2), arn: "arn-2".to_owned() }),
            (8, Event::MapRunSucceeded { map_run: MapRunId(2), output: json!(["x"]).into() }),
        ],
        expect![[r#"
            0s Started
                1 <- 0 ExecutionStarted
                2 <- 0 MapStateEntered A {"items":[1],"run":"r"}
                3 <- 2 MapStateStarted
                > map run 1 A galaxies Express [{"item":1,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            1s MapRunStarted
                4 <- 3 MapRunStarted
            2s MapRunFailed
                5 <- 4 MapRunFailed
                6 <- 5 MapStateFailed
                7 <- 6 ExecutionFailed States.ExceedToleratedFailureThreshold 
                > Failed { error: Some("States.ExceedToleratedFailureThreshold"), cause: Some("") }
            3s Redriven
                8 <- 7 ExecutionRedriven
                > map run 1 again A galaxies Express [{"item":1,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            3s MapRunRedriven
                9 <- 8 MapRunRedriven
            3s MapRunRedriven
            4s StopRequested
                10 <- 0 ExecutionAborted - -
                > cancel map run 1
                > Aborted { error: None, cause: None }
            5s Redriven
                11 <- 10 ExecutionRedriven
                > map run 1 again A galaxies Express [{"item":1,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            5s MapRunRedriven
                12 <- 11 MapRunRedriven
            6s MapRunFailed
                13 <- 12 MapRunFailed
                14 <- 13 MapStateFailed
                15 <- 14 ExecutionFailed States.DataLimitExceeded 
                > Failed { error: Some("States.DataLimitExceeded"), cause: Some("") }
            7s Redriven
                16 <- 15 ExecutionRedriven
                17 <- 16 MapStateStarted
                > map run 2 A galaxies Express [{"item":1,"run":"r"}] at most Some(40), tolerating None, Some(5.0)
            7s MapRunStarted
                18 <- 17 MapRunStarted
            8s MapRunSucceeded
                19 <- 18 MapRunSucceeded
                20 <- 19 MapStateSucceeded
                21 <- 19 MapStateExited A {"items":[1],"run":"r","results":["x"]}
                22 <- 21 ExecutionSucceeded
                > Succeeded { output: Object {"items": Array [Number(1)], "run": String("r"), "results": Array [String("x")]} }
        "#]],
    );
}

#[test]
fn an_express_execution_that_is_redriven_begins_again() {
    let definition = single(task(json!({})));
    let context = ExecutionContext { is_express: true, ..ExecutionContext::default() };
    let mut execution = Execution::new(machine(&definition), context, json!({}), Options::default());
    let mut feed = |event: Event| {
        let commands = step(&mut execution, Timestamp(0), event).unwrap();
        commands.iter().map(|command| format!("{}\n", tell(command))).collect::<String>()
    };
    feed(Event::Started);
    let failed = |task| Event::TaskFailed { task: TaskId(task), error: "E".to_owned(), cause: String::new() };
    feed(failed(1));
    let again = feed(Event::Redriven);
    expect![[r#"
        6 <- 0 ExecutionStarted
        > timer 2 at 300s
        7 <- 0 TaskStateEntered A {}
        8 <- 7 TaskScheduled
        > invoke 2 arn:aws:states:::lambda:invoke {"FunctionName":"f","Payload":{}} after 0 retries
    "#]]
    .assert_eq(&again);
    assert_eq!(feed(failed(1)), "", "an answer to its earlier life is late");
}

/// Recorded: test_parallel_state_nested.
#[test]
fn an_input_is_shown_as_it_was_written_for_as_long_as_it_is_handed_on() {
    let pass = json!({"StartAt": "B", "States": {"B": {"Type": "Pass", "End": true}}});
    let definition = json!({"StartAt": "A", "States": {
        "A": {"Type": "Parallel", "Branches": [pass], "Next": "C"},
        "C": {"Type": "Pass", "InputPath": "$[0]", "End": true},
    }});
    let mut execution = execution(&definition, json!([1, 2])).with_input_text("[1, 2]");
    let commands = step(&mut execution, Timestamp(0), Event::Started).unwrap();
    let mut told = String::new();
    for command in &commands {
        if let Command::Record(event) = command
            && let HistoryEvent { kind, text: Some(text), .. } = &**event
        {
            told.push_str(&format!("{} {text}\n", kind.name()));
        }
    }
    expect![[r#"
        ExecutionStarted [1, 2]
        ParallelStateEntered [1, 2]
        PassStateEntered [1, 2]
        PassStateExited [1, 2]
        ParallelStateExited [[1, 2]]
        PassStateEntered [[1, 2]]
    "#]]
    .assert_eq(&told);
}
