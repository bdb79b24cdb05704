//! Predicting runs: the real engine under simulated time, with durations that were measured or published.
//!
//! `scene` simulates one run and bills it, `local` predicts runs here from runs made here, `cloud` predicts runs on AWS,
//! `choices` is what a planner may choose, `check` sets predictions beside what was measured.

pub mod check;
pub mod choices;
pub mod cloud;
pub mod local;
pub mod measured;
pub mod scene;
