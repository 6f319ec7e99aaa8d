//! The life of a search: choose a plan for each segment, gather candidates by ranking key, then take the distances
//! that callers see in f64 and order by them.
//!
//! Plans: *graph*, walking the HNSW; *scan*, scoring every live point that the filter lets through. Filters and live
//! bitmaps are exact in both. A graph walk that comes back with fewer points than are wanted is followed by a scan, so
//! a query never returns fewer than `top_k` hits when that many match.

use alloc::format;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::hnsw::{self, SearchScratch};
use crate::metadata::{Metadata, MetadataRef};
use crate::metric::{QueryVector, VectorSpace};
use crate::sort::sort_by;
use crate::types::{Offset, PointId};

use super::config::{MAX_EF, MAX_TOP_K};
use super::snapshot::{LiveSegment, Place, Snapshot};
use super::top_k::TopK;

/// Up to this many live points are scanned: a walk of so small a graph compares with most of them anyway (with 843 of the
/// 1 182 mammals of the data sets), and a scan is exact.
const FLAT_POINTS: u32 = 1_000;
/// Kept beyond `top_k` by f32 keys, so that ordering by f64 distances has the right ones to choose from.
const RESCORE_SLACK: usize = 16;
/// Rows scored by one kernel call.
const SCAN_CHUNK: usize = 256;
/// Points looked at to estimate how selective a filter is.
const SAMPLE: u32 = 256;
/// A filter that lets fewer than this share through is evaluated for all points and its matches are scanned.
const SCAN_SHARE: f32 = 0.3;

/// How a search goes about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// Whatever is expected to be quickest; approximate where a graph is walked.
    #[default]
    Auto,
    /// Every point is compared: the true nearest.
    Exact,
    /// The graph of every sealed segment, however small; for measuring it.
    Graph,
}

/// A search that has been parsed and checked.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    query: QueryVector,
    top_k: usize,
    filter: Option<Filter>,
    ef: Option<usize>,
    plan: Plan,
}

impl SearchRequest {
    /// Asks for the `top_k` nearest points.
    ///
    /// # Errors
    /// `InvalidArgument` when `top_k` is 0, `LimitExceeded` when it is above [`MAX_TOP_K`].
    pub fn new(query: QueryVector, top_k: usize) -> Result<Self> {
        if top_k == 0 {
            return Err(Error::invalid_argument("top_k is at least 1"));
        }
        if top_k > MAX_TOP_K {
            return Err(Error::limit_exceeded(format!("top_k is at most {MAX_TOP_K}, not {top_k}")));
        }
        Ok(Self { query, top_k, filter: None, ef: None, plan: Plan::Auto })
    }

    /// Only points that match.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = (!filter.matches_everything()).then_some(filter);
        self
    }

    /// Keeps this many candidates instead of the collection's number.
    ///
    /// # Errors
    /// `InvalidArgument` when it is 0, `LimitExceeded` when it is above [`MAX_EF`].
    pub fn with_ef(mut self, ef: usize) -> Result<Self> {
        if ef == 0 {
            return Err(Error::invalid_argument("ef_search is at least 1"));
        }
        if ef > MAX_EF {
            return Err(Error::limit_exceeded(format!("ef_search is at most {MAX_EF}, not {ef}")));
        }
        self.ef = Some(ef);
        Ok(self)
    }

    /// Chooses how to go about it.
    #[must_use]
    pub const fn with_plan(mut self, plan: Plan) -> Self {
        self.plan = plan;
        self
    }

    /// Looks at a point's metadata only when there is a filter: a scan asks for every point.
    fn accepts<'a>(&self, metadata: impl FnOnce() -> MetadataRef<'a>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches(metadata()))
    }
}

/// A point that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Its id.
    pub id: PointId,
    /// Its distance from the query; lower is nearer.
    pub distance: f64,
    place: Place,
}

