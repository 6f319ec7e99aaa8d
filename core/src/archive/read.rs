//! Reading an archive: the reader says how many bytes it wants next, and tells what they are.

use alloc::format;
use alloc::vec::Vec;

use super::{HEADER, KIND_COLLECTION, KIND_DONE, KIND_END, MAGIC, MAX_BLOCK_BYTES, Progress, VERSION};
use crate::bytes::Reader;
use crate::collection::{CollectionConfig, MAX_BATCH, UpsertBatch, Vectors};
use crate::error::{Error, Result};
use crate::log::frame::{Frame, PREFIX, Prefix};
use crate::log::{Entry, KIND_WRITES, WriteBatch};
use crate::metadata::Metadata;
use crate::metric::validate_stored;
use crate::segment::Manifest;
use crate::types::PointId;

/// Reads an archive from bytes that may be damaged.
///
/// ```text
/// loop { match reader.take(&source.up_to(reader.wanted()))? { Some(Block::End) => break, .. } }
/// ```
/// Invariant: what it tells of passes every check of a write.
#[derive(Clone, Debug)]
pub struct ArchiveReader {
    collections: Vec<CollectionConfig>,
    progress: Progress,
    next: Next,
    bytes: u64,
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug)]
enum Next {
    Header,
    Prefix,
    Block(Prefix),
    Nothing,
}

/// A part of an archive.
#[derive(Debug)]
pub enum Block {
    /// A collection, the last one of [`ArchiveReader::collections`]. All of them come before the first point.
    Collection,
    /// Points of the first collection that is not done.
    Points(Points),
    /// The collection has so many points, all of which were told.
    Done(u64),
    /// There is no more, and everything was there.
    End,
}

/// Points in columns, as they were stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    /// One id a point.
    pub ids: Vec<PointId>,
    /// Their rows, one after the other.
    pub rows: Vec<f32>,
    /// The metric's term of each row; 1 when it has none.
    pub terms: Vec<f32>,
    /// One a point.
    pub metadata: Vec<Metadata>,
}

impl Points {
    /// The same as a write.
    pub fn as_batch(&self) -> UpsertBatch<'_> {
        UpsertBatch { ids: &self.ids, vectors: Vectors::Stored(&self.rows, &self.terms), metadata: &self.metadata }
    }
}

impl Default for ArchiveReader {
    fn default() -> Self {
        Self { collections: Vec::new(), progress: Progress::default(), next: Next::Header, bytes: 0 }
    }
}

impl ArchiveReader {
    /// How many bytes are to be taken next, at most [`MAX_BLOCK_BYTES`]; fewer only where the source ends.
    pub const fn wanted(&self) -> usize {
        match &self.next {
            Next::Header => HEADER,
            Next::Prefix => PREFIX,
            Next::Block(prefix) => prefix.len,
            // Whether something follows.
            Next::Nothing => 1,
        }
    }

    /// How many bytes were taken.
    pub const fn position(&self) -> u64 {
        self.bytes
    }

    /// The collections that were told of.
    pub fn collections(&self) -> &[CollectionConfig] {
        &self.collections
    }

