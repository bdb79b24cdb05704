//! What an evaluation needs from outside.

/// Gives time and chance to an evaluation, so that replaying it with the same answers yields the same value.
///
/// The time is asked for at most once an evaluation; the others once a call, in the order of evaluation.
pub trait Host {
    /// Milliseconds since 1970-01-01 UTC.
    fn now_ms(&self) -> i64;
    /// From 0 (included) to 1 (excluded).
    fn random(&mut self) -> f64;
    /// A version 4 UUID in its usual text.
    fn uuid(&mut self) -> String;
}
