//! Requests that are sent again because the owner of the database died before it answered: done once, answered twice.

use hyperspace_core::collection::MAX_BATCH;
use hyperspace_core::log::RequestId;

use super::*;
use crate::host::Asked;
use crate::host::answers::answers_key;
use crate::kv::{FRAME_HEADER, Fault, Kv, Store};

/// Request `n` of a tab that waits for all its answers.
#[allow(clippy::unnecessary_wraps, reason = "what the host takes")]
fn asked(tab: u64, n: u64) -> Option<Asked> {
    Some(Asked { id: RequestId { tab, n }, since: 0 })
}

fn write(
    database: &Database<SimulatedKv>,
    collection: &Rc<OpenCollection>,
    (id, version): (u64, u32),
    asked: Option<Asked>,
) -> Result<Lsn> {
    let (ids, vectors) = ([PointId::Int(id)], vector_of(id, version));
    let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &[] };
    run(database.upsert(collection, &batch, None, asked))
}

fn erase(
    database: &Database<SimulatedKv>,
    collection: &Rc<OpenCollection>,
    ids: &[u64],
    asked: Option<Asked>,
) -> Result<(usize, Lsn)> {
    let ids: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
    run(database.delete(collection, &ids, None, asked))
}

#[test]
fn a_request_that_the_dead_owner_did_is_answered_and_not_done_again() {
    for sealed in [false, true] {
        let kv = SimulatedKv::new();
        let dead = open(&kv).unwrap();
        let collection = notes(&dead);
        let lsn = write(&dead, &collection, (1, 1), asked(7, 1)).unwrap();
        let gone = erase(&dead, &collection, &[1], asked(7, 2)).unwrap();
        write(&dead, &collection, (1, 2), asked(8, 1)).unwrap();
        if sealed {
            seal(&dead, &collection).unwrap();
            assert_eq!(kv.rows_in(Store::Wal), 0, "the answers cannot come from the log");
        }
        let owner = open(&kv.after_process_death()).unwrap();
        let collection = notes(&owner);
        assert_eq!(write(&owner, &collection, (1, 1), asked(7, 1)).unwrap(), lsn);
        assert_eq!(erase(&owner, &collection, &[1], asked(7, 2)).unwrap(), gone);
        assert_eq!(gone, (1, Lsn(2)));
        assert_eq!(stored(&collection, 1), Some(vector_of(1, 2)), "what came later is there, sealed: {sealed}");
        write(&owner, &collection, (1, 3), asked(7, 3)).unwrap();
        assert_eq!(stored(&collection, 1), Some(vector_of(1, 3)), "a new request is done");
    }
}

#[test]
fn a_request_that_was_not_done_is_done_although_a_later_one_of_its_tab_was() {
    let kv = SimulatedKv::new();
    let dead = open(&kv).unwrap();
    let collection = notes(&dead);
    kv.arm(Fault::Quota(0));
    write(&dead, &collection, (1, 1), asked(7, 1)).unwrap_err();
    write(&dead, &collection, (2, 1), asked(7, 2)).unwrap();
    seal(&dead, &collection).unwrap();
    let owner = open(&kv.after_process_death()).unwrap();
    let collection = notes(&owner);
    write(&owner, &collection, (1, 1), asked(7, 1)).unwrap();
    assert_eq!(stored(&collection, 1), Some(vector_of(1, 1)));
}

