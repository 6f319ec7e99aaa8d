//! Some tabs and a server, drawn from one seed: tabs write, delete, seal, die, lose power and run out of room; messages and
//! their answers are lost, a stream brings pages late, others write to the server, a profile is copied. In the end all is
//! healed, and everybody has the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Vectors};
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::metric::Metric;
use hyperspace_core::port::Durability;
use hyperspace_core::sync::{Cursor, Digest, State as Role};
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::proto::PullRequest;
use hyperspace_wasm::host::{Database, Environment, OpenCollection};
use hyperspace_wasm::kv::{Fault, SimulatedKv};
use prost::Message as _;

use super::drive::{Checked, Outcome, PATIENCE, drive, expected, found};
use super::lent::{DIMENSION, Lent, Platform, Told, live, metadata, vector};
use super::life::{Life, State};
use super::server::Server;
use crate::random::Random;
use crate::seeds::{Trace, Violation};
use crate::server::harness::sim::Crash;

const NAMES: [&str; 2] = ["all", "more"];
/// Ids that everybody writes.
const SHARED: u64 = 8;
/// Ids that one tab alone writes.
const OWN: u64 = 6;
/// One message in so many is lost, and one answer.
const LOSS: usize = 9;

type Work = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// A stream that follows a collection: from where on the server sends, and what is on its way.
struct Stream {
    space: u64,
    after: Cursor,
    coming: VecDeque<Vec<u8>>,
}

struct Tab {
    number: u64,
    kv: SimulatedKv,
    lent: Rc<Lent>,
    database: Option<Rc<Database<SimulatedKv>>>,
    open: BTreeMap<&'static str, Rc<OpenCollection>>,
    streams: BTreeMap<&'static str, Stream>,
    lives: BTreeMap<(&'static str, u64), Life>,
    /// Another profile has its name: its own points are written by two.
    is_copied: bool,
}

struct World {
    random: Random,
    server: Server,
    tabs: Vec<Tab>,
    /// Some clocks are far ahead. Then nobody loses power: who forgets both what it wrote and how late it was by another one's
    /// clock writes something newer that is older.
    has_wrong_clocks: bool,
    version: u32,
    hasher: DefaultHasher,
    counts: RefCell<BTreeMap<&'static str, u64>>,
}

/// Runs the history of a seed.
///
/// # Errors
/// The first promise that is not kept.
pub(crate) fn run(seed: u64) -> Result<Trace, Violation> {
    let mut world = World::new(seed);
    let steps = 40 + world.random.below(120);
    for step in 0..steps {
        world.step().map_err(|what| Violation(format!("step {step} of {steps}: {what}")))?;
    }
    world.finish().map_err(|what| Violation(format!("at the end: {what}")))
}

impl Tab {
    fn own(&self) -> std::ops::Range<u64> {
        let first = 100 * (self.number + 1);
        first..first + OWN
    }

    fn leave(&mut self, kv: SimulatedKv) {
        (self.database, self.kv) = (None, kv);
        self.open.clear();
        self.streams.clear();
    }

    fn drive<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Checked<Outcome<T>> {
        drive(&self.kv, call)
    }

    fn durability(random: &mut Random) -> Durability {
        if random.one_in(6) { Durability::Strict } else { Durability::Relaxed }
    }

    /// Everything is durable that was acknowledged.
    fn last(&mut self) {
        self.lives.values_mut().for_each(Life::last);
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let platform = Platform::new(seed);
        let server = Server::new(Arc::clone(&platform) as _, Arc::clone(&platform) as _);
        let has_wrong_clocks = random.one_in(4);
        let tabs = (0..2 + random.below(2) as u64).map(|number| Tab {
            number,
            kv: SimulatedKv::new(),
            // The server takes a minute.
            lent: Lent::new(&platform, if has_wrong_clocks && random.one_in(2) { 600_000 } else { 0 }),
            database: None,
            open: BTreeMap::new(),
            streams: BTreeMap::new(),
            lives: BTreeMap::new(),
            is_copied: false,
        });
        let tabs = tabs.collect();
        let (hasher, counts) = (DefaultHasher::new(), RefCell::default());
        Self { random, server, tabs, has_wrong_clocks, version: 0, hasher, counts }
    }

