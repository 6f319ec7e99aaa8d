//! Archives: what goes in comes out, bit for bit, and an archive that is not whole is never taken for one.

mod damage;
mod samples;

use hyperspace_core::archive::{ArchiveReader, ArchiveWriter, Block, Export, MAX_BLOCK_BYTES, Points};
use hyperspace_core::collection::{Collection, CollectionConfig, MAX_BATCH, MAX_DIMENSION, Plan, Vectors};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metadata::{MAX_METADATA_BYTES, Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::types::PointId;

use crate::engine::host::{Host, ids};
use samples::{answers, contents, database};

/// All that an archive holds.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) collections: Vec<CollectionConfig>,
    /// The points of each collection, block by block.
    pub(crate) points: Vec<Vec<Points>>,
}

/// Reads an archive to its end.
pub(crate) fn read(archive: &[u8]) -> Result<Read> {
    let (mut reader, mut read, mut rest) = (ArchiveReader::default(), Read::default(), archive);
    let mut open = Vec::new();
    loop {
        assert!(reader.wanted() <= MAX_BLOCK_BYTES, "{} bytes are wanted at once", reader.wanted());
        let (bytes, behind) = rest.split_at(reader.wanted().min(rest.len()));
        rest = behind;
        match reader.take(bytes)? {
            Some(Block::Collection) => read.collections = reader.collections().to_vec(),
            Some(Block::Points(points)) => open.push(points),
            Some(Block::Done(points)) => {
                assert_eq!(points, open.iter().map(|points| points.ids.len() as u64).sum::<u64>());
                read.points.push(std::mem::take(&mut open));
            }
            Some(Block::End) => break,
            None => {}
        }
    }
    assert_eq!((reader.position(), rest.len()), (archive.len() as u64, 0));
    assert_eq!(read.points.len(), read.collections.len());
    Ok(read)
}

/// The archive of some collections as they are.
pub(crate) fn export<'a>(collections: impl IntoIterator<Item = &'a Collection>) -> Vec<u8> {
    Export::new(collections.into_iter().map(Collection::snapshot).collect()).flatten().collect()
}

/// Makes the collections of an archive anew.
pub(crate) fn import(archive: &[u8]) -> Result<Vec<Host>> {
    let Read { collections, points } = read(archive)?;
    let made = collections.into_iter().zip(points).map(|(config, blocks)| {
        let mut host = Host::create(config)?;
        for Points { ids, rows, terms, metadata } in blocks {
            host.upsert(&ids, Vectors::Stored(&rows, &terms), &metadata)?;
        }
        Ok(host)
    });
    made.collect()
}

#[test]
fn a_database_comes_back_point_for_point_and_answers_with_the_same_bits() {
    let before = database();
    let archive = export(before.iter().map(|host| &host.collection));
    let after = import(&archive).unwrap();
    assert_eq!(after.len(), before.len());
    for mut host in after {
        let name = host.collection.config().name.clone();
        let old = before.iter().find(|old| old.collection.config().name == name).unwrap();
        assert_eq!(host.collection.config(), old.collection.config());
        assert_eq!(contents(&host.collection), contents(&old.collection), "{name}");
        let expected = answers(&old.collection, Plan::Exact);
        assert_eq!(answers(&host.collection, Plan::Exact), expected, "{name}, not indexed");
        host.settle().unwrap();
        assert_eq!(host.collection.snapshot().pending(), 0);
        assert_eq!(answers(&host.collection, Plan::Exact), expected, "{name}, indexed");
        let blocks = read(&export([&host.collection])).unwrap().points;
        assert_eq!(blocks[0].iter().map(|points| points.ids.len()).sum::<usize>(), host.collection.snapshot().len());
    }
}

#[test]
fn an_export_shows_one_moment_while_writes_and_seals_go_on() {
    let mut host = Host::create(CollectionConfig::new("c", 2, Metric::L2).unwrap()).unwrap();
    let large: Metadata =
        Metadata::from_value(&Value::Map([("text".into(), Value::Str("x".repeat(60_000)))].into())).unwrap();
    let rows: Vec<f32> = (0..200).map(|x| x as f32).collect();
    host.upsert(&ids(0, 100), Vectors::F32(&rows), &vec![large; 100]).unwrap();
    let expected = contents(&host.collection);
    let mut export = Export::new(vec![host.collection.snapshot()]);
    let mut archive = export.next().unwrap();
    for (round, piece) in (0_u64..).zip(export) {
        archive.extend(piece);
        host.upsert(&ids(round, 50), Vectors::F32(&rows[..100]), &[]).unwrap();
        host.delete(&ids(90, 10)).unwrap();
        host.settle().unwrap();
    }
    assert!(archive.len() > 5 * MAX_BLOCK_BYTES, "{} bytes are several pieces", archive.len());
    assert_ne!(contents(&host.collection), expected);
    assert_eq!(contents(&import(&archive).unwrap()[0].collection), expected);
}

#[test]
fn the_largest_points_and_the_fullest_blocks_fit() {
    let dimension = MAX_DIMENSION;
    let config = CollectionConfig::new("wide", dimension, Metric::Poincare).unwrap();
    let mut writer = ArchiveWriter::new(vec![CollectionConfig::new("many", 1, Metric::Dot).unwrap(), config]);
    // `put` takes no interest in what metadata say.
    let text = Value::Str("x".repeat(MAX_METADATA_BYTES - 6));
    let metadata = Metadata::from_value(&Value::Map([("t".into(), text)].into())).unwrap();
    assert_eq!(metadata.as_bytes().len(), MAX_METADATA_BYTES);
    for id in 0..=2 * MAX_BATCH as u64 {
        writer.put(&PointId::Int(id), &[0.5], 1.0, &[]);
    }
    writer.finish_collection();
    for n in 0..30 {
        let id = PointId::string(&format!("{n:0>128}")).unwrap();
        writer.put(&id, &vec![0.0; dimension], 1.0, metadata.as_bytes());
    }
    writer.finish_collection();
    let Read { points, .. } = read(&writer.finish()).unwrap();
    let sizes = |at: usize| points[at].iter().map(|points: &Points| points.ids.len()).collect::<Vec<_>>();
    assert_eq!(sizes(0), [MAX_BATCH, MAX_BATCH, 1]);
    assert_eq!(sizes(1).iter().sum::<usize>(), 30);
    assert!(sizes(1).iter().all(|&size| size * (dimension * 4 + MAX_METADATA_BYTES) < MAX_BLOCK_BYTES));
    assert_eq!(points[1][0].metadata[0], metadata);
}

#[test]
fn a_database_without_collections_is_an_archive_too() {
    assert!(read(&export([])).unwrap().collections.is_empty());
}

/// What is wrong with bytes that are no archive.
pub(crate) fn refusal(bytes: &[u8]) -> Error {
    read(bytes).map(|read| read.collections).expect_err("these bytes are no archive")
}
