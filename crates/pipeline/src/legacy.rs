//! The columns of the published tables, computed as they were, so that old tables can be compared line by line.
//!
//! They are not what they are called: the runtime is CPU time under a profiler, the memory is what was used and not
//! what is billed, and the throughput, headed MB/s there, is GiB/s of one average worker. METRICS in the documentation
//! defines the figures to use instead.

/// Price of one GB-second of Lambda in the published tables, USD. 0.0000166667, AWS's own figure, does not
/// reproduce them.
const USD_PER_GB_SECOND: f64 = 0.00001667;

/// The published cost in USD: files × mean runtime (s) × memory (MB) / 1024 × price. Without requests, start-up,
/// transitions and storage.
pub fn cost(files: u64, runtime_s_mean: f64, memory_mb: f64) -> f64 {
    files as f64 * runtime_s_mean * memory_mb / 1024.0 * USD_PER_GB_SECOND
}

/// The published throughput: (partition MB × files / 1024) / mean runtime. Headed MB/s there, really GiB/s.
pub fn throughput(partition_mb: f64, files: u64, runtime_s_mean: f64) -> f64 {
    data_size_gb(partition_mb, files) / runtime_s_mean
}

/// The published data size: partition MB × files / 1024. Headed GB there, really GiB.
pub fn data_size_gb(partition_mb: f64, files: u64) -> f64 {
    partition_mb * files as f64 / 1024.0
}

/// The partition size that a prefix such as `25MB` or `sky/100MB` names, in MB.
pub fn partition_mb_of(prefix: &str) -> Option<f64> {
    let last = prefix.rsplit('/').next()?;
    let (number, unit) = last.split_at(last.find(|c: char| !c.is_ascii_digit())?);
    match unit {
        "MB" => number.parse().ok(),
        "GB" => number.parse::<f64>().ok().map(|gb| gb * 1024.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published table as it was printed: partition (MB), files, runtime (s), memory (MB), size (GB), cost ($),
    /// throughput.
    const PUBLISHED: &str = include_str!("../tests/data/published_table.csv");

    #[test]
    fn the_published_table_is_reproduced_to_every_printed_digit() {
        let rows: Vec<Vec<&str>> = PUBLISHED.lines().skip(1).map(|line| line.split(',').collect()).collect();
        assert_eq!(rows.len(), 8);
        for row in rows {
            let number = |column: usize| row[column].parse::<f64>().unwrap();
            let (partition_mb, files, runtime_s, memory_mb) = (number(0), number(1) as u64, number(2), number(3));
            assert_eq!(format!("{:.2}", data_size_gb(partition_mb, files)), row[4], "data size of {row:?}");
            assert_eq!(format!("{:.4}", cost(files, runtime_s, memory_mb)), row[5], "cost of {row:?}");
            assert_eq!(format!("{:.4}", throughput(partition_mb, files, runtime_s)), row[6], "throughput of {row:?}");
        }
    }

    #[test]
    fn a_prefix_may_name_the_partition_size() {
        let named = ["25MB", "sky/100MB", "1GB", "small", "25MB/old", "MB", "25"].map(partition_mb_of);
        assert_eq!(named, [Some(25.0), Some(100.0), Some(1024.0), None, None, None, None]);
    }
}
