//! A whole server on one thread, drawn from one seed: writers, jobs and an administrator on a disk that fails, fills up and
//! stops in the midst of a call, through restarts, kills and losses of power; after each of them everything is compared
//! with what the writers know.
//!
//! Nothing here runs by itself: the seed says when a group of writes goes into the log and when a segment is built.

mod parts;
mod writer;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind as Io;
use std::path::PathBuf;
use std::sync::Arc;

use hyperspace_core::collection::SealPolicy;
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::port::Durability;
use hyperspace_server::database::{Database, DatabaseOptions, Environment, State, Tuning, Workers};

use super::flips;
use super::harness::lanes::{Lane, Points};
use super::harness::self_search::SelfSearches;
use super::harness::sim::{Crash, Fault, GROWS, InUse, Kind, SimDisk};
use super::harness::support::{config, small, tenant};
use crate::random::Random;
use crate::seeds::{Trace, Violation};
use parts::{SimClock, SimEntropy};
use writer::Writer;

type Checked = Result<(), String>;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerLoss,
}

struct World {
    random: Random,
    disk: SimDisk,
    clock: Arc<SimClock>,
    entropy: Arc<SimEntropy>,
    /// None between two processes.
    database: Option<Arc<Database>>,
    writers: Vec<Writer>,
    /// Snapshots, and what each of them has of every writer.
    snapshots: Vec<(PathBuf, Vec<Option<Points>>)>,
    hasher: DefaultHasher,
    counts: BTreeMap<&'static str, u64>,
}

/// Runs the history of a seed.
///
/// # Errors
/// The first promise that is not kept.
pub(crate) fn run(seed: u64) -> Result<Trace, Violation> {
    let mut world = World::new(seed);
    let steps = 40 + world.random.below(100);
    for step in 0..steps {
        world.step().map_err(|what| Violation(format!("step {step} of {steps}: {what}")))?;
    }
    world.finish().map_err(|what| Violation(format!("at the end: {what}")))
}

