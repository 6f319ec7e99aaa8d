//! The frame around every stored value: `magic u32 | kind u8 | fmt u8 | flags u16 | len u32 | crc32c u32 | body`,
//! little-endian, so that a damaged or foreign row is told from a good one before anything in it is believed.

use hyperspace_core::bytes::crc32c;
use hyperspace_core::error::{Error, Result};

use super::Blob;

/// The bytes before the body.
pub const FRAME_HEADER: usize = 16;
const MAGIC: u32 = u32::from_le_bytes(*b"HSV1");
const FORMAT: u8 = 1;

/// What a value is; a row of another kind under the key is damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// The database's identity.
    Identity = 1,
    /// The owner's epoch.
    Owner = 2,
    /// A collection's catalog entry.
    Space = 3,
    /// A log record or a part of one.
    Log = 4,
    /// A segment's row.
    Segment = 5,
    /// A slice of a sealed segment.
    Chunk = 6,
    /// Whose data the database holds.
    Tenant = 7,
    /// The requests that are done and may be asked for again.
    Answers = 8,
    /// The spaces of an import that is not finished.
    Import = 9,
}

/// Wraps a body.
pub fn frame(kind: FrameKind, flags: u16, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FRAME_HEADER + body.len());
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&[kind as u8, FORMAT]);
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c(body).to_le_bytes());
    out.extend_from_slice(body);
    out
}

struct Header {
    flags: u16,
    len: usize,
    crc: u32,
}

fn header(kind: FrameKind, blob: &Blob, what: &str) -> Result<Header> {
    let bad = |why: &str| Error::corrupted(format!("{what}: {why}"));
    if blob.len() < FRAME_HEADER {
        return Err(bad("shorter than its frame"));
    }
    let mut head = [0; FRAME_HEADER];
    blob.copy_to(0, &mut head);
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(0) != MAGIC || head[4] != kind as u8 {
        return Err(bad("not a row of this kind"));
    }
    if head[5] != FORMAT {
        return Err(Error::unsupported(format!("{what}: written in format {}, this build reads {FORMAT}", head[5])));
    }
    let len = word(8) as usize;
    if len != blob.len() - FRAME_HEADER {
        return Err(bad("its length disagrees with its frame"));
    }
    Ok(Header { flags: u16::from_le_bytes([head[6], head[7]]), len, crc: word(12) })
}

/// Unwraps a value: its flags and its body, checked.
///
/// # Errors
/// `Corrupted` naming `what` when the frame or the checksum is wrong; `Unsupported` for a later format.
pub fn unframe(kind: FrameKind, blob: &Blob, what: &str) -> Result<(u16, Vec<u8>)> {
    let head = header(kind, blob, what)?;
    let mut body = vec![0; head.len];
    blob.copy_to(FRAME_HEADER, &mut body);
    if crc32c(&body) != head.crc {
        return Err(Error::corrupted(format!("{what}: its checksum is wrong")));
    }
    Ok((head.flags, body))
}

/// Unwraps a value straight into the place where its body belongs.
///
/// # Errors
/// As [`unframe`]; also `Corrupted` when the body is not exactly `out.len()` bytes.
pub fn decode_into(kind: FrameKind, blob: &Blob, out: &mut [u8], what: &str) -> Result<()> {
    let head = header(kind, blob, what)?;
    if head.len != out.len() {
        return Err(Error::corrupted(format!("{what}: {} bytes where {} are expected", head.len, out.len())));
    }
    blob.copy_to(FRAME_HEADER, out);
    if crc32c(out) != head.crc {
        return Err(Error::corrupted(format!("{what}: its checksum is wrong")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framed_value_comes_back_and_every_flipped_bit_is_noticed() {
        let body = b"forty-two bytes of something worth keeping";
        let framed = frame(FrameKind::Log, 1, body);
        let (flags, back) = unframe(FrameKind::Log, &Blob::Bytes(framed.clone().into()), "row").unwrap();
        assert_eq!((flags, back.as_slice()), (1, body.as_slice()));
        for bit in 0..framed.len() * 8 {
            let mut damaged = framed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The flags are outside the checksum: their two bytes are checked by whoever reads them.
            if (6..8).contains(&(bit / 8)) {
                continue;
            }
            assert!(unframe(FrameKind::Log, &Blob::Bytes(damaged.into()), "row").is_err(), "bit {bit}");
        }
    }
}
