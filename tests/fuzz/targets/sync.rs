//! What comes from other machines in replication: values of the protocol, with the kind in the first byte, and the list of
//! the segments that are shipped.

use hyperspace_core::log::Rec;
use hyperspace_core::segment::UNIT;
use hyperspace_core::sync::{
    Code, Hello, Item, ItemSet, Offer, Page, Pushed, SpaceKey, State, Welcome, decode_all, encode_all, respond,
};
use hyperspace_core::types::{PointId, Stamp};
use hyperspace_wasm::host::fuzzing::sync_shipment;

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

/// The answer of a server that says which segments it ships: a tab gives no memory for what cannot be.
pub(super) fn shipment(bytes: &[u8]) -> bool {
    let Some(lengths) = decode(bytes.len(), || sync_shipment(bytes)) else { return false };
    let units: u64 = lengths.iter().map(|len| len.div_ceil(UNIT as u64)).sum();
    assert!(lengths.iter().all(|len| (1..=1 << 30).contains(len)), "{lengths:?}");
    assert!(units * 32 <= bytes.len() as u64, "{units} units in {} bytes", bytes.len());
    true
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
