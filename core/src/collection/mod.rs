//! The engine that people call: one writer, any number of readers.
//!
//! A write is *prepared* (checked, stamped, encoded as one log record), made durable by the host, then *published*:
//! from there every new snapshot shows it. Publishing and replaying a log are the same function over the same bytes.
//! Invariants: at most one live row per id over memtable and segments; the winner of two writes is the one with the
//! larger stamp, whatever their order; a prepared write is published in the order of its lsn or not at all.

mod config;
mod job;
mod recall;
mod replicate;
mod schedule;
mod scroll;
mod search;
mod ship;
mod snapshot;
mod top_k;
mod write;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

use crate::bytes::checked_counter;
use crate::error::{Error, Result};
use crate::segment::{LiveBitmap, Manifest, ManifestSegment, Memtable, Segment};
use crate::sync::{Digest, Leader, Replica, SpaceKey, State};
use crate::types::{IdKey, Lsn, SegmentId};

pub use config::{CollectionConfig, MAX_BATCH, MAX_DIMENSION, MAX_EF, MAX_M, MAX_TOP_K, Tuning};
pub use job::{Job, JobId, JobProgress, SealedJob};
pub use recall::{MAX_RECALL_TOP_K, RECALL_QUERIES, Recall, RecallTest};
pub use schedule::{Flip, SealPolicy, Urgency};
pub use scroll::ScrollPage;
pub use search::{Hit, Plan, Scratch, SearchOutcome, SearchRequest};
pub use ship::Shipment;
pub(crate) use snapshot::Walk;
pub use snapshot::{LiveSegment, Point, Snapshot};
pub use write::{Applied, Prepared, UpsertBatch, Vectors};

use schedule::JobOut;

/// The writer of a collection.
#[derive(Debug)]
pub struct Collection {
    config: Arc<CollectionConfig>,
    policy: SealPolicy,
    segments: Vec<LiveSegment>,
    memtable: Memtable,
    snapshot: Arc<Snapshot>,
    next_lsn: Lsn,
    sealed_through: Lsn,
    newest_hlc: u64,
    sync: State,
    /// What `sync` was when `sealed_through` was the newest record, encoded.
    sealed_sync: Vec<u8>,
    /// Of all live points; nothing while there is no key for it.
    digest: Digest,
    /// The newest number of a leader's writes, prepared ones too.
    numbered_through: u64,
    /// The numbers of a replica's writes that are prepared and not published.
    prepared_numbers: HashMap<IdKey, u64>,
    jobs_out: Vec<JobOut>,
    last_job: JobId,
    graph_insertions: u64,
}

