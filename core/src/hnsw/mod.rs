//! Hierarchical navigable small world graph (Malkov & Yashunin, 2018).
//!
//! Maps a query to the offsets of near rows. Knows offsets and ranking keys; not ids, metadata, persistence or threads.
//!
//! - A graph is built in slices ([`GraphBuilder::step`]) over rows that do not change, or extended from one whose dead
//!   nodes were dropped ([`Graph::retain`]). The result depends on rows, parameters and seed, not on the slices.
//! - It is searched where it lies ([`GraphView`] borrows its arrays), after one check of its structure.
//!
//! Invariant of a finished graph: a walk over the links of level 0 from the entry point meets every node.

mod beam;
mod build;
mod graph;
mod lists;
mod params;
mod repair;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod visited;

pub use build::GraphBuilder;
pub use graph::{Graph, GraphParts, GraphView, NONE};
pub use params::{HnswParams, default_ef_search};
pub use search::{Candidate, Found, SearchScratch, search};

#[doc(hidden)]
#[allow(missing_docs)]
pub mod tune {
    use core::sync::atomic::{AtomicU32, Ordering};
    // 0: fill of a new node, 1: fill after a cut, 2: slots used by building, 3: check nodes with fewer incoming,
    pub static KNOBS: [AtomicU32; 6] = [
        AtomicU32::new(16),
        AtomicU32::new(24),
        AtomicU32::new(32),
        AtomicU32::new(9999),
        AtomicU32::new(0),
        AtomicU32::new(0),
    ];
    pub fn get(i: usize) -> usize {
        KNOBS[i].load(Ordering::Relaxed) as usize
    }
}
