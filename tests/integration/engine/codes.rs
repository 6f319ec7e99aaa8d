//! Collections whose graphs are over codes: through seals, merges, deletes and reopening, and from damaged bytes.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{CollectionConfig, Plan, Scratch, SearchRequest, Snapshot, Urgency, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::quant::{MAX_RADIUS, Quantization};
use hyperspace_core::segment::{Checks, Segment, fuzzing};
use hyperspace_core::types::{PointId, SegmentId};
use std::sync::Arc;

const DIMENSION: usize = 12;
const METRICS: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare];

fn create(metric: Metric) -> Host {
    let config = CollectionConfig::new("coded", DIMENSION, metric).unwrap();
    Host::create(CollectionConfig { quantization: Quantization::ScalarI8, ..config }).unwrap()
}

/// Rows in every direction; as points of the ball, `radius` from the origin.
fn rows(random: &mut Random, count: usize, radius: f64) -> Vec<f64> {
    let mut rows = Vec::new();
    for _ in 0..count {
        let row: Vec<f64> = (0..DIMENSION).map(|_| f64::from(random.normal())).collect();
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        rows.extend(row.iter().map(|x| x / norm * (radius / 2.0).tanh()));
    }
    rows
}

fn search(snapshot: &Snapshot, query: &QueryVector, plan: Plan) -> Vec<(PointId, u64)> {
    let request = SearchRequest::new(query.clone(), 10).unwrap().with_plan(plan);
    let found = snapshot.search(&request, &mut Scratch::default()).unwrap();
    found.hits.into_iter().map(|hit| (hit.id, hit.distance.to_bits())).collect()
}

/// The share of the true ten nearest that graphs find, with the very same distances.
fn recall(snapshot: &Snapshot) -> f64 {
    let (mut right, mut asked) = (0, 0);
    for point in snapshot.points().step_by(11) {
        let query = QueryVector::from_row(snapshot.config().metric, &point.vector, point.term);
        let exact = search(snapshot, &query, Plan::Exact);
        right += search(snapshot, &query, Plan::Graph).iter().filter(|hit| exact.contains(hit)).count();
        asked += exact.len();
    }
    right as f64 / asked as f64
}

#[test]
fn codes_live_through_seals_merges_deletes_and_reopening() {
    for metric in METRICS {
        let seed = 31;
        println!("{metric}, seed {seed}");
        let mut random = Random::new(seed);
        let mut host = create(metric);
        for first in [0, 700, 1_400, 2_100] {
            let rows = rows(&mut random, 700, 5.0);
            host.upsert(&ids(first, 700), Vectors::F64(&rows), &[]).unwrap();
            host.run_job(Urgency::Now).unwrap();
            host.delete(&ids(first + 100, 20)).unwrap();
        }
        host.settle().unwrap();
        host.reopen().unwrap();
        let snapshot = host.collection.snapshot();
        assert_eq!(snapshot.config().quantization, Quantization::ScalarI8);
        assert_eq!((snapshot.len(), snapshot.pending()), (4 * 680, 0));
        for sealed in snapshot.segments() {
            assert!(sealed.segment.codes().is_some());
            assert!(sealed.segment.walked_bytes() <= sealed.segment.len() as usize * (DIMENSION + 16));
            assert_eq!(sealed.segment.graph().unreachable(), Vec::<u32>::new());
        }
        let recall = recall(&snapshot);
        assert!(recall >= 0.97, "{metric}: recall {recall}");
    }
}

#[test]
fn points_too_far_out_for_codes_keep_full_rows() {
    let mut random = Random::new(5);
    let mut host = create(Metric::Poincare);
    let mut coded = |host: &mut Host, first, radius| {
        host.upsert(&ids(first, 50), Vectors::F64(&rows(&mut random, 50, radius)), &[]).unwrap();
        host.run_job(Urgency::Now).unwrap();
        let snapshot = host.collection.snapshot();
        assert!(recall(&snapshot) >= 0.99);
        snapshot.segments().last().unwrap().segment.codes().is_some()
    };
    assert!(coded(&mut host, 0, MAX_RADIUS - 0.1));
    assert!(!coded(&mut host, 50, MAX_RADIUS + 0.1));
}

#[test]
fn codes_that_are_not_those_of_their_rows_are_noticed() {
    for metric in METRICS {
        let mut host = create(metric);
        host.upsert(&ids(0, 40), Vectors::F64(&rows(&mut Random::new(3), 40, 4.0)), &[]).unwrap();
        host.settle().unwrap();
        let segment = Arc::clone(&host.collection.snapshot().segments()[0].segment);
        let (codes, whole) = (segment.codes().unwrap(), segment.bytes());
        let place = |at: usize| at - whole.as_ptr().addr();
        let (codes, factors) = (place(codes.codes().as_ptr().addr()), place(codes.factors().as_ptr().addr()));
        for (at, is_sound) in [(None, true), (Some(codes + 7), false), (Some(factors + 5), false)] {
            let mut bytes = whole.to_vec();
            at.into_iter().for_each(|at| bytes[at] ^= 1);
            fuzzing::vouch(&mut bytes);
            let id = SegmentId(*blake3::hash(&bytes).as_bytes());
            let opened = Segment::open(id, Arc::new(AlignedBytes::copy_of(&bytes)), Checks::All);
            match opened {
                Ok(opened) => assert!(is_sound && opened.codes() == segment.codes(), "{metric}, {at:?}"),
                Err(error) => {
                    assert_eq!((is_sound, error.kind()), (false, ErrorKind::Corrupted), "{metric}: {error}");
                    assert!(error.message().contains("codes"), "{error}");
                }
            }
        }
    }
}
