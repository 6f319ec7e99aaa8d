//! The bytes of the log: files of frames, each frame one record of one space.
//!
//! ```text
//! file:   magic u64 "HSPACLOG" | version u32 | crc32c u32 | database u64 | first seq u64 | frames
//!         the checksum covers version, database and first seq
//! frame:  sum u32 | len u32 | body sum u32 | seq u64 | durable u64 | kind u8 | body
//!         `sum` covers the head behind it, `body sum` the body, whose length is `len`; both are mixed with the salt
//! kind 1, record: space u64 | a record as the engine encoded it
//! kind 2, end:    nothing; the log was closed in order
//! ```
//! Frames are numbered without gaps over all files. `durable` is the newest frame that was known to be on the device when
//! this one was written. It tells a torn tail from damage: a frame that cannot be read, with a readable one behind it
//! that knew it to be durable, was there once and was acknowledged. Without such a frame it is taken for torn; for rot in
//! the very last group, which nothing behind it vouches for, that is wrong and cannot be known.
//!
//! Behind a frame that cannot be read the next one is looked for at every byte, also within what users wrote. The salt
//! comes from the database's secret number and the file's, so nobody can write bytes that pass for a frame; and the head
//! has a checksum of its own, so that looking costs a few bytes a place.

use hyperspace_core::bytes::{Reader, Writer, checked_counter, crc32c};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::SpaceId;

use crate::mutation::{self, Mutation};

const MAGIC: u64 = u64::from_le_bytes(*b"HSPACLOG");
const VERSION: u32 = 1;
/// Bytes before the first frame.
pub(crate) const FILE_HEADER: usize = 32;
/// Bytes of a frame before its body.
pub(super) const HEAD: usize = 29;
/// Bytes of a frame that the sum of its head does not cover.
pub(super) const UNCOVERED: usize = 4;
const KIND_RECORD: u8 = 1;
const KIND_END: u8 = 2;

/// Mixed into the checksums of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt(u32);

impl Salt {
    /// The salt of a file of a database.
    pub(crate) fn of(database: u64, file: u64) -> Self {
        let mut numbers = Vec::with_capacity(16);
        numbers.put_u64(database);
        numbers.put_u64(file);
        Self(crc32c(&numbers))
    }

    pub(super) fn sum(self, bytes: &[u8]) -> u32 {
        crc32c(bytes) ^ self.0
    }
}

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

