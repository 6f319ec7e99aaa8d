//! The native host against oracles: on a simulated disk that records, fails and crashes, and on the real one.

#![allow(clippy::unwrap_used)]

mod behaviour;
mod crash;
mod durability;
mod failures;
mod histories;
mod indexing;
mod kill;
mod lanes;
mod lifecycle;
mod self_search;
mod sim;
mod support;
