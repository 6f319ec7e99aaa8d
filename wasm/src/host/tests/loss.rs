//! A store that takes nothing, is gone, is older than it was, or is damaged: what can be read is served, what cannot be
//! kept is refused with a reason, and whoever listens is told.

use super::*;
use hyperspace_core::log::RequestId;

use crate::host::Asked;
use crate::kv::{Fault, Store, frame};

fn open_in(kv: &SimulatedKv, environment: &Rc<TestEnvironment>) -> Result<Database<SimulatedKv>> {
    run(Database::open(&Tenant::local(), kv.clone(), environment.clone(), Durability::Relaxed))
}

fn reported(environment: &TestEnvironment) -> Vec<&'static str> {
    environment.reports.borrow_mut().drain(..).map(|error| error.kind().code()).collect()
}

fn write(database: &Database<SimulatedKv>, collection: &Rc<OpenCollection>, id: u64) -> Result<Lsn> {
    run(upsert(database, collection, &[(id, 0)], Durability::Relaxed))
}

fn code<T>(result: Result<T>) -> &'static str {
    result.err().map_or("no error", |error| error.kind().code())
}

#[test]
fn without_room_the_database_is_read_only_until_there_is_some_and_says_so_once() {
    let (kv, environment) = (SimulatedKv::new(), environment());
    let database = open_in(&kv, &environment).unwrap();
    let collection = notes(&database);
    write(&database, &collection, 1).unwrap();
    for spell in 0..2 {
        kv.set_quota(Some(kv.bytes()));
        for id in 10..15 {
            let error = write(&database, &collection, id).unwrap_err();
            assert_eq!(error.kind().code(), "limit_exceeded");
            assert_eq!(nearest(&collection, &vector_of(1, 0)), Some(PointId::Int(1)));
        }
        assert_eq!(code(run(delete(&database, &collection, &[1]))), "limit_exceeded");
        assert_eq!(code(run(database.flush())), "no error", "nothing grows");
        assert_eq!(code(seal(&database, &collection)), "limit_exceeded");
        assert_eq!(reported(&environment)[0], "limit_exceeded", "in spell {spell}");
        kv.set_quota(None);
        write(&database, &collection, 20 + spell).unwrap();
    }
    seal(&database, &collection).unwrap();
    assert_eq!(collection.snapshot().len(), 3, "what was refused is not there, what was acknowledged is");
    let database = open(&kv.after_process_death()).unwrap();
    assert_eq!(notes(&database).snapshot().len(), 3);
}

#[test]
fn a_spell_of_refusals_is_one_event() {
    let (kv, environment) = (SimulatedKv::new(), environment());
    let database = open_in(&kv, &environment).unwrap();
    let collection = notes(&database);
    kv.set_quota(Some(kv.bytes()));
    (0..9).for_each(|id| assert_eq!(code(write(&database, &collection, id)), "limit_exceeded"));
    assert_eq!(reported(&environment), ["limit_exceeded"]);
    kv.set_quota(None);
    write(&database, &collection, 1).unwrap();
    kv.arm(Fault::Abort(0));
    assert_eq!(code(write(&database, &collection, 2)), "unavailable");
    assert_eq!(reported(&environment), ["unavailable"]);
}

#[test]
fn a_database_opens_without_room_serves_what_it_has_and_takes_writes_when_there_is_some() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    write(&database, &collection, 1).unwrap();
    seal(&database, &collection).unwrap();
    write(&database, &collection, 2).unwrap();
    let kv = kv.after_process_death();
    let environment = environment();
    kv.set_quota(Some(0));
    let database = open_in(&kv, &environment).unwrap();
    assert_eq!(reported(&environment), ["limit_exceeded"]);
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(nearest(&collection, &vector_of(2, 0)), Some(PointId::Int(2)));
    assert_eq!(code(write(&database, &collection, 3)), "limit_exceeded");
    assert_eq!(
        code(run(database.collection_or_create(CollectionConfig::new("b", 2, Metric::L2).unwrap()))),
        "limit_exceeded"
    );
    assert_eq!(code(run(database.delete_collection("notes", None))), "limit_exceeded");
    kv.set_quota(None);
    write(&database, &collection, 3).unwrap();
    let stamp = |id| collection.snapshot().get(&PointId::Int(id)).unwrap().stamp;
    assert!(stamp(3).cseq > stamp(2).cseq && stamp(3).hlc > stamp(2).hlc);
    run(database.close()).unwrap();
    assert_eq!(notes(&open(&kv).unwrap()).snapshot().len(), 3);
}

