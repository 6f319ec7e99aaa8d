//! `hyperspace-cli export` and `import` of archives: a copy of everything, bit for bit.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hyperspace_server::proto::{Metric, Point, SearchRequest, UpsertRequest};
use serde_json::{Value, json};

use crate::support::client::{Client, batch, config, f64s, number, numbers, text as text_id};
use crate::support::everything_below;
use crate::support::program::{CLI, run, text};
use crate::support::random::Random;
use crate::support::server::Running;

const METRICS: [(&str, Metric); 4] =
    [("l2", Metric::L2), ("cosine", Metric::Cosine), ("dot", Metric::Dot), ("poincare", Metric::Poincare)];
const DIMENSION: usize = 3;

/// Runs the program with JSON; answers its exit code and its document.
fn cli(address: SocketAddr, folder: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(CLI, folder, &[&["--server", &address.to_string(), "--json"], arguments].concat());
    let told = if output.status.success() { &output.stdout } else { &output.stderr };
    (output.status.code(), serde_json::from_slice(told).unwrap_or_else(|_| panic!("{:?}", text(told))))
}

fn done(address: SocketAddr, folder: &Path, arguments: &[&str]) -> Value {
    let (code, told) = cli(address, folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {told}");
    told
}

/// A vector of a metric; those of `poincare` come as near to the rim as doubles do.
fn vector(metric: Metric, at: u64, random: &mut Random) -> Vec<f64> {
    let norm = if metric == Metric::Poincare { 1.0 - 10_f64.powf(-((at % 31) as f64) / 2.0) } else { 7.0 };
    random.of_norm(DIMENSION, norm)
}

fn metadata(at: u64) -> String {
    let mut fields = json!({
        "none": null, "yes": at.is_multiple_of(2), "float": 1.0, "tenth": 0.1, "text": "日本語 \u{0}", "list": [1, [], "x"],
        "i64": i64::MIN + (at % 7).cast_signed(), "u64": u64::MAX - at, "beyond": 9_007_199_254_740_993_u64, "deep": { "a.b": { "": at } },
    });
    fields["f64"] = json!([f64::MAX, f64::MIN_POSITIVE, -0.0, 1e-300]);
    if at.is_multiple_of(5) { String::new() } else { fields.to_string() }
}

/// Collections of all metrics with sealed, waiting, rewritten and deleted points, and one without any.
async fn fill(client: &Client) {
    let mut random = Random::new(11);
    for (name, metric) in METRICS {
        let mut collections = client.collections();
        let wanted = hyperspace_server::proto::CollectionConfig {
            m: Some(24),
            ef_construction: Some(90),
            ef_search: Some(77),
            ..config(name, DIMENSION as u64, metric)
        };
        let request = hyperspace_server::proto::CreateCollectionRequest { config: Some(wanted) };
        collections.create(request).await.unwrap();
        for part in [0..1500_u64, 1500..1700, 100..130] {
            let ids = part.clone().map(|n| if n % 3 == 0 { text_id(&format!("{n} ü")) } else { number(u64::MAX - n) });
            let rows: Vec<f64> = part.clone().flat_map(|at| vector(metric, at, &mut random)).collect();
            let request = UpsertRequest {
                vectors: Some(f64s(&rows)),
                metadata: part.clone().map(metadata).collect(),
                ..batch(name, ids.collect(), &[])
            };
            client.upsert(request).await;
            if part.start == 0 {
                client.vacuum(name).await;
            }
        }
        let gone = (200..260).map(|n| if n % 3 == 0 { text_id(&format!("{n} ü")) } else { number(u64::MAX - n) });
        assert_eq!(client.delete(name, gone.collect()).await, 60);
    }
    client.create("empty", 7, Metric::L2).await;
}

/// The points of a collection in the order of their keys.
async fn points(client: &Client, name: &str) -> Vec<Point> {
    client.scroll(name, 300).await
}

/// What searches for stored points find, with the bits of the distances.
async fn answers(
    client: &Client,
    name: &str,
    metric: Metric,
) -> Vec<Vec<(Option<hyperspace_server::proto::PointId>, u64)>> {
    let mut random = Random::new(5);
    let mut found = Vec::new();
    for at in 0..30 {
        let request = SearchRequest {
            collection: name.into(),
            vector: Some(f64s(&vector(metric, at, &mut random))),
            top_k: 20,
            exact: true,
            ..Default::default()
        };
        let hits = client.search(request).await.hits;
        found.push(hits.into_iter().map(|hit| (hit.id, hit.distance.to_bits())).collect());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_exports_another_one_imports_bit_for_bit() {
    let (here, there) = (Running::new().await, Running::new().await);
    let (from, to) = (here.client().await, there.client().await);
    fill(&from).await;
    let folder = tempfile::tempdir().unwrap();
    let told = done(here.address, folder.path(), &["export", "all.hyperspace"]);
    let names: Vec<_> = told["collections"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
    assert_eq!(names, ["cosine", "dot", "empty", "l2", "poincare"]);
    let length = fs::metadata(folder.path().join("all.hyperspace")).unwrap().len();
    assert_eq!((&told["points"], &told["bytes"]), (&json!(4 * 1640), &json!(length)));
    assert_eq!(everything_below(folder.path()), ["all.hyperspace"]);

    let arguments = ["import", "all.hyperspace", "--wait", "--batch-bytes", "64KiB"];
    let told = done(there.address, folder.path(), &arguments);
    assert_eq!((&told["rows"], &told["rows_before"]), (&json!(4 * 1640), &json!(0)));
    let mut edge = 0;
    for (name, metric) in METRICS {
        let (before, after) = (points(&from, name).await, points(&to, name).await);
        assert_eq!(before.len(), 1640);
        assert!(before == after, "{name}: points, rows, terms and metadata are the same");
        edge += before.iter().filter(|point| point.term > 1e12).count();
        assert_eq!(from.describe(name).await.config, to.describe(name).await.config);
        assert_eq!(answers(&from, name, metric).await, answers(&to, name, metric).await, "{name}");
        to.vacuum(name).await;
        assert_eq!((to.describe(name).await.segments, to.describe(name).await.pending), (1, 0));
        assert_eq!(answers(&from, name, metric).await, answers(&to, name, metric).await, "{name}, indexed");
    }
    assert!(edge > 100, "{edge} points are near the rim");
    assert_eq!(to.count("empty", "").await, 0);

    let again = done(there.address, folder.path(), &["export", "again.hyperspace"]);
    assert_eq!(again["points"], json!(4 * 1640));
    let archive = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert!(archive("all.hyperspace") == archive("again.hyperspace"), "pages come in the order of keys");
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_of_what_was_asked_for_or_leaves_no_file() {
    let server = Running::new().await;
    let client = server.client().await;
    for name in ["a", "b"] {
        client.create(name, 2, Metric::L2).await;
        client.upsert(batch(name, numbers(0..3), &[1.0; 6])).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.hyperspace");
    let told =
        done(server.address, folder.path(), &["export", "x.hyperspace", "--collection", "b", "--collection", "b"]);
    assert_eq!(told["collections"], json!([{ "name": "b", "points": 3 }]));
    let before = fs::read(&file).unwrap();
    let (code, told) = cli(server.address, folder.path(), &["export", "x.hyperspace", "--collection", "none"]);
    assert_eq!((code, &told["error"]["code"]), (Some(1), &json!("not_found")));
    assert_eq!(fs::read(&file).unwrap(), before, "the file that was there stays");
    let (code, _) = cli(server.address, folder.path(), &["export", "missing/x.hyperspace"]);
    assert_eq!(code, Some(1));
    let told = done(server.address, folder.path(), &["--user-id", "ada", "export", "x.hyperspace"]);
    assert_eq!((&told["points"], &told["collections"]), (&json!(0), &json!([])));
    assert_eq!(everything_below(folder.path()), ["x.hyperspace"]);

    // Another tenant has nothing, and gets a copy under another name.
    done(server.address, folder.path(), &["export", "b.hyperspace", "--collection", "b"]);
    done(server.address, folder.path(), &["--user-id", "ada", "import", "b.hyperspace", "--collection", "c"]);
    assert_eq!(client.user("ada").count("c", "").await, 3);
    let (code, told) = cli(server.address, folder.path(), &["import", "b.hyperspace"]);
    assert_eq!((code, &told["error"]["code"]), (Some(1), &json!("already_exists")));
    server.stop().await;
}
