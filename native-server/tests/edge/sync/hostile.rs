//! What no honest replica sends: each is refused with an error that says why, and nothing of it is stored.

use hyperspace_core::error::ErrorKind::{Conflict, InvalidArgument, LimitExceeded, NotFound, Unsupported};
use hyperspace_core::log::body;
use hyperspace_core::sync::{Initiator, ItemSet, Offer, encode_all, respond};
use hyperspace_core::types::Stamp;
use hyperspace_server::proto::{FetchRequest, PullRequest, PushRequest, ReconcileRequest, Wanted};
use tonic::{Code, Status};

use super::peer::{DIMENSION, Peer, greeting, stranger};
use super::{id, ids, live, whole};
use crate::support::random::Random;
use crate::support::refusal::{kind_of, refused};
use crate::support::server::Running;

fn offer(cseq: u64, vector: &[f32], metadata: &[u8]) -> Offer {
    let stamp = Stamp { hlc: cseq, writer: 9, cseq };
    let body = Some(body(1.0, vector, metadata));
    Offer { cseq, id: id(cseq), stamp, is_change: false, reoffered_above: None, body }
}

/// A server with a collection of a hundred points.
async fn server() -> (Running, Peer) {
    let server = Running::new().await;
    let mut peer = Peer::new(server.client().await, "c", DIMENSION, 1).await;
    peer.upsert(&ids(0..100), &Random::new(3).rows(100, DIMENSION), 1);
    peer.chunk = 1 << 20;
    peer.sync().await.unwrap();
    (server, peer)
}

