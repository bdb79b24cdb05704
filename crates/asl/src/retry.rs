//! Which errors a `Retry` or `Catch` is for, and how long a retry waits.

use crate::error::{ALL, DATA_LIMIT_EXCEEDED, Failure, HEARTBEAT_TIMEOUT, RUNTIME, TASK_FAILED, TIMEOUT};
use crate::jsonpath::ReferencePath;
use crate::random::Random;
use crate::template::Template;

/// One entry of a `Retry`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Retrier {
    pub(crate) errors: Vec<String>,
    pub(crate) interval_s: u64,
    pub(crate) attempts_max: u32,
    /// At least 1.
    pub(crate) backoff_rate: f64,
    pub(crate) delay_s_max: Option<u64>,
    pub(crate) jitter: Jitter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jitter {
    None,
    /// Uniform between 0 and the delay.
    Full,
}

/// One entry of a `Catch`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Catcher {
    pub(crate) errors: Vec<String>,
    /// JSONPath only.
    pub(crate) result_path: ResultPath,
    /// JSONata only: `Output`.
    pub(crate) output: Option<Template>,
    pub(crate) assign: Option<Template>,
    /// Index of the next state in the scope.
    pub(crate) next: usize,
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ResultPath {
    /// `null`: nowhere, the input goes on.
    Discard,
    Put(ReferencePath),
}

/// True if a failure is meant by a list of `ErrorEquals`.
///
/// `States.ALL` does not mean `States.Runtime` and `States.DataLimitExceeded`, and `States.TaskFailed` does not mean
/// time-outs either; a list that names them does.
///
/// # Source
/// <https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html>
pub(crate) fn matches(errors: &[String], failure: &Failure) -> bool {
    let error = failure.error.as_deref().unwrap_or_default();
    let is_terminal = [RUNTIME, DATA_LIMIT_EXCEEDED].contains(&error);
    let is_timeout = [TIMEOUT, HEARTBEAT_TIMEOUT].contains(&error);
    errors.iter().any(|wanted| match wanted.as_str() {
        ALL => !is_terminal,
        TASK_FAILED => error == TASK_FAILED || !(is_terminal || is_timeout),
        TIMEOUT => is_timeout,
        wanted => wanted == error,
    })
}

impl Retrier {
    /// Milliseconds to wait before retry number `retry`, which counts from 0.
    pub(crate) fn delay_ms(&self, retry: u32, random: &mut Random) -> i64 {
        let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
        let mut delay_s = self.interval_s as f64 * self.backoff_rate.powi(exponent);
        if let Some(max) = self.delay_s_max {
            delay_s = delay_s.min(max as f64);
        }
        // Float to integer casts saturate, so an absurd backoff waits for ever instead of overflowing.
        let delay_ms = (delay_s * 1000.0).round() as i64;
        match self.jitter {
            Jitter::None => delay_ms,
            Jitter::Full => (delay_ms as f64 * random.fraction()) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(errors: &[&str], error: &str) -> bool {
        let errors: Vec<String> = errors.iter().map(|error| (*error).to_owned()).collect();
        matches(&errors, &Failure::new(error, ""))
    }

    #[test]
    fn wildcards_mean_what_aws_says() {
        assert!(wants(&["States.ALL"], "Custom"));
        assert!(wants(&["States.ALL"], "States.Timeout"));
        assert!(!wants(&["States.ALL"], "States.Runtime"));
        assert!(!wants(&["States.ALL"], "States.DataLimitExceeded"));
        assert!(wants(&["States.TaskFailed"], "Custom"));
        assert!(!wants(&["States.TaskFailed"], "States.Timeout"));
        assert!(!wants(&["States.TaskFailed"], "States.HeartbeatTimeout"));
        assert!(wants(&["States.Timeout"], "States.HeartbeatTimeout"));
        assert!(!wants(&["States.HeartbeatTimeout"], "States.Timeout"));
        assert!(wants(&["A", "B"], "B"));
        assert!(!wants(&["A", "B"], "C"));
    }

    #[test]
    fn delays_grow_up_to_their_limit() {
        let mut retrier = Retrier {
            errors: vec![],
            interval_s: 3,
            attempts_max: 9,
            backoff_rate: 2.0,
            delay_s_max: Some(20),
            jitter: Jitter::None,
        };
        let mut random = Random::new(1);
        let delays: Vec<i64> = (0..4).map(|retry| retrier.delay_ms(retry, &mut random)).collect();
        assert_eq!(delays, [3000, 6000, 12_000, 20_000]);
        assert_eq!(retrier.delay_ms(u32::MAX, &mut random), 20_000);
        retrier.jitter = Jitter::Full;
        for retry in 0..50 {
            assert!((0..=20_000).contains(&retrier.delay_ms(retry, &mut random)));
        }
    }
}
