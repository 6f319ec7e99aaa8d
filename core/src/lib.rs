//! The engine of HyperspaceDB: everything that does not need a file, a clock, a thread or a network.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod archive;
pub mod bytes;
pub mod collection;
pub mod error;
pub mod filter;
pub mod hnsw;
pub mod kernel;
pub mod log;
pub mod map;
pub mod metadata;
pub mod metric;
pub mod port;
pub mod segment;
pub mod sort;
pub mod sync;
pub mod types;
