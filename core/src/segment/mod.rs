//! Where points live: the memtable for the newest, sealed segments for the rest, live bitmaps beside both, and the
//! manifest that names what is there.

mod draft;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod live;
mod manifest;
mod memtable;
mod order;
mod sealed;
mod table;
mod units;

pub use draft::{Draft, Origin};
pub use live::LiveBitmap;
pub use manifest::{Manifest, ManifestSegment};
pub use memtable::{BLOCK_ROWS, Block, Memtable, Row};
pub use sealed::{Checks, Documents, MAX_COLUMN_BYTES, Segment, SegmentBytes};
pub use units::{UNIT, UnitHash, are_units, unit_hash, unit_hashes};

use crate::types::{IdKey, PointId, Stamp};

/// The trace of a deleted point, kept until every replica has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The key of the id.
    pub key: IdKey,
    /// The id as it is sent to other replicas.
    pub id: PointId,
    /// When and by whom it was deleted.
    pub stamp: Stamp,
    /// The server's number for the delete; 0 before a server gave one.
    pub seq: u64,
}