#[test]
fn closing_a_database_that_could_not_be_owned_writes_nothing() {
    let kv = SimulatedKv::new();
    notes(&open(&kv).unwrap());
    kv.set_quota(Some(0));
    let database = open(&kv).unwrap();
    let before = kv.dump(Store::Meta);
    run(database.close()).unwrap();
    assert_eq!(kv.dump(Store::Meta), before);
}

#[test]
fn a_new_database_without_room_does_not_open() {
    let kv = SimulatedKv::new();
    kv.set_quota(Some(0));
    assert_eq!(code(open(&kv)), "limit_exceeded");
}

#[test]
fn an_engine_that_becomes_the_owner_late_notices_what_another_one_changed_meanwhile() {
    for changes_catalog in [false, true] {
        let kv = SimulatedKv::new();
        let first = open(&kv).unwrap();
        let theirs = notes(&first);
        write(&first, &theirs, 1).unwrap();
        kv.set_quota(Some(0));
        let second = open(&kv).unwrap();
        let ours = run(second.collection("notes")).unwrap();
        kv.set_quota(None);
        write(&first, &theirs, 2).unwrap();
        if changes_catalog {
            seal(&first, &theirs).unwrap();
            assert_eq!(code(write(&second, &ours, 3)), "closed");
        } else {
            write(&second, &ours, 3).unwrap();
            assert_eq!(ours.snapshot().len(), 3, "the other one's write is seen");
        }
        assert_eq!(code(write(&first, &theirs, 4)), "closed");
    }
}

#[test]
fn a_cleared_store_is_not_begun_anew_and_what_is_loaded_stays_searchable() {
    let (kv, environment) = (SimulatedKv::new(), environment());
    let database = open_in(&kv, &environment).unwrap();
    let collection = notes(&database);
    write(&database, &collection, 1).unwrap();
    kv.clear();
    let error = write(&database, &collection, 2).unwrap_err();
    assert_eq!((error.kind().code(), error.message().contains("cleared")), ("closed", true), "{error}");
    assert_eq!(code(write(&database, &collection, 3)), "closed");
    assert_eq!(code(run(database.collection_or_create(config()))), "closed");
    assert_eq!(nearest(&collection, &vector_of(1, 0)), Some(PointId::Int(1)));
    assert_eq!((kv.bytes(), reported(&environment)), (0, vec!["closed"]));
}

#[test]
fn a_store_that_is_cleared_before_an_engine_could_own_it_is_not_begun_anew() {
    let kv = SimulatedKv::new();
    notes(&open(&kv).unwrap());
    kv.set_quota(Some(0));
    let database = open(&kv).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    kv.clear();
    kv.set_quota(None);
    let error = write(&database, &collection, 1).unwrap_err();
    assert_eq!((error.kind().code(), error.message().contains("cleared")), ("closed", true), "{error}");
    assert_eq!(kv.bytes(), 0);
}

