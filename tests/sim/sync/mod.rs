//! Tabs that follow a server: whole hosts on both sides, each on storage in memory that fails and crashes, and between them
//! messages that are lost.
//!
//! `server` answers requests as the service does, by the generated types of its messages; `world` draws histories from a
//! seed; `life` knows which states of a point may be found; `directed` has what no history brings about.

mod directed;
mod lent;
mod life;
mod server;
mod world;

use crate::seeds::Simulation;

/// The histories of tabs and their server.
pub(crate) const SIMULATION: Simulation = Simulation { name: "sync", run: world::run };
