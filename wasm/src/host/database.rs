//! A database: one store, one writer identity, its collections, and the lock that orders its write transactions.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyperspace_core::collection::{
    Collection, MAX_BATCH, Scratch, SearchOutcome, SearchRequest, Snapshot, UpsertBatch,
};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::filter::Filter;
use hyperspace_core::log::Stamper;
use hyperspace_core::map::Map;
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::types::{Lsn, PointId, SpaceId, Stamp, Tenant};
use std::sync::Arc;

use super::answers::{Answers, Asked};
use super::commit::Waiting;
use super::doubt::Tried;
use super::identity::{Identity, RESERVATION, identity_key, owner_key};
use super::sync::Talk;
use super::wait::{Lock, yield_once};
use super::work::RunningJob;
use crate::kv::{BackendKind, Blob, Durability, Fence, Key, Kv, KvCounters, KvTx, Ledger, Store};
use crate::mutation::{Mutation, is_active};

/// What the platform lends: time, randomness, and the ear of whoever listens.
pub trait Environment: Clock + Entropy {
    /// Milliseconds that never go back, for measuring slices.
    fn elapsed_ms(&self) -> f64;

    /// Tells of a failure that outlasts the call that met it: the store takes no writes, or a row is damaged.
    fn report(&self, error: &Error);

    /// Tells that a collection has changed: by own writes, which its leader is to hear of, when `pulled` is 0; otherwise by
    /// what came from there, in so many points at most.
    fn changed(&self, _space: SpaceId, _pulled: usize) {}
}

/// A collection that is loaded.
pub struct OpenCollection {
    pub(super) space: SpaceId,
    pub(super) name: String,
    pub(super) engine: RefCell<Collection>,
    pub(super) dropped: Cell<bool>,
    /// Everything up to here has to be sealed soon, whatever the memtable holds.
    pub(super) seal_wanted: Cell<Lsn>,
    /// Everything up to here is sealed, or was superseded before it could be.
    pub(super) sealed: Cell<Lsn>,
    pub(super) talk: RefCell<Talk>,
    scratch: RefCell<Scratch>,
    searches: Cell<u64>,
    distances: Cell<u64>,
}

