//! Inputs that decoders accept, from the encoders and from the committed image: where fuzzing starts.
//!
//! They are committed as `corpus/<target>/seed-*`, and written anew with `HS_CORPUS=write` when a format changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::archive::ArchiveWriter;
use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Urgency, Vectors as Components};
use hyperspace_core::hnsw::GraphParts;
use hyperspace_core::log::{Rec, RequestId, Stamper, body};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::segment::{LiveBitmap, Segment, unit_hashes};
use hyperspace_core::sync::{
    Chain, Cursor, Digest, Floor, Hello, Initiator, ItemSet, Leader, Offer, Page, Pushed, SpaceKey, State, Verdict,
    Welcome, encode_all,
};
use hyperspace_core::types::{Offset, PointId, Stamp};
use hyperspace_server::proto::vectors::Rows;
use hyperspace_server::proto::{self, Vectors};
use hyperspace_server::service::fuzzing;
use hyperspace_wasm::host::Asked;
use hyperspace_wasm::kv::{FRAME_HEADER, Kv as _, SimulatedKv, Store};
use prost::Message as _;

use crate::targets::tab;

/// An input: the target, the name of the file, the bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

pub(crate) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| seeds.push((target, format!("seed-{name}"), bytes));
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let name = metric.as_str();
        let coded = sealed(metric, Quantization::ScalarI8);
        add("segment", &format!("{name}-coded"), coded.segment.bytes().to_vec());
        add("manifest", &format!("{name}-coded"), coded.manifest);
        let sealed = sealed(metric, Quantization::None);
        add("segment", name, sealed.segment.bytes().to_vec());
        add("graph", name, graph(sealed.segment.graph().parts()));
        let shipped = proto::GetManifestResponse {
            manifest: sealed.manifest.clone(),
            units: unit_hashes(sealed.segment.bytes()).concat(),
            seq: 5,
            floor_seq: 1,
            floor_hlc: 2,
        };
        add("shipment", name, shipped.encode_to_vec());
        add("manifest", name, sealed.manifest);
        sealed.records.into_iter().zip(["put", "delete"]).for_each(|(record, what)| {
            add("record", &format!("{name}-{what}"), record);
        });
    }
    add("record", "change", change());
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
    for (name, text) in HEADERS {
        add("headers", name, text.into());
    }
    for (name, text) in SETTINGS {
        add("settings", name, text.into());
    }
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/data");
    let stored = |file: &str| fs::read(image.join(file)).unwrap();
    add("catalog", "image", stored("catalog"));
    add("keys", "two", keys());
    add("standing", "leader", standing());
    messages(&mut add);
    for number in [1, 2] {
        let file = stored(&format!("log/{number:016x}"));
        let cut = if number == 1 { u16::MAX } else { file.len() as u16 };
        add("log", &format!("image-{number}"), [&cut.to_le_bytes(), &file[..]].concat());
    }
    requests(&mut add);
    files(&mut add);
    archive(&mut add);
    tab(&mut add);
    seeds
}

type Add<'a> = dyn FnMut(&'static str, &str, Vec<u8>) + 'a;

/// A file of keys as its format is drawn: the administrator's, and one of a tenant's that expires, for two collections.
fn keys() -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let key = |id: u64, scopes: u8, expires: u64, tenant: &str, collections: &[&str]| {
        let mut key = [&id.to_le_bytes()[..], &[id as u8; 32], &[scopes]].concat();
        key.extend([7, expires].map(u64::to_le_bytes).concat());
        key.extend([text("a name"), text(tenant), vec![collections.len() as u8]].concat());
        key.extend(collections.iter().flat_map(|name| text(name)));
        key
    };
    let mut body = [&[1][..], &[3; 32], &2_u32.to_le_bytes()].concat();
    body.extend([key(1, 8, 0, "", &[]), key(2, 5, 9, "ada", &["a", "b"])].concat());
    let head = [1, hyperspace_core::bytes::crc32c(&body), body.len() as u32].map(u32::to_le_bytes).concat();
    [&b"HSKY"[..], &head, &body].concat()
}

