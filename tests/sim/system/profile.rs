//! A browser's profile: a store that two tabs share, one of which owns it and talks to a server for both. The owner dies, or
//! is taken for dead, and the other tab goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use hyperspace_core::collection::{CollectionConfig, UpsertBatch, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metric::Metric;
use hyperspace_core::port::Durability;
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_wasm::host::{Database, Environment, OpenCollection};
use hyperspace_wasm::kv::{Fault, SimulatedKv};

use super::NAMES;
use super::counts::Counts;
use super::network::{Network, Node, Payload, Reply};
use crate::random::Random;
use crate::sync::drive::{Checked, Outcome, drive, found};
use crate::sync::lent::{DIMENSION, Lent, Platform, metadata, vector};
use crate::sync::life::{Life, State};

/// Ids that everybody writes.
pub(super) const SHARED: u64 = 8;
/// Ids that one profile alone writes.
const OWN: u64 = 5;
/// A question is given up after about so many looks.
const PATIENCE: usize = 12;

/// A profile.
pub(super) struct Profile {
    number: usize,
    kv: SimulatedKv,
    lent: Rc<Lent>,
    /// Which of the two tabs owns the store.
    owner: usize,
    tab: Option<Tab>,
    /// The server that it talks to.
    pub(super) server: usize,
    lives: BTreeMap<(&'static str, u64), Life>,
    has_wrong_clock: bool,
    /// Leaders have changed. Then copies may differ for a while; and of a profile whose clock is wrong, a later write may get
    /// a stamp below that of an earlier one which an earlier leader has accepted.
    has_seen_change: bool,
}

/// The tab that owns the store.
struct Tab {
    database: Rc<Database<SimulatedKv>>,
    open: BTreeMap<&'static str, Rc<OpenCollection>>,
    /// The question that is not answered: its number, its kind, and of which collection. There is one at a time.
    asked: Option<(u64, Cow<'static, str>, &'static str)>,
}

/// The configuration of a collection, everybody's.
pub(super) fn config(name: &str) -> CollectionConfig {
    CollectionConfig { ef_construction: Some(8), ..CollectionConfig::new(name, DIMENSION, Metric::L2).unwrap() }
}

impl Profile {
    pub(super) fn new(number: usize, platform: &Arc<Platform>, ahead_ms: u64, has_wrong_clock: bool) -> Self {
        let (kv, lent, lives) = (SimulatedKv::new(), Lent::new(platform, ahead_ms), BTreeMap::new());
        Self { number, kv, lent, owner: 0, tab: None, server: 0, lives, has_wrong_clock, has_seen_change: false }
    }

    /// Another server leads from here on.
    pub(super) const fn see_change(&mut self) {
        self.has_seen_change = true;
    }

    pub(super) fn own(&self) -> std::ops::Range<u64> {
        let first = 100 * (self.number as u64 + 1);
        first..first + OWN
    }

    pub(super) fn set_clock(&self, ahead_ms: u64) {
        self.lent.ahead_ms.set(ahead_ms);
    }

    /// A collection of the tab that owns the store.
    pub(super) fn collection(&self, name: &str) -> Option<&Rc<OpenCollection>> {
        self.tab.as_ref()?.open.get(name)
    }

    /// The owner's tab opens the store.
    pub(super) fn open(&mut self, counts: &Counts) -> Checked {
        self.load(counts)?;
        self.check(Life::allows)
    }

    fn load(&mut self, counts: &Counts) -> Checked {
        self.tab = None;
        let environment = Rc::clone(&self.lent) as Rc<dyn Environment>;
        let tenant = Tenant::local();
        let opening = Database::open(&tenant, self.kv.clone(), environment, Durability::Relaxed);
        let Outcome::Done(database) = drive(&self.kv, opening)? else { return self.die(counts) };
        let mut open = BTreeMap::new();
        for name in NAMES {
            let opening = database.collection_or_create(config(name));
            let Outcome::Done(collection) = drive(&self.kv, opening)? else { return self.die(counts) };
            open.insert(name, collection);
        }
        self.tab = Some(Tab { database: Rc::new(database), open, asked: None });
        Ok(())
    }

    /// The owner dies, and the other tab takes its place.
    pub(super) fn die(&mut self, counts: &Counts) -> Checked {
        counts.count("tabs that die");
        self.owner = 1 - self.owner;
        self.kv = self.kv.after_process_death();
        self.open(counts)
    }

    /// The other tab takes the owner for dead; then that goes on, and gets nothing done.
    pub(super) fn take_over(&mut self, version: u32, counts: &Counts) -> Checked {
        let Some(frozen) = self.tab.take() else { return Ok(()) };
        self.kv.disarm();
        counts.count("tabs that are taken for dead");
        self.owner = 1 - self.owner;
        self.open(counts)?;
        let id = self.own().start;
        let written = self.upsert(&frozen, NAMES[0], &[id], version, Durability::Relaxed)?;
        self.note(NAMES[0], &[id], Some(version), false);
        if matches!(written, Outcome::Done(())) {
            return Err("a tab that does not own the store any more is answered".into());
        }
        let stepped = drive(&self.kv, frozen.database.sync_next(&frozen.open[NAMES[0]]))?;
        if matches!(stepped, Outcome::Dead) { self.die(counts) } else { self.check(Life::allows) }
    }