#[test]
fn what_another_engine_answered_is_known_to_one_that_becomes_the_owner_late() {
    let kv = SimulatedKv::new();
    let first = open(&kv).unwrap();
    let theirs = notes(&first);
    let asked = |n| Some(Asked { id: RequestId { tab: 1, n }, since: 1 });
    let upsert_as = |database: &Database<SimulatedKv>, collection: &Rc<OpenCollection>, n, id| {
        let batch = UpsertBatch { ids: &[PointId::Int(id)], vectors: Vectors::F32(&vector_of(id, 0)), metadata: &[] };
        run(database.upsert(collection, &batch, None, asked(n))).unwrap()
    };
    // One is known from the row of the answers, the other from the log.
    let sealed = upsert_as(&first, &theirs, 1, 1);
    seal(&first, &theirs).unwrap();
    let logged = upsert_as(&first, &theirs, 2, 2);
    kv.set_quota(Some(0));
    let second = open(&kv).unwrap();
    let ours = run(second.collection("notes")).unwrap();
    kv.set_quota(None);
    assert!(second.epoch() > first.epoch(), "{} follows {}", second.epoch(), first.epoch());
    assert_eq!((upsert_as(&second, &ours, 1, 8), upsert_as(&second, &ours, 2, 9)), (sealed, logged));
    assert_eq!(ours.snapshot().len(), 2, "nothing is done twice");
}

#[test]
fn without_room_and_without_ownership_a_database_is_exported() {
    let kv = SimulatedKv::new();
    two_collections(&kv);
    let export = |database: &Database<SimulatedKv>| {
        let mut archive = Vec::new();
        let written = run(database.write_archive(async |piece: Vec<u8>| {
            archive.extend(piece);
            Ok(())
        }));
        written.map(|()| archive)
    };
    let whole = export(&open(&kv).unwrap()).unwrap();
    kv.set_quota(Some(0));
    assert_eq!(export(&open(&kv).unwrap()).unwrap(), whole);
    kv.set_quota(None);
    assert!(kv.tamper_nth(Store::Spaces, 0, |value| *value.last_mut().unwrap() ^= 1));
    assert_eq!(code(export(&open(&kv).unwrap())), "corrupted", "not less than everything");
}

#[test]
fn a_store_that_went_back_gets_no_record_behind_a_gap() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Strict)).unwrap();
    write(&database, &collection, 2).unwrap();
    kv.roll_back();
    let error = write(&database, &collection, 3).unwrap_err();
    assert_eq!((error.kind().code(), error.message().contains("older")), ("closed", true), "{error}");
    assert_eq!(nearest(&collection, &vector_of(2, 0)), Some(PointId::Int(2)), "still here");
    let again = notes(&open(&kv).unwrap());
    assert_eq!((stored(&again, 1).is_some(), again.snapshot().len()), (true, 1));
}

#[test]
fn an_engine_that_was_taken_over_says_so_at_its_first_write() {
    let kv = SimulatedKv::new();
    let first = open(&kv).unwrap();
    let collection = notes(&first);
    let _second = open(&kv).unwrap();
    let error = write(&first, &collection, 1).unwrap_err();
    assert_eq!((error.kind().code(), error.message().contains("another tab")), ("closed", true), "{error}");
}

#[test]
fn a_transaction_that_hangs_is_settled_whether_it_ends_or_not() {
    for is_applied in [false, true] {
        let kv = SimulatedKv::new();
        let database = open(&kv).unwrap();
        let collection = notes(&database);
        kv.arm(Fault::Hang(0, is_applied));
        assert_eq!(code(write(&database, &collection, 1)), "unavailable");
        assert_eq!(stored(&collection, 1), None);
        write(&database, &collection, 2).unwrap();
        assert_eq!(stored(&collection, 1).is_some(), is_applied);
        let database = open(&kv.after_process_death()).unwrap();
        assert_eq!(notes(&database).snapshot().len(), 1 + usize::from(is_applied));
    }
}

/// Two collections with a sealed segment and a log each.
fn two_collections(kv: &SimulatedKv) {
    let database = open(kv).unwrap();
    for name in ["notes", "others"] {
        let config = CollectionConfig::new(name, DIMENSION, Metric::L2).unwrap();
        let collection = run(database.collection_or_create(config)).unwrap();
        write(&database, &collection, 1).unwrap();
        seal(&database, &collection).unwrap();
        write(&database, &collection, 2).unwrap();
    }
}

