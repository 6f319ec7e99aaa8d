//! Seals, merges and the limits that hold memory and log together while they go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyperspace_core::collection::{Plan, SealPolicy, UpsertBatch, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_core::types::Tenant;
use hyperspace_server::database::{Database, DatabaseOptions, OpenCollection, Ticket, Tuning, Which};

use crate::sim::{Kind, SimDisk};
use crate::support::{DIMENSION, Random, created, ids, nearest, opened, small, upsert};

/// What a memtable counts for one row of these tests.
fn row_in_memory() -> usize {
    let database = Database::open_on(SimDisk::default().arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    collection.stats().memtable_bytes as usize
}

/// Waits until the indexers have nothing left to do.
fn settled(collection: &OpenCollection) {
    while collection.stats().indexing {
        std::thread::yield_now();
    }
}

#[test]
fn with_the_indexer_parked_a_thousand_searches_and_upserts_still_finish() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(1)).unwrap();
    let collection = created(&database, "c");
    let mut random = Random::new(1);
    disk.hold(Kind::Append, "spaces");
    upsert(&database, &collection, &ids(0, 100), &random.vector(100 * DIMENSION), Strict).unwrap();
    disk.until_waiting(1);
    for id in 0..1_000 {
        let row = random.vector(DIMENSION);
        upsert(&database, &collection, &ids(id, 1), &row, Strict).unwrap();
        assert_eq!(nearest(&collection, &row, 1, Plan::Auto), [(ids(id, 1)[0].clone(), 0.0)]);
    }
    let stats = collection.stats();
    assert_eq!((stats.segments, stats.pending, stats.indexing), (0, 1_000, true), "the indexer stood still");
    disk.release();
    settled(&collection);
    assert!(collection.stats().segments > 0);
    assert_eq!(collection.snapshot().len(), 1_000);
}

#[test]
fn without_indexers_a_writer_is_told_in_time_that_there_is_no_room() {
    let row = row_in_memory();
    let options = DatabaseOptions { memtable_limit: 50 * row, patience: Duration::from_millis(50), ..small(0) };
    let database = Database::open_on(SimDisk::default().arc(), options).unwrap();
    let collection = created(&database, "c");
    let write = |id: u64| upsert(&database, &collection, &ids(id, 1), &[id as f32; DIMENSION], Strict);
    let taken = (0..100).take_while(|&id| write(id).is_ok()).count();
    assert_eq!(taken, 51, "writes are taken until there are more bytes than the limit");
    let refused = write(100).unwrap_err();
    assert!(refused.kind() == ErrorKind::Unavailable && refused.is_retryable(), "{refused}");
    let full = format!("{} bytes in memory (limit {})", 51 * row, 50 * row);
    assert!(refused.message().contains(&full), "{refused}");
    assert_eq!(nearest(&collection, &[7.0; DIMENSION], 1, Plan::Auto)[0].0, ids(7, 1)[0], "searches go on");
    let other = created(&database, "other");
    upsert(&database, &other, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    // A delete needs no room, and who asks for the seal makes some.
    let deleted = database.delete(&collection, Which::Ids(&ids(0, 1)), None).unwrap().wait_blocking().unwrap();
    assert_eq!(deleted.applied.deleted, 1);
    database.vacuum(&collection).unwrap();
    upsert(&database, &collection, &ids(200, 1), &[0.0; DIMENSION], Strict).unwrap();
}

#[test]
fn a_writer_that_waits_for_a_seal_keeps_nobody_busy_meanwhile() {
    let disk = SimDisk::default();
    let limit = 50 * row_in_memory();
    let options = DatabaseOptions { memtable_limit: limit, patience: Duration::from_millis(50), ..small(2) };
    let database = Database::open_on(disk.arc(), options).unwrap();
    let (collection, other) = (created(&database, "c"), created(&database, "other"));
    let mut random = Random::new(1);
    disk.hold(Kind::Append, "spaces");
    upsert(&database, &collection, &ids(0, 200), &random.vector(200 * DIMENSION), Strict).unwrap();
    disk.until_waiting(1);
    // One thread answers, then tells, group after group: behind this write nothing of the first one is to come.
    upsert(&database, &other, &ids(0, 1), &random.vector(DIMENSION), Strict).unwrap();
    let mut told = collection.watch();
    told.mark_unchanged();
    let refused = upsert(&database, &collection, &ids(200, 1), &random.vector(DIMENSION), Strict).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(!told.has_changed().unwrap(), "nothing happened, so nobody was woken to look for it");
    disk.release();
    settled(&collection);
    upsert(&database, &collection, &ids(200, 1), &random.vector(DIMENSION), Strict).unwrap();
}

#[test]
fn an_import_stays_within_the_limit_of_memory_even_when_it_is_below_what_a_seal_waits_for() {
    const BATCH: usize = 100;
    const WRITERS: u64 = 3;
    let row = row_in_memory();
    let limit = 1_000 * row;
    for rows in [500, 100_000] {
        let policy = SealPolicy { rows, bytes: 1 << 30, fan_in: 4 };
        let options = DatabaseOptions { memtable_limit: limit, policy, ..small(2) };
        let database = Database::open_on(SimDisk::default().arc(), options).unwrap();
        let collection = created(&database, "c");
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (database, collection, most) = (&database, &collection, &most);
                scope.spawn(move || {
                    let mut random = Random::new(writer);
                    for batch in 0..50 {
                        let first = writer * 1_000_000 + batch * BATCH as u64;
                        let rows = random.vector(BATCH * DIMENSION);
                        upsert(database, collection, &ids(first, BATCH), &rows, Relaxed).unwrap();
                        most.fetch_max(collection.stats().memtable_bytes, Ordering::Relaxed);
                    }
                });
            }
        });
        let most = most.into_inner() as usize;
        assert!(most > limit / 2 && most <= limit + WRITERS as usize * BATCH * row, "{most} bytes of {limit}");
        assert_eq!(collection.snapshot().len(), WRITERS as usize * 50 * BATCH);
    }
}

