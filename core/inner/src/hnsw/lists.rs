//! The graph under construction: its lists, and beside every link the key between its two ends.
//!
//! Keys between stored rows hold the factors of both ends, so they are equal in both directions and may be compared
//! with each other. They are not part of the graph: links that come from a sealed one start as unknown (NaN) and are
//! scored when their list is first cut.

use alloc::vec;
use alloc::vec::Vec;

use super::beam::Met;
use super::graph::{Graph, NONE, used};

#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub(super) graph: Graph,
    keys0: Vec<f32>,
    upper_keys: Vec<f32>,
}

impl Lists {
    pub(super) fn new(graph: Graph) -> Self {
        let (keys0, upper_keys) = (vec![f32::NAN; graph.links0.len()], vec![f32::NAN; graph.upper.len()]);
        Self { graph, keys0, upper_keys }
    }

    pub(super) fn reserve(&mut self, nodes: usize) {
        let slots = nodes * self.graph.m0 as usize;
        self.graph.levels.reserve_exact(nodes);
        self.graph.upper_at.reserve_exact(nodes);
        self.graph.links0.reserve_exact(slots);
        self.keys0.reserve_exact(slots);
    }

    /// Appends a node without links.
    pub(super) fn push(&mut self, level: u8) {
        self.graph.push(level);
        self.keys0.resize(self.graph.links0.len(), f32::NAN);
        self.upper_keys.resize(self.graph.upper.len(), f32::NAN);
    }

    /// The links of a node and their keys.
    #[inline]
    pub(super) fn list(&self, node: u32, level: u8) -> (&[u32], &[f32]) {
        let slots = self.graph.slots(node, level);
        let (links, keys) = if level == 0 {
            (&self.graph.links0[slots.clone()], &self.keys0[slots])
        } else {
            (&self.graph.upper[slots.clone()], &self.upper_keys[slots])
        };
        let len = used(links);
        (&links[..len], &keys[..len])
    }

    fn slots_mut(&mut self, node: u32, level: u8) -> (&mut [u32], &mut [f32]) {
        let slots = self.graph.slots(node, level);
        if level == 0 {
            (&mut self.graph.links0[slots.clone()], &mut self.keys0[slots])
        } else {
            (&mut self.graph.upper[slots.clone()], &mut self.upper_keys[slots])
        }
    }

    /// Replaces the list of a node.
    pub(super) fn set(&mut self, node: u32, level: u8, chosen: &[Met]) {
        let (links, keys) = self.slots_mut(node, level);
        links[chosen.len()..].fill(NONE);
        for ((link, key), met) in links.iter_mut().zip(keys).zip(chosen) {
            (*link, *key) = (met.offset(), met.key());
        }
    }

    /// Adds a link when there is a free slot; whether there was one.
    pub(super) fn append(&mut self, node: u32, level: u8, met: Met) -> bool {
        let (links, keys) = self.slots_mut(node, level);
        let Some(free) = links.iter().position(|&link| link == NONE) else { return false };
        (links[free], keys[free]) = (met.offset(), met.key());
        true
    }

    /// Puts a link in the place of another.
    pub(super) fn replace(&mut self, node: u32, level: u8, slot: usize, met: Met) {
        let (links, keys) = self.slots_mut(node, level);
        (links[slot], keys[slot]) = (met.offset(), met.key());
    }
}
