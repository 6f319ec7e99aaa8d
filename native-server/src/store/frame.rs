//! The bytes of the log: files of frames, each frame one record of one space.
//!
//! ```text
//! file:   magic u64 "HSPACLOG" | version u32 | crc32c u32 | writer u64 | first seq u64 | frames
//!         the checksum covers version, writer and first seq
//! frame:  len u32 | crc32c u32 | seq u64 | durable u64 | kind u8 | body          len counts from seq on, the
//!         checksum covers the same
//! kind 1, record: space u64 | a record as the engine encoded it
//! kind 2, end:    nothing; the log was closed in order
//! ```
//! Frames are numbered without gaps over all files. `durable` is the newest frame that was known to be on the device when
//! this one was written. It tells a torn tail from damage: a frame that cannot be read, with a readable one behind it
//! that knew it to be durable, was there once and was acknowledged. Without such a frame it never was.

use hyperspace_core::bytes::{Reader, Writer, crc32c};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::SpaceId;

const MAGIC: u64 = u64::from_le_bytes(*b"HSPACLOG");
const VERSION: u32 = 1;
/// Bytes before the first frame.
pub(crate) const FILE_HEADER: usize = 32;
/// Bytes of a frame before what `len` counts.
const PREFIX: usize = 8;
/// The least that `len` can be.
const SHORTEST: usize = 17;
const KIND_RECORD: u8 = 1;
const KIND_END: u8 = 2;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// A record of a space.
    Record(SpaceId, &'a [u8]),
    /// The log was closed in order.
    End,
}

/// A frame, borrowed from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    pub(crate) durable: u64,
    pub(crate) body: Body<'a>,
    /// Bytes of the whole frame.
    pub(crate) len: usize,
}

pub(crate) fn encode_file_header(writer: u64, first_seq: u64) -> Vec<u8> {
    let mut covered = Vec::new();
    covered.put_u32(VERSION);
    covered.put_u64(writer);
    covered.put_u64(first_seq);
    let mut out = Vec::with_capacity(FILE_HEADER);
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(crc32c(&covered));
    out.put_u64(writer);
    out.put_u64(first_seq);
    out
}

/// The writer and the first number of a log file.
pub(crate) fn decode_file_header(bytes: &[u8]) -> Result<(u64, u64)> {
    let mut reader = Reader::new(bytes);
    if reader.u64("a log file's magic")? != MAGIC {
        return Err(Error::corrupted("these bytes are no log file"));
    }
    let version = reader.u32("a log file's version")?;
    let crc = reader.u32("a log file's checksum")?;
    let (writer, first_seq) = (reader.u64("a log file's writer")?, reader.u64("a log file's first number")?);
    let mut covered = Vec::new();
    covered.put_u32(version);
    covered.put_u64(writer);
    covered.put_u64(first_seq);
    if crc32c(&covered) != crc {
        return Err(Error::corrupted("a log file's header does not match its checksum"));
    }
    if version != VERSION {
        return Err(Error::unsupported(format!("log version {version}; this build reads {VERSION}")));
    }
    Ok((writer, first_seq))
}

/// Appends a frame.
pub(crate) fn encode_frame(out: &mut Vec<u8>, seq: u64, durable: u64, body: Body<'_>) {
    let start = out.len();
    out.put_u64(0);
    out.put_u64(seq);
    out.put_u64(durable);
    match body {
        Body::Record(space, record) => {
            out.put_u8(KIND_RECORD);
            out.put_u64(space.0);
            out.extend_from_slice(record);
        }
        Body::End => out.put_u8(KIND_END),
    }
    let len = (out.len() - start - PREFIX) as u32;
    let crc = crc32c(&out[start + PREFIX..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the frame at the start of some bytes.
///
/// # Errors
/// `Corrupted` when there is none that is whole and right; `Unsupported` for a kind of a later version.
pub(crate) fn decode_frame(bytes: &[u8]) -> Result<Frame<'_>> {
    let mut reader = Reader::new(bytes);
    let len = reader.u32("a frame's length")? as usize;
    let crc = reader.u32("a frame's checksum")?;
    if len < SHORTEST {
        return Err(Error::corrupted(format!("a frame has at least {SHORTEST} bytes, not {len}")));
    }
    let covered = reader.bytes(len, "a frame")?;
    let found = crc32c(covered);
    if found != crc {
        return Err(Error::corrupted(format!("a frame's checksum is {found:08x}, its header says {crc:08x}")));
    }
    let mut reader = Reader::new(covered);
    let (seq, durable) = (reader.u64("a frame's number")?, reader.u64("a durable number")?);
    let body = match reader.u8("a frame's kind")? {
        KIND_RECORD => {
            let space = SpaceId(reader.u64("a space")?);
            Body::Record(space, reader.bytes(reader.remaining(), "a record")?)
        }
        KIND_END => Body::End,
        kind => return Err(Error::unsupported(format!("log frame {seq} is of kind {kind}, made by a later version"))),
    };
    Ok(Frame { seq, durable, body, len: PREFIX + len })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn frames_and_headers_read_back_and_every_flipped_bit_or_cut_is_noticed() {
        let header = encode_file_header(3, 4);
        assert_eq!((header.len(), decode_file_header(&header).unwrap()), (FILE_HEADER, (3, 4)));
        let mut frames = Vec::new();
        encode_frame(&mut frames, 9, 7, Body::Record(SpaceId(5), b"record"));
        let frame = decode_frame(&frames).unwrap();
        assert_eq!(frame, Frame { seq: 9, durable: 7, body: Body::Record(SpaceId(5), b"record"), len: frames.len() });
        for bit in 0..header.len() * 8 {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_file_header(&damaged).is_err(), "bit {bit} of the header");
        }
        for bit in 0..frames.len() * 8 {
            let mut damaged = frames.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&damaged).is_err(), "bit {bit} of the frame");
        }
        for cut in 0..frames.len() {
            assert!(decode_frame(&frames[..cut]).is_err(), "cut at {cut}");
        }
        let mut end = Vec::new();
        encode_frame(&mut end, 10, 9, Body::End);
        assert_eq!(decode_frame(&end).unwrap().body, Body::End);
    }
}
