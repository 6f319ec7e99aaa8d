//! Opening again: what is found, what it costs, and who may write.

use hyperspace_core::segment::{LiveBitmap, Manifest};
use hyperspace_core::types::Offset;

use super::*;
use crate::kv::{FRAME_HEADER, FrameKind, Store, frame};

#[test]
fn everything_acknowledged_is_there_after_the_process_dies_and_nothing_is_indexed_again() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    for first in (0..3_000).step_by(500) {
        let points: Vec<_> = (first..first + 500).map(|id| (id, 0)).collect();
        run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
        work_off(&database).unwrap();
    }
    run(upsert(&database, &collection, &[(5, 1), (9_000, 0)], Durability::Relaxed)).unwrap();
    assert_eq!(run(delete(&database, &collection, &[6, 7, 123_456])).unwrap(), 2);
    assert!(collection.snapshot().indexed() > 0 && collection.snapshot().pending() > 0);

    let found = kv.after_process_death();
    let database = open(&found).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(collection.snapshot().len(), 2_999);
    assert_eq!(stored(&collection, 5), Some(vector_of(5, 1)));
    assert_eq!(stored(&collection, 6), None);
    for id in (0..3_000).filter(|id| !(5..=7).contains(id)) {
        assert_eq!(nearest(&collection, &vector_of(id, 0)), Some(PointId::Int(id)));
    }
    assert_eq!(collection.with_engine(Collection::graph_insertions), 0);
    let counters = database.counters();
    assert_eq!(counters.bytes_read, counters.bytes_stored, "everything is read once, nothing twice");
    assert_eq!(counters.bytes_stored, found.bytes());
}

#[test]
fn strict_writes_survive_a_power_failure_and_stamps_are_never_given_twice() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Strict)).unwrap();
    run(upsert(&database, &collection, &[(2, 0)], Durability::Relaxed)).unwrap();
    let cseq = |collection: &OpenCollection, id| collection.snapshot().get(&PointId::Int(id)).map(|p| p.stamp.cseq);
    let lost = cseq(&collection, 2).unwrap();

    let database = open(&kv.after_power_failure()).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 0)));
    assert_eq!(stored(&collection, 2), None, "it was relaxed");
    run(upsert(&database, &collection, &[(3, 0)], Durability::Relaxed)).unwrap();
    assert!(cseq(&collection, 3).unwrap() > lost);
}

#[test]
fn flush_makes_relaxed_writes_survive_a_power_failure() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    run(database.flush()).unwrap();
    let database = open(&kv.after_power_failure()).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 0)));
}

#[test]
fn a_flushed_record_of_many_rows_survives_a_power_failure() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    upsert_wide(&database, 400);
    run(database.flush()).unwrap();
    let database = open(&kv.after_power_failure()).unwrap();
    assert_eq!(run(database.collection("wide")).unwrap().snapshot().len(), 400);
}

#[test]
fn a_sealed_segment_survives_a_power_failure() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..2_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();
    assert_eq!(kv.rows_in(Store::Wal), 0, "the segment is all there is");
    let database = open(&kv.after_power_failure()).unwrap();
    assert_eq!(run(database.collection("notes")).unwrap().snapshot().len(), 2_500);
}

#[test]
fn writes_that_wait_share_one_transaction_and_keep_their_order() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    kv.hold();
    let mut writes: Vec<Polled<'_, Result<Lsn>>> = (0..40_u32)
        .map(|version| {
            let (database, collection) = (&database, &collection);
            let write: Boxed<'_, _> =
                Box::pin(async move { upsert(database, collection, &[(1, version)], Durability::Relaxed).await });
            (write, None)
        })
        .collect();
    assert_eq!(poll_all(&mut writes), 0, "nothing is acknowledged while the store holds it back");
    assert_eq!(stored(&collection, 1), None, "nor visible");
    let before = database.counters().transactions;
    kv.release();
    for _ in 0..8 {
        poll_all(&mut writes);
    }
    let lsns: Vec<Lsn> = writes.into_iter().map(|(_, done)| done.unwrap().unwrap()).collect();
    assert!(lsns.is_sorted() && lsns.len() == 40);
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 39)));
    assert_eq!(database.counters().transactions - before, 2, "the first, then all that queued behind it");
}

#[test]
fn two_thousand_writes_reserve_their_stamps_in_two_steps() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let before = database.counters().transactions;
    for id in 0..2_000 {
        run(upsert(&database, &collection, &[(id, 0)], Durability::Relaxed)).unwrap();
    }
    assert_eq!(database.counters().transactions - before, 2_000 + 1, "the first step was taken by the opening");
}

#[test]
fn a_record_of_many_rows_comes_back_whole() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    upsert_wide(&database, 1_500);
    assert!(kv.rows_in(Store::Wal) >= 6);
    let database = open(&kv.after_process_death()).unwrap();
    let collection = run(database.collection("wide")).unwrap();
    assert_eq!(collection.snapshot().len(), 1_500);
    let last = collection.snapshot().get(&PointId::Int(1_499)).unwrap();
    let expected: Vec<f32> = (1_499 * 512..1_500 * 512).map(|i| i as f32).collect();
    assert_eq!(last.vector, expected);
}