pub(crate) fn encode_file_header(database: u64, first_seq: u64) -> Vec<u8> {
    let mut covered = Vec::new();
    covered.put_u32(VERSION);
    covered.put_u64(database);
    covered.put_u64(first_seq);
    let mut out = Vec::with_capacity(FILE_HEADER);
    out.put_u64(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(crc32c(&covered));
    out.put_u64(database);
    out.put_u64(first_seq);
    out
}

/// The database and the first number of a log file.
pub(crate) fn decode_file_header(bytes: &[u8]) -> Result<(u64, u64)> {
    let mut reader = Reader::new(bytes);
    if reader.u64("a log file's magic")? != MAGIC {
        return Err(Error::corrupted("these bytes are no log file"));
    }
    let version = reader.u32("a log file's version")?;
    let crc = reader.u32("a log file's checksum")?;
    let (database, first_seq) = (reader.u64("a log file's database")?, reader.u64("a log file's first number")?);
    let mut covered = Vec::new();
    covered.put_u32(version);
    covered.put_u64(database);
    covered.put_u64(first_seq);
    if crc32c(&covered) != crc {
        return Err(Error::corrupted("a log file's header does not match its checksum"));
    }
    if version != VERSION {
        return Err(Error::unsupported(format!("log version {version}; this build reads {VERSION}")));
    }
    Ok((database, checked_counter(first_seq, "a log file's first number")?))
}

/// Appends a frame.
pub(crate) fn encode_frame(out: &mut Vec<u8>, salt: Salt, seq: u64, durable: u64, body: Body<'_>) {
    let start = out.len();
    out.resize(start + UNCOVERED + 8, 0);
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
    let (head, body) = out[start..].split_at_mut(HEAD);
    let len = u32::try_from(body.len()).expect("a record is far below 4 GiB: the engine bounds it");
    head[4..8].copy_from_slice(&len.to_le_bytes());
    head[8..12].copy_from_slice(&salt.sum(body).to_le_bytes());
    let sum = salt.sum(&head[UNCOVERED..]);
    head[..UNCOVERED].copy_from_slice(&sum.to_le_bytes());
}

/// Reads the frame at the start of some bytes.
///
/// # Errors
/// `Corrupted` when there is none that is whole and right; `Unsupported` for a kind of a later version.
pub(crate) fn decode_frame(bytes: &[u8], salt: Salt) -> Result<Frame<'_>> {
    let head =
        bytes.get(..HEAD).ok_or_else(|| Error::corrupted(format!("a frame's head ends after {}", bytes.len())))?;
    let mut reader = Reader::new(head);
    let sum = reader.u32("a head's checksum")?;
    let found = salt.sum(&head[UNCOVERED..]);
    let is_believed = mutation::is(Mutation::BelieveEveryFrame);
    if found != sum && !is_believed {
        return Err(Error::corrupted(format!("a frame's head has checksum {found:08x}, not {sum:08x}")));
    }
    let (len, body_sum) = (reader.u32("a body's length")? as usize, reader.u32("a body's checksum")?);
    let (seq, durable) = (reader.counter("a frame's number")?, reader.counter("a durable number")?);
    let kind = reader.u8("a frame's kind")?;
    let mut reader = Reader::new(&bytes[HEAD..]);
    let body = reader.bytes(len, "a frame's body")?;
    let found = salt.sum(body);
    if found != body_sum && !is_believed {
        return Err(Error::corrupted(format!("a frame's body has checksum {found:08x}, not {body_sum:08x}")));
    }
    let mut reader = Reader::new(body);
    let body = match kind {
        KIND_RECORD => {
            let space = SpaceId(reader.u64("a space")?);
            Body::Record(space, reader.bytes(reader.remaining(), "a record")?)
        }
        KIND_END => Body::End,
        kind => return Err(Error::unsupported(format!("log frame {seq} is of kind {kind}, made by a later version"))),
    };
    Ok(Frame { seq, durable, body, len: HEAD + len })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyperspace_core::bytes::MAX_COUNTER;

    use super::*;

    #[test]
    fn frames_and_headers_read_back_and_every_flipped_bit_or_cut_is_noticed() {
        let header = encode_file_header(3, 4);
        assert_eq!((header.len(), decode_file_header(&header).unwrap()), (FILE_HEADER, (3, 4)));
        let mut frames = Vec::new();
        let salt = Salt::of(3, 1);
        encode_frame(&mut frames, salt, 9, 7, Body::Record(SpaceId(5), b"record"));
        let frame = decode_frame(&frames, salt).unwrap();
        assert_eq!(frame, Frame { seq: 9, durable: 7, body: Body::Record(SpaceId(5), b"record"), len: frames.len() });
        for bit in 0..header.len() * 8 {
            let mut damaged = header.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_file_header(&damaged).is_err(), "bit {bit} of the header");
        }
        for bit in 0..frames.len() * 8 {
            let mut damaged = frames.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_frame(&damaged, salt).is_err(), "bit {bit} of the frame");
        }
        for cut in 0..frames.len() {
            assert!(decode_frame(&frames[..cut], salt).is_err(), "cut at {cut}");
        }
        let mut end = Vec::new();
        encode_frame(&mut end, salt, 10, 9, Body::End);
        assert_eq!(decode_frame(&end, salt).unwrap().body, Body::End);
        for other in [Salt::of(4, 1), Salt::of(3, 2)] {
            assert!(decode_frame(&end, other).is_err(), "a frame of another file or database is none here");
        }
    }

    #[test]
    fn numbers_beyond_which_nothing_can_be_counted_are_damage() {
        for (number, is_fine) in [(MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
            assert_eq!(decode_file_header(&encode_file_header(3, number)).is_ok(), is_fine, "{number}");
            for (seq, durable) in [(number, 1), (1, number)] {
                let (mut frame, salt) = (Vec::new(), Salt::of(3, 1));
                encode_frame(&mut frame, salt, seq, durable, Body::End);
                assert_eq!(decode_frame(&frame, salt).is_ok(), is_fine, "frame {seq}, durable through {durable}");
            }
        }
    }
}
