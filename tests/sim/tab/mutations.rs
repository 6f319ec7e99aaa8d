//! Mistakes made on purpose: each of them is noticed by the histories, and none is noticed where none was made.

use hyperspace_wasm::mutation::{Mutation, activate};

use super::world::{Plan, World};

const SEEDS: u64 = 400;

/// The first seed whose history notices something.
fn noticed(mutation: Option<Mutation>) -> Option<u64> {
    activate(mutation);
    let lives = |seed| {
        let run = move || [Plan::MIXED, Plan::KILLS].map(|plan| World::new(seed, plan).live().is_err());
        // A mistake may well end in a panic.
        std::panic::catch_unwind(run).map_or(true, |violations| violations.contains(&true))
    };
    let found = (0..SEEDS).find(|&seed| lives(seed));
    activate(None);
    found
}

#[test]
fn every_mistake_is_noticed_and_none_where_there_is_none() {
    let mistakes = [
        Mutation::PutOutsideTransaction,
        Mutation::ResolveBeforeComplete,
        Mutation::CutLogBeforeFlip,
        Mutation::IgnoreFence,
        Mutation::PutForAdd,
        Mutation::SkipSettling,
        Mutation::SkipContinuity,
    ];
    for mutation in mistakes {
        let found = noticed(Some(mutation));
        println!("{mutation:?}: noticed by seed {found:?}");
        assert!(found.is_some(), "{mutation:?} is noticed by none of {SEEDS} seeds");
    }
    assert_eq!(noticed(None), None, "a seed that notices what is not there");
    println!("{} mistakes of the tab's host, all noticed", mistakes.len());
}
