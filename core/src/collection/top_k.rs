//! The k nearest of a scan: a sorted array with early reject against its worst.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Keeps the `k` smallest keys seen; of equal keys the ones that `tie` orders first.
#[derive(Debug)]
pub(super) struct TopK<P> {
    k: usize,
    items: Vec<(f32, P)>,
}

impl<P: Copy> TopK<P> {
    pub(super) const fn new(k: usize) -> Self {
        Self { k, items: Vec::new() }
    }

    /// Offers one place; `tie` is asked only when keys are equal.
    #[inline]
    pub(super) fn push(&mut self, key: f32, place: P, tie: impl Fn(P, P) -> Ordering) {
        let order = |item: &(f32, P)| item.0.total_cmp(&key).then_with(|| tie(item.1, place));
        if self.items.len() == self.k {
            match self.items.last() {
                Some(worst) if order(worst).is_gt() => drop(self.items.pop()),
                _ => return,
            }
        }
        let at = self.items.partition_point(|item| order(item).is_lt());
        self.items.insert(at, (key, place));
    }

    /// What was kept, nearest first.
    pub(super) fn places(&self) -> impl Iterator<Item = P> + '_ {
        self.items.iter().map(|item| item.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_keys_stay_and_equal_keys_go_by_the_tie() {
        let keys = [5.0, 1.0, 1.0, 3.0, 1.0, 0.5, 9.0, 1.0];
        for k in 0..=keys.len() + 1 {
            let mut top = TopK::new(k);
            for (place, &key) in keys.iter().enumerate().rev() {
                top.push(key, place, |a, b| a.cmp(&b));
            }
            let mut expected: Vec<usize> = (0..keys.len()).collect();
            expected.sort_by(|&a, &b| keys[a].total_cmp(&keys[b]).then(a.cmp(&b)));
            expected.truncate(k);
            assert_eq!(top.places().collect::<Vec<_>>(), expected, "k {k}");
        }
    }
}
