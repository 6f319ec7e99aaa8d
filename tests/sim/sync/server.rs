//! The server: its database, and what its service makes of messages.

use std::sync::Arc;

use hyperspace_core::collection::{UpsertBatch, Vectors};
use hyperspace_core::error::Result;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::port::{Clock, Durability, Entropy};
use hyperspace_core::sync::{Cursor, Page};
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::database::{Database, OpenCollection, Which};
use hyperspace_server::proto::{Collection, ListCollectionsResponse};
use hyperspace_server::service::fuzzing::config_to;
use prost::Message as _;

use super::service;
use crate::random::Random;
use crate::server::harness::sim::{Crash, SimDisk};

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

    /// Seals and merges until there is nothing to.
    pub(super) fn index(&self) {
        while self.database.work_next().unwrap() {}
    }

    pub(super) fn collection(&self, name: &str) -> Option<Arc<OpenCollection>> {
        self.database.collection(&self.tenant, name).ok()
    }

    /// Writes without any replica.
    pub(super) fn upsert(&self, name: &str, id: u64, vector: &[f32], metadata: Metadata) {
        let Some(collection) = self.collection(name) else { return };
        let (ids, metadata) = ([PointId::Int(id)], [metadata]);
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(vector), metadata: &metadata };
        let ticket = self.database.upsert(&collection, &batch, Some(Durability::Strict)).unwrap();
        service::wait(&self.database, ticket).unwrap();
    }

    pub(super) fn delete(&self, name: &str, id: u64) {
        let Some(collection) = self.collection(name) else { return };
        let which = Which::Ids(&[PointId::Int(id)]);
        let ticket = self.database.delete(&collection, which, Some(Durability::Strict)).unwrap();
        service::wait(&self.database, ticket).unwrap();
    }

    /// Deletes a collection.
    pub(super) fn drop_collection(&self, name: &str) {
        self.database.delete_collection(&self.tenant, name).unwrap();
    }

    /// The next page behind a number, as a message, and where it ends.
    pub(super) fn page(&self, space: u64, after: Cursor) -> Result<(Vec<u8>, Page)> {
        service::page(&self.database, space, after)
    }

    /// Answers a request as the service does.
    pub(super) fn answer(&self, method: &str, body: &[u8]) -> Result<Vec<u8>> {
        service::answer(&self.database, method, body)
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
    let (environment, options) = service::lent(disk, clock, entropy);
    Database::open_on(environment, options).unwrap()
}
