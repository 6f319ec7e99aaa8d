use alloc::vec::Vec;

use fearless_simd::{Level, Simd, dispatch};

use super::{Dot, Pairwise, SquaredL2, oracle, sum_many, sum_one};

/// Every level that this machine has, from the best down.
pub(crate) fn levels() -> Vec<Level> {
    #[allow(unused_mut)]
    let mut levels = alloc::vec![super::level(), Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    {
        let best = super::level();
        levels.extend(best.as_avx2().map(Simd::level));
        levels.extend(best.as_sse4_2().map(Simd::level));
        levels.extend(best.as_sse2().map(Simd::level));
    }
    levels
}

fn row(dimension: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9) | 1;
    (0..dimension)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x as f32 / 2_147_483_648.0 - 1.0
        })
        .collect()
}

fn dimensions() -> impl Iterator<Item = usize> {
    (1..=130).chain([384, 768, 784])
}

fn one<P: Pairwise>(level: Level, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(level, simd => sum_one::<_, P>(simd, a, b))
}

#[test]
fn kernels_agree_with_the_oracle_at_every_dimension_and_level() {
    for level in levels() {
        for d in dimensions() {
            let (a, b) = (row(d, 2 * d as u32 + 1), row(d, 2 * d as u32 + 2));
            let bound = 1e-6 * d as f64;
            let l2 = f64::from(one::<SquaredL2>(level, &a, &b)) - oracle::squared_l2(&a, &b);
            let dot = f64::from(one::<Dot>(level, &a, &b)) - oracle::dot(&a, &b);
            assert!(l2.abs() <= bound && dot.abs() <= bound, "{level:?}, d = {d}: off by {l2:e}, {dot:e}");
        }
    }
}

#[test]
fn a_rows_sum_does_not_depend_on_the_rows_beside_it() {
    for level in levels() {
        for d in dimensions() {
            let query = row(d, 7);
            let rows: Vec<_> = (0..4).map(|i| row(d, 100 + i)).collect();
            let four = [&rows[0][..], &rows[1], &rows[2], &rows[3]];
            let together = dispatch!(level, simd => sum_many::<_, SquaredL2, 4>(simd, &query, four));
            for (row, sum) in four.iter().zip(together) {
                assert_eq!(one::<SquaredL2>(level, &query, row).to_bits(), sum.to_bits(), "{level:?}, d = {d}");
            }
        }
    }
}

#[test]
fn the_distance_of_a_row_to_itself_is_zero() {
    for d in dimensions() {
        let a = row(d, 3);
        assert_eq!(one::<SquaredL2>(super::level(), &a, &a).to_bits(), 0, "d = {d}");
    }
}

#[test]
fn integer_products_are_the_oracles_at_every_dimension_and_level_and_extreme() {
    use super::{MAX_WIDE, dot_many};
    let code = |x: f32| (x * 128.0) as i8;
    for level in levels() {
        for d in dimensions().chain([4096]) {
            let wide: Vec<i16> = row(d, 9).iter().map(|x| (x * f32::from(MAX_WIDE)) as i16).collect();
            let rows: Vec<Vec<i8>> = (0..4).map(|i| row(d, 50 + i).into_iter().map(code).collect()).collect();
            let most: Vec<i16> = wide.iter().map(|x| if *x < 0 { -MAX_WIDE } else { MAX_WIDE }).collect();
            let same: Vec<i8> = wide.iter().map(|x| if *x < 0 { -127 } else { 127 }).collect();
            let four = [&rows[0][..], &rows[1], &rows[2], &same];
            for wide in [&wide, &most] {
                let together = dispatch!(level, simd => dot_many::<_, 4>(simd, wide, four));
                for (row, sum) in four.iter().zip(together) {
                    assert_eq!(sum, oracle::dot_int(wide, row), "{level:?}, d = {d}");
                    let alone = dispatch!(level, simd => dot_many::<_, 1>(simd, wide, [row]))[0];
                    assert_eq!(alone, sum, "{level:?}, d = {d}, alone");
                }
            }
        }
    }
}
