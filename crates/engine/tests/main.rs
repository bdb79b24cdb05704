//! The integration tests of this crate, as one program: each program more is linked anew.

mod buckets;
mod driver;
mod fleet;
mod journal;
mod map_run_redrives;
mod map_runs;
mod migration;
mod power_cut;
