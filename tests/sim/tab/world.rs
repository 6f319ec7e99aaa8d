//! A tab, its store and its users, drawn from one seed.
//!
//! Everything runs on one thread: futures are polled by hand, the clock counts calls, and a fault strikes at a request
//! that the seed names. After every life the database is opened again and compared with the model.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyperspace_core::collection::{CollectionConfig, Plan as SearchPlan, SearchRequest, UpsertBatch, Vectors};
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port::{Clock, Durability, Entropy};
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_wasm::host::{Database, Environment, OpenCollection};
use hyperspace_wasm::kv::{Fault, SimulatedKv, Store};

use super::model::{Change, Model, State, TAGS};
use crate::random::Random;
use crate::seeds::{Trace, Violation};

pub(super) const DIMENSION: usize = 3;
const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];
/// Points of a collection: few, so that they are overwritten and deleted often.
const IDS: usize = 16;
/// Polls after which a future that the store has answered must be done.
const PATIENCE: usize = 100_000;

type Checked<T = ()> = Result<T, String>;
type Tab = Database<SimulatedKv>;

/// Which faults a history has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: usize,
    /// One step in so many has a fault armed; 0 for none.
    pub(crate) fault_one_in: usize,
    /// Only the death of the tab is armed.
    pub(crate) only_kills: bool,
    /// One step in so many is a loss of power; 0 for none.
    pub(crate) power_one_in: usize,
    /// Whether storage is cleared, set back and taken over, and the quota is used up.
    pub(crate) everything_else: bool,
}

impl Plan {
    pub(crate) const MIXED: Self =
        Self { steps: 60, fault_one_in: 4, only_kills: false, power_one_in: 12, everything_else: true };
    pub(crate) const KILLS: Self =
        Self { steps: 200, fault_one_in: 2, only_kills: true, power_one_in: 0, everything_else: false };
    pub(crate) const POWER: Self =
        Self { steps: 200, fault_one_in: 0, only_kills: false, power_one_in: 3, everything_else: false };
    pub(crate) const CALM: Self =
        Self { steps: 40, fault_one_in: 0, only_kills: false, power_one_in: 0, everything_else: false };
}

/// Time that passes with every look at it, and randomness from the seed.
struct Platform {
    ticks: Cell<u64>,
    random: Cell<u64>,
    reports: Cell<u64>,
}

impl Clock for Platform {
    fn now_ms(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        1_700_000_000_000 + self.ticks.get()
    }
}

impl Entropy for Platform {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            self.random.set(self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            *byte = (self.random.get() >> 56) as u8;
        }
    }
}

impl Environment for Platform {
    fn elapsed_ms(&self) -> f64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get() as f64
    }

    fn report(&self, _: &Error) {
        self.reports.set(self.reports.get() + 1);
    }
}

/// A write and, when it is over, its outcome.
type Writing = (Pin<Box<dyn Future<Output = Result<(), Error>>>>, Option<Result<(), Error>>);

pub(crate) struct World {
    random: Random,
    plan: Plan,
    pub(crate) kv: SimulatedKv,
    platform: Rc<Platform>,
    tab: Option<Rc<Tab>>,
    open: BTreeMap<&'static str, Rc<OpenCollection>>,
    models: BTreeMap<&'static str, Model>,
    version: u32,
    hasher: DefaultHasher,
    counts: BTreeMap<&'static str, u64>,
}

/// Runs the history of a seed.
///
/// # Errors
/// The first promise that is not kept.
pub(crate) fn run(seed: u64) -> Result<Trace, Violation> {
    World::new(seed, Plan::MIXED).live()
}

