//! Background work: sealing the memtable and merging segments, in slices, on immutable input.
//!
//! A job is handed out by the writer, run wherever the host likes, and installed by the writer when its segment is
//! stored. A merge extends the graph of its largest segment while fewer than a fifth of that segment's points are dead,
//! and builds anew otherwise (extending a graph full of holes loses recall).

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem;

use crate::bytes::AlignedBytes;
use crate::error::{Error, Result};
use crate::hnsw::{Alone, Crew, Graph, GraphBuilder, HnswParams, NONE};
use crate::quant::Quantization;
use crate::segment::{Block, Checks, Draft, LiveBitmap, Origin, Segment, Tombstone};
use crate::sort::sort_by_key;
use crate::sync::{Digest, Forgotten, SpaceKey, State};
use crate::types::{Lsn, Offset, Stamp};

use super::CollectionConfig;
use super::snapshot::LiveSegment;

/// Above this share of dead points (one in so many) a graph is built anew instead of extended.
const REBUILD_DEAD_DIVISOR: u32 = 5;

/// Names a job among those of its collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u64);

impl JobId {
    #[must_use]
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// What a job takes as input: the memtable, for a seal, or segments, for a merge.
#[derive(Debug, Default)]
pub(super) struct JobInput {
    /// Frozen memtable blocks with the number of their first row.
    pub(super) blocks: Vec<(u64, Block)>,
    /// Rows before this number are sealed by the job.
    pub(super) frozen_row: u64,
    /// Records up to this one are covered when the job is installed.
    pub(super) sealed_through: Lsn,
    /// Of a seal: what the collection was in replication at that record, encoded.
    pub(super) sync: Option<Vec<u8>>,
    /// Tombstones of the memtable.
    pub(super) tombstones: Vec<Tombstone>,
    /// Segments to merge.
    pub(super) segments: Vec<LiveSegment>,
}

/// One piece of background work.
#[derive(Debug)]
pub struct Job {
    id: JobId,
    params: HnswParams,
    quantization: Quantization,
    input: JobInput,
    draft: Draft,
    /// For the digest of what is sealed.
    key: Option<SpaceKey>,
    /// Tombstones up to this number of replication are left out.
    forgotten: Forgotten,
    stage: Stage,
    total: u32,
    /// While others build it: where each row came from and its stamp.
    lent: Option<(Vec<Origin>, Vec<Stamp>)>,
}

#[derive(Debug)]
enum Stage {
    Gather,
    Build(Box<GraphBuilder>),
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// Graph insertions still to do; 0 when [`Job::finish`] may be called.
    pub remaining: u32,
    /// Graph insertions in all.
    pub total: u32,
}

/// A finished job, ready to be stored and installed.
#[derive(Debug)]
pub struct SealedJob {
    id: JobId,
    pub(super) input: JobInput,
    pub(super) origins: Vec<Origin>,
    pub(super) segment: Option<Arc<Segment>>,
    /// Of all points of the segment, where there was a key for it.
    pub(super) digest: Option<Digest>,
    /// Of a segment that a leader made: which of its points were live there.
    pub(super) arrived: Option<LiveBitmap>,
    insertions: u64,
}

impl Job {
    pub(super) fn new(id: JobId, config: &CollectionConfig, mut input: JobInput, sync: &State) -> Self {
        let rows = input.blocks.iter().map(|(_, b)| b.live().count()).sum::<usize>()
            + input.segments.iter().map(|s| s.live.live() as usize).sum::<usize>();
        // The largest segment comes first: if its graph is extended, its points keep their order.
        sort_by_key(&mut input.segments, |s| (Reverse(s.live.live()), s.segment.id()));
        let draft = Draft::new(config.metric, config.dimension, rows);
        let (key, forgotten) = (sync.key().copied(), sync.forgotten());
        Self {
            id,
            params: config.hnsw_params(),
            quantization: config.quantization,
            input,
            draft,
            key,
            forgotten,
            stage: Stage::Gather,
            total: rows as u32,
            lent: None,
        }
    }

