//! Opening, closing, and copies of a database: what holds from one process to the next, on the real file system too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hyperspace_core::collection::{Plan, UpsertBatch, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::port::Durability::Strict;
use hyperspace_core::types::Tenant;
use hyperspace_server::database::{Database, State, Tuning, Which};

use crate::sim::{Crash, Kind, SimDisk};
use crate::support::{DIMENSION, Random, config, created, effort, filter, ids, nearest, opened, queued, small, upsert};

#[test]
fn a_closed_database_refuses_everything_and_leaves_the_disk_alone() {
    for seed in 0..effort(40, 1_000, 5_000) as u64 {
        let disk = SimDisk::default();
        let database = Database::open_on(disk.arc(), small(2)).unwrap();
        let collection = created(&database, "c");
        let mut random = Random::new(seed);
        let (after, late) = std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (database, collection, mut random) = (&database, &collection, Random::new(random.next()));
                scope.spawn(move || {
                    for n in 0.. {
                        let row = random.vector(DIMENSION);
                        let outcome = match random.below(9) {
                            0 => database.create(&Tenant::local(), config(&format!("t{thread}-{n}"))).map(drop),
                            1 => database.configure(collection, Tuning::default()),
                            2 => database.snapshot().map(drop),
                            3 => database.vacuum(collection).map(drop),
                            4 => database.delete(collection, Which::Matching(&filter(&[])), None).map(drop),
                            _ => upsert(database, collection, &ids(n, 1), &row, Strict).map(drop),
                        };
                        if let Err(error) = outcome {
                            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                            return;
                        }
                    }
                });
            }
            while database.stats().log_records < 20 + seed {
                std::thread::yield_now();
            }
            database.close().unwrap();
            (disk.events(), &disk)
        });
        assert_eq!(late.events(), after, "seed {seed}: {:?}", &late.trace()[after..]);
        assert_eq!(database.state(), State::Closed);
        assert_eq!(database.collection(&Tenant::local(), "c").unwrap_err().kind(), ErrorKind::Closed);
        database.close().unwrap();
        Database::open_on(disk.arc(), small(0)).unwrap();
    }
}

#[test]
fn closing_answers_the_writes_that_are_under_way() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    disk.hold(Kind::Sync, "log");
    let tickets: Vec<_> = (1..10).map(|id| queued(&database, &collection, id)).collect();
    disk.until_waiting(1);
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| database.close());
        while database.state() != State::Closed {
            std::thread::yield_now();
        }
        let batch = UpsertBatch { ids: &ids(99, 1), vectors: Vectors::F32(&[0.0; DIMENSION]), metadata: &[] };
        assert_eq!(database.upsert(&collection, &batch, None).unwrap_err().kind(), ErrorKind::Closed);
        disk.release();
        closing.join().unwrap().unwrap();
    });
    tickets.into_iter().for_each(|ticket| assert_eq!(ticket.wait_blocking().unwrap().applied.upserted, 1));
    let image = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(1)));
    let database = Database::open_on(image.arc(), small(0)).unwrap();
    assert_eq!(opened(&database, "c").snapshot().len(), 10, "closing made everything durable");
}

#[test]
fn on_the_real_file_system_everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(1);
    let rows = random.vector(3_000 * DIMENSION);
    for round in 0..6_usize {
        let database = Database::open(folder.path(), small(2)).unwrap();
        let collection = if round == 0 { created(&database, "c") } else { opened(&database, "c") };
        assert_eq!(collection.snapshot().len(), round * 500);
        assert_eq!(collection.stats().graph_insertions, 0);
        for batch in 0..5 {
            let first = round * 500 + batch * 100;
            let rows = &rows[first * DIMENSION..(first + 100) * DIMENSION];
            upsert(&database, &collection, &ids(first as u64, 100), rows, Strict).unwrap();
        }
        for id in (0..(round + 1) * 500).step_by(7) {
            let row = &rows[id * DIMENSION..(id + 1) * DIMENSION];
            assert_eq!(nearest(&collection, row, 1, Plan::Auto), [(ids(id as u64, 1)[0].clone(), 0.0)]);
        }
        database.close().unwrap();
    }
}

