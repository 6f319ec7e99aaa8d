//! Who owns the database, and what becomes of an engine whose store is no longer what it was.
//!
//! An engine owns the database from the transaction that raises the owner's epoch on; every later one depends on that
//! row. When it cannot be taken because there is no room, the engine reads and serves what is there, and whoever
//! writes tries again first.
//!
//! A store that lost what it had confirmed (cleared by the browser, taken over, set back) is not written to any
//! more: this engine holds more than the store does. What it holds can still be searched.

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::Stamper;

use super::answers::answers_key;
use super::archive::{import_key, sweep_import};
use super::database::{Database, random_u64};
use super::identity::{
    Identity, RESERVATION, check_tenant, decode_owner, encode_owner, encode_tenant, identity_key, owner_key, tenant_key,
};
use super::rows::{END, log_key};
use crate::kv::{Blob, Durability, Fence, Kv, KvTx, Store};

/// The rows that say whose the database is.
pub(super) struct Meta {
    owner: Option<Blob>,
    tenant: Option<Blob>,
}

impl<K: Kv> Database<K> {
    /// Reads whose the database is, and refuses another tenant's.
    pub(super) async fn read_meta(&self) -> Result<Meta> {
        let mut rows = self.kv.get_many(Store::Meta, &[owner_key(), tenant_key()]).await?;
        let (tenant, owner) = (rows.pop().flatten(), rows.pop().flatten());
        if let Some(blob) = &tenant {
            check_tenant(blob, &self.tenant)?;
        }
        Ok(Meta { owner, tenant })
    }

    /// Becomes the owner, if nobody else has since `meta` was read, and reserves stamps.
    pub(super) async fn claim(&self, meta: &Meta) -> Result<()> {
        let fence = self.take_over(meta).await?;
        // Read only now: until the owner before this one was fenced off, it may have raised the reservation.
        let mut rows = self.kv.get_many(Store::Meta, &[identity_key(), answers_key(), import_key()]).await?;
        let (interrupted, answers, identity) = (rows.pop().flatten(), rows.pop().flatten(), rows.pop().flatten());
        self.answers.borrow_mut().read(answers.as_ref())?;
        let stored = match &identity {
            Some(blob) => Identity::decode(blob)?,
            None if self.is_empty().await? => Identity::new(random_u64(&*self.environment)),
            None => return Err(Error::corrupted("the row of the database's identity is missing")),
        };
        let next_space = stored.next_space.max(self.identity.get().next_space);
        let identity = Identity { reserved: stored.reserved + RESERVATION, next_space, ..stored };
        let mut tx = KvTx::new().fenced(Some(fence.clone()));
        tx.put(Store::Meta, identity_key(), identity.encode());
        if let Some(mark) = &interrupted {
            sweep_import(mark, &mut tx)?;
        }
        self.store(&tx, Durability::Strict).await?;
        self.fence.replace(fence);
        self.identity.set(identity);
        let mut stamper = Stamper::new(stored.writer, stored.hlc_last, stored.reserved);
        stamper.reserve(identity.reserved);
        self.stamper.replace(stamper);
        Ok(())
    }

    /// Raises the owner's epoch, which fences off whoever owned the database before; binds a new one to its tenant.
    async fn take_over(&self, meta: &Meta) -> Result<Fence> {
        let before = meta.owner.as_ref().map_or(Ok(0), decode_owner)?;
        self.epoch.set(before as f64 + 0.5);
        let fence = Fence { value: encode_owner(before + 1), ..self.fence.borrow().clone() };
        let expected = meta.owner.as_ref().map(|row| Fence { value: row.to_vec(), ..fence.clone() });
        let mut tx = KvTx::new().fenced(expected);
        // Added when there was none: of two that create the database one fails.
        let write = if meta.owner.is_some() { KvTx::put } else { KvTx::add };
        write(&mut tx, Store::Meta, owner_key(), fence.value.clone());
        if meta.tenant.is_none() {
            tx.put(Store::Meta, tenant_key(), encode_tenant(&self.tenant));
        }
        // Relaxed: the strict transaction behind it flushes this one too.
        self.store(&tx, Durability::Relaxed).await?;
        self.epoch.set((before + 1) as f64);
        Ok(fence)
    }

    /// Whether there is something to serve although ownership could not be had.
    pub(super) async fn is_readable_despite(&self, error: &Error) -> Result<bool> {
        Ok(match error.kind() {
            ErrorKind::LimitExceeded => !self.is_empty().await?,
            kind => kind == ErrorKind::Corrupted,
        })
    }

    async fn is_empty(&self) -> Result<bool> {
        Ok(self.kv.keys(Store::Spaces, &[], END).await?.is_empty())
    }

    pub(super) fn owns(&self) -> bool {
        !self.fence.borrow().value.is_empty()
    }

    /// Becomes the owner after all. Until now another engine could write: what was read must still be what is there.
    pub(super) async fn claim_late(&self) -> Result<()> {
        let meta = self.read_meta().await?;
        if meta.owner.is_none() {
            return Err(self.lose("was cleared by the browser"));
        }
        self.claim(&meta).await?;
        let now = self.all_rows(Store::Spaces).await?;
        let then = self.unowned.take();
        let same =
            now.iter().map(|(key, row)| (key, row.to_vec())).eq(then.iter().map(|(key, row)| (key, row.to_vec())));
        if same { Ok(()) } else { Err(self.lose("was changed by another tab")) }
    }

    /// Finds out why a transaction did not meet the store that it expected.
    pub(super) async fn check_store(&self) -> Result<()> {
        self.check_owner().await?;
        self.check_logs().await
    }

    /// Checks that the store is still the one that confirmed what this engine holds.
    pub(super) async fn check_owner(&self) -> Result<()> {
        let owner = self.kv.get(Store::Meta, &owner_key()).await?;
        match owner.map(|row| row.to_vec()) {
            None => Err(self.lose("was cleared by the browser")),
            Some(row) if row != self.fence.borrow().value => Err(self.lose("was taken over by another tab")),
            Some(_) => Ok(()),
        }
    }

    /// Checks that the newest record of every log is where it was confirmed to be.
    pub(super) async fn check_logs(&self) -> Result<()> {
        for collection in self.loaded() {
            let (newest, sealed) = collection.with_engine(|engine| (engine.newest_lsn(), engine.sealed_through()));
            if newest > sealed && self.kv.get(Store::Wal, &log_key(collection.space, newest, 0)).await?.is_none() {
                return Err(self.lose("was set back to an older state"));
            }
        }
        Ok(())
    }

    fn lose(&self, what: &str) -> Error {
        let message = format!("the stored database {what}: open it again; what is loaded here can still be searched");
        let error = Error::closed(message);
        self.shut(error.clone());
        self.kv.close();
        // Worse than what may have been told already.
        self.environment.report(&error);
        error
    }
}
