//! The local Lambda: worker processes that speak the Lambda Runtime API.
//!
//! [`Workers`] is a [`starmap_engine::invoker::Invoker`]. It starts an executable as often as its limits
//! allow, hands it one invocation at a time over HTTP on loopback, watches time and memory, and writes
//! the log lines that Lambda writes. What runs here runs unchanged as a Lambda `bootstrap`.
//!
//! - [`function`]: what a function is, and how names and ARNs resolve to one.
//! - [`pool`]: the limits, the queue and warm reuse; the [`Workers`] people start.
//! - `worker`: one process from start to end, as a state machine.
//! - `runtime_api`: the HTTP side of a worker, requests in and answers out.
//! - `process`: environment, pipes, signals.
//! - [`resilience`]: other attempts at an invocation, which nobody outside sees.
//! - `memory`: resident sets, from `/proc`.
//! - [`logs`]: log streams and REPORT lines, written and read back.
//!
//! Unix only. Memory limits need `/proc`, so they are enforced on Linux.

pub mod function;
pub mod logs;
mod memory;
pub mod pool;
mod process;
pub mod resilience;
mod runtime_api;
mod worker;

pub use function::Function;
pub use logs::Logs;
pub use pool::{Clock, Doing, Error, Now, Options, Usage, Workers};
pub use resilience::{Resilience, Rung, Speculation, Totals};
