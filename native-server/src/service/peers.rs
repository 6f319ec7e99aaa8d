//! What this server is among those that replicate each other: leader or follower, in which term, and who follows it.
//!
//! A server that leads in a later term is right, whatever settings say: so one that comes back to an old place does not take
//! over, and one that was promoted goes on leading. What this rests on is durable (the file STANDING) before anything is
//! done on its account. Invariant: while this server follows, nobody but its leader changes its collections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyperspace_core::error::{Error, Result};
use hyperspace_core::sync::Cursor;
use hyperspace_core::types::SpaceId;
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::database::{Keeper, OpenCollection};
use crate::mutation::{self, Mutation};
use crate::proto::ReplicateRequest;
use crate::settings::{Role, Settings, WriteConcern};
use crate::store::files::STANDING;
use crate::store::standing::Standing;

/// How long a write waits for a majority.
const PATIENCE: Duration = Duration::from_secs(10);

/// A follower that was not heard of for so long is not waited for.
const AWAY: Duration = Duration::from_hours(24);

/// The number of who asks what a leader has to say and does not follow yet.
#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "simulations see it"))]
pub const NOBODY: u64 = 0;

/// This server among others.
pub(super) struct Peers {
    keeper: Arc<Keeper>,
    standing: Mutex<Standing>,
    /// Of a server that was told to follow: whom.
    leader: Option<String>,
    concern: WriteConcern,
    recount_every: Duration,
    tombstones_for: Duration,
    started: Instant,
    /// Whether it leads. Changes when all collections have changed their roles.
    leads: watch::Sender<bool>,
    /// Held while the role changes.
    changing: Mutex<()>,
    link: Mutex<Link>,
    progress: Mutex<BTreeMap<u64, Progress>>,
    progressed: watch::Sender<()>,
}

/// What a follower knows of the way to its leader.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) is_connected: bool,
    /// When it was equal to its leader last.
    pub(super) equal: Option<Instant>,
    /// Why it does not follow.
    pub(super) trouble: String,
    /// Points that differed and were repaired.
    pub(super) repaired: u64,
}

/// How far a follower has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// Its open streams: a new one may begin before the end of an old one is noticed.
    pub(super) streams: usize,
    pub(super) heads: BTreeMap<SpaceId, Cursor>,
    /// When it was last heard of.
    heard: Option<Instant>,
}

impl Peers {
    /// Reads the standing, and gives the collections the roles that follow from it.
    ///
    /// # Errors
    /// `Corrupted` when the file is damaged; `InvalidArgument` when a server with collections of its own is to follow.
    pub(super) fn open(keeper: Arc<Keeper>, settings: &Settings) -> Result<Self> {
        let database = keeper.database();
        let stored = database.read_aside(STANDING)?;
        let is_new = stored.is_none();
        let mut standing = match stored {
            Some(bytes) => Standing::decode(&bytes)
                .map_err(|error| Error::new(error.kind(), format!("file {STANDING}: {}", error.message())))?,
            None => Standing::default(),
        };
        let follows = settings.role == Role::Follower;
        if follows && is_new && !database.everything().is_empty() {
            return Err(Error::invalid_argument(format!(
                "the data directory has {} collections that it got from no leader: a follower begins with an empty one",
                database.everything().len()
            )));
        }
        if !follows && !standing.leads {
            // It was a follower, and its settings say that it is none any more.
            standing.leads = true;
            if !is_new {
                standing.term += 1;
                database.replace_aside(STANDING, &standing.encode())?;
            }
        }
        let leads = standing.leads;
        if leads {
            database.lead(standing.term)?;
        }
        Ok(Self {
            keeper,
            standing: Mutex::new(standing),
            leader: settings.leader.clone().filter(|_| follows),
            concern: settings.write_concern,
            recount_every: Duration::from_secs(settings.recount_seconds.get() as u64),
            tombstones_for: Duration::from_secs(settings.tombstone_seconds.get() as u64),
            started: Instant::now(),
            leads: watch::Sender::new(leads),
            changing: Mutex::new(()),
            link: Mutex::default(),
            progress: Mutex::default(),
            progressed: watch::Sender::new(()),
        })
    }

