//! Segments as a store gives them back: whole, or damaged.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::bytes::{AlignedBytes, MAX_COUNTER};
use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Urgency, Vectors};
use hyperspace_core::error::{ErrorKind, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::types::{Offset, SegmentId};
use std::fmt::Write as _;
use std::sync::Arc;

/// A segment with something in every section but the server's numbers.
fn sealed() -> Arc<Segment> {
    let mut random = Random::new(8);
    let mut host = Host::create(CollectionConfig::new("stored", 3, Metric::Cosine).unwrap()).unwrap();
    let rows: Vec<f32> = (0..3 * 60).map(|_| random.normal()).collect();
    let n = |n| Metadata::from_value(&Value::Map([("n".to_owned(), Value::I64(n))].into())).unwrap();
    host.upsert(&ids(0, 60), Vectors::F32(&rows), &(0..60).map(n).collect::<Vec<_>>()).unwrap();
    host.delete(&ids(7, 3)).unwrap();
    let segment = Arc::clone(host.collection.next_job(Urgency::Now).unwrap().finish().unwrap().segment().unwrap());
    assert!(!segment.graph().parts().upper.is_empty() && segment.tombstone_count() == 3);
    segment
}

fn open(id: SegmentId, bytes: &[u8], checks: Checks) -> Result<Segment> {
    Segment::open(id, Arc::new(AlignedBytes::copy_of(bytes)), checks)
}

/// Everything that can be read from a segment.
fn contents(segment: &Segment) -> String {
    let mut out = format!("{:?} {:?} {:?}", segment.space(), segment.graph().parts(), segment.keys());
    for offset in (0..segment.len()).map(Offset) {
        let (id, stamp) = (segment.point_id(offset), segment.stamp(offset));
        write!(out, "{id} {stamp:?} {} {:?}", segment.seq(offset), segment.metadata(offset).as_bytes()).unwrap();
    }
    write!(out, "{:?} {}", segment.tombstones().collect::<Vec<_>>(), segment.newest_hlc()).unwrap();
    out
}

#[test]
fn a_manifest_of_more_records_than_can_be_is_refused() {
    let manifest =
        |sealed_through| Manifest { name: b"stored".to_vec(), dimension: 1, sealed_through, ..Manifest::default() };
    for sealed_through in [0, MAX_COUNTER] {
        let manifest = manifest(sealed_through);
        let mut stamper = Stamper::new(1, 0, 0);
        stamper.reserve(2);
        let mut collection = Collection::open(&manifest, &[]).unwrap();
        let batch = UpsertBatch { ids: &ids(0, 1), vectors: Vectors::F32(&[0.0]), metadata: &[Metadata::default()] };
        let write = collection.prepare_upsert(&batch, &mut stamper, 1, None).unwrap();
        collection.publish(&write).unwrap();
        assert_eq!(collection.newest_lsn().0, sealed_through + 1);
    }
    for sealed_through in [MAX_COUNTER + 1, u64::MAX] {
        let error = Collection::open(&manifest(sealed_through), &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted);
        assert!(error.message().contains(&sealed_through.to_string()), "{error}");
    }
}

#[test]
fn the_sums_notice_every_damaged_byte_that_anybody_reads() {
    let segment = sealed();
    let (whole, mut unread) = (contents(&segment), 0);
    assert_eq!(contents(&open(segment.id(), segment.bytes(), Checks::Sums).unwrap()), whole);
    for at in 0..segment.byte_len() {
        let mut damaged = segment.bytes().to_vec();
        damaged[at] ^= 1 << (at % 8);
        assert!(open(segment.id(), &damaged, Checks::All).is_err(), "byte {at}");
        if let Ok(opened) = open(segment.id(), &damaged, Checks::Sums) {
            assert_eq!(contents(&opened), whole, "byte {at}");
            unread += 1;
        }
    }
    // The end of the header, and less than an alignment before each of 15 sections and behind the last.
    assert!(unread < 32 + 16 * 64, "{unread} bytes can change unnoticed");
    for len in 0..segment.byte_len() {
        assert!(open(segment.id(), &segment.bytes()[..len], Checks::Sums).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn only_all_checks_ask_whether_the_name_is_the_hash() {
    let segment = sealed();
    let other = SegmentId([7; 32]);
    assert!(open(other, segment.bytes(), Checks::All).is_err());
    assert_eq!(open(other, segment.bytes(), Checks::Sums).unwrap().id(), other);
}
