//! The inner loops of the engine: distances, the graph, filters, and what these are made of.
//!
//! A crate of its own, because Cargo can optimise one crate for speed and another for size: what a tab downloads is small
//! everywhere else. It knows rows, nodes and encoded metadata; not ids, storage, collections or replication. The engine shows
//! these modules as its own, and nobody else imports this crate.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![deny(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod error;
pub mod filter;
pub mod hnsw;
pub mod kernel;
pub mod map;
pub mod metadata;
pub mod metric;
pub mod quant;
pub mod sort;
