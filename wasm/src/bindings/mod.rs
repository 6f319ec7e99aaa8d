//! What the worker sees: one class and a builder's function, small and internal; the TypeScript beside it is the public surface.
//!
//! Vectors cross as typed arrays, ids and metadata by direct conversion. Errors cross as plain objects
//! `{ code, message, retryable }`.

mod builder;
mod convert;
mod engine;
mod environment;
mod panic;
mod reports;
mod store;

pub use builder::build;
pub use engine::Engine;
pub use panic::on_panic;
