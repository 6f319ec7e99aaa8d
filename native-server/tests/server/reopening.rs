//! After a failed sync, and whatever else leaves the device unknown, the database is opened again while the process lives:
//! nothing acknowledged is lost, searches go on meanwhile, and writes go on afterwards.

use std::io::ErrorKind as Io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hyperspace_core::error::{ErrorKind, Result};
use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_server::database::check::check_on;
use hyperspace_server::database::{Database, Keeper, State, Tuning};

use crate::lanes::Lane;
use crate::sim::{Crash, Fault, Kind, SimDisk};
use crate::support::{Random, config, effort, small, tenant};

const STEPS: usize = 90;

/// One writer, and an administrator beside it, on a directory that is opened again whenever its database fails.
struct Kept {
    lane: Lane,
    disk: SimDisk,
    keeper: Keeper,
    reopened: u64,
}

impl Kept {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::default();
        let keeper = Keeper::open_on(disk.arc(), small(0)).unwrap();
        Self { lane: Lane::new(0, tenant("t"), "c", true, seed), disk, keeper, reopened: 0 }
    }

    /// Does the next step, and now and then what an administrator does.
    fn step(&mut self) -> Result<()> {
        let step = self.lane.advance();
        let durability = if self.lane.steps().is_multiple_of(4) { Relaxed } else { Strict };
        let database = self.keeper.database();
        self.lane.run(&step, &database, durability)?;
        let Ok(collection) = database.collection(&self.lane.tenant, &self.lane.collection) else { return Ok(()) };
        match self.lane.steps() % 18 {
            5 => database.vacuum(&collection).map(drop),
            11 => database.configure(&collection, Tuning { ef_search: Some(Some(30)), ..Tuning::default() }),
            17 => database.snapshot().map(drop),
            _ => Ok(()),
        }
    }

    /// What a step that failed may have left; afterwards the lane knows which.
    fn settle(&mut self, what: &str) {
        let found = self.lane.find(&self.keeper.database());
        let steps = self.lane.steps();
        self.lane.check(found.as_ref(), steps - 1, steps).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        if found.as_ref() != self.lane.now() {
            self.lane.retreat();
        }
    }

    /// Looks at a database that has failed, and has it opened again.
    fn reopen(&mut self, what: &str) {
        let failed = self.keeper.database();
        let found = self.lane.find(&failed);
        let refused = failed.create(&self.lane.tenant, config("another")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{what}: {refused}");
        self.keeper.reopen().unwrap_or_else(|error| panic!("{what}: {error}"));
        self.reopened += 1;
        assert_eq!(self.keeper.reopenings(), self.reopened, "{what}");
        assert_eq!(self.keeper.database().state(), State::Ready, "{what}");
        // Who holds the old one still searches it, and is refused in words that allow another try.
        assert_eq!(self.lane.find(&failed), found, "{what}");
        let late = failed.create(&self.lane.tenant, config("another")).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Unavailable, "{what}: {late}");
    }

    /// Loses the power now: what was strictly acknowledged has to be there.
    fn survives(&self, acknowledged: usize, seed: u64, what: &str) {
        let image = SimDisk::with(self.disk.tree().after(Crash::Power, &mut Random::new(seed)));
        let report = check_on(&image).unwrap();
        assert!(report.is_sound(), "{what}, seed {seed}:\n{report}");
        let database = Database::open_on(image.arc(), small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(database.state(), State::Ready, "{what}");
        let found = self.lane.find(&database);
        // Every fourth step is relaxed.
        let lasting = if acknowledged.is_multiple_of(4) { acknowledged.saturating_sub(1) } else { acknowledged };
        let steps = self.lane.steps();
        self.lane.check(found.as_ref(), lasting, steps).unwrap_or_else(|wrong| panic!("{what}, seed {seed}: {wrong}"));
    }
}