    /// Whether it leads now.
    pub(super) fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Tells when that changes.
    pub(super) fn watch_role(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// How often digests are computed anew.
    pub(super) const fn recount_every(&self) -> Duration {
        self.recount_every
    }

    /// How long deletes are remembered.
    pub(super) const fn tombstones_for(&self) -> Duration {
        self.tombstones_for
    }

    /// Up to where every follower has a collection. One that was away for long is not waited for: it takes the whole state
    /// anew when it comes back.
    pub(super) fn acknowledged(&self, space: SpaceId) -> u64 {
        let progress = held(&self.progress);
        let counted = self.standing().followers.into_iter().filter_map(|follower| {
            let known = progress.get(&follower);
            let heard = known.and_then(|progress| progress.heard).unwrap_or(self.started);
            let is_counted = known.is_some_and(|progress| progress.streams > 0) || heard.elapsed() < AWAY;
            is_counted.then(|| known.and_then(|progress| progress.heads.get(&space)).map_or(0, |head| head.seq))
        });
        counted.min().unwrap_or(u64::MAX)
    }

    /// The leader that it was told to follow.
    pub(super) fn leader(&self) -> Option<&str> {
        self.leader.as_deref()
    }

    /// # Errors
    /// `Unavailable` with the leader's address when this server follows.
    pub(super) fn check_leads(&self) -> Result<()> {
        if self.leads() {
            return Ok(());
        }
        let leader = self.leader().unwrap_or_default();
        Err(Error::unavailable(format!("this server follows {leader} and is read-only: ask that one")))
    }

    /// The present standing.
    pub(super) fn standing(&self) -> Standing {
        held(&self.standing).clone()
    }

    /// Makes this server the leader of what it has, in a term of its own; says in which, and whether it followed before.
    ///
    /// # Errors
    /// Those of [`Database::lead`](crate::database::Database::lead); what has begun goes on with the next call, or start.
    pub(super) fn promote(&self) -> Result<(u64, bool)> {
        let _changing = held(&self.changing);
        if self.leads() {
            return Ok((held(&self.standing).term, false));
        }
        if !held(&self.standing).leads {
            let own = self.keeper.database().number();
            self.change_unless(Mutation::LeadBeforeStanding, |standing| {
                standing.leads = true;
                standing.term += 1;
                standing.followers.remove(&own);
            })?;
        }
        let term = held(&self.standing).term;
        self.keeper.database().lead(term)?;
        self.leads.send_replace(true);
        Ok((term, true))
    }

    /// Begins to follow a leader that says which servers belong together, and its term.
    ///
    /// # Errors
    /// `Conflict` when it is none that this server may follow; those of
    /// [`Database::follow`](crate::database::Database::follow).
    pub(super) fn follow(&self, group: u64, term: u64) -> Result<()> {
        let _changing = held(&self.changing);
        let own = self.standing();
        if own.group != 0 && own.group != group {
            return Err(Error::conflict(format!(
                "the leader belongs to group {group:016x}, this server to {:016x}",
                own.group
            )));
        }
        if own.term > term || own.leads && own.term == term {
            return Err(Error::conflict(format!("the leader is of term {term}, this server of term {}", own.term)));
        }
        // From here on nobody else writes; who wrote before is in the log.
        self.leads.send_replace(false);
        if (own.group, own.term, own.leads) != (group, term, false) {
            self.change_unless(Mutation::FollowBeforeStanding, |standing| {
                (standing.group, standing.term, standing.leads) = (group, term, false);
            })?;
        }
        self.keeper.database().follow()
    }

    /// Does what the leader of a term has told, unless this server does not follow it any more; until that is done it does not
    /// begin to lead, or to follow another one.
    ///
    /// # Errors
    /// `Conflict` when it does not; those of the work.
    pub(super) fn while_following<T>(&self, term: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let _changing = held(&self.changing);
        let own = self.standing();
        if own.leads || own.term != term {
            let role = if own.leads { "leads" } else { "follows" };
            return Err(Error::conflict(format!(
                "the leader of term {term} has told it, this server {role} in {}",
                own.term
            )));
        }
        work()
    }

    /// Takes note of a deletion, before it happens: whoever comes back with the collection must not bring it back.
    pub(super) fn note_dropped(&self, space: SpaceId) -> Result<()> {
        let standing = self.standing();
        if standing.group == 0 || standing.dropped.contains(&space) {
            return Ok(());
        }
        self.change(|standing| {
            standing.dropped.insert(space);
        })
    }

    /// Takes over which spaces were deleted, and who follows: they are the ones to ask for a majority once this server leads.
    pub(super) fn take_over(&self, dropped: BTreeSet<SpaceId>, followers: BTreeSet<u64>) -> Result<()> {
        let own = self.standing();
        if (&own.dropped, &own.followers) == (&dropped, &followers) {
            return Ok(());
        }
        self.change(|standing| (standing.dropped, standing.followers) = (dropped, followers))
    }

    /// Admits a follower, for as long as the guest lives.
    ///
    /// # Errors
    /// `Unavailable` when this server leads nobody; `Conflict` when the two do not belong together.
    pub(super) fn admit(self: &Arc<Self>, follower: u64, group: u64, term: u64) -> Result<Guest> {
        self.check_leads()?;
        let own = self.standing();
        if group != 0 && group != own.group {
            return Err(Error::conflict(format!(
                "the follower belongs to group {group:016x}, this server to {:016x}",
                own.group
            )));
        }
        if term > own.term {
            return Err(Error::conflict(format!(
                "the follower knows of a leader of term {term}, this server leads in term {}",
                own.term
            )));
        }
        let is_known = follower == NOBODY || own.followers.contains(&follower);
        if own.group == 0 || !is_known {
            let drawn = self.keeper.database().random_u64().max(1);
            self.change(|standing| {
                if standing.group == 0 {
                    (standing.group, standing.term, standing.leads) = (drawn, standing.term.max(1), true);
                }
                if !is_known {
                    standing.followers.insert(follower);
                }
            })?;
        }
        held(&self.progress).entry(follower).or_default().streams += 1;
        Ok(Guest { peers: Arc::clone(self), follower })
    }

    /// Takes note of how far a follower has come.
    pub(super) fn note_progress(&self, follower: u64, heads: impl IntoIterator<Item = (SpaceId, Cursor)>) {
        let mut progress = held(&self.progress);
        let known = progress.entry(follower).or_default();
        known.heads.extend(heads);
        known.heard = Some(Instant::now());
        drop(progress);
        self.progressed.send_replace(());
    }

    /// Counts a follower no more; says whether there was such a one.
    pub(super) fn remove(&self, follower: u64) -> Result<bool> {
        held(&self.progress).remove(&follower);
        self.progressed.send_replace(());
        if !held(&self.standing).followers.contains(&follower) {
            return Ok(false);
        }
        self.change(|standing| {
            standing.followers.remove(&follower);
        })?;
        Ok(true)
    }

    /// Who follows, and how far each has come.
    pub(super) fn followers(&self) -> Vec<(u64, Progress)> {
        let progress = held(&self.progress);
        let each = self.standing().followers.into_iter();
        each.map(|follower| (follower, progress.get(&follower).cloned().unwrap_or_default())).collect()
    }

    /// Waits, where that was chosen, until a majority of all servers has what this collection shows now.
    ///
    /// # Errors
    /// `Unavailable` when it takes too long: the write stays, and may or may not survive the loss of this server.
    pub(super) async fn confirm(&self, collection: &OpenCollection) -> Result<()> {
        if self.concern == WriteConcern::Leader {
            return Ok(());
        }
        let Some(wanted) = self.keeper.database().cursor(collection) else { return Ok(()) };
        let space = collection.space();
        let mut progressed = self.progressed.subscribe();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (have, all) = self.copies(space, wanted);
            if 2 * have > all {
                return Ok(());
            }
            if timeout_at(deadline, progressed.changed()).await.is_err() {
                return Err(Error::unavailable(format!(
                    "the write is on {have} of {all} servers after {} s, which is no majority: it may be lost with this one",
                    PATIENCE.as_secs()
                )));
            }
        }
    }