#[test]
fn whatever_becomes_of_the_first_attempt_a_write_is_there_once_and_never_over_a_later_one() {
    const ROUNDS: u64 = 300;
    let (mut random, mut done_before, mut done_later) = (0x5eed_u64, 0, 0);
    println!("seed {random:#x}");
    let mut kv = SimulatedKv::new();
    for round in 0..ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (id, version) = (random >> 33 & 7, 2 * round as u32);
        let dead = open(&kv).unwrap();
        let collection = notes(&dead);
        // The collection may be sealed before the write, so that it is found in a log or, in the next round, in the row.
        if random >> 60 < 4 {
            seal(&dead, &collection).unwrap();
        }
        kv.arm(if random >> 40 & 1 == 0 { Fault::LostAnswer(0) } else { Fault::Abort(0) });
        write(&dead, &collection, (id, version), asked(7, round)).unwrap_err();
        kv = kv.after_process_death();
        let owner = open(&kv).unwrap();
        let collection = notes(&owner);
        let was_done = stored(&collection, id) == Some(vector_of(id, version));
        write(&owner, &collection, (id, version + 1), asked(8, round)).unwrap();
        if random >> 50 & 1 == 0 {
            seal(&owner, &collection).unwrap();
        }
        write(&owner, &collection, (id, version), asked(7, round)).unwrap();
        let newest = version + u32::from(was_done);
        assert_eq!(stored(&collection, id), Some(vector_of(id, newest)), "round {round}, done before: {was_done}");
        *(if was_done { &mut done_before } else { &mut done_later }) += 1;
    }
    println!("{done_before} writes were done by the first owner, {done_later} by the second");
    assert!(done_before > 50 && done_later > 50, "{done_before} and {done_later}");
}

#[test]
fn a_large_delete_that_was_cut_short_is_finished_by_the_next_owner() {
    const POINTS: u64 = MAX_BATCH as u64 + 5;
    let kv = SimulatedKv::new();
    let dead = open(&kv).unwrap();
    let collection = notes(&dead);
    let points: Vec<_> = (0..POINTS).map(|id| (id, 0)).collect();
    for batch in points.chunks(MAX_BATCH) {
        run(upsert(&dead, &collection, batch, Durability::Relaxed)).unwrap();
    }
    let ids: Vec<u64> = (0..POINTS).collect();
    // The first batch reserves its stamps and is written, the second does not get that far.
    kv.arm(Fault::Abort(3));
    erase(&dead, &collection, &ids, asked(7, 1)).unwrap_err();
    assert_eq!(collection.snapshot().len(), 5);
    let owner = open(&kv.after_process_death()).unwrap();
    let collection = notes(&owner);
    assert_eq!(collection.snapshot().len(), 5);
    erase(&owner, &collection, &ids, asked(7, 1)).unwrap();
    assert_eq!(collection.snapshot().len(), 0);
    write(&owner, &collection, (3, 1), asked(8, 1)).unwrap();
    erase(&owner, &collection, &ids, asked(7, 1)).unwrap();
    assert_eq!(stored(&collection, 3), Some(vector_of(3, 1)), "all of it was done");
}

#[test]
fn a_deletion_asked_for_again_spares_the_collection_that_was_made_since() {
    for lost in [false, true] {
        let kv = SimulatedKv::new();
        let first = open(&kv).unwrap();
        let old = notes(&first).space();
        write(&first, &notes(&first), (1, 0), None).unwrap();
        if lost {
            kv.arm(Fault::LostAnswer(0));
        }
        let deleted = run(first.delete_collection("notes", asked(7, 1)));
        assert_eq!(deleted.is_err(), lost);
        let collection = notes(&first);
        write(&first, &collection, (2, 0), None).unwrap();
        // The log is cut, and the row written anew.
        seal(&first, &collection).unwrap();
        let owner = open(&kv.after_process_death()).unwrap();
        assert!(run(owner.delete_collection("notes", asked(7, 1))).unwrap());
        let collection = notes(&owner);
        assert_eq!(stored(&collection, 2), Some(vector_of(2, 0)));
        let error = run(owner.reach("notes", old)).unwrap_err();
        assert_eq!(error.kind().code(), "not_found", "the old collection's name for itself is not the new one's");
        run(owner.reach("notes", collection.space())).unwrap();
        assert!(Rc::ptr_eq(&owner.reached(collection.space()).unwrap(), &collection));
        assert!(owner.reached(old).is_err());
    }
}

