//! The wire: reading members of requests, writing members of answers.

pub(crate) mod members;
pub(crate) mod values;
