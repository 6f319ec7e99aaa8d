//! The codec of log records.
//!
//! ```text
//! a frame (frame.rs) whose number is the lsn; its body for kind 1, writes:
//!   flags u8 (1: a request follows, 2: puts carry a term) | hlc u64 | writer u64 | first cseq u64
//!   [tab u64 | n u64] | dimension u32 | count u32 | entries
//! entry: 1 put | id len u8 | id | [term f32] | dimension * f32 | metadata len u32 | metadata
//!        2 delete | id len u8 | id
//! ```
//! Entry `i` carries the stamp `(hlc, writer, first cseq + i)`. Decoding never panics and allocates nothing but what
//! the bytes hold.

use alloc::format;
use alloc::vec::Vec;

use super::frame::{self, Frame, Prefix};
use crate::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::metadata::MAX_METADATA_BYTES;
use crate::types::{Lsn, MAX_ID_BYTES, PointId, Stamp};

/// The longest record: the limits of a batch keep every write below it.
pub const MAX_RECORD_BYTES: usize = 1 << 30;

/// Bytes before the entries.
const HEADER: usize = frame::HEADER + 1 + 24 + 16 + 4 + 4;
/// A record of writes, and a block of points in an archive.
pub(crate) const KIND_WRITES: u8 = 1;
const FLAG_REQUEST: u8 = 1;
const FLAG_TERMS: u8 = 2;
const ENTRY_PUT: u8 = 1;
const ENTRY_DELETE: u8 = 2;

/// Which request of which tab a write answers, kept so that a repeated request is answered and not done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// The tab that asked.
    pub tab: u64,
    /// Its own number for the request.
    pub n: u64,
}

/// What a record does, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// The record's number.
    pub lsn: Lsn,
    /// Its writes.
    pub writes: WriteBatch<'a>,
}

/// An atomic batch of puts and deletes.
#[derive(Clone, Debug)]
pub struct WriteBatch<'a> {
    /// The stamp of the first entry.
    pub first: Stamp,
    /// The request that it answers, when it came from one.
    pub request: Option<RequestId>,
    /// How many components each vector has.
    pub dimension: usize,
    count: usize,
    has_terms: bool,
    entries: Reader<'a>,
}

/// One put or delete as it stands in a record.
#[derive(Clone, Debug)]
pub enum Entry<'a> {
    /// A whole point.
    Put {
        /// Its id.
        id: PointId,
        /// The metric's term of its vector; 1 when the metric has none.
        term: f32,
        /// `dimension` little-endian f32.
        vector: &'a [u8],
        /// Encoded metadata.
        metadata: &'a [u8],
    },
    /// The end of a point.
    Delete {
        /// Its id.
        id: PointId,
    },
}

/// The most bytes that a record of so many entries takes.
pub const fn longest_record(entries: usize, dimension: usize) -> usize {
    HEADER + entries * longest_entry(dimension, MAX_METADATA_BYTES)
}

/// The most bytes that an entry takes whose metadata have so many.
pub(crate) const fn longest_entry(dimension: usize, metadata: usize) -> usize {
    let (id, vector, metadata) = (1 + 1 + MAX_ID_BYTES, 4 + 4 * dimension, 4 + metadata);
    1 + id + vector + metadata
}

/// A record of writes that grows entry by entry.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    out: Vec<u8>,
    has_terms: bool,
    count_at: usize,
    count: u32,
}

impl RecordWriter {
    /// A record without entries.
    pub(crate) fn new(lsn: Lsn, first: Stamp, request: Option<RequestId>, dimension: usize, has_terms: bool) -> Self {
        let mut out = frame::begin(lsn.0, KIND_WRITES);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        out.put_u8(flag(request.is_some(), FLAG_REQUEST) | flag(has_terms, FLAG_TERMS));
        out.put_u64(first.hlc);
        out.put_u64(first.writer);
        out.put_u64(first.cseq);
        if let Some(request) = request {
            out.put_u64(request.tab);
            out.put_u64(request.n);
        }
        out.put_u32(dimension as u32);
        let count_at = out.len();
        out.put_u32(0);
        Self { out, has_terms, count_at, count: 0 }
    }

