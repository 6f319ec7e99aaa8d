//! Bounded little-endian reading and writing, CRC-32C, and buffers aligned for casting.
//!
//! A [`Reader`] never panics and never allocates: every read names what it wanted and fails with `Corrupted`
//! when the bytes end early, so a decoder's allocations are bounded by the bytes it was given.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, Result};

/// The alignment of every section and of every buffer that sections are read from, in bytes.
pub const ALIGNMENT: usize = 64;

/// The most that anything counted one by one can have come to. A stored number beyond it is damage; one below it can be
/// counted on from without overflow.
pub const MAX_COUNTER: u64 = 1 << 62;

/// Rounds up to the next multiple of [`ALIGNMENT`].
pub const fn align_up(at: usize) -> usize {
    at.next_multiple_of(ALIGNMENT)
}

/// A cursor over bytes that may be damaged.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// `Corrupted` when fewer are left; `what` names them in the message.
    pub fn bytes(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let Some((head, tail)) = self.rest.split_at_checked(len) else {
            return Err(Error::corrupted(format!("{what} needs {len} bytes, {} are left", self.rest.len())));
        };
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N, what)?);
        Ok(out)
    }

    /// Takes one byte.
    pub fn u8(&mut self, what: &str) -> Result<u8> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Takes a little-endian u32.
    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Takes a little-endian u64.
    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Takes a little-endian u64 that something is counted with, one by one.
    ///
    /// # Errors
    /// `Corrupted` when it is above [`MAX_COUNTER`].
    pub fn counter(&mut self, what: &str) -> Result<u64> {
        checked_counter(self.u64(what)?, what)
    }

    /// Takes a little-endian f32, any bit pattern.
    pub fn f32(&mut self, what: &str) -> Result<f32> {
        self.array(what).map(f32::from_le_bytes)
    }

    /// Takes `count` little-endian f32 and appends them to `out`.
    pub fn f32s(&mut self, count: usize, out: &mut Vec<f32>, what: &str) -> Result<()> {
        let len = count.checked_mul(4).ok_or_else(|| Error::corrupted(format!("{what} is impossibly long")))?;
        let bytes = self.bytes(len, what)?;
        out.extend(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])));
        Ok(())
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// `Corrupted` when bytes follow `what`.
    pub fn finish(self, what: &str) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::corrupted(format!("{} bytes follow {what}", self.rest.len())))
    }
}

/// Passes a stored number on that something is counted with, one by one.
///
/// # Errors
/// `Corrupted` when it is above [`MAX_COUNTER`].
pub fn checked_counter(number: u64, what: &str) -> Result<u64> {
    if number <= MAX_COUNTER {
        return Ok(number);
    }
    Err(Error::corrupted(format!("{what} is {number}, nothing has been counted beyond {MAX_COUNTER}")))
}

/// Appends little-endian values.
pub trait Writer {
    /// Appends one byte.
    fn put_u8(&mut self, value: u8);
    /// Appends a little-endian u32.
    fn put_u32(&mut self, value: u32);
    /// Appends a little-endian u64.
    fn put_u64(&mut self, value: u64);
    /// Appends a little-endian f32.
    fn put_f32(&mut self, value: f32);
    /// Appends many little-endian f32.
    fn put_f32s(&mut self, values: &[f32]);
}

impl Writer for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_f32(&mut self, value: f32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_f32s(&mut self, values: &[f32]) {
        self.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    }
}

#[cfg(target_endian = "big")]
compile_error!("sections are read in place and are little-endian");

/// Zeroed bytes that start at a multiple of [`ALIGNMENT`], so that sections can be cast without a copy.
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    blocks: Vec<AlignedBlock>,
    len: usize,
}

#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct AlignedBlock([u8; ALIGNMENT]);

impl AlignedBytes {
    /// Allocates `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self { blocks: bytemuck::zeroed_vec(len.div_ceil(ALIGNMENT)), len }
    }

    /// Copies bytes into an aligned buffer.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut out = Self::zeroed(bytes.len());
        out.as_mut().copy_from_slice(bytes);
        out
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.blocks)[..self.len]
    }
}

impl AsMut<[u8]> for AlignedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.blocks)[..self.len]
    }
}

