//! Sorting, in the few instructions that a download may have.
//!
//! The standard library's sorts are quick and large: 15 to 70 KB of wasm for each type that is sorted, a fifth of the whole
//! engine. On wasm a Shell sort (Shell, CACM 1959) with the gaps of Ciura (2001), which grow by 9/4 beyond them, takes 300
//! bytes. Most of what is sorted here is a few hundred candidates that are nearly in order, which it is good at.
//!
//! Invariant: where the order is total the outcome is the same on every platform. Equal items may change places.

use core::cmp::Ordering;

/// The best known gaps between items that are compared.
const GAPS: [usize; 8] = [1, 4, 10, 23, 57, 132, 301, 701];

/// Sorts by an order.
#[inline]
pub fn sort_by<T>(items: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
    if cfg!(target_arch = "wasm32") {
        shell_sort(items, &order);
    } else {
        items.sort_unstable_by(order);
    }
}

/// Sorts by a key.
#[inline]
pub fn sort_by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    sort_by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts by the items' own order.
#[inline]
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

fn shell_sort<T>(items: &mut [T], order: &impl Fn(&T, &T) -> Ordering) {
    let mut gap = GAPS[GAPS.len() - 1];
    while gap < items.len() / 9 * 4 {
        gap = gap / 4 * 9;
    }
    while gap > 0 {
        for end in gap..items.len() {
            let mut at = end;
            while at >= gap && order(&items[at - gap], &items[at]).is_gt() {
                items.swap(at - gap, at);
                at -= gap;
            }
        }
        gap = match GAPS.iter().rposition(|&best| best < gap) {
            Some(at) if at + 1 < GAPS.len() => GAPS[at],
            // Above the best known ones.
            Some(at) => (gap / 9 * 4).max(GAPS[at]),
            None => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn both_sorts_agree_whatever_the_length_and_the_order_before() {
        let mut state = 1_u64;
        for len in (0..200).chain([700, 702, 1_600, 5_000, 100_000]) {
            for most in [1, 3, 1 << 40] {
                let items: Vec<u64> = (0..len)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 20) % most
                    })
                    .collect();
                let mut expected = items.clone();
                expected.sort_unstable();
                for mut sorted in [items.clone(), expected.clone(), expected.iter().rev().copied().collect()] {
                    shell_sort(&mut sorted, &u64::cmp);
                    assert!(sorted == expected, "{len} items below {most}");
                }
            }
        }
    }

    #[test]
    fn items_are_sorted_by_key_and_by_order() {
        let mut pairs = [(3, 'a'), (1, 'c'), (2, 'b')];
        sort_by_key(&mut pairs, |pair| pair.1);
        assert_eq!(pairs, [(3, 'a'), (2, 'b'), (1, 'c')]);
        sort(&mut pairs);
        assert_eq!(pairs, [(1, 'c'), (2, 'b'), (3, 'a')]);
    }
}
