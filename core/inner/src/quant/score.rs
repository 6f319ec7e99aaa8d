//! Ranking keys of codes: the keys of `metric/score.rs`, of decoded rows, from integer inner products.
//!
//! With steps s and codes c of both sides, q·x = s(q) s(x) c(q)·c(x) and |q-x|² = |q|² + |x|² - 2 q·x. Between two coded
//! rows the latter cancels nothing that the codes knew: all three parts are of the decoded rows, and exact but for the last
//! rounding.

use fearless_simd::Simd;

use super::code::{CodeSpace, longest, rounded};
use crate::kernel::{MAX_WIDE, dot_many, prefetch};
use crate::metric::{Metric, Probe, ProbeRoom, QueryVector, Rows, in_fours};

/// One side of many distances, in 13 bits.
#[derive(Clone, Copy, Debug)]
pub struct CodeProbe<'p> {
    wide: &'p [i16],
    step: f32,
    /// The squared norm of the decoded row, where the metric asks for it.
    norm: f32,
    /// `poincare`: the row's own term; 1 elsewhere.
    term: f32,
}

impl Rows for CodeSpace<'_> {
    type Probe<'p> = CodeProbe<'p>;

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
        self.codes.len() / self.dimension
    }

    fn query<'p>(&'p self, query: &'p QueryVector, room: &'p mut ProbeRoom) -> CodeProbe<'p> {
        let Probe { row, scale } = query.probe();
        let step = longest(row) / f64::from(MAX_WIDE);
        room.wide.clear();
        room.wide.extend(row.iter().map(|&x| rounded(x, step) as i16));
        let squares: f64 = room.wide.iter().map(|&c| f64::from(c) * f64::from(c)).sum();
        CodeProbe { wide: &room.wide, step: step as f32, norm: (step * step * squares) as f32, term: scale }
    }

    #[inline(always)]
    fn stored<'p>(&'p self, offset: u32, room: &'p mut ProbeRoom) -> CodeProbe<'p> {
        room.wide.clear();
        room.wide.extend(self.row(offset).iter().map(|&c| i16::from(c)));
        let wide = &room.wide;
        match self.metric {
            Metric::Cosine | Metric::Dot => {
                let [step] = self.factors_at(offset);
                CodeProbe { wide, step, norm: 0.0, term: 1.0 }
            }
            Metric::L2 => {
                let [step, norm] = self.factors_at(offset);
                CodeProbe { wide, step, norm, term: 1.0 }
            }
            Metric::Poincare => {
                let [step, norm, term] = self.factors_at(offset);
                CodeProbe { wide, step, norm, term }
            }
        }
    }

    #[inline(always)]
    fn prefetch(&self, offset: u32) {
        prefetch(self.codes, offset as usize * self.dimension);
    }

    /// Never inlined, as that of full rows.
    #[inline(never)]
    fn score_offsets<S: Simd>(&self, simd: S, probe: CodeProbe<'_>, offsets: &[u32], keys: &mut [f32]) {
        simd.vectorize(
            #[inline(always)]
            || self.gather_keys(simd, probe, offsets, keys),
        );
    }
}

impl CodeSpace<'_> {
    #[inline(always)]
    fn gather_keys<S: Simd>(&self, simd: S, probe: CodeProbe<'_>, offsets: &[u32], keys: &mut [f32]) {
        in_fours(
            offsets,
            keys,
            #[inline(always)]
            |[a, b, c, d]| {
                let rows = [self.row(a), self.row(b), self.row(c), self.row(d)];
                dot_many::<S, 4>(simd, probe.wide, rows).map(|dot| dot as f32)
            },
            #[inline(always)]
            |a| dot_many::<S, 1>(simd, probe.wide, [self.row(a)])[0] as f32,
        );
        let pairs = keys.iter_mut().zip(offsets);
        match self.metric {
            Metric::Cosine | Metric::Dot => pairs.for_each(|(key, &offset)| {
                let [step] = self.factors_at(offset);
                *key *= -probe.step * step;
            }),
            Metric::L2 => pairs.for_each(|(key, &offset)| {
                let [step, norm] = self.factors_at(offset);
                *key = probe.norm + norm - 2.0 * probe.step * step * *key;
            }),
            Metric::Poincare => pairs.for_each(|(key, &offset)| {
                let [step, norm, term] = self.factors_at(offset);
                // What rounding makes negative, a term near the rim would make the nearest of all.
                let squared = (probe.norm + norm - 2.0 * probe.step * step * *key).max(0.0);
                *key = squared * (probe.term * term);
            }),
        }
    }
}
