//! What may be found in a collection: everything acknowledged, and of what failed any part of the whole.

use std::collections::BTreeMap;

/// The version of every live point.
pub(super) type State = BTreeMap<u64, u32>;

/// Versions carry a tag that filters can ask for.
pub(super) const TAGS: u32 = 3;

#[derive(Clone, Debug, Hash)]
pub(super) enum Change {
    Put(Vec<u64>, u32),
    Delete(Vec<u64>),
    /// Every point whose version has this tag.
    DeleteTag(u32),
}

impl Change {
    fn apply(&self, state: &mut State) {
        match self {
            Self::Put(ids, version) => state.extend(ids.iter().map(|&id| (id, *version))),
            Self::Delete(ids) => state.retain(|id, _| !ids.contains(id)),
            Self::DeleteTag(tag) => state.retain(|_, version| *version % TAGS != *tag),
        }
    }
}

/// A collection: a state that is certain and durable, and the changes after it in the order of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    base: State,
    /// Each with whether it was acknowledged; one that was not may have happened all the same.
    tail: Vec<(Change, bool)>,
}

impl Model {
    pub(super) fn note(&mut self, change: Change, acknowledged: bool) {
        self.tail.push((change, acknowledged));
    }

    /// How many changes may or may not have happened: the number of states doubles with each.
    pub(super) fn doubts(&self) -> usize {
        self.tail.iter().filter(|(_, acknowledged)| !acknowledged).count()
    }

    /// Whether the state may be found where nothing acknowledged is lost.
    pub(super) fn allows(&self, found: &State) -> bool {
        self.allows_prefix(found, self.tail.len())
    }

    /// Whether the state may be found after relaxed commits were lost: a prefix of the log, and never a mix.
    pub(super) fn allows_any_prefix(&self, found: &State) -> bool {
        (0..=self.tail.len()).any(|len| self.allows_prefix(found, len))
    }

    fn allows_prefix(&self, found: &State, len: usize) -> bool {
        let tail = &self.tail[..len];
        let doubts = tail.iter().filter(|(_, acknowledged)| !acknowledged).count();
        (0..1_u32 << doubts).any(|happened| {
            let (mut state, mut doubt) = (self.base.clone(), 0);
            for (change, acknowledged) in tail {
                let applies = *acknowledged || happened >> doubt & 1 == 1;
                doubt += usize::from(!acknowledged);
                if applies {
                    change.apply(&mut state);
                }
            }
            state == *found
        })
    }

    /// From now on this is certain, and on the device.
    pub(super) fn settle(&mut self, found: State) {
        self.base = found;
        self.tail.clear();
    }
}
