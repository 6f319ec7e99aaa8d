//! A pool for vectors of two nodes, as WebAssembly has them: a node's place is searched.

use alloc::vec::Vec;

use crate::hnsw::beam::{Beam, EXPANDED, Met};

/// See [`super`].
#[derive(Clone, Debug, Default)]
pub(in crate::hnsw) struct Pool {
    met: Vec<Met>,
    ef: usize,
    /// All before it were expanded.
    cursor: usize,
}

impl Pool {
    pub(in crate::hnsw) fn results(&self) -> impl Iterator<Item = Met> {
        self.met.iter().map(|met| Met(met.0 & !EXPANDED))
    }
}

impl Beam for Pool {
    fn reset(&mut self, ef: usize) {
        self.met.clear();
        self.met.reserve(ef + 1);
        self.ef = ef;
        self.cursor = 0;
    }

    #[inline(always)]
    fn offer(&mut self, met: Met) {
        if self.met.len() == self.ef {
            if self.met.last().is_none_or(|worst| met >= *worst) {
                return;
            }
            self.met.pop();
        }
        let at = self.met.partition_point(|other| *other < met);
        self.met.insert(at, met);
        self.cursor = self.cursor.min(at);
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while let Some(met) = self.met.get_mut(self.cursor) {
            self.cursor += 1;
            if met.0 & EXPANDED == 0 {
                met.0 |= EXPANDED;
                return Some(met.offset());
            }
        }
        None
    }

    #[inline(always)]
    fn upcoming(&self) -> Option<u32> {
        self.met.get(self.cursor).map(|met| met.offset())
    }
}
