//! gRPC-web as a browser speaks it: a POST over HTTP/1.1, the status behind the messages in the body.

use std::net::SocketAddr;

use http::HeaderMap;
use hyperspace_server::proto::{ListCollectionsRequest, Metric, MonitorRequest, SearchResponse, Stats, UpsertResponse};
use prost::Message;

use crate::support::client::{batch, found, nearest, numbers};
use crate::support::frames::{framed, web_frames};
use crate::support::http1::{Answer, exchange, request};
use crate::support::server::{Running, configure};

const WEB: &str = "application/grpc-web+proto";

async fn post(address: SocketAddr, rpc: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let own = address.to_string();
    let headers = [&[("host", own.as_str()), ("x-grpc-web", "1")], headers].concat();
    exchange(address, &request("POST", &format!("/hyperspace.v1.{rpc}"), &headers, body)).await
}

/// Calls an rpc; answers its messages and its trailers.
async fn call(address: SocketAddr, rpc: &str, message: &impl Message) -> (Vec<Vec<u8>>, HeaderMap) {
    let answer = post(address, rpc, &[("content-type", WEB)], &framed(&message.encode_to_vec())).await;
    assert_eq!((answer.code, answer.header("content-type")), (200, WEB), "{answer:?}");
    let (messages, trailers) = web_frames(&answer.body);
    (messages, trailers.unwrap_or_else(|| panic!("no trailers in the body: {:?}", answer.headers)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_writes_and_finds_and_reads_the_status_behind_the_messages() {
    let server = Running::new().await;
    let native = server.client().await;
    native.create("c", 2, Metric::L2).await;
    let rows = [0.0, 0.0, 1.0, 0.0, 2.0, 0.0];
    let (messages, trailers) = call(server.address, "Points/Upsert", &batch("c", numbers(0..3), &rows)).await;
    assert_eq!((messages.len(), &trailers["grpc-status"]), (1, &"0".parse().unwrap()));
    assert_eq!(UpsertResponse::decode(&messages[0][..]).unwrap().ids, numbers(0..3));

    let search = nearest("c", &[2.0, 0.0], 2);
    let (messages, trailers) = call(server.address, "Points/Search", &search).await;
    assert_eq!(trailers["grpc-status"], "0");
    let answer = SearchResponse::decode(&messages[0][..]).unwrap();
    assert_eq!(found(&answer), [2, 1]);
    assert_eq!(answer, native.search(search).await, "as natively");

    let (messages, trailers) =
        call(server.address, "Admin/Monitor", &MonitorRequest { interval_ms: 100, count: 3 }).await;
    assert_eq!((messages.len(), &trailers["grpc-status"]), (3, &"0".parse().unwrap()));
    assert_eq!(Stats::decode(&messages[2][..]).unwrap().searches, 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_they_say_natively() {
    let server = Running::new().await;
    let c = |name: &str| nearest(name, &[0.0], 1).encode_to_vec();
    let good = framed(&c("none"));
    let web = ("content-type", WEB);
    let cases: [(&str, Vec<(&str, &str)>, &[u8], &str, &str); 8] = [
        ("Points/Search", vec![web], &good, "5", "not_found"),
        ("Points/Search", vec![web], &good[..9], "3", "invalid_argument"),
        ("Points/Search", vec![web], b"", "3", "invalid_argument"),
        ("Points/Nothing", vec![web], &good, "12", "unsupported"),
        ("Admin/Rebuild", vec![web], &good, "12", "unsupported"),
        ("Points/Search", vec![web, ("authorization", "Bearer x")], &good, "16", "unauthenticated"),
        ("Points/Search", vec![web, ("x-hyperspace-user-id", "../x")], &good, "3", "invalid_argument"),
        ("Points/Search", vec![web, ("origin", "http://evil.example")], &good, "7", "permission_denied"),
    ];
    for (rpc, headers, body, status, kind) in cases {
        let answer = post(server.address, rpc, &headers, body).await;
        // With no message before it, the status may stand in the headers.
        let (_, trailers) = web_frames(&answer.body);
        let told = trailers.unwrap_or_else(|| answer.headers.clone());
        let said = |name: &str| told.get(name).map_or("", |value| value.to_str().unwrap());
        assert_eq!((said("grpc-status"), said("hyperspace-error")), (status, kind), "{rpc} {headers:?}: {answer:?}");
        assert_eq!((said("hyperspace-retryable"), answer.code), ("false", 200));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_come_as_base64_and_other_methods_do_not_exist() {
    let server = Running::new().await;
    // A message of no bytes: the five bytes of its prefix.
    let text = "application/grpc-web-text+proto";
    let headers = [("content-type", text), ("accept", text)];
    let answer = post(server.address, "Collections/List", &headers, b"AAAAAAA=").await;
    assert_eq!((answer.code, answer.header("content-type")), (200, text));
    assert!(answer.text().starts_with("AAAAAAA"), "{answer:?}");
    let own = server.address.to_string();
    for method in ["GET", "PUT", "DELETE"] {
        let headers = [("host", own.as_str()), ("content-type", WEB)];
        let answer = exchange(server.address, &request(method, "/hyperspace.v1.Collections/List", &headers, b"")).await;
        assert_eq!(answer.code, 405, "{method}");
    }
    // Natively over HTTP/1.1, or without saying what it is: no call.
    let body = framed(&ListCollectionsRequest {}.encode_to_vec());
    for (spoken, code) in [("application/grpc", 400), ("text/plain", 405), ("application/x-www-form-urlencoded", 405)] {
        let answer = post(server.address, "Collections/List", &[("content-type", spoken)], &body).await;
        assert_eq!(answer.code, code, "{spoken}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_configured_origin_may_ask_and_read() {
    let app = "https://app.example";
    let server = Running::with(|settings| configure(settings, "allowed_origins = [\"https://app.example\"]")).await;
    let own = server.address.to_string();
    let preflight = |wanted: &'static str| {
        let headers = [
            ("host", own.as_str()),
            ("origin", app),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", wanted),
        ];
        request("OPTIONS", "/hyperspace.v1.Points/Search", &headers, b"")
    };
    let wanted = "content-type,x-grpc-web,x-user-agent,grpc-timeout,authorization,x-api-key,x-hyperspace-user-id";
    let allowed = exchange(server.address, &preflight(wanted)).await;
    assert_eq!((allowed.code, allowed.header("access-control-allow-origin")), (200, app), "{allowed:?}");
    let may_send = allowed.header("access-control-allow-headers").to_lowercase();
    assert!(wanted.split(',').all(|name| may_send.split(',').any(|may| may.trim() == name)), "{may_send}");
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert!(!allowed.headers.contains_key("access-control-allow-credentials"));

    let body = framed(&ListCollectionsRequest {}.encode_to_vec());
    let answer = post(server.address, "Collections/List", &[("content-type", WEB), ("origin", app)], &body).await;
    let (messages, trailers) = web_frames(&answer.body);
    assert_eq!((messages.len(), &trailers.unwrap()["grpc-status"]), (1, &"0".parse().unwrap()));
    assert_eq!(answer.header("access-control-allow-origin"), app);
    let may_read = answer.header("access-control-expose-headers").to_lowercase();
    for name in ["grpc-status", "grpc-message", "etag", "content-range", "hyperspace-error", "hyperspace-retryable"] {
        assert!(may_read.split(',').any(|may| may.trim() == name), "{name} is not in {may_read}");
    }
    server.stop().await;
}
