//! Stored rows, borrowed: a memtable block, the rows of a sealed segment.

use super::Metric;

/// Rows of one dimension with their terms; row i starts at component `i * dimension`.
#[derive(Clone, Copy, Debug)]
pub struct VectorSpace<'a> {
    /// How distances are measured.
    pub metric: Metric,
    /// Components of a row; at least 1.
    pub dimension: usize,
    /// All rows, one after the other.
    pub rows: &'a [f32],
    /// One term a row; empty when [`Metric::has_terms`] is false.
    pub terms: &'a [f32],
}

impl<'a> VectorSpace<'a> {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len() / self.dimension
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row at an offset.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub fn row(&self, offset: u32) -> &'a [f32] {
        let start = offset as usize * self.dimension;
        &self.rows[start..start + self.dimension]
    }

    /// The term of the row at an offset; 1 for metrics without terms.
    #[inline(always)]
    pub fn term(&self, offset: u32) -> f32 {
        if self.metric.has_terms() { self.terms[offset as usize] } else { 1.0 }
    }
}
