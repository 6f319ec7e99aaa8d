//! How a server stops: what is under way is answered, and what was acknowledged is there when it starts again.

use std::collections::BTreeSet;

use bytes::Bytes;
use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::Metric;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::client::{as_number, batch, number, numbers};
use crate::support::frames::{framed, request, send};
use crate::support::http1::{answer, get};
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::refusal::kind_of;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_under_load_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Program::start(folder.path());
    server.client().await.create("c", 8, Metric::L2).await;
    let mut acknowledged = BTreeSet::new();
    for (round, signal) in (0_u64..).zip(["TERM", "INT", "TERM", "INT"]) {
        let (told, written) = watch::channel(0);
        let mut writers = Vec::new();
        for writer in 0..4_u64 {
            let (client, told) = (server.client().await, told.clone());
            writers.push(tokio::spawn(async move {
                let mut random = Random::new(round * 10 + writer);
                let mut ids = Vec::new();
                for step in 0_u64.. {
                    let first = round << 40 | writer << 32 | step << 8;
                    let request = batch("c", numbers(first..first + 10), &random.rows(10, 8));
                    match client.points().upsert(request).await {
                        Ok(_) => ids.extend(first..first + 10),
                        Err(status) => return (ids, status),
                    }
                    told.send_modify(|written| *written += 1);
                }
                unreachable!("a writer goes on until the server stops")
            }));
        }
        until("there is load", async || *written.borrow() > 150).await;
        server.signal(signal);
        for writer in writers {
            let (ids, status) = writer.await.unwrap();
            acknowledged.extend(ids);
            // Either the server said so, or the connection ended.
            if status.metadata().contains_key("hyperspace-error") {
                let kind = kind_of(&status);
                assert!(matches!(kind, ErrorKind::Unavailable | ErrorKind::Closed), "{status:?}");
            }
        }
        let (status, rest) = server.wait();
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""), "after SIG{signal}");
        server = Program::start(folder.path());
        let there: BTreeSet<u64> =
            server.client().await.scroll("c", 10_000).await.iter().map(|point| as_number(point.id.as_ref())).collect();
        let missing: Vec<_> = acknowledged.difference(&there).collect();
        assert!(missing.is_empty(), "{} of {} are missing after SIG{signal}", missing.len(), acknowledged.len());
        assert!(there.len().is_multiple_of(10), "a batch is half there: {}", there.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_is_not_ready_and_answers_what_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let mut health = HealthClient::new(server.client().await.channel);
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::Serving);

    // A write whose message is half there, and a question that is half asked.
    let message = framed(&batch("c", vec![number(5)], &[0.5; 2]).encode_to_vec());
    let (sender, receiver) = mpsc::channel(1);
    let body = ReceiverStream::new(receiver).map(Ok::<Bytes, Status>);
    let write = request("/hyperspace.v1.Points/Upsert", &[], Body::new(axum::body::Body::from_stream(body)));
    let channel = client.channel.clone();
    let written = tokio::spawn(async move { send(&channel, write).await });
    let (first, second) = (message.slice(..8), message.slice(8..));
    sender.send(first).await.unwrap();
    let mut question = TcpStream::connect(server.address).await.unwrap();
    question.write_all(b"GET /readyz HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n").await.unwrap();
    // Whoever answers these has seen what came before them.
    for _ in 0..20 {
        assert_eq!(client.count("c", "").await, 0);
        assert_eq!(get(server.address, "/readyz").await.code, 200);
    }

    server.signal("TERM");
    assert_eq!(watched.next().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    question.write_all(b"\r\n").await.unwrap();
    let ready = answer(&mut question).await.expect("a question that was being asked is answered");
    assert_eq!(ready.code, 503);
    assert!(ready.text().contains("stopping"), "{ready:?}");
    until("the port is free", async || TcpStream::connect(server.address).await.is_err()).await;
    sender.send(second).await.unwrap();
    drop(sender);
    written.await.unwrap().unwrap().outcome().unwrap();
    assert_eq!(server.wait().0.code(), Some(0));

    let server = Program::start(folder.path());
    assert_eq!(server.client().await.count("c", "").await, 1, "what was answered is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_does_not_keep_a_server_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let idle = server.client().await;
    assert_eq!(get(server.address, "/livez").await.code, 200);
    let start = std::time::Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(start.elapsed().as_secs() < 15, "it took {:?}", start.elapsed());
    drop(idle);
}
