//! Values of the protocol of replication, which come from other machines: the kind in the first byte, then the value.

use hyperspace_core::log::Rec;
use hyperspace_core::sync::{
    Code, Hello, Item, ItemSet, Offer, Page, Pushed, SpaceKey, State, Welcome, decode_all, encode_all, respond,
};
use hyperspace_core::types::{PointId, Stamp};

use super::{accepted, decode};

/// The longest frame that is answered, and how much longer an answer may come out.
const FRAME: usize = 64 << 10;
const ROUNDING: usize = 4 << 10;

/// Each kind: what is decoded encodes to the same bytes. The last one is a frame of reconciliation, which is answered with
/// no more than may be asked for, whatever it says.
pub(super) fn messages(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    match kind % 8 {
        0 => again::<Hello>(bytes),
        1 => again::<Welcome>(bytes),
        2 => again::<Vec<Offer>>(bytes),
        3 => again::<Pushed>(bytes),
        4 => again::<Page>(bytes),
        5 => again::<Vec<Rec>>(bytes),
        6 => again::<State>(bytes),
        _ => is_answered(bytes),
    }
}

fn again<T: Code>(bytes: &[u8]) -> bool {
    let Some(value) = decode(bytes.len(), || decode_all::<T>(bytes, "a value")) else { return false };
    assert_eq!(encode_all(&value), bytes, "a value has one encoding");
    true
}

fn is_answered(frame: &[u8]) -> bool {
    let item = |id: u64| {
        let stamp = Stamp { hlc: id * 1_000, writer: 1, cseq: id };
        Item::new(&SpaceKey([7; 32]), PointId::Int(id).key(), stamp, &[0; 16])
    };
    let answer = accepted(respond(&ItemSet::new((1..=500).map(item).collect()), frame, FRAME));
    answer.is_some_and(|answer| {
        assert!(answer.len() <= FRAME + ROUNDING, "{} bytes answer {}", answer.len(), frame.len());
        true
    })
}
