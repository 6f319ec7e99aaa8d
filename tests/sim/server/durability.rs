//! The order in which things become durable: what is answered has been synced, what replaces has been synced before what
//! it replaces goes. Killing a process proves none of this; a trace of the calls does.

use std::collections::BTreeMap;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use hyperspace_core::port::Durability::{Relaxed, Strict};
use hyperspace_core::segment::Manifest;
use hyperspace_core::types::{PointId, SegmentId, Tenant};
use hyperspace_server::database::{Database, Tuning, Which};

use super::harness::sim::{Crash, Event, Fault, Inode, Kind, Lie, Note, SimDisk, Tree};
use super::harness::support::{DIMENSION, Random, config, created, ids, opened, queued, small, upsert};

/// Answers whose writes were not on the device when they were given.
fn early_answers(trace: &[Event]) -> Vec<String> {
    let mut written: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
    let mut durable: Vec<u8> = Vec::new();
    let mut early = Vec::new();
    for event in trace {
        match event {
            Event::Append(file, bytes) => written.entry(*file).or_default().extend_from_slice(bytes),
            Event::Sync(file) => durable.append(written.entry(*file).or_default()),
            Event::Note(Note::Answered(text)) => {
                let is_durable = durable.windows(text.len()).any(|window| window == text.as_bytes());
                early.extend((!is_durable).then(|| text.clone()));
            }
            _ => (),
        }
    }
    early
}

/// Steps that were taken before what they rest on was durable.
fn out_of_order(trace: &[Event]) -> Vec<String> {
    let mut tree = Tree::default();
    let mut wrong = Vec::new();
    for event in trace {
        match event {
            Event::Rename(from, to) => {
                let is_whole = tree.find(from).is_some_and(|node| tree.is_directory(node) || tree.is_synced(node));
                if !is_whole {
                    wrong.push(format!("{} gets its name before its bytes are durable", to.display()));
                }
            }
            Event::Remove(path) | Event::RemoveDirectory(path) if !is_unfinished(path) => {
                wrong.extend(unsynced_names(&tree).map(|directory| {
                    format!("{} goes before the names in `{}` are durable", path.display(), directory.display())
                }));
                wrong.extend(still_named(&tree, path));
            }
            _ => (),
        }
        tree.replay(event);
    }
    wrong
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "new")
}

/// Directories with a new manifest or catalog that a loss of power could take back.
fn unsynced_names(tree: &Tree) -> impl Iterator<Item = PathBuf> {
    let spaces = tree.list(Path::new("spaces")).into_iter().map(|(name, _)| Path::new("spaces").join(name));
    let directories = spaces.chain([PathBuf::new()]);
    directories.filter(|directory| tree.has_moves(directory))
}

/// A complaint when a segment is named by the manifest beside it.
fn still_named(tree: &Tree, path: &Path) -> Option<String> {
    let manifest = tree.find(&path.parent()?.join("manifest"))?;
    let manifest = Manifest::decode(tree.bytes(manifest)).unwrap();
    let name = path.file_name()?.to_str()?;
    let is_named = manifest.segments.iter().any(|segment| SegmentId(segment.id).to_string() == name);
    is_named.then(|| format!("{} goes while its manifest names it", path.display()))
}

/// Writes from several threads, each answer noted.
fn write_from_threads(disk: &SimDisk, threads: u64, each: u64) -> u64 {
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (database, collection, disk) = (&database, &collection, &disk);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                for n in 0..each {
                    let name = format!("<point {n} of writer {thread}>");
                    let id = PointId::string(&name).unwrap();
                    upsert(database, collection, &[id], &random.vector(DIMENSION), Strict).unwrap();
                    disk.note(Note::Answered(name));
                }
            });
        }
    });
    let stats = database.stats();
    assert_eq!(stats.log_records, threads * each);
    stats.log_syncs
}

#[test]
fn a_strict_write_is_synced_between_its_append_and_its_answer() {
    let disk = SimDisk::default();
    write_from_threads(&disk, 8, 50);
    assert_eq!(early_answers(&disk.trace()), Vec::<String>::new());
}

#[test]
fn without_the_sync_the_same_check_fails() {
    let disk = SimDisk::lying(Lie::FileSync);
    write_from_threads(&disk, 2, 10);
    assert_eq!(early_answers(&disk.trace()).len(), 20);
}

#[test]
fn writers_that_wait_together_share_a_sync() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    let before = database.stats().log_syncs;
    disk.hold(Kind::Sync, "log");
    let first = queued(&database, &collection, 1);
    disk.until_waiting(1);
    let others: Vec<_> = (2..40).map(|id| queued(&database, &collection, id)).collect();
    disk.release();
    first.wait_blocking().unwrap();
    for other in others {
        other.wait_blocking().unwrap();
    }
    assert_eq!(database.stats().log_syncs - before, 2, "one for the first, one for all that came meanwhile");
    assert_eq!(collection.snapshot().len(), 40);
}

