//! From here to AWS: the zip of the functions, and the Terraform module.
//!
//! - `account`: what the account is too small for.
//! - `bootstrap`: whether an executable would start on Lambda, and what of it is needed there.
//! - `archive`: the zip, the same bytes every time.
//! - `cold_start`: starts it as Lambda does and takes the time.
//! - `module`: the module's files, which are in this program, and the folder that they are written to.
//! - `terraform`: which commands to run, and what their errors mean.

pub mod account;
pub mod archive;
pub mod bootstrap;
pub mod cold_start;
pub mod module;
pub mod terraform;
