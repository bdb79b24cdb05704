//! Serves the three functions over the Lambda Runtime API: the same code in a local worker and as AWS's `bootstrap`.

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;
use starmap_astromae::kernels::Set;

use crate::cache::Cache;
use crate::checkpoint::Loader;
use crate::error::Error;
use crate::infer::{Identity, ROWS_AT_ONCE_VARIABLE, Worker};
use crate::initialize::initialize_with;
use crate::logging::{self, Format};
use crate::store::{Store, StoreConfig};
use crate::summarize::summarize;

/// Names the function to serve: `initialize`, `infer` or `summarize`, also as `starmap-infer` or `bootstrap.infer`.
pub const HANDLER_VARIABLE: &str = "_HANDLER";
/// With `1`, the process ends when its standard input does: a local worker never outlives whoever started it.
pub const EXIT_WITH_STDIN_VARIABLE: &str = "STARMAP_EXIT_WITH_STDIN";

/// Kernel set to compute with; by default the best one of the CPU.
pub const KERNEL_VARIABLE: &str = "STARMAP_KERNEL";

/// Which function this process serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handler {
    Initialize,
    Infer,
    Summarize,
}

/// Serves invocations until the Runtime API goes away. Everything comes from the environment, as on AWS Lambda.
///
/// One async thread for I/O; what computes runs on a blocking thread, one at a time.
///
/// # Panics
/// Outside of a Lambda environment: the runtime wants `AWS_LAMBDA_RUNTIME_API` and its companions.
pub fn main_from_environment() -> ExitCode {
    let started = Instant::now();
    let format = std::env::var(logging::FORMAT_VARIABLE).unwrap_or_default();
    logging::start(Format::named(&format), "info", false);
    if std::env::var(EXIT_WITH_STDIN_VARIABLE).is_ok_and(|value| value == "1") {
        std::thread::spawn(exit_with_stdin);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(serve(started))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the worker can't serve");
            ExitCode::FAILURE
        }
    }
}

async fn serve(started: Instant) -> Result<(), String> {
    let variable = |name: &str| std::env::var(name).ok();
    let configured = || {
        let handler = Handler::parse(&variable(HANDLER_VARIABLE).unwrap_or_default())?;
        let kernels = kernels(variable(KERNEL_VARIABLE))?;
        let config = StoreConfig::from_environment(variable)?;
        let store = Store::open(&config).map_err(|error| error.to_string())?;
        Ok::<_, String>((handler, Loader { kernels, cache: Cache::from_environment(variable) }, store))
    };
    // A wrong configuration is told as the answer to every invocation, where whoever made it will see it.
    let function = configured().map(|(handler, loader, store)| {
        let identity = Identity {
            log_stream: variable("AWS_LAMBDA_LOG_STREAM_NAME").unwrap_or_else(|| format!("pid {}", std::process::id())),
            memory_mib: variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mib| mib.parse().ok()),
            init: Some(started.elapsed()),
            loader: loader.clone(),
            rows_at_once: variable(ROWS_AT_ONCE_VARIABLE).and_then(|rows| rows.parse().ok()),
        };
        (handler, loader, Arc::new(Worker::new(store.clone(), identity)), store)
    });
    let service = service_fn(|event: LambdaEvent<Value>| async {
        let (handler, loader, worker, store) =
            function.as_ref().map_err(|error| Error::Internal(format!("the function is not configured: {error}")))?;
        let payload = event.payload;
        let handled = async {
            match handler {
                Handler::Initialize => initialize_with(store, &payload, loader).await,
                Handler::Infer => worker.infer(&payload).await,
                Handler::Summarize => summarize(store, &payload).await,
            }
        };
        at_the_edge(handled).await
    });
    lambda_runtime::run(service).await.map_err(|error| error.to_string())
}

fn kernels(forced: Option<String>) -> Result<Set, String> {
    let Some(name) = forced.filter(|name| !name.is_empty()) else { return Ok(Set::best()) };
    Set::named(&name).ok_or_else(|| {
        let available: Vec<&str> = Set::available().map(Set::name).collect();
        format!("{KERNEL_VARIABLE} is {name:?}, expected one of {}", available.join(", "))
    })
}

impl Handler {
    fn parse(name: &str) -> Result<Self, String> {
        match name.rsplit(['-', '.', '/', ':']).next().unwrap_or_default() {
            "initialize" => Ok(Self::Initialize),
            "infer" => Ok(Self::Infer),
            "summarize" => Ok(Self::Summarize),
            _ => Err(format!("{HANDLER_VARIABLE} is {name:?}, expected initialize, infer or summarize")),
        }
    }
}

/// A bug in one invocation fails that invocation, not the process.
async fn at_the_edge(handled: impl Future<Output = Result<Value, Error>>) -> Result<Value, Error> {
    let caught = AssertUnwindSafe(handled).catch_unwind().await;
    caught.unwrap_or_else(|panic| Err(Error::Internal(format!("panicked: {}", panic_message(&*panic)))))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Ends the process when standard input does. Nothing is lost: every write is atomic.
fn exit_with_stdin() {
    // An error is an end too.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    std::process::exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_ours() {
        let here = at_the_edge(async { panic!("the count is {}", 7) }).await.unwrap_err();
        assert_eq!(here.error_name(), "Starmap.Internal");
        assert!(here.to_string().starts_with("panicked: the count is 7\nhint: this is a bug"), "{here}");
        let elsewhere = at_the_edge(async {
            let done = tokio::task::spawn_blocking(|| panic!("there")).await;
            std::panic::resume_unwind(done.unwrap_err().into_panic())
        });
        assert!(elsewhere.await.unwrap_err().to_string().starts_with("panicked: there"));
    }

    #[test]
    fn kernels_can_be_forced_to_what_the_cpu_has() {
        assert_eq!(kernels(Some("portable".to_owned())).unwrap().name(), "portable");
        assert_eq!(kernels(Some(String::new())).unwrap().name(), Set::best().name());
        let error = kernels(Some("fast".to_owned())).unwrap_err();
        assert!(
            error.starts_with("STARMAP_KERNEL is \"fast\", expected one of ") && error.contains("portable"),
            "{error}"
        );
    }

    #[test]
    fn handlers_are_found_in_every_spelling() {
        for name in ["infer", "starmap-infer", "bootstrap.infer"] {
            assert_eq!(Handler::parse(name), Ok(Handler::Infer));
        }
        assert_eq!(Handler::parse("summarize"), Ok(Handler::Summarize));
        let error = Handler::parse("inference").unwrap_err();
        assert_eq!(error, "_HANDLER is \"inference\", expected initialize, infer or summarize");
    }
}
