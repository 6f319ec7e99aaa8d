//! Replication over the wire: replicas of the tests are the engine that a tab has (`peer.rs`), and the server is the real one.

mod histories;
mod hostile;
mod peer;
mod streams;

use hyperspace_core::metadata::Metadata;
use hyperspace_core::sync::{Cursor, Page, Pushed, Verdict, decode_all};
use hyperspace_core::types::PointId;
use hyperspace_server::proto::{self, Metric, PullRequest, ReconcileRequest};

use crate::support::client::{Client, batch, numbers};
use crate::support::random::Random;
use crate::support::refusal::refused;
use crate::support::server::Running;

use hyperspace_core::error::ErrorKind;
use peer::{DIMENSION, Live, Peer, greeting, metadata, pages, stranger, welcome_of};

fn id(number: u64) -> PointId {
    PointId::Int(number)
}

fn ids(of: std::ops::Range<u64>) -> Vec<PointId> {
    of.map(PointId::Int).collect()
}

/// All live points of the server.
async fn live(client: &Client, collection: &str) -> Live {
    let points = client.scroll(collection, 500).await;
    let each = points.into_iter().map(|point| {
        let id = match point.id.unwrap().id.unwrap() {
            proto::point_id::Id::Number(number) => id(number),
            proto::point_id::Id::Text(text) => PointId::string(&text).unwrap(),
        };
        let row = point.vector.as_chunks().0.iter().map(|&x| u32::from_le_bytes(x)).collect();
        let json: serde_json::Value = serde_json::from_str(&point.metadata).unwrap();
        (id, (row, json["n"].as_u64().map_or_else(Metadata::default, metadata)))
    });
    each.collect()
}

