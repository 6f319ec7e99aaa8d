//! The checks at the edge: what passes here never fails later.

use alloc::format;
use alloc::vec::Vec;

use super::Metric;
use crate::error::{Error, Result, Shown};

/// The longest vector of `l2`, `cosine` and `dot`: squares of f32 sums stay finite.
pub const MAX_NORM: f64 = 1e18;
/// The shortest vector that has a direction.
pub const MIN_COSINE_NORM: f64 = 1e-30;

/// Checks a vector of f32 components and returns the term to store with it (1 for metrics without terms).
///
/// # Errors
/// `InvalidArgument` when the dimension differs, a component is not finite, the vector has no direction (`cosine`) or is
/// not inside the ball (`poincare`); `LimitExceeded` when it is longer than [`MAX_NORM`].
pub fn validate_f32(metric: Metric, dimension: usize, vector: &[f32]) -> Result<f32> {
    check_dimension(dimension, vector.len())?;
    if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
        return Err(not_finite(at, f64::from(vector[at])));
    }
    term(metric, squared_norm(vector.iter().map(|&x| f64::from(x))))
}

/// Checks a vector of f64 components, appends it rounded to f32 to `out` and returns the term to store with it.
///
/// The term of `poincare` is computed from the values as given; the rounded row may lie on the rim.
///
/// # Errors
/// As [`validate_f32`]; also `InvalidArgument` when a component is too large for f32. `out` is then unchanged.
pub fn validate_f64(metric: Metric, dimension: usize, vector: &[f64], out: &mut Vec<f32>) -> Result<f32> {
    check_dimension(dimension, vector.len())?;
    if let Some(at) = vector.iter().position(|&x| !(x as f32).is_finite()) {
        return Err(not_finite(at, vector[at]));
    }
    // Only poincare depends on the values before rounding; elsewhere the stored row is what counts.
    let squared = match metric {
        Metric::Poincare => squared_norm(vector.iter().copied()),
        _ => squared_norm(vector.iter().map(|&x| f64::from(x as f32))),
    };
    let term = term(metric, squared)?;
    out.extend(vector.iter().map(|&x| x as f32));
    Ok(term)
}

/// Checks a row with the term that stands beside it in another database; returns the term to store with it.
///
/// Only the term of `poincare` is taken over, when it can be that of values which were rounded to this row: the row, near
/// the rim, cannot tell it, and may even have norm 1. The others are computed.
///
/// # Errors
/// As [`validate_f32`]; `InvalidArgument` for a term of `poincare` that is of another row.
pub fn validate_stored(metric: Metric, dimension: usize, row: &[f32], term: f32) -> Result<f32> {
    /// Rounding to f32 changes a squared norm of at most 1 by at most 2^-23, and 1/term by half of that.
    const MOST_ROUNDED: f64 = 1.0 / (1 << 22) as f64;
    if metric != Metric::Poincare {
        return validate_f32(metric, dimension, row);
    }
    // Everything but where the rim is.
    validate_f32(Metric::L2, dimension, row)?;
    let squared = squared_norm(row.iter().map(|&x| f64::from(x)));
    let told = 1.0 - 1.0 / f64::from(term);
    if term >= 1.0 && term.is_finite() && (squared - told).abs() <= MOST_ROUNDED {
        return Ok(term);
    }
    Err(Error::invalid_argument(format!(
        "vector has squared norm {}, its term {} says {}",
        Shown(squared),
        Shown(f64::from(term)),
        Shown(told)
    )))
}

fn check_dimension(expected: usize, found: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("vector has {found} dimensions, expected {expected}")))
}

fn not_finite(at: usize, value: f64) -> Error {
    let why = if value.is_finite() { "too large for a 32-bit float" } else { "not a finite number" };
    Error::invalid_argument(format!("component {at} of the vector is {}, {why}", Shown(value)))
}

pub(super) fn squared_norm(components: impl Iterator<Item = f64>) -> f64 {
    components.map(|x| x * x).sum()
}

pub(super) fn term(metric: Metric, squared: f64) -> Result<f32> {
    if metric == Metric::Poincare {
        return match 1.0 - squared {
            rest if rest > 0.0 => Ok((1.0 / rest) as f32),
            _ => Err(Error::invalid_argument(format!(
                "vector has norm {}, metric `poincare` needs less than 1",
                Shown(libm::sqrt(squared))
            ))),
        };
    }
    let norm = libm::sqrt(squared);
    if norm > MAX_NORM {
        return Err(Error::limit_exceeded(format!(
            "vector has norm {}, metric `{metric}` allows at most {}",
            Shown(norm),
            Shown(MAX_NORM)
        )));
    }
    if metric != Metric::Cosine {
        return Ok(1.0);
    }
    if norm < MIN_COSINE_NORM {
        return Err(Error::invalid_argument(format!(
            "vector has norm {}, metric `cosine` needs at least {}: it has no direction",
            Shown(norm),
            Shown(MIN_COSINE_NORM)
        )));
    }
    Ok((1.0 / norm) as f32)
}