/// A standing as its format is drawn: it leads in its third term, one space was deleted, two servers follow.
fn standing() -> Vec<u8> {
    let numbers = |numbers: &[u64]| {
        let each: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        [&(numbers.len() as u32).to_le_bytes()[..], &each].concat()
    };
    let body = [&[5, 3].map(u64::to_le_bytes).concat()[..], &[1], &numbers(&[9]), &numbers(&[1, 2])].concat();
    let head = [1, hyperspace_core::bytes::crc32c(&body), body.len() as u32].map(u32::to_le_bytes).concat();
    [&b"HSST"[..], &head, &body].concat()
}

/// One value of each kind of the protocol of replication.
fn messages(add: &mut Add<'_>) {
    let stamp = Stamp { hlc: 9 << 16, writer: 7, cseq: 3 };
    let row = body(1.0, &[0.5, 0.25], b"");
    let rec = |id: u64, body| Rec { id: PointId::Int(id), stamp, seq: id, body };
    let (cursor, acked) = (Cursor { epoch: 2, seq: 5 }, Chain { cseq: 3, hash: [4; 16] });
    let floor = Floor { seq: 1, hlc: 2 };
    let offer = |body| Offer { cseq: 3, id: PointId::Int(1), stamp, is_change: true, reoffered_above: Some(2), body };
    let offers = vec![offer(Some(row.clone())), Offer { cseq: 4, ..offer(None) }];
    let hello = Hello { writer: 7, next_cseq: 9, acked, cursor, is_resyncing: false };
    let terms = vec![Cursor { epoch: 2, seq: 4 }];
    let welcome = Welcome { head: cursor, floor, terms, acked, is_forked: false, rewind: Some(4), must_resync: true };
    let verdicts = vec![
        (3, Verdict::Accepted(5)),
        (4, Verdict::Lost(rec(1, Some(row.clone())))),
        (5, Verdict::StaleDeleted),
        (6, Verdict::Restamp),
    ];
    let pushed = Pushed { acked, seq: 5, hlc: 9, now_ms: 10, verdicts };
    let recs = vec![rec(1, Some(row)), rec(2, None)];
    let up_to_date = Some(Digest { count: 1, sum: 77 });
    let page = Page { cursor, floor, recs: recs.clone(), answered: vec![(7, acked)], up_to_date };
    let (_, frame) = Initiator::start(ItemSet::new(Vec::new()), 60_000);
    let state = State::Leader(Leader::new(SpaceKey([7; 32]), 1));
    let kinds: [(&str, Vec<u8>); 8] = [
        ("hello", encode_all(&hello)),
        ("welcome", encode_all(&welcome)),
        ("offers", encode_all(&offers)),
        ("pushed", encode_all(&pushed)),
        ("page", encode_all(&page)),
        ("recs", encode_all(&recs)),
        ("state", state.encode()),
        ("frame", frame),
    ];
    for (kind, (name, bytes)) in (0_u8..).zip(kinds) {
        add("messages", name, [&[kind][..], &bytes].concat());
    }
}

const HEADERS: [(&str, &str); 4] = [
    ("own", "/hyperspace.v1.Points/Search\nlocalhost:50051\nhttp://localhost:50051\nada@example.org"),
    ("http2", "http://db.example.org/healthz\n\nhttp://app.example.org:5173"),
    ("address", "/\n192.168.1.5:80"),
    ("six", "/\n[::ffff:192.168.1.5]:80\n"),
];

const SETTINGS: [(&str, &str); 2] = [
    ("some", "data_dir = \"a \\\"b\\\"\"\nindexers = 3\ninsecure = true\nallowed_hosts = [\"a.org\", \"[::1]\"]\n"),
    ("more", "listen = '[::1]:0'\ndurability = 'relaxed'\nallowed_origins = \"http://a:1,tauri://b\"\nlog = 'trace'\n"),
];

