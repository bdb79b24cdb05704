//! One file per command.

pub mod asl;
pub mod bench;
pub mod bill;
pub mod campaign;
pub mod compare;
pub mod data;
pub mod demo;
pub mod deploy;
pub mod executions;
pub mod iam;
pub mod kernels;
pub mod model;
pub mod plan;
pub mod run;
pub mod run_aws;
pub mod serve;
pub mod synth;
pub mod verify;
pub mod worker;
