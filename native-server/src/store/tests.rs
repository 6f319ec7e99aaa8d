//! The log against everything a crash, a flipped bit and a lost file can do to it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use hyperspace_core::bytes::{MAX_COUNTER, crc32c};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::log::{Layout, NewEntry, RequestId, encode_writes};
use hyperspace_core::types::{Lsn, PointId, SpaceId, Stamp};

use super::files::{LOG, log_file};
use super::frame::{Body, Salt, encode_frame};
use super::log::{Log, LogEntry};
use super::replay::{Replayed, replay};
use crate::disk::{DirectoryLock, Disk, LocalDisk};

const DATABASE: u64 = 77;

/// A directory with a log, and what it must give back.
struct World {
    folder: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    _lock: DirectoryLock,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (disk, lock) = LocalDisk::open(folder.path()).unwrap();
        disk.create_directory(Path::new(LOG)).unwrap();
        Self { folder, disk: Arc::new(disk), _lock: lock }
    }

    fn start(&self, file_bytes: u64) -> Log {
        let (replayed, _) = self.replay();
        Log::start(Arc::clone(&self.disk), DATABASE, replayed, file_bytes).unwrap()
    }

    /// What is found, and the records in order.
    fn replay(&self) -> (Replayed, Vec<(SpaceId, Vec<u8>)>) {
        let mut found = Vec::new();
        let replayed = replay(&*self.disk, DATABASE, |records| {
            let mut spaces: Vec<_> = records.iter().collect();
            spaces.sort_by_key(|(space, _)| **space);
            for (space, records) in spaces {
                found.extend(records.iter().map(|record| (*space, record.to_vec())));
            }
        });
        (replayed.unwrap(), found)
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        self.disk.read(&log_file(number)).unwrap()
    }

    fn put(&self, number: u64, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(log_file(number)), bytes).unwrap();
    }
}

fn record(lsn: u64) -> Vec<u8> {
    let id = PointId::Int(lsn);
    let row = [lsn as f32; 3];
    let request = Some(RequestId { tab: lsn, n: 1 });
    let entry = NewEntry { id: &id, number: 0, put: Some((&row[..], 1.0, &b"{}"[..])) };
    let layout = Layout { dimension: 3, has_terms: false, has_numbers: false };
    encode_writes(Lsn(lsn), Stamp { hlc: lsn, writer: 1, cseq: lsn }, request, layout, std::iter::once(entry))
}

/// Appends records `from..to` of space 1 in groups of three.
fn append(log: &mut Log, from: u64, to: u64) {
    let records: Vec<_> = (from..to).map(|lsn| (lsn, record(lsn))).collect();
    for group in records.chunks(3) {
        let entries: Vec<_> =
            group.iter().map(|(lsn, record)| LogEntry { space: SpaceId(1), lsn: Lsn(*lsn), record }).collect();
        log.append(&entries).unwrap();
    }
}

fn lsns(found: &[(SpaceId, Vec<u8>)]) -> Vec<u64> {
    found.iter().map(|(_, record)| u64::from_le_bytes(record[8..16].try_into().unwrap())).collect()
}

#[test]
fn what_was_appended_is_replayed_over_rotations_and_restarts() {
    let world = World::new();
    for (from, to) in [(1, 10), (10, 11), (11, 40)] {
        let mut log = world.start(500);
        append(&mut log, from, to);
        log.close().unwrap();
    }
    let (replayed, found) = world.replay();
    assert!(replayed.obstacle.is_none());
    assert!(replayed.files.len() > 4, "{} files", replayed.files.len());
    assert_eq!(lsns(&found), (1..40).collect::<Vec<_>>());
    assert!(replayed.files.iter().any(|file| file.holds.get(&SpaceId(1)) == Some(&Lsn(39))));
}

#[test]
fn a_tail_that_was_never_durable_is_cut_whatever_a_crash_made_of_it() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 7);
    log.sync().unwrap();
    let durable = world.bytes(1).len();
    append(&mut log, 7, 16);
    drop(log);
    let whole = world.bytes(1);
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for round in 0..400 {
        let mut image = whole.clone();
        match round % 3 {
            0 => image.truncate(durable + random(whole.len() - durable)),
            1 => {
                // A page that never arrived, with later ones that did.
                let at = durable + random(whole.len() - durable);
                let end = (at + 1 + random(64)).min(image.len());
                image[at..end].fill(0);
            }
            _ => {
                let at = durable + random(whole.len() - durable);
                image[at] ^= 1 << random(8);
            }
        }
        world.put(1, &image);
        let (replayed, found) = world.replay();
        let found = lsns(&found);
        assert!(replayed.obstacle.is_none(), "round {round}: {:?}", replayed.obstacle);
        assert!((6..=15).contains(&found.len()), "round {round}: {found:?}");
        assert_eq!(found, (1..=found.len() as u64).collect::<Vec<_>>(), "round {round}: a prefix");
        // What was cut does not come back, and the log goes on behind it.
        let (again, same) = world.replay();
        assert_eq!((again.next_seq, lsns(&same)), (replayed.next_seq, found), "round {round}");
    }
}