    /// A job over rows that another one lent: finished, it has the segment that is to be given back.
    pub fn borrowed(rows: Arc<Segment>) -> Self {
        let quantization = if rows.codes().is_some() { Quantization::ScalarI8 } else { Quantization::None };
        let (params, total) = (rows.params(), rows.len());
        let draft = Draft::new(rows.metric(), rows.dimension(), total as usize);
        let (live, digest) = (LiveBitmap::all_live(total), Digest::default());
        let segments = alloc::vec![LiveSegment { segment: rows, live, digest }];
        let input = JobInput { segments, ..JobInput::default() };
        let (id, forgotten) = (JobId::default(), Forgotten::default());
        Self { id, params, quantization, input, draft, key: None, forgotten, stage: Stage::Gather, total, lent: None }
    }

    /// Its name.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// How many points of the memtable it gives a graph; 0 for a merge.
    pub fn fresh_points(&self) -> usize {
        self.input.blocks.iter().map(|(_, block)| block.live().count()).sum()
    }

    /// Does up to `budget` graph insertions, on the calling thread.
    ///
    /// # Errors
    /// `LimitExceeded` when the segment would outgrow its format.
    pub fn step(&mut self, budget: u32) -> Result<JobProgress> {
        self.step_with(&Alone, budget)
    }

    /// Does `budget` graph insertions, and up to a batch more, with as many hands as the host lends.
    ///
    /// # Errors
    /// As [`Job::step`].
    pub fn step_with<C: Crew>(&mut self, crew: &C, budget: u32) -> Result<JobProgress> {
        let remaining = match &mut self.stage {
            Stage::Gather => {
                let builder = self.gather()?;
                let remaining = builder.remaining();
                self.total = remaining;
                self.stage = Stage::Build(Box::new(builder));
                remaining
            }
            Stage::Build(builder) => match self.draft.codes() {
                Some(codes) => builder.step(crew, &codes, budget),
                None => builder.step(crew, &self.draft.space(), budget),
            },
        };
        Ok(JobProgress { remaining, total: self.total })
    }

    /// After the first step: the rows as the bytes of a segment without links, for [`Job::borrowed`] somewhere else. `None`
    /// when insertions were done already, or an older graph is extended. A job that is stepped again builds by itself.
    ///
    /// # Errors
    /// As [`Job::step`].
    pub fn lend(&mut self) -> Result<Option<AlignedBytes>> {
        match &self.stage {
            Stage::Build(builder) if builder.is_fresh() => {}
            _ => return Ok(None),
        }
        let graph = Graph::unlinked(self.params.m, self.params.m0, self.draft.len());
        let bytes = self.draft.lay_out(&graph, &self.params)?;
        self.stage = Stage::Gather;
        let (metric, dimension) = (self.draft.space().metric, self.draft.space().dimension);
        self.lent = Some(mem::replace(&mut self.draft, Draft::new(metric, dimension, 0)).into_origins());
        Ok(Some(bytes))
    }

    /// Takes the segment that others made of what was lent.
    ///
    /// # Errors
    /// `Internal` when it is not one of these rows.
    pub fn take(self, built: Arc<Segment>) -> Result<SealedJob> {
        let (origins, stamps) = self.lent.unwrap_or_default();
        let has = |(offset, stamp): (usize, &Stamp)| built.stamp(Offset(offset as u32)) == *stamp;
        if built.len() as usize != stamps.len() || !stamps.iter().enumerate().all(has) {
            return Err(Error::internal("a builder gave another segment back"));
        }
        let digest = self.key.map(|key| built.digest(&key));
        let (insertions, segment) = (u64::from(built.len()), Some(built));
        Ok(SealedJob { id: self.id, origins, input: self.input, segment, digest, arrived: None, insertions })
    }

