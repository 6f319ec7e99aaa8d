//! Transactions that were applied although the caller was told that they failed: the next step finds out which it was.

use super::*;
use crate::kv::{Fault, Store};

/// Writes 600 points from `first` on and works until they are sealed, and no longer.
fn seal_some(database: &Database<SimulatedKv>, collection: &Rc<OpenCollection>, first: u64) {
    let points: Vec<_> = (first..first + 600).map(|id| (id, 0)).collect();
    run(upsert(database, collection, &points, Durability::Relaxed)).unwrap();
    let wanted = collection.request_seal();
    while collection.sealed_through() < wanted {
        run(database.work(5.0)).unwrap();
    }
}

#[test]
fn a_merge_whose_answer_was_lost_is_in_service_before_the_next_seal() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    (0..4).for_each(|part| seal_some(&database, &collection, part * 600));
    assert_eq!(collection.snapshot().segments().len(), 4);
    // Its chunks, then the flip.
    kv.arm(Fault::LostAnswer(1));
    work_off(&database).unwrap_err();
    let points: Vec<_> = (5_000..7_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    while collection.snapshot().pending() > 0 {
        run(database.work(5.0)).unwrap();
    }
    assert_eq!(collection.snapshot().segments().len(), 2, "the merged one and the new one");
    let database = open(&kv.after_process_death()).unwrap();
    assert_eq!(run(database.collection("notes")).unwrap().snapshot().len(), 4_400);
}

#[test]
fn a_seal_whose_answer_was_lost_is_not_overwritten_by_a_changed_setting() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..600).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    let wanted = collection.request_seal();
    kv.arm(Fault::LostAnswer(1));
    work_off(&database).unwrap_err();
    assert!(collection.sealed_through() < wanted);
    let changed = CollectionConfig { ef_search: Some(99), ..config() };
    run(database.collection_or_create(changed)).unwrap();
    assert!(collection.sealed_through() >= wanted);
    let database = open(&kv.after_process_death()).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(collection.snapshot().len(), 600);
    assert_eq!(collection.with_engine(|engine| engine.config().ef_search), Some(99));
}

#[test]
fn a_seal_that_did_not_happen_is_done_again_and_its_points_stay() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..600).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    let wanted = collection.request_seal();
    // Two requests stage the segment, the flip begins with the third.
    kv.arm(Fault::Abort(2));
    work_off(&database).unwrap_err();
    work_off(&database).unwrap();
    assert!(collection.sealed_through() >= wanted);
    assert_eq!((collection.snapshot().len(), kv.rows_in(Store::Wal)), (600, 0));
}

#[test]
fn a_collection_whose_deletion_was_answered_by_nobody_takes_no_more_writes() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    kv.arm(Fault::LostAnswer(0));
    run(database.delete_collection("notes", None)).unwrap_err();
    let error = run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap_err();
    assert_eq!(error.kind().code(), "not_found");
    assert!(database.names().is_empty() && kv.rows_in(Store::Wal) == 0);
}

#[test]
fn a_write_that_waits_behind_a_deletion_without_an_answer_is_refused() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    kv.hold();
    kv.arm(Fault::LostAnswer(0));
    let (database, collection) = (&database, &collection);
    let deletion: Boxed<'_, Result<bool>> = Box::pin(async move { database.delete_collection("notes", None).await });
    let write: Boxed<'_, Result<bool>> =
        Box::pin(async move { upsert(database, collection, &[(1, 0)], Durability::Relaxed).await.map(|_| true) });
    let mut both = [(deletion, None), (write, None)];
    poll_all(&mut both);
    kv.release();
    while poll_all(&mut both) < 2 {}
    let codes = both.map(|(_, done)| done.unwrap().unwrap_err().kind().code());
    assert_eq!(codes, ["unavailable", "not_found"]);
    assert_eq!(kv.rows_in(Store::Wal), 0);
}

#[test]
fn the_number_of_a_collection_whose_creation_was_not_answered_is_not_given_to_another() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    kv.arm(Fault::LostAnswer(0));
    run(database.collection_or_create(config())).err().unwrap();
    // Stores the identity again, with the number that the failed creation would have taken.
    run(database.flush()).unwrap();
    let kv = kv.after_process_death();
    let database = open(&kv).unwrap();
    run(upsert(&database, &notes(&database), &[(1, 0)], Durability::Relaxed)).unwrap();
    run(database.collection_or_create(CollectionConfig::new("others", DIMENSION, Metric::L2).unwrap())).unwrap();
    let database = open(&kv.after_process_death()).unwrap();
    assert_eq!(run(database.collection("notes")).unwrap().snapshot().len(), 1);
}
