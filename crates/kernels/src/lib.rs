//! Numeric building blocks for one thread; the only crate with `unsafe`.
//!
//! Sixteen galaxies are computed side by side: what is one number in a formula is sixteen of them, one of each galaxy
//! ([`Lanes`]), from the first pixel to the redshift. So no kernel ever mixes lanes: sums over features, channels,
//! tokens or pixels add whole registers, a layer with four outputs wastes as little as one with a thousand, the edge
//! of an image is skipped and not multiplied by zero, and a galaxy's result does not depend on its neighbours.
//!
//! Every kernel takes the [`Set`] of instructions to run with. A `[rows, features]` matrix is a slice of [`Lanes`],
//! row-major.

#![allow(
    clippy::needless_range_loop,
    reason = "a tile is rows by columns in registers: loops over indices say so, and stay in registers when unrolled"
)]

pub mod activation;
pub mod attention;
pub mod bottleneck;
pub mod lanes;
pub mod matrix;
pub mod norm;
pub mod peak;
pub mod pool;
pub mod reduced;
mod set;
mod simd;
pub mod stored;
#[cfg(test)]
mod testing;
pub mod tiles;
pub mod words;

pub use set::{ALL, Description, Set};
pub use simd::{LANES, Lanes};