#[test]
fn a_second_engine_on_the_same_store_fences_the_first_one_off() {
    let kv = SimulatedKv::new();
    let first = open(&kv).unwrap();
    let collection = notes(&first);
    run(upsert(&first, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    let second = open(&kv).unwrap();
    let theirs = run(second.collection("notes")).unwrap();
    assert!(run(upsert(&first, &collection, &[(2, 0)], Durability::Relaxed)).is_err());
    let error = run(upsert(&first, &collection, &[(3, 0)], Durability::Relaxed)).unwrap_err();
    assert_eq!(error.kind().code(), "closed");
    run(upsert(&second, &theirs, &[(4, 0)], Durability::Relaxed)).unwrap();
    assert_eq!(theirs.snapshot().len(), 2);
}

#[test]
fn deleting_a_collection_leaves_no_row_of_it_and_its_number_is_not_used_again() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..2_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    work_off(&database).unwrap();
    run(upsert(&database, &collection, &[(9_999, 0)], Durability::Relaxed)).unwrap();
    assert!(run(database.delete_collection("notes", None)).unwrap());
    assert!(!run(database.delete_collection("notes", None)).unwrap());
    for store in [Store::Spaces, Store::Wal, Store::Segs, Store::Chunks] {
        assert_eq!(kv.rows_in(store), 0, "{}", store.name());
    }
    let error = run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap_err();
    assert_eq!(error.kind().code(), "not_found");
    let again = notes(&database);
    assert_eq!(again.snapshot().len(), 0);
    assert_eq!(database.counters().bytes_stored, kv.bytes());
}

#[test]
fn a_damaged_row_is_an_error_that_names_it() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..2_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    work_off(&database).unwrap();
    run(upsert(&database, &collection, &[(9_999, 0)], Durability::Relaxed)).unwrap();
    for (store, word) in [(Store::Chunks, "chunk 0"), (Store::Wal, "log record 2")] {
        let damaged = kv.after_process_death();
        assert!(damaged.tamper(store, |value| *value.last_mut().unwrap() ^= 1));
        let error = run(open(&damaged).unwrap().collection("notes")).err().unwrap();
        assert_eq!(error.kind().code(), "corrupted");
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn a_segment_whose_row_claims_another_length_than_the_manifest_is_damage_before_memory_is_given_away() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..2_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    work_off(&database).unwrap();
    // Far more than there is address space for, so that asking for it would end the test.
    for claimed in [1, 1 << 46] {
        let damaged = kv.after_process_death();
        assert!(damaged.tamper(Store::Segs, |row| {
            let mut body = row[FRAME_HEADER..].to_vec();
            body[32..40].copy_from_slice(&u64::to_le_bytes(claimed));
            *row = frame(FrameKind::Segment, 0, &body);
        }));
        let error = run(open(&damaged).unwrap().collection("notes")).err().unwrap();
        assert_eq!(error.kind().code(), "corrupted");
        assert!(error.message().contains(&format!("its row says {claimed} bytes, the manifest ")), "{error}");
    }
}

#[test]
fn an_exported_collection_opens_elsewhere_with_the_same_answers() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..2_500).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();
    assert_eq!(run(delete(&database, &collection, &[3])).unwrap(), 1);
    let (manifest, segments) = database.export(&collection);
    let mut bytes: Vec<Vec<u8>> = segments.iter().map(|segment| segment.bytes().to_vec()).collect();

    let kv = SimulatedKv::new();
    let other = open(&kv).unwrap();
    run(other.import("copy", &manifest, &bytes, None)).unwrap();
    let copy = run(other.collection("copy")).unwrap();
    assert_eq!(copy.snapshot().len(), 2_499);
    assert_eq!(nearest(&copy, &vector_of(77, 0)), Some(PointId::Int(77)));
    assert!(run(other.import("copy", &manifest, &bytes, None)).is_err(), "the name is taken");
    let other = open(&kv.after_process_death()).unwrap();
    assert_eq!(run(other.collection("copy")).unwrap().snapshot().len(), 2_499);

    bytes[0][4_000] ^= 1;
    let error = run(other.import("bad", &manifest, &bytes, None)).unwrap_err();
    assert_eq!(error.kind().code(), "corrupted");
}

