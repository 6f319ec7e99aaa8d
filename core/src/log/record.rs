//! The codec of log records.
//!
//! ```text
//! a frame (frame.rs) whose number is the lsn; its body for kind 1, writes:
//!   flags u8 (1: a request follows, 2: puts carry a term, 4: entries carry a number) | hlc u64 | writer u64
//!   first cseq u64 | [tab u64 | n u64] | dimension u32 | count u32 | entries
//! entry: 1 put | id len u8 | id | [number u64] | [term f32] | dimension * f32 | metadata len u32 | metadata
//!        2 delete | id len u8 | id | [number u64]
//! for kind 2, a change of replication: see sync/codec.rs
//! ```
//! Entry `i` carries the stamp `(hlc, writer, first cseq + i)`. Decoding never panics and allocates nothing but what
//! the bytes hold.

use alloc::format;
use alloc::vec::Vec;

use super::frame::{self, Frame, Prefix};
use super::rec::{put_id, take_id};
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
/// A change of replication.
const KIND_CHANGE: u8 = 2;
const FLAG_REQUEST: u8 = 1;
const FLAG_TERMS: u8 = 2;
const FLAG_NUMBERS: u8 = 4;
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
    /// What it does.
    pub body: RecordBody<'a>,
}

/// What is in a record.
#[derive(Clone, Debug)]
pub enum RecordBody<'a> {
    /// Writes of this replica.
    Writes(WriteBatch<'a>),
    /// A change of replication, as yet unread.
    Change(&'a [u8]),
}

/// An atomic batch of puts and deletes.
#[derive(Clone, Debug)]
pub struct WriteBatch<'a> {
    /// The stamp of the first entry.
    pub first: Stamp,
    /// The request that it answers, when it came from one.
    pub request: Option<RequestId>,
    /// How its entries are laid out.
    pub layout: Layout,
    count: usize,
    entries: Reader<'a>,
}

/// How the entries of a record are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many components each vector has.
    pub dimension: usize,
    /// Whether puts carry the metric's term.
    pub has_terms: bool,
    /// Whether entries carry a number of replication.
    pub has_numbers: bool,
}

/// A put or delete that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// Which point.
    pub id: &'a PointId,
    /// See [`Rec::seq`](super::Rec::seq); left out of a record without numbers.
    pub number: u64,
    /// Of a put: vector, term and encoded metadata.
    pub put: Option<(&'a [f32], f32, &'a [u8])>,
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
    1 + id + 8 + vector + metadata
}

/// A record of writes that grows entry by entry.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    out: Vec<u8>,
    layout: Layout,
    count_at: usize,
    count: u32,
}

impl RecordWriter {
    /// A record without entries.
    pub(crate) fn new(lsn: Lsn, first: Stamp, request: Option<RequestId>, layout: Layout) -> Self {
        let mut out = frame::begin(lsn.0, KIND_WRITES);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let Layout { dimension, has_terms, has_numbers } = layout;
        let numbers = flag(has_numbers, FLAG_NUMBERS);
        out.put_u8(flag(request.is_some(), FLAG_REQUEST) | flag(has_terms, FLAG_TERMS) | numbers);
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
        Self { out, layout, count_at, count: 0 }
    }

    /// Appends an entry.
    pub(crate) fn add(&mut self, entry: &NewEntry<'_>) {
        self.out.put_u8(if entry.put.is_some() { ENTRY_PUT } else { ENTRY_DELETE });
        put_id(&mut self.out, entry.id);
        if self.layout.has_numbers {
            self.out.put_u64(entry.number);
        }
        if let Some((vector, term, metadata)) = entry.put {
            if self.layout.has_terms {
                self.out.put_f32(term);
            }
            self.out.put_f32s(vector);
            self.out.put_u32(metadata.len() as u32);
            self.out.extend_from_slice(metadata);
        }
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
/// # Panics
/// When the entries take more than 4 GiB: whoever calls keeps them within [`MAX_RECORD_BYTES`].
pub fn encode_writes<'a>(
    lsn: Lsn,
    first: Stamp,
    request: Option<RequestId>,
    layout: Layout,
    entries: impl Iterator<Item = NewEntry<'a>>,
) -> Vec<u8> {
    let mut record = RecordWriter::new(lsn, first, request, layout);
    entries.for_each(|entry| record.add(&entry));
    record.finish()
}

/// Writes a record of a change of replication, whose bytes the caller appends.
pub(crate) fn encode_change(lsn: Lsn, append: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = frame::begin(lsn.0, KIND_CHANGE);
    append(&mut out);
    frame::seal(out)
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
        let Frame { number, kind, mut body } = Frame::open(prefix, payload, "a record")?;
        match kind {
            KIND_WRITES => Ok(Self { lsn: Lsn(number), body: RecordBody::Writes(WriteBatch::decode(body)?) }),
            KIND_CHANGE => {
                let change = body.bytes(body.remaining(), "a change")?;
                Ok(Self { lsn: Lsn(number), body: RecordBody::Change(change) })
            }
            kind => Err(Error::unsupported(format!("record {number} is of kind {kind}, made by a later version"))),
        }
    }
}

