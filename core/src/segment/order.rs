//! The order of a new segment's rows: near ones lie near each other, so that building the graph and walking it finds in the
//! caches what the node before has brought there. Over 1 000 000 x 8 the graph is built three times as fast, one of 100 000
//! a quarter faster.
//!
//! The order is the Morton curve's: of every component's place between its smallest and its largest value the highest bits
//! come first, one of each component by turns. It tells near from far in few dimensions only: over 384 nothing is gained.
//! Trees in the ball keep the order in which they came: along the curve six times as many neighbours are missed at the rim
//! (recall 0.996 instead of 0.999).

use alloc::vec::Vec;

use crate::metric::{Metric, VectorSpace};
use crate::sort::sort;

/// With more components each would have less than four bits.
const MOST_COMPONENTS: usize = 16;
const MOST_BITS: u32 = 16;

/// The offsets of all rows, those from `first` on along the curve; `None` where that gains nothing.
pub(super) fn along_the_curve(space: &VectorSpace<'_>, first: u32) -> Option<Vec<u32>> {
    let (d, count) = (space.dimension, space.len() as u32);
    if d > MOST_COMPONENTS || first >= count || space.metric == Metric::Poincare {
        return None;
    }
    let rows = &space.rows[first as usize * d..];
    let bits = (u64::BITS / d as u32).min(MOST_BITS);
    let ranges: Vec<(f32, f32)> = (0..d)
        .map(|component| {
            let values = || rows.iter().skip(component).step_by(d).copied();
            let (least, most) = (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max));
            (least, ((1_u32 << bits) - 1) as f32 / (most - least))
        })
        .collect();
    let mut levels = [0_u32; MOST_COMPONENTS];
    #[expect(clippy::cast_sign_loss, reason = "no component is below the least")]
    let place = |row: &[f32]| {
        for ((level, x), (least, scale)) in levels.iter_mut().zip(row).zip(&ranges) {
            // Equal components make this NaN, and a cast makes that 0.
            *level = ((x - least) * scale) as u32;
        }
        let by_turns = (0..bits).rev().flat_map(|bit| levels[..d].iter().map(move |level| u64::from(level >> bit & 1)));
        by_turns.fold(0, |place, bit| place << 1 | bit)
    };
    let mut places: Vec<(u64, u32)> = rows.chunks_exact(d).map(place).zip(first..).collect();
    sort(&mut places);
    Some((0..first).chain(places.into_iter().map(|(_, offset)| offset)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random_rows(d: usize, count: usize) -> Vec<f32> {
        let mut state = 7_u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 - 0.5
        };
        (0..d * count).map(|_| random()).collect()
    }

    fn order_of(d: usize, rows: &[f32], first: u32) -> Option<Vec<u32>> {
        along_the_curve(&VectorSpace { metric: Metric::L2, dimension: d, rows, terms: &[] }, first)
    }

    /// How far apart rows that follow each other are, on average.
    fn mean_step(d: usize, rows: &[f32], order: &[u32]) -> f32 {
        let row = |offset: u32| &rows[offset as usize * d..][..d];
        let distance = |a, b| row(a).iter().zip(row(b)).map(|(x, y)| (x - y) * (x - y)).sum::<f32>().sqrt();
        order.windows(2).map(|pair| distance(pair[0], pair[1])).sum::<f32>() / order.len() as f32
    }

    #[test]
    fn rows_that_follow_each_other_are_near() {
        for (d, share) in [(1, 0.01), (2, 0.05), (3, 0.15), (8, 0.6), (16, 0.85)] {
            let rows = random_rows(d, 4_000);
            let order = order_of(d, &rows, 0).unwrap();
            let as_given: Vec<u32> = (0..4_000).collect();
            let (step, before) = (mean_step(d, &rows, &order), mean_step(d, &rows, &as_given));
            assert!(step < share * before, "{d} components: {step} of {before}");
        }
    }

    #[test]
    fn every_row_has_a_place_and_those_before_the_first_keep_theirs() {
        let rows = random_rows(5, 300);
        let mut order = order_of(5, &rows, 100).unwrap();
        assert!(order[..100].iter().copied().eq(0..100));
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..300));
        assert_eq!(order_of(5, &rows, 300), None);
        assert_eq!(order_of(17, &random_rows(17, 10), 0), None);
    }

    #[test]
    fn equal_rows_and_extreme_ones_have_an_order() {
        assert_eq!(order_of(2, &[0.5; 8], 0), Some(alloc::vec![0, 1, 2, 3]));
        assert_eq!(order_of(1, &[f32::MAX, f32::MIN, 0.0], 0).map(|order| order.len()), Some(3));
    }
}
