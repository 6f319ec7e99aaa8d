//! Building a graph in slices (Malkov & Yashunin, 2018, algorithm 1), and extending one.
//!
//! Work is done node by node in a fixed order: damaged nodes are linked again, then new ones are inserted, then
//! all or a sample are checked by a search for themselves (`repair.rs`). Slices only say where to pause.

use alloc::format;
use alloc::vec::Vec;

use fearless_simd::{Simd, dispatch};

use super::beam::{Met, Pool};
use super::graph::{Graph, MAX_LEVEL, MAX_NODES, NONE};
use super::lists::Lists;
use super::params::{HnswParams, default_ef_search};
use super::repair::Check;
use super::search::Walk;
use super::select::Selection;
use crate::error::{Error, Result};
use crate::kernel;
use crate::metric::{Probe, VectorSpace};
use crate::sort::sort;

/// A graph on its way.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    pub(super) params: HnswParams,
    pub(super) lists: Lists,
    /// Nodes that lost a link, and how many of them were linked again.
    damaged: Vec<u32>,
    relinked: usize,
    total: u32,
    pub(super) check: Check,
    insertions: u64,
    pub(super) scratch: BuildScratch,
}

#[derive(Clone, Debug, Default)]
pub(super) struct BuildScratch {
    pub(super) walk: Walk,
    pub(super) pool: Pool,
    pub(super) found: Vec<Met>,
    pub(super) selection: Selection,
    pub(super) unit: Vec<f32>,
}

impl GraphBuilder {
    /// Prepares a graph over the first `total` rows of a space.
    ///
    /// # Errors
    /// `InvalidArgument` when a parameter is out of range or there are too many rows.
    pub fn new(params: HnswParams, total: u32) -> Result<Self> {
        Self::extend(params, Graph::new(params.m, params.m0), Vec::new(), total)
    }

    /// Prepares to extend a graph to `total` rows: its nodes are the first rows of the space, and those in `damaged`,
    /// which lost a link (see [`Graph::retain`]), are linked again.
    ///
    /// # Errors
    /// `InvalidArgument` when a parameter is out of range or differs from the graph's, or a number does not fit.
    pub fn extend(params: HnswParams, graph: Graph, damaged: Vec<u32>, total: u32) -> Result<Self> {
        params.check()?;
        if (graph.m, graph.m0) != (params.m, params.m0) {
            return Err(Error::invalid_argument(format!(
                "graph has m = {}, m0 = {}, expected {} and {}",
                graph.m, graph.m0, params.m, params.m0
            )));
        }
        if total as usize > MAX_NODES || graph.len() > total as usize {
            return Err(Error::invalid_argument(format!(
                "cannot extend a graph of {} nodes to {total}, the most is {MAX_NODES}",
                graph.len()
            )));
        }
        if let Some(node) = damaged.iter().find(|&&node| node as usize >= graph.len()) {
            return Err(Error::invalid_argument(format!("damaged node {node} is not one of {}", graph.len())));
        }
        let mut lists = Lists::new(graph);
        lists.reserve(total as usize - lists.graph.len());
        Ok(Self {
            params,
            lists,
            damaged,
            relinked: 0,
            total,
            check: Check::new(total),
            insertions: 0,
            scratch: BuildScratch::default(),
        })
    }

    /// Does at most `budget` units of work (a unit is one node's search) and returns how many are left.
    ///
    /// # Panics
    /// When the space has fewer rows than the graph is to have.
    pub fn step(&mut self, space: &VectorSpace<'_>, budget: u32) -> u32 {
        assert!(space.len() >= self.total as usize, "the space holds every row of the graph");
        dispatch!(kernel::level(), simd => self.step_on(simd, space, budget));
        self.remaining()
    }

    /// Units of work that are left before [`GraphBuilder::finish`].
    pub fn remaining(&self) -> u32 {
        let relink = (self.damaged.len() - self.relinked) as u32;
        relink + (self.total - self.lists.graph.len() as u32) + self.check.remaining()
    }

    /// How many nodes were inserted or linked again so far.
    pub fn insertions(&self) -> u64 {
        self.insertions
    }

    /// Does what is left and hands out the graph, every node of which a search can reach.
    pub fn finish(mut self, space: &VectorSpace<'_>) -> Graph {
        self.step(space, u32::MAX);
        self.connect_all(space);
        self.lists.graph
    }

