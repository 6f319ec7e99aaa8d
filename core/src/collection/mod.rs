//! The engine that people call: one writer, any number of readers.
//!
//! A write is *prepared* (checked, stamped, encoded as one log record), made durable by the host, then *published*:
//! from there every new snapshot shows it. Publishing and replaying a log are the same function over the same bytes.
//! Invariants: at most one live row per id over memtable and segments; the winner of two writes is the one with the
//! larger stamp, whatever their order; a prepared write is published in the order of its lsn or not at all.

mod config;
mod job;
mod search;
mod snapshot;
mod top_k;
mod write;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::segment::{LiveBitmap, Manifest, ManifestSegment, Memtable, Origin, Segment};
use crate::types::{Lsn, Offset, SegmentId};

pub use config::{CollectionConfig, MAX_BATCH, MAX_DIMENSION, MAX_EF, MAX_M, MAX_TOP_K};
pub use job::{Job, JobProgress, SealedJob};
pub use search::{Hit, Plan, Scratch, SearchOutcome, SearchRequest};
pub use snapshot::{LiveSegment, Point, Snapshot};
pub use write::{Applied, Prepared, UpsertBatch, Vectors};

use job::JobInput;

/// When the memtable is sealed and which segments are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// Rows in the memtable that start a seal.
    pub rows: usize,
    /// Bytes of vectors and metadata in the memtable that start a seal.
    pub bytes: usize,
    /// Segments of one size class that start a merge.
    pub fan_in: usize,
}

impl Default for SealPolicy {
    fn default() -> Self {
        Self { rows: 2_000, bytes: 4 << 20, fan_in: 4 }
    }
}

/// Whether a small memtable is sealed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// When the policy says so.
    WhenFull,
    /// Now, whatever it holds.
    Now,
}

/// What a host stores, in one step that happens or does not, before it installs a finished job.
#[derive(Clone, Debug)]
pub struct Flip {
    /// The new manifest.
    pub manifest: Vec<u8>,
    /// The segment that it names for the first time; its bytes are stored before.
    pub added: Option<Arc<Segment>>,
    /// Segments that it does not name any more.
    pub dropped: Vec<SegmentId>,
    /// Log records up to this one are no longer needed.
    pub sealed_through: Lsn,
}

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
    job_is_out: bool,
    graph_insertions: u64,
}