#[test]
fn a_damaged_row_of_the_catalog_takes_one_collection_out_of_service_and_nothing_is_cut_away() {
    let kv = SimulatedKv::new();
    two_collections(&kv);
    let segments = kv.dump(Store::Segs);
    let flip = |value: &mut Vec<u8>| *value.last_mut().unwrap() ^= 1;
    assert!(kv.tamper_nth(Store::Spaces, 0, flip));
    let environment = environment();
    let database = open_in(&kv, &environment).unwrap();
    assert_eq!(reported(&environment), ["corrupted"]);
    assert_eq!(database.names(), ["others"]);
    let others = run(database.collection("others")).unwrap();
    write(&database, &others, 3).unwrap();
    assert_eq!(others.snapshot().len(), 3);
    // Nobody knows that the damaged row is not of these.
    assert_eq!(code(run(database.collection("notes"))), "corrupted");
    assert_eq!(code(run(database.collection_or_create(config()))), "corrupted");
    let new = CollectionConfig::new("new", 2, Metric::L2).unwrap();
    assert_eq!(code(run(database.collection_or_create(new.clone()))), "corrupted");
    drop(database);
    assert_eq!(kv.dump(Store::Segs), segments);
    assert!(kv.tamper_nth(Store::Spaces, 0, flip), "mended");
    let database = open(&kv).unwrap();
    assert_eq!(run(database.collection("notes")).unwrap().snapshot().len(), 2);
    run(database.collection_or_create(new)).unwrap();
}

#[test]
fn a_manifest_that_cannot_be_read_is_refused_by_name_and_can_be_deleted() {
    let kv = SimulatedKv::new();
    two_collections(&kv);
    // Framed and named as it should be, with a manifest that is none.
    let body = [&[5][..], b"notes", b"not a manifest"].concat();
    assert!(kv.tamper(Store::Spaces, |value| *value = frame(crate::kv::FrameKind::Space, 0, &body)));
    let database = open(&kv).unwrap();
    let error = run(database.collection("notes")).err().unwrap();
    assert_eq!((error.kind().code(), error.message().contains("`notes`")), ("corrupted", true), "{error}");
    assert_eq!(run(database.collection("others")).unwrap().snapshot().len(), 2);
    assert_eq!(kv.rows_in(Store::Segs), 2, "not swept");
    assert!(run(database.delete_collection("notes", None)).unwrap());
    notes(&database);
    assert_eq!(run(open(&kv).unwrap().collection("notes")).unwrap().snapshot().len(), 0);
}

#[test]
fn without_its_identity_a_database_is_read_and_neither_written_nor_taken_for_new() {
    for store_row in [0, 1] {
        let kv = SimulatedKv::new();
        two_collections(&kv);
        // The rows are in the order of their keys: identity, owner, tenant.
        assert!(kv.tamper_nth(Store::Meta, store_row, |value| *value.last_mut().unwrap() ^= 1));
        let database = open(&kv).unwrap();
        let collection = run(database.collection("notes")).unwrap();
        assert_eq!(collection.snapshot().len(), 2);
        assert_eq!(code(write(&database, &collection, 3)), "corrupted");
    }
    let kv = SimulatedKv::new();
    two_collections(&kv);
    kv.lose_nth(Store::Meta, 0);
    let database = open(&kv).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!((collection.snapshot().len(), code(write(&database, &collection, 3))), (2, "corrupted"));
}

#[test]
fn a_database_whose_tenant_cannot_be_read_is_nobodys() {
    let kv = SimulatedKv::new();
    two_collections(&kv);
    assert!(kv.tamper_nth(Store::Meta, 2, |value| *value.last_mut().unwrap() ^= 1));
    assert_eq!(code(open(&kv)), "corrupted");
}
