//! IAM as data: what policies say, what follows from them, and the roles, users and policies of one account.
//!
//! - [`policy`]: a document, parsed with everything that is wrong with it.
//! - [`request`]: who asks to do what to which resource, under which circumstances.
//! - [`evaluate`]: whether the policies allow it, and which statement decided.
//! - [`condition`]: the operators of `Condition`. [`pattern`]: wildcards, ARNs and policy variables.
//! - [`directory`]: one account's roles, users, access keys and managed policies.
//! - [`managed`]: the AWS managed policies that are built in.
//!
//! Pure: time and random numbers are arguments.

pub mod condition;
pub mod directory;
pub mod evaluate;
pub mod managed;
pub mod pattern;
pub mod policy;
pub mod request;

pub use condition::Condition;
pub use directory::Directory;
pub use evaluate::{Decision, Effect, Policies, Source, evaluate, evaluate_trust};
pub use policy::{Kind, Policy, Principal, Problem, Statement};
pub use request::{Caller, Context, Request};