    /// Takes the bytes that were wanted; tells of the block that they complete.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no archive; `Unsupported` when it is one of a later version; `Corrupted`, with the
    /// block's number, when it is damaged or ends early. A reader that failed is of no more use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Block>> {
        let (at, wanted) = (self.bytes, self.wanted());
        self.bytes += bytes.len() as u64;
        match self.next {
            Next::Header => self.take_header(bytes).map(|()| None),
            Next::Nothing if bytes.is_empty() => Ok(Some(Block::End)),
            Next::Nothing => Err(Error::corrupted(format!("bytes follow the end of the archive at byte {at}"))),
            Next::Prefix | Next::Block(_) if bytes.len() != wanted => {
                Err(self.named(&Error::corrupted(format!("the archive ends after {} bytes", self.bytes))))
            }
            Next::Prefix => self.take_prefix(bytes).map(|()| None).map_err(|e| self.named(&e)),
            Next::Block(prefix) => {
                let block = self.block(prefix, bytes).map_err(|e| self.named(&e))?;
                Ok(self.pass(prefix, block))
            }
        }
    }

    /// The error with the number of the block that is read.
    #[cold]
    #[inline(never)]
    fn named(&self, error: &Error) -> Error {
        Error::new(error.kind(), format!("block {} of the archive: {}", self.progress.blocks, error.message()))
    }

    fn take_header(&mut self, bytes: &[u8]) -> Result<()> {
        let mut reader = Reader::new(bytes);
        let found = reader.bytes(MAGIC.len(), "a header").ok().zip(reader.u32("a version").ok());
        let Some((_, version)) = found.filter(|(magic, _)| magic == MAGIC) else {
            return Err(Error::invalid_argument("these bytes are no archive of a database"));
        };
        if version != VERSION {
            return Err(Error::unsupported(format!("archive version {version}; this build reads {VERSION}")));
        }
        self.next = Next::Prefix;
        Ok(())
    }

    fn take_prefix(&mut self, bytes: &[u8]) -> Result<()> {
        let prefix = Prefix::read(&mut Reader::new(bytes), "a header")?;
        if prefix.len > MAX_BLOCK_BYTES {
            let claimed = prefix.len;
            return Err(Error::corrupted(format!("it claims {claimed} bytes, {MAX_BLOCK_BYTES} are the most")));
        }
        self.next = Next::Block(prefix);
        Ok(())
    }

    fn block(&mut self, prefix: Prefix, payload: &[u8]) -> Result<Block> {
        let Frame { number, kind, body } = Frame::open(prefix, payload, "it")?;
        if number != self.progress.blocks {
            return Err(Error::corrupted(format!("number {number} stands here")));
        }
        match kind {
            KIND_COLLECTION => self.collection(body).map(|()| Block::Collection),
            KIND_WRITES => self.points(body).map(Block::Points),
            KIND_DONE => self.done(body).map(Block::Done),
            KIND_END => self.end(body).map(|()| Block::End),
            kind => Err(Error::unsupported(format!("it is of kind {kind}, made by a later version"))),
        }
    }

    /// Takes note of a block; the end is told of once it is known that nothing follows.
    fn pass(&mut self, prefix: Prefix, block: Block) -> Option<Block> {
        self.progress.pass(prefix.crc);
        self.next = Next::Prefix;
        match &block {
            Block::Collection => {}
            Block::Points(points) => self.progress.points += points.ids.len() as u64,
            Block::Done(_) => (self.progress.done, self.progress.points) = (self.progress.done + 1, 0),
            Block::End => {
                self.next = Next::Nothing;
                return None;
            }
        }
        Some(block)
    }

    fn collection(&mut self, mut body: Reader<'_>) -> Result<()> {
        let manifest = Manifest::decode(body.bytes(body.remaining(), "a manifest")?)?;
        let config = CollectionConfig::from_manifest(&manifest)?;
        let rises = self.collections.last().is_none_or(|last| last.name < config.name);
        if !rises || self.progress.done > 0 || self.progress.points > 0 {
            return Err(Error::corrupted(format!("collection `{}` stands in the wrong place", config.name)));
        }
        self.collections.push(config);
        Ok(())
    }

    /// The collection whose points are told of, or are about to be.
    fn present(&self) -> Result<&CollectionConfig> {
        let present = self.collections.get(self.progress.done);
        present.ok_or_else(|| Error::corrupted("all collections are done"))
    }

    fn points(&self, body: Reader<'_>) -> Result<Points> {
        let config = self.present()?;
        let (metric, dimension) = (config.metric, config.dimension);
        let writes = WriteBatch::decode(body)?;
        if writes.layout != config.layout(false) || writes.is_empty() {
            return Err(Error::corrupted(format!(
                "points of {} dimensions in collection `{}` of {dimension}",
                writes.layout.dimension, config.name
            )));
        }
        if writes.len() > MAX_BATCH {
            let count = writes.len();
            return Err(Error::corrupted(format!("it holds {count} points, {MAX_BATCH} are the most")));
        }
        let mut points = Points::default();
        for (.., entry) in writes.entries() {
            let Entry::Put { id, term, vector, metadata } = entry else {
                return Err(Error::corrupted("it holds a delete"));
            };
            let named = |e: Error| Error::corrupted(format!("point {id}: {}", e.message()));
            let start = points.rows.len();
            Reader::new(vector).f32s(dimension, &mut points.rows, "a row")?;
            let term = validate_stored(metric, dimension, &points.rows[start..], term).map_err(named)?;
            points.metadata.push(Metadata::from_bytes(metadata).map_err(named)?);
            points.terms.push(term);
            points.ids.push(id);
        }
        Ok(points)
    }

    fn done(&self, mut body: Reader<'_>) -> Result<u64> {
        let (config, told) = (self.present()?, self.progress.points);
        let points = body.u64("a count")?;
        body.finish("a count")?;
        if points != told {
            let name = &config.name;
            return Err(Error::corrupted(format!("collection `{name}` has {points} points, {told} were there")));
        }
        Ok(points)
    }

    fn end(&self, mut body: Reader<'_>) -> Result<()> {
        let digest = body.u32("a digest")?;
        body.finish("a digest")?;
        if self.progress.done != self.collections.len() || digest != self.progress.digest {
            let found = self.progress.digest;
            return Err(Error::corrupted(format!("the archive's digest is {found:08x}, its end says {digest:08x}")));
        }
        Ok(())
    }
}
