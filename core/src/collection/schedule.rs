//! Which background work is due, who is at it, and how its results come into service.
//!
//! At most one seal is out at a time, and beside it any number of merges, no two of which share a segment. They may be
//! finished in any order. This rests on:
//! - A segment stays in service, and a row of the memtable in its place, until the one job that took it is installed or
//!   given up. What died meanwhile is therefore found by looking the job's inputs up again.
//! - A row, named by its id and stamp, is stored in one segment at most. What a job makes equals no segment in service,
//!   then, but one of its own inputs.
//! - Rows written while a seal is out start a new block, so what it takes is a prefix of the memtable. A second seal
//!   would take the same prefix again: that is why there is only one.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::segment::{LiveBitmap, MAX_COLUMN_BYTES, Origin, Segment};
use crate::sort::sort_by_key;
use crate::types::{Lsn, Offset, SegmentId};

use super::Collection;
use super::job::{Job, JobId, JobInput, SealedJob};
use super::snapshot::LiveSegment;

/// When the memtable is sealed and which segments are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// Rows in the memtable that start a seal.
    pub rows: usize,
    /// Bytes of the memtable that start a seal, by [`Collection::memtable_bytes`].
    pub bytes: usize,
    /// Segments of one size class that start a merge.
    pub fan_in: usize,
}

impl Default for SealPolicy {
    fn default() -> Self {
        Self { rows: 2_000, bytes: 4 << 20, fan_in: 4 }
    }
}

/// How eager background work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// As the policy says.
    WhenFull,
    /// A memtable is sealed whatever it holds.
    Now,
    /// As `Now`, and every segment that has a dead point is written anew.
    Reclaim,
}

/// What a host stores, in one step that happens or does not, before it installs a finished job.
///
/// It describes the collection as it is: between [`Collection::flip`] and [`Collection::install`] points may be written
/// and deleted, and jobs taken, but no other flip and no tuning may come.
#[derive(Clone, Debug)]
pub struct Flip {
    /// The new manifest.
    pub manifest: Vec<u8>,
    /// The segment that the job made; its bytes are stored before. A merge may make one of its inputs again: that one is
    /// stored already.
    pub added: Option<Arc<Segment>>,
    /// Segments that the manifest does not name any more.
    pub dropped: Vec<SegmentId>,
    /// Log records up to this one are no longer needed.
    pub sealed_through: Lsn,
}

/// A job that is being worked at.
#[derive(Debug)]
pub(super) struct JobOut {
    pub(super) id: JobId,
    /// The segments that it merges and no other job may take, or the one that arrives; a seal takes none.
    pub(super) segments: Vec<SegmentId>,
}

impl Collection {
    /// Changes when the memtable is sealed and segments are merged.
    pub const fn set_policy(&mut self, policy: SealPolicy) {
        self.policy = policy;
    }

    /// The next piece of background work, if there is any that can be done beside the jobs that are out: a seal if one
    /// is due, else a merge.
    pub fn next_job(&mut self, urgency: Urgency) -> Option<Job> {
        self.next_seal(urgency).or_else(|| self.next_merge(urgency))
    }

    /// A seal, if one is due.
    pub fn next_seal(&mut self, urgency: Urgency) -> Option<Job> {
        self.seal_is_due(urgency).then(|| {
            let input = self.seal_input();
            self.hand_out(input)
        })
    }

    /// A merge, if one is due.
    pub fn next_merge(&mut self, urgency: Urgency) -> Option<Job> {
        let segments = self.to_merge(urgency, MAX_COLUMN_BYTES)?;
        Some(self.hand_out(JobInput { segments, ..JobInput::default() }))
    }

    /// Whether [`Collection::next_seal`] would have one.
    pub fn seal_is_due(&self, urgency: Urgency) -> bool {
        let full = self.memtable.rows() >= self.policy.rows || self.memtable.bytes() >= self.policy.bytes;
        let many_graves = self.memtable.tombstones().len() >= self.policy.rows;
        let wanted = full || many_graves || urgency != Urgency::WhenFull && !self.memtable.is_empty();
        wanted && !self.seal_is_out()
    }