#[test]
fn the_log_stays_bounded_under_long_load_whatever_idle_collections_hold() {
    let disk = SimDisk::default();
    let options = DatabaseOptions { log_limit: 32 << 10, log_file_bytes: 4 << 10, ..small(2) };
    let database = Database::open_on(disk.arc(), options.clone()).unwrap();
    let mut random = Random::new(1);
    let idle: Vec<_> = (0..5).map(|n| created(&database, &format!("idle{n}"))).collect();
    let busy = created(&database, "busy");
    let mut most = 0;
    for round in 0..400 {
        if round % 50 == 0 {
            for collection in &idle {
                upsert(&database, collection, &ids(round, 1), &random.vector(DIMENSION), Relaxed).unwrap();
            }
        }
        upsert(&database, &busy, &ids(round * 10, 30), &random.vector(30 * DIMENSION), Relaxed).unwrap();
        most = most.max(database.stats().log_bytes);
    }
    let written: usize = 400 * 30 * DIMENSION * 4;
    assert!(written as u64 > 4 * options.log_limit);
    // Writers wait at twice the limit; a file more may be begun meanwhile.
    assert!(most <= 2 * options.log_limit + options.log_file_bytes, "{most} bytes of log");
    drop(database);
    let database = Database::open_on(disk.arc(), options).unwrap();
    for number in 0..5 {
        assert_eq!(opened(&database, &format!("idle{number}")).snapshot().len(), 8);
    }
}

#[test]
fn a_log_whose_limit_is_below_the_size_of_a_file_is_cut_all_the_same() {
    let options = DatabaseOptions { log_limit: 16 << 10, log_file_bytes: 64 << 20, ..small(1) };
    let database = Database::open_on(SimDisk::default().arc(), options).unwrap();
    let collection = created(&database, "c");
    let mut random = Random::new(1);
    for round in 0..200 {
        upsert(&database, &collection, &ids(round * 10, 20), &random.vector(20 * DIMENSION), Relaxed).unwrap();
    }
    assert!(database.stats().log_bytes <= 2 * (16 << 10) + (4 << 10));
}

#[test]
fn a_writer_who_waits_for_the_log_goes_on_when_another_collection_is_sealed() {
    const LIMIT: u64 = 8 << 10;
    let disk = SimDisk::default();
    let options = DatabaseOptions { log_limit: LIMIT, log_file_bytes: 2 << 10, ..small(1) };
    let database = Database::open_on(disk.arc(), options).unwrap();
    let (oldest, other) = (created(&database, "oldest"), created(&database, "other"));
    // The indexer stands in the middle of a seal, and what it seals holds most of the log.
    disk.hold(Kind::Append, "spaces");
    upsert(&database, &oldest, &ids(0, 400), &Random::new(1).vector(400 * DIMENSION), Relaxed).unwrap();
    disk.until_waiting(1);
    let is_full = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (database, other, is_full) = (&database, &other, &is_full);
        let writer = scope.spawn(move || {
            let mut id = 0;
            // Fewer rows than would seal its own collection: nobody else tells it that there is room.
            while database.stats().log_bytes <= 2 * LIMIT {
                queue_large(database, other, id).wait_blocking().unwrap();
                id += 1;
            }
            is_full.store(true, Ordering::Relaxed);
            queue_large(database, other, id).wait_blocking().unwrap();
            id
        });
        while !is_full.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        disk.release();
        assert!(writer.join().unwrap() < 20);
    });
    assert_eq!(other.stats().segments, 0, "it was not sealed itself");
}

