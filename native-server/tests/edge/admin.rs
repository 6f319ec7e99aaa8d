//! The service `Admin`: tuning, figures, snapshots, vacuum.

use std::path::Path;
use std::process::Stdio;

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{
    CollectionConfig, ConfigureRequest, CreateCollectionRequest, DeleteCollectionRequest, LogRequest,
    MeasureRecallRequest, Metric, MonitorRequest, Quantization, Scope, SearchBatchRequest, SnapshotRequest, Stats,
    UpsertRequest, VacuumRequest,
};

use crate::support::bytes_below;
use crate::support::client::{Client, admin_key, batch, config, f32s, found, key_of, nearest, number, numbers};
use crate::support::model::model_of;
use crate::support::program::{Program, SERVER, command};
use crate::support::random::Random;
use crate::support::refusal::refused;
use crate::support::server::Running;

/// A collection `c` with one segment of random points.
async fn sealed(client: &Client, points: u64, dimension: usize) -> Vec<f32> {
    client.create("c", dimension as u64, Metric::L2).await;
    let rows = Random::new(points).rows(points as usize, dimension);
    client.upsert(batch("c", numbers(0..points), &rows)).await;
    client.vacuum("c").await;
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_ef_search_is_in_force_with_the_next_search_and_kept() {
    let server = Running::new().await;
    let client = server.client().await;
    sealed(&client, 3_000, 8).await;
    let queries = Random::new(1).rows(20, 8);
    let distances = async |client: &Client| {
        let mut sum = 0;
        for query in queries.chunks(8) {
            sum += client.search(nearest("c", query, 1)).await.distances;
        }
        sum
    };
    let configure = async |client: &Client, ef_search| {
        let request = ConfigureRequest { collection: "c".into(), ef_search, ef_construction: None };
        client.admin().configure(request).await.unwrap().into_inner().config.unwrap().ef_search
    };
    let adapted = distances(&client).await;
    assert_eq!(configure(&client, Some(20)).await, Some(20));
    let few = distances(&client).await;
    assert_eq!(configure(&client, Some(1_000)).await, Some(1_000));
    let many = distances(&client).await;
    assert!(few < adapted && adapted < many, "{few}, {adapted}, {many}");
    assert_eq!(configure(&client, None).await, Some(1_000), "absent leaves it");

    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(client.describe("c").await.config.unwrap().ef_search, Some(1_000));
    assert_eq!(distances(&client).await, many, "also after a restart");
    assert_eq!(configure(&client, Some(0)).await, None, "0 goes back");
    assert_eq!(distances(&client).await, adapted);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_ef_construction_is_for_graphs_that_are_built_from_now_on() {
    let server = Running::new().await;
    let client = server.client().await;
    sealed(&client, 2_000, 8).await;
    let request = ConfigureRequest { collection: "c".into(), ef_search: Some(7), ef_construction: Some(9) };
    let answer = client.admin().configure(request.clone()).await.unwrap().into_inner();
    let expected = CollectionConfig { ef_search: Some(7), ef_construction: Some(9), ..config("c", 8, Metric::L2) };
    assert_eq!(answer.config, Some(expected.clone()));
    assert_eq!((answer.points, answer.segments), (2_000, 1), "what is built stays as it is");
    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(client.describe("c").await.config, Some(expected));
    let missing = client.admin().configure(ConfigureRequest { collection: "d".into(), ..request }).await;
    refused("configure", missing, ErrorKind::NotFound, "`d`");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_figures_tells_the_truth() {
    let server = Running::new().await;
    let client = server.client().await;
    let query = Random::new(2).vector(16);
    client.create("c", 16, Metric::L2).await;
    let metadata = vec![r#"{"text": "some words that take room"}"#.to_string(); 3_000];
    let rows = Random::new(3).rows(3_000, 16);
    client.upsert(UpsertRequest { metadata, ..batch("c", numbers(0..3_000), &rows) }).await;
    client.vacuum("c").await;
    client.delete("c", numbers(0..300)).await;
    client.upsert(batch("c", numbers(9_000..9_100), &Random::new(4).rows(100, 16))).await;

    let mut distances = 0;
    for _ in 0..5 {
        distances += client.search(nearest("c", &query, 3)).await.distances;
    }
    let request = SearchBatchRequest {
        collection: "c".into(),
        vectors: Some(f32s(&query.repeat(7))),
        top_k: 1,
        ..Default::default()
    };
    let results = client.points().search_batch(request).await.unwrap().into_inner().results;
    distances += results.iter().map(|result| result.distances).sum::<u64>();
    let bad = client.points().search(nearest("c", &[1.0], 1)).await;
    refused("a search that is refused", bad, ErrorKind::InvalidArgument, "");

    let request = MonitorRequest { interval_ms: 100, count: 3 };
    let mut stream = client.admin().monitor(request).await.unwrap().into_inner();
    let mut all: Vec<Stats> = Vec::new();
    while let Some(stats) = stream.message().await.unwrap() {
        all.push(stats);
    }
    assert_eq!(all.len(), 3, "as many as asked for");
    assert!(all.is_sorted_by(|a, b| a.uptime_ms + 50 < b.uptime_ms), "one every 100 ms");
    let stats = &all[2];
    assert_eq!((stats.writable, stats.reason.as_str()), (true, ""));
    assert_eq!(stats.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(stats.searches, 12, "each of a batch counts, a refused one does not");
    assert_eq!((stats.points_written, stats.points_deleted), (3_100, 300));
    assert!(stats.search_p50_ms <= stats.search_p99_ms && all[0].search_p50_ms > 0.0, "{all:?}");
    assert!(stats.log_records >= 3 && stats.log_syncs >= 1 && stats.log_syncs <= stats.log_records, "{stats:?}");
    assert!(stats.resident_bytes > 1 << 20 || !cfg!(target_os = "linux"));

    let c = &stats.collections[0];
    assert_eq!((c.points, c.pending, c.segments, c.dead), (2_800, 100, 1, 300));
    assert_eq!((c.searches, c.distances), (12, distances));
    assert_eq!((c.tombstones, c.graph_insertions), (300, 3_000));
    assert!(c.memtable_bytes >= 100 * 16 * 4, "{} bytes in memory", c.memtable_bytes);
    assert!(c.segment_bytes >= 3_000 * (16 * 4 + 25), "{} bytes in segments", c.segment_bytes);

    let [sealed] = &c.sealed[..] else { panic!("one segment: {:?}", c.sealed) };
    assert_eq!((sealed.points, sealed.dead, sealed.coded, sealed.merging), (2_700, 300, false, false));
    assert_eq!((sealed.bytes, sealed.id.len()), (c.segment_bytes, 64));
    assert!(stats.disk_free_bytes > 0, "there is room for this test");

    // Bytes are reported whole: vectors, graph, ids, metadata, log.
    let (whole, log) = (bytes_below(&server.data, "snapshots"), bytes_below(&server.data.join("log"), "-"));
    assert_eq!(stats.disk_bytes, whole);
    assert_eq!(stats.log_bytes, log);
    assert!(stats.disk_bytes >= stats.log_bytes + c.segment_bytes);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_the_sums_of_all_tenants_and_a_tenant_none() {
    let server = Running::new().await;
    let nobody = server.client().await;
    let (_, first) = nobody.create_key(admin_key()).await;
    let admin = nobody.key(&first);
    let mut keys = Vec::new();
    for (tenant, collections) in [("bob", &["c"][..]), ("ada", &["c", "d"])] {
        let (_, key) = admin.create_key(key_of(tenant, &[Scope::Read, Scope::Write])).await;
        let client = nobody.key(&key);
        for name in collections {
            client.create(name, 1, Metric::L2).await;
            client.upsert(batch(name, numbers(0..5), &[1.0; 5])).await;
        }
        client.search(nearest("c", &[1.0], 1)).await;
        keys.push(client);
    }
    let tenants = admin.stats().await.tenants;
    let sums: Vec<_> =
        tenants.iter().map(|sum| (sum.name.as_str(), sum.collections, sum.points, sum.searches)).collect();
    assert_eq!(sums, [("ada", 2, 10, 1), ("bob", 1, 5, 1)]);
    assert!(tenants.iter().all(|sum| sum.memtable_bytes > 0 && sum.segment_bytes == 0), "{tenants:?}");
    for client in keys {
        assert_eq!(client.stats().await.tenants, []);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_from_its_kept_lines_on_to_its_newest() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", "data", "--log", "info"];
    let server = Program::listening(command(SERVER, folder.path(), &arguments).stderr(Stdio::null()));
    let client = server.client().await;
    let mut kept = client.admin().log(LogRequest::default()).await.unwrap().into_inner();
    let first = kept.message().await.unwrap().unwrap();
    assert_eq!((first.number, first.level.as_str()), (1, "INFO"));
    assert!(first.text.starts_with("the database was opened in "), "{first:?}");
    while kept.message().await.unwrap().is_some() {}

    let mut lines = client.admin().log(LogRequest { follow: true }).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap(), first);
    server.signal("TERM");
    let mut texts = Vec::new();
    let ended = loop {
        match lines.message().await {
            Ok(line) => texts.push(line.unwrap().text),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.message(), "the server is stopping", "behind {texts:?}");
    assert!(server.wait().0.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_of_the_time_between_and_each_stream_has_its_own() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let mut stream =
        client.admin().monitor(MonitorRequest { interval_ms: 1_000, count: 3 }).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((first.searches, first.points_written), (0, 0));
    client.upsert(batch("c", numbers(0..500), &[1.0; 500])).await;
    for _ in 0..20 {
        client.search(nearest("c", &[1.0], 1)).await;
    }
    let second = stream.message().await.unwrap().unwrap();
    let third = stream.message().await.unwrap().unwrap();
    let seconds = (second.uptime_ms - first.uptime_ms) as f64 / 1_000.0;
    let (searches, written) = (second.searches_per_second * seconds, second.points_written_per_second * seconds);
    assert!((15.0..25.0).contains(&searches) && (400.0..600.0).contains(&written), "{second:?}");
    assert_eq!((third.searches_per_second, third.points_written_per_second), (0.0, 0.0), "nothing came since");
    assert_eq!((third.searches, third.points_written), (20, 500), "counters are of all the time");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_figures_are_bounded_and_end_with_their_watchers() {
    let server = Running::new().await;
    let client = server.client().await;
    let request = MonitorRequest { interval_ms: 60_000, count: 0 };
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut stream = client.admin().monitor(request).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        streams.push(stream);
    }
    refused("one more", client.admin().monitor(request).await, ErrorKind::Unavailable, "streams");
    drop(streams);
    let asked = async || client.admin().monitor(MonitorRequest { count: 1, ..request }).await.is_ok();
    crate::support::until("there is room again", asked).await;
    for interval_ms in [1, 99, 60_001, 1 << 31, u64::MAX] {
        let request = MonitorRequest { interval_ms, count: 1 };
        refused(
            "interval",
            client.admin().monitor(request).await,
            ErrorKind::InvalidArgument,
            &interval_ms.to_string(),
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_a_database_of_its_moment() {
    let server = Running::new().await;
    let client = server.client().await;
    let ada = client.user("ada");
    let rows = sealed(&client, 1_500, 4).await;
    ada.create("hers", 1, Metric::Dot).await;
    ada.upsert(batch("hers", numbers(0..9), &[2.0; 9])).await;
    client.delete("c", numbers(0..100)).await;
    client.upsert(batch("c", numbers(5_000..5_010), &[0.5; 40])).await;
    let before = (model_of(&client.scroll("c", 500).await), model_of(&ada.scroll("hers", 500).await));

    let snapshot = client.admin().snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    assert_eq!(Path::new(&snapshot.path), server.data.canonicalize().unwrap().join("snapshots").join(&snapshot.name));
    assert_eq!(snapshot.bytes, bytes_below(Path::new(&snapshot.path), "-"));
    assert!(snapshot.files >= 4);
    client.delete("c", numbers(0..1_500)).await;
    client.vacuum("c").await;
    client.collections().delete(DeleteCollectionRequest { name: "c".into() }).await.unwrap();
    ada.upsert(batch("hers", numbers(9..12), &[2.0; 3])).await;

    let copy = Running::with(|settings| settings.data_dir = snapshot.path.clone().into()).await;
    let of_copy = copy.client().await;
    let after = (model_of(&of_copy.scroll("c", 500).await), model_of(&of_copy.user("ada").scroll("hers", 500).await));
    assert!(after == before, "the copy is not what was there");
    assert_eq!(found(&of_copy.search(nearest("c", &rows[800..804], 1)).await), [200]);
    of_copy.upsert(batch("c", vec![number(1)], &[0.0; 4])).await;
    assert_eq!(ada.count("hers", "").await, 12, "the original goes on by itself");
    copy.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quantised_collection_tells_its_bytes_a_vector_and_its_measured_recall() {
    let server = Running::new().await;
    let client = server.client().await;
    let config = CollectionConfig { quantization: Quantization::ScalarI8.into(), ..config("c", 24, Metric::L2) };
    client.collections().create(CreateCollectionRequest { config: Some(config) }).await.unwrap();
    let measure = async |client: &Client, ef_search| {
        let request = MeasureRecallRequest { collection: "c".into(), ef_search, ..Default::default() };
        client.admin().measure_recall(request).await.unwrap().into_inner()
    };
    let nothing = measure(&client, None).await;
    assert_eq!((nothing.queries, nothing.low, nothing.high), (0, 0.0, 1.0));

    let rows = Random::new(7).rows(3_000, 24);
    client.upsert(batch("c", numbers(0..3_000), &rows)).await;
    client.vacuum("c").await;
    let server = server.restart().await;
    let client = server.client().await;
    let stats = client.stats_of("c").await;
    // A byte a component, its step and its norm.
    assert_eq!((stats.coded, stats.bytes_per_vector), (3_000, 24.0 + 8.0));
    let (few, many) = (measure(&client, Some(20)).await, measure(&client, Some(2_000)).await);
    for told in [&few, &many] {
        assert_eq!((told.queries, told.top_k), (100, 10));
        assert!(told.low <= told.recall && told.recall <= told.high, "{told:?}");
    }
    assert!(few.recall < many.recall && few.distances < many.distances, "{few:?}, {many:?}");
    assert!(many.recall >= 0.995, "{many:?}");
    let bad = MeasureRecallRequest { collection: "c".into(), queries: 99, ..Default::default() };
    refused("recall", client.admin().measure_recall(bad).await, ErrorKind::InvalidArgument, "not 99");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_aside_nothing_of_them_is_counted_as_the_databases() {
    let server = Running::new().await;
    let client = server.client().await;
    sealed(&client, 500, 8).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(client.admin().snapshot(SnapshotRequest {}).await.unwrap().into_inner().name);
    }
    assert!(names.is_sorted_by(|a, b| a < b), "named by time: {names:?}");
    assert_eq!(client.stats().await.disk_bytes, bytes_below(&server.data, "snapshots"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_returns_the_space_of_the_dead_and_keeps_the_living() {
    let server = Running::new().await;
    let client = server.client().await;
    let rows = sealed(&client, 3_000, 32).await;
    let before = client.stats().await.disk_bytes;
    // Below a quarter: a segment with more dead points is rewritten without being asked.
    client.delete("c", numbers(0..700)).await;
    assert_eq!(client.stats_of("c").await.dead, 700);
    let report = client.admin().vacuum(VacuumRequest::default()).await.unwrap().into_inner();
    assert_eq!((report.segments_rewritten, report.points_dropped), (1, 700));
    assert!(report.bytes_after * 10 < report.bytes_before * 9, "{report:?}");
    let stats = client.stats_of("c").await;
    assert_eq!((stats.points, stats.dead, stats.pending), (2_300, 0, 0));
    assert!(client.stats().await.disk_bytes < before, "the space is free on the disk too");
    for id in 700..3_000 {
        let row = &rows[id * 32..(id + 1) * 32];
        assert_eq!(found(&client.search(nearest("c", row, 1)).await), [id as u64]);
    }
    let again = client.vacuum("c").await;
    assert_eq!((again.segments_rewritten, again.points_dropped), (0, 0));
    let missing = client.admin().vacuum(VacuumRequest { collection: "d".into() }).await;
    refused("vacuum", missing, ErrorKind::NotFound, "`d`");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_wait_for_a_graph_only_until_the_indexer_has_been_there() {
    let server = Running::new().await;
    let client = server.client().await;
    let request = CreateCollectionRequest { config: Some(config("c", 4, Metric::L2)) };
    client.collections().create(request).await.unwrap();
    for first in (0..40_000).step_by(10_000) {
        client.upsert(batch("c", numbers(first..first + 10_000), &Random::new(first).rows(10_000, 4))).await;
    }
    client.indexed("c").await;
    let stats = client.stats_of("c").await;
    assert_eq!(stats.points, 40_000);
    assert!(stats.pending < 20_000 && stats.segments >= 1, "{stats:?}");
    assert_eq!(stats.graph_insertions, stats.points - stats.pending);
    let described = client.describe("c").await;
    assert_eq!((described.points, described.pending, described.segments), (40_000, stats.pending, stats.segments));
    server.stop().await;
}
