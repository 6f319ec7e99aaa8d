//! A server, its clients and what happens to them: carries out the operations of a history with the state machines, in
//! place of the hosts. It can leave out what one of the protocol's rules asks for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::op::{Fate, Most, Op, Place};
use crate::log::{Body, Rec, Stamper};
use crate::map::Map;
use crate::sync::{
    Chain, Change, Digest, Floor, Initiator, Item, ItemSet, Known, Leader, Offer, Pushed, Replica, RowChange, Rows,
    SpaceKey, State, Verdict, respond,
};
use crate::types::{IdKey, PointId, Stamp};

#[derive(Clone, Debug, Default)]
pub(super) struct Store(pub(super) BTreeMap<IdKey, Rec>);

impl Rows for Store {
    fn newest(&self, key: &IdKey) -> Option<Rec> {
        self.0.get(key).cloned()
    }

    fn known(&self, key: &IdKey) -> Option<Known> {
        self.0.get(key).map(known)
    }

    fn all(&self, fits: impl Fn(Stamp) -> bool) -> Vec<Known> {
        self.0.values().filter(|rec| fits(rec.stamp)).map(known).collect()
    }
}

pub(super) fn known(rec: &Rec) -> Known {
    Known { id: rec.id.clone(), stamp: rec.stamp, seq: rec.seq }
}

impl Store {
    pub(super) fn get(&self, id: u64) -> Option<&Rec> {
        self.0.get(&PointId::Int(id).key())
    }

    pub(super) fn live(&self) -> BTreeMap<PointId, Stamp> {
        self.0.values().filter(|rec| rec.body.is_some()).map(|rec| (rec.id.clone(), rec.stamp)).collect()
    }

    fn since(&self, seq: u64) -> Vec<Rec> {
        let mut recs: Vec<Rec> = self.0.values().filter(|rec| rec.seq > seq).cloned().collect();
        recs.sort_by_key(|rec| rec.seq);
        recs
    }

    fn items(&self) -> Vec<Item> {
        self.0.values().filter_map(|rec| rec.item(&KEY)).collect()
    }

    /// Computed anew from the bytes each time, so that what was altered shows.
    pub(super) fn digest(&self) -> Digest {
        self.items().iter().collect()
    }

    pub(super) fn apply(&mut self, rows: &[RowChange]) {
        for row in rows {
            match row {
                RowChange::Put(rec) => {
                    let own = self.0.get(&rec.id.key());
                    if own.is_none_or(|own| own.stamp < rec.stamp) {
                        self.0.insert(rec.id.key(), rec.clone());
                    }
                }
                RowChange::Forget(id, stamp) => {
                    if self.0.get(&id.key()).is_some_and(|own| own.stamp == *stamp) {
                        self.0.remove(&id.key());
                    }
                }
            }
        }
    }

    fn lose(&mut self, id: u64) -> bool {
        self.0.remove(&PointId::Int(id).key()).is_some()
    }

    /// One bit of a body, not of what says which write it is.
    fn alter(&mut self, id: u64) -> bool {
        let body = self.0.get_mut(&PointId::Int(id).key()).and_then(|rec| rec.body.as_mut());
        let Some(body) = body else { return false };
        let mut bytes = body.to_vec();
        bytes[0] ^= 1;
        *body = bytes.into();
        true
    }
}

pub(super) const KEY: SpaceKey = SpaceKey([9; 32]);
const BASE_MS: u64 = 1_000_000;
/// Counters that a client reserves beside those that it needs at once.
const RESERVED: u64 = 8;
const FRAME_BYTES: usize = 4_096;

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) state: State,
    pub(super) store: Store,
    /// Tombstones that were forgotten, by id.
    pub(super) forgotten: BTreeMap<PointId, Stamp>,
}

impl Server {
    pub(super) fn leader(&self) -> &Leader {
        let State::Leader(leader) = &self.state else { panic!("a server leads") };
        leader
    }

    fn leader_mut(&mut self) -> &mut Leader {
        let State::Leader(leader) = &mut self.state else { panic!("a server leads") };
        leader
    }
}

#[derive(Clone)]
pub(super) struct Client {
    pub(super) state: State,
    pub(super) store: Store,
    pub(super) stamper: Stamper,
    /// Which counters are durably reserved.
    reserved: u64,
    skew: i64,
    saved: Option<(State, Store, u64)>,
}

impl Client {
    pub(super) fn new(writer: u64) -> Self {
        let mut client = Self {
            state: State::Replica(Replica::new(1, KEY, writer)),
            store: Store::default(),
            stamper: Stamper::new(writer, 0, 1),
            reserved: 1,
            skew: 0,
            saved: None,
        };
        client.reserve();
        client
    }

