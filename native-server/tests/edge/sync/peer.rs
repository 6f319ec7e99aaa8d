//! A replica of a test: the engine that a tab has, and the few steps that a client takes between it and a server.

use std::collections::BTreeMap;

use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Vectors};
use hyperspace_core::log::{Rec, Stamper};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::sync::{
    Answer, Ask, Chain, Change, Cursor, Digest, Hello, Note, Offer, Page, Pushed, Replica, ReplicaNote, RowChange,
    Rows as _, Session, Sizes, SpaceKey, State, Step, Welcome, decode_all, encode_all,
};
use hyperspace_core::types::{IdKey, PointId, Stamp};
use hyperspace_server::proto::{
    self, FetchRequest, HelloRequest, HelloResponse, PullRequest, PushRequest, ReconcileRequest, Wanted,
};
use tonic::Status;

use crate::support::client::{Client, config};

pub(super) const DIMENSION: usize = 4;

/// A live point: its vector bit for bit, and its metadata.
pub(super) type Live = BTreeMap<PointId, (Vec<u32>, Metadata)>;

/// A replica with its writer.
pub(super) struct Peer {
    pub(super) client: Client,
    pub(super) engine: Collection,
    pub(super) stamper: Stamper,
    pub(super) space: u64,
    /// The server's term.
    pub(super) epoch: u32,
    /// What it takes for the time.
    pub(super) now_ms: u64,
    /// Bytes of offers that it sends at once.
    pub(super) chunk: usize,
    pub(super) reconciliations: usize,
}

/// The greeting of a writer that knows nothing.
pub(super) fn stranger(writer: u64) -> Hello {
    Hello { writer, next_cseq: 1, acked: Chain::default(), cursor: Cursor::default(), is_resyncing: false }
}

pub(super) fn metadata(n: u64) -> Metadata {
    Metadata::from_value(&Value::Map([("n".to_owned(), Value::U64(n))].into())).unwrap()
}

pub(super) fn greeting(collection: &str, hello: &Hello) -> HelloRequest {
    HelloRequest { collection: collection.into(), config: None, hello: encode_all(hello) }
}

pub(super) fn welcome_of(answer: &HelloResponse) -> Welcome {
    decode_all(&answer.welcome, "a welcome").unwrap()
}

