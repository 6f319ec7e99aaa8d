//! Range reconciliation against the crate `negentropy`, which does the same with other messages, and against the plain
//! difference of the sets.

use std::collections::BTreeSet;

use hyperspace_core::sync::{Initiator, Item, ItemSet, SpaceKey, respond};
use hyperspace_core::types::{PointId, Stamp};
use negentropy::{Id, Negentropy, NegentropyStorageVector};

const FRAME_BYTES: usize = 60_000;

/// A generator of numbers (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ x >> 31) % bound as u64) as usize
    }

    /// As often small as large.
    fn size(&mut self, most: usize) -> usize {
        let most = [1, most / 100, most / 10, most][self.below(4)];
        self.below(most + 1)
    }
}

/// What a reconciliation found, and what it cost.
struct Found {
    here: BTreeSet<[u8; 32]>,
    there: BTreeSet<[u8; 32]>,
    rounds: usize,
    bytes: usize,
}

fn item(id: u64, hlc: u64) -> Item {
    let stamp = Stamp { hlc, writer: 1, cseq: id };
    Item::new(&SpaceKey([7; 32]), PointId::Int(id).key(), stamp, &[0; 16])
}

fn bytes(item: &Item) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&item.key.0);
    bytes[16..].copy_from_slice(&item.hash.to_le_bytes());
    bytes
}

/// Ours names what only the other side has by time and id; `there` says which items these are.
fn ours(here: &[Item], there: &[Item]) -> Found {
    let theirs = ItemSet::new(there.to_vec());
    let (mut initiator, mut frame) = Initiator::start(ItemSet::new(here.to_vec()), FRAME_BYTES);
    let (mut rounds, mut cost) = (0, 0);
    loop {
        let answer = respond(&theirs, &frame, FRAME_BYTES).unwrap();
        rounds += 1;
        cost += frame.len() + answer.len();
        match initiator.receive(&answer).unwrap() {
            Some(next) => frame = next,
            None => break,
        }
    }
    let found = initiator.finish();
    let named: BTreeSet<_> = found.there.iter().copied().collect();
    assert_eq!(named.len(), found.there.len(), "nothing is named twice");
    let there: BTreeSet<_> = there.iter().filter(|item| named.contains(&(item.hlc, item.key))).map(bytes).collect();
    assert_eq!(named.len(), there.len(), "nothing is named that is not there");
    Found { here: found.here.iter().map(bytes).collect(), there, rounds, bytes: cost }
}

fn negentropys(here: &[Item], there: &[Item]) -> Found {
    let storage = |items: &[Item]| {
        let mut storage = NegentropyStorageVector::with_capacity(items.len());
        items.iter().for_each(|item| storage.insert(item.hlc, Id::from_byte_array(bytes(item))).unwrap());
        storage.seal().unwrap();
        storage
    };
    let mut client = Negentropy::owned(storage(here), FRAME_BYTES as u64).unwrap();
    let mut server = Negentropy::owned(storage(there), FRAME_BYTES as u64).unwrap();
    let mut frame = client.initiate().unwrap();
    let (mut have, mut need, mut rounds, mut cost) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let answer = server.reconcile(&frame).unwrap();
        rounds += 1;
        cost += frame.len() + answer.len();
        match client.reconcile_with_ids(&answer, &mut have, &mut need).unwrap() {
            Some(next) => frame = next,
            None => break,
        }
    }
    let set = |ids: Vec<Id>| ids.into_iter().map(Id::to_bytes).collect();
    Found { here: set(have), there: set(need), rounds, bytes: cost }
}

#[test]
fn range_reconciliation_finds_what_negentropy_finds_and_what_is_different() {
    let level = std::env::var("HS_TEST_LEVEL");
    let cases = if level.is_ok_and(|level| level != "ci") { 500_000 } else { 5_000 };
    // Hashing takes longest, so all cases take from these: all at one time, at few, and at as many as there are.
    let pools = [1, 50, 1 << 40].map(|times| {
        let mut random = Random(times as u64);
        (0..11_000).map(|id| item(id, random.below(times) as u64)).collect::<Vec<Item>>()
    });
    let (mut differences, mut rounds) = (0, 0);
    for seed in 0..cases {
        let mut random = Random(seed);
        let pool = &pools[random.below(3)];
        let (common, different) = (random.size(10_000), random.size(1_000));
        let (mut here, mut there) = (pool[..common].to_vec(), pool[..common].to_vec());
        for item in &pool[common..common + different] {
            // Only the first has it, only the second, or both with another content.
            let which = random.below(3);
            if which != 1 {
                here.push(*item);
            }
            if which != 0 {
                there.push(if which == 2 { Item { hash: !item.hash, ..*item } } else { *item });
            }
        }
        let sets = [&here, &there].map(|items| items.iter().map(bytes).collect::<BTreeSet<_>>());
        let (here_alone, away_alone) = (&sets[0] - &sets[1], &sets[1] - &sets[0]);
        let (ours, theirs) = (ours(&here, &there), negentropys(&here, &there));
        for (name, found) in [("ours", &ours), ("negentropy", &theirs)] {
            assert!(found.here == here_alone && found.there == away_alone, "seed {seed}: {name} finds something else");
        }
        differences += here_alone.len() + away_alone.len();
        rounds = rounds.max(ours.rounds);
    }
    println!("{cases} pairs of sets, {differences} differences, {rounds} rounds at most");
    assert!(differences > 100_000, "{differences} differences");
}

#[test]
fn range_reconciliation_costs_no_more_than_negentropy() {
    let mut random = Random(1);
    let all: Vec<Item> = (0..100_100).map(|id| item(id, random.below(1 << 40) as u64)).collect();
    println!("100 000 items at random times | ours | negentropy");
    for different in [0, 1, 100] {
        let (here, there) = (&all[..100_000 + different], &all[..100_000]);
        let (ours, theirs) = (ours(here, there), negentropys(here, there));
        println!(
            "{different} different | {} bytes in {} | {} in {}",
            ours.bytes, ours.rounds, theirs.bytes, theirs.rounds
        );
        assert_eq!((ours.here.len(), theirs.here.len()), (different, different));
        assert!(ours.bytes <= theirs.bytes && ours.rounds <= theirs.rounds + 1, "{different} different");
    }
}