/// What a search found and what it took.
#[derive(Clone, Debug, Default)]
pub struct SearchOutcome {
    /// Nearest first, equal distances by id.
    pub hits: Vec<Hit>,
    /// How many distances were evaluated to find them.
    pub distances: u64,
}

/// Buffers that searches reuse.
#[derive(Debug, Default)]
pub struct Scratch {
    graph: SearchScratch,
    offsets: Vec<u32>,
    keys: Vec<f32>,
}

impl Snapshot {
    /// Finds the nearest points.
    ///
    /// # Errors
    /// `InvalidArgument` when the query is of another metric or dimension than the collection.
    pub fn search(&self, request: &SearchRequest, scratch: &mut Scratch) -> Result<SearchOutcome> {
        let query = &request.query;
        if query.dimension() != self.config.dimension || query.metric() != self.config.metric {
            return Err(Error::invalid_argument(format!(
                "a {} query of {} dimensions, collection `{}` is {} of {}",
                query.metric().as_str(),
                query.dimension(),
                self.config.name,
                self.config.metric.as_str(),
                self.config.dimension
            )));
        }
        let mut pass = Pass { snapshot: self, request, scratch, candidates: Vec::new(), distances: 0 };
        pass.scan_memtable();
        for number in 0..self.segments.len() {
            pass.search_segment(number);
        }
        let Pass { candidates, distances, .. } = pass;
        let distance = |place: Place| {
            let (space, row) = self.vector_at(place);
            query.distance_at(&space, row)
        };
        let mut found: Vec<(f64, Place)> = candidates.into_iter().map(|place| (distance(place), place)).collect();
        sort_by(&mut found, |a, b| a.0.total_cmp(&b.0).then_with(|| self.id_at(a.1).cmp(&self.id_at(b.1))));
        found.truncate(request.top_k);
        let hit = |(distance, place)| Hit { id: self.id_at(place), distance, place };
        Ok(SearchOutcome { hits: found.into_iter().map(hit).collect(), distances })
    }

    /// The metadata of a hit of this snapshot.
    pub fn hit_metadata(&self, hit: &Hit) -> Metadata {
        self.metadata_at(hit.place).to_metadata()
    }

    /// The vector of a hit of this snapshot, as it was given.
    pub fn hit_vector(&self, hit: &Hit) -> &[f32] {
        let (space, row) = self.vector_at(hit.place);
        space.row(row)
    }
}

/// One search over one snapshot.
struct Pass<'a> {
    snapshot: &'a Snapshot,
    request: &'a SearchRequest,
    scratch: &'a mut Scratch,
    candidates: Vec<Place>,
    distances: u64,
}