    pub(super) fn replica(&self) -> &Replica {
        let State::Replica(replica) = &self.state else { panic!("a client follows") };
        replica
    }

    pub(super) fn apply(&mut self, change: &Change) {
        // Through its bytes, as a log would have it.
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        assert_eq!(Change::decode(&bytes).as_ref(), Ok(change));
        for row in &change.rows {
            if let RowChange::Put(rec) = row {
                self.stamper.observe(rec.stamp);
            }
        }
        self.store.apply(&change.rows);
        self.state.apply(&change.note);
        assert_eq!(State::decode(&self.state.encode()).as_ref(), Ok(&self.state));
    }

    /// Keeps enough stamps reserved, durably.
    fn reserve(&mut self) {
        if let Some(needed) = self.stamper.reservation_for(64) {
            self.reserved = needed + RESERVED;
            self.stamper.reserve(self.reserved);
        }
    }

    /// Does something that gives stamps, and applies what comes out.
    fn step(&mut self, step: impl FnOnce(&Replica, &Store, &mut Stamper) -> crate::error::Result<Change>) {
        self.reserve();
        let mut stamper = self.stamper.clone();
        let change = step(self.replica(), &self.store, &mut stamper).unwrap();
        self.stamper = stamper;
        self.apply(&change);
    }

    fn save(&mut self) {
        self.saved = Some((self.state.clone(), self.store.clone(), self.reserved));
    }

    /// Starts again with what is durable.
    fn restart(&mut self, reserved: u64) {
        let Some((state, store, _)) = self.saved.clone() else { return };
        (self.state, self.store) = (state, store);
        let newest = self.store.0.values().map(|rec| rec.stamp.hlc).max().unwrap_or_default();
        self.stamper = Stamper::new(self.stamper.writer(), newest, reserved);
        self.reserved = reserved;
    }
}

/// A rule of the protocol that a world can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Who stands below the floor takes the whole state anew.
    R1,
    /// Offers that were answered are passed over.
    R2,
    /// What was answered is remembered.
    R3,
    /// An offer below the floor of an id that is not there is refused, or stamped anew.
    R4,
    /// A write that follows one that was sent is a change.
    R5,
    /// Who takes the whole state anew is told of tombstones too.
    R6,
    /// A new stamp is for the newest write of the id.
    R7,
    /// Counters stay reserved.
    R8,
    /// Tombstones are kept until followers have them, and those of the time before a change of leaders are.
    R11,
    /// Behind the start of a term, replicas go back and offer again.
    R12,
    /// What was answered without the replica knowing how is fetched.
    R16,
}

/// Who wrote an id, and what the last of these writes was.
#[derive(Clone, Debug)]
pub(super) struct Author {
    pub(super) clients: BTreeSet<usize>,
    /// Its stamp, when it was no delete.
    pub(super) last: Option<Stamp>,
}

pub(super) struct World {
    pub(super) server: Server,
    pub(super) clients: Vec<Client>,
    pub(super) accepted: Vec<Rec>,
    pub(super) authors: BTreeMap<PointId, Author>,
    /// Ids that some client deleted.
    pub(super) deleted: BTreeSet<PointId>,
    /// Ids that waited in an outbox when it was copied. Its twin may bring them back: it does not know that it has one.
    pub(super) twins: BTreeSet<PointId>,
    pub(super) counts: BTreeMap<&'static str, usize>,
    follower: Option<Server>,
    /// All pushes, also those that never arrived.
    pushes: Vec<(u64, Vec<Offer>)>,
    writers: u64,
    time: u64,
    without: Option<Rule>,
}

/// What stands in a body: which write it was at first, whatever stamp it got later.
fn body(id: &PointId, stamp: Stamp) -> Body {
    let mut bytes = id.to_canonical();
    bytes.extend_from_slice(bytemuck::bytes_of(&stamp));
    bytes.into()
}

/// The stamp that the write with this body had at first.
pub(super) fn original(body: &Body) -> Stamp {
    bytemuck::pod_read_unaligned(&body[body.len() - 24..])
}

impl World {
    pub(super) fn new(without: Option<Rule>) -> Self {
        let (state, store) = (State::Leader(Leader::new(KEY, 1)), Store::default());
        Self {
            server: Server { state, store, forgotten: BTreeMap::new() },
            clients: Vec::new(),
            accepted: Vec::new(),
            authors: BTreeMap::new(),
            deleted: BTreeSet::new(),
            twins: BTreeSet::new(),
            counts: BTreeMap::new(),
            follower: None,
            pushes: Vec::new(),
            writers: 0,
            time: 0,
            without,
        }
    }

    fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How often something happened.
    pub(super) fn counted(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or(0)
    }

    fn server_now(&self) -> u64 {
        BASE_MS + self.time * 10
    }

    fn now(&self, at: usize) -> u64 {
        self.server_now().saturating_add_signed(self.clients[at].skew)
    }

    /// Carries out an operation; passes over what cannot happen.
    pub(super) fn run(&mut self, op: &Op) {
        if op.client().is_some_and(|at| at >= self.clients.len()) {
            return;
        }
        match *op {
            Op::Join => {
                self.writers += 1;
                self.clients.push(Client::new(self.writers));
            }
            Op::Copy(at) => self.copy(at),
            Op::Wait(steps) => self.time += steps,
            Op::Skew(at, ms) => self.clients[at].skew = ms,
            Op::Put(at, id) => self.write(at, id, false),
            Op::Delete(at, id) => self.write(at, id, true),
            Op::Pull(at, limit) => self.pull(at, limit),
            Op::Push { at, most, times, fate } => self.push(at, most, times, fate),
            Op::Late(before) => self.deliver_late(before),
            Op::Forget(ref ids) => self.forget(ids),
            Op::Save(at) => self.clients[at].save(),
            Op::LosePower(at) => self.lose_power(at),
            Op::Restore(at) => self.restore(at),
            Op::Follow => self.follower = Some(self.server.clone()),
            Op::Failover => self.fail_over(),
            Op::Lose(place, id) => self.rot(place, id, Store::lose, "rows lost"),
            Op::Alter(place, id) => self.rot(place, id, Store::alter, "rows altered"),
        }
    }

    fn copy(&mut self, at: usize) {
        let mut copy = self.clients[at].clone();
        // It opens the copied files.
        copy.stamper = Stamper::new(copy.stamper.writer(), copy.stamper.last_hlc(), copy.reserved);
        let new = self.clients.len();
        self.authors.values_mut().filter(|author| author.clients.contains(&at)).for_each(|author| {
            author.clients.insert(new);
        });
        self.clients.push(copy);
        self.note_twins(at);
        self.count("copies");
    }

    fn note_twins(&mut self, at: usize) {
        let client = &self.clients[at];
        let sent = client.replica().sent().iter().map(|offer| offer.id.clone());
        self.twins.extend(sent);
        self.twins.extend(client.replica().outbox(&client.store).into_iter().map(|(_, known)| known.id));
    }

    fn write(&mut self, at: usize, id: u64, is_delete: bool) {
        let (id, now) = (PointId::Int(id), self.now(at));
        let holds_r5 = self.holds(Rule::R5);
        let client = &mut self.clients[at];
        client.reserve();
        let key = id.key();
        let before = client.store.known(&key);
        if is_delete && client.store.newest(&key).is_none_or(|rec| rec.body.is_none()) {
            return;
        }
        let stamp = client.stamper.stamp(now, 1).unwrap();
        let mut seq = client.replica().number_of(before.as_ref());
        if !holds_r5 && before.is_some_and(|before| before.seq == 0) {
            seq = 0;
        }
        let body = (!is_delete).then(|| body(&id, stamp));
        client.store.apply(&[RowChange::Put(Rec { id: id.clone(), stamp, seq, body })]);
        client.state.note_write(key, stamp, seq);
        assert_eq!(client.store.known(&key).map(|known| known.stamp), Some(stamp), "a write is the newest of its id");
        if is_delete {
            self.deleted.insert(id.clone());
        }
        let author = self.authors.entry(id).or_insert_with(|| Author { clients: BTreeSet::new(), last: None });
        author.clients.insert(at);
        author.last = (!is_delete).then_some(stamp);
    }

    fn publish(&mut self, change: &Change) {
        self.server.store.apply(&change.rows);
        for row in &change.rows {
            let RowChange::Put(rec) = row else { panic!("a leader forgets no rows") };
            self.server.state.note_write(rec.id.key(), rec.stamp, rec.seq);
            self.accepted.push(rec.clone());
        }
        self.server.state.apply(&change.note);
    }

    fn fetch(&self, keys: &[IdKey]) -> Vec<Rec> {
        keys.iter().filter_map(|key| self.server.store.newest(key)).collect()
    }

    fn settle(&mut self, at: usize, acked: Chain) {
        let client = &self.clients[at];
        let found = self.fetch(&client.replica().unsettled(&client.store, acked));
        let head = self.server.leader().head().seq;
        let holds_r16 = self.holds(Rule::R16);
        let client = &mut self.clients[at];
        let mut change = client.replica().settle(&client.store, acked, head, &found, &client.stamper);
        change.rows.retain(|_| holds_r16);
        client.apply(&change);
    }

