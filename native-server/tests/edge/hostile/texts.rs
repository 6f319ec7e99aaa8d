//! Ids, metadata and filters that are too long, too deep, or not what they should be.

use hyperspace_core::error::ErrorKind::{self, InvalidArgument, LimitExceeded, Unsupported};
use hyperspace_server::proto::{
    CountRequest, DeleteRequest, GetRequest, Metric, PointId, ScrollRequest, SearchRequest, SetMetadataRequest,
    UpsertRequest,
};
use serde_json::json;

use super::assert_alive;
use crate::support::client::{Client, batch, deletion, deletion_of, nearest, number, numbers, scrolling, text};
use crate::support::refusal::refused;
use crate::support::server::Running;

/// A server with three points in `c`.
async fn server() -> (Running, Client) {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..3), &[0.5; 6])).await;
    (server, client)
}

fn setting(ids: Vec<PointId>, metadata: Vec<String>) -> SetMetadataRequest {
    SetMetadataRequest { collection: "c".into(), ids, metadata, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_none_are_refused_wherever_one_is_taken() {
    let (server, client) = server().await;
    let bad = [
        (text(""), "0"),
        (text(&"x".repeat(129)), "129"),
        (text(&"\u{e4}".repeat(65)), "130"),
        (PointId { id: None }, "empty"),
    ];
    for (id, named) in bad {
        let what = format!("{id:?}");
        let upsert = batch("c", vec![number(9), id.clone()], &[0.5; 4]);
        refused(&what, client.points().upsert(upsert).await, InvalidArgument, named);
        refused(
            &what,
            client.points().delete(deletion("c", vec![number(0), id.clone()])).await,
            InvalidArgument,
            named,
        );
        let get = GetRequest { collection: "c".into(), ids: vec![id.clone()], ..Default::default() };
        refused(&what, client.points().get(get).await, InvalidArgument, named);
        let set = setting(vec![id], vec!["{}".into()]);
        refused(&what, client.points().set_metadata(set).await, InvalidArgument, named);
    }
    assert_eq!(client.count("c", "").await, 3);
    client.upsert(batch("c", vec![text(&"x".repeat(128)), number(u64::MAX)], &[0.5; 4])).await;
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_long_or_do_not_fit_together_are_refused_whole() {
    let (server, client) = server().await;
    let many = numbers(0..10_001);
    let upsert = batch("c", many.clone(), &vec![0.5; 20_002]);
    refused("upsert", client.points().upsert(upsert).await, LimitExceeded, "10000");
    let without_ids = batch("c", vec![], &vec![0.5; 20_002]);
    refused("upsert", client.points().upsert(without_ids).await, LimitExceeded, "10000");
    refused("delete", client.points().delete(deletion("c", many.clone())).await, LimitExceeded, "10000");
    let get = GetRequest { collection: "c".into(), ids: many.clone(), ..Default::default() };
    refused("get", client.points().get(get).await, LimitExceeded, "10000");
    let set = setting(many, vec!["{}".into(); 10_001]);
    refused("set", client.points().set_metadata(set).await, LimitExceeded, "10000");

    for rows in [&[0.5; 2][..], &[0.5; 6], &[0.5; 5]] {
        let upsert = batch("c", numbers(0..2), rows);
        refused("rows", client.points().upsert(upsert).await, InvalidArgument, "2 rows");
    }
    for texts in [1, 3] {
        let metadata = vec![r#"{"a": 1}"#.to_string(); texts];
        let upsert = UpsertRequest { metadata: metadata.clone(), ..batch("c", numbers(0..2), &[0.5; 4]) };
        refused("metadata", client.points().upsert(upsert).await, InvalidArgument, &format!("{texts} metadata"));
        let set = setting(numbers(0..2), metadata);
        refused("metadata", client.points().set_metadata(set).await, InvalidArgument, &format!("{texts} metadata"));
    }
    let twice = setting(vec![number(1), number(1)], vec![r#"{"a": 1}"#.into(), r#"{"a": 2}"#.into()]);
    refused("twice", client.points().set_metadata(twice).await, InvalidArgument, "1");
    let neither = DeleteRequest { collection: "c".into(), ..Default::default() };
    refused("neither", client.points().delete(neither).await, InvalidArgument, "{}");
    refused("empty filter", client.points().delete(deletion_of("c", "")).await, InvalidArgument, "{}");
    assert_eq!((client.count("c", "").await, client.count("c", r#"{"a": {"$exists": true}}"#).await), (3, 0));
    assert_eq!(client.points().delete(deletion_of("c", "{}")).await.unwrap().into_inner().deleted, 3);
    assert_alive(&client).await;
    server.stop().await;
}

/// A list in a list, and so on: `levels` of them below an object.
fn deep(levels: usize) -> String {
    format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels))
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_no_small_object_is_refused() {
    let (server, client) = server().await;
    let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - r#"{"a":""}"#.len()));
    let bad: Vec<(String, ErrorKind)> = vec![
        (long(64 * 1024 + 1), LimitExceeded),
        (long(1 << 20), LimitExceeded),
        (deep(32), LimitExceeded),
        (deep(100), LimitExceeded),
        (deep(200), InvalidArgument),
        (deep(30_000), InvalidArgument),
        ("[]".into(), InvalidArgument),
        ("1".into(), InvalidArgument),
        ("null".into(), InvalidArgument),
        (r#""text""#.into(), InvalidArgument),
        (" ".into(), InvalidArgument),
        ("{".into(), InvalidArgument),
        (r#"{"a": 1,}"#.into(), InvalidArgument),
        (r#"{"a": 1} {}"#.into(), InvalidArgument),
        (r#"{"a": NaN}"#.into(), InvalidArgument),
        (r#"{"a": Infinity}"#.into(), InvalidArgument),
        (r#"{"a": 1e999}"#.into(), InvalidArgument),
        (r#"{"a": "\ud800"}"#.into(), InvalidArgument),
        (r"{'a': 1}".into(), InvalidArgument),
    ];
    for (metadata, kind) in bad {
        let what = &metadata[..metadata.len().min(60)];
        let upsert =
            UpsertRequest { metadata: vec!["{}".into(), metadata.clone()], ..batch("c", numbers(8..10), &[0.5; 4]) };
        refused(what, client.points().upsert(upsert).await, kind, "point 1");
        let set = setting(numbers(0..2), vec!["{}".into(), metadata.clone()]);
        refused(what, client.points().set_metadata(set).await, kind, "point 1");
    }
    assert_eq!(client.count("c", "").await, 3);
    for metadata in [deep(31), long(60_000)] {
        client.upsert(UpsertRequest { metadata: vec![metadata], ..batch("c", vec![number(1)], &[0.5; 2]) }).await;
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_is_none_or_too_large_is_an_error_and_never_ignored() {
    let (server, client) = server().await;
    let nested = |levels: usize| format!(r#"{}{{"a":1}}{}"#, r#"{"$not":"#.repeat(levels - 1), "}".repeat(levels - 1));
    let nodes = |nodes: usize| json!({ "$or": vec![json!({ "a": 1 }); nodes - 1] }).to_string();
    let within = |values: usize| json!({ "a": { "$in": (0..values).collect::<Vec<_>>() } }).to_string();
    let bad: Vec<(String, ErrorKind, &str)> = vec![
        (nested(17), LimitExceeded, "16"),
        (nested(60), LimitExceeded, "16"),
        (nested(10_000), InvalidArgument, ""),
        (nodes(257), LimitExceeded, "256"),
        (within(1_001), LimitExceeded, "1000"),
        (format!(r#"{{"a": "{}"}}"#, "x".repeat(1 << 20)), LimitExceeded, "1048576"),
        (r#"{"a": {"$near": 1}}"#.into(), InvalidArgument, "$near"),
        (r#"{"$where": "1"}"#.into(), InvalidArgument, "$where"),
        (r#"{"a": {"$gt": 1, "b": 2}}"#.into(), InvalidArgument, ""),
        (r#"{"a": {"$gt": null}}"#.into(), InvalidArgument, "$gt"),
        (r#"{"a": {"$in": 1}}"#.into(), InvalidArgument, "$in"),
        (r#"{"$and": []}"#.into(), InvalidArgument, "$and"),
        (r#"{"$or": {}}"#.into(), InvalidArgument, "$or"),
        (r#"{"a": {"$exists": 1}}"#.into(), InvalidArgument, "$exists"),
        ("[]".into(), InvalidArgument, ""),
        ("null".into(), InvalidArgument, ""),
        ("{".into(), InvalidArgument, "filter"),
        ("a = 1".into(), InvalidArgument, "filter"),
        (r#"{"a": NaN}"#.into(), InvalidArgument, "filter"),
    ];
    for (filter, kind, named) in bad {
        let what = &filter[..filter.len().min(60)];
        let search = SearchRequest { filter: filter.clone(), ..nearest("c", &[0.0; 2], 1) };
        refused(what, client.points().search(search).await, kind, named);
        let count = CountRequest { collection: "c".into(), filter: filter.clone() };
        refused(what, client.points().count(count).await, kind, named);
        let scroll = ScrollRequest { filter: filter.clone(), ..scrolling("c") };
        refused(what, client.points().scroll(scroll).await, kind, named);
        refused(what, client.points().delete(deletion_of("c", &filter)).await, kind, named);
    }
    assert_eq!(client.count("c", "").await, 3, "no bad filter deleted anything");
    for filter in [nested(16), nodes(256), within(1_000), "{}".into()] {
        client.count("c", &filter).await;
    }
    let by_text = SearchRequest { text: "words".into(), ..nearest("c", &[0.0; 2], 1) };
    refused("text", client.points().search(by_text).await, Unsupported, "not built yet");
    assert_alive(&client).await;
    server.stop().await;
}
