//! HyperspaceDB in a browser tab.
//!
//! [`kv`] is the store of bytes, over `IndexedDB` or in memory; `host` owns the engine and makes what it returns
//! durable; the bindings for the worker stand on top, in wasm builds only. There is no database logic here: what a
//! write means and what a search answers is decided in `hyperspace-core`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod host;
pub mod kv;
pub mod mutation;

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
pub use bindings::{Engine, build, on_panic};
