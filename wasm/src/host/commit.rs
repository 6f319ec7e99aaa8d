//! Group commit. Writes that wait share a transaction; the first one leads and writes for all.
//!
//! While a transaction is under way, what arrives queues up, at most [`GROUP_BYTES`] go into the next one, and it is
//! strict when one of them asked for that. A write waits for no timer: alone it is written at once.
//!
//! When a transaction fails, everything prepared is given up, here and in the collections, and the log is read again
//! before the next write: the store may have applied what it reported as failed.

use std::rc::Rc;

use hyperspace_core::collection::{Applied, Prepared};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::RequestId;
use hyperspace_core::types::Lsn;

use super::answers::Answer;
use super::database::{Database, OpenCollection};
use super::rows::{LogAssembly, encode_log, log_from, log_key, space_range};
use super::wait::Slot;
use crate::kv::{Durability, Kv, KvTx, Store};
use crate::mutation::{Mutation, is_active};

/// The bytes of records after which a group is closed.
const GROUP_BYTES: usize = 512 << 10;
/// Log rows read at once when a collection is opened.
const LOG_WINDOW: u32 = 128;

/// What a waiting writer is told.
enum Turn {
    /// The queue is yours to write.
    Lead,
    /// Your write is done, or failed.
    Done(Result<Applied>),
}

/// A prepared write in the queue.
pub(super) struct Waiting {
    collection: Rc<OpenCollection>,
    prepared: Prepared,
    request: Option<RequestId>,
    durability: Durability,
    slot: Slot<Turn>,
}

impl<K: Kv> Database<K> {
    /// Makes a prepared write durable and publishes it; `request` is the one in its record. No await between preparing
    /// and calling this.
    pub(super) async fn commit(
        &self,
        collection: &Rc<OpenCollection>,
        prepared: Prepared,
        request: Option<RequestId>,
        durability: Durability,
    ) -> Result<Applied> {
        let slot = Slot::new();
        let waiting = Waiting { collection: Rc::clone(collection), prepared, request, durability, slot: slot.share() };
        self.queue.borrow_mut().push_back(waiting);
        if self.has_leader.replace(true)
            && let Turn::Done(applied) = slot.take().await
        {
            return applied;
        }
        self.lead().await;
        match slot.take().await {
            Turn::Done(applied) => applied,
            Turn::Lead => Err(Error::internal("a writer was asked to lead twice")),
        }
    }

    /// Writes one group, which has the leader's own write in front, and passes the lead on.
    async fn lead(&self) {
        let held = self.hold_settled().await;
        let group = self.next_group();
        let (group, dropped): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|waiting| !waiting.collection.dropped.get());
        for waiting in dropped {
            waiting.slot.fill(Turn::Done(waiting.collection.check().map(|()| Applied::default())));
        }
        let outcome = match &held {
            Ok(_) => {
                if is_active(Mutation::ResolveBeforeComplete) {
                    self.publish(&group);
                }
                self.write_group(&group).await
            }
            Err(error) => Err(error.clone()),
        };
        match outcome {
            Ok(()) if is_active(Mutation::ResolveBeforeComplete) => {}
            Ok(()) => self.publish(&group),
            Err(error) => self.give_up(group, &error),
        }
        drop(held);
        match self.queue.borrow().front() {
            Some(next) => next.slot.fill(Turn::Lead),
            None => self.has_leader.set(false),
        }
    }

    /// Shows what is stored, and answers.
    fn publish(&self, group: &[Waiting]) {
        for waiting in group {
            let applied = waiting.collection.engine.borrow_mut().publish(&waiting.prepared);
            if let Ok(applied) = &applied {
                let answer = Answer { lsn: waiting.prepared.lsn(), deleted: applied.deleted as u64 };
                self.answers.borrow_mut().note(waiting.request, answer);
            }
            waiting.slot.fill(Turn::Done(applied));
        }
    }

    fn next_group(&self) -> Vec<Waiting> {
        let mut queue = self.queue.borrow_mut();
        let mut bytes = 0;
        let mut count = 0;
        for waiting in queue.iter() {
            bytes += waiting.prepared.record().len();
            if count > 0 && bytes > GROUP_BYTES {
                break;
            }
            count += 1;
        }
        queue.drain(..count).collect()
    }

    async fn write_group(&self, group: &[Waiting]) -> Result<()> {
        let mut tx = self.transaction();
        let mut durability = Durability::Relaxed;
        let mut begun = Vec::new();
        for waiting in group {
            if waiting.durability == Durability::Strict {
                durability = Durability::Strict;
            }
            let collection = &waiting.collection;
            if !begun.contains(&collection.space) {
                begun.push(collection.space);
                // A store that was set back takes no record: behind a gap it could not be read.
                let before = Lsn(waiting.prepared.lsn().0 - 1);
                let in_log = before > collection.engine.borrow().sealed_through();
                if in_log && !is_active(Mutation::SkipContinuity) {
                    tx.continues(Store::Wal, log_key(collection.space, before, 0));
                }
            }
            let rows = encode_log(collection.space, waiting.prepared.lsn(), waiting.prepared.record());
            let write = if is_active(Mutation::PutForAdd) { KvTx::put } else { KvTx::add };
            rows.into_iter().for_each(|(key, value)| write(&mut tx, Store::Wal, key, value));
        }
        self.store(&tx, durability).await
    }

    /// Fails the group and everything queued behind it: later records may not be published when earlier ones are lost.
    fn give_up(&self, group: Vec<Waiting>, error: &Error) {
        self.doubtful.set(true);
        let behind: Vec<Waiting> = self.queue.borrow_mut().drain(..).collect();
        for waiting in group.into_iter().chain(behind) {
            waiting.collection.engine.borrow_mut().give_up_prepared();
            waiting.slot.fill(Turn::Done(Err(error.clone())));
        }
    }

    /// Publishes the stored records behind `after`.
    pub(super) async fn replay_log(&self, collection: &OpenCollection, after: Lsn) -> Result<()> {
        let mut assembly = LogAssembly::default();
        let (_, to) = space_range(collection.space);
        let mut from = log_from(collection.space, after);
        loop {
            let rows = self.kv.range(Store::Wal, &from, &to, LOG_WINDOW).await?;
            let mut records = Vec::new();
            for (key, blob) in &rows {
                records.extend(assembly.take(key, blob)?);
            }
            collection.engine.borrow_mut().replay(records.iter().map(Vec::as_slice))?;
            records.iter().try_for_each(|record| self.answers.borrow_mut().note_record(record))?;
            let Some((last, _)) = rows.last() else { break };
            from.clone_from(last);
            from.push(0);
        }
        assembly.finish()?;
        self.observe(collection.engine.borrow().newest_hlc());
        Ok(())
    }
}
