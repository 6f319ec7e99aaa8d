//! What happens, drawn from one seed: everybody writes, asks, answers, seals and merges, in any order; [`super::faults`] come in
//! between, and in the end [`super::healing`].

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use hyperspace_core::collection::{UpsertBatch, Vectors};
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::port::Durability;
use hyperspace_core::sync::{Answer, Ask, Offer, Pushed, Rows as _, Verdict, decode_all};
use hyperspace_core::types::{PointId, SpaceId, Stamp, Tenant};
use hyperspace_server::database::Which;
use hyperspace_server::proto::{PushRequest, PushResponse};
use hyperspace_server::settings::WriteConcern;

use super::NAMES;
use super::counts::Counts;
use super::model::{Accepted, Model};
use super::network::{Network, Node, Payload, Reply};
use super::profile::{Profile, SHARED, config};
use super::server::{Held, Server};
use crate::random::Random;
use crate::seeds::{Trace, Violation};
use crate::server::harness::sim::Crash;
use crate::sync::drive::Checked;
use crate::sync::lent::{Platform, metadata, vector};
use crate::sync::service;

const SERVERS: usize = 3;
const PROFILES: usize = 5;
/// What a right clock is ahead of the platform's, so that a wrong one can be behind.
pub(super) const RIGHT_MS: u64 = 600_000;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) platform: Arc<Platform>,
    pub(super) network: Network,
    pub(super) servers: Vec<Server>,
    pub(super) profiles: Vec<Profile>,
    pub(super) model: Model,
    pub(super) concern: WriteConcern,
    /// The server that was promoted last.
    pub(super) leader: usize,
    /// One whose promotion has begun, and was not answered.
    pub(super) promoting: Option<usize>,
    /// Tabs' clocks are wrong. Then none loses power: who forgets both what it wrote and how late it was by another one's
    /// clock writes something newer that is older.
    pub(super) has_wrong_clocks: bool,
    /// A server was lost with its disk; one is, at most.
    pub(super) has_lost_disk: bool,
    spaces: BTreeMap<SpaceId, &'static str>,
    version: u32,
    pub(super) hasher: DefaultHasher,
    pub(super) counts: Counts,
}

/// Writes that a message offers, with their counters, and of which collection.
type Offered = (SpaceId, Vec<(u64, Accepted)>);

/// Runs the history of a seed.
///
/// # Errors
/// The first promise that is not kept.
pub(crate) fn run(seed: u64) -> Result<Trace, Violation> {
    let mut world = World::new(seed).map_err(|what| Violation(format!("at the beginning: {what}")))?;
    let steps = 300 + world.random.below(400);
    for step in 0..steps {
        world.step().map_err(|what| Violation(format!("step {step} of {steps}: {what}")))?;
    }
    world.finish().map_err(|what| Violation(format!("at the end: {what}")))
}

impl World {
    fn new(seed: u64) -> Checked<Self> {
        let mut random = Random::new(seed);
        let platform = Platform::new(seed);
        let concern = if random.one_in(2) { WriteConcern::Majority } else { WriteConcern::Leader };
        let servers = (0..SERVERS).map(|number| Server::new(number, &platform, concern, RIGHT_MS)).collect();
        let has_wrong_clocks = random.one_in(3);
        let profiles =
            (0..PROFILES).map(|number| Profile::new(number, &platform, RIGHT_MS, has_wrong_clocks)).collect();
        let mut world = Self {
            has_wrong_clocks,
            random,
            platform,
            network: Network::default(),
            servers,
            profiles,
            model: Model::default(),
            concern,
            leader: 0,
            promoting: None,
            has_lost_disk: false,
            spaces: BTreeMap::new(),
            version: 0,
            hasher: DefaultHasher::new(),
            counts: Counts::default(),
        };
        world.begin()?;
        Ok(world)
    }

