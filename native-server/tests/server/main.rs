//! The native host against oracles: on a simulated disk that records, fails and crashes, and on the real one.
//!
//! Crashes, histories and the order of syncs are in `tests/sim`, which lends this one its disk.

#![allow(clippy::unwrap_used)]

mod behaviour;
mod check;
mod failures;
#[path = "../../../tests/sim/server/harness/mod.rs"]
#[allow(dead_code, reason = "the simulations use the rest")]
mod harness;
mod indexing;
mod kill;
mod lifecycle;
#[path = "../../../tests/sim/random.rs"]
#[allow(dead_code, reason = "the simulations use the rest")]
mod random;
mod reopening;

use harness::{lanes, self_search, sim, support};
