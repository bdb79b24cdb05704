//! A request to the Step Functions API: the first byte chooses the action, the rest is its body.
//!
//! One engine over a journal in memory answers all requests of a process, so that what earlier ones created is there
//! for later ones, as on a server.
#![no_main]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use starmap_asl::Timestamp;
use starmap_engine::invoker::{Invocation, InvokeError, Invoker, Invoking, Outcome};
use starmap_engine::journal::memory::MemoryJournal;
use starmap_engine::limits::Limits;
use starmap_engine::names::Naming;
use starmap_engine::objects::NoObjects;
use starmap_engine::services::NoServices;
use starmap_engine::{Engine, Parts};
use starmap_server::StepFunctions;
use tokio::runtime::Runtime;

const ACTIONS: [&str; 38] = [
    "CreateActivity",
    "CreateStateMachine",
    "CreateStateMachineAlias",
    "DeleteActivity",
    "DeleteStateMachine",
    "DeleteStateMachineAlias",
    "DeleteStateMachineVersion",
    "DescribeActivity",
    "DescribeExecution",
    "DescribeMapRun",
    "DescribeStateMachine",
    "DescribeStateMachineAlias",
    "DescribeStateMachineForExecution",
    "GetActivityTask",
    "GetExecutionHistory",
    "ListActivities",
    "ListExecutions",
    "ListMapRuns",
    "ListStateMachineAliases",
    "ListStateMachineVersions",
    "ListStateMachines",
    "ListTagsForResource",
    "PublishStateMachineVersion",
    "RedriveExecution",
    "SendTaskFailure",
    "SendTaskHeartbeat",
    "SendTaskSuccess",
    "StartExecution",
    "StartSyncExecution",
    "StopExecution",
    "TagResource",
    "TestState",
    "UntagResource",
    "UpdateMapRun",
    "UpdateStateMachine",
    "UpdateStateMachineAlias",
    "ValidateStateMachineDefinition",
    "NoSuchAction",
];

/// Actions that wait by their nature are not waited for longer than this.
const PATIENCE: Duration = Duration::from_millis(20);

/// Knows no function.
struct NoFunctions;

impl Invoker for NoFunctions {
    fn invoke(self: Arc<Self>, invocation: Invocation) -> Invoking {
        let error = InvokeError::NotFound { function: invocation.function, known: "none".to_owned() };
        Box::pin(async move { Outcome { result: Err(error), report: None } })
    }
}

fn api() -> &'static (Runtime, StepFunctions) {
    static API: OnceLock<(Runtime, StepFunctions)> = OnceLock::new();
    API.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let now = AtomicI64::new(1_700_000_000_000);
        let clock = Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed)));
        let engine = Engine::start(Parts {
            journal: Box::new(MemoryJournal::default()),
            invoker: Arc::new(NoFunctions),
            objects: Arc::new(NoObjects),
            services: Arc::new(NoServices),
            clock: Arc::clone(&clock) as _,
            runtime: runtime.handle().clone(),
            naming: Naming::default(),
            limits: Limits::default(),
        });
        let step_functions = StepFunctions::new(Arc::new(engine.unwrap()), clock);
        (runtime, step_functions)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else { return };
    let action = ACTIONS[usize::from(*first) % ACTIONS.len()];
    let (runtime, step_functions) = api();
    let answered = runtime.block_on(async { tokio::time::timeout(PATIENCE, step_functions.call(action, body)).await });
    if let Ok(Err(error)) = answered {
        assert!(error.status < 500, "{action}: {error}");
    }
});