    fn count(&self, what: &'static str) {
        self.count_all(what, 1);
    }

    fn count_all(&self, what: &'static str, times: usize) {
        *self.counts.borrow_mut().entry(what).or_default() += times as u64;
    }

    fn step(&mut self) -> Checked {
        let at = self.random.below(self.tabs.len());
        if self.tabs[at].database.is_none() {
            return self.open(at);
        }
        let name = NAMES[usize::from(self.random.one_in(4))];
        match self.random.below(100) {
            0..26 => self.write(at, name),
            26..34 => self.delete(at, name),
            34..62 => {
                let asks = 1 + self.random.below(20);
                self.sync(at, name, asks, Some(LOSS)).map(drop)
            }
            62..66 => self.write_while_syncing(at, name),
            66..74 => self.stream(at, name),
            74..78 => self.work(at),
            78..81 => self.flush(at),
            81..84 => self.die(at),
            84..87 if !self.has_wrong_clocks => self.lose_power(at),
            87..91 => {
                self.arm(at);
                Ok(())
            }
            91..95 => {
                self.write_at_server(name);
                Ok(())
            }
            96 | 97 => {
                self.restart_server();
                Ok(())
            }
            95 if self.has_wrong_clocks => {
                let clock = &self.tabs[at].lent.ahead_ms;
                clock.set(if clock.get() > 0 { 0 } else { 600_000 });
                self.count("clocks that were set");
                Ok(())
            }
            98 if self.random.one_in(3) => self.copy(at),
            _ => self.calm_down(at),
        }
    }

    fn open(&mut self, at: usize) -> Checked {
        self.load(at)?;
        self.check(at, Life::allows)
    }

    fn load(&mut self, at: usize) -> Checked {
        let tab = &self.tabs[at];
        let environment = Rc::clone(&tab.lent) as Rc<dyn Environment>;
        let kv = tab.kv.clone();
        let tenant = Tenant::local();
        let opening = Database::open(&tenant, kv, environment, Durability::Relaxed);
        let Outcome::Done(database) = tab.drive(opening)? else { return self.die(at) };
        let database = Rc::new(database);
        let mut open = BTreeMap::new();
        for name in NAMES {
            let config = CollectionConfig {
                ef_construction: Some(8),
                ..CollectionConfig::new(name, DIMENSION, Metric::L2).unwrap()
            };
            let Outcome::Done(collection) = tab.drive(database.collection_or_create(config))? else {
                return self.die(at);
            };
            open.insert(name, collection);
        }
        let tab = &mut self.tabs[at];
        (tab.database, tab.open) = (Some(database), open);
        self.count("openings");
        Ok(())
    }

    fn database(&self, at: usize) -> Rc<Database<SimulatedKv>> {
        Rc::clone(self.tabs[at].database.as_ref().expect("it is open"))
    }

    /// Every point that is the tab's alone is as it may be.
    fn check(&self, at: usize, allows: fn(&Life, State) -> bool) -> Checked {
        let tab = &self.tabs[at];
        for (name, collection) in &tab.open {
            let snapshot = collection.snapshot();
            for id in tab.own().filter(|_| !tab.is_copied) {
                let (found, life) = (found(&snapshot, id)?, tab.lives.get(&(*name, id)).cloned().unwrap_or_default());
                if !allows(&life, found) {
                    return Err(format!("tab {at} shows {found:?} of point {id} of {name}; {life:?}"));
                }
            }
            if collection.with_engine(|engine| engine.digest() != engine.recount()) {
                return Err(format!("the digest of {name} in tab {at} is not that of its points"));
            }
        }
        Ok(())
    }

    fn die(&mut self, at: usize) -> Checked {
        self.count("kills of a tab");
        let kv = self.tabs[at].kv.after_process_death();
        self.tabs[at].leave(kv);
        self.open(at)
    }

