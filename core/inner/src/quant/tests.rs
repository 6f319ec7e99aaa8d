use std::vec::Vec;

use super::{CodeSpace, Codes, MAX_RADIUS, Quantization, factors};
use crate::kernel;
use crate::metric::{Metric, ProbeRoom, QueryVector, Rows, VectorSpace, validate_f64};

const METRICS: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare];

/// A generator of numbers in -1..1 (xorshift).
fn numbers(seed: u32) -> impl FnMut() -> f64 {
    let mut x = seed.wrapping_mul(0x9E37_79B9) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        f64::from(x) / 2_147_483_648.0 - 1.0
    }
}

/// Rows with their terms; those of `poincare` at most 6 from the origin.
fn rows(metric: Metric, dimension: usize, count: usize, seed: u32) -> (Vec<f32>, Vec<f32>) {
    let mut number = numbers(seed);
    let (mut rows, mut terms) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut row: Vec<f64> = (0..dimension).map(|_| number()).collect();
        if metric == Metric::Poincare {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            let radius = 3.0 + 3.0 * number();
            row.iter_mut().for_each(|x| *x *= (radius / 2.0).tanh() / norm);
        }
        terms.push(validate_f64(metric, dimension, &row, &mut rows).unwrap());
    }
    if !metric.has_terms() {
        terms.clear();
    }
    (rows, terms)
}

/// What row `offset` decodes to; of `cosine`, at norm 1.
fn decoded(codes: &CodeSpace<'_>, offset: usize) -> Vec<f64> {
    let step = f64::from(codes.factors[offset * factors(codes.metric)]);
    codes.codes[offset * codes.dimension..][..codes.dimension].iter().map(|&c| f64::from(c) * step).collect()
}

fn scores(codes: &CodeSpace<'_>, probe: super::score::CodeProbe<'_>) -> Vec<f32> {
    let offsets: Vec<u32> = (0..codes.count() as u32).collect();
    let mut keys = alloc::vec![f32::NAN; offsets.len()];
    fearless_simd::dispatch!(kernel::level(), simd => codes.score_offsets(simd, probe, &offsets, &mut keys));
    keys
}

#[test]
fn every_component_is_decoded_to_within_half_a_step_of_its_row() {
    for metric in METRICS {
        for dimension in [1, 2, 3, 8, 17, 50, 384] {
            let (rows, terms) = rows(metric, dimension, 50, 1 + dimension as u32);
            let space = VectorSpace { metric, dimension, rows: &rows, terms: &terms };
            let codes = Codes::of(&space).unwrap();
            let codes = codes.space();
            assert_eq!(codes.count(), 50);
            assert!(codes.byte_len() <= 50 * (dimension + 16), "{metric}: {} bytes", codes.byte_len());
            for offset in 0..50 {
                let scale = if metric == Metric::Cosine { f64::from(space.term(offset)) } else { 1.0 };
                let row = space.row(offset);
                let step = row.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
                for (x, y) in row.iter().zip(decoded(&codes, offset as usize)) {
                    let error = (f64::from(*x) * scale - y).abs();
                    assert!(error <= f64::from(step) * scale * (0.5 + 1e-4), "{metric}: {x} decodes to {y}");
                }
            }
        }
    }
}

/// The key that the metric gives two decoded rows, in f64.
fn key(metric: Metric, a: &[f64], b: &[f64], terms: f64) -> f64 {
    let pairs = || a.iter().zip(b);
    match metric {
        Metric::L2 => pairs().map(|(a, b)| (a - b).powi(2)).sum(),
        Metric::Cosine | Metric::Dot => -pairs().map(|(a, b)| a * b).sum::<f64>(),
        Metric::Poincare => pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>() * terms,
    }
}

#[test]
fn keys_between_coded_rows_are_those_of_the_decoded_rows() {
    for metric in METRICS {
        for dimension in [1, 7, 8, 9, 16, 31, 50, 96, 130, 384, 1000] {
            let (rows, terms) = rows(metric, dimension, 23, dimension as u32);
            let space = VectorSpace { metric, dimension, rows: &rows, terms: &terms };
            let codes = Codes::of(&space).unwrap();
            let codes = codes.space();
            for own in 0..23 {
                let mut room = ProbeRoom::default();
                let keys = scores(&codes, codes.stored(own, &mut room));
                for (other, found) in keys.iter().enumerate() {
                    let (a, b) = (decoded(&codes, own as usize), decoded(&codes, other));
                    let both = f64::from(space.term(own)) * f64::from(space.term(other as u32));
                    let scale = if metric == Metric::Poincare { both } else { 1.0 };
                    let bound = 1e-5 * scale * (1.0 + dimension as f64);
                    let expected = key(metric, &a, &b, both);
                    assert!((f64::from(*found) - expected).abs() <= bound, "{metric} {dimension}: {found}, {expected}");
                }
            }
        }
    }
}

