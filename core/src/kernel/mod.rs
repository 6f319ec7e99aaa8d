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

/// The name of the instruction set that searches on this machine use, for reports.
pub fn level_name() -> &'static str {
    let level = level();
    if level.is_fallback() {
        return "scalar";
    }
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return match level {
        Level::Avx512(_) => "avx512",
        Level::Avx2(_) => "avx2",
        Level::Sse4_2(_) => "sse4.2",
        _ => "sse2",
    };
    #[cfg(target_arch = "aarch64")]
    return "neon";
    #[cfg(target_arch = "wasm32")]
    return "simd128";
    #[allow(unreachable_code)]
    "scalar"
}
