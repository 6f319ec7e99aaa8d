//! Numbers out of range, and vectors that are none.

use hyperspace_core::error::ErrorKind::{self, InvalidArgument, LimitExceeded, Unsupported};
use hyperspace_server::proto::vectors::Rows;
use hyperspace_server::proto::{
    CollectionConfig, ConfigureRequest, CreateCollectionRequest, Metric, ScrollRequest, SearchBatchRequest,
    SearchRequest, UpsertRequest, Vectors,
};

use super::assert_alive;
use crate::support::client::{batch, config, f32s, f64s, nearest, number, numbers, raw_f32s, scrolling};
use crate::support::refusal::refused;
use crate::support::server::Running;

const HUGE: [u64; 4] = [1 << 31, (1 << 32) + 3, 1 << 63, u64::MAX];

/// Vectors that no collection of the metric with two dimensions takes, and what the error says.
fn bad_vectors(metric: Metric) -> Vec<(Option<Vectors>, &'static str)> {
    let mut bad = vec![
        (None, "missing"),
        (Some(Vectors { rows: None }), "missing"),
        (Some(f32s(&[])), ""),
        (Some(f32s(&[0.1])), "2"),
        (Some(f32s(&[0.1; 3])), "2"),
        (Some(f64s(&[0.1])), "2"),
        (Some(raw_f32s(&[0; 7])), "7 bytes"),
        (Some(raw_f32s(&[0; 9])), "9 bytes"),
        (Some(Vectors { rows: Some(Rows::F64(vec![0; 20].into())) }), "20 bytes"),
        (Some(f32s(&[f32::NAN, 0.0])), "NaN"),
        (Some(f32s(&[0.0, f32::INFINITY])), "inf"),
        (Some(f32s(&[f32::NEG_INFINITY, 0.0])), "inf"),
        (Some(f64s(&[f64::NAN, 0.0])), "NaN"),
        (Some(f64s(&[1e39, 0.0])), "too large"),
    ];
    match metric {
        Metric::Cosine => {
            bad.extend([(Some(f32s(&[0.0, -0.0])), "no direction"), (Some(f64s(&[1e-200, 0.0])), "no direction")]);
        }
        Metric::Poincare => bad.extend([
            (Some(f32s(&[1.0, 0.0])), "less than 1"),
            (Some(f32s(&[0.8, 0.7])), "less than 1"),
            (Some(f64s(&[-1.0, 0.0])), "less than 1"),
            (Some(f64s(&[3e38, 3e38])), "less than 1"),
        ]),
        _ => {}
    }
    bad
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_fits_no_collection_is_neither_written_nor_searched_for() {
    let server = Running::new().await;
    let client = server.client().await;
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let name = metric.as_str_name().to_lowercase();
        client.create(&name, 2, metric).await;
        client.upsert(batch(&name, vec![number(1)], &[0.5, 0.5])).await;
        for (vectors, named) in bad_vectors(metric) {
            let what = format!("{metric:?} {vectors:?}");
            let search = SearchRequest { vector: vectors.clone(), ..nearest(&name, &[], 1) };
            refused(&what, client.points().search(search.clone()).await, InvalidArgument, named);
            let exact = SearchRequest { exact: true, ..search };
            refused(&what, client.points().search(exact).await, InvalidArgument, named);
            let upsert = UpsertRequest {
                collection: name.clone(),
                ids: vec![number(2)],
                vectors: vectors.clone(),
                ..Default::default()
            };
            refused(&what, client.points().upsert(upsert).await, InvalidArgument, named);
            // Of a batch no rows at all are an answer without results.
            if vectors != Some(f32s(&[])) {
                let search = SearchBatchRequest { collection: name.clone(), vectors, top_k: 1, ..Default::default() };
                refused(&what, client.points().search_batch(search).await, InvalidArgument, named);
            }
        }
        let long = SearchRequest { vector: Some(f32s(&[1e30, 0.0])), ..nearest(&name, &[], 1) };
        if matches!(metric, Metric::L2 | Metric::Cosine | Metric::Dot) {
            refused("too long", client.points().search(long).await, LimitExceeded, "1e18");
        }
        assert_eq!(client.count(&name, "").await, 1, "{metric:?}");
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_out_of_range_are_refused_before_anything_is_made_for_them() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..3), &[0.5; 6])).await;
    let mut top_k: Vec<(u64, ErrorKind)> = vec![(0, InvalidArgument), (1_001, LimitExceeded)];
    top_k.extend(HUGE.map(|n| (n, LimitExceeded)));
    for (top_k, kind) in top_k {
        let what = format!("top_k {top_k}");
        for exact in [false, true] {
            let request = SearchRequest { exact, ..nearest("c", &[0.0; 2], top_k) };
            refused(&what, client.points().search(request).await, kind, "top_k");
        }
        let vectors = Some(f32s(&[0.0; 4]));
        let request = SearchBatchRequest { collection: "c".into(), vectors, top_k, ..Default::default() };
        refused(&what, client.points().search_batch(request).await, kind, "top_k");
    }
    let mut ef: Vec<(u64, ErrorKind)> = vec![(0, InvalidArgument), (4_097, LimitExceeded)];
    ef.extend(HUGE.map(|n| (n, LimitExceeded)));
    for (ef, kind) in ef {
        let request = SearchRequest { ef_search: Some(ef), ..nearest("c", &[0.0; 2], 1) };
        refused(&format!("ef {ef}"), client.points().search(request).await, kind, "ef_search");
    }
    for limit in [10_001].into_iter().chain(HUGE) {
        let request = ScrollRequest { limit, ..scrolling("c") };
        refused("limit", client.points().scroll(request).await, LimitExceeded, &limit.to_string());
    }
    for cursor in [vec![0; 1], vec![0; 15], vec![255; 17], vec![0; 1_000]] {
        let bytes = format!("{} bytes", cursor.len());
        let request = ScrollRequest { cursor, ..scrolling("c") };
        refused("cursor", client.points().scroll(request).await, InvalidArgument, &bytes);
    }
    // A cursor of the right length that no page gave is a place in the order like any other.
    let request = ScrollRequest { cursor: vec![255; 16], ..scrolling("c") };
    assert_eq!(client.points().scroll(request).await.unwrap().into_inner().points, []);
    let many = SearchBatchRequest {
        collection: "c".into(),
        vectors: Some(f32s(&vec![0.5; 2 * 1_001])),
        top_k: 1,
        ..Default::default()
    };
    refused("1 001 searches", client.points().search_batch(many).await, LimitExceeded, "1000");
    for durability in [3, -1, i32::MAX] {
        let request = UpsertRequest { durability, ..batch("c", vec![number(1)], &[0.5; 2]) };
        refused("durability", client.points().upsert(request).await, InvalidArgument, &durability.to_string());
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_out_of_range_is_not_made() {
    let server = Running::new().await;
    let client = server.client().await;
    let good = config("c", 2, Metric::L2);
    let mut bad: Vec<(CollectionConfig, ErrorKind, &str)> = Vec::new();
    for dimension in [0, 4_097].into_iter().chain(HUGE) {
        bad.push((CollectionConfig { dimension, ..good.clone() }, InvalidArgument, "dimension"));
    }
    for number in [0, 65, (1 << 32) + 16].into_iter().chain(HUGE) {
        bad.push((CollectionConfig { m: Some(number), ..good.clone() }, InvalidArgument, "m "));
    }
    bad.push((CollectionConfig { m: Some(1), ..good.clone() }, InvalidArgument, "m is 2"));
    for number in [0, 4_097, (1 << 32) + 1].into_iter().chain(HUGE) {
        bad.push((CollectionConfig { ef_search: Some(number), ..good.clone() }, InvalidArgument, "ef_search"));
        let config = CollectionConfig { ef_construction: Some(number), ..good.clone() };
        bad.push((config, InvalidArgument, "ef_construction"));
    }
    for metric in [5, -1, i32::MIN] {
        bad.push((CollectionConfig { metric, ..good.clone() }, InvalidArgument, "metric"));
    }
    bad.push((CollectionConfig { metric: 0, ..good.clone() }, InvalidArgument, "missing"));
    bad.push((CollectionConfig { quantization: 2, ..good.clone() }, InvalidArgument, "quantization"));
    bad.push((CollectionConfig { text_fields: vec!["title".into()], ..good.clone() }, Unsupported, "not built yet"));
    for (config, kind, named) in bad {
        let what = format!("{config:?}");
        let request = CreateCollectionRequest { config: Some(config) };
        refused(&what, client.collections().create(request).await, kind, named);
    }
    let nothing = client.collections().create(CreateCollectionRequest { config: None }).await;
    refused("nothing", nothing, InvalidArgument, "missing");
    assert_eq!(client.stats().await.collections, []);

    client.create("c", 2, Metric::L2).await;
    for number in [4_097, (1 << 32) + 1].into_iter().chain(HUGE) {
        let request = ConfigureRequest { collection: "c".into(), ef_search: Some(number), ef_construction: None };
        refused("ef_search", client.admin().configure(request).await, InvalidArgument, "ef_search");
        let request = ConfigureRequest { collection: "c".into(), ef_search: None, ef_construction: Some(number) };
        refused("ef_construction", client.admin().configure(request).await, InvalidArgument, "ef_construction");
    }
    assert_eq!(client.describe("c").await.config, Some(good));
    assert_alive(&client).await;
    server.stop().await;
}
