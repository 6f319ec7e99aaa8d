//! How many of the nearest points the searches of a collection find: measured, on its own points.
//!
//! Live points are the queries, evenly spread over all there are, each left out of its own answer. What a search finds by
//! default is compared with what an exact one finds: a hit counts when it is as near as the last of the true nearest, so
//! that equal distances do no harm. One query at a time, so that a host can do other work in between.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::metric::QueryVector;

use super::search::{Plan, Scratch, SearchRequest};
use super::snapshot::{Place, Snapshot};

/// The fewest points that a measurement asks about, and the most. A collection of fewer is asked about all of them.
pub const RECALL_QUERIES: [usize; 2] = [100, 1_000];
/// The most nearest points that are asked for.
pub const MAX_RECALL_TOP_K: usize = 100;

/// A measurement under way, of one moment of a collection.
#[derive(Debug)]
pub struct RecallTest {
    snapshot: Arc<Snapshot>,
    places: Vec<Place>,
    top_k: usize,
    ef: Option<usize>,
    found: Recall,
}

/// What was found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recall {
    /// Points that were asked about.
    pub queries: u64,
    /// True nearest of all of them.
    pub nearest: u64,
    /// Of these, how many were found.
    pub found: u64,
    /// Distances that the searches evaluated, those of exact ones left out.
    pub distances: u64,
}

impl RecallTest {
    /// Prepares to ask about so many points for the `top_k` nearest of each; `ef` as in a search.
    ///
    /// # Errors
    /// `InvalidArgument` when a number is out of range.
    pub fn new(snapshot: Arc<Snapshot>, queries: usize, top_k: usize, ef: Option<usize>) -> Result<Self> {
        let [fewest, most] = RECALL_QUERIES;
        for (what, number, low, high) in [("queries", queries, fewest, most), ("top_k", top_k, 1, MAX_RECALL_TOP_K)] {
            if !(low..=high).contains(&number) {
                return Err(Error::invalid_argument(format!("{what} is {low} to {high}, not {number}")));
            }
        }
        let live = snapshot.len();
        let step = (live / queries).max(1);
        let places = snapshot.places().step_by(step).take(queries).collect();
        Ok(Self { snapshot, places, top_k, ef, found: Recall::default() })
    }

    /// Asks about one more point; what was found in all, once there are no more.
    ///
    /// # Errors
    /// `InvalidArgument` when `ef` is out of range.
    pub fn step(&mut self, scratch: &mut Scratch) -> Result<Option<Recall>> {
        let Some(place) = self.places.pop() else { return Ok(Some(self.found)) };
        let (snapshot, own) = (&self.snapshot, self.snapshot.id_at(place));
        let (space, row) = snapshot.vector_at(place);
        let query = QueryVector::from_row(space.metric, space.row(row), space.term(row));
        // One more than wanted: the point itself.
        let mut request = SearchRequest::new(query, self.top_k + 1)?;
        if let Some(ef) = self.ef {
            request = request.with_ef(ef)?;
        }
        let mut others = |request: &SearchRequest| -> Result<(Vec<f64>, u64)> {
            let outcome = snapshot.search(request, scratch)?;
            let others = outcome.hits.iter().filter(|hit| hit.id != own).map(|hit| hit.distance);
            Ok((others.take(self.top_k).collect(), outcome.distances))
        };
        let (found, distances) = others(&request)?;
        let (nearest, _) = others(&request.with_plan(Plan::Exact))?;
        let last = nearest.last().copied().unwrap_or(f64::NEG_INFINITY);
        self.found.queries += 1;
        self.found.nearest += nearest.len() as u64;
        self.found.found += found.iter().filter(|distance| **distance <= last).count() as u64;
        self.found.distances += distances;
        Ok(None)
    }
}