#[test]
fn a_snapshot_is_the_state_of_one_moment_and_a_database_of_its_own() {
    const WRITERS: u64 = 3;
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path(), small(2)).unwrap();
    let collection = created(&database, "c");
    let written: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let mut snapshots = Vec::new();
    std::thread::scope(|scope| {
        for (writer, written) in written.iter().enumerate() {
            let (database, collection, done) = (&database, &collection, &done);
            scope.spawn(move || {
                // Points 0, 1, 2, ... of a writer come in this order, two at a time.
                let mut random = Random::new(writer as u64);
                for n in (0..).step_by(2) {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let first = writer as u64 * 1_000_000 + n;
                    upsert(database, collection, &ids(first, 2), &random.vector(2 * DIMENSION), Strict).unwrap();
                    written.store(n + 2, Ordering::Release);
                }
            });
        }
        let now = || written.iter().map(|written| written.load(Ordering::Acquire)).collect::<Vec<_>>();
        for round in 1..=8 {
            while now().iter().any(|&n| n < round * 20) {
                std::thread::yield_now();
            }
            let before = now();
            let report = database.snapshot().unwrap();
            snapshots.push((report, before, now()));
        }
        done.store(true, Ordering::Relaxed);
    });
    let total = collection.snapshot().len();
    for (report, before, after) in &snapshots {
        assert!(report.path.ends_with(format!("snapshots/{}", report.name)), "{report:?}");
        let stored: Vec<_> = walk(&report.path);
        assert_eq!((stored.len() as u64, stored.iter().sum::<u64>()), (report.files, report.bytes));
        let copy = Database::open(&report.path, small(1)).unwrap();
        assert_eq!(copy.state(), State::Ready);
        let view = opened(&copy, "c").snapshot();
        let mut count = 0;
        for writer in 0..WRITERS {
            let has = |n: u64| view.get(&ids(writer * 1_000_000 + n, 1)[0]).is_some();
            let first_missing = (0..1_000_000).find(|&n| !has(n)).unwrap();
            count += first_missing;
            let (least, most) = (before[writer as usize], after[writer as usize] + 2);
            assert!(
                (least..=most).contains(&first_missing) && first_missing % 2 == 0,
                "{first_missing} of {least}..{most}"
            );
        }
        assert_eq!(view.len() as u64, count, "the points of a writer are there up to one, and none behind it");
        // It is written to, sealed and copied again without a trace in the database that it is a copy of.
        let collection = opened(&copy, "c");
        upsert(&copy, &collection, &ids(5_000_000, 100), &Random::new(1).vector(100 * DIMENSION), Strict).unwrap();
        copy.vacuum(&collection).unwrap();
        copy.snapshot().unwrap();
        copy.close().unwrap();
        let again = Database::open(&report.path, small(1)).unwrap();
        assert_eq!(opened(&again, "c").snapshot().len() as u64, count + 100);
        again.close().unwrap();
    }
    assert_eq!(collection.snapshot().len(), total);
    database.close().unwrap();
    let database = Database::open(folder.path(), small(1)).unwrap();
    assert_eq!(opened(&database, "c").snapshot().len(), total);
}

/// The lengths of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<u64> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let lengths = entries.flat_map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { walk(&entry.path()) } else { vec![metadata.len()] }
    });
    lengths.collect()
}

#[test]
fn a_database_that_is_dropped_stops_its_threads() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(2)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 500), &Random::new(1).vector(500 * DIMENSION), Strict).unwrap();
    let gone = Arc::downgrade(&database);
    drop(database);
    while gone.strong_count() > 0 {
        std::thread::yield_now();
    }
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    assert_eq!(opened(&database, "c").snapshot().len(), 500);
}
