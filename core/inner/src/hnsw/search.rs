//! Descent and beam search (Malkov & Yashunin, 2018, algorithms 2 and 5).
//!
//! The unvisited neighbours of a node are collected first and scored as one batch; one dispatch covers a whole search.

use alloc::vec::Vec;

use fearless_simd::{Simd, dispatch};

use super::beam::{Beam, Filtered, FilteredLists, Met};
use super::graph::GraphView;
use super::pool::Pool;
use super::visited::Visited;
use crate::kernel;
use crate::metric::{Batch, ProbeRoom, QueryVector, Rows};

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
    room: ProbeRoom,
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
/// When graph and rows differ in number, or the query was made for another metric or dimension.
pub fn search<'s, R: Rows>(
    view: &GraphView<'_>,
    rows: &R,
    query: &QueryVector,
    ef: usize,
    accept: Option<&dyn Fn(u32) -> bool>,
    scratch: &'s mut SearchScratch,
) -> Found<'s> {
    query.assert_fits(rows);
    assert_eq!(view.len(), rows.count(), "a graph has one node for each row");
    let SearchScratch { walk, pool, filtered, candidates, room } = scratch;
    walk.distances = 0;
    candidates.clear();
    if !view.is_empty() && ef > 0 {
        let probe = rows.query(query, room);
        if let Some(accept) = accept {
            let mut beam = Filtered { accept, lists: filtered };
            dispatch!(kernel::level(), simd => search_all_levels(simd, view, rows, probe, ef, walk, &mut beam));
            candidates.extend(filtered.results().map(Candidate::from));
        } else {
            dispatch!(kernel::level(), simd => search_all_levels(simd, view, rows, probe, ef, walk, pool));
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
fn search_all_levels<S: Simd, R: Rows, B: Beam>(
    simd: S,
    view: &GraphView<'_>,
    rows: &R,
    probe: R::Probe<'_>,
    ef: usize,
    walk: &mut Walk,
    beam: &mut B,
) {
    let entry = walk.descend(simd, view, rows, probe, 0);
    walk.visited.reset(view.len());
    walk.visited.insert(entry.offset());
    beam.reset(ef);
    beam.offer(entry);
    walk.search_level(simd, view, rows, probe, 0, beam);
}

impl Walk {
    /// Walks greedily from the entry point down to the nearest node found on the level above `to`.
    ///
    /// As [`Walk::search_level`] never inlined: one copy for each instruction set and kind of rows, whoever walks.
    #[inline(never)]
    pub(super) fn descend<S: Simd, R: Rows>(
        &mut self,
        simd: S,
        view: &GraphView<'_>,
        rows: &R,
        probe: R::Probe<'_>,
        to: u8,
    ) -> Met {
        simd.vectorize(
            #[inline(always)]
            || {
                let parts = view.parts();
                self.batch.clear();
                self.batch.offsets.push(parts.entry);
                let mut nearest = self.nearest_in_batch(simd, rows, probe);
                for level in (to + 1..=parts.top).rev() {
                    loop {
                        self.batch.clear();
                        self.batch.offsets.extend_from_slice(view.links(nearest.offset(), level));
                        let found = self.nearest_in_batch(simd, rows, probe);
                        if found >= nearest {
                            break;
                        }
                        nearest = found;
                    }
                }
                nearest
            },
        )
    }

    /// The nearest of the batch; a node farther than any when it is empty.
    #[inline(always)]
    fn nearest_in_batch<S: Simd, R: Rows>(&mut self, simd: S, rows: &R, probe: R::Probe<'_>) -> Met {
        self.batch.score(simd, rows, probe);
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

    /// Offers nodes that the search of a level could not meet, as far as it has not.
    #[inline(always)]
    pub(super) fn meet<'n, S: Simd, R: Rows, B: Beam>(
        &mut self,
        simd: S,
        rows: &R,
        probe: R::Probe<'_>,
        nodes: impl Iterator<Item = &'n u32>,
        beam: &mut B,
    ) {
        let Self { visited, batch, distances } = self;
        batch.clear();
        batch.offsets.extend(nodes.copied().filter(|&node| visited.insert(node)));
        batch.score(simd, rows, probe);
        *distances += batch.offsets.len() as u64;
        batch.scored().for_each(|(key, offset)| beam.offer(Met::new(key, offset)));
    }

    /// Makes the links that were not met before the batch. Every link is written and stays if it was new: at a branch
    /// about each of them, every other guess of the CPU would be wrong.
    #[inline(always)]
    fn collect_new<R: Rows>(&mut self, rows: &R, links: &[u32]) {
        let offsets = &mut self.batch.offsets;
        offsets.clear();
        offsets.resize(links.len(), 0);
        let mut new = 0;
        for &link in links {
            offsets[new] = link;
            rows.prefetch(link);
            new += usize::from(self.visited.insert(link));
        }
        offsets.truncate(new);
    }

    /// Expands the nearest unexpanded node until the beam has none.
    #[inline(never)]
    pub(super) fn search_level<S: Simd, R: Rows, B: Beam>(
        &mut self,
        simd: S,
        view: &GraphView<'_>,
        rows: &R,
        probe: R::Probe<'_>,
        level: u8,
        beam: &mut B,
    ) {
        simd.vectorize(
            #[inline(always)]
            || {
                while let Some(node) = beam.next() {
                    ask_ahead(view, level, beam);
                    self.collect_new(rows, view.links(node, level));
                    self.batch.score(simd, rows, probe);
                    self.distances += self.batch.offsets.len() as u64;
                    beam.offer_all(simd, &self.batch);
                    ask_ahead(view, level, beam);
                }
            },
        );
    }
}

/// Asks for the links of the node that is next as things stand. Few walks are long on the levels above 0.
#[inline(always)]
fn ask_ahead<B: Beam>(view: &GraphView<'_>, level: u8, beam: &B) {
    if level == 0
        && let Some(node) = beam.upcoming()
    {
        view.prefetch(node);
    }
}
