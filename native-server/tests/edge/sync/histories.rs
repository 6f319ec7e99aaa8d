//! Random histories of replicas and of a server that others write to as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyperspace_core::sync::{Pushed, Verdict, decode_all};
use hyperspace_server::proto::{Metric, SetMetadataRequest, UpsertRequest};

use super::peer::{DIMENSION, Peer};
use super::{id, ids, live, whole};
use crate::support::client::{batch, number};
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::server::Running;
use crate::support::until;

/// Ids that all write to.
const IDS: u64 = 60;

/// One step of a replica.
async fn step(peer: &mut Peer, random: &mut Random, n: u64) {
    peer.now_ms += random.below(50);
    match random.below(8) {
        0..=2 => {
            let first = random.below(IDS);
            let count = 1 + random.below(6);
            peer.upsert(&ids(first..first + count), &random.rows(count as usize, DIMENSION), n);
        }
        3 => peer.delete(&ids(random.below(IDS)..IDS)[..1]),
        4 => drop(peer.pull().await.unwrap()),
        5 => {
            peer.greet().await.unwrap();
            peer.push_some().await.unwrap();
        }
        6 => {
            // Offers whose answer is lost.
            peer.greet().await.unwrap();
            let offers = peer.next_offers();
            if !offers.is_empty() {
                peer.client.sync().push(peer.pushing(&offers)).await.unwrap();
                peer.greet().await.unwrap();
            }
        }
        _ => peer.sync().await.unwrap(),
    }
}

/// One step of somebody who writes to the server directly.
async fn write(server: &Running, random: &mut Random, n: u64) {
    let client = server.client().await;
    let first = random.below(IDS);
    match random.below(6) {
        0 | 1 => {
            let metadata = vec![format!("{{\"n\":{n}}}"); 3];
            let ids = (first..first + 3).map(number).collect();
            client.upsert(UpsertRequest { metadata, ..batch("c", ids, &random.rows(3, DIMENSION)) }).await;
        }
        2 => drop(client.delete("c", vec![number(first), number(first + 7)]).await),
        3 | 4 => {
            let (ids, metadata) = (vec![number(first), number(first + 1)], vec![format!("{{\"n\":{n}}}"); 2]);
            let request = SetMetadataRequest { collection: "c".into(), ids, metadata, ..Default::default() };
            client.points().set_metadata(request).await.unwrap();
        }
        _ => drop(client.vacuum("c").await),
    }
}

