//! Hierarchical navigable small world graph (Malkov & Yashunin, 2018).
//!
//! Maps a query to the offsets of near rows. Knows offsets and ranking keys; not ids, metadata, persistence or threads, nor
//! in what form rows are stored ([`Rows`](crate::metric::Rows)).
//!
//! - A graph is built in slices ([`GraphBuilder::step`]) over rows that do not change, or extended from one whose dead
//!   nodes were dropped ([`Graph::retain`]). The result depends on rows, parameters, seed and the largest batch that a
//!   [`Crew`] takes, not on the slices, nor on how many build it.
//! - It is searched where it lies ([`GraphView`] borrows its arrays), after one check of its structure.
//!
//! Invariant of a finished graph: a walk over the links of level 0 from the entry point meets every node.

#![allow(clippy::inline_always, reason = "code below a dispatch is compiled for its instructions only when inlined")]

mod beam;
mod build;
mod crew;
mod graph;
mod lists;
mod params;
mod pool;
mod repair;
mod search;
mod select;
#[cfg(test)]
mod tests;
mod visited;
mod worker;

pub use build::GraphBuilder;
pub use crew::{Alone, Crew};
pub use graph::{Graph, GraphParts, GraphView, NONE};
pub use params::{HnswParams, default_ef_search};
pub use search::{Candidate, Found, SearchScratch, search};
