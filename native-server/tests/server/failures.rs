//! Disks that are full or fail at every call in turn, and files that were damaged: typed errors, searches that go on,
//! nothing lost that was answered, nothing deleted that might still be mended.

use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_core::types::Tenant;
use hyperspace_server::database::{Database, State, Tuning, Which};

use crate::lanes::Lane;
use crate::sim::{Crash, Fault, GROWS, Kind, SimDisk};
use crate::support::{DIMENSION, Random, config, created, effort, filter, ids, opened, queued, small, tenant, upsert};

/// One writer whose collection comes and goes, and an administrator beside it, on one thread: the same calls every time.
struct Single {
    lane: Lane,
    disk: SimDisk,
    database: Arc<Database>,
}

impl Single {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::default();
        let database = Database::open_on(disk.arc(), small(0)).unwrap();
        Self { lane: Lane::new(0, tenant("t"), "c", true, seed), disk, database }
    }

    /// Does the next step; one that fails is taken out of the lane's history when it did nothing.
    fn step(&mut self) -> Result<()> {
        let step = self.lane.advance();
        let durability = if self.lane.steps().is_multiple_of(4) { Relaxed } else { Strict };
        self.lane.run(&step, &self.database, durability)
    }

    /// What an administrator does now and then.
    fn manage(&self) -> Result<()> {
        let Ok(collection) = self.database.collection(&self.lane.tenant, &self.lane.collection) else { return Ok(()) };
        match self.lane.steps() % 18 {
            5 => self.database.vacuum(&collection).map(drop),
            11 => self.database.configure(&collection, Tuning { ef_search: Some(Some(30)), ..Tuning::default() }),
            17 => self.database.snapshot().map(drop),
            _ => Ok(()),
        }
    }

    fn assert_serves_all(&self, what: &str) {
        assert_eq!(self.lane.find(&self.database).as_ref(), self.lane.now(), "{what}");
    }

    /// Ends the process and starts another one.
    fn restart(&mut self, what: &str) {
        self.database.close().unwrap_or_else(|error| assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {error}"));
        self.database = Database::open_on(self.disk.arc(), small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(self.database.state(), State::Ready, "{what}");
    }
}

const STEPS: usize = 90;

#[test]
fn a_disk_that_is_full_from_any_call_on_refuses_writes_until_there_is_space_again() {
    let mut refused = 0;
    for after in 0..400 {
        let what = format!("full after {after} calls");
        let mut single = Single::new(3);
        single.disk.fail(Fault { on: GROWS, below: "", after, error: Io::StorageFull, lasting: true });
        let mut failures = 0;
        while single.lane.steps() < STEPS {
            for outcome in [single.step().inspect_err(|_| single.lane.retreat()), single.manage()] {
                if let Err(error) = outcome {
                    assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{what}: {error}");
                    assert!(error.message().contains("the disk is full"), "{what}: {error}");
                    failures += 1;
                }
            }
            single.assert_serves_all(&what);
            if failures > 4 {
                single.disk.heal();
            }
        }
        refused += failures;
        single.disk.heal();
        assert_eq!(single.database.state(), State::Ready, "{what}: being full is no damage");
        let unfinished = |path: &PathBuf| path.to_string_lossy().contains(".new");
        assert!(!single.disk.files("").iter().any(unfinished), "{what}: unfinished files keep their space");
        for seed in 0..3 {
            single.lane_survives(Crash::Power, seed, &what);
        }
        single.restart(&what);
        single.assert_serves_all(&what);
    }
    assert!(refused > 400, "{refused} calls were refused");
}

impl Single {
    /// Opens what a crash leaves; the last strict answer has to be there.
    fn lane_survives(&self, crash: Crash, seed: u64, what: &str) {
        let image = SimDisk::with(self.disk.tree().after(crash, &mut Random::new(seed)));
        let database = Database::open_on(image.arc(), small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(database.state(), State::Ready, "{what}");
        let steps = self.lane.steps();
        let lasting = if steps.is_multiple_of(4) { steps - 1 } else { steps };
        self.lane.check(self.lane.find(&database).as_ref(), lasting, steps).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

fn created_anew(database: &Database) -> Result<()> {
    database.create(&Tenant::local(), config("another")).map(drop)
}

/// Runs until a call of this kind fails, and looks at what is left; says whether any did.
fn fail_once(kind: &'static [Kind], after: usize) -> bool {
    let what = format!("{kind:?} fails after {after} calls");
    let mut single = Single::new(8);
    single.disk.fail(Fault { on: kind, below: "", after, error: Io::Other, lasting: false });
    while single.lane.steps() < STEPS {
        let before = single.lane.steps();
        let step = single.step();
        let outcome = step.and_then(|()| single.manage());
        let (mut from, mut to) = (if outcome.is_ok() { single.lane.steps() } else { before }, single.lane.steps());
        let found = single.lane.find(&single.database);
        single.lane.check(found.as_ref(), from, to).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
            if let State::ReadOnly(reason) = single.database.state() {
                let refused = created_anew(&single.database).unwrap_err();
                assert!(refused.is_retryable() && refused.message().contains(&reason), "{what}: {refused}");
            }
            if single.database.state() == State::Ready {
                // What was refused is not there, and nothing is left that a crash could take for a record or for damage.
                if found.as_ref() != single.lane.now() {
                    single.lane.retreat();
                }
                (0..3).for_each(|_| single.step().unwrap());
                (0..8).for_each(|seed| single.lane_survives(Crash::Power, seed, &what));
                (from, to) = (single.lane.steps(), single.lane.steps());
            }
            single.restart(&what);
            let found = single.lane.find(&single.database);
            single.lane.check(found.as_ref(), from, to).unwrap_or_else(|wrong| panic!("{what}, reopened: {wrong}"));
            return true;
        }
    }
    single.disk.heal() > 0
}

#[test]
fn a_call_that_fails_once_loses_nothing_wherever_it_comes() {
    for kind in [
        &[Kind::Create][..],
        &[Kind::Append],
        &[Kind::Sync],
        &[Kind::Rename],
        &[Kind::SyncDirectory],
        &[Kind::Remove],
        &[Kind::Link],
        &[Kind::MakeDirectory],
        &[Kind::Append, Kind::TakeBack],
    ] {
        let failed = (0..400).take_while(|&after| fail_once(kind, after)).count();
        println!("{kind:?}: {failed} failures");
        assert!(failed > 2, "{kind:?} failed in {failed} runs");
    }
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named_and_nothing_is_lost() {
    let (disk, _) = with_segments();
    for after in 0..4 {
        disk.fail(Fault { on: GROWS, below: "", after, error: Io::StorageFull, lasting: true });
        if let Err(error) = Database::open_on(disk.arc(), small(0)) {
            assert!(
                error.kind() == ErrorKind::LimitExceeded && error.message().contains("the disk is full"),
                "{error}"
            );
        }
        assert!(disk.heal() > 0 || after > 1, "opening takes some space");
        let database = Database::open_on(disk.arc(), small(0)).unwrap();
        assert_eq!((opened(&database, "hurt").snapshot().len(), opened(&database, "whole").snapshot().len()), (70, 70));
    }
}

#[test]
fn a_read_that_fails_or_comes_short_at_the_start_is_an_error_and_loses_nothing() {
    let (disk, _) = with_segments();
    for kind in [&[Kind::Read][..], &[Kind::ShortRead]] {
        let opens = |after: usize| {
            let what = format!("{kind:?} after {after} calls");
            let disk = SimDisk::with(disk.tree());
            disk.fail(Fault { on: kind, below: "", after, error: Io::Other, lasting: false });
            match Database::open_on(disk.arc(), small(0)) {
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Corrupted), "{what}: {error}");
                }
                Ok(database) => {
                    disk.heal();
                    let served = ["hurt", "whole"].map(|name| database.collection(&Tenant::local(), name));
                    for collection in &served {
                        match collection {
                            Ok(collection) => assert_eq!(collection.snapshot().len(), 70, "{what}"),
                            Err(error) => assert_ne!(error.kind(), ErrorKind::NotFound, "{what}: {error}"),
                        }
                    }
                    // What is in service is written to and indexed beside it.
                    for collection in served.iter().flatten() {
                        upsert(&database, collection, &ids(0, 1), &[1.0; DIMENSION], Strict).unwrap();
                        database.vacuum(collection).unwrap();
                    }
                    database.close().unwrap();
                }
            }
            let has_failed = disk.heal() > 0;
            let database = Database::open_on(disk.arc(), small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
            let left = ["hurt", "whole"].map(|name| opened(&database, name).snapshot().len());
            assert_eq!((left, database.state()), ([70, 70], State::Ready), "{what}");
            has_failed
        };
        let failed = (0..400).take_while(|&after| opens(after)).count();
        println!("{kind:?}: {failed} failures");
        assert!(failed > 6, "{kind:?} failed in {failed} runs");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_a_restart() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(1)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 10), &[1.0; 10 * DIMENSION], Strict).unwrap();
    disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 0, error: Io::Other, lasting: false });
    let error = upsert(&database, &collection, &ids(10, 1), &[2.0; DIMENSION], Strict).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let State::ReadOnly(reason) = database.state() else { panic!("writes are still accepted") };
    assert!(reason.contains("syncing log/"), "{reason}");
    let before = disk.events();
    let refusals: [Result<()>; 7] = [
        upsert(&database, &collection, &ids(11, 1), &[2.0; DIMENSION], Relaxed).map(drop),
        database.delete(&collection, Which::Ids(&ids(0, 1)), None).map(drop),
        database.delete(&collection, Which::Matching(&filter(&[])), None).map(drop),
        database.configure(&collection, Tuning::default()),
        database.snapshot().map(drop),
        database.vacuum(&collection).map(drop),
        database.delete_collection(&Tenant::local(), "c"),
    ];
    for refusal in refusals {
        let error: Error = refusal.unwrap_err();
        assert!(error.is_retryable() && error.message().contains(&reason), "{error}");
    }
    assert_eq!(disk.events(), before, "the disk is left alone");
    assert_eq!(collection.snapshot().len(), 10, "searches go on");
    database.close().unwrap();
    for seed in 0..10 {
        let image = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(seed)));
        let database = Database::open_on(image.arc(), small(1)).unwrap();
        let points = opened(&database, "c").snapshot().len();
        assert!((10..=11).contains(&points), "{points} points: what was not answered may be there or not");
    }
}

