//! The native host of HyperspaceDB: the engine behind a log, memory-mapped segments, threads and gRPC; and the command
//! line that talks to it.

mod auth;
pub mod cli;
pub mod database;
pub mod disk;
#[cfg(not(feature = "mutations"))]
#[expect(unreachable_pub, reason = "public where tests choose one")]
mod mutation;
#[cfg(feature = "mutations")]
pub mod mutation;
pub mod proto;
pub mod recent;
mod remote;
pub mod service;
pub mod settings;
#[cfg(not(feature = "fuzzing"))]
mod store;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod store;
pub mod tenancy;
