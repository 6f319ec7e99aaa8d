//! The native host against oracles: on a simulated disk that records, fails and crashes, and on the real one.

#![allow(clippy::unwrap_used)]

mod crash;
mod durability;
mod failures;
mod lanes;
mod sim;
mod support;