/// Has all replicas agree with the server, and checks that they do.
async fn agree(peers: &mut [Peer], what: &str) {
    // One round brings everything to the server, another one everything to everybody.
    for _ in 0..2 {
        for peer in &mut *peers {
            peer.sync().await.unwrap();
        }
    }
    let client = peers[0].client.clone();
    let expected = live(&client, "c").await;
    let digest = whole(&client, &peers[0]).await.up_to_date;
    for (at, peer) in peers.iter().enumerate() {
        assert_eq!(peer.live(), expected, "{what}, replica {at}");
        assert_eq!(Some(peer.engine.digest()), digest, "{what}, replica {at}");
        assert!(peer.replica().is_answered(&peer.engine), "{what}, replica {at}");
        assert_eq!(peer.reconciliations, 0, "{what}, replica {at}: nothing was ever lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_direct_writes_mixed_at_random_end_equal() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut server = Running::new().await;
        let mut peers = Vec::new();
        for writer in 1..=3 {
            peers.push(Peer::new(server.client().await, "c", DIMENSION, writer).await);
        }
        for n in 0..250 {
            match random.below(100) {
                0..=69 => step(&mut peers[random.below(3) as usize], &mut random, n).await,
                70..=97 => write(&server, &mut random, n).await,
                _ => {
                    server = server.restart().await;
                    for peer in &mut peers {
                        peer.client = server.client().await;
                    }
                }
            }
        }
        agree(&mut peers, &format!("seed {seed}")).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_and_direct_writes_at_the_same_time_get_numbers_of_their_own() {
    let server = Running::new().await;
    let mut peers = Vec::new();
    for writer in 1..=3 {
        peers.push(Peer::new(server.client().await, "c", DIMENSION, writer).await);
    }
    let mut tasks = Vec::new();
    for (at, mut peer) in (0..).zip(peers) {
        tasks.push(tokio::spawn(async move {
            let mut random = Random::new(at);
            for n in 0..40 {
                let first = at << 20 | n << 4;
                peer.upsert(&ids(first..first + 4), &random.rows(4, DIMENSION), n);
                peer.greet().await.unwrap();
                peer.push_some().await.unwrap();
            }
            peer
        }));
    }
    let writers = (10..13).map(|seed| {
        let address = server.address;
        tokio::spawn(async move {
            let client = crate::support::client::Client::connect(address).await;
            let mut random = Random::new(seed);
            for n in 0..100 {
                let first = seed << 20 | n << 4;
                let ids = (first..first + 4).map(number).collect();
                client.upsert(batch("c", ids, &random.rows(4, DIMENSION))).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut peers = Vec::new();
    for task in tasks {
        peers.push(task.await.unwrap());
    }
    agree(&mut peers, "at the same time").await;
    let page = whole(&peers[0].client, &peers[0]).await;
    assert!(page.recs.iter().map(|rec| rec.seq).eq(1..=3 * 4 * (40 + 100)), "{page:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_offers_loses_no_answer_and_doubles_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(77);
    let mut server = Program::start(folder.path());
    let mut peers = Vec::new();
    for writer in 1..=3 {
        peers.push(Peer::new(server.client().await, "c", DIMENSION, writer).await);
    }
    // Of every round the points that were accepted: nobody else writes these ids.
    let mut accepted = Vec::new();
    for round in 0..6_u64 {
        let answers = Arc::new(AtomicU64::new(0));
        let tasks = peers.drain(..).map(|mut peer| {
            let (answers, mut random) = (Arc::clone(&answers), Random::new(random.next()));
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                let writer = peer.replica().writer();
                for step in 0.. {
                    let own = round << 40 | writer << 32 | step;
                    peer.upsert(&[id(own), id(random.below(IDS))], &random.rows(2, DIMENSION), step);
                    let offers = peer.next_offers();
                    let answer = match peer.client.sync().push(peer.pushing(&offers)).await {
                        Ok(answer) => answer.into_inner(),
                        Err(_) => break,
                    };
                    let answer: Pushed = decode_all(&answer.pushed, "an answer").unwrap();
                    for (cseq, verdict) in &answer.verdicts {
                        let offer = offers.iter().find(|offer| offer.cseq == *cseq).unwrap();
                        accepted.extend(matches!(verdict, Verdict::Accepted(_)).then(|| offer.id.clone()));
                    }
                    peer.answered(answer);
                    answers.fetch_add(1, Ordering::SeqCst);
                }
                (peer, accepted)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let enough = 10 + random.below(60);
        until("there were answers", async || answers.load(Ordering::SeqCst) >= enough).await;
        drop(server);
        for task in tasks {
            let (peer, own) = task.await.unwrap();
            accepted.extend(own);
            peers.push(peer);
        }
        server = Program::start(folder.path());
        for peer in &mut peers {
            peer.client = server.client().await;
        }
        agree(&mut peers, &format!("round {round}")).await;
        let found = peers[0].live();
        for id in &accepted {
            assert!(found.contains_key(id), "round {round}: {id} was accepted");
        }
        let page = whole(&peers[0].client, &peers[0]).await;
        assert_eq!(page.recs.len(), found.len(), "each point has one number");
    }
    assert!(accepted.len() > 60, "{} were accepted", accepted.len());
    assert_eq!(server.client().await.describe("c").await.config.unwrap().metric(), Metric::L2);
}
