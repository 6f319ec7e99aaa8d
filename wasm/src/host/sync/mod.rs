//! Replication in the tab: collections follow a server's. `core` decides, `wire.rs` writes and reads the messages, and
//! whoever asks here carries them.
//!
//! A collection's session is asked for its next question until it waits. What it stores on the way goes through the log as
//! any write does; it is decided by what is published, so writers have their turn between two steps and none during one.
//! Everything but the log may be lost at any time, and a failure makes the session begin anew.
//!
//! Knows nothing of addresses, connections and retries.

mod ship;
mod talk;
pub(super) mod wire;
use std::mem;
use std::rc::Rc;

use hyperspace_core::collection::{Collection, CollectionConfig};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::sync::{Ask, Change, Note, Replica, ReplicaNote, RowChange, State, Step};
use hyperspace_core::types::SpaceId;

use super::database::{Database, OpenCollection, random_u64};
use super::identity::{Identity, RESERVATION};
use super::wait::{Held, yield_once};
use crate::kv::{Durability, Kv};
use crate::mutation::{self, Mutation};

#[cfg(feature = "fuzzing")]
pub(super) use ship::Shipment;
pub(super) use talk::Talk;
pub use talk::{Refused, Status};
pub use wire::Request;

/// What a step came to.
enum Next {
    Stored,
    Ask(Request),
    Wait,
}

