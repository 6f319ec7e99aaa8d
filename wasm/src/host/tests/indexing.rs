//! Background work: it never stands in the way, and what it writes is in proportion.

use hyperspace_core::quant::Quantization;

use super::*;
use crate::kv::{Fault, Store};

#[test]
fn searches_and_writes_go_on_while_indexing_is_held_back() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    database.pause_indexing(true);
    for id in 0..1_000 {
        run(upsert(&database, &collection, &[(id, 0)], Durability::Relaxed)).unwrap();
        assert!(!run(database.work(5.0)).unwrap());
        assert_eq!(nearest(&collection, &vector_of(id, 0)), Some(PointId::Int(id)));
    }
    let wanted = collection.request_seal();
    assert!(!run(database.work(5.0)).unwrap() && collection.sealed_through() < wanted);
    database.pause_indexing(false);
    work_off(&database).unwrap();
    assert!(collection.sealed_through() >= wanted);
    assert_eq!((collection.snapshot().indexed(), collection.snapshot().pending()), (1_000, 0));
}

#[test]
fn searches_and_writes_go_on_in_the_middle_of_a_job() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..6_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    assert!(run(database.work(0.0)).unwrap(), "the first slice leaves work");
    database.pause_indexing(true);
    run(upsert(&database, &collection, &[(1, 1), (7_000, 0)], Durability::Relaxed)).unwrap();
    assert_eq!(run(delete(&database, &collection, &[2])).unwrap(), 1);
    assert_eq!(nearest(&collection, &vector_of(7_000, 0)), Some(PointId::Int(7_000)));
    database.pause_indexing(false);
    seal(&database, &collection).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 1)));
    assert_eq!(stored(&collection, 2), None);
    assert_eq!(collection.snapshot().len(), 6_000);
}

#[test]
fn a_hundred_points_added_to_many_write_less_than_three_times_their_size() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let config = CollectionConfig::new("wide", 64, Metric::L2).unwrap();
    let collection = run(database.collection_or_create(config)).unwrap();
    let write = |first: u64, count: u64| {
        let ids: Vec<PointId> = (first..first + count).map(PointId::Int).collect();
        let vectors: Vec<f32> = (0..count * 64).map(|i| ((first * 64 + i) as f32).sin()).collect();
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &[] };
        run(database.upsert(&collection, &batch, None, None)).unwrap();
    };
    (0..5).for_each(|batch| write(batch * 1_000, 1_000));
    seal(&database, &collection).unwrap();
    let before = database.counters().bytes_written;
    write(5_000, 100);
    work_off(&database).unwrap();
    let written = database.counters().bytes_written - before;
    assert!(written < 3 * 100 * 64 * 4, "{written} bytes for 100 points of 256");
}

#[test]
fn a_collection_keeps_its_quantization_and_its_codes_through_reopening_and_refuses_another_one() {
    let kv = SimulatedKv::new();
    let coded = CollectionConfig { quantization: Quantization::ScalarI8, ..config() };
    let database = open(&kv).unwrap();
    let collection = run(database.collection_or_create(coded.clone())).unwrap();
    let points: Vec<_> = (0..1_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();

    let database = open(&kv.after_process_death()).unwrap();
    // Who names none gets what is there.
    let collection = run(database.collection_as(config(), None)).unwrap();
    let snapshot = collection.snapshot();
    assert_eq!((snapshot.config().quantization, snapshot.coded()), (Quantization::ScalarI8, 1_500));
    for (id, version) in points.into_iter().step_by(50) {
        assert_eq!(nearest(&collection, &vector_of(id, version)), Some(PointId::Int(id)));
    }
    assert!(run(database.collection_or_create(coded)).is_ok());
    let error = run(database.collection_or_create(config())).err().unwrap();
    assert_eq!(error.kind().code(), "unsupported");
    assert!(error.message().contains("has quantization scalar_i8; rebuilding it with none"), "{error}");
}

#[test]
fn a_job_that_fails_says_so_and_is_done_later() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..3_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    kv.arm(Fault::Quota(0));
    assert_eq!(work_off(&database).unwrap_err().kind().code(), "limit_exceeded");
    assert_eq!((collection.snapshot().indexed(), collection.snapshot().pending()), (0, 3_000));
    work_off(&database).unwrap();
    assert_eq!((collection.snapshot().indexed(), collection.snapshot().pending()), (3_000, 0));
    assert_eq!(kv.rows_in(Store::Wal), 0);
}

#[test]
fn asking_to_seal_what_left_nothing_to_seal_is_answered() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    seal(&database, &collection).unwrap();
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    run(delete(&database, &collection, &[1])).unwrap();
    seal(&database, &collection).unwrap();
    seal(&database, &collection).unwrap();
    assert_eq!(collection.snapshot().len(), 0);
}

#[test]
fn progress_ends_with_everything_indexed() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..4_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    let mut seen = vec![0];
    while run(database.work(0.5)).unwrap() {
        let progress = database.progress().remove(0);
        assert_eq!(progress.indexed + progress.pending, 4_000);
        seen.push(progress.indexed);
    }
    assert!(seen.is_sorted() && seen.contains(&4_000));
    assert!(seen.iter().any(|&indexed| indexed > 0 && indexed < 4_000), "there is something to see in between");
}

#[test]
fn asking_to_seal_while_a_job_is_being_stored_is_answered_only_when_it_is() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    let wanted = collection.request_seal();
    kv.hold();
    let storing: Boxed<'_, Result<bool>> = Box::pin(database.work(1e6));
    let mut storing = [(storing, None)];
    assert_eq!(poll_all(&mut storing), 0);
    assert!(!run(database.work(5.0)).unwrap(), "its job is out");
    assert!(collection.sealed_through() < wanted, "nothing is stored yet");
    kv.release();
    while poll_all(&mut storing) < 1 {}
    assert!(collection.sealed_through() >= wanted);
}
