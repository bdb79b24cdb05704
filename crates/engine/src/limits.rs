//! Every limit of the engine, with its number and where it comes from.

/// AWS's limit on a state's input or output: 262,144 bytes of UTF-8.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
pub const AWS_PAYLOAD_BYTES_MAX: usize = 262_144;

/// AWS's limit on child executions of a map run that run at once.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>, read 2026-11.
pub const AWS_MAP_RUN_CONCURRENCY_MAX: u32 = 10_000;

/// Messages that the driver takes into one turn, and so into one transaction of the journal.
pub const MESSAGES_PER_TURN_MAX: usize = 512;

/// Notices that a slow subscriber may fall behind before it loses the oldest.
pub const NOTICES_MAX: usize = 4_096;

/// Map runs nested in map runs.
pub const NESTING_MAX: u32 = 32;

/// Limits that a caller chooses.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a state's input or output; `None` for no limit, which AWS does not offer.
    pub payload_bytes_max: Option<usize>,
    /// Child executions of one map run that run at once, whatever its `MaxConcurrency` allows.
    pub map_run_concurrency_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { payload_bytes_max: Some(AWS_PAYLOAD_BYTES_MAX), map_run_concurrency_max: AWS_MAP_RUN_CONCURRENCY_MAX }
    }
}
