//! After the last insertion: every node can be found.
//!
//! Heuristic selection leaves some nodes without incoming links, many where points crowd (leaves of a tree near the rim
//! of the Poincaré ball all link to their parent, which has room for a few). Two repairs:
//!
//! 1. [`GraphBuilder::check_batch`]: a node is searched as a user would search it; when the search misses it, one of the
//!    nodes that it found gets a link to it. First for a sample, then, if that missed any, for all. Does most of the
//!    work, promises nothing.
//! 2. [`GraphBuilder::connect_all`]: a walk over level 0 from the entry point builds a tree of the reached nodes. For
//!    an unreached node, a link is added from a reached one: into a free slot, or in place of a link that is not in
//!    the tree. The tree keeps spanning everything reached, so the number of reached nodes rises with every step; and
//!    there is always such a slot, since r reached nodes have r·m0 slots (m0 >= 2) and only r-1 tree links.

use alloc::vec;
use alloc::vec::Vec;

use fearless_simd::{Simd, dispatch};

use super::beam::Met;
use super::build::{GraphBuilder, share};
use super::crew::Crew;
use super::graph::NONE;
use super::lists::Lists;
use super::worker::{Worker, claims};
use crate::kernel;
use crate::metric::Rows;
use crate::sort::sort_by_key;

/// Nodes of the first, sampled pass: when it misses none, fewer than 0.1 % are missed (with 98 % confidence).
const SAMPLE: u32 = 4_000;
/// Passes over all nodes at most, after the sample.
const FULL_PASSES: u32 = 2;

/// How far the checks have come.
#[derive(Clone, Debug)]
pub(super) struct Check {
    total: u32,
    /// 0 is the sample.
    pass: u32,
    next: u32,
    stride: u32,
    missed: u32,
    /// Links on level 0 that lead to each node.
    incoming: Vec<u32>,
}

impl Check {
    pub(super) fn new(total: u32) -> Self {
        Self { total, pass: 0, next: 0, stride: (total / SAMPLE).max(1), missed: 0, incoming: Vec::new() }
    }

    /// Nodes still to be checked, if every pass is needed.
    pub(super) fn remaining(&self) -> u32 {
        if self.pass > FULL_PASSES {
            return 0;
        }
        let passes = u64::from(FULL_PASSES - self.pass) * u64::from(self.total);
        let rest = u64::from((self.total - self.next).div_ceil(self.stride)) + passes;
        rest.min(u64::from(u32::MAX / 4)) as u32
    }

    /// Moves on; the next pass starts only when this one missed more than a node in two thousand.
    fn advance(&mut self, checked: u32) {
        self.next = self.next.saturating_add(checked.saturating_mul(self.stride)).min(self.total);
        if self.next == self.total {
            let enough = u64::from(self.missed) * u64::from(self.stride) * 2_000 <= u64::from(self.total);
            self.pass = if enough { FULL_PASSES + 1 } else { self.pass + 1 };
            (self.next, self.stride, self.missed) = (0, 1, 0);
        }
    }
}

impl GraphBuilder {
    /// Checks the next nodes, in the order of offsets; returns how many.
    pub(super) fn check_batch<C: Crew, R: Rows>(&mut self, crew: &C, rows: &R) -> u32 {
        if self.check.incoming.is_empty() {
            self.count_incoming();
        }
        let ef = self.default_ef(rows);
        let Self { lists, check, workers, .. } = self;
        let (first, stride) = (check.next, check.stride);
        let count = (check.total - first).div_ceil(stride).min(C::BATCH);
        share(crew, workers, count as usize, |worker, next| {
            for place in claims(next, count as usize) {
                let node = first + place as u32 * stride;
                dispatch!(kernel::level(), simd => worker.note_if_missed(simd, rows, lists, node, ef));
            }
        });
        let mut missed: Vec<_> = workers.iter().flat_map(|worker| worker.notes.iter()).collect();
        sort_by_key(&mut missed, |&(node, ..)| node);
        for (node, _, found) in missed {
            check.missed += 1;
            make_findable(lists, &mut check.incoming, node, found);
        }
        check.advance(count);
        count
    }

