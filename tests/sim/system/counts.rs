//! What happened how often, and how often each kind of fault has to over the seeds of every change.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Counts of one history.
#[derive(Debug, Default)]
pub(super) struct Counts(RefCell<BTreeMap<&'static str, u64>>);

impl Counts {
    pub(super) fn count(&self, what: &'static str) {
        *self.0.borrow_mut().entry(what).or_default() += 1;
    }

    pub(super) fn count_all(&self, what: &'static str, times: u64) {
        *self.0.borrow_mut().entry(what).or_default() += times;
    }

    pub(super) fn into_inner(self) -> BTreeMap<&'static str, u64> {
        self.0.into_inner()
    }
}

/// How often what happens at least over the seeds that are run on every change.
pub(super) const EXPECTED: &[(&str, u64)] = &[
    ("messages lost", 5_000),
    ("messages that come again", 5_000),
    ("messages that overtake others", 10_000),
    ("messages cut off", 1_000),
    ("cuts of the network", 1_000),
    ("clocks that jump", 300),
    ("tabs that die", 1_000),
    ("tabs that are taken for dead", 1_000),
    ("profiles that lose power", 500),
    ("faults of a tab's store", 1_000),
    ("servers that are killed", 500),
    ("servers that lose power", 500),
    ("servers that stop in the midst of something", 300),
    ("servers that stop in the midst of a promotion", 20),
    ("promotions", 400),
    ("promotions of a server that lags", 200),
    ("leaders told to follow", 300),
    ("followers told to follow another one", 300),
    ("followers that are removed", 300),
    ("disks that are lost", 200),
    ("times that deletes are forgotten", 20),
    ("offers of a follower", 5_000),
    ("offers that need new stamps", 3_000),
    ("answers that waited for a majority", 3_000),
    ("seals and merges of servers", 1_000),
    ("seals of tabs", 1_000),
    ("writes that tabs are told to be refused", 20),
];
