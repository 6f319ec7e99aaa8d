//! The kernels: squared Euclidean distance and inner product of one row with many, over f32 (file `float.rs`), and the
//! inner product over the integers of quantised rows (`int.rs`). Beside them, what hides the memory's latency
//! (`prefetch.rs`, the one place with `unsafe`).
//!
//! Each is written once over [`fearless_simd::Simd`]. A caller asks `level` once, enters
//! `dispatch!` once around a whole scan or traversal, and everything below is inlined into that one compiled copy: no
//! feature test inside a distance. A scalar oracle beside the kernels is what the tests compare with.
//!
//! Invariant: the value computed for a row depends on the two rows and the level only, not on the rows scored beside it.

#![allow(clippy::inline_always, reason = "code below a dispatch is compiled for its instructions only when inlined")]

/// Does something for each of at most four rows. Written out, so that sums stay in registers also where the compiler
/// unrolls no loops because it optimises for size.
macro_rules! each_row {
    ($rows:ident, $row:ident => $work:expr) => {{
        const { assert!($rows <= 4) };
        if $rows > 0 {
            const $row: usize = 0;
            $work;
        }
        if $rows > 1 {
            const $row: usize = 1;
            $work;
        }
        if $rows > 2 {
            const $row: usize = 2;
            $work;
        }
        if $rows > 3 {
            const $row: usize = 3;
            $work;
        }
    }};
}

mod float;
mod int;
#[cfg(test)]
mod oracle;
mod prefetch;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use float::{Dot, Pairwise, SquaredL2, sum_many, sum_one};
pub(crate) use int::{MAX_WIDE, dot_many};
pub(crate) use prefetch::prefetch;

use fearless_simd::Level;

/// The best instruction set of this machine: detected once where `std` can detect, the compiled baseline elsewhere.
#[inline]
pub(crate) fn level() -> Level {
    Level::try_detect().unwrap_or(Level::baseline())
}
