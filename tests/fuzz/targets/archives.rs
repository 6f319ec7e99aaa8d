//! Archives of databases.

use hyperspace_core::archive::{ArchiveReader, ArchiveWriter, Block, MAX_BLOCK_BYTES, Points};
use hyperspace_core::bytes::crc32c;
use hyperspace_core::collection::{Collection, CollectionConfig};
use hyperspace_core::log::Stamper;

use super::engine::mend_manifest;
use super::{both_ways, decode, put_u32};

/// Bytes before the first block, and those of a block before its number and before its body.
const HEADER: usize = 12;
const PREFIX: usize = 8;
const BLOCK_HEADER: usize = PREFIX + 9;
const KIND_COLLECTION: u8 = 16;
const KIND_END: u8 = 18;

/// Archives: what is told is told only to the end, passes every check of a write, and is told again by an archive made
/// of it.
pub(super) fn archive(bytes: &[u8]) -> bool {
    both_ways(bytes, mend, |bytes| {
        let Some(contents) = read(bytes) else { return false };
        assert_eq!(read(&written(&contents)).as_ref(), Some(&contents), "an archive of what was read");
        true
    })
}

/// A collection and its points.
type Contents = Vec<(CollectionConfig, Points)>;

fn read(bytes: &[u8]) -> Option<Contents> {
    let (mut reader, mut rest) = (ArchiveReader::default(), bytes);
    let (mut contents, mut points) = (Contents::new(), Points::default());
    loop {
        assert!(reader.wanted() <= MAX_BLOCK_BYTES);
        let (piece, behind) = rest.split_at(reader.wanted().min(rest.len()));
        rest = behind;
        // What it was told of collections is kept.
        let taken = bytes.len() - rest.len();
        let present = contents.len();
        match decode(taken, || reader.take(piece))? {
            None | Some(Block::Collection) => {}
            Some(Block::Points(more)) => {
                assert_writable(&reader.collections()[present], &more);
                points.ids.extend(more.ids);
                points.rows.extend(more.rows);
                points.terms.extend(more.terms);
                points.metadata.extend(more.metadata);
            }
            Some(Block::Done(count)) => {
                assert_eq!(count, points.ids.len() as u64);
                contents.push((reader.collections()[present].clone(), std::mem::take(&mut points)));
            }
            Some(Block::End) => {
                assert_eq!((rest.len(), contents.len()), (0, reader.collections().len()), "the end comes at the end");
                return Some(contents);
            }
        }
    }
}

fn assert_writable(config: &CollectionConfig, points: &Points) {
    let mut collection = Collection::create(config.clone()).expect("it can be made anew");
    let mut stamper = Stamper::new(7, 0, 0);
    stamper.reserve(points.ids.len() as u64 + 1);
    let prepared = collection.prepare_upsert(&points.as_batch(), &mut stamper, 1_000, None);
    collection.publish(&prepared.expect("what was read can be written")).expect("what was written can be published");
}

fn written(contents: &Contents) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(contents.iter().map(|(config, _)| config.clone()).collect());
    for (config, points) in contents {
        for (at, row) in points.rows.chunks(config.dimension).enumerate() {
            writer.put(&points.ids[at], row, points.terms[at], points.metadata[at].as_bytes());
        }
        writer.finish_collection();
    }
    writer.finish()
}

/// Makes every block the one that belongs there, as far as their lengths lead.
fn mend(bytes: &mut [u8]) {
    let Some((header, mut rest)) = bytes.split_at_mut_checked(HEADER) else { return };
    header[..8].copy_from_slice(b"HSARCHIV");
    put_u32(header, 8, 1);
    let (mut number, mut digest) = (0_u64, 0_u32);
    while rest.len() >= BLOCK_HEADER {
        let claimed = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        let len = claimed.clamp(BLOCK_HEADER - PREFIX, rest.len() - PREFIX);
        let (block, behind) = rest.split_at_mut(PREFIX + len);
        block[PREFIX..PREFIX + 8].copy_from_slice(&number.to_le_bytes());
        match block[BLOCK_HEADER - 1] {
            KIND_COLLECTION => mend_manifest(&mut block[BLOCK_HEADER..]),
            KIND_END => put_u32(block, BLOCK_HEADER, digest as usize),
            _ => {}
        }
        let sum = crc32c(&block[PREFIX..]);
        put_u32(block, 0, len);
        put_u32(block, 4, sum as usize);
        digest = crc32c([digest.to_le_bytes(), sum.to_le_bytes()].as_flattened());
        number += 1;
        rest = behind;
    }
}
