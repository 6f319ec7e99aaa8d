//! The server's side of replication: what `core` decides about a space, made durable and carried out.
//!
//! Invariants: nothing of a collection leaves for a replica before it is durable, or a loss of power would take back numbers
//! that a replica has counted; an offer is judged by all writes before it, and answered when its verdict is durable. Knows
//! nothing of messages and streams.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hyperspace_core::collection::Collection;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Rec;
use hyperspace_core::port::Durability;
use hyperspace_core::sync::{
    Cursor, Digest, Hello, ItemSet, Known, Leader, MAX_LEAD_MS, Offer, Page, Pushed, RowChange, Rows, SpaceKey, State,
    Welcome,
};
use hyperspace_core::types::{IdKey, SpaceId, Stamp, Tenant};

use super::collection::OpenCollection;
use super::commit::Ticket;
use super::{Database, Entry, held, read};

/// About what a record takes beside its body.
const REC_BYTES: usize = 64;
/// How long the items of one moment are kept for those who reconcile with them.
pub const PINNED_FOR: Duration = Duration::from_mins(1);
/// How many such sets there are at once.
const MOST_PINNED: usize = 4;

/// The answer to a greeting.
#[derive(Clone, Debug)]
pub struct Greeting {
    /// What the replica has to do.
    pub welcome: Welcome,
    /// The key of the space's digests.
    pub key: SpaceKey,
    /// Whether it does better to take segments than rows.
    pub ships: bool,
    /// The server's clock.
    pub now_ms: u64,
}

/// The items of a space at one moment; computed by whoever looks at them first.
pub type Items = LazyLock<ItemSet, Box<dyn FnOnce() -> ItemSet + Send>>;

/// Items that somebody reconciles with.
#[derive(Debug)]
pub(super) struct Pinned {
    space: SpaceId,
    cursor: Cursor,
    since: Instant,
    items: Arc<Items>,
}

impl Pinned {
    fn is_old(&self) -> bool {
        self.since.elapsed() >= PINNED_FOR
    }
}

impl Database {
    /// A collection of a tenant by its number.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupted` when its files are damaged.
    pub fn collection_numbered(&self, tenant: &Tenant, space: SpaceId) -> Result<Arc<OpenCollection>> {
        self.check_open()?;
        if let Some(collection) = self.by_number(space).filter(|collection| collection.tenant() == tenant) {
            return Ok(collection);
        }
        let damaged = read(&self.spaces).iter().find_map(|((owner, _), entry)| match entry {
            Entry::Damaged(number, error) if owner == tenant && *number == space => Some(error.clone()),
            _ => None,
        });
        Err(damaged.unwrap_or_else(|| Error::not_found(format!("there is no space {:016x}", space.0))))
    }

    /// Says what a replica has to do, and up to where its writes are answered.
    ///
    /// # Errors
    /// `Unavailable` when the collection does not lead, or the log cannot be made durable.
    pub fn welcome(&self, collection: &OpenCollection, hello: &Hello) -> Result<Greeting> {
        let (welcome, key, ships) = self.tell_durably(collection, |engine| {
            let leader = leader(engine)?;
            let welcome = leader.welcome(hello);
            let ships = engine.ships(welcome.known_up_to(hello.cursor));
            Ok((welcome, *leader.key(), ships))
        })?;
        Ok(Greeting { welcome, key, ships, now_ms: self.now_ms() })
    }

