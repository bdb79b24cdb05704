//! The bill: what a history would have cost on AWS, retries included.
//!
//! [`Meter`] counts what a history used, as whole numbers, so that the order in which things happened changes nothing;
//! [`of`] has it read the journal, a simulation hands it the writes of its turns. [`Bill`] puts the dated [`Prices`] to
//! it. Nothing here asks the time or the disk, and nothing knows what the functions do: what their requests to object
//! storage were is told by whoever does ([`StorageRequests`]). [`report_lines`] bills REPORT lines of Lambda itself.

mod bill;
mod meter;
mod prices;
pub mod report_lines;

pub use self::bill::{Bill, Dollars, ItemLine, Line, StateLine};
pub use self::meter::{Meter, StorageRequests, Usage, of};
pub use self::prices::{Architecture, Error, Number, Prices};
