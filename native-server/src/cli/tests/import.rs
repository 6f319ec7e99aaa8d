//! Imports: exactly the right points arrive, whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::json;
use tempfile::TempDir;

use super::server::{Fault, Server, Stored};
use super::{Ran, cli};
use crate::proto;
use crate::proto::vectors::Rows;

/// Bytes a batch that make a batch of ten rows.
const TEN_ROWS: &str = "506B";

/// A folder with one file of `rows` rows of two floats.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new(name: &str, contents: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, contents).unwrap();
        Self { _folder: folder, path }
    }

    fn fvecs(rows: u32) -> Self {
        Self::new(
            "vectors.fvecs",
            (0..rows).flat_map(|row| [&2_i32.to_le_bytes()[..], &vector(row)].concat()).collect::<Vec<_>>(),
        )
    }

    fn sidecar(&self) -> PathBuf {
        self.path.with_file_name("vectors.fvecs.hyperspace-import")
    }

    fn import(&self, server: &Server, more: &[&str]) -> Ran {
        let address = server.address();
        let path = self.path.to_str().unwrap();
        cli(&[&["import", path, "--server", &address, "--collection", "c"], more].concat())
    }
}

fn vector(row: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(row as f32).to_le_bytes());
    bytes[4..].copy_from_slice(&(0.5_f32 - row as f32).to_le_bytes());
    bytes
}

/// What an import of [`File::fvecs`] leaves.
fn points(rows: u32) -> BTreeMap<String, Stored> {
    let stored = |row| Stored { vector: Rows::F32(Bytes::copy_from_slice(&vector(row))), metadata: String::new() };
    (0..rows).map(|row| (row.to_string(), stored(row))).collect()
}

fn server() -> Server {
    let server = Server::start();
    server.create("c", 2, proto::Metric::L2);
    server
}

/// How many rows the sidecar counts as acknowledged.
fn remembered(sidecar: &Path) -> u64 {
    let record: serde_json::Value = serde_json::from_slice(&fs::read(sidecar).unwrap()).unwrap();
    record["rows"].as_u64().unwrap()
}

#[test]
fn every_row_arrives_once_under_its_number() {
    let (server, file) = (server(), File::fvecs(95));
    let ran = file.import(&server, &["--batch-bytes", TEN_ROWS, "--json"]);
    let summary = ran.json();
    assert_eq!((&summary["rows"], &summary["rows_before"]), (&json!(95), &json!(0)));
    assert_eq!(ran.err, "", "with --json nothing but errors goes to standard error");
    assert_eq!(server.points("c"), points(95));
    let mut sizes: Vec<_> = server.state().upserts.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10, 10, 10, 10, 10, 10, 10, 10]);
    assert!(!file.sidecar().exists(), "an import that is done leaves nothing behind");
}

#[test]
fn refusals_and_lost_answers_are_tried_again_with_the_same_ids() {
    let (server, file) = (server(), File::fvecs(95));
    server.state().faults.extend([(1, Fault::Unavailable), (3, Fault::LostAnswer), (6, Fault::Unavailable)]);
    let ran = file.import(&server, &["--batch-bytes", TEN_ROWS]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.points("c"), points(95));
    let state = server.state();
    assert!(state.faults.is_empty(), "the faults have happened");
    assert_eq!(state.upserts.len(), 10 + 3);
}

#[test]
fn a_server_that_goes_away_and_comes_back_gets_all_rows() {
    let (mut server, file) = (server(), File::fvecs(95));
    let silent = server.fall_silent_at(4);
    let (path, address) = (file.path.to_str().unwrap().to_string(), server.address());
    let import = std::thread::spawn(move || {
        cli(&["import", &path, "--server", &address, "--collection", "c", "--batch-bytes", TEN_ROWS])
    });
    silent.recv().unwrap();
    server.kill();
    server.restart();
    let ran = import.join().unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.points("c"), points(95));
}

