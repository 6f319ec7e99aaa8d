//! `hyperspace-cli import`: every row of a file once, whatever is interrupted meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Output, Stdio};

use hyperspace_server::proto::Metric;
use serde_json::{Value, json};

use crate::support::model::{Id, Model, model_of};
use crate::support::program::{CLI, Program, command, signal, text, wait};
use crate::support::random::Random;
use crate::support::server::Running;
use crate::support::until;

fn import(address: SocketAddr, file: &Path, arguments: &[&str]) -> std::process::Command {
    let server = address.to_string();
    let fixed = ["--server", &server, "--json", "import", file.to_str().unwrap(), "--collection", "c"];
    command(CLI, file.parent().unwrap(), &[&fixed, arguments].concat())
}

/// What an import that came to its end told.
fn told(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A matrix of f32 as numpy writes it.
fn npy(rows: &[f32], dimension: usize) -> Vec<u8> {
    let shape = format!("({}, {dimension})", rows.len() / dimension);
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
    let padding = 64 - (10 + header.len() + 1) % 64;
    header += &" ".repeat(padding);
    header.push('\n');
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let numbers = rows.iter().flat_map(|x| x.to_le_bytes());
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat().into_iter().chain(numbers).collect()
}

/// Rows as `.fvecs`: each with its dimension before it.
fn fvecs(rows: &[f32], dimension: usize) -> Vec<u8> {
    let row = |row: &[f32]| {
        let numbers = row.iter().flat_map(|x| x.to_le_bytes());
        u32::try_from(dimension).unwrap().to_le_bytes().into_iter().chain(numbers).collect::<Vec<_>>()
    };
    rows.chunks(dimension).flat_map(row).collect()
}

/// Rows with their numbers as ids and without metadata.
fn numbered(rows: &[f32], dimension: usize) -> Model {
    (0..).map(Id::Number).zip(rows.chunks(dimension).map(|row| (row.to_vec(), json!({})))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_read_as_it_was_written() {
    let server = Running::new().await;
    let client = server.client().await;
    let folder = server.data.parent().unwrap();
    let rows = Random::new(1).rows(700, 5);
    for (name, bytes) in [("a.npy", npy(&rows, 5)), ("a.fvecs", fvecs(&rows, 5))] {
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        let user = ["--user-id", name];
        let arguments = [&user[..], &["--metric", "dot", "--batch-bytes", "2KiB"]].concat();
        let done = told(&import(server.address, &file, &arguments).output().unwrap());
        assert_eq!((&done["rows"], &done["rows_before"]), (&json!(700), &json!(0)));
        let client = client.user(name);
        assert!(model_of(&client.scroll("c", 1_000).await) == numbered(&rows, 5), "{name}");
        assert_eq!(client.describe("c").await.config.unwrap().metric(), Metric::Dot);
    }
    let lines = [
        json!({ "id": "one", "vector": [0.5, -0.25], "metadata": { "n": 1, "big": u64::MAX } }),
        json!({ "vector": [1.0, 2.0] }),
        json!({ "id": 77, "vector": [3.0, 4.0], "metadata": {} }),
        json!({ "id": "one", "vector": [0.0, 1.0], "metadata": { "n": 2 } }),
    ];
    let file = folder.join("a.jsonl");
    fs::write(&file, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let output = import(server.address, &file, &["--metric", "l2", "--wait"]).output().unwrap();
    assert_eq!(told(&output)["rows"], 4);
    let expected = Model::from([
        (Id::Text("one".into()), (vec![0.0, 1.0], json!({ "n": 2 }))),
        (Id::Number(1), (vec![1.0, 2.0], json!({}))),
        (Id::Number(77), (vec![3.0, 4.0], json!({}))),
    ]);
    assert_eq!(model_of(&client.scroll("c", 10).await), expected);
    let left: Vec<_> = crate::support::everything_below(folder).into_iter().filter(|p| p.contains("import")).collect();
    assert_eq!(left, Vec::<String>::new(), "an import that is done leaves nothing behind");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_fit_is_refused_by_name_and_place() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::Poincare).await;
    let folder = server.data.parent().unwrap();
    let cut = {
        let mut bytes = npy(&[0.1; 6], 2);
        bytes.truncate(bytes.len() - 3);
        bytes
    };
    let cases: [(&str, Vec<u8>, &[&str], &str, &str); 7] = [
        ("cut.npy", cut, &[], "invalid_argument", "cut"),
        ("three.npy", npy(&[0.1; 6], 3), &[], "invalid_argument", "3 dimensions"),
        ("a.npy", npy(&[0.1; 6], 2), &["--metric", "l2"], "invalid_argument", "poincare"),
        ("outside.fvecs", fvecs(&[0.1, 0.1, 1.0, 0.0], 2), &[], "invalid_argument", "row 1"),
        ("bad.jsonl", b"{\"vector\": [0.1, 0.1]}\n{\"vector\": [0.1,\n".to_vec(), &[], "invalid_argument", "line 2"),
        ("a.csv", b"1,2".to_vec(), &[], "invalid_argument", ".jsonl"),
        ("empty.fvecs", Vec::new(), &[], "invalid_argument", "empty.fvecs"),
    ];
    for (name, bytes, arguments, kind, named) in cases {
        let file = folder.join(name);
        fs::write(&file, bytes).unwrap();
        let output = import(server.address, &file, arguments).output().unwrap();
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!((output.status.code(), &error["error"]["code"]), (Some(1), &json!(kind)), "{name}: {error}");
        assert!(error["error"]["message"].as_str().unwrap().contains(named), "{name}: {error}");
    }
    let missing = import(server.address, &folder.join("none.npy"), &[]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(client.count("c", r#"{"none": 1}"#).await, 0);
    server.stop().await;
}

/// Many small batches, so that an interruption comes in between.
const SLOWLY: [&str; 4] = ["--metric", "l2", "--batch-bytes", "1KiB"];
const ROWS: usize = 100_000;
const DIMENSION: usize = 4;

fn large_file(folder: &Path) -> (std::path::PathBuf, Vec<f32>) {
    let rows = Random::new(2).rows(ROWS, DIMENSION);
    let file = folder.join("large.npy");
    fs::write(&file, npy(&rows, DIMENSION)).unwrap();
    (file, rows)
}

fn begin(address: SocketAddr, file: &Path) -> Child {
    import(address, file, &SLOWLY).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_killed_goes_on_where_it_was() {
    let server = Running::new().await;
    let (file, rows) = large_file(server.data.parent().unwrap());
    let mut child = begin(server.address, &file);
    let memory = file.with_file_name("large.npy.hyperspace-import");
    let remembered = || {
        let record: Option<Value> = serde_json::from_slice(&fs::read(&memory).ok()?).ok();
        record?["rows"].as_u64()
    };
    until("some rows are remembered", async || remembered().is_some_and(|rows| rows > 0)).await;
    signal(&child, "KILL");
    assert_eq!(wait(&mut child).code(), None, "it was killed before it was done");
    let before = remembered().unwrap();
    assert!(before < ROWS as u64);
    let client = server.client().await;
    assert!(client.count("c", "").await >= before, "what is remembered was acknowledged");

    let done = told(&import(server.address, &file, &SLOWLY).output().unwrap());
    assert_eq!((&done["rows_before"], &done["rows"]), (&json!(before), &json!(ROWS as u64 - before)));
    assert!(model_of(&client.scroll("c", 10_000).await) == numbered(&rows, DIMENSION), "each row once, as in the file");
    assert!(!memory.exists());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_outlives_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Program::start(folder.path());
    let address = server.address;
    let (file, rows) = large_file(folder.path());
    let child = begin(address, &file);
    for kills in 1..=2_u64 {
        let client = server.client().await;
        until("the collection is there", async || !client.stats().await.collections.is_empty()).await;
        until("there are more rows", async || client.count("c", "").await > kills * 5_000).await;
        assert!(client.count("c", "").await < ROWS as u64, "it was done before the server was killed");
        server.signal("KILL");
        server.wait();
        server = Program::start_on(folder.path(), &address.to_string());
    }
    let done = told(&child.wait_with_output().unwrap());
    assert_eq!(done["rows"], ROWS as u64);
    let client = server.client().await;
    assert!(model_of(&client.scroll("c", 10_000).await) == numbered(&rows, DIMENSION), "each row once, as in the file");
}