impl<'a> WriteBatch<'a> {
    pub(crate) fn decode(mut reader: Reader<'a>) -> Result<Self> {
        let flags = reader.u8("flags")?;
        if flags & !(FLAG_REQUEST | FLAG_TERMS | FLAG_NUMBERS) != 0 {
            return Err(Error::unsupported(format!("record flags {flags:#x} are of a later version")));
        }
        let first = Stamp { hlc: reader.u64("hlc")?, writer: reader.u64("writer")?, cseq: reader.u64("cseq")? };
        let request = match flags & FLAG_REQUEST {
            0 => None,
            _ => Some(RequestId { tab: reader.u64("tab")?, n: reader.u64("n")? }),
        };
        let dimension = reader.u32("dimension")? as usize;
        let count = reader.u32("count")? as usize;
        let (has_terms, has_numbers) = (flags & FLAG_TERMS != 0, flags & FLAG_NUMBERS != 0);
        let layout = Layout { dimension, has_terms, has_numbers };
        let batch = Self { first, request, layout, count, entries: reader.clone() };
        for _ in 0..count {
            batch.read_entry(&mut reader)?;
        }
        reader.finish("the entries of a record")?;
        Ok(batch)
    }

    /// How many entries the batch has.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether the batch has no entries.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries with their stamps and numbers (0 in a record without), in order.
    pub fn entries(&self) -> impl Iterator<Item = (Stamp, u64, Entry<'a>)> + '_ {
        let mut reader = self.entries.clone();
        (0..self.count as u64).map(move |i| {
            let (number, entry) =
                self.read_entry(&mut reader).expect("every entry was read when the record was decoded");
            (Stamp { cseq: self.first.cseq.wrapping_add(i), ..self.first }, number, entry)
        })
    }

    fn read_entry(&self, reader: &mut Reader<'a>) -> Result<(u64, Entry<'a>)> {
        let kind = reader.u8("an entry's kind")?;
        let id = take_id(reader)?;
        let number = if self.layout.has_numbers { reader.counter("an entry's number")? } else { 0 };
        match kind {
            ENTRY_PUT => {
                let term = if self.layout.has_terms { reader.f32("a term")? } else { 1.0 };
                let vector = reader.bytes(self.layout.dimension.saturating_mul(4), "a vector")?;
                let len = reader.u32("the length of metadata")? as usize;
                Ok((number, Entry::Put { id, term, vector, metadata: reader.bytes(len, "metadata")? }))
            }
            ENTRY_DELETE => Ok((number, Entry::Delete { id })),
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
        let layout = Layout { dimension: 2, has_terms: true, has_numbers: true };
        let entries = ids.iter().zip(puts).zip(40..).map(|((id, put), number)| NewEntry { id, number, put });
        encode_writes(Lsn(5), first, request, layout, entries)
    }

    fn writes(record: Record<'_>) -> WriteBatch<'_> {
        let RecordBody::Writes(writes) = record.body else { panic!("writes") };
        writes
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let bytes = sample();
        let record = Record::decode(&bytes).unwrap();
        assert_eq!((record.lsn, Record::number(&bytes)), (Lsn(5), Ok(Lsn(5))));
        let writes = writes(record);
        assert_eq!(writes.request, Some(RequestId { tab: 1, n: 2 }));
        let entries: Vec<_> = writes.entries().collect();
        assert_eq!(entries.iter().map(|(_, number, _)| *number).collect::<Vec<_>>(), [40, 41, 42]);
        assert_eq!(entries[2].0, Stamp { hlc: 9, writer: 8, cseq: 102 });
        assert!(matches!(&entries[0].2, Entry::Put { id: PointId::Int(7), term: 0.5, metadata: b"m", .. }));
        assert!(matches!(&entries[1].2, Entry::Delete { id } if *id == PointId::string("seven").unwrap()));
        let Entry::Put { vector, .. } = &entries[2].2 else { panic!("a put") };
        assert_eq!(*vector, [3.0_f32, 4.0].map(f32::to_le_bytes).concat());
    }

    #[test]
    fn entries_of_every_largest_size_make_the_longest_record() {
        let id = PointId::string(&"i".repeat(MAX_ID_BYTES)).unwrap();
        let (row, metadata) = ([1.0; 5], alloc::vec![0; MAX_METADATA_BYTES]);
        for count in 0..3 {
            let put = Some((&row[..], 0.5, &metadata[..]));
            let entries = (0..count).map(|_| NewEntry { id: &id, number: 1, put });
            let layout = Layout { dimension: 5, has_terms: true, has_numbers: true };
            let bytes = encode_writes(Lsn(1), Stamp::default(), Some(RequestId { tab: 1, n: 2 }), layout, entries);
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
                let _ = Record::decode(&damaged).map(|record| writes(record).entries().count());
            }
        }
    }
}
