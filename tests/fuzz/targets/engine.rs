//! The engine's own formats: log records, manifests, live bitmaps, sealed segments.

use std::sync::Arc;

use hyperspace_core::bytes::{AlignedBytes, crc32c};
use hyperspace_core::collection::{Collection, Plan, Scratch, SearchRequest, Snapshot};
use hyperspace_core::filter::Filter;
use hyperspace_core::hnsw::GraphView;
use hyperspace_core::log::{Entry, NewEntry, Record, RecordBody, WriteBatch, encode_writes};
use hyperspace_core::metadata::Value;
use hyperspace_core::metric::QueryVector;
use hyperspace_core::segment::{Checks, LiveBitmap, Manifest, ManifestSegment, Segment, fuzzing};
use hyperspace_core::sync::{Change, Leader, SpaceKey, State};
use hyperspace_core::types::{Lsn, Offset, SegmentId};

use super::{accepted, both_ways, decode, put_u32};

/// Log records: what is decoded encodes to the same bytes, and a collection replays it or says why not.
pub(super) fn record(bytes: &[u8]) -> bool {
    both_ways(bytes, mend_record, |bytes| {
        let Some(record) = decode(bytes.len(), || Record::decode(bytes)) else { return false };
        match &record.body {
            RecordBody::Writes(writes) => {
                assert_eq!(encoded(record.lsn, writes), bytes, "a record has one encoding");
                replays(record.lsn, writes, bytes);
                true
            }
            RecordBody::Change(change) => {
                let Some(read) = decode(change.len(), || Change::decode(change)) else { return false };
                let mut again = Vec::new();
                read.encode(&mut again);
                assert_eq!(again, *change, "a change has one encoding");
                true
            }
        }
    })
}

fn mend_record(bytes: &mut [u8]) {
    let Some(payload) = bytes.get(8..) else { return };
    let (len, sum) = (payload.len(), crc32c(payload));
    put_u32(bytes, 0, len);
    put_u32(bytes, 4, sum as usize);
}

fn encoded(lsn: Lsn, writes: &WriteBatch<'_>) -> Vec<u8> {
    let rows: Vec<Vec<f32>> = writes
        .entries()
        .map(|(.., entry)| match entry {
            Entry::Put { vector, .. } => vector.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Entry::Delete { .. } => Vec::new(),
        })
        .collect();
    let entries: Vec<_> = writes.entries().collect();
    let parts = entries.iter().zip(&rows).map(|((_, number, entry), row)| match entry {
        Entry::Put { id, term, metadata, .. } => {
            NewEntry { id, number: *number, put: Some((&row[..], *term, *metadata)) }
        }
        Entry::Delete { id } => NewEntry { id, number: *number, put: None },
    });
    encode_writes(lsn, writes.first, writes.request, writes.layout, parts)
}

/// Replays a record behind the one before it, in a collection of each metric.
fn replays(lsn: Lsn, writes: &WriteBatch<'_>, bytes: &[u8]) {
    for metric in 0..4 {
        let sealed_through = lsn.0.wrapping_sub(1);
        let dimension = writes.layout.dimension as u32;
        let leader = State::Leader(Leader::new(SpaceKey([7; 32]), 1));
        let sync = if writes.layout.has_numbers { leader.encode() } else { Vec::new() };
        let manifest =
            Manifest { name: b"notes".to_vec(), dimension, metric, sealed_through, sync, ..Manifest::default() };
        let Some(mut collection) = accepted(Collection::open(&manifest, &[])) else { continue };
        if accepted(collection.replay([bytes])).is_some() {
            let snapshot = collection.snapshot();
            let is_there = |entry: &Entry<'_>| match entry {
                Entry::Put { id, .. } | Entry::Delete { id } => snapshot.get(id).is_some(),
            };
            let written = writes.entries().filter(|(.., entry)| is_there(entry)).count();
            assert!(written >= snapshot.len(), "{written} of the record's points, {} are there", snapshot.len());
            assert_eq!(collection.newest_lsn(), lsn);
            assert_eq!(collection.digest(), collection.recount());
            reads(&snapshot);
        }
    }
}

/// Manifests: what is decoded encodes to bytes of the same value, and opens as a collection or says why not.
pub(super) fn manifest(bytes: &[u8]) -> bool {
    both_ways(bytes, mend_manifest, |bytes| {
        let Some(manifest) = decode(bytes.len(), || Manifest::decode(bytes)) else { return false };
        assert_eq!(Manifest::decode(&manifest.encode()).as_ref(), Ok(&manifest));
        let bare = Manifest { segments: Vec::new(), ..manifest.clone() };
        if let Some(collection) = accepted(Collection::open(&bare, &[])) {
            assert_eq!(collection.manifest(), bare, "a collection keeps what its manifest says");
            reads(&collection.snapshot());
        }
        assert!(manifest.segments.is_empty() || Collection::open(&manifest, &[]).is_err(), "segments are missing");
        true
    })
}

