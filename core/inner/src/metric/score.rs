//! Ranking keys of many rows against one: the loop that everything above spends its time in.

use alloc::vec::Vec;

use fearless_simd::Simd;

use super::{Metric, QueryVector, VectorSpace};
use crate::kernel::{Dot, Pairwise, SquaredL2, prefetch, sum_many, sum_one};

/// Rows that are ranked against a query or against one of them, in whatever form they are stored. A graph is built over
/// such rows and walked on them, and knows no more of them.
pub trait Rows: Sync {
    /// One side of many distances.
    type Probe<'p>: Copy;

    /// How distances are measured.
    fn metric(&self) -> Metric;

    /// Components of a row.
    fn dimension(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// A query as one side.
    fn query<'p>(&'p self, query: &'p QueryVector, room: &'p mut ProbeRoom) -> Self::Probe<'p>;

    /// The row at an offset as one side.
    fn stored<'p>(&'p self, offset: u32, room: &'p mut ProbeRoom) -> Self::Probe<'p>;

    /// Asks for the beginning of a row before it is needed.
    fn prefetch(&self, offset: u32);

    /// Ranking keys of the rows at the given offsets, one for each.
    fn score_offsets<S: Simd>(&self, simd: S, probe: Self::Probe<'_>, offsets: &[u32], keys: &mut [f32]);
}

/// Memory that a probe may need, used again by the next one.
#[derive(Clone, Debug, Default)]
pub struct ProbeRoom {
    unit: Vec<f32>,
    pub(crate) wide: Vec<i16>,
}

impl Rows for VectorSpace<'_> {
    type Probe<'p> = Probe<'p>;

    #[inline(always)]
    fn metric(&self) -> Metric {
        self.metric
    }

    #[inline(always)]
    fn dimension(&self) -> usize {
        self.dimension
    }

    #[inline(always)]
    fn count(&self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn query<'p>(&'p self, query: &'p QueryVector, _: &'p mut ProbeRoom) -> Probe<'p> {
        query.probe()
    }

    #[inline(always)]
    fn stored<'p>(&'p self, offset: u32, room: &'p mut ProbeRoom) -> Probe<'p> {
        Probe::stored(self, offset, &mut room.unit)
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        prefetch(self.rows, offset as usize * self.dimension);
    }

    #[inline(always)]
    fn score_offsets<S: Simd>(&self, simd: S, probe: Probe<'_>, offsets: &[u32], keys: &mut [f32]) {
        probe.score_offsets(simd, self, offsets, keys);
    }
}

/// One side of many distances: a query, or a stored row while a graph is built.
///
/// `key = scale * sum(row, other) * term(other)`, where the sum is |a-b|² or a·b and the row of `cosine` has norm 1.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    pub(crate) row: &'a [f32],
    pub(crate) scale: f32,
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
    pub(crate) fn score<S: Simd, R: Rows>(&mut self, simd: S, rows: &R, probe: R::Probe<'_>) {
        self.keys.clear();
        self.keys.resize(self.offsets.len(), 0.0);
        rows.score_offsets(simd, probe, &self.offsets, &mut self.keys);
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
    in_fours(
        offsets,
        keys,
        #[inline(always)]
        |[a, b, c, d]| {
            let rows = [space.row(a), space.row(b), space.row(c), space.row(d)];
            sum_many::<S, P, 4>(simd, probe, rows)
        },
        #[inline(always)]
        |a| sum_one::<S, P>(simd, probe, space.row(a)),
    );
}

/// Fills `keys` for the rows at `offsets`, four at a time, and one by one what is left.
#[inline(always)]
pub(crate) fn in_fours(
    offsets: &[u32],
    keys: &mut [f32],
    four: impl Fn([u32; 4]) -> [f32; 4],
    one: impl Fn(u32) -> f32,
) {
    let (fours, rest) = offsets.as_chunks::<4>();
    let (key_fours, key_rest) = keys.as_chunks_mut::<4>();
    for (&offsets, keys) in fours.iter().zip(key_fours) {
        *keys = four(offsets);
    }
    for (&offset, key) in rest.iter().zip(key_rest) {
        *key = one(offset);
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
