//! The WebAssembly module: everything is in `hyperspace-wasm`, whose bindings this links.
//!
//! That crate is a Rust library, which tests of this workspace use, and cargo optimises no crate at link time that may be
//! one. As a crate of its own the module is an eighth smaller.

extern crate hyperspace_wasm as _;
