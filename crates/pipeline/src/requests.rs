//! How many requests to object storage a run makes: what S3 bills.
//!
//! They follow from what the functions do. Reads of partitions are counted where they happen (`s3_num_requests`), but in a
//! folder those are reads of a file, many and small; S3 is asked in windows that grow (see `store::source`), which is what
//! [`partition_reads`] counts. A retry repeats some of them, which is not counted.

use serde::{Deserialize, Serialize};

/// Bytes of a large object that are read by one request.
const READ_BYTES: u64 = 8 << 20;
/// Keys on a page of a listing.
const KEYS_PER_PAGE: u64 = 1_000;

/// First and largest window in which a partition's sequences are read from S3.
const WINDOW_BYTES: (u64, u64) = (64 << 10, 4 << 20);
/// Bytes per galaxy of the sequences of a partition: images, magnitudes, redshifts.
const SEQUENCES: [u64; 3] = [20_480, 40, 8];

/// Requests for a partition of so many galaxies on S3: its directory, and windows of each sequence.
pub fn partition_reads(galaxies: u64) -> u64 {
    let windows = |bytes: u64| {
        let (mut window, mut left, mut count) = (WINDOW_BYTES.0, bytes, 0);
        while left > 0 && window < WINDOW_BYTES.1 {
            left = left.saturating_sub(window);
            window *= 2;
            count += 1;
        }
        count + left.div_ceil(WINDOW_BYTES.1)
    };
    2 + SEQUENCES.iter().map(|bytes| windows(galaxies * bytes)).sum::<u64>()
}

/// Requests by price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// GET and HEAD.
    pub get: u64,
    /// PUT, and the parts of uploads.
    pub put: u64,
    /// Pages of listings.
    pub list: u64,
}

/// Requests of a run, by function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByFunction {
    /// Initialize.
    pub initialize: Requests,
    /// All ranks.
    pub infer: Requests,
    /// Summarize.
    pub summarize: Requests,
}

impl ByFunction {
    /// Of a run over `partitions` of `found` partitions in `ranks` ranks, of which `cold` had to load a model of
    /// `model_bytes`; `partition_reads` are the requests for partitions.
    pub fn of(partitions: u64, found: u64, ranks: u64, cold: u64, model_bytes: u64, partition_reads: u64) -> Self {
        let model = 1 + model_bytes.div_ceil(READ_BYTES);
        let pages = |keys: u64| keys.div_ceil(KEYS_PER_PAGE).max(1);
        Self {
            // Bucket and result path are looked at; of every partition its size and its header.
            initialize: Requests { get: 2 * partitions + model, put: 1, list: pages(found) + 1 },
            // Whether the rank is done already; its predictions and its result.
            infer: Requests { get: partition_reads + ranks + cold * model, put: 2 * ranks, list: 0 },
            // What was asked for, and two objects per rank; five objects of the whole run.
            summarize: Requests { get: 1 + 2 * ranks, put: 5, list: pages(2 * ranks) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_double_until_they_are_full_size() {
        assert_eq!(partition_reads(0), 2);
        // One window for each sequence.
        assert_eq!(partition_reads(3), 2 + 3);
        // 26.2 MB of images: 64 KiB to 2 MiB are six windows and 4 MB, then 4 MiB each.
        assert_eq!(partition_reads(1_278), 2 + (6 + 6) + 1 + 1);
    }

    #[test]
    fn requests_grow_with_partitions_ranks_and_pages() {
        let run = ByFunction::of(516, 2_100, 516, 40, 20 << 20, 516 * 5);
        assert_eq!(run.initialize, Requests { get: 1_036, put: 1, list: 4 });
        assert_eq!(run.infer, Requests { get: 516 * 5 + 516 + 160, put: 1_032, list: 0 });
        assert_eq!(run.summarize, Requests { get: 1_033, put: 5, list: 2 });
    }
}