/// Runs until a call of this kind has failed, or all of them until the step has, and to the end; says whether any did.
fn fails_once(kind: &'static [Kind], lasting: bool, after: usize, reopenings: &mut u64) -> bool {
    let what = format!("{kind:?} fails after {after} calls");
    let mut kept = Kept::new(8);
    let mut has_failed = false;
    kept.disk.fail(Fault { on: kind, below: "", after, error: Io::Other, lasting });
    while kept.lane.steps() < STEPS {
        if let Err(error) = kept.step() {
            has_failed |= kept.disk.heal() > 0;
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
            if kept.keeper.database().has_failed() {
                kept.reopen(&what);
            }
            kept.settle(&what);
            (0..4).for_each(|_| kept.step().unwrap_or_else(|error| panic!("{what}: writes go on: {error}")));
            (0..4).for_each(|seed| kept.survives(kept.lane.steps(), seed, &what));
        }
    }
    *reopenings += kept.reopened;
    // The call that fails may be one of these.
    kept.keeper.close().unwrap_or_else(|error| assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}"));
    has_failed |= kept.disk.heal() > 0;
    let report = check_on(&kept.disk).unwrap();
    assert!(report.is_sound(), "{what}:\n{report}");
    let database = Database::open_on(kept.disk.arc(), small(0)).unwrap();
    assert_eq!(kept.lane.find(&database).as_ref(), kept.lane.now(), "{what}");
    has_failed
}

#[test]
fn wherever_a_sync_fails_the_database_is_opened_again_and_writes_go_on() {
    // An append that fails is taken back: something is in doubt when that fails too.
    for (kind, lasting) in
        [(&[Kind::Sync][..], false), (&[Kind::SyncDirectory], false), (&[Kind::Append, Kind::TakeBack], true)]
    {
        let mut reopenings = 0;
        let most = effort(400, 400, 400);
        let failed = (0..most).take_while(|&after| fails_once(kind, lasting, after, &mut reopenings)).count();
        println!("{kind:?}: {failed} failures, {reopenings} reopenings");
        assert!(failed > 20 && reopenings > 10, "{kind:?} failed in {failed} runs, {reopenings} reopenings");
    }
}

#[test]
fn a_reopening_that_fails_anywhere_is_tried_again_and_loses_nothing() {
    for kind in [Kind::Read, Kind::Create, Kind::Append, Kind::Sync, Kind::Rename, Kind::SyncDirectory, Kind::Remove] {
        let kinds: &'static [Kind] = Box::leak(Box::new([kind]));
        let mut failures = 0;
        for after in 0..400 {
            let what = format!("{kind:?} fails after {after} calls of a reopening");
            let mut kept = Kept::new(21);
            (0..30).for_each(|_| kept.step().unwrap());
            kept.disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 0, error: Io::Other, lasting: false });
            while kept.step().is_ok() {}
            let failed = kept.keeper.database();
            let served = kept.lane.find(&failed);
            kept.disk.fail(Fault { on: kinds, below: "", after, error: Io::Other, lasting: false });
            let outcome = kept.keeper.reopen();
            let has_come = kept.disk.heal() > 1;
            if let Err(error) = outcome {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
                assert_eq!(kept.lane.find(&kept.keeper.database()), served, "{what}: searches go on");
                kept.survives(kept.lane.steps() - 1, after as u64, &what);
                kept.reopen(&what);
                failures += 1;
            } else {
                kept.reopened += 1;
            }
            let is_whole = kept.keeper.database().collection(&kept.lane.tenant, &kept.lane.collection);
            if kind == Kind::Read && is_whole.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable) {
                // A segment that cannot be read takes its collection out of service until the next start.
                kept.keeper.close().unwrap();
                kept.keeper = Keeper::open_on(kept.disk.arc(), small(0)).unwrap();
            }
            kept.settle(&what);
            (0..4).for_each(|_| kept.step().unwrap_or_else(|error| panic!("{what}: {error}")));
            (0..4).for_each(|seed| kept.survives(kept.lane.steps(), seed, &what));
            if !has_come {
                break;
            }
        }
        println!("{kind:?}: {failures} reopenings failed");
        assert!(failures > 0 || kind == Kind::Remove, "{kind:?}");
    }
}

#[test]
fn a_full_disk_at_a_reopening_is_waited_for() {
    let mut kept = Kept::new(5);
    (0..30).for_each(|_| kept.step().unwrap());
    kept.disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 0, error: Io::Other, lasting: false });
    while kept.step().is_ok() {}
    kept.disk.fail(Fault { on: crate::sim::GROWS, below: "", after: 0, error: Io::StorageFull, lasting: true });
    for _ in 0..3 {
        let error = kept.keeper.reopen().unwrap_err();
        assert!(error.message().contains("the disk is full"), "{error}");
    }
    kept.disk.heal();
    kept.reopen("there is space");
    kept.settle("there is space");
    kept.step().unwrap();
}

