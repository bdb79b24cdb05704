//! A worker process: the same code as the Lambda `bootstrap`.

use std::process::ExitCode;

/// Serves invocations until the engine goes away.
pub fn run() -> ExitCode {
    starmap_pipeline::lambda::main_from_environment()
}
