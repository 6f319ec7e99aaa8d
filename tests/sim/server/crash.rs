//! What a crash at any moment leaves behind opens, and is what it has to be.
//!
//! A workload runs on a simulated disk. From its trace the disk is made again as of many moments: as the process left it
//! when it was killed, and as a loss of power may have left it. Each image is opened and compared with what the lanes
//! know, and so is every snapshot in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hyperspace_core::port::Durability;
use hyperspace_server::database::{Database, State, Tuning};
use hyperspace_server::disk::Disk;

use super::harness::lanes::{Lane, Progress};
use super::harness::self_search::SelfSearches;
use super::harness::sim::{Crash, Event, Lie, Note, SimDisk, Tree};
use super::harness::support::{DIMENSION, Random, config, created, effort, ids, opened, small, stop, tenant, upsert};

/// A workload and what came of it.
struct Recorded {
    seed: u64,
    trace: Vec<Event>,
    lanes: Vec<Lane>,
}

/// How a workload is run.
#[derive(Clone, Copy)]
struct Workload {
    seed: u64,
    indexers: usize,
    steps: usize,
    /// One in so many writes is relaxed; 0 for none.
    relaxed: usize,
}

impl Workload {
    fn lanes(self) -> Vec<Lane> {
        // Names that run together when they are joined; two writers in one collection.
        let named = [("a", "b_c", false), ("a_b", "c", false), ("a_b", "c", false), ("a", "comes-and-goes", true)];
        let lane = |(number, (owner, name, owns)): (usize, &(&str, &str, bool))| {
            Lane::new(number, tenant(owner), name, *owns, self.seed)
        };
        named.iter().enumerate().map(lane).collect()
    }

    /// Runs all lanes at once, over some restarts.
    fn run(self, disk: &SimDisk) -> Recorded {
        let mut lanes = self.lanes();
        let mut random = Random::new(self.seed);
        let mut restarts = 0;
        while lanes[0].steps() < self.steps {
            let database = Database::open_on(disk.arc(), small(self.indexers)).unwrap();
            disk.note(Note::Opened);
            for lane in lanes.iter().filter(|lane| lane.steps() == 0 && lane.now().is_some()) {
                // The second lane of a collection finds it there.
                let _ = database.create(&lane.tenant, config(&lane.collection));
            }
            let until = lanes[0].steps() + self.steps / 3 + 1;
            std::thread::scope(|scope| {
                for lane in &mut lanes {
                    let (database, random) = (&database, Random::new(random.next()));
                    scope.spawn(move || self.write(lane, until, database, disk, random));
                }
                let mut random = Random::new(random.next());
                for _ in 0..self.steps / 20 {
                    manage(&database, disk, &mut random);
                }
            });
            restarts += 1;
            if restarts % 2 == 0 {
                database.close().unwrap();
            }
            // Without a close this is the end of a process: whatever was queued has been answered.
            stop(database);
        }
        Recorded { seed: self.seed, trace: disk.trace(), lanes }
    }

    fn write(self, lane: &mut Lane, until: usize, database: &Database, disk: &SimDisk, mut random: Random) {
        while lane.steps() < until {
            let step = lane.advance();
            let is_relaxed = step.is_write() && self.relaxed > 0 && random.one_in(self.relaxed);
            let durability = if is_relaxed { Durability::Relaxed } else { Durability::Strict };
            let (number, at) = (lane.number, lane.steps());
            disk.note(Note::Started { lane: number, step: at });
            lane.run(&step, database, durability).unwrap();
            disk.note(Note::Acknowledged { lane: number, step: at, strict: !is_relaxed });
        }
    }
}

/// What an administrator does meanwhile.
fn manage(database: &Database, disk: &SimDisk, random: &mut Random) {
    let collection = database.collection(&tenant("a_b"), "c").unwrap();
    match random.below(3) {
        0 => {
            disk.note(Note::SnapshotBegun);
            let report = database.snapshot().unwrap();
            disk.note(Note::SnapshotDone(report.path));
        }
        1 => {
            let ef = Some(Some(20 + random.below(50) as u32));
            database.configure(&collection, Tuning { ef_search: ef, ..Tuning::default() }).unwrap();
        }
        _ => drop(database.vacuum(&collection).unwrap()),
    }
}

/// From which step to which each lane may be.
type Expected = Vec<(usize, usize)>;

/// A replay of a trace that knows what the database owes at each moment.
#[derive(Default)]
struct Moment {
    tree: Tree,
    lanes: Vec<Progress>,
    /// The lanes when the newest snapshot was asked for.
    at_snapshot: Vec<Progress>,
    snapshots: BTreeMap<PathBuf, Expected>,
}

