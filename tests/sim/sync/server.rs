//! The server: its database, and what its service makes of messages.

use std::sync::Arc;

use hyperspace_core::collection::{SealPolicy, UpsertBatch, Vectors};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::metadata::Metadata;
use hyperspace_core::port::{Clock, Durability, Entropy};
use hyperspace_core::sync::{Cursor, Hello, Offer, Page, decode_all, encode_all, respond};
use hyperspace_core::types::{IdKey, PointId, SpaceId, Tenant};
use hyperspace_server::database::{Database, DatabaseOptions, Environment, OpenCollection, Ticket, Which, Workers};
use hyperspace_server::proto::{
    Collection, FetchRequest, FetchResponse, HelloRequest, HelloResponse, ListCollectionsResponse, PullRequest,
    PullResponse, PushRequest, PushResponse, ReconcileRequest, ReconcileResponse,
};
use hyperspace_server::service::fuzzing::{config, config_to};
use prost::Message;

use crate::random::Random;
use crate::server::harness::sim::{Crash, SimDisk};
use crate::server::harness::support::small;

/// Small, so that a tail has several pages.
const PAGE_BYTES: usize = 400;
const FRAME_BYTES: usize = 64 << 10;

pub(super) struct Server {
    database: Arc<Database>,
    disk: SimDisk,
    clock: Arc<dyn Clock + Send + Sync>,
    entropy: Arc<dyn Entropy + Send + Sync>,
    tenant: Tenant,
}

impl Server {
    pub(super) fn new(clock: Arc<dyn Clock + Send + Sync>, entropy: Arc<dyn Entropy + Send + Sync>) -> Self {
        let disk = SimDisk::default();
        let database = open(&disk, &clock, &entropy);
        Self { database, disk, clock, entropy, tenant: Tenant::local() }
    }

    /// The process or the machine ends; another one goes on from what is stored.
    pub(super) fn crash(&mut self, crash: Crash, random: &mut Random) {
        self.disk = SimDisk::with(self.disk.tree().after(crash, random));
        self.database = open(&self.disk, &self.clock, &self.entropy);
    }

    /// Seals or merges, if there is anything to.
    pub(super) fn work(&self) {
        self.database.work_next().unwrap();
    }

    pub(super) fn collection(&self, name: &str) -> Option<Arc<OpenCollection>> {
        self.database.collection(&self.tenant, name).ok()
    }