/// What a call came to: nothing, when the tab died.
enum Outcome<T> {
    Done(T),
    Failed(ErrorKind),
    Dead,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let platform = Platform { ticks: Cell::new(0), random: Cell::new(seed), reports: Cell::new(0) };
        Self {
            random: Random::new(seed),
            plan,
            kv: SimulatedKv::new(),
            platform: Rc::new(platform),
            tab: None,
            open: BTreeMap::new(),
            models: BTreeMap::new(),
            version: 0,
            hasher: DefaultHasher::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Lives the whole history, deletes everything and looks for what is left over.
    pub(crate) fn live(self) -> Result<Trace, Violation> {
        self.live_through()?.finish().map_err(|what| Violation(format!("at the end: {what}")))
    }

    /// Lives the whole history; what was written is there afterwards.
    pub(crate) fn live_through(mut self) -> Result<Self, Violation> {
        for step in 0..self.plan.steps {
            self.step().map_err(|what| Violation(format!("step {step} of {}: {what}", self.plan.steps)))?;
        }
        Ok(self)
    }

    /// The platform's time and randomness.
    pub(crate) fn environment(&self) -> Rc<dyn Environment> {
        Rc::clone(&self.platform) as Rc<dyn Environment>
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
        what.hash(&mut self.hasher);
    }

    fn step(&mut self) -> Checked {
        if self.tab.is_none() {
            return self.begin_life();
        }
        if self.plan.fault_one_in > 0 && !self.kv.is_armed() && self.random.one_in(self.plan.fault_one_in) {
            self.arm();
        }
        if self.plan.power_one_in > 0 && self.random.one_in(self.plan.power_one_in) {
            return self.lose_power();
        }
        match self.random.below(if self.plan.everything_else { 20 } else { 15 }) {
            0..=4 => self.write_one(),
            5 | 6 => self.write_together(),
            7 => self.delete(),
            8 | 9 => self.seal(),
            10 => self.flush(),
            11 => self.slice(),
            12 => self.create(),
            13 => self.drop_one(),
            14 => self.close(),
            15 => {
                self.fill_up();
                Ok(())
            }
            16 => self.take_over(),
            17 => self.set_back(),
            18 if self.random.one_in(4) => self.clear(),
            _ => self.calm_down(),
        }?;
        self.look()
    }

    fn arm(&mut self) {
        let near = self.random.below(8) as u64;
        let soon = self.random.below(3) as u64;
        let kind = if self.plan.only_kills { 4 + self.random.below(2) } else { self.random.below(6) };
        self.kv.arm(match kind {
            0 => Fault::Abort(near),
            1 => Fault::Quota(near),
            2 => Fault::LostAnswer(soon),
            3 => Fault::Hang(soon, self.random.one_in(2)),
            4 => Fault::Death(near),
            _ => Fault::DeathBehind(soon),
        });
        self.count(
            ["aborts", "quotas", "lost answers", "hangs", "deaths at a request", "deaths behind a commit"][kind],
        );
    }

    /// Polls a call to its end, or to the tab's.
    fn drive<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Checked<Outcome<T>> {
        let mut call = std::pin::pin!(call);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..PATIENCE {
            if let Poll::Ready(done) = call.as_mut().poll(&mut context) {
                return Ok(match done {
                    Ok(value) => Outcome::Done(value),
                    Err(error) => Outcome::Failed(expected(&error)?),
                });
            }
            if self.kv.is_dead() {
                return Ok(Outcome::Dead);
            }
        }
        Err("a call is never answered".into())
    }

    /// Opens the database; whatever was armed may strike.
    fn begin_life(&mut self) -> Checked {
        match self.drive(open(self.kv.clone(), self.environment()))? {
            Outcome::Done(tab) => {
                self.tab = Some(Rc::new(tab));
                self.count("openings");
                self.load_all(Model::allows)
            }
            Outcome::Failed(_) => {
                self.count("openings that failed");
                Ok(())
            }
            Outcome::Dead => self.die(),
        }
    }

    /// Loads every collection and compares it with what may be there.
    fn load_all(&mut self, allows: fn(&Model, &State) -> bool) -> Checked {
        let Some(tab) = self.tab.clone() else { return Ok(()) };
        let names = tab.names();
        for name in NAMES {
            let is_there = names.iter().any(|found| found == name);
            if is_there != self.models.contains_key(name) {
                return Err(format!("collection {name} is there: {is_there}, and should not be"));
            }
            if !is_there {
                continue;
            }
            match self.drive(tab.collection(name))? {
                Outcome::Done(collection) => {
                    let found = read(&collection)?;
                    let model = self.models.get_mut(name).ok_or("no model")?;
                    if !allows(model, &found) {
                        return Err(format!("{name} is {found:?} after a restart; {model:?}"));
                    }
                    model.settle(found);
                    self.open.insert(name, collection);
                }
                Outcome::Failed(_) => {}
                Outcome::Dead => return self.die(),
            }
        }
        Ok(())
    }

    /// The tab is gone; what it had not heard of may have happened.
    fn die(&mut self) -> Checked {
        self.count("tab kills");
        self.leave(self.kv.after_process_death(), Model::allows)
    }

    fn lose_power(&mut self) -> Checked {
        self.count("losses of power");
        self.leave(self.kv.after_power_failure(), Model::allows_any_prefix)
    }

    /// Goes on with another store, and checks at once what is in it.
    fn leave(&mut self, found: SimulatedKv, allows: fn(&Model, &State) -> bool) -> Checked {
        self.forget_tab();
        // The new store has neither faults nor a quota.
        self.kv = found;
        let opening = open(self.kv.clone(), self.environment());
        let Outcome::Done(tab) = self.drive(opening)? else { return Err("the database does not open again".into()) };
        self.tab = Some(Rc::new(tab));
        self.load_all(allows)?;
        if self.open.len() != self.models.len() {
            return Err(format!("{} of {} collections can be opened", self.open.len(), self.models.len()));
        }
        self.check_searches()
    }

    fn forget_tab(&mut self) {
        self.open.clear();
        self.tab = None;
    }

    /// Everything that is open shows what was acknowledged.
    fn look(&mut self) -> Checked {
        for (name, collection) in &self.open {
            let (found, model) = (read(collection)?, &self.models[name]);
            if !model.allows(&found) {
                return Err(format!("{name} shows {found:?}; {model:?}"));
            }
            found.hash(&mut self.hasher);
        }
        if self.models.values().any(|model| model.doubts() > 5) { self.settle_all() } else { Ok(()) }
    }

    fn check_searches(&mut self) -> Checked {
        for (name, collection) in &self.open {
            let state = read(collection)?;
            let Some((&id, &version)) = state.iter().nth(self.random.below(state.len().max(1))) else { continue };
            let query = QueryVector::from_f32(Metric::L2, DIMENSION, &vector(id, version)).unwrap();
            for plan in [Some(SearchPlan::Exact), None] {
                let request = SearchRequest::new(query.clone(), 1).unwrap();
                let request = plan.into_iter().fold(request, SearchRequest::with_plan);
                let hits = collection.search(&request).map_err(|error| error.to_string())?.1.hits;
                if hits.first().map(|hit| (&hit.id, hit.distance)) != Some((&PointId::Int(id), 0.0)) {
                    return Err(format!("point {id} of {name} does not find itself"));
                }
            }
        }
        Ok(())
    }

    /// One of the open collections.
    fn pick(&mut self) -> Option<(&'static str, Rc<OpenCollection>)> {
        let at = self.random.below(self.open.len().max(1));
        self.open.iter().nth(at).map(|(name, collection)| (*name, Rc::clone(collection)))
    }

    fn durability(&mut self) -> Durability {
        if self.random.one_in(5) { Durability::Strict } else { Durability::Relaxed }
    }

    fn some_ids(&mut self, from: usize, to: usize) -> Vec<u64> {
        let mut ids: Vec<u64> = (from..to).filter(|_| self.random.one_in(3)).map(|id| id as u64).collect();
        if ids.is_empty() {
            ids.push(from as u64);
        }
        ids
    }

    fn next_version(&mut self) -> u32 {
        self.version += 1;
        self.version
    }

    fn write_one(&mut self) -> Checked {
        let Some((name, collection)) = self.pick() else { return self.create() };
        let (ids, version, durability) = (self.some_ids(0, IDS), self.next_version(), self.durability());
        let tab = self.tab.clone().ok_or("no tab")?;
        let outcome = self.drive(upsert(tab, collection, ids.clone(), version, durability))?;
        self.answer(name, Change::Put(ids, version), &outcome, durability)
    }

    fn delete(&mut self) -> Checked {
        let Some((name, collection)) = self.pick() else { return Ok(()) };
        let (tab, durability) = (self.tab.clone().ok_or("no tab")?, self.durability());
        let tag = self.random.below(TAGS as usize) as u32;
        let (change, outcome) = if self.random.one_in(2) {
            let ids = self.some_ids(0, IDS);
            let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
            let outcome = self.drive(tab.delete(&collection, &points, Some(durability), None))?;
            (Change::Delete(ids), outcome)
        } else {
            let wanted = Value::Map([("tag".to_owned(), Value::I64(i64::from(tag)))].into());
            let filter = Filter::parse(&wanted).unwrap();
            (Change::DeleteTag(tag), self.drive(tab.delete_where(&collection, &filter, Some(durability), None))?)
        };
        self.answer(name, change, &outcome, durability)
    }

    /// Notes what a caller was told.
    fn answer<T>(&mut self, name: &str, change: Change, outcome: &Outcome<T>, durability: Durability) -> Checked {
        let model = self.models.get_mut(name).ok_or("no model")?;
        match outcome {
            Outcome::Done(_) => {
                model.note(change, true);
                self.count("acknowledged writes");
                if durability == Durability::Strict { self.all_durable() } else { Ok(()) }
            }
            Outcome::Failed(kind) => {
                model.note(change, false);
                self.count("refused writes");
                if *kind == ErrorKind::Closed { self.die() } else { Ok(()) }
            }
            Outcome::Dead => {
                model.note(change, false);
                self.die()
            }
        }
    }

    /// Something strict was complete: so is everything before it.
    fn all_durable(&mut self) -> Checked {
        for (name, collection) in &self.open {
            let (found, model) = (read(collection)?, self.models.get_mut(name).ok_or("no model")?);
            if !model.allows(&found) {
                return Err(format!("{name} shows {found:?}; {model:?}"));
            }
            // What failed is decided only when the collection's log has been read since.
            if model.doubts() == 0 {
                model.settle(found);
            }
        }
        Ok(())
    }

    /// Several writers at once, each with points of its own; their transactions are shared.
    fn write_together(&mut self) -> Checked {
        if self.open.is_empty() {
            return Ok(());
        }
        let tab = self.tab.clone().ok_or("no tab")?;
        let writers = 2 + self.random.below(3);
        let mut changes = Vec::new();
        let mut writing: Vec<Writing> = Vec::new();
        for writer in 0..writers {
            let Some((name, collection)) = self.pick() else { continue };
            let (from, to) = (writer * IDS / writers, (writer + 1) * IDS / writers);
            let (ids, version, durability) = (self.some_ids(from, to), self.next_version(), self.durability());
            let call = upsert(Rc::clone(&tab), collection, ids.clone(), version, durability);
            writing.push((Box::pin(call), None));
            changes.push((name, Change::Put(ids, version)));
        }
        self.poll_together(&mut writing)?;
        for ((name, change), (_, outcome)) in changes.into_iter().zip(writing) {
            if let Some(Err(error)) = &outcome {
                expected(error)?;
            }
            let acknowledged = matches!(outcome, Some(Ok(())));
            self.count(if acknowledged { "acknowledged writes" } else { "refused writes" });
            self.models.get_mut(name).ok_or("no model")?.note(change, acknowledged);
        }
        // The order among them is not known here: before power may go, they are made durable.
        self.settle_all()
    }

    fn poll_together(&self, writing: &mut [Writing]) -> Checked {
        let mut context = Context::from_waker(Waker::noop());
        let mut after_death = 0;
        for _ in 0..PATIENCE {
            for (call, outcome) in writing.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
                if let Poll::Ready(done) = call.as_mut().poll(&mut context) {
                    *outcome = Some(done);
                }
            }
            // Whoever was answered before the tab died may hear of it.
            after_death += usize::from(self.kv.is_dead());
            if writing.iter().all(|(_, outcome)| outcome.is_some()) || after_death > 3 {
                return Ok(());
            }
        }
        Err("writers are never answered".into())
    }