/// What a replica gets that knows nothing: all of it as one page.
async fn whole(client: &Client, peer: &Peer) -> Page {
    let mut wanted = peer.wanted();
    wanted.after = 0;
    let mut all: Option<Page> = None;
    for (_, page) in pages(client, PullRequest { spaces: vec![wanted], ..PullRequest::default() }).await.unwrap() {
        match &mut all {
            None => all = Some(page),
            Some(all) => {
                all.recs.extend(page.recs);
                (all.cursor, all.up_to_date) = (page.cursor, page.up_to_date);
            }
        }
    }
    all.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greeting_makes_a_collection_that_is_missing_and_no_other() {
    let server = Running::new().await;
    let client = server.client().await;
    let missing = client.sync().hello(greeting("c", &stranger(1))).await;
    refused("without a configuration", missing, ErrorKind::NotFound, "`c`");
    let peer = Peer::new(client.clone(), "c", DIMENSION, 1).await;
    assert_eq!(client.describe("c").await.id, format!("{:016x}", peer.space));
    let again = Peer::new(client.clone(), "c", DIMENSION, 2).await;
    assert_eq!((again.space, again.replica().key()), (peer.space, peer.replica().key()));

    let with = |config| proto::HelloRequest { config: Some(config), ..greeting("c", &stranger(3)) };
    let config = |name: &str, dimension, metric| crate::support::client::config(name, dimension, metric);
    for (other, named) in
        [(config("c", 5, Metric::L2), "l2 of 4 dimensions, not l2 of 5"), (config("c", 4, Metric::Dot), "not dot of 4")]
    {
        refused("another shape", client.sync().hello(with(other)).await, ErrorKind::Conflict, named);
    }
    let misnamed = client.sync().hello(with(config("d", 4, Metric::L2))).await;
    refused("another name", misnamed, ErrorKind::InvalidArgument, "`d`, the greeting of `c`");
    client.sync().hello(with(config("", 4, Metric::L2))).await.unwrap();

    let other = Peer::new(client.user("ada"), "c", DIMENSION, 1).await;
    assert_ne!((other.space, other.replica().key()), (peer.space, peer.replica().key()), "each user has an own one");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_sent_again_after_a_lost_answer_are_answered_once() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut peer = Peer::new(client.clone(), "c", DIMENSION, 1).await;
    peer.upsert(&ids(0..10), &Random::new(1).rows(10, DIMENSION), 1);
    peer.greet().await.unwrap();
    peer.chunk = 1 << 20;
    let offers = peer.next_offers();
    let push = peer.pushing(&offers);
    let answer = async |request| {
        let answer = client.sync().push(request).await.unwrap().into_inner();
        decode_all::<Pushed>(&answer.pushed, "an answer").unwrap()
    };
    let first = answer(push.clone()).await;
    let records = client.stats().await.log_records;
    let second = answer(push.clone()).await;
    assert_eq!((first.verdicts.len(), second.verdicts.len()), (10, 0));
    assert_eq!((first.acked, first.seq), (second.acked, second.seq));
    // A part of them and then more: what is new is answered.
    peer.upsert(&ids(5..12), &Random::new(2).rows(7, DIMENSION), 2);
    assert_eq!(client.stats().await.log_records, records, "nothing new, no record");

    // The answers were lost: a greeting tells that they came, and what is known is fetched.
    peer.sync().await.unwrap();
    assert_eq!(peer.live(), live(&client, "c").await);
    assert_eq!((peer.live().len(), peer.replica().conflicts()), (12, &[][..]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_numbers_digests_and_which_offers_were_answered() {
    let server = Running::new().await;
    let mut peer = Peer::new(server.client().await, "c", DIMENSION, 1).await;
    let mut random = Random::new(5);
    peer.upsert(&ids(0..40), &random.rows(40, DIMENSION), 1);
    peer.sync().await.unwrap();
    let client = server.client().await;
    client.upsert(batch("c", numbers(30..60), &random.rows(30, DIMENSION))).await;
    client.vacuum("c").await;
    client.delete("c", numbers(0..5)).await;
    peer.delete(&ids(20..25));
    peer.sync().await.unwrap();
    let before = whole(&client, &peer).await;
    let welcome = welcome_of(&client.sync().hello(greeting("c", &stranger(1))).await.unwrap().into_inner());
    assert_eq!(before.cursor.seq, 40 + 30 + 5 + 5);
    assert_eq!(before.up_to_date.unwrap().count, 50);

    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(whole(&client, &peer).await, before);
    let after = welcome_of(&client.sync().hello(greeting("c", &stranger(1))).await.unwrap().into_inner());
    assert_eq!(after, welcome);
    peer.client = client.clone();
    peer.upsert(&ids(100..101), &random.rows(1, DIMENSION), 3);
    peer.sync().await.unwrap();
    client.upsert(batch("c", numbers(101..102), &random.rows(1, DIMENSION))).await;
    peer.sync().await.unwrap();
    assert_eq!(peer.replica().cursor().seq, before.cursor.seq + 2, "numbers go on");
    assert_eq!((peer.live(), peer.reconciliations), (live(&client, "c").await, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_to_a_replica_before_it_is_durable() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut peer = Peer::new(client.clone(), "c", DIMENSION, 1).await;
    let mut syncs = client.stats().await.log_syncs;
    for round in 0..4 {
        let durability = proto::Durability::Relaxed.into();
        let relaxed = proto::UpsertRequest { durability, ..batch("c", numbers(0..1), &[0.5; DIMENSION]) };
        client.upsert(relaxed).await;
        assert_eq!(client.stats().await.log_syncs, syncs, "it is relaxed");
        match round {
            0 => drop(peer.pull().await.unwrap()),
            1 => peer.greet().await.unwrap(),
            2 => assert_eq!(peer.fetch(&[id(0).key()]).await.unwrap().1, 3),
            _ => {
                let request = ReconcileRequest { space: peer.space, epoch: peer.epoch, seq: 4, frame: vec![1] };
                client.sync().reconcile(request).await.unwrap();
            }
        }
        syncs += 1;
        assert_eq!(client.stats().await.log_syncs, syncs, "round {round}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_the_server_is_newer_than_what_it_has_accepted() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut peer = Peer::new(client.clone(), "c", DIMENSION, 1).await;
    // Its clock is ahead, by less than the server minds.
    peer.now_ms += 50_000;
    peer.upsert(&ids(0..2), &[0.25; 2 * DIMENSION], 1);
    peer.sync().await.unwrap();
    client.upsert(batch("c", numbers(0..1), &[0.5; DIMENSION])).await;
    assert_eq!(client.delete("c", numbers(1..2)).await, 1);
    peer.sync().await.unwrap();
    let expected = Live::from([(id(0), (vec![0.5_f32.to_bits(); DIMENSION], Metadata::default()))]);
    assert_eq!((peer.live(), live(&client, "c").await), (expected.clone(), expected));

    // What is stamped an hour ahead is not taken.
    peer.now_ms += 3_600_000;
    peer.upsert(&ids(7..8), &[0.75; DIMENSION], 1);
    let offers = peer.next_offers();
    let answer = client.sync().push(peer.pushing(&offers)).await.unwrap().into_inner();
    let answer: Pushed = decode_all(&answer.pushed, "an answer").unwrap();
    assert_eq!(answer.verdicts, [(offers[0].cseq, Verdict::Restamp)]);
    assert_eq!(client.count("c", "").await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_found_by_frames_that_outlive_a_write_and_not_a_minute() {
    let server = Running::new().await;
    let client = server.client().await;
    let mut random = Random::new(8);
    let mut peer = Peer::new(client.clone(), "c", DIMENSION, 1).await;
    peer.chunk = 1 << 20;
    peer.upsert(&ids(0..400), &random.rows(400, DIMENSION), 1);
    peer.sync().await.unwrap();
    let stale = Cursor { epoch: peer.epoch, seq: peer.replica().cursor().seq };
    // The replica loses rows without knowing it.
    let lost: Vec<_> = [3, 77, 300].map(|n| peer.live().get_key_value(&id(n)).unwrap().0.clone()).into();
    peer.lose(&lost);
    assert_eq!(peer.live().len(), 397);
    peer.sync().await.unwrap();
    assert_eq!((peer.live(), peer.reconciliations), (live(&client, "c").await, 1));

    let frame = |seq| ReconcileRequest { space: peer.space, epoch: stale.epoch, seq, frame: vec![1] };
    client.sync().reconcile(frame(stale.seq)).await.unwrap();
    client.upsert(batch("c", numbers(0..1), &[0.5; DIMENSION])).await;
    client.sync().reconcile(frame(stale.seq)).await.expect("it is kept for who has begun with it");
    client.sync().reconcile(frame(stale.seq + 1)).await.unwrap();
    for seq in [0, stale.seq - 1, stale.seq + 2, u64::MAX] {
        let never = client.sync().reconcile(frame(seq)).await;
        refused("a number that is not the present", never, ErrorKind::Conflict, "begin to reconcile anew");
    }
    server.stop().await;
}
