//! Bytes that are no message, on every rpc there is.

use bytes::Bytes;
use hyperspace_core::error::ErrorKind::{Conflict, InvalidArgument, LimitExceeded, NotFound, Unsupported};
use hyperspace_server::proto::Metric;
use tonic::Code;

use super::assert_alive;
use crate::support::client::Client;
use crate::support::contract::cases;
use crate::support::frames::{announced, call, framed, request, send, unfinished};
use crate::support::random::Random;
use crate::support::refusal::{kind_of, refused};
use crate::support::server::Running;

async fn server() -> (Running, Client) {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_answers_its_case_unless_it_is_not_built() {
    let (server, client) = server().await;
    for (path, message) in cases() {
        let outcome = call(&client.channel, &path, &[], framed(&message)).await;
        if path.ends_with("Rebuild") || path.ends_with("Usage") {
            refused(&path, outcome, Unsupported, "not built yet");
        } else if path.ends_with("Replicate") {
            refused(&path, outcome, Conflict, "group");
        } else if path.ends_with("Acknowledge") {
            refused(&path, outcome, NotFound, "no follower");
        } else if path.contains("Sync/") && !path.ends_with("Hello") {
            refused(&path, outcome, NotFound, "no space");
        } else {
            outcome.unwrap_or_else(|status| panic!("{path}: {status:?}"));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_are_a_bad_message_on_every_rpc() {
    let (server, client) = server().await;
    let mut random = Random::new(31);
    for (path, _) in cases() {
        for length in [1, 2, 5, 40, 1_000, 70_000] {
            // No field has the wire type that such a byte begins with.
            let mut bytes = random.bytes(length);
            bytes[0] |= 7;
            let outcome = call(&client.channel, &path, &[], framed(&bytes)).await;
            refused(&format!("{path} {length}"), outcome, InvalidArgument, &path);
        }
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_cut_off_or_goes_on_is_a_bad_message_on_every_rpc() {
    let (server, client) = server().await;
    for (path, message) in cases() {
        let whole = framed(&message);
        for end in [0, 1, 4, whole.len() - 1] {
            if end < whole.len() && end != 5 {
                let outcome = call(&client.channel, &path, &[], whole.slice(..end)).await;
                refused(&format!("{path} cut at {end}"), outcome, InvalidArgument, "");
            }
        }
        let longer = announced(message.len() + 100, &message);
        refused(&path, call(&client.channel, &path, &[], longer).await, InvalidArgument, "");
        let twice = [whole.clone(), whole.clone()].concat();
        refused(&path, call(&client.channel, &path, &[], twice.into()).await, InvalidArgument, "more follows");
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_too_long_is_refused_by_what_it_announces_on_every_rpc() {
    let (server, client) = server().await;
    for (path, _) in cases() {
        for length in [(64 << 20) + 1, 1 << 31, u32::MAX as usize] {
            let outcome = call(&client.channel, &path, &[], announced(length, b"x")).await;
            refused(&path, outcome, LimitExceeded, &format!("{length} bytes, the limit is 67108864"));
        }
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_not_spoken() {
    let (server, client) = server().await;
    for (path, message) in cases() {
        let mut frame = framed(&message).to_vec();
        for flag in [1, 2, 255] {
            frame[0] = flag;
            let outcome = call(&client.channel, &path, &[], Bytes::from(frame.clone())).await;
            refused(&format!("{path}, flag {flag}"), outcome, InvalidArgument, "");
        }
        for encoding in ["gzip", "zstd", "nonsense"] {
            let outcome =
                call(&client.channel, &path, &[("grpc-encoding", encoding.as_bytes())], frame.clone().into()).await;
            refused(&format!("{path}, {encoding}"), outcome, Unsupported, encoding);
        }
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_rpc_is_named_as_none() {
    let (server, client) = server().await;
    let paths = [
        "/",
        "/hyperspace.v1.Points",
        "/hyperspace.v1.Points/",
        "/hyperspace.v1.Points/Searching",
        "/hyperspace.v1.Points/search",
        "/hyperspace.v1.Points/Search/",
        "/hyperspace.v1.Points//Search",
        "/hyperspace.v1.Points/Search%2f..",
        "/hyperspace.v1.Admin%2f..%2fPoints/Search",
        "/hyperspace.v2.Points/Search",
        "/healthz",
        "/v1/segments/a/b",
        "/../../etc/passwd",
    ];
    for path in paths {
        let outcome = call(&client.channel, path, &[], framed(&[])).await;
        refused(path, outcome, Unsupported, "no such rpc");
    }
    assert_alive(&client).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_ends_and_odd_times_are_none() {
    let (server, client) = server().await;
    let headers = [("grpc-timeout", &b"20m"[..])];
    let never = unfinished(announced(10, &[10]));
    let reply = send(&client.channel, request("/hyperspace.v1.Points/Upsert", &headers, never)).await;
    let over = reply.and_then(|reply| reply.outcome()).unwrap_err();
    assert!(matches!(over.code(), Code::Cancelled | Code::DeadlineExceeded), "{over:?}");
    let (path, message) = ("/hyperspace.v1.Collections/List", framed(&[]));
    for odd in ["", "1", "x", "-1S", "99999999H", "999999999999S"] {
        let outcome = call(&client.channel, path, &[("grpc-timeout", odd.as_bytes())], message.clone()).await;
        if let Err(status) = outcome {
            assert_eq!(kind_of(&status), InvalidArgument, "{odd}");
        }
    }
    assert_alive(&client).await;
    server.stop().await;
}
