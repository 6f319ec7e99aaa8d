//! Imports of archives: whole files only, into collections of their own, and on from where they were interrupted.

use std::fs;
use std::path::PathBuf;

use hyperspace_core::archive::ArchiveWriter;
use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, validate_f64};
use hyperspace_core::types::PointId;
use serde_json::json;
use tempfile::TempDir;

use super::server::{Fault, Server};
use super::{Ran, cli};
use crate::proto::vectors::Rows;

/// A folder with an archive: `few` with 3 points, `many` with 100 near the rim, `none` without any.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.hyperspace");
        fs::write(&path, archive(&["few", "many", "none"])).unwrap();
        Self { _folder: folder, path }
    }

    fn import(&self, server: &Server, more: &[&str]) -> Ran {
        let address = server.address();
        cli(&[&["import", self.path.to_str().unwrap(), "--server", &address], more].concat())
    }
}

fn archive(names: &[&str]) -> Vec<u8> {
    let config = |name: &&str| {
        let metric = if *name == "many" { Metric::Poincare } else { Metric::L2 };
        CollectionConfig { ef_search: Some(77), ..CollectionConfig::new(name, 2, metric).unwrap() }
    };
    let mut writer = ArchiveWriter::new(names.iter().map(config).collect());
    while let Some(config) = writer.collection() {
        let (name, metric) = (config.name.to_string(), config.metric);
        for n in 0..points_of(&name) {
            let mut row = Vec::new();
            let term = validate_f64(metric, 2, &vector(metric, n), &mut row).unwrap();
            let metadata = Metadata::from_value(&Value::Map([("n".into(), Value::U64(n))].into())).unwrap();
            let id = PointId::string(&format!("{name} {n}")).unwrap();
            writer.put(&id, &row, term, if n == 0 { &[] } else { metadata.as_bytes() });
        }
        writer.finish_collection();
    }
    writer.finish()
}

fn points_of(name: &str) -> u64 {
    match name {
        "few" => 3,
        "many" => 100,
        _ => 0,
    }
}

fn vector(metric: Metric, n: u64) -> Vec<f64> {
    match metric {
        Metric::Poincare => vec![0.6 * (1.0 - 0.7_f64.powi(n as i32)), -0.8 * (1.0 - 0.7_f64.powi(n as i32))],
        _ => vec![n as f64, 0.5],
    }
}

/// Fails unless the server has every point of a collection, sent so that it makes the same row and term.
fn assert_whole(server: &Server, name: &str, from: &str) {
    let metric = if from == "many" { Metric::Poincare } else { Metric::L2 };
    let stored = server.points(name);
    assert_eq!(stored.len() as u64, points_of(from), "{name}");
    for n in 0..points_of(from) {
        let point = &stored[&format!("\"{from} {n}\"")];
        assert_eq!(point.metadata, if n == 0 { String::new() } else { format!("{{\"n\":{n}}}") });
        let sent: Vec<f64> = match &point.vector {
            Rows::F32(bytes) => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Rows::F64(bytes) => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        };
        let made = |vector: &[f64]| {
            let mut row = Vec::new();
            validate_f64(metric, 2, vector, &mut row).map(|term| (term.to_bits(), row))
        };
        assert_eq!(made(&sent), made(&vector(metric, n)), "{name}: {n}");
    }
}

