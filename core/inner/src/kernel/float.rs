//! Sums over pairs of components, for several rows at once.
//!
//! ```text
//! for every row r:   sum[r] = Σ_i step(query[i], row[r][i])        step = (a-b)^2 or a*b
//! ```
//! The real code differs in three ways. It walks blocks of two native vectors, with two accumulators a row: four rows
//! make eight independent chains, which hides the latency of the addition, and the query is loaded once for the four.
//! What is left after the blocks goes to one native vector, then eight lanes, then four, then single components, so a
//! row of 8, 10 or 50 components wastes no lane. And it multiplies and adds in one rounding only where the hardware
//! does: `mul_add` of `fearless_simd` is a multiplication and an addition wherever there is no such instruction
//! (`f32::mul_add` would call a software routine in wasm, thirty times slower).

use fearless_simd::{Simd, SimdBase, SimdFloat, SimdFrom, f32x4, f32x8};

/// One step of a sum over pairs of components.
pub(crate) trait Pairwise {
    fn lanes<S: Simd, V: SimdFloat<S>>(sum: V, a: V, b: V) -> V;
    fn scalar(sum: f32, a: f32, b: f32) -> f32;
}

/// Σ (a-b)²: from differences, never from norms, which would cancel.
pub(crate) struct SquaredL2;

impl Pairwise for SquaredL2 {
    #[inline(always)]
    fn lanes<S: Simd, V: SimdFloat<S>>(sum: V, a: V, b: V) -> V {
        let difference = a - b;
        difference.mul_add(difference, sum)
    }

    #[inline(always)]
    fn scalar(sum: f32, a: f32, b: f32) -> f32 {
        sum + (a - b) * (a - b)
    }
}

/// Σ a·b.
pub(crate) struct Dot;

impl Pairwise for Dot {
    #[inline(always)]
    fn lanes<S: Simd, V: SimdFloat<S>>(sum: V, a: V, b: V) -> V {
        a.mul_add(b, sum)
    }

    #[inline(always)]
    fn scalar(sum: f32, a: f32, b: f32) -> f32 {
        sum + a * b
    }
}

/// The sum for one row.
#[inline(always)]
pub(crate) fn sum_one<S: Simd, P: Pairwise>(simd: S, query: &[f32], row: &[f32]) -> f32 {
    sum_many::<S, P, 1>(simd, query, [row])[0]
}

/// The sums for `ROWS` rows, four at most, each as long as the query.
///
/// # Panics
/// When a row is shorter than the query.
#[inline(always)]
pub(crate) fn sum_many<S: Simd, P: Pairwise, const ROWS: usize>(
    simd: S,
    query: &[f32],
    rows: [&[f32]; ROWS],
) -> [f32; ROWS] {
    let width = S::f32s::LEN;
    let mut rows = rows;
    each_row!(ROWS, R => rows[R] = &rows[R][..query.len()]);
    let mut sums = [0.0; ROWS];
    let mut at = 0;
    if query.len() >= width {
        let zero = S::f32s::simd_from(simd, 0.0);
        // Written out as well: `[zero; ROWS]` would be a loop over memory.
        let (mut even, mut odd) = ([zero, zero, zero, zero], [zero, zero, zero, zero]);
        while query.len() - at >= 2 * width {
            let (q0, q1) = (load(simd, query, at), load(simd, query, at + width));
            each_row!(ROWS, R => {
                even[R] = P::lanes(even[R], q0, load(simd, rows[R], at));
                odd[R] = P::lanes(odd[R], q1, load(simd, rows[R], at + width));
            });
            at += 2 * width;
        }
        if query.len() - at >= width {
            let q0 = load(simd, query, at);
            each_row!(ROWS, R => even[R] = P::lanes(even[R], q0, load(simd, rows[R], at)));
            at += width;
        }
        each_row!(ROWS, R => sums[R] = (even[R] + odd[R]).reduce_sum());
    }
    if width > 8 && query.len() - at >= 8 {
        let q0 = f32x8::from_slice(simd, &query[at..at + 8]);
        each_row!(ROWS, R => {
            let row = f32x8::from_slice(simd, &rows[R][at..at + 8]);
            sums[R] += P::lanes(f32x8::simd_from(simd, 0.0), q0, row).reduce_sum();
        });
        at += 8;
    }
    if width > 4 && query.len() - at >= 4 {
        let q0 = f32x4::from_slice(simd, &query[at..at + 4]);
        each_row!(ROWS, R => {
            let row = f32x4::from_slice(simd, &rows[R][at..at + 4]);
            sums[R] += P::lanes(f32x4::simd_from(simd, 0.0), q0, row).reduce_sum();
        });
        at += 4;
    }
    while at < query.len() {
        each_row!(ROWS, R => sums[R] = P::scalar(sums[R], query[at], rows[R][at]));
        at += 1;
    }
    sums
}

#[inline(always)]
fn load<S: Simd>(simd: S, row: &[f32], at: usize) -> S::f32s {
    S::f32s::from_slice(simd, &row[at..at + S::f32s::LEN])
}
