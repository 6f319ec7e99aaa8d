//! How collections, log records and segments are laid out in rows.
//!
//! `spaces`: space -> name and manifest. `wal`: space, lsn, part -> a piece of one record; the last piece is marked.
//! `segs`: space, first 16 bytes of the id (and a 1 while it is arriving) -> length. `chunks`: space, the same 16 bytes, number -> bytes.
//! What is live is said by the manifest alone.

use hyperspace_core::bytes::{Reader, Writer, checked_counter};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Record;
use hyperspace_core::types::{Lsn, SegmentId, SpaceId};

use crate::kv::{Blob, FrameKind, Key, frame, key_of, prefix_end, unframe};

/// The largest piece of a log record in one row.
///
/// Chromium on `LevelDB` moves a value above 64 KiB to a file that only the value's own transaction flushes; a row
/// below that is flushed by any later strict transaction, which is what `flush()` rests on.
pub(crate) const LOG_ROW: usize = 60 << 10;
/// The largest piece of a segment in one row.
pub(crate) const CHUNK: usize = (1 << 20) - crate::kv::FRAME_HEADER;
/// Behind every key.
pub(crate) const END: &[u8] = &[u8::MAX; 9];
/// Bytes of a segment's key, and what follows in that of one that is arriving.
const SEGMENT_KEY: usize = 24;
const ARRIVING: u8 = 1;
/// A record's last piece carries this flag.
const LAST: u16 = 1;

pub(crate) fn space_key(space: SpaceId) -> Key {
    key_of(&[space.0])
}

pub(crate) fn space_of(key: &[u8]) -> Result<SpaceId> {
    let bytes = key.first_chunk().ok_or_else(|| Error::corrupted("a key is too short"))?;
    checked_counter(u64::from_be_bytes(*bytes), "the number of a space").map(SpaceId)
}

/// The range of all keys that start with a space.
pub(crate) fn space_range(space: SpaceId) -> (Key, Key) {
    let from = space_key(space);
    // A space number of all ones would need 2^64 collections.
    let to = prefix_end(&from).unwrap_or_else(|| vec![u8::MAX; 9]);
    (from, to)
}

/// A collection's row: its name is in the manifest as well; here it is readable without opening that.
pub(crate) fn encode_space(name: &str, manifest: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(1 + name.len() + manifest.len());
    body.put_u8(name.len() as u8);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(manifest);
    frame(FrameKind::Space, 0, &body)
}

pub(crate) fn decode_space(blob: &Blob, space: SpaceId) -> Result<(String, Vec<u8>)> {
    let what = format!("the row of space {}", space.0);
    let (_, body) = unframe(FrameKind::Space, blob, &what)?;
    let mut reader = Reader::new(&body);
    let len = reader.u8("a name's length")? as usize;
    let name = core::str::from_utf8(reader.bytes(len, "a name")?);
    let name = name.map_err(|_| Error::corrupted(format!("{what}: its name is not text")))?.to_owned();
    let rest = reader.remaining();
    Ok((name, reader.bytes(rest, "a manifest")?.to_vec()))
}