#[test]
fn after_a_failed_sync_and_a_restart_a_power_cut_takes_nothing_that_was_answered() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 10), &[1.0; 10 * DIMENSION], Strict).unwrap();
    disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 0, error: Io::Other, lasting: false });
    upsert(&database, &collection, &ids(10, 1), &[2.0; DIMENSION], Strict).unwrap_err();
    database.close().unwrap();
    // The same machine: what was not synced is still in memory, and will never be written from there.
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = opened(&database, "c");
    let seen = collection.snapshot().len();
    upsert(&database, &collection, &ids(20, 10), &[3.0; 10 * DIMENSION], Strict).unwrap();
    for seed in 0..20 {
        let image = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(seed)));
        let database = Database::open_on(image.arc(), small(0)).unwrap();
        assert_eq!(database.state(), State::Ready, "seed {seed}");
        assert_eq!(opened(&database, "c").snapshot().len(), seen + 10, "seed {seed}");
    }
}

#[test]
fn a_snapshot_whose_sync_fails_ends_writing_as_well() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(1)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 10), &[1.0; 10 * DIMENSION], Relaxed).unwrap();
    disk.fail(Fault { on: &[Kind::Sync], below: "log", after: 0, error: Io::Other, lasting: false });
    assert!(database.snapshot().unwrap_err().is_retryable());
    assert!(matches!(database.state(), State::ReadOnly(_)), "{:?}", database.state());
}

