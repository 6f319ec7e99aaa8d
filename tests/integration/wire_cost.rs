//! What replication costs on the wire, beside the formulas by which it was planned: what a row adds to its vector and its
//! metadata (h), what an absence costs, what nothing at all costs, and what it takes to find one difference in a million.

use hyperspace_core::collection::{Collection, CollectionConfig, UpsertBatch, Vectors};
use hyperspace_core::log::Stamper;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::Metric;
use hyperspace_core::sync::{Initiator, Item, ItemSet, SpaceKey, State, encode_all, respond};
use hyperspace_core::types::{PointId, Stamp};
use hyperspace_server::proto::PullResponse;
use prost::Message as _;

use crate::support::Random;

/// What a row was planned to add: id, time, writer, number, tags.
const ROW: usize = 30;
/// What a tombstone was planned to take.
const TOMBSTONE: usize = 32;
/// What stands before each gRPC message.
const PREFIX: usize = 5;
/// Bytes of a page, and of a browser's frame of reconciliation.
const PAGE: usize = 1 << 20;
const FRAME: usize = 60 << 10;

/// A collection that numbers its writes, and who writes to it.
struct Leader {
    engine: Collection,
    stamper: Stamper,
    dimension: usize,
}

impl Leader {
    fn new(dimension: usize) -> Self {
        let config = CollectionConfig::new("c", dimension, Metric::L2).unwrap();
        let mut stamper = Stamper::new(7, 0, 0);
        stamper.reserve(1 << 40);
        Self { engine: Collection::create_leading(config, SpaceKey([7; 32]), 1).unwrap(), stamper, dimension }
    }

    /// Writes points; answers the bytes of a point's vector and metadata.
    fn put(&mut self, ids: std::ops::Range<u64>, random: &mut Random) -> usize {
        let metadata = Metadata::from_value(&Value::Map([("n".to_owned(), Value::U64(ids.start))].into())).unwrap();
        let own = 4 * self.dimension + metadata.as_bytes().len();
        let ids: Vec<PointId> = ids.map(PointId::Int).collect();
        let rows: Vec<f32> = (0..ids.len() * self.dimension).map(|_| random.below(1000) as f32).collect();
        let metadata = vec![metadata; ids.len()];
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&rows), metadata: &metadata };
        let prepared = self.engine.prepare_upsert(&batch, &mut self.stamper, 1_000, None).unwrap();
        self.engine.publish(&prepared).unwrap();
        own
    }

    fn delete(&mut self, ids: std::ops::Range<u64>) {
        let ids: Vec<PointId> = ids.map(PointId::Int).collect();
        let prepared = self.engine.prepare_delete(&ids, &mut self.stamper, 1_000, None).unwrap().unwrap();
        self.engine.publish(&prepared).unwrap();
    }

    fn head(&self) -> u64 {
        let State::Leader(leader) = self.engine.sync() else { panic!("it leads") };
        leader.head().seq
    }

    /// Bytes of the messages of a pull from a number on, and how many these are.
    fn pulled(&self, mut after: u64) -> (usize, usize) {
        let State::Leader(leader) = self.engine.sync() else { panic!("it leads") };
        let (mut bytes, mut messages) = (0, 0);
        loop {
            let (recs, is_all) = self.engine.behind(after, PAGE);
            let page = leader.page(after, recs, is_all.then(|| self.engine.digest()));
            bytes += PREFIX + PullResponse { space: u64::MAX, page: encode_all(&page) }.encoded_len();
            messages += 1;
            after = page.cursor.seq;
            if is_all {
                return (bytes, messages);
            }
        }
    }
}

#[test]
fn what_is_pulled_costs_what_the_formulas_say() {
    let mut random = Random::new(1);
    println!("what                                        | bytes | by the formula");
    let (points, dimension) = (4_000, 768);
    let mut leader = Leader::new(dimension);
    let own = leader.put(0..points, &mut random);
    let (bytes, messages) = leader.pulled(0);
    let planned = points as usize * (ROW + own) + PREFIX * messages + 60 * messages;
    let row = bytes as f64 / points as f64 - own as f64;
    println!(
        "steady: {points} points of {dimension} in {messages} messages | {bytes} ({row:.1} a row beside its own) | {planned}"
    );
    assert!(bytes <= planned + planned / 50, "{bytes} bytes, planned {planned}");

    let head = leader.head();
    let (idle, _) = leader.pulled(head);
    println!("idle: that nothing has changed               | {idle} | 40 and {PREFIX}");
    assert!(idle <= 100, "{idle} bytes");

    // An hour: a tenth is written twice, some is deleted, the rest is as it was.
    for _ in 0..2 {
        leader.put(0..points / 10, &mut random);
    }
    leader.delete(1_000..1_200);
    let (bytes, messages) = leader.pulled(head);
    let planned = points as usize / 10 * (ROW + own) + 200 * TOMBSTONE + (PREFIX + 60) * messages;
    println!("absence: 800 writes of 400 points, 200 deletes | {bytes} | {planned}");
    assert!(bytes <= planned + planned / 50, "{bytes} bytes, planned {planned}");
    assert!(bytes < 800 * own, "what was replaced does not travel");
}

#[test]
fn one_difference_in_a_million_is_found_for_a_few_thousand_bytes() {
    let mut random = Random::new(2);
    let item = |id: u64, hlc: u64| {
        let stamp = Stamp { hlc, writer: 1, cseq: id };
        Item::new(&SpaceKey([7; 32]), PointId::Int(id).key(), stamp, &[0; 16])
    };
    let all: Vec<Item> = (0..1_000_000).map(|id| item(id, random.next() >> 20)).collect();
    let lacking: Vec<Item> = all.iter().enumerate().filter(|(at, _)| *at != 500_000).map(|(_, item)| *item).collect();
    let (theirs, mine) = (ItemSet::new(all.clone()), ItemSet::new(lacking));
    let (mut initiator, mut frame) = Initiator::start(mine, FRAME);
    let (mut rounds, mut bytes) = (0, 0);
    loop {
        let answer = respond(&theirs, &frame, FRAME).unwrap();
        rounds += 1;
        bytes += frame.len() + answer.len();
        match initiator.receive(&answer).unwrap() {
            Some(next) => frame = next,
            None => break,
        }
    }
    let found = initiator.finish();
    println!(
        "one difference in 1 000 000: {bytes} bytes in {rounds} rounds; planned: 2 400 in 3, with ids of 32 bytes"
    );
    assert_eq!((found.here.len(), found.there), (0, vec![(all[500_000].hlc, all[500_000].key)]));
    assert!(rounds <= 3 && bytes <= 2_400, "{bytes} bytes in {rounds} rounds");
}
