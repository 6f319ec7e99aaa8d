//! Inner products of a row of 13-bit integers with several rows of 8-bit ones, exact in 32 bits.
//!
//! ```text
//! for every row r:   sum[r] = Σ_i wide[i] * row[r][i]
//! ```
//! Eight-bit components are widened to sixteen as they are loaded, and multiplied and added in pairs by one instruction
//! (`vpmaddwd`, which AVX-512 VNNI fuses with the addition to the sum as `vpdpwssd`; `i32x4.dot_i16x8_s` in wasm; two
//! `smull` and `addp` on NEON). The other side is sixteen bits wide in any case, so it may as well use more than eight:
//! a query keeps 13 bits at no price, and all that is lost is lost by the rows. `vpdpbusd` would do twice as many
//! products a cycle for 8-bit queries; rows come from memory, which is what one waits for.
//!
//! What is left after whole native vectors goes to sixteen lanes, then eight, then single components.

use fearless_simd::{Simd, SimdBase, SimdFrom, SimdIntWiden, SimdWiden, i8x16, i16x8, i32x4};

/// The largest magnitude in a wide row. Times 127, times the 4 096 components that a row may have, is below 2^31.
pub(crate) const MAX_WIDE: i16 = 4_095;

/// The inner products of `ROWS` rows, four at most, each as long as the wide one.
///
/// # Panics
/// When a row is shorter than the wide one.
#[inline(always)]
pub(crate) fn dot_many<S: Simd, const ROWS: usize>(simd: S, wide: &[i16], rows: [&[i8]; ROWS]) -> [i32; ROWS] {
    let (width, half) = (S::i8s::LEN, S::i16s::LEN);
    let mut rows = rows;
    each_row!(ROWS, R => rows[R] = &rows[R][..wide.len()]);
    let mut sums = [0; ROWS];
    let mut at = 0;
    if wide.len() >= width {
        let zero = S::i32s::simd_from(simd, 0);
        let (mut low, mut high) = ([zero, zero, zero, zero], [zero, zero, zero, zero]);
        while wide.len() - at >= width {
            let w0 = S::i16s::from_slice(simd, &wide[at..at + half]);
            let w1 = S::i16s::from_slice(simd, &wide[at + half..at + width]);
            each_row!(ROWS, R => {
                let (r0, r1) = S::i8s::from_slice(simd, &rows[R][at..at + width]).widen();
                low[R] += w0.pairwise_dot_product(r0);
                high[R] += w1.pairwise_dot_product(r1);
            });
            at += width;
        }
        each_row!(ROWS, R => sums[R] = (low[R] + high[R]).reduce_sum());
    }
    if wide.len() - at >= 8 {
        let zero = i32x4::simd_from(simd, 0);
        let mut rest = [zero, zero, zero, zero];
        // Where native vectors have sixteen lanes nothing is left for this.
        while width > 16 && wide.len() - at >= 16 {
            let w0 = i16x8::from_slice(simd, &wide[at..at + 8]);
            let w1 = i16x8::from_slice(simd, &wide[at + 8..at + 16]);
            each_row!(ROWS, R => {
                let (r0, r1) = i8x16::from_slice(simd, &rows[R][at..at + 16]).widen();
                rest[R] += w0.pairwise_dot_product(r0) + w1.pairwise_dot_product(r1);
            });
            at += 16;
        }
        if wide.len() - at >= 8 {
            let w0 = i16x8::from_slice(simd, &wide[at..at + 8]);
            each_row!(ROWS, R => rest[R] += w0.pairwise_dot_product(widen_eight(simd, &rows[R][at..at + 8])));
            at += 8;
        }
        each_row!(ROWS, R => sums[R] += rest[R].reduce_sum());
    }
    while at < wide.len() {
        each_row!(ROWS, R => sums[R] += i32::from(wide[at]) * i32::from(rows[R][at]));
        at += 1;
    }
    sums
}

/// Half a vector of bytes has no type; the compiler makes one widening load of this.
#[inline(always)]
fn widen_eight<S: Simd>(simd: S, row: &[i8]) -> i16x8<S> {
    let mut bytes = [0; 16];
    let eight: &[i8; 8] = row.first_chunk().expect("eight components");
    bytes[..8].copy_from_slice(eight);
    i8x16::simd_from(simd, bytes).widen().0
}
