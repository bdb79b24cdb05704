//! JSONPath as the Amazon States Language uses it.
//!
//! Two languages share one syntax:
//! - [`JsonPath`] *reads*: `$.galaxies[*].redshift`, `$..key`, `$.rows[?(@.z > 0.3)]`, `$.rows.length()`;
//! - [`ReferencePath`] *writes* (`ResultPath`): only names and indices, so that it points at exactly one place.
//!
//! A path is *definite* if it can point at one place only. A definite path yields that value or an error,
//! an indefinite one the array of everything it matched, possibly empty. AWS does the same.
//!
//! | file | owns |
//! |---|---|
//! | `parse` | text → syntax tree |
//! | `query` | syntax tree × value → values |
//! | `filter` | the `?( … )` expressions |
//! | `reference` | writing through a path |

mod filter;
mod parse;
mod query;
mod reference;

pub use parse::{JsonPath, ParseError};
pub(crate) use parse::{parse_behind, parse_prefix};
pub use query::NotFound;
pub(crate) use query::equal;
pub use reference::{ApplyError, ReferencePath};
