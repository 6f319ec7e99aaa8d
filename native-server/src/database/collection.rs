//! A collection in service: its writer behind a lock, its snapshot without one.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use hyperspace_core::collection::{Collection, LiveSegment, Scratch, SearchOutcome, SearchRequest, Snapshot, Urgency};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::{Lsn, SpaceId, Tenant};
use tokio::sync::watch;

use super::held;
use super::options::{CollectionStats, SegmentStats};

/// Buffers that searches reuse; as many as there ever were searches at once.
static SCRATCHES: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

/// A collection in service.
///
/// Searches read the newest snapshot and wait for nobody. Lock order: `turn`, `flipping`, `writer`.
#[derive(Debug)]
pub struct OpenCollection {
    space: SpaceId,
    tenant: Tenant,
    name: String,
    writer: Mutex<Collection>,
    view: ArcSwap<Snapshot>,
    /// Held from before a write looks at what is there until it is queued.
    pub(super) turn: Mutex<()>,
    /// Held from before a manifest is made until it is in service.
    pub(super) flipping: Mutex<()>,
    dropped: AtomicBool,
    /// The memtable is to be sealed however small it is.
    seal_wanted: AtomicBool,
    unsealed_bytes: AtomicUsize,
    sealed_through: AtomicU64,
    /// Signalled whenever something was published or installed, or the collection went.
    changed: Condvar,
    changes: Mutex<u64>,
    /// The same for those who do not block.
    told: watch::Sender<()>,
    /// And for those who watch all collections.
    told_of_any: watch::Sender<()>,
    searches: AtomicU64,
    distances: AtomicU64,
}

impl OpenCollection {
    pub(super) fn new(space: SpaceId, tenant: Tenant, engine: Collection, told_of_any: watch::Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            space,
            tenant,
            name: engine.config().name.as_str().to_owned(),
            view: ArcSwap::new(engine.snapshot()),
            unsealed_bytes: AtomicUsize::new(engine.memtable_bytes()),
            sealed_through: AtomicU64::new(engine.sealed_through().0),
            writer: Mutex::new(engine),
            turn: Mutex::new(()),
            flipping: Mutex::new(()),
            dropped: AtomicBool::new(false),
            seal_wanted: AtomicBool::new(false),
            changed: Condvar::new(),
            changes: Mutex::new(0),
            told: watch::Sender::new(()),
            told_of_any,
            searches: AtomicU64::new(0),
            distances: AtomicU64::new(0),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whose it is.
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Its number in this database, never used again.
    pub const fn space(&self) -> SpaceId {
        self.space
    }

    /// The present read view.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.view.load_full()
    }

    /// Searches the present view and counts it; also says which view that was.
    ///
    /// # Errors
    /// As `Snapshot::search`.
    pub fn search(&self, request: &SearchRequest) -> Result<(Arc<Snapshot>, SearchOutcome)> {
        let view = self.snapshot();
        let mut scratch = held(&SCRATCHES).pop().unwrap_or_default();
        let outcome = view.search(request, &mut scratch);
        held(&SCRATCHES).push(scratch);
        let outcome = outcome?;
        self.searches.fetch_add(1, Ordering::Relaxed);
        self.distances.fetch_add(outcome.distances, Ordering::Relaxed);
        Ok((view, outcome))
    }

    /// Its figures, all of one moment but for the counts of searches.
    pub fn stats(&self) -> CollectionStats {
        self.read(|engine| {
            let (view, urgency) = (engine.snapshot(), self.urgency());
            CollectionStats {
                points: view.len() as u64,
                pending: view.pending() as u64,
                segments: view.segments().len() as u64,
                dead: view.dead() as u64,
                tombstones: engine.tombstone_count() as u64,
                segment_bytes: view.segments().iter().map(|s| s.segment.byte_len() as u64).sum(),
                memtable_bytes: engine.memtable_bytes() as u64,
                indexing: engine.job_is_out() || engine.seal_is_due(urgency) || engine.merge_is_due(urgency),
                graph_insertions: engine.graph_insertions(),
                searches: self.searches.load(Ordering::Relaxed),
                distances: self.distances.load(Ordering::Relaxed),
                sequence: view.through().0,
                digest: engine.digest(),
                coded: view.coded() as u64,
                bytes_per_vector: view.bytes_per_vector(),
            }
        })
    }

