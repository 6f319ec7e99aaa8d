//! Descent and beam search (Malkov & Yashunin, 2018, algorithms 2 and 5).
//!
//! The unvisited neighbours of a node are collected first and scored as one batch; one dispatch covers a whole search.

use alloc::vec::Vec;

use fearless_simd::{Simd, dispatch};

use super::beam::{Beam, Filtered, FilteredLists, Met, Pool};
use super::graph::GraphView;
use super::visited::Visited;
use crate::kernel;
use crate::metric::{Batch, Probe, QueryVector, VectorSpace};

/// A row found by a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The ranking key; lower is nearer.
    pub key: f32,
    /// The place of the row.
    pub offset: u32,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'s> {
    /// At most `ef` rows, ascending by (key, offset).
    pub candidates: &'s [Candidate],
    /// How many ranking keys were computed.
    pub distances: u64,
}

/// Memory that searches reuse, over graphs of any size.
#[derive(Clone, Debug, Default)]
pub struct SearchScratch {
    pub(super) walk: Walk,
    pub(super) pool: Pool,
    filtered: FilteredLists,
    candidates: Vec<Candidate>,
}

impl SearchScratch {
    /// Memory without contents.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What a walk over one level needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    visited: Visited,
    batch: Batch,
    pub(super) distances: u64,
}

/// Searches the graph for the rows nearest to the query.
///
/// Nodes that `accept` refuses are walked over but not returned; `None` accepts all. The answer holds fewer than `ef`
/// rows only when fewer that are accepted can be reached.
///
/// # Panics
/// When graph and space differ in length, or the query was made for another metric or dimension.
pub fn search<'s>(
    view: &GraphView<'_>,
    space: &VectorSpace<'_>,
    query: &QueryVector,
    ef: usize,
    accept: Option<&dyn Fn(u32) -> bool>,
    scratch: &'s mut SearchScratch,
) -> Found<'s> {
    query.assert_fits(space);
    assert_eq!(view.len(), space.len(), "a graph has one node for each row of its space");
    let SearchScratch { walk, pool, filtered, candidates } = scratch;
    walk.distances = 0;
    candidates.clear();
    if !view.is_empty() && ef > 0 {
        let probe = query.probe();
        if let Some(accept) = accept {
            let mut beam = Filtered { accept, lists: filtered };
            dispatch!(kernel::level(), simd => search_all_levels(simd, view, space, probe, ef, walk, &mut beam));
            candidates.extend(filtered.results().map(Candidate::from));
        } else {
            dispatch!(kernel::level(), simd => search_all_levels(simd, view, space, probe, ef, walk, pool));
            candidates.extend(pool.results().map(Candidate::from));
        }
    }
    Found { candidates, distances: walk.distances }
}

impl From<Met> for Candidate {
    fn from(met: Met) -> Self {
        Self { key: met.key(), offset: met.offset() }
    }
}

#[inline(always)]
fn search_all_levels<S: Simd, B: Beam>(
    simd: S,
    view: &GraphView<'_>,
    space: &VectorSpace<'_>,
    probe: Probe<'_>,
    ef: usize,
    walk: &mut Walk,
    beam: &mut B,
) {
    let entry = walk.descend(simd, view, space, probe, 0);
    walk.visited.reset(view.len());
    walk.visited.insert(entry.offset());
    beam.reset(ef);
    beam.offer(entry);
    walk.search_level(simd, view, space, probe, 0, beam);
}

impl Walk {
    /// Walks greedily from the entry point down to the nearest node found on the level above `to`.
    #[inline(always)]
    pub(super) fn descend<S: Simd>(
        &mut self,
        simd: S,
        view: &GraphView<'_>,
        space: &VectorSpace<'_>,
        probe: Probe<'_>,
        to: u8,
    ) -> Met {
        let parts = view.parts();
        self.batch.clear();
        self.batch.offsets.push(parts.entry);
        let mut nearest = self.nearest_in_batch(simd, space, probe);
        for level in (to + 1..=parts.top).rev() {
            loop {
                self.batch.clear();
                self.batch.offsets.extend_from_slice(view.links(nearest.offset(), level));
                let found = self.nearest_in_batch(simd, space, probe);
                if found >= nearest {
                    break;
                }
                nearest = found;
            }
        }
        nearest
    }

    /// The nearest of the batch; a node farther than any when it is empty.
    #[inline(always)]
    fn nearest_in_batch<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, probe: Probe<'_>) -> Met {
        self.batch.score(simd, space, probe);
        self.distances += self.batch.offsets.len() as u64;
        self.batch.scored().map(|(key, offset)| Met::new(key, offset)).min().unwrap_or(Met::new(f32::INFINITY, 0))
    }

    /// Starts a search of a level from the given nodes.
    pub(super) fn start<B: Beam>(&mut self, len: usize, ef: usize, from: impl Iterator<Item = Met>, beam: &mut B) {
        self.visited.reset(len);
        beam.reset(ef);
        for met in from {
            if self.visited.insert(met.offset()) {
                beam.offer(met);
            }
        }
    }

    /// Expands the nearest unexpanded node until the beam has none.
    #[inline(always)]
    pub(super) fn search_level<S: Simd, B: Beam>(
        &mut self,
        simd: S,
        view: &GraphView<'_>,
        space: &VectorSpace<'_>,
        probe: Probe<'_>,
        level: u8,
        beam: &mut B,
    ) {
        while let Some(node) = beam.next() {
            self.batch.clear();
            for &link in view.links(node, level) {
                if self.visited.insert(link) {
                    self.batch.offsets.push(link);
                }
            }
            self.batch.score(simd, space, probe);
            self.distances += self.batch.offsets.len() as u64;
            for (key, offset) in self.batch.scored() {
                beam.offer(Met::new(key, offset));
            }
        }
    }
}
