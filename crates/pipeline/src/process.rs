//! What the process knows of itself: CPU time, peak memory, wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds (user + system) of this process, all threads, since its start.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Peak resident set of this process since its start, MiB (`VmHWM`); zero where the kernel does not tell.
pub(crate) fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Milliseconds since the epoch. For records of when; durations are of the monotonic clock.
pub(crate) fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_itself() {
        let before = cpu_seconds();
        let sum = (0..5_000_000u64).fold(0u64, |sum, i| std::hint::black_box(sum ^ i));
        std::hint::black_box(sum);
        assert!(cpu_seconds() > before);
        assert!((1.0..100_000.0).contains(&peak_rss_mib()), "{} MiB", peak_rss_mib());
    }
}