    fn lose_power(&mut self, at: usize) -> Checked {
        self.count("losses of power");
        let kv = self.tabs[at].kv.after_power_failure();
        self.tabs[at].leave(kv);
        self.load(at)?;
        let tab = &mut self.tabs[at];
        for ((name, id), life) in &mut tab.lives {
            let found = found(&tab.open[name].snapshot(), *id)?;
            if !tab.is_copied && !life.go_on_from(found) {
                return Err(format!("tab {at} has {found:?} of point {id} of {name} after a loss of power; {life:?}"));
            }
        }
        Ok(())
    }

    fn arm(&mut self, at: usize) {
        let (near, soon) = (self.random.below(8) as u64, self.random.below(3) as u64);
        let faults = [
            Fault::Abort(near),
            Fault::Quota(near),
            Fault::LostAnswer(soon),
            Fault::Hang(soon, self.random.one_in(2)),
            Fault::Death(near),
            Fault::DeathBehind(soon),
        ];
        self.tabs[at].kv.arm(faults[self.random.below(faults.len())]);
        self.count("faults");
    }

    fn some_ids(&mut self, at: usize) -> Vec<u64> {
        let ids: Vec<u64> = (0..SHARED).chain(self.tabs[at].own()).collect();
        (0..=self.random.below(4)).map(|_| ids[self.random.below(ids.len())]).collect()
    }

    fn write(&mut self, at: usize, name: &'static str) -> Checked {
        let (ids, durability) = (self.some_ids(at), Tab::durability(&mut self.random));
        let (state, work) = self.upsert(at, name, ids.clone(), durability);
        let outcome = self.tabs[at].drive(work)?;
        self.note(at, name, &ids, state, matches!(outcome, Outcome::Done(())));
        self.answer(at, &outcome, durability)
    }

    fn upsert(&mut self, at: usize, name: &'static str, ids: Vec<u64>, durability: Durability) -> (State, Work) {
        self.version += 1;
        let (database, version) = (self.database(at), self.version);
        let collection = Rc::clone(&self.tabs[at].open[name]);
        let work = async move {
            let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
            let rows: Vec<f32> = ids.iter().flat_map(|&id| vector(id, version)).collect();
            let metadata = vec![metadata(version); ids.len()];
            let batch = UpsertBatch { ids: &points, vectors: Vectors::F32(&rows), metadata: &metadata };
            database.upsert(&collection, &batch, Some(durability), None).await.map(drop)
        };
        (Some(version), Box::pin(work))
    }

    fn delete(&mut self, at: usize, name: &'static str) -> Checked {
        let (ids, durability) = (self.some_ids(at), Tab::durability(&mut self.random));
        let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
        let (database, collection) = (self.database(at), Rc::clone(&self.tabs[at].open[name]));
        let before = collection.snapshot();
        let outcome = self.tabs[at].drive(database.delete(&collection, &points, Some(durability), None))?;
        // What is not there is not deleted, though the server may have it; what a failed write left may turn out to be there.
        let (there, others) = ids.into_iter().partition::<Vec<u64>, _>(|id| before.get(&PointId::Int(*id)).is_some());
        self.note(at, name, &others, None, false);
        self.note(at, name, &there, None, matches!(outcome, Outcome::Done(_)));
        self.answer(at, &outcome, durability)
    }

    /// Notes what became of a tab's own points.
    fn note(&mut self, at: usize, name: &'static str, ids: &[u64], state: State, is_done: bool) {
        let tab = &mut self.tabs[at];
        let own = tab.own();
        for id in ids.iter().filter(|id| own.contains(id)) {
            tab.lives.entry((name, *id)).or_default().note(state, is_done);
        }
    }

    /// Takes note of what a writer was told.
    fn answer<T>(&mut self, at: usize, outcome: &Outcome<T>, durability: Durability) -> Checked {
        let is_done = matches!(outcome, Outcome::Done(_));
        if is_done && durability == Durability::Strict {
            self.tabs[at].last();
        }
        self.count(if is_done { "writes" } else { "writes that failed" });
        self.look(at, outcome)
    }

