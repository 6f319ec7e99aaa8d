//! A leader and its replicas, each a whole engine behind a host of its own that dies and starts again, against what must
//! hold of them: whatever is lost on the way, they become equal, and nothing that was answered is gone.

use std::collections::BTreeMap;

use hyperspace_core::collection::{Collection, CollectionConfig, SealPolicy, SealedJob, Urgency, Vectors};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::{Rec, Stamper, body};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::sync::{
    Answer, Ask, Change, Digest, ItemSet, Leader, Note, Offer, Pushed, Replica, ReplicaNote, RowChange, Rows, Session,
    Sizes, SpaceKey, State, Step, respond,
};
use hyperspace_core::types::{PointId, Stamp};

use super::host::Host;
use crate::support::Random;

const KEY: SpaceKey = SpaceKey([5; 32]);
const DIMENSION: usize = 2;
/// Seals and merges come often.
const POLICY: SealPolicy = SealPolicy { rows: 20, bytes: 1 << 20, fan_in: 2 };
const SIZES: Sizes = Sizes { push: 300, frame: 4 << 10, fetch: 3 };

/// A point but for its id: its row, its metadata, and when it was written by whom.
type Told = (Vec<u32>, Vec<u8>, Stamp);

struct Node {
    host: Host,
    /// A job that is finished and not installed.
    job: Option<SealedJob>,
    session: Session,
}

impl Node {
    fn new(mut collection: Collection, writer: u64) -> Self {
        collection.set_policy(POLICY);
        Self { host: Host::new(collection, writer).unwrap(), job: None, session: Session::new(SIZES) }
    }

    fn live(&self) -> BTreeMap<PointId, Told> {
        let points = self.host.collection.snapshot();
        let told = points.points().map(|point| {
            let row = point.vector.iter().map(|x| x.to_bits()).chain([point.term.to_bits()]).collect();
            (point.id, (row, point.metadata.as_bytes().to_vec(), point.stamp))
        });
        told.collect()
    }

    fn write(&mut self, random: &mut Random) {
        let ids: Vec<PointId> = (0..=random.below(6)).map(|_| PointId::Int(random.next() % 40)).collect();
        match random.below(5) {
            0 => drop(self.host.delete(&ids).unwrap()),
            1 => {
                let changes: BTreeMap<PointId, Metadata> = ids.into_iter().map(|id| (id, metadata(random))).collect();
                self.host.set_metadata(&changes.into_iter().collect::<Vec<_>>()).unwrap();
            }
            _ => {
                let rows: Vec<f32> = (0..ids.len() * DIMENSION).map(|_| random.normal()).collect();
                let metadata: Vec<Metadata> = ids.iter().map(|_| metadata(random)).collect();
                self.host.upsert(&ids, Vectors::F32(&rows), &metadata).unwrap();
            }
        }
    }

    fn work(&mut self, random: &mut Random) {
        if let Some(job) = self.job.take() {
            return self.host.install(job).unwrap();
        }
        let urgency = [Urgency::WhenFull, Urgency::Now, Urgency::Reclaim][random.below(3)];
        self.job = self.host.collection.next_job(urgency).map(|job| job.finish().unwrap());
    }

    /// Dies and starts again.
    fn reopen(&mut self) {
        let (live, state) = (self.live(), told(self.host.collection.sync()));
        self.job = None;
        self.session = Session::new(SIZES);
        self.host.reopen().unwrap();
        self.host.collection.set_policy(POLICY);
        assert_eq!(self.live(), live);
        assert_eq!(told(self.host.collection.sync()), state, "what it is in replication lasts");
    }

    fn check(&self) {
        assert_eq!(self.host.collection.digest(), self.host.collection.recount(), "the digest follows every change");
    }

    fn leader(&self) -> &Leader {
        let State::Leader(leader) = self.host.collection.sync() else { panic!("the first node leads") };
        leader
    }

    /// Answers as a server does.
    fn answer(&mut self, writer: u64, ask: Ask, now_ms: u64) -> Result<Answer> {
        let engine = &self.host.collection;
        Ok(match ask {
            Ask::Hello(hello) => Answer::Welcome(self.leader().welcome(&hello)),
            Ask::Pull(cursor) => {
                assert_eq!(cursor.epoch, self.leader().head().epoch, "a leader answers in its own term only");
                let (recs, is_all) = engine.behind(cursor.seq, 500);
                Answer::Page(self.leader().page(cursor.seq, recs, is_all.then(|| engine.digest())))
            }
            Ask::Fetch(keys) => {
                let answered = keys.len().min(2);
                let found = keys[..answered].iter().filter_map(|key| engine.newest(key)).collect();
                Answer::Fetched(found, answered, self.leader().head().seq)
            }
            Ask::Push(offers) => Answer::Pushed(self.push(writer, &offers, now_ms)?),
            Ask::Reconcile(seq, frame) => {
                if seq != self.leader().head().seq {
                    return Err(Error::new(ErrorKind::Conflict, "more was written meanwhile"));
                }
                Answer::Reconciled(respond(&ItemSet::new(engine.items()), &frame, SIZES.frame)?)
            }
        })
    }

