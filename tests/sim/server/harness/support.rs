//! What the tests of the server share: small databases, and the few calls that every test makes.

use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::collection::{CollectionConfig, Plan, SealPolicy, SearchRequest, UpsertBatch, Vectors};
use hyperspace_core::error::Result;
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port::Durability;
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::database::{Database, DatabaseOptions, OpenCollection, Ticket, Written};

pub(crate) use crate::random::{Random, effort};

/// Components of the vectors of all tests that do not say otherwise.
pub(crate) const DIMENSION: usize = 4;

/// Everything small, so that seals, merges and new log files come often.
pub(crate) fn small(indexers: usize) -> DatabaseOptions {
    DatabaseOptions {
        durability: Durability::Strict,
        policy: SealPolicy { rows: 40, bytes: 1 << 20, fan_in: 2 },
        indexers,
        memtable_limit: 1 << 20,
        patience: Duration::from_secs(20),
        // Without indexers nothing ever leaves the log.
        log_limit: if indexers == 0 { u64::MAX } else { 64 << 10 },
        log_file_bytes: 4 << 10,
    }
}

pub(crate) fn config(name: &str) -> CollectionConfig {
    CollectionConfig::new(name, DIMENSION, Metric::L2).unwrap()
}

pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::verified(name).unwrap()
}

/// A collection of the tenant without a name.
pub(crate) fn created(database: &Database, name: &str) -> Arc<OpenCollection> {
    database.create(&Tenant::local(), config(name)).unwrap()
}

pub(crate) fn opened(database: &Database, name: &str) -> Arc<OpenCollection> {
    database.collection(&Tenant::local(), name).unwrap()
}

/// Integer ids `first..first + count`.
pub(crate) fn ids(first: u64, count: usize) -> Vec<PointId> {
    (first..first + count as u64).map(PointId::Int).collect()
}

/// Metadata with some integers.
pub(crate) fn metadata(fields: &[(&str, i64)]) -> Metadata {
    Metadata::from_value(&value(fields)).unwrap()
}

/// The filter that asks for some integers.
pub(crate) fn filter(fields: &[(&str, i64)]) -> Filter {
    Filter::parse(&value(fields)).unwrap()
}

fn value(fields: &[(&str, i64)]) -> Value {
    Value::Map(fields.iter().map(|&(name, n)| (name.to_owned(), Value::I64(n))).collect())
}

/// Writes rows without metadata, and waits for the answer.
pub(crate) fn upsert(
    database: &Database,
    collection: &Arc<OpenCollection>,
    ids: &[PointId],
    rows: &[f32],
    durability: Durability,
) -> Result<Written> {
    let batch = UpsertBatch { ids, vectors: Vectors::F32(rows), metadata: &[] };
    database.upsert(collection, &batch, Some(durability))?.wait_blocking()
}

/// Queues a strict write of one point.
pub(crate) fn queued(database: &Database, collection: &Arc<OpenCollection>, id: u64) -> Ticket {
    let row = [id as f32; DIMENSION];
    let batch = UpsertBatch { ids: &[PointId::Int(id)], vectors: Vectors::F32(&row), metadata: &[] };
    database.upsert(collection, &batch, Some(Durability::Strict)).unwrap()
}

/// The nearest points by id, with their distances.
pub(crate) fn nearest(collection: &OpenCollection, vector: &[f32], top_k: usize, plan: Plan) -> Vec<(PointId, f64)> {
    let query = QueryVector::from_f32(Metric::L2, vector.len(), vector).unwrap();
    let request = SearchRequest::new(query, top_k).unwrap().with_plan(plan);
    let (_, outcome) = collection.search(&request).unwrap();
    outcome.hits.into_iter().map(|hit| (hit.id, hit.distance)).collect()
}

/// Drops a database and waits until its threads have let go of it.
pub(crate) fn stop(database: Arc<Database>) {
    let gone = Arc::downgrade(&database);
    drop(database);
    while gone.strong_count() > 0 {
        std::thread::yield_now();
    }
}
