//! Archives of a whole database: one moment goes out, and what comes in is there as a whole or not at all.

use std::ops::Range;

use hyperspace_core::error::ErrorKind;

use super::*;
use crate::host::archive::{decode_import, encode_import};
use crate::kv::{Blob, Fault, Store};

const POINTS: u64 = 400;

/// A database with sealed, waiting and deleted points in two collections, and one that is empty.
fn filled() -> Database<SimulatedKv> {
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..POINTS).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();
    run(upsert(&database, &collection, &[(7, 1), (POINTS, 0)], Durability::Relaxed)).unwrap();
    run(delete(&database, &collection, &[3, 4])).unwrap();
    for (name, metric) in [("empty", Metric::Dot), ("tree", Metric::Poincare)] {
        run(database.collection_or_create(CollectionConfig::new(name, 2, metric).unwrap())).unwrap();
    }
    let tree = run(database.collection("tree")).unwrap();
    let ids: Vec<PointId> = (0..5).map(PointId::Int).collect();
    // So near the rim that the rows lie on it.
    let rows: Vec<f64> = (1..=5).flat_map(|n| [1.0 - 10_f64.powi(-3 * n), 0.0]).collect();
    let batch = UpsertBatch { ids: &ids, vectors: Vectors::F64(&rows), metadata: &[] };
    run(database.upsert(&tree, &batch, None, None)).unwrap();
    database
}

/// Points of all collections as bits, by collection and id.
fn contents(database: &Database<SimulatedKv>) -> Vec<(String, PointId, Vec<u32>, u32, Metadata)> {
    let mut all = Vec::new();
    for name in database.names() {
        let collection = run(database.collection(&name)).unwrap();
        all.extend(collection.snapshot().points().map(|point| {
            let row = point.vector.iter().map(|x| x.to_bits()).collect();
            (name.clone(), point.id, row, point.term.to_bits(), point.metadata)
        }));
    }
    all.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    all
}

fn export(database: &Database<SimulatedKv>) -> Vec<u8> {
    let mut archive = Vec::new();
    run(database.write_archive(async |piece: Vec<u8>| {
        archive.extend(piece);
        Ok(())
    }))
    .unwrap();
    archive
}

async fn import(database: &Database<SimulatedKv>, archive: &[u8]) -> Result<Vec<Rc<OpenCollection>>> {
    let mut rest = archive;
    let next = async |wanted: usize| {
        let (bytes, behind) = rest.split_at(wanted.min(rest.len()));
        rest = behind;
        Ok(bytes.to_vec())
    };
    database.read_archive(next).await
}

/// Fails unless a store, opened again, holds all of an archive or nothing of it, and no row that nobody reads.
fn assert_all_or_nothing(found: &SimulatedKv, all: &Database<SimulatedKv>, when: &str) -> bool {
    let database = open(found).unwrap();
    let names = database.names();
    assert!(names.is_empty() || names == all.names(), "{when}: {names:?} are some of them");
    if !names.is_empty() {
        assert!(contents(&database) == contents(all), "{when}: the points differ");
    }
    assert_eq!(found.rows_in(Store::Wal) == 0, names.is_empty(), "{when}: rows of no collection are left");
    assert_eq!(database.counters().bytes_stored, found.bytes(), "{when}: nothing is stored that nobody reads");
    !names.is_empty()
}