    /// Writes without any replica.
    pub(super) fn upsert(&self, name: &str, id: u64, vector: &[f32], metadata: Metadata) {
        let Some(collection) = self.collection(name) else { return };
        let (ids, metadata) = ([PointId::Int(id)], [metadata]);
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(vector), metadata: &metadata };
        self.wait(self.database.upsert(&collection, &batch, Some(Durability::Strict)).unwrap()).unwrap();
    }

    pub(super) fn delete(&self, name: &str, id: u64) {
        let Some(collection) = self.collection(name) else { return };
        let which = Which::Ids(&[PointId::Int(id)]);
        self.wait(self.database.delete(&collection, which, Some(Durability::Strict)).unwrap()).unwrap();
    }

    /// Deletes a collection.
    pub(super) fn drop_collection(&self, name: &str) {
        self.database.delete_collection(&self.tenant, name).unwrap();
    }

    fn wait(&self, ticket: Ticket) -> Result<()> {
        self.database.commit_next();
        ticket.wait_blocking().map(drop)
    }

    /// The next page behind a number, as a message, and where it ends.
    pub(super) fn page(&self, space: u64, after: Cursor) -> Result<(Vec<u8>, Page)> {
        let collection = self.database.collection_numbered(&self.tenant, SpaceId(space))?;
        let page = self.database.page(&collection, after, PAGE_BYTES, false)?;
        Ok((PullResponse { space, page: encode_all(&page) }.encode_to_vec(), page))
    }

    /// Answers a request as the service does.
    pub(super) fn answer(&self, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        let numbered = |space: u64| self.database.collection_numbered(&self.tenant, SpaceId(space));
        match method {
            "Hello" => self.hello(&read(body)?),
            "Pull" => {
                let request: PullRequest = read(body)?;
                assert!(!request.follow && request.spaces.len() == 1, "{request:?}");
                let wanted = request.spaces[0];
                self.page(wanted.space, Cursor { epoch: wanted.epoch, seq: wanted.after }).map(|(message, _)| message)
            }
            "Push" => {
                let request: PushRequest = read(body)?;
                let offers: Vec<Offer> = decode_all(&request.offers, "the offers")?;
                let collection = numbered(request.space)?;
                let (pushed, ticket) = self.database.push(&collection, request.epoch, request.writer, &offers)?;
                self.wait(ticket)?;
                Ok(PushResponse { pushed: encode_all(&pushed) }.encode_to_vec())
            }
            "Fetch" => {
                let request: FetchRequest = read(body)?;
                let keys: Vec<IdKey> = request.keys.as_chunks().0.iter().copied().map(IdKey).collect();
                let collection = numbered(request.space)?;
                let (recs, answered, head) = self.database.fetch(&collection, request.epoch, &keys, PAGE_BYTES)?;
                Ok(FetchResponse { recs: encode_all(&recs), answered: answered as u32, head }.encode_to_vec())
            }
            "Reconcile" => {
                let request: ReconcileRequest = read(body)?;
                let at = Cursor { epoch: request.epoch, seq: request.seq };
                let (items, _) = self.database.items(&*numbered(request.space)?, at)?;
                Ok(ReconcileResponse { frame: respond(&items, &request.frame, FRAME_BYTES)? }.encode_to_vec())
            }
            other => panic!("there is no method {other}"),
        }
    }

    fn hello(&self, request: &HelloRequest) -> Result<Vec<u8>> {
        let found = self.database.collection(&self.tenant, &request.collection);
        let collection = match (found, &request.config) {
            (Err(error), Some(wanted)) if error.kind() == ErrorKind::NotFound => {
                self.database.create(&self.tenant, config(Some(wanted.clone()))?)?
            }
            (found, _) => found?,
        };
        if let Some(wanted) = &request.config {
            let own = config_to(collection.snapshot().config());
            if (own.dimension, own.metric) != (wanted.dimension, wanted.metric) {
                return Err(Error::conflict(format!("collection `{}` is another one", own.name)));
            }
        }
        let hello: Hello = decode_all(&request.hello, "the greeting")?;
        let greeting = self.database.welcome(&collection, &hello)?;
        let answer = HelloResponse {
            space: collection.space().0,
            key: greeting.key.0.to_vec(),
            welcome: encode_all(&greeting.welcome),
            server_time_ms: greeting.now_ms,
        };
        Ok(answer.encode_to_vec())
    }

    /// The list of all collections.
    pub(super) fn list(&self) -> Vec<u8> {
        let collections = self.database.collections(&self.tenant);
        let each = collections.iter().map(|collection| Collection {
            config: Some(config_to(collection.snapshot().config())),
            points: collection.snapshot().len() as u64,
            ..Collection::default()
        });
        ListCollectionsResponse { collections: each.collect() }.encode_to_vec()
    }
}

fn open(
    disk: &SimDisk,
    clock: &Arc<dyn Clock + Send + Sync>,
    entropy: &Arc<dyn Entropy + Send + Sync>,
) -> Arc<Database> {
    let environment = Environment {
        disk: disk.arc(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        workers: Workers::Callers,
    };
    let policy = SealPolicy { rows: 12, bytes: 1 << 20, fan_in: 2 };
    Database::open_on(environment, DatabaseOptions { policy, ..small(0) }).unwrap()
}

fn read<M: Message + Default>(body: &[u8]) -> Result<M> {
    M::decode(body).map_err(|error| Error::invalid_argument(error.to_string()))
}
