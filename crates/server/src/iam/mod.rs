//! The IAM API over one account's [`Directory`](starmap_iam::Directory).
//!
//! - [`Store`]: the directory, durably; who has which key.
//! - `actions`: what each action does. `simulate`: the two that explain decisions.
//! - `asks`: what a caller has to be allowed. `answers`: how roles, users and policies are written.
//!
//! The query protocol that carries it is in [`crate::query`].

mod actions;
mod answers;
mod asks;
mod simulate;
mod store;

pub use actions::Iam;
pub use store::{ChangeError, Identity, Key, Store, Wanted};