pub(crate) fn log_key(space: SpaceId, lsn: Lsn, part: u32) -> Key {
    let mut key = key_of(&[space.0, lsn.0]);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The keys of all records behind `after` (or, the other way round, up to it).
pub(crate) fn log_from(space: SpaceId, after: Lsn) -> Key {
    key_of(&[space.0, after.0 + 1])
}

/// The rows of one record.
pub(crate) fn encode_log(space: SpaceId, lsn: Lsn, record: &[u8]) -> Vec<(Key, Vec<u8>)> {
    let parts = record.chunks(LOG_ROW);
    let last = parts.len() - 1;
    parts
        .enumerate()
        .map(|(part, piece)| {
            let flags = if part == last { LAST } else { 0 };
            (log_key(space, lsn, part as u32), frame(FrameKind::Log, flags, piece))
        })
        .collect()
}

/// Puts records together again from their rows, in order.
#[derive(Default)]
pub(crate) struct LogAssembly {
    lsn: Option<u64>,
    parts: u32,
    record: Vec<u8>,
}

impl LogAssembly {
    /// Takes the next row; gives the record that it completes.
    pub(crate) fn take(&mut self, key: &[u8], blob: &Blob) -> Result<Option<Vec<u8>>> {
        let mut lsn = [0; 8];
        let mut part = [0; 4];
        if key.len() != 20 {
            return Err(Error::corrupted(format!("a log key has {} bytes", key.len())));
        }
        lsn.copy_from_slice(&key[8..16]);
        part.copy_from_slice(&key[16..]);
        let (lsn, part) = (u64::from_be_bytes(lsn), u32::from_be_bytes(part));
        let what = format!("part {part} of log record {lsn}");
        if part != self.parts || self.lsn.is_some_and(|open| open != lsn) {
            return Err(Error::corrupted(format!("{what} follows an incomplete record")));
        }
        let (flags, piece) = unframe(FrameKind::Log, blob, &what)?;
        self.record.extend_from_slice(&piece);
        if flags & LAST == 0 {
            (self.lsn, self.parts) = (Some(lsn), part + 1);
            return Ok(None);
        }
        (self.lsn, self.parts) = (None, 0);
        let record = core::mem::take(&mut self.record);
        // Under another number it would be replayed, and then overwritten by the write that has the number.
        let number = Record::number(&record)?;
        if number.0 != lsn {
            return Err(Error::corrupted(format!("log record {} is stored as number {lsn}", number.0)));
        }
        Ok(Some(record))
    }

    /// Checks that no record is left without its last part.
    pub(crate) fn finish(self) -> Result<()> {
        match self.lsn {
            None => Ok(()),
            Some(lsn) => Err(Error::corrupted(format!("log record {lsn} ends after {} parts", self.parts))),
        }
    }
}

fn segment_prefix(space: SpaceId, id: &SegmentId) -> Key {
    let mut key = space_key(space);
    key.extend_from_slice(&id.0[..16]);
    key
}

pub(crate) fn segment_key(space: SpaceId, id: &SegmentId) -> Key {
    segment_prefix(space, id)
}

pub(crate) fn chunk_key(space: SpaceId, id: &SegmentId, number: u32) -> Key {
    let mut key = segment_prefix(space, id);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The key of a segment's row as long as not all of it has arrived.
pub(crate) fn arriving_key(space: SpaceId, id: &SegmentId) -> Key {
    let mut key = segment_prefix(space, id);
    key.push(ARRIVING);
    key
}

/// Whether a segment's row says that not all of it is here.
pub(crate) fn is_arriving(segment_key: &[u8]) -> bool {
    segment_key.len() > SEGMENT_KEY
}

/// The range of all chunks of the segment whose row has this key.
pub(crate) fn chunk_range(segment_key: &[u8]) -> (Key, Key) {
    let from = segment_key[..segment_key.len().min(SEGMENT_KEY)].to_vec();
    let to = prefix_end(&from).unwrap_or_else(|| vec![u8::MAX; 29]);
    (from, to)
}

/// A segment's row: written with its first chunk. It does not say whether the segment is live, the manifest does.
pub(crate) fn encode_segment(id: &SegmentId, len: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(44);
    body.extend_from_slice(&id.0);
    body.put_u64(len as u64);
    body.put_u32(CHUNK as u32);
    frame(FrameKind::Segment, 0, &body)
}

/// A stored segment's id and length.
pub(crate) fn decode_segment(blob: &Blob, what: &str) -> Result<(SegmentId, usize)> {
    let (_, body) = unframe(FrameKind::Segment, blob, what)?;
    let mut reader = Reader::new(&body);
    let mut id = SegmentId([0; 32]);
    id.0.copy_from_slice(reader.bytes(32, "a segment's id")?);
    let len = reader.u64("a length")?;
    let chunk = reader.u32("a chunk's size")? as usize;
    reader.finish(what)?;
    let len =
        usize::try_from(len).map_err(|_| Error::limit_exceeded(format!("{what}: {len} bytes do not fit here")))?;
    if chunk != CHUNK {
        return Err(Error::unsupported(format!("{what}: chunks of {chunk} bytes, this build reads {CHUNK}")));
    }
    Ok((id, len))
}

#[cfg(test)]
mod tests {
    use hyperspace_core::bytes::MAX_COUNTER;

    use super::*;

    /// Bytes as long as asked for, with a number where a record has it.
    fn record(lsn: u64, len: usize) -> Vec<u8> {
        let mut record: Vec<u8> = (0..len).map(|i| i as u8).collect();
        record[8..16].copy_from_slice(&lsn.to_le_bytes());
        record
    }

    #[test]
    fn a_record_that_stands_under_the_number_of_another_is_damage() {
        for (number, is_fine) in [(9, true), (8, false), (10, false)] {
            let rows = encode_log(SpaceId(3), Lsn(9), &record(number, 100));
            let taken = LogAssembly::default().take(&rows[0].0, &Blob::Bytes(rows[0].1.as_slice().into()));
            assert_eq!(taken.is_ok(), is_fine, "record {number} stored as 9");
        }
    }

    #[test]
    fn a_space_behind_which_none_can_be_counted_is_damage() {
        for (number, is_fine) in [(MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
            assert_eq!(space_of(&space_key(SpaceId(number))).is_ok(), is_fine, "{number}");
        }
    }

    #[test]
    fn a_segment_in_chunks_of_another_size_is_none_of_this_build() {
        let row = encode_segment(&SegmentId([7; 32]), 100);
        let with_chunks_of = |chunk: u32| {
            let mut body = row[crate::kv::FRAME_HEADER..].to_vec();
            body[40..].copy_from_slice(&chunk.to_le_bytes());
            Blob::Bytes(frame(FrameKind::Segment, 0, &body).as_slice().into())
        };
        assert_eq!(decode_segment(&with_chunks_of(CHUNK as u32), "s"), Ok((SegmentId([7; 32]), 100)));
        for chunk in [0, 1, u32::MAX] {
            assert_eq!(decode_segment(&with_chunks_of(chunk), "s").unwrap_err().kind().code(), "unsupported");
        }
    }

    #[test]
    fn a_large_record_is_split_and_put_together_again() {
        let record = record(9, LOG_ROW * 2 + 5);
        let rows = encode_log(SpaceId(3), Lsn(9), &record);
        assert_eq!(rows.len(), 3);
        assert!(rows.is_sorted());
        let mut assembly = LogAssembly::default();
        let mut found = Vec::new();
        for (key, value) in &rows {
            found.extend(assembly.take(key, &Blob::Bytes(value.as_slice().into())).unwrap());
        }
        assembly.finish().unwrap();
        assert_eq!(found, [record]);
    }

    #[test]
    fn a_record_that_lacks_a_part_is_damage_and_not_a_shorter_record() {
        let record = vec![7; LOG_ROW * 2];
        let rows = encode_log(SpaceId(3), Lsn(9), &record);
        let blob = |at: usize| Blob::Bytes(rows[at].1.as_slice().into());
        assert!(LogAssembly::default().take(&rows[1].0, &blob(1)).is_err());
        let mut assembly = LogAssembly::default();
        assembly.take(&rows[0].0, &blob(0)).unwrap();
        assert!(assembly.finish().is_err());
    }

    #[test]
    fn keys_order_as_numbers_do() {
        assert!(log_key(SpaceId(1), Lsn(255), 7) < log_key(SpaceId(1), Lsn(256), 0));
        let (from, to) = space_range(SpaceId(1));
        assert!(from <= log_key(SpaceId(1), Lsn(u64::MAX), u32::MAX) && log_key(SpaceId(1), Lsn(u64::MAX), 1) < to);
        assert!(to <= space_key(SpaceId(2)));
    }
}