#[test]
fn a_database_that_was_opened_on_a_full_disk_accepts_writes_once_there_is_space() {
    let mut kept = Kept::new(5);
    (0..30).for_each(|_| kept.step().unwrap());
    kept.keeper.close().unwrap();
    kept.disk.fail(Fault { on: crate::sim::GROWS, below: "", after: 0, error: Io::StorageFull, lasting: true });
    kept.keeper = Keeper::open_on(kept.disk.arc(), small(0)).unwrap();
    assert!(kept.keeper.database().has_failed());
    assert_eq!(kept.lane.find(&kept.keeper.database()).as_ref(), kept.lane.now());
    kept.disk.heal();
    kept.reopen("there is space");
    kept.step().unwrap();
}

#[test]
fn damage_is_not_tried_again() {
    let mut kept = Kept::new(5);
    (0..30).for_each(|_| kept.step().unwrap());
    kept.keeper.close().unwrap();
    kept.disk.damage(&kept.disk.files("log")[0], |bytes| bytes[40] ^= 1);
    let keeper = Keeper::open_on(kept.disk.arc(), small(0)).unwrap();
    let damaged = keeper.database();
    assert!(matches!(damaged.state(), State::ReadOnly(_)) && !damaged.has_failed());
    keeper.reopen().unwrap();
    assert_eq!(keeper.reopenings(), 0);
}

#[test]
fn many_writers_survive_many_failures_beside_indexers_and_readers() {
    let mut reopenings = 0;
    for seed in 0..effort(6, 200, 1_000) as u64 {
        println!("seed {seed}");
        let disk = SimDisk::default();
        let keeper = Keeper::open_on(disk.arc(), small(2)).unwrap();
        let mut lanes: Vec<_> = (0..4).map(|n| Lane::new(n, tenant(&format!("t{n}")), "c", true, seed)).collect();
        disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 10, error: Io::Other, lasting: false });
        let (working, is_over) = (AtomicUsize::new(lanes.len()), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for lane in &mut lanes {
                let (keeper, working) = (&keeper, &working);
                scope.spawn(move || {
                    write(lane, keeper, seed);
                    working.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let (keeper, is_over) = (&keeper, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // Whichever database it is, it answers.
                    for collection in keeper.database().collections(&tenant("t0")) {
                        let view = collection.snapshot();
                        assert_eq!(view.points().count(), view.len());
                    }
                    std::thread::yield_now();
                }
            });
            let mut random = Random::new(seed);
            while working.load(Ordering::Relaxed) > 0 {
                if keeper.database().has_failed()
                    && let Err(error) = keeper.reopen()
                {
                    // The next fault has come already.
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
                }
                if !disk.is_armed() {
                    // Not every one makes the database fail.
                    let on = [&[Kind::Sync][..], &[Kind::SyncDirectory]][random.below(2)];
                    disk.fail(Fault { on, below: "", after: 20 + random.below(60), error: Io::Other, lasting: false });
                }
                std::thread::yield_now();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        disk.heal();
        if keeper.database().has_failed() {
            keeper.reopen().unwrap();
        }
        reopenings += keeper.reopenings();
        let check = |database: &Database, what: &str| {
            lanes.iter().for_each(|lane| assert_eq!(lane.find(database).as_ref(), lane.now(), "seed {seed}: {what}"));
        };
        check(&keeper.database(), "in the end");
        keeper.close().unwrap();
        let report = check_on(&disk).unwrap();
        assert!(report.is_sound(), "seed {seed}:\n{report}");
        check(&Database::open_on(disk.arc(), small(0)).unwrap(), "after a restart");
    }
    assert!(reopenings > 0, "nothing failed");
}

/// Writes strictly; after a refusal looks which of two states there is, once writes are accepted again.
fn write(lane: &mut Lane, keeper: &Keeper, seed: u64) {
    while lane.steps() < 60 {
        let step = lane.advance();
        let Err(error) = lane.run(&step, &keeper.database(), Strict) else { continue };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "seed {seed}: {error}");
        let database = loop {
            let database = keeper.database();
            if database.state() == State::Ready {
                break database;
            }
            std::thread::yield_now();
        };
        let found = lane.find(&database);
        let steps = lane.steps();
        lane.check(found.as_ref(), steps - 1, steps).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        if found.as_ref() != lane.now() {
            lane.retreat();
        }
    }
}
