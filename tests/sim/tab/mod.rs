//! The host of a browser's tab over a store in memory that does what browsers do to `IndexedDB`: tabs killed in the
//! middle of a transaction, relaxed commits lost, full quotas, lost answers, hanging transactions, cleared and damaged
//! storage, two engines on one database.
//!
//! `world` draws histories from a seed and drives the host, `model` says which states may be found.

mod counts;
mod flips;
mod model;
mod mutations;
mod world;

use crate::seeds::{Effort, Simulation};

/// The tab's histories.
pub(crate) const SIMULATION: Simulation =
    Simulation { name: "tab", run: world::run, effort: Effort::SHORT, expected: &[] };
