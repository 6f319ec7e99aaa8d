//! After the last insertion: every node can be found.
//!
//! Heuristic selection leaves some nodes without incoming links, many where points crowd (leaves of a tree near the rim
//! of the Poincaré ball all link to their parent, which has room for a few). Two repairs:
//!
//! 1. [`GraphBuilder::check_next`]: a node to which few others link is searched as a user would search it; when the
//!    search misses it, one of the nodes that it found gets a link to it. Does most of the work, promises nothing.
//! 2. [`GraphBuilder::connect_all`]: a walk over level 0 from the entry point builds a tree of the reached nodes. For
//!    an unreached node, a link is added from a reached one: into a free slot, or in place of a link that is not in
//!    the tree. The tree keeps spanning everything reached, so the number of reached nodes rises with every step; and
//!    there is always such a slot, since r reached nodes have r·m0 slots (m0 >= 2) and only r-1 tree links.

use alloc::vec;
use alloc::vec::Vec;

use fearless_simd::{Simd, dispatch};

use super::beam::Met;
use super::build::{BuildScratch, GraphBuilder};
use super::graph::NONE;
use crate::kernel;
use crate::metric::{Probe, VectorSpace};

impl GraphBuilder {
    /// Checks one node, in the order of offsets.
    #[inline(always)]
    pub(super) fn check_next<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>) {
        if self.checked == 0 {
            self.count_incoming();
        }
        let node = self.checked;
        self.checked += 1;
        if self.incoming[node as usize] as usize >= crate::hnsw::tune::get(3) {
            return;
        }
        self.search_near(simd, space, node, self.default_ef(space));
        if self.scratch.found.iter().any(|met| met.offset() == node) {
            return;
        }
        let free =
            self.scratch.found.iter().find(|met| self.lists.list(met.offset(), 0).0.len() < self.params.m0 as usize);
        if let Some(from) = free.copied() {
            self.lists.append(from.offset(), 0, Met::new(from.key(), node));
            self.incoming[node as usize] += 1;
            return;
        }
        // Give up the farthest link to a node that several others link to.
        for from in &self.scratch.found {
            let (links, keys) = self.lists.list(from.offset(), 0);
            let spare = (0..links.len()).filter(|&slot| self.incoming[links[slot] as usize] > 4);
            let Some(slot) = spare.max_by(|&a, &b| keys[a].total_cmp(&keys[b]).then(a.cmp(&b))) else { continue };
            self.incoming[links[slot] as usize] -= 1;
            self.incoming[node as usize] += 1;
            let (from, met) = (from.offset(), Met::new(from.key(), node));
            self.lists.replace(from, 0, slot, met);
            return;
        }
    }

    fn count_incoming(&mut self) {
        self.incoming.clear();
        self.incoming.resize(self.lists.graph.len(), 0);
        for &link in self.lists.graph.links0.iter().filter(|&&link| link != NONE) {
            self.incoming[link as usize] += 1;
        }
    }

    /// Searches level 0 near a stored row, as a user's search would; leaves the answer in `found`.
    #[inline(always)]
    fn search_near<S: Simd>(&mut self, simd: S, space: &VectorSpace<'_>, node: u32, ef: usize) {
        let BuildScratch { walk, pool, found, unit, .. } = &mut self.scratch;
        let view = self.lists.graph.view();
        let probe = Probe::stored(space, node, unit);
        let nearest = walk.descend(simd, &view, space, probe, 0);
        walk.start(view.len(), ef, core::iter::once(nearest), pool);
        walk.search_level(simd, &view, space, probe, 0, pool);
        found.clear();
        found.extend(pool.results());
    }

    /// Links every node in that a walk from the entry point does not meet.
    pub(super) fn connect_all(&mut self, space: &VectorSpace<'_>) {
        if self.lists.graph.is_empty() {
            return;
        }
        let mut tree = vec![NONE; self.lists.graph.len()];
        let entry = self.lists.graph.entry;
        self.grow(&mut tree, entry, entry);
        for node in 0..tree.len() as u32 {
            if tree[node as usize] == NONE {
                dispatch!(kernel::level(), simd => self.search_near(simd, space, node, self.default_ef(space)));
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
        let found: Vec<Met> = self.scratch.found.iter().copied().filter(|met| reached(met.offset())).collect();
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