#[test]
fn an_import_that_claims_what_cannot_be_is_refused_and_its_log_begins_anew() {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    for id in [1, 2] {
        run(upsert(&database, &collection, &[(id, 0)], Durability::Relaxed)).unwrap();
        seal(&database, &collection).unwrap();
    }
    let (manifest, segments) = database.export(&collection);
    let manifest = Manifest::decode(&manifest).unwrap();
    let bytes: Vec<Vec<u8>> = segments.iter().map(|segment| segment.bytes().to_vec()).collect();

    let kv = SimulatedKv::new();
    let other = open(&kv).unwrap();
    let endless = Manifest { sealed_through: u64::MAX, ..manifest.clone() };
    run(other.import("copy", &endless.encode(), &bytes, None)).unwrap();
    let copy = run(other.collection("copy")).unwrap();
    run(upsert(&other, &copy, &[(3, 0)], Durability::Relaxed)).unwrap();
    let other = open(&kv.after_process_death()).unwrap();
    assert_eq!(run(other.collection("copy")).unwrap().snapshot().len(), 3);

    let mut twice = manifest.clone();
    twice.segments[1] = twice.segments[0].clone();
    let same = [bytes[0].clone(), bytes[0].clone()];
    let error = run(other.import("twice", &twice.encode(), &same, None)).unwrap_err();
    assert_eq!(error.kind().code(), "corrupted");

    // Two exports of two versions of one point, put together.
    let database = open(&SimulatedKv::new()).unwrap();
    let changed = notes(&database);
    run(upsert(&database, &changed, &[(1, 1)], Durability::Relaxed)).unwrap();
    seal(&database, &changed).unwrap();
    let (later, segments) = database.export(&changed);
    let mut mixed = manifest.clone();
    mixed.segments[1] = Manifest::decode(&later).unwrap().segments.remove(0);
    let error = run(other.import("mixed", &mixed.encode(), &[bytes[0].clone(), segments[0].bytes().to_vec()], None));
    assert_eq!(error.unwrap_err().kind().code(), "corrupted");

    // A row as it was stored before, dead in its old segment, beside the segment that it is live in.
    run(upsert(&database, &changed, &[(2, 1)], Durability::Relaxed)).unwrap();
    run(upsert(&database, &changed, &[(3, 1), (4, 1)], Durability::Relaxed)).unwrap();
    seal(&database, &changed).unwrap();
    let (before, old) = database.export(&changed);
    run(delete(&database, &changed, &[3])).unwrap();
    seal(&database, &changed).unwrap();
    let (after, new) = database.export(&changed);
    let (before, after) = (Manifest::decode(&before).unwrap(), Manifest::decode(&after).unwrap());
    let rewritten = after.segments.iter().position(|s| s.points == 2).unwrap();
    let mut worn = before.segments[1].clone();
    let mut live = LiveBitmap::all_live(worn.points);
    (0..worn.points).for_each(|offset| assert!(live.kill(Offset(offset))));
    worn.live.clear();
    live.encode(&mut worn.live);
    let both = Manifest { segments: vec![worn, after.segments[rewritten].clone()], ..after };
    let error =
        run(other.import("both", &both.encode(), &[&old[1], &new[rewritten]].map(|s| s.bytes().to_vec()), None));
    assert_eq!(error.unwrap_err().kind().code(), "corrupted");
}

#[test]
fn an_import_from_a_far_future_is_refused_before_it_stops_this_clock() {
    const YEARS_MS: u64 = 3 * 366 * 24 * 3_600_000;
    let ahead = environment();
    ahead.now_ms.set(ahead.now_ms.get() + YEARS_MS);
    let database = run(Database::open(&Tenant::local(), SimulatedKv::new(), ahead, Durability::Relaxed)).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();
    let (manifest, segments) = database.export(&collection);
    let bytes: Vec<Vec<u8>> = segments.iter().map(|segment| segment.bytes().to_vec()).collect();

    let other = open(&SimulatedKv::new()).unwrap();
    let error = run(other.import("copy", &manifest, &bytes, None)).unwrap_err();
    assert_eq!(error.kind().code(), "invalid_argument");
    run(upsert(&other, &notes(&other), &[(1, 0)], Durability::Relaxed)).unwrap();
}

#[test]
fn a_database_refuses_another_tenant_and_stays_as_it_is() {
    let kv = SimulatedKv::new();
    let first = open(&kv).unwrap();
    run(upsert(&first, &notes(&first), &[(1, 0), (2, 0), (3, 0)], Durability::Strict)).unwrap();
    run(first.close()).unwrap();
    let other = Tenant::verified("somebody-else").unwrap();
    let refused = run(Database::open(&other, kv.clone(), environment(), Durability::Relaxed)).err().unwrap();
    assert_eq!(refused.kind().code(), "permission_denied");
    let again = open(&kv).unwrap();
    assert_eq!(notes(&again).snapshot().len(), 3);
}

/// Writes points of 512 dimensions in one record, far longer than a row of the log.
fn upsert_wide(database: &Database<SimulatedKv>, count: u64) {
    let wide = CollectionConfig::new("wide", 512, Metric::L2).unwrap();
    let collection = run(database.collection_or_create(wide)).unwrap();
    let ids: Vec<PointId> = (0..count).map(PointId::Int).collect();
    let vectors: Vec<f32> = (0..count * 512).map(|i| i as f32).collect();
    let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &[] };
    run(database.upsert(&collection, &batch, Some(Durability::Relaxed), None)).unwrap();
}
