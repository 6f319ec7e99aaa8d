//! Metrics: what a vector must satisfy, how rows are ranked, and the distance that callers are told.
//!
//! | metric | distance | ranking key (f32, lower is nearer) | term kept per row |
//! |---|---|---|---|
//! | l2 | \|q-v\| | \|q-v\|² | - |
//! | cosine | 1 - q·v / (\|q\| \|v\|) | -q·v / \|q\| * t(v) | t(v) = 1/\|v\| |
//! | dot | -q·v | -q·v | - |
//! | poincare | 2 asinh √(\|q-v\|² a(q) a(v)) | \|q-v\|² a(q) a(v) | a(v) = 1/(1-\|v\|²) |
//!
//! The poincare form equals arcosh(1 + 2\|q-v\|² / ((1-\|q\|²)(1-\|v\|²))) (Nickel & Kiela, 2017) and keeps its digits
//! for near points. Its term is computed in f64 from the caller's values, before they are rounded, and travels with the
//! row: near the rim it cannot be computed again from the rounded row, whose norm may even be 1.
//!
//! Keys are monotone in the distance for one query, so they may be compared between segments. Distances are computed in
//! f64 from the stored f32 rows and terms.

#![allow(clippy::inline_always, reason = "code below a dispatch is compiled for its instructions only when inlined")]

mod query;
mod score;
mod space;
#[cfg(test)]
mod tests;
mod validate;
mod widen;

pub use query::QueryVector;
pub(crate) use score::{Batch, in_fours};
pub use score::{Probe, ProbeRoom, Rows};
pub use space::VectorSpace;
pub use validate::{MAX_NORM, MIN_COSINE_NORM, validate_f32, validate_f64, validate_stored};
pub use widen::widen;

use alloc::format;
use core::fmt;

use crate::error::{Error, Result, shortened};

/// How the distance of two vectors is measured. Lower is nearer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Euclidean distance.
    L2,
    /// One minus the cosine of the angle. Zero vectors are refused.
    Cosine,
    /// Minus the inner product. Not a metric: a longer vector may be nearer to x than x itself.
    Dot,
    /// Hyperbolic distance in the Poincaré ball of curvature -1.
    Poincare,
}

impl Metric {
    /// The name in configurations, manifests and APIs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Poincare => "poincare",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none of `l2`, `cosine`, `dot`, `poincare`.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "l2" => Ok(Self::L2),
            "cosine" => Ok(Self::Cosine),
            "dot" => Ok(Self::Dot),
            "poincare" => Ok(Self::Poincare),
            _ => Err(Error::invalid_argument(format!(
                "metric `{}` is none of `l2`, `cosine`, `dot`, `poincare`",
                shortened(name)
            ))),
        }
    }

    /// The number in segments and manifests; never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::L2 => 0,
            Self::Cosine => 1,
            Self::Dot => 2,
            Self::Poincare => 3,
        }
    }

    /// The metric of a stored number.
    ///
    /// # Errors
    /// `Unsupported` for a number of a later version.
    pub fn from_code(code: u8) -> Result<Self> {
        let all = [Self::L2, Self::Cosine, Self::Dot, Self::Poincare];
        all.get(usize::from(code))
            .copied()
            .ok_or_else(|| Error::unsupported(format!("metric {code} is of a later version")))
    }

    /// Whether every stored row carries a term besides its components.
    pub const fn has_terms(self) -> bool {
        matches!(self, Self::Cosine | Self::Poincare)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