#[test]
fn a_database_is_made_again_from_its_archive_and_indexed_as_any_other() {
    let before = filled();
    let archive = export(&before);
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let made = run(import(&database, &archive)).unwrap();
    assert_eq!(made.iter().map(|c| c.name().to_owned()).collect::<Vec<_>>(), ["empty", "notes", "tree"]);
    assert!(contents(&database) == contents(&before));
    assert!(contents(&open(&kv.after_power_failure()).unwrap()) == contents(&before), "an import is strict");
    work_off(&database).unwrap();
    seal(&database, &made[1]).unwrap();
    assert_eq!(made[1].snapshot().indexed() as u64, POINTS - 1);
    assert_eq!(nearest(&made[1], &vector_of(7, 1)), Some(PointId::Int(7)));
    // A distance that only the term tells.
    let query = QueryVector::from_f32(Metric::Poincare, 2, &[0.0, 0.0]).unwrap();
    let distances = |database: &Database<SimulatedKv>| {
        let request = SearchRequest::new(query.clone(), 5).unwrap().with_plan(Plan::Exact);
        let (_, found) = run(database.collection("tree")).unwrap().search(&request).unwrap();
        found.hits.iter().map(|hit| hit.distance.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(distances(&database), distances(&before));
    assert!(contents(&open(&kv.after_process_death()).unwrap()) == contents(&before), "sealed, and opened again");
}

#[test]
fn an_archive_shows_one_moment_of_all_collections_while_writes_go_on() {
    let before = filled();
    let expected = contents(&before);
    let collection = notes(&before);
    let mut archive = Vec::new();
    let mut next = 10_000;
    run(before.write_archive(async |piece: Vec<u8>| {
        archive.extend(piece);
        next += 1;
        upsert(&before, &collection, &[(next, 0), (1, 5)], Durability::Relaxed).await?;
        delete(&before, &collection, &[10]).await?;
        before.delete_collection("tree", None).await.map(drop)
    }))
    .unwrap();
    assert!(contents(&before) != expected, "writes went on");
    let database = open(&SimulatedKv::new()).unwrap();
    run(import(&database, &archive)).unwrap();
    assert!(contents(&database) == expected);
}

#[test]
fn an_archive_of_collections_that_were_not_loaded_has_them_all() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    run(import(&database, &export(&filled()))).unwrap();
    let database = open(&kv.after_process_death()).unwrap();
    let copy = open(&SimulatedKv::new()).unwrap();
    run(import(&copy, &export(&database))).unwrap();
    assert!(contents(&copy) == contents(&filled()));
}

#[test]
fn a_name_that_is_taken_refuses_the_whole_archive() {
    let archive = export(&filled());
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let config = CollectionConfig::new("tree", 9, Metric::L2).unwrap();
    run(database.collection_or_create(config.clone())).unwrap();
    let bytes = kv.bytes();
    let error = run(import(&database, &archive)).err().unwrap();
    assert_eq!((error.kind(), error.message()), (ErrorKind::AlreadyExists, "collection `tree` exists"));
    assert_eq!((database.names(), kv.bytes()), (vec!["tree".to_owned()], bytes), "nothing has changed");

    // Somebody makes one of them while the import is under way.
    let database = open(&SimulatedKv::new()).unwrap();
    let mut rest = &archive[..];
    let outcome = run(database.read_archive(async |wanted: usize| {
        let (bytes, behind) = rest.split_at(wanted.min(rest.len()));
        rest = behind;
        if rest.is_empty() {
            database.collection_or_create(config.clone()).await?;
        }
        Ok(bytes.to_vec())
    }));
    assert_eq!(outcome.err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(database.names(), ["tree"]);
    assert_eq!(run(database.collection("tree")).unwrap().snapshot().config().dimension, 9);
}

#[test]
fn an_archive_that_is_cut_off_or_damaged_leaves_nothing_behind() {
    let archive = export(&filled());
    for at in (0..archive.len()).step_by(archive.len() / 150) {
        for is_cut in [true, false] {
            let mut damaged = archive.clone();
            if is_cut {
                damaged.truncate(at);
            } else {
                damaged[at] ^= 1 << (at % 8);
            }
            let kv = SimulatedKv::new();
            let database = open(&kv).unwrap();
            let bytes = kv.bytes();
            assert!(run(import(&database, &damaged)).is_err(), "byte {at}");
            assert_eq!((database.names().len(), kv.bytes()), (0, bytes), "byte {at}");
            assert!(!assert_all_or_nothing(&kv.after_process_death(), &database, "damaged"));
            run(import(&database, &archive)).unwrap();
        }
    }
}

#[test]
fn an_import_that_fails_at_any_request_is_there_as_a_whole_or_not_at_all() {
    let all = filled();
    let archive = export(&all);
    for fault in [Fault::Abort, Fault::Quota, Fault::LostAnswer] {
        let mut failures = 0;
        for n in 0.. {
            let kv = SimulatedKv::new();
            let database = open(&kv).unwrap();
            kv.arm(fault(n));
            let outcome = run(import(&database, &archive));
            if kv.is_armed() {
                outcome.unwrap();
                break;
            }
            failures += 1;
            let when = format!("{:?}", fault(n));
            assert!(outcome.is_err(), "{when} is told");
            assert_eq!(database.names().len(), 0, "{when}");
            assert!(!assert_all_or_nothing(&kv.after_process_death(), &all, &when), "{when} was undone");
            // The engine goes on, with the same names.
            run(import(&database, &archive)).unwrap();
            assert!(contents(&database) == contents(&all), "{when}");
            assert!(assert_all_or_nothing(&kv.after_process_death(), &all, &when));
        }
        assert!(failures >= 3, "{failures} requests failed");
    }
}

#[test]
fn the_mark_of_an_import_into_no_space_is_damage() {
    let blob = |spaces| Blob::Bytes(encode_import(&spaces).as_slice().into());
    assert_eq!(decode_import(&blob(3..4)), Ok(3..4));
    for spaces in [Range { start: 3, end: 3 }, Range { start: 3, end: 2 }] {
        let error = decode_import(&blob(spaces.clone())).unwrap_err();
        assert_eq!(error.message(), format!("the mark of an import names the spaces {spaces:?}"));
    }
}

#[test]
fn an_import_that_dies_anywhere_is_swept_and_its_spaces_are_nobody_elses() {
    let all = filled();
    let archive = export(&all);
    let mut undone = 0;
    for dies_at in 0.. {
        let kv = SimulatedKv::new();
        let database = open(&kv).unwrap();
        let (mut rest, mut read, mut copies) = (&archive[..], 0, Vec::new());
        let outcome = run(database.read_archive(async |wanted: usize| {
            let (bytes, behind) = rest.split_at(wanted.min(rest.len()));
            rest = behind;
            read += 1;
            if read > dies_at {
                copies = vec![kv.after_process_death(), kv.after_power_failure()];
                // It cannot be undone either.
                kv.arm(Fault::Abort(0));
                return Err(Error::unavailable("the source is gone"));
            }
            Ok(bytes.to_vec())
        }));
        let Err(error) = outcome else { break };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "read {dies_at}");
        for found in copies {
            assert!(!assert_all_or_nothing(&found, &all, &format!("read {dies_at}")));
        }
        if kv.is_armed() {
            // There was nothing to undo yet.
            assert!(run(database.flush()).is_err());
        } else {
            undone += 1;
        }
        // What could not be undone is still there: collections made since keep clear of it.
        let collection = notes(&database);
        run(upsert(&database, &collection, &[(1, 0), (2, 0)], Durability::Strict)).unwrap();
        let found = kv.after_process_death();
        let database = open(&found).unwrap();
        assert_eq!(database.names(), ["notes"], "read {dies_at}");
        let collection = run(database.collection("notes")).unwrap();
        assert_eq!(stored(&collection, 2), Some(vector_of(2, 0)), "read {dies_at}");
        assert_eq!(database.counters().bytes_stored, found.bytes(), "read {dies_at}: everything else was swept");
    }
    assert!(undone > 8, "{undone} imports died after they had begun to write");
}
