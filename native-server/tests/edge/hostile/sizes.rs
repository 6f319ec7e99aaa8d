//! Requests that want more memory or more places than there are for one.

use bytes::Bytes;
use hyperspace_core::error::ErrorKind::{LimitExceeded, Unavailable};
use hyperspace_server::proto::{GetRequest, ListCollectionsRequest, Metric, SearchBatchRequest, UpsertRequest};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;

use super::assert_alive;
use crate::support::client::{Client, batch, f32s, number};
use crate::support::frames::{announced, call, framed, request, send, unfinished};
use crate::support::http1::{exchange, request as http_request};
use crate::support::program::Program;
use crate::support::refusal::refused;
use crate::support::server::{Running, configure};
use crate::support::until;

const UPSERT: &str = "/hyperspace.v1.Points/Upsert";
const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn messages_too_long_are_refused_before_they_take_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let before = server.peak_memory();

    let long = vec![0x55; (64 << 20) + 1];
    let body = framed(&long);
    for _ in 0..3 {
        refused("all of it", call(&client.channel, UPSERT, &[], body.clone()).await, LimitExceeded, "67108865");
    }
    // Announced and within the limit, but never sent.
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let (channel, body) = (client.channel.clone(), unfinished(announced(64 << 20, &[0; 100])));
        waiting.push(tokio::spawn(async move { send(&channel, request(UPSERT, &[], body)).await.map(|_| ()) }));
    }
    assert_alive(&client).await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    if let (Some(before), Some(after)) = (before, server.peak_memory()) {
        assert!(after < before + 16 * MIB, "memory grew from {before} to {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_may_send_less_than_programs() {
    let server = Running::new().await;
    let (address, own) = (server.address, server.address.to_string());
    let headers = [("host", own.as_str()), ("content-type", "application/grpc-web+proto")];
    for length in [(4 << 20) + 1, 64 << 20] {
        let body = announced(length, &vec![0; length.min(5 << 20)]);
        let answer = exchange(address, &http_request("POST", UPSERT, &headers, &body)).await;
        assert_eq!(answer.header("grpc-status"), "8", "{answer:?}");
        assert_eq!(answer.header("hyperspace-error"), "limit_exceeded");
        assert!(answer.header("grpc-message").contains("4194304"), "{answer:?}");
    }
    let client = server.client().await;
    let origin = format!("http://{own}");
    let outcome = call(&client.channel, UPSERT, &[("origin", origin.as_bytes())], announced((4 << 20) + 1, b"")).await;
    refused("natively from a page", outcome, LimitExceeded, "4194304");
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_would_be_too_long_is_an_error_and_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let metadata = vec![json!({ "text": "x".repeat(60_000) }).to_string()];
    client.upsert(UpsertRequest { metadata, ..batch("c", vec![number(1)], &[0.5; 2]) }).await;
    let before = server.peak_memory();
    for _ in 0..3 {
        let get = GetRequest { collection: "c".into(), ids: vec![number(1); 10_000], ..Default::default() };
        refused("get", client.points().get(get).await, LimitExceeded, "67108864");
    }
    if let (Some(before), Some(after)) = (before, server.peak_memory()) {
        // Ten thousand times 60 000 bytes would be 600 MB.
        assert!(after < before + 2 * 64 * MIB, "memory grew from {before} to {after}");
    }
    // A thousand answers with one point each fit, with two each they do not.
    let vectors = Some(f32s(&[0.5; 2_000]));
    let many = SearchBatchRequest { collection: "c".into(), vectors, top_k: 1_000, ..Default::default() };
    let results = client.points().search_batch(many.clone()).await.unwrap().into_inner().results;
    assert_eq!(results.iter().map(|result| result.hits.len()).sum::<usize>(), 1_000);
    let metadata = vec![json!({ "text": "y".repeat(60_000) }).to_string()];
    client.upsert(UpsertRequest { metadata, ..batch("c", vec![number(2)], &[0.5; 2]) }).await;
    refused("search", client.points().search_batch(many).await, LimitExceeded, "67108864");
    assert_alive(&client).await;
}

/// Calls an rpc that answers at once.
async fn list(client: &Client) -> Result<(), Status> {
    let request = ListCollectionsRequest {};
    client.collections().list(request).await.map(|_| ())
}

/// Requests that a server has under way at most, and of one tenant.
const PLACES: usize = 512;
const SHARE: usize = PLACES / 2;

/// Takes all of so many places for requests, with messages that do not come to their end; each request has a user.
async fn crowd(server: &Running, places: usize, user: impl Fn(usize) -> String) -> Vec<JoinHandle<Result<(), Status>>> {
    let mut waiting = Vec::new();
    // A connection may have 32.
    for _ in 0..places / 32 + 2 {
        let client = server.client().await;
        for _ in 0..32 {
            let (channel, body) = (client.channel.clone(), unfinished(announced(10, &[10])));
            let user = user(waiting.len());
            let asked = async move {
                send(&channel, request(UPSERT, &[("x-hyperspace-user-id", user.as_bytes())], body)).await.map(|_| ())
            };
            waiting.push(tokio::spawn(asked));
        }
    }
    // Nothing else may ask meanwhile: it would have the last place for a moment, and one of these would be refused for it.
    let refused = waiting.len() - places;
    let ended = || waiting.iter().filter(|task| task.is_finished()).count();
    until("all places are taken", async || ended() >= refused).await;
    assert_eq!(ended(), refused, "who has a place keeps it");
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenant_cannot_take_the_room_of_all() {
    let server = Running::new().await;
    let waiting = crowd(&server, SHARE, |_| "storm".into()).await;
    let client = server.client().await;
    refused("one more", list(&client.user("storm")).await, Unavailable, "requests of yours");
    list(&client.user("calm")).await.unwrap();
    assert_eq!(server.get("/healthz").await.code, 200);
    waiting.iter().for_each(JoinHandle::abort);
    until("there is room again", async || list(&client.user("storm")).await.is_ok()).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_under_way_are_bounded_and_room_returns() {
    let server = Running::new().await;
    let waiting = crowd(&server, PLACES, |number| format!("user-{number}")).await;
    let client = server.client().await;
    refused("one more", list(&client).await, Unavailable, "512 requests");
    assert_eq!(server.get("/healthz").await.code, 503);
    waiting.iter().for_each(JoinHandle::abort);
    until("there is room again", async || list(&client).await.is_ok()).await;
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_may_ask_a_full_server_and_read_that_it_is_full() {
    let app = "https://app.example";
    let server = Running::with(|settings| configure(settings, "allowed_origins = [\"https://app.example\"]")).await;
    let waiting = crowd(&server, PLACES, |number| format!("user-{number}")).await;
    let own = server.address.to_string();
    let asking = [("host", own.as_str()), ("origin", app)];
    let preflight = [&asking[..], &[("access-control-request-method", "POST")]].concat();
    let allowed = exchange(server.address, &http_request("OPTIONS", UPSERT, &preflight, b"")).await;
    assert_eq!((allowed.code, allowed.header("access-control-allow-origin")), (200, app));
    let web = [&asking[..], &[("content-type", "application/grpc-web+proto")]].concat();
    for (headers, code) in [(&asking[..], 503), (&web[..], 200)] {
        let full = exchange(server.address, &http_request("POST", UPSERT, headers, &framed(&[]))).await;
        assert_eq!((full.code, full.header("access-control-allow-origin")), (code, app), "{full:?}");
        if code == 200 {
            assert_eq!(full.header("hyperspace-error"), "unavailable");
            assert!(full.header("access-control-expose-headers").contains("hyperspace-error"), "{full:?}");
        }
    }
    waiting.iter().for_each(JoinHandle::abort);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_slowly_hold_up_nobody_else() {
    let server = Running::new().await;
    let client = server.client().await;
    let slow = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let whole = prost::Message::encode_to_vec(&batch("c", vec![number(5)], &[0.5; 2]));
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let body = ReceiverStream::new(receiver).map(Ok::<_, Status>);
    let body = Body::new(axum::body::Body::from_stream(body));
    let under_way =
        tokio::spawn(async move { send(&slow.channel, request(UPSERT, &[], body)).await.unwrap().outcome() });
    for byte in framed(&whole) {
        sender.send(Bytes::copy_from_slice(&[byte])).await.unwrap();
        assert_eq!(client.count("c", "").await, 0);
    }
    drop(sender);
    under_way.await.unwrap().unwrap();
    assert_eq!(client.count("c", "").await, 1, "a message that came byte by byte is a message");
    assert_alive(&client).await;
    server.stop().await;
}
