//! Whole hosts, simulated: the engine and everything around it on storage in memory that crashes, tears, fails and lies,
//! every run repeatable from its seed.
//!
//! `server` has the server's host on a disk, `tab` the browser's on a stand-in for `IndexedDB`, `sync`
//! both with messages between them, `system` three servers and ten tabs; `seeds` runs histories and
//! repeats them, `random` has the numbers that everything is drawn from.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod random;
mod seeds;
mod server;
mod sync;
mod system;
mod tab;
