//! The way back from a stored row to doubles: what rounding took, found again.
//!
//! A row of `poincare` and its term were computed from the same doubles, which nobody keeps. Any doubles that round to
//! the row and have the term make the same point again, with the same distances, and some exist: those it was made of.
//! They lie in a box around the row, and the squared norm, on which the term depends, rises from its inner corner to
//! its outer one. So bisection along the diagonal finds them, but for points within about 1e-9 of the rim, where the term
//! tells apart neighbouring doubles of the squared norm: there, single components are moved by single steps as well.

#![allow(clippy::float_cmp, reason = "what is looked for is the very same number")]

use alloc::vec::Vec;

use super::Metric;
use super::validate::{squared_norm, term};
use crate::sort::sort_by;

/// Steps along the diagonal: finer than the doubles of any component.
const STEPS: u64 = 1 << 54;
/// How far the longest component is moved to find a sum that others do not reach.
const MOST_SHIFTS: u64 = 256;

/// Gives doubles of which `validate_f64` makes this very row and this very term; when none do, which no row of a database
/// is like, some that come near.
pub fn widen(metric: Metric, row: &[f32], stored: f32) -> Vec<f64> {
    let exact: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
    if metric != Metric::Poincare || term_of(&exact) == stored {
        return exact;
    }
    let bounds: Vec<Bounds> = row.iter().map(|&x| Bounds::around(x)).collect();
    let lengths = match_on_diagonal(&bounds, stored);
    lengths.into_iter().zip(exact).map(|(length, x)| length.copysign(x)).collect()
}

/// The term that a write would compute; infinite on the rim and beyond.
fn term_of(vector: &[f64]) -> f32 {
    term(Metric::Poincare, squared_norm(vector.iter().copied())).unwrap_or(f32::INFINITY)
}

/// The doubles that round to one f32, without their sign.
struct Bounds {
    inner: f64,
    outer: f64,
}

impl Bounds {
    fn around(x: f32) -> Self {
        let x = x.abs();
        let half_way = |other: f32| f64::midpoint(f64::from(x), f64::from(other));
        let (inner, outer) = (if x > 0.0 { half_way(x.next_down()) } else { 0.0 }, half_way(x.next_up()));
        // What is half way is rounded to the even one of two.
        Self {
            inner: if inner as f32 == x { inner } else { inner.next_up() },
            outer: if outer as f32 == x { outer } else { outer.next_down() },
        }
    }

    fn at(&self, step: u64) -> f64 {
        self.inner + (self.outer - self.inner) * (step as f64 / STEPS as f64)
    }
}

fn match_on_diagonal(bounds: &[Bounds], stored: f32) -> Vec<f64> {
    let at = |step| bounds.iter().map(|b| b.at(step)).collect::<Vec<f64>>();
    let (mut below, mut above) = (0, STEPS);
    while above - below > 1 {
        let middle = u64::midpoint(below, above);
        if term_of(&at(middle)) < stored {
            below = middle;
        } else {
            above = middle;
        }
    }
    let matching = [below, above].into_iter().map(at).find(|lengths| term_of(lengths) == stored);
    matching.unwrap_or_else(|| match_by_components(at(below), bounds, stored))
}

/// Goes on from lengths whose term is below the wanted one: raises one component after the other as far as it may be,
/// the longest first, since a step of a shorter one is a smaller step of the sum.
fn match_by_components(start: Vec<f64>, bounds: &[Bounds], stored: f32) -> Vec<f64> {
    let mut order: Vec<usize> = (0..start.len()).collect();
    sort_by(&mut order, |&a, &b| start[b].total_cmp(&start[a]).then(a.cmp(&b)));
    let longest = order[0];
    for shift in 0..MOST_SHIFTS {
        let mut lengths = start.clone();
        lengths[longest] = f64::from_bits(start[longest].to_bits().saturating_sub(shift));
        if lengths[longest] < bounds[longest].inner {
            break;
        }
        for &at in &order[usize::from(shift > 0)..] {
            let (mut low, mut high) = (lengths[at].to_bits(), bounds[at].outer.to_bits());
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                lengths[at] = f64::from_bits(middle);
                if term_of(&lengths) <= stored {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            lengths[at] = f64::from_bits(low);
            if term_of(&lengths) == stored {
                return lengths;
            }
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use std::println;

    use super::*;
    use crate::metric::validate_f64;

    /// A generator of numbers (splitmix64).
    struct Rng(u64);

    impl Rng {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn unit(rng: &mut Rng) -> f64 {
        (rng.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// A vector in the ball, so far from its rim.
    fn vector(rng: &mut Rng, dimension: usize, gap: f64) -> Vec<f64> {
        let vector: Vec<f64> = (0..dimension).map(|_| unit(rng)).collect();
        let norm = squared_norm(vector.iter().copied()).sqrt();
        vector.iter().map(|x| x / norm * (1.0 - gap)).collect()
    }

    #[test]
    fn widened_rows_make_the_same_row_and_the_same_term_again_as_near_to_the_rim_as_doubles_reach() {
        let seed = 7;
        println!("seed {seed}");
        let mut rng = Rng(seed);
        let mut near_the_rim = 0;
        for dimension in [1, 2, 3, 5, 10, 64] {
            for exponent in 0..=16 {
                for _ in 0..40 {
                    let gap = 10_f64.powi(-exponent) * (0.1 + 0.8 * unit(&mut rng).abs());
                    let given = vector(&mut rng, dimension, gap);
                    let mut row = Vec::new();
                    let Ok(term) = validate_f64(Metric::Poincare, dimension, &given, &mut row) else { continue };
                    near_the_rim += usize::from(term > 1e12);
                    let mut again = Vec::new();
                    let widened = widen(Metric::Poincare, &row, term);
                    let found = validate_f64(Metric::Poincare, dimension, &widened, &mut again);
                    assert_eq!(found, Ok(term), "{given:?}");
                    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(&again), bits(&row), "{given:?}");
                }
            }
        }
        assert!(near_the_rim > 500, "{near_the_rim} points were near the rim");
    }

    #[test]
    fn rows_on_which_no_term_depends_stay_as_they_are() {
        let row = [0.1_f32, -0.0, 3e38];
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
            assert_eq!(widen(metric, &row, 1.0), row.map(f64::from));
        }
        let row = [0.5_f32, -0.0, 0.25];
        let term = term_of(&row.map(f64::from));
        let widened = widen(Metric::Poincare, &row, term);
        assert_eq!(widened.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), row.map(|x| f64::from(x).to_bits()));
    }

    #[test]
    fn a_term_of_another_row_is_no_reason_to_stop_working() {
        for term in [0.0, 1.0, 2.0, 1e30, f32::INFINITY, f32::NAN] {
            for row in [&[0.0_f32, 0.0][..], &[1.0, 0.0], &[0.6, 0.8], &[f32::MIN_POSITIVE]] {
                assert_eq!(widen(Metric::Poincare, row, term).len(), row.len());
            }
        }
    }
}
