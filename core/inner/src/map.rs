//! An ordered map in the few instructions that a download may have.
//!
//! The standard library's takes 6 to 25 KB of wasm for each type of its entries, a seventh of the whole engine. This one is
//! a sorted list of sorted blocks, and takes one or two: an insertion moves the entries of one block, and when that is full
//! the list of blocks, so it costs the square root of what is there, with a factor so small that no map here feels it.
//!
//! Invariants: no block is empty or longer than `MOST`; keys rise through all blocks, each stands once.

use alloc::vec::{self, Vec};
use core::borrow::Borrow;
use core::fmt;
use core::iter::{Flatten, Skip};
use core::{mem, slice};

/// The longest block.
const MOST: usize = 128;

/// Values by key, in the order of the keys.
#[derive(Clone)]
pub struct Map<K, V> {
    blocks: Vec<Vec<(K, V)>>,
}

impl<K, V> Map<K, V> {
    /// A map without entries.
    pub const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// All entries, their keys rising.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(self.blocks.iter().flatten())
    }

    /// All keys, rising.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.blocks.iter().flatten().map(|(key, _)| key)
    }

    /// All values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.blocks.iter().flatten().map(|(_, value)| value)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.blocks.iter_mut().flatten().map(|(_, value)| value)
    }

    /// All values without their keys.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.blocks.into_iter().flatten().map(|(_, value)| value)
    }

    /// Keeps the entries that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.blocks.iter_mut().for_each(|block| block.retain_mut(|(key, value)| keep(key, value)));
        self.blocks.retain(|block| !block.is_empty());
    }
}

impl<K: Ord, V> Map<K, V> {
    /// Block and slot of a key, or where it belongs.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<(usize, usize), (usize, usize)>
    where
        K: Borrow<Q>,
    {
        let at = self.blocks.partition_point(|block| block[0].0.borrow() <= key).saturating_sub(1);
        let Some(block) = self.blocks.get(at) else { return Err((0, 0)) };
        match block.binary_search_by(|(other, _)| other.borrow().cmp(key)) {
            Ok(slot) => Ok((at, slot)),
            Err(slot) => Err((at, slot)),
        }
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (at, slot) = self.find(key).ok()?;
        Some(&self.blocks[at][slot].1)
    }

    /// The value of a key, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (at, slot) = self.find(key).ok()?;
        Some(&mut self.blocks[at][slot].1)
    }

    /// Whether there is a value of a key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// The entries from a key on, whether it is there or not.
    pub fn range_from<Q: Ord + ?Sized>(&self, key: &Q) -> Skip<Iter<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let (Ok((at, slot)) | Err((at, slot))) = self.find(key);
        Iter(self.blocks[at..].iter().flatten()).skip(slot)
    }

    /// Puts a value under a key, and gives back the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (at, slot) = match self.find(&key) {
            Ok((at, slot)) => return Some(mem::replace(&mut self.blocks[at][slot].1, value)),
            Err(place) => place,
        };
        if self.blocks.is_empty() {
            self.blocks.push(Vec::new());
        }
        let block = &mut self.blocks[at];
        block.insert(slot, (key, value));
        if block.len() > MOST {
            // Keys that come in order fill every block.
            let rest = block.split_off(if slot == MOST { MOST } else { MOST / 2 });
            self.blocks.insert(at + 1, rest);
        }
        None
    }

    /// Takes a key and its value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, slot) = self.find(key).ok()?;
        let (_, value) = self.blocks[at].remove(slot);
        if self.blocks[at].is_empty() {
            self.blocks.remove(at);
        }
        Some(value)
    }
}

/// The entries of a map, borrowed.
#[derive(Clone)]
pub struct Iter<'a, K, V>(Flatten<slice::Iter<'a, Vec<(K, V)>>>);

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, value))
    }
}

impl<'a, K, V> IntoIterator for &'a Map<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> IntoIterator for Map<K, V> {
    type Item = (K, V);
    type IntoIter = Flatten<vec::IntoIter<Vec<(K, V)>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_iter().flatten()
    }
}

/// Of equal keys the last one stays.
impl<K: Ord, V> Extend<(K, V)> for Map<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Map<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Map<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for Map<K, V> {
    /// Equal entries, however they are divided into blocks.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Eq, V: Eq> Eq for Map<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    fn holds_its_invariants(map: &Map<u32, u32>) -> bool {
        let keys: Vec<u32> = map.keys().copied().collect();
        map.blocks.iter().all(|block| (1..=MOST).contains(&block.len())) && keys.is_sorted_by(|a, b| a < b)
    }

    #[test]
    fn it_does_what_the_standard_map_does() {
        let mut state = 1_u64;
        let mut draw = |below: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u32 % below
        };
        for keys in [3, 200, 3_000, 100_000] {
            let (mut map, mut model) = (Map::new(), BTreeMap::new());
            for step in 0..20_000 {
                // Growing, then shrinking.
                let key = draw(keys);
                if draw(10_000) < 20_000 - step {
                    assert_eq!(map.insert(key, step), model.insert(key, step));
                } else {
                    assert_eq!(map.remove(&key), model.remove(&key));
                }
                let key = draw(keys);
                assert_eq!(map.get(&key), model.get(&key));
                assert_eq!(map.contains_key(&key), model.contains_key(&key));
                if step % 100 == 0 {
                    assert!(holds_its_invariants(&map), "{keys} keys, step {step}");
                    assert_eq!(map.len(), model.len());
                    assert!(map.iter().eq(&model) && map.range_from(&key).eq(model.range(key..)));
                }
                if step % 5_000 == 4_999 {
                    map.retain(|key, _| key % 3 != 0);
                    model.retain(|key, _| key % 3 != 0);
                    map.values_mut().for_each(|value| *value += 1);
                    model.values_mut().for_each(|value| *value += 1);
                }
            }
            assert!(map.clone().into_values().eq(model.values().copied()));
            assert!(map.into_iter().eq(model));
        }
    }

    #[test]
    fn maps_are_equal_by_their_entries_and_not_by_how_they_came() {
        let entries = |order: &dyn Fn(u32) -> u32| (0..1_000).map(|at| (order(at), 0)).collect::<Map<u32, u32>>();
        let (rising, falling) = (entries(&|at| at), entries(&|at| 999 - at));
        assert_eq!(rising, falling);
        assert_eq!(rising.blocks.len(), 1_000_usize.div_ceil(MOST), "keys in order fill every block");
        assert_ne!(rising.blocks.len(), falling.blocks.len());
        assert_ne!(rising, entries(&|at| at * 2));
        assert_eq!(Map::from([(1, 'a'), (1, 'b')]), Map::from([(1, 'b')]), "the last of equal keys stays");
    }

    #[test]
    fn a_map_without_entries_has_nothing() {
        let mut map = Map::<u32, u32>::new();
        assert!(map.is_empty() && map.get(&1).is_none() && map.remove(&1).is_none());
        assert_eq!((map.iter().count(), map.range_from(&0).count()), (0, 0));
        map.insert(1, 2);
        map.remove(&1);
        assert!(map.is_empty() && holds_its_invariants(&map));
    }
}