impl OpenCollection {
    pub(super) fn new(space: SpaceId, name: &str, engine: Collection) -> Rc<Self> {
        let sealed = engine.sealed_through();
        Rc::new(Self {
            space,
            name: name.into(),
            engine: RefCell::new(engine),
            dropped: Cell::new(false),
            seal_wanted: Cell::new(Lsn(0)),
            sealed: Cell::new(sealed),
            talk: RefCell::default(),
            scratch: RefCell::default(),
            searches: Cell::new(0),
            distances: Cell::new(0),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The present read view.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.engine.borrow().snapshot()
    }

    /// Runs a search on the present view; also says which view that was.
    pub fn search(&self, request: &SearchRequest) -> Result<(Arc<Snapshot>, SearchOutcome)> {
        let snapshot = self.snapshot();
        let outcome = snapshot.search(request, &mut self.scratch.borrow_mut())?;
        self.searches.set(self.searches.get() + 1);
        self.distances.set(self.distances.get() + outcome.distances);
        Ok((snapshot, outcome))
    }

    /// Searches answered and distances evaluated by them since the collection was opened.
    pub fn search_counts(&self) -> (u64, u64) {
        (self.searches.get(), self.distances.get())
    }

    /// Reads the writer's side.
    pub fn with_engine<T>(&self, read: impl FnOnce(&Collection) -> T) -> T {
        read(&self.engine.borrow())
    }

    /// Asks for everything written so far to be sealed; answers up to where that is.
    pub fn request_seal(&self) -> Lsn {
        let newest = self.engine.borrow().newest_lsn();
        self.seal_wanted.set(self.seal_wanted.get().max(newest));
        newest
    }

    /// Up to where everything is in sealed segments.
    pub fn sealed_through(&self) -> Lsn {
        self.sealed.get().max(self.engine.borrow().sealed_through())
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.dropped.get() {
            return Err(was_deleted(&self.name));
        }
        Ok(())
    }

    /// Its number, which no other collection of this database ever has.
    pub const fn space(&self) -> SpaceId {
        self.space
    }
}

pub(super) fn was_deleted(name: &str) -> Error {
    Error::not_found(format!("collection `{name}` was deleted"))
}

/// A collection in the catalog.
pub(super) enum Entry {
    Stored(Vec<u8>),
    Open(Rc<OpenCollection>),
}

/// What to delete.
enum Which<'a> {
    Ids(&'a [PointId]),
    Matching(&'a Filter),
}

/// A database over a store.
pub struct Database<K: Kv> {
    pub(super) kv: Ledger<K>,
    pub(super) environment: Rc<dyn Environment>,
    pub(super) tenant: Tenant,
    /// The sign of ownership; its value is empty, which no stored row is, until this engine owns the database.
    pub(super) fence: RefCell<Fence>,
    pub(super) epoch: Cell<f64>,
    /// The catalog as it was read by an engine that was not the owner yet.
    pub(super) unowned: RefCell<Vec<(Key, Blob)>>,
    /// Why a row of the catalog cannot be read: nobody knows which collection it is.
    pub(super) damage: RefCell<Option<Error>>,
    /// The store has refused the newest write, and whoever listens was told.
    pub(super) refusing: Cell<bool>,
    pub(super) identity: Cell<Identity>,
    pub(super) stamper: RefCell<Stamper>,
    pub(super) spaces: RefCell<Map<String, (SpaceId, Entry)>>,
    /// Held by whoever writes rows that other transactions depend on.
    pub(super) writing: Lock,
    /// Held while the catalog changes or a collection is loaded.
    pub(super) cataloguing: Lock,
    pub(super) queue: RefCell<VecDeque<Waiting>>,
    pub(super) has_leader: Cell<bool>,
    /// A transaction failed in a way that leaves open whether it was applied.
    pub(super) doubtful: Cell<bool>,
    /// What that transaction was to change, if it was a collection's row.
    pub(super) tried: RefCell<Option<Tried>>,
    /// What a tab may ask for again.
    pub(super) answers: RefCell<Answers>,
    /// Held by the one import that is under way.
    pub(super) importing: Lock,
    /// Held from before a write looks at what is there until it is prepared.
    pub(super) preparing: Lock,
    pub(super) job: RefCell<Option<RunningJob>>,
    pub(super) paused: Cell<bool>,
    /// Whether jobs are lent.
    pub(super) lends: Cell<bool>,
    /// Why nothing more is written or loaded.
    closed: RefCell<Option<Error>>,
    pub(super) durability: Durability,
}

impl<K: Kv> Database<K> {
    /// Opens a tenant's database in a store, and binds it to the tenant for good: takes ownership, reserves stamps,
    /// reads the catalog, sweeps what no manifest names. Collections are loaded when they are asked for.
    ///
    /// When there is no room to take ownership, or the row of the writer is damaged, what is stored can be read all the
    /// same: the database opens, and every write tries again to become the owner first.
    ///
    /// # Errors
    /// `PermissionDenied` when the store holds another tenant's database; `Corrupted` or `Unsupported` when what is
    /// stored cannot be read; whatever the store answers.
    pub async fn open(
        tenant: &Tenant,
        kv: K,
        environment: Rc<dyn Environment>,
        durability: Durability,
    ) -> Result<Self> {
        let database = Self {
            kv: Ledger::new(kv),
            environment,
            tenant: tenant.clone(),
            fence: RefCell::new(Fence { store: Store::Meta, key: owner_key(), value: Vec::new() }),
            epoch: Cell::new(0.0),
            unowned: RefCell::default(),
            damage: RefCell::default(),
            refusing: Cell::new(false),
            identity: Cell::new(Identity::new(0)),
            stamper: RefCell::new(Stamper::new(0, 0, 0)),
            spaces: RefCell::default(),
            writing: Lock::default(),
            cataloguing: Lock::default(),
            queue: RefCell::default(),
            has_leader: Cell::new(false),
            doubtful: Cell::new(false),
            tried: RefCell::new(None),
            answers: RefCell::default(),
            importing: Lock::default(),
            preparing: Lock::default(),
            job: RefCell::new(None),
            paused: Cell::new(false),
            lends: Cell::new(false),
            closed: RefCell::default(),
            durability,
        };
        let meta = database.read_meta().await?;
        if let Err(error) = database.claim(&meta).await {
            if !database.is_readable_despite(&error).await? {
                return Err(error);
            }
            database.doubtful.set(true);
        }
        database.read_catalog().await?;
        Ok(database)
    }

    /// Which opening this is: higher than any before it. An engine that is not the owner yet comes half a step behind
    /// the newest owner.
    pub const fn epoch(&self) -> f64 {
        self.epoch.get()
    }

    /// Writes a batch; answers when it is durable as asked and visible. Asked again, it writes nothing and answers the
    /// same.
    ///
    /// # Errors
    /// As `Collection::prepare_upsert`; `NotFound` when the collection was deleted; whatever the store answers.
    pub async fn upsert(
        &self,
        collection: &Rc<OpenCollection>,
        batch: &UpsertBatch<'_>,
        durability: Option<Durability>,
        asked: Option<Asked>,
    ) -> Result<Lsn> {
        let durability = durability.unwrap_or(self.durability);
        let turn = self.preparing.hold().await;
        self.ready(batch.ids.len()).await?;
        collection.check()?;
        if let Some(answer) = self.answered(asked) {
            return Ok(answer.lsn);
        }
        let request = asked.map(|asked| asked.id);
        let now = self.environment.now_ms();
        let prepared = {
            let (mut engine, mut stamper) = (collection.engine.borrow_mut(), self.stamper.borrow_mut());
            engine.prepare_upsert(batch, &mut stamper, now, request)?
        };
        drop(turn);
        let lsn = prepared.lsn();
        self.commit(collection, prepared, request, durability).await?;
        self.environment.changed(collection.space, 0);
        Ok(lsn)
    }

    /// Deletes points; answers how many were there, and up to where the log now reaches. What is more than a batch is
    /// deleted batch by batch: when one fails, those before it are done, and asked again, all are. Asked again when all
    /// are done, it deletes nothing and answers the same.
    ///
    /// # Errors
    /// As [`Database::upsert`].
    pub async fn delete(
        &self,
        collection: &Rc<OpenCollection>,
        ids: &[PointId],
        durability: Option<Durability>,
        asked: Option<Asked>,
    ) -> Result<(usize, Lsn)> {
        self.delete_some(collection, Which::Ids(ids), durability, asked).await
    }

    /// Deletes the points that match once the writes before it are done, as [`Database::delete`] does.
    ///
    /// # Errors
    /// As [`Database::upsert`].
    pub async fn delete_where(
        &self,
        collection: &Rc<OpenCollection>,
        filter: &Filter,
        durability: Option<Durability>,
        asked: Option<Asked>,
    ) -> Result<(usize, Lsn)> {
        self.delete_some(collection, Which::Matching(filter), durability, asked).await
    }

    /// Later writes wait until the last batch has its stamps: one that makes a point match no longer must not come
    /// between the look and the delete, or the delete would have the newer stamp.
    async fn delete_some(
        &self,
        collection: &Rc<OpenCollection>,
        which: Which<'_>,
        durability: Option<Durability>,
        asked: Option<Asked>,
    ) -> Result<(usize, Lsn)> {
        let durability = durability.unwrap_or(self.durability);
        let mut turn = Some(self.preparing.hold().await);
        let ids = match which {
            Which::Ids(ids) => Cow::Borrowed(ids),
            Which::Matching(filter) => {
                self.finish_writes().await;
                // What a failed write left open may become visible here.
                self.settle().await?;
                Cow::Owned(collection.snapshot().matching(filter))
            }
        };
        let (mut deleted, mut is_stored) = (0, false);
        let mut batches = ids.chunks(MAX_BATCH);
        while turn.is_some() {
            // No ids make a batch too: whether the collection is there is checked all the same.
            let batch = batches.next().unwrap_or_default();
            self.ready(batch.len()).await?;
            collection.check()?;
            if let Some(answer) = self.answered(asked) {
                return Ok((answer.deleted as usize, answer.lsn));
            }
            let now = self.environment.now_ms();
            // The last batch's record says that the request is done.
            let request = if batches.len() == 0 { asked.map(|asked| asked.id) } else { None };
            let prepared = {
                let (mut engine, mut stamper) = (collection.engine.borrow_mut(), self.stamper.borrow_mut());
                engine.prepare_delete(batch, &mut stamper, now, request)?
            };
            if batches.len() == 0 {
                turn = None;
            }
            if let Some(prepared) = prepared {
                deleted += self.commit(collection, prepared, request, durability).await?.deleted;
                self.environment.changed(collection.space, 0);
                is_stored = true;
            }
        }
        if durability == Durability::Strict && !is_stored {
            // That nothing matches may be the work of relaxed writes.
            self.flush().await?;
        }
        let newest = collection.engine.borrow().newest_lsn();
        Ok((deleted, newest))
    }

    /// Answers when everything acknowledged so far is on the device.
    ///
    /// # Errors
    /// Whatever the store answers.
    pub async fn flush(&self) -> Result<()> {
        self.check_open()?;
        let _held = self.hold_settled().await?;
        self.write_identity(self.identity.get(), Durability::Strict).await
    }

    /// Flushes and lets go of the store. Writes that are under way are answered first.
    ///
    /// # Errors
    /// Whatever the store answers; it is closed all the same.
    pub async fn close(&self) -> Result<()> {
        if self.check_open().is_err() {
            return Ok(());
        }
        self.shut(Error::closed("the database is closed"));
        self.finish_writes().await;
        let held = self.writing.hold().await;
        let flushed =
            if self.owns() { self.write_identity(self.identity.get(), Durability::Strict).await } else { Ok(()) };
        drop(held);
        self.kv.close();
        flushed
    }

    /// Waits until every prepared write is answered.
    pub(super) async fn finish_writes(&self) {
        while self.has_leader.get() {
            drop(self.writing.hold().await);
            yield_once().await;
        }
    }

    /// Closes and deletes everything.
    ///
    /// # Errors
    /// Whatever the store answers.
    pub async fn destroy(&self) -> Result<()> {
        self.shut(Error::closed("the database is closed"));
        let _held = self.writing.hold().await;
        self.kv.destroy().await
    }

    /// What went in and out of the store.
    pub fn counters(&self) -> KvCounters {
        self.kv.counters()
    }

    /// Where the bytes are.
    pub fn backend(&self) -> BackendKind {
        self.kv.backend()
    }

    /// Holds background work back, or lets it go on.
    pub fn pause_indexing(&self, paused: bool) {
        self.paused.set(paused);
    }

    /// Refuses everything that needs the store from now on.
    pub(super) fn shut(&self, why: Error) {
        self.closed.replace(Some(why));
    }

    pub(super) fn check_open(&self) -> Result<()> {
        self.closed.borrow().clone().map_or(Ok(()), Err)
    }

    /// Waits until `count` stamps may be given. Whoever is ready prepares its write without another await.
    pub(super) async fn ready(&self, count: usize) -> Result<()> {
        loop {
            self.check_open()?;
            self.settle().await?;
            if self.stamper.borrow().reservation_for(count).is_none() {
                return Ok(());
            }
            let _held = self.hold_settled().await?;
            let Some(needed) = self.stamper.borrow().reservation_for(count) else { continue };
            let reserved = needed.saturating_add(RESERVATION);
            self.write_identity(Identity { reserved, ..self.identity.get() }, Durability::Strict).await?;
            self.stamper.borrow_mut().reserve(reserved);
        }
    }

    /// Takes note of a time that stored writes carry, so that the next stamp is newer.
    pub(super) fn observe(&self, hlc: u64) {
        self.stamper.borrow_mut().observe(Stamp { hlc, ..Stamp::default() });
    }

    /// Stores the identity with the newest time; the caller holds the lock.
    pub(super) async fn write_identity(&self, identity: Identity, durability: Durability) -> Result<()> {
        let identity = Identity { hlc_last: self.stamper.borrow().last_hlc(), ..identity };
        let mut tx = self.transaction();
        tx.put(Store::Meta, identity_key(), identity.encode());
        self.store(&tx, durability).await?;
        self.identity.set(identity);
        Ok(())
    }

    /// A transaction that fails when another engine has taken over.
    pub(super) fn transaction(&self) -> KvTx {
        let is_fenced = !is_active(Mutation::IgnoreFence) && !is_active(Mutation::PutForAdd);
        KvTx::new().fenced(is_fenced.then(|| self.fence.borrow().clone()))
    }

    /// Commits a transaction; whoever listens hears of it when the store begins to refuse.
    pub(super) async fn store(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        #[cfg(feature = "mutations")]
        if is_active(Mutation::PutOutsideTransaction) {
            for part in tx.parts() {
                self.kv.commit(&part, durability).await?;
            }
            return Ok(());
        }
        let Err(error) = self.kv.commit(tx, durability).await else {
            self.refusing.set(false);
            return Ok(());
        };
        if error.kind() == ErrorKind::Conflict && self.owns() {
            // Boxed, as it is seldom needed.
            let checked: Pin<Box<dyn Future<Output = Result<()>> + '_>> = Box::pin(self.check_store());
            checked.await?;
        }
        // Whoever finds a store gone for good tells it.
        if error.kind() != ErrorKind::Closed {
            self.tell(&error);
        }
        Err(error)
    }

    /// Tells whoever listens.
    pub fn report(&self, error: &Error) {
        self.environment.report(error);
    }

    /// Reports a failure, once until a write succeeds.
    pub(super) fn tell(&self, error: &Error) {
        if !self.refusing.replace(true) {
            self.environment.report(error);
        }
    }

    /// The collections that are loaded.
    pub(super) fn loaded(&self) -> Vec<Rc<OpenCollection>> {
        let spaces = self.spaces.borrow();
        let loaded = spaces.values().filter_map(|(_, entry)| match entry {
            Entry::Open(collection) => Some(Rc::clone(collection)),
            Entry::Stored(_) => None,
        });
        loaded.collect()
    }
}

pub(super) fn random_u64(entropy: &dyn Environment) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}