pub(super) fn mend_manifest(bytes: &mut [u8]) {
    const HEADER: usize = 16;
    let Some(archive) = bytes.get(HEADER..) else { return };
    let (len, sum) = (archive.len(), crc32c(archive));
    bytes[..4].copy_from_slice(b"HSMF");
    put_u32(bytes, 4, 1);
    put_u32(bytes, 8, sum as usize);
    put_u32(bytes, 12, len);
}

/// Live bitmaps: as many are live as say so, and the encoding of what is decoded decodes to the same and is final.
pub(super) fn live_bitmap(bytes: &[u8]) -> bool {
    let Some(len) = bytes.first_chunk().map(|len| u32::from_le_bytes(*len)) else { return false };
    let Some(bitmap) = decode(bytes.len(), || LiveBitmap::decode(bytes, len)) else { return false };
    assert!(LiveBitmap::decode(bytes, len ^ 1).is_err(), "a bitmap of another length");
    assert_eq!(bitmap.iter().count(), bitmap.live() as usize);
    assert!(!bitmap.is_live(Offset(len)));
    let mut again = Vec::new();
    bitmap.encode(&mut again);
    let other = LiveBitmap::decode(&again, len).expect("what was encoded decodes");
    assert!(other.iter().eq(bitmap.iter()));
    let mut last = Vec::new();
    other.encode(&mut last);
    assert_eq!(last, again);
    true
}

/// Sealed segments: whatever passes every check can be read, searched and merged.
pub(super) fn segment(bytes: &[u8]) -> bool {
    both_ways(bytes, fuzzing::vouch, |bytes| {
        let id = SegmentId(*blake3::hash(bytes).as_bytes());
        let shared = Arc::new(AlignedBytes::copy_of(bytes));
        let open = |checks| decode(bytes.len(), || Segment::open(id, shared.clone(), checks)).map(Arc::new);
        let (all, sums, structure) = (open(Checks::All), open(Checks::Sums), open(Checks::Structure));
        assert!(sums.is_some() || all.is_none(), "checksums hold where everything does");
        assert!(structure.is_some() || sums.is_none(), "the structure holds where the checksums do");
        let Some(segment) = all else { return structure.is_some() };
        assert_eq!((segment.bytes(), segment.id()), (bytes, id));
        assert!(Segment::open(SegmentId([7; 32]), shared.clone(), Checks::All).is_err(), "a name that is not the hash");
        columns(&segment);
        serves(&segment);
        true
    })
}

fn columns(segment: &Segment) {
    let (keys, offsets) = segment.keys();
    for (key, &offset) in keys.iter().zip(offsets) {
        let offset = Offset(offset);
        assert_eq!(segment.find(key), Some(offset));
        assert_eq!(segment.point_id(offset).key(), *key);
        assert!(segment.stamp(offset).hlc <= segment.newest_hlc());
        assert!(matches!(segment.metadata(offset).to_value(), Value::Map(_)));
        let _ = segment.seq(offset);
    }
    for tombstone in segment.tombstones() {
        assert_eq!(segment.tombstone_of(&tombstone.key), Some(tombstone));
    }
    let parts = segment.graph().parts();
    assert!(GraphView::new(parts).is_ok_and(|view| view.unreachable().len() < segment.len().max(1) as usize));
}

/// Opens a segment as all that a collection has.
fn serves(segment: &Arc<Segment>) {
    let mut live = Vec::new();
    LiveBitmap::all_live(segment.len()).encode(&mut live);
    let named = ManifestSegment {
        id: segment.id().0,
        bytes: segment.byte_len() as u64,
        points: segment.len(),
        live,
        sum: [0; 16],
    };
    let manifest = Manifest {
        name: b"notes".to_vec(),
        dimension: segment.dimension() as u32,
        metric: segment.metric().code(),
        segments: vec![named],
        ..Manifest::default()
    };
    let collection = Collection::open(&manifest, std::slice::from_ref(segment)).expect("the manifest fits");
    assert_eq!(collection.manifest(), manifest);
    let snapshot = collection.snapshot();
    assert_eq!(snapshot.len(), segment.len() as usize);
    reads(&snapshot);
}

/// Reads everything there is, page by page and by searching.
fn reads(snapshot: &Snapshot) {
    let everything = Filter::parse(&Value::Map([].into())).expect("`{}` is a filter");
    let mut after = None;
    let mut seen = 0;
    loop {
        let page = snapshot.scroll(after, 7, &everything);
        seen += page.points.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, snapshot.len());
    let config = snapshot.config();
    let Some(point) = snapshot.points().next() else { return };
    let Ok(query) = QueryVector::from_f32(config.metric, config.dimension, &point.vector) else { return };
    for plan in [Plan::Auto, Plan::Exact, Plan::Graph] {
        let request = SearchRequest::new(query.clone(), 5).expect("5 is allowed").with_plan(plan);
        let found = snapshot.search(&request, &mut Scratch::default()).expect("the query fits");
        assert_eq!(found.hits.len(), snapshot.len().min(5), "{plan:?}");
        found.hits.iter().for_each(|hit| drop(snapshot.hit_metadata(hit)));
    }
}
