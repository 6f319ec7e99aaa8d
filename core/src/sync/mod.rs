//! Replication, without I/O: messages come in as values, and messages and writes go out as values.
//!
//! A [`Leader`] numbers the writes of a space; a [`Replica`] writes on its own, offers the leader what it wrote, and takes
//! what it lacks. Both only decide: a change comes out as rows and a note, which the engine makes durable in one record of
//! its log and then applies, now or when the log is read again. So a cursor is never newer than its rows (R9).
//!
//! The rules R1 to R16 that comments name are the protocol's; each is needed, and the tests switch them off one by one.

use crate::error::Error;

mod codec;
mod digest;
mod leader;
mod message;
mod reconcile;
mod replica;
mod session;
mod state;

#[cfg(test)]
mod tests;

/// What a build without the feature `replica` says that is to follow a leader.
pub(crate) fn no_replica() -> Error {
    Error::unsupported("this build does not follow a leader")
}

pub use codec::{Code, decode_all, encode_all};
pub use digest::{Digest, Item, SpaceKey};
pub use leader::{Leader, LeaderNote, MAX_LEAD_MS};
pub use message::{Chain, Cursor, Floor, Hello, Known, Offer, Page, Pushed, RowChange, Rows, Verdict, Welcome};
pub use reconcile::{Difference, Initiator, ItemSet, respond};
pub use replica::{Renumbered, Replica, ReplicaNote};
pub use session::{Answer, Ask, Local, Session, Sizes, Step};
pub use state::{Change, Forgotten, Note, State};
