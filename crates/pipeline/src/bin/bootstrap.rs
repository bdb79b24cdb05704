//! The executable that AWS Lambda starts: all three functions, chosen by `_HANDLER`.

use std::process::ExitCode;

fn main() -> ExitCode {
    starmap_pipeline::lambda::main_from_environment()
}