    /// The machine loses power, and with it what was relaxed.
    pub(super) fn lose_power(&mut self, counts: &Counts) -> Checked {
        counts.count("profiles that lose power");
        self.kv = self.kv.after_power_failure();
        self.load(counts)?;
        let Some(tab) = &self.tab else { return Ok(()) };
        for ((name, id), life) in &mut self.lives {
            let found = found(&tab.open[name].snapshot(), *id)?;
            if !life.go_on_from(found) && !is_refused(&tab.open[name], *id)? {
                return Err(format!(
                    "profile {} has {found:?} of point {id} of {name} after a loss of power; {life:?}",
                    self.number
                ));
            }
        }
        Ok(())
    }

    /// A server is gone for good: what was answered may have been there alone.
    pub(super) fn doubt(&mut self) {
        self.lives.values_mut().for_each(Life::doubt);
    }

    pub(super) fn arm(&self, random: &mut Random) {
        let (near, soon) = (random.below(8) as u64, random.below(3) as u64);
        let faults = [
            Fault::Abort(near),
            Fault::Quota(near),
            Fault::LostAnswer(soon),
            Fault::Hang(soon, random.one_in(2)),
            Fault::Death(near),
            Fault::DeathBehind(soon),
        ];
        self.kv.arm(faults[random.below(faults.len())]);
    }

    pub(super) fn disarm(&self) {
        self.kv.disarm();
    }

    /// Writes some points, or deletes them.
    pub(super) fn write(&mut self, name: &'static str, version: u32, random: &mut Random, counts: &Counts) -> Checked {
        let Some(tab) = self.tab.take() else { return self.open(counts) };
        let ids: Vec<u64> = (0..SHARED).chain(self.own()).collect();
        let ids: Vec<u64> = (0..=random.below(4)).map(|_| ids[random.below(ids.len())]).collect();
        let durability = if random.one_in(6) { Durability::Strict } else { Durability::Relaxed };
        let outcome = if random.one_in(4) {
            let before = tab.open[name].snapshot();
            let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
            let deleting = tab.database.delete(&tab.open[name], &points, Some(durability), None);
            let outcome = drive(&self.kv, deleting)?;
            // What is not there is not deleted; what a failed write left may turn out to be there.
            let (there, others): (Vec<u64>, Vec<u64>) =
                ids.into_iter().partition(|id| before.get(&PointId::Int(*id)).is_some());
            self.note(name, &others, None, false);
            self.note(name, &there, None, matches!(outcome, Outcome::Done(_)));
            outcome.without_value()
        } else {
            let outcome = self.upsert(&tab, name, &ids, version, durability)?;
            self.note(name, &ids, Some(version), matches!(outcome, Outcome::Done(())));
            outcome
        };
        self.tab = Some(tab);
        let is_done = matches!(outcome, Outcome::Done(()));
        if is_done && durability == Durability::Strict {
            self.lives.values_mut().for_each(Life::last);
        }
        counts.count(if is_done { "writes of tabs" } else { "writes of tabs that fail" });
        self.look(&outcome, counts)
    }

    fn upsert(&self, tab: &Tab, name: &str, ids: &[u64], version: u32, durability: Durability) -> Checked<Outcome<()>> {
        let points: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
        let rows: Vec<f32> = ids.iter().flat_map(|&id| vector(id, version)).collect();
        let metadata = vec![metadata(version); ids.len()];
        let batch = UpsertBatch { ids: &points, vectors: Vectors::F32(&rows), metadata: &metadata };
        drive(&self.kv, tab.database.upsert(&tab.open[name], &batch, Some(durability), None))
            .map(Outcome::without_value)
    }

    /// Notes what became of the profile's own points.
    fn note(&mut self, name: &'static str, ids: &[u64], state: State, is_done: bool) {
        let own = self.own();
        for id in ids.iter().filter(|id| own.contains(id)) {
            self.lives.entry((name, *id)).or_default().note(state, is_done);
        }
    }

    /// Seals and merges, for a while.
    pub(super) fn work(&mut self, random: &mut Random, counts: &Counts) -> Checked {
        let Some(tab) = &self.tab else { return self.open(counts) };
        let database = Rc::clone(&tab.database);
        for collection in tab.open.values() {
            collection.request_seal();
        }
        for _ in 0..[1, 2, 1_000][random.below(3)] {
            match drive(&self.kv, database.work(1.0))? {
                Outcome::Done(true) => {}
                Outcome::Done(false) => {
                    counts.count("seals of tabs");
                    break;
                }
                outcome => return self.look(&outcome.without_value(), counts),
            }
        }
        self.check(Life::allows)
    }

    /// Everything that was acknowledged survives a loss of power from here on.
    pub(super) fn flush(&mut self, counts: &Counts) -> Checked {
        let Some(tab) = &self.tab else { return self.open(counts) };
        let outcome = drive(&self.kv, tab.database.flush())?;
        if matches!(outcome, Outcome::Done(())) {
            self.lives.values_mut().for_each(Life::last);
        }
        self.look(&outcome, counts)
    }

