//! The nearest nodes met so far, and which of them to expand next.
//!
//! A node is packed into one integer, so that comparing integers compares (key, offset): the key's bits made monotone,
//! then the offset, then whether it was expanded.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use fearless_simd::Simd;

use crate::metric::Batch;

/// A node met by a search. Orders by key, then offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Met(pub(super) i64);

pub(super) const EXPANDED: i64 = 1;

impl Met {
    /// Before every node.
    #[cfg(any(test, target_arch = "x86_64"))]
    pub(super) const LEAST: Self = Self(i64::MIN);
    /// Behind every node.
    pub(super) const EMPTY: Self = Self(i64::MAX);

    #[inline(always)]
    pub(super) fn new(key: f32, offset: u32) -> Self {
        Self((i64::from(monotone(key.to_bits().cast_signed())) << 32) | (i64::from(offset) << 1))
    }

    #[inline(always)]
    pub(super) fn key(self) -> f32 {
        f32::from_bits(monotone((self.0 >> 32) as i32).cast_unsigned())
    }

    #[inline(always)]
    pub(super) fn offset(self) -> u32 {
        self.0.cast_unsigned() as u32 >> 1
    }
}

/// The usual order of floats as integers: all bits of negatives but the sign are flipped (as `total_cmp`); its own inverse.
#[inline(always)]
fn monotone(bits: i32) -> i32 {
    bits ^ (bits >> 31) & i32::MAX
}

/// What a search keeps.
pub(super) trait Beam {
    /// Forgets everything and keeps at most `ef` nodes from now on.
    fn reset(&mut self, ef: usize);
    /// Takes note of a node, if it is near enough to matter.
    fn offer(&mut self, met: Met);
    /// Takes note of a batch that was scored.
    #[inline(always)]
    fn offer_all<S: Simd>(&mut self, _: S, batch: &Batch) {
        for (key, offset) in batch.scored() {
            self.offer(Met::new(key, offset));
        }
    }
    /// The nearest node that was not expanded, marked as expanded; `None` when the search is done.
    fn next(&mut self) -> Option<u32>;
    /// The node that is next if nothing nearer is met.
    fn upcoming(&self) -> Option<u32>;
}

/// Results that satisfy a condition, beside a heap of everything that leads on.
pub(super) struct Filtered<'f, 'b> {
    pub(super) accept: &'f dyn Fn(u32) -> bool,
    pub(super) lists: &'b mut FilteredLists,
}

/// The arrays of [`Filtered`], kept from search to search.
#[derive(Clone, Debug, Default)]
pub(super) struct FilteredLists {
    results: Vec<Met>,
    open: BinaryHeap<Reverse<Met>>,
    ef: usize,
}

impl FilteredLists {
    /// What is not before it does not matter.
    #[inline(always)]
    fn bound(&self) -> Met {
        self.results.get(self.ef - 1).copied().unwrap_or(Met::EMPTY)
    }

    pub(super) fn results(&self) -> impl Iterator<Item = Met> {
        self.results.iter().copied()
    }
}

impl Beam for Filtered<'_, '_> {
    fn reset(&mut self, ef: usize) {
        self.lists.results.clear();
        self.lists.open.clear();
        self.lists.ef = ef;
    }

    #[inline(always)]
    fn offer(&mut self, met: Met) {
        let lists = &mut *self.lists;
        if met >= lists.bound() {
            return;
        }
        lists.open.push(Reverse(met));
        if (self.accept)(met.offset()) {
            lists.results.truncate(lists.ef - 1);
            let at = lists.results.partition_point(|other| *other < met);
            lists.results.insert(at, met);
        }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let Reverse(met) = self.lists.open.pop()?;
        (met <= self.lists.bound()).then(|| met.offset())
    }

    #[inline(always)]
    fn upcoming(&self) -> Option<u32> {
        self.lists.open.peek().map(|met| met.0.offset())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Met;

    #[test]
    fn nodes_order_by_key_then_offset_and_give_both_back() {
        let keys = [f32::NEG_INFINITY, -2.5, -f32::MIN_POSITIVE, -0.0, 0.0, 1e-40, 1.0, f32::MAX, f32::INFINITY];
        let nodes = keys.iter().flat_map(|&key| [0, 1, 7, (1 << 31) - 1].map(|offset| (key, offset)));
        let met: Vec<Met> = nodes.clone().map(|(key, offset)| Met::new(key, offset)).collect();
        assert!(met.is_sorted_by(|a, b| a < b), "{met:?}");
        assert!(met.iter().all(|met| (Met::LEAST..Met::EMPTY).contains(met)));
        for ((key, offset), met) in nodes.zip(met) {
            assert_eq!((key.to_bits(), offset), (met.key().to_bits(), met.offset()));
        }
    }
}
