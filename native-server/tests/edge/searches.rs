//! Searches against brute force over a map.

use std::collections::BTreeMap;

use hyperspace_server::proto::{Metric, SearchBatchRequest, SearchRequest, UpsertRequest};
use serde_json::{Value, json};

use crate::support::client::{Client, batch, components, f32s, f64s, found, nearest, number, numbers, text};
use crate::support::model::{Id, Model, assert_in_order, assert_nearest, nearest_distances};
use crate::support::random::Random;
use crate::support::server::Running;

const METRICS: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare];
const DIMENSION: usize = 8;

/// A collection of `sealed` points in one segment and some in memory, and the same as a map.
async fn collection(client: &Client, name: &str, metric: Metric, sealed: u64) -> Model {
    client.create(name, DIMENSION as u64, metric).await;
    let mut random = Random::new(sealed);
    let mut model = Model::new();
    for range in [0..sealed, sealed..sealed + 100] {
        let rows = rows(&mut random, metric, range.end - range.start);
        let metadata: Vec<Value> = range.clone().map(|id| json!({ "rest": id % 10, "half": id % 2 == 0 })).collect();
        let request = UpsertRequest {
            metadata: metadata.iter().map(Value::to_string).collect(),
            ..batch(name, numbers(range.clone()), &rows)
        };
        client.upsert(request).await;
        for ((id, row), metadata) in range.clone().zip(rows.chunks(DIMENSION)).zip(metadata) {
            model.insert(Id::Number(id), (row.to_vec(), metadata));
        }
        if range.start == 0 {
            client.vacuum(name).await;
        }
    }
    let stats = client.stats_of(name).await;
    assert_eq!((stats.points, stats.pending, stats.segments), (sealed + 100, 100, 1));
    model
}

