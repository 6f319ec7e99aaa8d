//! What callers may rely on while a database is open.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use hyperspace_core::collection::{Plan, SearchRequest};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::database::{Database, OpenCollection, Tuning, Which};

use crate::sim::{Kind, SimDisk};
use crate::support::{
    DIMENSION, Random, config, created, filter, ids, metadata, nearest, opened, queued, small, tenant, upsert,
};

/// How long a test waits for what must come before it calls it missing.
const LONG: Duration = Duration::from_mins(1);

fn open_in_memory(indexers: usize) -> (SimDisk, Arc<Database>) {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(indexers)).unwrap();
    (disk, database)
}

#[test]
fn what_is_acknowledged_is_found_by_the_next_search() {
    let (_, database) = open_in_memory(2);
    let collection = created(&database, "c");
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let (database, collection) = (&database, &collection);
            scope.spawn(move || {
                let mut random = Random::new(writer);
                for n in 0..200 {
                    let (id, row) = (ids(writer * 1_000 + n, 1), random.vector(DIMENSION));
                    let durability = if n % 2 == 0 { Strict } else { Relaxed };
                    let written = upsert(database, collection, &id, &row, durability).unwrap();
                    assert_eq!(nearest(collection, &row, 1, Plan::Auto), [(id[0].clone(), 0.0)]);
                    assert!(collection.snapshot().through().0 >= written.sequence);
                    if n % 5 == 0 {
                        let deleted = database.delete(collection, Which::Ids(&id), Some(durability)).unwrap();
                        assert_eq!(deleted.wait_blocking().unwrap().applied.deleted, 1);
                        assert!(nearest(collection, &row, 1, Plan::Exact).iter().all(|(found, _)| *found != id[0]));
                    }
                }
            });
        }
    });
    assert_eq!(collection.snapshot().len(), 4 * 160);
}

#[test]
fn tenants_and_collections_whose_names_run_together_see_only_their_own() {
    let (_, database) = open_in_memory(1);
    let owners = [("a", "b_c"), ("a_b", "c"), ("a", "b"), ("a_b", "b_c"), ("A", "b_c")];
    for (number, (owner, name)) in owners.iter().enumerate() {
        let collection = database.create(&tenant(owner), config(name)).unwrap();
        upsert(&database, &collection, &ids(0, 1), &[number as f32; DIMENSION], Strict).unwrap();
    }
    let check = |database: &Database| {
        for (number, (owner, name)) in owners.iter().enumerate() {
            let collection = database.collection(&tenant(owner), name).unwrap();
            assert_eq!(collection.snapshot().get(&PointId::Int(0)).unwrap().vector, [number as f32; DIMENSION]);
            let mut own: Vec<_> = owners.iter().filter(|(other, _)| other == owner).map(|(_, name)| *name).collect();
            own.sort_unstable();
            let listed = database.collections(&tenant(owner));
            assert_eq!(listed.iter().map(|collection| collection.name()).collect::<Vec<_>>(), own, "{owner}");
        }
        for (owner, name) in [("default", "b_c"), ("a", "c"), ("a_b", "b"), ("b", "c")] {
            assert_eq!(database.collection(&tenant(owner), name).unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(database.delete_collection(&tenant(owner), name).unwrap_err().kind(), ErrorKind::NotFound);
        }
    };
    check(&database);
    database.delete_collection(&tenant("a_b"), "b_c").unwrap();
    database.create(&tenant("a_b"), config("b_c")).unwrap();
    let anew = database.collection(&tenant("a_b"), "b_c").unwrap();
    assert!(anew.snapshot().is_empty(), "a collection made anew has nothing of the one before");
    upsert(&database, &anew, &ids(0, 1), &[3.0; DIMENSION], Strict).unwrap();
    check(&database);
}

/// The distances that a search of the graph takes, with whatever number of candidates the collection says.
fn effort_of(collection: &OpenCollection) -> u64 {
    let query = QueryVector::from_f32(Metric::L2, DIMENSION, &[0.1; DIMENSION]).unwrap();
    collection.search(&SearchRequest::new(query, 1).unwrap().with_plan(Plan::Graph)).unwrap().1.distances
}

#[test]
fn configured_numbers_take_effect_with_the_next_search_and_are_kept() {
    let (disk, database) = open_in_memory(0);
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 3_000), &Random::new(1).vector(3_000 * DIMENSION), Strict).unwrap();
    database.vacuum(&collection).unwrap();
    let adapted = effort_of(&collection);
    let set = |ef: Option<u32>| Tuning { ef_search: Some(ef), ef_construction: None };
    database.configure(&collection, set(Some(20))).unwrap();
    let few = effort_of(&collection);
    database.configure(&collection, set(Some(1_000))).unwrap();
    let many = effort_of(&collection);
    assert!(
        few < adapted && adapted < many,
        "{few} distances with 20 candidates, {adapted} by default, {many} with 1000"
    );
    let build = Tuning { ef_search: None, ef_construction: Some(Some(33)) };
    database.configure(&collection, build).unwrap();
    assert_eq!(database.configure(&collection, set(Some(4_097))).unwrap_err().kind(), ErrorKind::InvalidArgument);
    drop(database);
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = opened(&database, "c");
    assert_eq!(effort_of(&collection), many);
    assert_eq!(collection.snapshot().config().ef_construction, Some(33));
    assert_eq!(collection.stats().graph_insertions, 0, "opening builds no graphs");
    database.configure(&collection, set(None)).unwrap();
    assert_eq!(effort_of(&collection), adapted);
}

