//! The engine behind the simplest host, against oracles.

mod changes;
mod codes;
mod generations;
pub(crate) mod host;
mod indexing;
mod jobs;
mod leading;
mod lent;
mod model;
mod reconciliation;
mod replication;
mod stored;