#[test]
fn an_interrupted_import_goes_on_behind_what_was_acknowledged() {
    let (server, file) = (server(), File::fvecs(95));
    server.state().faults.insert(6, Fault::Refused);
    let ran = file.import(&server, &["--batch-bytes", TEN_ROWS]);
    assert_eq!(ran.code, 1);
    let refused = server.state().upserts[6].clone();
    let (first, last) = (refused.first().unwrap(), refused.last().unwrap());
    let expected = format!("hyperspace-cli: limit_exceeded: rows {first} to {last}: the disk is full\n");
    assert!(ran.err.ends_with(&expected), "{} does not end with {expected}", ran.err);

    let before = remembered(&file.sidecar());
    assert_eq!(before.to_string(), *first, "rows behind the refused ones do not count");
    server.state().upserts.clear();
    let ran = file.import(&server, &["--batch-bytes", TEN_ROWS]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains(&format!("going on behind the {before} rows")), "{}", ran.err);
    assert_eq!(server.points("c"), points(95));
    let sent: Vec<String> = server.state().upserts.concat();
    assert_eq!(sent.len() as u64, 95 - before, "what was acknowledged in one piece is not sent again");
    assert!(!file.sidecar().exists());
}

#[test]
fn an_interrupted_import_of_something_else_does_not_count() {
    let longer = |_: &Server, file: &File| fs::write(&file.path, fs::read(&File::fvecs(96).path).unwrap()).unwrap();
    let made_again = |server: &Server, _: &File| {
        server.state().collections.clear();
        server.create("another", 2, proto::Metric::L2);
        server.create("c", 2, proto::Metric::L2);
    };
    does_not_count("the file has changed", longer, &[]);
    does_not_count("another collection", made_again, &[]);
    does_not_count("other ids", |_, _| {}, &["--id-offset", "1000"]);
    does_not_count("", |_, _| {}, &["--restart"]);
}

fn does_not_count(why: &str, change: impl Fn(&Server, &File), more: &[&str]) {
    let (server, file) = (server(), File::fvecs(95));
    server.state().faults.insert(6, Fault::Refused);
    assert_eq!(file.import(&server, &["--batch-bytes", TEN_ROWS]).code, 1);
    assert!(remembered(&file.sidecar()) > 0);
    change(&server, &file);
    server.state().upserts.clear();
    let ran = file.import(&server, more);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains(why) && !ran.err.contains("going on"), "{why:?} is not in {:?}", ran.err);
    let sent = server.state().upserts.concat().len();
    assert!(sent >= 95, "{why}: only {sent} rows were sent");
}