    /// Appends a whole point.
    pub(crate) fn put(&mut self, id: &PointId, vector: &[f32], term: f32, metadata: &[u8]) {
        self.begin_entry(ENTRY_PUT, id);
        if self.has_terms {
            self.out.put_f32(term);
        }
        self.out.put_f32s(vector);
        self.out.put_u32(metadata.len() as u32);
        self.out.extend_from_slice(metadata);
    }

    /// Appends the end of a point.
    pub(crate) fn delete(&mut self, id: &PointId) {
        self.begin_entry(ENTRY_DELETE, id);
    }

    fn begin_entry(&mut self, kind: u8, id: &PointId) {
        self.out.put_u8(kind);
        let id = id.to_canonical();
        self.out.put_u8(id.len() as u8);
        self.out.extend_from_slice(&id);
        self.count += 1;
    }

    /// How many entries it has.
    pub(crate) const fn entries(&self) -> usize {
        self.count as usize
    }

    /// How many bytes it has.
    pub(crate) const fn bytes(&self) -> usize {
        self.out.len()
    }

    /// The whole record.
    ///
    /// # Panics
    /// When it takes more than 4 GiB: whoever calls keeps it within [`MAX_RECORD_BYTES`].
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out[self.count_at..self.count_at + 4].copy_from_slice(&self.count.to_le_bytes());
        frame::seal(self.out)
    }
}

/// Writes one record.
///
/// `entries` gives, for each point in order, its id and (for a put) its vector, term and encoded metadata.
///
/// # Panics
/// When they take more than 4 GiB: whoever calls keeps them within [`MAX_RECORD_BYTES`].
pub fn encode_writes<'a>(
    lsn: Lsn,
    first: Stamp,
    request: Option<RequestId>,
    dimension: usize,
    has_terms: bool,
    entries: impl Iterator<Item = (&'a PointId, Option<(&'a [f32], f32, &'a [u8])>)>,
) -> Vec<u8> {
    let mut record = RecordWriter::new(lsn, first, request, dimension, has_terms);
    for (id, put) in entries {
        match put {
            Some((vector, term, metadata)) => record.put(id, vector, term, metadata),
            None => record.delete(id),
        }
    }
    record.finish()
}

impl<'a> Record<'a> {
    /// The number in a record's bytes, of which nothing else is looked at.
    ///
    /// # Errors
    /// `Corrupted` when they end before it.
    pub fn number(bytes: &[u8]) -> Result<Lsn> {
        let mut reader = Reader::new(bytes);
        reader.bytes(frame::PREFIX, "a record's prefix")?;
        Ok(Lsn(reader.u64("a record's number")?))
    }

    /// Reads one whole frame and checks it.
    ///
    /// # Errors
    /// `Corrupted` when a length or the checksum does not fit; `Unsupported` for a kind of a later version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let prefix = Prefix::read(&mut reader, "a record's header")?;
        let payload = reader.bytes(prefix.len, "a record")?;
        reader.finish("a record")?;
        let Frame { number, kind, body } = Frame::open(prefix, payload, "a record")?;
        match kind {
            KIND_WRITES => Ok(Self { lsn: Lsn(number), writes: WriteBatch::decode(body)? }),
            kind => Err(Error::unsupported(format!("record {number} is of kind {kind}, made by a later version"))),
        }
    }
}

impl<'a> WriteBatch<'a> {
    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Self> {
        let flags = reader.u8("flags")?;
        if flags & !(FLAG_REQUEST | FLAG_TERMS) != 0 {
            return Err(Error::unsupported(format!("record flags {flags:#x} are of a later version")));
        }
        let first = Stamp { hlc: reader.u64("hlc")?, writer: reader.u64("writer")?, cseq: reader.u64("cseq")? };
        let request = match flags & FLAG_REQUEST {
            0 => None,
            _ => Some(RequestId { tab: reader.u64("tab")?, n: reader.u64("n")? }),
        };
        let dimension = reader.u32("dimension")? as usize;
        let count = reader.u32("count")? as usize;
        let batch =
            Self { first, request, dimension, count, has_terms: flags & FLAG_TERMS != 0, entries: reader.clone() };
        for _ in 0..count {
            batch.read_entry(&mut reader)?;
        }
        reader.finish("the entries of a record")?;
        Ok(batch)
    }

