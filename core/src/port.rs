//! What a host must lend the engine, and the simplest host there is.
//!
//! Core reads no clock, draws no entropy and does no I/O. Storage is asked for whole, durable steps; each method says
//! what must hold when it fails.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::bytes::AlignedBytes;
use crate::error::{Error, Result};
use crate::segment::SegmentBytes;
use crate::types::{Lsn, SegmentId, SpaceId, Tenant};

/// Wall-clock time.
pub trait Clock {
    /// Milliseconds since 1970 (Unix time). May jump; stamps rise all the same.
    fn now_ms(&self) -> u64;
}

/// Randomness fit for keys.
pub trait Entropy {
    /// Fills the buffer with bytes that nobody can guess.
    fn fill(&self, out: &mut [u8]);
}

/// How much an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the process, not of the machine.
    Relaxed,
    /// A crash at any instruction.
    Strict,
}

/// Durable state of collections, for hosts whose storage answers at once.
///
/// Every call names the tenant; a space of one tenant does not exist for another.
pub trait Storage {
    /// Lists a tenant's spaces, rising.
    fn spaces(&self, tenant: &Tenant) -> Result<Vec<SpaceId>>;

    /// Stores the first manifest of a new space. On failure the space does not exist.
    fn create(&mut self, tenant: &Tenant, space: SpaceId, manifest: &[u8]) -> Result<()>;

    /// Forgets a space and all it holds. On failure it exists as before.
    fn remove(&mut self, tenant: &Tenant, space: SpaceId) -> Result<()>;

    /// The newest manifest.
    fn manifest(&self, tenant: &Tenant, space: SpaceId) -> Result<Vec<u8>>;

    /// The log records behind `after`, rising.
    fn log(&self, tenant: &Tenant, space: SpaceId, after: Lsn) -> Result<Vec<Vec<u8>>>;

    /// Appends a record. When it fails, the record may or may not be there: the caller stops writing and reopens.
    fn append(
        &mut self,
        tenant: &Tenant,
        space: SpaceId,
        lsn: Lsn,
        record: &[u8],
        durability: Durability,
    ) -> Result<()>;

    /// Stores a sealed segment. It is found only once a manifest names it.
    fn put_segment(&mut self, tenant: &Tenant, space: SpaceId, id: SegmentId, bytes: &[u8]) -> Result<()>;

    /// The bytes of a segment.
    fn segment(&self, tenant: &Tenant, space: SpaceId, id: SegmentId) -> Result<SegmentBytes>;

    /// In one step: replaces the manifest, drops log records up to `sealed_through` and the named segments. On failure
    /// everything is as before.
    fn flip(
        &mut self,
        tenant: &Tenant,
        space: SpaceId,
        manifest: &[u8],
        sealed_through: Lsn,
        dropped: &[SegmentId],
    ) -> Result<()>;
}

/// Storage that lasts as long as the value: for tests and for databases that are meant to be forgotten.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    spaces: BTreeMap<(Tenant, SpaceId), MemorySpace>,
}

#[derive(Clone, Debug, Default)]
struct MemorySpace {
    manifest: Vec<u8>,
    log: BTreeMap<Lsn, Vec<u8>>,
    segments: BTreeMap<SegmentId, Arc<AlignedBytes>>,
}

impl MemoryStorage {
    fn space(&self, tenant: &Tenant, space: SpaceId) -> Result<&MemorySpace> {
        self.spaces.get(&(tenant.clone(), space)).ok_or_else(|| missing(space))
    }

    fn space_mut(&mut self, tenant: &Tenant, space: SpaceId) -> Result<&mut MemorySpace> {
        self.spaces.get_mut(&(tenant.clone(), space)).ok_or_else(|| missing(space))
    }
}

fn missing(space: SpaceId) -> Error {
    Error::not_found(format!("space {} does not exist for this tenant", space.0))
}

impl Storage for MemoryStorage {
    fn spaces(&self, tenant: &Tenant) -> Result<Vec<SpaceId>> {
        Ok(self.spaces.keys().filter(|(owner, _)| owner == tenant).map(|(_, space)| *space).collect())
    }

