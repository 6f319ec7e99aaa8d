//! Which offsets of a segment still hold a live point.
//!
//! Blocks of 4 096 bits, copied when they are changed while a snapshot still reads them; a block without a dead
//! offset takes no memory. The encoding is a tag per block, and its 64 words when the block is mixed.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::types::Offset;

const BLOCK_BITS: usize = 4096;
const WORDS: usize = BLOCK_BITS / 64;
const TAG_ALL_LIVE: u8 = 0;
const TAG_WORDS: u8 = 1;
const TAG_ALL_DEAD: u8 = 2;

/// One bit per offset: set while the point is live. Bits are only ever cleared.
#[derive(Clone, Debug)]
pub struct LiveBitmap {
    len: u32,
    live: u32,
    blocks: Vec<Option<Arc<[u64; WORDS]>>>,
}

impl LiveBitmap {
    /// All `len` offsets live.
    pub fn all_live(len: u32) -> Self {
        Self { len, live: len, blocks: alloc::vec![None; (len as usize).div_ceil(BLOCK_BITS)] }
    }

    /// How many offsets there are.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no offsets at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many offsets are live.
    pub const fn live(&self) -> u32 {
        self.live
    }

    /// How many offsets are dead.
    pub const fn dead(&self) -> u32 {
        self.len - self.live
    }

    /// Whether the offset is live; an offset past the end is not.
    #[inline(always)]
    pub fn is_live(&self, offset: Offset) -> bool {
        let at = offset.index();
        match self.blocks.get(at / BLOCK_BITS) {
            Some(None) => offset.0 < self.len,
            Some(Some(words)) => words[at % BLOCK_BITS / 64] >> (at % 64) & 1 == 1,
            None => false,
        }
    }

    /// Clears an offset; says whether it was live.
    pub fn kill(&mut self, offset: Offset) -> bool {
        if !self.is_live(offset) {
            return false;
        }
        let at = offset.index();
        let full = self.full_block(at / BLOCK_BITS);
        let words = Arc::make_mut(self.blocks[at / BLOCK_BITS].get_or_insert_with(|| Arc::new(full)));
        words[at % BLOCK_BITS / 64] &= !(1 << (at % 64));
        self.live -= 1;
        true
    }

