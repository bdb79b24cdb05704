//! How far an evaluation may go. Expressions come from outside.

/// Bounds of one evaluation. The default is what AWS was measured to allow, where that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How deep evaluation may nest. AWS refuses between 99 and 101 (floci-io/floci issue 2737, read 2026-11-27).
    /// A hundred levels fit a stack of 2 MiB with room to spare, in a build without optimisation too; more need more.
    pub depth: u32,
    /// How much work may be done: one for each part of the expression evaluated, and some for what is copied.
    /// It stands in for AWS's unpublished time limit, since a clock would make a replay differ.
    pub steps: u64,
    /// How large one text or array may be, at 8 bytes an element. AWS makes `[1..873782]` and refuses
    /// `[1..873783]`; it makes a text of 2²² characters and refuses 2²³ (same source).
    pub value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { depth: 100, steps: 10_000_000, value_bytes: 8 * 873_782 }
    }
}

/// Brackets within brackets in one expression.
pub(crate) const NESTING_MAX: u32 = 100;
/// Height of an expression's tree, which chains of operators add to.
pub(crate) const HEIGHT_MAX: u32 = 1_000;
/// Arrays within arrays (or objects) that one evaluation may build, and functions that wrap functions.
pub(crate) const VALUE_DEPTH_MAX: u32 = 400;
/// What a regular expression may try before it is given up.
pub(crate) const REGEX_BACKTRACKS_MAX: usize = 200_000;
/// How large a compiled regular expression may be.
pub(crate) const REGEX_BYTES_MAX: usize = 2 << 20;
/// The most elements that `..` makes, by the reference implementation.
pub(crate) const RANGE_MAX: f64 = 1e7;
