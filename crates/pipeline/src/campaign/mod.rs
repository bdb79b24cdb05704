//! The results of a campaign: many runs of the pipeline over a grid of inputs, as figures, tables and one page.
//!
//! Pure: figures come from the runs' summaries, tables and pages go out as text. Who runs them, in which order, and where
//! the files go is not known here.

mod chart;
mod figures;
mod page;
mod tables;

pub use self::figures::{Campaign, Configuration, Figures, Spread, Value};
pub use self::page::html;
pub use self::tables::{csv, markdown};
