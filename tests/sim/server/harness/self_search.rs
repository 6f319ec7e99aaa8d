//! Every point is looked for with its own vector: present is not enough, it has to be found.

use hyperspace_core::collection::Plan;
use hyperspace_server::database::OpenCollection;

use super::support::nearest;

/// How often points looked for themselves by the graphs, and how often in vain.
#[derive(Debug, Default)]
pub(crate) struct SelfSearches {
    segments: usize,
    asked: usize,
    missed: usize,
}

impl SelfSearches {
    /// Looks for every point of a collection.
    pub(crate) fn run(&mut self, collection: &OpenCollection, what: &str) {
        let view = collection.snapshot();
        self.segments += view.segments().len();
        for sealed in view.segments() {
            assert!(sealed.segment.graph().unreachable().is_empty(), "{what}: points that no walk reaches");
        }
        for point in view.points() {
            let found = |plan| nearest(collection, &point.vector, 1, plan).first() == Some(&(point.id.clone(), 0.0));
            assert!(found(Plan::Exact), "{what}: point {} does not find itself", point.id);
            self.asked += 1;
            self.missed += usize::from(!found(Plan::Graph));
        }
    }

    /// Asserts that graphs were searched, and that they found 99.9 % of the points.
    pub(crate) fn finish(&self, segments: usize) {
        assert!(self.segments >= segments, "there were sealed segments: {self:?}");
        assert!(self.missed * 1_000 <= self.asked, "99.9 % of the points find themselves by the graph: {self:?}");
    }
}
