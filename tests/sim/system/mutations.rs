//! Mistakes that a server or a tab makes and that others notice: the histories tell of each of them, and of none where none
//! was made.

use hyperspace_server::mutation::{self, AMONG_OTHERS};
use hyperspace_wasm::mutation::{Mutation, activate};

use super::SIMULATION;

/// Seeds that are tried before a mistake counts as unnoticed.
const PATIENCE: u64 = 600;

/// The first seed whose history tells that something is wrong, and what.
fn noticed(run: impl Fn(u64) -> Option<String>) -> Option<(u64, String)> {
    (0..PATIENCE).find_map(|seed| Some((seed, run(seed)?)))
}

#[test]
fn every_mistake_among_others_is_noticed() {
    let mut found: Vec<(String, Option<(u64, String)>)> = Vec::new();
    for &mistake in AMONG_OTHERS {
        let run = |seed| mutation::with(mistake, || SIMULATION.run(seed)).err().map(|violation| violation.0);
        found.push((format!("{mistake:?} of a server"), noticed(run)));
    }
    let run = |seed| {
        activate(Some(Mutation::CursorBeforeRows));
        let outcome = SIMULATION.run(seed);
        activate(None);
        outcome.err().map(|violation| violation.0)
    };
    found.push((format!("{:?} of a tab", Mutation::CursorBeforeRows), noticed(run)));
    found.iter().for_each(|(mistake, noticed)| println!("{mistake} is noticed: {noticed:?}"));
    let unnoticed: Vec<&String> =
        found.iter().filter(|(_, found)| found.is_none()).map(|(mistake, _)| mistake).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?} are noticed by none of {PATIENCE} seeds");
}
