//! The host over a store in memory that fails on demand: what is acknowledged is there afterwards, whatever happened.

mod archive;
mod deletes;
mod doubt;
mod durability;
mod faults;
mod indexing;
mod lending;
mod loss;
mod repeats;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hyperspace_core::collection::{Collection, CollectionConfig, Plan, SearchRequest, UpsertBatch, Vectors};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::types::{Lsn, PointId, Tenant};

use super::{Database, Environment, OpenCollection};
use crate::kv::{Durability, SimulatedKv};

const DIMENSION: usize = 4;

/// Polls until the future is done; nothing here waits for anything outside.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("the future waits for something that never comes");
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Polled<'a, T> = (Boxed<'a, T>, Option<T>);

/// Polls each of the futures once; says how many are done.
fn poll_all<T>(futures: &mut [Polled<'_, T>]) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    for (future, done) in futures.iter_mut() {
        if done.is_none()
            && let Poll::Ready(value) = future.as_mut().poll(&mut context)
        {
            *done = Some(value);
        }
    }
    futures.iter().filter(|(_, done)| done.is_some()).count()
}

/// A clock that tests may set, and randomness from a fixed seed.
struct TestEnvironment {
    now_ms: Cell<u64>,
    random: Cell<u64>,
    start: Instant,
    reports: RefCell<Vec<Error>>,
}

impl Clock for TestEnvironment {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
}

impl Entropy for TestEnvironment {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            self.random.set(self.random.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            *byte = (self.random.get() >> 56) as u8;
        }
    }
}

impl Environment for TestEnvironment {
    fn elapsed_ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e3
    }

    fn report(&self, error: &Error) {
        self.reports.borrow_mut().push(error.clone());
    }
}

fn environment() -> Rc<TestEnvironment> {
    Rc::new(TestEnvironment {
        now_ms: Cell::new(1_700_000_000_000),
        random: Cell::new(7),
        start: Instant::now(),
        reports: RefCell::default(),
    })
}

fn open(kv: &SimulatedKv) -> Result<Database<SimulatedKv>> {
    run(Database::open(&Tenant::local(), kv.clone(), environment(), Durability::Relaxed))
}

fn config() -> CollectionConfig {
    CollectionConfig::new("notes", DIMENSION, Metric::L2).unwrap()
}

fn notes(database: &Database<SimulatedKv>) -> Rc<OpenCollection> {
    run(database.collection_or_create(config())).unwrap()
}

/// A vector that only point `id` has, in its `version`.
fn vector_of(id: u64, version: u32) -> Vec<f32> {
    let mut state = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(version) << 40;
    (0..DIMENSION)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0
        })
        .collect()
}

async fn upsert(
    database: &Database<SimulatedKv>,
    collection: &Rc<OpenCollection>,
    points: &[(u64, u32)],
    durability: Durability,
) -> Result<Lsn> {
    let ids: Vec<PointId> = points.iter().map(|(id, _)| PointId::Int(*id)).collect();
    let vectors: Vec<f32> = points.iter().flat_map(|&(id, version)| vector_of(id, version)).collect();
    let metadata: Vec<Metadata> = points
        .iter()
        .map(|&(_, version)| {
            let value = Value::Map([("version".to_owned(), Value::I64(i64::from(version)))].into());
            Metadata::from_value(&value).unwrap()
        })
        .collect();
    let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &metadata };
    database.upsert(collection, &batch, Some(durability), None).await
}

async fn delete(database: &Database<SimulatedKv>, collection: &Rc<OpenCollection>, ids: &[u64]) -> Result<usize> {
    let ids: Vec<PointId> = ids.iter().map(|&id| PointId::Int(id)).collect();
    database.delete(collection, &ids, None, None).await.map(|(deleted, _)| deleted)
}

/// Works until nothing is left to do.
fn work_off(database: &Database<SimulatedKv>) -> Result<()> {
    while run(database.work(5.0))? {}
    Ok(())
}

fn seal(database: &Database<SimulatedKv>, collection: &OpenCollection) -> Result<()> {
    let wanted = collection.request_seal();
    work_off(database)?;
    assert!(collection.sealed_through() >= wanted);
    Ok(())
}

/// The vector that is stored under an id.
fn stored(collection: &OpenCollection, id: u64) -> Option<Vec<f32>> {
    collection.snapshot().get(&PointId::Int(id)).map(|point| point.vector)
}

/// The nearest point to a vector, found exactly.
fn nearest(collection: &OpenCollection, vector: &[f32]) -> Option<PointId> {
    let query = QueryVector::from_f32(Metric::L2, DIMENSION, vector).unwrap();
    let request = SearchRequest::new(query, 1).unwrap().with_plan(Plan::Exact);
    let (_, outcome) = collection.search(&request).unwrap();
    outcome.hits.first().map(|hit| hit.id.clone())
}
