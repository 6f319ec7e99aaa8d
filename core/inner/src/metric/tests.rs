use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::error::ErrorKind;

const ALL: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare];

fn kind(metric: Metric, vector: &[f64]) -> Option<ErrorKind> {
    validate_f64(metric, vector.len(), vector, &mut Vec::new()).err().map(|error| error.kind())
}

/// Vectors in the ball, some close to its rim, from a fixed recipe.
fn points(n: usize, dimension: usize) -> Vec<Vec<f64>> {
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    (0..n)
        .map(|i| {
            let mut v: Vec<f64> = (0..dimension)
                .map(|_| {
                    x ^= x << 13;
                    x ^= x >> 7;
                    x ^= x << 17;
                    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
                })
                .collect();
            let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let radius = if i % 3 == 0 { 1.0 - 1e-7 * (i + 1) as f64 } else { 0.9 * (i + 1) as f64 / n as f64 };
            for x in &mut v {
                *x *= radius / norm;
            }
            v
        })
        .collect()
}

/// The distances as textbooks write them, of the rows as they are stored but with the terms of the values as given.
fn textbook(metric: Metric, a: &[f64], b: &[f64]) -> f64 {
    let round = |v: &[f64]| v.iter().map(|&x| f64::from(x as f32)).collect::<Vec<_>>();
    let (ra, rb) = (round(a), round(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let squared: f64 = ra.iter().zip(&rb).map(|(x, y)| (x - y).powi(2)).sum();
    match metric {
        Metric::L2 => squared.sqrt(),
        Metric::Cosine => 1.0 - dot(&ra, &rb) / (dot(&ra, &ra) * dot(&rb, &rb)).sqrt(),
        Metric::Dot => -dot(&ra, &rb),
        Metric::Poincare => (1.0 + 2.0 * squared / ((1.0 - dot(a, a)) * (1.0 - dot(b, b)))).acosh(),
    }
}

#[test]
fn names_are_parsed_back() {
    assert!(ALL.iter().all(|metric| Metric::parse(metric.as_str()) == Ok(*metric)));
    assert_eq!(Metric::parse("L2").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn vectors_that_break_a_rule_are_refused_and_leave_no_trace() {
    for metric in ALL {
        let mut out = vec![7.0];
        let error = validate_f64(metric, 3, &[0.1, 0.2], &mut out).unwrap_err();
        assert_eq!(error.message(), "vector has 2 dimensions, expected 3");
        assert_eq!(out, [7.0]);
        for bad in [f64::NAN, f64::INFINITY, -f64::INFINITY, 1e39] {
            assert_eq!(kind(metric, &[0.1, bad]), Some(ErrorKind::InvalidArgument), "{metric} {bad}");
        }
        assert!(validate_f32(metric, 2, &[0.1, f32::NAN]).is_err());
        assert_eq!(kind(metric, &[0.1, 0.2]), None);
    }
}

#[test]
fn norms_are_limited_where_squares_would_overflow_or_directions_vanish() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        assert_eq!(kind(metric, &[9e17, 9e17]), Some(ErrorKind::LimitExceeded));
        assert_eq!(kind(metric, &[9e17, 0.0]), None);
    }
    assert_eq!(kind(Metric::L2, &[0.0, 0.0]), None);
    assert_eq!(kind(Metric::Cosine, &[0.0, 0.0]), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(Metric::Cosine, &[1e-31, 0.0]), Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(Metric::Cosine, &[1e-29, 0.0]), None);
}

#[test]
fn the_ball_is_judged_by_the_values_before_rounding() {
    let inside = 1.0 - 1e-12;
    let mut row = Vec::new();
    let term = validate_f64(Metric::Poincare, 1, &[inside], &mut row).unwrap();
    assert_eq!(row[0].to_bits(), 1.0_f32.to_bits(), "the row lies on the rim, its term does not");
    assert!((f64::from(term) * (1.0 - inside * inside) - 1.0).abs() < 1e-6);
    assert!(validate_f32(Metric::Poincare, 1, &row).unwrap_err().message().contains("norm 1,"));
    assert_eq!(kind(Metric::Poincare, &[0.8, 0.6]), Some(ErrorKind::InvalidArgument));
}

#[test]
fn distances_equal_the_textbook_forms() {
    for metric in ALL {
        let points = points(60, 7);
        for (a, b) in points.iter().flat_map(|a| points.iter().map(move |b| (a, b))) {
            let query = QueryVector::from_f64(metric, 7, a).unwrap();
            let mut row = Vec::new();
            let term = validate_f64(metric, 7, b, &mut row).unwrap();
            let (got, expected) = (query.distance(&row, term), textbook(metric, a, b));
            // arcosh near 1 loses half its digits: the textbook form itself is off by 1e-8 there.
            assert!((got - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{metric}: {got} against {expected}");
        }
    }
}

#[test]
fn keys_order_rows_as_distances_do() {
    for metric in ALL {
        let points = points(200, 10);
        let (mut rows, mut terms) = (Vec::new(), Vec::new());
        for point in &points {
            terms.push(validate_f64(metric, 10, point, &mut rows).unwrap());
        }
        terms.truncate(if metric.has_terms() { terms.len() } else { 0 });
        let space = VectorSpace { metric, dimension: 10, rows: &rows, terms: &terms };
        let query = QueryVector::from_f64(metric, 10, &points[77]).unwrap();
        let mut keys = vec![0.0; 200];
        query.score_range(&space, 0, &mut keys);
        let mut order: Vec<u32> = (0..200).collect();
        order.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]));
        let distances: Vec<f64> = order.iter().map(|&at| query.distance_at(&space, at)).collect();
        let tolerance = 1e-5 * distances.iter().fold(1.0_f64, |most, d| most.max(d.abs()));
        assert!(distances.windows(2).all(|pair| pair[0] <= pair[1] + tolerance), "{metric}");

        let picked = [5, 77, 199, 0, 13, 42, 6];
        let mut gathered = [0.0; 7];
        query.score_offsets(&space, &picked, &mut gathered);
        assert!(picked.iter().zip(gathered).all(|(&at, key)| key.to_bits() == keys[at as usize].to_bits()), "{metric}");
        let mut part = [0.0; 9];
        query.score_range(&space, 11, &mut part);
        assert!(part.iter().zip(&keys[11..]).all(|(a, b)| a.to_bits() == b.to_bits()), "{metric}");
    }
}

#[test]
fn a_stored_row_is_nearest_to_itself_at_distance_zero() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Poincare] {
        for point in points(50, 9) {
            let mut row = Vec::new();
            let term = validate_f64(metric, 9, &point, &mut row).unwrap();
            for query in [QueryVector::from_f64(metric, 9, &point).unwrap(), QueryVector::from_row(metric, &row, term)]
            {
                assert!(query.distance(&row, term) <= 1e-15, "{metric}");
            }
        }
    }
}