#[test]
fn deleting_what_does_not_exist_removes_nothing() {
    let (_, database) = open_in_memory(0);
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 50), &Random::new(1).vector(50 * DIMENSION), Strict).unwrap();
    let delete = |which: Which<'_>| database.delete(&collection, which, None).unwrap().wait_blocking().unwrap();
    for _ in 0..2 {
        let before = collection.snapshot().through();
        let written = delete(Which::Ids(&ids(1_000, 10)));
        assert_eq!((written.applied.deleted, written.sequence), (0, before.0));
        assert_eq!(delete(Which::Matching(&filter(&[("n", 1)]))).applied.deleted, 0);
        assert_eq!(delete(Which::Ids(&[])).applied.deleted, 0);
        assert_eq!(collection.snapshot().len(), 50);
        database.vacuum(&collection).unwrap();
    }
    assert_eq!(delete(Which::Ids(&[ids(7, 1), ids(7, 1), ids(99, 1)].concat())).applied.deleted, 1);
    assert_eq!(collection.snapshot().len(), 49);
}

#[test]
fn filters_see_the_newest_metadata_only() {
    let (disk, database) = open_in_memory(0);
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 60), &Random::new(1).vector(60 * DIMENSION), Strict).unwrap();
    let count = |n: i64| collection.snapshot().count(&filter(&[("n", n)]));
    for (round, is_sealed) in [(0, false), (1, true), (2, true)] {
        if is_sealed {
            database.vacuum(&collection).unwrap();
        }
        let changes: Vec<_> = ids(0, 70).into_iter().map(|id| (id, metadata(&[("n", round)]))).collect();
        let written = database.set_metadata(&collection, &changes, None).unwrap().wait_blocking().unwrap();
        assert_eq!(written.applied.upserted, 60, "ids that do not exist are passed over");
        assert_eq!((count(round - 1), count(round), count(round + 1)), (0, 60, 0), "round {round}");
    }
    let vectors = |collection: &OpenCollection| {
        let mut points: Vec<_> = collection.snapshot().points().map(|point| (point.id, point.vector)).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0));
        points
    };
    let before = vectors(&collection);
    drop(database);
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = opened(&database, "c");
    assert_eq!(collection.snapshot().count(&filter(&[("n", 2)])), 60);
    assert_eq!(vectors(&collection), before, "vectors stay as they were, bit for bit");
}

