//! A collection that leads: the numbers of its writes, and what lies behind one.

use super::host::ids;
use crate::support::Random;
use hyperspace_core::collection::{Collection, CollectionConfig, Prepared, UpsertBatch, Urgency, Vectors};
use hyperspace_core::log::{Rec, Stamper, body};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::sync::{Cursor, Leader, Offer, Pushed, Rows as _, SpaceKey, State, Verdict};
use hyperspace_core::types::{PointId, Stamp};

const DIMENSION: usize = 2;
const NOW_MS: u64 = 1_000;

struct Server {
    collection: Collection,
    stamper: Stamper,
}

impl Server {
    fn new() -> Self {
        let config = CollectionConfig::new("c", DIMENSION, Metric::L2).unwrap();
        let mut stamper = Stamper::new(1, 0, 1);
        stamper.reserve(1 << 40);
        Self { collection: Collection::create_leading(config, SpaceKey([3; 32]), 1).unwrap(), stamper }
    }

    fn leader(&self) -> &Leader {
        let State::Leader(leader) = self.collection.sync() else { panic!("it leads") };
        leader
    }

    fn prepare(&mut self, ids: &[PointId]) -> Prepared {
        let rows = vec![0.5; ids.len() * DIMENSION];
        let batch = UpsertBatch { ids, vectors: Vectors::F32(&rows), metadata: &[] };
        self.collection.prepare_upsert(&batch, &mut self.stamper, NOW_MS, None).unwrap()
    }

    fn upsert(&mut self, ids: &[PointId]) {
        let prepared = self.prepare(ids);
        self.collection.publish(&prepared).unwrap();
    }

    fn delete(&mut self, ids: &[PointId]) {
        if let Some(prepared) = self.collection.prepare_delete(ids, &mut self.stamper, NOW_MS, None).unwrap() {
            self.collection.publish(&prepared).unwrap();
        }
    }

    fn push(&mut self, writer: u64, offers: &[Offer]) -> (Pushed, Prepared) {
        let (pushed, change) = self.leader().push(&self.collection, writer, offers, NOW_MS);
        (pushed, self.collection.prepare_change(&change).unwrap())
    }

    fn settle(&mut self) {
        while let Some(job) = self.collection.next_job(Urgency::Now) {
            let sealed = job.finish().unwrap();
            self.collection.install(sealed);
        }
    }

    /// All that lies behind a number, by looking at everything.
    fn behind(&self, after: u64) -> Vec<Rec> {
        let all = self.collection.all(|_| true).into_iter().filter(|known| known.seq > after);
        let mut recs: Vec<Rec> = all.map(|known| self.collection.newest(&known.id.key()).unwrap()).collect();
        recs.sort_by_key(|rec| rec.seq);
        recs
    }
}

fn offer(cseq: u64, id: u64, hlc: u64) -> Offer {
    let (id, stamp) = (PointId::Int(id), Stamp { hlc, writer: 9, cseq });
    let body = Some(body(1.0, &[0.25; DIMENSION], &[]));
    Offer { cseq, id, stamp, is_change: false, reoffered_above: None, body }
}

#[test]
fn pages_have_all_that_lies_behind_a_number_in_order_and_once() {
    let mut random = Random::new(12);
    let mut server = Server::new();
    // Some windows of numbers, with tombstones that were replaced and segments that were sealed at any time.
    for round in 0..40 {
        let first = random.below(12_000) as u64;
        server.upsert(&ids(first, 600));
        server.delete(&ids(random.below(12_000) as u64, 200));
        if round % 7 == 6 {
            server.settle();
        }
    }
    let Cursor { seq: head, .. } = server.leader().head();
    for most_bytes in [0, 4_000, 100_000, usize::MAX] {
        for from in [0, head / 2, head - 300, head, u64::MAX] {
            let (mut after, mut found) = (from, Vec::new());
            let expected = server.behind(from);
            loop {
                let (page, is_all) = server.collection.behind(after, most_bytes);
                let bytes = |rec: &Rec| 64 + rec.body.as_ref().map_or(0, |body| body.len());
                assert!(page.len() <= 1 || page.iter().map(bytes).sum::<usize>() <= most_bytes);
                after = page.last().map_or(after, |rec| rec.seq);
                found.extend(page);
                // One at a time would take long.
                if is_all || most_bytes == 0 && found.len() == 30 {
                    break;
                }
            }
            let expected = if most_bytes == 0 { &expected[..expected.len().min(30)] } else { &expected[..] };
            assert_eq!(found, expected, "from {from} in pages of {most_bytes} bytes");
        }
    }
    assert!(server.behind(0).iter().any(|rec| rec.body.is_none()) && server.behind(0).len() > 2 * 4_096);
}

#[test]
fn a_write_prepared_behind_offers_goes_on_behind_their_numbers() {
    let mut server = Server::new();
    server.upsert(&ids(0, 2));
    let (pushed, offers) = server.push(9, &[offer(1, 10, 1 << 16), offer(2, 11, 1 << 16)]);
    assert_eq!(pushed.verdicts, [(1, Verdict::Accepted(3)), (2, Verdict::Accepted(4))]);
    let (first, second) = (server.prepare(&ids(20, 2)), server.prepare(&ids(30, 1)));
    server.collection.publish(&offers).unwrap();
    let third = server.prepare(&ids(40, 1));
    for prepared in [first, second, third] {
        server.collection.publish(&prepared).unwrap();
    }
    let numbers: Vec<(PointId, u64)> = server.behind(0).into_iter().map(|rec| (rec.id, rec.seq)).collect();
    let expected = [0, 1, 10, 11, 20, 21, 30, 40].map(PointId::Int).into_iter().zip(1..);
    assert_eq!(numbers, expected.collect::<Vec<_>>());
}

#[test]
fn an_answer_with_many_winners_leaves_offers_to_be_made_again() {
    let mut server = Server::new();
    let long = Metadata::from_value(&Value::Map([("x".into(), Value::Str("x".repeat(60_000)))].into())).unwrap();
    let (of, metadata, rows) = (ids(0, 100), vec![long; 100], [0.5; 100 * DIMENSION]);
    let batch = UpsertBatch { ids: &of, vectors: Vectors::F32(&rows), metadata: &metadata };
    let prepared = server.collection.prepare_upsert(&batch, &mut server.stamper, NOW_MS, None).unwrap();
    server.collection.publish(&prepared).unwrap();
    let offers: Vec<Offer> = (0..100).map(|id| offer(id + 1, id, 1)).collect();
    let (mut answered, mut rounds) = (0, 0);
    while answered < offers.len() {
        let (pushed, prepared) = server.push(9, &offers[answered..]);
        server.collection.publish(&prepared).unwrap();
        assert!(pushed.verdicts.len() <= 19, "{} winners of 60 000 bytes", pushed.verdicts.len());
        assert!(pushed.verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Lost(_))));
        answered += pushed.verdicts.len();
        assert_eq!(pushed.acked.cseq, answered as u64);
        rounds += 1;
    }
    assert_eq!(rounds, 6);
}
