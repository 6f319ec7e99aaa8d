//! The side of a server that follows another one: its collections as replicas, and how they change roles.
//!
//! Invariant: who has led writes under another name from the moment on at which it follows, or rows that it wrote then would
//! pass for an outbox. A change of roles goes collection by collection; whoever dies in the middle goes on with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyperspace_core::collection::{Collection, CollectionConfig};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::port::Durability;
use hyperspace_core::sync::{Ask, Change, Cursor, Digest, Leader, Note, ReplicaNote, Session, SpaceKey, State, Step};
use hyperspace_core::types::{SpaceId, Tenant};
use tokio::sync::watch;

use super::collection::OpenCollection;
use super::commit::Ticket;
use super::replicate::stamp_of;
use super::{Database, Entry, held, read};
use crate::mutation::{self, Mutation};

/// What a step of a session came to.
#[derive(Debug)]
pub enum Stepped {
    /// A change is on its way to the device.
    Stored(Ticket),
    /// A question for the leader.
    Ask(Ask),
    /// There is nothing to do until the leader has something to say.
    Waits,
}

impl Database {
    /// Makes an empty collection that follows the one that a leader knows under this number, under the same number.
    ///
    /// # Errors
    /// Those of [`Database::create`].
    pub fn create_following(
        &self,
        tenant: &Tenant,
        config: CollectionConfig,
        space: SpaceId,
        key: SpaceKey,
    ) -> Result<Arc<OpenCollection>> {
        let writer = held(&self.stamper).writer();
        let engine = Collection::create_following(config, space.0, key, writer)?;
        let managing = held(&self.managing);
        self.put_new(&managing, tenant, space, engine)
    }

    /// Does the next step of a replica's conversation with its leader.
    ///
    /// # Errors
    /// Those of [`Session::next`] and [`Database::upsert`].
    pub fn step(&self, collection: &Arc<OpenCollection>, session: &mut Session) -> Result<Stepped> {
        self.wait_for_room(collection)?;
        let _turn = held(&collection.turn);
        self.finish_writes(collection)?;
        let mut step = None;
        // Each row may need a new stamp, at a change of leaders.
        let stamps = collection.snapshot().len() + collection.stats().tombstones as usize + 1;
        let is_durable = !mutation::is(Mutation::AcknowledgeBeforeDurable);
        let durability = if is_durable { Durability::Strict } else { Durability::Relaxed };
        let ticket = self.submit(collection, Some(durability), stamps, |engine, stamper| {
            if !matches!(engine.sync(), State::Replica(_)) {
                return Err(Error::conflict(format!("collection `{}` follows nobody", collection.name())));
            }
            let next = session.next(engine, stamper, self.now_ms())?;
            if let Step::Store(change) = &next {
                // What is written here once it leads is newer than what it has.
                change.rows.iter().filter_map(stamp_of).for_each(|stamp| stamper.observe(stamp));
            }
            Ok(match next {
                Step::Store(change) if mutation::is(Mutation::CursorBeforeRows) => {
                    let note = Change { rows: Vec::new(), note: change.note.clone() };
                    step = Some(Step::Store(change));
                    Some(engine.prepare_change(&note)?)
                }
                Step::Store(change) => Some(engine.prepare_change(&change)?),
                other => {
                    step = Some(other);
                    None
                }
            })
        })?;
        Ok(match step {
            None => Stepped::Stored(ticket),
            // Only a mistake comes here: the note of this change is on its way without its rows.
            Some(Step::Store(change)) => {
                self.wait_for(ticket)?;
                let rows = Change { rows: change.rows, note: Note::Replica(ReplicaNote::default()) };
                let prepare = |engine: &mut Collection, _: &mut Stamper| engine.prepare_change(&rows).map(Some);
                Stepped::Stored(self.submit(collection, Some(durability), 0, prepare)?)
            }
            Some(Step::Ask(question)) => Stepped::Ask(question),
            Some(Step::Wait) => Stepped::Waits,
            Some(Step::Rename) => {
                self.take_new_name()?;
                Stepped::Stored(ticket)
            }
        })
    }

    /// Where a collection stands: at a leader its newest number, at a replica the one that it has come to.
    pub fn cursor(&self, collection: &OpenCollection) -> Option<Cursor> {
        collection.read(|engine| match engine.sync() {
            State::Leader(leader) => Some(leader.head()),
            State::Replica(replica) => Some(replica.cursor()),
            State::Local => None,
        })
    }

    /// The key of a collection's digests, by which it is known among servers.
    pub fn key(&self, collection: &OpenCollection) -> Option<SpaceKey> {
        collection.read(|engine| engine.sync().key().copied())
    }