    /// A tab that is dead or lost its store begins anew; any other one shows what it should.
    fn look<T>(&mut self, at: usize, outcome: &Outcome<T>) -> Checked {
        match outcome {
            Outcome::Dead | Outcome::Failed(ErrorKind::Closed) => self.die(at),
            _ => self.check(at, Life::allows),
        }
    }

    /// Carries so many questions of a session; says whether it came to rest.
    fn sync(&mut self, at: usize, name: &'static str, asks: usize, loss: Option<usize>) -> Checked<bool> {
        let (database, collection) = (self.database(at), Rc::clone(&self.tabs[at].open[name]));
        // Whatever was on its way is lost.
        if !collection.sync_status().is_at_rest || self.random.one_in(4) {
            collection.sync_restart();
        }
        for _ in 0..asks {
            let outcome = self.tabs[at].drive(database.sync_next(&collection))?;
            let Outcome::Done(step) = outcome else {
                self.count("steps of a session that failed");
                self.look(at, &outcome)?;
                return Ok(false);
            };
            self.check(at, Life::allows)?;
            let Some((method, body)) = step else {
                self.come_to_rest(at, name)?;
                return Ok(true);
            };
            self.count(asked(&method));
            let mut is_lost = || loss.is_some_and(|loss| self.random.one_in(loss));
            if is_lost() {
                collection.sync_restart();
                continue;
            }
            match self.server.answer(&method, &body) {
                Ok(answer) if !is_lost() => database
                    .sync_receive(&collection, &method, &answer)
                    .map_err(|error| format!("an answer to {method} is not taken: {error}"))?,
                // More was written meanwhile.
                Err(error) if error.kind() != ErrorKind::Conflict => return Err(format!("{method}: {error}")),
                _ => collection.sync_restart(),
            }
        }
        Ok(false)
    }

    /// Everything that the tab wrote until now is at the server.
    fn come_to_rest(&mut self, at: usize, name: &'static str) -> Checked {
        let tab = &mut self.tabs[at];
        let status = tab.open[name].sync_status();
        // Nothing is ever forgotten here, so nothing is refused, but what a twin was answered for.
        if !status.is_at_rest || status.pending > 0 || status.conflicts > 0 && !tab.is_copied {
            return Err(format!("tab {at} waits with {name} as {status:?}"));
        }
        tab.lives.iter_mut().filter(|((of, _), _)| *of == name).for_each(|(_, life)| life.settle());
        self.count("sessions at rest");
        Ok(())
    }

    /// Writes that wait for their transactions while a session goes on.
    fn write_while_syncing(&mut self, at: usize, name: &'static str) -> Checked {
        // It is to be in the midst of something.
        let asks = self.random.below(4);
        self.sync(at, name, asks, None)?;
        let (database, collection) = (self.database(at), Rc::clone(&self.tabs[at].open[name]));
        let mut written = Vec::new();
        let mut calls: Vec<(Work, Option<Result<(), Error>>)> = Vec::new();
        let order = self.random.below(3);
        self.tabs[at].kv.hold();
        for call in 0..3 {
            if call == order {
                let (database, collection) = (Rc::clone(&database), Rc::clone(&collection));
                calls.push((Box::pin(async move { database.sync_next(&collection).await.map(drop) }), None));
            } else {
                let ids = self.some_ids(at);
                let (state, work) = self.upsert(at, name, ids.clone(), Durability::Relaxed);
                written.push((calls.len(), ids, state));
                calls.push((work, None));
            }
            poll_each(&mut calls);
        }
        self.tabs[at].kv.release();
        for _ in 0..PATIENCE {
            poll_each(&mut calls);
            if self.tabs[at].kv.is_dead() || calls.iter().all(|(_, outcome)| outcome.is_some()) {
                break;
            }
        }
        if !self.tabs[at].kv.is_dead() && calls.iter().any(|(_, outcome)| outcome.is_none()) {
            return Err("writers and a session wait for each other".into());
        }
        collection.sync_restart();
        let mut is_closed = self.tabs[at].kv.is_dead();
        for (_, outcome) in &calls {
            if let Some(Err(error)) = outcome {
                is_closed |= expected(error)? == ErrorKind::Closed;
            }
        }
        for (call, ids, state) in written {
            self.note(at, name, &ids, state, matches!(calls[call].1, Some(Ok(()))));
        }
        self.count("writes beside a session");
        self.look(at, &if is_closed { Outcome::<()>::Dead } else { Outcome::Done(()) })
    }

