//! Random histories of replicas and leaders against what must hold of them, with lost and doubled answers, forgotten
//! tombstones, losses of power and changes of leaders.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::*;
use crate::log::{Body, Rec, Stamper};
use crate::types::{IdKey, PointId, Stamp};

/// A generator of numbers (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

#[derive(Clone, Debug, Default)]
struct Store(BTreeMap<IdKey, Rec>);

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

fn known(rec: &Rec) -> Known {
    Known { id: rec.id.clone(), stamp: rec.stamp, seq: rec.seq }
}

impl Store {
    fn live(&self) -> BTreeMap<PointId, Stamp> {
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

    fn digest(&self) -> Digest {
        self.items().iter().collect()
    }

    fn apply(&mut self, rows: &[RowChange]) {
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
}

const KEY: SpaceKey = SpaceKey([9; 32]);
const BASE_MS: u64 = 1_000_000;
const RESERVED: u64 = 8;

#[derive(Clone, Debug)]
struct Server {
    state: State,
    store: Store,
    /// Tombstones that were forgotten, by id.
    forgotten: BTreeMap<PointId, Stamp>,
}

impl Server {
    fn leader(&self) -> &Leader {
        let State::Leader(leader) = &self.state else { panic!("a server leads") };
        leader
    }
}

struct Client {
    state: State,
    store: Store,
    stamper: Stamper,
    reserved: u64,
    skew: i64,
    saved: Option<(State, Store)>,
}

impl Client {
    fn new(writer: u64) -> Self {
        let mut stamper = Stamper::new(writer, 0, 1);
        stamper.reserve(RESERVED);
        let state = State::Replica(Replica::new(1, KEY, writer));
        Self { state, store: Store::default(), stamper, reserved: RESERVED, skew: 0, saved: None }
    }

    fn replica(&self) -> &Replica {
        let State::Replica(replica) = &self.state else { panic!("a client follows") };
        replica
    }

    fn apply(&mut self, change: &Change) {
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

    /// Keeps enough stamps reserved, durably: a loss of power does not take the reservation back (R8).
    fn reserve(&mut self) {
        if let Some(needed) = self.stamper.reservation_for(64) {
            self.reserved = needed + RESERVED;
            self.stamper.reserve(self.reserved);
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Weather {
    power_losses: bool,
    failovers: bool,
}

struct History {
    random: Random,
    server: Server,
    clients: Vec<Client>,
    follower: Option<Server>,
    time: u64,
    ids: u64,
    accepted: Vec<Rec>,
    inserted: Vec<PointId>,
    weather: Weather,
    counts: BTreeMap<&'static str, usize>,
}

/// What stands in a body: which write it was at first, whatever stamp it got later.
fn body(id: &PointId, stamp: Stamp) -> Body {
    let mut bytes = id.to_canonical();
    bytes.extend_from_slice(bytemuck::bytes_of(&stamp));
    bytes.into()
}

fn original(rec: &Rec) -> Stamp {
    let body = rec.body.as_ref().unwrap();
    bytemuck::pod_read_unaligned(&body[body.len() - 24..])
}

impl History {
    fn new(seed: u64, weather: Weather) -> Self {
        Self {
            random: Random(seed),
            server: Server {
                state: State::Leader(Leader::new(KEY)),
                store: Store::default(),
                forgotten: BTreeMap::new(),
            },
            clients: (1..=3).map(Client::new).collect(),
            follower: None,
            time: 0,
            ids: 0,
            accepted: Vec::new(),
            inserted: Vec::new(),
            weather,
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn now(&self, client: usize) -> u64 {
        (BASE_MS + self.time * 10).saturating_add_signed(self.clients[client].skew)
    }

    fn write(&mut self, at: usize, id: PointId, is_delete: bool) {
        let now = self.now(at);
        let client = &mut self.clients[at];
        client.reserve();
        let stamp = client.stamper.stamp(now, 1).unwrap();
        let key = id.key();
        let seq = client.replica().number_of(client.store.known(&key).as_ref());
        let body = (!is_delete).then(|| body(&id, stamp));
        client.store.apply(&[RowChange::Put(Rec { id, stamp, seq, body })]);
        client.state.note_write(key, stamp, seq);
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
        let client = &mut self.clients[at];
        let change = client.replica().settle(&client.store, acked, head, &found, &client.stamper);
        client.apply(&change);
    }

    /// Hello, and what it asks for.
    fn greet(&mut self, at: usize) {
        let now = self.now(at);
        self.clients[at].reserve();
        let client = &mut self.clients[at];
        let welcome = self.server.leader().welcome(&client.replica().hello(&client.stamper));
        assert!(!client.replica().is_forked(&welcome), "nobody writes under another's name");
        if welcome.rewind.is_some() {
            let mut stamper = client.stamper.clone();
            let change = client.replica().rewind(&client.store, &welcome, &mut stamper, now).unwrap();
            client.stamper = stamper;
            client.apply(&change);
            self.count("rewinds");
        }
        self.settle(at, welcome.acked);
        if welcome.must_resync {
            let change = self.clients[at].replica().resync(&welcome);
            self.clients[at].apply(&change);
            self.count("resyncs");
        }
    }

    fn pull(&mut self, at: usize, limit: Option<usize>) {
        self.greet(at);
        let after = self.clients[at].replica().cursor().seq;
        let mut recs = self.server.store.since(after);
        let is_all = limit.is_none_or(|limit| recs.len() <= limit);
        recs.truncate(limit.unwrap_or(usize::MAX));
        let page = self.server.leader().page(after, recs, is_all.then(|| self.server.store.digest()));
        let change = self.clients[at].replica().pull(page);
        self.clients[at].apply(&change);
        if is_all {
            self.compare(at);
        }
    }

    /// What a replica does that stands where the leader does.
    fn compare(&mut self, at: usize) {
        let now = self.now(at);
        let client = &mut self.clients[at];
        let is_equal = client.store.digest() == self.server.store.digest();
        if !client.replica().is_resyncing() && (is_equal || !client.replica().is_answered(&client.store)) {
            return;
        }
        assert!(
            client.replica().is_resyncing() || self.weather.failovers,
            "nothing was lost, and yet the digests differ"
        );
        let (here, there) = (ItemSet::new(client.store.items()), ItemSet::new(self.server.store.items()));
        let (mut initiator, mut frame) = Initiator::start(here, 4_096);
        while let Some(next) = initiator.receive(&respond(&there, &frame, 4_096).unwrap()).unwrap() {
            frame = next;
        }
        let difference = initiator.finish();
        let here: Vec<IdKey> = difference.here.iter().map(|item| item.key).collect();
        let there = difference.there.iter().map(|(_, key)| *key);
        let found = self.fetch(&here.iter().copied().chain(there).collect::<Vec<_>>());
        let client = &mut self.clients[at];
        client.reserve();
        let mut stamper = client.stamper.clone();
        let change = client.replica().repair(&client.store, &here, found, &mut stamper, now).unwrap();
        client.stamper = stamper;
        client.apply(&change);
        self.count("repairs");
    }

    fn push(&mut self, at: usize, most_bytes: usize, is_doubled: bool, is_lost: bool) {
        self.greet(at);
        let now = self.now(at);
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
        let mut answer = None;
        for _ in 0..=usize::from(is_doubled) {
            let server_now = BASE_MS + self.time * 10;
            let (pushed, change) = self.server.leader().push(&self.server.store, writer, &offers, server_now);
            self.publish(&change);
            answer = Some(pushed);
        }
        let Some(answer) = answer.filter(|_| !is_lost) else { return };
        for (_, verdict) in &answer.verdicts {
            self.count(match verdict {
                Verdict::Accepted(_) => "accepted",
                Verdict::Lost(_) => "lost",
                Verdict::StaleDeleted => "stale",
                Verdict::Restamp => "restamped",
            });
        }
        let acked = answer.acked;
        let client = &mut self.clients[at];
        let mut stamper = client.stamper.clone();
        let change = client.replica().pushed(&client.store, answer, &mut stamper, now).unwrap();
        client.stamper = stamper;
        client.apply(&change);
        let client = &self.clients[at];
        if !client.replica().unsettled(&client.store, acked).is_empty() {
            self.settle(at, acked);
        }
    }

    fn forget(&mut self) {
        let server = &self.server;
        let followed = self.follower.as_ref().map_or(0, |follower| follower.leader().head().seq);
        let most = if self.weather.failovers { server.leader().forgettable().min(followed) } else { u64::MAX };
        let mut graves: Vec<Rec> =
            server.store.0.values().filter(|rec| rec.body.is_none() && rec.seq <= most).cloned().collect();
        if graves.is_empty() {
            return;
        }
        graves.sort_by_key(|rec| rec.seq);
        graves.truncate(1 + self.random.below(graves.len()));
        let change = self.server.leader().forget(graves.iter().map(known));
        self.publish(&change);
        for grave in graves {
            self.server.store.0.remove(&grave.id.key());
            self.server.forgotten.insert(grave.id.clone(), grave.stamp);
        }
        self.count("collections");
    }

    fn lose_power(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((state, store)) = client.saved.clone() else { return };
        (client.state, client.store) = (state, store);
        let newest = client.store.0.values().map(|rec| rec.stamp.hlc).max().unwrap_or_default();
        client.stamper = Stamper::new(client.stamper.writer(), newest, client.reserved);
        self.count("power losses");
    }

    fn step(&mut self) {
        self.time += self.random.below(4) as u64;
        let at = self.random.below(self.clients.len());
        if self.random.percent(2) {
            self.clients[at].skew = i64::from(self.random.below(400) as u32) - 200;
        }
        if self.weather.power_losses {
            match self.random.below(100) {
                0..6 => self.clients[at].saved = Some((self.clients[at].state.clone(), self.clients[at].store.clone())),
                6..9 => self.lose_power(at),
                _ => {}
            }
        }
        if self.weather.failovers && self.random.percent(10) {
            self.follower = Some(self.server.clone());
        }
        let live: Vec<PointId> = self.clients[at].store.live().into_keys().collect();
        match self.random.below(1_000) {
            0..250 => {
                self.ids += 1;
                let id = PointId::Int(self.ids);
                self.inserted.push(id.clone());
                self.write(at, id, false);
            }
            250..400 if !live.is_empty() => {
                let id = live[self.random.below(live.len())].clone();
                self.write(at, id, false);
            }
            400..550 if !live.is_empty() => {
                let id = live[self.random.below(live.len())].clone();
                self.write(at, id, true);
            }
            550..720 => {
                let limit = self.random.pick(&[None, Some(1), Some(2), Some(5)]);
                self.pull(at, limit);
            }
            720..900 => {
                let (most, is_doubled, is_lost) =
                    (self.random.pick(&[1, 200, 1 << 20]), self.random.percent(30), self.random.percent(30));
                self.push(at, most, is_doubled, is_lost);
            }
            900..985 => self.forget(),
            985.. if self.weather.failovers => {
                if let Some(follower) = self.follower.clone() {
                    let terms = self.server.leader().terms().to_vec();
                    let promoted = follower.leader().clone().promoted(&terms);
                    self.server = Server { state: State::Leader(promoted), ..follower };
                    self.count("failovers");
                }
            }
            _ => {}
        }
    }

    /// Everything comes to rest; then everything that must hold is looked at.
    fn check(&mut self) -> Result<(), String> {
        for _ in 0..8 {
            for at in 0..self.clients.len() {
                self.pull(at, None);
                self.push(at, 1 << 20, false, false);
                self.pull(at, None);
            }
        }
        let live = self.server.store.live();
        for client in &self.clients {
            let replica = client.replica();
            if !replica.is_answered(&client.store) {
                return Err(format!("the outbox still has {:?}", replica.outbox(&client.store)));
            }
            if client.store.live() != live {
                let own = client.store.live();
                let here: Vec<_> = own.iter().filter(|(id, stamp)| live.get(id) != Some(stamp)).collect();
                let there: Vec<_> = live.iter().filter(|(id, stamp)| own.get(id) != Some(stamp)).collect();
                return Err(format!("diverged: only a replica has {here:?}, only the leader {there:?}"));
            }
            if client.store.digest() != self.server.store.digest() {
                return Err("equal points have other digests".into());
            }
        }
        for (id, deleted) in &self.server.forgotten {
            if live.contains_key(id) && original(&self.server.store.newest(&id.key()).unwrap()) < *deleted {
                return Err(format!("{id} is back"));
            }
        }
        if self.weather.failovers {
            return Ok(());
        }
        for (id, stamp) in &live {
            let newest = self.accepted.iter().filter(|rec| rec.id == *id).map(|rec| rec.stamp).max();
            if newest != Some(*stamp) {
                return Err(format!("{id} is at {stamp:?}, {newest:?} was accepted"));
            }
        }
        let deleted: BTreeSet<&PointId> =
            self.accepted.iter().filter(|rec| rec.body.is_none()).map(|rec| &rec.id).collect();
        for id in &self.inserted {
            let was_accepted = self.accepted.iter().any(|rec| rec.id == *id);
            if was_accepted && !live.contains_key(id) && !deleted.contains(id) {
                return Err(format!("{id} was accepted, never deleted, and is gone"));
            }
        }
        Ok(())
    }
}

fn run(seeds: core::ops::Range<u64>, weather: Weather) -> BTreeMap<&'static str, usize> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for seed in seeds {
        let mut history = History::new(seed, weather);
        let steps = 20 + history.random.below(100);
        for _ in 0..steps {
            history.step();
        }
        if let Err(wrong) = history.check() {
            panic!("seed {seed}: {wrong}");
        }
        for (what, count) in history.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    counts
}

#[test]
fn replicas_agree_and_lose_nothing_whatever_is_lost_doubled_or_forgotten() {
    let counts = run(0..7_000, Weather::default());
    std::println!("{counts:?}");
    assert!(["resyncs", "lost", "stale", "restamped"].iter().all(|what| counts[what] > 20), "{counts:?}");
}

#[test]
fn a_loss_of_power_at_a_replica_loses_nothing_that_was_answered() {
    let counts = run(0..7_000, Weather { power_losses: true, ..Weather::default() });
    assert!(counts["power losses"] > 1_000, "{counts:?}");
}

#[test]
fn a_change_of_leaders_loses_nothing_that_any_replica_has() {
    let counts = run(0..7_000, Weather { failovers: true, ..Weather::default() });
    assert!(counts["failovers"] > 100 && counts["rewinds"] > 100, "{counts:?}");
}
