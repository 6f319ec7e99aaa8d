//! Mistakes made on purpose, each of which the histories have to notice: tests that cannot fail prove nothing.

use hyperspace_server::mutation::{self, ALONE};

use super::SIMULATION;

/// Seeds that are tried before a mistake counts as unnoticed.
const PATIENCE: u64 = 20_000;

#[test]
fn every_mistake_is_noticed() {
    let mut unnoticed = Vec::new();
    for &mistake in ALONE {
        let noticed = (0..PATIENCE).find_map(|seed| {
            let violation = mutation::with(mistake, || SIMULATION.run(seed)).err()?;
            Some((seed, violation.0))
        });
        match noticed {
            Some((seed, violation)) => println!("{mistake:?} is noticed by seed {seed}: {violation}"),
            None => unnoticed.push(mistake),
        }
    }
    println!("mutations: {} of {} noticed", ALONE.len() - unnoticed.len(), ALONE.len());
    assert!(unnoticed.is_empty(), "{unnoticed:?} were not noticed by {PATIENCE} seeds");
}