    /// A leader with its collections, and two servers that have followed it.
    fn begin(&mut self) -> Checked {
        for at in 0..SERVERS {
            self.servers[at].follows = (at > 0).then_some(0);
            self.servers[at].start(Crash::Process, &mut self.random)?;
        }
        let leader = self.servers[0].process.as_ref().expect("it was started");
        for name in NAMES {
            let made = leader.database().create(&Tenant::local(), config(name)).map_err(|error| error.to_string())?;
            self.spaces.insert(made.space(), name);
        }
        self.network.heal();
        self.settle_servers()?;
        self.network = Network::default();
        self.profiles.iter_mut().try_for_each(|profile| profile.open(&self.counts))
    }

    fn step(&mut self) -> Checked {
        let (profile, server) = (self.random.below(PROFILES), self.random.below(SERVERS));
        let name = NAMES[usize::from(self.random.one_in(4))];
        match self.random.below(100) {
            0..16 => {
                self.version += 1;
                let version = self.version;
                self.profiles[profile].write(name, version, &mut self.random, &self.counts)?;
            }
            16..46 => {
                let (network, random) = (&mut self.network, &mut self.random);
                self.profiles[profile].tick(name, network, random, &self.counts)?;
            }
            46..76 => self.tick(server)?,
            76..80 => self.write_at(server, name)?,
            80..82 => self.profiles[profile].work(&mut self.random, &self.counts)?,
            82..85 => self.work_at(server)?,
            85 => self.profiles[profile].flush(&self.counts)?,
            86..90 => {
                self.platform.pass(self.random.next() % 2_000);
                let at = if self.random.one_in(4) { server } else { self.leader };
                self.forget(at);
            }
            _ => self.fault(profile, server)?,
        }
        for _ in 0..self.random.below(4) {
            self.deliver()?;
        }
        Ok(())
    }

    pub(super) const fn next_version(&mut self) -> u32 {
        self.version += 1;
        self.version
    }

    /// A server does something as a follower.
    pub(super) fn tick(&mut self, at: usize) -> Checked {
        let ticked = self.servers[at].tick(&mut self.network, &mut self.random, &self.counts);
        self.look(at, ticked)
    }

    /// What a server says while its machine stops, nobody hears.
    fn look(&mut self, at: usize, outcome: Checked) -> Checked {
        if self.servers[at].look() {
            self.counts.count("servers that stop in the midst of something");
            return Ok(());
        }
        outcome.map_err(|what| format!("server {at}: {what}"))
    }

    fn work_at(&mut self, at: usize) -> Checked {
        let Some(process) = &self.servers[at].process else { return Ok(()) };
        let worked = process.database().work_next();
        if matches!(worked, Ok(true)) {
            self.counts.count("seals and merges of servers");
        }
        self.look(at, worked.map(drop).map_err(|error| error.to_string()))
    }

    fn forget(&mut self, at: usize) {
        let floors = |server: &Server| -> u64 {
            let process = server.process.as_ref();
            let each = process.into_iter().flat_map(|process| NAMES.map(|name| process.collection(name)));
            each.flatten().map(|collection| collection.with_engine(floor)).sum()
        };
        let before = floors(&self.servers[at]);
        self.servers[at].forget();
        if floors(&self.servers[at]) > before {
            self.counts.count("times that deletes are forgotten");
        }
        // An error would be told to the log only.
        let _ = self.look(at, Ok(()));
    }