impl Moment {
    fn new(lanes: usize) -> Self {
        Self { lanes: vec![Progress::default(); lanes], ..Self::default() }
    }

    fn pass(&mut self, event: &Event) {
        self.tree.replay(event);
        let Event::Note(note) = event else { return };
        match note {
            Note::Opened => self.lanes.iter_mut().for_each(|lane| lane.lasting = lane.answered),
            Note::Started { lane, step } => self.lanes[*lane].begun = *step,
            Note::Acknowledged { lane, step, strict } => {
                let lane = &mut self.lanes[*lane];
                lane.answered = *step;
                lane.lasting = if *strict { *step } else { lane.lasting };
            }
            Note::SnapshotBegun => self.at_snapshot = self.lanes.clone(),
            Note::SnapshotDone(path) => {
                let ranges = self.at_snapshot.iter().zip(&self.lanes).map(|(then, now)| (then.answered, now.begun));
                self.snapshots.insert(path.clone(), ranges.collect());
            }
            Note::Answered(_) => (),
        }
    }

    fn expected(&self, crash: Crash) -> Expected {
        let least = |lane: &Progress| if crash == Crash::Power { lane.lasting } else { lane.answered };
        self.lanes.iter().map(|lane| (least(lane), lane.begun)).collect()
    }
}

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    /// Images of a process that died, one for each call that it had made.
    kills: usize,
    /// Images of a loss of power that could take something: torn, reordered, without some names.
    losses: usize,
    snapshots: usize,
    searches: SelfSearches,
}

impl Tally {
    fn finish(&self, what: &str) {
        println!("{what}: crash images: {}, torn or reordered images: {}, {self:?}", self.kills, self.losses);
        assert!(self.snapshots > (self.kills + self.losses) / 8, "{self:?}");
        self.searches.finish(self.kills / 2);
    }

