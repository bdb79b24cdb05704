//! The S3 API over [`Objects`](starmap_engine::objects::Objects): what the AWS CLI, the SDKs and `ItemReader`'s
//! friends need of it.
//!
//! - [`buckets`]: the operations in our own types; the REST protocol and the `aws-sdk:s3` tasks both stand on them.
//! - `attributes`: what S3 keeps of an object beside its bytes.
//! - `checksum`, `chunked`: how bodies are proven and framed on the wire.
//! - `multipart`: uploads in parts.
//! - `listing`: pages, prefixes, delimiters.
//! - [`protocol`]: REST and XML.
//!
//! Signatures are not checked: whoever can reach the server may do everything, which is why it listens on loopback
//! only unless told otherwise.

mod asks;
mod attributes;
pub mod buckets;
mod checksum;
pub(crate) mod chunked;
mod error;
mod listing;
mod multipart;
pub mod protocol;
mod request;

pub use buckets::Buckets;
pub(crate) use checksum::Algorithm;
pub use error::Error;
pub(crate) use listing::Query as ListQuery;
pub use protocol::S3;
pub(crate) use protocol::{OWNER_ID, copy_source, range};
pub(crate) use request::query;