fn rows(random: &mut Random, metric: Metric, count: u64) -> Vec<f32> {
    match metric {
        Metric::Poincare => {
            let mut row = |_| {
                let norm = random.unit() * 0.95;
                random.of_norm(DIMENSION, norm)
            };
            (0..count).flat_map(|n| row(n).into_iter().map(|x| x as f32)).collect()
        }
        _ => random.rows(count as usize, DIMENSION),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exact_search_finds_the_true_nearest_by_every_metric() {
    let server = Running::new().await;
    let client = server.client().await;
    for metric in METRICS {
        let model = collection(&client, metric.as_str_name().to_lowercase().as_str(), metric, 1_300).await;
        let name = metric.as_str_name().to_lowercase();
        let mut random = Random::new(99);
        for top_k in [1, 10, 1_000] {
            let query = rows(&mut random, metric, 1);
            let request = SearchRequest { exact: true, ..nearest(&name, &query, top_k) };
            let answer = client.search(request).await;
            assert_nearest(metric, &model, &query, top_k as usize, &answer.hits);
            assert_eq!(answer.distances, model.len() as u64, "every point is compared with");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_graph_finds_what_an_exact_search_finds_and_compares_with_fewer() {
    let server = Running::new().await;
    let client = server.client().await;
    for metric in METRICS {
        let name = metric.as_str_name().to_lowercase();
        let model = collection(&client, &name, metric, 3_000).await;
        let mut random = Random::new(5);
        let (mut hit, mut wanted, mut distances) = (0, 0, 0);
        for _ in 0..50 {
            let query = rows(&mut random, metric, 1);
            let answer = client.search(nearest(&name, &query, 10)).await;
            assert_in_order(&answer.hits);
            let last = nearest_distances(metric, &model, &query, 10)[9];
            hit += answer.hits.iter().filter(|hit| hit.distance <= last + 1e-6).count();
            wanted += 10;
            distances += answer.distances;
        }
        let recall = f64::from(u32::try_from(hit).unwrap()) / f64::from(wanted);
        assert!(recall >= 0.97, "{metric:?}: recall {recall}");
        assert!(distances / 50 < 2_000, "{metric:?}: {} distances a search", distances / 50);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_exact_however_few_points_they_let_through() {
    let server = Running::new().await;
    let client = server.client().await;
    let model = collection(&client, "c", Metric::L2, 2_500).await;
    let filters: [(&str, fn(&Value) -> bool); 5] = [
        (r#"{"rest": 3}"#, |m| m["rest"] == 3),
        (r#"{"half": true}"#, |m| m["half"] == true),
        (r#"{"half": true, "rest": {"$gte": 4}}"#, |m| m["half"] == true && m["rest"].as_u64() >= Some(4)),
        (r#"{"$or": [{"rest": {"$in": [1, 2]}}, {"$not": {"half": true}}]}"#, |m| {
            m["rest"] == 1 || m["rest"] == 2 || m["half"] == false
        }),
        (r#"{"missing": {"$exists": true}}"#, |_| false),
    ];
    let query = Random::new(8).vector(DIMENSION);
    for (filter, holds) in filters {
        let matching: Model =
            model.iter().filter(|(_, (_, m))| holds(m)).map(|(k, v)| (k.clone(), v.clone())).collect();
        for exact in [true, false] {
            let request = SearchRequest { filter: filter.into(), exact, ..nearest("c", &query, 1_000) };
            let hits = client.search(request).await.hits;
            assert_eq!(hits.len(), matching.len().min(1_000), "{filter}");
            assert!(hits.iter().all(|hit| matching.contains_key(&Id::of(hit.id.as_ref()))), "{filter}");
            if exact {
                assert_nearest(Metric::L2, &matching, &query, 1_000, &hits);
            }
        }
        assert_eq!(client.count("c", filter).await, matching.len() as u64);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_as_its_searches_one_by_one() {
    let server = Running::new().await;
    let client = server.client().await;
    collection(&client, "c", Metric::Cosine, 2_000).await;
    let queries = Random::new(21).rows(70, DIMENSION);
    let request = SearchBatchRequest {
        collection: "c".into(),
        vectors: Some(f32s(&queries)),
        top_k: 7,
        filter: r#"{"half": true}"#.into(),
        ef_search: Some(200),
        with_vector: true,
        ..Default::default()
    };
    let results = client.points().search_batch(request.clone()).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 70);
    for (query, result) in queries.chunks(DIMENSION).zip(&results) {
        let alone = SearchRequest {
            filter: request.filter.clone(),
            ef_search: request.ef_search,
            with_vector: true,
            ..nearest("c", query, 7)
        };
        assert_eq!(&client.search(alone).await, result);
    }
    let none = SearchBatchRequest { vectors: Some(f32s(&[])), ..request };
    assert_eq!(client.points().search_batch(none).await.unwrap().into_inner().results, []);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_distances_are_told_by_id_integers_by_value_then_strings_by_bytes() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let mut ids: Vec<Id> = [10, 9, 2, u64::MAX, 0].map(Id::Number).into();
    ids.extend(["b", "B", "10", "9", "\u{e4}", "aa"].map(|id| Id::Text(id.into())));
    let wire = ids.iter().map(Id::on_the_wire).collect();
    client.upsert(batch("c", wire, &[1.0; 22])).await;
    ids.sort();
    for sealed in [false, true] {
        if sealed {
            client.vacuum("c").await;
        }
        for top_k in [4, 11] {
            let hits = client.search(nearest("c", &[0.0, 1.0], top_k)).await.hits;
            let order: Vec<Id> = hits.iter().map(|hit| Id::of(hit.id.as_ref())).collect();
            assert_eq!(order, ids[..top_k as usize], "sealed: {sealed}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_answers_what_is_asked_for_and_all_there_is() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    assert_eq!(client.search(nearest("c", &[0.0, 0.0], 10)).await.hits, [], "nothing is there");
    let request = UpsertRequest {
        metadata: vec![r#"{"a": 1}"#.into(), String::new()],
        ..batch("c", vec![number(1), text("two")], &[1.0, 0.0, 2.0, 0.0])
    };
    client.upsert(request).await;
    let hits = client.search(nearest("c", &[0.0, 0.0], 10)).await.hits;
    let shown: Vec<_> = hits.iter().map(|h| (h.distance, h.metadata.as_str(), h.vector.len())).collect();
    assert_eq!(shown, [(1.0, r#"{"a":1}"#, 0), (2.0, "{}", 0)], "metadata unless declined, vectors when asked for");
    let other = SearchRequest { with_vector: true, with_metadata: Some(false), ..nearest("c", &[0.0, 0.0], 1) };
    let hit = client.search(other).await.hits.remove(0);
    assert_eq!((components(&hit.vector), hit.metadata.as_str()), (vec![1.0, 0.0], ""));
    let doubles = SearchRequest { vector: Some(f64s(&[0.0, 0.0])), ..nearest("c", &[], 10) };
    assert_eq!(client.search(doubles).await.hits, hits, "a query in doubles is the same query");
    server.stop().await;
}

/// Points of a tree pushed to the rim: siblings crowd around their parents, a few millionths from the edge.
#[tokio::test(flavor = "multi_thread")]
async fn points_crowded_at_the_rim_find_themselves_by_the_graph() {
    const POINTS: u64 = 3_000;
    let server = Running::new().await;
    let client = server.client().await;
    client.create("rim", 5, Metric::Poincare).await;
    let mut random = Random::new(17);
    let parents: Vec<Vec<f64>> = (0..30).map(|_| random.of_norm(5, 1.0)).collect();
    let mut rows = Vec::new();
    for child in 0..POINTS as usize {
        let spread = random.of_norm(5, 0.02);
        let near: Vec<f64> = parents[child % 30].iter().zip(spread).map(|(p, s)| p + s).collect();
        let length = near.iter().map(|x| x * x).sum::<f64>().sqrt();
        let norm = 1.0 - 10_f64.powf(-3.0 - 3.0 * random.unit());
        rows.extend(near.into_iter().map(|x| x * norm / length));
    }
    let vectors = Some(f64s(&rows));
    let ids = numbers(0..POINTS);
    client.upsert(UpsertRequest { collection: "rim".into(), ids, vectors, ..Default::default() }).await;
    client.vacuum("rim").await;
    let stats = client.stats_of("rim").await;
    assert_eq!((stats.pending, stats.segments), (0, 1), "all of it is in the graph");

    let mut missed = BTreeMap::new();
    let mut distances = 0;
    for (number, rows) in rows.chunks(1_000 * 5).enumerate() {
        let request =
            SearchBatchRequest { collection: "rim".into(), vectors: Some(f64s(rows)), top_k: 1, ..Default::default() };
        let results = client.points().search_batch(request).await.unwrap().into_inner().results;
        for (id, result) in (number as u64 * 1_000..).zip(results) {
            distances += result.distances;
            if found(&result) != [id] {
                missed.insert(id, result.hits);
            }
        }
    }
    assert!(distances / POINTS < POINTS / 2, "the graph was walked: {} distances a search", distances / POINTS);
    assert!(missed.len() as u64 * 1_000 <= POINTS, "{} of {POINTS} are missed: {missed:?}", missed.len());
    server.stop().await;
}