    fn push(&mut self, writer: u64, offers: &[Offer], now_ms: u64) -> Result<Pushed> {
        let mut pushed = None;
        self.host.change(|engine, _, _| {
            for offer in offers {
                offer.body.iter().try_for_each(|body| engine.config().check_body(&offer.id, body))?;
            }
            let State::Leader(leader) = engine.sync() else { panic!("a leader") };
            let (answer, change) = leader.push(engine, writer, offers, now_ms);
            pushed = Some(answer);
            Ok((!change.is_empty()).then_some(change))
        })?;
        Ok(pushed.unwrap())
    }

    /// Forgets some old tombstones.
    fn forget(&mut self, random: &mut Random) {
        let most = random.next() % (self.leader().head().seq + 1);
        self.host
            .change(|engine, _, _| {
                let State::Leader(leader) = engine.sync() else { panic!("a leader") };
                let dead = engine.all(|_| true).into_iter().filter(|known| {
                    known.seq <= most && engine.newest(&known.id.key()).is_some_and(|rec| rec.body.is_none())
                });
                Ok(Some(leader.forget(dead)))
            })
            .unwrap();
    }
}

/// All of a state but the tombstones that do not count: of those that the log takes back, a merge may have left some out.
fn told(state: &State) -> String {
    let text = format!("{state:?}");
    text.split(", exhumed: ").next().unwrap_or_default().to_owned()
}

fn metadata(random: &mut Random) -> Metadata {
    let n = Value::I64(i64::from(random.below(1_000) as u32));
    Metadata::from_value(&Value::Map([("n".into(), n)].into())).unwrap()
}

struct World {
    nodes: Vec<Node>,
    random: Random,
    resyncs: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let config = CollectionConfig {
            ef_construction: Some(8),
            ..CollectionConfig::new("all", DIMENSION, Metric::L2).unwrap()
        };
        let leader = Node::new(Collection::create_leading(config.clone(), KEY, 1).unwrap(), 1);
        let local = |writer| Node::new(Collection::create(config.clone()).unwrap(), writer);
        Self { nodes: [leader].into_iter().chain((2..5).map(local)).collect(), random: Random::new(seed), resyncs: 0 }
    }

    /// Lets a replica speak with the leader, for so many steps; a question or its answer is lost once in `loss`.
    fn sync(&mut self, at: usize, steps: usize, loss: Option<usize>) {
        let (leader, others) = self.nodes.split_at_mut(1);
        let (leader, node) = (&mut leader[0], &mut others[at - 1]);
        if *node.host.collection.sync() == State::Local {
            node.host.change(|engine, stamper, now| Replica::follow(engine, 7, KEY, stamper, now).map(Some)).unwrap();
        }
        if node.session.is_at_rest() {
            // The page of a pull that follows, or a connection that is made anew.
            if self.random.below(2) == 0 {
                let State::Replica(replica) = node.host.collection.sync() else { panic!("a replica") };
                let page = leader.answer(replica.writer(), Ask::Pull(replica.cursor()), 2_000).unwrap();
                node.session.receive(page).unwrap();
            } else {
                node.session.restart();
            }
        }
        for _ in 0..steps {
            let Node { host, session, .. } = node;
            let mut step = None;
            host.change(|engine, stamper: &mut Stamper, now| {
                step = Some(session.next(engine, stamper, now)?);
                let Some(Step::Store(change)) = &step else { return Ok(None) };
                Ok(Some((**change).clone()))
            })
            .unwrap();
            node.check();
            match step.unwrap() {
                Step::Store(change) => {
                    let is_resync = |said: &ReplicaNote| said.is_resyncing == Some(true);
                    self.resyncs += usize::from(matches!(change.note, Note::Replica(said) if is_resync(&said)));
                }
                Step::Wait => return,
                Step::Rename => panic!("nobody writes under another's name"),
                Step::Ask(ask) => {
                    let mut is_lost = || loss.is_some_and(|loss| self.random.below(loss) == 0);
                    if is_lost() {
                        node.session.restart();
                        continue;
                    }
                    let State::Replica(replica) = node.host.collection.sync() else { panic!("a replica") };
                    let answer = leader.answer(replica.writer(), ask, 2_000);
                    leader.check();
                    match answer {
                        Ok(answer) if !is_lost() => node.session.receive(answer).unwrap(),
                        Ok(late) => {
                            node.session.restart();
                            node.session.receive(late).unwrap();
                        }
                        Err(error) if error.kind() != ErrorKind::Conflict => panic!("{error}"),
                        Err(_) => node.session.restart(),
                    }
                }
            }
        }
    }

    fn step(&mut self) {
        let at = self.random.below(self.nodes.len());
        let kind = self.random.below(100);
        let Self { nodes, random, .. } = self;
        let node = &mut nodes[at];
        match kind {
            0..40 => node.write(random),
            40..60 => node.work(random),
            60..66 => node.reopen(),
            66..70 => nodes[0].forget(random),
            _ if at > 0 => {
                let steps = 1 + random.below(30);
                self.sync(at, steps, Some(8));
            }
            _ => {}
        }
        self.nodes[at].check();
    }

    fn come_to_rest(&mut self) {
        for _ in 0..3 {
            for at in 1..self.nodes.len() {
                self.sync(at, 10_000, None);
                assert!(self.nodes[at].session.is_at_rest(), "a session comes to rest");
            }
        }
    }
}