    /// Hello, and what it asks for.
    fn greet(&mut self, at: usize) {
        let now = self.now(at);
        let client = &mut self.clients[at];
        client.reserve();
        let mut welcome = self.server.leader().welcome(&client.replica().hello(&client.stamper));
        if client.replica().is_forked(&welcome, &client.stamper) {
            self.rename(at);
            return self.greet(at);
        }
        if !self.holds(Rule::R12) {
            welcome.rewind = None;
        }
        if welcome.rewind.is_some() {
            self.clients[at].step(|replica, store, stamper| replica.rewind(store, &welcome, stamper, now));
            self.count("rewinds");
        }
        self.settle(at, welcome.acked);
        if welcome.must_resync && self.holds(Rule::R1) {
            let change = self.clients[at].replica().resync(&welcome);
            self.clients[at].apply(&change);
            self.count("resyncs");
        }
    }

    fn rename(&mut self, at: usize) {
        self.writers += 1;
        let (writer, now) = (self.writers, self.now(at));
        let client = &mut self.clients[at];
        client.stamper = Stamper::new(writer, client.stamper.last_hlc(), 1);
        client.reserved = 1;
        client.step(|replica, store, stamper| replica.rename(store, stamper, now));
        client.save();
        self.count("renames");
    }

    fn pull(&mut self, at: usize, limit: Most) {
        self.greet(at);
        let after = self.clients[at].replica().cursor().seq;
        let mut recs = self.server.store.since(after);
        if self.clients[at].replica().is_resyncing() && !self.holds(Rule::R6) {
            recs.retain(|rec| rec.body.is_some());
        }
        let is_all = match limit {
            Most::All => true,
            Most::Some(limit) => recs.len() <= limit,
        };
        if let Most::Some(limit) = limit {
            recs.truncate(limit);
        }
        let page = self.server.leader().page(after, recs, is_all.then(|| self.server.store.digest()));
        let change = self.clients[at].replica().pull(page);
        self.clients[at].apply(&change);
        if is_all {
            self.compare(at);
        } else if self.clients[at].replica().is_resyncing() {
            self.count("pages of resyncs");
        }
    }

    /// What a replica does that stands where the leader does.
    fn compare(&mut self, at: usize) {
        let now = self.now(at);
        let client = &self.clients[at];
        let is_equal = client.store.digest() == self.server.store.digest();
        let is_resyncing = client.replica().is_resyncing();
        if !is_resyncing && (is_equal || !client.replica().is_answered(&client.store)) {
            return;
        }
        let (here, there) = (ItemSet::new(client.store.items()), ItemSet::new(self.server.store.items()));
        let (mut initiator, mut frame) = Initiator::start(here, FRAME_BYTES);
        while let Some(next) = initiator.receive(&respond(&there, &frame, FRAME_BYTES).unwrap()).unwrap() {
            frame = next;
        }
        let difference = initiator.finish();
        let here: Vec<IdKey> = difference.here.iter().map(|item| item.key).collect();
        let there = difference.there.iter().map(|(_, key)| *key);
        let found = self.fetch(&here.iter().copied().chain(there).collect::<Vec<_>>());
        let before = client.store.live();
        self.clients[at].step(|replica, store, stamper| replica.repair(store, &here, found, stamper, now));
        if !is_resyncing {
            self.count("repairs");
        } else if self.clients[at].store.live() != before {
            self.count("resyncs that found something");
        }
    }

