//! The engine of HyperspaceDB: everything that does not need a file, a clock, a thread or a network.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub use hyperspace_inner::{error, filter, hnsw, kernel, map, metadata, metric, quant, sort};

pub mod archive;
pub mod bytes;
pub mod collection;
pub mod log;
pub mod port;
pub mod segment;
pub mod sync;
pub mod types;
