//! The native host against oracles: on a simulated disk that records, fails and crashes, and on the real one.

#![allow(clippy::unwrap_used)]

mod behaviour;
mod crash;
mod durability;
mod failures;
mod indexing;
mod lanes;
mod lifecycle;
mod sim;
mod support;
