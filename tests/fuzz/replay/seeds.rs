//! Inputs that decoders accept, from the encoders and from the committed image: where fuzzing starts.
//!
//! They are committed as `corpus/<target>/seed-*`, and written anew with `HS_CORPUS=write` when a format changes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Urgency, Vectors};
use hyperspace_core::hnsw::GraphParts;
use hyperspace_core::log::{RequestId, Stamper};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::segment::{LiveBitmap, Segment};
use hyperspace_core::types::{Offset, PointId};

/// An input: the target, the name of the file, the bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| seeds.push((target, format!("seed-{name}"), bytes));
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let name = metric.as_str();
        let sealed = sealed(metric);
        add("segment", name, sealed.segment.bytes().to_vec());
        add("graph", name, graph(sealed.segment.graph().parts()));
        add("manifest", name, sealed.manifest);
        sealed.records.into_iter().zip(["put", "delete"]).for_each(|(record, what)| {
            add("record", &format!("{name}-{what}"), record);
        });
    }
    for (name, len, dead) in [("whole", 5_000, 0..0), ("mixed", 9_000, 4_000..4_100), ("dead", 4_100, 0..4_100)] {
        let mut bitmap = LiveBitmap::all_live(len);
        for offset in dead {
            bitmap.kill(Offset(offset));
        }
        let mut bytes = Vec::new();
        bitmap.encode(&mut bytes);
        add("live_bitmap", name, bytes);
    }
    for (name, text) in DOCUMENTS {
        let value: Value = serde_json::from_str(text).unwrap();
        add("metadata", name, Metadata::from_value(&value).unwrap().as_bytes().to_vec());
        add("metadata_json", name, text.as_bytes().to_vec());
    }
    for (at, filter) in FILTERS.iter().enumerate() {
        let (_, document) = DOCUMENTS[at % DOCUMENTS.len()];
        let document = Metadata::from_value(&serde_json::from_str(document).unwrap()).unwrap();
        add("filter", &format!("{at}"), [filter.as_bytes(), b"\n", document.as_bytes()].concat());
    }
    for (name, text) in [("collection", "notes_2-b"), ("tenant", "Ada.L@example.org"), ("text", "日本語")] {
        add("names", name, text.into());
    }
    for (name, id) in [("number", PointId::Int(7)), ("string", PointId::string("ä").unwrap())] {
        add("names", name, id.to_canonical());
    }
    seeds
}

const DOCUMENTS: [(&str, &str); 3] = [
    ("plain", r#"{"category":"tech","year":1999,"score":-0.5,"draft":false,"none":null}"#),
    ("nested", r#"{"a":{"b":[{"c":1},{"c":[2,"x"]},[[]]]},"a.b":18446744073709551615,"日本":"語\n\"","":{}}"#),
    ("numbers", r#"{"n":[0,-1,127,128,-129,32768,-2147483649,9223372036854775808,1e300,-0.0,5e-324]}"#),
];

const FILTERS: [&str; 8] = [
    "{}",
    r#"{"category":"tech","year":{"$gte":1990,"$lt":2000}}"#,
    r#"{"$or":[{"a.b.c":{"$in":[1,"x",null,[2]]}},{"$not":{"draft":{"$ne":true}}}]}"#,
    r#"{"n":{"$nin":[9223372036854775807,9.3e18,-0.0]},"score":{"$exists":true}}"#,
    r#"{"$and":[{"n":{"$gt":-1}},{"n":{"$not":{"$lte":127,"$eq":{"c":1}}}}]}"#,
    r#"{"a":{"$eq":{"b":[{"c":1}]}},"日本":{"$gt":"a"}}"#,
    r#"{"a.b":18446744073709551615,"none":null,"missing":{"$exists":false}}"#,
    r#"{"$not":{"$not":{"$not":{"x":{"$in":[]}}}}}"#,
];

/// A small collection at the end of its first seal.
struct Sealed {
    records: Vec<Vec<u8>>,
    segment: Arc<Segment>,
    manifest: Vec<u8>,
}

fn sealed(metric: Metric) -> Sealed {
    let points = 24;
    let mut collection = Collection::create(CollectionConfig::new("notes", 2, metric).unwrap()).unwrap();
    let mut stamper = Stamper::new(7, 0, 0);
    stamper.reserve(1_000);
    let id =
        |at: u64| if at.is_multiple_of(3) { PointId::string(&format!("id {at}")).unwrap() } else { PointId::Int(at) };
    let ids: Vec<_> = (0..points).map(id).collect();
    let vectors: Vec<f32> = (0..points * 2).map(|at| ((at * 37 % 64) as f32 + 0.5) / 64.0 - 0.5).collect();
    let (_, document) = DOCUMENTS[0];
    let metadata = Metadata::from_value(&serde_json::from_str(document).unwrap()).unwrap();
    let metadata: Vec<_> =
        (0..points).map(|at| if at % 4 == 0 { metadata.clone() } else { Metadata::default() }).collect();
    let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &metadata };
    let request = Some(RequestId { tab: 3, n: 4 });
    let put = collection.prepare_upsert(&batch, &mut stamper, 1_000, request).unwrap();
    collection.publish(&put).unwrap();
    let delete = collection.prepare_delete(&ids[2..4], &mut stamper, 1_000, None).unwrap().unwrap();
    collection.publish(&delete).unwrap();
    let job = collection.next_job(Urgency::Now).unwrap().finish().unwrap();
    let flip = collection.flip(&job);
    Sealed {
        records: vec![put.record().to_vec(), delete.record().to_vec()],
        segment: flip.added.unwrap(),
        manifest: flip.manifest,
    }
}

/// The layout that the target `graph` reads.
fn graph(parts: GraphParts<'_>) -> Vec<u8> {
    let mut out = vec![parts.m as u8, parts.m0 as u8, parts.levels.len() as u8, parts.top];
    out.extend_from_slice(&parts.entry.to_le_bytes());
    out.extend_from_slice(parts.levels);
    for numbers in [parts.upper_at, parts.links0, parts.upper] {
        out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    out
}

/// The committed seeds against these; writes them when it is asked to.
pub(crate) fn check_or_write(folder: &Path) {
    let writes = std::env::var("HS_CORPUS").is_ok_and(|wish| wish == "write");
    for (target, name, bytes) in all() {
        let path = folder.join(target).join(&name);
        if writes {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let committed = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(committed == bytes, "{target}/{name} is not what the encoder writes; HS_CORPUS=write writes it anew");
    }
}