    /// Whether puts carry the metric's term.
    pub const fn has_terms(&self) -> bool {
        self.has_terms
    }

    /// How many entries the batch has.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether the batch has no entries.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries with their stamps, in order.
    pub fn entries(&self) -> impl Iterator<Item = (Stamp, Entry<'a>)> + '_ {
        let mut reader = self.entries.clone();
        (0..self.count as u64).map(move |i| {
            let entry = self.read_entry(&mut reader).expect("every entry was read when the record was decoded");
            (Stamp { cseq: self.first.cseq.wrapping_add(i), ..self.first }, entry)
        })
    }

    fn read_entry(&self, reader: &mut Reader<'a>) -> Result<Entry<'a>> {
        let kind = reader.u8("an entry's kind")?;
        let len = reader.u8("an id's length")? as usize;
        let id = PointId::from_canonical(reader.bytes(len, "an id")?)?;
        match kind {
            ENTRY_PUT => {
                let term = if self.has_terms { reader.f32("a term")? } else { 1.0 };
                let vector = reader.bytes(self.dimension.saturating_mul(4), "a vector")?;
                let len = reader.u32("the length of metadata")? as usize;
                Ok(Entry::Put { id, term, vector, metadata: reader.bytes(len, "metadata")? })
            }
            ENTRY_DELETE => Ok(Entry::Delete { id }),
            kind => Err(Error::corrupted(format!("an entry of kind {kind}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::PREFIX;
    use super::*;
    use crate::bytes::crc32c;

    fn sample() -> Vec<u8> {
        let ids = [PointId::Int(7), PointId::string("seven").unwrap(), PointId::Int(u64::MAX)];
        let rows = [[1.0, 2.0], [3.0, 4.0]];
        let puts = [Some((&rows[0][..], 0.5, &b"m"[..])), None, Some((&rows[1][..], 0.25, &b""[..]))];
        let first = Stamp { hlc: 9, writer: 8, cseq: 100 };
        let request = Some(RequestId { tab: 1, n: 2 });
        encode_writes(Lsn(5), first, request, 2, true, ids.iter().zip(puts))
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let bytes = sample();
        let record = Record::decode(&bytes).unwrap();
        assert_eq!((record.lsn, Record::number(&bytes)), (Lsn(5), Ok(Lsn(5))));
        assert_eq!(record.writes.request, Some(RequestId { tab: 1, n: 2 }));
        let entries: Vec<_> = record.writes.entries().collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[2].0, Stamp { hlc: 9, writer: 8, cseq: 102 });
        assert!(matches!(&entries[0].1, Entry::Put { id: PointId::Int(7), term: 0.5, metadata: b"m", .. }));
        assert!(matches!(&entries[1].1, Entry::Delete { id } if *id == PointId::string("seven").unwrap()));
        let Entry::Put { vector, .. } = &entries[2].1 else { panic!("a put") };
        assert_eq!(*vector, [3.0_f32, 4.0].map(f32::to_le_bytes).concat());
    }

    #[test]
    fn entries_of_every_largest_size_make_the_longest_record() {
        let id = PointId::string(&"i".repeat(MAX_ID_BYTES)).unwrap();
        let (row, metadata) = ([1.0; 5], alloc::vec![0; MAX_METADATA_BYTES]);
        for count in 0..3 {
            let entries = (0..count).map(|_| (&id, Some((&row[..], 0.5, &metadata[..]))));
            let bytes = encode_writes(Lsn(1), Stamp::default(), Some(RequestId { tab: 1, n: 2 }), 5, true, entries);
            assert_eq!(bytes.len(), longest_record(count, 5));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = sample();
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_body_that_lies_about_its_sizes_is_an_error_even_with_a_right_checksum() {
        let bytes = sample();
        for at in PREFIX..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let crc = crc32c(&damaged[PREFIX..]);
                damaged[4..8].copy_from_slice(&crc.to_le_bytes());
                let _ = Record::decode(&damaged).map(|r| r.writes.entries().count());
            }
        }
    }
}