    /// A stream that follows begins, or brings something late, or breaks.
    fn stream(&mut self, at: usize, name: &'static str) -> Checked {
        let database = self.database(at);
        let collection = Rc::clone(&self.tabs[at].open[name]);
        if !self.tabs[at].streams.contains_key(name) || self.random.one_in(8) {
            // Only who has greeted knows the term.
            if !collection.sync_status().is_at_rest {
                return Ok(());
            }
            let request = PullRequest::decode(&*database.sync_follow(&[collection.space()])).unwrap();
            let wanted = request.spaces[0];
            let after = Cursor { epoch: wanted.epoch, seq: wanted.after };
            let stream = Stream { space: wanted.space, after, coming: VecDeque::new() };
            self.tabs[at].streams.insert(name, stream);
            self.count("streams");
        }
        let tab = &mut self.tabs[at];
        let stream = tab.streams.get_mut(name).expect("it was begun");
        for _ in 0..=self.random.below(3) {
            let (message, page) = self.server.page(stream.space, stream.after).map_err(|error| error.to_string())?;
            stream.after.seq = stream.after.seq.max(page.cursor.seq);
            stream.coming.push_back(message);
        }
        for _ in 0..self.random.below(4) {
            let Some(message) = stream.coming.pop_front() else { break };
            let taken = database.sync_page(&message).map_err(|error| format!("a page is not taken: {error}"))?;
            if taken != Some(collection.space()) {
                return Err(format!("a page of {name} is taken for one of {taken:?}"));
            }
        }
        self.count("pages of a stream");
        // Whoever waits looks at it, and goes on.
        if collection.sync_status().is_at_rest { self.go_on(at, name) } else { Ok(()) }
    }

    /// Goes on with a session that waited; what it pulls, compares and repairs on the way loses nothing.
    fn go_on(&mut self, at: usize, name: &'static str) -> Checked {
        let (database, collection) = (self.database(at), Rc::clone(&self.tabs[at].open[name]));
        loop {
            let outcome = self.tabs[at].drive(database.sync_next(&collection))?;
            let Outcome::Done(step) = outcome else { return self.look(at, &outcome) };
            let Some((method, body)) = step else { return self.come_to_rest(at, name) };
            self.count(asked(&method));
            match self.server.answer(&method, &body) {
                Ok(answer) => database
                    .sync_receive(&collection, &method, &answer)
                    .map_err(|error| format!("an answer to {method} is not taken: {error}"))?,
                Err(error) => return Err(format!("nothing is wrong, and {method} is refused: {error}")),
            }
        }
    }

    fn work(&mut self, at: usize) -> Checked {
        let database = self.database(at);
        for collection in self.tabs[at].open.values() {
            collection.request_seal();
        }
        // Or it goes on later.
        for _ in 0..[1, 2, 1_000][self.random.below(3)] {
            let outcome = self.tabs[at].drive(database.work(1.0))?;
            match outcome {
                Outcome::Done(true) => {}
                Outcome::Done(false) => {
                    self.count("seals");
                    return self.check(at, Life::allows);
                }
                _ => return self.look(at, &outcome),
            }
        }
        self.check(at, Life::allows)
    }

    fn flush(&mut self, at: usize) -> Checked {
        let outcome = self.tabs[at].drive(self.database(at).flush())?;
        if matches!(outcome, Outcome::Done(())) {
            // What failed before may be visible now.
            self.tabs[at].last();
        }
        self.look(at, &outcome)
    }