    /// Whether [`Collection::next_merge`] would have one.
    pub fn merge_is_due(&self, urgency: Urgency) -> bool {
        self.to_merge(urgency, MAX_COLUMN_BYTES).is_some()
    }

    /// Whether a seal is being worked at.
    pub fn seal_is_out(&self) -> bool {
        self.jobs_out.iter().any(|out| out.segments.is_empty())
    }

    /// Whether any job is being worked at.
    pub const fn job_is_out(&self) -> bool {
        !self.jobs_out.is_empty()
    }

    /// Whether a merge that is being worked at reads this segment.
    pub fn is_merging(&self, segment: SegmentId) -> bool {
        self.jobs_out.iter().any(|out| out.segments.contains(&segment))
    }

    /// Gives a job back that will not be installed; its input stays where it is.
    pub fn abandon_job(&mut self, id: JobId) {
        self.jobs_out.retain(|out| out.id != id);
    }

    /// What the host has to store before it installs a finished job.
    pub fn flip(&self, job: &SealedJob) -> Flip {
        // A merge can come out as one of its inputs, byte for byte: then that one stays.
        let stays = |id: SegmentId| job.segment.as_ref().is_some_and(|s| s.id() == id);
        let inputs = job.input.segments.iter().map(|s| s.segment.id());
        let dropped: Vec<SegmentId> = inputs.filter(|&id| !stays(id)).collect();
        let sealed_through = job.input.sealed_through.max(self.sealed_through);
        let manifest = self.manifest_of(&self.segments_after(job), sealed_through, self.sync_after(job)).encode();
        Flip { manifest, added: job.segment.clone(), dropped, sealed_through }
    }

    /// Puts the result of a job, now stored, into service.
    ///
    /// # Panics
    /// When the job is not out: it was installed or given up before.
    #[expect(clippy::needless_pass_by_value, reason = "an installed job is spent")]
    pub fn install(&mut self, job: SealedJob) {
        let out = self.jobs_out.iter().position(|out| out.id == job.id());
        self.jobs_out.swap_remove(out.expect("a job is installed once, and not when it was given up"));
        let before = self.sealed_digest();
        self.segments = self.segments_after(&job);
        self.sealed_sync = self.sync_after(&job);
        self.sealed_through = job.input.sealed_through.max(self.sealed_through);
        self.graph_insertions += job.insertions();
        if job.arrived.is_some() {
            self.note_arrival(before);
        } else if job.input.segments.is_empty() {
            self.memtable.drop_sealed(job.input.frozen_row, &job.input.tombstones);
            for tombstone in &job.input.tombstones {
                // It was forgotten meanwhile, with what had taken its place.
                if self.memtable.stamp_of(&tombstone.key).is_some_and(|newest| newest < tombstone.stamp) {
                    self.sync.exhume(tombstone.stamp);
                }
            }
        }
        self.refresh();
    }

    fn hand_out(&mut self, input: JobInput) -> Job {
        self.last_job = self.last_job.next();
        let segments = input.segments.iter().map(|s| s.segment.id()).collect();
        self.jobs_out.push(JobOut { id: self.last_job, segments });
        Job::new(self.last_job, &self.config, input, &self.sync)
    }

    /// What the collection was in replication at the newest record that segments cover once a job is installed.
    fn sync_after(&self, job: &SealedJob) -> Vec<u8> {
        job.input.sync.as_ref().unwrap_or(&self.sealed_sync).clone()
    }

    fn seal_input(&mut self) -> JobInput {
        let blocks = self.memtable.blocks();
        let blocks = blocks.iter().enumerate().map(|(i, block)| (self.memtable.number(i, 0), block.clone())).collect();
        let mut tombstones: Vec<_> = self.memtable.tombstones().cloned().collect();
        sort_by_key(&mut tombstones, |t| t.key);
        let sealed_through = self.memtable.newest();
        let sync = Some(self.sync.encode());
        JobInput { blocks, frozen_row: self.memtable.freeze(), sealed_through, sync, tombstones, segments: Vec::new() }
    }