#[test]
fn damage_before_what_was_durable_is_reported_and_nothing_is_cut() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 7);
    log.sync().unwrap();
    let known = world.bytes(1).len();
    append(&mut log, 7, 10);
    log.sync().unwrap();
    drop(log);
    let whole = world.bytes(1);
    let mut states = 0;
    for bit in (0..known * 8).step_by(7) {
        let mut image = whole.clone();
        image[bit / 8] ^= 1 << (bit % 8);
        world.put(1, &image);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut found = 0;
            let replayed =
                replay(&*world.disk, DATABASE, |records| found += records.values().map(Vec::len).sum::<usize>());
            (replayed, found)
        }));
        let (replayed, found) = found.unwrap();
        match replayed {
            // A later version, or another database, is what the header says then: refused as a whole.
            Err(error) => assert!(error.message().contains("0000000000000001"), "bit {bit}: {error}"),
            Ok(replayed) => {
                let damage = replayed.obstacle.unwrap_or_else(|| panic!("bit {bit} went unnoticed, {found} records"));
                assert!(
                    damage.message().contains("0000000000000001") && damage.message().contains("offset"),
                    "{damage}"
                );
                assert!(found >= 3, "bit {bit}: what stands behind the damage is read, {found} records");
                states += 1;
            }
        }
        assert_eq!(world.bytes(1), image, "bit {bit}: the file is as it was found");
    }
    assert!(states > known, "{states} of {known} bytes");
}

#[test]
fn a_clean_end_makes_every_flipped_bit_before_it_damage() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 4);
    log.close().unwrap();
    let whole = world.bytes(1);
    let mut image = whole.clone();
    let last_record = whole.len() - 40;
    image[last_record] ^= 1;
    world.put(1, &image);
    assert!(world.replay().0.obstacle.is_some());
}

#[test]
fn a_missing_file_is_damage_and_an_unfinished_one_is_not() {
    let world = World::new();
    let mut log = world.start(300);
    append(&mut log, 1, 30);
    log.close().unwrap();
    let last = log.closed_files().last().unwrap() + 1;
    world.put(last + 1, b"HSPACLOG half a header");
    let (replayed, found) = world.replay();
    assert!(replayed.obstacle.is_none() && found.len() == 29);
    assert!(world.disk.read(&log_file(last + 1)).is_err(), "it is gone");
    let middle = log_file(2);
    world.disk.remove(&middle).unwrap();
    let damage = world.replay().0.obstacle.unwrap();
    assert!(damage.message().contains("is missing"), "{damage}");
}

#[test]
fn a_bad_header_before_frames_is_damage_whatever_follows() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 4);
    log.sync().unwrap();
    drop(log);
    let mut image = world.bytes(1);
    image[20] ^= 1;
    world.put(1, &image);
    let (replayed, found) = world.replay();
    let damage = replayed.obstacle.unwrap();
    assert!(damage.message().contains("offset 0"), "{damage}");
    assert_eq!(lsns(&found), [1, 2, 3], "what stands behind it is read");
    assert_eq!(world.bytes(1), image);
}

#[test]
fn the_last_file_is_written_anew_and_earlier_ones_stay() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new();
    let inode = |number| std::fs::metadata(world.folder.path().join(log_file(number))).unwrap().ino();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 4);
    drop(log);
    let before = inode(1);
    assert_eq!(lsns(&world.replay().1), [1, 2, 3]);
    assert_ne!(inode(1), before, "a failed sync may have left pages that the system calls clean");
    let mut log = world.start(1 << 20);
    append(&mut log, 4, 6);
    log.close().unwrap();
    let before = (inode(1), inode(2));
    assert_eq!(lsns(&world.replay().1), [1, 2, 3, 4, 5]);
    assert_eq!(inode(1), before.0, "a file was synced before the next one was begun");
    assert_ne!(inode(2), before.1, "the closing note's own sync may have failed");
}

