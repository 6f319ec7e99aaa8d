//! Codes and the numbers beside them, made and borrowed.
//!
//! | metric | numbers of a row |
//! |---|---|
//! | l2 | step, squared norm of the decoded row |
//! | cosine | step times term: the step of the row at norm 1 |
//! | dot | step |
//! | poincare | step, squared norm of the decoded row, term |

use alloc::vec::Vec;

use super::factors;
use crate::metric::{Metric, VectorSpace};

/// The largest magnitude of a code.
const MAX_CODE: f64 = 127.0;

/// The term of a row at [`MAX_RADIUS`](super::MAX_RADIUS): cosh²(r/2).
const MAX_TERM: f32 = 110_603.85;

/// Codes of all rows of a space.
#[derive(Clone, Debug)]
pub struct Codes {
    metric: Metric,
    dimension: usize,
    components: Vec<i8>,
    factors: Vec<f32>,
}

impl Codes {
    /// Encodes every row.
    ///
    /// `None` when codes could not carry them: rows of `poincare` beyond [`MAX_RADIUS`](super::MAX_RADIUS).
    pub fn of(space: &VectorSpace<'_>) -> Option<Self> {
        if space.metric == Metric::Poincare && space.terms.iter().any(|&term| term > MAX_TERM) {
            return None;
        }
        let mut made = Self {
            metric: space.metric,
            dimension: space.dimension,
            components: Vec::with_capacity(space.rows.len()),
            factors: Vec::with_capacity(space.len() * factors(space.metric)),
        };
        for offset in 0..space.len() as u32 {
            made.push(space.row(offset), space.term(offset));
        }
        Some(made)
    }

    fn push(&mut self, row: &[f32], term: f32) {
        let step = longest(row) / MAX_CODE;
        let start = self.components.len();
        self.components.extend(row.iter().map(|&x| rounded(x, step) as i8));
        let squares: i32 = self.components[start..].iter().map(|&c| i32::from(c) * i32::from(c)).sum();
        let norm = (step * step * f64::from(squares)) as f32;
        match self.metric {
            Metric::L2 => self.factors.extend([step as f32, norm]),
            Metric::Cosine => self.factors.push((step * f64::from(term)) as f32),
            Metric::Dot => self.factors.push(step as f32),
            Metric::Poincare => self.factors.extend([step as f32, norm, term]),
        }
    }

    /// Lends them.
    pub fn space(&self) -> CodeSpace<'_> {
        CodeSpace { metric: self.metric, dimension: self.dimension, codes: &self.components, factors: &self.factors }
    }
}

/// Codes of rows, borrowed: those of row i start at code `i * dimension` and at number `i * factors(metric)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeSpace<'a> {
    pub(super) metric: Metric,
    pub(super) dimension: usize,
    pub(super) codes: &'a [i8],
    pub(super) factors: &'a [f32],
}

impl<'a> CodeSpace<'a> {
    /// Takes stored codes, of rows with so many components, and the numbers beside them: `None` when there are none.
    pub fn over(metric: Metric, dimension: usize, codes: &'a [i8], factors: &'a [f32]) -> Option<Self> {
        (!codes.is_empty()).then_some(Self { metric, dimension, codes, factors })
    }

    /// All codes, row after row.
    pub fn codes(&self) -> &'a [i8] {
        self.codes
    }

    /// The numbers beside them, row after row.
    pub fn factors(&self) -> &'a [f32] {
        self.factors
    }

    /// How many bytes of memory it takes to walk over them.
    pub fn byte_len(&self) -> usize {
        self.codes.len() + size_of_val(self.factors)
    }

    #[inline(always)]
    pub(super) fn row(&self, offset: u32) -> &'a [i8] {
        let start = offset as usize * self.dimension;
        &self.codes[start..start + self.dimension]
    }

    /// The numbers of a row, as many as the metric has.
    #[inline(always)]
    pub(super) fn factors_at<const N: usize>(&self, offset: u32) -> [f32; N] {
        let start = offset as usize * N;
        *self.factors[start..start + N].first_chunk().expect("a slice of this length")
    }
}

/// The longest component.
pub(super) fn longest(row: &[f32]) -> f64 {
    f64::from(row.iter().fold(0.0_f32, |most, x| most.max(x.abs())))
}

/// A component in steps, to the nearest integer and halves away from zero; 0 in a row of zeros.
pub(super) fn rounded(x: f32, step: f64) -> f64 {
    if step == 0.0 {
        return 0.0;
    }
    let steps = f64::from(x) / step;
    steps + 0.5_f64.copysign(steps)
}
