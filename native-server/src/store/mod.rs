//! The durable form of a database: which files there are, what is in them, and in which order they become so.
//!
//! ```text
//! LOCK                       held by the process that serves the directory
//! catalog                    who writes here, and which space is whose; replaced as a whole
//! KEYS                       who may do what, see [`auth`](crate::auth); replaced as a whole; in no snapshot
//! STANDING                   what this server is among others that replicate it; replaced as a whole; in no snapshot
//! log/0000000000000001       records of all spaces in the order of their writing; see [`frame`]
//! spaces/<space>/manifest    a collection; replaced as a whole
//! spaces/<space>/<segment>   a sealed segment, named by the hash of its bytes
//! snapshots/<name>/...       the same files again, as of one moment
//! ```
//! Knows nothing of requests, threads or searches. What is not named by the catalog or by a manifest is left over from a
//! crash and may be removed.

pub(crate) mod catalog;
pub(crate) mod files;
pub(crate) mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub(crate) mod log;
pub(crate) mod replay;
pub(crate) mod standing;
#[cfg(test)]
mod tests;
pub(crate) mod whole;
