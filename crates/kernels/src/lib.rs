//! Numeric building blocks for one thread, row-major `f32`; the only crate with `unsafe`.
//!
//! All are portable code, compiled a second and third time for wider vectors, of which the best copy that the CPU can
//! run is chosen at each call. No other library is involved. The `unsafe` is in `dispatch`, nowhere else: calling a
//! copy after asking the CPU.

pub mod attention;
mod dispatch;
pub mod elementwise;
pub mod matrix;
pub mod norm;
pub mod pool;

pub use dispatch::level;
