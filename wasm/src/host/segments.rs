//! Sealed segments in the store: written once in chunks, read back into one aligned buffer.

use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{Checks, ManifestSegment, Segment};
use hyperspace_core::types::{SegmentId, SpaceId};

use super::database::Database;
use super::rows::{CHUNK, chunk_key, chunk_range, decode_segment, encode_segment, segment_key};
use crate::kv::{Durability, FrameKind, Key, Kv, Store, decode_into, frame};

/// Chunks written by one transaction: 4 MiB, so that no other tab waits long.
const CHUNKS_A_TRANSACTION: usize = 4;
/// Chunks read by one transaction.
const CHUNKS_A_READ: usize = 8;

impl<K: Kv> Database<K> {
    /// Writes a segment's chunks. Nothing names them yet: until the flip they are swept at the next opening.
    ///
    /// Strict, each for itself: a later strict transaction does not flush large values written before it (see
    /// [`LOG_ROW`](super::rows::LOG_ROW)), and the flip must not outlive what it names.
    pub(super) async fn stage(&self, space: SpaceId, id: &SegmentId, bytes: &[u8]) -> Result<()> {
        let chunks: Vec<&[u8]> = bytes.chunks(CHUNK).collect();
        for (batch, window) in chunks.chunks(CHUNKS_A_TRANSACTION).enumerate() {
            let mut tx = self.transaction();
            if batch == 0 {
                tx.put(Store::Segs, segment_key(space, id), encode_segment(id, bytes.len()));
            }
            for (at, chunk) in window.iter().enumerate() {
                let number = (batch * CHUNKS_A_TRANSACTION + at) as u32;
                tx.put(Store::Chunks, chunk_key(space, id, number), frame(FrameKind::Chunk, 0, chunk));
            }
            self.store(&tx, Durability::Strict).await?;
        }
        Ok(())
    }

    /// Reads a segment. Every chunk's checksum is verified while it is copied to its place, so the segment's own
    /// checksums need not be.
    pub(super) async fn load(&self, space: SpaceId, named: &ManifestSegment) -> Result<Arc<Segment>> {
        let id = SegmentId(named.id);
        let what = format!("segment {id} of space {}", space.0);
        let row = self.kv.get(Store::Segs, &segment_key(space, &id)).await?;
        let row = row.ok_or_else(|| Error::corrupted(format!("{what} is not stored")))?;
        let (found, len) = decode_segment(&row, &what)?;
        if found != id {
            return Err(Error::corrupted(format!("{what}: its row is of {found}")));
        }
        // Before memory is given away for what one row says.
        if len as u64 != named.bytes {
            return Err(Error::corrupted(format!("{what}: its row says {len} bytes, the manifest {}", named.bytes)));
        }
        let mut bytes = AlignedBytes::zeroed(len);
        let keys: Vec<Key> = (0..len.div_ceil(CHUNK)).map(|number| chunk_key(space, &id, number as u32)).collect();
        let mut rest = bytes.as_mut();
        for (batch, window) in keys.chunks(CHUNKS_A_READ).enumerate() {
            for (at, blob) in self.kv.get_many(Store::Chunks, window).await?.into_iter().enumerate() {
                let number = batch * CHUNKS_A_READ + at;
                let what = format!("chunk {number} of {what}");
                let blob = blob.ok_or_else(|| Error::corrupted(format!("{what} is not stored")))?;
                let (place, behind) = rest.split_at_mut(CHUNK.min(rest.len()));
                decode_into(FrameKind::Chunk, &blob, place, &what)?;
                rest = behind;
            }
        }
        Ok(Arc::new(Segment::open(id, Arc::new(bytes), Checks::Structure)?))
    }

    /// Deletes the segments that nothing names any more, each in a transaction of its own, which may take long.
    ///
    /// A failure is nobody's: what is left over harms nothing, and the next opening sweeps again.
    pub(super) async fn sweep(&self, dead: Vec<Key>) {
        for key in dead {
            let (from, to) = chunk_range(&key);
            let mut tx = self.transaction();
            tx.delete_range(Store::Chunks, from, to);
            tx.delete(Store::Segs, key);
            if self.kv.commit(&tx, Durability::Relaxed).await.is_err() {
                return;
            }
        }
    }
}