#[test]
fn cosine_keys_survive_the_longest_and_the_shortest_vectors() {
    let mut rows = Vec::new();
    let mut terms = Vec::new();
    for vector in [[9e17, 1e17], [1e-30, 1e-31], [-1e-30, 0.0]] {
        terms.push(validate_f64(Metric::Cosine, 2, &vector, &mut rows).unwrap());
    }
    let space = VectorSpace { metric: Metric::Cosine, dimension: 2, rows: &rows, terms: &terms };
    for offset in 0..2 {
        let mut unit = Vec::new();
        let mut keys = [0.0; 3];
        let probe = Probe::stored(&space, offset, &mut unit);
        fearless_simd::dispatch!(crate::kernel::level(), simd => probe.score_offsets(simd, &space, &[0, 1, 2], &mut keys));
        assert!(
            (keys[0] + 1.0).abs() < 1e-3 && (keys[1] + 1.0).abs() < 1e-3 && (keys[2] - 0.99).abs() < 0.02,
            "{keys:?}"
        );
    }
}

#[test]
fn a_stored_row_is_taken_over_with_its_own_term_and_refused_with_another() {
    for given in points(300, 5) {
        let mut row = Vec::new();
        let term = validate_f64(Metric::Poincare, 5, &given, &mut row).unwrap();
        assert_eq!(validate_stored(Metric::Poincare, 5, &row, term), Ok(term));
        let squared: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        for other in [f32::NAN, f32::INFINITY, -term, 0.0, 0.5] {
            assert!(validate_stored(Metric::Poincare, 5, &row, other).is_err(), "{other} beside {row:?}");
        }
        // Where the term makes a difference that rounding does not explain.
        if squared < 0.99 {
            assert!(validate_stored(Metric::Poincare, 5, &row, term * 1.01).is_err(), "{term} beside {row:?}");
        }
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
            assert_eq!(validate_stored(metric, 5, &row, 77.0), validate_f32(metric, 5, &row), "computed, not believed");
        }
    }
    assert!(validate_stored(Metric::Poincare, 2, &[0.6, f32::NAN], 1.0).is_err());
    assert!(validate_stored(Metric::Poincare, 3, &[0.0, 0.0], 1.0).is_err());
}
