//! What both sides are lent, the points that they write, and what is seen of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyperspace_core::collection::Snapshot;
use hyperspace_core::error::Error;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::types::{PointId, SpaceId, Stamp};
use hyperspace_wasm::host::Environment;

use crate::random::Random;

pub(crate) const DIMENSION: usize = 3;

/// A point but for its id: its row, its metadata, and when it was written by whom.
pub(crate) type Told = (Vec<u32>, Vec<u8>, Stamp);

/// Time that passes with every look at it, and randomness from the seed; everybody's.
#[derive(Debug)]
pub(crate) struct Platform {
    ticks: AtomicU64,
    random: Mutex<Random>,
}

impl Platform {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { ticks: AtomicU64::new(0), random: Mutex::new(Random::new(!seed)) })
    }

    /// Lets some time pass.
    pub(crate) fn pass(&self, ms: u64) {
        self.ticks.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Platform {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000 + self.ticks.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for Platform {
    fn fill(&self, out: &mut [u8]) {
        let mut random = self.random.lock().unwrap();
        out.iter_mut().for_each(|byte| *byte = random.next() as u8);
    }
}

/// What a tab is lent.
pub(crate) struct Lent {
    platform: Arc<Platform>,
    /// How far its clock is ahead.
    pub(crate) ahead_ms: Cell<u64>,
    /// Points that were reported as changed by the server.
    pub(crate) pulled: Cell<usize>,
    /// Reports of own writes.
    pub(crate) written: Cell<usize>,
}

impl Lent {
    pub(crate) fn new(platform: &Arc<Platform>, ahead_ms: u64) -> Rc<Self> {
        Rc::new(Self {
            platform: Arc::clone(platform),
            ahead_ms: Cell::new(ahead_ms),
            pulled: Cell::new(0),
            written: Cell::new(0),
        })
    }
}

impl Clock for Lent {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms() + self.ahead_ms.get()
    }
}

impl Entropy for Lent {
    fn fill(&self, out: &mut [u8]) {
        self.platform.fill(out);
    }
}

impl Environment for Lent {
    fn elapsed_ms(&self) -> f64 {
        self.platform.now_ms() as f64
    }

    fn report(&self, _: &Error) {}

    fn changed(&self, _: SpaceId, pulled: usize) {
        let count = if pulled == 0 { &self.written } else { &self.pulled };
        count.set(count.get() + pulled.max(1));
    }
}

pub(crate) fn live(snapshot: &Snapshot) -> BTreeMap<PointId, Told> {
    let told = snapshot.points().map(|point| {
        let row = point.vector.iter().map(|x| x.to_bits()).collect();
        (point.id, (row, point.metadata.as_bytes().to_vec(), point.stamp))
    });
    told.collect()
}

/// The vector of a version of a point.
pub(crate) fn vector(id: u64, version: u32) -> [f32; DIMENSION] {
    [version as f32, id as f32, 1.0]
}

/// Its metadata.
pub(crate) fn metadata(version: u32) -> Metadata {
    Metadata::from_value(&Value::Map([("n".to_owned(), Value::I64(i64::from(version)))].into())).unwrap()
}
