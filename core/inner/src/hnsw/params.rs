//! The numbers that shape a graph, and their defaults.

use alloc::format;

use crate::error::{Error, Result};
use crate::metric::Metric;

/// The most links a node may have on a level.
const MAX_LINKS: u32 = 512;

/// The numbers that shape a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HnswParams {
    /// Links of a node on every level above 0 (M in the paper).
    pub m: u32,
    /// Links of a node on level 0.
    pub m0: u32,
    /// Nodes kept while a new node's neighbours are searched.
    pub ef_construction: u32,
    /// Decides the levels of nodes.
    pub seed: u64,
    /// Whether lists with few diverse links are filled with the nearest others. In trees the way to a leaf is dominated
    /// by its parent, which has room for a few: without filling most leaves would hang on one link, or none.
    pub fill: bool,
}

impl HnswParams {
    /// The defaults for rows of a metric and dimension.
    pub fn for_space(metric: Metric, dimension: usize) -> Self {
        let (m0, ef_construction) = match (metric, dimension) {
            (Metric::Poincare, _) => (64, 64),
            (_, 0..=16) => (32, 64),
            (_, 17..=128) => (32, 160),
            _ => (32, 100),
        };
        Self { m: 16, m0, ef_construction, seed: 0x5EED, fill: metric == Metric::Poincare }
    }

    /// How many links a new node gets on level 0, if so many are near.
    pub(super) fn fill_new(&self) -> usize {
        if self.fill { self.m0 as usize * 3 / 8 } else { 0 }
    }

    /// How many links a list of level 0 keeps when it is cut: at least, if it had so many, and at most. Room is left
    /// where lists are full of diverse links, or every further link would cut them again.
    pub(super) fn cut(&self) -> (usize, usize) {
        let slots = self.m0 as usize;
        if self.fill { (slots * 5 / 8, slots * 3 / 4) } else { (0, slots) }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// `InvalidArgument` when links or `ef_construction` are out of range.
    pub fn check(&self) -> Result<()> {
        if !(2..=MAX_LINKS).contains(&self.m) || !(self.m..=MAX_LINKS).contains(&self.m0) {
            return Err(Error::invalid_argument(format!(
                "a graph has 2 to {MAX_LINKS} links a node and level, and no fewer on level 0; not m = {}, m0 = {}",
                self.m, self.m0
            )));
        }
        if !(1..=65_536).contains(&self.ef_construction) {
            return Err(Error::invalid_argument(format!(
                "ef_construction is 1 to 65536, not {}",
                self.ef_construction
            )));
        }
        Ok(())
    }
}

/// How many nodes a search keeps when the caller does not say, in a graph of `len` nodes.
pub fn default_ef_search(metric: Metric, dimension: usize, len: usize) -> usize {
    let ef = match (metric, dimension) {
        (Metric::Poincare, _) => 96,
        (Metric::Dot, _) => 200,
        (_, 0..=16) => 64,
        (_, 17..=128) => 180,
        _ => 100,
    };
    ef.min(len.max(1))
}
