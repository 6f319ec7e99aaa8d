//! The f32 kernels: squared Euclidean distance and inner product of one row with many.
//!
//! Each is written once over [`fearless_simd::Simd`] (file `float.rs`). A caller asks `level` once, enters
//! `dispatch!` once around a whole scan or traversal, and everything below is inlined into that one compiled copy: no
//! feature test inside a distance. A scalar oracle beside the kernels is what the tests compare with.
//!
//! Invariant: the value computed for a row depends on the two rows and the level only, not on the rows scored beside it.

#![allow(clippy::inline_always, reason = "code below a dispatch is compiled for its instructions only when inlined")]

mod float;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;

pub(crate) use float::{Dot, Pairwise, SquaredL2, sum_many, sum_one};

use fearless_simd::Level;

/// The best instruction set of this machine: detected once where `std` can detect, the compiled baseline elsewhere.
#[inline]
pub(crate) fn level() -> Level {
    Level::try_detect().unwrap_or(Level::baseline())
}
