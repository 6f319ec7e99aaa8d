//! A consistent read view: cheap to take, never blocked by the writer, unchanged while it is held.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::filter::Filter;
use crate::metadata::{Metadata, MetadataRef};
use crate::metric::VectorSpace;
use crate::segment::{Block, LiveBitmap, Segment};
use crate::sync::{Digest, Item, SpaceKey};
use crate::types::{IdKey, Lsn, Offset, PointId, Stamp};

use super::CollectionConfig;

/// A sealed segment with the live bitmap of one moment.
#[derive(Clone, Debug)]
pub struct LiveSegment {
    /// The immutable part.
    pub segment: Arc<Segment>,
    /// Which of its points are live.
    pub live: LiveBitmap,
    /// Of its live points; 0 in a collection that never met another one.
    pub digest: Digest,
}

impl LiveSegment {
    /// Kills the point of an id, if it is live here; says whether it was. With a key its digest follows.
    pub(super) fn kill(&mut self, key: &IdKey, space: Option<&SpaceKey>) -> bool {
        let Some(offset) = self.segment.find(key).filter(|&offset| self.live.kill(offset)) else { return false };
        if let Some(space) = space {
            self.digest.subtract(&self.segment.digest_item(space, *key, offset));
        }
        true
    }
}

/// Everything that a search needs, as of one write.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) config: Arc<CollectionConfig>,
    pub(super) segments: Vec<LiveSegment>,
    pub(super) blocks: Vec<Block>,
    pub(super) through: Lsn,
}

/// Where a live point is in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Sealed { segment: u32, offset: Offset },
    Memtable { block: u32, at: u32 },
}

/// A point as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its id.
    pub id: PointId,
    /// Its vector, bit for bit as it was given (rounded to f32 once when it was given as f64).
    pub vector: Vec<f32>,
    /// What the metric keeps beside the vector, because the rounded row may not tell it; 1 when that is nothing.
    pub term: f32,
    /// Its metadata.
    pub metadata: Metadata,
    /// When and by whom it was written.
    pub stamp: Stamp,
}

/// How far a walk over the points of one snapshot has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walk {
    /// The segment, or behind those the block of the memtable.
    run: usize,
    at: u32,
}

/// A point as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredPoint<'a> {
    pub(crate) id: PointId,
    pub(crate) row: &'a [f32],
    pub(crate) term: f32,
    pub(crate) metadata: &'a [u8],
}

impl Snapshot {
    /// The collection's configuration.
    pub fn config(&self) -> &CollectionConfig {
        &self.config
    }

    /// The newest write that this view contains.
    pub const fn through(&self) -> Lsn {
        self.through
    }

    /// The sealed segments, oldest first.
    pub fn segments(&self) -> &[LiveSegment] {
        &self.segments
    }

    /// How many live points the view holds.
    pub fn len(&self) -> usize {
        self.indexed() + self.pending()
    }

    /// Whether the view holds no live point.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live points are in sealed segments.
    pub fn indexed(&self) -> usize {
        self.segments.iter().map(|s| s.live.live() as usize).sum()
    }

    /// How many dead points sealed segments still hold.
    pub fn dead(&self) -> usize {
        self.segments.iter().map(|s| s.live.dead() as usize).sum()
    }

    /// How many live points are in sealed segments whose graph is over codes.
    pub fn coded(&self) -> usize {
        self.segments.iter().filter(|s| s.segment.codes().is_some()).map(|s| s.live.live() as usize).sum()
    }

    /// How many bytes of vectors, or of codes in their place, walks over graphs read from for a point: the mean over sealed
    /// segments, dead points included; 0 without any.
    pub fn bytes_per_vector(&self) -> f64 {
        let walked: usize = self.segments.iter().map(|s| s.segment.walked_bytes()).sum();
        let points: usize = self.segments.iter().map(|s| s.segment.len() as usize).sum();
        walked as f64 / points.max(1) as f64
    }

    /// How many live points wait in the memtable.
    pub fn pending(&self) -> usize {
        self.blocks.iter().map(|block| block.live().count()).sum()
    }

    /// Finds a live point by its id.
    pub fn get(&self, id: &PointId) -> Option<Point> {
        self.find(&id.key()).map(|place| self.point_at(place))
    }

    /// How many live points match.
    pub fn count(&self, filter: &Filter) -> usize {
        if filter.matches_everything() {
            return self.len();
        }
        self.places().filter(|&place| filter.matches(self.metadata_at(place))).count()
    }

    /// The ids of all live points that match.
    pub fn matching(&self, filter: &Filter) -> Vec<PointId> {
        let matching = self.places().filter(|&place| filter.matches(self.metadata_at(place)));
        matching.map(|place| self.id_at(place)).collect()
    }

