//! The frame of log records, and of the blocks of an archive: bytes with a length, a checksum, a number and a kind.
//!
//! ```text
//! len u32 | crc32c u32 | number u64 | kind u8 | body          len counts from number on, the checksum covers the same
//! ```
//! Decoding never panics and borrows from the bytes. Knows nothing of what the kinds mean.

use alloc::format;
use alloc::vec::Vec;

use crate::bytes::{Reader, Writer, crc32c};
use crate::error::{Error, Result};

/// Bytes before the part that the length counts.
pub(crate) const PREFIX: usize = 8;
/// Bytes before the body.
pub(crate) const HEADER: usize = PREFIX + 8 + 1;

/// A frame that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) number: u64,
    pub(crate) kind: u8,
    pub(crate) body: Reader<'a>,
}

/// What stands before the part that the length counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix {
    /// How many bytes follow.
    pub(crate) len: usize,
    /// What they have to add up to.
    pub(crate) crc: u32,
}

/// Begins a frame; its body is appended by the caller, who then calls [`seal`].
pub(crate) fn begin(number: u64, kind: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.put_u64(0);
    out.put_u64(number);
    out.put_u8(kind);
    out
}

/// Completes a frame.
///
/// # Panics
/// When it takes more than 4 GiB: whoever calls keeps it far below.
pub(crate) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(frame.len() - PREFIX).expect("a frame is no longer than MAX_RECORD_BYTES");
    let crc = crc32c(&frame[PREFIX..]);
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..PREFIX].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// The checksum of a whole frame.
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]])
}

impl Prefix {
    /// Reads the first bytes of a frame.
    ///
    /// # Errors
    /// `Corrupted` when they end early.
    pub(crate) fn read(reader: &mut Reader<'_>, what: &str) -> Result<Self> {
        Ok(Self { len: reader.u32(what)? as usize, crc: reader.u32(what)? })
    }
}

impl<'a> Frame<'a> {
    /// Reads the bytes behind a prefix, and checks them.
    ///
    /// # Errors
    /// `Corrupted` when the checksum does not fit, or there is no room for number and kind.
    pub(crate) fn open(prefix: Prefix, payload: &'a [u8], what: &str) -> Result<Self> {
        let found = crc32c(payload);
        if prefix.crc != found {
            let said = prefix.crc;
            return Err(Error::corrupted(format!("{what}'s checksum is {found:08x}, its header says {said:08x}")));
        }
        let mut body = Reader::new(payload);
        Ok(Self { number: body.u64(what)?, kind: body.u8(what)?, body })
    }
}
