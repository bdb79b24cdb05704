//! Definitions, and executions that get whatever answers the bytes say.

use starmap_asl::test_state::{Answer, Begun, Configuration, Identity, Level, Mock, Request, ValidationMode, begin};
use starmap_asl::{
    Command, Event, Execution, ExecutionContext, ExecutionType, Options, Severity, StateMachine, Status, Timestamp, step,
    validate,
};
use serde_json::Value;

/// More than any definition needs that is not made to run for ever.
const STEPS_MAX: usize = 200;

/// Checks a definition and, if it is one, runs it with answers made of bytes.
pub fn check_and_run(definition: &str, input: &str, answers: &[u8]) {
    for machine_type in [ExecutionType::Standard, ExecutionType::Express] {
        let found = validate(definition, machine_type, Severity::Warning, usize::MAX);
        let (machine, diagnostics) = starmap_asl::check(definition, machine_type);
        assert_eq!(machine.is_some(), found.is_valid);
        assert_eq!(diagnostics, found.diagnostics);
        assert!(diagnostics.iter().all(|diagnostic| diagnostic.position.is_some()));
    }
    let (Some(machine), _) = StateMachine::parse(definition) else { return };
    let input = serde_json::from_str(input).unwrap_or(Value::Null);
    run(machine, input, answers);
}

fn run(machine: StateMachine, input: Value, answers: &[u8]) {
    let options = Options { payload_bytes_max: Some(10_000), seed: 1 };
    let mut execution = Execution::new(machine.clone(), ExecutionContext::default(), input, options);
    let mut answers = answers.iter().copied();
    let mut at = Timestamp(0);
    let mut event = Event::Started;
    for _ in 0..STEPS_MAX {
        let commands = step(&mut execution, at, event).expect("answers are to questions that were asked");
        for command in commands {
            // A child execution of a Distributed Map has a machine of its own.
            if let Command::StartMapRun { spec, .. } = command {
                assert!(machine.processor(&spec.processor).is_some(), "{:?}", spec.processor);
            }
        }
        if matches!(execution.status(), Status::Ended(_)) {
            assert!(execution.outstanding().is_empty(), "an execution that is over waits for nothing");
            return;
        }
        let outstanding = execution.outstanding();
        let Some(byte) = answers.next() else { return };
        let Some(question) = outstanding.get(usize::from(byte >> 3) % outstanding.len().max(1)) else {
            panic!("an execution that is not over waits for something");
        };
        at = Timestamp(at.0 + 1);
        event = answer(question, byte & 7);
    }
}

/// One of the answers to a question.
fn answer(question: &Command, kind: u8) -> Event {
    let output = [Value::Null, 1.into(), "x".into(), serde_json::json!({ "a": [1, { "b": null }] })];
    let output = output[usize::from(kind & 3)].clone();
    let error = ["States.Timeout", "Oops", "States.TaskFailed"][usize::from(kind % 3)].to_owned();
    match question {
        Command::InvokeTask(invocation) => {
            let task = invocation.task;
            match kind {
                0..=3 => Event::TaskSucceeded { task, output },
                4 => Event::TaskStarted { task },
                5 => Event::TaskHeartbeat { task },
                6 => Event::TaskSubmitted { task, output },
                _ => Event::TaskFailed { task, error, cause: "why".to_owned() },
            }
        }
        Command::StartTimer { timer, .. } => Event::TimerFired { timer: *timer },
        Command::StartMapRun { map_run, .. } => match kind {
            0..=3 => Event::MapRunSucceeded { map_run: *map_run, output },
            4 => Event::MapRunStarted { map_run: *map_run, arn: "arn".to_owned() },
            _ => Event::MapRunFailed { map_run: *map_run, error, cause: "why".to_owned() },
        },
        _ => Event::StopRequested { error: None, cause: None },
    }
}

/// Tests a state; `parts` are texts for the request's fields in order, those at the end may be missing.
pub fn test_state(parts: &[&str]) {
    let part = |index: usize| parts.get(index).filter(|text| !text.is_empty()).map(|text| (*text).to_owned());
    let flags = part(0).unwrap_or_default();
    let has = |flag: char| flags.contains(flag);
    let request = Request {
        definition: part(1).unwrap_or_default(),
        state_name: part(2),
        role_arn: has('r').then(|| "arn:aws:iam::000000000000:role/r".to_owned()),
        input: part(3),
        variables: part(4),
        context: part(5),
        level: if has('i') { Level::Info } else { Level::Trace },
        reveal_secrets: has('s'),
        mock: (has('m') || has('e')).then(|| Mock {
            result: part(6).filter(|_| has('m')),
            error: has('e').then(|| (part(6), None)),
            validation: if has('p') { ValidationMode::Present } else { ValidationMode::Strict },
        }),
        configuration: has('c').then(|| Configuration {
            retrier_retry_count: Some(1),
            error_caused_by_state: None,
            map_iteration_failure_count: Some(1),
            map_item_reader_data: part(7),
        }),
    };
    match begin(&request, &Identity::default(), Timestamp(0)) {
        Ok(Begun::Done(outcome)) => {
            for text in outcome.output.iter() {
                serde_json::from_str::<Value>(text).expect("an output is JSON");
            }
        }
        Ok(Begun::NeedsCall(pending)) => {
            let answer = match has('f') {
                true => Answer::Failed { error: "Oops".to_owned(), cause: "why".to_owned() },
                false => Answer::Succeeded(serde_json::json!({ "a": [1] })),
            };
            pending.finish(answer, Timestamp(1), None);
        }
        Ok(Begun::NeedsItems(pending)) => {
            let items = serde_json::from_str(pending.data()).unwrap_or_default();
            let _ = pending.finish(Ok(items));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Evaluates an expression, a path or an intrinsic function, as a field of a payload template.
pub fn evaluate(expression: &str, input: &str) {
    let definition = serde_json::json!({ "Type": "Pass", "Parameters": { "x.$": expression }, "End": true });
    test_state(&["", &definition.to_string(), "", input]);
}
