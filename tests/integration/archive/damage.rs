//! Archives that were cut off, changed, put together wrongly, or made by somebody else.

use hyperspace_core::archive::ArchiveWriter;
use hyperspace_core::bytes::crc32c;
use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::metric::Metric;
use hyperspace_core::types::PointId;

use super::{read, refusal};

/// Bytes before the first block.
const HEADER: usize = 12;

/// An archive with something of everything.
fn small() -> Vec<u8> {
    let config = |name, metric| CollectionConfig::new(name, 2, metric).unwrap();
    let configs = vec![config("a", Metric::Poincare), config("b", Metric::L2), config("c", Metric::Cosine)];
    let mut writer = ArchiveWriter::new(configs);
    writer.put(&PointId::Int(1), &[0.5, 0.25], 1.0 / (1.0 - 0.3125), &[]);
    writer.put(&PointId::string("two").unwrap(), &[1.0, 0.0], 1e9, &[1, 0, b'k', 2]);
    writer.finish_collection();
    writer.finish_collection();
    writer.put(&PointId::Int(3), &[3.0, 4.0], 0.2, &[]);
    writer.finish_collection();
    writer.finish()
}

/// The blocks of an archive.
fn blocks(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &archive[HEADER..];
    let mut found = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk() {
        let (block, behind) = rest.split_at(8 + u32::from_le_bytes(*length) as usize);
        found.push(block.to_vec());
        rest = behind;
    }
    found
}

/// An archive of these blocks, each with its place as its number and with the right checksum.
fn put_together(archive: &[u8], mut blocks: Vec<Vec<u8>>) -> Vec<u8> {
    for (number, block) in (0_u64..).zip(&mut blocks) {
        block[8..16].copy_from_slice(&number.to_le_bytes());
        vouch_for(block);
    }
    [&archive[..HEADER], &blocks.concat()].concat()
}

fn vouch_for(block: &mut [u8]) {
    let checksum = crc32c(&block[8..]);
    block[4..8].copy_from_slice(&checksum.to_le_bytes());
}

fn assert_typed(error: &Error) {
    use ErrorKind::{Corrupted, InvalidArgument, Unsupported};
    assert!([Corrupted, Unsupported, InvalidArgument].contains(&error.kind()), "{error}");
}

#[test]
fn an_archive_is_whole_or_refused_wherever_it_is_cut_off() {
    let whole = small();
    assert!(read(&whole).is_ok());
    for cut in 0..whole.len() {
        let error = refusal(&whole[..cut]);
        let expected = if cut < HEADER { ErrorKind::InvalidArgument } else { ErrorKind::Corrupted };
        assert_eq!(error.kind(), expected, "cut at {cut}: {error}");
    }
    let error = refusal(&[&whole[..], &[0]].concat());
    assert!(error.message().contains(&format!("at byte {}", whole.len())), "{error}");
    assert_eq!(refusal(&[&whole[..], &whole].concat()).kind(), ErrorKind::Corrupted);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = small();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_typed(&refusal(&damaged));
    }
    println!("{} bits flipped", whole.len() * 8);
}

#[test]
fn blocks_that_are_left_out_doubled_or_exchanged_are_noticed_although_each_is_right() {
    let whole = small();
    let blocks = blocks(&whole);
    assert_eq!(blocks.len(), 9, "three collections, two of points, three ends of collections, the end");
    let variants = (0..blocks.len()).flat_map(|at| {
        let (mut without, mut twice) = (blocks.clone(), blocks.clone());
        without.remove(at);
        twice.insert(at, blocks[at].clone());
        let exchanged = (0..at).map(move |other| (at, other));
        let exchanged = exchanged.map(|(at, other)| {
            let mut exchanged = blocks.clone();
            exchanged.swap(at, other);
            exchanged
        });
        [without, twice].into_iter().chain(exchanged.collect::<Vec<_>>())
    });
    for variant in variants {
        assert_typed(&refusal(&[&whole[..HEADER], &variant.concat()].concat()));
        // With numbers that are right again the digest is not.
        if put_together(&whole, variant.clone()) != whole {
            assert_typed(&refusal(&put_together(&whole, variant)));
        }
    }
}

