//! Streams that follow: what comes, when, and how they end.

use std::time::Duration;

use hyperspace_core::error::ErrorKind;
use hyperspace_core::sync::{Page, decode_all};
use hyperspace_server::proto::{
    DeleteCollectionRequest, ListCollectionsRequest, Metric, PullRequest, PullResponse, RevokeKeyRequest, Scope,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::peer::{DIMENSION, Peer};
use super::{id, ids};
use crate::support::client::{Client, admin_key, batch, key_of, numbers};
use crate::support::frames::{framed, web_frames};
use crate::support::http1::{exchange, request};
use crate::support::random::Random;
use crate::support::refusal::refused;
use crate::support::server::Running;
use prost::Message as _;

/// Ten times what a change may take to arrive.
const DEADLINE: Duration = Duration::from_secs(10);

async fn follow(peers: &[&Peer]) -> Streaming<PullResponse> {
    let spaces = peers.iter().map(|peer| peer.wanted()).collect();
    let request = PullRequest { spaces, follow: true, ..PullRequest::default() };
    peers[0].client.sync().pull(request).await.unwrap().into_inner()
}

/// The next page of a stream.
async fn next(stream: &mut Streaming<PullResponse>) -> Result<(u64, Page), Status> {
    loop {
        let answer = timeout(DEADLINE, stream.message()).await.expect("nothing came").map(Option::unwrap)?;
        // Without a page it only tells that it lives, or that collections have come or gone.
        if !answer.page.is_empty() {
            return Ok((answer.space, decode_all(&answer.page, "a page").unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_brings_nothing_more_once_its_key_is_revoked() {
    let server = Running::new().await;
    let nobody = server.client().await;
    let (_, admin) = nobody.create_key(admin_key()).await;
    let administrator = nobody.key(&admin);
    let (key, shown) = administrator.create_key(key_of("ada", &[Scope::Sync, Scope::Write])).await;
    let (_, other) = administrator.create_key(key_of("ada", &[Scope::Write])).await;
    let peer = Peer::new(nobody.key(&shown), "c", DIMENSION, 1).await;
    let mut stream = follow(&[&peer]).await;
    next(&mut stream).await.unwrap();
    administrator.admin().revoke_key(RevokeKeyRequest { id: key.id }).await.unwrap();
    nobody.key(&other).upsert(batch("c", numbers(0..1), &[0.5; DIMENSION])).await;
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_when_collections_of_its_user_come_or_go_and_not_when_others_do() {
    let server = Running::new().await;
    let nobody = server.client().await;
    let peer = Peer::new(nobody.user("ada"), "c", DIMENSION, 1).await;
    let mut stream = follow(&[&peer]).await;
    next(&mut stream).await.unwrap();
    nobody.user("grace").create("d", 2, Metric::L2).await;
    nobody.user("ada").create("d", 2, Metric::L2).await;
    let told = timeout(DEADLINE, stream.message()).await.expect("nothing came").unwrap();
    assert_eq!(told, Some(PullResponse::default()));
    nobody.user("grace").create("e", 2, Metric::L2).await;
    nobody.user("ada").upsert(batch("c", numbers(0..1), &[0.5; DIMENSION])).await;
    let told = timeout(DEADLINE, stream.message()).await.expect("nothing came").unwrap().unwrap();
    assert!(!told.page.is_empty(), "the page is the next that comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_follows_brings_what_others_write_to_any_of_its_spaces() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut one = Peer::new(client.clone(), "one", DIMENSION, 1).await;
    let two = Peer::new(client.clone(), "two", DIMENSION, 1).await;
    let mut stream = follow(&[&one, &two]).await;
    // Where there is nothing yet, that is said.
    for _ in 0..2 {
        let (_, page) = next(&mut stream).await.unwrap();
        assert_eq!((page.recs.len(), page.up_to_date.unwrap().count), (0, 0));
    }
    let mut other = Peer::new(server.client().await, "one", DIMENSION, 2).await;
    other.upsert(&ids(0..3), &Random::new(1).rows(3, DIMENSION), 1);
    other.sync().await.unwrap();
    let (space, page) = next(&mut stream).await.unwrap();
    assert_eq!((space, page.recs.len(), page.cursor.seq), (one.space, 3, 3));
    one.apply(&one.replica().pull(page));
    assert_eq!(one.live(), other.live());

    // What changes nothing for a replica is not told: the next page is that of the write behind it.
    client.vacuum("two").await;
    client.upsert(batch("two", numbers(0..1), &[0.5; DIMENSION])).await;
    client.vacuum("two").await;
    client.delete("two", numbers(0..1)).await;
    let mut told = Vec::new();
    while told.last() != Some(&2) {
        let (space, page) = next(&mut stream).await.unwrap();
        assert_eq!(space, two.space);
        assert!(!page.recs.is_empty(), "{page:?}");
        assert_eq!(page.recs[0].id, id(0));
        told.push(page.cursor.seq);
    }
    assert!(told == [1, 2] || told == [2], "{told:?}");

    // Far behind, it comes in pages no longer than was asked for.
    client.upsert(batch("one", numbers(0..5_000), &Random::new(2).rows(5_000, DIMENSION))).await;
    let mut found = 0;
    while found < 5_000 {
        let (_, page) = next(&mut stream).await.unwrap();
        found += page.recs.len();
        assert_eq!(page.up_to_date.is_some(), found == 5_000);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_collection_and_with_the_server() {
    let server = Running::new().await;
    let client = server.client().await;
    let (one, two) =
        (Peer::new(client.clone(), "one", DIMENSION, 1).await, Peer::new(client.clone(), "two", DIMENSION, 1).await);
    let (mut first, mut second) = (follow(&[&one, &two]).await, follow(&[&two]).await);
    for stream in [&mut first, &mut second] {
        next(stream).await.unwrap();
    }
    next(&mut first).await.unwrap();
    client.collections().delete(DeleteCollectionRequest { name: "one".into() }).await.unwrap();
    refused("deleted", next(&mut first).await, ErrorKind::NotFound, "`one` was deleted");
    let gone = client.sync().pull(PullRequest { spaces: vec![one.wanted()], ..Default::default() }).await;
    refused("deleted before", gone, ErrorKind::NotFound, "no space");
    let stopping = tokio::spawn(server.stop());
    refused("stopped", next(&mut second).await, ErrorKind::Unavailable, "stopping");
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_take_no_request_s_place() {
    let server = Running::new().await;
    let peer = Peer::new(server.client().await, "c", DIMENSION, 1).await;
    let mut streams = Vec::new();
    // More than there are places for requests; a connection has 32 at most.
    for _ in 0..10 {
        let client = server.client().await;
        for _ in 0..30 {
            let request = PullRequest { spaces: vec![peer.wanted()], follow: true, ..PullRequest::default() };
            streams.push(client.sync().pull(request).await.unwrap().into_inner());
        }
    }
    let client = Client::connect(server.address).await;
    client.collections().list(ListCollectionsRequest {}).await.unwrap();
    client.upsert(batch("c", numbers(0..1), &[0.5; DIMENSION])).await;
    for stream in &mut streams {
        let (_, mut page) = next(stream).await.unwrap();
        if page.recs.is_empty() {
            page = next(stream).await.unwrap().1;
        }
        assert_eq!(page.recs[0].id, id(0));
    }
    drop(streams);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_web_pulls_and_pushes_too() {
    let server = Running::new().await;
    let mut peer = Peer::new(server.client().await, "c", DIMENSION, 1).await;
    peer.upsert(&ids(0..3), &Random::new(1).rows(3, DIMENSION), 1);
    let offers = peer.next_offers();
    let own = server.address.to_string();
    let call = async |rpc: &str, message: Vec<u8>| {
        let headers = [("host", own.as_str()), ("content-type", "application/grpc-web+proto")];
        let path = format!("/hyperspace.v1.Sync/{rpc}");
        let answer = exchange(server.address, &request("POST", &path, &headers, &framed(&message))).await;
        let (messages, trailers) = web_frames(&answer.body);
        assert_eq!(trailers.unwrap()["grpc-status"], "0", "{rpc}: {:?}", answer.headers);
        messages
    };
    assert_eq!(call("Push", peer.pushing(&offers).encode_to_vec()).await.len(), 1);
    let pull = PullRequest { spaces: vec![peer.wanted()], max_bytes: 1, ..PullRequest::default() };
    let pages = call("Pull", pull.encode_to_vec()).await;
    let recs = pages.iter().map(|page| {
        let page = PullResponse::decode(&page[..]).unwrap().page;
        decode_all::<Page>(&page, "a page").unwrap().recs.len()
    });
    assert_eq!(recs.collect::<Vec<_>>(), [1, 1, 1]);
    server.stop().await;
}