    /// Chooses segments to merge: one with many dead points, or, when space is wanted back, with tombstones that need not be
    /// kept; or of a size class that is full as many as make one segment
    /// with columns of at most so many bytes.
    fn to_merge(&self, urgency: Urgency, most: u64) -> Option<Vec<LiveSegment>> {
        let taken = |s: &LiveSegment| self.jobs_out.iter().any(|out| out.segments.contains(&s.segment.id()));
        let free: Vec<&LiveSegment> = self.segments.iter().filter(|s| !taken(s)).collect();
        let many = |s: &LiveSegment| urgency == Urgency::Reclaim || s.live.dead() * 4 >= s.live.len();
        let forgotten = self.sync.forgotten();
        let is_owed = |s: &LiveSegment| {
            urgency == Urgency::Reclaim && s.segment.tombstones().any(|t| forgotten.has(t.stamp, t.seq))
        };
        if let Some(worn) = free.iter().find(|s| s.live.dead() > 0 && many(s) || is_owed(s)) {
            return Some(alloc::vec![(*worn).clone()]);
        }
        let class = |s: &LiveSegment| (s.live.live().max(1) / 512).max(1).ilog(4);
        let of_class = |c: u32| free.iter().filter(move |s| class(s) == c);
        let full_classes = (0..16).filter(|&c| of_class(c).count() >= self.policy.fan_in.max(2));
        full_classes.map(|c| fit_together(of_class(c).copied(), most)).find(|chosen| chosen.len() > 1)
    }

    /// The segments once a job is installed, with the deaths that happened since it began.
    fn segments_after(&self, job: &SealedJob) -> Vec<LiveSegment> {
        if let (Some(segment), Some(live), Some(digest)) = (&job.segment, &job.arrived, job.digest) {
            return self.with_arrival(LiveSegment { segment: Arc::clone(segment), live: live.clone(), digest });
        }
        let merged = |s: &LiveSegment| job.input.segments.iter().any(|m| m.segment.id() == s.segment.id());
        let place = self.segments.iter().position(merged).unwrap_or(self.segments.len());
        let mut after: Vec<LiveSegment> = self.segments.iter().filter(|s| !merged(s)).cloned().collect();
        if let Some(segment) = &job.segment {
            let now = |taken: &LiveSegment| self.segments.iter().find(|s| s.segment.id() == taken.segment.id());
            let sources: Vec<Option<&LiveSegment>> = job.input.segments.iter().map(now).collect();
            let is_live = |origin: &Origin| match *origin {
                Origin::Memtable(row) => self.memtable.is_live(row),
                Origin::Segment { source, offset } => sources[source as usize].is_some_and(|s| s.live.is_live(offset)),
            };
            let mut live = LiveBitmap::all_live(segment.len());
            let key = self.sync.key();
            let mut digest = job.digest.unwrap_or_else(|| key.map(|key| segment.digest(key)).unwrap_or_default());
            for (offset, _) in job.origins.iter().enumerate().filter(|(_, origin)| !is_live(origin)) {
                let offset = Offset(offset as u32);
                live.kill(offset);
                if let Some(key) = key {
                    digest.subtract(&segment.digest_item(key, segment.point_id(offset).key(), offset));
                }
            }
            after.insert(place, LiveSegment { segment: Arc::clone(segment), live, digest });
        }
        after
    }
}