    fn push(&mut self, at: usize, most: Most, times: usize, fate: Fate) {
        self.greet(at);
        let now = self.now(at);
        // An offer with a body takes 97 bytes, one without 64.
        let most_bytes = match most {
            Most::All => 1 << 20,
            Most::Some(count) => 100 * count - 99,
        };
        let client = &mut self.clients[at];
        client.reserve();
        let (offers, change) = client.replica().push(&client.store, most_bytes);
        if let Some(change) = change {
            client.apply(&change);
        }
        if offers.is_empty() {
            return;
        }
        let writer = client.replica().writer();
        self.pushes.push((writer, offers.clone()));
        if fate == Fate::OffersLost {
            return;
        }
        let answers: Vec<Pushed> = (0..times).map(|_| self.deliver(writer, &offers)).collect();
        if fate == Fate::AnswerLost {
            return;
        }
        let answer = answers.into_iter().next_back().unwrap();
        for (_, verdict) in &answer.verdicts {
            self.count(match verdict {
                Verdict::Accepted(_) => "accepted",
                Verdict::Lost(_) => "lost",
                Verdict::StaleDeleted => "stale",
                Verdict::Restamp => "restamped",
            });
        }
        let acked = answer.acked;
        let restamped = answer.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Restamp);
        let restamped: Vec<u64> = restamped.map(|(cseq, _)| *cseq).collect();
        let is_chain_kept = self.holds(Rule::R7);
        self.clients[at].step(|replica, store, stamper| {
            let mut change = replica.pushed(store, answer, stamper, now)?;
            if !is_chain_kept {
                for offer in offers.iter().filter(|offer| restamped.contains(&offer.cseq)) {
                    for row in &mut change.rows {
                        if let RowChange::Put(rec) = row
                            && rec.id == offer.id
                        {
                            rec.body.clone_from(&offer.body);
                        }
                    }
                }
            }
            Ok(change)
        });
        let client = &self.clients[at];
        if !client.replica().unsettled(&client.store, acked).is_empty() {
            self.settle(at, acked);
        }
    }

    fn deliver(&mut self, writer: u64, offers: &[Offer]) -> Pushed {
        let mut leader = self.server.leader().clone();
        if !self.holds(Rule::R2) {
            leader.answered.remove(&writer);
        }
        if !self.holds(Rule::R4) {
            leader.floor = Floor::default();
        }
        let (pushed, change) = leader.push(&self.server.store, writer, offers, self.server_now());
        self.publish(&change);
        pushed
    }

    fn deliver_late(&mut self, before: usize) {
        let Some((writer, offers)) = self.pushes.iter().nth_back(before).cloned() else { return };
        self.deliver(writer, &offers);
        self.count("late pushes");
    }

    fn forget(&mut self, ids: &[u64]) {
        let followed = self.follower.as_ref().filter(|_| self.holds(Rule::R11));
        let followed = followed.map_or(u64::MAX, |follower| follower.leader().head().seq);
        let most = if self.holds(Rule::R11) { self.server.leader().forgettable().min(followed) } else { u64::MAX };
        let graves = ids.iter().filter_map(|id| self.server.store.get(*id));
        let graves: Vec<Rec> = graves.filter(|rec| rec.body.is_none() && rec.seq <= most).cloned().collect();
        if graves.is_empty() {
            return;
        }
        let mut leader = self.server.leader().clone();
        if !self.holds(Rule::R11) {
            leader.terms.clear();
        }
        self.publish(&leader.forget(graves.iter().map(known)));
        for grave in graves {
            self.server.store.0.remove(&grave.id.key());
            self.server.forgotten.insert(grave.id.clone(), grave.stamp);
        }
        if !self.holds(Rule::R3) {
            self.server.leader_mut().answered = Map::new();
        }
        self.count("collections");
    }

    fn lose_power(&mut self, at: usize) {
        let holds_r8 = self.holds(Rule::R8);
        let client = &mut self.clients[at];
        let Some((_, _, reserved)) = client.saved else { return };
        let is_resyncing = client.replica().is_resyncing();
        client.restart(if holds_r8 { client.reserved.max(reserved) } else { reserved });
        self.count("power losses");
        if is_resyncing {
            self.count("interrupted resyncs");
        }
    }

    fn restore(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, _, reserved)) = client.saved else { return };
        client.restart(reserved);
        self.note_twins(at);
        self.count("restored copies");
    }

    fn fail_over(&mut self) {
        let Some(follower) = self.follower.clone() else { return };
        let promoted = follower.leader().clone().promoted(self.server.leader().terms(), None);
        self.server = Server { state: State::Leader(promoted), ..follower };
        self.count("failovers");
    }

    /// Only rows that were answered rot: of others, nobody else knows what they were.
    fn rot(&mut self, place: Place, id: u64, damage: fn(&mut Store, u64) -> bool, what: &'static str) {
        let store = match place {
            Place::Server => &mut self.server.store,
            Place::Client(at) => {
                let client = &mut self.clients[at];
                let is_open = |known: &(u64, Known)| known.1.id == PointId::Int(id);
                if client.replica().outbox(&client.store).iter().any(is_open)
                    || client.replica().sent().iter().any(|offer| offer.id == PointId::Int(id))
                {
                    return;
                }
                &mut client.store
            }
        };
        if store.get(id).is_some_and(|rec| rec.body.is_some()) && damage(store, id) {
            self.count(what);
        }
    }

    /// Everybody is online until nothing moves any more.
    pub(super) fn rest(&mut self) {
        for _ in 0..8 {
            for at in 0..self.clients.len() {
                self.pull(at, Most::All);
                self.push(at, Most::All, 1, Fate::Arrives);
                self.pull(at, Most::All);
            }
        }
    }
}
