//! Building a graph in slices (Malkov & Yashunin, 2018, algorithm 1), and extending one.
//!
//! Work is done batch by batch in a fixed order: damaged nodes are linked again, then new ones are inserted, then
//! all or a sample are checked by a search for themselves (`repair.rs`). Slices only say where to pause.
//!
//! ```text
//! for each batch:
//!     at once, for each node:  search its neighbours in the graph as it is; meet the batch's earlier nodes; choose links
//!     write the links
//!     add the links back, in the order of nodes, where lists have room
//!     at once, for each list that has not:  choose from its links and all that came
//!     write these lists
//! ```
//!
//! Nobody writes while others read, so there are no locks, and the graph does not depend on how many work. With batches of
//! one node this is the algorithm of the paper.

use alloc::format;
use alloc::vec::Vec;
use core::sync::atomic::AtomicUsize;

use fearless_simd::dispatch;

use super::beam::Met;
use super::crew::Crew;
use super::graph::{Graph, MAX_LEVEL, MAX_NODES, NONE};
use super::lists::Lists;
use super::params::{HnswParams, default_ef_search};
use super::repair::Check;
use super::worker::{Overflow, Worker};
use crate::error::{Error, Result};
use crate::kernel;
use crate::metric::Rows;
use crate::sort::sort;

/// A batch is at most this part of the graph that it is searched in.
const GROWTH: u32 = 16;
/// Pieces of work that make it worth to wake a worker.
const LEAST_SHARE: usize = 4;

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
    batch: Vec<u32>,
    overflow: Vec<Overflow>,
    pub(super) workers: Vec<Worker>,
}

impl GraphBuilder {
    /// Prepares a graph over the first `total` rows.
    ///
    /// # Errors
    /// `InvalidArgument` when a parameter is out of range or there are too many rows.
    pub fn new(params: HnswParams, total: u32) -> Result<Self> {
        Self::extend(params, Graph::new(params.m, params.m0), Vec::new(), total)
    }