#[test]
fn a_log_whose_oldest_file_was_the_last_one_when_it_was_sealed_is_shortened_all_the_same() {
    const LIMIT: u64 = 8 << 10;
    let options =
        DatabaseOptions { log_limit: LIMIT, log_file_bytes: 2 << 10, patience: Duration::from_secs(5), ..small(1) };
    let database = Database::open_on(SimDisk::default().arc(), options).unwrap();
    let collection = created(&database, "c");
    for round in 0..20 {
        // Sealed while it stands in the file that is written to, which cannot go yet.
        queue_large(&database, &collection, round * 10).wait_blocking().unwrap();
        database.vacuum(&collection).unwrap();
        for id in 1..10 {
            queue_large(&database, &collection, round * 10 + id).wait_blocking().unwrap();
        }
    }
    assert!(database.stats().log_bytes <= 2 * LIMIT + (4 << 10), "{:?}", database.stats());
}

/// Queues a point with two kilobytes of metadata.
fn queue_large(database: &Database, collection: &Arc<OpenCollection>, id: u64) -> Ticket {
    let text = Value::Map([("text".to_owned(), Value::from("x".repeat(2 << 10)))].into());
    let metadata = [Metadata::from_value(&text).unwrap()];
    let batch = UpsertBatch { ids: &ids(id, 1), vectors: Vectors::F32(&[id as f32; DIMENSION]), metadata: &metadata };
    database.upsert(collection, &batch, Some(Relaxed)).unwrap()
}

#[test]
fn restarts_and_snapshots_do_not_pile_up_log_files() {
    let disk = SimDisk::default();
    let options = DatabaseOptions { log_limit: 1 << 20, log_file_bytes: 1 << 18, ..small(1) };
    // Four of a quarter of the limit, eight that are always fine, and some that come while others are cut.
    let most = 4 + 8 + 8;
    for round in 0..60 {
        let database = Database::open_on(disk.arc(), options.clone()).unwrap();
        for name in ["a", "b"] {
            let collection = database.collection(&Tenant::local(), name).unwrap_or_else(|_| created(&database, name));
            upsert(&database, &collection, &ids(round, 1), &[round as f32; DIMENSION], Strict).unwrap();
            settled(&collection);
        }
        if round % 2 == 0 {
            database.close().unwrap();
        }
    }
    assert!(disk.files("log").len() <= most, "{} files after restarts", disk.files("log").len());
    let database = Database::open_on(disk.arc(), options).unwrap();
    let collection = opened(&database, "a");
    for round in 0..60 {
        upsert(&database, &collection, &ids(round, 1), &[round as f32; DIMENSION], Strict).unwrap();
        database.snapshot().unwrap();
        settled(&collection);
    }
    let before = disk.files("log").len();
    assert!(before <= most, "{before} files after snapshots");
    for _ in 0..10 {
        database.snapshot().unwrap();
    }
    assert!(disk.files("log").len() <= before + 1, "a snapshot of what has not changed begins no file");
}

#[test]
fn a_vacuum_leaves_no_dead_points_and_returns_their_space() {
    for indexers in [0, 2] {
        let disk = SimDisk::default();
        let database = Database::open_on(disk.arc(), small(indexers)).unwrap();
        let collection = created(&database, "c");
        let mut random = Random::new(3);
        for batch in 0..20 {
            upsert(&database, &collection, &ids(batch * 100, 100), &random.vector(100 * DIMENSION), Strict).unwrap();
        }
        database.vacuum(&collection).unwrap();
        let before = collection.stats().segment_bytes;
        let gone: Vec<_> = ids(0, 2_000).into_iter().filter(|_| !random.one_in(4)).collect();
        database.delete(&collection, Which::Ids(&gone), None).unwrap().wait_blocking().unwrap();
        let report = database.vacuum(&collection).unwrap();
        let view = collection.snapshot();
        assert_eq!((view.dead(), view.pending(), view.len()), (0, 0, 2_000 - gone.len()), "{indexers} indexers");
        let after = collection.stats().segment_bytes;
        assert!(after * 2 < before, "{after} of {before} bytes, {indexers} indexers");
        if indexers == 0 {
            assert_eq!(report.points_dropped, gone.len() as u64, "{report:?}");
            assert!(report.segments_rewritten > 0 && report.bytes_after * 2 < report.bytes_before, "{report:?}");
        }
        let again = database.vacuum(&collection).unwrap();
        assert_eq!(again.points_dropped, 0, "{again:?}");
        database.close().unwrap();
        let stored = disk.files("spaces").len();
        assert_eq!(stored, 1 + collection.snapshot().segments().len(), "the old segments are gone from the disk");
    }
}