    fn create(&mut self, tenant: &Tenant, space: SpaceId, manifest: &[u8]) -> Result<()> {
        let key = (tenant.clone(), space);
        if self.spaces.contains_key(&key) {
            return Err(Error::already_exists(format!("space {} exists", space.0)));
        }
        self.spaces.insert(key, MemorySpace { manifest: manifest.to_vec(), ..MemorySpace::default() });
        Ok(())
    }

    fn remove(&mut self, tenant: &Tenant, space: SpaceId) -> Result<()> {
        self.spaces.remove(&(tenant.clone(), space)).map(|_| ()).ok_or_else(|| missing(space))
    }

    fn manifest(&self, tenant: &Tenant, space: SpaceId) -> Result<Vec<u8>> {
        Ok(self.space(tenant, space)?.manifest.clone())
    }

    fn log(&self, tenant: &Tenant, space: SpaceId, after: Lsn) -> Result<Vec<Vec<u8>>> {
        Ok(self.space(tenant, space)?.log.range(after.next()..).map(|(_, record)| record.clone()).collect())
    }

    fn append(&mut self, tenant: &Tenant, space: SpaceId, lsn: Lsn, record: &[u8], _: Durability) -> Result<()> {
        let log = &mut self.space_mut(tenant, space)?.log;
        if log.last_key_value().is_some_and(|(last, _)| *last >= lsn) {
            return Err(Error::internal(format!("record {} is appended behind a later one", lsn.0)));
        }
        log.insert(lsn, record.to_vec());
        Ok(())
    }

    fn put_segment(&mut self, tenant: &Tenant, space: SpaceId, id: SegmentId, bytes: &[u8]) -> Result<()> {
        self.space_mut(tenant, space)?.segments.insert(id, Arc::new(AlignedBytes::copy_of(bytes)));
        Ok(())
    }

    fn segment(&self, tenant: &Tenant, space: SpaceId, id: SegmentId) -> Result<SegmentBytes> {
        let segment = self.space(tenant, space)?.segments.get(&id);
        let segment = segment.ok_or_else(|| Error::corrupted(format!("segment {id} is not stored")))?;
        Ok(Arc::clone(segment) as SegmentBytes)
    }

    fn flip(
        &mut self,
        tenant: &Tenant,
        space: SpaceId,
        manifest: &[u8],
        sealed_through: Lsn,
        dropped: &[SegmentId],
    ) -> Result<()> {
        let stored = self.space_mut(tenant, space)?;
        stored.manifest = manifest.to_vec();
        stored.log = stored.log.split_off(&sealed_through.next());
        dropped.iter().for_each(|id| drop(stored.segments.remove(id)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_of_one_tenant_does_not_exist_for_another() {
        let (a, b) = (Tenant::verified("a").unwrap(), Tenant::verified("b").unwrap());
        let mut storage = MemoryStorage::default();
        storage.create(&a, SpaceId(1), b"m").unwrap();
        assert_eq!(storage.spaces(&b).unwrap(), []);
        assert!(storage.manifest(&b, SpaceId(1)).is_err());
        assert!(storage.append(&b, SpaceId(1), Lsn(1), b"r", Durability::Strict).is_err());
        assert_eq!(storage.manifest(&a, SpaceId(1)).unwrap(), b"m");
    }

    #[test]
    fn a_flip_drops_the_log_up_to_its_record_and_the_named_segments() {
        let (tenant, space) = (Tenant::local(), SpaceId(1));
        let mut storage = MemoryStorage::default();
        storage.create(&tenant, space, b"1").unwrap();
        for lsn in 1..=3 {
            storage.append(&tenant, space, Lsn(lsn), &[lsn as u8], Durability::Relaxed).unwrap();
        }
        assert!(storage.append(&tenant, space, Lsn(2), b"again", Durability::Relaxed).is_err());
        storage.put_segment(&tenant, space, SegmentId([1; 32]), b"s").unwrap();
        storage.flip(&tenant, space, b"2", Lsn(2), &[SegmentId([1; 32])]).unwrap();
        assert_eq!(storage.log(&tenant, space, Lsn(0)).unwrap(), [[3]]);
        assert!(storage.segment(&tenant, space, SegmentId([1; 32])).is_err());
        assert_eq!(storage.manifest(&tenant, space).unwrap(), b"2");
    }
}
