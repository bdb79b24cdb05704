//! What is done for an invocation before its failure is anybody's business: other attempts, below the history.
//!
//! Whoever invoked sees one attempt with one outcome, as on AWS, where none of this is. So it is only for functions whose
//! results do not depend on how often they are asked for: two workers may carry out the same invocation at once, and one
//! may be killed at any point.
//!
//! - **Memory.** A function that was killed over its memory is tried again with the next [`Rung`] of its ladder: told by
//!   its environment to do with less, then given more. After the last it fails by the name it would have failed by.
//! - **Stragglers.** An invocation that takes far longer than others of its function is given to a second worker, once
//!   there is one with nothing to do. The first success counts, and the other worker is stopped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use starmap_engine::invoker::{InvokeError, Outcome};

/// What is done for a function's invocations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resilience {
    /// What is tried, in order, after an attempt was killed over its memory.
    pub ladder: Vec<Rung>,
    /// When a second worker is asked; never without.
    pub speculation: Option<Speculation>,
}

/// One more attempt with less to hold or more room.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung {
    /// Added to the function's environment.
    pub environment: Vec<(String, String)>,
    /// Memory in place of the function's, MiB.
    pub memory_mib: u32,
}

/// When an invocation is a straggler.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// It takes so many times the median of those that succeeded.
    pub slowdown: f64,
    /// And at least so long.
    pub at_least: Duration,
    /// Fewer successes than this say nothing of what is usual.
    pub successes_min: usize,
}

impl Default for Speculation {
    fn default() -> Self {
        Self { slowdown: 3.0, at_least: Duration::from_secs(2), successes_min: 5 }
    }
}

/// What became of a function's invocations since the workers were started; attempts that nobody else sees are counted
/// by what they were made for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Invocations that were answered.
    pub succeeded: u64,
    /// Invocations that failed.
    pub failed: u64,
    /// Attempts that began with the start of a process.
    pub cold_starts: u64,
    /// Milliseconds billed.
    pub billed_ms: u64,
    /// Milliseconds from hand-over to answer.
    pub duration_ms: f64,
    /// Attempts that were made after one was killed over its memory.
    pub rungs: u64,
    /// Attempts that were made because another one took long.
    pub speculations: u64,
    /// Those of them that answered first.
    pub speculations_won: u64,
}

/// Durations that are kept to tell what is usual.
const DURATIONS_KEPT: usize = 64;

/// What is known of each function's invocations, by plain name.
#[derive(Debug, Default)]
pub(crate) struct Experience(Mutex<HashMap<String, Known>>);

#[derive(Debug, Default)]
struct Known {
    totals: Totals,
    recent_ms: VecDeque<f64>,
}

impl Experience {
    fn of<T>(&self, function: &str, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look(known.entry(function.to_owned()).or_default())
    }

    pub fn count(&self, function: &str, count: impl FnOnce(&mut Totals)) {
        self.of(function, |known| count(&mut known.totals));
    }

    /// Takes note of how an invocation ended.
    pub fn ended(&self, function: &str, outcome: &Outcome) {
        self.of(function, |known| {
            let totals = &mut known.totals;
            if outcome.result.is_ok() {
                totals.succeeded += 1;
            } else {
                totals.failed += 1;
            }
            let Some(report) = &outcome.report else { return };
            totals.billed_ms += report.billed_ms;
            totals.duration_ms += report.duration_ms;
            totals.cold_starts += u64::from(report.init_ms.is_some());
            if outcome.result.is_ok() {
                if known.recent_ms.len() == DURATIONS_KEPT {
                    known.recent_ms.pop_front();
                }
                known.recent_ms.push_back(report.duration_ms);
            }
        });
    }

    /// From when on an invocation of a function is a straggler, once enough is known.
    pub fn straggles_after(&self, function: &str, speculation: &Speculation) -> Option<Duration> {
        let mut recent: Vec<f64> = self.of(function, |known| known.recent_ms.iter().copied().collect());
        if recent.len() < speculation.successes_min.max(1) {
            return None;
        }
        recent.sort_by(f64::total_cmp);
        let median_ms = recent[recent.len() / 2];
        let after = Duration::from_secs_f64((median_ms * speculation.slowdown / 1e3).clamp(0.0, 1e6));
        Some(after.max(speculation.at_least))
    }

    pub fn totals(&self) -> BTreeMap<String, Totals> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(function, known)| (function.clone(), known.totals)).collect()
    }
}

/// Whether an attempt was killed over its memory.
pub(crate) fn is_out_of_memory(outcome: &Outcome) -> bool {
    matches!(&outcome.result, Err(InvokeError::Function { error_type, .. }) if error_type == "Runtime.OutOfMemory")
}

/// Says in the error of a last attempt what was tried.
pub(crate) fn explained(outcome: Outcome, memory_mib: u32, ladder: &[Rung]) -> Outcome {
    let Outcome { result: Err(InvokeError::Function { function, error_type, message, .. }), report } = outcome else {
        return outcome;
    };
    let tried: Vec<String> = ladder.iter().map(|rung| format!("{} MiB", rung.memory_mib)).collect();
    let message = format!(
        "{message} (over its memory of {memory_mib} MiB, and again with smaller batches in {})",
        tried.join(", then ")
    );
    let payload = serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string();
    Outcome { result: Err(InvokeError::Function { function, error_type, message, payload }), report }
}

#[cfg(test)]
mod tests {
    use starmap_engine::invoker::Report;

    use super::*;

    fn ran(duration_ms: f64) -> Outcome {
        let report = Report {
            request_id: "r".to_owned(),
            function: "f".to_owned(),
            log_stream: "s".to_owned(),
            duration_ms,
            billed_ms: duration_ms as u64,
            memory_mib: 128,
            max_memory_used_mib: 1,
            init_ms: None,
        };
        Outcome { result: Ok(Vec::new()), report: Some(report) }
    }

    #[test]
    fn what_is_usual_is_the_median_of_the_recent_once_there_are_enough() {
        let (experience, speculation) = (Experience::default(), Speculation::default());
        let after = |experience: &Experience| experience.straggles_after("f", &speculation);
        for duration_ms in [1_000.0, 2_000.0, 90_000.0, 3_000.0] {
            experience.ended("f", &ran(duration_ms));
        }
        assert_eq!(after(&experience), None, "four say nothing");
        experience.ended("f", &ran(1_500.0));
        assert_eq!(after(&experience), Some(Duration::from_secs(6)), "three times 2 s");
        assert_eq!(experience.straggles_after("g", &speculation), None, "another function's are its own");
        for _ in 0..DURATIONS_KEPT {
            experience.ended("f", &ran(100.0));
        }
        assert_eq!(after(&experience), Some(Duration::from_secs(2)), "never sooner");
        let totals = experience.totals()["f"];
        assert_eq!((totals.succeeded, totals.failed), (5 + DURATIONS_KEPT as u64, 0));
    }
}