    /// How many servers have a collection up to there, as far as is known here, and how many there are.
    pub(super) fn copies(&self, space: SpaceId, wanted: Cursor) -> (usize, usize) {
        let followers = self.followers();
        let has = |progress: &Progress| {
            progress.heads.get(&space).is_some_and(|head| head.epoch == wanted.epoch && head.seq >= wanted.seq)
        };
        (1 + followers.iter().filter(|(_, progress)| has(progress)).count(), 1 + followers.len())
    }

    /// How this server asks to follow. While anything here leads it asks as nobody: once it follows, it has another name, and
    /// whoever it had asked as would be waited for in vain.
    pub(super) fn request(&self) -> ReplicateRequest {
        let (database, own) = (self.keeper.database(), self.standing());
        let follower = if database.leads() { NOBODY } else { database.number() };
        ReplicateRequest { follower, group: own.group, term: own.term }
    }

    /// What a follower knows of the way to its leader.
    pub(super) fn link(&self) -> MutexGuard<'_, Link> {
        held(&self.link)
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) -> Result<()> {
        let mut standing = held(&self.standing);
        let mut next = standing.clone();
        change(&mut next);
        self.keeper.database().replace_aside(STANDING, &next.encode())?;
        *standing = next;
        Ok(())
    }

    /// Makes a change durable, unless leaving it in memory is the mistake to be made.
    fn change_unless(&self, mutation: Mutation, change: impl FnOnce(&mut Standing)) -> Result<()> {
        if mutation::is(mutation) {
            change(&mut held(&self.standing));
            return Ok(());
        }
        self.change(change)
    }
}

/// A follower that is connected.
pub(super) struct Guest {
    peers: Arc<Peers>,
    follower: u64,
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(progress) = held(&self.peers.progress).get_mut(&self.follower) {
            progress.streams = progress.streams.saturating_sub(1);
            progress.heard = Some(Instant::now());
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