fn digest(node: &Node) -> Digest {
    node.host.collection.digest()
}

#[test]
fn engines_that_die_and_lose_messages_become_equal() {
    const SEEDS: u64 = 1_000;
    let (mut conflicts, mut resyncs) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.step();
        }
        world.come_to_rest();
        let live = world.nodes[0].live();
        for node in &world.nodes {
            let own = node.live();
            let differing = own.iter().filter(|(id, told)| live.get(id) != Some(told)).count();
            assert_eq!((differing, own.len()), (0, live.len()), "seed {seed}");
            assert_eq!(digest(node), digest(&world.nodes[0]), "seed {seed}");
            if let State::Replica(replica) = node.host.collection.sync() {
                conflicts += replica.conflicts().len();
            }
        }
        resyncs += world.resyncs;
        for node in &mut world.nodes {
            node.reopen();
            node.check();
        }
    }
    println!("{SEEDS} worlds: {conflicts} conflicts, {resyncs} times the whole state was taken anew");
    assert!(conflicts > 10 && resyncs > 100, "nothing of interest happened");
}

/// Whether what took the place of a delete is known as the newest write, and stays so.
fn check_taken_back(is_deleted: bool, when: usize) {
    let config = CollectionConfig::new("all", DIMENSION, Metric::L2).unwrap();
    let mut host = Host::new(Collection::create(config).unwrap(), 1).unwrap();
    host.change(|engine, stamper, now| Replica::follow(engine, 7, KEY, stamper, now).map(Some)).unwrap();
    let id = PointId::Int(1);
    let at = |hlc: u64| Stamp { hlc, writer: 1, cseq: hlc };
    let put = |hlc: u64, is_live: bool| {
        let body = is_live.then(|| body(1.0, &[0.5; DIMENSION], &[]));
        RowChange::Put(Rec { id: id.clone(), stamp: at(hlc), seq: 0, body })
    };
    let change = |host: &mut Host, rows: Vec<RowChange>| {
        host.change(|_, _, _| Ok(Some(Change { rows, note: Note::Replica(ReplicaNote::default()) }))).unwrap();
    };
    // A clock that is far ahead deletes, and perhaps writes again.
    change(&mut host, vec![put(10, true)]);
    change(&mut host, vec![put(1_000, false)]);
    let job = (when > 0).then(|| host.collection.next_job(Urgency::Now).unwrap().finish().unwrap());
    let job = if when == 1 { job.map(|job| host.install(job).unwrap()).and(None) } else { job };
    if !is_deleted {
        change(&mut host, vec![put(1_001, true)]);
    }
    let newest = host.collection.known(&id.key()).unwrap().stamp;
    change(&mut host, vec![RowChange::Forget(id.clone(), newest), put(20, !is_deleted)]);
    job.into_iter().for_each(|job| host.install(job).unwrap());
    for step in 0..4 {
        let known = host.collection.known(&id.key()).map(|known| known.stamp);
        let is_live = host.collection.snapshot().get(&id).is_some();
        assert_eq!((known, is_live), (Some(at(20)), !is_deleted), "sealed at {when}, after step {step}");
        if step % 2 == 0 { host.settle().unwrap() } else { host.reopen().unwrap() }
    }
    change(&mut host, vec![put(21, true)]);
    assert!(host.collection.snapshot().get(&id).is_some(), "sealed at {when}: a later write is taken");
    assert_eq!(host.collection.digest(), host.collection.recount());
}

#[test]
fn a_delete_that_is_taken_back_does_not_count_wherever_it_was_sealed() {
    for when in 0..3 {
        check_taken_back(false, when);
        check_taken_back(true, when);
    }
}
