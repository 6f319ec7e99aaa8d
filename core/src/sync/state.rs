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

    /// Takes note of a write that is stored under this stamp and number.
    pub fn note_write(&mut self, key: IdKey, stamp: Stamp, seq: u64) {
        match self {
            Self::Local => {}
            Self::Leader(leader) => leader.note_number(seq),
            Self::Replica(replica) => replica.note_write(key, stamp),
        }
    }

    /// Takes note of a change whose rows are stored and applied.
    ///
    /// # Errors
    /// `Corrupted` when the note is for another role.
    pub fn apply(&mut self, note: &Note) -> Result<()> {
        match (&mut *self, note) {
            (Self::Leader(leader), Note::Leader(note)) => leader.apply(note),
            (Self::Replica(replica), Note::Replica(note)) => replica.apply(note),
            (Self::Local, Note::Follow(replica)) => *self = Self::Replica(replica.clone()),
            (Self::Replica(replica), Note::Lead(heard)) => *self = Self::Leader(replica.to_leader(heard)),
            _ => return Err(Error::corrupted("a record of replication is for another role than the collection has")),
        }
        Ok(())
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
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.note.encode(out);
        self.rows.encode(out);
    }

    /// Reads what [`Change::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are not those of a change.
    pub fn decode(mut reader: Reader<'_>) -> Result<Self> {
        let note = Note::decode(&mut reader)?;
        let change = Self { rows: Code::decode(&mut reader)?, note };
        reader.finish("a change")?;
        Ok(change)
    }
}