#[test]
fn a_vacuum_waits_for_the_seal_that_an_indexer_is_at_and_for_what_came_after_it() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(1)).unwrap();
    let collection = created(&database, "c");
    disk.hold(Kind::Create, "spaces");
    upsert(&database, &collection, &ids(0, 40), &Random::new(3).vector(40 * DIMENSION), Strict).unwrap();
    disk.until_waiting(1);
    upsert(&database, &collection, &ids(40, 5), &Random::new(4).vector(5 * DIMENSION), Strict).unwrap();
    database.delete(&collection, Which::Ids(&ids(0, 10)), None).unwrap().wait_blocking().unwrap();
    std::thread::scope(|scope| {
        let vacuum = scope.spawn(|| database.vacuum(&collection));
        for _ in 0..10_000 {
            assert!(!vacuum.is_finished(), "nothing can be sealed yet");
            std::thread::yield_now();
        }
        disk.release();
        vacuum.join().unwrap().unwrap();
    });
    let view = collection.snapshot();
    assert_eq!((view.pending(), view.dead(), view.len()), (0, 0, 35));
}

#[test]
fn a_vacuum_finds_an_end_while_points_are_written_and_deleted() {
    let database = Database::open_on(SimDisk::default().arc(), small(2)).unwrap();
    let collection = created(&database, "c");
    let mut random = Random::new(3);
    upsert(&database, &collection, &ids(0, 500), &random.vector(500 * DIMENSION), Strict).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(4);
            while !done.load(Ordering::Relaxed) {
                let first = random.below(500) as u64;
                upsert(&database, &collection, &ids(first, 5), &random.vector(5 * DIMENSION), Relaxed).unwrap();
                let which = ids(random.below(500) as u64, 3);
                database.delete(&collection, Which::Ids(&which), Some(Relaxed)).unwrap().wait_blocking().unwrap();
            }
        });
        for _ in 0..10 {
            database.vacuum(&collection).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    database.vacuum(&collection).unwrap();
    assert_eq!(collection.snapshot().dead(), 0);
}

#[test]
fn a_collection_can_be_deleted_in_the_middle_of_a_merge() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(1)).unwrap();
    for round in 0..5 {
        let collection = created(&database, "c");
        let mut random = Random::new(round);
        disk.hold(Kind::Append, "spaces");
        upsert(&database, &collection, &ids(0, 100), &random.vector(100 * DIMENSION), Strict).unwrap();
        disk.until_waiting(1);
        database.delete_collection(&Tenant::local(), "c").unwrap();
        disk.release();
        // Another one of that name has nothing of it.
        let anew = created(&database, "c");
        upsert(&database, &anew, &ids(0, 1), &random.vector(DIMENSION), Strict).unwrap();
        assert_eq!(anew.snapshot().len(), 1);
        database.delete_collection(&Tenant::local(), "c").unwrap();
    }
    let last = created(&database, "last");
    upsert(&database, &last, &ids(0, 100), &Random::new(9).vector(100 * DIMENSION), Strict).unwrap();
    settled(&last);
    assert!(last.stats().segments > 0, "the indexer is alive");
    database.close().unwrap();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    assert_eq!(disk.files("spaces").len(), 2, "a manifest and a segment: {:?}", disk.files("spaces"));
    drop(database);
    assert_eq!(hyperspace_server::disk::Disk::list(&disk, Path::new("spaces")).unwrap().len(), 1);
}

#[test]
fn many_threads_of_every_kind_neither_lock_each_other_out_nor_lose_anything() {
    let database = Database::open_on(SimDisk::default().arc(), small(3)).unwrap();
    let collections: Vec<Arc<OpenCollection>> = (0..3).map(|n| created(&database, &format!("c{n}"))).collect();
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (database, collections) = (&database, &collections);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for n in 0..150 {
                    let collection = &collections[random.below(3)];
                    let id = ids(thread * 1_000 + n, 1);
                    upsert(database, collection, &id, &random.vector(DIMENSION), Relaxed).unwrap();
                    match random.below(40) {
                        0 => drop(database.vacuum(collection).unwrap()),
                        1 => drop(database.snapshot().unwrap()),
                        2 => database.configure(collection, Tuning::default()).unwrap(),
                        3 => {
                            let name = format!("t{thread}-{n}");
                            created(database, &name);
                            database.delete_collection(&Tenant::local(), &name).unwrap();
                        }
                        4 => drop(database.stats()),
                        _ => drop(nearest(collection, &random.vector(DIMENSION), 3, Plan::Auto)),
                    }
                }
            });
        }
    });
    assert_eq!(collections.iter().map(|collection| collection.snapshot().len()).sum::<usize>(), 900);
    database.close().unwrap();
}
