//! `check` against what histories, crashes and damage leave: it finds nothing where nothing is wrong, names the file where
//! something is, and changes nothing.

use std::path::{Path, PathBuf};

use hyperspace_core::error::ErrorKind;
use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_server::database::Database;
use hyperspace_server::database::check::{Finding, FindingKind, Report, check, check_on};
use hyperspace_server::disk::Disk as _;

use crate::lanes::Lane;
use crate::sim::{Crash, SimDisk};
use crate::support::{DIMENSION, Random, created, effort, ids, opened, small, stop, tenant, upsert};

/// Checks a disk, and that the check leaves it alone.
fn checked(disk: &SimDisk) -> Report {
    let before = disk.events();
    let report = check_on(&disk.clone()).unwrap();
    assert_eq!(disk.events(), before, "a check changes nothing");
    report
}

fn damaged(report: &Report) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.kind == FindingKind::Damage).collect()
}

#[test]
fn whatever_a_history_or_a_crash_leaves_is_sound() {
    let (mut torn, mut left_over) = (0, 0);
    for seed in 0..effort(12, 300, 2_000) as u64 {
        let (disk, mut random) = (SimDisk::default(), Random::new(seed));
        let mut lanes = [("t", "c"), ("u", "c")].map(|(owner, name)| Lane::new(0, tenant(owner), name, true, seed));
        for _ in 0..3 {
            let database = Database::open_on(disk.arc(), small(seed as usize % 3)).unwrap();
            for round in 0..40 {
                let lane = &mut lanes[round % 2];
                let step = lane.advance();
                lane.run(&step, &database, if random.one_in(3) { Relaxed } else { Strict }).unwrap();
                if let Ok(collection) = database.collection(&lane.tenant, &lane.collection)
                    && random.one_in(20)
                {
                    database.vacuum(&collection).unwrap();
                    database.snapshot().unwrap();
                }
            }
            if random.one_in(2) {
                database.close().unwrap();
            }
            stop(database);
        }
        let trace = disk.trace();
        for image in 0..40 {
            let mut tree = crate::sim::Tree::default();
            let moment = random.below(trace.len() + 1);
            trace[..moment].iter().for_each(|event| tree.replay(event));
            let crash = if image % 2 == 0 { Crash::Process } else { Crash::Power };
            let image = SimDisk::with(tree.after(crash, &mut random));
            if image.files("").iter().all(|file| file != Path::new("catalog")) {
                assert_eq!(check_on(&image).unwrap_err().kind(), ErrorKind::NotFound, "seed {seed}, event {moment}");
                continue;
            }
            let report = checked(&image);
            assert!(report.is_sound(), "seed {seed}, {crash:?} after event {moment}:\n{report}");
            torn += report.count(FindingKind::TornTail);
            left_over += report.count(FindingKind::Leftover);
            let database = Database::open_on(image.arc(), small(0)).unwrap();
            let collections = lanes.iter().flat_map(|lane| database.collections(&lane.tenant));
            assert_eq!(report.totals.points, collections.map(|c| c.snapshot().len() as u64).sum::<u64>());
            database.close().unwrap();
            let after = checked(&image);
            assert!(after.findings.is_empty(), "seed {seed}: a start takes all of that away:\n{after}");
        }
    }
    assert!(torn > 10 && left_over > 10, "{torn} torn tails, {left_over} leftovers: the histories leave too little");
}

/// A database with a collection that has segments, bitmaps with dead points, tombstones, and records in several log files.
fn written() -> SimDisk {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    let mut random = Random::new(9);
    for first in [0, 100] {
        upsert(&database, &collection, &ids(first, 40), &random.vector(40 * DIMENSION), Strict).unwrap();
        database.vacuum(&collection).unwrap();
    }
    for first in 0..60 {
        upsert(&database, &collection, &ids(90 + first, 10), &random.vector(10 * DIMENSION), Strict).unwrap();
    }
    database.snapshot().unwrap();
    database.close().unwrap();
    disk
}

/// The files of the database itself.
fn own_files(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files("").into_iter().filter(|file| !file.starts_with("snapshots")).collect()
}

#[test]
fn a_database_and_its_snapshot_are_sound_and_counted() {
    let disk = written();
    let report = checked(&disk);
    assert_eq!(report.findings, [], "{report}");
    let totals = report.totals;
    let bytes = own_files(&disk).iter().map(|file| disk.read(file).unwrap().len() as u64).sum::<u64>();
    assert_eq!((totals.collections, totals.points, totals.bytes, totals.snapshots), (1, 109, bytes, 1));
    assert_eq!(totals.log_files as usize, disk.files("log").len());
    assert!(totals.segments >= 1 && totals.log_records >= 60, "{report}");
    let name = &disk.tree().list(Path::new("snapshots"))[0].0;
    let copy = checked(&SimDisk::with(disk.tree().below(&Path::new("snapshots").join(name)).unwrap()));
    assert_eq!((copy.findings, copy.totals.points), (vec![], 109));
}

