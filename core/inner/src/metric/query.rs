//! A query that was checked once and cannot fail afterwards.

use alloc::vec::Vec;

use fearless_simd::dispatch;

use super::{Metric, Probe, Rows, VectorSpace, validate_f32, validate_f64};
use crate::error::Result;
use crate::kernel;

/// The proof that a query fits a metric and a dimension, with what ranking and distances need of it.
#[derive(Clone, Debug)]
pub struct QueryVector {
    metric: Metric,
    /// The query rounded to f32, as a stored row would be: a stored point used as a query is at distance 0 of itself.
    row: Vec<f32>,
    /// `cosine` only: the row at norm 1, for ranking.
    unit: Vec<f32>,
    /// `poincare`: 1/(1-|q|²) of the values as given; 1 elsewhere.
    factor: f64,
}

impl QueryVector {
    /// Checks a query of f32 components.
    ///
    /// # Errors
    /// As [`validate_f32`].
    pub fn from_f32(metric: Metric, dimension: usize, vector: &[f32]) -> Result<Self> {
        validate_f32(metric, dimension, vector)?;
        Ok(Self::proven(metric, vector.to_vec(), factor(metric, vector.iter().map(|&x| f64::from(x)))))
    }

    /// Checks a query of f64 components; `poincare` keeps the exact distance of the values to the rim.
    ///
    /// # Errors
    /// As [`validate_f64`].
    pub fn from_f64(metric: Metric, dimension: usize, vector: &[f64]) -> Result<Self> {
        let mut row = Vec::with_capacity(vector.len());
        validate_f64(metric, dimension, vector, &mut row)?;
        Ok(Self::proven(metric, row, factor(metric, vector.iter().copied())))
    }

    /// Takes a stored row and its term as the query.
    pub fn from_row(metric: Metric, row: &[f32], term: f32) -> Self {
        let factor = if metric == Metric::Poincare { f64::from(term) } else { 1.0 };
        Self::proven(metric, row.to_vec(), factor)
    }

    fn proven(metric: Metric, row: Vec<f32>, factor: f64) -> Self {
        let mut unit = Vec::new();
        if metric == Metric::Cosine {
            let norm = libm::sqrt(row.iter().map(|&x| f64::from(x) * f64::from(x)).sum());
            unit.extend(row.iter().map(|&x| (f64::from(x) / norm) as f32));
        }
        Self { metric, row, unit, factor }
    }

    /// How distances are measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The number of components.
    pub fn dimension(&self) -> usize {
        self.row.len()
    }

    /// The query as a row of f32.
    pub fn row(&self) -> &[f32] {
        &self.row
    }

    pub(crate) fn probe(&self) -> Probe<'_> {
        let row = if self.metric == Metric::Cosine { &self.unit } else { &self.row };
        Probe::new(self.metric, row, self.factor as f32)
    }

    /// The distance to a stored row with its term, in f64: the number that callers are told.
    pub fn distance(&self, row: &[f32], term: f32) -> f64 {
        match self.metric {
            Metric::L2 => libm::sqrt(pairs(&self.row, row, |a, b| (a - b) * (a - b))),
            Metric::Cosine => {
                let dot = pairs(&self.row, row, |a, b| a * b);
                let norms = pairs(&self.row, &self.row, |a, b| a * b) * pairs(row, row, |a, b| a * b);
                (1.0 - dot / libm::sqrt(norms)).clamp(0.0, 2.0)
            }
            Metric::Dot => -pairs(&self.row, row, |a, b| a * b),
            Metric::Poincare => {
                let squared = pairs(&self.row, row, |a, b| (a - b) * (a - b));
                2.0 * libm::asinh(libm::sqrt(squared * self.factor * f64::from(term)))
            }
        }
    }

    /// The distance to the row at an offset.
    pub fn distance_at(&self, space: &VectorSpace<'_>, offset: u32) -> f64 {
        self.distance(space.row(offset), space.term(offset))
    }

    /// Ranking keys of the rows `first..first + keys.len()`, in one pass.
    ///
    /// # Panics
    /// When the space is of another metric or dimension, or has fewer rows.
    pub fn score_range(&self, space: &VectorSpace<'_>, first: u32, keys: &mut [f32]) {
        self.assert_fits(space);
        let probe = self.probe();
        dispatch!(kernel::level(), simd => probe.score_range(simd, space, first, keys));
    }

    /// Ranking keys of the rows at the given offsets, in one pass.
    ///
    /// # Panics
    /// When the space is of another metric or dimension, an offset has no row, or the lengths differ.
    pub fn score_offsets(&self, space: &VectorSpace<'_>, offsets: &[u32], keys: &mut [f32]) {
        self.assert_fits(space);
        assert_eq!(offsets.len(), keys.len(), "one key per offset");
        let probe = self.probe();
        dispatch!(kernel::level(), simd => probe.score_offsets(simd, space, offsets, keys));
    }

    pub(crate) fn assert_fits<R: Rows>(&self, rows: &R) {
        assert_eq!(
            (self.metric, self.dimension()),
            (rows.metric(), rows.dimension()),
            "the query was made for this space"
        );
    }
}

/// The factor of a checked vector: 1/(1-|q|²) for `poincare`, 1 elsewhere.
fn factor(metric: Metric, components: impl Iterator<Item = f64>) -> f64 {
    if metric == Metric::Poincare { 1.0 / (1.0 - components.map(|x| x * x).sum::<f64>()) } else { 1.0 }
}

/// Σ step(a, b) in f64 over four accumulators, always in the same order: equal rows give equal sums.
fn pairs(a: &[f32], b: &[f32], step: impl Fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; 4];
    let ((a4, a_rest), (b4, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in a4.iter().zip(b4) {
        for i in 0..4 {
            sums[i] += step(f64::from(a[i]), f64::from(b[i]));
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[i] += step(f64::from(a), f64::from(b));
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}