    /// Does what is left, on the calling thread, and lays the segment out.
    ///
    /// # Errors
    /// As [`Job::step`].
    pub fn finish(mut self) -> Result<SealedJob> {
        while self.step(u32::MAX)?.remaining > 0 {}
        let Stage::Build(builder) = self.stage else { unreachable!("a step leaves the gathering stage") };
        let insertions = builder.insertions();
        let graph = match self.draft.codes() {
            Some(codes) => builder.finish(&Alone, &codes),
            None => builder.finish(&Alone, &self.draft.space()),
        };
        let segment = if self.draft.is_void() {
            None
        } else {
            let (id, bytes) = self.draft.seal(&graph, &self.params)?;
            Some(Arc::new(Segment::open(id, Arc::new(bytes), Checks::Structure)?))
        };
        let digest = self.key.zip(segment.as_ref()).map(|(key, segment)| segment.digest(&key));
        let origins = self.draft.origins().to_vec();
        Ok(SealedJob { id: self.id, origins, input: self.input, segment, digest, arrived: None, insertions })
    }

    fn gather(&mut self) -> Result<GraphBuilder> {
        for (source, sealed) in self.input.segments.iter().enumerate() {
            self.draft.add_segment(&sealed.segment, &sealed.live, source as u32)?;
            let kept = sealed.segment.tombstones().filter(|t| !self.forgotten.has(t.stamp, t.seq));
            kept.for_each(|t| self.draft.bury(t));
        }
        for (first, block) in &self.input.blocks {
            self.draft.add_block(block, *first)?;
        }
        let kept = self.input.tombstones.iter().filter(|t| !self.forgotten.has(t.stamp, t.seq));
        kept.for_each(|t| self.draft.bury(t.clone()));
        let base = self.input.segments.first().filter(|base| extends(base, &self.params));
        // The nodes of a graph that is extended keep their numbers.
        self.draft.arrange(base.map_or(0, |base| base.live.live()));
        self.draft.encode(self.quantization);
        match base {
            None => GraphBuilder::new(self.params, self.draft.len()),
            Some(base) => {
                let keep = |offset| base.live.is_live(Offset(offset));
                let (graph, damaged) = Graph::retain(&base.segment.graph(), keep);
                GraphBuilder::extend(self.params, graph, damaged, self.draft.len())
            }
        }
    }
}

/// Whether the graph of the largest segment is worth extending.
fn extends(base: &LiveSegment, params: &HnswParams) -> bool {
    let parts = base.segment.graph().parts();
    let is_linked = parts.links0.iter().any(|&link| link != NONE);
    is_linked
        && base.live.dead() * REBUILD_DEAD_DIVISOR < base.live.len()
        && (parts.m, parts.m0) == (params.m, params.m0)
}

impl SealedJob {
    /// A segment that a leader made, and the digest of the points that are live in it.
    pub(super) fn arrived(id: JobId, segment: Arc<Segment>, live: LiveBitmap, digest: Digest) -> Self {
        let (segment, arrived, digest) = (Some(segment), Some(live), Some(digest));
        Self { id, input: JobInput::default(), origins: Vec::new(), segment, digest, arrived, insertions: 0 }
    }

    /// The name of the job.
    pub const fn id(&self) -> JobId {
        self.id
    }

    /// The new segment; `None` when nothing was left to keep.
    pub const fn segment(&self) -> Option<&Arc<Segment>> {
        self.segment.as_ref()
    }

    /// Takes the segment as the host stored it and opened it again, a mapped file perhaps, in place of the one in memory.
    ///
    /// # Errors
    /// `Internal` when it is another segment.
    pub fn replace_segment(&mut self, stored: Arc<Segment>) -> Result<()> {
        let Some(made) = self.segment.as_mut().filter(|made| made.id() == stored.id()) else {
            return Err(Error::internal(format!("segment {} is not the one that the job made", stored.id())));
        };
        *made = stored;
        Ok(())
    }

    /// How many graph insertions it took.
    pub const fn insertions(&self) -> u64 {
        self.insertions
    }
}