    /// All live points, in no order that callers may rely on.
    pub fn points(&self) -> impl Iterator<Item = Point> + '_ {
        self.places().map(|place| self.point_at(place))
    }

    /// The next live point of a walk, in the order in which they are stored; `None` behind the last one.
    pub(crate) fn step(&self, walk: &mut Walk) -> Option<StoredPoint<'_>> {
        loop {
            let (run, at) = (walk.run, walk.at);
            let block = run.checked_sub(self.segments.len());
            let (len, place) = match block {
                None => (self.segments[run].live.len(), Place::Sealed { segment: run as u32, offset: Offset(at) }),
                Some(block) => (self.blocks.get(block)?.len() as u32, Place::Memtable { block: block as u32, at }),
            };
            *walk = if at + 1 < len { Walk { run, at: at + 1 } } else { Walk { run: run + 1, at: 0 } };
            let is_live = at < len
                && match place {
                    Place::Sealed { segment, offset } => self.segments[segment as usize].live.is_live(offset),
                    Place::Memtable { block, at } => self.blocks[block as usize].is_live(at as usize),
                };
            if is_live {
                let (space, row) = self.vector_at(place);
                let metadata = self.metadata_at(place).as_bytes();
                return Some(StoredPoint {
                    id: self.id_at(place),
                    row: space.row(row),
                    term: space.term(row),
                    metadata,
                });
            }
        }
    }

    /// Where an id is live: newest rows first, since there is at most one.
    fn find(&self, key: &IdKey) -> Option<Place> {
        for (number, block) in self.blocks.iter().enumerate().rev() {
            if let Some(at) = block.find(key) {
                return Some(Place::Memtable { block: number as u32, at: at as u32 });
            }
        }
        self.find_sealed(key)
    }

    /// Where an id is live in the sealed segments.
    pub(super) fn find_sealed(&self, key: &IdKey) -> Option<Place> {
        self.segments.iter().enumerate().find_map(|(number, sealed)| {
            let offset = sealed.segment.find(key).filter(|&offset| sealed.live.is_live(offset))?;
            Some(Place::Sealed { segment: number as u32, offset })
        })
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let sealed = self.segments.iter().enumerate().flat_map(|(number, sealed)| {
            sealed.live.iter().map(move |offset| Place::Sealed { segment: number as u32, offset })
        });
        let fresh = self.blocks.iter().enumerate().flat_map(|(number, block)| {
            block.live().map(move |at| Place::Memtable { block: number as u32, at: at as u32 })
        });
        sealed.chain(fresh)
    }

    pub(super) fn point_at(&self, place: Place) -> Point {
        let (space, row) = self.vector_at(place);
        Point {
            id: self.id_at(place),
            vector: space.row(row).to_vec(),
            term: space.term(row),
            metadata: self.metadata_at(place).to_metadata(),
            stamp: self.stamp_at(place),
        }
    }

    pub(super) fn id_at(&self, place: Place) -> PointId {
        match place {
            Place::Sealed { segment, offset } => self.segments[segment as usize].segment.point_id(offset),
            Place::Memtable { block, at } => self.blocks[block as usize].point_id(at as usize),
        }
    }

    pub(super) fn metadata_at(&self, place: Place) -> MetadataRef<'_> {
        match place {
            Place::Sealed { segment, offset } => self.segments[segment as usize].segment.metadata(offset),
            Place::Memtable { block, at } => self.blocks[block as usize].metadata(at as usize),
        }
    }

    /// The vectors among which a point is, and which of them it is.
    pub(super) fn vector_at(&self, place: Place) -> (VectorSpace<'_>, u32) {
        match place {
            Place::Sealed { segment, offset } => (self.segments[segment as usize].segment.space(), offset.0),
            Place::Memtable { block, at } => (self.block_space(&self.blocks[block as usize]), at),
        }
    }

    pub(super) fn block_space<'a>(&self, block: &'a Block) -> VectorSpace<'a> {
        VectorSpace {
            metric: self.config.metric,
            dimension: self.config.dimension,
            rows: block.vectors(),
            terms: block.terms(),
        }
    }

    /// A live point of a block as digests see it.
    pub(super) fn fresh_item_at(&self, space: &SpaceKey, block: &Block, at: usize) -> Item {
        let vectors = self.block_space(block);
        let (components, term) = (vectors.row(at as u32), vectors.term(at as u32));
        Item::of_parts(space, block.key(at), block.stamp(at), term, components, block.metadata(at).as_bytes())
    }

    pub(super) fn stamp_at(&self, place: Place) -> Stamp {
        match place {
            Place::Sealed { segment, offset } => self.segments[segment as usize].segment.stamp(offset),
            Place::Memtable { block, at } => self.blocks[block as usize].stamp(at as usize),
        }
    }
}
