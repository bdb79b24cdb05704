//! Resident memory of a process and its children, from `/proc`.
//!
//! Every reading is an `Option`: a process may be gone, and some systems have no `/proc`.

use std::fs;
use std::path::Path;

/// Whether this system tells us about memory at all.
pub(crate) fn is_readable() -> bool {
    Path::new("/proc/self/status").exists()
}

/// Peak resident set of one process since its start or the last [`reset_peak`], bytes.
pub(crate) fn peak(pid: u32) -> Option<u64> {
    field(&status(pid)?, "VmHWM:")
}

/// Starts the peak of one process anew from what is resident now.
///
/// Where the kernel refuses, the peak keeps counting from the start of the process.
pub(crate) fn reset_peak(pid: u32) {
    // Source: man 5 proc_pid_clear_refs; 5 resets the peak resident set and touches nothing else.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Resident set of a process and everything it started, bytes. Pages that they share count more than once.
pub(crate) fn resident_with_children(pid: u32) -> Option<u64> {
    let mut bytes = field(&status(pid)?, "VmRSS:")?;
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            // A child that ended since it was listed has no memory.
            bytes += status(child).and_then(|status| field(&status, "VmRSS:")).unwrap_or(0);
            parents.push(child);
        }
    }
    Some(bytes)
}

/// Children are listed per thread that started them.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

fn status(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/status")).ok()
}

/// A field of `/proc/PID/status`, which counts in kB (1024 bytes).
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tbootstrap\nVmPeak:\t   20480 kB\nVmHWM:\t    4321 kB\nVmRSS:\t    1234 kB\n";

    #[test]
    fn fields_are_in_bytes() {
        assert_eq!(field(STATUS, "VmHWM:"), Some(4321 * 1024));
        assert_eq!(field(STATUS, "VmRSS:"), Some(1234 * 1024));
        assert_eq!(field(STATUS, "VmSwap:"), None);
        assert_eq!(field("Name:\tkthreadd\nState:\tS (sleeping)\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_memory_and_nobodys() {
        let pid = std::process::id();
        assert!(is_readable());
        assert!(resident_with_children(pid).unwrap() > 100 * 1024);
        assert!(peak(pid).unwrap() > 100 * 1024);
        // Above the largest pid that Linux gives out.
        assert_eq!(resident_with_children(1 << 30), None);
        assert_eq!(peak(1 << 30), None);
    }
}