    /// Asks the next question of a session, or waits for the answer to the last one; says whether nothing is left to ask.
    pub(super) fn tick(
        &mut self,
        name: &'static str,
        network: &mut Network,
        random: &mut Random,
        counts: &Counts,
    ) -> Checked<bool> {
        let Some(tab) = &mut self.tab else { return self.open(counts).map(|()| false) };
        let collection = Rc::clone(&tab.open[name]);
        if let Some((_, _, other)) = tab.asked {
            if random.one_in(PATIENCE) {
                tab.asked = None;
                tab.open[other].sync_restart();
            }
            return Ok(false);
        }
        if collection.sync_status().is_at_rest {
            collection.sync_restart();
        }
        let database = Rc::clone(&tab.database);
        match drive(&self.kv, database.sync_next(&collection))? {
            Outcome::Done(Some((method, body))) => {
                if method == "Reconcile" && collection.sync_status().state == "following" && !self.has_seen_change {
                    return Err(format!("profile {} differs from its leader in {name}", self.number));
                }
                let payload = Payload::Question { method: method.clone(), body };
                let asked = network.send(Node::Profile(self.number), Node::Server(self.server), payload);
                tab.asked = Some((asked, method, name));
                self.check(Life::allows)?;
                Ok(false)
            }
            Outcome::Done(None) => self.come_to_rest(name, counts).map(|()| true),
            outcome => self.look(&outcome.without_value(), counts).map(|()| false),
        }
    }

    /// Everything that was written here until now is answered.
    fn come_to_rest(&mut self, name: &'static str, counts: &Counts) -> Checked {
        let Some(tab) = &self.tab else { return Ok(()) };
        let status = tab.open[name].sync_status();
        if !status.is_at_rest || status.pending > 0 {
            return Err(format!("profile {} waits with {name} as {status:?}", self.number));
        }
        self.lives.iter_mut().filter(|((of, _), _)| *of == name).for_each(|(_, life)| life.settle());
        counts.count("sessions at rest");
        Ok(())
    }

    /// Takes an answer, if it is still waited for; says whether its server has refused it.
    pub(super) fn receive(&mut self, number: u64, reply: Reply) -> Checked<bool> {
        let Some(tab) = &mut self.tab else { return Ok(false) };
        let Some((_, method, name)) = tab.asked.take_if(|(asked, ..)| *asked == number) else { return Ok(false) };
        let collection = &tab.open[name];
        match reply {
            Reply::ToTab(body) => {
                let taken = tab.database.sync_receive(collection, &method, &body);
                taken.map_err(|error| format!("an answer to {method} is not taken: {error}"))?;
                Ok(false)
            }
            Reply::Refused(ErrorKind::Unavailable | ErrorKind::Conflict) => {
                collection.sync_restart();
                Ok(true)
            }
            // The segment was merged away meanwhile.
            Reply::Refused(ErrorKind::NotFound) if method.starts_with('/') => {
                collection.sync_restart();
                Ok(false)
            }
            reply => Err(format!("{method} is answered with {reply:?}")),
        }
    }

    /// A tab that is dead or lost its store begins anew; any other one shows what it should.
    fn look(&mut self, outcome: &Outcome<()>, counts: &Counts) -> Checked {
        match outcome {
            Outcome::Dead | Outcome::Failed(ErrorKind::Closed) => self.die(counts),
            _ => self.check(Life::allows),
        }
    }

    /// Every point that is the profile's alone is as it may be, or the application was told why not.
    pub(super) fn check(&self, allows: fn(&Life, State) -> bool) -> Checked {
        let Some(tab) = &self.tab else { return Ok(()) };
        for (name, collection) in &tab.open {
            let snapshot = collection.snapshot();
            for id in self.own() {
                let Some(life) = self.lives.get(&(*name, id)) else { continue };
                let found = found(&snapshot, id)?;
                let is_ordered = !self.has_wrong_clock || !self.has_seen_change;
                if is_ordered && !allows(life, found) && !is_refused(collection, id)? {
                    return Err(format!("profile {} shows {found:?} of point {id} of {name}; {life:?}", self.number));
                }
            }
            if collection.with_engine(|engine| engine.digest() != engine.recount()) {
                return Err(format!("the digest of {name} in profile {} is not that of its points", self.number));
            }
        }
        Ok(())
    }

    /// Begins anew, without any fault to come.
    pub(super) fn heal(&mut self, counts: &Counts) -> Checked {
        self.kv = self.kv.after_process_death();
        self.open(counts)
    }

    /// How many writes the application was told to be refused.
    pub(super) fn refused(&self) -> u64 {
        let open = self.tab.iter().flat_map(|tab| tab.open.values());
        open.map(|collection| collection.sync_status().conflicts as u64).sum()
    }
}

/// Whether the application was told that a write of a point is refused.
fn is_refused(collection: &OpenCollection, id: u64) -> Checked<bool> {
    let refused = collection.sync_conflicts().map_err(|error| error.to_string())?;
    Ok(refused.iter().any(|refused| refused.id == PointId::Int(id)))
}