impl<K: Kv> Database<K> {
    /// Goes on with a collection's session until it has a question, or nothing more to do: then it waits for a write here or
    /// a page of the stream that follows.
    ///
    /// # Errors
    /// Those of `Session::next`; `NotFound` when the collection was deleted; whatever the store answers. The session begins
    /// anew.
    pub async fn sync_next(&self, collection: &Rc<OpenCollection>) -> Result<Option<Request>> {
        loop {
            let shipment = collection.talk.borrow_mut().shipment.take();
            let is_shipping = shipment.is_some();
            let next = match shipment {
                Some(shipment) => self.ship(collection, shipment).await,
                None => self.sync_step(collection, 0).await,
            };
            match next {
                Ok(Next::Ask(request)) => return Ok(Some(request)),
                Ok(Next::Wait) => return Ok(None),
                Ok(Next::Stored) => yield_once().await,
                Err(error) => {
                    collection.sync_restart();
                    if !is_shipping || !self.takes_rows_after(collection, &error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Forgets the oldest of what the leader refused, so many of them.
    ///
    /// # Errors
    /// Whatever the store answers.
    pub async fn sync_settle(&self, collection: &Rc<OpenCollection>, count: u32) -> Result<()> {
        let count = count.min(collection.sync_status().conflicts as u32);
        if count > 0 { self.sync_step(collection, count).await.map(drop) } else { Ok(()) }
    }

    /// Whether a shipment has failed for good, so that only rows are taken from now on. Whoever listens is told.
    fn takes_rows_after(&self, collection: &OpenCollection, error: &Error) -> bool {
        let is_final = matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::Unsupported);
        if is_final {
            self.report(error);
            collection.talk.borrow_mut().takes_rows = true;
        }
        is_final
    }

    /// One step of a session; or, when so many conflicts are settled, that.
    async fn sync_step(&self, collection: &Rc<OpenCollection>, settled: u32) -> Result<Next> {
        let _turn = self.turn(collection).await?;
        let newest = self.stamper.borrow().last_hlc();
        let step = if settled > 0 {
            let note = ReplicaNote { settled_conflicts: settled, ..ReplicaNote::default() };
            Step::Store(Box::new(Change { rows: Vec::new(), note: Note::Replica(note) }))
        } else {
            self.decide(collection)?
        };
        let mut change = match step {
            Step::Wait => return Ok(Next::Wait),
            Step::Ask(Ask::Pull(after)) if core::mem::take(&mut collection.talk.borrow_mut().ships) => {
                return Ok(Next::Ask(wire::ask_manifest(after.seq, &collection.asker())));
            }
            Step::Ask(ask) => return Ok(Next::Ask(collection.request(ask))),
            Step::Rename => return self.rename().await.map(|()| Next::Stored),
            Step::Store(change) => change,
        };
        if mutation::is_active(Mutation::CursorBeforeRows) && !change.rows.is_empty() {
            let note = mem::replace(&mut change.note, Note::Replica(ReplicaNote::default()));
            let prepared = collection.engine.borrow_mut().prepare_change(&Change { rows: Vec::new(), note })?;
            self.commit(collection, prepared, None, self.durability).await?;
        }
        self.store_change(collection, &change, newest).await.map(|()| Next::Stored)
    }

    /// The right to decide by what is published: nobody writes meanwhile.
    async fn turn(&self, collection: &OpenCollection) -> Result<Held<'_>> {
        let turn = self.preparing.hold().await;
        self.finish_writes().await;
        // What a failed write left open may become visible here.
        self.settle().await?;
        // Whatever a step does, it gives no row more than one stamp.
        let most = collection.with_engine(|engine| engine.snapshot().len() + engine.tombstone_count());
        self.ready(most).await?;
        collection.check()?;
        Ok(turn)
    }

    /// Makes a change durable, and applies it. Whoever calls has the turn; `newest` is what the stamper had when it began.
    async fn store_change(&self, collection: &Rc<OpenCollection>, change: &Change, newest: u64) -> Result<()> {
        let prepared = collection.engine.borrow_mut().prepare_change(change)?;
        let stored = self.commit(collection, prepared, None, self.durability).await;
        // Stamps go back behind a wrong clock's once no row has those; and in this collection only.
        let kept = if stored.is_ok() { self.newest_elsewhere(collection) } else { newest };
        let brought = change.rows.iter().map(|row| if let RowChange::Put(rec) = row { rec.stamp.hlc } else { 0 });
        self.observe(brought.fold(kept, u64::max));
        let applied = stored?;
        let changed = applied.upserted + applied.deleted;
        if changed > 0 {
            self.environment.changed(collection.space(), changed);
        }
        Ok(())
    }

    /// What the session does next. Nobody writes meanwhile.
    fn decide(&self, collection: &OpenCollection) -> Result<Step> {
        let (engine, now_ms) = (collection.engine.borrow(), self.environment.now_ms());
        let (mut talk, mut stamper) = (collection.talk.borrow_mut(), self.stamper.borrow_mut());
        let State::Replica(replica) = engine.sync() else {
            let Some((space, key)) = talk.met.take() else {
                return Ok(Step::Ask(Ask::Hello(talk::stranger(&stamper))));
            };
            let change = Replica::follow(&*engine, space, key, &mut stamper, now_ms)?;
            return Ok(Step::Store(Box::new(change)));
        };
        loop {
            match talk.session.next(&*engine, &mut stamper, now_ms)? {
                Step::Wait if talk.has_news(replica.cursor())? => {}
                step => return Ok(step),
            }
        }
    }

    /// The newest time in the other collections that are loaded; one that is not tells its own when it is.
    fn newest_elsewhere(&self, but: &Rc<OpenCollection>) -> u64 {
        let others = self.loaded().into_iter().filter(|other| !Rc::ptr_eq(other, but));
        others.map(|other| other.with_engine(Collection::newest_hlc)).max().unwrap_or(0)
    }

    /// Draws a new name for this database to write under. Every session greets anew, and finds out.
    async fn rename(&self) -> Result<()> {
        let _held = self.hold_settled().await?;
        let writer = random_u64(&*self.environment);
        let identity = Identity { writer, reserved: RESERVATION, ..self.identity.get() };
        self.write_identity(identity, Durability::Strict).await?;
        let mut stamper = Stamper::new(writer, self.stamper.borrow().last_hlc(), 0);
        stamper.reserve(RESERVATION);
        self.stamper.replace(stamper);
        self.loaded().iter().for_each(|collection| collection.sync_restart());
        Ok(())
    }

    /// Takes the answer to a question.
    ///
    /// # Errors
    /// `Conflict` when the leader's collection is not the one that is followed; `Corrupted` when it answers what cannot be,
    /// or nothing was asked. The session begins anew.
    pub fn sync_receive(&self, collection: &OpenCollection, method: &str, body: &[u8]) -> Result<()> {
        let received = collection.receive(method, body, self.environment.now_ms());
        received.or_else(|error| {
            collection.sync_restart();
            let is_shipment = method == "GetManifest" || method.starts_with('/');
            if is_shipment && self.takes_rows_after(collection, &error) { Ok(()) } else { Err(error) }
        })
    }

    /// Asks for what comes from now on, of these collections from where each stands.
    pub fn sync_follow(&self, spaces: &[SpaceId]) -> Vec<u8> {
        let followed = self.loaded().into_iter().filter(|collection| spaces.contains(&collection.space()));
        wire::pull(followed.filter_map(|collection| collection.follow()), true)
    }

    /// Takes a message of the stream that follows; answers whose page it brought. The session looks at it before it waits.
    ///
    /// # Errors
    /// `Corrupted` when it is no page.
    pub fn sync_page(&self, body: &[u8]) -> Result<Option<SpaceId>> {
        let (number, page) = wire::page(body)?;
        let of = |collection: &Rc<OpenCollection>| match collection.engine.borrow().sync() {
            State::Replica(replica) => replica.space() == number,
            _ => false,
        };
        let Some(collection) = self.loaded().into_iter().find(of).filter(|_| !page.is_empty()) else { return Ok(None) };
        collection.take_page(page, self.environment.now_ms())?;
        Ok(Some(collection.space()))
    }

    /// Makes the collections of a server's list that are missing here; answers all that can follow theirs. With `wanted`,
    /// only those are looked at, and none of `without`.
    ///
    /// # Errors
    /// `Corrupted` when it is no list; as [`Database::collection_or_create`].
    pub async fn sync_listed(
        &self,
        body: &[u8],
        wanted: Option<&[String]>,
        without: &[String],
    ) -> Result<Vec<SpaceId>> {
        let mut spaces = Vec::new();
        for config in wire::listed(body)? {
            let has = |names: &[String]| names.iter().any(|name| name == config.name.as_str());
            if wanted.is_none_or(has) && !has(without) {
                spaces.extend(self.found_or_made(config).await?);
            }
        }
        Ok(spaces)
    }

    async fn found_or_made(&self, config: CollectionConfig) -> Result<Option<SpaceId>> {
        let shape = (config.dimension, config.metric);
        let found = match self.collection(config.name.as_str()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.collection_or_create(config).await,
            found => found,
        };
        match found {
            Ok(found) => {
                let own = found.with_engine(|engine| (engine.config().dimension, engine.config().metric));
                Ok((own == shape).then_some(found.space()))
            }
            // It takes no other one out of service.
            Err(error) if error.kind() == ErrorKind::Corrupted => {
                self.report(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