/// A database with two collections, sealed segments in both, and some points in the log.
fn with_segments() -> (SimDisk, PathBuf) {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let mut random = Random::new(4);
    for name in ["hurt", "whole"] {
        let collection = created(&database, name);
        upsert(&database, &collection, &ids(0, 60), &random.vector(60 * DIMENSION), Strict).unwrap();
        database.vacuum(&collection).unwrap();
        upsert(&database, &collection, &ids(50, 20), &random.vector(20 * DIMENSION), Strict).unwrap();
    }
    let directory = format!("spaces/{:016x}", opened(&database, "hurt").space().0);
    database.close().unwrap();
    (disk, directory.into())
}

/// Checks that one collection is out of service and the other is not, and that nothing of the first is touched.
fn assert_only_hurt_is_out(disk: &SimDisk, directory: &Path, what: &str) {
    let below = directory.to_str().unwrap();
    let files = disk.files(below);
    let database = Database::open_on(disk.arc(), small(1)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let error = database.collection(&Tenant::local(), "hurt").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupted, "{what}: {error}");
    assert!(error.message().contains("`hurt`"), "{what}: {error}");
    assert_eq!(database.create(&Tenant::local(), config("hurt")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(database.snapshot().unwrap_err().kind(), ErrorKind::Corrupted, "{what}: a snapshot would lack it");
    let whole = opened(&database, "whole");
    assert_eq!(whole.snapshot().len(), 70, "{what}");
    for batch in 0..5 {
        upsert(&database, &whole, &ids(100 * batch, 50), &Random::new(batch).vector(50 * DIMENSION), Strict).unwrap();
    }
    database.vacuum(&whole).unwrap();
    assert_eq!(disk.files(below), files, "{what}: its files stay");
    database.close().unwrap();
}

#[test]
fn a_damaged_segment_or_manifest_takes_its_collection_out_of_service_and_no_other() {
    let (disk, directory) = with_segments();
    let files = disk.files(directory.to_str().unwrap());
    assert_eq!(files.len(), 2, "a manifest and a segment: {files:?}");
    for file in files {
        let whole = disk.tree();
        let len = whole.bytes(whole.find(&file).unwrap()).len();
        for damage in ["cut in half", "emptied", "flipped in its first half", "flipped in its second half"] {
            let what = format!("{} {damage}", file.display());
            let change = |bytes: &mut Vec<u8>| match damage {
                "cut in half" => bytes.truncate(len / 2),
                "emptied" => bytes.clear(),
                "flipped in its first half" => bytes[len / 3] ^= 4,
                _ => bytes[len * 2 / 3] ^= 16,
            };
            let hurt = SimDisk::with(whole.clone());
            let original = whole.bytes(whole.find(&file).unwrap()).to_vec();
            hurt.damage(&file, change);
            assert_only_hurt_is_out(&hurt, &directory, &what);
            hurt.damage(&file, |bytes| *bytes = original);
            let database = Database::open_on(hurt.arc(), small(0)).unwrap();
            let mended = opened(&database, "hurt").snapshot();
            assert_eq!(mended.len(), 70, "{what}: once it is mended, segments and log give everything back");
        }
    }
}

#[test]
fn no_flipped_bit_of_a_segment_or_manifest_makes_a_wrong_answer() {
    let (disk, directory) = with_segments();
    let whole = disk.tree();
    let points = |database: &Database| {
        let mut points: Vec<_> = opened(database, "hurt").snapshot().points().map(|p| (p.id, p.vector)).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0));
        points
    };
    let expected = points(&Database::open_on(SimDisk::with(whole.clone()).arc(), small(0)).unwrap());
    let (mut flips, mut unnoticed) = (0, 0);
    for file in disk.files(directory.to_str().unwrap()) {
        let bits = whole.bytes(whole.find(&file).unwrap()).len() * 8;
        for bit in (0..bits).step_by(effort(61, 7, 1)) {
            let hurt = SimDisk::with(whole.clone());
            hurt.damage(&file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            flips += 1;
            let database = Database::open_on(hurt.arc(), small(0)).unwrap();
            if let Err(error) = database.collection(&Tenant::local(), "hurt") {
                assert!(matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::Unsupported), "{error}");
                continue;
            }
            assert_eq!(points(&database), expected, "bit {bit} of {}", file.display());
            unnoticed += 1;
        }
    }
    // Padding has no checksum and no meaning.
    assert!(unnoticed * 5 < flips, "{unnoticed} of {flips} went unnoticed");
}

