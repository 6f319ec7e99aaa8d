//! The native host of HyperspaceDB: the engine behind a log, memory-mapped segments, threads and gRPC; and the command
//! line that talks to it.

pub mod cli;
pub mod database;
pub mod disk;
pub mod proto;
pub mod service;
pub mod settings;
mod store;
pub mod tenancy;
