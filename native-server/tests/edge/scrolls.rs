//! Pages of all points, also while they change.

use std::collections::BTreeMap;

use hyperspace_server::proto::{Metric, ScrollRequest, UpsertRequest};
use serde_json::json;
use tokio::sync::watch;

use crate::support::client::{as_number, batch, components, number, numbers, scrolling};
use crate::support::random::Random;
use crate::support::server::Running;

#[tokio::test(flavor = "multi_thread")]
async fn each_point_that_stays_is_seen_exactly_once_while_others_come_and_go() {
    const STABLE: u64 = 3_000;
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 4, Metric::L2).await;
    let rows = Random::new(6).rows(STABLE as usize, 4);
    client.upsert(batch("c", numbers(0..STABLE), &rows)).await;

    let (told, rounds) = watch::channel(0_u64);
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            let mut random = Random::new(7);
            let mut rounds = 0_u64;
            while told.send(rounds).is_ok() {
                let first = STABLE + rounds * 100;
                client.upsert(batch("c", numbers(first..first + 100), &random.rows(100, 4))).await;
                client.delete("c", numbers(first.saturating_sub(50).max(STABLE)..first + 20)).await;
                if rounds % 10 == 9 {
                    client.vacuum("c").await;
                }
                rounds += 1;
            }
        }
    });
    let mut limits = [1_000, 37, 100].into_iter().cycle();
    while *rounds.borrow() < 25 {
        let limit = limits.next().unwrap();
        let mut seen = BTreeMap::new();
        for point in client.scroll("c", limit).await {
            let id = as_number(point.id.as_ref());
            assert_eq!(seen.insert(id, point.vector), None, "{id} came twice");
        }
        for (id, row) in (0..STABLE).zip(rows.chunks(4)) {
            let vector = seen.get(&id).unwrap_or_else(|| panic!("{id} did not come, {limit} a page"));
            assert_eq!(components(vector), row);
        }
    }
    drop(rounds);
    writer.await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_as_long_as_asked_for_and_hold_what_matches() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let metadata = (0..2_500).map(|id| json!({ "odd": id % 2 == 1 }).to_string()).collect();
    client.upsert(UpsertRequest { metadata, ..batch("c", numbers(0..2_500), &[0.5; 2_500]) }).await;
    client.vacuum("c").await;
    let page = async |request: ScrollRequest| client.points().scroll(request).await.unwrap().into_inner();

    assert_eq!(page(scrolling("c")).await.points.len(), 100, "a page that does not say");
    assert_eq!(page(ScrollRequest { limit: 10_000, ..scrolling("c") }).await.points.len(), 2_500);
    let exactly = page(ScrollRequest { limit: 2_500, ..scrolling("c") }).await;
    assert_eq!((exactly.points.len(), exactly.next_cursor.len()), (2_500, 0), "nothing follows, so there is no cursor");

    let odd = ScrollRequest { limit: 300, filter: r#"{"odd": true}"#.into(), ..scrolling("c") };
    let (mut request, mut ids, mut pages) = (odd.clone(), Vec::new(), 0);
    loop {
        let page = page(request.clone()).await;
        ids.extend(page.points.iter().map(|point| as_number(point.id.as_ref())));
        pages += 1;
        if page.next_cursor.is_empty() {
            break;
        }
        assert_eq!(page.points.len(), 300);
        request.cursor = page.next_cursor;
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..1_250).map(|n| 2 * n + 1).collect::<Vec<u64>>());
    assert_eq!(pages, 5);

    let none = page(ScrollRequest { filter: r#"{"odd": 1}"#.into(), ..scrolling("c") }).await;
    assert_eq!((none.points.len(), none.next_cursor.len()), (0, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_grows_large_ends_sooner_and_none_is_left_out() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let long = json!({ "text": "x".repeat(60_000) }).to_string();
    for id in 0..120 {
        client.upsert(UpsertRequest { metadata: vec![long.clone()], ..batch("c", vec![number(id)], &[1.0]) }).await;
    }
    let page = client.points().scroll(ScrollRequest { limit: 120, ..scrolling("c") }).await.unwrap().into_inner();
    assert!(page.points.len() < 120 && !page.next_cursor.is_empty());
    let bytes: usize = page.points.iter().map(|point| point.metadata.len()).sum();
    assert!(bytes < 4 << 20, "{bytes} bytes are more than a client accepts by default");
    let mut ids: Vec<u64> = client.scroll("c", 120).await.iter().map(|p| as_number(p.id.as_ref())).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..120).collect::<Vec<_>>());
    server.stop().await;
}