/// Everything small, so that groups, files, segments and merges come often.
fn options() -> DatabaseOptions {
    DatabaseOptions {
        policy: SealPolicy { rows: 24, bytes: 1 << 20, fan_in: 2 },
        memtable_limit: 8 << 10,
        log_limit: 6 << 10,
        log_file_bytes: 1 << 10,
        ..small(0)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::default();
        let (clock, entropy) = (Arc::new(SimClock::new()), Arc::new(SimEntropy::new(seed)));
        // Names that run together when they are joined; two writers in one collection; one whose collection comes and goes.
        let lanes = [("a", "b_c", false), ("a_b", "c", false), ("a_b", "c", false), ("a", "comes-and-goes", true)];
        let lanes = lanes.iter().enumerate().map(|(number, &(owner, name, owns))| {
            Lane::new(number, tenant(owner), name, owns, seed).with_points(30, 8)
        });
        let writers: Vec<_> = lanes.map(Writer::new).collect();
        let mut world = Self {
            random: Random::new(seed),
            disk,
            clock,
            entropy,
            database: None,
            writers,
            snapshots: Vec::new(),
            hasher: DefaultHasher::new(),
            counts: BTreeMap::new(),
        };
        let database = world.open(&world.disk).unwrap();
        database.create(&tenant("a"), config("b_c")).unwrap();
        database.create(&tenant("a_b"), config("c")).unwrap();
        world.database = Some(database);
        world
    }

    fn open(&self, disk: &SimDisk) -> Result<Arc<Database>, Error> {
        let environment = Environment {
            disk: disk.arc(),
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::clone(&self.entropy) as _,
            workers: Workers::Callers,
        };
        Database::open_on(environment, options())
    }

    fn database(&self) -> Arc<Database> {
        Arc::clone(self.database.as_ref().expect("a process runs"))
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn step(&mut self) -> Checked {
        match self.random.below(46) {
            0..20 => self.write()?,
            20..28 => drop(self.database().commit_next()),
            28..33 => {
                let outcome = self.database().work_next();
                if matches!(outcome, Ok(true)) {
                    self.count("pieces of background work");
                }
                let outcome = outcome.map(drop);
                self.judge("background work", outcome)?;
            }
            33 => self.vacuum()?,
            34 => self.configure()?,
            35 => self.snapshot()?,
            36 => self.clock.jump(&mut self.random),
            37 => self.end(End::Close)?,
            38 => self.end(End::Kill)?,
            39 => self.end(End::PowerLoss)?,
            40..43 => self.arm(),
            43 => self.disk.halt_after(1 + self.random.below(25)),
            _ => drop(self.disk.heal()),
        }
        self.listen()?;
        self.check_visible()?;
        if self.disk.is_halted() || self.database().state() != State::Ready {
            let ends: &[End] = if self.disk.is_halted() {
                &[End::Kill, End::PowerLoss, End::PowerLoss]
            } else {
                &[End::Close, End::Kill, End::PowerLoss]
            };
            let end = ends[self.random.below(ends.len())];
            self.end(end)?;
        }
        Ok(())
    }

    fn write(&mut self) -> Checked {
        let number = self.random.below(self.writers.len());
        let durability = [Durability::Strict, Durability::Relaxed][self.random.below(2)];
        if !self.writers[number].is_idle() && (number == 3 || self.random.one_in(4)) {
            // What comes and goes does so between writes.
            while self.database().commit_next() {}
            self.listen()?;
            if self.disk.is_halted() || self.database().state() != State::Ready {
                return Ok(());
            }
        }
        self.count("writes");
        let database = self.database();
        let refused = self.writers[number].go_on(&database, &self.disk, durability);
        self.judge("a write", refused.map_or(Ok(()), Err))
    }

    /// Hears what was answered.
    fn listen(&mut self) -> Checked {
        let database = self.database();
        for number in 0..self.writers.len() {
            for error in self.writers[number].listen(&database) {
                self.judge("an answer", Err(error))?;
            }
        }
        Ok(())
    }

    /// An error is fine when something has failed, and when its kind says what.
    fn judge(&mut self, what: &str, outcome: Result<(), Error>) -> Checked {
        format!("{what}: {outcome:?}").hash(&mut self.hasher);
        let Err(error) = outcome else { return Ok(()) };
        let is_typed = matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Unavailable);
        if is_typed && (self.disk.failures() > 0 || self.disk.is_halted()) {
            self.count("errors answered");
            return Ok(());
        }
        Err(format!("{what} failed: {error}"))
    }

    fn vacuum(&mut self) -> Checked {
        let lane = &self.writers[self.random.below(self.writers.len())].lane;
        let Ok(collection) = self.database().collection(&lane.tenant, &lane.collection) else { return Ok(()) };
        self.count("vacuums");
        let outcome = self.database().vacuum(&collection).map(drop);
        self.judge("a vacuum", outcome)
    }

    fn configure(&mut self) -> Checked {
        let Ok(collection) = self.database().collection(&tenant("a_b"), "c") else { return Ok(()) };
        let ef = Some(Some(20 + self.random.below(50) as u32));
        let outcome = self.database().configure(&collection, Tuning { ef_search: ef, ..Tuning::default() });
        self.judge("a change of settings", outcome)
    }

    fn snapshot(&mut self) -> Checked {
        let outcome = self.database().snapshot();
        if let (Ok(report), false) = (&outcome, self.disk.is_halted()) {
            let visible = self.writers.iter().map(|writer| writer.visible().cloned()).collect();
            self.snapshots.push((report.path.clone(), visible));
            self.count("snapshots");
        }
        self.judge("a snapshot", outcome.map(drop))
    }

    /// Has something fail soon.
    fn arm(&mut self) {
        let (after, lasting) = (self.random.below(12), self.random.one_in(3));
        match self.random.below(5) {
            0 => self.disk.fill_after(self.random.below(3_000)),
            1 => self.disk.fail(Fault { on: GROWS, below: "", after, error: Io::StorageFull, lasting }),
            2 => self.disk.fail(Fault { on: &[Kind::Sync], below: "", after, error: Io::Other, lasting }),
            3 => self.disk.fail(Fault { on: &[Kind::SyncDirectory], below: "", after, error: Io::Other, lasting }),
            _ => {
                let on = [Kind::Append, Kind::Rename, Kind::Remove, Kind::TakeBack, Kind::Create, Kind::Link];
                let at = self.random.below(on.len());
                let on: &'static [Kind] = match on[at] {
                    Kind::Append => &[Kind::Append],
                    Kind::Rename => &[Kind::Rename],
                    Kind::Remove => &[Kind::Remove],
                    Kind::TakeBack => &[Kind::Append, Kind::TakeBack],
                    Kind::Create => &[Kind::Create],
                    _ => &[Kind::Link],
                };
                self.disk.fail(Fault { on, below: "", after, error: Io::Other, lasting });
            }
        }
        self.count("faults armed");
    }

    /// What was answered is seen, and nothing else; nothing is open or mapped but what is in service.
    fn check_visible(&self) -> Checked {
        if self.disk.is_halted() {
            return Ok(());
        }
        for writer in &self.writers {
            let found = writer.lane.find(&self.database());
            let to =
                if self.database().state() == State::Ready { writer.progress.answered } else { writer.progress.begun };
            writer.lane.check(found.as_ref(), writer.progress.answered, to)?;
        }
        let owners = ["a", "a_b"].map(tenant);
        let collections = owners.iter().flat_map(|owner| self.database().collections(owner));
        let maps = collections.map(|collection| collection.snapshot().segments().len()).sum();
        let expected = InUse { files: 1, maps };
        let found = self.disk.in_use();
        if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
    }

    /// Ends the process, as often as need be, and starts the next one.
    fn end(&mut self, end: End) -> Checked {
        if end == End::Close {
            let outcome = self.database().close();
            self.judge("closing", outcome)?;
            self.listen()?;
        }
        self.check_snapshot()?;
        self.crash(end)?;
        let mut from: Vec<usize> = self.writers.iter().map(|writer| writer.progress.answered).collect();
        let mut end = end;
        loop {
            if end == End::PowerLoss {
                from = self.writers.iter().map(|writer| writer.progress.lasting).collect();
            }
            let is_hurt = self.hurt_opening();
            let opened = self.open(&self.disk);
            let has_failed = self.disk.is_halted() || self.disk.failures() > 0;
            if !has_failed {
                self.disk.heal();
                self.database = Some(opened.map_err(|error| format!("opening after {end:?}: {error}"))?);
                break;
            }
            assert!(is_hurt, "nothing fails by itself");
            // One that was opened all the same goes as well.
            let error = opened.err().filter(|e| matches!(e.kind(), ErrorKind::Corrupted | ErrorKind::Internal));
            if let Some(error) = error {
                return Err(format!("opening while the disk fails: {error}"));
            }
            self.count("recoveries that failed");
            end = [End::Kill, End::PowerLoss][self.random.below(2)];
            self.crash(end)?;
        }
        let database = self.database();
        if database.state() != State::Ready {
            return Err(format!("after {end:?}: {:?}", database.state()));
        }
        for (writer, from) in self.writers.iter_mut().zip(from) {
            writer.recover(&database, from).map_err(|wrong| format!("after {end:?}: {wrong}"))?;
        }
        Ok(())
    }

    /// Has the opening fail now and then; says whether it may.
    fn hurt_opening(&mut self) -> bool {
        let after = self.random.below(20);
        match self.random.below(12) {
            0..3 => self.disk.halt_after(1 + after),
            3 => self.disk.fail(Fault { on: &[Kind::Read], below: "", after, error: Io::Other, lasting: false }),
            4 => self.disk.fail(Fault { on: GROWS, below: "", after, error: Io::StorageFull, lasting: true }),
            5 => self.disk.fail(Fault { on: &[Kind::Sync], below: "", after, error: Io::Other, lasting: false }),
            _ => return false,
        }
        true
    }

    /// What is left of the disk when the process has ended like this.
    fn crash(&mut self, end: End) -> Checked {
        self.database = None;
        let in_use = self.disk.in_use();
        if in_use != InUse::default() {
            return Err(format!("{in_use:?} after the end of the database"));
        }
        self.disk.trace().hash(&mut self.hasher);
        let (crash, what) = match end {
            End::Close => (Crash::Process, "restarts"),
            End::Kill => (Crash::Process, "kills"),
            End::PowerLoss => (Crash::Power, "losses of power"),
        };
        self.count(what);
        self.disk = SimDisk::with(self.disk.tree().after(crash, &mut self.random));
        Ok(())
    }

    /// Opens one of the snapshots as a database.
    fn check_snapshot(&mut self) -> Checked {
        if self.snapshots.is_empty() || self.random.one_in(2) {
            return Ok(());
        }
        let (path, expected) = self.snapshots.swap_remove(self.random.below(self.snapshots.len()));
        let crash = [Crash::Process, Crash::Power][self.random.below(2)];
        let tree = self.disk.tree().after(crash, &mut self.random);
        let what = format!("snapshot {} after {crash:?}", path.display());
        let copy = SimDisk::with(tree.below(&path).ok_or_else(|| format!("{what} is not there"))?);
        let opened = self.open(&copy).map_err(|error| format!("{what}: {error}"))?;
        for (writer, expected) in self.writers.iter().zip(expected) {
            if writer.lane.find(&opened) != expected {
                return Err(format!("{what} has something else of lane {}", writer.lane.number));
            }
        }
        self.count("snapshots opened");
        Ok(())
    }

    /// Closes in order, and looks for every point; then some bits rot.
    fn finish(mut self) -> Result<Trace, String> {
        self.disk.heal();
        self.end(End::Close)?;
        let mut searches = SelfSearches::default();
        for writer in &self.writers {
            if let Ok(collection) = self.database().collection(&writer.lane.tenant, &writer.lane.collection) {
                searches.run(&collection, "at the end");
            }
        }
        for _ in 0..4 {
            // The last log file has something in it.
            self.write()?;
        }
        let closed = self.database().close();
        self.judge("closing", closed)?;
        self.listen()?;
        self.disk.trace().hash(&mut self.hasher);
        let tree = self.disk.tree();
        let lanes: Vec<&Lane> = self.writers.iter().map(|writer| &writer.lane).collect();
        for _ in 0..4 {
            let flip = flips::draw(&self.disk, &mut self.random);
            flips::judge(&tree, &flip, &lanes)?;
            *self.counts.entry("bits flipped").or_default() += 1;
        }
        Ok(Trace { hash: self.hasher.finish(), counts: self.counts })
    }
}