    fn count_incoming(&mut self) {
        let graph = &self.lists.graph;
        self.check.incoming.resize(graph.len(), 0);
        for &link in graph.links0.iter().filter(|&&link| link != NONE) {
            self.check.incoming[link as usize] += 1;
        }
    }

    /// Links every node in that a walk from the entry point does not meet.
    pub(super) fn connect_all<R: Rows>(&mut self, rows: &R) {
        if self.lists.graph.is_empty() {
            return;
        }
        let ef = self.default_ef(rows);
        let mut tree = vec![NONE; self.lists.graph.len()];
        let entry = self.lists.graph.entry;
        self.grow(&mut tree, entry, entry);
        for node in 0..tree.len() as u32 {
            if tree[node as usize] == NONE {
                let worker = &mut self.workers[0];
                dispatch!(kernel::level(), simd => worker.search_near(simd, rows, &self.lists, node, ef));
                let from = self.link_into_tree(&tree, node);
                self.grow(&mut tree, from, node);
            }
        }
    }

    /// Adds an unreached node and all that it leads to; `tree[x]` is the node from which x was reached.
    fn grow(&self, tree: &mut [u32], from: u32, node: u32) {
        let view = self.lists.graph.view();
        tree[node as usize] = from;
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            for &link in view.links(node, 0) {
                if tree[link as usize] == NONE {
                    tree[link as usize] = node;
                    open.push(link);
                }
            }
        }
    }

    /// Links an unreached node from the nearest reached one that has room; returns that one.
    fn link_into_tree(&mut self, tree: &[u32], node: u32) -> u32 {
        let reached = |from: u32| tree[from as usize] != NONE;
        let found: Vec<Met> = self.workers[0].found.iter().copied().filter(|met| reached(met.offset())).collect();
        for &from in &found {
            if self.lists.append(from.offset(), 0, Met::new(from.key(), node)) {
                return from.offset();
            }
        }
        let anywhere = (0..tree.len() as u32).filter(|&from| reached(from)).map(|from| Met::new(f32::NAN, from));
        for from in found.iter().copied().chain(anywhere) {
            let (links, _) = self.lists.list(from.offset(), 0);
            let slot = if links.len() < self.params.m0 as usize {
                links.len()
            } else if let Some(spare) = links.iter().rposition(|&link| tree[link as usize] != from.offset()) {
                spare
            } else {
                continue;
            };
            self.lists.replace(from.offset(), 0, slot, Met::new(from.key(), node));
            return from.offset();
        }
        unreachable!("r reached nodes have at least 2r slots and r-1 tree links")
    }
}

impl Worker {
    /// Notes what a search for a node found, if that is not the node itself.
    #[inline(always)]
    fn note_if_missed<S: Simd, R: Rows>(&mut self, simd: S, rows: &R, lists: &Lists, node: u32, ef: usize) {
        let own = self.search_near(simd, rows, lists, node, ef);
        let found = &self.found;
        // As many that are as near as the node itself (equal rows; longer ones by inner product) leave it no place.
        let crowded_out = found.len() == ef && found.last().is_some_and(|worst| worst.key() <= own);
        if !crowded_out && found.iter().all(|met| met.offset() != node) {
            self.notes.add(node, 0, found);
        }
    }
}

/// Links a node from the nearest of those that its search found: into a free slot, else in place of the link whose
/// target has the most others.
fn make_findable(lists: &mut Lists, incoming: &mut [u32], node: u32, found: &[Met]) {
    for from in found {
        if lists.append(from.offset(), 0, Met::new(from.key(), node)) {
            incoming[node as usize] += 1;
            return;
        }
    }
    let mut most = (1, None);
    for from in found {
        for (slot, &link) in lists.list(from.offset(), 0).0.iter().enumerate() {
            if incoming[link as usize] > most.0 {
                most = (incoming[link as usize], Some((*from, slot, link)));
            }
        }
    }
    if let Some((from, slot, link)) = most.1 {
        incoming[link as usize] -= 1;
        incoming[node as usize] += 1;
        lists.replace(from.offset(), 0, slot, Met::new(from.key(), node));
    }
}