    fn seal(&mut self) -> Checked {
        let Some((_, collection)) = self.pick() else { return Ok(()) };
        let wanted = collection.request_seal();
        for _ in 0..1_000 {
            let tab = self.tab.clone().ok_or("no tab")?;
            match self.drive(tab.work(50.0))? {
                Outcome::Done(true) => {}
                Outcome::Done(false) => {
                    self.count("seals");
                    let sealed = collection.sealed_through();
                    return if sealed >= wanted {
                        Ok(())
                    } else {
                        Err(format!("{wanted:?} wanted, {sealed:?} sealed"))
                    };
                }
                Outcome::Failed(ErrorKind::Closed) | Outcome::Dead => return self.die(),
                Outcome::Failed(_) => return Ok(()),
            }
        }
        Err("there is always more to do".into())
    }

    fn slice(&mut self) -> Checked {
        let tab = self.tab.clone().ok_or("no tab")?;
        match self.drive(tab.work(1.0))? {
            Outcome::Failed(ErrorKind::Closed) | Outcome::Dead => self.die(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> Checked {
        let tab = self.tab.clone().ok_or("no tab")?;
        match self.drive(tab.flush())? {
            Outcome::Done(()) => self.all_durable(),
            Outcome::Failed(ErrorKind::Closed) | Outcome::Dead => self.die(),
            Outcome::Failed(_) => Ok(()),
        }
    }

    fn create(&mut self) -> Checked {
        let tab = self.tab.clone().ok_or("no tab")?;
        let name = NAMES[self.random.below(NAMES.len())];
        let config = CollectionConfig::new(name, DIMENSION, Metric::L2).unwrap();
        match self.drive(tab.collection_or_create(config))? {
            Outcome::Done(collection) => {
                let found = read(&collection)?;
                let model = self.models.entry(name).or_default();
                if !model.allows(&found) {
                    return Err(format!("{name} is opened with {found:?}; {model:?}"));
                }
                self.open.insert(name, collection);
                Ok(())
            }
            Outcome::Failed(_) | Outcome::Dead => self.find_out(name),
        }
    }

    fn drop_one(&mut self) -> Checked {
        let Some((name, _)) = self.pick() else { return Ok(()) };
        let tab = self.tab.clone().ok_or("no tab")?;
        match self.drive(tab.delete_collection(name, None))? {
            Outcome::Done(true) => {
                self.open.remove(name);
                self.models.remove(name);
                self.all_durable()
            }
            Outcome::Done(false) => Err(format!("{name} is not there to be deleted")),
            Outcome::Failed(_) | Outcome::Dead => self.find_out(name),
        }
    }

    /// Whether a collection was created or deleted is not known: the next life knows.
    fn find_out(&mut self, name: &'static str) -> Checked {
        self.forget_tab();
        let found = self.kv.after_process_death();
        let is_there = found.dump(Store::Spaces).iter().any(|(_, row)| {
            row.windows(name.len() + 1).any(|bytes| bytes[0] as usize == name.len() && &bytes[1..] == name.as_bytes())
        });
        if is_there {
            self.models.entry(name).or_default();
        } else {
            self.models.remove(name);
        }
        self.count("tab kills");
        self.leave(found, Model::allows)
    }

    fn close(&mut self) -> Checked {
        let tab = self.tab.clone().ok_or("no tab")?;
        let outcome = self.drive(tab.close())?;
        drop(tab);
        match outcome {
            Outcome::Done(()) => {
                self.all_durable()?;
                self.forget_tab();
                Ok(())
            }
            Outcome::Failed(_) | Outcome::Dead => self.die(),
        }
    }

    /// No room, for a while.
    fn fill_up(&mut self) {
        self.count("full quotas");
        self.kv.set_quota(Some(self.kv.bytes() + self.random.below(400) as u64));
    }

    /// No more faults: everything works again.
    fn calm_down(&mut self) -> Checked {
        self.kv.disarm();
        self.kv.set_quota(None);
        let kills = self.counts.get("tab kills").copied();
        self.settle_all()?;
        if self.counts.get("tab kills").copied() == kills {
            Ok(())
        } else {
            Err("a flush fails without any fault".into())
        }
    }

    /// Makes everything certain and durable; by a new life, if it must be.
    fn settle_all(&mut self) -> Checked {
        let Some(tab) = self.tab.clone() else { return Ok(()) };
        if self.kv.is_dead() || !matches!(self.drive(tab.flush())?, Outcome::Done(())) {
            return self.die();
        }
        for (name, collection) in &self.open {
            let (found, model) = (read(collection)?, self.models.get_mut(name).ok_or("no model")?);
            if !model.allows(&found) {
                return Err(format!("{name} is {found:?}; {model:?}"));
            }
            // A flush settles first: what is seen now is what is stored.
            model.settle(found);
        }
        Ok(())
    }

    /// Another engine opens the same store while this one is frozen; then it thaws.
    fn take_over(&mut self) -> Checked {
        self.calm_down()?;
        self.count("take-overs");
        let (Some(old), Some((name, theirs))) = (self.tab.take(), self.pick()) else { return Ok(()) };
        self.open.clear();
        self.begin_life()?;
        let (ids, version) = (self.some_ids(0, IDS), self.next_version());
        if let Some(ours) = self.open.get(name).cloned() {
            let tab = self.tab.clone().ok_or("no tab")?;
            let outcome = self.drive(upsert(tab, ours, ids.clone(), version, Durability::Relaxed))?;
            self.answer(name, Change::Put(ids.clone(), version), &outcome, Durability::Relaxed)?;
        }
        let late = self.next_version();
        match self.drive(upsert(old, theirs, ids, late, Durability::Relaxed))? {
            Outcome::Failed(ErrorKind::Closed) => self.look(),
            Outcome::Done(()) => Err("an engine that was taken over acknowledges a write".into()),
            Outcome::Failed(kind) => Err(format!("an engine that was taken over says {}", kind.code())),
            Outcome::Dead => self.die(),
        }
    }

    /// The store goes back to what was flushed, under a running engine. It must not be written to behind a gap.
    fn set_back(&mut self) -> Checked {
        self.kv.disarm();
        let (Some(tab), Some((name, collection))) = (self.tab.clone(), self.pick()) else { return Ok(()) };
        self.count("stores set back");
        self.kv.roll_back();
        let (ids, version) = (self.some_ids(0, IDS), self.next_version());
        let outcome = self.drive(upsert(tab, collection, ids.clone(), version, Durability::Strict))?;
        let model = self.models.get_mut(name).ok_or("no model")?;
        model.note(Change::Put(ids, version), matches!(outcome, Outcome::Done(())));
        let whole = model.clone();
        self.leave(self.kv.after_process_death(), Model::allows_any_prefix)?;
        let found = read(&self.open[name])?;
        if matches!(outcome, Outcome::Done(())) && !whole.allows(&found) {
            return Err(format!("{name} is {found:?}, a strict write was acknowledged; {whole:?}"));
        }
        Ok(())
    }

    /// The browser clears the origin's storage: no write is acknowledged any more, and nothing is begun anew.
    fn clear(&mut self) -> Checked {
        let (Some(tab), Some((name, collection))) = (self.tab.clone(), self.pick()) else { return Ok(()) };
        self.count("cleared stores");
        self.kv.disarm();
        self.kv.clear();
        let ids = self.some_ids(0, IDS);
        let outcome = self.drive(upsert(tab, Rc::clone(&collection), ids, 0, Durability::Relaxed))?;
        if !matches!(outcome, Outcome::Failed(ErrorKind::Closed)) || self.kv.bytes() > 0 {
            return Err(format!("{name} is written to although its store was cleared"));
        }
        self.look()?;
        self.models.clear();
        self.leave(self.kv.after_process_death(), Model::allows)
    }

    /// Everything is deleted: nothing is left over, neither rows nor connections.
    fn finish(mut self) -> Checked<Trace> {
        if self.tab.is_none() {
            self.kv.disarm();
            self.kv.set_quota(None);
            self.begin_life()?;
        }
        self.calm_down()?;
        self.leave(self.kv.after_process_death(), Model::allows)?;
        let tab = self.tab.clone().ok_or("no tab")?;
        let (counters, bytes) = (tab.counters(), self.kv.bytes());
        if counters.bytes_stored != bytes || counters.bytes_read < bytes {
            return Err(format!("{counters:?} of a store of {bytes} bytes"));
        }
        for name in tab.names() {
            if !matches!(self.drive(tab.delete_collection(&name, None))?, Outcome::Done(true)) {
                return Err(format!("{name} cannot be deleted"));
            }
        }
        for store in [Store::Spaces, Store::Wal, Store::Segs, Store::Chunks] {
            if self.kv.rows_in(store) > 0 {
                return Err(format!("{} rows are left in {}", self.kv.rows_in(store), store.name()));
            }
        }
        drop(tab);
        self.forget_tab();
        if self.kv.connections() != 1 {
            return Err(format!("{} connections are left", self.kv.connections()));
        }
        self.platform.reports.get().hash(&mut self.hasher);
        self.kv.dump(Store::Meta).hash(&mut self.hasher);
        Ok(Trace { hash: self.hasher.finish(), counts: self.counts })
    }
}

/// Faults of the store are told as what they are; anything else is a mistake of ours.
fn expected(error: &Error) -> Checked<ErrorKind> {
    match error.kind() {
        kind @ (ErrorKind::Unavailable | ErrorKind::LimitExceeded | ErrorKind::Closed) => Ok(kind),
        kind => Err(format!("a call fails with {}: {}", kind.code(), error.message())),
    }
}

pub(super) async fn open(kv: SimulatedKv, environment: Rc<dyn Environment>) -> Result<Tab, Error> {
    Database::open(&Tenant::local(), kv, environment, Durability::Relaxed).await
}

async fn upsert(
    tab: Rc<Tab>,
    collection: Rc<OpenCollection>,
    ids: Vec<u64>,
    version: u32,
    durability: Durability,
) -> Result<(), Error> {
    let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
    let vectors: Vec<f32> = ids.iter().flat_map(|&id| vector(id, version)).collect();
    let fields = [("version", version), ("tag", version % TAGS)];
    let value = Value::Map(fields.map(|(name, value)| (name.to_owned(), Value::I64(i64::from(value)))).into());
    let metadata = vec![Metadata::from_value(&value)?; ids.len()];
    let batch = UpsertBatch { ids: &points, vectors: Vectors::F32(&vectors), metadata: &metadata };
    tab.upsert(&collection, &batch, Some(durability), None).await.map(drop)
}

/// The vector of a version of a point: no other has it, and no two are equally far from it.
pub(super) fn vector(id: u64, version: u32) -> Vec<f32> {
    Random::new(id << 32 | u64::from(version)).vector(DIMENSION)
}

/// Everything that a collection shows, checked against itself.
pub(super) fn read(collection: &OpenCollection) -> Checked<State> {
    let snapshot = collection.snapshot();
    let mut state = State::new();
    for point in snapshot.points() {
        let (PointId::Int(id), Value::Map(fields)) = (&point.id, point.metadata.to_value()) else {
            return Err(format!("{:?} is not a point that was written", point.id));
        };
        let Some(Value::I64(version)) = fields.get("version") else { return Err(format!("{id} has no version")) };
        let version = u32::try_from(*version).map_err(|_| format!("{id} has version {version}"))?;
        if point.vector != vector(*id, version) {
            return Err(format!("point {id} has version {version} and another one's vector"));
        }
        if state.insert(*id, version).is_some() {
            return Err(format!("point {id} is there twice"));
        }
    }
    if state.len() != snapshot.len() {
        return Err(format!("{} points are counted, {} are there", snapshot.len(), state.len()));
    }
    Ok(state)
}