#[test]
fn a_relaxed_write_is_answered_without_a_sync_and_synced_with_the_next_strict_one() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 1), &[0.0; DIMENSION], Strict).unwrap();
    let before = disk.events();
    upsert(&database, &collection, &ids(1, 1), &[1.0; DIMENSION], Relaxed).unwrap();
    let syncs = |from: usize| disk.trace()[from..].iter().filter(|event| matches!(event, Event::Sync(_))).count();
    assert_eq!(syncs(before), 0);
    // A delete of nothing rests on what is there: it makes that durable.
    let deleted = database.delete(&collection, Which::Ids(&ids(99, 1)), Some(Strict)).unwrap().wait_blocking().unwrap();
    assert_eq!((deleted.applied.deleted, syncs(before)), (0, 1));
    let after_power_loss = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(1)));
    let database = Database::open_on(after_power_loss.arc(), small(0)).unwrap();
    assert_eq!(opened(&database, "c").snapshot().len(), 2);
}

/// A workload in which segments are sealed and merged, log files and collections removed.
fn busy(disk: &SimDisk) {
    let mut random = Random::new(7);
    let database = Database::open_on(disk.arc(), small(2)).unwrap();
    for round in 0..6 {
        let name = format!("c{round}");
        let collection = created(&database, &name);
        for batch in 0..20 {
            let rows: Vec<f32> = random.vector(16 * DIMENSION);
            upsert(&database, &collection, &ids(batch * 12, 16), &rows, Strict).unwrap();
        }
        database.configure(&collection, Tuning { ef_search: Some(Some(50 + round)), ..Tuning::default() }).unwrap();
        database.vacuum(&collection).unwrap();
        database.snapshot().unwrap();
        if round % 2 == 0 {
            database.delete_collection(&Tenant::local(), &name).unwrap();
        }
    }
    database.close().unwrap();
}

#[test]
fn nothing_goes_before_what_replaces_it_is_durable() {
    let disk = SimDisk::default();
    busy(&disk);
    let trace = disk.trace();
    assert_eq!(out_of_order(&trace), Vec::<String>::new());
    let count = |is: fn(&Event) -> bool| trace.iter().filter(|event| is(event)).count();
    let removed_below = |directory: &'static str| {
        let is_below = |event: &&Event| matches!(event, Event::Remove(path) if path.starts_with(directory));
        trace.iter().filter(is_below).count()
    };
    assert!(removed_below("log") > 5, "{} log files were removed", removed_below("log"));
    assert!(removed_below("spaces") > 5, "{} segments were removed", removed_below("spaces"));
    assert_eq!(count(|event| matches!(event, Event::RemoveDirectory(_))), 3);
    assert!(count(|event| matches!(event, Event::Rename(..))) > 50);
}

#[test]
fn a_sync_that_is_left_out_is_noticed() {
    for (lie, word) in [(Lie::FileSync, "before its bytes are durable"), (Lie::DirectorySync, "before the names in")] {
        let disk = SimDisk::lying(lie);
        busy(&disk);
        let complaints = out_of_order(&disk.trace());
        assert!(complaints.iter().any(|complaint| complaint.contains(word)), "{lie:?}: {complaints:?}");
    }
}

#[test]
fn what_a_relaxed_write_replaced_is_not_lost_with_it() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 50), &[1.0; 50 * DIMENSION], Strict).unwrap();
    database.vacuum(&collection).unwrap();
    upsert(&database, &collection, &ids(0, 50), &[2.0; 50 * DIMENSION], Relaxed).unwrap();
    // The manifest that is written now knows that the sealed points are dead.
    database.configure(&collection, Tuning { ef_search: Some(Some(77)), ..Tuning::default() }).unwrap();
    for seed in 0..20 {
        let crashed = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(seed)));
        let database = Database::open_on(crashed.arc(), small(0)).unwrap();
        assert_eq!(opened(&database, "c").snapshot().len(), 50, "seed {seed}");
    }
}

#[test]
fn a_log_file_whose_removal_could_not_be_synced_is_gone_all_the_same() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    for id in 0..200 {
        upsert(&database, &collection, &ids(id, 1), &[id as f32; DIMENSION], Strict).unwrap();
    }
    let files = disk.files("log").len();
    disk.fail(Fault { on: &[Kind::SyncDirectory], below: "log", after: 0, error: Io::Other, lasting: false });
    database.vacuum(&collection).unwrap();
    assert_eq!((disk.failures(), disk.files("log").len()), (1, files - 1), "the first removal was not synced");
    database.snapshot().unwrap();
}

#[test]
fn a_collection_is_there_when_its_making_was_answered_and_gone_when_its_end_was() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let exists = |expected: bool| {
        for seed in 0..20 {
            let crashed = SimDisk::with(disk.tree().after(Crash::Power, &mut Random::new(seed)));
            let database = Database::open_on(crashed.arc(), small(0)).unwrap();
            assert_eq!(database.collection(&Tenant::local(), "c").is_ok(), expected, "seed {seed}");
        }
    };
    for _ in 0..3 {
        database.create(&Tenant::local(), config("c")).unwrap();
        exists(true);
        database.delete_collection(&Tenant::local(), "c").unwrap();
        exists(false);
    }
}