    /// Opens an image, compares it with what is expected, and looks for every point.
    fn check(&mut self, tree: Tree, lanes: &[Lane], expected: &Expected, what: &str) -> SimDisk {
        let disk = SimDisk::with(tree);
        let database = Database::open_on(disk.arc(), small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(database.state(), State::Ready, "{what}");
        for (lane, &(from, to)) in lanes.iter().zip(expected) {
            // Shared collections are made before the first step, at no moment that a lane knows.
            if to == 0 {
                continue;
            }
            let found = lane.find(&database);
            if let Err(wrong) = lane.check(found.as_ref(), from, to) {
                panic!("{what}: {wrong}");
            }
        }
        for lane in lanes {
            if let Ok(collection) = database.collection(&lane.tenant, &lane.collection) {
                self.searches.run(&collection, what);
            }
        }
        stop(database);
        disk
    }
}

impl Recorded {
    /// Opens an image of each of these moments.
    fn check(&self, moments: impl Fn(usize) -> bool, crash: Crash, random: &mut Random, tally: &mut Tally) {
        let mut moment = Moment::new(self.lanes.len());
        for (at, event) in self.trace.iter().enumerate() {
            moment.pass(event);
            if !moments(at) {
                continue;
            }
            let what = format!("seed {}, {crash:?} after event {at} of {}", self.seed, self.trace.len());
            let expected = moment.expected(crash);
            let image = moment.tree.after(crash, random);
            for (path, expected) in &moment.snapshots {
                let snapshot = image.below(path).unwrap_or_else(|| panic!("{what}: there is no {}", path.display()));
                if random.one_in(moment.snapshots.len()) {
                    tally.check(snapshot, &self.lanes, expected, &format!("{what}, in {}", path.display()));
                    tally.snapshots += 1;
                }
            }
            let opened = tally.check(image.clone(), &self.lanes, &expected, &what);
            match crash {
                Crash::Process => tally.kills += 1,
                Crash::Power => tally.losses += usize::from(!moment.tree.is_settled()),
            }
            if random.one_in(8) {
                // The power goes while that crash is recovered from.
                let recovery = opened.trace();
                let mut tree = image;
                recovery[..random.below(recovery.len() + 1)].iter().for_each(|event| tree.replay(event));
                let expected = moment.expected(Crash::Power);
                let what = format!("{what}, and again in the recovery");
                tally.check(tree.after(Crash::Power, random), &self.lanes, &expected, &what);
            }
        }
    }
}

#[test]
fn every_moment_of_small_workloads_is_safe_from_a_kill_and_from_a_loss_of_power() {
    let (kills, losses) = (effort(2_000, 200_000, 1_000_000), effort(5_000, 500_000, 2_000_000));
    let (mut tally, mut seed) = (Tally::default(), 11);
    while tally.kills < kills || tally.losses < losses {
        println!("seed {seed}");
        let recorded = Workload { seed, indexers: 1, steps: 20, relaxed: 3 }.run(&SimDisk::default());
        let mut random = Random::new(seed);
        recorded.check(|_| true, Crash::Process, &mut random, &mut tally);
        // More of these: each is one of many that the same moment may leave.
        (0..5).for_each(|_| recorded.check(|_| true, Crash::Power, &mut random, &mut tally));
        seed += 1;
    }
    tally.finish("every moment");
}

#[test]
fn random_moments_of_larger_workloads_are_safe() {
    let mut tally = Tally::default();
    let rounds = effort(8, 200, 1_000);
    for seed in 100..100 + rounds as u64 {
        println!("seed {seed}");
        let (indexers, relaxed) = [(0, 3), (1, 1), (2, 0), (2, 1)][seed as usize % 4];
        let recorded = Workload { seed, indexers, steps: 150, relaxed }.run(&SimDisk::default());
        let events = recorded.trace.len();
        let mut random = Random::new(seed);
        for crash in [Crash::Process, Crash::Power, Crash::Power] {
            let chosen: Vec<usize> = (0..30).map(|_| random.below(events)).collect();
            recorded.check(|at| chosen.contains(&at), crash, &mut random, &mut tally);
        }
    }
    tally.finish("random moments");
}

#[test]
fn every_moment_of_a_recovery_is_safe() {
    let recorded = Workload { seed: 5, indexers: 2, steps: 60, relaxed: 1 }.run(&SimDisk::default());
    let (mut random, mut tally) = (Random::new(5), Tally::default());
    let mut moment = Moment::new(recorded.lanes.len());
    for (at, event) in recorded.trace.iter().enumerate() {
        moment.pass(event);
        if at % (recorded.trace.len() / effort(30, 300, 600)) != 0 {
            continue;
        }
        // The process dies, and the power goes at every moment of the recovery.
        let killed = SimDisk::with(moment.tree.clone());
        stop(Database::open_on(killed.arc(), small(0)).unwrap());
        let expected = moment.expected(Crash::Power);
        let mut recovering = moment.tree.clone();
        for (step, event) in killed.trace().iter().enumerate() {
            recovering.replay(event);
            let what = format!("seed 5, event {at}, event {step} of the recovery");
            tally.check(recovering.after(Crash::Power, &mut random), &recorded.lanes, &expected, &what);
        }
    }
}

#[test]
fn a_log_file_that_was_hardly_begun_is_forgotten_for_good() {
    let disk = SimDisk::default();
    let database = Database::open_on(disk.arc(), small(0)).unwrap();
    let collection = created(&database, "c");
    upsert(&database, &collection, &ids(0, 9), &Random::new(1).vector(9 * DIMENSION), Durability::Strict).unwrap();
    stop(database);
    let last = disk.files("log").len() as u64;
    Disk::create(&disk, Path::new(&format!("log/{:016x}", last + 1))).unwrap().append(b"HSPACLOG").unwrap();
    Disk::sync_directory(&disk, Path::new("log")).unwrap();
    let mut tree = disk.tree();
    let before = disk.events();
    stop(Database::open_on(disk.arc(), small(0)).unwrap());
    for event in &disk.trace()[before..] {
        tree.replay(event);
        for seed in 0..20 {
            let crashed = SimDisk::with(tree.after(Crash::Power, &mut Random::new(seed)));
            let database = Database::open_on(crashed.arc(), small(0)).unwrap();
            assert_eq!(database.state(), State::Ready, "{event:?}, seed {seed}");
            assert_eq!(opened(&database, "c").snapshot().len(), 9);
        }
    }
}

#[test]
fn the_images_of_a_disk_that_does_not_sync_are_not_what_they_have_to_be() {
    for lie in [Lie::FileSync, Lie::DirectorySync] {
        let recorded = Workload { seed: 6, indexers: 0, steps: 60, relaxed: 0 }.run(&SimDisk::lying(lie));
        let check = || recorded.check(|at| at % 10 == 0, Crash::Power, &mut Random::new(6), &mut Tally::default());
        assert!(std::panic::catch_unwind(check).is_err(), "{lie:?} was not noticed");
    }
}