/// Pulls, and answers how the stream ended.
async fn pull(peer: &Peer, request: PullRequest) -> Result<(), Status> {
    super::pages(&peer.client, request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_cannot_be_stored_are_refused_whole() {
    let (server, peer) = server().await;
    let before = whole(&peer.client, &peer).await;
    let good = || offer(1, &[0.5; DIMENSION], &[]);
    let push = |offers: Vec<Offer>| PushRequest { writer: 9, ..peer.pushing(&offers) };
    let mut unfounded = offer(2, &[0.5; DIMENSION], &[]);
    unfounded.body = Some(body(0.25, &[0.5; DIMENSION], &[]));
    let cases = [
        ("not a number", vec![good(), offer(2, &[f32::NAN, 0.0, 0.0, 0.0], &[])], "point 2"),
        ("infinite", vec![good(), offer(2, &[f32::INFINITY; DIMENSION], &[])], "point 2"),
        ("too short", vec![good(), offer(2, &[0.5; DIMENSION - 1], &[])], "point 2"),
        ("too long", vec![good(), offer(2, &[0.5; DIMENSION + 1], &[])], "point 2"),
        ("no metadata", vec![good(), offer(2, &[0.5; DIMENSION], b"nonsense")], "point 2"),
        ("a term that is none", vec![good(), unfounded], "its term is 0.25, not 1"),
        ("a counter twice", vec![good(), good()], "1 follows 1"),
        ("counters that fall", vec![offer(2, &[0.5; DIMENSION], &[]), good()], "1 follows 2"),
        ("counters from 0", vec![offer(0, &[0.5; DIMENSION], &[]), good()], "0 follows 0"),
    ];
    for (what, offers, named) in cases {
        refused(what, peer.client.sync().push(push(offers)).await, InvalidArgument, named);
    }
    let garbage = [vec![], vec![0xff; 4], vec![1, 0, 0, 0], encode_all(&vec![good()])[..50].to_vec()];
    for offers in garbage {
        let request = PushRequest { offers, ..push(Vec::new()) };
        refused("garbage", peer.client.sync().push(request).await, InvalidArgument, "the offers");
    }
    let long = PushRequest { offers: vec![0; (1 << 20) + 1], ..push(Vec::new()) };
    refused("too many", peer.client.sync().push(long).await, LimitExceeded, "1048577 bytes, the limit is 1048576");
    let elsewhere = PushRequest { epoch: 2, ..push(vec![good()]) };
    refused("another term", peer.client.sync().push(elsewhere).await, Conflict, "is 1, not 2: greet");
    let elsewhere = PushRequest { space: peer.space ^ 1, ..push(vec![good()]) };
    refused("another space", peer.client.sync().push(elsewhere).await, NotFound, "no space");

    assert_eq!(whole(&peer.client, &peer).await, before, "nothing was stored");
    let none = peer.client.sync().hello(greeting("c", &stranger(9))).await.unwrap().into_inner();
    assert_eq!(super::welcome_of(&none).acked.cseq, 0, "nothing was answered");
    peer.client.sync().push(push(vec![good()])).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_reaches_the_space_of_another_one() {
    let (server, peer) = server().await;
    let before = live(&peer.client, "c").await;
    let ada = peer.client.user("ada");
    refused("hello", ada.sync().hello(greeting("c", &stranger(1))).await, NotFound, "`c`");
    let push = PushRequest { writer: 9, ..peer.pushing(&[offer(1, &[0.5; DIMENSION], &[])]) };
    refused("push", ada.sync().push(push).await, NotFound, "no space");
    let wanted = Wanted { after: 0, ..peer.wanted() };
    for follow in [false, true] {
        let request = PullRequest { spaces: vec![wanted], follow, ..PullRequest::default() };
        refused("pull", ada.sync().pull(request).await, NotFound, "no space");
    }
    let fetch = FetchRequest { space: peer.space, epoch: 1, keys: id(1).key().0.into() };
    refused("fetch", ada.sync().fetch(fetch).await, NotFound, "no space");
    let seq = peer.replica().cursor().seq;
    let reconcile = ReconcileRequest { space: peer.space, epoch: 1, seq, frame: vec![1] };
    refused("reconcile", ada.sync().reconcile(reconcile).await, NotFound, "no space");
    assert_eq!(live(&peer.client, "c").await, before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_are_refused() {
    let (server, peer) = server().await;
    let sync = || peer.client.sync();
    let wanted = peer.wanted();
    let asking = |spaces| PullRequest { spaces, ..PullRequest::default() };
    refused("nothing", pull(&peer, asking(vec![])).await, InvalidArgument, "1 to 256 spaces, not 0");
    refused("too many", pull(&peer, asking(vec![wanted; 257])).await, InvalidArgument, "not 257");
    refused("twice", pull(&peer, asking(vec![wanted; 2])).await, InvalidArgument, "twice");
    refused("a term", pull(&peer, asking(vec![Wanted { epoch: 3, ..wanted }])).await, Conflict, "is 1, not 3");
    pull(&peer, asking(vec![Wanted { after: u64::MAX, ..wanted }])).await.unwrap();
    pull(&peer, PullRequest { max_bytes: u32::MAX, ..asking(vec![Wanted { after: 0, ..wanted }]) }).await.unwrap();

    let fetch = |keys| FetchRequest { space: peer.space, epoch: 1, keys };
    refused("half a key", sync().fetch(fetch(vec![0; 24])).await, InvalidArgument, "24 bytes");
    refused("keys", sync().fetch(fetch(vec![0; 4_097 * 16])).await, LimitExceeded, "65552 bytes, the limit is 65536");
    let many = sync().fetch(fetch(vec![0; 4_096 * 16])).await.unwrap().into_inner();
    assert_eq!((many.answered, many.recs), (4_096, vec![0; 4]));
    let other = FetchRequest { epoch: 0, ..fetch(vec![]) };
    refused("a term", sync().fetch(other).await, Conflict, "greet");

    for hello in [vec![], vec![0; 7], vec![0xff; 200]] {
        let request = hyperspace_server::proto::HelloRequest { hello, ..greeting("c", &stranger(1)) };
        refused("a greeting", sync().hello(request).await, InvalidArgument, "the greeting");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_with_altered_bits_are_answered_or_refused() {
    let (server, peer) = server().await;
    let own = ItemSet::new(peer.engine.items()[10..].to_vec());
    let full = ItemSet::new(peer.engine.items());
    let (mut initiator, first) = Initiator::start(own, 64 << 10);
    let second = initiator.receive(&respond(&full, &first, 64 << 10).unwrap()).unwrap();
    let seq = peer.replica().cursor().seq;
    let ask = async |frame: Vec<u8>| {
        let request = ReconcileRequest { space: peer.space, epoch: 1, seq, frame };
        peer.client.sync().reconcile(request).await
    };
    let mut random = Random::new(4);
    let mut refusals = 0;
    for frame in [first].into_iter().chain(second) {
        ask(frame.clone()).await.unwrap();
        for _ in 0..300 {
            let mut frame = frame.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len() as u64) as usize;
                frame[at] ^= 1 << random.below(8);
            }
            if let Err(status) = ask(frame).await {
                assert!([InvalidArgument, Unsupported].contains(&kind_of(&status)), "{status:?}");
                refusals += 1;
            }
        }
    }
    assert!(refusals > 0);
    refused("empty", ask(vec![]).await, InvalidArgument, "the frame");
    refused("huge", ask(vec![1; (64 << 10) + 1]).await, LimitExceeded, "65537 bytes, the limit is 65536");
    let endless = [&[1, 255, 2][..], &[0xff; 9], &[1]].concat();
    refused("a list of 2^63", ask(endless).await, InvalidArgument, "the frame");

    // Offers as well: each is stored as it is, or refused.
    let mut altered = 0;
    for _ in 0..300 {
        let mut offers = encode_all(&vec![offer(1, &[0.5; DIMENSION], &[])]);
        let at = random.below(offers.len() as u64) as usize;
        offers[at] ^= 1 << random.below(8);
        let writer = random.next();
        let request = PushRequest { space: peer.space, epoch: 1, writer, offers };
        if let Err(status) = peer.client.sync().push(request).await {
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            altered += 1;
        }
    }
    assert!(altered > 0);
    let mut peer = peer;
    peer.sync().await.unwrap();
    assert_eq!((peer.live(), peer.reconciliations), (live(&peer.client, "c").await, 0));
    let server = server.restart().await;
    assert_eq!(live(&server.client().await, "c").await, peer.live());
    server.stop().await;
}