#[test]
fn a_later_version_of_archive_or_block_is_refused_by_its_number() {
    let mut later = small();
    later[8] = 2;
    let error = refusal(&later);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.message(), "archive version 2; this build reads 1");

    let whole = small();
    let mut parts = blocks(&whole);
    parts[3][16] = 99;
    let error = refusal(&put_together(&whole, parts));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.message(), "block 3 of the archive: it is of kind 99, made by a later version");
}

#[test]
fn whoever_claims_more_than_a_block_is_refused_before_any_of_it_is_wanted() {
    let mut archive = small();
    for claim in [(1 << 20) + 1, u32::MAX] {
        archive[HEADER..HEADER + 4].copy_from_slice(&claim.to_le_bytes());
        // `read` fails when more than a block is wanted.
        let error = refusal(&archive);
        assert!(error.message().contains(&format!("it claims {claim} bytes, 1048576 are the most")), "{error}");
    }
}

#[test]
fn bodies_that_lie_are_errors_even_with_right_checksums() {
    let whole = small();
    let parts = blocks(&whole);
    let mut tried = 0;
    for number in 0..parts.len() {
        for at in 16..parts[number].len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut lying = parts.clone();
                lying[number][at] = value;
                let archive = put_together(&whole, lying);
                if archive != whole {
                    // The digest differs at the end, if nothing does before.
                    assert_typed(&refusal(&archive));
                    tried += 1;
                }
            }
        }
    }
    println!("{tried} lies told");
}

#[test]
fn points_that_no_write_would_have_stored_are_refused_by_their_id() {
    type Point<'a> = (Metric, [f32; 2], f32, &'a [u8]);
    let cases: [(Point<'_>, &str); 6] = [
        ((Metric::L2, [f32::NAN, 0.0], 1.0, &[]), "component 0 of the vector is NaN"),
        ((Metric::Cosine, [0.0, 0.0], 1.0, &[]), "it has no direction"),
        ((Metric::Poincare, [0.5, 0.0], 0.5, &[]), "its term 0.5"),
        ((Metric::Poincare, [0.5, 0.0], 2.0, &[]), "its term 2"),
        ((Metric::Poincare, [0.8, 0.8], 1e30, &[]), "squared norm 1.28"),
        ((Metric::Dot, [1.0, 0.0], 1.0, &[1, 0, b'k', 77]), "unknown tag"),
    ];
    for ((metric, row, term, metadata), expected) in cases {
        let mut writer = ArchiveWriter::new(vec![CollectionConfig::new("c", 2, metric).unwrap()]);
        writer.put(&PointId::Int(7), &row, term, metadata);
        writer.finish_collection();
        let error = refusal(&writer.finish());
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
        assert!(error.message().contains("block 1 of the archive: point 7: "), "{error}");
        assert!(error.message().contains(expected), "{error}");
    }
}

#[test]
fn a_block_of_more_points_than_a_write_may_have_is_refused() {
    let put = |count: u64| {
        let mut writer = ArchiveWriter::new(vec![CollectionConfig::new("c", 1, Metric::L2).unwrap()]);
        (0..count).for_each(|id| writer.put(&PointId::Int(id), &[0.5], 1.0, &[]));
        writer.finish_collection();
        writer.finish()
    };
    let whole = put(10_000);
    assert!(read(&whole).is_ok(), "as many as are allowed, in one block");
    let mut parts = blocks(&whole);
    assert_eq!(parts.len(), 4);
    // The only point of another block, appended to the full one, which counts it.
    let more = &blocks(&put(1))[1];
    let entries = 50;
    let count_at = entries - 4;
    assert_eq!(more[count_at..entries], 1_u32.to_le_bytes(), "where the entries are counted");
    parts[1].extend_from_slice(&more[entries..]);
    parts[1][count_at..entries].copy_from_slice(&10_001_u32.to_le_bytes());
    let length = parts[1].len() as u32 - 8;
    parts[1][..4].copy_from_slice(&length.to_le_bytes());
    let error = refusal(&put_together(&whole, parts));
    assert_eq!(error.message(), "block 1 of the archive: it holds 10001 points, 10000 are the most");
}