    /// Prepares to extend a graph to `total` rows: its nodes are the first rows, and those in `damaged`,
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
            batch: Vec::new(),
            overflow: Vec::new(),
            workers: Vec::new(),
        })
    }

    /// Does `budget` units of work, and up to a batch more (a unit is one node's search); returns how many are left.
    ///
    /// # Panics
    /// When there are fewer rows than the graph is to have.
    pub fn step<C: Crew, R: Rows>(&mut self, crew: &C, rows: &R, budget: u32) -> u32 {
        assert!(rows.count() >= self.total as usize, "there is a row for every node of the graph");
        self.workers.resize_with(crew.hands().max(1), Worker::default);
        let mut done = 0;
        while done < budget && self.remaining() > 0 {
            done = done.saturating_add(self.do_batch(crew, rows));
        }
        self.remaining()
    }

    /// Units of work that are left before [`GraphBuilder::finish`].
    pub fn remaining(&self) -> u32 {
        let relink = (self.damaged.len() - self.relinked) as u32;
        relink + (self.total - self.lists.graph.len() as u32) + self.check.remaining()
    }

    /// Whether nothing was done yet, and no older graph is extended.
    pub fn is_fresh(&self) -> bool {
        self.lists.graph.is_empty()
    }

    /// How many nodes were inserted or linked again so far.
    pub fn insertions(&self) -> u64 {
        self.insertions
    }

    /// Does what is left and hands out the graph, every node of which a search can reach.
    pub fn finish<C: Crew, R: Rows>(mut self, crew: &C, rows: &R) -> Graph {
        self.step(crew, rows, u32::MAX);
        self.connect_all(rows);
        self.lists.graph
    }

    /// Does the next batch, whose size depends on the graph's alone; returns how many nodes it had.
    fn do_batch<C: Crew, R: Rows>(&mut self, crew: &C, rows: &R) -> u32 {
        let len = self.lists.graph.len();
        let most = (len as u32 / GROWTH).clamp(1, C::BATCH);
        self.batch.clear();
        if self.relinked < self.damaged.len() {
            self.batch.extend(self.damaged[self.relinked..].iter().take(most as usize));
            self.relinked += self.batch.len();
            self.link_batch(crew, rows);
        } else if len < self.total as usize {
            self.insert_batch(crew, rows, most);
        } else {
            return self.check_batch(crew, rows);
        }
        self.insertions += self.batch.len() as u64;
        self.batch.len() as u32
    }

    /// Appends at most so many nodes. One that rises above the graph is a batch of its own: every search after it starts there.
    fn insert_batch<C: Crew, R: Rows>(&mut self, crew: &C, rows: &R, most: u32) {
        let Graph { entry, top, .. } = self.lists.graph;
        let first = self.lists.graph.len() as u32;
        let mut rising = None;
        for node in first..self.total.min(first + most) {
            let level = draw_level(self.params.seed, node, self.params.m);
            let rises = entry == NONE || level > top;
            if rises && node > first {
                break;
            }
            self.lists.push(level);
            self.batch.push(node);
            if rises {
                rising = Some((node, level));
                break;
            }
        }
        if entry != NONE {
            self.link_batch(crew, rows);
        }
        if let Some(rising) = rising {
            (self.lists.graph.entry, self.lists.graph.top) = rising;
        }
    }

    /// Links the nodes of the batch both ways.
    fn link_batch<C: Crew, R: Rows>(&mut self, crew: &C, rows: &R) {
        let Self { params, lists, batch, overflow, workers, .. } = self;
        share(crew, workers, batch.len(), |worker, next| {
            dispatch!(kernel::level(), simd => worker.find_links::<C, _, _>(simd, rows, (params, lists), batch, next));
        });
        write(workers, lists);
        overflow.clear();
        for &node in batch.iter() {
            for level in 0..=lists.graph.levels[node as usize].min(lists.graph.top) {
                link_back(lists, overflow, node, level);
            }
        }
        if C::BATCH > 1 {
            sort(overflow);
        }
        share(crew, workers, overflow.len(), |worker, next| {
            dispatch!(kernel::level(), simd => worker.cut_lists(simd, rows, (params, lists), overflow, next));
        });
        write(workers, lists);
    }

    pub(super) fn default_ef<R: Rows>(&self, rows: &R) -> usize {
        default_ef_search(rows.metric(), rows.dimension(), self.total as usize)
    }
}

/// Has the workers take so many pieces of work from the counter that they get.
pub(super) fn share<C: Crew>(
    crew: &C,
    workers: &mut [Worker],
    pieces: usize,
    work: impl Fn(&mut Worker, &AtomicUsize) + Sync,
) {
    let next = AtomicUsize::new(0);
    workers.iter_mut().for_each(|worker| worker.notes.clear());
    let hands = pieces.div_ceil(LEAST_SHARE).min(workers.len());
    crew.each(&mut workers[..hands], |worker| work(worker, &next));
}

/// Writes the lists that the workers noted, no two of which are the same node's on the same level.
fn write(workers: &[Worker], lists: &mut Lists) {
    for (node, level, links) in workers.iter().flat_map(|worker| worker.notes.iter()) {
        lists.set(node, level, links);
    }
}

/// Adds the links back from a node's neighbours, as far as their lists have room.
fn link_back(lists: &mut Lists, overflow: &mut Vec<Overflow>, node: u32, level: u8) {
    let mut at = 0;
    loop {
        let (links, keys) = lists.list(node, level);
        let Some((&neighbour, &key)) = links.get(at).zip(keys.get(at)) else { return };
        at += 1;
        let link = Met::new(key, node);
        if !lists.list(neighbour, level).0.contains(&node) && !lists.append(neighbour, level, link) {
            overflow.push(Overflow { level, node: neighbour, link });
        }
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