fn requests(add: &mut Add<'_>) {
    let ids = vec![id(proto::point_id::Id::Number(7)), id(proto::point_id::Id::Text("seven".into()))];
    let row = |points: usize| Some(Vectors { rows: Some(Rows::F32(vec![1; points * 12].into())) });
    let metadata = vec![DOCUMENTS[0].1.to_owned(), String::new()];
    let upsert = proto::UpsertRequest {
        collection: "notes".into(),
        ids: ids.clone(),
        vectors: row(2),
        metadata: metadata.clone(),
        durability: 1,
    };
    add("requests", "upsert", upsert.encode_to_vec());
    let set = proto::SetMetadataRequest { collection: "notes".into(), ids, metadata, ..Default::default() };
    add("requests", "set-metadata", set.encode_to_vec());
    let filter = FILTERS[1].to_owned();
    let search = proto::SearchRequest { vector: row(1), top_k: 5, filter: filter.clone(), ..Default::default() };
    add("requests", "search", search.encode_to_vec());
    let scroll = proto::ScrollRequest { cursor: vec![7; 16], filter, ..Default::default() };
    add("requests", "scroll", scroll.encode_to_vec());
    let config = CollectionConfig { m: Some(8), ..CollectionConfig::new("notes", 3, Metric::Poincare).unwrap() };
    let create = proto::CreateCollectionRequest { config: Some(fuzzing::config_to(&config)) };
    add("requests", "create", create.encode_to_vec());
}

const fn id(id: proto::point_id::Id) -> proto::PointId {
    proto::PointId { id: Some(id) }
}

fn files(add: &mut Add<'_>) {
    let numbers = [0.5_f32, -1.25, 3.0, 1e-3, -0.0, 65504.0];
    for (name, descr, bytes) in [
        ("f4", "<f4", numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()),
        ("f8", ">f8", numbers.iter().flat_map(|x| f64::from(*x).to_be_bytes()).collect()),
        ("f2", "<f2", vec![0x3c; 12]),
    ] {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (3, 2), }}");
        let header = format!("{header:<117}\n");
        let head = [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        add("import_npy", name, [head, bytes].concat());
    }
    let row = |row: &[f32]| -> Vec<u8> { row.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let fvecs = numbers.chunks(2).flat_map(|pair| [2_i32.to_le_bytes().to_vec(), row(pair)].concat()).collect();
    add("import_fvecs", "three", fvecs);
    let lines = [
        r#"{"id":18446744073709551615,"vector":[1,2.5,-3e-7],"metadata":{"a":{"b":[1,"x"]}}}"#,
        "",
        r#"{"id":"x","vector":[1,2,3]}"#,
        r#"{"vector":[0.1,0.2,0.3],"metadata":null}"#,
    ];
    add("import_jsonl", "four", lines.join("\n").into_bytes());
}