    /// Writes without any replica, at a server that leads, whichever it is.
    fn write_at(&mut self, at: usize, name: &'static str) -> Checked {
        let version = self.next_version();
        let id = PointId::Int(self.random.next() % SHARED);
        let is_delete = self.random.one_in(3);
        let durability = if self.random.one_in(3) { Durability::Relaxed } else { Durability::Strict };
        let Some(process) = self.servers[at].process.as_mut().filter(|process| process.leads()) else { return Ok(()) };
        let (database, collection) = (process.database(), process.collection(name).ok_or("a collection is missing")?);
        let stamp = || collection.with_engine(|engine| engine.known(&id.key()).map(|known| known.stamp));
        let before = stamp();
        let written = if is_delete {
            database.delete(&collection, Which::Ids(std::slice::from_ref(&id)), Some(durability))
        } else {
            let PointId::Int(number) = id else { unreachable!("it is a number") };
            let (row, metadata) = (vector(number, version), [metadata(version)]);
            let batch =
                UpsertBatch { ids: std::slice::from_ref(&id), vectors: Vectors::F32(&row), metadata: &metadata };
            database.upsert(&collection, &batch, Some(durability))
        };
        let written = written.and_then(|ticket| service::wait(&database, ticket));
        let after = stamp();
        let unheard = Stamp { hlc: u64::MAX, ..Stamp::default() };
        let stamp = if written.is_ok() { after } else { Some(unheard) };
        let Some(stamp) = stamp.filter(|stamp| Some(*stamp) != before) else {
            let is_seen = is_delete || written.is_err();
            let seen = if is_seen { Ok(()) } else { Err(format!("a write of point {id} is answered and not seen")) };
            return self.look(at, seen);
        };
        let accepted = Accepted { place: (name, id.clone()), stamp, is_delete };
        self.model.ask(&accepted);
        if written.is_ok() && durability == Durability::Strict {
            self.counts.count("writes at servers");
            let held = Held {
                to: None,
                space: collection.space(),
                wanted: database.cursor(&collection).ok_or("a leader stands nowhere")?,
                accepted: vec![accepted],
            };
            self.answer_when_confirmed(at, held);
        }
        self.look(at, written.map_err(|error| error.to_string()))
    }

    /// Brings the next message to whom it is for.
    pub(super) fn deliver(&mut self) -> Checked {
        let Some(message) = self.network.take(&mut self.random, &self.counts) else { return Ok(()) };
        match (message.to, message.payload) {
            (Node::Profile(at), Payload::Reply(number, reply)) => {
                if self.profiles[at].receive(number, reply)? && self.random.one_in(2) {
                    self.turn_elsewhere(at);
                }
                Ok(())
            }
            (Node::Server(at), Payload::Reply(number, reply)) => {
                let received = self.servers[at].receive(number, reply);
                self.look(at, received)
            }
            (Node::Server(at), payload) => self.serve(at, message.from, message.number, payload),
            (Node::Profile(_), payload) => Err(format!("a tab is asked {payload:?}")),
        }
    }

    /// A tab looks for a server that leads. It never goes back to one that was replaced, though that may not know.
    fn turn_elsewhere(&mut self, profile: usize) {
        let leads = |at: usize| self.servers[at].process.as_ref().is_some_and(super::server::Process::leads);
        let fitting: Vec<usize> = (0..SERVERS).filter(|&at| at == self.leader || !leads(at)).collect();
        let server = if self.random.one_in(3) { fitting[self.random.below(fitting.len())] } else { self.leader };
        self.profiles[profile].server = server;
    }

    /// A server answers.
    fn serve(&mut self, at: usize, from: Node, number: u64, payload: Payload) -> Checked {
        if self.servers[at].process.is_none() {
            return Ok(());
        }
        let offered = self.offered(&payload)?;
        let writes = offered.iter().flat_map(|(_, offers)| offers.iter().map(|(_, write)| write));
        writes.for_each(|write| self.model.ask(write));
        let answered = self.servers[at].answer(payload);
        if self.servers[at].look() {
            self.counts.count("servers that stop in the midst of something");
            return Ok(());
        }
        let reply = match answered {
            Ok(reply) => reply,
            Err(error) => {
                refused(&error).map_err(|what| format!("server {at}: {what}"))?;
                self.network.send(Node::Server(at), from, Payload::Reply(number, Reply::Refused(error.kind())));
                return Ok(());
            }
        };
        if let Some((space, mut offers)) = offered {
            let pushed = pushed(&reply)?;
            let is_accepted = |cseq: u64| {
                pushed.verdicts.iter().any(|(of, verdict)| *of == cseq && matches!(verdict, Verdict::Accepted(_)))
            };
            offers.retain(|(cseq, _)| is_accepted(*cseq));
            pushed.verdicts.iter().for_each(|(_, verdict)| self.counts.count(named(verdict)));
            let process = self.servers[at].process.as_ref().expect("it has answered");
            let collection = process.database().collection_numbered(&Tenant::local(), space);
            let collection = collection.map_err(|error| error.to_string())?;
            let wanted = process.database().cursor(&collection).ok_or("a leader stands nowhere")?;
            let accepted = offers.into_iter().map(|(_, write)| write).collect();
            self.answer_when_confirmed(at, Held { to: Some((from, number, reply)), space, wanted, accepted });
        } else {
            self.network.send(Node::Server(at), from, Payload::Reply(number, reply));
        }
        self.release(at);
        Ok(())
    }

