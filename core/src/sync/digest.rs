//! A digest of the live points of a space: how many there are, and the sum of their keyed hashes.
//!
//! Adding makes it incremental (a point that comes is added, one that goes is subtracted) and independent of order. A sum
//! is not cancelled by what is counted twice, as an exclusive or would be; and because clients choose ids, the hash is
//! keyed by what only the space's replicas know, or a client could choose points whose hashes add up to nothing.
//! Tombstones are left out: two replicas in agreement may have dropped different ones.

use alloc::vec::Vec;

use crate::bytes::Writer;
use crate::types::{IdKey, Stamp};

/// The key of a space's digests, drawn by the server that made the space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpaceKey(pub [u8; 32]);

impl core::fmt::Debug for SpaceKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SpaceKey(..)")
    }
}

/// A live point as digests see it. Items order by time, then id: recent differences lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// When it was written.
    pub hlc: u64,
    /// Its id.
    pub key: IdKey,
    /// The keyed hash of its id, its stamp and its content.
    pub hash: u128,
}

impl Item {
    /// The item of a point with this body: its term, vector and metadata.
    pub fn of_body(space: &SpaceKey, key: IdKey, stamp: Stamp, body: &[u8]) -> Self {
        Self::new(space, key, stamp, &first_16(&blake3::hash(body)))
    }

    /// The item of a point whose parts lie apart.
    pub fn of_parts(space: &SpaceKey, key: IdKey, stamp: Stamp, term: f32, vector: &[f32], metadata: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&term.to_le_bytes()).update(bytemuck::cast_slice(vector)).update(metadata);
        Self::new(space, key, stamp, &first_16(&hasher.finalize()))
    }

    /// The item of a point whose body has the given hash.
    pub fn new(space: &SpaceKey, key: IdKey, stamp: Stamp, content: &[u8; 16]) -> Self {
        let mut bytes = [0; 16 + 24 + 16];
        bytes[..16].copy_from_slice(&key.0);
        bytes[16..24].copy_from_slice(&stamp.hlc.to_le_bytes());
        bytes[24..32].copy_from_slice(&stamp.writer.to_le_bytes());
        bytes[32..40].copy_from_slice(&stamp.cseq.to_le_bytes());
        bytes[40..].copy_from_slice(content);
        let hash = blake3::keyed_hash(&space.0, &bytes);
        Self { hlc: stamp.hlc, key, hash: u128::from_le_bytes(first_16(&hash)) }
    }
}

fn first_16(hash: &blake3::Hash) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(&hash.as_bytes()[..16]);
    first
}

/// How many items a set has, and the sum of their hashes modulo 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many.
    pub count: u64,
    /// The sum.
    pub sum: u128,
}

impl Digest {
    /// Takes an item in.
    pub const fn add(&mut self, item: &Item) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(item.hash);
    }

    /// Takes an item out that was taken in.
    pub const fn subtract(&mut self, item: &Item) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(item.hash);
    }

    /// This set and another that has nothing in common with it.
    #[must_use]
    pub const fn with(&self, other: &Self) -> Self {
        Self { count: self.count.wrapping_add(other.count), sum: self.sum.wrapping_add(other.sum) }
    }

    /// What is left of this set without one of its subsets.
    #[must_use]
    pub const fn without(&self, subset: &Self) -> Self {
        Self { count: self.count.wrapping_sub(subset.count), sum: self.sum.wrapping_sub(subset.sum) }
    }

    /// Twelve bytes that are equal for equal sets, and for others hardly ever.
    pub fn fingerprint(&self) -> [u8; 12] {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&self.sum.to_le_bytes());
        bytes.put_u64(self.count);
        let mut fingerprint = [0; 12];
        fingerprint.copy_from_slice(&blake3::hash(&bytes).as_bytes()[..12]);
        fingerprint
    }
}

impl<'a> FromIterator<&'a Item> for Digest {
    fn from_iter<I: IntoIterator<Item = &'a Item>>(items: I) -> Self {
        let mut digest = Self::default();
        items.into_iter().for_each(|item| digest.add(item));
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;

    fn item(id: u64, cseq: u64, content: u8) -> Item {
        let stamp = Stamp { hlc: 5, writer: 1, cseq };
        Item::new(&SpaceKey([7; 32]), PointId::Int(id).key(), stamp, &[content; 16])
    }

    #[test]
    fn a_digest_depends_on_what_is_in_a_set_and_not_on_how_it_got_there() {
        let all = [item(1, 1, 0), item(2, 2, 0), item(3, 3, 0)];
        let forwards: Digest = all.iter().collect();
        let mut backwards: Digest = all.iter().rev().collect();
        assert_eq!(forwards, backwards);
        let passing = item(4, 4, 0);
        backwards.add(&passing);
        assert_ne!(forwards, backwards);
        backwards.subtract(&passing);
        assert_eq!(forwards, backwards);
        assert_eq!(forwards.without(&all[..1].iter().collect()), all[1..].iter().collect());
    }

    #[test]
    fn sets_that_differ_in_one_point_one_stamp_one_content_or_one_repetition_have_other_digests() {
        let base: Digest = [item(1, 1, 0), item(2, 2, 0)].iter().collect();
        let others = [
            [item(1, 1, 0), item(3, 2, 0)].iter().collect::<Digest>(),
            [item(1, 1, 0), item(2, 3, 0)].iter().collect(),
            [item(1, 1, 0), item(2, 2, 1)].iter().collect(),
            [item(1, 1, 0)].iter().collect(),
            [item(1, 1, 0), item(2, 2, 0), item(2, 2, 0), item(2, 2, 0)].iter().collect(),
        ];
        for other in others {
            assert_ne!(base, other);
            assert_ne!(base.fingerprint(), other.fingerprint());
        }
        let elsewhere =
            Item::new(&SpaceKey([8; 32]), item(1, 1, 0).key, Stamp { hlc: 5, writer: 1, cseq: 1 }, &[0; 16]);
        assert_ne!(elsewhere.hash, item(1, 1, 0).hash, "the key of the space counts");
    }
}
