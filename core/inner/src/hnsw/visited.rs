//! The set of nodes met by a search, emptied in constant time: a node is in it when its mark is the current epoch.

use alloc::vec::Vec;

#[derive(Clone, Debug, Default)]
pub(super) struct Visited {
    marks: Vec<u16>,
    epoch: u16,
}

impl Visited {
    /// Empties the set and makes room for nodes `0..len`.
    pub(super) fn reset(&mut self, len: usize) {
        if self.marks.len() < len {
            self.marks.resize(len, 0);
        }
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.marks.fill(0);
            self.epoch = 1;
        }
    }

    /// Adds a node; whether it was new.
    #[inline(always)]
    pub(super) fn insert(&mut self, node: u32) -> bool {
        let mark = &mut self.marks.as_mut_slice()[node as usize];
        let new = *mark != self.epoch;
        *mark = self.epoch;
        new
    }
}
