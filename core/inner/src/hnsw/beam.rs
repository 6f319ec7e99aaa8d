//! The nearest nodes met so far, and which of them to expand next.
//!
//! A node is packed into one integer, so that comparing integers compares (key, offset): the key's bits made monotone,
//! then the offset, then whether it was expanded.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// A node met by a search. Orders by key, then offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Met(u64);

const EXPANDED: u64 = 1;

impl Met {
    #[inline(always)]
    pub(super) fn new(key: f32, offset: u32) -> Self {
        let bits = key.to_bits();
        // The usual order of floats as integers: flip all bits of negatives, the sign of the others (as `total_cmp`).
        let ordered = bits ^ (((bits.cast_signed() >> 31).cast_unsigned()) | 0x8000_0000);
        Self((u64::from(ordered) << 32) | (u64::from(offset) << 1))
    }

    #[inline(always)]
    pub(super) fn key(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(ordered ^ (((!ordered).cast_signed() >> 31).cast_unsigned() | 0x8000_0000))
    }

    #[inline(always)]
    pub(super) fn offset(self) -> u32 {
        (self.0 as u32) >> 1
    }
}

/// What a search keeps.
pub(super) trait Beam {
    /// Forgets everything and keeps at most `ef` nodes from now on.
    fn reset(&mut self, ef: usize);
    /// Takes note of a node, if it is near enough to matter.
    fn offer(&mut self, met: Met);
    /// The nearest node that was not expanded, marked as expanded; `None` when the search is done.
    fn next(&mut self) -> Option<u32>;
}

/// One sorted array: every node is a result, and a node that fell out of the results is not worth expanding.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    met: Vec<Met>,
    ef: usize,
    /// All before it were expanded.
    cursor: usize,
}

impl Pool {
    pub(super) fn results(&self) -> impl Iterator<Item = Met> {
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
        let full = lists.results.len() == lists.ef;
        if full && lists.results.last().is_none_or(|worst| met >= *worst) {
            return;
        }
        lists.open.push(Reverse(met));
        if !(self.accept)(met.offset()) {
            return;
        }
        if full {
            lists.results.pop();
        }
        let at = lists.results.partition_point(|other| *other < met);
        lists.results.insert(at, met);
    }

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        let lists = &mut *self.lists;
        let Reverse(met) = lists.open.pop()?;
        let done = lists.results.len() == lists.ef && lists.results.last().is_some_and(|worst| met > *worst);
        (!done).then(|| met.offset())
    }
}