#[test]
fn wherever_a_bit_is_flipped_the_finding_names_the_file() {
    let disk = written();
    let (mut flips, mut unseen) = (0, 0);
    for file in own_files(&disk) {
        let len = disk.read(&file).unwrap().len();
        // The last frame is the closing note, which nothing behind it vouches for.
        let until = if Some(&file) == disk.files("log").last() { len - 29 } else { len };
        for bit in (0..until * 8).step_by(effort(331, 31, 7)) {
            let hurt = SimDisk::with(disk.tree());
            hurt.damage(&file, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let report = checked(&hurt);
            flips += 1;
            let what = format!("bit {bit} of {}", file.display());
            if report.is_sound() {
                assert!(report.findings.is_empty() || file.starts_with("log"), "{what}:\n{report}");
                unseen += 1;
                continue;
            }
            assert_eq!(damaged(&report)[0].file, file, "{what}:\n{report}");
            assert_eq!(damaged(&report)[0].offset.is_some(), file.starts_with("log"), "{what}:\n{report}");
        }
    }
    println!("{flips} flips");
    // Segments are named by their hash, so that not even their padding can change.
    assert!(flips > 500 && unseen == 0, "{unseen} of {flips} went unseen");
}

#[test]
fn what_is_cut_short_or_missing_is_found_where_it_was() {
    let disk = written();
    let newest = disk.files("log").last().cloned();
    for file in own_files(&disk) {
        let hurt = SimDisk::with(disk.tree());
        hurt.damage(&file, |bytes| bytes.truncate(bytes.len() / 2));
        let report = checked(&hurt);
        if Some(&file) == newest.as_ref() {
            assert_eq!(report.count(FindingKind::TornTail), 1, "a crash would leave the same:\n{report}");
        } else {
            assert_eq!(damaged(&report)[0].file, file, "{report}");
        }
        let hurt = SimDisk::with(disk.tree());
        hurt.remove(&file).unwrap();
        let report = checked(&hurt);
        if Some(&file) != newest.as_ref() {
            // Of a log file it is the next one that says which frame is missing.
            let named = damaged(&report).iter().any(|f| f.file == file || f.message.contains("is missing"));
            assert!(named, "{}:\n{report}", file.display());
        }
    }
}

#[test]
fn names_that_nothing_stands_for_are_leftovers_and_no_damage() {
    let disk = written();
    let manifest = own_files(&disk).into_iter().find(|file| file.ends_with("manifest")).unwrap();
    let space = manifest.parent().unwrap();
    let strangers =
        [PathBuf::from("catalog.new"), "log/stranger".into(), "spaces/0000000000000001".into(), space.join("segment")];
    for stranger in &strangers {
        disk.create(stranger).unwrap();
    }
    disk.create_directory(Path::new("snapshots/half.new")).unwrap();
    let report = checked(&disk);
    let found: Vec<_> = report.findings.iter().map(|finding| finding.file.as_path()).collect();
    let expected = [space.join("segment"), "catalog.new".into(), "log/stranger".into()];
    assert!(expected.iter().all(|file| found.contains(&file.as_path())), "{report}");
    assert_eq!((report.is_sound(), report.count(FindingKind::Leftover), found.len()), (true, 5, 5), "{report}");
}

#[test]
fn a_log_that_does_not_go_on_where_the_segments_end_is_damage() {
    let disk = written();
    let first = disk.files("log")[0].clone();
    disk.remove(&first).unwrap();
    let report = checked(&disk);
    let message = "the log of collection `c` goes on with record";
    assert!(damaged(&report).iter().any(|finding| finding.message.contains(message)), "{report}");
}

#[test]
fn a_catalog_that_is_older_than_its_stamps_is_damage() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    let without_stamps = disk.read(Path::new("catalog")).unwrap();
    upsert(&database, &collection, &ids(0, 3), &[1.0; 3 * DIMENSION], Strict).unwrap();
    database.close().unwrap();
    assert_eq!(checked(&disk).findings, []);
    disk.damage(Path::new("catalog"), |bytes| *bytes = without_stamps);
    let report = checked(&disk);
    assert!(damaged(&report)[0].message.contains("which reserved those below 0"), "{report}");
    assert_eq!(damaged(&report)[0].file, disk.files("log")[0]);
    // Sealed, they are found in their segment.
    Database::open_on(disk.arc(), small(0)).unwrap();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    database.vacuum(&opened(&database, "c")).unwrap();
    database.close().unwrap();
    assert!(damaged(&checked(&disk)).iter().any(|finding| finding.file.starts_with("spaces")));
}

#[test]
fn a_directory_is_checked_as_it_lies_there_and_only_when_nobody_serves_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    assert_eq!(check(&data).unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::create_dir(&data).unwrap();
    assert_eq!(check(&data).unwrap_err().kind(), ErrorKind::NotFound, "an empty directory is no database");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "and stays empty");
    let database = Database::open(&data, small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 90), &Random::new(1).vector(90 * DIMENSION), Strict).unwrap();
    let copy = database.snapshot().unwrap().path;
    let refused = check(&data).unwrap_err();
    assert!(refused.is_retryable() && refused.message().contains("in use by another process"), "{refused}");
    assert_eq!(check(&copy).unwrap().totals.points, 90, "a snapshot can be checked beside a server");
    assert!(!copy.join("LOCK").exists());
    database.close().unwrap();
    let report = check(&data).unwrap();
    assert_eq!((report.findings, report.totals.points), (vec![], 90));
}
