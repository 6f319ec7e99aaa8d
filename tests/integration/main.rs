//! Every test that needs more than one crate, in one binary: it links once. A module a behaviour.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "tests print what they measured")]

mod architecture;
mod archive;
mod data;
mod engine;
mod formats;
mod support;
mod wire;
mod wire_cost;