    fn calm_down(&mut self, at: usize) -> Checked {
        self.tabs[at].kv.disarm();
        self.flush(at)
    }

    fn write_at_server(&mut self, name: &'static str) {
        let id = self.random.next() % SHARED;
        self.version += 1;
        if self.random.one_in(3) {
            self.server.delete(name, id);
        } else {
            self.server.upsert(name, id, &vector(id, self.version), metadata(self.version));
        }
        self.server.work();
        self.count("writes at the server");
    }

    fn restart_server(&mut self) {
        let crash = [Crash::Process, Crash::Power][self.random.below(2)];
        self.server.crash(crash, &mut self.random);
        self.tabs.iter_mut().for_each(|tab| tab.streams.clear());
        self.count("restarts of the server");
    }

    /// Somebody copies a profile over another one: two write under one name, until the server tells them apart.
    fn copy(&mut self, at: usize) -> Checked {
        let onto = (at + 1) % self.tabs.len();
        let kv = self.tabs[at].kv.after_process_death();
        let tab = &mut self.tabs[onto];
        tab.leave(kv);
        tab.lives.values_mut().for_each(Life::forget);
        self.tabs[at].is_copied = true;
        self.tabs[onto].is_copied = true;
        self.count("copied profiles");
        self.open(onto)
    }

    /// Everything is healed: everybody agrees, and nothing is lost.
    fn finish(mut self) -> Checked<Trace> {
        for at in 0..self.tabs.len() {
            let kv = self.tabs[at].kv.after_process_death();
            self.tabs[at].leave(kv);
            self.open(at)?;
        }
        // One round brings everything to the server, another one everything to everybody; names change in between.
        for _ in 0..4 {
            for (at, name) in (0..self.tabs.len()).flat_map(|at| NAMES.map(|name| (at, name))) {
                self.tabs[at].open[name].sync_restart();
                if !self.sync(at, name, 10_000, None)? {
                    return Err(format!("the session of {name} in tab {at} does not come to rest"));
                }
            }
        }
        for name in NAMES {
            let (expected, digest) = self.server_has(name)?;
            for at in 0..self.tabs.len() {
                let has = |engine: &Collection| (live(&engine.snapshot()), engine.digest());
                if self.tabs[at].open[name].with_engine(has) != (expected.clone(), digest) {
                    return Err(format!("tab {at} and the server do not agree on {name}"));
                }
            }
            expected.hash(&mut self.hasher);
        }
        for at in 0..self.tabs.len() {
            self.check(at, Life::allows_in_the_end)?;
            // What was agreed on is what is stored.
            let kv = self.tabs[at].kv.after_process_death();
            self.tabs[at].leave(kv);
            self.open(at)?;
            self.check(at, Life::allows_in_the_end)?;
            self.count_all("points that came from the server", self.tabs[at].lent.pulled.get());
        }
        Ok(Trace { hash: self.hasher.finish(), counts: self.counts.into_inner() })
    }

    /// What the server shows, and what it says that amounts to.
    fn server_has(&self, name: &str) -> Checked<(BTreeMap<PointId, Told>, Digest)> {
        let collection = self.server.collection(name).ok_or("a collection is missing at the server")?;
        let replica = self.tabs[0].open[name].with_engine(|engine| engine.sync().clone());
        let Role::Replica(replica) = replica else { return Err("a tab does not follow".into()) };
        let (_, page) = self.server.page(collection.space().0, replica.cursor()).map_err(|error| error.to_string())?;
        let digest = page.up_to_date.ok_or("there is something behind the end")?;
        Ok((live(&collection.snapshot()), digest))
    }
}

fn poll_each(calls: &mut [(Work, Option<Result<(), Error>>)]) {
    for (call, outcome) in calls.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
        if let Poll::Ready(done) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            *outcome = Some(done);
        }
    }
}

/// What a request is counted as.
fn asked(method: &str) -> &'static str {
    let methods = ["Hello", "GetManifest", "Pull", "Push", "Fetch", "Reconcile"];
    methods.into_iter().find(|known| *known == method).unwrap_or("pieces of segments")
}
