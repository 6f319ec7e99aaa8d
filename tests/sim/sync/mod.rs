//! Tabs that follow a server: whole hosts on both sides, each on storage in memory that fails and crashes, and between them
//! messages that are lost.
//!
//! `service` answers requests as the service does, by the generated types of its messages, and `server` is a database that
//! does; `world` draws histories from a seed; `life` knows which states of a point may be found; `directed` and `shipped` have
//! what no history brings about. `drive`, `lent`, `life` and `service` are also those of `system`.

mod directed;
pub(crate) mod drive;
pub(crate) mod lent;
pub(crate) mod life;
mod server;
pub(crate) mod service;
mod shipped;
mod world;

use crate::seeds::{Effort, Simulation};

/// The histories of tabs and their server.
pub(crate) const SIMULATION: Simulation =
    Simulation { name: "sync", run: world::run, effort: Effort::SHORT, expected: &[] };