/// Of some segments as many as make one with columns of at most so many bytes: the smallest. Dead points are counted too,
/// and every segment by its longest column, so there may be room left, but never too little.
fn fit_together<'a>(segments: impl Iterator<Item = &'a LiveSegment>, most: u64) -> Vec<LiveSegment> {
    let mut smallest_first: Vec<LiveSegment> = segments.cloned().collect();
    sort_by_key(&mut smallest_first, |s| (s.segment.longest_column(), s.segment.id()));
    let mut bytes = 0;
    let fits = |s: &LiveSegment| {
        bytes += s.segment.longest_column();
        bytes <= most
    };
    smallest_first.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::{CollectionConfig, UpsertBatch, Vectors};
    use crate::log::Stamper;
    use crate::metadata::{Metadata, Value};
    use crate::metric::Metric;
    use crate::types::PointId;

    /// A collection of segments without dead points: of each, how many points and how long a text each of them carries.
    fn sealed(segments: &[(usize, usize)]) -> Collection {
        let config = CollectionConfig::new("sizes", 1, Metric::L2).unwrap();
        let mut collection = Collection::create(CollectionConfig { ef_construction: Some(4), ..config }).unwrap();
        collection.set_policy(SealPolicy { fan_in: 2, ..SealPolicy::default() });
        let mut stamper = Stamper::new(1, 0, 0);
        stamper.reserve(1_000_000);
        let mut next = 0;
        for &(points, text) in segments {
            let ids: Vec<PointId> = (next..next + points as u64).map(PointId::Int).collect();
            next += points as u64;
            let vectors: Vec<f32> = (0..points).map(|i| i as f32).collect();
            let fields = Value::Map([("text".into(), Value::Str("x".repeat(text)))].into());
            let metadata = alloc::vec![Metadata::from_value(&fields).unwrap(); points];
            let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &metadata };
            let prepared = collection.prepare_upsert(&batch, &mut stamper, 1, None).unwrap();
            collection.publish(&prepared).unwrap();
            let job = collection.next_seal(Urgency::Now).unwrap();
            collection.install(job.finish().unwrap());
        }
        collection
    }

    #[test]
    fn a_merge_takes_no_more_than_one_segment_holds_and_is_due_whenever_two_fit() {
        // Some with much metadata, some with many ids.
        let collection = sealed(&[(5, 900), (200, 0), (7, 700), (1, 60), (30, 90), (150, 1)]);
        let lengths = |segments: &[LiveSegment]| -> Vec<u64> {
            let mut lengths: Vec<u64> = segments.iter().map(|s| s.segment.longest_column()).collect();
            lengths.sort_unstable();
            lengths
        };
        let all = lengths(&collection.segments);
        for most in (0..=all.iter().sum()).step_by(40).chain([all[0] + all[1], all.iter().sum(), MAX_COLUMN_BYTES]) {
            let fitting = (2..=all.len()).rev().find(|&count| all[..count].iter().sum::<u64>() <= most);
            let chosen = collection.to_merge(Urgency::WhenFull, most);
            assert_eq!(chosen.map(|c| lengths(&c)), fitting.map(|count| all[..count].to_vec()), "{most} bytes");
        }
    }

    #[test]
    fn what_a_merge_makes_has_no_longer_columns_than_its_choice_foresaw() {
        let mut collection = sealed(&[(5, 900), (200, 0), (7, 700), (1, 60), (30, 90), (150, 1)]);
        let most = 12_000;
        let segments = collection.to_merge(Urgency::WhenFull, most).unwrap();
        assert!(segments.len() > 2 && segments.len() < 6);
        let merged = collection.hand_out(JobInput { segments, ..JobInput::default() }).finish().unwrap();
        let longest = merged.segment().unwrap().longest_column();
        assert!(longest > most / 2 && longest <= most, "{longest} bytes");
    }

    #[test]
    fn a_class_of_which_no_two_fit_keeps_no_other_from_being_merged() {
        let collection = sealed(&[(1, 60_000), (1, 60_000), (3_000, 0), (3_000, 0)]);
        let chosen = collection.to_merge(Urgency::WhenFull, 100_000).unwrap();
        assert_eq!(chosen.iter().map(|s| s.live.live()).collect::<Vec<_>>(), [3_000, 3_000]);
    }

    #[test]
    fn a_worn_segment_is_written_anew_however_large_it_is() {
        let mut collection = sealed(&[(4, 60_000), (4, 60_000)]);
        assert!(collection.to_merge(Urgency::Reclaim, 100_000).is_none());
        collection.segments[1].live.kill(Offset(0));
        let worn = collection.to_merge(Urgency::Reclaim, 100_000).unwrap();
        assert_eq!(worn.iter().map(|s| s.segment.id()).collect::<Vec<_>>(), [collection.segments[1].segment.id()]);
    }
}
