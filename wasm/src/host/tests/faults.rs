//! Every request of a whole life is made to fail in turn. What was acknowledged stays; the engine goes on.

use std::collections::BTreeMap;

use super::*;
use crate::kv::{Fault, Store};

/// What callers know: for each id, the versions that may be stored (`None`: no point).
type Known = BTreeMap<u64, Vec<Option<u32>>>;

/// Writes, seals, deletes and overwrites; keeps account of what may be stored after each answer.
fn live_a_life(kv: &SimulatedKv, known: &mut Known) {
    let Ok(database) = open(kv) else { return };
    let Ok(collection) = run(database.collection_or_create(config())) else { return };
    for round in 0..4_u32 {
        for first in (0..1_200).step_by(600) {
            let points: Vec<_> = (first..first + 600).map(|id| (id + u64::from(round) * 400, round)).collect();
            let outcome = run(upsert(&database, &collection, &points, Durability::Relaxed));
            for (id, version) in points {
                note(known, id, Some(version), outcome.is_ok());
            }
            // A failed job leaves its input where it was; the next call begins anew.
            let _ = work_off(&database);
        }
        let gone = [u64::from(round), 500 + u64::from(round)];
        let outcome = run(delete(&database, &collection, &gone));
        gone.iter().for_each(|&id| note(known, id, None, outcome.is_ok()));
    }
    let _ = work_off(&database);
    check(&collection, known, "in the engine that lived through it");
}

fn note(known: &mut Known, id: u64, version: Option<u32>, acknowledged: bool) {
    let versions = known.entry(id).or_insert_with(|| vec![None]);
    if acknowledged {
        versions.clear();
    }
    versions.push(version);
}

fn check(collection: &OpenCollection, known: &Known, when: &str) {
    for (&id, versions) in known {
        let found = stored(collection, id);
        let allowed = versions.iter().any(|version| version.map(|version| vector_of(id, version)) == found);
        assert!(allowed, "{when}: point {id} is {found:?}, allowed are versions {versions:?}");
    }
}

fn sweep(fault: impl Fn(u64) -> Fault) -> u64 {
    for n in 0..10_000 {
        let kv = SimulatedKv::new();
        let mut known = Known::new();
        kv.arm(fault(n));
        live_a_life(&kv, &mut known);
        if kv.is_armed() {
            return n;
        }
        let database = open(&kv.after_process_death()).unwrap();
        // The fault may have struck before the collection was stored: then nothing was acknowledged either.
        if known.is_empty() && database.names().is_empty() {
            continue;
        }
        let collection = run(database.collection("notes")).unwrap();
        check(&collection, &known, "after reopening");
        let counters = database.counters();
        assert_eq!(counters.bytes_read, counters.bytes_stored, "swept: nothing is stored that is not read, fault {n}");
        for (&id, versions) in &known {
            if let [Some(version)] = versions[..] {
                assert_eq!(nearest(&collection, &vector_of(id, version)), Some(PointId::Int(id)));
            }
        }
    }
    panic!("the life has more than ten thousand requests");
}

#[test]
fn a_transaction_aborted_at_any_request_loses_nothing_acknowledged() {
    let requests = sweep(Fault::Abort);
    assert!(requests > 40, "{requests}");
}

#[test]
fn an_answer_lost_at_any_commit_loses_nothing_acknowledged() {
    let commits = sweep(Fault::LostAnswer);
    assert!(commits > 20, "{commits}");
}

#[test]
fn an_exceeded_quota_is_a_limit_and_the_next_write_works() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    kv.arm(Fault::Quota(0));
    let error = run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap_err();
    assert_eq!(error.kind().code(), "limit_exceeded");
    run(upsert(&database, &collection, &[(1, 1)], Durability::Relaxed)).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 1)));
    assert_eq!(kv.rows_in(Store::Wal), 1);
}

#[test]
fn a_write_that_failed_and_is_stored_all_the_same_is_visible_before_the_next_one() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    kv.arm(Fault::LostAnswer(0));
    assert!(run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).is_err());
    run(upsert(&database, &collection, &[(2, 0)], Durability::Relaxed)).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 0)), "the store and the engine agree");
    assert_eq!(kv.rows_in(Store::Wal), 2);
}

#[test]
fn a_database_whose_leftovers_cannot_be_swept_opens_all_the_same() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    collection.request_seal();
    // Its segment is staged, the flip is not applied.
    kv.arm(Fault::Abort(2));
    work_off(&database).unwrap_err();
    assert_eq!(kv.rows_in(Store::Segs), 1);
    let mut outcomes = Vec::new();
    for n in 0.. {
        let crashed = kv.after_process_death();
        crashed.arm(Fault::Abort(n));
        let opened = open(&crashed);
        if crashed.is_armed() {
            assert_eq!(crashed.rows_in(Store::Segs), 0);
            break;
        }
        outcomes.push(opened.is_ok());
    }
    // The two requests of the sweep come last.
    assert_eq!(outcomes[outcomes.len() - 3..], [false, true, true]);
}

#[test]
fn a_merge_whose_inputs_cannot_be_swept_is_in_service_all_the_same() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    for part in 0..4_u64 {
        let points: Vec<_> = (part * 600..part * 600 + 600).map(|id| (id, 0)).collect();
        run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
        let wanted = collection.request_seal();
        while collection.sealed_through() < wanted {
            run(database.work(5.0)).unwrap();
        }
    }
    // Two requests stage the segment, four flip, the next one deletes the first input.
    kv.arm(Fault::Abort(6));
    work_off(&database).unwrap();
    assert!(!kv.is_armed());
    assert_eq!((collection.snapshot().segments().len(), kv.rows_in(Store::Segs)), (1, 5));
    let database = open(&kv).unwrap();
    assert_eq!(kv.rows_in(Store::Segs), 1, "swept by the next opening");
    assert_eq!(run(database.collection("notes")).unwrap().snapshot().len(), 2_400);
}

#[test]
fn a_setting_that_could_not_be_stored_is_not_in_force() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let changed = |ef| CollectionConfig { ef_search: Some(ef), ..config() };
    kv.arm(Fault::Quota(0));
    run(database.collection_or_create(changed(99))).err().unwrap();
    assert_eq!(collection.with_engine(|engine| engine.config().ef_search), None);
    run(database.collection_or_create(changed(0))).err().unwrap();
    run(database.collection_or_create(changed(98))).unwrap();
    let database = open(&kv.after_process_death()).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(collection.with_engine(|engine| engine.config().ef_search), Some(98));
}
