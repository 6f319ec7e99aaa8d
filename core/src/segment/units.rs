//! How a segment is verified while it arrives: in units, whose hashes are inner nodes of the tree that has the segment's name
//! at its root. So each unit is known to be right before the next one is there, and nothing is hashed twice.
//!
//! Invariant relied upon: a unit is a power of two of BLAKE3's chunks of 1 024 bytes, so it is a whole subtree.

use alloc::vec::Vec;

use blake3::Hasher;
use blake3::hazmat::{self, HasherExt as _, Mode};

use crate::types::SegmentId;

/// Bytes of a unit; the last one of a segment may have fewer.
pub const UNIT: usize = 256 << 10;

/// The hash of a unit: of a segment's only one its name, of one among several an inner node of the tree.
pub type UnitHash = [u8; 32];

/// The hashes of all units of a segment with these bytes.
pub fn unit_hashes(bytes: &[u8]) -> Vec<UnitHash> {
    let is_only = bytes.len() <= UNIT;
    bytes.chunks(UNIT).enumerate().map(|(number, unit)| unit_hash(unit, number, is_only)).collect()
}

/// The hash of a unit by its number.
pub fn unit_hash(unit: &[u8], number: usize, is_only: bool) -> UnitHash {
    let mut hasher = Hasher::new();
    if is_only {
        return *hasher.update(unit).finalize().as_bytes();
    }
    hasher.set_input_offset((number * UNIT) as u64).update(unit);
    hasher.finalize_non_root()
}

/// Whether these are the hashes of the units of a segment of this length and name.
pub fn are_units(hashes: &[UnitHash], len: u64, id: &SegmentId) -> bool {
    if len == 0 || hashes.len() as u64 != len.div_ceil(UNIT as u64) {
        return false;
    }
    let root = match hashes {
        [only] => *only,
        several => {
            let (left, right) = halves(several, len);
            *hazmat::merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
        }
    };
    root == id.0
}

/// The hashes of the two subtrees below the root of a tree of several units.
fn halves(hashes: &[UnitHash], len: u64) -> (UnitHash, UnitHash) {
    let left_len = hazmat::left_subtree_len(len);
    let (left, right) = hashes.split_at((left_len / UNIT as u64) as usize);
    (subtree(left, left_len), subtree(right, len - left_len))
}

fn subtree(hashes: &[UnitHash], len: u64) -> UnitHash {
    if let [only] = hashes {
        return *only;
    }
    let (left, right) = halves(hashes, len);
    hazmat::merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_amount_to_the_name_and_no_others_do() {
        let bytes: Vec<u8> = (0..=9 * UNIT as u64).map(|at| ((at * at) >> 7) as u8).collect();
        let around = |units: usize| [units * UNIT - 1, units * UNIT, units * UNIT + 1];
        for len in [1, 1024, 1025].into_iter().chain([1, 2, 3, 4, 5, 8, 9].into_iter().flat_map(around)) {
            let bytes = &bytes[..len.min(bytes.len())];
            let (len, id) = (bytes.len() as u64, SegmentId(*blake3::hash(bytes).as_bytes()));
            let hashes = unit_hashes(bytes);
            assert!(are_units(&hashes, len, &id), "{len} bytes");
            for at in 0..hashes.len() {
                let mut others = hashes.clone();
                others[at][at % 32] ^= 1;
                assert!(!are_units(&others, len, &id), "{len} bytes, unit {at}");
                let mut unit = bytes.chunks(UNIT).nth(at).unwrap().to_vec();
                *unit.last_mut().unwrap() ^= 1;
                assert_ne!(unit_hash(&unit, at, hashes.len() == 1), hashes[at], "{len} bytes, unit {at}");
            }
            assert!(!are_units(&hashes[1..], len, &id) && !are_units(&hashes, len + UNIT as u64, &id));
            let mut swapped = hashes.clone();
            swapped.rotate_left(1);
            assert_eq!(are_units(&swapped, len, &id), swapped == hashes, "{len} bytes");
        }
        assert!(!are_units(&[], 0, &SegmentId(*blake3::hash(&[]).as_bytes())));
    }
}
