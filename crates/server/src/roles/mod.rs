//! What executions may do: each runs under the role of its state machine, and what that role's policies do not allow fails
//! as it does on AWS.
//!
//! - `required`: which permissions a call needs. The one place that knows.
//! - [`needs`]: what a whole definition needs, read from its text.
//! - [`policy`]: permissions as a policy.
//! - [`Guard`]: stands before functions, services and map runs, and asks.

mod definition;
mod guard;
mod required;
mod statements;

pub use definition::{Need, Optional, needs};
pub use guard::{Accounts, Guard};
pub use required::Permission;
pub use statements::{policy, trust};