/// All pages up to the head.
pub(super) async fn pages(client: &Client, request: PullRequest) -> Result<Vec<(u64, Page)>, Status> {
    let mut stream = client.sync().pull(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(answer) = stream.message().await? {
        if !answer.page.is_empty() {
            pages.push((answer.space, decode_all(&answer.page, "a page").unwrap()));
        }
    }
    Ok(pages)
}

impl Peer {
    /// Makes a replica of a collection, and the collection when it is missing.
    pub(super) async fn new(client: Client, collection: &str, dimension: usize, writer: u64) -> Self {
        let wanted = Some(config(collection, dimension as u64, proto::Metric::L2));
        let request = HelloRequest { config: wanted, ..greeting(collection, &stranger(writer)) };
        let answer = client.sync().hello(request).await.unwrap().into_inner();
        let engine = Collection::create(CollectionConfig::new(collection, dimension, Metric::L2).unwrap()).unwrap();
        let key = SpaceKey(answer.key[..].try_into().unwrap());
        let mut stamper = Stamper::new(writer, 0, 1);
        stamper.reserve(1 << 40);
        let (now_ms, space) = (answer.server_time_ms, answer.space);
        let epoch = welcome_of(&answer).head.epoch;
        let mut peer = Self { client, engine, stamper, space, epoch, now_ms, chunk: 600, reconciliations: 0 };
        peer.apply(&Change { rows: Vec::new(), note: Note::Follow(Replica::new(space, key, writer)) });
        peer
    }

    pub(super) fn replica(&self) -> &Replica {
        let State::Replica(replica) = self.engine.sync() else { panic!("a peer follows") };
        replica
    }

    pub(super) fn apply(&mut self, change: &Change) {
        let prepared = self.engine.prepare_change(change).unwrap();
        self.engine.publish(&prepared).unwrap();
        self.stamper.observe(Stamp { hlc: self.engine.newest_hlc(), ..Stamp::default() });
    }

    pub(super) fn upsert(&mut self, ids: &[PointId], rows: &[f32], n: u64) {
        let metadata = vec![metadata(n); ids.len()];
        let batch = UpsertBatch { ids, vectors: Vectors::F32(rows), metadata: &metadata };
        let prepared = self.engine.prepare_upsert(&batch, &mut self.stamper, self.now_ms, None).unwrap();
        self.engine.publish(&prepared).unwrap();
    }

    pub(super) fn delete(&mut self, ids: &[PointId]) {
        if let Some(prepared) = self.engine.prepare_delete(ids, &mut self.stamper, self.now_ms, None).unwrap() {
            self.engine.publish(&prepared).unwrap();
        }
    }

    /// Greets, and does what the answer asks for.
    pub(super) async fn greet(&mut self) -> Result<(), Status> {
        let hello = greeting(self.engine.config().name.as_str(), &self.replica().hello(&self.stamper));
        let answer = self.client.sync().hello(hello).await?.into_inner();
        let welcome = welcome_of(&answer);
        assert!(!self.replica().is_forked(&welcome, &self.stamper), "nobody else writes under its name: {welcome:?}");
        assert!(welcome.rewind.is_none() && !welcome.must_resync, "a server that stays has no terms: {welcome:?}");
        assert_eq!(answer.space, self.space);
        self.epoch = welcome.head.epoch;
        let (found, head) = self.fetch(&self.replica().unsettled(&self.engine, welcome.acked)).await?;
        let change =
            self.replica().settle(&self.engine, welcome.acked, head.max(welcome.head.seq), &found, &self.stamper);
        self.apply(&change);
        Ok(())
    }

    /// What the server knows of some ids, and its newest number.
    pub(super) async fn fetch(&self, keys: &[IdKey]) -> Result<(Vec<Rec>, u64), Status> {
        let (mut found, mut head, mut rest) = (Vec::new(), 0, keys);
        while !rest.is_empty() {
            let asked = &rest[..rest.len().min(4_096)];
            let request = FetchRequest {
                space: self.space,
                epoch: self.epoch,
                keys: asked.iter().flat_map(|key| key.0).collect(),
            };
            let answer = self.client.sync().fetch(request).await?.into_inner();
            found.extend(decode_all::<Vec<Rec>>(&answer.recs, "recs").unwrap());
            head = answer.head;
            rest = &rest[answer.answered as usize..];
        }
        Ok((found, head))
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted { space: self.space, epoch: self.epoch, after: self.replica().cursor().seq }
    }

    /// Takes everything up to the head; answers what the live points amount to there.
    pub(super) async fn pull(&mut self) -> Result<Digest, Status> {
        let request = PullRequest { spaces: vec![self.wanted()], max_bytes: 300, ..PullRequest::default() };
        let mut end = None;
        for (space, page) in pages(&self.client, request).await? {
            assert_eq!(space, self.space);
            assert!(page.recs.iter().map(|rec| rec.seq).is_sorted_by(|a, b| a < b), "numbers rise: {page:?}");
            assert!(end.is_none(), "nothing comes behind the head");
            end = page.up_to_date;
            self.apply(&self.replica().pull(page));
        }
        Ok(end.expect("a pull ends at the head"))
    }

    /// Takes what is next to be sent, durably.
    pub(super) fn next_offers(&mut self) -> Vec<Offer> {
        let (offers, change) = self.replica().push(&self.engine, self.chunk);
        change.iter().for_each(|change| self.apply(change));
        offers
    }

    pub(super) fn pushing(&self, offers: &[Offer]) -> PushRequest {
        let writer = self.replica().writer();
        PushRequest { space: self.space, epoch: self.epoch, writer, offers: encode_all(&offers.to_vec()) }
    }

    /// Offers once; says whether there was anything to offer.
    pub(super) async fn push_some(&mut self) -> Result<bool, Status> {
        let offers = self.next_offers();
        if offers.is_empty() {
            return Ok(false);
        }
        let answer = self.client.sync().push(self.pushing(&offers)).await?.into_inner();
        self.answered(decode_all(&answer.pushed, "an answer").unwrap());
        Ok(true)
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, answer: Pushed) {
        let mut stamper = self.stamper.clone();
        let change = self.replica().pushed(&self.engine, answer, &mut stamper, self.now_ms).unwrap();
        self.stamper = stamper;
        self.apply(&change);
    }

    /// Forgets points as if they had never come.
    pub(super) fn lose(&mut self, ids: &[PointId]) {
        let stamp = |id: &PointId| self.engine.known(&id.key()).unwrap().stamp;
        let rows = ids.iter().map(|id| RowChange::Forget(id.clone(), stamp(id))).collect();
        self.apply(&Change { rows, note: Note::Replica(ReplicaNote::default()) });
    }

    /// A session, and what a stream would bring it then: its own writes, and what others did meanwhile.
    pub(super) async fn sync(&mut self) -> Result<(), Status> {
        self.converse().await?;
        if self.pull().await? != self.engine.digest() {
            self.converse().await?;
        }
        Ok(())
    }

    /// Everything that a session does, until it has nothing more to say.
    async fn converse(&mut self) -> Result<(), Status> {
        let mut session = Session::new(Sizes { push: self.chunk, frame: 4 << 10, fetch: 4_096 });
        let mut was_reconciling = false;
        loop {
            let mut stamper = self.stamper.clone();
            let step = session.next(&self.engine, &mut stamper, self.now_ms).unwrap();
            self.stamper = stamper;
            match step {
                Step::Store(change) => self.apply(&change),
                Step::Wait => return Ok(()),
                Step::Rename => panic!("nobody else writes under its name"),
                Step::Ask(question) => {
                    let is_reconciling = matches!(question, Ask::Reconcile(..));
                    self.reconciliations += usize::from(is_reconciling && !was_reconciling);
                    was_reconciling = is_reconciling;
                    session.receive(self.ask(question).await?).unwrap();
                }
            }
        }
    }

    /// Carries a question to the server.
    async fn ask(&mut self, question: Ask) -> Result<Answer, Status> {
        let (mut rpcs, space, epoch) = (self.client.sync(), self.space, self.epoch);
        Ok(match question {
            Ask::Hello(hello) => {
                let answer = rpcs.hello(greeting(self.engine.config().name.as_str(), &hello)).await?.into_inner();
                let welcome = welcome_of(&answer);
                self.epoch = welcome.head.epoch;
                Answer::Welcome(welcome)
            }
            Ask::Pull(Cursor { epoch, seq: after }) => {
                let request = PullRequest {
                    spaces: vec![Wanted { space, epoch, after }],
                    max_bytes: 300,
                    ..PullRequest::default()
                };
                let page =
                    rpcs.pull(request).await?.into_inner().message().await?.expect("a pull has one page at least");
                Answer::Page(decode_all(&page.page, "a page").unwrap())
            }
            Ask::Fetch(keys) => {
                let request = FetchRequest { space, epoch, keys: keys.iter().flat_map(|key| key.0).collect() };
                let answer = rpcs.fetch(request).await?.into_inner();
                let found = decode_all(&answer.recs, "recs").unwrap();
                Answer::Fetched(found, answer.answered as usize, answer.head)
            }
            Ask::Push(offers) => {
                let answer = rpcs.push(self.pushing(&offers)).await?.into_inner();
                Answer::Pushed(decode_all(&answer.pushed, "an answer").unwrap())
            }
            Ask::Reconcile(seq, frame) => {
                let request = ReconcileRequest { space, epoch, seq, frame };
                Answer::Reconciled(rpcs.reconcile(request).await?.into_inner().frame)
            }
        })
    }

    /// The live points.
    pub(super) fn live(&self) -> Live {
        assert_eq!(self.engine.digest(), self.engine.recount());
        let points = self.engine.snapshot();
        let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
        points.points().map(|point| (point.id, (bits(point.vector), point.metadata))).collect()
    }
}
