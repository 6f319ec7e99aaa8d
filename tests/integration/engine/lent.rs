//! Jobs that are built somewhere else: what comes back is what would have been built here, whatever happened meanwhile.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{CollectionConfig, Job, Urgency, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::{PointId, SegmentId};
use std::sync::Arc;

const METRICS: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare];

fn create(metric: Metric, dimension: usize, quantization: Quantization) -> Host {
    let config = CollectionConfig::new("lent", dimension, metric).unwrap();
    Host::create(CollectionConfig { quantization, ..config }).unwrap()
}

/// Puts points of small norm, which every metric takes.
fn put(host: &mut Host, random: &mut Random, first: u64, count: usize) {
    let dimension = host.collection.config().dimension;
    let rows: Vec<f64> = (0..count * dimension).map(|_| f64::from(random.normal()) / 20.0).collect();
    host.upsert(&ids(first, count), Vectors::F64(&rows), &[]).unwrap();
}

/// A seal that has taken its first step, as whoever lends it has it.
fn begun(host: &mut Host) -> Job {
    let mut job = host.collection.next_job(Urgency::Now).expect("there is something to seal");
    assert!(job.step(1).unwrap().remaining > 0);
    job
}

/// What a builder does.
fn built(rows: AlignedBytes) -> (SegmentId, Vec<u8>) {
    // As a builder has them: with a name that says nothing.
    let rows = Segment::open(SegmentId([0; 32]), Arc::new(rows), Checks::Structure).unwrap();
    let sealed = Job::borrowed(Arc::new(rows)).finish().unwrap();
    let segment = sealed.segment().unwrap();
    (segment.id(), segment.bytes().to_vec())
}

fn opened((id, bytes): &(SegmentId, Vec<u8>)) -> Arc<Segment> {
    Arc::new(Segment::open(*id, Arc::new(AlignedBytes::copy_of(bytes)), Checks::All).unwrap())
}

#[test]
fn what_a_builder_makes_is_byte_for_byte_what_is_made_at_home() {
    for metric in METRICS {
        for (dimension, quantization) in
            [(3, Quantization::None), (8, Quantization::ScalarI8), (40, Quantization::ScalarI8)]
        {
            println!("{metric}, {dimension} dimensions, {quantization:?}, seed 5");
            let (mut random, mut host) = (Random::new(5), create(metric, dimension, quantization));
            put(&mut host, &mut random, 0, 1_200);
            // Tombstones travel too.
            host.delete(&ids(100, 50)).unwrap();
            let mut job = begun(&mut host);
            let rows = job.lend().unwrap().expect("nothing was inserted yet");
            let elsewhere = built(rows);
            // Stepped again, the job begins anew by itself.
            while job.step(100).unwrap().remaining > 0 {}
            let here = job.finish().unwrap();
            let here = here.segment().unwrap();
            assert_eq!((here.id(), here.bytes()), (elsewhere.0, &*elsewhere.1));
            assert_eq!(here.codes().is_some(), quantization == Quantization::ScalarI8);
        }
    }
}

#[test]
fn points_that_change_while_their_job_is_away_are_what_they_became() {
    for metric in METRICS {
        let (mut random, mut host) = (Random::new(8), create(metric, 6, Quantization::None));
        put(&mut host, &mut random, 0, 1_500);
        let mut job = begun(&mut host);
        let rows = job.lend().unwrap().unwrap();
        assert!(host.collection.next_seal(Urgency::Now).is_none(), "there is one seal at a time, wherever it is");
        host.delete(&ids(0, 100)).unwrap();
        put(&mut host, &mut random, 200, 100);
        put(&mut host, &mut random, 2_000, 100);
        let kept: Vec<(PointId, Vec<f32>)> =
            host.collection.snapshot().points().map(|point| (point.id, point.vector)).collect();
        let digest = host.collection.digest();
        let sealed = job.take(opened(&built(rows))).unwrap();
        assert_eq!(sealed.insertions(), 1_500);
        host.install(sealed).unwrap();
        let snapshot = host.collection.snapshot();
        assert_eq!((snapshot.len(), snapshot.indexed(), snapshot.pending()), (1_500, 1_300, 200), "{metric}");
        assert_eq!(host.collection.digest(), digest);
        for (id, vector) in kept {
            assert_eq!(snapshot.get(&id).expect("a live point").vector, vector, "{metric}: {id}");
        }
    }
}

#[test]
fn a_job_is_lent_before_anything_is_inserted_and_not_when_it_extends_a_graph() {
    let (mut random, mut host) = (Random::new(2), create(Metric::L2, 4, Quantization::None));
    put(&mut host, &mut random, 0, 300);
    let mut job = host.collection.next_job(Urgency::Now).unwrap();
    assert!(job.lend().unwrap().is_none(), "its rows are not gathered yet");
    job.step(1).unwrap();
    job.step(1).unwrap();
    assert!(job.lend().unwrap().is_none(), "a part of the graph is there");
    host.install(job.finish().unwrap()).unwrap();
    for first in [300, 600, 900] {
        put(&mut host, &mut random, first, 300);
        let job = host.collection.next_seal(Urgency::Now).unwrap();
        host.install(job.finish().unwrap()).unwrap();
    }
    let mut merge = host.collection.next_merge(Urgency::WhenFull).expect("four of a class");
    merge.step(1).unwrap();
    assert!(merge.lend().unwrap().is_none(), "it extends the graph of one of them");
}

#[test]
fn a_segment_of_other_rows_is_refused() {
    let (mut random, mut host) = (Random::new(3), create(Metric::L2, 4, Quantization::None));
    put(&mut host, &mut random, 0, 200);
    let mut first = begun(&mut host);
    let of_first = built(first.lend().unwrap().unwrap());
    host.collection.abandon_job(first.id());
    // As many rows, one of them newer.
    put(&mut host, &mut random, 7, 1);
    let mut second = begun(&mut host);
    second.lend().unwrap().unwrap();
    let error = second.take(opened(&of_first)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}