/// Casts a range of aligned bytes to a slice of plain values.
///
/// # Errors
/// `Corrupted` when the range is outside the bytes, is misaligned for `T` or is no multiple of its size.
pub fn cast<'a, T: bytemuck::AnyBitPattern>(bytes: &'a [u8], range: &Range<usize>, what: &str) -> Result<&'a [T]> {
    let section = bytes
        .get(range.clone())
        .ok_or_else(|| Error::corrupted(format!("{what} at {range:?} lies outside {} bytes", bytes.len())))?;
    bytemuck::try_cast_slice(section).map_err(|e| Error::corrupted(format!("{what} at {range:?}: {e}")))
}

/// CRC-32C (Castagnoli), as in iSCSI (RFC 3720, B.4): with the instructions of the machine where they can be looked for.
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    return crc32c::crc32c(bytes);
    #[cfg(not(feature = "std"))]
    return sliced::crc32c(bytes);
}

#[cfg(any(test, not(feature = "std")))]
mod sliced {
    //! Slicing by four (Kounavis and Berry, 2005): four table look-ups replace four dependent byte steps. There is no CRC
    //! instruction in wasm; and each table is a kilobyte that no compression makes smaller, so there are no more of them.

    pub(super) fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = !0_u32;
        let mut words = bytes.chunks_exact(4);
        for word in &mut words {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) ^ crc;
            crc = TABLES[3][(word & 0xff) as usize]
                ^ TABLES[2][(word >> 8 & 0xff) as usize]
                ^ TABLES[1][(word >> 16 & 0xff) as usize]
                ^ TABLES[0][(word >> 24) as usize];
        }
        for &byte in words.remainder() {
            crc = TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize] ^ crc >> 8;
        }
        !crc
    }

    static TABLES: [[u32; 256]; 4] = tables();

    const fn tables() -> [[u32; 256]; 4] {
        const POLYNOMIAL: u32 = 0x82f6_3b78;
        let mut tables = [[0; 256]; 4];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
                bit += 1;
            }
            tables[0][byte] = crc;
            byte += 1;
        }
        let mut slice = 1;
        while slice < 4 {
            let mut byte = 0;
            while byte < 256 {
                let before = tables[slice - 1][byte];
                tables[slice][byte] = tables[0][(before & 0xff) as usize] ^ before >> 8;
                byte += 1;
            }
            slice += 1;
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_crc32c_equal_the_vectors_of_rfc_3720() {
        let rising: Vec<u8> = (0..32).collect();
        for (bytes, expected) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&rising, 0x46dd_794e),
        ] {
            assert_eq!((crc32c(bytes), sliced::crc32c(bytes)), (expected, expected));
        }
    }

    #[test]
    fn both_forms_of_crc32c_go_byte_by_byte_whatever_the_length_and_the_alignment() {
        // Long enough for the blocks of the CRC instruction that are worked at side by side.
        let bytes: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        for start in 0..9 {
            let (mut bytewise, mut checked) = (!0_u32, 0);
            for len in (0..300).chain([1_023, 1_024, 3_071, 3_072, 8_191, 16_384, 19_991]) {
                for &byte in &bytes[start + checked..start + len] {
                    bytewise = (0..8).fold(bytewise ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)));
                }
                checked = len;
                let part = &bytes[start..start + len];
                assert_eq!((crc32c(part), sliced::crc32c(part)), (!bytewise, !bytewise), "{len} bytes from {start}");
            }
        }
    }

    #[test]
    fn a_reader_refuses_what_is_not_there() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u8("first").unwrap(), 1);
        assert!(reader.u32("second").unwrap_err().message().contains("second needs 4 bytes, 2 are left"));
        assert!(reader.f32s(usize::MAX, &mut Vec::new(), "row").is_err());
        assert!(reader.finish("the test").is_err());
    }

    #[test]
    fn a_number_that_nobody_can_have_counted_to_is_damage() {
        for (number, is_fine) in [(0, true), (MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
            assert_eq!(Reader::new(&number.to_le_bytes()).counter("a number").ok(), is_fine.then_some(number));
        }
    }

    #[test]
    fn aligned_bytes_can_be_cast_and_ranges_are_checked() {
        let bytes = AlignedBytes::copy_of(&[0, 0, 128, 63, 0, 0, 0, 64, 9]);
        assert_eq!(cast::<f32>(bytes.as_ref(), &(0..8), "row").unwrap(), &[1.0, 2.0]);
        assert!(cast::<f32>(bytes.as_ref(), &(0..9), "row").is_err(), "no multiple of four");
        assert!(cast::<f32>(bytes.as_ref(), &(1..5), "row").is_err(), "misaligned");
        assert!(cast::<f32>(bytes.as_ref(), &(4..12), "row").is_err(), "past the end");
    }
}
