//! Numeric building blocks; the only crate with unsafe code
