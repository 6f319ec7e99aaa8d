//! What a collection is in replication, what changes of that, and how the two are stored.

use alloc::vec::Vec;

use crate::bytes::Reader;
use crate::error::{Error, Result};
use crate::types::{IdKey, Stamp};

use super::codec::{Code, decode_all, encode_all};
use super::digest::SpaceKey;
use super::leader::{Leader, LeaderNote};
use super::message::{Cursor, RowChange};
use super::replica::{Replica, ReplicaNote};

/// What a collection is in replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It has never met another one.
    #[default]
    Local,
    /// It numbers all writes.
    Leader(Leader),
    /// It follows a leader.
    Replica(Replica),
}

/// Which tombstones need not be kept: those with a number that the leader has forgotten, and those that do not count any
/// more. A replica's own deletes carry none of the leader's and are kept.
#[derive(Clone, Debug, Default)]
pub struct Forgotten {
    through: u64,
    but_of: Option<u64>,
    exhumed: Vec<Stamp>,
}

impl Forgotten {
    /// Whether it is one of them.
    pub fn has(&self, stamp: Stamp, seq: u64) -> bool {
        (1..=self.through).contains(&seq) && self.but_of != Some(stamp.writer)
            || self.exhumed.binary_search(&stamp).is_ok()
    }
}

/// What changes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// At a leader.
    Leader(LeaderNote),
    /// At a replica.
    Replica(ReplicaNote),
    /// It becomes a replica.
    Follow(Replica),
    /// It becomes the leader of its own copy; these terms of others it has heard of (R12).
    Lead(Vec<Cursor>),
}

/// What changes in one step that happens or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Rows, in this order.
    pub rows: Vec<RowChange>,
    /// What stands beside them.
    pub note: Note,
}

impl State {
    /// The key of the space's digests, where there are any.
    pub const fn key(&self) -> Option<&SpaceKey> {
        match self {
            Self::Local => None,
            Self::Leader(leader) => Some(leader.key()),
            Self::Replica(replica) => Some(replica.key()),
        }
    }

    /// Which tombstones need not be kept.
    pub fn forgotten(&self) -> Forgotten {
        match self {
            Self::Local => Forgotten::default(),
            Self::Leader(leader) => Forgotten { through: leader.floor().seq, ..Forgotten::default() },
            Self::Replica(replica) => Forgotten {
                through: replica.floor().seq,
                but_of: Some(replica.writer()),
                exhumed: replica.exhumed.clone(),
            },
        }
    }

    /// Takes note that a tombstone does not count any more: a segment that has it cannot be changed.
    pub fn exhume(&mut self, stamp: Stamp) {
        if let Self::Replica(replica) = self {
            replica.exhume(stamp);
        }
    }

    /// Whether a tombstone of a segment counts.
    pub fn counts(&self, stamp: Stamp) -> bool {
        !matches!(self, Self::Replica(replica) if replica.exhumed.binary_search(&stamp).is_ok())
    }

    /// Takes note of a write that is stored under this stamp and number.
    pub fn note_write(&mut self, key: IdKey, stamp: Stamp, seq: u64) {
        match self {
            Self::Local => {}
            Self::Leader(leader) => leader.note_number(seq),
            Self::Replica(replica) => replica.note_write(key, stamp),
        }
    }

    /// Checks that a note is for this role.
    ///
    /// # Errors
    /// `Corrupted` when it is not.
    pub fn check(&self, note: &Note) -> Result<()> {
        match (self, note) {
            (Self::Leader(_), Note::Leader(_))
            | (Self::Replica(_), Note::Replica(_) | Note::Lead(_))
            | (Self::Local | Self::Leader(_), Note::Follow(_)) => Ok(()),
            _ => Err(Error::corrupted("a change of replication is for another role than the collection has")),
        }
    }

    /// Takes note of a change whose rows are stored and applied.
    ///
    /// # Panics
    /// When it is for another role: see [`State::check`].
    pub fn apply(&mut self, note: &Note) {
        match (&mut *self, note) {
            (Self::Leader(leader), Note::Leader(note)) => leader.apply(note),
            (Self::Replica(replica), Note::Replica(note)) => replica.apply(note),
            (Self::Local | Self::Leader(_), Note::Follow(replica)) => *self = Self::Replica(replica.clone()),
            (Self::Replica(replica), Note::Lead(heard)) => *self = Self::Leader(replica.to_leader(heard)),
            _ => unreachable!("a note is checked before it is applied"),
        }
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        encode_all(self)
    }

    /// Reads stored bytes; none are of a collection that has never met another one.
    ///
    /// # Errors
    /// `Corrupted` when they are not those of a state.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() { Ok(Self::Local) } else { decode_all(bytes, "the state of replication") }
    }
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
            && match &self.note {
                Note::Leader(note) => *note == LeaderNote::default(),
                Note::Replica(note) => *note == ReplicaNote::default(),
                Note::Follow(_) | Note::Lead(_) => false,
            }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.note.encode(out);
        self.rows.encode(out);
    }

    /// Reads what [`Change::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are not those of a change.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let note = Note::decode(&mut reader)?;
        let change = Self { rows: Code::decode(&mut reader)?, note };
        reader.finish("a change")?;
        Ok(change)
    }
}
