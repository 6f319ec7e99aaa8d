//! Searches and writes go on whatever the indexer does.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::collection::{CollectionConfig, Plan, Scratch, SearchRequest, Urgency, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};

#[test]
fn with_the_indexer_parked_a_thousand_searches_and_upserts_still_finish() {
    let mut random = Random::new(5);
    let mut host = Host::create(CollectionConfig::new("parked", 8, Metric::L2).unwrap()).unwrap();
    let mut row = || (0..8).map(|_| random.normal()).collect::<Vec<f32>>();
    let rows: Vec<f32> = (0..3_000).flat_map(|_| row()).collect();
    host.upsert(&ids(0, 3_000), Vectors::F32(&rows), &[]).unwrap();
    let mut parked = host.collection.next_job(Urgency::Now).unwrap();
    assert!(parked.step(100).unwrap().remaining > 0, "the job stands in the middle of its work");
    let mut scratch = Scratch::default();
    for i in 0..1_000_u64 {
        let vector = row();
        host.upsert(&ids(3_000 + i, 1), Vectors::F32(&vector), &[]).unwrap();
        let request = SearchRequest::new(QueryVector::from_f32(Metric::L2, 8, &vector).unwrap(), 1).unwrap();
        let hits = host.collection.snapshot().search(&request, &mut scratch).unwrap().hits;
        assert_eq!(
            (&hits[0].id, hits[0].distance),
            (&ids(3_000 + i, 1)[0], 0.0),
            "an acknowledged point is found at once"
        );
    }
    assert!(host.collection.next_job(Urgency::Now).is_none(), "one job is out at a time");
    assert_eq!(host.collection.graph_insertions(), 0, "nothing was indexed on the way");
    host.install(parked.finish().unwrap()).unwrap();
    assert_eq!((host.collection.snapshot().indexed(), host.collection.snapshot().pending()), (3_000, 1_000));
}

#[test]
fn rows_decide_when_embeddings_are_sealed_and_bytes_when_wider_ones_are() {
    let rows_at_seal = |dimension: usize| {
        let mut host = Host::create(CollectionConfig::new("wide", dimension, Metric::L2).unwrap()).unwrap();
        let text = Value::Map([("text".to_owned(), Value::Str("x".repeat(200)))].into());
        let metadata = vec![Metadata::from_value(&text).unwrap(); 10];
        let rows = vec![0.5; 10 * dimension];
        for batch in (0..).step_by(10) {
            host.upsert(&ids(batch, 10), Vectors::F32(&rows), &metadata).unwrap();
            if host.collection.seal_is_due(Urgency::WhenFull) {
                return host.collection.unsealed_rows();
            }
        }
        unreachable!("a memtable is full at some time")
    };
    assert_eq!(rows_at_seal(8), 2_000);
    assert_eq!(rows_at_seal(384), 2_000);
    assert!((600..700).contains(&rows_at_seal(1_536)), "4 MiB of rows of 6 KiB and a bit");
}

#[test]
fn opening_inserts_nothing_into_graphs() {
    let mut random = Random::new(6);
    let mut host = Host::create(CollectionConfig::new("stored", 8, Metric::Cosine).unwrap()).unwrap();
    let rows: Vec<f32> = (0..8 * 2_500).map(|_| random.normal()).collect();
    host.upsert(&ids(0, 2_500), Vectors::F32(&rows), &[]).unwrap();
    host.settle().unwrap();
    assert_eq!(host.collection.graph_insertions(), 2_500);
    host.reopen().unwrap();
    assert_eq!(host.collection.graph_insertions(), 0);
    assert_eq!(host.collection.snapshot().indexed(), 2_500);
}

#[test]
fn the_same_points_and_seed_seal_to_the_same_bytes_however_the_job_is_sliced() {
    let seal = |budget: u32| {
        let mut random = Random::new(7);
        let mut host = Host::create(CollectionConfig::new("same", 6, Metric::Poincare).unwrap()).unwrap();
        let rows: Vec<f64> = (0..6 * 1_500).map(|_| f64::from(random.normal()).tanh() * 0.4).collect();
        host.upsert(&ids(0, 1_500), Vectors::F64(&rows), &[]).unwrap();
        let mut job = host.collection.next_job(Urgency::Now).unwrap();
        while job.step(budget).unwrap().remaining > 0 {}
        job.finish().unwrap().segment().unwrap().id()
    };
    assert_eq!(seal(1), seal(u32::MAX));
}

#[test]
fn bad_input_is_refused_by_name_and_changes_nothing() {
    let mut host = Host::create(CollectionConfig::new("strict", 2, Metric::Poincare).unwrap()).unwrap();
    host.upsert(&ids(0, 1), Vectors::F32(&[0.1, 0.2]), &[]).unwrap();
    for (rows, word) in [
        (&[0.1][..], "components"),
        (&[0.1, 0.2, 0.3], "components"),
        (&[f64::NAN, 0.0], "finite"),
        (&[f64::INFINITY, 0.0], "finite"),
        (&[0.8, 0.6], "norm"),
        (&[3.0, 0.0], "norm"),
    ] {
        let error = host.upsert(&ids(1, 1), Vectors::F64(rows), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(word), "{error}");
    }
    let snapshot = host.collection.snapshot();
    assert_eq!(snapshot.len(), 1);
    assert_eq!(QueryVector::from_f32(Metric::Poincare, 2, &[1.0, 0.0]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let query = QueryVector::from_f32(Metric::Poincare, 2, &[0.5, 0.0]).unwrap();
    for (k, kind) in
        [(0, ErrorKind::InvalidArgument), (1_001, ErrorKind::LimitExceeded), (usize::MAX, ErrorKind::LimitExceeded)]
    {
        assert_eq!(SearchRequest::new(query.clone(), k).unwrap_err().kind(), kind);
    }
    let request = SearchRequest::new(query.clone(), 1_000).unwrap();
    assert!(request.clone().with_ef(5_000).is_err() && request.clone().with_ef(0).is_err());
    let hits = snapshot.search(&request.with_plan(Plan::Exact), &mut Scratch::default()).unwrap().hits;
    assert_eq!(hits.len(), 1, "a k above the number of points returns them all");
    let flat = QueryVector::from_f32(Metric::L2, 2, &[0.5, 0.0]).unwrap();
    let request = SearchRequest::new(flat, 1).unwrap();
    assert_eq!(snapshot.search(&request, &mut Scratch::default()).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
