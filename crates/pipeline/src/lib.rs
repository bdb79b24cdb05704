//! The redshift pipeline: what the three functions of the state machine do, here and on AWS Lambda.
//!
//! [`initialize`] checks everything and shares the partitions among ranks, [`infer`] predicts one rank's galaxies,
//! [`summarize`] proves that every galaxy is there and merges. They meet through object storage ([`store`]) and small
//! JSON ([`payload`]) only, so it does not matter where each of them runs. [`lambda`] serves them.
//!
//! Under the result path of a run:
//!
//! | object | written by | |
//! |---|---|---|
//! | `payload.json` | Initialize | input, data map, expected rows, model: what Summarize proves against |
//! | `predictions/{rank}.parquet` | infer | one row per galaxy ([`predictions`]) |
//! | `{rank}.json` | infer, last | the rank's figures ([`results`]); its presence says that the rank is done |
//! | `predictions.parquet` | Summarize | all of them, proven complete |
//! | `combined_data.json` | Summarize | all `{rank}.json` in one array |
//! | `plots.json` | Summarize | the numbers behind the report's figures |
//! | `summary.json` | Summarize, then whoever ran it | every figure ([`summary`]) |
//! | `report.html` | Summarize, then whoever ran it | the same for people ([`report`]) |

pub mod access;
pub mod cache;
pub mod calibrate;
pub mod campaign;
pub mod checkpoint;
pub mod error;
pub mod infer;
pub mod initialize;
pub mod lambda;
pub mod legacy;
pub mod logging;
pub mod model;
pub mod natural;
pub mod payload;
pub mod plan;
pub mod plots;
pub mod predictions;
mod process;
pub mod proof;
pub mod published;
pub mod quality;
pub mod repair;
pub mod report;
pub mod requests;
pub mod results;
pub mod statistics;
pub mod store;
pub mod summarize;
pub mod summary;
pub mod verify;

pub use self::error::Error;

/// What wrote a file, in every file that says so.
pub const CREATED_BY: &str = concat!("starmap ", env!("CARGO_PKG_VERSION"));
