//! The engine behind the simplest host, against oracles.

mod generations;
pub(crate) mod host;
mod indexing;
mod model;
