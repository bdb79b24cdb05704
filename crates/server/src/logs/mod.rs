//! CloudWatch Logs: what functions print, and what clients put.
//!
//! The group of a function is `/aws/lambda/NAME`, and its streams are the files that its workers write. Groups and streams
//! that clients make lie in a folder of their own. Retention hides events that are older; it frees no disk.
//!
//! - [`Logs`]: the actions. [`LogsJson`]: their protocol.
//! - `store`: groups, streams and events on disk. `pattern`: filter patterns.
//!
//! # Source
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_Operations.html>, read 2026-11.

mod actions;
mod pattern;
mod protocol;
mod store;

pub use actions::Logs;
pub use protocol::LogsJson;
pub use store::Place;