    /// Answers a writer's offers; the answer may leave once the ticket is done. Waits for memory as other writes do.
    ///
    /// # Errors
    /// `InvalidArgument` naming the point whose body is none of this collection; `Conflict` for another term; those of
    /// [`Database::welcome`] and [`Database::upsert`].
    pub fn push(
        &self,
        collection: &Arc<OpenCollection>,
        epoch: u32,
        writer: u64,
        offers: &[Offer],
    ) -> Result<(Pushed, Ticket)> {
        let snapshot = collection.snapshot();
        let bodies = offers.iter().filter_map(|offer| Some((&offer.id, offer.body.as_ref()?)));
        bodies.into_iter().try_for_each(|(id, body)| snapshot.config().check_body(id, body))?;
        self.wait_for_room(collection)?;
        let _turn = held(&collection.turn);
        // Each offer is judged by the newest write of its id, which may be on its way.
        self.finish_writes(collection)?;
        let mut answer = None;
        let ticket = self.submit(collection, Some(Durability::Strict), 0, |engine, stamper| {
            // What is here was in time by the clock of some leader: so is what follows it, and what gets new stamps does.
            let newest = engine.newest_hlc();
            let now_ms = self.now_ms().max((newest >> 16).saturating_sub(MAX_LEAD_MS));
            let (mut pushed, change) = leader_in(engine, epoch)?.push(engine, writer, offers, now_ms);
            pushed.hlc = pushed.hlc.max(newest);
            // What is written here later is newer than what was accepted.
            let newest = change.rows.iter().filter_map(stamp_of).max();
            newest.into_iter().for_each(|stamp| stamper.observe(stamp));
            answer = Some(pushed);
            if change.is_empty() { Ok(None) } else { engine.prepare_change(&change).map(Some) }
        })?;
        Ok((answer.expect("what was submitted was judged"), ticket))
    }

    /// What changed behind a number, about `most_bytes` of it, and what all live points amount to when that is all; for a
    /// follower also which writers were answered.
    ///
    /// # Errors
    /// `Conflict` for another term; `NotFound` when the collection was deleted; those of [`Database::welcome`].
    pub fn page(
        &self,
        collection: &OpenCollection,
        after: Cursor,
        most_bytes: usize,
        is_for_follower: bool,
    ) -> Result<Page> {
        self.tell_durably(collection, |engine| {
            let leader = leader_in(engine, after.epoch)?;
            let (recs, is_all) =
                if after.seq < leader.head().seq { engine.behind(after.seq, most_bytes) } else { (Vec::new(), true) };
            let all: Option<Digest> = is_all.then(|| engine.digest());
            let answered = if is_for_follower { leader.answered_since(after.seq) } else { Vec::new() };
            Ok(Page { answered, ..leader.page(after.seq, recs, all) })
        })
    }

    /// The newest writes of some ids, and the newest number at that moment. Looks at as many keys, from the front, as have
    /// about `most_bytes` together, one at least, and says at how many.
    ///
    /// # Errors
    /// Those of [`Database::page`].
    pub fn fetch(
        &self,
        collection: &OpenCollection,
        epoch: u32,
        keys: &[IdKey],
        most_bytes: usize,
    ) -> Result<(Vec<Rec>, usize, u64)> {
        self.tell_durably(collection, |engine| {
            let head = leader_in(engine, epoch)?.head().seq;
            let (mut recs, mut bytes) = (Vec::new(), 0);
            for (at, key) in keys.iter().enumerate() {
                if bytes > most_bytes {
                    return Ok((recs, at, head));
                }
                let rec = engine.newest(key);
                bytes += rec.as_ref().map_or(0, |rec| REC_BYTES + rec.body.as_ref().map_or(0, |body| body.len()));
                recs.extend(rec);
            }
            Ok((recs, keys.len(), head))
        })
    }