impl Pass<'_> {
    /// How many candidates each part of the collection contributes.
    fn kept(&self) -> usize {
        self.request.top_k + RESCORE_SLACK
    }

    fn scan_memtable(&mut self) {
        let snapshot = self.snapshot;
        let mut top = TopK::new(self.kept());
        for (number, block) in snapshot.blocks.iter().enumerate() {
            let place = |at: u32| Place::Memtable { block: number as u32, at };
            let accepts = |at: u32| {
                let at = at as usize;
                block.is_live(at) && self.request.accepts(|| block.metadata(at))
            };
            let space = snapshot.block_space(block);
            self.distances += scan(snapshot, &self.request.query, &space, accepts, place, self.scratch, &mut top);
        }
        self.candidates.extend(top.places());
    }

    fn search_segment(&mut self, number: usize) {
        let sealed = &self.snapshot.segments[number];
        if sealed.live.live() == 0 {
            return;
        }
        if self.walks(sealed) && self.walk_graph(number, sealed) {
            return;
        }
        let documents = sealed.segment.documents();
        let accepts = |offset: u32| {
            let offset = Offset(offset);
            sealed.live.is_live(offset) && self.request.accepts(|| documents.of(offset))
        };
        let place = |offset| Place::Sealed { segment: number as u32, offset: Offset(offset) };
        let mut top = TopK::new(self.kept());
        let (query, space) = (&self.request.query, sealed.segment.space());
        self.distances += scan(self.snapshot, query, &space, accepts, place, self.scratch, &mut top);
        self.candidates.extend(top.places());
    }

    fn walks(&self, sealed: &LiveSegment) -> bool {
        match self.request.plan {
            Plan::Exact => false,
            Plan::Graph => true,
            Plan::Auto => {
                let filter = self.request.filter.as_ref();
                sealed.live.live() > FLAT_POINTS && filter.is_none_or(|f| matching_share(f, sealed) >= SCAN_SHARE)
            }
        }
    }

    /// Walks the graph; says whether that settled the segment.
    fn walk_graph(&mut self, number: usize, sealed: &LiveSegment) -> bool {
        let (request, segment) = (self.request, &sealed.segment);
        let usual = || self.snapshot.config.ef_for(segment.len() as usize).max(self.kept());
        let ef = request.ef.map_or_else(usual, |ef| ef.max(request.top_k));
        let documents = segment.documents();
        let accept = |offset: u32| {
            let offset = Offset(offset);
            sealed.live.is_live(offset) && request.accepts(|| documents.of(offset))
        };
        let everything = sealed.live.dead() == 0 && request.filter.is_none();
        let accept: Option<&dyn Fn(u32) -> bool> = if everything { None } else { Some(&accept) };
        let (graph, query, scratch) = (segment.graph(), &request.query, &mut self.scratch.graph);
        let found = match segment.codes() {
            Some(codes) => hnsw::search(&graph, &codes, query, ef, accept, scratch),
            None => hnsw::search(&graph, &segment.space(), query, ef, accept, scratch),
        };
        self.distances += found.distances;
        let enough = found.candidates.len() >= request.top_k.min(sealed.live.live() as usize);
        if enough {
            let kept = found.candidates.iter().take(request.top_k + RESCORE_SLACK);
            let place = |offset| Place::Sealed { segment: number as u32, offset: Offset(offset) };
            self.candidates.extend(kept.map(|candidate| place(candidate.offset)));
        }
        enough
    }
}

/// Scores the accepted rows in chunks; returns how many there were.
fn scan(
    snapshot: &Snapshot,
    query: &QueryVector,
    space: &VectorSpace<'_>,
    accepts: impl Fn(u32) -> bool,
    place: impl Fn(u32) -> Place,
    scratch: &mut Scratch,
    top: &mut TopK<Place>,
) -> u64 {
    let by_id = |a: Place, b: Place| -> Ordering { snapshot.id_at(a).cmp(&snapshot.id_at(b)) };
    let Scratch { offsets, keys, .. } = scratch;
    let rows = space.len() as u32;
    let (mut next, mut scored) = (0, 0);
    while next < rows {
        offsets.clear();
        while next < rows && offsets.len() < SCAN_CHUNK {
            if accepts(next) {
                offsets.push(next);
            }
            next += 1;
        }
        keys.resize(offsets.len(), 0.0);
        query.score_offsets(space, offsets, keys);
        for (&offset, &key) in offsets.iter().zip(keys.iter()) {
            top.push(key, place(offset), by_id);
        }
        scored += offsets.len() as u64;
    }
    scored
}

/// Estimates which share of a segment's live points match, from an even sample.
fn matching_share(filter: &Filter, sealed: &LiveSegment) -> f32 {
    let step = (sealed.segment.len() / SAMPLE).max(1);
    let sample = (0..sealed.segment.len()).step_by(step as usize).map(Offset);
    let documents = sealed.segment.documents();
    let (mut live, mut matching) = (0_u32, 0_u32);
    for offset in sample.filter(|&offset| sealed.live.is_live(offset)) {
        live += 1;
        matching += u32::from(filter.matches(documents.of(offset)));
    }
    matching as f32 / live.max(1) as f32
}