    /// The live offsets, rising.
    pub fn iter(&self) -> impl Iterator<Item = Offset> + '_ {
        (0..self.len).map(Offset).filter(|&offset| self.is_live(offset))
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.len);
        for block in &self.blocks {
            match block {
                None => out.put_u8(TAG_ALL_LIVE),
                Some(words) if words.iter().all(|&w| w == 0) => out.put_u8(TAG_ALL_DEAD),
                Some(words) => {
                    out.put_u8(TAG_WORDS);
                    words.iter().for_each(|&w| out.put_u64(w));
                }
            }
        }
    }

    /// Reads an encoding of exactly `expected` offsets.
    ///
    /// # Errors
    /// `Corrupted` when the bytes do not hold such a bitmap.
    pub fn decode(bytes: &[u8], expected: u32) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let len = reader.u32("a bitmap's length")?;
        if len != expected {
            return Err(Error::corrupted(format!("a live bitmap has {len} bits, its segment {expected} points")));
        }
        let block_count = (len as usize).div_ceil(BLOCK_BITS);
        if reader.remaining() < block_count {
            return Err(Error::corrupted(format!("a live bitmap of {len} bits ends after {} bytes", bytes.len())));
        }
        let mut out = Self::all_live(len);
        // One for all: a byte of tag must not cost 512 bytes of words.
        let dead = Arc::new([0; WORDS]);
        for block in 0..block_count {
            let full = out.full_block(block);
            let words = match reader.u8("a block's tag")? {
                TAG_ALL_LIVE => continue,
                TAG_ALL_DEAD => Arc::clone(&dead),
                TAG_WORDS => {
                    let mut words = [0; WORDS];
                    for word in &mut words {
                        *word = reader.u64("a block's word")?;
                    }
                    Arc::new(words)
                }
                tag => return Err(Error::corrupted(format!("a live bitmap's block has tag {tag}"))),
            };
            if words.iter().zip(full).any(|(word, full)| word & !full != 0) {
                return Err(Error::corrupted("a live bitmap has bits past its length"));
            }
            let count = |words: &[u64; WORDS]| words.iter().map(|w| w.count_ones()).sum::<u32>();
            out.live -= count(&full) - count(&words);
            out.blocks[block] = Some(words);
        }
        reader.finish("a live bitmap")?;
        Ok(out)
    }

    /// The words of a block without a dead offset; only the last block can be shorter than 4 096 bits.
    fn full_block(&self, block: usize) -> [u64; WORDS] {
        let bits = (self.len as usize - block * BLOCK_BITS).min(BLOCK_BITS);
        core::array::from_fn(|word| match bits.saturating_sub(word * 64) {
            0 => 0,
            n if n >= 64 => u64::MAX,
            n => (1 << n) - 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn dead_blocks_of_a_decoded_bitmap_share_their_words() {
        let mut bytes = (3 * BLOCK_BITS as u32).to_le_bytes().to_vec();
        bytes.extend([TAG_ALL_DEAD, TAG_ALL_LIVE, TAG_ALL_DEAD]);
        let bitmap = LiveBitmap::decode(&bytes, 3 * BLOCK_BITS as u32).unwrap();
        let [Some(first), None, Some(last)] = &bitmap.blocks[..] else { panic!("{:?}", bitmap.blocks) };
        assert!(Arc::ptr_eq(first, last), "a tag of one byte must not take 512 bytes of memory");
        assert_eq!(bitmap.live() as usize, BLOCK_BITS);
    }

    #[test]
    fn a_bitmap_agrees_with_a_plain_list_and_survives_its_encoding() {
        for (len, kills) in [(0, 0), (1, 1), (63, 5), (4096, 4096), (4097, 30), (10_000, 7_000)] {
            let mut state = u64::from(len) + 1;
            let mut model = alloc::vec![true; len as usize];
            let mut bitmap = LiveBitmap::all_live(len);
            let before = bitmap.clone();
            for _ in 0..kills {
                let at = (next(&mut state) % u64::from(len)) as u32;
                assert_eq!(bitmap.kill(Offset(at)), core::mem::replace(&mut model[at as usize], false));
            }
            let mut bytes = Vec::new();
            bitmap.encode(&mut bytes);
            let decoded = LiveBitmap::decode(&bytes, len).unwrap();
            for (at, &live) in model.iter().enumerate() {
                assert_eq!(bitmap.is_live(Offset(at as u32)), live);
                assert_eq!(decoded.is_live(Offset(at as u32)), live);
            }
            let live = model.iter().filter(|&&l| l).count();
            assert_eq!((bitmap.live() as usize, decoded.live() as usize, bitmap.iter().count()), (live, live, live));
            assert!(!bitmap.is_live(Offset(len)) && !decoded.is_live(Offset(len)), "past the end is not live");
            assert_eq!(before.live(), len, "a clone does not see later kills");
        }
    }

    #[test]
    fn a_damaged_encoding_is_refused_or_read_within_bounds() {
        let mut bitmap = LiveBitmap::all_live(5_000);
        bitmap.kill(Offset(4_999));
        bitmap.kill(Offset(3));
        let mut bytes = Vec::new();
        bitmap.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(LiveBitmap::decode(&bytes[..cut], 5_000).is_err(), "cut at {cut}");
        }
        assert!(LiveBitmap::decode(&bytes, 4_999).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = LiveBitmap::decode(&damaged, 5_000) {
                assert_eq!(read.iter().count(), read.live() as usize, "bit {bit}");
            }
        }
        assert!(LiveBitmap::decode(&[255, 255, 255, 255, 0], u32::MAX).is_err(), "a huge length with few bytes");
    }
}
