//! Numeric building blocks for one thread, row-major `f32`; the only crate with `unsafe`.
//!
//! [`gemm`] is a library's micro-kernels behind a checked interface. The element-wise functions are
//! portable code, compiled a second time for wider vectors and chosen once per call by what the CPU
//! offers; both copies run the same source, but fused multiply-adds may round differently.

pub mod attention;
mod dispatch;
pub mod elementwise;
pub mod gemm;
pub mod norm;
