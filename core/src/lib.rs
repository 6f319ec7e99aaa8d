//! The engine of HyperspaceDB: everything that does not need a file, a clock, a thread or a network.

#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]

extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod error;
pub mod types;