#[test]
fn a_query_loses_a_thirtieth_of_what_a_row_loses() {
    for metric in METRICS {
        let dimension = 60;
        let (rows, terms) = rows(metric, dimension, 40, 5);
        let space = VectorSpace { metric, dimension, rows: &rows, terms: &terms };
        let codes = Codes::of(&space).unwrap();
        let codes = codes.space();
        let query = QueryVector::from_row(metric, space.row(0), space.term(0));
        let mut room = ProbeRoom::default();
        let keys = scores(&codes, codes.query(&query, &mut room));
        let unit = if metric == Metric::Cosine { f64::from(space.term(0)) } else { 1.0 };
        let row: Vec<f64> = space.row(0).iter().map(|&x| f64::from(x) * unit).collect();
        let longest = row.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        for (other, found) in keys.iter().enumerate() {
            let both = f64::from(space.term(0)) * f64::from(space.term(other as u32));
            let other = decoded(&codes, other);
            // Half a step of 1/4095 in each component, times what the other side has there.
            let moved: f64 = other.iter().zip(&row).map(|(x, q)| x.abs() + q.abs()).sum();
            let scale = if metric == Metric::Poincare { both } else { 1.0 };
            let bound = longest / 4095.0 * moved * scale * 1.01;
            let expected = key(metric, &row, &other, both);
            assert!((f64::from(*found) - expected).abs() <= bound, "{metric}: {found}, {expected} within {bound}");
        }
    }
}

#[test]
fn extreme_rows_have_finite_keys() {
    for (metric, vectors) in [
        (Metric::L2, [[0.0, 0.0], [1e-45, 0.0], [9e17, -9e17 / 3.0]]),
        (Metric::Dot, [[0.0, 0.0], [1e-45, 0.0], [9e17, -9e17 / 3.0]]),
        (Metric::Cosine, [[9e17, 1e17], [1e-30, 1e-31], [-1e-30, 0.0]]),
        (Metric::Poincare, [[0.0, 0.0], [0.9999, 0.0], [-0.9999, 0.0]]),
    ] {
        let (mut rows, mut terms) = (Vec::new(), Vec::new());
        for vector in &vectors {
            terms.push(validate_f64(metric, 2, vector, &mut rows).unwrap());
        }
        let space = VectorSpace { metric, dimension: 2, rows: &rows, terms: &terms };
        let codes = Codes::of(&space).unwrap();
        let codes = codes.space();
        for (vector, offset) in vectors.iter().zip(0..) {
            let query = QueryVector::from_f64(metric, 2, vector).unwrap();
            let (mut one, mut other) = (ProbeRoom::default(), ProbeRoom::default());
            for probe in [codes.query(&query, &mut one), codes.stored(offset, &mut other)] {
                let keys = scores(&codes, probe);
                assert!(keys.iter().all(|key| key.is_finite()), "{metric} {vector:?}: {keys:?}");
            }
        }
    }
}

#[test]
fn rows_that_codes_cannot_carry_have_none() {
    let at = |radius: f64| (radius / 2.0).tanh();
    for (radius, carried) in [(MAX_RADIUS - 0.001, true), (MAX_RADIUS + 0.001, false)] {
        let (mut rows, mut terms) = (Vec::new(), Vec::new());
        for x in [0.1, at(radius)] {
            terms.push(validate_f64(Metric::Poincare, 2, &[x, 0.0], &mut rows).unwrap());
        }
        let space = VectorSpace { metric: Metric::Poincare, dimension: 2, rows: &rows, terms: &terms };
        assert_eq!(Codes::of(&space).is_some(), carried, "{radius}");
    }
}

#[test]
fn quantizations_are_named_and_numbered() {
    for quantization in [Quantization::None, Quantization::ScalarI8] {
        assert_eq!(Quantization::parse(quantization.as_str()), Ok(quantization));
        assert_eq!(Quantization::from_code(quantization.code()), Ok(quantization));
    }
    assert!(Quantization::parse("i4").is_err() && Quantization::from_code(2).is_err());
}