#[test]
fn a_delete_by_filter_finds_writes_that_were_still_on_their_way() {
    let (disk, database) = open_in_memory(0);
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    disk.hold(Kind::Sync, "log");
    let tickets: Vec<_> = (1..10).map(|id| queued(&database, &collection, id)).collect();
    disk.until_waiting(1);
    std::thread::scope(|scope| {
        let deleted =
            scope.spawn(|| database.delete(&collection, Which::Matching(&filter(&[])), None)?.wait_blocking());
        disk.release();
        assert_eq!(deleted.join().unwrap().unwrap().applied.deleted, 10);
    });
    tickets.into_iter().for_each(|ticket| assert_eq!(ticket.wait_blocking().unwrap().applied.upserted, 1));
    assert!(collection.snapshot().is_empty());
}

#[test]
fn who_waits_for_the_writes_of_a_collection_is_told_when_it_is_deleted() {
    let (disk, database) = open_in_memory(0);
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    disk.hold(Kind::Sync, "log");
    let first = queued(&database, &collection, 1);
    disk.until_waiting(1);
    let second = queued(&database, &collection, 2);
    let (answer, answered) = mpsc::channel();
    let waiting = {
        let (database, collection) = (Arc::clone(&database), Arc::clone(&collection));
        std::thread::spawn(move || {
            let outcome = database.delete(&collection, Which::Matching(&filter(&[])), None).map(drop);
            answer.send(outcome).unwrap();
        })
    };
    disk.hold(Kind::Remove, "spaces");
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| database.delete_collection(&Tenant::local(), "c"));
        // The sync and the removal of the files: by then it is out of service.
        disk.until_waiting(2);
        disk.release();
        deleting.join().unwrap().unwrap();
    });
    let outcome = answered.recv_timeout(LONG).expect("the delete is answered");
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::NotFound);
    waiting.join().unwrap();
    assert_eq!(second.wait_blocking().unwrap_err().kind(), ErrorKind::NotFound);
    // It was on its way to the device before the collection went.
    assert!(first.wait_blocking().is_ok());
    let gone = upsert(&database, &collection, &ids(3, 1), &[3.0; DIMENSION], Strict).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_goes_on_when_nobody_waits_for_it() {
    let (disk, database) = open_in_memory(0);
    let collection = created(&database, "c");
    for id in 0..20 {
        drop(queued(&database, &collection, id));
    }
    database.close().unwrap();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    assert_eq!(opened(&database, "c").snapshot().len(), 20);
}

#[test]
fn of_several_who_make_the_same_collection_one_does() {
    let (disk, database) = open_in_memory(0);
    for round in 0..20 {
        let name = format!("c{round}");
        let start = std::sync::Barrier::new(4);
        let make = || {
            start.wait();
            database.create(&Tenant::local(), config(&name)).map(drop)
        };
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let mut refusals = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(refusals.all(|error| error.kind() == ErrorKind::AlreadyExists));
    }
    drop(database);
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    assert_eq!(database.collections(&Tenant::local()).len(), 20);
    assert_eq!(disk.files("spaces").len(), 20, "who lost left nothing");
}

#[test]
fn a_batch_is_refused_as_a_whole() {
    let (_, database) = open_in_memory(0);
    let collection = created(&database, "c");
    let mut rows = Random::new(1).vector(10 * DIMENSION);
    rows[7 * DIMENSION] = f32::NAN;
    let refused = upsert(&database, &collection, &ids(0, 10), &rows, Strict).unwrap_err();
    assert!(refused.kind() == ErrorKind::InvalidArgument && refused.message().contains("point 7"), "{refused}");
    assert!(collection.snapshot().is_empty());
    let written = upsert(&database, &collection, &ids(0, 5), &rows[..5 * DIMENSION], Strict).unwrap();
    assert_eq!((written.sequence, database.stats().log_records), (1, 1), "a refused batch takes no number");
}