    #[inline(always)]
    fn step_on<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, budget: u32) {
        for _ in 0..budget {
            if let Some(&node) = self.damaged.get(self.relinked) {
                self.relinked += 1;
                self.insertions += 1;
                self.relink(simd, space, node);
            } else if self.lists.graph.len() < self.total as usize {
                self.insertions += 1;
                self.insert(simd, space);
            } else if self.check.remaining() > 0 {
                self.check_next(simd, space);
            } else {
                return;
            }
        }
    }

    #[inline(always)]
    fn insert<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>) {
        let node = self.lists.graph.len() as u32;
        let level = draw_level(self.params.seed, node, self.params.m);
        self.lists.push(level);
        let Graph { entry, top, .. } = self.lists.graph;
        if entry != NONE {
            self.link(simd, space, node, level.min(top));
        }
        if entry == NONE || level > top {
            (self.lists.graph.entry, self.lists.graph.top) = (node, level);
        }
    }

    #[inline(always)]
    fn relink<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, node: u32) {
        let level = self.lists.graph.levels[node as usize];
        self.link(simd, space, node, level);
    }

    /// Searches a node's neighbours on the levels `highest..=0` and links them both ways.
    #[inline(always)]
    fn link<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, node: u32, highest: u8) {
        let ef = self.params.ef_construction as usize;
        let mut unit = core::mem::take(&mut self.scratch.unit);
        let probe = Probe::stored(space, node, &mut unit);
        let view = self.lists.graph.view();
        let nearest = self.scratch.walk.descend(simd, &view, space, probe, highest);
        self.scratch.found.clear();
        self.scratch.found.push(nearest);
        for level in (0..=highest).rev() {
            let BuildScratch { walk, pool, found, .. } = &mut self.scratch;
            let view = self.lists.graph.view();
            // One more than asked: a node that is linked again finds itself.
            walk.start(view.len(), ef + 1, found.iter().copied(), pool);
            walk.search_level(simd, &view, space, probe, level, pool);
            found.clear();
            found.extend(pool.results());
            self.choose_links(simd, space, probe, node, level);
            self.connect(simd, space, node, level);
        }
        self.scratch.unit = unit;
    }

    /// Chooses from what was found and the links that a node has.
    #[inline(always)]
    fn choose_links<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, probe: Probe<'_>, node: u32, level: u8) {
        let BuildScratch { found, selection, .. } = &mut self.scratch;
        let (links, _) = self.lists.list(node, level);
        selection.candidates.clear();
        selection.candidates.extend(found.iter().filter(|met| met.offset() != node));
        if !links.is_empty() {
            let mut keys = alloc::vec![0.0; links.len()];
            probe.score_offsets(simd, space, links, &mut keys);
            selection.candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
            sort(&mut selection.candidates);
            selection.candidates.dedup_by_key(|met| met.offset());
        }
        let m = self.params.m as usize;
        selection.choose(simd, space, m, if level == 0 { self.params.fill_new() } else { 0 });
        self.lists.set(node, level, &selection.chosen);
    }

    /// Adds the links back from a node's neighbours; a list without room keeps its most diverse links.
    #[inline(always)]
    fn connect<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, node: u32, level: u8) {
        let slots = if level == 0 { self.params.m0 } else { self.params.m } as usize;
        let (least, most) = if level == 0 { self.params.cut() } else { (0, slots) };
        let mut at = 0;
        loop {
            let (links, keys) = self.lists.list(node, level);
            let Some((&neighbour, &key)) = links.get(at).zip(keys.get(at)) else { return };
            at += 1;
            let back = Met::new(key, node);
            let (links, _) = self.lists.list(neighbour, level);
            if links.contains(&node) {
                continue;
            }
            if self.lists.append(neighbour, level, back) {
                continue;
            }
            let (links, keys) = self.lists.list(neighbour, level);
            let BuildScratch { selection, .. } = &mut self.scratch;
            selection.candidates.clear();
            if keys.iter().any(|key| key.is_nan()) {
                let mut unit = Vec::new();
                let mut keys = alloc::vec![0.0; links.len()];
                Probe::stored(space, neighbour, &mut unit).score_offsets(simd, space, links, &mut keys);
                selection.candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
            } else {
                selection.candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
            }
            selection.candidates.push(back);
            sort(&mut selection.candidates);
            selection.choose(simd, space, most, least);
            self.lists.set(neighbour, level, &selection.chosen);
        }
    }

    pub(super) fn default_ef(&self, space: &VectorSpace<'_>) -> usize {
        default_ef_search(space.metric, space.dimension, self.total as usize)
    }
}

/// A node's level: at least l with probability m^-l (the paper's choice of 1/ln M), from integers alone.
fn draw_level(seed: u64, node: u32, m: u32) -> u8 {
    // SplitMix64 (Steele, Lea & Flood, 2014), counted by the node.
    let mut bits = seed.wrapping_add((u64::from(node) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    let mut level = 0;
    let mut below = u64::MAX / u64::from(m);
    while bits < below && level < MAX_LEVEL {
        level += 1;
        below /= u64::from(m);
    }
    level
}
