//! Every limit of the engine, with its number and where it comes from.

/// AWS's limit on a state's input or output: 262,144 bytes of UTF-8.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>, read 2026-11.
pub const AWS_PAYLOAD_BYTES_MAX: usize = 262_144;

/// AWS's limit on child executions of a map run that run at once.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html>, read 2026-11.
pub const AWS_MAP_RUN_CONCURRENCY_MAX: u32 = 10_000;

/// For how long after its end an execution can be redriven.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html>, read 2026-11.
pub const REDRIVE_DAYS_MAX: u64 = 14;

/// How often one map run can be redriven.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/redrive-map-run.html>, read 2026-11.
pub const MAP_RUN_REDRIVES_MAX: u32 = 1_000;

/// For how long the same redrive, asked for again with the same client token, is answered and not made again.
/// <https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html>, read 2026-11.
pub const CLIENT_TOKEN_MINUTES: u64 = 15;

/// Executions that are taken up in one turn when the engine recovers what was running.
pub const RECOVERED_PER_TURN_MAX: usize = 64;

/// Messages that the driver takes into one turn, and so into one transaction of the journal.
pub const MESSAGES_PER_TURN_MAX: usize = 512;

/// Notices that a slow subscriber may fall behind before it loses the oldest.
pub const NOTICES_MAX: usize = 4_096;

/// Map runs nested in map runs.
pub const NESTING_MAX: u32 = 32;

/// AWS's limit on the items that a Distributed Map takes from one source.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>, read 2026-11.
pub const MAP_RUN_ITEMS_MAX: u64 = 100_000_000;

/// AWS's limit on the header of a CSV file.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>, read 2026-11.
pub const CSV_HEADER_BYTES_MAX: usize = 10_240;

/// The manifest of an inventory is read as a whole; one of 100,000 files has about 20 MB.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// AWS's limit on the footer of a Parquet file, and on each of its row groups.
/// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html>, read 2026-11.
pub const PARQUET_FOOTER_BYTES_MAX: u64 = 5 << 20;
/// See [`PARQUET_FOOTER_BYTES_MAX`].
pub const PARQUET_ROW_GROUP_BYTES_MAX: u64 = 256 << 20;

/// Items that a reader sends at once, at most.
pub const READER_CHUNK_ITEMS: usize = 1_000;

/// Bytes of items after which a reader sends what it has.
pub const READER_CHUNK_BYTES: usize = 1 << 20;

/// Children that map runs start in one turn; more of them wait for the next, so that a turn's transaction stays small
/// and others get their turn.
pub const CHILDREN_PER_TURN_MAX: usize = 500;

/// Bytes of results that go into one file of a map run's results.
pub const RESULT_FILE_BYTES: usize = 16 << 20;

/// Children that are read from the journal at once when results are written.
pub const RESULT_PAGE_CHILDREN: usize = 1_000;

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