impl Collection {
    /// Makes an empty collection; the host stores [`Collection::manifest`] before it is used.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn create(config: CollectionConfig) -> Result<Self> {
        config.check()?;
        Ok(Self::assemble(config, Vec::new(), Lsn(0)))
    }

    /// Opens a stored collection: its manifest and the segments it names, in any order. The host then replays the log.
    ///
    /// # Errors
    /// `Corrupted` when the manifest is damaged or a segment is missing or of another shape.
    pub fn open(manifest: &Manifest, segments: &[Arc<Segment>]) -> Result<Self> {
        let config = CollectionConfig::from_manifest(manifest)?;
        let mut live_segments = Vec::with_capacity(manifest.segments.len());
        for named in &manifest.segments {
            let segment = segments
                .iter()
                .find(|s| s.id().0 == named.id)
                .ok_or_else(|| Error::corrupted(format!("segment {} is missing", SegmentId(named.id))))?;
            if segment.dimension() != config.dimension || segment.metric() != config.metric {
                return Err(Error::corrupted(format!(
                    "segment {} is {} of {} dimensions, collection `{}` is {} of {}",
                    segment.id(),
                    segment.metric().as_str(),
                    segment.dimension(),
                    config.name,
                    config.metric.as_str(),
                    config.dimension
                )));
            }
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
            live_segments.push(LiveSegment { segment: Arc::clone(segment), live });
        }
        Ok(Self::assemble(config, live_segments, Lsn(manifest.sealed_through)))
    }

    fn assemble(config: CollectionConfig, segments: Vec<LiveSegment>, sealed_through: Lsn) -> Self {
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
        Self {
            config,
            policy: SealPolicy::default(),
            segments,
            memtable,
            snapshot: Arc::new(snapshot),
            next_lsn: sealed_through.next(),
            newest_hlc,
            sealed_through,
            job_is_out: false,
            graph_insertions: 0,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &CollectionConfig {
        &self.config
    }

    /// Changes when the memtable is sealed and segments are merged.
    pub const fn set_policy(&mut self, policy: SealPolicy) {
        self.policy = policy;
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

    /// Bytes of vectors and metadata in the memtable.
    pub const fn memtable_bytes(&self) -> usize {
        self.memtable.bytes()
    }

    /// Changes how many candidates a search keeps; `None` adapts to dimension and size. Effective from the next
    /// snapshot on; the host stores [`Collection::manifest`].
    ///
    /// # Errors
    /// `InvalidArgument` when it is out of range.
    pub fn set_ef_search(&mut self, ef_search: Option<u32>) -> Result<()> {
        let config = CollectionConfig { ef_search, ..(*self.config).clone() };
        config.check()?;
        self.config = Arc::new(config);
        self.refresh();
        Ok(())
    }

    /// The manifest of the present state, apart from the log.
    pub fn manifest(&self) -> Manifest {
        self.manifest_of(&self.segments, self.sealed_through)
    }

    /// The next piece of background work, if there is any; one is out at a time.
    pub fn next_job(&mut self, urgency: Urgency) -> Option<Job> {
        if self.job_is_out {
            return None;
        }
        let input = if self.seals(urgency) { self.seal_input() } else { self.merge_input()? };
        self.job_is_out = true;
        Some(Job::new(&self.config, input))
    }

    /// Whether a job is being worked at: then [`Collection::next_job`] has none, whatever is left to do.
    pub const fn job_is_out(&self) -> bool {
        self.job_is_out
    }

    /// Gives a job back that will not be installed; its input stays where it is.
    pub const fn abandon_job(&mut self) {
        self.job_is_out = false;
    }

    /// What the host has to store before it installs a finished job.
    pub fn flip(&self, job: &SealedJob) -> Flip {
        // A merge can come out as one of its inputs, byte for byte: then that one stays.
        let stays = |id: SegmentId| job.segment.as_ref().is_some_and(|s| s.id() == id);
        let inputs = job.input.segments.iter().map(|s| s.segment.id());
        let dropped: Vec<SegmentId> = inputs.filter(|&id| !stays(id)).collect();
        let sealed_through = job.input.sealed_through.max(self.sealed_through);
        let manifest = self.manifest_of(&self.segments_after(job), sealed_through).encode();
        Flip { manifest, added: job.segment.clone(), dropped, sealed_through }
    }

    /// Puts the result of a job, now stored, into service.
    #[expect(clippy::needless_pass_by_value, reason = "an installed job is spent")]
    pub fn install(&mut self, job: SealedJob) {
        self.segments = self.segments_after(&job);
        self.sealed_through = job.input.sealed_through.max(self.sealed_through);
        self.graph_insertions += job.insertions();
        self.memtable.drop_sealed(job.input.frozen_row, &job.input.tombstones);
        self.job_is_out = false;
        self.refresh();
    }

    fn seals(&self, urgency: Urgency) -> bool {
        let full = self.memtable.rows() >= self.policy.rows || self.memtable.bytes() >= self.policy.bytes;
        let many_graves = self.memtable.tombstones().len() >= self.policy.rows;
        full || many_graves || urgency == Urgency::Now && !self.memtable.is_empty()
    }

    fn seal_input(&mut self) -> JobInput {
        let blocks = self.memtable.blocks();
        let blocks = blocks.iter().enumerate().map(|(i, block)| (self.memtable.number(i, 0), block.clone())).collect();
        let mut tombstones: Vec<_> = self.memtable.tombstones().cloned().collect();
        tombstones.sort_unstable_by_key(|t| t.key);
        let sealed_through = self.memtable.newest();
        JobInput { blocks, frozen_row: self.memtable.freeze(), sealed_through, tombstones, segments: Vec::new() }
    }

    /// Chooses segments to merge: a size class that is full, or one segment with many dead points.
    fn merge_input(&self) -> Option<JobInput> {
        let of = |chosen: Vec<LiveSegment>| JobInput {
            blocks: Vec::new(),
            frozen_row: 0,
            sealed_through: Lsn(0),
            tombstones: Vec::new(),
            segments: chosen,
        };
        if let Some(worn) = self.segments.iter().find(|s| s.live.dead() > 0 && s.live.dead() * 4 >= s.live.len()) {
            return Some(of(alloc::vec![worn.clone()]));
        }
        let class = |s: &LiveSegment| (s.live.live().max(1) / 512).max(1).ilog(4);
        let full_class =
            (0..16).find(|&c| self.segments.iter().filter(|s| class(s) == c).count() >= self.policy.fan_in.max(2))?;
        Some(of(self.segments.iter().filter(|s| class(s) == full_class).cloned().collect()))
    }

    /// The segments once a job is installed, with the deaths that happened since it began.
    fn segments_after(&self, job: &SealedJob) -> Vec<LiveSegment> {
        let merged = |s: &LiveSegment| job.input.segments.iter().any(|m| m.segment.id() == s.segment.id());
        let place = self.segments.iter().position(merged).unwrap_or(self.segments.len());
        let mut after: Vec<LiveSegment> = self.segments.iter().filter(|s| !merged(s)).cloned().collect();
        if let Some(segment) = &job.segment {
            let mut live = LiveBitmap::all_live(segment.len());
            for (offset, origin) in job.origins.iter().enumerate() {
                if !self.origin_is_live(job, origin) {
                    live.kill(Offset(offset as u32));
                }
            }
            after.insert(place, LiveSegment { segment: Arc::clone(segment), live });
        }
        after
    }

    fn origin_is_live(&self, job: &SealedJob, origin: &Origin) -> bool {
        match *origin {
            Origin::Memtable(row) => self.memtable.is_live(row),
            Origin::Segment { source, offset } => {
                let id = job.input.segments[source as usize].segment.id();
                let now = self.segments.iter().find(|s| s.segment.id() == id);
                now.is_some_and(|s| s.live.is_live(offset))
            }
        }
    }

    fn manifest_of(&self, segments: &[LiveSegment], sealed_through: Lsn) -> Manifest {
        let named = segments.iter().map(|s| {
            let mut live = Vec::new();
            s.live.encode(&mut live);
            ManifestSegment { id: s.segment.id().0, bytes: s.segment.byte_len() as u64, points: s.segment.len(), live }
        });
        Manifest { sealed_through: sealed_through.0, segments: named.collect(), ..self.config.to_manifest() }
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