    /// A write is answered at once, or when a majority has it, as was chosen.
    fn answer_when_confirmed(&mut self, at: usize, held: Held) {
        let process = self.servers[at].process.as_mut().expect("it has answered");
        if self.concern == WriteConcern::Majority {
            process.hold(held);
        } else {
            self.answer(at, held);
        }
    }

    fn answer(&mut self, at: usize, held: Held) {
        held.accepted.iter().for_each(|write| self.model.accept(write));
        if let Some((to, number, reply)) = held.to {
            self.network.send(Node::Server(at), to, Payload::Reply(number, reply));
        }
    }

    /// Answers what a majority has by now.
    pub(super) fn release(&mut self, at: usize) {
        let Some(process) = &mut self.servers[at].process else { return };
        for held in process.release(&mut self.random) {
            self.counts.count("answers that waited for a majority");
            self.answer(at, held);
        }
    }

    /// What a message offers, and of which collection.
    fn offered(&self, payload: &Payload) -> Checked<Option<Offered>> {
        let (space, offers): (SpaceId, Vec<Offer>) = match payload {
            Payload::Question { method, body } if method == "Push" => {
                let request: PushRequest = service::read(body).map_err(|error| error.to_string())?;
                let offers = decode_all(&request.offers, "the offers").map_err(|error| error.to_string())?;
                (SpaceId(request.space), offers)
            }
            Payload::Ask(asker, Ask::Push(offers)) => (asker.space, offers.clone()),
            _ => return Ok(None),
        };
        let name = *self.spaces.get(&space).ok_or("offers are of another space")?;
        let each = offers.into_iter().map(|offer| {
            let is_delete = offer.body.is_none();
            (offer.cseq, Accepted { place: (name, offer.id), stamp: offer.stamp, is_delete })
        });
        Ok(Some((space, each.collect())))
    }
}

pub(super) fn floor(engine: &hyperspace_core::collection::Collection) -> u64 {
    match engine.sync() {
        hyperspace_core::sync::State::Leader(leader) => leader.floor().seq,
        hyperspace_core::sync::State::Replica(replica) => replica.floor().seq,
        hyperspace_core::sync::State::Local => 0,
    }
}

fn pushed(reply: &Reply) -> Checked<Pushed> {
    match reply {
        Reply::ToTab(body) => {
            let response: PushResponse = service::read(body).map_err(|error| error.to_string())?;
            decode_all(&response.pushed, "an answer").map_err(|error| error.to_string())
        }
        Reply::ToFollower(Answer::Pushed(pushed)) => Ok(pushed.clone()),
        other => Err(format!("offers are answered with {other:?}")),
    }
}

const fn named(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted(_) => "offers accepted",
        Verdict::Lost(_) => "offers that lose",
        Verdict::StaleDeleted => "offers of what was deleted long ago",
        Verdict::Restamp => "offers that need new stamps",
    }
}

/// Servers do not lead, or lead in another term, or the numbers have moved on, or a follower was removed; anything else is a
/// mistake.
fn refused(error: &Error) -> Checked {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::NotFound => Ok(()),
        kind => Err(format!("a question is refused with {}: {}", kind.code(), error.message())),
    }
}

impl World {
    /// Takes note of what everybody shows, for a comparison with another run.
    pub(super) fn note(&mut self, what: impl std::hash::Hash) {
        what.hash(&mut self.hasher);
    }

    pub(super) fn trace(self) -> Trace {
        Trace { hash: self.hasher.finish(), counts: self.counts.into_inner() }
    }
}
