//! One bit anywhere in the files of a database that was closed: every answer is a typed error, or right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyperspace_core::collection::SealPolicy;
use hyperspace_core::error::ErrorKind;
use hyperspace_core::port::Durability;
use hyperspace_server::database::{Database, DatabaseOptions, State};

use super::harness::lanes::Lane;
use super::harness::sim::{SimDisk, Tree};
use super::harness::support::{small, tenant};
use crate::random::{Random, effort};

/// A bit of a file.
#[derive(Clone, Debug)]
pub(super) struct Flip {
    file: PathBuf,
    bit: usize,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// The database is not opened.
    Refused,
    /// It is read-only, or a collection is out of service.
    Reported,
    /// Everything is as it was.
    Harmless,
}

/// Any bit of the database, its snapshots aside.
pub(super) fn draw(disk: &SimDisk, random: &mut Random) -> Flip {
    let files = files(disk);
    let file = files[random.below(files.len())].clone();
    let tree = disk.tree();
    let bits = tree.bytes(tree.find(&file).unwrap()).len() * 8;
    Flip { file, bit: random.below(bits) }
}

fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let all = disk.files("").into_iter().filter(|file| !file.starts_with("snapshots"));
    let tree = disk.tree();
    all.filter(|file| !tree.bytes(tree.find(file).unwrap()).is_empty()).collect()
}

/// Opens a database that has rotted and compares what it serves: the last state of each lane, or some of what it wrote
/// when the database says that something is missing.
pub(super) fn judge(tree: &Tree, flip: &Flip, lanes: &[&Lane]) -> Result<Verdict, String> {
    let what = format!("bit {} of {}", flip.bit, flip.file.display());
    let disk = SimDisk::with(tree.clone());
    disk.damage(&flip.file, |bytes| bytes[flip.bit / 8] ^= 1 << (flip.bit % 8));
    let is_typed = |kind| matches!(kind, ErrorKind::Corrupted | ErrorKind::Unsupported);
    let database = match Database::open_on(disk.arc(), small(0)) {
        Err(error) if is_typed(error.kind()) => return Ok(Verdict::Refused),
        Err(error) => return Err(format!("{what}: {error}")),
        Ok(database) => database,
    };
    let is_ready = database.state() == State::Ready;
    let mut verdict = if is_ready { Verdict::Harmless } else { Verdict::Reported };
    for lane in lanes {
        match database.collection(&lane.tenant, &lane.collection) {
            Err(error) if is_typed(error.kind()) => verdict = Verdict::Reported,
            _ if is_ready => {
                let found = lane.find(&database);
                lane.check(found.as_ref(), lane.steps(), lane.steps()).map_err(|wrong| format!("{what}: {wrong}"))?;
            }
            // Records are missing, which may have replaced what manifests call dead already.
            _ if lane.find(&database).is_some_and(|found| !lane.wrote_all(&found)) => {
                return Err(format!("{what}: lane {} has points that were never written", lane.number));
            }
            _ => (),
        }
    }
    Ok(verdict)
}

/// A small database with everything in it: segments with dead points, several log files, two tenants.
fn small_database(seed: u64) -> (SimDisk, Vec<Lane>) {
    let disk = SimDisk::default();
    let options =
        DatabaseOptions { policy: SealPolicy { rows: 20, bytes: 1 << 20, fan_in: 2 }, log_file_bytes: 512, ..small(0) };
    let database = Database::open_on(disk.arc(), options).unwrap();
    let lane = |number, owner, name| Lane::new(number, tenant(owner), name, true, seed).with_points(30, 6);
    let mut lanes = vec![lane(0, "a", "b_c"), lane(1, "a_b", "c")];
    for round in 0..30 {
        for lane in &mut lanes {
            let step = lane.advance();
            lane.run(&step, &database, Durability::Strict).unwrap();
            if round == 12
                && let Ok(collection) = database.collection(&lane.tenant, &lane.collection)
            {
                database.vacuum(&collection).unwrap();
            }
        }
    }
    database.close().unwrap();
    (disk, lanes)
}

/// What a file is, by its place.
fn kind(file: &Path) -> &'static str {
    let name = file.file_name().unwrap().to_str().unwrap();
    match (file.parent().unwrap().to_str().unwrap(), name) {
        ("", "catalog") => "catalog",
        ("log", _) => "log",
        (_, "manifest") => "manifest",
        _ => "segment",
    }
}

#[test]
fn no_flipped_bit_anywhere_makes_a_wrong_answer() {
    let wanted = effort(20_000, 1_000_000, 5_000_000);
    let (mut seed, mut flips) = (3, 0);
    let (mut verdicts, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    while flips < wanted {
        println!("seed {seed}");
        let (disk, lanes) = small_database(seed);
        let (tree, lanes): (_, Vec<&Lane>) = (disk.tree(), lanes.iter().collect());
        let files = files(&disk);
        let bits = |file: &PathBuf| tree.bytes(tree.find(file).unwrap()).len() * 8;
        let step = (files.iter().map(bits).sum::<usize>() / wanted).max(1);
        for file in &files {
            for bit in (seed as usize % step..bits(file)).step_by(step) {
                let flip = Flip { file: file.clone(), bit };
                let verdict = judge(&tree, &flip, &lanes).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
                *verdicts.entry(verdict).or_insert(0) += 1;
                *kinds.entry(kind(file)).or_insert(0) += 1;
                flips += 1;
            }
        }
        seed += 1;
    }
    println!("bit flips: {flips}, {kinds:?}, {verdicts:?}");
    assert!(kinds.len() == 4 && kinds.values().all(|&count: &usize| count > 100), "{kinds:?}");
    let harmless = verdicts.get(&Verdict::Harmless).copied().unwrap_or(0);
    assert!(harmless * 4 < flips, "{verdicts:?}: padding has no checksum and no meaning, everything else has");
}