    /// Figures of its sealed segments, oldest first.
    pub fn sealed(&self) -> Vec<SegmentStats> {
        self.read(|engine| engine.snapshot().segments().iter().map(|segment| describe(segment, engine)).collect())
    }

    /// # Errors
    /// `NotFound` when it was deleted meanwhile.
    pub(super) fn check(&self) -> Result<()> {
        if self.dropped.load(Ordering::Acquire) {
            return Err(Error::not_found(format!("collection `{}` was deleted", self.name)));
        }
        Ok(())
    }

    pub(super) fn mark_dropped(&self) {
        self.dropped.store(true, Ordering::Release);
        self.tell();
    }

    /// Works with the engine and shows the outcome to readers.
    pub(super) fn write<T>(&self, work: impl FnOnce(&mut Collection) -> T) -> T {
        let mut engine = self.lock();
        let outcome = work(&mut engine);
        self.view.store(engine.snapshot());
        self.unsealed_bytes.store(engine.memtable_bytes(), Ordering::Relaxed);
        self.sealed_through.store(engine.sealed_through().0, Ordering::Relaxed);
        drop(engine);
        self.tell();
        outcome
    }

    /// Works with the engine without changing what readers see.
    pub(super) fn read<T>(&self, work: impl FnOnce(&mut Collection) -> T) -> T {
        work(&mut self.lock())
    }

    /// What stands beside the points: for simulations, which compare it.
    #[cfg(feature = "mutations")]
    pub fn with_engine<T>(&self, look: impl FnOnce(&Collection) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn unsealed_bytes(&self) -> usize {
        self.unsealed_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn want_seal(&self) {
        self.seal_wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn urgency(&self) -> Urgency {
        urgency(self.seal_wanted.load(Ordering::Relaxed))
    }

    /// The urgency of the seal that is about to be looked for: who wants one from here on wants the next.
    pub(super) fn take_urgency(&self) -> Urgency {
        urgency(self.seal_wanted.swap(false, Ordering::Relaxed))
    }

    pub(super) fn sealed_through(&self) -> Lsn {
        Lsn(self.sealed_through.load(Ordering::Relaxed))
    }

    /// Waits until `done` holds; says whether it does before the deadline. `done` is asked again after every change.
    pub(super) fn wait_until(&self, deadline: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        loop {
            let seen = *self.changes();
            if done() {
                return true;
            }
            let mut changes = self.changes();
            while *changes == seen {
                let Some(deadline) = deadline else {
                    changes = self.changed.wait(changes).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
                changes = self.changed.wait_timeout(changes, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Wakes whoever waits for a change.
    pub(super) fn tell(&self) {
        *self.changes() += 1;
        self.changed.notify_all();
        self.told.send_replace(());
        self.told_of_any.send_replace(());
    }

    /// Tells whenever something was published or installed, the collection went, or its database did.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }

    fn changes(&self) -> MutexGuard<'_, u64> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Collection> {
        // A panic inside the engine may have left it half changed: nothing may be built on that.
        self.writer.lock().expect("the engine does not panic: its decoders and checks answer with errors")
    }
}

fn describe(LiveSegment { segment, live, .. }: &LiveSegment, engine: &Collection) -> SegmentStats {
    SegmentStats {
        id: segment.id(),
        points: live.live().into(),
        dead: live.dead().into(),
        bytes: segment.byte_len() as u64,
        coded: segment.codes().is_some(),
        merging: engine.is_merging(segment.id()),
    }
}

const fn urgency(seal_is_wanted: bool) -> Urgency {
    if seal_is_wanted { Urgency::Now } else { Urgency::WhenFull }
}
