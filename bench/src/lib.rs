//! What benches share: an index of one segment, made through the engine's public API, and the arrays it is made from.
//!
//! `benches/` times the engine's own parts with criterion. The program `ours` (`main.rs`) is what `compare/` runs beside
//! the peers. Neither is part of any product, and nothing here knows a peer.

pub mod clock;
pub mod hands;
pub mod index;
pub mod rows;