#[test]
fn bytes_that_a_user_wrote_never_pass_for_a_frame() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 4);
    log.sync().unwrap();
    let durable = world.bytes(1).len();
    // The bytes of a frame that knew record 4 to be durable, but of another database, inside a record that is then torn.
    let mut forged = Vec::new();
    encode_frame(&mut forged, Salt::of(DATABASE + 1, 1), 9, 8, Body::Record(SpaceId(1), &record(9)));
    log.append(&[LogEntry { space: SpaceId(1), lsn: Lsn(4), record: &forged }]).unwrap();
    drop(log);
    let mut image = world.bytes(1);
    image[durable] ^= 1;
    world.put(1, &image);
    let (replayed, found) = world.replay();
    assert!(replayed.obstacle.is_none(), "{:?}", replayed.obstacle);
    assert_eq!(lsns(&found), [1, 2, 3]);
}

#[test]
fn files_are_cut_from_the_front_once_all_their_spaces_are_sealed() {
    let world = World::new();
    let mut log = world.start(300);
    append(&mut log, 1, 20);
    let files = log.files();
    assert!(files > 3);
    log.cut(|_| Some(Lsn(0))).unwrap();
    assert_eq!(log.files(), files);
    log.cut(|_| Some(Lsn(9))).unwrap();
    assert!(log.files() < files && log.files() > 1);
    let left = log.oldest_holds().collect::<Vec<_>>();
    assert!(left.iter().all(|(_, newest)| *newest > Lsn(9)), "{left:?}");
    log.cut(|_| None).unwrap();
    assert_eq!(log.files(), 1, "a space that does not exist holds nothing back");
    let before = log.bytes();
    append(&mut log, 20, 23);
    assert!(log.bytes() > before);
    log.close().unwrap();
    let (replayed, found) = world.replay();
    assert!(replayed.obstacle.is_none());
    assert!(lsns(&found).ends_with(&[20, 21, 22]));
}

#[test]
fn a_long_file_without_a_record_that_is_needed_does_not_stay() {
    let world = World::new();
    let mut log = world.start(1 << 30);
    append(&mut log, 1, 4);
    log.cut(|_| Some(Lsn(3))).unwrap();
    assert!(log.bytes() > 100, "a short one does");
    append(&mut log, 4, 20_000);
    let grown = log.bytes();
    log.cut(|_| Some(Lsn(19_998))).unwrap();
    assert_eq!(log.bytes(), grown);
    log.cut(|_| Some(Lsn(19_999))).unwrap();
    assert!(grown > 1 << 20 && log.bytes() < 100, "{} of {grown} bytes", log.bytes());
    append(&mut log, 20_000, 20_002);
    log.close().unwrap();
    assert_eq!(lsns(&world.replay().1), [20_000, 20_001]);
}

#[test]
fn a_frame_of_a_later_version_is_refused_and_stays() {
    let world = World::new();
    let mut log = world.start(1 << 20);
    append(&mut log, 1, 4);
    let before = log.bytes() as usize;
    log.close().unwrap();
    let mut image = world.bytes(1);
    let flipped = image[before + 28] ^ 9; // the kind of the last frame, which ends its head
    image[before + 28] ^= flipped;
    let sum = u32::from_le_bytes(image[before..before + 4].try_into().unwrap());
    // A CRC is linear: what a flip does to it does not depend on the rest, salt included.
    let mut only_the_flip = [0; 25];
    only_the_flip[24] = flipped;
    let sum = sum ^ crc32c(&only_the_flip) ^ crc32c(&[0; 25]);
    image[before..before + 4].copy_from_slice(&sum.to_le_bytes());
    world.put(1, &image);
    let error = replay(&*world.disk, DATABASE, |_| ()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("kind 9"), "{error}");
    assert_eq!(world.bytes(1), image);
}

#[test]
fn a_log_of_another_database_is_refused() {
    let world = World::new();
    let mut log = world.start(300);
    append(&mut log, 1, 3);
    log.close().unwrap();
    let error = replay(&*world.disk, DATABASE + 1, |_| ()).unwrap_err();
    assert!(error.message().contains("it is of database"), "{error}");
}

#[test]
fn a_log_file_with_a_number_behind_which_none_can_be_counted_is_refused() {
    let world = World::new();
    let mut log = world.start(300);
    append(&mut log, 1, 3);
    log.close().unwrap();
    let (image, before) = (world.bytes(1), lsns(&world.replay().1));
    for number in [MAX_COUNTER + 1, u64::MAX] {
        world.put(number, &image);
        let error = replay(&*world.disk, DATABASE, |_| ()).unwrap_err();
        assert!(error.message().contains(&format!("the number of the newest log file is {number}")), "{error}");
        world.disk.remove(&log_file(number)).unwrap();
    }
    assert_eq!(lsns(&world.replay().1), before, "nothing else was wrong, and nothing was changed");
}
