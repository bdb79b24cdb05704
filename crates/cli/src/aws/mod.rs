//! AWS itself: a small client for the few calls that running there takes.
//!
//! - `config`: region, endpoints and profile, from the environment and the shared files, as every AWS tool has them;
//! - `credentials`: whose access key signs, from the same places;
//! - [`client`]: one signed call, repeated when AWS asks for that, refused with what to try;
//! - [`executions`]: executions, started, watched and read whole; [`mirror`], which is a journal of one;
//! - [`reports`]: what functions wrote to CloudWatch Logs.
//!
//! The AWS SDKs would do the same and take as long to compile as everything else together.

pub mod client;
mod config;
mod credentials;
pub mod error;
mod events;
pub mod executions;
pub mod mirror;
pub mod reports;

pub use client::{Aws, AwsArgs, Service};