    /// The live points as of a number, for reconciliation: those of the present, or of a moment that others have asked for
    /// less than a minute ago. Also says whether nobody had; then [`Database::unpin`] is to be called after [`PINNED_FOR`].
    ///
    /// # Errors
    /// `Conflict` when they are of the past; those of [`Database::page`].
    pub fn items(&self, collection: &OpenCollection, at: Cursor) -> Result<(Arc<Items>, bool)> {
        let (head, key, snapshot) = self.tell_durably(collection, |engine| {
            let leader = leader_in(engine, at.epoch)?;
            Ok((leader.head(), *leader.key(), engine.snapshot()))
        })?;
        let mut pinned = held(&self.pinned);
        pinned.retain(|pinned| !pinned.is_old());
        let space = collection.space();
        if let Some(pinned) = pinned.iter().find(|pinned| (pinned.space, pinned.cursor) == (space, at)) {
            return Ok((Arc::clone(&pinned.items), false));
        }
        if at != head {
            return Err(Error::conflict(format!(
                "collection `{}` is at number {}, not {}: pull, and begin to reconcile anew",
                collection.name(),
                head.seq,
                at.seq
            )));
        }
        if pinned.len() >= MOST_PINNED {
            pinned.remove(0);
        }
        let items: Arc<Items> = Arc::new(LazyLock::new(Box::new(move || ItemSet::new(snapshot.items(&key)))));
        pinned.push(Pinned { space, cursor: at, since: Instant::now(), items: Arc::clone(&items) });
        Ok((items, true))
    }

    /// Forgets deletes up to a number, the oldest ones first, as long as they were made before a time; answers how many when
    /// that is durable. Their tombstones go with the next merges.
    ///
    /// # Errors
    /// `Unavailable` when the collection does not lead; those of [`Database::upsert`].
    pub fn forget(&self, collection: &Arc<OpenCollection>, through: u64, before_ms: u64) -> Result<usize> {
        let turn = held(&collection.turn);
        self.finish_writes(collection)?;
        let mut count = 0;
        let ticket = self.submit(collection, Some(Durability::Strict), 0, |engine, _| {
            let leader = leader(engine)?;
            let (floor, through) = (leader.floor().seq, through.min(leader.forgettable()));
            let is_old = |known: &Known| known.seq <= through && known.stamp.hlc >> 16 < before_ms;
            let deletes = engine.deletes().into_iter().skip_while(|known| known.seq <= floor);
            let old: Vec<Known> = deletes.take_while(is_old).collect();
            count = old.len();
            if old.is_empty() { Ok(None) } else { engine.prepare_change(&leader.forget(old)).map(Some) }
        })?;
        drop(turn);
        self.wait_for(ticket)?;
        Ok(count)
    }

    /// Gives back what is kept for replicas and was for long enough; says whether anything is left.
    pub fn unpin(&self) -> bool {
        let (mut pinned, mut lent) = (held(&self.pinned), held(&self.lent));
        pinned.retain(|pinned| !pinned.is_old());
        lent.retain(|lent| !lent.is_old());
        !pinned.is_empty() || !lent.is_empty()
    }

    /// Reads what a collection shows, and answers when all of it is durable.
    pub(super) fn tell_durably<T>(
        &self,
        collection: &OpenCollection,
        look: impl FnOnce(&Collection) -> Result<T>,
    ) -> Result<T> {
        self.check_writable()?;
        let seen = collection.read(|engine| look(engine))?;
        self.sync_log()?;
        collection.check()?;
        Ok(seen)
    }
}

fn leader(engine: &Collection) -> Result<&Leader> {
    match engine.sync() {
        State::Leader(leader) => Ok(leader),
        State::Replica(_) => Err(Error::unavailable(format!(
            "collection `{}` follows another server: ask that one",
            engine.config().name
        ))),
        State::Local => Err(Error::internal(format!("collection `{}` numbers no writes", engine.config().name))),
    }
}

/// The leader, if its term is the one that the replica knows.
pub(super) fn leader_in(engine: &Collection, epoch: u32) -> Result<&Leader> {
    let leader = leader(engine)?;
    let present = leader.head().epoch;
    if present == epoch {
        return Ok(leader);
    }
    Err(Error::conflict(format!(
        "the term of collection `{}` is {present}, not {epoch}: greet the server again",
        engine.config().name
    )))
}

pub(super) fn stamp_of(row: &RowChange) -> Option<Stamp> {
    match row {
        RowChange::Put(rec) => Some(rec.stamp),
        RowChange::Forget(..) => None,
    }
}