#[test]
fn an_import_asked_for_again_is_answered() {
    let source = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&source);
    write(&source, &collection, (1, 0), None).unwrap();
    seal(&source, &collection).unwrap();
    let (manifest, segments) = source.export(&collection);
    let bytes: Vec<Vec<u8>> = segments.iter().map(|segment| segment.bytes().to_vec()).collect();
    let kv = SimulatedKv::new();
    run(open(&kv).unwrap().import("copy", &manifest, &bytes, asked(7, 1))).unwrap();
    let owner = open(&kv.after_process_death()).unwrap();
    run(owner.import("copy", &manifest, &bytes, asked(7, 1))).unwrap();
    let error = run(owner.import("copy", &manifest, &bytes, asked(7, 2))).unwrap_err();
    assert_eq!(error.kind().code(), "already_exists");
}

#[test]
fn answers_are_kept_as_long_as_a_living_tab_may_ask_for_them() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    let row = || kv.rows_in(Store::Meta);
    let before = row();
    seal(&database, &collection).unwrap();
    assert_eq!(row(), before, "nothing was asked for, nothing is kept");
    for n in 0..100 {
        write(&database, &collection, (n, 0), asked(7, n)).unwrap();
        write(&database, &collection, (n, 0), Some(Asked { since: n, ..asked(8, n).unwrap() })).unwrap();
    }
    seal(&database, &collection).unwrap();
    let answers =
        |kv: &SimulatedKv| (run(kv.get(Store::Meta, &answers_key())).unwrap().unwrap().len() - FRAME_HEADER) / 32;
    assert_eq!(answers(&kv), 101, "all of the one tab, and the newest of the one that has the others");
    database.keep_tabs(vec![8]);
    // A tab that is new since is alive: it asks.
    write(&database, &collection, (1, 1), asked(9, 1)).unwrap();
    seal(&database, &collection).unwrap();
    assert_eq!(answers(&kv), 2);
    let owner = open(&kv.after_process_death()).unwrap();
    let collection = notes(&owner);
    let newest = collection.with_engine(Collection::newest_lsn);
    for repeated in [asked(8, 99), asked(9, 1)] {
        assert!(write(&owner, &collection, (500, 0), repeated).unwrap() <= newest);
    }
    assert_eq!(stored(&collection, 500), None);
    for forgotten in [asked(7, 99), asked(8, 98)] {
        assert!(write(&owner, &collection, (501, 0), forgotten).unwrap() > newest);
    }
}

#[test]
fn an_owner_that_takes_over_gives_no_stamp_that_the_one_before_it_may_have_given() {
    let kv = SimulatedKv::new();
    let frozen = open(&kv).unwrap();
    let collection = notes(&frozen);
    kv.hold();
    // It reads what is there, and is about to fence off the other.
    let next: Boxed<'_, Result<u64>> = Box::pin(async {
        let opened = Database::open(&Tenant::local(), kv.clone(), environment(), Durability::Relaxed).await?;
        Ok(opened.identity.get().reserved)
    });
    let mut next = [(next, None)];
    poll_all(&mut next);
    let many: Vec<_> = (0..5_000).map(|id| (id, 0)).collect();
    let writing: Boxed<'_, Result<u64>> =
        Box::pin(async { upsert(&frozen, &collection, &many, Durability::Relaxed).await.map(|lsn| lsn.0) });
    let mut writing = [(writing, None)];
    poll_all(&mut writing);
    kv.release();
    // The reservation of the other comes first.
    poll_all(&mut writing);
    while poll_all(&mut next) < 1 {}
    let reserved = next[0].1.take().unwrap().unwrap();
    let before = frozen.identity.get().reserved;
    assert!(before >= 5_000, "{before} were reserved by the owner before");
    assert!(reserved > before, "{reserved} are reserved now, {before} were before");
}
