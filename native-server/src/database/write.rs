//! Writes: checked and prepared under the lock of their collection, then queued for the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use hyperspace_core::collection::{Collection, MAX_BATCH, Prepared, UpsertBatch};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::port::Durability;
use hyperspace_core::types::PointId;

use super::collection::OpenCollection;
use super::commit::Ticket;
use super::options::Which;
use super::{Database, held};

/// How many stamps are reserved at a time: one replaced catalog for a million writes.
const RESERVATION: u64 = 1 << 20;

impl Database {
    /// Checks a batch, encodes it and queues it. Waits for memory when the indexers are behind.
    ///
    /// # Errors
    /// As `Collection::prepare_upsert`; `NotFound` when the collection was deleted; `Unavailable` when there was no room
    /// for too long, or the database is read-only.
    pub fn upsert(
        &self,
        collection: &Arc<OpenCollection>,
        batch: &UpsertBatch<'_>,
        durability: Option<Durability>,
    ) -> Result<Ticket> {
        self.wait_for_room(collection)?;
        let _turn = held(&collection.turn);
        self.submit(collection, durability, batch.ids.len(), |engine, stamper| {
            engine.prepare_upsert(batch, stamper, self.now_ms(), None).map(Some)
        })
    }

    /// Deletes points. By filter: those that match once all writes before it are visible; later ones wait, or one that
    /// makes a point match no longer could come between the look and the delete. Many points go in several records, of
    /// which a crash before the answer may leave the first ones.
    ///
    /// # Errors
    /// As [`Database::upsert`], but for the batch.
    pub fn delete(
        &self,
        collection: &Arc<OpenCollection>,
        which: Which<'_>,
        durability: Option<Durability>,
    ) -> Result<Ticket> {
        // Not for room: deletes make some.
        self.check_writable()?;
        let _turn = held(&collection.turn);
        let matching;
        let ids = match which {
            Which::Ids(ids) => ids,
            Which::Matching(filter) => {
                self.finish_writes(collection)?;
                matching = collection.snapshot().matching(filter);
                &matching
            }
        };
        let delete = |ids: &[PointId]| {
            self.submit(collection, durability, ids.len(), |engine, stamper| {
                engine.prepare_delete(ids, stamper, self.now_ms(), None)
            })
        };
        if ids.len() <= MAX_BATCH {
            return delete(ids);
        }
        let records = ids.chunks(MAX_BATCH).map(|ids| self.wait_for_room(collection).and_then(|()| delete(ids)));
        records.collect::<Result<_>>().map(Ticket::all)
    }

    /// Replaces the metadata of those points that exist.
    ///
    /// # Errors
    /// As `Collection::prepare_metadata`, and [`Database::upsert`].
    pub fn set_metadata(
        &self,
        collection: &Arc<OpenCollection>,
        changes: &[(PointId, Metadata)],
        durability: Option<Durability>,
    ) -> Result<Ticket> {
        self.wait_for_room(collection)?;
        let _turn = held(&collection.turn);
        self.finish_writes(collection)?;
        self.submit(collection, durability, changes.len(), |engine, stamper| {
            engine.prepare_metadata(changes, stamper, self.now_ms(), None)
        })
    }

    /// Prepares a write and queues it; the caller holds the collection's turn.
    pub(super) fn submit(
        &self,
        collection: &Arc<OpenCollection>,
        durability: Option<Durability>,
        stamps: usize,
        prepare: impl FnOnce(&mut Collection, &mut Stamper) -> Result<Option<Prepared>>,
    ) -> Result<Ticket> {
        self.check_writable()?;
        collection.check()?;
        let strict = durability.unwrap_or(self.options.durability) == Durability::Strict;
        let queued = collection.read(|engine| {
            let mut stamper = held(&self.stamper);
            self.reserve(&mut stamper, stamps)?;
            let prepared = prepare(engine, &mut stamper)?;
            drop(stamper);
            let Some(prepared) = prepared else { return Ok(Err(engine.newest_lsn())) };
            let queued = self.queue.push(collection, prepared, strict);
            if queued.is_err() {
                engine.give_up_prepared();
            }
            queued.map(Ok)
        })?;
        queued.or_else(|newest| {
            // Nothing to do, because of earlier writes: they have to be as durable as this one was to be.
            if strict {
                self.sync_log()?;
            }
            Ok(Ticket::done(newest))
        })
    }

    /// Makes a reservation durable before any stamp of it is given.
    fn reserve(&self, stamper: &mut Stamper, stamps: usize) -> Result<()> {
        let Some(needed) = stamper.reservation_for(stamps) else { return Ok(()) };
        let (reserved, newest_hlc) = (needed.saturating_add(RESERVATION), stamper.last_hlc());
        self.change_catalog(|catalog| {
            catalog.reserved = reserved;
            catalog.newest_hlc = catalog.newest_hlc.max(newest_hlc);
        })?;
        stamper.reserve(reserved);
        Ok(())
    }

    /// Waits until everything prepared so far is visible or given up; the caller holds the collection's turn.
    pub(super) fn finish_writes(&self, collection: &OpenCollection) -> Result<()> {
        let check = || self.check_writable().and_then(|()| collection.check());
        self.wait_until(collection, None, || {
            check().is_err() || collection.read(|engine| !engine.writes_are_pending())
        });
        check()
    }

    /// Waits while the memtable or the log is fuller than it may be, and sees to it that they do not stay so: what is
    /// sealed when it is full may be less than what is too much.
    pub(super) fn wait_for_room(&self, collection: &OpenCollection) -> Result<()> {
        self.check_writable()?;
        let (limit, log_limit) = (self.options.memtable_limit, self.options.log_limit.saturating_mul(2));
        let has_room = || {
            let memtable_has = collection.unsealed_bytes() <= limit;
            if !memtable_has {
                self.ask_for_seal(collection);
            }
            let memory_has = memtable_has && self.queue.bytes() <= limit;
            // What a damaged collection still needs cannot be cut, and must not keep all others from writing.
            let log_has = self.log_bytes.load(Ordering::Relaxed) <= log_limit || self.is_any_damaged();
            if !log_has {
                self.shorten_log();
            }
            memory_has && log_has || self.check_writable().is_err() || collection.check().is_err()
        };
        if has_room() || self.wait_until(collection, Some(Instant::now() + self.options.patience), has_room) {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "collection `{}` has {} bytes in memory (limit {limit}) and the log {} (limit {log_limit}): the indexers are \
             behind, try again later",
            collection.name(),
            collection.unsealed_bytes(),
            self.log_bytes.load(Ordering::Relaxed)
        )))
    }
}
