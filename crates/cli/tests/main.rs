//! The integration tests of this crate, as one program: each program more is linked anew.

mod asl;
mod bad_input;
mod bill;
mod campaign;
mod clients;
mod common;
mod conformance;
mod console;
mod deploy;
mod executions;
mod fake;
mod faults;
mod interrupt;
mod kernels;
mod kill;
mod memory;
mod moto;
mod operations;
mod proxy;
mod published;
mod reference;
mod roles;
mod runtime_api;
mod s3;
mod target_aws;
