//! Campaigns: many runs over a grid of inputs, each made as `starmap run` makes it.
//!
//! `grid` reads what is asked for, `manifest` keeps what has been done, durably, so that a campaign may be killed at any
//! moment, and `files` writes what came out. The order of runs is the grid's seed's.

pub mod files;
pub mod grid;
pub mod manifest;