impl Collection {
    /// Makes an empty collection; the host stores [`Collection::manifest`] before it is used.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn create(config: CollectionConfig) -> Result<Self> {
        Self::create_with(config, State::Local)
    }

    /// Makes an empty collection that numbers its writes, for others to follow; `key` is drawn for it and known to nobody
    /// else.
    ///
    /// # Errors
    /// As [`Collection::create`].
    pub fn create_leading(config: CollectionConfig, key: SpaceKey, epoch: u32) -> Result<Self> {
        Self::create_with(config, State::Leader(Leader::new(key, epoch)))
    }

    /// Makes an empty collection that follows the one that a leader knows under a number; `writer` writes here.
    ///
    /// # Errors
    /// As [`Collection::create`].
    pub fn create_following(config: CollectionConfig, space: u64, key: SpaceKey, writer: u64) -> Result<Self> {
        Self::create_with(config, State::Replica(Replica::new(space, key, writer)))
    }

    fn create_with(config: CollectionConfig, sync: State) -> Result<Self> {
        config.check()?;
        let sealed_sync = sync.encode();
        Ok(Self::assemble(config, Vec::new(), Lsn(0), sync, sealed_sync))
    }

    /// Opens a stored collection: its manifest and the segments it names, in any order. The host then replays the log.
    ///
    /// # Errors
    /// `Corrupted` when the manifest is damaged or a segment is missing or of another shape.
    pub fn open(manifest: &Manifest, segments: &[Arc<Segment>]) -> Result<Self> {
        let config = CollectionConfig::from_manifest(manifest)?;
        let sealed_through = Lsn(checked_counter(manifest.sealed_through, "a manifest's newest sealed record")?);
        let sync = State::decode(&manifest.sync)?;
        let mut live_segments = Vec::with_capacity(manifest.segments.len());
        for named in &manifest.segments {
            let segment = segments
                .iter()
                .find(|s| s.id().0 == named.id)
                .ok_or_else(|| Error::corrupted(format!("segment {} is missing", SegmentId(named.id))))?;
            config.check_segment(segment)?;
            if (named.points, named.bytes) != (segment.len(), segment.byte_len() as u64) {
                return Err(Error::corrupted(format!(
                    "segment {} has {} points in {} bytes, the manifest says {} in {}",
                    segment.id(),
                    segment.len(),
                    segment.byte_len(),
                    named.points,
                    named.bytes
                )));
            }
            let live = LiveBitmap::decode(&named.live, segment.len())?;
            let digest = sync.key().map_or_else(Digest::default, |_| Digest {
                count: u64::from(live.live()),
                sum: u128::from_le_bytes(named.sum),
            });
            live_segments.push(LiveSegment { segment: Arc::clone(segment), live, digest });
        }
        Ok(Self::assemble(config, live_segments, sealed_through, sync, manifest.sync.clone()))
    }

    fn assemble(
        config: CollectionConfig,
        segments: Vec<LiveSegment>,
        sealed_through: Lsn,
        sync: State,
        sealed_sync: Vec<u8>,
    ) -> Self {
        let config = Arc::new(config);
        let newest_hlc = segments.iter().map(|s| s.segment.newest_hlc()).max().unwrap_or(0);
        let snapshot = Snapshot {
            config: Arc::clone(&config),
            segments: segments.clone(),
            blocks: Vec::new(),
            through: sealed_through,
        };
        let mut memtable = Memtable::default();
        memtable.advance(sealed_through);
        let digest = segments.iter().fold(Digest::default(), |sum, s| sum.with(&s.digest));
        let numbered_through = if let State::Leader(leader) = &sync { leader.head().seq } else { 0 };
        Self {
            sync,
            sealed_sync,
            digest,
            numbered_through,
            prepared_numbers: HashMap::new(),
            config,
            policy: SealPolicy::default(),
            segments,
            memtable,
            snapshot: Arc::new(snapshot),
            next_lsn: sealed_through.next(),
            newest_hlc,
            sealed_through,
            jobs_out: Vec::new(),
            last_job: JobId::default(),
            graph_insertions: 0,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &CollectionConfig {
        &self.config
    }

    /// The present read view.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// Records up to this one are in segments; replay starts behind it.
    pub const fn sealed_through(&self) -> Lsn {
        self.sealed_through
    }

    /// The newest published record.
    pub const fn newest_lsn(&self) -> Lsn {
        self.memtable.newest()
    }

    /// The newest hybrid logical time in segments and replayed log; a host that opens a database tells its stamper.
    pub const fn newest_hlc(&self) -> u64 {
        self.newest_hlc
    }

    /// How many tombstones the collection keeps.
    pub fn tombstone_count(&self) -> usize {
        let sealed: usize = self.segments.iter().map(|s| s.segment.tombstone_count() as usize).sum();
        sealed + self.memtable.tombstones().len()
    }

    /// How many points this writer has linked into graphs since it was made or opened.
    pub const fn graph_insertions(&self) -> u64 {
        self.graph_insertions
    }

    /// About how many bytes the memtable takes: rows with all that keeps and finds them, and tombstones.
    pub const fn memtable_bytes(&self) -> usize {
        self.memtable.bytes()
    }

    /// Rows in the memtable, dead ones included: what is not sealed yet.
    pub const fn unsealed_rows(&self) -> usize {
        self.memtable.rows()
    }

    /// Changes the numbers that may change, for the next snapshot and the next job on. The host has stored
    /// [`Collection::manifest_tuned`] before.
    ///
    /// # Errors
    /// `InvalidArgument` when one is out of range.
    pub fn tune(&mut self, tuning: Tuning) -> Result<()> {
        self.config = Arc::new(self.config.tuned(tuning)?);
        self.refresh();
        Ok(())
    }

    /// The manifest of the present state, apart from the log.
    pub fn manifest(&self) -> Manifest {
        self.manifest_of(&self.segments, self.sealed_through, self.sealed_sync.clone())
    }

    /// The manifest as it is once [`Collection::tune`] was called.
    ///
    /// # Errors
    /// As [`Collection::tune`].
    pub fn manifest_tuned(&self, tuning: Tuning) -> Result<Manifest> {
        let Manifest { sealed_through, sync, segments, .. } = self.manifest();
        Ok(Manifest { sealed_through, sync, segments, ..self.config.tuned(tuning)?.to_manifest() })
    }

    fn manifest_of(&self, segments: &[LiveSegment], sealed_through: Lsn, sync: Vec<u8>) -> Manifest {
        let named = segments.iter().map(|s| {
            let mut live = Vec::new();
            s.live.encode(&mut live);
            ManifestSegment {
                id: s.segment.id().0,
                bytes: s.segment.byte_len() as u64,
                points: s.segment.len(),
                live,
                sum: s.digest.sum.to_le_bytes(),
            }
        });
        Manifest { sealed_through: sealed_through.0, sync, segments: named.collect(), ..self.config.to_manifest() }
    }

    /// Publishes the present state to new readers.
    fn refresh(&mut self) {
        self.snapshot = Arc::new(Snapshot {
            config: Arc::clone(&self.config),
            segments: self.segments.clone(),
            blocks: self.memtable.blocks().to_vec(),
            through: self.memtable.newest(),
        });
    }
}
