//! The whole system: three servers, of which one leads and two follow, and five profiles of two tabs each that talk to them;
//! every one the real host on storage in memory that crashes, with a clock of its own, and between them a network that loses,
//! repeats and reorders messages and falls apart.
//!
//! `server` is a server by the code that the product decides with, `profile` two tabs that share a store, `network` what is on
//! its way between them; `model` knows what was accepted and `sync::life` what a profile wrote, so what may not be lost;
//! `world` draws what happens from a seed, `faults` what goes wrong, `healing` makes everybody agree and looks at it; `counts`
//! says how often what has to happen.

mod counts;
mod faults;
mod healing;
mod model;
mod mutations;
mod network;
mod profile;
mod server;
mod world;

use crate::seeds::{Effort, Simulation};

/// The collections, which all servers have from the beginning on.
const NAMES: [&str; 2] = ["all", "more"];

/// The histories of the whole system.
pub(crate) const SIMULATION: Simulation = Simulation {
    name: "system",
    run: world::run,
    effort: Effort { seeds: [1_000, 20_000, 200_000], repeats: 20 },
    expected: counts::EXPECTED,
};
