//! A database as one file: collections and points, without the segments and graphs that one engine made of them.
//!
//! ```text
//! archive     = header | collection* | (points* done)* | end       one `points* done` a collection, in their order
//! header      = "HSARCHIV" | version u32
//! collection, points, done, end: frames of the log (log/frame.rs) of at most 1 MiB, numbered from 0; by their kind:
//!    1 points       a log's batch of writes (log/record.rs), puts only, whose stamps say nothing
//!   16 collection   its manifest when it was empty (segment/manifest.rs); names rise
//!   17 done         points u64: how many the collection has
//!   18 end          digest u32, over the checksums of all frames before
//! ```
//! The collections come first, so that a reader knows whether it wants them before it is given the first point; counts
//! and end come last, because a writer need not know them in advance. Points are put, as any others are, and indexed by
//! whoever reads them. Rows and terms are bit for bit what was stored, so distances are too.
//!
//! Neither side holds more than one block. Invariant: a reader that tells of the end has seen every byte that the writer
//! wrote: whatever was cut off, changed, left out, doubled or put in another place is noticed before.
//!
//! Knows nothing of files, of names that are taken, or of where points go.

mod read;
mod write;

pub use read::{ArchiveReader, Block, Points};
pub use write::{ArchiveWriter, Export};

use crate::bytes::crc32c;
use crate::collection::MAX_DIMENSION;
use crate::log::longest_record;

const MAGIC: &[u8; 8] = b"HSARCHIV";
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4;

const KIND_COLLECTION: u8 = 16;
const KIND_DONE: u8 = 17;
const KIND_END: u8 = 18;

/// The longest block.
pub const MAX_BLOCK_BYTES: usize = 1 << 20;

// Any point has room in a block.
const _: () = assert!(longest_record(1, MAX_DIMENSION) <= MAX_BLOCK_BYTES);

/// What one side has written, and the other one has read.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Blocks so far, which is the number of the next one.
    blocks: u64,
    /// Collections that are done.
    done: usize,
    /// Points so far of the collection that is not.
    points: u64,
    digest: u32,
}

impl Progress {
    /// Takes note of a block by its checksum.
    fn pass(&mut self, crc: u32) {
        self.blocks += 1;
        let (digest, crc) = (self.digest.to_le_bytes(), crc.to_le_bytes());
        self.digest = crc32c([digest, crc].as_flattened());
    }
}
