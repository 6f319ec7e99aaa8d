//! `hyperspace-cli` against a server, as a user runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use hyperspace_server::proto::{Metric, UpsertRequest};
use serde_json::{Value, json};

use crate::support::client::{batch, number, numbers, text as text_id};
use crate::support::program::{CLI, run, text};
use crate::support::random::Random;
use crate::support::server::Running;

/// Runs the program against a server.
fn cli(address: SocketAddr, arguments: &[&str]) -> Output {
    let server = address.to_string();
    run(CLI, Path::new("."), &[&["--server", &server], arguments].concat())
}

/// Runs the program and answers its one document.
fn asked(address: SocketAddr, arguments: &[&str]) -> Value {
    let output = cli(address, &[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

/// Runs the program, which fails; answers the code of the error.
fn refused(address: SocketAddr, exit: i32, arguments: &[&str]) -> String {
    let output = cli(address, &[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    let told: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(!told["error"]["message"].as_str().unwrap().is_empty());
    told["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_made_listed_described_and_deleted() {
    let server = Running::new().await;
    let at = server.address;
    let create = ["collections", "create", "c", "--dimension", "3", "--metric", "cosine", "--m", "24"];
    let made = asked(at, &[&create[..], &["--quantization", "scalar_i8"]].concat());
    let expected = json!({ "name": "c", "dimension": 3, "metric": "cosine", "quantization": "scalar_i8", "m": 24 });
    assert!(expected.as_object().unwrap().iter().all(|(name, value)| &made[name] == value), "{made}");
    assert_eq!(asked(at, &["collections", "get", "c"]), made);
    assert_eq!(asked(at, &["collections"]), json!({ "collections": [made] }));
    assert_eq!(asked(at, &["--user-id", "ada", "collections", "list"]), json!({ "collections": [] }));
    assert_eq!(refused(at, 1, &["collections", "create", "c", "--dimension", "3", "--metric", "l2"]), "already_exists");
    assert_eq!(
        refused(at, 1, &["collections", "create", "../c", "--dimension", "3", "--metric", "l2"]),
        "invalid_argument"
    );
    assert_eq!(refused(at, 2, &["collections", "delete", "c"]), "invalid_argument", "nobody could be asked");
    assert_eq!(asked(at, &["collections", "delete", "c", "--yes"]), json!({ "deleted": "c" }));
    assert_eq!(refused(at, 1, &["collections", "get", "c"]), "not_found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_by_numbers_by_a_point_and_by_a_file() {
    let server = Running::new().await;
    let (at, client) = (server.address, server.client().await);
    client.create("c", 2, Metric::L2).await;
    let request = UpsertRequest {
        metadata: vec![r#"{"big": 9007199254740993}"#.into(), String::new(), String::new()],
        ..batch("c", vec![number(u64::MAX), text_id("7"), number(7)], &[0.0, 0.0, -3.0, 4.0, 6.0, 8.0])
    };
    client.upsert(request).await;
    let all = asked(at, &["search", "c", "--vector", "0,0", "--with-vector"]);
    let expected = json!([
        { "id": u64::MAX, "distance": 0.0, "metadata": { "big": 9_007_199_254_740_993_u64 }, "vector": [0.0, 0.0] },
        { "id": "7", "distance": 5.0, "metadata": {}, "vector": [-3.0, 4.0] },
        { "id": 7, "distance": 10.0, "metadata": {}, "vector": [6.0, 8.0] },
    ]);
    assert_eq!(all, json!({ "hits": expected, "distances": 3 }));
    let ids = |found: &Value| found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&asked(at, &["search", "c", "--id", "7", "--top-k", "1"])), [json!(7)]);
    assert_eq!(ids(&asked(at, &["search", "c", "--id", "\"7\"", "--top-k", "1", "--exact"])), [json!("7")]);
    let filtered = asked(at, &["search", "c", "--vector", "-3,4", "--filter", r#"{"big": {"$gt": 1}}"#]);
    assert_eq!(ids(&filtered), [json!(u64::MAX)]);
    let file = server.data.with_file_name("rows.jsonl");
    std::fs::write(&file, "{\"vector\": [0, 0]}\n{\"vector\": [6, 7.5]}\n").unwrap();
    let by_file = asked(at, &["search", "c", "--vector-file", file.to_str().unwrap(), "--row", "1", "--top-k", "1"]);
    assert_eq!(ids(&by_file), [json!(7)]);

    for (kind, arguments) in [
        ("invalid_argument", &["search", "c", "--vector", "1,2,3"][..]),
        ("invalid_argument", &["search", "c", "--vector", "1,NaN"]),
        ("invalid_argument", &["search", "c", "--vector", "1,2", "--filter", "{\"$x\": 1}"]),
        ("not_found", &["search", "c", "--id", "8"]),
        ("not_found", &["search", "d", "--vector", "1,2"]),
    ] {
        assert_eq!(refused(at, 1, arguments), kind, "{arguments:?}");
    }
    let shown = cli(at, &["search", "c", "--vector", "0,0"]);
    assert!(text(&shown.stdout).contains("10.000000") && text(&shown.stdout).contains("3 hits"), "{shown:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_tuned_copied_vacuumed_and_watched() {
    let server = Running::new().await;
    let (at, client) = (server.address, server.client().await);
    client.create("c", 4, Metric::L2).await;
    client.upsert(batch("c", numbers(0..500), &Random::new(1).rows(500, 4))).await;

    assert_eq!(asked(at, &["configure", "c", "--ef-search", "77", "--ef-construction", "88"])["ef_search"], 77);
    let config = client.describe("c").await.config.unwrap();
    assert_eq!((config.ef_search, config.ef_construction), (Some(77), Some(88)));
    assert_eq!(asked(at, &["configure", "c", "--ef-search", "auto"]).get("ef_search"), None);
    assert_eq!(refused(at, 2, &["configure", "c"]), "invalid_argument");
    assert_eq!(refused(at, 2, &["configure", "c", "--ef-search", "4097"]), "invalid_argument");

    let sealed = asked(at, &["vacuum", "c"]);
    assert_eq!((&sealed["points_dropped"], client.stats_of("c").await.pending), (&json!(0), 0));
    client.delete("c", numbers(0..100)).await;
    let vacuumed = asked(at, &["vacuum"]);
    assert_eq!((&vacuumed["segments_rewritten"], &vacuumed["points_dropped"]), (&json!(1), &json!(100)));
    assert!(vacuumed["bytes_after"].as_u64() < vacuumed["bytes_before"].as_u64());
    assert_eq!(refused(at, 1, &["vacuum", "d"]), "not_found");

    let snapshot = asked(at, &["snapshot"]);
    assert!(Path::new(snapshot["path"].as_str().unwrap()).join("catalog").is_file(), "{snapshot}");
    let stats = asked(at, &["stats"]);
    assert_eq!((&stats["points_written"], &stats["points_deleted"]), (&json!(500), &json!(100)));
    assert_eq!((&stats["collections"][0]["name"], &stats["collections"][0]["points"]), (&json!("c"), &json!(400)));
    assert!(text(&cli(at, &["stats"]).stdout).contains('c'));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_an_error_and_exit_1() {
    let server = Running::new().await;
    let at = server.address;
    server.stop().await;
    assert_eq!(refused(at, 1, &["stats"]), "unavailable");
    let told = cli(at, &["collections"]);
    assert!(text(&told.stderr).contains(&at.to_string()), "{told:?}");
    assert_eq!(text(&told.stderr).lines().count(), 1);
}
