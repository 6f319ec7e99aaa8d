//! Ranking keys of many rows against one: the loop that everything above spends its time in.

use alloc::vec::Vec;

use fearless_simd::Simd;

use super::{Metric, VectorSpace};
use crate::kernel::{Dot, Pairwise, SquaredL2, sum_many, sum_one};

/// One side of many distances: a query, or a stored row while a graph is built.
///
/// `key = scale * sum(row, other) * term(other)`, where the sum is |a-b|² or a·b and the row of `cosine` has norm 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    row: &'a [f32],
    scale: f32,
}

/// Offsets to be scored together, and their keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(crate) offsets: Vec<u32>,
    pub(crate) keys: Vec<f32>,
}

impl Batch {
    pub(crate) fn clear(&mut self) {
        self.offsets.clear();
    }

    /// Scores all offsets; `keys` then has their length.
    #[inline(always)]
    pub(crate) fn score<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, probe: Probe<'_>) {
        self.keys.clear();
        self.keys.resize(self.offsets.len(), 0.0);
        probe.score_offsets(simd, space, &self.offsets, &mut self.keys);
    }

    /// The scored pairs (key, offset).
    #[inline(always)]
    pub(crate) fn scored(&self) -> impl Iterator<Item = (f32, u32)> {
        self.keys.iter().copied().zip(self.offsets.iter().copied())
    }
}

impl<'a> Probe<'a> {
    /// `row` has norm 1 for `cosine`; `factor` is the row's own a for `poincare`, 1 elsewhere.
    pub(crate) fn new(metric: Metric, row: &'a [f32], factor: f32) -> Self {
        let scale = match metric {
            Metric::L2 => 1.0,
            Metric::Cosine | Metric::Dot => -1.0,
            Metric::Poincare => factor,
        };
        Self { row, scale }
    }

    /// A stored row as one side; `unit` holds the normalised copy that `cosine` needs (tiny or huge rows would
    /// under- or overflow otherwise).
    pub(crate) fn stored(space: &VectorSpace<'a>, offset: u32, unit: &'a mut Vec<f32>) -> Self {
        let (row, term) = (space.row(offset), space.term(offset));
        if space.metric == Metric::Cosine {
            unit.clear();
            unit.extend(row.iter().map(|x| x * term));
            return Self::new(space.metric, unit, 1.0);
        }
        Self::new(space.metric, row, term)
    }

    /// Keys of the rows at the given offsets.
    ///
    /// Never inlined: one copy for each instruction set instead of one for each caller, at the price of a call a batch.
    #[inline(never)]
    pub(crate) fn score_offsets<S: Simd>(self, simd: S, space: &VectorSpace<'_>, offsets: &[u32], keys: &mut [f32]) {
        simd.vectorize(
            #[inline(always)]
            || self.gather_keys(simd, space, offsets, keys),
        );
    }

    #[inline(always)]
    fn gather_keys<S: Simd>(self, simd: S, space: &VectorSpace<'_>, offsets: &[u32], keys: &mut [f32]) {
        match space.metric {
            Metric::L2 | Metric::Poincare => gather::<S, SquaredL2>(simd, self.row, space, offsets, keys),
            Metric::Cosine | Metric::Dot => gather::<S, Dot>(simd, self.row, space, offsets, keys),
        }
        if space.metric.has_terms() {
            for (key, &offset) in keys.iter_mut().zip(offsets) {
                *key *= self.scale * space.terms[offset as usize];
            }
        } else if space.metric == Metric::Dot {
            negate(keys);
        }
    }

    /// Keys of the rows `first..first + keys.len()`.
    #[inline(always)]
    pub(crate) fn score_range<S: Simd>(self, simd: S, space: &VectorSpace<'_>, first: u32, keys: &mut [f32]) {
        match space.metric {
            Metric::L2 | Metric::Poincare => scan::<S, SquaredL2>(simd, self.row, space, first, keys),
            Metric::Cosine | Metric::Dot => scan::<S, Dot>(simd, self.row, space, first, keys),
        }
        if space.metric.has_terms() {
            let terms = &space.terms[first as usize..][..keys.len()];
            for (key, term) in keys.iter_mut().zip(terms) {
                *key *= self.scale * term;
            }
        } else if space.metric == Metric::Dot {
            negate(keys);
        }
    }
}

#[inline(always)]
fn gather<S: Simd, P: Pairwise>(simd: S, probe: &[f32], space: &VectorSpace<'_>, offsets: &[u32], keys: &mut [f32]) {
    let (fours, rest) = offsets.as_chunks::<4>();
    let (key_fours, key_rest) = keys.as_chunks_mut::<4>();
    for (four, keys) in fours.iter().zip(key_fours) {
        *keys = sum_many::<S, P, 4>(
            simd,
            probe,
            [space.row(four[0]), space.row(four[1]), space.row(four[2]), space.row(four[3])],
        );
    }
    for (&offset, key) in rest.iter().zip(key_rest) {
        *key = sum_one::<S, P>(simd, probe, space.row(offset));
    }
}

#[inline(always)]
fn scan<S: Simd, P: Pairwise>(simd: S, probe: &[f32], space: &VectorSpace<'_>, first: u32, keys: &mut [f32]) {
    let d = space.dimension;
    let rows = &space.rows[first as usize * d..][..keys.len() * d];
    let (key_fours, key_rest) = keys.as_chunks_mut::<4>();
    let mut fours = rows.chunks_exact(4 * d);
    for (four, keys) in (&mut fours).zip(key_fours) {
        let (a, b) = four.split_at(2 * d);
        let ((r0, r1), (r2, r3)) = (a.split_at(d), b.split_at(d));
        *keys = sum_many::<S, P, 4>(simd, probe, [r0, r1, r2, r3]);
    }
    for (row, key) in rows.chunks_exact(d).skip(key_rest_start(rows.len(), d)).zip(key_rest) {
        *key = sum_one::<S, P>(simd, probe, row);
    }
}

fn negate(keys: &mut [f32]) {
    for key in keys {
        *key = -*key;
    }
}

/// The first row after all whole fours.
fn key_rest_start(components: usize, d: usize) -> usize {
    components / d / 4 * 4
}
