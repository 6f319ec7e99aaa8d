//! What became of one point that a single tab writes.
//!
//! Every write has a version that no other one has. Whatever happens, the newest write wins, so of two states that were
//! seen one after the other the second one is never older.

/// A version of a point; none when it is deleted, or was never written.
pub(crate) type State = Option<u32>;

/// The writes of a point, as far as anybody may still find them.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// All of them in order, those that failed too: they may be stored all the same.
    writes: Vec<State>,
    /// What is found in its tab is not older than this.
    here: usize,
    /// Nor than this after a loss of power.
    lasting: usize,
    /// Nor than this, once tab and server agree: the server has told that it has it.
    there: usize,
}

impl Default for Life {
    fn default() -> Self {
        Self { writes: vec![None], here: 0, lasting: 0, there: 0 }
    }
}

impl Life {
    /// Takes note of a write and of what its caller was told.
    pub(crate) fn note(&mut self, state: State, is_acknowledged: bool) {
        self.writes.push(state);
        if is_acknowledged {
            self.here = self.writes.len() - 1;
        }
    }

    /// Everything up to now survives a loss of power.
    pub(crate) fn last(&mut self) {
        self.lasting = self.here;
    }

    /// The server has everything up to now.
    pub(crate) fn settle(&mut self) {
        self.there = self.here;
    }

    /// The server is gone that has told so.
    pub(crate) fn doubt(&mut self) {
        self.there = 0;
    }

    /// The tab's storage was replaced by another one's.
    pub(crate) fn forget(&mut self) {
        (self.here, self.lasting) = (0, 0);
    }

    /// Whether a tab that did not lose power may show this.
    pub(crate) fn allows(&self, found: State) -> bool {
        self.position(found, self.here).is_some()
    }

    /// Whether everybody may show this once they agree.
    pub(crate) fn allows_in_the_end(&self, found: State) -> bool {
        self.position(found, self.here.max(self.there)).is_some()
    }

    /// Goes on from what a loss of power has left; says whether it may be that.
    pub(crate) fn go_on_from(&mut self, found: State) -> bool {
        let Some(at) = self.position(found, self.lasting) else { return false };
        (self.here, self.lasting) = (at, at);
        true
    }

    /// The first write from one on that left this state.
    fn position(&self, found: State, from: usize) -> Option<usize> {
        (from..self.writes.len()).find(|&at| self.writes[at] == found)
    }
}
