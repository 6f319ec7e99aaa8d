//! The host of the engine: it owns collections, makes their records, segments and manifests durable in a [`Kv`] store,
//! and gives background work its slices.
//!
//! Order of things, which is what durability rests on: a record is complete in the store before it is published; a
//! segment's chunks are complete before the one strict transaction that names it in the manifest, cuts the log behind
//! it and lets go of what it replaces; only then is it installed. The manifest alone says what is live.
//!
//! No cell is borrowed across an await. Searches take the present snapshot and never wait.
//!
//! [`Kv`]: crate::kv::Kv

mod answers;
mod archive;
mod catalog;
mod commit;
mod database;
mod doubt;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod lending;
mod ownership;
mod rows;
mod segments;
pub mod sync;
mod wait;
mod work;

pub use answers::Asked;
pub use database::{Database, Environment, OpenCollection};
pub use work::IndexProgress;

#[cfg(test)]
mod tests;