#[test]
fn a_damaged_collection_can_be_deleted_and_gives_its_log_back() {
    let (disk, directory) = with_segments();
    disk.damage(&directory.join("manifest"), Vec::clear);
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    database.delete_collection(&Tenant::local(), "hurt").unwrap();
    assert!(disk.files(directory.to_str().unwrap()).is_empty());
    created(&database, "hurt");
    database.vacuum(&opened(&database, "whole")).unwrap();
    assert_eq!(disk.files("log").len(), 1, "{:?}", disk.files("log"));
    database.snapshot().unwrap();
}

#[test]
fn a_damaged_collection_does_not_stop_others_from_being_written() {
    let (disk, directory) = with_segments();
    disk.damage(&directory.join("manifest"), Vec::clear);
    let mut options = small(1);
    options.patience = std::time::Duration::from_millis(200);
    let database = Database::open_on(disk.arc(), options.clone()).unwrap();
    let whole = opened(&database, "whole");
    let mut random = Random::new(1);
    let mut written = 0;
    while written < 4 * options.log_limit as usize {
        upsert(&database, &whole, &ids(0, 200), &random.vector(200 * DIMENSION), Strict).unwrap();
        written += 200 * DIMENSION * 4;
    }
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_makes_the_database_read_only() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    for id in 0..100 {
        upsert(&database, &collection, &ids(id, 1), &[id as f32; DIMENSION], Strict).unwrap();
    }
    database.close().unwrap();
    let whole = disk.tree();
    let files = disk.files("log");
    assert!(files.len() > 1, "{files:?}");
    for file in &files {
        let hurt = SimDisk::with(whole.clone());
        let len = whole.bytes(whole.find(file).unwrap()).len();
        hurt.damage(file, |bytes| bytes[len / 2] ^= 1);
        let damaged = hurt.events();
        let database = Database::open_on(hurt.arc(), small(1)).unwrap();
        let State::ReadOnly(reason) = database.state() else { panic!("{}: it is written to", file.display()) };
        assert!(reason.contains(file.to_str().unwrap()) && reason.contains("offset"), "{reason}");
        let served = database.collection(&Tenant::local(), "c").map(|collection| collection.snapshot().len());
        assert!(
            served.is_ok_and(|points| (1..100).contains(&points)) || database.collections(&Tenant::local()).is_empty()
        );
        let refused = database.create(&Tenant::local(), config("d")).unwrap_err();
        assert!(refused.message().contains(&reason), "{refused}");
        database.close().unwrap();
        assert_eq!(hurt.events(), damaged, "{}: nothing on the disk is changed", file.display());
    }
}

