//! Numbers that an administrator may set, and what a caller may ask for or is told.

use std::path::PathBuf;
use std::time::Duration;

use hyperspace_core::collection::{Applied, SealPolicy};
use hyperspace_core::filter::Filter;
use hyperspace_core::port::Durability;
use hyperspace_core::sync::Digest;
use hyperspace_core::types::{PointId, SegmentId};

/// How a database behaves.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// For writes that do not say.
    pub durability: Durability,
    /// When memtables are sealed and segments merged.
    pub policy: SealPolicy,
    /// Threads that build graphs, and jobs at a time; 0 leaves everything in memtables.
    pub indexers: usize,
    /// A writer waits while its collection holds more bytes than this in its memtable.
    pub memtable_limit: usize,
    /// How long it waits before it is told `Unavailable`.
    pub patience: Duration,
    /// Bytes of log after which small memtables are sealed, so that it can be cut.
    pub log_limit: u64,
    /// Bytes after which a new log file is begun.
    pub log_file_bytes: u64,
}

/// Files of log that are always fine.
const FEW_LOG_FILES: usize = 8;

impl DatabaseOptions {
    /// Bytes after which a new log file is begun indeed: a log of one file could never be cut.
    pub(super) fn bytes_of_log_file(&self) -> u64 {
        self.log_file_bytes.min(self.log_limit / 4).max(1)
    }

    /// Files of log above which small memtables are sealed: every start and every snapshot begins one.
    pub(super) fn most_log_files(&self) -> usize {
        (self.log_limit / self.bytes_of_log_file()).saturating_add(FEW_LOG_FILES as u64) as usize
    }
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Strict,
            // A memtable is scanned by every search, which these bytes keep below about a millisecond; larger ones than the
            // tab's save whole rounds of merging.
            policy: SealPolicy { rows: 16_384, bytes: 8 << 20, fan_in: 4 },
            // One core is left to those who search and write; but a merge must not keep memtables from being sealed.
            indexers: std::thread::available_parallelism().map_or(2, |cores| cores.get().saturating_sub(1).max(2)),
            memtable_limit: 128 << 20,
            patience: Duration::from_secs(20),
            log_limit: 512 << 20,
            log_file_bytes: 64 << 20,
        }
    }
}

/// Whether writes are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// They are.
    Ready,
    /// They are not, for this reason; searches go on.
    ReadOnly(String),
    /// Nothing is.
    Closed,
}

/// What a write did, once it is durable as asked and visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The newest number in the collection's log.
    pub sequence: u64,
    /// What it changed.
    pub applied: Applied,
}

impl Written {
    /// Adds what a later record of the same write did.
    pub(super) fn add(&mut self, later: &Self) {
        self.sequence = self.sequence.max(later.sequence);
        self.applied.upserted += later.applied.upserted;
        self.applied.deleted += later.applied.deleted;
        self.applied.superseded += later.applied.superseded;
    }
}

/// What to delete.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// Points by id; ids that do not exist are passed over.
    Ids(&'a [PointId]),
    /// Points that match.
    Matching(&'a Filter),
}

/// A snapshot that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its name.
    pub name: String,
    /// Where it is: a data directory of its own.
    pub path: PathBuf,
    /// Bytes of its files, of which it may share the space with the database.
    pub bytes: u64,
    /// Files in it.
    pub files: u64,
}

/// What became of a collection's segments during a vacuum, whoever did it: background merges count too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VacuumReport {
    /// Segments that are gone.
    pub segments_rewritten: u64,
    /// Points that were dead in them.
    pub points_dropped: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of the segments that came.
    pub bytes_after: u64,
}

/// Counters of the whole database since it was opened; a watcher takes differences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseStats {
    /// Points written.
    pub points_written: u64,
    /// Points deleted.
    pub points_deleted: u64,
    /// Bytes of everything in the data directory, snapshots aside.
    pub disk_bytes: u64,
    /// Of these, the log's.
    pub log_bytes: u64,
    /// What is free beside them; 0 where it cannot be told.
    pub disk_free_bytes: u64,
    /// How often the log was made durable.
    pub log_syncs: u64,
    /// Records that it took.
    pub log_records: u64,
}

impl DatabaseStats {
    /// Adds what was counted before; sizes are those of the present.
    pub(super) const fn count_also(&mut self, earlier: &Self) {
        self.points_written += earlier.points_written;
        self.points_deleted += earlier.points_deleted;
        self.log_syncs += earlier.log_syncs;
        self.log_records += earlier.log_records;
    }
}

/// Figures of one collection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CollectionStats {
    /// Live points.
    pub points: u64,
    /// Of these, points that wait for a graph.
    pub pending: u64,
    /// Sealed segments.
    pub segments: u64,
    /// Dead points that still take space in segments.
    pub dead: u64,
    /// Deletes that are remembered.
    pub tombstones: u64,
    /// Bytes of its segments.
    pub segment_bytes: u64,
    /// About how many bytes the memtable takes.
    pub memtable_bytes: u64,
    /// Whether a seal or a merge is under way or due.
    pub indexing: bool,
    /// Points linked into graphs since it was opened.
    pub graph_insertions: u64,
    /// Searches answered since it was opened.
    pub searches: u64,
    /// Distances that they evaluated.
    pub distances: u64,
    /// The newest number in its log.
    pub sequence: u64,
    /// What its live points amount to.
    pub digest: Digest,
    /// Live points whose graph is over codes.
    pub coded: u64,
    /// Bytes of a vector, or of codes in its place, that walks over graphs read from.
    pub bytes_per_vector: f64,
}

/// Figures of one sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStats {
    /// Its name.
    pub id: SegmentId,
    /// Live points.
    pub points: u64,
    /// Dead points that still take space.
    pub dead: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Whether its graph is over codes.
    pub coded: bool,
    /// Whether a merge that is being worked at reads it.
    pub merging: bool,
}