/// An archive of three collections, one of them empty, and what is remembered of its import.
fn archive(add: &mut Add<'_>) {
    let config = |name, metric| CollectionConfig::new(name, 2, metric).unwrap();
    let configs = vec![config("a", Metric::Poincare), config("b", Metric::L2), config("c", Metric::Cosine)];
    let mut writer = ArchiveWriter::new(configs);
    writer.put(&PointId::Int(1), &[0.5, 0.25], 1.0 / (1.0 - 0.3125), &[]);
    writer.put(&PointId::string("two").unwrap(), &[1.0, 0.0], 1e9, &[1, 0, b'k', 2]);
    writer.finish_collection();
    writer.finish_collection();
    writer.put(&PointId::Int(3), &[3.0, 4.0], 0.2, &[]);
    writer.finish_collection();
    add("archive", "three", writer.finish());
    let state = r#"{"task":{"server":"http://localhost:50051","user_id":null,"collection":"c","collection_id":"1f","#;
    let file = r#"{"bytes":10,"modified":{"secs_since_epoch":1795400000,"nanos_since_epoch":123456789}}"#;
    let state = format!(r#"{state}"file":{file},"metadata":{file},"id_offset":5}},"rows":300}}"#);
    add("import_state", "some", state.into_bytes());
}

fn tab(add: &mut Add<'_>) {
    let kv = SimulatedKv::new();
    let database = tab::open(&kv).unwrap();
    let ids: Vec<_> = (0..12).map(PointId::Int).collect();
    let vectors: Vec<f32> = (0..24).map(|at| at as f32).collect();
    let metadata = vec![Metadata::default(); 12];
    let batch = UpsertBatch { ids: &ids, vectors: Components::F32(&vectors), metadata: &metadata };
    for (name, seals) in [("sealed", true), ("log", false)] {
        let config = CollectionConfig::new(name, 2, Metric::L2).unwrap();
        let collection = tab::finished(database.collection_or_create(config)).unwrap();
        let asked = Asked { id: RequestId { tab: 3, n: 4 }, since: 4 };
        tab::finished(database.upsert(&collection, &batch, None, Some(asked))).unwrap();
        if seals {
            collection.request_seal();
            while tab::finished(database.work(5.0)).unwrap() {}
        }
        tab::finished(database.delete(&collection, &ids[..2], None, None)).unwrap();
    }
    tab::finished(database.close()).unwrap();
    let mut rows = Vec::new();
    for store in Store::ALL {
        for (key, row) in tab::finished(kv.range(store, &[], &[u8::MAX; 32], 1_000)).unwrap() {
            rows.push((store, key, row.to_vec()));
        }
    }
    let small = rows.iter().filter(|(store, ..)| [Store::Meta, Store::Spaces, Store::Segs].contains(store));
    for (store, key, row) in small {
        let name = match key.first_chunk().filter(|_| *store != Store::Meta) {
            Some(space) => format!("{}-{}", store.name(), u64::from_be_bytes(*space)),
            None => String::from_utf8(key.clone()).unwrap(),
        };
        add("tab_rows", &name, row[FRAME_HEADER..].to_vec());
        add("tab_rows", &format!("{name}-framed"), row.clone());
    }
    add("tab_database", "two", tab::encode_rows(&rows));
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

fn sealed(metric: Metric, quantization: Quantization) -> Sealed {
    let points = 24;
    let config = CollectionConfig { quantization, ..CollectionConfig::new("notes", 2, metric).unwrap() };
    let mut collection = Collection::create(config).unwrap();
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
    let batch = UpsertBatch { ids: &ids, vectors: Components::F32(&vectors), metadata: &metadata };
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

/// The record of a leader that has answered two offers.
fn change() -> Vec<u8> {
    let config = CollectionConfig::new("seed", 2, Metric::L2).unwrap();
    let mut collection = Collection::create_leading(config, SpaceKey([7; 32]), 1).unwrap();
    let State::Leader(leader) = collection.sync() else { unreachable!("it was made to lead") };
    let offer = |cseq, body| Offer {
        cseq,
        id: PointId::Int(cseq),
        stamp: Stamp { hlc: 1, writer: 2, cseq },
        is_change: false,
        reoffered_above: None,
        body,
    };
    let offers = [offer(1, Some(body(1.0, &[0.5, 0.25], &[1, 0, b'k', 2]))), offer(2, None)];
    let (_, change) = leader.push(&collection, 2, &offers, 1);
    collection.prepare_change(&change).unwrap().record().to_vec()
}

/// The committed seeds against these; writes them when it is asked to.
pub(crate) fn check_or_write(folder: &Path) {
    let writes = std::env::var("HS_CORPUS").is_ok_and(|wish| wish == "write");
    let mut seeds: BTreeMap<_, _> =
        all().into_iter().map(|(target, name, bytes)| (folder.join(target).join(name), bytes)).collect();
    if writes {
        committed(folder).iter().for_each(|path| fs::remove_file(path).unwrap());
        for (path, bytes) in &seeds {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
    let hint = "HS_CORPUS=write writes all seeds anew";
    for path in committed(folder) {
        let is = fs::read(&path).unwrap();
        let expected = seeds.remove(&path);
        assert!(expected.is_some_and(|bytes| bytes == is), "no encoder writes {}; {hint}", path.display());
    }
    assert!(seeds.is_empty(), "{:?} are missing; {hint}", seeds.keys());
}

fn committed(folder: &Path) -> Vec<PathBuf> {
    let inside = |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let is_seed = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("seed-"));
    inside(folder).iter().flat_map(|target| inside(target)).filter(is_seed).collect()
}
