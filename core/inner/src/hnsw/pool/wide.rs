//! A pool for wide vectors: a node gets its place by a comparison of whole blocks.
//!
//! A search for the place would be a chain of loads that wait for each other, and a branch about each node that was scored
//! would be guessed wrong every third time. Walks are 1.1 to 1.2 times as quick so, builds 1.1 times.

use alloc::vec::Vec;

use fearless_simd::Simd;

use crate::hnsw::beam::{Beam, EXPANDED, Met};
use crate::metric::Batch;

/// Slots that are moved together.
const BLOCK: usize = 8;

/// See [`super`].
#[derive(Clone, Debug, Default)]
pub(in crate::hnsw) struct Pool {
    /// [`Met::LEAST`], then `ef` slots: the results ascending, then [`Met::EMPTY`]; then what fell out, to the end of a
    /// block.
    slots: Vec<Met>,
    len: usize,
    ef: usize,
    /// All before it were expanded.
    cursor: usize,
    /// Of a batch, those that matter.
    near: Vec<Met>,
}

impl Pool {
    pub(in crate::hnsw) fn results(&self) -> impl Iterator<Item = Met> {
        self.slots.iter().skip(1).take(self.len).map(|met| Met(met.0 & !EXPANDED))
    }

    /// What is not before it does not matter.
    #[inline(always)]
    fn bound(&self) -> Met {
        self.slots[self.ef]
    }

    /// Makes a list of the scored that matter, without a branch about each; returns how many there are.
    #[inline(always)]
    fn collect_near(&mut self, batch: &Batch) -> usize {
        let (bound, mut near) = (self.bound(), 0);
        self.near.resize(batch.offsets.len(), bound);
        for (key, offset) in batch.scored() {
            let met = Met::new(key, offset);
            self.near[near] = met;
            near += usize::from(met < bound);
        }
        near
    }

    /// Puts a node into its slot and moves those behind it by one; returns the slot.
    ///
    /// One pass from behind without a branch about each slot: `new[i] = min(old[i], max(old[i - 1], met))`.
    #[inline(always)]
    fn insert(&mut self, met: Met) -> usize {
        let mut start = 1 + self.len / BLOCK * BLOCK;
        loop {
            let (before, slots) = self.slots[start - 1..start + BLOCK].split_at_mut(1);
            let slots: &mut [Met; BLOCK] = slots.try_into().expect("a block is a block");
            let old = *slots;
            let mut nearer = 0;
            for at in 0..BLOCK {
                let left = if at == 0 { before[0] } else { old[at - 1] };
                slots[at] = old[at].min(left.max(met));
                nearer += usize::from(old[at] < met);
            }
            if before[0] < met {
                return start + nearer;
            }
            start -= BLOCK;
        }
    }
}

impl Beam for Pool {
    fn reset(&mut self, ef: usize) {
        self.slots.clear();
        self.slots.resize(1 + (ef / BLOCK + 1) * BLOCK, Met::EMPTY);
        self.slots[0] = Met::LEAST;
        self.len = 0;
        self.ef = ef;
        self.cursor = 1;
    }

    #[inline(always)]
    fn offer(&mut self, met: Met) {
        if met < self.bound() {
            let at = self.insert(met);
            self.cursor = self.cursor.min(at);
            self.len = self.ef.min(self.len + 1);
        }
    }

    /// Never inlined: one copy for each instruction set instead of one for each kind of walk.
    #[inline(never)]
    fn offer_all<S: Simd>(&mut self, simd: S, batch: &Batch) {
        simd.vectorize(
            #[inline(always)]
            || {
                let near = self.collect_near(batch);
                for at in 0..near {
                    self.offer(self.near[at]);
                }
            },
        );
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while self.cursor <= self.len {
            let met = &mut self.slots[self.cursor];
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
        (self.cursor <= self.len).then(|| self.slots[self.cursor].offset())
    }
}