#[test]
fn an_archive_makes_its_collections_and_all_their_points() {
    let (server, file) = (Server::start(), File::new());
    let report = file.import(&server, &["--json"]).json();
    assert_eq!((&report["rows"], &report["rows_before"]), (&json!(103), &json!(0)));
    let each = json!([{"name": "few", "points": 3}, {"name": "many", "points": 100}, {"name": "none", "points": 0}]);
    assert_eq!(report["collections"], each);
    for name in ["few", "many", "none"] {
        assert_whole(&server, name, name);
        assert_eq!(server.state().collections[name].about.config.as_ref().unwrap().ef_search, Some(77));
    }
    assert_eq!(fs::read_dir(file.path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside the archive");
}

#[test]
fn an_archive_that_is_not_whole_is_refused_before_anything_is_made() {
    let (server, file) = (Server::start(), File::new());
    let whole = fs::read(&file.path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &whole[..5], &[], &flipped] {
        fs::write(&file.path, bytes).unwrap();
        let ran = file.import(&server, &[]);
        assert_eq!((ran.code, ran.err.contains("all.hyperspace: ")), (1, true), "{} bytes: {ran:?}", bytes.len());
        assert!(server.state().collections.is_empty());
    }
    let mut later = whole;
    later[8] = 2;
    fs::write(&file.path, later).unwrap();
    let ran = file.import(&server, &[]);
    assert!(ran.err.contains("unsupported") && ran.err.contains("archive version 2; this build reads 1"), "{ran:?}");
}

#[test]
fn collections_that_exist_are_written_to_only_when_that_is_asked_for() {
    let (server, file) = (Server::start(), File::new());
    server.create("many", 2, crate::proto::Metric::Poincare);
    let ran = file.import(&server, &[]);
    assert_eq!((ran.code, ran.err.contains("already_exists: collection `many` exists")), (1, true), "{ran:?}");
    assert_eq!(server.state().collections.len(), 1, "nothing was made");
    assert_eq!(file.import(&server, &["--merge"]).code, 0);
    for name in ["few", "many", "none"] {
        assert_whole(&server, name, name);
    }
    let other = Server::start();
    other.create("few", 3, crate::proto::Metric::L2);
    let ran = file.import(&other, &["--merge"]);
    assert_eq!((ran.code, ran.err.contains("has 2 dimensions, collection `few` expects 3")), (1, true), "{ran:?}");
    assert!(other.state().upserts.is_empty());
}

#[test]
fn one_collection_may_get_another_name() {
    let (server, file) = (Server::start(), File::new());
    let ran = file.import(&server, &["--collection", "new"]);
    assert_eq!((ran.code, ran.err.contains("the archive has 3")), (2, true), "{ran:?}");
    fs::write(&file.path, archive(&["many"])).unwrap();
    assert_eq!(file.import(&server, &["--collection", "new"]).code, 0);
    assert_whole(&server, "new", "many");
    assert_eq!(file.import(&server, &["--collection", "No Name"]).code, 1);
    assert_eq!(server.state().collections.len(), 1);
}

#[test]
fn options_that_an_archive_answers_itself_are_refused() {
    let (server, file) = (Server::start(), File::new());
    for more in [["--metric", "l2"], ["--quantization", "scalar_i8"], ["--id-offset", "5"], ["--metadata", "x.jsonl"]] {
        assert_eq!(file.import(&server, &more).code, 2, "{more:?}");
    }
    let rows = file.path.with_file_name("a.jsonl");
    fs::write(&rows, "{\"vector\": [1, 2]}\n").unwrap();
    let ran = cli(&["import", rows.to_str().unwrap(), "--server", &server.address()]);
    assert_eq!((ran.code, ran.err.contains("--collection NAME is missing")), (2, true), "{ran:?}");
    assert!(server.state().collections.is_empty());
}

#[test]
fn an_import_that_was_interrupted_anywhere_goes_on_in_the_collections_that_it_made() {
    for refused_at in 0.. {
        let (server, file) = (Server::start(), File::new());
        server.state().faults.insert(refused_at, Fault::Refused);
        let batches = ["--batch-bytes", "750B"];
        let ran = file.import(&server, &batches);
        if server.state().upserts.len() <= refused_at {
            assert!(refused_at >= 8, "{refused_at} batches were all");
            break;
        }
        assert_eq!((ran.code, ran.err.contains("the disk is full")), (1, true), "{refused_at}: {ran:?}");
        let before = server.state().upserts.len();
        let again = file.import(&server, &[&batches[..], &["--json"]].concat()).json();
        let done = again["rows_before"].as_u64().unwrap();
        assert_eq!(again["rows"], 103 - done, "{refused_at}");
        assert!(done > 0 || refused_at < 2, "{refused_at}: nothing was remembered after {before} batches");
        for name in ["few", "many", "none"] {
            assert_whole(&server, name, name);
        }
        // Once it is done its collections are as any others.
        assert_eq!(file.import(&server, &batches).code, 1);
    }
}

#[test]
fn an_import_does_not_go_on_in_collections_that_somebody_else_made() {
    let (server, file) = (Server::start(), File::new());
    server.state().faults.insert(2, Fault::Refused);
    assert_eq!(file.import(&server, &["--batch-bytes", "750B"]).code, 1);
    for name in ["few", "many", "none"] {
        server.state().collections.remove(name);
        let metric = if name == "many" { crate::proto::Metric::Poincare } else { crate::proto::Metric::L2 };
        server.create(name, 2, metric);
    }
    // The double names collections by how many there are.
    server.state().collections.get_mut("few").unwrap().about.id = "another".into();
    let ran = file.import(&server, &[]);
    assert_eq!((ran.code, ran.err.contains("already_exists")), (1, true), "{ran:?}");
}
