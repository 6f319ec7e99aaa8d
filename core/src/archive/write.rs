//! Writing an archive: points go in, blocks come out.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{KIND_COLLECTION, KIND_DONE, KIND_END, MAGIC, MAX_BLOCK_BYTES, Progress, VERSION};
use crate::bytes::Writer;
use crate::collection::{CollectionConfig, MAX_BATCH, Snapshot, Walk};
use crate::log::{NewEntry, RecordWriter, frame, longest_entry};
use crate::types::{Lsn, PointId, Stamp};

/// Writes an archive, collection after collection.
#[derive(Debug)]
pub struct ArchiveWriter {
    collections: Vec<CollectionConfig>,
    progress: Progress,
    /// The points of the block that is not complete.
    open: Option<RecordWriter>,
    ready: Vec<u8>,
}

impl ArchiveWriter {
    /// Begins an archive of these collections, which come in the order of their names.
    ///
    /// # Panics
    /// When they do not.
    pub fn new(collections: Vec<CollectionConfig>) -> Self {
        assert!(collections.is_sorted_by(|a, b| a.name < b.name), "the names of collections rise");
        let mut ready = MAGIC.to_vec();
        ready.put_u32(VERSION);
        let mut writer = Self { collections, progress: Progress::default(), open: None, ready };
        for at in 0..writer.collections.len() {
            let manifest = writer.collections[at].to_manifest().encode();
            writer.block(KIND_COLLECTION, &manifest);
        }
        writer
    }

    /// The collection whose points are written next; `None` when all are done.
    pub fn collection(&self) -> Option<&CollectionConfig> {
        self.collections.get(self.progress.done)
    }

    /// Writes a point of the present collection: its row and term as they are stored, its metadata encoded.
    ///
    /// # Panics
    /// When all collections are done, or the row is of another dimension.
    pub fn put(&mut self, id: &PointId, row: &[f32], term: f32, metadata: &[u8]) {
        let config = self.collection().expect("no point is written behind the last collection");
        let (dimension, layout) = (config.dimension, config.layout(false));
        assert!(row.len() == dimension, "a point has the dimension of its collection");
        let full = self.open.as_ref().is_some_and(|open| {
            let bytes = open.bytes() + longest_entry(dimension, metadata.len());
            open.entries() == MAX_BATCH || bytes > MAX_BLOCK_BYTES
        });
        if full {
            self.close();
        }
        let (number, no_stamp) = (Lsn(self.progress.blocks), Stamp::default());
        let open = self.open.get_or_insert_with(|| RecordWriter::new(number, no_stamp, None, layout));
        open.add(&NewEntry { id, number: 0, put: Some((row, term, metadata)) });
        self.progress.points += 1;
    }

    /// Ends the present collection.
    pub fn finish_collection(&mut self) {
        self.close();
        let points = core::mem::take(&mut self.progress.points);
        self.block(KIND_DONE, &points.to_le_bytes());
        self.progress.done += 1;
    }

    /// Ends the archive and gives its last bytes.
    ///
    /// # Panics
    /// When a collection is not done.
    pub fn finish(mut self) -> Vec<u8> {
        assert!(self.collection().is_none(), "an archive ends behind its last collection");
        let digest = self.progress.digest;
        self.block(KIND_END, &digest.to_le_bytes());
        self.ready
    }

    /// How many bytes are complete.
    pub const fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the bytes that are complete.
    pub fn take(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.ready)
    }

    /// Completes the block of points.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.append(&open.finish());
        }
    }

    fn block(&mut self, kind: u8, body: &[u8]) {
        let mut block = frame::begin(self.progress.blocks, kind);
        block.extend_from_slice(body);
        self.append(&frame::seal(block));
    }

    fn append(&mut self, block: &[u8]) {
        self.progress.pass(frame::checksum(block));
        self.ready.extend_from_slice(block);
    }
}

/// Writes the archive of some collections as they are at one moment, piece by piece, while they go on.
#[derive(Debug)]
pub struct Export {
    snapshots: Vec<Arc<Snapshot>>,
    walk: Walk,
    /// `None` once everything is written.
    writer: Option<ArchiveWriter>,
}

impl Export {
    /// Begins with views of collections, which come in the order of their names.
    ///
    /// # Panics
    /// When they do not.
    pub fn new(snapshots: Vec<Arc<Snapshot>>) -> Self {
        let configs = snapshots.iter().map(|snapshot| snapshot.config().clone()).collect();
        Self { snapshots, walk: Walk::default(), writer: Some(ArchiveWriter::new(configs)) }
    }
}

impl Iterator for Export {
    type Item = Vec<u8>;

    /// The next piece: about a block, or several small ones.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut writer = self.writer.take()?;
        while writer.ready() < MAX_BLOCK_BYTES / 2 {
            let Some(snapshot) = self.snapshots.get(writer.progress.done) else { return Some(writer.finish()) };
            if let Some(point) = snapshot.step(&mut self.walk) {
                writer.put(&point.id, point.row, point.term, point.metadata);
            } else {
                writer.finish_collection();
                self.walk = Walk::default();
            }
        }
        let piece = writer.take();
        self.writer = Some(writer);
        Some(piece)
    }
}
