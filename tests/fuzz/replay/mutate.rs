//! Random damage, the same for the same seed: what libFuzzer does, less its feedback.

use crate::random::Random;

/// A number that breaks arithmetic: near 0, or near the end of a width.
fn edge(random: &mut Random) -> u64 {
    let near = random.next() % 5;
    match random.below(6) {
        0 => near,
        1 => near.wrapping_sub(2),
        2 => (1 << 31) - 2 + near,
        3 => (1 << 32) - 2 + near,
        4 => (1 << 63) - 2 + near,
        _ => random.next(),
    }
}

/// Damages `bytes` in one to four ways; `other` lends what is spliced in.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        mutate_once(bytes, other, random);
    }
}

fn mutate_once(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return;
    }
    let at = random.below(bytes.len());
    // Most lengths and tags stand near the front.
    let at = if random.below(3) == 0 { at % 64 } else { at };
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => {
            let len = 1 << random.below(4);
            let number = edge(random).to_le_bytes();
            bytes.iter_mut().skip(at).zip(&number[..len]).for_each(|(byte, new)| *byte = *new);
        }
        4 => drop(bytes.drain(at..(at + 1 + random.below(16)).min(bytes.len()))),
        5 => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        6 if !other.is_empty() => {
            let from = random.below(other.len());
            let end = (from + 1 + random.below(256)).min(other.len());
            let replaced = (at + random.below(end - from + 1)).min(bytes.len());
            bytes.splice(at..replaced, other[from..end].iter().copied());
        }
        _ => {
            let end = (at + 1 + random.below(32)).min(bytes.len());
            bytes[at..end].fill([0, 0xff, b'0', b'[', b'{'][random.below(5)]);
        }
    }
}
