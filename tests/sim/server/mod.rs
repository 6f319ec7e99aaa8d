//! The server's host on a disk in memory.

mod crash;
mod durability;
mod flips;
#[allow(dead_code, reason = "the tests beside the server's code use the rest")]
pub(crate) mod harness;
mod histories;
mod mutations;
mod world;

use crate::seeds::{Effort, Simulation};

pub(crate) const SIMULATION: Simulation =
    Simulation { name: "server", run: world::run, effort: Effort::SHORT, expected: &[] };