    /// Makes every collection lead its own copy, in a server's term: no leader before had it, also of a collection that has
    /// not met all of them.
    ///
    /// # Errors
    /// Those of [`Database::upsert`]; some collections may lead by then.
    pub fn lead(&self, term: u64) -> Result<()> {
        let term = u32::try_from(term.max(1)).map_err(|_| Error::limit_exceeded(format!("there is no term {term}")))?;
        self.term.store(term, Ordering::Relaxed);
        // One that led before others did may not have come to follow them.
        self.demote(|leader| leader.head().epoch < term)?;
        let follows = |state: &State| matches!(state, State::Replica(_));
        self.change_those(follows, |state, _| {
            let State::Replica(replica) = state else { unreachable!("only those that follow were asked for") };
            Change { rows: Vec::new(), note: Note::Lead(replica.missed(term)) }
        })
    }

    /// Whether any collection leads.
    pub fn leads(&self) -> bool {
        let leads = |engine: &mut Collection| matches!(engine.sync(), State::Leader(_));
        self.open_collections().iter().any(|collection| collection.read(leads))
    }

    /// Makes every collection that leads a replica, under a new name.
    ///
    /// # Errors
    /// Those of [`Database::upsert`]; some collections may follow by then.
    pub fn follow(&self) -> Result<()> {
        self.demote(|_| true)
    }

    fn demote(&self, asks: impl Fn(&Leader) -> bool) -> Result<()> {
        let asks = |state: &State| matches!(state, State::Leader(leader) if asks(leader));
        if self.open_collections().iter().any(|collection| collection.read(|engine| asks(engine.sync()))) {
            self.take_new_name()?;
        }
        self.change_those(asks, |state, (space, writer)| {
            let State::Leader(leader) = state else { unreachable!("only those that lead were asked for") };
            leader.demoted(space.0, writer)
        })
    }

    /// Computes a collection's digest from the bytes of its live points, and says whether it is what it is kept as: if not, a
    /// row is not what was written, or there is a bug. Reads all of them, and keeps nobody waiting.
    pub fn recount(&self, collection: &OpenCollection) -> bool {
        let (snapshot, kept, key) =
            collection.read(|engine| (engine.snapshot(), engine.digest(), engine.sync().key().copied()));
        key.is_none_or(|key| snapshot.items(&key).iter().collect::<Digest>() == kept)
    }

    /// Takes what is stored for what it is, so that a comparison with the leader finds what is wrong with it.
    pub fn count_anew(&self, collection: &OpenCollection) {
        collection.write(Collection::count_anew);
    }

    /// The number of a collection, of a damaged one too.
    pub fn space_of(&self, tenant: &Tenant, name: &str) -> Option<SpaceId> {
        read(&self.spaces).get(&(tenant.clone(), name.to_owned())).map(|entry| match entry {
            Entry::Open(collection) => collection.space(),
            Entry::Damaged(space, _) => *space,
        })
    }

    /// All collections of all tenants, damaged ones aside.
    pub fn everything(&self) -> Vec<Arc<OpenCollection>> {
        self.open_collections()
    }

    /// Tells whenever a collection changes. Ends with the database.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.told.subscribe()
    }

    /// Tells whenever a collection comes, goes or is tuned, or the keys change. Ends with the database.
    pub fn watch_catalog(&self) -> watch::Receiver<()> {
        self.catalogued.subscribe()
    }

    /// The number of this directory, which no other has but its own copies.
    pub fn number(&self) -> u64 {
        held(&self.catalog).writer
    }

    /// A number that nobody has had.
    pub(crate) fn random_u64(&self) -> u64 {
        self.environment.random_u64()
    }

    pub(super) fn tell_of_catalog(&self) {
        self.catalogued.send_replace(());
    }

    /// Changes the role of those collections whose state asks for it.
    fn change_those(
        &self,
        asks: impl Fn(&State) -> bool,
        change: impl Fn(&State, (SpaceId, u64)) -> Change,
    ) -> Result<()> {
        for collection in self.open_collections() {
            if !collection.read(|engine| asks(engine.sync())) {
                continue;
            }
            let turn = held(&collection.turn);
            self.finish_writes(&collection)?;
            let ticket = self.submit(&collection, Some(Durability::Strict), 0, |engine, stamper| {
                let change = asks(engine.sync()).then(|| change(engine.sync(), (collection.space(), stamper.writer())));
                change.map(|change| engine.prepare_change(&change)).transpose()
            })?;
            drop(turn);
            self.wait_for(ticket)?;
        }
        Ok(())
    }

    /// Waits for a write on a thread that may block, also where nobody else would do it.
    pub(super) fn wait_for(&self, ticket: Ticket) -> Result<()> {
        while self.commit_next() {}
        ticket.wait_blocking().map(drop)
    }

    /// Writes under a name that nobody has had.
    fn take_new_name(&self) -> Result<()> {
        let mut stamper = held(&self.stamper);
        let writer = self.environment.random_u64();
        let newest_hlc = stamper.last_hlc();
        self.change_catalog(|catalog| {
            catalog.writer = writer;
            catalog.reserved = 0;
            catalog.newest_hlc = catalog.newest_hlc.max(newest_hlc);
        })?;
        *stamper = Stamper::new(writer, newest_hlc, 0);
        Ok(())
    }
}
