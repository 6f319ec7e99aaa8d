//! For simulations only (feature `mutations`): a server among others, by the code that decides for it, without its network.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyperspace_core::error::Result;
use hyperspace_core::sync::Cursor;
use hyperspace_core::types::SpaceId;

use super::peers::Peers;
use super::{follow, forget, lead};
use crate::database::{Keeper, OpenCollection};
use crate::proto::{AcknowledgeRequest, LeaderMessage, ReplicateRequest};
use crate::settings::Settings;

pub use super::peers::NOBODY;

pub use super::follow::{Conversation, Next, has_all};

/// A server among others.
pub struct Member {
    keeper: Arc<Keeper>,
    peers: Arc<Peers>,
}

impl Member {
    /// Takes up the standing that is stored, as a server does that starts with these settings.
    ///
    /// # Errors
    /// `Corrupted` when it is damaged; what the disk says.
    pub fn open(keeper: Arc<Keeper>, settings: &Settings) -> Result<Self> {
        let peers = Arc::new(Peers::open(Arc::clone(&keeper), settings)?);
        Ok(Self { keeper, peers })
    }

    /// # Errors
    /// `Unavailable` when it follows.
    pub fn check_leads(&self) -> Result<()> {
        self.peers.check_leads()
    }

    /// The term that it knows of.
    pub fn term(&self) -> u64 {
        self.peers.standing().term
    }

    /// Makes it the leader of what it has.
    ///
    /// # Errors
    /// What the disk says.
    pub fn promote(&self) -> Result<(u64, bool)> {
        self.peers.promote()
    }

    /// How it asks to follow.
    pub fn request(&self) -> ReplicateRequest {
        self.peers.request()
    }

    /// What a leader tells who asks to follow: everything.
    ///
    /// # Errors
    /// `Unavailable` when it leads nobody; `Conflict` when the two do not belong together.
    pub fn replicate(&self, request: ReplicateRequest) -> Result<LeaderMessage> {
        let ReplicateRequest { follower, group, term } = request;
        let _guest = self.peers.admit(follower, group, term)?;
        lead::message(&self.peers, &self.keeper.database(), &BTreeMap::new(), true).map(|(message, _)| message)
    }

    /// Begins to follow whoever tells this.
    ///
    /// # Errors
    /// `Conflict` when it is none that this server may follow; what the disk says.
    pub fn follow(&self, message: &LeaderMessage) -> Result<()> {
        self.peers.follow(message.group, message.term)
    }

    /// Heeds what the leader tells there is; answers which collections are to be followed.
    ///
    /// # Errors
    /// `Conflict` when this server does not follow it any more; what the disk says.
    pub fn heed(&self, message: LeaderMessage) -> Result<Vec<Arc<OpenCollection>>> {
        let LeaderMessage { term, catalog, .. } = message;
        let (peers, database) = (&self.peers, self.keeper.database());
        peers.while_following(term, || follow::apply(peers, &database, catalog.unwrap_or_default()))
    }

    /// Where a leader's collections stand, as it tells.
    pub fn heads(message: &LeaderMessage) -> BTreeMap<SpaceId, Cursor> {
        message.heads.iter().map(lead::cursor).collect()
    }

    /// How a follower says up to where it has a collection.
    pub fn progress(follower: u64, space: SpaceId, cursor: Cursor) -> AcknowledgeRequest {
        AcknowledgeRequest { follower, heads: vec![lead::head(space, cursor)] }
    }

    /// Takes note of it.
    ///
    /// # Errors
    /// `Unavailable` when this server follows; `NotFound` for somebody who does not.
    pub fn acknowledge(&self, request: &AcknowledgeRequest) -> Result<()> {
        lead::take_progress(&self.peers, request)
    }

    /// Whether a majority has a collection up to there.
    pub fn is_confirmed(&self, space: SpaceId, wanted: Cursor) -> bool {
        let (have, all) = self.peers.copies(space, wanted);
        2 * have > all
    }

    /// Counts a follower no more.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, follower: u64) -> Result<bool> {
        self.peers.remove(follower)
    }

    /// Who follows, by their numbers.
    pub fn followers(&self) -> Vec<u64> {
        self.peers.followers().into_iter().map(|(follower, _)| follower).collect()
    }

    /// Forgets old deletes that were there at the last look; answers where collections stand now.
    pub fn forget(&self, before: &BTreeMap<SpaceId, u64>) -> BTreeMap<SpaceId, u64> {
        forget::forget(&self.peers, &self.keeper.database(), before)
    }
}