#[test]
fn a_damaged_or_missing_catalog_is_refused() {
    let (disk, _) = with_segments();
    let whole = disk.tree();
    let hurt = SimDisk::with(whole.clone());
    hurt.damage(Path::new("catalog"), |bytes| bytes[20] ^= 1);
    let error = Database::open_on(hurt.arc(), small(0)).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupted && error.message().contains("catalog"), "{error}");
    let bare = SimDisk::with(whole);
    hyperspace_server::disk::Disk::remove(&bare, Path::new("catalog")).unwrap();
    let files = bare.files("");
    let error = Database::open_on(bare.arc(), small(0)).unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupted && error.message().contains("no file catalog"), "{error}");
    assert_eq!(bare.files(""), files, "nothing is made anew over it");
}

#[test]
fn a_second_owner_of_a_directory_is_refused_until_the_first_one_has_closed() {
    let folder = tempfile::tempdir().unwrap();
    let first = Database::open(folder.path(), small(1)).unwrap();
    let refused = Database::open(folder.path(), small(1)).unwrap_err();
    assert!(refused.is_retryable() && refused.message().contains("in use by another process"), "{refused}");
    first.close().unwrap();
    Database::open(folder.path(), small(1)).unwrap().close().unwrap();
}

#[test]
fn writes_behind_one_that_failed_fail_too_and_later_ones_succeed() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    disk.hold(Kind::Append, "log");
    let first = queued(&database, &collection, 1);
    disk.until_waiting(1);
    let behind: Vec<_> = (2..6).map(|id| queued(&database, &collection, id)).collect();
    disk.fail(Fault { on: &[Kind::Append], below: "log", after: 0, error: Io::StorageFull, lasting: false });
    disk.release();
    for ticket in std::iter::once(first).chain(behind) {
        let error = ticket.wait_blocking().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
    }
    assert_eq!(collection.snapshot().len(), 1, "nothing of them is there");
    upsert(&database, &collection, &ids(7, 1), &[7.0; DIMENSION], Strict).unwrap();
    database.close().unwrap();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let mut found: Vec<_> = opened(&database, "c").snapshot().points().map(|point| point.id).collect();
    found.sort();
    assert_eq!(found, [&ids(0, 1)[..], &ids(7, 1)].concat());
}