#[test]
fn what_cannot_be_remembered_is_imported_all_the_same() {
    let (server, file) = (server(), File::fvecs(5));
    let ran = file.import(&server, &["--state-dir", "/nonexistent/folder"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("an interruption will not be remembered"), "{}", ran.err);
    assert_eq!(server.points("c"), points(5));
}

#[test]
fn a_bad_row_is_named_and_not_sent() {
    let server = server();
    let lines = (0..25).map(|n| format!("{{\"vector\": [{n}, {}]}}\n", if n == 17 { "1e39" } else { "1" }));
    let file = File::new("points.jsonl", lines.collect::<String>());
    let ran = file.import(&server, &["--batch-bytes", TEN_ROWS]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("points.jsonl: line 18: component 1 of the vector is "), "{}", ran.err);
    assert_eq!(server.points("c").len(), 10, "the batch before it was whole");
}

#[test]
fn of_equal_ids_the_last_one_stays_although_batches_overtake_each_other() {
    let server = server();
    let line = |n: u32| format!("{{\"id\": \"same\", \"vector\": [{n}, 1]}}\n");
    let file = File::new("points.jsonl", (0..6).map(line).collect::<String>());
    // The second batch has to be sent twice; meanwhile the third one must not pass it.
    server.state().faults.insert(1, Fault::Unavailable);
    let ran = file.import(&server, &["--batch-bytes", "1B"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.state().upserts.len(), 7);
    let expected = [5_f32, 1.0].map(f32::to_le_bytes).concat();
    assert_eq!(server.points("c")["\"same\""].vector, Rows::F32(Bytes::from(expected)));
}

#[test]
fn a_collection_that_is_not_there_is_made_only_when_a_metric_is_given() {
    let (server, file) = (Server::start(), File::fvecs(3));
    let ran = file.import(&server, &[]);
    assert_eq!((ran.code, ran.err.contains("--metric makes it")), (1, true), "{ran:?}");

    assert_eq!(file.import(&server, &["--metric", "cosine"]).code, 0);
    let config = server.state().collections["c"].about.config.clone().unwrap();
    assert_eq!((config.dimension, config.metric()), (2, proto::Metric::Cosine));

    let ran = file.import(&server, &["--metric", "l2"]);
    assert_eq!(
        (ran.code, ran.err.contains("collection `c` has metric cosine, --metric says l2")),
        (1, true),
        "{ran:?}"
    );
}

#[test]
fn a_collection_that_is_made_has_the_quantization_that_is_given_and_one_that_exists_keeps_its_own() {
    let (server, file) = (Server::start(), File::fvecs(3));
    assert_eq!(file.import(&server, &["--metric", "l2", "--quantization", "scalar_i8"]).code, 0);
    let config = server.state().collections["c"].about.config.clone().unwrap();
    assert_eq!(config.quantization(), proto::Quantization::ScalarI8);
    assert_eq!(file.import(&server, &["--metric", "l2", "--restart"]).code, 0);

    let ran = file.import(&server, &["--quantization", "none"]);
    let told = "collection `c` has quantization scalar_i8, --quantization says none";
    assert_eq!((ran.code, ran.err.contains(told)), (1, true), "{ran:?}");
    let ran = file.import(&server, &["--quantization", "i4"]);
    assert_eq!((ran.code, ran.err.contains("neither `none` nor `scalar_i8`")), (2, true), "{ran:?}");
}

#[test]
fn a_file_of_another_dimension_is_refused_before_anything_is_sent() {
    let (server, file) = (Server::start(), File::fvecs(3));
    server.create("c", 3, proto::Metric::L2);
    let ran = file.import(&server, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("has 2 dimensions, collection `c` expects 3"), "{}", ran.err);
    assert!(server.state().upserts.is_empty());
}

#[test]
fn poincare_is_sent_as_doubles() {
    let server = Server::start();
    let file = File::new("points.jsonl", "{\"vector\": [0.9999999999, 0.00001]}\n");
    assert_eq!(file.import(&server, &["--metric", "poincare"]).code, 0);
    let expected = [0.999_999_999_9, 0.000_01].map(f64::to_le_bytes).concat();
    assert_eq!(server.points("c")["0"].vector, Rows::F64(Bytes::from(expected)));
}

#[test]
fn metadata_from_another_file_arrive_with_their_rows() {
    let (server, file) = (server(), File::fvecs(30));
    let line = |row: u32| format!("{{\"row\": {row}}}\n");
    let metadata = file.path.with_file_name("metadata.jsonl");
    let more = ["--metadata", metadata.to_str().unwrap(), "--batch-bytes", TEN_ROWS];
    server.state().faults.insert(2, Fault::Refused);

    fs::write(&metadata, (0..29).map(line).collect::<String>()).unwrap();
    let ran = file.import(&server, &more);
    assert_eq!((ran.code, ran.err.contains("has metadata for 29 rows, there are 30")), (1, true), "{ran:?}");
    assert!(server.state().upserts.is_empty(), "what does not fit together is refused before anything is sent");

    fs::write(&metadata, (0..30).map(line).collect::<String>()).unwrap();
    assert_eq!(file.import(&server, &more).code, 1);
    assert_eq!(file.import(&server, &more).code, 0);
    let expected =
        |(id, stored): (String, Stored)| (id.clone(), Stored { metadata: format!("{{\"row\":{id}}}"), ..stored });
    assert_eq!(server.points("c"), points(30).into_iter().map(expected).collect());
}

#[test]
fn rows_survive_a_loss_of_power_unless_less_was_asked_for() {
    let (server, file) = (server(), File::fvecs(3));
    let cases = [
        (&[][..], proto::Durability::Strict),
        (&["--durability", "strict"], proto::Durability::Strict),
        (&["--durability", "relaxed"], proto::Durability::Relaxed),
    ];
    for (more, expected) in cases {
        assert_eq!(file.import(&server, more).code, 0);
        assert_eq!(server.state().durability, Some(expected));
    }
}

#[test]
fn waiting_ends_when_the_collection_is_not_indexing_any_more() {
    let (server, file) = (server(), File::fvecs(3));
    let stats = |indexing| proto::Stats {
        collections: vec![
            proto::CollectionStats { name: "another".into(), indexing: true, ..Default::default() },
            proto::CollectionStats { name: "c".into(), indexing, pending: 3, ..Default::default() },
        ],
        ..Default::default()
    };
    server.state().monitor = vec![stats(true), stats(true)];
    let ran = file.import(&server, &["--wait"]);
    assert_eq!((ran.code, ran.err.contains("unavailable: the server ended the stream")), (1, true), "{ran:?}");
    assert!(ran.out.starts_with("imported 3 rows in "), "the points are there all the same: {ran:?}");

    server.state().monitor.push(stats(false));
    let summary = file.import(&server, &["--wait", "--json"]).json();
    assert!(summary["indexing_seconds"].is_f64(), "{summary}");
    assert!(file.import(&server, &["--json"]).json()["indexing_seconds"].is_null());
}
