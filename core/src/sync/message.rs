//! What replicas say to each other about one space, as values. How they travel is the hosts' business.

use alloc::vec::Vec;

use crate::log::{Body, Rec};
use crate::types::{IdKey, PointId, Stamp};

use super::digest::{Digest, Item, SpaceKey};

impl Rec {
    /// What it counts as in a digest, if the point is live.
    pub fn item(&self, space: &SpaceKey) -> Option<Item> {
        let body = self.body.as_ref()?;
        Some(Item::of_body(space, self.id.key(), self.stamp, body))
    }
}

/// Where a replica stands in a leader's numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The leader's term.
    pub epoch: u32,
    /// Everything up to here is known.
    pub seq: u64,
}

/// Below it a leader may have forgotten which points were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The highest number of a forgotten tombstone.
    pub seq: u64,
    /// The newest time of one.
    pub hlc: u64,
}

impl Floor {
    /// What is below either of the two.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { seq: self.seq.max(other.seq), hlc: self.hlc.max(other.hlc) }
    }
}

/// The writes of a writer up to one of them, as one hash: two histories of one writer are told apart by it (R13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The last write's counter; 0 before the first.
    pub cseq: u64,
    /// The hash of all of them.
    pub hash: [u8; 16],
}

impl Chain {
    /// Takes the next write in.
    #[must_use]
    pub fn with_offer(&self, offer: &Offer) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.hash).update(&offer.cseq.to_le_bytes()).update(&offer.id.key().0);
        hasher.update(bytemuck::bytes_of(&offer.stamp)).update(&[u8::from(offer.body.is_some())]);
        hasher.update(offer.body.as_deref().unwrap_or_default());
        let mut hash = [0; 16];
        hash.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self { cseq: offer.cseq, hash }
    }
}

/// How a replica introduces itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Under which name it writes.
    pub writer: u64,
    /// No counter of this writer at or above it was ever used.
    pub next_cseq: u64,
    /// The last of its writes that it knows to be answered.
    pub acked: Chain,
    /// Where it stands.
    pub cursor: Cursor,
    /// It takes the whole state anew, and will find out by reconciliation what it has too much.
    pub is_resyncing: bool,
}

/// How a leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The present term, and the newest number.
    pub head: Cursor,
    /// Tombstones up to this number may be gone.
    pub floor: Floor,
    /// Where each term after the first began.
    pub terms: Vec<Cursor>,
    /// The last write of this writer that was answered.
    pub acked: Chain,
    /// Somebody else has written under the replica's name: it has to take another one (R13).
    pub is_forked: bool,
    /// The history that the replica knows ends here: what it knows behind it, it has to offer again (R12).
    pub rewind: Option<u64>,
    /// What was deleted since the replica was here may be forgotten: it has to take the whole state anew (R1).
    pub must_resync: bool,
}

impl Welcome {
    /// Up to which number a replica that stands at this cursor has everything.
    pub fn known_up_to(&self, at: Cursor) -> u64 {
        if self.must_resync { 0 } else { self.rewind.map_or(at.seq, |start| start.min(at.seq)) }
    }
}

/// A write on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The writer's counter; rising in the order of offers.
    pub cseq: u64,
    /// Which point.
    pub id: PointId,
    /// When, by whom.
    pub stamp: Stamp,
    /// It changes a point that the leader knew once (R5).
    pub is_change: bool,
    /// Known once under a number above this one, to a leader that is gone (R12).
    pub reoffered_above: Option<u64>,
    /// What was written; nothing when the point was deleted.
    pub body: Option<Body>,
}

/// What became of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the newest write of its id now, under this number.
    Accepted(u64),
    /// The leader knows a newer one (R14).
    Lost(Rec),
    /// What it changes was deleted, so long ago that nobody knows when (R4).
    StaleDeleted,
    /// It needs a newer stamp to be told apart from what was deleted long ago (R4), or its clock is far ahead (R10).
    Restamp,
}

/// The answer to some offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The last offer of this writer that is answered for good.
    pub acked: Chain,
    /// The leader's newest number: what was accepted has none above it.
    pub seq: u64,
    /// New stamps are above it.
    pub hlc: u64,
    /// The leader's clock: what stands far ahead of it needs new stamps (R10).
    pub now_ms: u64,
    /// One for each offer that was not answered before; none for those that have to be sent again.
    pub verdicts: Vec<(u64, Verdict)>,
}

/// Some of what changed, in the order of the leader's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The term, and up to where everything is in this page or before it.
    pub cursor: Cursor,
    /// Tombstones up to this number may be gone.
    pub floor: Floor,
    /// The newest write of each id that changed.
    pub recs: Vec<Rec>,
    /// For a follower: which writers were answered meanwhile, and up to where (R3).
    pub answered: Vec<(u64, Chain)>,
    /// When nothing is behind it: what the live points amount to.
    pub up_to_date: Option<Digest>,
}

/// What becomes of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// It is this from now on, unless a newer one is there.
    Put(Rec),
    /// Nothing is known of the id from now on, unless a newer write of it is there.
    Forget(PointId, Stamp),
}

/// What stands beside a row: everything but its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Which point.
    pub id: PointId,
    /// When, by whom.
    pub stamp: Stamp,
    /// See [`Rec::seq`].
    pub seq: u64,
}

/// What a replica stores; read by the state machines.
pub trait Rows {
    /// The newest write of an id.
    fn newest(&self, key: &IdKey) -> Option<Rec>;

    /// The same without its body.
    fn known(&self, key: &IdKey) -> Option<Known>;

    /// The newest writes of all ids whose stamps fit, in any order.
    fn all(&self, fits: impl Fn(Stamp) -> bool) -> Vec<Known>;
}
