//! Histories that a model of the protocol found to be hard, exported by `tests/fixtures/sync/export.py`.

use alloc::vec::Vec;

use super::check::run;
use super::op::Op;

macro_rules! recorded {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("recorded/", $name, ".txt")))),*] };
}

/// The model itself brings a deleted point back in the last one of the base: an edit of a row that was never pushed is
/// stamped anew. Here such an edit takes the place of the row in the outbox, so all of them must come out well.
pub(super) const HISTORIES: [(&str, &str); 10] = recorded![
    "base-76",
    "base-81",
    "base-180034",
    "base-245160",
    "power-3",
    "power-19",
    "power-535462",
    "power-584868",
    "failover-58",
    "failover-63",
];

pub(super) fn ops(text: &str) -> Vec<Op> {
    text.lines().map(Op::parse).collect()
}

#[test]
fn the_histories_that_broke_the_model_come_out_well() {
    for (name, text) in HISTORIES {
        let ops = ops(text);
        let world = run(&ops, None).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        std::println!("{name}: {} operations, {:?}", ops.len(), world.counts);
        assert!(world.counted("accepted") > 0, "{name}: {:?}", world.counts);
    }
}
