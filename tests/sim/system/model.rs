//! What the leaders have accepted, and what everybody must therefore show in the end.
//!
//! Of two writes of a point the one with the newer stamp wins, whoever accepted them, and in which order. So in the end a
//! point is as its newest accepted write left it, or newer: some write was accepted and nobody heard of it. What a leader
//! accepted counts from when that is durable; when a majority is asked for, from when a majority has it.

use std::collections::BTreeMap;

use hyperspace_core::types::{PointId, Stamp};

use crate::sync::drive::Checked;
use crate::sync::lent::Told;

/// A point of a collection.
pub(super) type Place = (&'static str, PointId);

/// A write that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) place: Place,
    pub(super) stamp: Stamp,
    pub(super) is_delete: bool,
}

/// All that was accepted and may not be lost.
#[derive(Debug, Default)]
pub(super) struct Model {
    newest: BTreeMap<Place, (Stamp, bool)>,
    /// The newest delete of each point that anybody asked for, accepted or not.
    deletes: BTreeMap<Place, Stamp>,
}

impl Model {
    /// From here on this is not lost.
    pub(super) fn accept(&mut self, write: &Accepted) {
        self.ask(write);
        let newest = self.newest.entry(write.place.clone()).or_insert((write.stamp, write.is_delete));
        if newest.0 < write.stamp {
            *newest = (write.stamp, write.is_delete);
        }
    }

    /// This may be accepted without anybody hearing of it.
    pub(super) fn ask(&mut self, write: &Accepted) {
        if write.is_delete {
            let newest = self.deletes.entry(write.place.clone()).or_insert(write.stamp);
            *newest = (*newest).max(write.stamp);
        }
    }

    /// A server is gone for good, and with it what nobody else has.
    pub(super) fn lose(&mut self, is_elsewhere: impl Fn(&Place, Stamp) -> bool) -> usize {
        let before = self.newest.len();
        self.newest.retain(|place, (stamp, _)| is_elsewhere(place, *stamp));
        before - self.newest.len()
    }

    /// Checks what a collection shows in the end.
    pub(super) fn check(&self, name: &'static str, shown: &BTreeMap<PointId, Told>) -> Checked {
        for ((_, id), &(stamp, is_delete)) in self.newest.iter().filter(|((of, _), _)| *of == name) {
            match shown.get(id) {
                Some((.., found)) if *found < stamp => {
                    let what = if is_delete { "was deleted by" } else { "was replaced by" };
                    return Err(format!("point {id} of {name} is of {found:?}, and {what} {stamp:?}"));
                }
                None if !is_delete && self.deletes.get(&(name, id.clone())).is_none_or(|delete| *delete < stamp) => {
                    return Err(format!("point {id} of {name} is missing: {stamp:?} was accepted and never deleted"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
