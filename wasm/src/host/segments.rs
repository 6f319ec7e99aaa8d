//! Sealed segments in the store: written once in chunks, read back into one aligned buffer.

use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{Checks, ManifestSegment, Segment};
use hyperspace_core::types::{SegmentId, SpaceId};

use super::database::Database;
use super::rows::{CHUNK, arriving_key, chunk_key, chunk_range, decode_segment, encode_segment, segment_key};
use crate::kv::{Durability, FrameKind, Key, Kv, Store, decode_into, frame};

/// Chunks written by one transaction: 4 MiB, so that no other tab waits long.
const CHUNKS_A_TRANSACTION: usize = 4;
/// Chunks read by one transaction.
const CHUNKS_A_READ: usize = 8;

impl<K: Kv> Database<K> {
    /// Writes a segment's chunks. Nothing names them yet: until the flip they are swept at the next opening.
    pub(super) async fn stage(&self, space: SpaceId, id: &SegmentId, bytes: &[u8]) -> Result<()> {
        self.stage_part(space, id, bytes, 0, bytes.len()).await.map(drop)
    }

    /// Writes the chunks of a segment from one on, as far as its bytes are known; answers which is the next one. As long as
    /// not all of them are, they are left at an opening: they need not come again.
    ///
    /// Strict, each transaction for itself: a later strict one does not flush large values written before it (see
    /// [`LOG_ROW`](super::rows::LOG_ROW)), and the flip must not outlive what it names.
    pub(super) async fn stage_part(
        &self,
        space: SpaceId,
        id: &SegmentId,
        bytes: &[u8],
        from: usize,
        known: usize,
    ) -> Result<usize> {
        let is_whole = known == bytes.len();
        let to = if is_whole { bytes.len().div_ceil(CHUNK) } else { known / CHUNK };
        let (row, arriving) = (segment_key(space, id), arriving_key(space, id));
        for first in (from..to).step_by(CHUNKS_A_TRANSACTION) {
            let mut tx = self.transaction();
            let last = first + CHUNKS_A_TRANSACTION >= to;
            if is_whole && last && from > 0 {
                tx.delete(Store::Segs, arriving.clone());
            }
            let key = if is_whole { &row } else { &arriving };
            tx.put(Store::Segs, key.clone(), encode_segment(id, bytes.len()));
            for number in first..to.min(first + CHUNKS_A_TRANSACTION) {
                let chunk = &bytes[number * CHUNK..bytes.len().min((number + 1) * CHUNK)];
                tx.put(Store::Chunks, chunk_key(space, id, number as u32), frame(FrameKind::Chunk, 0, chunk));
            }
            self.store(&tx, Durability::Strict).await?;
        }
        Ok(to)
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
        match self.read_chunks(space, &id, bytes.as_mut()).await? {
            (_, Some(damage)) => Err(damage),
            _ => Ok(Arc::new(Segment::open(id, Arc::new(bytes), Checks::Structure)?)),
        }
    }

    /// What is here of a segment that is arriving, and how many bytes of it, from the front.
    pub(super) async fn load_arriving(
        &self,
        space: SpaceId,
        id: &SegmentId,
        len: usize,
    ) -> Result<(AlignedBytes, usize)> {
        let mut bytes = AlignedBytes::zeroed(len);
        let stored = self.read_chunks(space, id, bytes.as_mut()).await?.0;
        Ok((bytes, stored))
    }

    /// Reads the chunks of a segment to their places, up to one that is missing or damaged: how many bytes that makes, and
    /// what is wrong with the rest.
    async fn read_chunks(&self, space: SpaceId, id: &SegmentId, bytes: &mut [u8]) -> Result<(usize, Option<Error>)> {
        let chunks = bytes.len().div_ceil(CHUNK) as u32;
        let keys: Vec<Key> = (0..chunks).map(|number| chunk_key(space, id, number)).collect();
        let mut read = 0;
        for window in keys.chunks(CHUNKS_A_READ) {
            for blob in self.kv.get_many(Store::Chunks, window).await? {
                let what = format!("chunk {} of segment {id} of space {}", read / CHUNK, space.0);
                let end = bytes.len().min(read + CHUNK);
                let place = &mut bytes[read..end];
                let copied = blob
                    .ok_or_else(|| Error::corrupted(format!("{what} is not stored")))
                    .and_then(|blob| decode_into(FrameKind::Chunk, &blob, place, &what));
                if let Err(damage) = copied {
                    return Ok((read, Some(damage)));
                }
                read = end;
            }
        }
        Ok((read, None))
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
