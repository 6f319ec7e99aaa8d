//! A host in a dozen lines: one thread, storage in memory, every step durable before it is published.

use hyperspace_core::collection::{
    Applied, Collection, CollectionConfig, Flip, Prepared, SealedJob, Tuning, UpsertBatch, Urgency, Vectors,
};
use hyperspace_core::error::Result;
use hyperspace_core::log::Stamper;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::port::{Durability, MemoryStorage, Storage};
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::sync::Change;
use hyperspace_core::types::{PointId, SegmentId, SpaceId, Stamp, Tenant};
use std::sync::Arc;

const SPACE: SpaceId = SpaceId(1);

/// One collection of one tenant over [`MemoryStorage`].
pub(crate) struct Host {
    pub(crate) storage: MemoryStorage,
    pub(crate) collection: Collection,
    tenant: Tenant,
    stamper: Stamper,
    reserved: u64,
    now_ms: u64,
}

impl Host {
    pub(crate) fn create(config: CollectionConfig) -> Result<Self> {
        Self::new(Collection::create(config)?, 1)
    }

    /// Lends itself to a collection; `writer` is the name under which it writes.
    pub(crate) fn new(collection: Collection, writer: u64) -> Result<Self> {
        let (tenant, mut storage) = (Tenant::local(), MemoryStorage::default());
        storage.create(&tenant, SPACE, &collection.manifest().encode())?;
        Ok(Self { storage, collection, tenant, stamper: Stamper::new(writer, 0, 0), reserved: 0, now_ms: 1_000 })
    }

    /// Decides on a change by what is there, and makes it durable.
    pub(crate) fn change(
        &mut self,
        decide: impl FnOnce(&Collection, &mut Stamper, u64) -> Result<Option<Change>>,
    ) -> Result<Applied> {
        self.reserve(1_000);
        let Some(change) = decide(&self.collection, &mut self.stamper, self.now_ms)? else {
            return Ok(Applied::default());
        };
        let prepared = self.collection.prepare_change(&change)?;
        let applied = self.commit(Some(prepared))?;
        self.stamper.observe(Stamp { hlc: self.collection.newest_hlc(), ..Stamp::default() });
        Ok(applied)
    }

    pub(crate) fn upsert(&mut self, ids: &[PointId], vectors: Vectors<'_>, metadata: &[Metadata]) -> Result<Applied> {
        self.reserve(ids.len());
        let batch = UpsertBatch { ids, vectors, metadata };
        let prepared = self.collection.prepare_upsert(&batch, &mut self.stamper, self.now_ms, None)?;
        self.commit(Some(prepared))
    }

    pub(crate) fn delete(&mut self, ids: &[PointId]) -> Result<Applied> {
        self.reserve(ids.len());
        let prepared = self.collection.prepare_delete(ids, &mut self.stamper, self.now_ms, None)?;
        self.commit(prepared)
    }

    pub(crate) fn set_metadata(&mut self, changes: &[(PointId, Metadata)]) -> Result<Applied> {
        self.reserve(changes.len());
        let prepared = self.collection.prepare_metadata(changes, &mut self.stamper, self.now_ms, None)?;
        self.commit(prepared)
    }

    fn commit(&mut self, prepared: Option<Prepared>) -> Result<Applied> {
        let Some(prepared) = prepared else { return Ok(Applied::default()) };
        self.storage.append(&self.tenant, SPACE, prepared.lsn(), prepared.record(), Durability::Strict)?;
        self.collection.publish(&prepared)
    }

    /// Changes what may be changed, the stored manifest first.
    pub(crate) fn tune(&mut self, tuning: Tuning) -> Result<()> {
        let manifest = self.collection.manifest_tuned(tuning)?;
        self.storage.flip(&self.tenant, SPACE, &manifest.encode(), self.collection.sealed_through(), &[])?;
        self.collection.tune(tuning)
    }

    /// Runs one job to its end; says whether there was one.
    pub(crate) fn run_job(&mut self, urgency: Urgency) -> Result<bool> {
        let Some(job) = self.collection.next_job(urgency) else { return Ok(false) };
        self.install(job.finish()?)?;
        Ok(true)
    }

    /// Seals and merges until nothing is left to do.
    pub(crate) fn settle(&mut self) -> Result<()> {
        while self.run_job(Urgency::Now)? {}
        Ok(())
    }

    pub(crate) fn install(&mut self, sealed: SealedJob) -> Result<()> {
        let flip = self.store(&sealed)?;
        self.storage.flip(&self.tenant, SPACE, &flip.manifest, flip.sealed_through, &flip.dropped)?;
        self.collection.install(sealed);
        Ok(())
    }

    /// Stores the segment of a job without naming it: what a crash before the flip leaves behind.
    pub(crate) fn store(&mut self, sealed: &SealedJob) -> Result<Flip> {
        let flip = self.collection.flip(sealed);
        if let Some(segment) = &flip.added {
            self.storage.put_segment(&self.tenant, SPACE, segment.id(), segment.bytes())?;
        }
        Ok(flip)
    }

    /// Forgets everything but the storage and opens again.
    pub(crate) fn reopen(&mut self) -> Result<()> {
        let manifest = Manifest::decode(&self.storage.manifest(&self.tenant, SPACE)?)?;
        let segments = manifest.segments.iter().map(|named| {
            let id = SegmentId(named.id);
            Ok(Arc::new(Segment::open(id, self.storage.segment(&self.tenant, SPACE, id)?, Checks::All)?))
        });
        self.collection = Collection::open(&manifest, &segments.collect::<Result<Vec<_>>>()?)?;
        let log = self.storage.log(&self.tenant, SPACE, self.collection.sealed_through())?;
        self.collection.replay(log.iter().map(Vec::as_slice))?;
        self.stamper = Stamper::new(self.stamper.writer(), self.collection.newest_hlc(), self.reserved);
        self.now_ms -= 10; // the clock may have been set back meanwhile
        Ok(())
    }

    fn reserve(&mut self, count: usize) {
        self.now_ms += 1;
        if let Some(reserved) = self.stamper.reservation_for(count) {
            self.reserved = reserved;
            self.stamper.reserve(reserved);
        }
    }
}

/// Integer ids `first..first + count`.
pub(crate) fn ids(first: u64, count: usize) -> Vec<PointId> {
    (first..first + count as u64).map(PointId::Int).collect()
}
